/* Where a partition is led is asked of any broker, and asked again after an error; what is older than what is
 * known is passed over, as clients do since KIP-320.
 *
 * A producer is idempotent: it sends a batch again, with the same sequence numbers, until it knows. Where
 * the broker does not know the sequence any more it takes a new producer id, and what it had under way stays
 * unknown. A value is the number of its producer, then a count. */
#include "sim/workload.h"

#include "protocol/batch.h"
#include "protocol/error.h"
#include "protocol/messages.h"
#include "sim/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ACTORS_MAX = 12,
    PARTITIONS_MAX = 16,
    RECORDS_MAX = 3,
    BATCH_BYTES_MAX = 1 << 16,
    FETCH_BYTES = 16 << 10,
    FETCH_WAIT_MS = 400,
    PRODUCE_TIMEOUT_MS = 4000,
    ASK_MS = 6000,
    AGAIN_US = 100000,
    SEND_PAUSE_US = 40000,
    PRODUCE_VERSION = 7,
    FETCH_VERSION = 11,
    METADATA_VERSION = 7,
    LIST_OFFSETS_VERSION = 5,
    CREATE_TOPICS_VERSION = 4,
    INIT_PRODUCER_ID_VERSION = 1,
    ELECT_LEADERS_VERSION = 1,
    PROBE_VERSION = 12, /* of a fetch, with the epoch of what was read last */
    PROBE_EVERY = 40,
    PROBE_BEYOND = 1 << 20,
    ELECT_PAUSE_US = 1500000,
    METADATA_MS = 3000,
    NO_LEADER = -1,
};

const char WORKLOAD_TOPIC[] = "events";

struct actor {
    struct workload *workload;
    struct client client;
    struct task *task;
    int number;
    int acks;
    int leaders[PARTITIONS_MAX];
    int32_t epochs[PARTITIONS_MAX]; /* the highest that was told */
    bool leaders_known;
    bool has_read_all;
    int64_t positions[PARTITIONS_MAX];
    int32_t read_epochs[PARTITIONS_MAX]; /* of the record before; -1: none was read */

    int64_t producer_id; /* -1: none */
    int16_t producer_epoch;
    int32_t sequences[PARTITIONS_MAX];
    uint32_t sent_n;
};

struct workload {
    struct workload_config config;
    struct actor actors[ACTORS_MAX];
    int actors_n;
    bool has_topic;
    bool stop_producers;
    bool stop;
    struct workload_counts counts;
    int64_t reached[PARTITIONS_MAX]; /* behind what was promised or given to anybody */
};

static void note(struct workload *w, struct event event)
{
    if (w->config.before_note != NULL) {
        w->config.before_note(w->config.context, &event);
    }
    bool promised = event.kind == EVENT_POLL ||
                    (event.kind == EVENT_ACK && (event.acks != 1 || w->config.brokers_n == 1));
    if (promised && event.offset >= w->reached[event.partition]) {
        w->reached[event.partition] = event.offset + 1;
    }
    event.at_us = sched_now_us(w->config.sched);
    history_add(w->config.history, &event);
}

static void pause_after_error(struct actor *a, err e)
{
    trace_line(a->workload->config.trace, "client %d: error %d", a->number, e);
    a->workload->counts.errors++;
    a->leaders_known = false;
    sched_sleep(a->workload->config.sched, AGAIN_US);
}

static int any_broker(const struct workload *w)
{
    return (int)sched_below(w->config.sched, (uint64_t)w->config.brokers_n);
}

/* ---- metadata ---- */

