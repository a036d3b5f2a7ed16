/* A shard of the transaction coordinator on a real partition, and one partition of data on the same broker:
 * loading, stores that wait for the disk or fail, a lead that is lost, what is due. */
#include "broker/coordinator/txn_shard.h"

#include "broker/coordinator/txn_records.h"
#include "protocol/error.h"
#include "storage/tests/util.h"

enum { ME = 1, OTHER = 2, ARENA_BYTES = 64 << 20, TIMEOUT_MS = 60000, INTERVAL_MS = 10000 };

static struct {
    struct place place;
    struct arena arena;
    struct config config;
    struct loop *flush;
    struct loop *background;
    struct partition_env env;
    struct plog *log;
    struct partition *p; /* of __transaction_state */
    struct logs *logs;
    struct replicas *replicas; /* d-0, for markers */
    struct metadata_cache *metadata;
    struct txn_coordinator *c;
    int64_t began_ms;
    int32_t d_partitions; /* what the store says; -1: it cannot be asked */
    struct topic_sizes_question *asked;
    struct loop_task answer;
    int asked_n;
} t;

/* ---- a broker's parts ---- */

static struct log_config data_config(void *context, struct str topic)
{
    (void)context;
    (void)topic;
    return log_config_default();
}

static bool data_config_in_force(void *context, struct str topic, struct log_config *config)
{
    *config = data_config(context, topic);
    return true;
}

static int32_t only_me[] = {ME};

static void lead_data(void)
{
    struct leader_and_isr_request_partition_state partition;
    struct leader_and_isr_request_topic_state topic;
    struct leader_and_isr_request request;
    struct leader_and_isr_response response;
    leader_and_isr_request_partition_state_init(&partition);
    partition.leader = ME;
    partition.isr = partition.replicas = only_me;
    partition.isr_n = partition.replicas_n = 1;
    leader_and_isr_request_topic_state_init(&topic);
    topic.topic_name = STR("d");
    topic.partition_states = &partition;
    topic.partition_states_n = 1;
    leader_and_isr_request_init(&request);
    request.topic_states = &topic;
    request.topic_states_n = 1;
    replicas_leader_and_isr(t.replicas, &request, OK, &t.arena, &response);
    CU_ASSERT_EQUAL_FATAL(replicas_count(t.replicas), 1);
}

static void make_data(void)
{
    struct logs_identity identity;
    char reason[LOGS_REASON_BYTES];
    char *dir = place_path(&t.place, "data");
    struct logs_open how = {.dirs = &dir, .dirs_n = 1, .broker_id = ME, .config_of = data_config};
    struct replicas_config config = {.broker_id = ME,
                                     .clock = &t.place.clock.clock,
                                     .flush = t.flush,
                                     .config_of = data_config_in_force};
    MUST(logs_lock(&t.place.env, &how, &t.logs, &identity, reason));
    MUST(logs_load(t.logs, ME, "c", reason));
    config.logs = t.logs;
    t.replicas = replicas_new(&config);
    lead_data();
    free(dir);
}

static void make_metadata(void)
{
    struct update_metadata_request_partition_state partition = {
        .leader = ME, .replicas = only_me, .replicas_n = 1, .isr = only_me, .isr_n = 1};
    struct update_metadata_request_topic_state topics[] = {
        {.topic_name = str_of(txn_shard_kind.topic),
         .partition_states = &partition,
         .partition_states_n = 1},
        {.topic_name = STR("d"), .partition_states = &partition, .partition_states_n = 1}};
    struct update_metadata_request_live_broker broker = {.id = ME};
    struct update_metadata_request request;
    update_metadata_request_init(&request);
    request.live_brokers = &broker;
    request.live_brokers_n = 1;
    request.topic_states = topics;
    request.topic_states_n = 2;
    t.metadata = metadata_cache_new();
    (void)metadata_update(t.metadata, &request, NULL, NULL);
}

static void on_store_answer(struct loop_task *task)
{
    (void)task;
    t.asked->done(t.asked);
}

static void ask_topic_sizes(void *context, struct topic_sizes_question *question)
{
    (void)context;
    CU_ASSERT_EQUAL_FATAL(question->count, 1);
    CU_ASSERT(str_is(question->topics[0], "d"));
    question->partitions[0] = t.d_partitions;
    t.asked_n++;
    t.asked = question;
    t.answer.run = on_store_answer;
    loop_post(question->loop, &t.answer);
}

static void make_config(const char *option, const char *another)
{
    char reason[CONFIG_REASON_BYTES];
    const char *const options[] = {option, another};
    config_init(&t.config);
    for (size_t i = 0; i < 2; i++) {
        if (options[i] != NULL) {
            MUST(config_override(&t.config, options[i], reason));
        }
    }
    MUST(config_finish(&t.config, reason));
}

/* A store waits for the disk, or (at_once) does not. Options may be NULL. */
static void begin_with(bool at_once, const char *option, const char *another)
{
    struct log_config config = log_config_default();
    config.flush_messages = at_once ? config.flush_messages : 1;
    memset(&t, 0, sizeof(t));
    place_make(&t.place);
    arena_init(&t.arena, ARENA_BYTES);
    make_config(option, another);
    MUST(loop_new(&t.place.clock.clock, sockets_system(), &t.flush));
    MUST(loop_new(&t.place.clock.clock, sockets_system(), &t.background));
    t.env =
        (struct partition_env){.broker_id = ME, .clock = &t.place.clock.clock, .flush = t.flush};
    t.log = must_open(&t.place, &(struct how){.config = config, .clean = true});
    t.p = partition_new(plog_name(t.log), (struct uuid){{9}}, &t.env, t.log, 0);
    make_data();
    make_metadata();
    struct txn_coordinator_config how = {.config = &t.config,
                                         .broker_id = ME,
                                         .clock = &t.place.clock.clock,
                                         .metadata = t.metadata,
                                         .background = t.background,
                                         .replicas = t.replicas,
                                         .topic_sizes = ask_topic_sizes};
    t.c = txn_coordinator_new(&how);
    t.began_ms = t.place.clock.now_ms;
}

static void begin(void)
{
    begin_with(false, NULL, NULL);
}

static void settle(void)
{
    while (loop_drain(t.flush) || loop_drain(t.background)) {
    }
}

/* Also what is due by the clock. */
static void turn(void)
{
    while (loop_turn(t.background)) {
    }
}

static void pass_to(int64_t now_ms)
{
    t.place.clock.now_ms = now_ms;
    turn();
}

static void pass(int64_t ms)
{
    pass_to(t.place.clock.now_ms + ms);
}

