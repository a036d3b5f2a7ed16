/* A load generator of transactions: a raw client like bench/load, which sends requests encoded beforehand.
 *
 *   txn cycle port=N topic=NAME [name=value...]   transactions, one after the other on each connection
 *   txn ids port=N topic=NAME [name=value...]     InitProducerId of many ids, each once
 *
 *   host=127.0.0.1
 *   connections=1    cycle: each has a transactional id of its own, NAME-0, NAME-1, …
 *   partitions=1     cycle: how many a transaction has; into each goes one record, all in one Produce
 *   record=100       bytes of a value
 *   seconds=5        cycle: how long
 *   rate=0           cycle: so many a second over all connections; 0: as fast as answers come
 *   again_us=0       cycle: AddPartitionsToTxn that was answered CONCURRENT_TRANSACTIONS is sent again after this
 *   described=0      cycle: 1: the end is when DescribeTransactions says CompleteCommit, asked every 200 µs
 *   ids=100000       ids: NAME-0 and so on
 *   pid=0            a process whose CPU time over the run is told: the broker's
 *
 * A cycle begins with a transaction that has its partitions: Produce, EndTxn (commit), and AddPartitionsToTxn for
 * the next, until that is accepted. With `described` it is the whole of one: AddPartitionsToTxn, Produce, EndTxn,
 * and DescribeTransactions. Under a rate a cycle counts from when it was due, and the client spins. One thread,
 * epoll. Prints one line of JSON; any answer that is an error ends the program with status 1. */
#define _GNU_SOURCE
#include "bench/client.h"
#include "protocol/batch.h"
#include "protocol/exchange.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    ANSWER_BYTES_MAX = 64 << 10,
    SETUP_TRIES = 3000,
    SETUP_PAUSE_US = 10000,
    DESCRIBE_PAUSE_US = 200,
    TIMEOUT_MS = 60000,
};

static const struct exchange PRODUCE = {.api_key = 0, .version = 7};
static const struct exchange FIND_COORDINATOR = {.api_key = 10, .version = 4};
static const struct exchange INIT_PRODUCER_ID = {.api_key = 22, .version = 4};
static const struct exchange ADD_PARTITIONS = {.api_key = 24, .version = 3};
static const struct exchange END_TXN = {.api_key = 26, .version = 3};
static const struct exchange DESCRIBE = {.api_key = 65, .version = 0};

enum step { IDLE, PRODUCING, ENDING, ADDING, DESCRIBING, INITIALIZING };

struct load {
    const char *host;
    int port;
    struct sockaddr_in address;
    const char *topic;
    int conns_n;
    int32_t partitions_n;
    int record_bytes;
    double seconds;
    double rate;
    double again_us;
    bool described;
    int ids_n;
    int pid;

    int epoll_fd;
    bool over; /* nothing counts any more */
    struct arena arena;
    size_t batch_bytes;
    double cpu_s;
    double before_s;       /* until the run began */
    double after_s;        /* until all had ended, after it */
    struct samples ends;   /* EndTxn, from sending to its answer */
    struct samples cycles; /* of whole ones */
    struct samples
        waits; /* of those that met CONCURRENT_TRANSACTIONS: until AddPartitionsToTxn was accepted */
    uint64_t again; /* how often AddPartitionsToTxn was sent again */
    int next_id;    /* ids */
    int ids_done;
};

struct link_state {
    int fd;
    enum step step;
    char id[64];
    int64_t producer_id;
    int16_t epoch;
    int32_t sequence;
    struct writer add;
    struct writer produce;
    struct writer end;
    struct writer describe;
    double due;
    double sent;      /* EndTxn, or the first AddPartitionsToTxn */
    bool met;         /* that one was answered CONCURRENT_TRANSACTIONS */
    double resend_at; /* 0: an answer is awaited */
    uint8_t answer[ANSWER_BYTES_MAX];
    size_t answer_len;
};

__attribute__((noreturn)) static void refuse(const char *what, int code)
{
    fprintf(stderr, "%s: error %d\n", what, code);
    exit(1);
}

/* ---- requests ---- */