static bool learn_leaders(struct actor *a)
{
    struct metadata_request_topic topic = {.name = str_of(WORKLOAD_TOPIC)};
    struct metadata_request request;
    struct metadata_response response;
    metadata_request_init(&request);
    request.topics = &topic;
    request.topics_n = 1;
    request.allow_auto_topic_creation = false;
    for (int i = 0; i < PARTITIONS_MAX; i++) {
        a->leaders[i] = NO_LEADER;
    }
    int broker = any_broker(a->workload);
    if (client_ask(&a->client, broker, 3, METADATA_VERSION, &request, &response, METADATA_MS) !=
            OK ||
        response.topics_n != 1 || response.topics[0].error_code != OK) {
        return false;
    }
    const struct metadata_response_topic *found = &response.topics[0];
    for (int32_t i = 0; i < found->partitions_n; i++) {
        int32_t index = found->partitions[i].partition_index;
        CHECK(index >= 0 && index < PARTITIONS_MAX);
        if (found->partitions[i].leader_epoch >= a->epochs[index]) {
            a->leaders[index] = found->partitions[i].leader_id;
            a->epochs[index] = found->partitions[i].leader_epoch;
        }
    }
    a->leaders_known = true;
    return true;
}

/* The leader, or NO_LEADER after a pause. */
static int find_leader(struct actor *a, int partition)
{
    if (!a->leaders_known && !learn_leaders(a)) {
        pause_after_error(a, E_NOT_FOUND);
        return NO_LEADER;
    }
    int leader = a->leaders[partition];
    if (leader < 0 || leader >= a->workload->config.brokers_n) {
        pause_after_error(a, ERR_LEADER_NOT_AVAILABLE);
        return NO_LEADER;
    }
    return leader;
}

/* ---- the topic ---- */

static void create_topic_once(struct actor *a)
{
    const struct workload_config *config = &a->workload->config;
    char min_isr[16];
    snprintf(min_isr, sizeof(min_isr), "%d", config->min_isr);
    struct create_topics_request_config options[2] = {
        {.name = STR("min.insync.replicas"), .value = str_of(min_isr)},
        {.name = STR("flush.messages"), .value = STR("1")},
    };
    struct create_topics_request_topic topic;
    struct create_topics_request request;
    struct create_topics_response response;
    create_topics_request_topic_init(&topic);
    create_topics_request_init(&request);
    topic.name = str_of(WORKLOAD_TOPIC);
    topic.num_partitions = config->partitions_n;
    topic.replication_factor = (int16_t)config->replicas_n;
    topic.configs = options;
    topic.configs_n = config->flush_messages ? 2 : 1;
    request.topics = &topic;
    request.topics_n = 1;
    err e = client_ask(&a->client, any_broker(a->workload), 19, CREATE_TOPICS_VERSION, &request,
                       &response, ASK_MS);
    if (e == OK && response.topics_n == 1 &&
        (response.topics[0].error_code == OK ||
         response.topics[0].error_code == ERR_TOPIC_ALREADY_EXISTS)) {
        a->workload->has_topic = true;
    } else {
        pause_after_error(a, e != OK ? e : response.topics[0].error_code);
    }
}

static void run_creator(void *context)
{
    struct actor *a = context;
    while (!a->workload->stop && !a->workload->has_topic) {
        create_topic_once(a);
    }
}

static void wait_for_topic(struct actor *a)
{
    while (!a->workload->stop && !a->workload->has_topic) {
        sched_sleep(a->workload->config.sched, AGAIN_US);
    }
}

/* ---- a producer ---- */

static void take_producer_id(struct actor *a)
{
    struct init_producer_id_request request;
    struct init_producer_id_response response;
    init_producer_id_request_init(&request);
    request.transactional_id = (struct str){0};
    request.transaction_timeout_ms = 60000;
    err e = client_ask(&a->client, any_broker(a->workload), 22, INIT_PRODUCER_ID_VERSION, &request,
                       &response, ASK_MS);
    if (e != OK || response.error_code != OK) {
        pause_after_error(a, e != OK ? e : response.error_code);
        return;
    }
    a->producer_id = response.producer_id;
    a->producer_epoch = response.producer_epoch;
    memset(a->sequences, 0, sizeof(a->sequences));
}