static void end(void)
{
    txn_coordinator_shutdown(t.c);
    (void)partition_detach_log(t.p, ERR_NOT_LEADER_OR_FOLLOWER);
    settle();
    txn_coordinator_free(t.c);
    replicas_free(t.replicas);
    logs_close(t.logs);
    metadata_cache_free(t.metadata);
    partition_release(t.p);
    loop_free(t.flush);
    loop_free(t.background);
    MUST(plog_close(t.log));
    config_deinit(&t.config);
    arena_deinit(&t.arena);
    place_remove(&t.place);
}

/* ---- leading ---- */

static struct role_change become(int32_t leader, int32_t leader_epoch)
{
    static const int32_t REPLICAS[] = {ME, OTHER};
    struct partition_state state = {.leader = leader,
                                    .leader_epoch = leader_epoch,
                                    .isr = {.ids = &leader, .count = 1},
                                    .replicas = {.ids = REPLICAS, .count = 2}};
    struct role_change change;
    MUST(partition_become(t.p, &state, &change));
    return change;
}

/* As the broker tells the coordinator. */
static void lead(int32_t leader_epoch)
{
    struct role_change change = become(ME, leader_epoch);
    txn_coordinator_elected(t.c, t.p, leader_epoch, change.uninterrupted);
}

static void resign(int32_t leader_epoch)
{
    (void)become(OTHER, leader_epoch);
    txn_coordinator_resigned(t.c, 0);
}

static err state(void)
{
    struct txn_shard *shard = NULL;
    err e = txn_shard_lock(t.c, STR("any"), &shard);
    if (e == OK) {
        txn_shard_unlock(shard);
    }
    return e;
}

/* With 2 nothing can be stored: the other one is not in sync. */
static void set_min_isr(int32_t count)
{
    struct log_config config = plog_config(t.log);
    config.min_insync_replicas = count;
    partition_set_config(t.p, &config);
}

static void set_max_message_bytes(int32_t bytes)
{
    struct log_config config = plog_config(t.log);
    config.max_message_bytes = bytes;
    partition_set_config(t.p, &config);
}

/* ---- asking ---- */

/* A request, which is answered once. */
struct asker {
    struct txn_waiter waiter;
    struct waiter wake;
    int answers;
};

static void on_wake(struct waiter *waiter)
{
    container_of(waiter, struct asker, wake)->answers++;
}

static struct txn_shard *at_the_gate(void)
{
    struct txn_shard *shard = NULL;
    MUST(txn_shard_lock(t.c, STR("any"), &shard));
    return shard;
}

static struct txn_waiter *waits(struct asker *a)
{
    *a = (struct asker){.wake.wake = on_wake};
    a->waiter.waiter = &a->wake;
    return &a->waiter;
}

/* An answer that does not wait. */
static void leave(struct asker *a, struct txn_shard *shard, err e)
{
    txn_shard_unlock(shard);
    if (e != E_BUSY) {
        CU_ASSERT_EQUAL(a->answers, 0);
        a->answers = 1;
        a->waiter.error = e;
    }
}

static const struct txn_producer NOBODY = {-1, -1};

static void init_as(struct asker *a, const char *id, struct txn_producer by, int32_t timeout_ms)
{
    static int64_t fresh = 100;
    struct txn_init event = {.timeout_ms = timeout_ms,
                             .producer_id = by.id,
                             .epoch = by.epoch,
                             .fresh_producer_id = fresh++};
    struct txn_shard *shard = at_the_gate();
    leave(a, shard, txn_shard_init_producer_id(shard, str_of(id), &event, waits(a)));
}

static void init(struct asker *a, const char *id)
{
    init_as(a, id, NOBODY, TIMEOUT_MS);
}

static void add(struct asker *a, const char *id, struct txn_producer by)
{
    struct topic_partition name = {.topic = STR("d")};
    struct txn_partitions *added = txn_partitions_new(&name, 1);
    struct txn_shard *shard = at_the_gate();
    leave(a, shard, txn_shard_add_partitions(shard, str_of(id), by, added, waits(a)));
    txn_partitions_release(added);
}

static void finish(struct asker *a, const char *id, struct txn_producer by, bool commit)
{
    struct txn_shard *shard = at_the_gate();
    leave(a, shard, txn_shard_end(shard, str_of(id), by, commit, waits(a)));
}

static void check_answer(const struct asker *a, err error)
{
    CU_ASSERT_EQUAL(a->answers, 1);
    CU_ASSERT_EQUAL(a->waiter.error, error);
}

/* A producer that has begun, stored. */
static struct txn_producer producer(const char *id, int32_t timeout_ms)
{
    struct asker a;
    init_as(&a, id, NOBODY, timeout_ms);
    settle();
    check_answer(&a, OK);
    return (struct txn_producer){a.waiter.producer_id, a.waiter.epoch};
}

/* One with an open transaction. */
static struct txn_producer open_producer(const char *id, int32_t timeout_ms)
{
    struct asker a;
    struct txn_producer p = producer(id, timeout_ms);
    add(&a, id, p);
    settle();
    check_answer(&a, OK);
    return p;
}

/* "Ongoing 7/5", or "none". */
static const char *is(const char *id)
{
    static char text[64];
    struct txn_shard *shard = at_the_gate();
    const struct txn *txn = txn_shard_find(shard, str_of(id));
    snprintf(text, sizeof(text), "none");
    if (txn != NULL) {
        txn_check(txn);
        snprintf(text, sizeof(text), "%s %lld/%d", txn_state_name(txn->is.state),
                 (long long)txn->is.producer_id, txn->is.epoch);
    }
    txn_shard_unlock(shard);
    return text;
}

static void check_is(const char *id, const char *state_name, struct txn_producer p)
{
    char expected[64];
    snprintf(expected, sizeof(expected), "%s %lld/%d", state_name, (long long)p.id, p.epoch);
    CU_ASSERT_STRING_EQUAL(is(id), expected);
}

static size_t ids_count(void)
{
    struct txn_shard *shard = at_the_gate();
    size_t count = shard->txns.count;
    txn_shard_unlock(shard);
    return count;
}

/* ---- markers ---- */

