/* A load generator: a raw client that sends pre-encoded requests and counts, so that what is
 * measured is the broker.
 *
 *   load produce HOST PORT TOPIC BATCH_BYTES RECORD_BYTES CONNECTIONS SECONDS [RATE] [ACKS]
 *   load fetch   HOST PORT TOPIC MAX_BYTES   0            CONNECTIONS SECONDS
 *
 * RATE is requests a second over all connections, 0 as fast as answers come (one request under way
 * per connection). Latencies under a rate count from when the request was due (open loop).
 * Prints one line of JSON. One thread, epoll; the topic has one partition per connection, or one. */
#define _GNU_SOURCE
#include "protocol/batch.h"
#include "protocol/codec.h"
#include "protocol/messages.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PRODUCE_KEY = 0,
    PRODUCE_VERSION = 7,
    FETCH_KEY = 1,
    FETCH_VERSION = 4,
    METADATA_KEY = 3,
    METADATA_VERSION = 4,
    SAMPLES_MAX = 4 << 20,
    READ_BYTES = 1 << 20,
};

struct load {
    bool fetch;
    struct sockaddr_in address;
    const char *topic;
    int batch_bytes;
    int record_bytes;
    int conns_n;
    double seconds;
    double rate;
    int acks;
    uint8_t *request;
    size_t request_len;
    size_t offset_at; /* where the fetch offset stands in a request */
    int32_t *samples_us;
    size_t samples_n;
    uint64_t requests;
    uint64_t bytes;
    uint64_t records;
    uint64_t errors;
};

struct link_state {
    int fd;
    size_t sent; /* of the request; == request_len: waits for the answer */
    bool active;
    double due; /* when the request was due */
    uint8_t head[4];
    size_t head_len;
    uint32_t left; /* of the answer */
    uint8_t *answer;
    size_t answer_len;
    int64_t offset;
    int32_t partition;
};

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

__attribute__((noreturn)) static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- requests ---- */

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
    int n = (load->batch_bytes - BATCH_HEADER_BYTES) / (load->record_bytes + 12);
    return n < 1 ? 1 : n;
}

static void build_produce(struct load *load)
{
    uint8_t *value = xmalloc((size_t)load->record_bytes);
    for (int i = 0; i < load->record_bytes; i++) {
        value[i] = (uint8_t)("abcdefghijklmnopqrstuvwxyz"[(i * 7 + i / 26) % 26]);
    }
    struct writer batch;
    struct batch_builder builder;
    writer_init(&batch, 256 << 20);
    batch_begin(&builder, &batch, 0);
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    for (int i = 0; i < records_per_batch(load); i++) {
        batch_add(&builder, (int64_t)ts.tv_sec * 1000, (struct bytes){0},
                  bytes_of(value, (size_t)load->record_bytes));
    }
    if (batch_end(&builder) != OK) {
        die("batch");
    }
    struct produce_request_partition partition = {
        .index = 0, .records.data = bytes_of(batch.data, batch.len)};
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
    load->bytes = batch.len; /* per request; turned into a total at the end */
    free(value);
    writer_deinit(&batch);
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

static int connect_to(const struct load *load)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    if (fd < 0 || connect(fd, (const struct sockaddr *)&load->address,
                          sizeof(load->address)) != 0) {
        die("connect");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static void read_fully(int fd, uint8_t *data, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = recv(fd, data + done, len - done, 0);
        if (n <= 0) {
            die("recv");
        }
        done += (size_t)n;
    }
}

/* Asks for the topic's metadata until it has a leader: creates it on the way. */
static void await_topic(const struct load *load)
{
    int fd = connect_to(load);
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

static void note_latency(struct load *load, double us)
{
    if (load->samples_n < SAMPLES_MAX) {
        load->samples_us[load->samples_n++] = us > 2e9 ? INT32_MAX : (int32_t)us;
    }
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
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = l};
    if (l->sent < load->request_len) {
        event.events |= EPOLLOUT;
    }
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, l->fd, &event);
}