static void encode(struct writer *w, const struct exchange *exchange, const void *request)
{
    writer_clear(w);
    writer_i32(w, 0);
    if (exchange_encode(exchange, STR("bench"), request, w) != OK || w->failed) {
        refuse("encode", exchange->api_key);
    }
    store_u32(w->data, (uint32_t)(w->len - 4));
}

static void encode_init(struct writer *w, const struct link_state *l)
{
    struct init_producer_id_request request;
    message_init(&init_producer_id_request_message, &request);
    request.transactional_id = str_of(l->id);
    request.transaction_timeout_ms = TIMEOUT_MS;
    request.producer_epoch = -1;
    encode(w, &INIT_PRODUCER_ID, &request);
}

static void encode_add(const struct load *load, struct link_state *l)
{
    int32_t *indexes = xcalloc((size_t)load->partitions_n, sizeof(*indexes));
    for (int32_t i = 0; i < load->partitions_n; i++) {
        indexes[i] = i;
    }
    struct add_partitions_to_txn_request_topic topic = {
        .name = str_of(load->topic), .partitions = indexes, .partitions_n = load->partitions_n};
    struct add_partitions_to_txn_request request = {
        .v3_and_below_transactional_id = str_of(l->id),
        .v3_and_below_producer_id = l->producer_id,
        .v3_and_below_producer_epoch = l->epoch,
        .v3_and_below_topics = &topic,
        .v3_and_below_topics_n = 1,
    };
    encode(&l->add, &ADD_PARTITIONS, &request);
    free(indexes);
}

static void encode_produce(struct load *load, struct link_state *l)
{
    struct writer batch;
    struct batch_builder builder;
    uint8_t *value = xmalloc((size_t)load->record_bytes);
    memset(value, 'v', (size_t)load->record_bytes);
    writer_init(&batch, 1 << 20);
    batch_begin(&builder, &batch, BATCH_TRANSACTIONAL);
    builder.producer_id = l->producer_id;
    builder.producer_epoch = l->epoch;
    builder.base_sequence = 0;
    batch_add(&builder, (int64_t)time(NULL) * 1000, (struct bytes){0},
              bytes_of(value, (size_t)load->record_bytes));
    if (batch_end(&builder) != OK) {
        refuse("batch", 0);
    }
    struct produce_request_partition *partitions =
        xcalloc((size_t)load->partitions_n, sizeof(*partitions));
    for (int32_t i = 0; i < load->partitions_n; i++) {
        partitions[i].index = i;
        partitions[i].records.data = bytes_of(batch.data, batch.len);
    }
    struct produce_request_topic topic = {
        .name = str_of(load->topic), .partitions = partitions, .partitions_n = load->partitions_n};
    struct produce_request request = {.transactional_id = str_of(l->id),
                                      .acks = -1,
                                      .timeout_ms = 30000,
                                      .topics = &topic,
                                      .topics_n = 1};
    encode(&l->produce, &PRODUCE, &request);
    load->batch_bytes = batch.len;
    free(partitions);
    free(value);
    writer_deinit(&batch);
}

/* The next sequence number into every batch: they stand at the end, before each an index and a length. */
static void number_batches(const struct load *load, struct link_state *l)
{
    uint8_t *end = l->produce.data + l->produce.len;
    for (int32_t i = 0; i < load->partitions_n; i++) {
        uint8_t *batch = end - load->batch_bytes - (size_t)i * (load->batch_bytes + 8);
        store_u32(batch + 53, (uint32_t)l->sequence);
        batch_crc_update(batch, load->batch_bytes);
    }
    l->sequence++;
}

static void encode_requests(struct load *load, struct link_state *l)
{
    struct str id = str_of(l->id);
    struct end_txn_request end = {.transactional_id = id,
                                  .producer_id = l->producer_id,
                                  .producer_epoch = l->epoch,
                                  .committed = true};
    struct describe_transactions_request describe = {.transactional_ids = &id,
                                                     .transactional_ids_n = 1};
    encode_add(load, l);
    encode_produce(load, l);
    encode(&l->end, &END_TXN, &end);
    encode(&l->describe, &DESCRIBE, &describe);
}