static int64_t markers_written(void)
{
    struct partition_look look;
    struct partition *d = replicas_find(t.replicas, STR("d"), 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    MUST(partition_look(d, &look));
    partition_release(d);
    return look.end_offset;
}

/* What the last marker of a producer said; there is one record in each. */
static void check_marker(int64_t offset, struct txn_producer p, bool commit, int32_t leader_epoch)
{
    struct plog *log = logs_get(t.logs, (struct topic_partition){.topic = STR("d")});
    struct batch batch;
    size_t len = 0;
    uint8_t *data = read_range(log, offset, offset + 1, 1, &len);
    CU_ASSERT_FATAL(len > BATCH_HEADER_BYTES);
    batch_parse(data, &batch);
    CU_ASSERT(batch_is(&batch, BATCH_CONTROL) && batch_is(&batch, BATCH_TRANSACTIONAL));
    CU_ASSERT(batch.producer_id == p.id && batch.producer_epoch == p.epoch);
    struct record_iter iter;
    struct record record;
    record_iter_init(&iter, bytes_of(data + BATCH_HEADER_BYTES, len - BATCH_HEADER_BYTES), 1);
    CU_ASSERT_FATAL(record_iter_next(&iter, &record));
    CU_ASSERT(record.key.len == 4 && record.key.data[3] == (commit ? 1 : 0));
    CU_ASSERT(record.value.len == 6 && load_u32(record.value.data + 2) == (uint32_t)leader_epoch);
    free(data);
}

/* ---- records as they may stand in a log ---- */

static void append(struct writer *writer, struct batch_builder *batch)
{
    struct partition_append appended;
    MUST(batch_end(batch));
    MUST(partition_append(t.p, writer->data, writer->len, APPEND_COORDINATOR, -1, &appended));
    writer_deinit(writer);
}

/* Of producer 7 in this epoch; partitions of topic "d": 0 up to so many. Led already, not elected. */
static void append_values(const char *id, enum txn_state in, int16_t epoch, int32_t partitions_n,
                          int64_t update_ms)
{
    struct writer writer;
    struct batch_builder batch;
    struct topic_partition *names = xcalloc((size_t)partitions_n + 1, sizeof(*names));
    for (int32_t i = 0; i < partitions_n; i++) {
        names[i] = (struct topic_partition){.topic = STR("d"), .partition = i};
    }
    struct txn_values values = {.state = in,
                                .producer_id = 7,
                                .epoch = epoch,
                                .timeout_ms = TIMEOUT_MS,
                                .start_ms = in == TXN_EMPTY ? -1 : t.began_ms,
                                .update_ms = update_ms,
                                .partitions = txn_partitions_new(names, (size_t)partitions_n)};
    writer_init(&writer, 1 << 24);
    batch_begin(&batch, &writer, CODEC_NONE);
    MUST(txn_record_add(&batch, t.began_ms, str_of(id), &values));
    append(&writer, &batch);
    txn_partitions_release(values.partitions);
    free(names);
}

static void append_tombstone(const char *id)
{
    struct writer writer;
    struct batch_builder batch;
    writer_init(&writer, 1 << 16);
    batch_begin(&batch, &writer, CODEC_NONE);
    MUST(txn_record_add_tombstone(&batch, t.began_ms, str_of(id)));
    append(&writer, &batch);
}

static void append_record(struct bytes key, struct bytes value)
{
    struct writer writer;
    struct batch_builder batch;
    writer_init(&writer, 1 << 16);
    batch_begin(&batch, &writer, CODEC_NONE);
    batch_add(&batch, t.began_ms, key, value);
    append(&writer, &batch);
}

static const struct txn_producer SEVEN_5 = {7, 5};

/* ---- loading ---- */

static void test_last_record_wins(void)
{
    begin();
    (void)become(ME, 0);
    append_values("a", TXN_EMPTY, 4, 0, t.began_ms);
    append_values("removed", TXN_EMPTY, 5, 0, t.began_ms);
    append_values("a", TXN_EMPTY, 5, 0, t.began_ms);
    append_tombstone("back");
    append_values("b", TXN_ONGOING, 5, 1, t.began_ms);
    append_tombstone("removed");
    append_values("back", TXN_COMPLETE_ABORT, 5, 0, t.began_ms);
    append_values("b", TXN_COMPLETE_COMMIT, 5, 0, t.began_ms);
    append_tombstone("unknown");
    lead(2);
    settle(); /* it is on the disk, and so below the high watermark */
    MUST(state());
    check_is("a", "Empty", SEVEN_5);
    check_is("b", "CompleteCommit", SEVEN_5);
    check_is("back", "CompleteAbort", SEVEN_5);
    CU_ASSERT_STRING_EQUAL(is("removed"), "none");
    CU_ASSERT_EQUAL(ids_count(), 3);
    settle();
    CU_ASSERT_EQUAL(markers_written(), 0);
    end();
}

/* Where it was: its producer goes on, but is not known by what it had before. */
static void test_open_after_a_load(void)
{
    struct asker a;
    begin();
    lead(1);
    struct txn_producer first = producer("id", TIMEOUT_MS);
    init_as(&a, "id", first, TIMEOUT_MS);
    settle();
    check_answer(&a, OK);
    struct txn_producer p = {a.waiter.producer_id, a.waiter.epoch};
    CU_ASSERT(p.id == first.id && p.epoch == first.epoch + 1);
    resign(2);
    CU_ASSERT_EQUAL(state(), ERR_NOT_COORDINATOR);
    lead(3);
    init_as(&a, "id", first, TIMEOUT_MS);
    check_answer(&a, ERR_PRODUCER_FENCED);
    add(&a, "id", p);
    settle();
    resign(4);
    lead(5);
    check_is("id", "Ongoing", p);
    add(&a, "id", p);
    CU_ASSERT_EQUAL(a.answers, 0); /* it is there; whether this broker may still say so is asked */
    settle();
    check_answer(&a, OK);
    finish(&a, "id", p, true);
    settle();
    check_answer(&a, OK);
    check_is("id", "CompleteCommit", p);
    CU_ASSERT_EQUAL(markers_written(), 1);
    check_marker(0, p, true, 5);
    end();
}

/* What was decided goes on to its end: markers are sent again, in the new epoch. */
static void test_prepared_after_a_load(void)
{
    begin();
    (void)become(ME, 0);
    append_values("commit", TXN_PREPARE_COMMIT, 5, 1, t.began_ms);
    append_values("abort", TXN_PREPARE_ABORT, 6, 1, t.began_ms);
    append_values("nothing", TXN_PREPARE_COMMIT, 5, 0, t.began_ms);
    lead(2);
    CU_ASSERT_EQUAL(state(), ERR_COORDINATOR_LOAD_IN_PROGRESS); /* above the high watermark */
    loop_drain(t.background);
    CU_ASSERT_EQUAL(state(), ERR_COORDINATOR_LOAD_IN_PROGRESS);
    CU_ASSERT_EQUAL(markers_written(), 0); /* it may be lost, and a marker cannot be taken back */
    settle();
    check_is("commit", "CompleteCommit", SEVEN_5);
    check_is("nothing", "CompleteCommit", SEVEN_5);
    check_is("abort", "CompleteAbort", (struct txn_producer){7, 6});
    CU_ASSERT_EQUAL(markers_written(), 2);
    resign(3);
    lead(4);
    settle();
    check_is("commit", "CompleteCommit", SEVEN_5); /* that was stored */
    CU_ASSERT_EQUAL(markers_written(), 2);
    end();
}

/* d-1 and d-2 are not in the metadata. Whether they were deleted the store alone knows. */
static void test_partitions_that_nobody_knows(void)
{
    begin();
    (void)become(ME, 0);
    append_values("id", TXN_PREPARE_COMMIT, 5, 3, t.began_ms);
    t.d_partitions = -1;
    lead(2);
    settle();
    CU_ASSERT_EQUAL(markers_written(), 1); /* in d-0 */
    CU_ASSERT_EQUAL(t.asked_n, 2);         /* the second came when the first was under way */
    check_is("id", "PrepareCommit", SEVEN_5);
    t.d_partitions = 3;
    pass(100);
    CU_ASSERT_EQUAL(t.asked_n, 4);
    check_is("id", "PrepareCommit", SEVEN_5);
    t.d_partitions = 2;
    pass(100);
    check_is("id", "PrepareCommit", SEVEN_5); /* d-1 is there */
    t.d_partitions = 0;
    pass(100);
    settle();
    check_is("id", "CompleteCommit", SEVEN_5);
    CU_ASSERT_EQUAL(markers_written(), 1);
    end();
}

/* Lost before it was committed: nothing was done, and nobody waits for it. */
static void test_lead_is_lost_before_it_serves(void)
{
    begin();
    (void)become(ME, 0);
    append_values("commit", TXN_PREPARE_COMMIT, 5, 1, t.began_ms);
    lead(2);
    resign(3);
    CU_ASSERT_EQUAL(state(), ERR_NOT_COORDINATOR);
    settle();
    CU_ASSERT_EQUAL(state(), ERR_NOT_COORDINATOR);
    CU_ASSERT_EQUAL(markers_written(), 0);
    lead(4);
    settle();
    CU_ASSERT_EQUAL(markers_written(), 1);
    end();
}

/* As above, of a shard that decided it itself and did not get to the end. */
static void test_decided_before_the_lead_was_lost(void)
{
    struct asker a;
    begin();
    lead(1);
    struct txn_producer p = open_producer("id", TIMEOUT_MS);
    finish(&a, "id", p, true);
    CU_ASSERT_EQUAL(a.answers, 0);
    resign(2);
    check_answer(&a, ERR_NOT_COORDINATOR);
    settle();
    CU_ASSERT_EQUAL(markers_written(), 0); /* nobody was told that it is decided */
    lead(3);
    check_is("id", "PrepareCommit", p);
    settle();
    check_is("id", "CompleteCommit", p);
    check_answer(&a, ERR_NOT_COORDINATOR);
    check_marker(0, p, true, 3);
    end();
}

/* Long ids make a log that is not small: it is loaded piece by piece. */
enum { LARGE_IDS = 200, LARGE_ID_BYTES = 30000, LARGE_BYTES = LARGE_IDS * LARGE_ID_BYTES };

static const char *large_id(int number)
{
    static char id[LARGE_ID_BYTES + 1];
    memset(id, 'x', LARGE_ID_BYTES);
    id[snprintf(id, LARGE_ID_BYTES, "%d", number)] = '-';
    return id;
}

static int pieces(const char *option)
{
    int count = 0;
    begin_with(true, option, NULL);
    (void)become(ME, 0);
    for (int i = 0; i < LARGE_IDS; i++) {
        append_values(large_id(i), TXN_ONGOING, 5, 1, t.began_ms);
        append_values("last", TXN_EMPTY, (int16_t)i, 0, t.began_ms);
    }
    lead(2);
    while (state() == ERR_COORDINATOR_LOAD_IN_PROGRESS) {
        CU_ASSERT_FATAL(loop_turn(t.background));
        count++;
    }
    MUST(state());
    CU_ASSERT_EQUAL(ids_count(), LARGE_IDS + 1);
    check_is(large_id(0), "Ongoing", SEVEN_5);
    check_is(large_id(LARGE_IDS - 1), "Ongoing", SEVEN_5);
    check_is("last", "Empty", (struct txn_producer){7, LARGE_IDS - 1});
    end();
    return count;
}

static void test_loading_in_pieces(void)
{
    int few = pieces(NULL);
    CU_ASSERT_EQUAL(t.config.transaction_state_log_load_buffer_size, 5 << 20);
    CU_ASSERT(few >= 2 && few <= 4);
    int many = pieces("transaction.state.log.load.buffer.size=262144");
    CU_ASSERT_EQUAL(t.config.transaction_state_log_load_buffer_size, 262144);
    CU_ASSERT(many >= LARGE_BYTES / 262144 && many <= 2 * LARGE_BYTES / 262144);
    int all = pieces("transaction.state.log.load.buffer.size=1"); /* a batch at a time */
    CU_ASSERT(all >= 2 * LARGE_IDS && all <= 2 * LARGE_IDS + 2);
}

/* Given up in the middle, and begun again: nothing of the first way counts. */
static void test_loading_is_interrupted(void)
{
    begin_with(true, "transaction.state.log.load.buffer.size=65536", NULL);
    (void)become(ME, 0);
    append_values("first", TXN_EMPTY, 5, 0, t.began_ms);
    for (int i = 0; i < LARGE_IDS; i++) {
        append_values(large_id(0), TXN_ONGOING, 5, 1, t.began_ms);
    }
    lead(1);
    CU_ASSERT_EQUAL(state(), ERR_COORDINATOR_LOAD_IN_PROGRESS);
    for (int i = 0; i < 5; i++) {
        CU_ASSERT(loop_turn(t.background));
    }
    CU_ASSERT_EQUAL(state(), ERR_COORDINATOR_LOAD_IN_PROGRESS);
    resign(2);
    CU_ASSERT_EQUAL(state(), ERR_NOT_COORDINATOR);
    turn();
    CU_ASSERT_EQUAL(state(), ERR_NOT_COORDINATOR);
    (void)become(ME, 3);
    append_tombstone("first");
    append_values(large_id(0), TXN_EMPTY, 5, 0, t.began_ms);
    lead(4);
    turn();
    MUST(state());
    CU_ASSERT_EQUAL(ids_count(), 1);
    check_is(large_id(0), "Empty", SEVEN_5);
    end();
}

/* ---- what cannot be loaded ---- */

/* What is on standard error while it loads. */
static void lead_and_listen(int32_t leader_epoch, char *text, size_t size)
{
    enum log_level level = log_level();
    int before = dup(STDERR_FILENO);
    char *path = place_path(&t.place, "said");
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CU_ASSERT_FATAL(fd >= 0 && before >= 0);
    CU_ASSERT_FATAL(dup2(fd, STDERR_FILENO) >= 0);
    log_set_level(LOG_ERROR);
    lead(leader_epoch);
    log_set_level(level);
    CU_ASSERT_FATAL(dup2(before, STDERR_FILENO) >= 0);
    ssize_t len = pread(fd, text, size - 1, 0);
    text[len < 0 ? 0 : len] = '\0';
    close(before);
    close(fd);
    free(path);
}

static void check_broken(struct bytes key, struct bytes value)
{
    char said[1024];
    begin();
    (void)become(ME, 0);
    append_values("a", TXN_EMPTY, 5, 0, t.began_ms);
    append_values("b", TXN_PREPARE_COMMIT, 5, 1, t.began_ms);
    append_record(key, value);
    append_values("c", TXN_EMPTY, 5, 0, t.began_ms);
    lead_and_listen(1, said, sizeof(said));
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "cannot load transactions"));
    CU_ASSERT_PTR_NOT_NULL(strstr(said, " topic=__transaction_state partition=0 offset=2 "));
    CU_ASSERT_EQUAL(state(), ERR_COORDINATOR_NOT_AVAILABLE);
    settle();
    CU_ASSERT_EQUAL(markers_written(), 0);
    lead(2); /* in a new epoch it is the same log */
    CU_ASSERT_EQUAL(state(), ERR_COORDINATOR_NOT_AVAILABLE);
    resign(3);
    CU_ASSERT_EQUAL(state(), ERR_NOT_COORDINATOR);
    lead(4);
    CU_ASSERT_EQUAL(state(), ERR_COORDINATOR_NOT_AVAILABLE);
    end();
}