struct sending {
    int partition;
    int records_n;
    uint64_t values[RECORDS_MAX];
    struct writer batch;
};

static void make_batch(struct actor *a, struct sending *s)
{
    struct workload *w = a->workload;
    struct batch_builder builder;
    s->partition = (int)sched_below(w->config.sched, (uint64_t)w->config.partitions_n);
    s->records_n = 1 + (int)sched_below(w->config.sched, RECORDS_MAX);
    writer_init(&s->batch, BATCH_BYTES_MAX);
    batch_begin(&builder, &s->batch, CODEC_NONE);
    builder.producer_id = a->producer_id;
    builder.producer_epoch = a->producer_epoch;
    builder.base_sequence = a->sequences[s->partition];
    for (int i = 0; i < s->records_n; i++) {
        s->values[i] = (uint64_t)(unsigned)a->number << 32 | ++a->sent_n;
        /* Each record has a key of its own: compaction takes none of them away. */
        struct bytes value = bytes_of(&s->values[i], sizeof(s->values[i]));
        batch_add(&builder, 1700000000000, value, value);
        w->counts.sends++;
        note(w, (struct event){.kind = EVENT_SEND,
                               .who = a->number,
                               .partition = s->partition,
                               .acks = a->acks,
                               .value = s->values[i]});
    }
    CHECK(batch_end(&builder) == OK);
}

static void note_acks(struct actor *a, const struct sending *s, int64_t base_offset)
{
    struct workload *w = a->workload;
    trace_line(w->config.trace, "producer %d: partition %d offset %lld: %d acknowledged", a->number,
               s->partition, (long long)base_offset, s->records_n);
    for (int i = 0; i < s->records_n; i++) {
        w->counts.acks++;
        note(w, (struct event){.kind = EVENT_ACK,
                               .who = a->number,
                               .partition = s->partition,
                               .acks = a->acks,
                               .value = s->values[i],
                               .offset = base_offset < 0 ? -1 : base_offset + i});
    }
}

/* An answer's code, or an error of the connection. */
static err produce_once(struct actor *a, const struct sending *s, int leader, int64_t *base_offset)
{
    struct produce_request_partition partition;
    produce_request_partition_init(&partition);
    partition.index = s->partition;
    partition.records.data = bytes_of(s->batch.data, s->batch.len);
    struct produce_request_topic topic = {
        .name = str_of(WORKLOAD_TOPIC), .partitions = &partition, .partitions_n = 1};
    struct produce_request request;
    struct produce_response response;
    produce_request_init(&request);
    request.acks = (int16_t)a->acks;
    request.timeout_ms = PRODUCE_TIMEOUT_MS;
    request.topics = &topic;
    request.topics_n = 1;
    TRY(client_ask(&a->client, leader, 0, PRODUCE_VERSION, &request, &response, ASK_MS));
    CHECK(response.topics_n == 1 && response.topics[0].partitions_n == 1);
    *base_offset = response.topics[0].partitions[0].base_offset;
    return response.topics[0].partitions[0].error_code;
}

enum verdict { SEND_ACKED, SEND_AGAIN, SEND_GIVEN_UP };

static enum verdict judge(err e)
{
    switch (e) {
    case OK:
    case ERR_DUPLICATE_SEQUENCE_NUMBER:
        return SEND_ACKED;
    case ERR_OUT_OF_ORDER_SEQUENCE_NUMBER:
    case ERR_INVALID_PRODUCER_EPOCH:
    case ERR_UNKNOWN_PRODUCER_ID:
        return SEND_GIVEN_UP;
    default:
        return SEND_AGAIN;
    }
}