/* ---- answers ---- */

static void decode(struct load *load, const struct exchange *exchange, const struct link_state *l,
                   void *response)
{
    arena_reset(&load->arena, 16 << 20);
    if (exchange_decode(exchange, bytes_of(l->answer + 4, l->answer_len - 4), &load->arena,
                        response) != OK) {
        refuse("an answer that cannot be decoded", exchange->api_key);
    }
}

static int init_code(struct load *load, struct link_state *l)
{
    struct init_producer_id_response response;
    decode(load, &INIT_PRODUCER_ID, l, &response);
    l->producer_id = response.producer_id;
    l->epoch = response.producer_epoch;
    return response.error_code;
}

static int add_code(struct load *load, const struct link_state *l)
{
    struct add_partitions_to_txn_response response;
    decode(load, &ADD_PARTITIONS, l, &response);
    const struct add_partitions_to_txn_response_topic_result *topic =
        response.results_by_topic_v3_and_below;
    for (int32_t i = 0; i < topic->results_by_partition_n; i++) {
        if (topic->results_by_partition[i].partition_error_code != 0) {
            return topic->results_by_partition[i].partition_error_code;
        }
    }
    return 0;
}

static int produce_code(struct load *load, const struct link_state *l)
{
    struct produce_response response;
    decode(load, &PRODUCE, l, &response);
    for (int32_t i = 0; i < response.topics[0].partitions_n; i++) {
        if (response.topics[0].partitions[i].error_code != 0) {
            return response.topics[0].partitions[i].error_code;
        }
    }
    return 0;
}

static int end_code(struct load *load, const struct link_state *l)
{
    struct end_txn_response response;
    decode(load, &END_TXN, l, &response);
    return response.error_code;
}

static bool is_complete(struct load *load, const struct link_state *l)
{
    struct describe_transactions_response response;
    decode(load, &DESCRIBE, l, &response);
    if (response.transaction_states[0].error_code != 0) {
        refuse("DescribeTransactions", response.transaction_states[0].error_code);
    }
    return str_is(response.transaction_states[0].transaction_state, "CompleteCommit");
}

/* ---- connections ---- */

static void send_all(const struct link_state *l, const struct writer *request)
{
    for (size_t done = 0; done < request->len;) {
        ssize_t n = send(l->fd, request->data + done, request->len - done, MSG_NOSIGNAL);
        if (n <= 0) {
            die("send");
        }
        done += (size_t)n;
    }
}

/* True when a whole answer has come. */
static bool receive_some(struct link_state *l, int flags)
{
    ssize_t n = recv(l->fd, l->answer + l->answer_len, sizeof(l->answer) - l->answer_len, flags);
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN) {
            return false;
        }
        die("recv");
    }
    l->answer_len += (size_t)n;
    if (l->answer_len < 4) {
        return false;
    }
    size_t len = 4 + load_u32(l->answer);
    if (len > sizeof(l->answer)) {
        refuse("an answer too large", 0);
    }
    return l->answer_len == len;
}

static void ask(struct link_state *l, const struct writer *request)
{
    l->answer_len = 0;
    send_all(l, request);
}

static void ask_and_wait(struct link_state *l, const struct writer *request)
{
    ask(l, request);
    while (!receive_some(l, 0)) {
    }
}

static struct link_state *open_links(struct load *load)
{
    struct link_state *links = xcalloc((size_t)load->conns_n, sizeof(*links));
    load->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < load->conns_n; i++) {
        struct link_state *l = &links[i];
        l->fd = connect_to(&load->address);
        snprintf(l->id, sizeof(l->id), "%s-%d", load->topic, i);
        writer_init(&l->add, 1 << 20);
        writer_init(&l->produce, 16 << 20);
        writer_init(&l->end, 1 << 20);
        writer_init(&l->describe, 1 << 20);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = l};
        epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, l->fd, &event);
    }
    return links;
}

/* ---- before anything counts ---- */