static const uint8_t KEY[] = {0, 0, 0, 1, 'x'};
static const uint8_t VALUE[] = {
    0,    0, /* version, producer id, epoch, timeout, state, partitions */
    0,    0,    0,    0,    0,    0,    0,    7,   0, 5, 0, 0, 0, 1,
    0,    0xff, 0xff, 0xff, 0xff, 0,    0,    0,   0, 0, 0, 0, 1, /* update */
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};              /* start */

static void test_cannot_be_loaded(void)
{
    uint8_t value[sizeof(VALUE)];
    struct bytes key = bytes_of(KEY, sizeof(KEY));
    memcpy(value, VALUE, sizeof(VALUE));
    value[1] = 2; /* a version that is not known */
    check_broken(key, bytes_of(value, sizeof(value)));
    check_broken(key, bytes_of(VALUE, sizeof(VALUE) - 1));
    memcpy(value, VALUE, sizeof(VALUE));
    value[16] = 6; /* a state that is never stored */
    check_broken(key, bytes_of(value, sizeof(value)));
    check_broken(key, bytes_of("", 0));
    check_broken(bytes_of(KEY, sizeof(KEY) - 1), bytes_of(VALUE, sizeof(VALUE)));
}

/* Sound, or of no concern. */
static void test_what_is_passed_over(void)
{
    uint8_t key[sizeof(KEY)];
    begin();
    (void)become(ME, 0);
    append_record(bytes_of(KEY, sizeof(KEY)), bytes_of(VALUE, sizeof(VALUE)));
    memcpy(key, KEY, sizeof(KEY));
    key[1] = 1; /* a version of the key that is not known */
    append_record(bytes_of(key, sizeof(key)), bytes_of("?", 1));
    append_record((struct bytes){0}, bytes_of("?", 1));
    MUST(append_marker(t.log, 3, 0, true, 0));
    append_values("a", TXN_EMPTY, 5, 0, t.began_ms);
    lead(1);
    settle(); /* it is on the disk, and so below the high watermark */
    MUST(state());
    check_is("x", "Empty", SEVEN_5);
    CU_ASSERT_EQUAL(ids_count(), 2);
    end();
}

