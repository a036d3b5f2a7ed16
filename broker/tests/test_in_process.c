/* Whole brokers in one process: two at once on threads of the system, and two on virtual time, whose
 * loops this test turns on its own thread, with a clock that it moves and chance from a seed.
 *
 * On virtual time a session of a minute ends in milliseconds, and the same seed gives the same
 * identities and placements. */
#define _GNU_SOURCE
#include "broker/broker.h"
#include "broker/housekeeping.h"

#include "broker/tests/net_util.h"

#include <poll.h>

enum { BROKERS = 2, LOOPS_MAX = 64, ARENA_BYTES = 16 << 20, START_MS = 1000000 };

/* ---- a stage: loops that are turned by hand ---- */

struct stage {
    struct threads threads;
    struct manual_clock clock;
    struct loop *loops[LOOPS_MAX];
    int loops_n;
    const struct loop *held; /* is not turned: its thread waits for something */
    struct loop *flush;      /* of the last broker that was started */
    struct fs *fs;
};

static struct stage stage;

struct thread {
    struct loop *loop;
};

static err stage_start(struct threads *threads, const char *name, enum thread_rank rank,
                       struct loop *loop, struct thread **thread)
{
    (void)rank;
    (void)threads;
    CU_ASSERT_FATAL(stage.loops_n < LOOPS_MAX);
    stage.flush = strcmp(name, "flush") == 0 ? loop : stage.flush;
    stage.loops[stage.loops_n++] = loop;
    *thread = xcalloc(1, sizeof(**thread));
    (*thread)->loop = loop;
    return OK;
}

static void stage_join(struct threads *threads, struct thread *thread)
{
    (void)threads;
    CU_ASSERT(loop_is_stopping(thread->loop));
    while (loop_turn(thread->loop)) {
    }
    for (int i = 0; i < stage.loops_n; i++) {
        if (stage.loops[i] == thread->loop) {
            stage.loops[i] = stage.loops[--stage.loops_n];
        }
    }
    free(thread);
}

/* Turns the loops until none has anything to do at this moment. */
static void stage_settle(void)
{
    bool busy = true;
    while (busy) {
        busy = false;
        for (int i = 0; i < stage.loops_n; i++) {
            busy |= stage.loops[i] != stage.held && loop_turn(stage.loops[i]);
        }
    }
}

/* Lets time pass, from one timer to the next. */
static void stage_pass(int64_t ms)
{
    int64_t until_ms = stage.clock.now_ms + ms;
    while (stage.clock.now_ms < until_ms) {
        int64_t next_ms = until_ms;
        for (int i = 0; i < stage.loops_n; i++) {
            int64_t due_ms = loop_next_due_ms(stage.loops[i]);
            next_ms = due_ms < next_ms ? due_ms : next_ms;
        }
        stage.clock.now_ms = next_ms > stage.clock.now_ms ? next_ms : stage.clock.now_ms;
        stage_settle();
    }
}

static void stage_begin(void)
{
    stage = (struct stage){.threads = {.start = stage_start, .join = stage_join},
                           .fs = stage.fs != NULL ? stage.fs : fs_system()};
    manual_clock_init(&stage.clock, START_MS);
}

/* ---- brokers ---- */

struct place {
    char dir[64];
    struct config config;
    struct seeded_random random;
    struct broker *broker;
    int client;
};

static struct place places[BROKERS];

static void set(struct place *p, const char *option)
{
    char reason[BROKER_REASON_BYTES];
    MUST(config_override(&p->config, option, reason));
}