/* Until it is known what became of the batch, or the simulation ends. */
static void send_batch(struct actor *a, struct sending *s)
{
    while (!a->workload->stop) {
        int64_t base_offset = -1;
        int leader = find_leader(a, s->partition);
        if (leader == NO_LEADER) {
            continue;
        }
        err e = produce_once(a, s, leader, &base_offset);
        enum verdict verdict = judge(e);
        if (verdict == SEND_ACKED) {
            a->sequences[s->partition] = sequence_add(a->sequences[s->partition], s->records_n);
            note_acks(a, s, e == OK ? base_offset : -1);
            return;
        }
        if (verdict == SEND_GIVEN_UP) {
            trace_line(a->workload->config.trace, "producer %d: partition %d: %s", a->number,
                       s->partition, kafka_error_name(e));
            a->producer_id = -1;
            return;
        }
        pause_after_error(a, e);
    }
}

static void run_producer(void *context)
{
    struct actor *a = context;
    struct sched *sched = a->workload->config.sched;
    wait_for_topic(a);
    while (!a->workload->stop && !a->workload->stop_producers) {
        if (a->producer_id < 0) {
            take_producer_id(a);
            continue;
        }
        struct sending s;
        make_batch(a, &s);
        send_batch(a, &s);
        writer_deinit(&s.batch);
        sched_sleep(sched, sched_between(sched, 0, SEND_PAUSE_US));
    }
}

/* ---- a consumer ---- */

static void take_record(struct actor *a, int partition, int64_t offset, const struct record *record)
{
    uint64_t value = 0;
    CHECK(record->value.len == sizeof(value));
    memcpy(&value, record->value.data, sizeof(value));
    a->workload->counts.polls++;
    note(a->workload, (struct event){.kind = EVENT_POLL,
                                     .who = a->number,
                                     .partition = partition,
                                     .offset = offset,
                                     .value = value});
}

/* A consumer would go on at the same place for ever; this one is given a value that nobody has sent. */
static void take_torn(struct actor *a, int partition)
{
    note(a->workload, (struct event){.kind = EVENT_POLL,
                                     .who = a->number,
                                     .partition = partition,
                                     .offset = a->positions[partition]++,
                                     .value = UINT64_MAX});
}

static void take_batch(struct actor *a, int partition, const uint8_t *data)
{
    struct batch batch;
    struct record_iter records;
    struct record record;
    batch_parse(data, &batch);
    size_t len = (size_t)batch.size_bytes;
    if (len < BATCH_HEADER_BYTES || batch_crc(data, len) != batch.crc) {
        take_torn(a, partition);
        return;
    }
    record_iter_init(&records, bytes_of(data + BATCH_HEADER_BYTES, len - BATCH_HEADER_BYTES),
                     batch.count);
    while (record_iter_next(&records, &record)) {
        int64_t offset = batch_offset(&batch, record.offset_delta);
        if (offset >= a->positions[partition]) {
            take_record(a, partition, offset, &record);
            a->positions[partition] = offset + 1;
            a->read_epochs[partition] = batch.leader_epoch;
        }
    }
    CHECK(records.error == OK);
}

/* The last batch may be cut. */
static void take_batches(struct actor *a, int partition, struct bytes bytes)
{
    while (bytes.len >= BATCH_HEADER_BYTES) {
        size_t len = BATCH_PREFIX_BYTES + (size_t)load_u32(bytes.data + 8);
        if (len > bytes.len) {
            return;
        }
        take_batch(a, partition, bytes.data);
        bytes = bytes_of(bytes.data + len, bytes.len - len);
    }
}