/* ---- stores that wait ---- */

/* Each is told when it is on the disk, and while it is not, who comes second is told so. */
static void test_stores_wait_for_the_disk(void)
{
    struct asker a;
    struct asker b;
    struct asker second;
    begin();
    lead(1);
    init(&a, "a");
    init(&b, "b");
    init(&second, "a");
    CU_ASSERT(a.answers == 0 && b.answers == 0);
    check_answer(&second, ERR_CONCURRENT_TRANSACTIONS);
    settle();
    check_answer(&a, OK);
    check_answer(&b, OK);
    CU_ASSERT(a.waiter.epoch == 0 && b.waiter.epoch == 0);
    CU_ASSERT_NOT_EQUAL(a.waiter.producer_id, b.waiter.producer_id);
    struct txn_producer p = {a.waiter.producer_id, 0};
    add(&a, "a", p);
    check_is("a", "Empty", p);
    loop_drain(t.flush);
    check_is("a", "Empty", p);
    loop_drain(t.background);
    check_answer(&a, OK);
    check_is("a", "Ongoing", p);
    finish(&a, "a", p, false);
    CU_ASSERT_EQUAL(a.answers, 0);
    CU_ASSERT_EQUAL(markers_written(), 0);
    settle();
    check_answer(&a, OK);
    CU_ASSERT_EQUAL(markers_written(), 1);
    check_marker(0, p, false, 1);
    check_is("a", "CompleteAbort", p);
    end();
}

/* Where nothing waits, all of it is done when the gate is left. */
static void test_all_at_once(void)
{
    struct asker a;
    begin_with(true, NULL, NULL);
    lead(1);
    init(&a, "a");
    check_answer(&a, OK);
    struct txn_producer p = {a.waiter.producer_id, a.waiter.epoch};
    add(&a, "a", p);
    check_answer(&a, OK);
    finish(&a, "a", p, true);
    check_answer(&a, OK);
    check_is("a", "CompleteCommit", p);
    CU_ASSERT_EQUAL(markers_written(), 1);
    init(&a, "a"); /* somebody else's transaction is aborted first */
    add(&a, "a", (struct txn_producer){p.id, 1});
    init(&a, "a");
    check_answer(&a, ERR_CONCURRENT_TRANSACTIONS);
    check_is("a", "CompleteAbort", (struct txn_producer){p.id, 2});
    check_marker(1, (struct txn_producer){p.id, 2}, false, 1);
    end();
}

/* Who waits is told, once; and what is behind it is of another life. */
static void test_lead_is_lost(void)
{
    struct asker new_id;
    struct asker opens;
    struct asker ends;
    begin();
    lead(1);
    struct txn_producer a = producer("a", TIMEOUT_MS);
    struct txn_producer b = open_producer("b", TIMEOUT_MS);
    init(&new_id, "new");
    add(&opens, "a", a);
    finish(&ends, "b", b, true);
    resign(2);
    for (int i = 0; i < 2; i++) {
        check_answer(&new_id, ERR_NOT_COORDINATOR);
        check_answer(&opens, ERR_NOT_COORDINATOR);
        check_answer(&ends, ERR_NOT_COORDINATOR);
        settle();
        pass(TIMEOUT_MS);
    }
    CU_ASSERT_EQUAL(state(), ERR_NOT_COORDINATOR);
    CU_ASSERT_EQUAL(markers_written(), 0);
    end();
}