/* The topic of transactional ids is made when first somebody asks for a coordinator. */
static void await_coordinator(struct load *load, struct link_state *l)
{
    struct str key = str_of(l->id);
    struct find_coordinator_request request = {
        .key_type = 1, .coordinator_keys = &key, .coordinator_keys_n = 1};
    struct find_coordinator_response response;
    struct writer w;
    writer_init(&w, 1 << 20);
    encode(&w, &FIND_COORDINATOR, &request);
    for (int i = 0;; i++) {
        ask_and_wait(l, &w);
        decode(load, &FIND_COORDINATOR, l, &response);
        if (response.coordinators[0].error_code == 0) {
            break;
        }
        if (i == SETUP_TRIES) {
            refuse("FindCoordinator", response.coordinators[0].error_code);
        }
        usleep(SETUP_PAUSE_US);
    }
    writer_deinit(&w);
}

static void await_producer_id(struct load *load, struct link_state *l)
{
    struct writer w;
    writer_init(&w, 1 << 20);
    encode_init(&w, l);
    for (int i = 0;; i++) {
        ask_and_wait(l, &w);
        int code = init_code(load, l);
        if (code == 0) {
            break;
        }
        if (i == SETUP_TRIES) {
            refuse("InitProducerId", code);
        }
        usleep(SETUP_PAUSE_US);
    }
    writer_deinit(&w);
}

static void await_partitions(struct load *load, struct link_state *l)
{
    for (int i = 0;; i++) {
        ask_and_wait(l, &l->add);
        int code = add_code(load, l);
        if (code == 0) {
            return;
        }
        if (i == SETUP_TRIES) {
            refuse("AddPartitionsToTxn", code);
        }
        usleep(SETUP_PAUSE_US);
    }
}

static void set_up(struct load *load, struct link_state *l)
{
    await_coordinator(load, l);
    await_producer_id(load, l);
    encode_requests(load, l);
    if (!load->described) {
        await_partitions(load, l);
    }
}

/* ---- cycles ---- */

static void begin(struct load *load, struct link_state *l, double due)
{
    l->due = due;
    number_batches(load, l);
    l->met = false;
    l->step = load->described ? ADDING : PRODUCING;
    l->sent = due;
    ask(l, load->described ? &l->add : &l->produce);
}

static void finish(struct load *load, struct link_state *l, double now)
{
    l->step = IDLE;
    if (load->over) {
        return;
    }
    samples_add(&load->cycles, (now - l->due) * 1e6);
    if (load->rate <= 0) {
        begin(load, l, now);
    }
}

static void resend(struct link_state *l)
{
    l->resend_at = 0;
    ask(l, l->step == DESCRIBING ? &l->describe : &l->add);
}

static void resend_after(struct link_state *l, double now, double us)
{
    if (us > 0) {
        l->resend_at = now + us / 1e6;
    } else {
        resend(l);
    }
}

static void step_produced(struct load *load, struct link_state *l)
{
    int code = produce_code(load, l);
    if (code != 0) {
        refuse("Produce", code);
    }
    l->step = ENDING;
    l->sent = now_s();
    ask(l, &l->end);
}

static void step_ended(struct load *load, struct link_state *l)
{
    double now = now_s();
    int code = end_code(load, l);
    if (code != 0) {
        refuse("EndTxn", code);
    }
    if (!load->over) {
        samples_add(&load->ends, (now - l->sent) * 1e6);
    }
    l->step = load->described ? DESCRIBING : ADDING;
    l->met = false;
    l->sent = now;
    ask(l, load->described ? &l->describe : &l->add);
}

static void step_added(struct load *load, struct link_state *l)
{
    double now = now_s();
    int code = add_code(load, l);
    if (code == 51) {
        l->met = true;
        load->again += load->over ? 0 : 1;
        resend_after(l, now, load->again_us);
        return;
    }
    if (code != 0) {
        refuse("AddPartitionsToTxn", code);
    }
    if (l->met && !load->over) {
        samples_add(&load->waits, (now - l->sent) * 1e6);
    }
    if (load->described) {
        l->step = PRODUCING;
        ask(l, &l->produce);
    } else {
        finish(load, l, now);
    }
}