static err fetch_once(struct actor *a, int partition, int leader)
{
    struct fetch_request_partition from;
    fetch_request_partition_init(&from);
    from.partition = partition;
    from.current_leader_epoch = a->epochs[partition];
    from.fetch_offset = a->positions[partition];
    from.partition_max_bytes = FETCH_BYTES;
    struct fetch_request_topic topic = {
        .topic = str_of(WORKLOAD_TOPIC), .partitions = &from, .partitions_n = 1};
    struct fetch_request request;
    struct fetch_response response;
    fetch_request_init(&request);
    request.topics = &topic;
    request.topics_n = 1;
    request.max_wait_ms = FETCH_WAIT_MS;
    request.min_bytes = 1;
    request.rack_id = STR("");
    TRY(client_ask(&a->client, leader, 1, FETCH_VERSION, &request, &response, ASK_MS));
    if (response.error_code != OK) {
        return response.error_code;
    }
    CHECK(response.topics_n == 1 && response.topics[0].partitions_n == 1);
    const struct fetch_response_partition *found = &response.topics[0].partitions[0];
    if (found->error_code == OK) {
        note(a->workload, (struct event){.kind = EVENT_MARKS,
                                         .who = leader,
                                         .partition = partition,
                                         .high_watermark = found->high_watermark,
                                         .stable_offset = found->last_stable_offset});
        take_batches(a, partition, found->records.data);
        a->has_read_all &= a->positions[partition] >= found->high_watermark &&
                           a->positions[partition] >= a->workload->reached[partition];
    }
    return found->error_code;
}

/* Far beyond the end of the log, and told of which epoch the last record is: the leader is to say where its log
 * of that epoch ends, as it does to a follower. (KIP-320) */
static err probe_once(struct actor *a, int partition, int leader)
{
    struct fetch_request_partition from;
    fetch_request_partition_init(&from);
    from.partition = partition;
    from.current_leader_epoch = a->epochs[partition];
    from.fetch_offset = a->positions[partition] + PROBE_BEYOND;
    from.last_fetched_epoch = a->read_epochs[partition];
    from.partition_max_bytes = FETCH_BYTES;
    struct fetch_request_topic topic = {
        .topic = str_of(WORKLOAD_TOPIC), .partitions = &from, .partitions_n = 1};
    struct fetch_request request;
    struct fetch_response response;
    fetch_request_init(&request);
    request.topics = &topic;
    request.topics_n = 1;
    request.rack_id = STR("");
    TRY(client_ask(&a->client, leader, 1, PROBE_VERSION, &request, &response, ASK_MS));
    TRY(response.error_code);
    CHECK(response.topics_n == 1 && response.topics[0].partitions_n == 1);
    const struct fetch_response_partition *found = &response.topics[0].partitions[0];
    note(a->workload, (struct event){.kind = EVENT_PROBE,
                                     .who = leader,
                                     .partition = partition,
                                     .acks = found->error_code,
                                     .epoch = found->diverging_epoch.epoch,
                                     .end_offset = found->diverging_epoch.end_offset});
    return OK;
}

static void probe_partition(struct actor *a, int partition)
{
    int leader = a->read_epochs[partition] < 0 ? NO_LEADER : find_leader(a, partition);
    err e = leader == NO_LEADER ? OK : probe_once(a, partition, leader);
    if (e != OK) {
        pause_after_error(a, e);
    }
}

static void fetch_partition(struct actor *a, int partition)
{
    int leader = find_leader(a, partition);
    err e = leader == NO_LEADER ? E_NOT_FOUND : fetch_once(a, partition, leader);
    if (e != OK) {
        a->has_read_all = false;
    }
    if (e ==
        ERR_OFFSET_OUT_OF_RANGE) { /* what it was given is not there: the checker will see it */
        trace_line(a->workload->config.trace, "consumer %d: partition %d: %lld is out of range",
                   a->number, partition, (long long)a->positions[partition]);
        a->positions[partition] = 0;
    }
    if (e != OK && leader != NO_LEADER) {
        pause_after_error(a, e);
    }
}

static void run_consumer(void *context)
{
    struct actor *a = context;
    wait_for_topic(a);
    struct sched *sched = a->workload->config.sched;
    while (!a->workload->stop) {
        int partition = (int)sched_below(sched, (uint64_t)a->workload->config.partitions_n);
        if (sched_below(sched, PROBE_EVERY) == 0) {
            probe_partition(a, partition);
        } else {
            fetch_partition(a, partition);
        }
    }
}

