/* Writers, each with a transactional id and a group of its own; a reader that reads while things break; and another
 * at the end, whose word counts.
 *
 * A value is the number of its writer, then a count. A writer that does not know what became of its transaction
 * begins anew: after InitProducerId it is decided. */
#include "sim/ledger.h"

#include "protocol/batch.h"
#include "protocol/error.h"
#include "protocol/messages.h"
#include "sim/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WRITERS = 3,
    PARTITIONS = 3,
    NOTES_MAX = 4096,
    ABORTED_MAX = 64,
    BATCH_BYTES_MAX = 4096,
    FETCH_BYTES = 16 << 10,
    ASK_MS = 4000,
    HASTE_MS = 150,
    TXN_TIMEOUT_MS = 2500,
    STALL_US = 3500000,
    AGAIN_US = 60000,
    LATE_US = 400000,
    TRIES_MAX = 40,
    PAUSE_US = 60000,
    NOBODY = -1,
};

#define LEDGER_TOPIC "ledger"

const char *const LEDGER_OPTIONS[LEDGER_OPTIONS_N] = {
    "transaction.state.log.num.partitions=2",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms=300",
};

enum outcome { OUTCOME_OPEN, OUTCOME_COMMITTED, OUTCOME_ABORTED, OUTCOME_UNKNOWN };

/* A transaction, as its writer knows it. */
struct txn_note {
    uint32_t written; /* partitions, by bits: those whose record was acknowledged */
    uint32_t tried;
    bool offsets; /* acknowledged as its group's */
    bool offsets_tried;
    enum outcome outcome;
    uint32_t seen; /* in the end, by bits */
    bool read;     /* by who reads while things break */
    bool offset_seen;
};

struct writer_client {
    struct ledger *ledger;
    struct client client;
    struct client zombie; /* what it was before */
    struct task *task;
    int number;
    char id[16];
    int64_t producer_id; /* -1: none */
    int16_t epoch;
    int32_t sequences[PARTITIONS];
    struct txn_note notes[NOTES_MAX];
    int notes_n; /* the current one is the last */
    bool is_open;
};

struct reader_client {
    struct ledger *ledger;
    struct client client;
    struct task *task;
    bool final;
    bool done;
    int64_t positions[PARTITIONS];
    int64_t aborted[ABORTED_MAX]; /* producers whose transaction here was aborted */
    int aborted_n;
};

struct ledger {
    struct ledger_config config;
    struct writer_client writers[WRITERS];
    struct reader_client reader;
    struct reader_client last;
    bool last_began;
    bool has_topic;
    bool stop_writers;
    bool stop;
    struct ledger_counts counts;
    struct violation found; /* the first that a reader has seen */
    size_t found_n;
    int64_t offsets[WRITERS]; /* of the groups, in the end */
};

/* ---- asking ---- */

static int draw(const struct ledger *l, int below)
{
    return (int)sched_below(l->config.sched, (uint64_t)below);
}

static void wait_us(const struct ledger *l, int64_t us)
{
    sched_sleep(l->config.sched, us);
}

static void violated(struct ledger *l, const char *property, int who, int n, const char *what)
{
    if (l->found_n++ == 0) {
        l->found.property = property;
        snprintf(l->found.text, VIOLATION_BYTES, "client %d, transaction %d: %s", who, n, what);
    }
}

static int leader_of(struct ledger *l, struct client *client, int partition)
{
    struct metadata_request_topic topic = {.name = STR(LEDGER_TOPIC)};
    struct metadata_request request;
    struct metadata_response response;
    metadata_request_init(&request);
    request.topics = &topic;
    request.topics_n = 1;
    request.allow_auto_topic_creation = false;
    err e = client_ask(client, draw(l, l->config.brokers_n), 3, 7, &request, &response, ASK_MS);
    int leader = NOBODY;
    if (e == OK && response.topics_n == 1 && response.topics[0].error_code == OK) {
        for (int32_t i = 0; i < response.topics[0].partitions_n; i++) {
            if (response.topics[0].partitions[i].partition_index == partition) {
                leader = response.topics[0].partitions[i].leader_id;
            }
        }
    }
    return leader < l->config.brokers_n ? leader : NOBODY;
}