/* Lost and regained without a word: who waits is told 16, and what the log has counts. */
static void test_lead_is_lost_without_a_word(void)
{
    struct asker a;
    begin();
    lead(1);
    struct txn_producer p = producer("a", TIMEOUT_MS);
    add(&a, "a", p);
    lead(3);
    check_answer(&a, ERR_NOT_COORDINATOR);
    settle();
    MUST(state());
    check_is("a", "Ongoing", p);
    settle();
    check_answer(&a, ERR_NOT_COORDINATOR);
    end();
}

/* The lead goes on in a new epoch: nothing is forgotten, and who waits is told when it is safe. */
static void test_lead_goes_on(void)
{
    struct asker a;
    begin();
    lead(1);
    struct txn_producer p = open_producer("a", TIMEOUT_MS);
    finish(&a, "a", p, true);
    lead(2);
    CU_ASSERT_EQUAL(a.answers, 0);
    settle();
    check_answer(&a, OK);
    check_is("a", "CompleteCommit", p);
    check_marker(0, p, true, 2);
    end();
}

/* Markers of before the lead was lost and regained come to their end, and mean nothing any more: the load has
 * begun its own. */
static void test_markers_of_another_life(void)
{
    struct asker a;
    begin();
    lead(1);
    struct txn_producer p = open_producer("a", TIMEOUT_MS);
    finish(&a, "a", p, true);
    loop_drain(t.flush);
    CU_ASSERT(loop_turn(t.background)); /* it is decided; its markers are next */
    check_answer(&a, OK);
    CU_ASSERT_EQUAL(markers_written(), 0);
    resign(2);
    lead(3);
    int64_t end_offset = plog_end_offset(t.log);
    settle();
    CU_ASSERT_EQUAL(markers_written(), 2);
    check_marker(0, p, true, 1);
    check_marker(1, p, true, 3);
    check_is("a", "CompleteCommit", p);
    CU_ASSERT_EQUAL(plog_end_offset(t.log), end_offset + 1);
    check_answer(&a, OK);
    end();
}

static void test_shutdown(void)
{
    struct asker a;
    begin();
    lead(1);
    init(&a, "a");
    txn_coordinator_shutdown(t.c);
    check_answer(&a, ERR_NOT_COORDINATOR);
    end();
    check_answer(&a, ERR_NOT_COORDINATOR);
}

/* ---- stores that fail ---- */

static void test_errors_of_stores(void)
{
    static const err rows[][2] = {
        {OK, OK},
        {ERR_UNKNOWN_TOPIC_OR_PARTITION, ERR_COORDINATOR_NOT_AVAILABLE},
        {ERR_NOT_ENOUGH_REPLICAS, ERR_COORDINATOR_NOT_AVAILABLE},
        {ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, ERR_COORDINATOR_NOT_AVAILABLE},
        {ERR_REQUEST_TIMED_OUT, ERR_COORDINATOR_NOT_AVAILABLE},
        {ERR_NOT_LEADER_OR_FOLLOWER, ERR_NOT_COORDINATOR},
        {ERR_KAFKA_STORAGE_ERROR, ERR_NOT_COORDINATOR},
        {ERR_MESSAGE_TOO_LARGE, ERR_UNKNOWN_SERVER_ERROR},
        {ERR_RECORD_LIST_TOO_LARGE, ERR_UNKNOWN_SERVER_ERROR},
        {ERR_NOT_COORDINATOR, ERR_NOT_COORDINATOR},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CU_ASSERT_EQUAL(
            shard_store_err(rows[i][0], ERR_COORDINATOR_NOT_AVAILABLE, ERR_UNKNOWN_SERVER_ERROR),
            rows[i][1]);
    }
}

/* Nothing has happened, and all of it can be tried again. */
static void test_cannot_be_stored(void)
{
    struct asker a;
    begin();
    lead(1);
    struct txn_producer p = producer("a", TIMEOUT_MS);
    set_min_isr(2);
    init(&a, "new");
    check_answer(&a, ERR_COORDINATOR_NOT_AVAILABLE);
    CU_ASSERT_STRING_EQUAL(is("new"), "none");
    add(&a, "a", p);
    check_answer(&a, ERR_COORDINATOR_NOT_AVAILABLE);
    check_is("a", "Empty", p);
    set_min_isr(1);
    set_max_message_bytes(60);
    add(&a, "a", p);
    check_answer(&a, ERR_UNKNOWN_SERVER_ERROR);
    set_max_message_bytes(1 << 20);
    add(&a, "a", p);
    settle();
    check_answer(&a, OK);
    set_min_isr(2);
    finish(&a, "a", p, true);
    check_answer(&a, ERR_COORDINATOR_NOT_AVAILABLE);
    check_is("a", "Ongoing", p);
    set_min_isr(1);
    finish(&a, "a", p, false);
    settle();
    check_answer(&a, OK);
    check_is("a", "CompleteAbort", p);
    end();
}

/* The append waits for as long as the transaction may take. */
static void test_stores_run_out_of_time(void)
{
    struct asker a;
    struct asker b;
    begin();
    lead(1);
    struct txn_producer p = producer("a", 700);
    add(&a, "a", p);
    init_as(&b, "b", NOBODY, 900);
    turn();
    pass(699);
    CU_ASSERT(a.answers == 0 && b.answers == 0);
    pass(1);
    check_answer(&a, ERR_COORDINATOR_NOT_AVAILABLE);
    check_is("a", "Empty", p);
    CU_ASSERT_EQUAL(b.answers, 0);
    pass(200);
    check_answer(&b, ERR_COORDINATOR_NOT_AVAILABLE);
    CU_ASSERT_STRING_EQUAL(is("b"), "none");
    settle();
    check_answer(&a, ERR_COORDINATOR_NOT_AVAILABLE);
    check_answer(&b, ERR_COORDINATOR_NOT_AVAILABLE);
    end();
}

