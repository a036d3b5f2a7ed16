/* A load generator: a raw client that sends pre-encoded requests and counts, so that what is
 * measured is the broker.
 *
 *   load produce|fetch port=N topic=NAME [name=value...]
 *
 *   host=127.0.0.1   where the broker is
 *   batch=65536      produce: the size of a batch, at most; fetch: the most bytes of an answer
 *   record=1024      bytes of a value
 *   codec=none       produce: gzip, snappy, lz4 or zstd; the batch is so large before it is compressed,
 *                    and its values are such as compress to about a third
 *   keys=0           produce: records have keys of 12 digits, each once, counted from 1, and the run ends when so many
 *                    were sent, or a little later; over one connection, without a codec. 0: no keys
 *   connections=1
 *   seconds=5        how long, or
 *   bytes_max=0      until so many bytes of batches were answered, whichever comes first; 0: no limit
 *   rate=0           requests a second over all connections; 0: as fast as answers come
 *   acks=-1          1 or -1: every request is answered
 *   pid=0            a process whose CPU time over the run is told: the broker's
 *
 * One request is under way per connection; all go to partition 0. Latencies under a rate count from
 * when the request was due (open loop). A fetch begins again at offset 0 when it has come to the
 * end; its bytes are those of whole batches. One thread, epoll. Prints one line of JSON; the status
 * is 1 when an answer was an error. */
#define _GNU_SOURCE
#include "base/crc32c.h"
#include "bench/client.h"
#include "protocol/batch.h"
#include "protocol/codec.h"
#include "protocol/messages.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    KEY_DIGITS = 12,
    CRC_AT = 17, /* in a batch; of what follows it */
    PRODUCE_KEY = 0,
    PRODUCE_VERSION = 7,
    FETCH_KEY = 1,
    FETCH_VERSION = 4,
    METADATA_KEY = 3,
    METADATA_VERSION = 4,
    READ_BYTES = 1 << 20,
};

struct load {
    bool fetch;
    const char *host;
    int port;
    struct sockaddr_in address;
    const char *topic;
    int batch_bytes;
    int record_bytes;
    enum codec codec;
    int conns_n;
    double seconds;
    double rate;
    int acks;
    int pid;
    double bytes_max;
    double cpu_s; /* of `pid`, over the run */
    uint8_t *request;
    size_t request_len;
    size_t offset_at; /* where the fetch offset stands in a request */
    double keys_max;
    uint64_t keys;  /* so many were sent */
    size_t *key_at; /* where they stand in a request, of each record */
    struct samples latencies;
    size_t batch_len; /* produce: bytes of the batch of one request */
    size_t raw_len;   /* the same, before it is compressed */
    uint64_t requests;
    uint64_t bytes;
    uint64_t records;
    uint64_t errors;
};

struct link_state {
    int fd;
    size_t sent; /* of the request; == request_len: waits for the answer */
    bool active;
    bool wants_out; /* epoll waits for room to send */
    double due;     /* when the request was due */
    uint8_t head[4];
    size_t head_len;
    uint32_t left; /* of the answer */
    uint8_t *answer;
    size_t answer_len;
    int64_t offset;
    int32_t partition;
};

/* ---- requests ---- */

/* Stands where a key will. */
static const char NO_KEY[KEY_DIGITS + 1] = "!!!!!!!!!!!!";

static void add_header(struct writer *w, int16_t key, int16_t version)
{
    writer_i32(w, 0);
    writer_i16(w, key);
    writer_i16(w, version);
    writer_i32(w, 7);
    writer_i16(w, 5);
    writer_bytes(w, "bench", 5);
}

static void finish(struct writer *w)
{
    store_u32(w->data, (uint32_t)(w->len - 4));
}

static int records_per_batch(const struct load *load)
{
    int key_bytes = load->keys_max > 0 ? KEY_DIGITS : 0;
    int n = (load->batch_bytes - BATCH_HEADER_BYTES) / (load->record_bytes + key_bytes + 12);
    return n < 1 ? 1 : n;
}