static int coordinator_of(struct ledger *l, struct client *client, int8_t type, const char *key)
{
    struct find_coordinator_request request;
    struct find_coordinator_response response;
    find_coordinator_request_init(&request);
    request.key = str_of(key);
    request.key_type = type;
    err e = client_ask(client, draw(l, l->config.brokers_n), 10, 2, &request, &response, ASK_MS);
    bool known = e == OK && response.error_code == OK && response.node_id < l->config.brokers_n;
    return known ? response.node_id : NOBODY;
}

/* ---- what a transaction asks for; an answer's code, or an error of the connection ---- */

static err ask_init(struct writer_client *w)
{
    struct init_producer_id_request request;
    struct init_producer_id_response response;
    int broker = coordinator_of(w->ledger, &w->client, 1, w->id);
    init_producer_id_request_init(&request);
    request.transactional_id = str_of(w->id);
    request.transaction_timeout_ms = TXN_TIMEOUT_MS;
    TRY(broker == NOBODY ? E_NOT_FOUND : OK);
    TRY(client_ask(&w->client, broker, 22, 1, &request, &response, ASK_MS));
    if (response.error_code == OK) {
        w->producer_id = response.producer_id;
        w->epoch = response.producer_epoch;
        memset(w->sequences, 0, sizeof(w->sequences));
    }
    return response.error_code;
}

static err ask_add(struct writer_client *w, int partition)
{
    int32_t number = partition;
    struct add_partitions_to_txn_request_topic topic = {
        .name = STR(LEDGER_TOPIC), .partitions = &number, .partitions_n = 1};
    struct add_partitions_to_txn_request request;
    struct add_partitions_to_txn_response response;
    int broker = coordinator_of(w->ledger, &w->client, 1, w->id);
    add_partitions_to_txn_request_init(&request);
    request.v3_and_below_transactional_id = str_of(w->id);
    request.v3_and_below_producer_id = w->producer_id;
    request.v3_and_below_producer_epoch = w->epoch;
    request.v3_and_below_topics = &topic;
    request.v3_and_below_topics_n = 1;
    TRY(broker == NOBODY ? E_NOT_FOUND : OK);
    TRY(client_ask(&w->client, broker, 24, 2, &request, &response, ASK_MS));
    CHECK(response.results_by_topic_v3_and_below_n == 1);
    return response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code;
}

static uint64_t value_of(const struct writer_client *w)
{
    return (uint64_t)(unsigned)w->number << 32 | (uint64_t)(unsigned)(w->notes_n - 1);
}

/* Who is in haste gives up while the record may still be on its way. */
static err ask_produce(struct writer_client *w, int partition, int64_t patience_ms)
{
    struct batch_builder builder;
    struct writer batch;
    uint64_t value = value_of(w);
    int broker = leader_of(w->ledger, &w->client, partition);
    TRY(broker == NOBODY ? E_NOT_FOUND : OK);
    writer_init(&batch, BATCH_BYTES_MAX);
    batch_begin(&builder, &batch, BATCH_TRANSACTIONAL);
    builder.producer_id = w->producer_id;
    builder.producer_epoch = w->epoch;
    builder.base_sequence = w->sequences[partition];
    batch_add(&builder, 1700000000000, bytes_of(&value, sizeof(value)),
              bytes_of(&value, sizeof(value)));
    CHECK(batch_end(&builder) == OK);
    struct produce_request_partition records;
    produce_request_partition_init(&records);
    records.index = partition;
    records.records.data = bytes_of(batch.data, batch.len);
    struct produce_request_topic topic = {
        .name = STR(LEDGER_TOPIC), .partitions = &records, .partitions_n = 1};
    struct produce_request request;
    struct produce_response response;
    produce_request_init(&request);
    request.transactional_id = str_of(w->id);
    request.acks = -1;
    request.timeout_ms = ASK_MS;
    request.topics = &topic;
    request.topics_n = 1;
    err e = client_ask(&w->client, broker, 0, 7, &request, &response, patience_ms);
    writer_deinit(&batch);
    if (e == OK) {
        trace_line(w->ledger->config.trace,
                   "ledger %d: %lld at broker %d, partition %d offset %lld", w->number,
                   (long long)(uint32_t)value, broker, partition,
                   (long long)response.topics[0].partitions[0].base_offset);
    }
    return e == OK ? response.topics[0].partitions[0].error_code : e;
}