/* Told that it is decided its producer may go away: that it is complete is tried until it is stored. */
static void test_completion_is_tried_again(void)
{
    struct asker a;
    begin_with(true, NULL, NULL);
    lead(1);
    turn();
    struct txn_producer p = open_producer("a", TIMEOUT_MS);
    struct txn_shard *shard = at_the_gate();
    CU_ASSERT_EQUAL(txn_shard_end(shard, STR("a"), p, true, waits(&a)), E_BUSY);
    check_answer(&a, OK);
    set_min_isr(2);
    txn_shard_unlock(shard);
    CU_ASSERT_EQUAL(markers_written(), 1);
    int64_t end_offset = plog_end_offset(t.log);
    for (int i = 0; i < 5; i++) {
        check_is("a", "PrepareCommit", p);
        init(&a, "a");
        check_answer(&a, ERR_CONCURRENT_TRANSACTIONS);
        turn();
        pass(100);
    }
    CU_ASSERT_EQUAL(plog_end_offset(t.log), end_offset);
    set_min_isr(1);
    pass(99);
    check_is("a", "PrepareCommit", p);
    pass(1);
    check_is("a", "CompleteCommit", p);
    CU_ASSERT_EQUAL(plog_end_offset(t.log), end_offset + 1);
    CU_ASSERT_EQUAL(markers_written(), 1);
    pass(1000);
    CU_ASSERT_EQUAL(plog_end_offset(t.log), end_offset + 1);
    end();
}

/* Neither earlier nor never when the shard is woken for something else before. */
static void test_completion_is_tried_behind_a_look(void)
{
    struct asker a;
    begin_with(true, NULL, NULL);
    lead(1);
    turn();
    struct txn_producer open = open_producer("open", 1000);
    struct txn_producer p = open_producer("a", TIMEOUT_MS);
    pass_to(t.began_ms + INTERVAL_MS - 50);
    struct txn_shard *shard = at_the_gate();
    CU_ASSERT_EQUAL(txn_shard_end(shard, STR("a"), p, true, waits(&a)), E_BUSY);
    set_min_isr(2);
    txn_shard_unlock(shard);
    set_min_isr(1);
    pass_to(t.began_ms + INTERVAL_MS + 49);
    check_is("open", "CompleteAbort", (struct txn_producer){open.id, open.epoch + 1});
    check_is("a", "PrepareCommit", p);
    pass(1);
    check_is("a", "CompleteCommit", p);
    end();
}

/* ---- timeouts ---- */

/* Looked for every so often, from the start on; only what has been open for longer than it may be. */
static void test_timeouts(void)
{
    struct asker a;
    begin_with(true, "transaction.abort.timed.out.transaction.cleanup.interval.ms=5000", NULL);
    lead(1);
    pass(100);
    struct txn_producer early = open_producer("early", 1000);
    struct txn_producer exact = open_producer("exact", 4900);
    struct txn_producer over = open_producer("over", 4899);
    struct txn_producer empty = producer("empty", 1000);
    pass_to(t.began_ms + 4500);
    struct txn_producer late = open_producer("late", 1000);
    pass_to(t.began_ms + 4999);
    check_is("early", "Ongoing", early);
    pass_to(t.began_ms + 5000);
    check_is("early", "CompleteAbort", (struct txn_producer){early.id, early.epoch + 1});
    check_is("over", "CompleteAbort", (struct txn_producer){over.id, over.epoch + 1});
    check_is("exact", "Ongoing", exact);
    check_is("late", "Ongoing", late);
    add(&a, "early", early);
    check_answer(&a, ERR_PRODUCER_FENCED);
    finish(&a, "early", early, true);
    check_answer(&a, ERR_PRODUCER_FENCED);
    pass_to(t.began_ms + 9999);
    check_is("exact", "Ongoing", exact);
    check_is("late", "Ongoing", late);
    pass_to(t.began_ms + 10000);
    check_is("exact", "CompleteAbort", (struct txn_producer){exact.id, exact.epoch + 1});
    check_is("late", "CompleteAbort", (struct txn_producer){late.id, late.epoch + 1});
    pass_to(t.began_ms + 100000);
    check_is("empty", "Empty", empty);
    CU_ASSERT_EQUAL(markers_written(), 4);
    end();
}

/* Its start is in the record. */
static void test_timeout_after_a_load(void)
{
    begin();
    lead(1);
    struct txn_producer p = open_producer("a", TIMEOUT_MS);
    resign(2);
    pass(TIMEOUT_MS - INTERVAL_MS);
    lead(3);
    turn();
    pass_to(t.began_ms + TIMEOUT_MS);
    settle();
    check_is("a", "Ongoing", p);
    pass_to(t.began_ms + TIMEOUT_MS + INTERVAL_MS);
    settle();
    check_is("a", "CompleteAbort", (struct txn_producer){p.id, p.epoch + 1});
    end();
}

/* The coordinator of before had a clock that was a day ahead. */
static void test_timeout_of_a_clock_that_was_ahead(void)
{
    begin_with(true, NULL, NULL);
    lead(1);
    t.place.clock.now_ms += 24 * 3600 * 1000;
    struct txn_producer p = open_producer("a", 1000);
    t.place.clock.now_ms -= 24 * 3600 * 1000;
    resign(2);
    lead(3);
    turn();
    pass_to(t.began_ms + INTERVAL_MS - 1);
    check_is("a", "Ongoing", p);
    pass_to(t.began_ms + INTERVAL_MS);
    check_is("a", "CompleteAbort", (struct txn_producer){p.id, p.epoch + 1});
    end();
}

/* What could not be aborted is aborted at a later look, in the same epoch; and not before, whatever else the
 * shard tries again meanwhile. */
static void test_timeout_that_is_not_stored(void)
{
    struct asker a;
    begin_with(true, NULL, NULL);
    lead(1);
    turn();
    struct txn_producer p = open_producer("a", 1000);
    struct txn_producer raised = {p.id, p.epoch + 1};
    struct txn_producer other = open_producer("other", TIMEOUT_MS);
    struct txn_shard *shard = at_the_gate();
    CU_ASSERT_EQUAL(txn_shard_end(shard, STR("other"), other, true, waits(&a)), E_BUSY);
    set_min_isr(2);
    txn_shard_unlock(shard);
    for (int i = 1; i <= 3; i++) {
        pass_to(t.began_ms + i * INTERVAL_MS);
        check_is("a", "Ongoing", raised);
        finish(&a, "a", p, true);
        check_answer(&a, ERR_PRODUCER_FENCED);
    }
    set_min_isr(1);
    pass(100);
    check_is("other", "CompleteCommit", other);
    check_is("a", "Ongoing", raised);
    pass_to(t.began_ms + 4 * INTERVAL_MS - 1);
    check_is("a", "Ongoing", raised);
    pass_to(t.began_ms + 4 * INTERVAL_MS);
    check_is("a", "CompleteAbort", raised);
    end();
}

/* ---- expiry ---- */

enum { DAY_MS = 24 * 3600 * 1000 };
static const int64_t EXPIRATION_MS = 7LL * DAY_MS;