/* Log lines: words that come again, and numbers that do not. */
static void fill_text(uint8_t *value, size_t len, uint32_t *seed)
{
    static const char *const WORDS[] = {"user",       "session",  "GET",    "/api/v1/orders",
                                        "status=200", "time=",    "region", "eu-west",
                                        "{\"id\":",   "\"name\":"};
    for (size_t at = 0; at < len;) {
        char word[32];
        *seed = *seed * 1664525 + 1013904223;
        int n = snprintf(word, sizeof(word), "%s %u ", WORDS[(*seed >> 16) % 10], *seed >> 12);
        size_t size = (size_t)n < len - at ? (size_t)n : len - at;
        memcpy(value + at, word, size);
        at += size;
    }
}

static void fill_letters(uint8_t *value, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        value[i] = (uint8_t)("abcdefghijklmnopqrstuvwxyz"[(i * 7 + i / 26) % 26]);
    }
}

/* Where the text stands in what was written after `from`. */
static size_t find(const struct writer *w, size_t from, const char *text)
{
    const uint8_t *found = memmem(w->data + from, w->len - from, text, strlen(text));
    CHECK(found != NULL);
    return (size_t)(found - w->data);
}

static void build_batch(struct load *load, struct writer *batch)
{
    size_t len = (size_t)load->record_bytes;
    uint8_t *value = xmalloc(len);
    uint32_t seed = 1;
    struct batch_builder builder;
    batch_begin(&builder, batch, (int16_t)load->codec);
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    fill_letters(value, len);
    load->key_at = xcalloc((size_t)records_per_batch(load), sizeof(*load->key_at));
    for (int i = 0; i < records_per_batch(load); i++) {
        if (load->codec != CODEC_NONE) {
            fill_text(value, len, &seed);
        }
        struct bytes key = load->keys_max > 0 ? bytes_of(NO_KEY, KEY_DIGITS) : (struct bytes){0};
        size_t before = batch->len;
        batch_add(&builder, (int64_t)ts.tv_sec * 1000, key, bytes_of(value, len));
        if (load->keys_max > 0) {
            load->key_at[i] = find(batch, before, NO_KEY);
        }
    }
    load->raw_len = batch->len;
    free(value);
    if (batch_end(&builder) != OK) {
        die("batch");
    }
}

static void build_produce(struct load *load)
{
    struct writer batch;
    writer_init(&batch, 256 << 20);
    build_batch(load, &batch);
    struct produce_request_partition partition = {.index = 0,
                                                  .records.data = bytes_of(batch.data, batch.len)};
    struct produce_request_topic topic = {
        .name = str_of(load->topic), .partitions = &partition, .partitions_n = 1};
    struct produce_request request = {
        .acks = (int16_t)load->acks, .timeout_ms = 30000, .topics = &topic, .topics_n = 1};
    struct writer w;
    writer_init(&w, 256 << 20);
    add_header(&w, PRODUCE_KEY, PRODUCE_VERSION);
    if (message_encode(&produce_request_message, PRODUCE_VERSION, &request, &w) != OK) {
        die("encode");
    }
    finish(&w);
    load->request = w.data;
    load->request_len = w.len;
    load->batch_len = batch.len;
    writer_deinit(&batch);
}

/* The batch is the end of the request. */
static void number_keys(struct load *load)
{
    uint8_t *batch = load->request + load->request_len - load->batch_len;
    for (int i = 0; i < records_per_batch(load); i++) {
        uint64_t key = ++load->keys;
        for (int digit = KEY_DIGITS; digit-- > 0; key /= 10) {
            batch[load->key_at[i] + (size_t)digit] = (uint8_t)('0' + key % 10);
        }
    }
    store_u32(batch + CRC_AT, crc32c(0, batch + CRC_AT + 4, load->batch_len - CRC_AT - 4));
}

static void build_fetch(struct load *load)
{
    struct fetch_request_partition partition;
    fetch_request_partition_init(&partition);
    partition.partition_max_bytes = load->batch_bytes;
    struct fetch_request_topic topic = {
        .topic = str_of(load->topic), .partitions = &partition, .partitions_n = 1};
    struct fetch_request request;
    fetch_request_init(&request);
    request.replica_id = -1;
    request.max_wait_ms = 500;
    request.min_bytes = 1;
    request.max_bytes = load->batch_bytes;
    request.topics = &topic;
    request.topics_n = 1;
    struct writer w;
    writer_init(&w, 1 << 20);
    add_header(&w, FETCH_KEY, FETCH_VERSION);
    if (message_encode(&fetch_request_message, FETCH_VERSION, &request, &w) != OK) {
        die("encode");
    }
    finish(&w);
    load->request = w.data;
    load->request_len = w.len;
    load->offset_at = w.len - 12; /* offset i64, max bytes i32 */
}