static err ask_add_offsets(struct writer_client *w)
{
    struct add_offsets_to_txn_request request;
    struct add_offsets_to_txn_response response;
    int broker = coordinator_of(w->ledger, &w->client, 1, w->id);
    add_offsets_to_txn_request_init(&request);
    request.transactional_id = str_of(w->id);
    request.producer_id = w->producer_id;
    request.producer_epoch = w->epoch;
    request.group_id = str_of(w->id);
    TRY(broker == NOBODY ? E_NOT_FOUND : OK);
    TRY(client_ask(&w->client, broker, 25, 1, &request, &response, ASK_MS));
    return response.error_code;
}

static err ask_commit_offsets(struct writer_client *w)
{
    struct txn_offset_commit_request_partition partition;
    struct txn_offset_commit_request request;
    struct txn_offset_commit_response response;
    int broker = coordinator_of(w->ledger, &w->client, 0, w->id);
    txn_offset_commit_request_partition_init(&partition);
    partition.committed_offset = w->notes_n - 1;
    struct txn_offset_commit_request_topic topic = {
        .name = STR(LEDGER_TOPIC), .partitions = &partition, .partitions_n = 1};
    txn_offset_commit_request_init(&request);
    request.transactional_id = str_of(w->id);
    request.group_id = str_of(w->id);
    request.producer_id = w->producer_id;
    request.producer_epoch = w->epoch;
    request.topics = &topic;
    request.topics_n = 1;
    TRY(broker == NOBODY ? E_NOT_FOUND : OK);
    TRY(client_ask(&w->client, broker, 28, 2, &request, &response, ASK_MS));
    CHECK(response.topics_n == 1);
    return response.topics[0].partitions[0].error_code;
}

static err ask_end(struct writer_client *w, struct client *client, int16_t epoch, bool commit)
{
    struct end_txn_request request;
    struct end_txn_response response;
    int broker = coordinator_of(w->ledger, client, 1, w->id);
    end_txn_request_init(&request);
    request.transactional_id = str_of(w->id);
    request.producer_id = w->producer_id;
    request.producer_epoch = epoch;
    request.committed = commit;
    TRY(broker == NOBODY ? E_NOT_FOUND : OK);
    TRY(client_ask(client, broker, 26, 1, &request, &response, ASK_MS));
    return response.error_code;
}

/* ---- a transaction ---- */

/* Nothing helps but to begin anew. */
static bool is_fatal(err e)
{
    switch (e) {
    case ERR_INVALID_PRODUCER_EPOCH:
    case ERR_PRODUCER_FENCED:
    case ERR_INVALID_PRODUCER_ID_MAPPING:
    case ERR_INVALID_TXN_STATE:
    case ERR_OUT_OF_ORDER_SEQUENCE_NUMBER:
    case ERR_TRANSACTION_ABORTABLE:
        return true;
    default:
        return false;
    }
}

/* Again, until it succeeds: OK; or there is no sense in it. */
static err persist(struct writer_client *w, const char *what,
                   err (*ask)(struct writer_client *w, int argument), int argument)
{
    err e = E_CLOSED;
    for (int i = 0; i < TRIES_MAX && !w->ledger->stop; i++) {
        e = ask(w, argument);
        trace_line(w->ledger->config.trace, "ledger %d: %s %d: %d", w->number, what, argument, e);
        if (e == OK || is_fatal(e)) {
            return e;
        }
        wait_us(w->ledger, AGAIN_US);
    }
    return e;
}

static err add(struct writer_client *w, int partition)
{
    return ask_add(w, partition);
}

static err produce(struct writer_client *w, int partition)
{
    return ask_produce(w, partition, ASK_MS);
}

static err add_offsets(struct writer_client *w, int unused)
{
    (void)unused;
    return ask_add_offsets(w);
}

static err commit_offsets(struct writer_client *w, int unused)
{
    (void)unused;
    return ask_commit_offsets(w);
}

static err end(struct writer_client *w, int commit)
{
    return ask_end(w, &w->client, w->epoch, commit != 0);
}

static struct txn_note *current(struct writer_client *w)
{
    return &w->notes[w->notes_n - 1];
}

static err write_partition(struct writer_client *w, int partition)
{
    current(w)->tried |= 1u << partition;
    TRY(persist(w, "add", add, partition));
    if (draw(w->ledger, 6) == 0) { /* it gives up on this record, which may still come */
        err e = ask_produce(w, partition, HASTE_MS);
        TRY(e == OK ? OK : E_BUSY);
    } else {
        TRY(persist(w, "produce", produce, partition));
    }
    w->sequences[partition]++;
    current(w)->written |= 1u << partition;
    return OK;
}