static void place_start(struct place *p, int id, const char *option, const struct broker_env *env)
{
    char text[96];
    char reason[BROKER_REASON_BYTES];
    temp_dir_make(p->dir);
    config_init(&p->config);
    snprintf(text, sizeof(text), "log.dirs=%s", p->dir);
    set(p, text);
    snprintf(text, sizeof(text), "broker.id=%d", id);
    set(p, text);
    set(p, "listeners=PLAINTEXT://127.0.0.1:0");
    set(p, "offsets.topic.num.partitions=3");
    set(p, "offsets.topic.replication.factor=1");
    set(p, "group.initial.rebalance.delay.ms=3000");
    set(p, "num.network.threads=2");
    if (option != NULL) {
        set(p, option);
    }
    MUST(config_finish(&p->config, reason));
    MUST(broker_start(env, &p->config, &p->broker, reason));
    MUST(broker_serve(p->broker, reason));
    p->client = client_connect(p->broker->listeners.all[0].port);
}

static void place_stop(struct place *p)
{
    close(p->client);
    broker_stop(p->broker);
    config_deinit(&p->config);
    temp_dir_remove(p->dir);
}

/* ---- a client ---- */

static struct arena arena;

/* True when the answer can be read; on the stage that takes no time. */
static bool answer_is_there(int fd, bool on_stage)
{
    struct pollfd watch = {.fd = fd, .events = POLLIN};
    if (on_stage) {
        stage_settle();
    }
    return poll(&watch, 1, on_stage ? 0 : PATIENCE_MS) == 1;
}

static void send_request(struct place *p, int16_t key, int version, const void *request)
{
    struct writer w;
    writer_init(&w, 1 << 20);
    writer_i32(&w, 0);
    writer_i16(&w, key);
    writer_i16(&w, (int16_t)version);
    writer_i32(&w, 7);
    writer_i16(&w, -1);
    MUST(message_encode(api_schema_of(key)->request, version, request, &w));
    store_u32(w.data, (uint32_t)(w.len - 4));
    CU_ASSERT_FATAL(client_send(p->client, w.data, w.len));
    writer_deinit(&w);
}

static void receive_answer(struct place *p, int16_t key, int version, bool on_stage, void *response)
{
    CU_ASSERT_FATAL(answer_is_there(p->client, on_stage));
    size_t len = 0;
    char *frame = client_frame(p->client, &len);
    CU_ASSERT_PTR_NOT_NULL_FATAL(frame);
    uint8_t *copy = arena_alloc(&arena, len);
    memcpy(copy, frame, len);
    free(frame);
    struct reader reader = reader_of(bytes_of(copy, len));
    CU_ASSERT_EQUAL(reader_i32(&reader), 7);
    message_init(api_schema_of(key)->response, response);
    MUST(message_decode(api_schema_of(key)->response, version, &reader, &arena, response));
}

static void ask(struct place *p, int16_t key, int version, const void *request, bool on_stage,
                void *response)
{
    send_request(p, key, version, request);
    receive_answer(p, key, version, on_stage, response);
}

static void create_topic_of(struct place *p, const char *name, int32_t partitions_n, bool on_stage)
{
    struct create_topics_request_topic topic;
    create_topics_request_topic_init(&topic);
    topic.name = str_of(name);
    topic.num_partitions = partitions_n;
    topic.replication_factor = 1;
    struct create_topics_request request;
    create_topics_request_init(&request);
    request.topics = &topic;
    request.topics_n = 1;
    struct create_topics_response response;
    ask(p, 19, 2, &request, on_stage, &response);
    CU_ASSERT_EQUAL_FATAL(response.topics_n, 1);
    CU_ASSERT_EQUAL(response.topics[0].error_code, OK);
}

static void create_topic(struct place *p, const char *name, bool on_stage)
{
    create_topic_of(p, name, 4, on_stage);
}

/* A Produce of one record to partition 0; its batch is the caller's to end. It points into itself. */
struct production {
    struct writer batch;
    struct produce_request_partition partition;
    struct produce_request_topic topic;
    struct produce_request request;
};