/* ---- connections ---- */

/* Asks for the topic's metadata until it has a leader: creates it on the way. */
static void await_topic(const struct load *load)
{
    int fd = connect_to(&load->address);
    struct metadata_request_topic topic = {.name = str_of(load->topic)};
    struct metadata_request request = {
        .topics = &topic, .topics_n = 1, .allow_auto_topic_creation = true};
    for (int i = 0; i < 600; i++) {
        struct writer w;
        writer_init(&w, 1 << 20);
        add_header(&w, METADATA_KEY, METADATA_VERSION);
        if (message_encode(&metadata_request_message, METADATA_VERSION, &request, &w) != OK) {
            die("encode");
        }
        finish(&w);
        if (send(fd, w.data, w.len, MSG_NOSIGNAL) != (ssize_t)w.len) {
            die("send");
        }
        writer_deinit(&w);
        uint8_t head[4];
        read_fully(fd, head, 4);
        size_t len = load_u32(head);
        uint8_t *answer = xmalloc(len);
        read_fully(fd, answer, len);
        struct reader reader = reader_of(bytes_of(answer, len));
        struct arena arena;
        struct metadata_response response;
        arena_init(&arena, 64 << 20);
        (void)reader_i32(&reader);
        err e = message_decode(&metadata_response_message, METADATA_VERSION, &reader, &arena,
                               &response);
        bool ready = e == OK && response.topics_n == 1 && response.topics[0].error_code == 0 &&
                     response.topics[0].partitions_n > 0 &&
                     response.topics[0].partitions[0].leader_id >= 0;
        arena_deinit(&arena);
        free(answer);
        if (ready) {
            close(fd);
            return;
        }
        usleep(50000);
    }
    fprintf(stderr, "topic %s has no leader\n", load->topic);
    exit(1);
}

/* Sends what can be sent of the request that is due. */
static void send_some(struct load *load, struct link_state *l, int epoll_fd)
{
    while (l->sent < load->request_len) {
        uint8_t *request = load->request;
        if (load->fetch) {
            store_u64(request + load->offset_at, (uint64_t)l->offset);
        }
        ssize_t n = send(l->fd, request + l->sent, load->request_len - l->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            break;
        }
        if (n <= 0) {
            die("send");
        }
        l->sent += (size_t)n;
    }
    bool wants_out = l->sent < load->request_len;
    if (wants_out != l->wants_out) {
        struct epoll_event event = {.events = wants_out ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                    .data.ptr = l};
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, l->fd, &event);
        l->wants_out = wants_out;
    }
}

static void check_produced(struct load *load, struct reader *reader, struct arena *arena)
{
    struct produce_response response;
    err e = message_decode(&produce_response_message, PRODUCE_VERSION, reader, arena, &response);
    if (e != OK || response.topics[0].partitions[0].error_code != 0) {
        load->errors++;
    }
    load->bytes += load->batch_len;
}

/* Whole batches count, and say where to go on; the broker may cut the last one. */
static void check_fetched(struct load *load, struct link_state *l, struct reader *reader,
                          struct arena *arena)
{
    struct fetch_response response;
    err e = message_decode(&fetch_response_message, FETCH_VERSION, reader, arena, &response);
    if (e != OK || response.topics[0].partitions[0].error_code != 0) {
        load->errors++;
        l->offset = 0;
        return;
    }
    struct bytes records = response.topics[0].partitions[0].records.data;
    size_t at = 0;
    while (records.len - at >= BATCH_HEADER_BYTES) {
        struct batch batch;
        batch_parse(records.data + at, &batch);
        if ((size_t)batch.size_bytes > records.len - at) {
            break;
        }
        l->offset = batch_last_offset(&batch) + 1;
        at += (size_t)batch.size_bytes;
    }
    load->bytes += at;
    if (l->offset >= response.topics[0].partitions[0].high_watermark) {
        l->offset = 0; /* again from the start, without a wait for more */
    }
}