static err write_offsets(struct writer_client *w)
{
    current(w)->offsets_tried = true;
    TRY(persist(w, "add offsets", add_offsets, 0));
    TRY(persist(w, "commit offsets", commit_offsets, 0));
    current(w)->offsets = true;
    return OK;
}

static err write_all(struct writer_client *w)
{
    struct ledger *l = w->ledger;
    uint32_t wanted = 1u + (uint32_t)draw(l, (1 << PARTITIONS) - 1);
    bool early = draw(l, 4) == 0; /* offsets first */
    bool offsets = draw(l, 2) == 0;
    if (offsets && early) {
        TRY(write_offsets(w));
    }
    for (int i = 0; i < PARTITIONS; i++) {
        if ((wanted & 1u << i) != 0) {
            TRY(write_partition(w, i));
        }
        if (draw(l, 40) == 0) { /* its time passes, and it goes on */
            wait_us(l, STALL_US);
        }
    }
    return offsets && !early ? write_offsets(w) : OK;
}

static void settle(struct writer_client *w, enum outcome outcome)
{
    struct ledger_counts *counts = &w->ledger->counts;
    current(w)->outcome = outcome;
    counts->committed += outcome == OUTCOME_COMMITTED ? 1 : 0;
    counts->aborted += outcome == OUTCOME_ABORTED ? 1 : 0;
    counts->unknown += outcome == OUTCOME_UNKNOWN ? 1 : 0;
    w->is_open = false;
    trace_line(w->ledger->config.trace, "ledger %d: transaction %d outcome %d", w->number,
               w->notes_n - 1, (int)outcome);
}

/* It begins anew; what it was before may try its luck. */
static void begin_anew(struct writer_client *w)
{
    int16_t before = w->epoch;
    int64_t id_before = w->producer_id;
    if (w->is_open) { /* never ended by its client */
        settle(w, OUTCOME_UNKNOWN);
    }
    w->producer_id = -1;
    while (!w->ledger->stop && w->producer_id < 0) {
        if (ask_init(w) != OK) {
            wait_us(w->ledger, AGAIN_US);
        }
    }
    bool haunts = id_before >= 0 && id_before == w->producer_id && draw(w->ledger, 3) == 0;
    if (haunts && ask_end(w, &w->zombie, before, true) == OK) {
        violated(w->ledger, "T1 torn", w->number, w->notes_n, "a fenced client has committed");
    }
}

static void end_txn(struct writer_client *w, bool commit)
{
    err e = persist(w, "end", end, commit ? 1 : 0);
    if (e == OK) {
        settle(w, commit ? OUTCOME_COMMITTED : OUTCOME_ABORTED);
    } else {
        w->ledger->counts.fenced += is_fatal(e) ? 1 : 0;
        begin_anew(w);
    }
}

static void run_txn(struct writer_client *w)
{
    struct ledger *l = w->ledger;
    CHECK(w->notes_n < NOTES_MAX);
    w->notes[w->notes_n++] = (struct txn_note){0};
    w->is_open = true;
    l->counts.begun++;
    err e = write_all(w);
    if (l->stop || (l->stop_writers && draw(l, 2) == 0)) {
        settle(w, OUTCOME_UNKNOWN); /* and nobody goes on with it */
    } else if (e == E_BUSY) {
        end_txn(w, false); /* in the same epoch; the record may come now */
        wait_us(l, sched_between(l->config.sched, 0, LATE_US));
        begin_anew(w); /* the sequence is not known any more */
    } else if (e != OK || draw(l, 30) == 0) {
        l->counts.fenced += is_fatal(e) ? 1 : 0;
        begin_anew(w);
    } else {
        end_txn(w, draw(l, 5) != 0);
    }
}

static void create_topic(struct writer_client *w)
{
    const struct ledger_config *config = &w->ledger->config;
    char min_isr[16];
    snprintf(min_isr, sizeof(min_isr), "%d", config->min_isr);
    struct create_topics_request_config option = {.name = STR("min.insync.replicas"),
                                                  .value = str_of(min_isr)};
    struct create_topics_request_topic topic;
    struct create_topics_request request;
    struct create_topics_response response;
    create_topics_request_topic_init(&topic);
    create_topics_request_init(&request);
    topic.name = STR(LEDGER_TOPIC);
    topic.num_partitions = PARTITIONS;
    topic.replication_factor = (int16_t)config->replicas_n;
    topic.configs = &option;
    topic.configs_n = 1;
    request.topics = &topic;
    request.topics_n = 1;
    err e = client_ask(&w->client, draw(w->ledger, config->brokers_n), 19, 4, &request, &response,
                       ASK_MS);
    w->ledger->has_topic |= e == OK && response.topics_n == 1 &&
                            (response.topics[0].error_code == OK ||
                             response.topics[0].error_code == ERR_TOPIC_ALREADY_EXISTS);
}