/* Until all partitions were read to their ends in one round. A leader that has just begun may say that its end
 * is lower than it was. */
static void run_reader(void *context)
{
    struct actor *a = context;
    while (!a->workload->stop && !a->has_read_all) {
        a->has_read_all = true;
        for (int i = 0; i < a->workload->config.partitions_n; i++) {
            fetch_partition(a, i);
        }
    }
}

/* ---- who wants the preferred leaders ---- */

/* All partitions of all topics; who is not the controller says so. */
static void run_elector(void *context)
{
    struct actor *a = context;
    struct sched *sched = a->workload->config.sched;
    int64_t pause_us = sched_between(sched, AGAIN_US, ELECT_PAUSE_US);
    wait_for_topic(a);
    while (!a->workload->stop && !a->workload->stop_producers) {
        struct elect_leaders_request request;
        struct elect_leaders_response response;
        elect_leaders_request_init(&request);
        request.topic_partitions_n = -1;
        request.timeout_ms = ASK_MS;
        err e = client_ask(&a->client, any_broker(a->workload), 43, ELECT_LEADERS_VERSION, &request,
                           &response, ASK_MS);
        a->workload->counts.errors += e != OK ? 1 : 0;
        sched_sleep(sched, sched_between(sched, 0, pause_us));
    }
}

/* ---- all of them ---- */

static void add_actor(struct workload *w, const char *name, int acks, void (*run)(void *context))
{
    CHECK(w->actors_n < ACTORS_MAX);
    struct actor *a = &w->actors[w->actors_n];
    *a = (struct actor){.workload = w, .number = w->actors_n, .acks = acks, .producer_id = -1};
    for (int i = 0; i < PARTITIONS_MAX; i++) {
        a->read_epochs[i] = -1;
    }
    client_init(&a->client, w->config.sched, w->config.network, w->actors_n);
    a->task = task_spawn(w->config.sched, NULL, name, run, a);
    w->actors_n++;
}

struct workload *workload_new(const struct workload_config *config)
{
    struct workload *w = xcalloc(1, sizeof(*w));
    CHECK(config->partitions_n <= PARTITIONS_MAX);
    w->config = *config;
    add_actor(w, "creator", 0, run_creator);
    for (int i = 0; i < config->producers_n; i++) {
        bool weak = i > 0 && i == config->producers_n - 1;
        add_actor(w, "producer", weak ? 1 : -1, run_producer);
    }
    for (int i = 0; i < config->consumers_n; i++) {
        add_actor(w, "consumer", 0, run_consumer);
    }
    if (config->asks_elections) {
        add_actor(w, "elector", 0, run_elector);
    }
    return w;
}

void workload_stop_producers(struct workload *w)
{
    w->stop_producers = true;
}

bool workload_producers_ended(const struct workload *w)
{
    for (int i = 1; i <= w->config.producers_n; i++) {
        if (!task_has_ended(w->actors[i].task)) {
            return false;
        }
    }
    return true;
}

void workload_read_all(struct workload *w)
{
    note(w, (struct event){.kind = EVENT_FINAL, .who = w->actors_n});
    add_actor(w, "reader", 0, run_reader);
}

bool workload_has_read_all(const struct workload *w)
{
    return task_has_ended(w->actors[w->actors_n - 1].task);
}

void workload_stop(struct workload *w)
{
    w->stop = true;
}

bool workload_has_ended(const struct workload *w)
{
    for (int i = 0; i < w->actors_n; i++) {
        if (!task_has_ended(w->actors[i].task)) {
            return false;
        }
    }
    return true;
}

void workload_free(struct workload *w)
{
    for (int i = 0; i < w->actors_n; i++) {
        task_free(w->actors[i].task);
        client_deinit(&w->actors[i].client);
    }
    free(w);
}

struct workload_counts workload_counts(const struct workload *w)
{
    return w->counts;
}