/* The first bytes of an answer tell whether it is one; a fetch's records say how far they reach. */
static void check_answer(struct load *load, struct link_state *l)
{
    struct reader reader = reader_of(bytes_of(l->answer, l->answer_len));
    struct arena arena;
    arena_init(&arena, 1 << 20);
    (void)reader_i32(&reader);
    if (!load->fetch) {
        struct produce_response response;
        if (message_decode(&produce_response_message, PRODUCE_VERSION, &reader, &arena,
                           &response) != OK ||
            response.topics[0].partitions[0].error_code != 0) {
            load->errors++;
        }
    } else {
        struct fetch_response response;
        if (message_decode(&fetch_response_message, FETCH_VERSION, &reader, &arena, &response) !=
                OK ||
            response.topics[0].partitions[0].error_code != 0) {
            load->errors++;
            l->offset = 0;
        } else {
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
            load->bytes += records.len;
            if (records.len == 0) {
                l->offset = 0; /* the end: again from the start */
            }
        }
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
    send_some(load, l, epoll_fd);
}

static void run(struct load *load)
{
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct link_state *links = xcalloc((size_t)load->conns_n, sizeof(*links));
    double start = now_s();
    double end = start + load->seconds;
    double interval = load->rate > 0 ? 1 / load->rate : 0;
    double next_due = start;
    for (int i = 0; i < load->conns_n; i++) {
        links[i].fd = connect_to(load);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &links[i]};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, links[i].fd, &event);
        if (interval == 0) {
            begin(load, &links[i], epoll_fd, now_s());
        }
    }
    int turn = 0;
    for (double now = now_s(); now < end; now = now_s()) {
        while (interval > 0 && next_due <= now) {
            struct link_state *l = &links[turn % load->conns_n];
            if (l->active) {
                break; /* all are busy: it is late, and counts from when it was due */
            }
            turn++;
            begin(load, l, epoll_fd, next_due);
            next_due += interval;
        }
        struct epoll_event events[64];
        int wait_ms = interval > 0 ? 0 : 100;
        int n = epoll_wait(epoll_fd, events, 64, wait_ms);
        for (int i = 0; i < n; i++) {
            struct link_state *l = events[i].data.ptr;
            if ((events[i].events & EPOLLOUT) != 0) {
                send_some(load, l, epoll_fd);
            }
            if ((events[i].events & EPOLLIN) == 0 || !receive_some(load, l)) {
                continue;
            }
            load->requests++;
            double done = now_s();
            note_latency(load, (done - l->due) * 1e6);
            l->active = false;
            if (interval == 0 && done < end) {
                begin(load, l, epoll_fd, done);
            }
        }
    }
    load->seconds = now_s() - start;
}

static int compare(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a;
    int32_t y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static int32_t quantile(const struct load *load, double q)
{
    if (load->samples_n == 0) {
        return 0;
    }
    return load->samples_us[(size_t)((double)(load->samples_n - 1) * q)];
}

int main(int argc, char **argv)
{
    if (argc < 9) {
        fprintf(stderr, "usage: load produce|fetch HOST PORT TOPIC BATCH_BYTES RECORD_BYTES "
                        "CONNECTIONS SECONDS [RATE] [ACKS]\n");
        return 2;
    }
    struct load load = {.fetch = strcmp(argv[1], "fetch") == 0,
                        .topic = argv[4],
                        .batch_bytes = atoi(argv[5]),
                        .record_bytes = atoi(argv[6]),
                        .conns_n = atoi(argv[7]),
                        .seconds = atof(argv[8]),
                        .rate = argc > 9 ? atof(argv[9]) : 0,
                        .acks = argc > 10 ? atoi(argv[10]) : -1};
    load.address.sin_family = AF_INET;
    load.address.sin_port = htons((uint16_t)atoi(argv[3]));
    if (inet_pton(AF_INET, argv[2], &load.address.sin_addr) != 1) {
        die("address");
    }
    load.samples_us = xcalloc(SAMPLES_MAX, sizeof(*load.samples_us));
    await_topic(&load);
    if (load.fetch) {
        build_fetch(&load);
    } else {
        build_produce(&load);
    }
    run(&load);
    if (!load.fetch) {
        load.records = load.requests * (uint64_t)records_per_batch(&load);
        load.bytes *= load.requests;
    }
    qsort(load.samples_us, load.samples_n, sizeof(*load.samples_us), compare);
    printf("{\"requests\": %llu, \"records\": %llu, \"bytes\": %llu, \"errors\": %llu, "
           "\"seconds\": %.4f, \"p50_us\": %d, \"p99_us\": %d, \"p999_us\": %d}\n",
           (unsigned long long)load.requests, (unsigned long long)load.records,
           (unsigned long long)load.bytes, (unsigned long long)load.errors, load.seconds,
           quantile(&load, 0.5), quantile(&load, 0.99), quantile(&load, 0.999));
    return load.errors == 0 ? 0 : 1;
}