static void run_writer(void *context)
{
    struct writer_client *w = context;
    struct ledger *l = w->ledger;
    while (!l->stop && !l->has_topic) {
        create_topic(w);
        wait_us(l, AGAIN_US);
    }
    begin_anew(w);
    while (!l->stop && !l->stop_writers) {
        run_txn(w);
        wait_us(l, sched_between(l->config.sched, 0, PAUSE_US));
    }
}

/* ---- reading what is committed ---- */

static void see(struct reader_client *r, int partition, uint64_t value)
{
    struct ledger *l = r->ledger;
    int who = (int)(value >> 32);
    int n = (int)(uint32_t)value;
    CHECK(who < WRITERS && n < l->writers[who].notes_n);
    struct txn_note *note = &l->writers[who].notes[n];
    l->counts.reads++;
    if (!r->final) {
        note->read = true;
        return;
    }
    if ((note->seen & 1u << partition) != 0) {
        violated(l, "T4 repeated", who, n, "twice in a partition");
    }
    note->seen |= 1u << partition;
    for (int later = n + 1; later < l->writers[who].notes_n; later++) {
        if ((l->writers[who].notes[later].seen & 1u << partition) != 0) {
            violated(l, "T5 order", who, n, "behind a later one");
        }
    }
}

static int aborted_at(const struct reader_client *r, int64_t producer_id)
{
    for (int i = 0; i < r->aborted_n; i++) {
        if (r->aborted[i] == producer_id) {
            return i;
        }
    }
    return NOBODY;
}

/* From where an aborted transaction begins on its producer's records are passed over, until its marker. */
static void take_aborted(struct reader_client *r, const struct fetch_response_partition *found,
                         int64_t offset)
{
    for (int32_t i = 0; i < found->aborted_transactions_n; i++) {
        const struct fetch_response_aborted_transaction *aborted = &found->aborted_transactions[i];
        if (aborted->first_offset == offset && aborted_at(r, aborted->producer_id) == NOBODY) {
            CHECK(r->aborted_n < ABORTED_MAX);
            r->aborted[r->aborted_n++] = aborted->producer_id;
        }
    }
}

static void take_batch(struct reader_client *r, int partition,
                       const struct fetch_response_partition *found, const uint8_t *data)
{
    struct batch batch;
    struct record_iter records;
    struct record record;
    batch_parse(data, &batch);
    record_iter_init(
        &records,
        bytes_of(data + BATCH_HEADER_BYTES, (size_t)batch.size_bytes - BATCH_HEADER_BYTES),
        batch.count);
    for (int64_t at = batch.base_offset; at <= batch_last_offset(&batch); at++) {
        take_aborted(r, found, at);
    }
    int aborted = aborted_at(r, batch.producer_id);
    if (batch_is(&batch, BATCH_CONTROL)) {
        if (aborted != NOBODY) {
            r->aborted[aborted] = r->aborted[--r->aborted_n];
        }
        return;
    }
    while (record_iter_next(&records, &record)) {
        uint64_t value = 0;
        CHECK(record.value.len == sizeof(value));
        memcpy(&value, record.value.data, sizeof(value));
        if (aborted == NOBODY &&
            batch_offset(&batch, record.offset_delta) >= r->positions[partition]) {
            see(r, partition, value);
        }
    }
}

static void take_batches(struct reader_client *r, int partition,
                         const struct fetch_response_partition *found)
{
    struct bytes bytes = found->records.data;
    r->aborted_n = 0;
    /* what began before is named too */
    for (int32_t i = 0; i < found->aborted_transactions_n; i++) {
        if (found->aborted_transactions[i].first_offset < r->positions[partition]) {
            take_aborted(r, found, found->aborted_transactions[i].first_offset);
        }
    }
    while (bytes.len >= BATCH_HEADER_BYTES) {
        size_t len = BATCH_PREFIX_BYTES + (size_t)load_u32(bytes.data + 8);
        if (len > bytes.len) {
            return;
        }
        struct batch batch;
        batch_parse(bytes.data, &batch);
        take_batch(r, partition, found, bytes.data);
        r->positions[partition] = batch_last_offset(&batch) + 1;
        bytes = bytes_of(bytes.data + len, bytes.len - len);
    }
}