static void check_answer(struct load *load, struct link_state *l)
{
    struct reader reader = reader_of(bytes_of(l->answer, l->answer_len));
    struct arena arena;
    arena_init(&arena, 1 << 20);
    (void)reader_i32(&reader); /* the correlation id */
    if (load->fetch) {
        check_fetched(load, l, &reader, &arena);
    } else {
        check_produced(load, &reader, &arena);
    }
    arena_deinit(&arena);
}

/* True when a whole answer has come. */
static bool receive_some(struct load *load, struct link_state *l)
{
    if (l->head_len < 4) {
        ssize_t n = recv(l->fd, l->head + l->head_len, 4 - l->head_len, MSG_DONTWAIT);
        if (n <= 0) {
            if (n < 0 && errno == EAGAIN) {
                return false;
            }
            die("recv");
        }
        l->head_len += (size_t)n;
        if (l->head_len < 4) {
            return false;
        }
        l->left = load_u32(l->head);
        l->answer = xrealloc(l->answer, l->left);
        l->answer_len = 0;
    }
    while (l->left > 0) {
        ssize_t n = recv(l->fd, l->answer + l->answer_len, l->left, MSG_DONTWAIT);
        if (n <= 0) {
            if (n < 0 && errno == EAGAIN) {
                return false;
            }
            die("recv");
        }
        l->answer_len += (size_t)n;
        l->left -= (uint32_t)n;
    }
    l->head_len = 0;
    check_answer(load, l);
    return true;
}

static void begin(struct load *load, struct link_state *l, int epoll_fd, double due)
{
    l->active = true;
    l->sent = 0;
    l->due = due;
    if (load->keys_max > 0) {
        number_keys(load);
    }
    send_some(load, l, epoll_fd);
}

/* Begins what is due by now. */
static void begin_due(struct load *load, struct link_state *links, int epoll_fd, double *next_due,
                      size_t *turn)
{
    while (*next_due <= now_s()) {
        struct link_state *l = &links[*turn % (size_t)load->conns_n];
        if (l->active) {
            return; /* all are busy: it is late, and counts from when it was due */
        }
        (*turn)++;
        begin(load, l, epoll_fd, *next_due);
        *next_due += 1 / load->rate;
    }
}

static void handle_event(struct load *load, struct link_state *l, int epoll_fd, uint32_t events)
{
    if ((events & EPOLLOUT) != 0) {
        send_some(load, l, epoll_fd);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0 || !receive_some(load, l)) {
        return;
    }
    load->requests++;
    double done = now_s();
    samples_add(&load->latencies, (done - l->due) * 1e6);
    l->active = false;
    if (load->rate <= 0) {
        begin(load, l, epoll_fd, done);
    }
}

static bool has_sent_keys(const struct load *load)
{
    return (double)load->requests * records_per_batch(load) >= load->keys_max;
}

static void run(struct load *load)
{
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct link_state *links = xcalloc((size_t)load->conns_n, sizeof(*links));
    for (int i = 0; i < load->conns_n; i++) {
        links[i].fd = connect_to(&load->address);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &links[i]};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, links[i].fd, &event);
    }
    double cpu_start_s = cpu_of_s(load->pid);
    double start = now_s();
    double end = start + load->seconds;
    double next_due = start;
    size_t turn = 0;
    for (int i = 0; i < load->conns_n && load->rate <= 0; i++) {
        begin(load, &links[i], epoll_fd, start);
    }
    while (now_s() < end && (load->bytes_max <= 0 || (double)load->bytes < load->bytes_max) &&
           (load->keys_max <= 0 || !has_sent_keys(load))) {
        if (load->rate > 0) {
            begin_due(load, links, epoll_fd, &next_due, &turn);
        }
        struct epoll_event events[64];
        /* Under a rate it spins: a sleep would be late by more than what is measured. */
        int n = epoll_wait(epoll_fd, events, 64, load->rate > 0 ? 0 : 100);
        for (int i = 0; i < n; i++) {
            handle_event(load, events[i].data.ptr, epoll_fd, events[i].events);
        }
    }
    load->seconds = now_s() - start;
    load->cpu_s = cpu_of_s(load->pid) - cpu_start_s;
}