static void production_init(struct production *made, const char *topic, const char *value,
                            int32_t timeout_ms)
{
    struct batch_builder batch;
    writer_init(&made->batch, 1 << 16);
    batch_begin(&batch, &made->batch, CODEC_NONE);
    batch_add(&batch, START_MS, bytes_of("k", 1), bytes_of(value, strlen(value)));
    MUST(batch_end(&batch));
    produce_request_partition_init(&made->partition);
    made->partition.records.data = bytes_of(made->batch.data, made->batch.len);
    made->topic = (struct produce_request_topic){
        .name = str_of(topic), .partitions = &made->partition, .partitions_n = 1};
    produce_request_init(&made->request);
    made->request.acks = -1;
    made->request.timeout_ms = timeout_ms;
    made->request.topics = &made->topic;
    made->request.topics_n = 1;
}

/* Produces one record and reads it back. */
static void check_record(struct place *p, const char *topic, const char *value, bool on_stage)
{
    struct production made;
    production_init(&made, topic, value, 1000);
    struct produce_response produced;
    ask(p, 0, 3, &made.request, on_stage, &produced);
    CU_ASSERT_EQUAL(produced.topics[0].partitions[0].error_code, OK);
    struct fetch_request_partition from;
    fetch_request_partition_init(&from);
    from.partition_max_bytes = 1 << 20;
    struct fetch_request_topic of = {
        .topic = str_of(topic), .partitions = &from, .partitions_n = 1};
    struct fetch_request fetch;
    fetch_request_init(&fetch);
    fetch.topics = &of;
    fetch.topics_n = 1;
    fetch.max_wait_ms = 100;
    fetch.min_bytes = 1;
    struct fetch_response fetched;
    ask(p, 1, 4, &fetch, on_stage, &fetched);
    struct bytes got = fetched.topics[0].partitions[0].records.data;
    CU_ASSERT_FATAL(got.len >= made.batch.len);
    CU_ASSERT_PTR_NOT_NULL(memmem(got.data, got.len, value, strlen(value)));
    writer_deinit(&made.batch);
}

/* ---- tests ---- */

static void test_two_brokers(void)
{
    arena_init(&arena, ARENA_BYTES);
    struct broker_env env = broker_env_system();
    for (int i = 0; i < BROKERS; i++) {
        place_start(&places[i], i + 1, NULL, &env);
    }
    CU_ASSERT_STRING_NOT_EQUAL(places[0].broker->cluster_id, places[1].broker->cluster_id);
    create_topic(&places[0], "first", false);
    create_topic(&places[1], "second", false);
    check_record(&places[0], "first", "one", false);
    check_record(&places[1], "second", "two", false);
    struct metadata *metadata = metadata_acquire(places[0].broker->metadata);
    CU_ASSERT_PTR_NULL(metadata_topic(metadata, STR("second")));
    metadata_release(metadata);
    for (int i = 0; i < BROKERS; i++) {
        place_stop(&places[i]);
    }
    arena_deinit(&arena);
}

static void stage_brokers_with(uint64_t seed, const char *option)
{
    arena_init(&arena, ARENA_BYTES);
    stage_begin();
    for (int i = 0; i < BROKERS; i++) {
        seeded_random_init(&places[i].random, seed + (uint64_t)i);
        struct broker_env env = {.clock = &stage.clock.clock,
                                 .fs = stage.fs,
                                 .random = &places[i].random.random,
                                 .threads = &stage.threads,
                                 .sockets = sockets_system()};
        place_start(&places[i], i + 1, option, &env);
    }
}

static void stage_brokers(uint64_t seed)
{
    stage_brokers_with(seed, NULL);
}

static void stage_end(void)
{
    for (int i = 0; i < BROKERS; i++) {
        place_stop(&places[i]);
    }
    CU_ASSERT_EQUAL(stage.loops_n, 0);
    stage.fs = NULL;
    arena_deinit(&arena);
}