/* True: it has read all there is, and all of that is decided. */
static bool fetch(struct reader_client *r, int partition)
{
    struct ledger *l = r->ledger;
    struct fetch_request_partition from;
    struct fetch_request request;
    struct fetch_response response;
    int broker = leader_of(l, &r->client, partition);
    fetch_request_partition_init(&from);
    from.partition = partition;
    from.fetch_offset = r->positions[partition];
    from.partition_max_bytes = FETCH_BYTES;
    struct fetch_request_topic topic = {
        .topic = STR(LEDGER_TOPIC), .partitions = &from, .partitions_n = 1};
    fetch_request_init(&request);
    request.topics = &topic;
    request.topics_n = 1;
    request.isolation_level = 1;
    request.rack_id = STR("");
    if (broker == NOBODY ||
        client_ask(&r->client, broker, 1, 11, &request, &response, ASK_MS) != OK ||
        response.error_code != OK || response.topics[0].partitions[0].error_code != OK) {
        return false;
    }
    const struct fetch_response_partition *found = &response.topics[0].partitions[0];
    take_batches(r, partition, found);
    return found->last_stable_offset == found->high_watermark &&
           r->positions[partition] == found->high_watermark;
}

/* What its group has committed: -1 nothing, -2 nobody knows. */
static int64_t fetch_offset(struct reader_client *r, int writer, bool stable)
{
    struct offset_fetch_request request;
    struct offset_fetch_response response;
    const char *group = r->ledger->writers[writer].id;
    int broker = coordinator_of(r->ledger, &r->client, 0, group);
    int32_t zero = 0;
    struct offset_fetch_request_topic topic = {
        .name = STR(LEDGER_TOPIC), .partition_indexes = &zero, .partition_indexes_n = 1};
    offset_fetch_request_init(&request);
    request.group_id = str_of(group);
    request.topics = &topic;
    request.topics_n = 1;
    request.require_stable = stable;
    bool answered = broker != NOBODY &&
                    client_ask(&r->client, broker, 9, 7, &request, &response, ASK_MS) == OK &&
                    response.error_code == OK && response.topics_n == 1 &&
                    response.topics[0].partitions[0].error_code == OK;
    return answered ? response.topics[0].partitions[0].committed_offset : -2;
}

static void run_reader(void *context)
{
    struct reader_client *r = context;
    struct ledger *l = r->ledger;
    while (!l->stop && !l->has_topic) {
        wait_us(l, AGAIN_US);
    }
    while (!l->stop && !l->last_began) {
        (void)fetch(r, draw(l, PARTITIONS));
        int who = draw(l, WRITERS);
        int64_t offset = fetch_offset(r, who, false);
        if (offset >= 0) {
            l->writers[who].notes[offset].offset_seen = true;
        }
        wait_us(l, sched_between(l->config.sched, 0, PAUSE_US));
    }
}

static void run_last(void *context)
{
    struct reader_client *r = context;
    struct ledger *l = r->ledger;
    for (int i = 0; i < PARTITIONS && !l->stop; i++) {
        while (!l->stop && !fetch(r, i)) {
            wait_us(l, AGAIN_US);
        }
    }
    for (int i = 0; i < WRITERS && !l->stop; i++) {
        do {
            l->offsets[i] = fetch_offset(r, i, true);
            wait_us(l, l->offsets[i] == -2 ? AGAIN_US : 0);
        } while (!l->stop && l->offsets[i] == -2);
    }
    r->done = !l->stop;
}

/* ---- what must be ---- */

static void check_txn(struct ledger *l, int who, int n)
{
    const struct txn_note *note = &l->writers[who].notes[n];
    bool there = note->seen != 0;
    bool whole = (note->seen & note->written) == note->written;
    if (there && (!whole || (note->seen & ~note->tried) != 0)) {
        violated(l, "T1 torn", who, n, "it is not in all of its partitions");
    }
    if (there && note->outcome == OUTCOME_COMMITTED && note->seen != note->written) {
        violated(l, "T1 torn", who, n, "it is where nothing was acknowledged");
    }
    if (!there && note->outcome == OUTCOME_COMMITTED && note->written != 0) {
        violated(l, "T2 lost", who, n, "its commit was acknowledged");
    }
    if (there && note->outcome == OUTCOME_ABORTED) {
        violated(l, "T3 aborted-read", who, n, "its abort was acknowledged");
    }
    if (!there && note->read) {
        violated(l, "T3 aborted-read", who, n, "it was read, and is not there");
    }
    if (!there && note->offset_seen) {
        violated(l, "T3 aborted-read", who, n, "its offset was told, and it is not there");
    }
}