/* Idle for so long, and not in use. */
static void test_expiry(void)
{
    struct asker a;
    begin_with(true, "transactional.id.expiration.ms=50000",
               "transaction.remove.expired.transaction.cleanup.interval.ms=20000");
    (void)become(ME, 0);
    append_values("old", TXN_EMPTY, 5, 0, t.began_ms - 30000);
    append_values("old-complete", TXN_COMPLETE_COMMIT, 5, 0, t.began_ms - 30000);
    append_values("young", TXN_COMPLETE_ABORT, 5, 0, t.began_ms - 29999);
    append_values("open", TXN_ONGOING, 5, 1, t.began_ms - 900000);
    lead(1);
    turn();
    pass_to(t.began_ms + 19999);
    CU_ASSERT_EQUAL(ids_count(), 4);
    pass_to(t.began_ms + 20000);
    CU_ASSERT_STRING_EQUAL(is("old"), "none");
    CU_ASSERT_STRING_EQUAL(is("old-complete"), "none");
    check_is("young", "CompleteAbort", SEVEN_5);
    check_is("open", "Ongoing", SEVEN_5);
    add(&a, "old", SEVEN_5);
    check_answer(&a, ERR_INVALID_PRODUCER_ID_MAPPING);
    init(&a, "old");
    check_answer(&a, OK);
    CU_ASSERT(a.waiter.producer_id >= 100 && a.waiter.epoch == 0);
    pass_to(t.began_ms + 40000);
    CU_ASSERT_STRING_EQUAL(is("young"), "none");
    check_is("open", "Ongoing", SEVEN_5);
    resign(2);
    lead(3);
    CU_ASSERT_EQUAL(ids_count(), 2);
    end();
}

/* Tombstones from that offset on: no batch is larger than it may be. Returns how many batches. */
static int check_tombstones(int64_t offset, int ids)
{
    int batches = 0;
    int64_t end_offset = plog_end_offset(t.log);
    CU_ASSERT_EQUAL(end_offset, offset + ids);
    while (offset < end_offset) {
        struct batch batch;
        size_t len = 0;
        uint8_t *data = read_range(t.log, offset, end_offset, 1, &len);
        CU_ASSERT_FATAL(len > BATCH_HEADER_BYTES);
        batch_parse(data, &batch);
        CU_ASSERT(batch.size_bytes <= 16 << 10 || batch.count == 1);
        offset = batch_last_offset(&batch) + 1;
        batches++;
        free(data);
    }
    return batches;
}

static void check_expiry_of_many(int ids, size_t id_bytes, int batches_min, int batches_max)
{
    struct asker a;
    begin();
    (void)become(ME, 0);
    char *id = xcalloc(1, id_bytes + 1);
    for (int i = 0; i < ids; i++) {
        memset(id, 'x', id_bytes);
        id[snprintf(id, id_bytes, "%d", i)] = '-';
        append_values(id, TXN_EMPTY, 5, 0, t.began_ms);
    }
    lead(1);
    settle();
    CU_ASSERT_EQUAL(ids_count(), (size_t)ids);
    pass(EXPIRATION_MS);
    int batches = check_tombstones(ids, ids);
    CU_ASSERT(batches >= batches_min && batches <= batches_max);
    CU_ASSERT_EQUAL(ids_count(), (size_t)ids); /* it is not on the disk yet */
    init(&a, id);
    check_answer(&a, ERR_CONCURRENT_TRANSACTIONS);
    settle();
    CU_ASSERT_EQUAL(ids_count(), 0);
    resign(2);
    lead(3);
    CU_ASSERT_EQUAL(ids_count(), 0);
    free(id);
    end();
}

static void test_expiry_of_many(void)
{
    check_expiry_of_many(1, 10, 1, 1);
    check_expiry_of_many(300, 10, 1, 1);
    check_expiry_of_many(1200, 5, 2, 4);
    check_expiry_of_many(400, 100, 3, 4);
    check_expiry_of_many(40, 1000, 3, 4);
    check_expiry_of_many(3, 20000, 3, 3); /* longer than a batch should be */
}

/* What could not be removed lives on until the next time, and can be used. */
static void test_expiry_that_is_not_stored(void)
{
    struct asker a;
    begin();
    (void)become(ME, 0);
    append_values("a", TXN_EMPTY, 5, 0, t.began_ms);
    append_values("b", TXN_EMPTY, 5, 0, t.began_ms);
    lead(1);
    settle();
    set_min_isr(2);
    pass(EXPIRATION_MS);
    CU_ASSERT_EQUAL(ids_count(), 2);
    set_min_isr(1);
    init_as(&a, "a", SEVEN_5, TIMEOUT_MS);
    settle();
    check_answer(&a, OK);
    check_is("a", "Empty", (struct txn_producer){7, 6});
    pass(3600 * 1000);
    settle();
    CU_ASSERT_STRING_EQUAL(is("b"), "none");
    CU_ASSERT_EQUAL(ids_count(), 1);
    end();
}

/* The lead is lost while tombstones wait. */
static void test_expiry_beside_a_lost_lead(void)
{
    begin();
    (void)become(ME, 0);
    append_values("a", TXN_EMPTY, 5, 0, t.began_ms);
    lead(1);
    settle();
    pass(EXPIRATION_MS);
    resign(2);
    settle();
    lead(3);
    CU_ASSERT_EQUAL(ids_count(), 0); /* the log has them */
    end();
}

SUITE("txn shard", TEST(test_last_record_wins), TEST(test_open_after_a_load),
      TEST(test_prepared_after_a_load), TEST(test_partitions_that_nobody_knows),
      TEST(test_lead_is_lost_before_it_serves), TEST(test_decided_before_the_lead_was_lost),
      TEST(test_loading_in_pieces), TEST(test_loading_is_interrupted), TEST(test_cannot_be_loaded),
      TEST(test_what_is_passed_over), TEST(test_stores_wait_for_the_disk), TEST(test_all_at_once),
      TEST(test_lead_is_lost), TEST(test_lead_is_lost_without_a_word), TEST(test_lead_goes_on),
      TEST(test_markers_of_another_life), TEST(test_shutdown), TEST(test_errors_of_stores),
      TEST(test_cannot_be_stored), TEST(test_stores_run_out_of_time),
      TEST(test_completion_is_tried_again), TEST(test_completion_is_tried_behind_a_look),
      TEST(test_timeouts), TEST(test_timeout_after_a_load),
      TEST(test_timeout_of_a_clock_that_was_ahead), TEST(test_timeout_that_is_not_stored),
      TEST(test_expiry), TEST(test_expiry_of_many), TEST(test_expiry_that_is_not_stored),
      TEST(test_expiry_beside_a_lost_lead))