static void step_described(struct load *load, struct link_state *l)
{
    double now = now_s();
    if (is_complete(load, l)) {
        finish(load, l, now);
    } else {
        resend_after(l, now, DESCRIBE_PAUSE_US);
    }
}

/* ---- many ids ---- */

static void begin_id(struct load *load, struct link_state *l)
{
    if (load->next_id == load->ids_n) {
        l->step = IDLE;
        return;
    }
    l->step = INITIALIZING;
    snprintf(l->id, sizeof(l->id), "%s-%d", load->topic, load->next_id++);
    encode_init(&l->add, l);
    ask(l, &l->add);
}

static void step_initialized(struct load *load, struct link_state *l)
{
    int code = init_code(load, l);
    if (code == 14 || code == 51) { /* no ids at hand yet */
        usleep(1000);
        ask(l, &l->add);
        return;
    }
    if (code != 0) {
        refuse("InitProducerId", code);
    }
    load->ids_done++;
    begin_id(load, l);
}

/* ---- the run ---- */

static void step(struct load *load, struct link_state *l)
{
    switch (l->step) {
    case PRODUCING:
        step_produced(load, l);
        break;
    case ENDING:
        step_ended(load, l);
        break;
    case ADDING:
        step_added(load, l);
        break;
    case DESCRIBING:
        step_described(load, l);
        break;
    case INITIALIZING:
        step_initialized(load, l);
        break;
    case IDLE:
        refuse("an answer that nobody awaits", 0);
    }
}

static bool spins(const struct load *load)
{
    return load->rate > 0 || load->again_us > 0 || load->described;
}

static void turn(struct load *load, struct link_state *links)
{
    struct epoll_event events[64];
    int n = epoll_wait(load->epoll_fd, events, 64, spins(load) ? 0 : 100);
    for (int i = 0; i < n; i++) {
        if (receive_some(events[i].data.ptr, MSG_DONTWAIT)) {
            step(load, events[i].data.ptr);
        }
    }
    if (!spins(load)) {
        return;
    }
    double now = now_s();
    for (int i = 0; i < load->conns_n; i++) {
        if (links[i].resend_at > 0 && links[i].resend_at <= now) {
            resend(&links[i]);
        }
    }
}

/* Begins what is due by now; what finds no connection at rest is late, and counts from when it was due. */
static void begin_due(struct load *load, struct link_state *links, double *next_due, size_t *at)
{
    while (*next_due <= now_s()) {
        struct link_state *l = &links[*at % (size_t)load->conns_n];
        if (l->step != IDLE) {
            return;
        }
        (*at)++;
        begin(load, l, *next_due);
        *next_due += 1 / load->rate;
    }
}

static bool all_idle(const struct load *load, const struct link_state *links)
{
    for (int i = 0; i < load->conns_n; i++) {
        if (links[i].step != IDLE) {
            return false;
        }
    }
    return true;
}

static void run_cycles(struct load *load, struct link_state *links)
{
    double began = now_s();
    for (int i = 0; i < load->conns_n; i++) {
        set_up(load, &links[i]);
    }
    double cpu_start_s = cpu_of_s(load->pid);
    double start = now_s();
    load->before_s = start - began;
    double next_due = start;
    size_t at = 0;
    for (int i = 0; i < load->conns_n && load->rate <= 0; i++) {
        begin(load, &links[i], start);
    }
    while (now_s() < start + load->seconds) {
        if (load->rate > 0) {
            begin_due(load, links, &next_due, &at);
        }
        turn(load, links);
    }
    load->seconds = now_s() - start;
    load->cpu_s = cpu_of_s(load->pid) - cpu_start_s;
    load->over = true;
    while (!all_idle(load, links)) {
        turn(load, links);
    }
    for (int i = 0; i < load->conns_n && !load->described; i++) {
        ask_and_wait(&links[i], &links[i].end);
    }
    load->after_s = now_s() - start - load->seconds;
}