/* Of the last that is there and has committed its offset; one that only tried may have. */
static void check_offsets(struct ledger *l, int who)
{
    const struct writer_client *w = &l->writers[who];
    int64_t least = -1;
    bool allowed = l->offsets[who] == -1;
    for (int n = 0; n < w->notes_n; n++) {
        bool there = w->notes[n].seen != 0;
        least = there && w->notes[n].offsets ? n : least;
        allowed |= n == l->offsets[who] && there && w->notes[n].offsets_tried;
    }
    if (!allowed || l->offsets[who] < least) {
        violated(l, "T6 offsets", who, (int)l->offsets[who], "is what the group has committed");
    }
}

size_t ledger_check(const struct ledger *ledger, struct violation *violations, size_t max)
{
    struct ledger *l = (struct ledger *)(uintptr_t)ledger;
    if (!l->last.done) {
        violated(l, "T7 hanging", 0, 0, "what nobody goes on with is not ended");
    } else {
        for (int who = 0; who < WRITERS; who++) {
            for (int n = 0; n < l->writers[who].notes_n; n++) {
                check_txn(l, who, n);
            }
            check_offsets(l, who);
        }
    }
    if (l->found_n > 0 && max > 0) {
        violations[0] = l->found;
    }
    return l->found_n > 0 ? 1 : 0;
}

/* ---- all of them ---- */

static void make_client(struct ledger *l, struct client *client, int number)
{
    int last = NETWORK_HOSTS_MAX - CLIENT_HOST_FIRST - 2; /* the one behind it is the mover's */
    client_init(client, l->config.sched, l->config.network, last - number);
}

static void make_reader(struct ledger *l, struct reader_client *r, bool final)
{
    r->ledger = l;
    r->final = final;
    make_client(l, &r->client, final ? 1 : 0);
    r->task = task_spawn(l->config.sched, NULL, "ledger reader", final ? run_last : run_reader, r);
}

struct ledger *ledger_new(const struct ledger_config *config)
{
    struct ledger *l = xcalloc(1, sizeof(*l));
    l->config = *config;
    for (int i = 0; i < WRITERS; i++) {
        struct writer_client *w = &l->writers[i];
        w->ledger = l;
        w->number = i;
        w->producer_id = -1;
        w->epoch = -1;
        snprintf(w->id, sizeof(w->id), "txn-%d", i);
        make_client(l, &w->client, 2 + i);
        make_client(l, &w->zombie, 2 + WRITERS + i);
        w->task = task_spawn(config->sched, NULL, "ledger writer", run_writer, w);
    }
    make_reader(l, &l->reader, false);
    return l;
}

void ledger_stop_writers(struct ledger *l)
{
    l->stop_writers = true;
}

bool ledger_writers_ended(const struct ledger *l)
{
    for (int i = 0; i < WRITERS; i++) {
        if (!task_has_ended(l->writers[i].task)) {
            return false;
        }
    }
    return true;
}

void ledger_read_all(struct ledger *l)
{
    l->last_began = true;
    make_reader(l, &l->last, true);
}

bool ledger_has_read_all(const struct ledger *l)
{
    return l->last.done;
}

void ledger_stop(struct ledger *l)
{
    l->stop = true;
}

bool ledger_has_ended(const struct ledger *l)
{
    return ledger_writers_ended(l) && task_has_ended(l->reader.task) &&
           (!l->last_began || task_has_ended(l->last.task));
}

struct ledger_counts ledger_counts(const struct ledger *l)
{
    return l->counts;
}

void ledger_free(struct ledger *l)
{
    for (int i = 0; i < WRITERS; i++) {
        task_free(l->writers[i].task);
        client_deinit(&l->writers[i].client);
        client_deinit(&l->writers[i].zombie);
    }
    task_free(l->reader.task);
    client_deinit(&l->reader.client);
    if (l->last_began) {
        task_free(l->last.task);
        client_deinit(&l->last.client);
    }
    free(l);
}