static void find_coordinator(struct place *p)
{
    struct find_coordinator_request request;
    find_coordinator_request_init(&request);
    request.key = STR("g");
    struct find_coordinator_response response;
    for (int i = 0; i < 10; i++) { /* the first makes the topic */
        ask(p, 10, 1, &request, true, &response);
        if (response.error_code == OK) {
            return;
        }
        stage_pass(100);
    }
    CU_FAIL("no coordinator");
}

static const char *group_state(struct place *p, char text[64])
{
    struct str group = STR("g");
    struct describe_groups_request request;
    describe_groups_request_init(&request);
    request.groups = &group;
    request.groups_n = 1;
    struct describe_groups_response response;
    ask(p, 15, 0, &request, true, &response);
    CU_ASSERT_EQUAL_FATAL(response.groups_n, 1);
    snprintf(text, 64, "%.*s", (int)response.groups[0].group_state.len,
             response.groups[0].group_state.data);
    return text;
}

static void join(struct place *p)
{
    struct join_group_request_protocol protocol = {.name = STR("range"),
                                                   .metadata = bytes_of("m", 1)};
    struct join_group_request request;
    join_group_request_init(&request);
    request.group_id = STR("g");
    request.session_timeout_ms = 60000;
    request.rebalance_timeout_ms = 60000;
    request.member_id = STR("");
    request.protocol_type = STR("consumer");
    request.protocols = &protocol;
    request.protocols_n = 1;
    send_request(p, 11, 2, &request);
    CU_ASSERT(!answer_is_there(p->client, true)); /* others may join */
    stage_pass(3000);
    struct join_group_response response;
    receive_answer(p, 11, 2, true, &response);
    CU_ASSERT_EQUAL(response.error_code, OK);
}

/* A member that says nothing for its minute is gone, and hours of housekeeping pass, at once. */
static void test_virtual_time(void)
{
    char text[64];
    stage_brokers(1);
    for (int i = 0; i < BROKERS; i++) {
        create_topic(&places[i], "t", true);
        check_record(&places[i], "t", "virtual", true);
    }
    find_coordinator(&places[0]);
    join(&places[0]);
    CU_ASSERT_STRING_EQUAL(group_state(&places[0], text), "CompletingRebalance");
    stage_pass(59000);
    CU_ASSERT_STRING_EQUAL(group_state(&places[0], text), "CompletingRebalance");
    stage_pass(2000);
    CU_ASSERT_STRING_EQUAL(group_state(&places[0], text), "Empty");
    CU_ASSERT_STRING_EQUAL(group_state(&places[1], text), "");
    stage_pass(6 * 3600 * 1000);
    for (int i = 0; i < BROKERS; i++) { /* idle connections were closed long ago */
        CU_ASSERT(client_sees_end(places[i].client));
        close(places[i].client);
        places[i].client = client_connect(places[i].broker->listeners.all[0].port);
        check_record(&places[i], "t", "later", true);
    }
    stage_end();
}

struct identities {
    char cluster_id[CLUSTER_ID_MAX];
    struct uuid topic;
};