static bool read_codec(const char *value, enum codec *codec)
{
    static const char *const NAMES[CODEC_COUNT] = {"none", "gzip", "snappy", "lz4", "zstd"};
    for (int i = 0; i < CODEC_COUNT; i++) {
        if (strcmp(value, NAMES[i]) == 0) {
            *codec = (enum codec)i;
            return true;
        }
    }
    return false;
}

static bool read_option(struct load *load, const char *arg)
{
    const char *value;
    if (option_is(arg, "host", &value)) {
        load->host = value;
    } else if (option_is(arg, "port", &value)) {
        load->port = atoi(value);
    } else if (option_is(arg, "topic", &value)) {
        load->topic = value;
    } else if (option_is(arg, "batch", &value)) {
        load->batch_bytes = atoi(value);
    } else if (option_is(arg, "record", &value)) {
        load->record_bytes = atoi(value);
    } else if (option_is(arg, "codec", &value)) {
        return read_codec(value, &load->codec);
    } else if (option_is(arg, "connections", &value)) {
        load->conns_n = atoi(value);
    } else if (option_is(arg, "seconds", &value)) {
        load->seconds = atof(value);
    } else if (option_is(arg, "keys", &value)) {
        load->keys_max = atof(value);
    } else if (option_is(arg, "bytes_max", &value)) {
        load->bytes_max = atof(value);
    } else if (option_is(arg, "rate", &value)) {
        load->rate = atof(value);
    } else if (option_is(arg, "acks", &value)) {
        load->acks = atoi(value);
    } else if (option_is(arg, "pid", &value)) {
        load->pid = atoi(value);
    } else {
        return false;
    }
    return true;
}

static void read_arguments(struct load *load, int argc, char **argv)
{
    bool good = argc >= 2 && (strcmp(argv[1], "produce") == 0 || strcmp(argv[1], "fetch") == 0);
    for (int i = 2; i < argc && good; i++) {
        good = read_option(load, argv[i]);
    }
    good = good && load->port > 0 && load->topic != NULL && load->conns_n > 0 &&
           load->record_bytes > 0 && load->batch_bytes > 0 && load->acks != 0 &&
           (load->keys_max <= 0 || (load->conns_n == 1 && load->codec == CODEC_NONE));
    load->address.sin_family = AF_INET;
    load->address.sin_port = htons((uint16_t)load->port);
    if (!good || inet_pton(AF_INET, load->host, &load->address.sin_addr) != 1) {
        fprintf(stderr, "usage: load produce|fetch port=N topic=NAME [name=value...]; the options "
                        "are at the top of bench/load.c\n");
        exit(2);
    }
    load->fetch = strcmp(argv[1], "fetch") == 0;
}

int main(int argc, char **argv)
{
    struct load load = {.host = "127.0.0.1",
                        .batch_bytes = 64 << 10,
                        .record_bytes = 1024,
                        .conns_n = 1,
                        .seconds = 5,
                        .acks = -1};
    read_arguments(&load, argc, argv);
    samples_init(&load.latencies);
    await_topic(&load);
    if (load.fetch) {
        build_fetch(&load);
    } else {
        build_produce(&load);
        load.records = (uint64_t)records_per_batch(&load);
    }
    run(&load);
    load.records *= load.requests;
    samples_sort(&load.latencies);
    printf("{\"requests\": %llu, \"records\": %llu, \"bytes\": %llu, \"raw_bytes\": %llu, "
           "\"errors\": %llu, "
           "\"seconds\": %.4f, \"cpu_s\": %.6f, \"p50_us\": %d, \"p99_us\": %d, "
           "\"p999_us\": %d}\n",
           (unsigned long long)load.requests, (unsigned long long)load.records,
           (unsigned long long)load.bytes, (unsigned long long)(load.raw_len * load.requests),
           (unsigned long long)load.errors, load.seconds, load.cpu_s,
           samples_quantile(&load.latencies, 0.5), samples_quantile(&load.latencies, 0.99),
           samples_quantile(&load.latencies, 0.999));
    return load.errors == 0 ? 0 : 1;
}