static void run_ids(struct load *load, struct link_state *links)
{
    await_coordinator(load, &links[0]);
    double cpu_start_s = cpu_of_s(load->pid);
    double start = now_s();
    for (int i = 0; i < load->conns_n; i++) {
        begin_id(load, &links[i]);
    }
    while (load->ids_done < load->ids_n) {
        turn(load, links);
    }
    load->seconds = now_s() - start;
    load->cpu_s = cpu_of_s(load->pid) - cpu_start_s;
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
    } else if (option_is(arg, "connections", &value)) {
        load->conns_n = atoi(value);
    } else if (option_is(arg, "partitions", &value)) {
        load->partitions_n = atoi(value);
    } else if (option_is(arg, "record", &value)) {
        load->record_bytes = atoi(value);
    } else if (option_is(arg, "seconds", &value)) {
        load->seconds = atof(value);
    } else if (option_is(arg, "rate", &value)) {
        load->rate = atof(value);
    } else if (option_is(arg, "again_us", &value)) {
        load->again_us = atof(value);
    } else if (option_is(arg, "described", &value)) {
        load->described = atoi(value) != 0;
    } else if (option_is(arg, "ids", &value)) {
        load->ids_n = atoi(value);
    } else if (option_is(arg, "pid", &value)) {
        load->pid = atoi(value);
    } else {
        return false;
    }
    return true;
}

static void read_arguments(struct load *load, int argc, char **argv)
{
    bool good = argc >= 2 && (strcmp(argv[1], "cycle") == 0 || strcmp(argv[1], "ids") == 0);
    for (int i = 2; i < argc && good; i++) {
        good = read_option(load, argv[i]);
    }
    good = good && load->port > 0 && load->topic != NULL && strlen(load->topic) < 40 &&
           load->conns_n > 0 && load->partitions_n > 0 && load->record_bytes > 0 && load->ids_n > 0;
    load->address.sin_family = AF_INET;
    load->address.sin_port = htons((uint16_t)load->port);
    if (!good || inet_pton(AF_INET, load->host, &load->address.sin_addr) != 1) {
        fprintf(stderr,
                "usage: txn cycle|ids port=N topic=NAME [name=value...]; the options are at "
                "the top of bench/txn.c\n");
        exit(2);
    }
}

static void print_cycles(struct load *load)
{
    struct samples *ends = &load->ends;
    struct samples *cycles = &load->cycles;
    struct samples *waits = &load->waits;
    samples_sort(ends);
    samples_sort(cycles);
    samples_sort(waits);
    printf("{\"cycles\": %zu, \"seconds\": %.4f, \"cpu_s\": %.6f, \"end_p50_us\": %d, "
           "\"end_p99_us\": %d, \"cycle_p50_us\": %d, \"cycle_p99_us\": %d, \"met\": %zu, "
           "\"again\": %llu, \"wait_p50_us\": %d, \"wait_p99_us\": %d, \"before_s\": %.3f, "
           "\"after_s\": %.3f}\n",
           cycles->n, load->seconds, load->cpu_s, samples_quantile(ends, 0.5),
           samples_quantile(ends, 0.99), samples_quantile(cycles, 0.5),
           samples_quantile(cycles, 0.99), waits->n, (unsigned long long)load->again,
           samples_quantile(waits, 0.5), samples_quantile(waits, 0.99), load->before_s,
           load->after_s);
}

int main(int argc, char **argv)
{
    struct load load = {.host = "127.0.0.1",
                        .conns_n = 1,
                        .partitions_n = 1,
                        .record_bytes = 100,
                        .seconds = 5,
                        .ids_n = 100000};
    read_arguments(&load, argc, argv);
    arena_init(&load.arena, 16 << 20);
    samples_init(&load.ends);
    samples_init(&load.cycles);
    samples_init(&load.waits);
    struct link_state *links = open_links(&load);
    if (strcmp(argv[1], "ids") == 0) {
        run_ids(&load, links);
        printf("{\"ids\": %d, \"seconds\": %.4f, \"cpu_s\": %.6f}\n", load.ids_done, load.seconds,
               load.cpu_s);
    } else {
        run_cycles(&load, links);
        print_cycles(&load);
    }
    return 0;
}