static struct identities run_with_seed(uint64_t seed)
{
    struct identities found = {{0}, {{0}}};
    stage_brokers(seed);
    create_topic(&places[0], "t", true);
    snprintf(found.cluster_id, sizeof(found.cluster_id), "%s", places[0].broker->cluster_id);
    struct metadata *metadata = metadata_acquire(places[0].broker->metadata);
    const struct topic_info *topic = metadata_topic(metadata, STR("t"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(topic);
    found.topic = topic->id;
    metadata_release(metadata);
    stage_end();
    return found;
}

static void test_seed_repeats(void)
{
    struct identities a = run_with_seed(11);
    struct identities b = run_with_seed(11);
    struct identities c = run_with_seed(12);
    CU_ASSERT_STRING_EQUAL(a.cluster_id, b.cluster_id);
    CU_ASSERT(uuid_equal(a.topic, b.topic));
    CU_ASSERT_STRING_NOT_EQUAL(a.cluster_id, c.cluster_id);
    CU_ASSERT(!uuid_equal(a.topic, c.topic));
}

/* ---- while the disk is waited for ---- */

static const char *const DURABLE = "log.flush.interval.messages=1";

/* The place whose flush loop the stage knows. */
static struct place *const last = &places[BROKERS - 1];

/* The flush is not done. */
static void hold_flush(bool held)
{
    stage.held = held ? stage.flush : NULL;
}

static void send_produce(struct place *p, const char *topic, int32_t timeout_ms)
{
    struct production made;
    production_init(&made, topic, "v", timeout_ms);
    send_request(p, 0, 3, &made.request);
    writer_deinit(&made.batch);
}

/* The controller says again who leads: whoever waits looks again. */
static void lead_again(struct place *p, const char *topic)
{
    struct partition *partition = replicas_find(p->broker->replicas, str_of(topic), 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(partition);
    int32_t id = p->broker->id;
    struct partition_state state = {.leader = id,
                                    .leader_epoch = partition_role(partition).leader_epoch + 1,
                                    .isr = {.ids = &id, .count = 1},
                                    .replicas = {.ids = &id, .count = 1}};
    struct role_change change;
    MUST(partition_become(partition, &state, &change));
    CU_ASSERT(change.uninterrupted);
    partition_release(partition);
}

/* Woken before its time is over, and looking when it is: that is the end of it. */
static void test_woken_late(void)
{
    stage_brokers_with(1, DURABLE);
    create_topic(last, "t", true);
    hold_flush(true);
    send_produce(last, "t", 1000);
    CU_ASSERT(!answer_is_there(last->client, true));
    lead_again(last, "t");
    stage.clock.now_ms += 1001;
    stage_pass(10);
    CU_ASSERT_FATAL(answer_is_there(last->client, true));
    struct produce_response produced;
    receive_answer(last, 0, 3, true, &produced);
    CU_ASSERT_EQUAL(produced.topics[0].partitions[0].error_code, ERR_REQUEST_TIMED_OUT);
    hold_flush(false);
    stage_end();
}

/* Commits an offset of each of these partitions of "t"; the code of the last. */
static int16_t commit_offsets(struct place *p, struct str group, int32_t partitions_n)
{
    struct offset_commit_request_partition *partitions =
        xcalloc((size_t)partitions_n, sizeof(*partitions));
    for (int32_t i = 0; i < partitions_n; i++) {
        offset_commit_request_partition_init(&partitions[i]);
        partitions[i].partition_index = i;
    }
    struct offset_commit_request_topic topic = {
        .name = STR("t"), .partitions = partitions, .partitions_n = partitions_n};
    struct offset_commit_request request;
    offset_commit_request_init(&request);
    request.group_id = group;
    request.topics = &topic;
    request.topics_n = 1;
    struct offset_commit_response response;
    ask(p, 8, 2, &request, true, &response);
    free(partitions);
    CU_ASSERT_EQUAL_FATAL(response.topics_n, 1);
    CU_ASSERT_EQUAL_FATAL(response.topics[0].partitions_n, partitions_n);
    return response.topics[0].partitions[partitions_n - 1].error_code;
}

/* An OffsetDelete that cannot be stored any more: the whole group's error, which sends the client to
 * another coordinator. */
static void test_stop_while_offsets_are_deleted(void)
{
    stage_brokers_with(1, DURABLE);
    create_topic(last, "t", true);
    find_coordinator(last);
    CU_ASSERT_EQUAL(commit_offsets(last, STR("g"), 1), OK);
    hold_flush(true);
    struct offset_delete_request_partition partition = {.partition_index = 0};
    struct offset_delete_request_topic topic = {
        .name = STR("t"), .partitions = &partition, .partitions_n = 1};
    struct offset_delete_request request = {.group_id = STR("g"), .topics = &topic, .topics_n = 1};
    send_request(last, 47, 0, &request);
    CU_ASSERT(!answer_is_there(last->client, true));
    group_coordinator_shutdown(last->broker->groups);
    struct offset_delete_response response;
    receive_answer(last, 47, 0, true, &response);
    CU_ASSERT_EQUAL(response.error_code, ERR_NOT_COORDINATOR);
    CU_ASSERT_EQUAL(response.topics_n, 0);
    hold_flush(false);
    stage_end();
}

static void send_deletion(struct place *p, struct str *groups, int32_t groups_n)
{
    struct delete_groups_request request = {.groups_names = groups, .groups_names_n = groups_n};
    send_request(p, 42, 1, &request);
}

/* DeleteGroups answers when all that it removed is safe; what is named twice is one group. */
static void test_deletion_waits_for_the_disk(void)
{
    stage_brokers_with(1, DURABLE);
    create_topic(last, "t", true);
    find_coordinator(last);
    CU_ASSERT_EQUAL(commit_offsets(last, STR("g"), 1), OK);
    CU_ASSERT_EQUAL(commit_offsets(last, STR("h"), 1), OK);
    hold_flush(true);
    struct str groups[] = {STR("g"), STR("nobody"), STR("h"), STR("g")};
    send_deletion(last, groups, 4);
    CU_ASSERT(!answer_is_there(last->client, true));
    hold_flush(false);
    struct delete_groups_response response;
    receive_answer(last, 42, 1, true, &response);
    CU_ASSERT_EQUAL_FATAL(response.results_n, 3);
    CU_ASSERT_EQUAL(response.results[0].error_code, OK);
    CU_ASSERT_EQUAL(response.results[1].error_code, ERR_GROUP_ID_NOT_FOUND);
    CU_ASSERT_EQUAL(response.results[2].error_code, OK);
    struct delete_groups_request again = {.groups_names = groups, .groups_names_n = 4};
    ask(last, 42, 1, &again, true, &response);
    CU_ASSERT_EQUAL_FATAL(response.results_n, 3);
    CU_ASSERT_EQUAL(response.results[0].error_code, ERR_GROUP_ID_NOT_FOUND);
    CU_ASSERT_EQUAL(response.results[2].error_code, ERR_GROUP_ID_NOT_FOUND);
    stage_end();
}

/* And with an error where that cannot be any more. */
static void test_stop_while_groups_are_deleted(void)
{
    stage_brokers_with(1, DURABLE);
    create_topic(last, "t", true);
    find_coordinator(last);
    CU_ASSERT_EQUAL(commit_offsets(last, STR("g"), 1), OK);
    hold_flush(true);
    struct str group = STR("g");
    send_deletion(last, &group, 1);
    CU_ASSERT(!answer_is_there(last->client, true));
    group_coordinator_shutdown(last->broker->groups);
    struct delete_groups_response response;
    receive_answer(last, 42, 1, true, &response);
    CU_ASSERT_EQUAL_FATAL(response.results_n, 1);
    CU_ASSERT_EQUAL(response.results[0].error_code, ERR_NOT_COORDINATOR);
    hold_flush(false);
    stage_end();
}

/* A request whose first marker waits for a disk has not asked yet what became of its second, which a shard of
 * groups writes: when the flush ends at last, it does. */
static void test_stop_while_markers_are_written(void)
{
    stage_brokers_with(1, DURABLE);
    create_topic(last, "t", true);
    find_coordinator(last);
    hold_flush(true);
    int32_t partition = 0;
    struct write_txn_markers_request_topic topics[] = {
        {.name = STR("t"), .partition_indexes = &partition, .partition_indexes_n = 1},
        {.name = STR("__consumer_offsets"),
         .partition_indexes = &partition,
         .partition_indexes_n = 1}};
    struct write_txn_markers_request_marker marker = {
        .producer_id = 7, .transaction_result = true, .topics = topics, .topics_n = 2};
    struct write_txn_markers_request request = {.markers = &marker, .markers_n = 1};
    send_request(last, 27, 0, &request);
    CU_ASSERT(!answer_is_there(last->client, true));
    stage_end();
}

/* Offsets that do not fit into a batch are not told to be there. */
static void test_commit_too_large(void)
{
    enum { PARTITIONS = 4200, ID_BYTES = 32767 };
    stage_brokers(1);
    create_topic_of(last, "t", PARTITIONS, true);
    find_coordinator(last);
    char *id = xmalloc(ID_BYTES);
    memset(id, 'g', ID_BYTES);
    struct str group = {.data = id, .len = ID_BYTES};
    CU_ASSERT_EQUAL(commit_offsets(last, group, 10), OK);
    CU_ASSERT_EQUAL(commit_offsets(last, group, PARTITIONS), ERR_INVALID_COMMIT_OFFSET_SIZE);
    free(id);
    stage_end();
}

/* A file is put in its place, and logs change meanwhile. */
static int checkpoints_written;
static struct housekeeping *changes;

static int rename_and_change(struct fs *fs, const char *from, const char *to)
{
    int outcome = fs_system()->ops->rename(fs, from, to);
    if (strstr(to, "checkpoint") != NULL && changes != NULL) {
        checkpoints_written++;
        housekeeping_mark_dirty(changes);
    }
    return outcome;
}

/* Several checkpoints in one turn of the background loop, with changes during each: they go on. */
static void test_changes_while_checkpoints_are_written(void)
{
    enum { MINUTE_MS = 60000 };
    struct fs_ops ops = *fs_system()->ops;
    struct fs changing = {.ops = &ops};
    ops.rename = rename_and_change;
    stage.fs = &changing;
    stage_brokers(1);
    create_topic(last, "t", true);
    check_record(last, "t", "v", true);
    changes = last->broker->housekeeping;
    for (int i = 0; i < 3; i++) {
        checkpoints_written = 0;
        stage_pass(MINUTE_MS);
        CU_ASSERT(checkpoints_written >= 12); /* one kind every 5 s, two every minute */
    }
    changes = NULL;
    stage_end();
}

static bool is_on_disk(const char *name)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/t-0/%s", last->dir, name);
    return access(path, F_OK) == 0;
}

/* A segment that has expired is renamed, and its files go after log.segment.delete.delay.ms. */
static void test_expired_files_go(void)
{
    enum { CHECK_MS = 30000, DELAY_MS = 60000 };
    stage_brokers_with(1, "log.retention.ms=1000");
    create_topic(last, "t", true);
    check_record(last, "t", "v", true);
    CU_ASSERT(is_on_disk("00000000000000000000.log"));
    stage_pass(CHECK_MS + 1000);
    CU_ASSERT(!is_on_disk("00000000000000000000.log"));
    CU_ASSERT(is_on_disk("00000000000000000000.log.deleted"));
    CU_ASSERT(is_on_disk("00000000000000000001.log"));
    stage_pass(DELAY_MS - 5000);
    CU_ASSERT(is_on_disk("00000000000000000000.log.deleted"));
    stage_pass(6000);
    CU_ASSERT(!is_on_disk("00000000000000000000.log.deleted"));
    CU_ASSERT(!is_on_disk("00000000000000000000.index.deleted"));
    stage_end();
}

SUITE("in process", TEST(test_changes_while_checkpoints_are_written), TEST(test_woken_late),
      TEST(test_stop_while_offsets_are_deleted), TEST(test_deletion_waits_for_the_disk),
      TEST(test_stop_while_groups_are_deleted), TEST(test_stop_while_markers_are_written),
      TEST(test_commit_too_large), TEST(test_two_brokers), TEST(test_virtual_time),
      TEST(test_seed_repeats), TEST(test_expired_files_go))
