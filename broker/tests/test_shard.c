/* A shard of the coordinator on a real partition: loading, stores that wait for the disk, and a lead
 * that is lost. */
#include "broker/coordinator/group_shard.h"

#include "broker/coordinator/group.h"
#include "storage/tests/util.h"

enum { ME = 1, OTHER = 2 };

static struct {
    struct place place;
    struct config config;
    struct loop *flush;
    struct loop *background;
    struct partition_env env;
    struct plog *log;
    struct partition *p;
    struct group_coordinator *c;
    int done;
    err outcome;
} t;

/* Options may be NULL. */
static void begin_with(const char *option, const char *another)
{
    struct log_config config = log_config_default();
    config.flush_messages = 1; /* a store waits for the disk */
    memset(&t, 0, sizeof(t));
    place_make(&t.place);
    char reason[CONFIG_REASON_BYTES];
    config_init(&t.config);
    const char *const options[] = {"group.initial.rebalance.delay.ms=0", option, another};
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        if (options[i] != NULL) {
            MUST(config_override(&t.config, options[i], reason));
        }
    }
    MUST(config_finish(&t.config, reason));
    MUST(loop_new(&t.place.clock.clock, sockets_system(), &t.flush));
    MUST(loop_new(&t.place.clock.clock, sockets_system(), &t.background));
    t.env =
        (struct partition_env){.broker_id = ME, .clock = &t.place.clock.clock, .flush = t.flush};
    t.log = must_open(&t.place, &(struct how){.config = config, .clean = true});
    t.p = partition_new(plog_name(t.log), (struct uuid){{9}}, &t.env, t.log, 0);
    struct group_coordinator_config how = {.config = &t.config,
                                           .clock = &t.place.clock.clock,
                                           .random = random_system(),
                                           .background = t.background};
    t.c = group_coordinator_new(&how);
}

static void begin(void)
{
    begin_with(NULL, NULL);
}

static void end(void)
{
    group_coordinator_shutdown(t.c);
    (void)partition_detach_log(t.p, ERR_NOT_LEADER_OR_FOLLOWER);
    loop_drain(t.flush);
    loop_drain(t.background);
    group_coordinator_free(t.c);
    partition_release(t.p);
    loop_free(t.flush);
    loop_free(t.background);
    MUST(plog_close(t.log));
    config_deinit(&t.config);
    place_remove(&t.place);
}

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
    group_coordinator_elected(t.c, t.p, leader_epoch, change.uninterrupted);
}

/* Not by shard_at(): it takes the coordinator's lock, which comes before a shard's. */
static struct group_shard *shard(void)
{
    return group_shard_of(t.c->shards.all[0]);
}

static err state(void)
{
    shard_lock(&shard()->shard);
    err e = shard_ready_locked(&shard()->shard);
    group_shard_unlock(shard());
    return e;
}

static bool has_offset(const char *group_id, int64_t offset)
{
    shard_lock(&shard()->shard);
    const struct group *group = group_shard_find(shard(), str_of(group_id));
    const struct committed *value = group == NULL ? NULL : offsets_get(group, STR("topic"), 0);
    bool same = value != NULL && value->offset == offset;
    group_shard_unlock(shard());
    return same;
}

static void on_stored(struct group_shard *in, void *context, err outcome, int64_t at)
{
    (void)at;
    (void)in;
    (void)context;
    t.done++;
    t.outcome = outcome;
}

/* One committed offset, stored. */
static void store(const char *group_id, int64_t offset)
{
    struct writer writer;
    struct batch_builder batch;
    struct committed value = {.offset = offset,
                              .leader_epoch = -1,
                              .metadata = STR(""),
                              .commit_ms = T0_MS,
                              .expire_ms = -1,
                              .topic = STR("topic")};
    shard_lock(&shard()->shard);
    group_batch_begin(shard(), &writer, &batch, true);
    MUST(record_add_offset(&batch, T0_MS, str_of(group_id), &value));
    MUST(batch_end(&batch));
    group_shard_store(shard(), &writer, on_stored, NULL, NULL);
    group_shard_unlock(shard());
}

static void settle(void)
{
    loop_drain(t.flush);
    loop_drain(t.background);
}

/* ---- tests ---- */

static void test_stores_wait_for_the_disk(void)
{
    begin();
    lead(1);
    MUST(state());
    store("a", 1);
    store("b", 2);
    CU_ASSERT_EQUAL(t.done, 0);
    settle();
    CU_ASSERT_EQUAL(t.done, 2);
    CU_ASSERT_EQUAL(t.outcome, OK);
    store("c", 3); /* it is watched for again */
    CU_ASSERT_EQUAL(t.done, 2);
    settle();
    CU_ASSERT_EQUAL(t.done, 3);
    end();
}

/* The head of the queue is safe, what came behind it meanwhile is not: that is watched for next. */
static void test_stores_behind_each_other(void)
{
    begin();
    lead(1);
    store("a", 1);
    loop_drain(t.flush);
    store("b", 2);
    loop_drain(t.background);
    CU_ASSERT_EQUAL(t.done, 1);
    settle();
    CU_ASSERT_EQUAL(t.done, 2);
    end();
}

static void test_resigns(void)
{
    begin();
    lead(1);
    store("a", 1);
    (void)become(OTHER, 2);
    group_coordinator_resigned(t.c, 0);
    CU_ASSERT_EQUAL(t.done, 1);
    CU_ASSERT_EQUAL(t.outcome, ERR_NOT_COORDINATOR);
    CU_ASSERT_EQUAL(state(), ERR_NOT_COORDINATOR);
    settle();
    CU_ASSERT_EQUAL(t.done, 1);
    end();
}

/* The lead goes on: groups stay, and a store that waits is told when it is safe. */
static void test_elected_again(void)
{
    begin();
    lead(1);
    store("a", 1);
    lead(2);
    MUST(state());
    CU_ASSERT_EQUAL(t.done, 0);
    settle();
    CU_ASSERT_EQUAL(t.done, 1);
    CU_ASSERT_EQUAL(t.outcome, OK);
    end();
}

/* The lead was lost and is regained, and nobody said so: what another coordinator has written
 * meanwhile is in the log, not in the groups. */
static void test_lost_without_a_word(void)
{
    begin();
    lead(1);
    store("a", 1);
    settle();
    lead(2); /* loads nothing: uninterrupted */
    CU_ASSERT(!has_offset("a", 1));
    store("a", 5);
    lead(4);
    CU_ASSERT_EQUAL(t.done, 2);
    CU_ASSERT_EQUAL(t.outcome, ERR_NOT_COORDINATOR);
    MUST(state());
    CU_ASSERT(has_offset("a", 5));
    end();
}

/* The partition knows already, the coordinator does not yet. */
static void test_between_two_words(void)
{
    begin();
    lead(1);
    MUST(state());
    CU_ASSERT(become(ME, 2).uninterrupted);
    MUST(state());
    CU_ASSERT(!become(ME, 4).uninterrupted);
    CU_ASSERT_EQUAL(state(), ERR_COORDINATOR_LOAD_IN_PROGRESS);
    group_coordinator_elected(t.c, t.p, 4, false);
    MUST(state());
    (void)become(OTHER, 5);
    CU_ASSERT_EQUAL(state(), ERR_NOT_COORDINATOR);
    end();
}

static void test_loading_fails(void)
{
    begin();
    (void)become(ME, 1);
    (void)partition_detach_log(t.p, ERR_UNKNOWN_TOPIC_OR_PARTITION);
    group_coordinator_elected(t.c, t.p, 1, false);
    CU_ASSERT_EQUAL(state(), ERR_COORDINATOR_LOAD_IN_PROGRESS);
    loop_drain(t.background);
    CU_ASSERT_EQUAL(state(), ERR_NOT_COORDINATOR);
    end();
}

/* Elected, lost and elected again before the background thread came to load the first time. */
static void test_elected_again_while_loading(void)
{
    begin();
    (void)become(ME, 1);
    (void)partition_detach_log(t.p, ERR_UNKNOWN_TOPIC_OR_PARTITION);
    group_coordinator_elected(t.c, t.p, 1, false);
    group_coordinator_elected(t.c, t.p, 3, false);
    CU_ASSERT_EQUAL(state(), ERR_COORDINATOR_LOAD_IN_PROGRESS);
    loop_drain(t.background); /* a task that is queued twice would never end */
    CU_ASSERT_EQUAL(state(), ERR_NOT_COORDINATOR);
    end();
}

/* ---- offsets of a living group ---- */

static struct str told_id; /* of the last join */
static char told_id_text[64];

static void on_answer(struct group_waiter *waiter, const struct group_action *action)
{
    (void)waiter;
    snprintf(told_id_text, sizeof(told_id_text), "%.*s", (int)action->member_id.len,
             action->member_id.data);
    told_id = str_of(told_id_text);
}

static void on_wake(struct waiter *waiter)
{
    (void)waiter;
}

static struct waiter nobody = {.wake = on_wake};
static struct group_waiter asker = {.fill = on_answer, .waiter = &nobody};

/* A stable group of one consumer, whose subscription is these bytes. */
static struct group *stable_group(const char *type, struct bytes subscription)
{
    struct group *group = group_shard_add(shard(), STR("g"));
    struct protocol protocol = {.name = STR("range"), .metadata = subscription};
    struct join_event join = {.member_id = STR(""),
                              .client_id = STR("c"),
                              .client_host = STR("h"),
                              .protocol_type = str_of(type),
                              .protocols = &protocol,
                              .protocols_n = 1,
                              .session_timeout_ms = 1 << 30,
                              .rebalance_timeout_ms = 1 << 30,
                              .waiter = &asker};
    struct group_output out;
    group_output_init(&out);
    group_join(group, &join, &t.c->limits, group_coordinator_now_ms(t.c), &out);
    group_shard_finish_event(shard(), group, &out);
    group_output_deinit(&out);
    struct sync_event sync = {.member_id = told_id,
                              .generation = 1,
                              .protocol_type = str_of(type),
                              .protocol_name = STR("range"),
                              .waiter = &asker};
    group_output_init(&out);
    group_sync(group, &sync, group_coordinator_now_ms(t.c), &out);
    group_shard_finish_event(shard(), group, &out);
    group_output_deinit(&out);
    group_shard_unlock(shard());
    settle();
    shard_lock(&shard()->shard);
    CU_ASSERT_EQUAL_FATAL(group->state, GROUP_STABLE);
    return group;
}

static void commit(struct group *group, const char *topic, int64_t expire_ms)
{
    struct committed value = {.offset = 1,
                              .leader_epoch = -1,
                              .metadata = STR(""),
                              .commit_ms = group_coordinator_now_ms(t.c),
                              .expire_ms = expire_ms,
                              .topic = str_of(topic)};
    offsets_set(group, &value);
}

static bool kept(const struct group *group, const char *topic)
{
    return offsets_get(group, str_of(topic), 0) != NULL;
}

static void expire_after(int64_t ms)
{
    group_shard_expire_offsets(shard(), group_coordinator_now_ms(t.c) + ms);
    group_shard_unlock(shard());
    settle();
    shard_lock(&shard()->shard);
}

static const int64_t RETENTION_MS = 7LL * 24 * 3600 * 1000;
static const uint8_t SUBSCRIPTION[] = {0, 0, 0, 0, 0, 1, 0, 4, 'h', 'e', 'l', 'd', 0, 0, 0, 0};

/* What a living group subscribes to is kept; what it has left goes when its time is over. */
static void test_topics_that_were_left(void)
{
    begin();
    lead(1);
    shard_lock(&shard()->shard);
    struct group *group = stable_group("consumer", bytes_of(SUBSCRIPTION, sizeof(SUBSCRIPTION)));
    commit(group, "held", -1);
    commit(group, "left", -1);
    commit(group, "short", group_coordinator_now_ms(t.c) + 1000);
    expire_after(RETENTION_MS - 1);
    CU_ASSERT(kept(group, "held") && kept(group, "left") && !kept(group, "short"));
    expire_after(RETENTION_MS);
    CU_ASSERT(kept(group, "held") && !kept(group, "left"));
    CU_ASSERT_PTR_NOT_NULL(group_shard_find(shard(), STR("g")));
    group_shard_unlock(shard());
    end();
}

/* Who cannot say what is subscribed to (another type of group, bytes that cannot be read) keeps all. */
static void check_keeps_all(const char *type, struct bytes subscription)
{
    begin();
    lead(1);
    shard_lock(&shard()->shard);
    struct group *group = stable_group(type, subscription);
    commit(group, "left", -1);
    expire_after(RETENTION_MS * 2);
    CU_ASSERT(kept(group, "left"));
    group_shard_unlock(shard());
    end();
}

static void test_unknown_subscriptions(void)
{
    check_keeps_all("connect", bytes_of(SUBSCRIPTION, sizeof(SUBSCRIPTION)));
    for (size_t cut = 0; cut < 12; cut++) {
        check_keeps_all("consumer", bytes_of(SUBSCRIPTION, cut));
    }
}

static void turn(void)
{
    while (loop_turn(t.background)) {
    }
}

/* ---- removal while commits are in flight ---- */

struct coming {
    const char *group_id;
    struct committed value;
};

static void set_coming(void *context, struct group *group)
{
    const struct coming *coming = context;
    offsets_set(group, &coming->value);
}

static void on_coming_stored(struct group_shard *in, void *context, err outcome, int64_t at)
{
    (void)at;
    struct coming *coming = context;
    struct str id = str_of(coming->group_id);
    MUST(outcome);
    set_coming(coming, group_shard_find(in, id) != NULL ? group_shard_find(in, id)
                                                        : group_shard_add(in, id));
    free(coming);
}

/* A commit that waits for the disk. */
static void begin_commit(const char *group_id, const char *topic, int64_t offset)
{
    struct writer writer;
    struct batch_builder batch;
    struct coming *coming = xcalloc(1, sizeof(*coming));
    coming->group_id = group_id;
    coming->value = (struct committed){.offset = offset,
                                       .metadata = STR(""),
                                       .commit_ms = group_coordinator_now_ms(t.c),
                                       .expire_ms = -1,
                                       .topic = str_of(topic)};
    group_batch_begin(shard(), &writer, &batch, true);
    MUST(record_add_offset(&batch, T0_MS, str_of(group_id), &coming->value));
    MUST(batch_end(&batch));
    group_shard_store(
        shard(), &writer, on_coming_stored, coming,
        &(struct store_commits){.group_id = str_of(coming->group_id), .set = set_coming});
}

/* What a group has of topics "a" and "b"; 0: nothing. */
static void check_offsets(const char *group_id, int64_t a, int64_t b)
{
    const struct group *group = group_shard_find(shard(), str_of(group_id));
    CU_ASSERT_EQUAL(group != NULL, a != 0 || b != 0);
    const struct committed *of_a = group == NULL ? NULL : offsets_get(group, STR("a"), 0);
    const struct committed *of_b = group == NULL ? NULL : offsets_get(group, STR("b"), 0);
    CU_ASSERT_EQUAL(of_a == NULL ? 0 : of_a->offset, a);
    CU_ASSERT_EQUAL(of_b == NULL ? 0 : of_b->offset, b);
}

static void with_the_lock_released(void (*act)(void))
{
    group_shard_unlock(shard());
    act();
    shard_lock(&shard()->shard);
}

static void load_again(void)
{
    (void)become(OTHER, 2);
    group_coordinator_resigned(t.c, 0);
    lead(3);
}

/* Two groups with old offsets, "a" of the first being committed again; and a group that only will have
 * what it commits. */
static void begin_with_commits(void)
{
    begin();
    lead(1);
    shard_lock(&shard()->shard);
    begin_commit("g", "a", 1);
    begin_commit("g", "b", 1);
    begin_commit("h", "a", 1);
    with_the_lock_released(settle);
    begin_commit("g", "a", 2);
    begin_commit("new", "a", 2);
    (void)group_shard_add(shard(), STR("new"));
}

/* What there is in the end, and after the next load. */
static void end_with(int64_t g_a, int64_t g_b, int64_t h_a, int64_t h_b, int64_t new_a)
{
    for (int loaded_again = 0; loaded_again <= 1; loaded_again++) {
        with_the_lock_released(loaded_again ? load_again : settle);
        check_offsets("g", g_a, g_b);
        check_offsets("h", h_a, h_b);
        check_offsets("new", new_a, 0);
    }
    group_shard_unlock(shard());
    end();
}

/* Just what is being committed is kept. */
static void test_expiry_beside_commits(void)
{
    begin_with_commits();
    group_shard_find(shard(), STR("new"))->generation = 1; /* its removal would show in the log */
    group_shard_expire_offsets(shard(), group_coordinator_now_ms(t.c) + RETENTION_MS);
    CU_ASSERT_EQUAL(plog_end_offset(t.log), 7); /* two tombstones */
    end_with(2, 0, 0, 0, 2);
}

/* Other stores hold up nothing, and a tombstone behind a tombstone does no harm. */
static void test_expiry_beside_stores(void)
{
    begin_with_commits();
    with_the_lock_released(settle);
    group_shard_remove_topic(shard(), STR("b"));
    group_shard_expire_offsets(shard(), group_coordinator_now_ms(t.c) + RETENTION_MS);
    begin_commit("g", "a", 3);
    group_shard_expire_offsets(shard(), group_coordinator_now_ms(t.c) + RETENTION_MS);
    end_with(3, 0, 0, 0, 0);
}

static void test_topic_removal_beside_commits(void)
{
    begin_with_commits();
    group_shard_remove_topic(shard(), STR("a"));
    end_with(0, 1, 0, 0, 0);
}

/* The group's deletion is in flight, and behind it a commit that brings the group back. */
static void test_topic_removal_beside_group_removal(void)
{
    err outcome = OK;
    begin_with_commits();
    MUST(group_shard_delete_group(shard(), STR("g"), &nobody, &outcome));
    loop_drain(t.flush);
    begin_commit("g", "a", 3);
    with_the_lock_released(turn);
    CU_ASSERT_PTR_NULL(group_shard_find(shard(), STR("g")));
    group_shard_remove_topic(shard(), STR("a"));
    end_with(0, 0, 0, 0, 0);
}

static void test_requests_beside_commits(void)
{
    struct offset_pick picks[] = {{.topic = STR("a")}, {.topic = STR("b")}};
    err outcome[3] = {E_LIMIT, E_LIMIT, E_LIMIT};
    begin_with_commits();
    begin_commit("h", "b", 2);
    MUST(group_shard_delete_offsets(shard(), STR("new"), picks, 2, &nobody, &outcome[0]));
    MUST(group_shard_delete_offsets(shard(), STR("g"), picks, 1, &nobody, &outcome[1]));
    MUST(group_shard_delete_group(shard(), STR("h"), &nobody, &outcome[2]));
    with_the_lock_released(settle);
    CU_ASSERT(outcome[0] == OK && outcome[1] == OK && outcome[2] == OK);
    end_with(0, 1, 0, 0, 0);
}

/* ---- what is larger than the topic takes ---- */

static void set_max_message_bytes(int32_t bytes)
{
    struct log_config config = plog_config(t.log);
    config.max_message_bytes = bytes;
    partition_set_config(t.p, &config);
}

static void test_store_too_large(void)
{
    begin();
    lead(1);
    set_max_message_bytes(100);
    store("a", 1);
    CU_ASSERT_EQUAL(t.done, 1);
    CU_ASSERT_EQUAL(t.outcome, ERR_MESSAGE_TOO_LARGE);
    end();
}

/* The topic's setting was lowered meanwhile: many batches then, and the next load knows of none. */
static void test_removal_in_many_batches(void)
{
    enum { OFFSETS = 20 };
    begin();
    lead(1);
    for (int i = 0; i < OFFSETS; i++) {
        store("a", i);
    }
    settle();
    shard_lock(&shard()->shard);
    struct group *group = group_shard_add(shard(), STR("a"));
    for (int32_t i = 0; i < OFFSETS; i++) {
        struct committed value = {.metadata = STR(""), .topic = STR("topic"), .partition = i};
        offsets_set(group, &value);
    }
    set_max_message_bytes(150); /* room for two */
    group_shard_remove_topic(shard(), STR("topic"));
    CU_ASSERT_EQUAL(group->offsets.count, OFFSETS);
    group_shard_unlock(shard());
    settle();
    shard_lock(&shard()->shard);
    CU_ASSERT_PTR_NULL(group_shard_find(shard(), STR("a")));
    group_shard_unlock(shard());
    CU_ASSERT_EQUAL(plog_end_offset(t.log), 2 * OFFSETS);
    (void)become(OTHER, 2);
    group_coordinator_resigned(t.c, 0);
    lead(3);
    CU_ASSERT(!has_offset("a", OFFSETS - 1));
    end();
}

/* A tombstone that has no room for itself: what it would remove cannot be in the log. */
static void test_tombstone_too_large(void)
{
    begin();
    lead(1);
    shard_lock(&shard()->shard);
    struct group *group = stable_group("consumer", bytes_of(SUBSCRIPTION, sizeof(SUBSCRIPTION)));
    commit(group, "topic", -1);
    set_max_message_bytes(60);
    group_shard_remove_topic(shard(), STR("topic"));
    CU_ASSERT(!kept(group, "topic"));
    group_shard_unlock(shard());
    end();
}

/* ---- group records as they may stand in a log ---- */

static void append_group_record(const char *group_id, const char *member_ids[2],
                                struct str instance_id, const char *leader)
{
    struct group_metadata_value_member members[2];
    for (int i = 0; i < 2; i++) {
        members[i] = (struct group_metadata_value_member){.member_id = str_of(member_ids[i]),
                                                          .group_instance_id = instance_id,
                                                          .client_id = STR("c"),
                                                          .client_host = STR("h"),
                                                          .session_timeout = 1 << 30,
                                                          .subscription = bytes_of("", 0),
                                                          .assignment = bytes_of("", 0)};
    }
    struct group_metadata_value in = {.protocol_type = STR("consumer"),
                                      .generation = 1,
                                      .protocol = STR("range"),
                                      .leader = str_of(leader),
                                      .members = members,
                                      .members_n = 2};
    struct group_metadata_key key_in = {.group = str_of(group_id)};
    struct writer key;
    struct writer value;
    struct writer writer;
    struct batch_builder batch;
    struct partition_append append;
    writer_init(&key, 1 << 10);
    writer_init(&value, 1 << 10);
    writer_i16(&key, 2);
    writer_i16(&value, 3);
    MUST(message_encode(&group_metadata_key_message, 2, &key_in, &key));
    MUST(message_encode(&group_metadata_value_message, 3, &in, &value));
    group_batch_begin(shard(), &writer, &batch, false);
    batch_add(&batch, T0_MS, bytes_of(key.data, key.len), bytes_of(value.data, value.len));
    MUST(batch_end(&batch));
    MUST(partition_append(t.p, writer.data, writer.len, APPEND_COORDINATOR, -1, &append));
    writer_deinit(&key);
    writer_deinit(&value);
    writer_deinit(&writer);
}

static struct group *loaded(const char *group_id)
{
    shard_lock(&shard()->shard);
    struct group *group = group_shard_find(shard(), str_of(group_id));
    group_shard_unlock(shard());
    return group;
}

/* A record in which a member stands twice is passed over, and one whose leader is no member is led by
 * the first: what a group is must hold from the start. */
static void test_damaged_group_records(void)
{
    begin();
    lead(1);
    const char *two[] = {"a", "b"};
    const char *twice[] = {"a", "a"};
    append_group_record("sound", two, (struct str){0}, "b");
    append_group_record("strange-leader", two, (struct str){0}, "c");
    append_group_record("twice", twice, (struct str){0}, "a");
    append_group_record("same-instance", two, STR("i"), "a");
    settle();
    (void)become(OTHER, 2);
    group_coordinator_resigned(t.c, 0);
    lead(3);
    MUST(state());
    CU_ASSERT_PTR_NULL(loaded("twice"));
    CU_ASSERT_PTR_NULL(loaded("same-instance"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(loaded("sound"));
    CU_ASSERT(str_is(loaded("sound")->leader_id, "b"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(loaded("strange-leader"));
    CU_ASSERT(str_is(loaded("strange-leader")->leader_id, "a"));
    group_check(loaded("sound"));
    group_check(loaded("strange-leader"));
    end();
}

/* group.max.size was lowered: as many as there is room for join again. */
static void test_loaded_over_capacity(void)
{
    const char *two[] = {"a", "b"};
    for (int32_t size_max = 1; size_max <= 2; size_max++) {
        begin();
        t.c->limits.size_max = size_max;
        lead(1);
        append_group_record("g", two, (struct str){0}, "b");
        settle();
        (void)become(OTHER, 2);
        group_coordinator_resigned(t.c, 0);
        lead(3);
        CU_ASSERT_PTR_NOT_NULL_FATAL(loaded("g"));
        CU_ASSERT_EQUAL(loaded("g")->state,
                        size_max == 1 ? GROUP_PREPARING_REBALANCE : GROUP_STABLE);
        CU_ASSERT_EQUAL(group_heartbeat(loaded("g"), STR("a"), (struct str){0}, 1, T0_MS),
                        size_max == 1 ? ERR_REBALANCE_IN_PROGRESS : OK);
        end();
    }
}

static void pass(int64_t ms)
{
    t.place.clock.now_ms += ms;
    turn();
}

/* The head of the queue runs out of time, which is offsets.commit.timeout.ms: the next one is watched
 * for. */
static void test_stores_run_out_of_time(void)
{
    begin_with("offsets.commit.timeout.ms=700", NULL);
    lead(1);
    store("a", 1);
    turn();
    pass(350);
    store("b", 2);
    pass(349);
    CU_ASSERT_EQUAL(t.done, 0);
    pass(1);
    CU_ASSERT_EQUAL(t.done, 1);
    CU_ASSERT_EQUAL(t.outcome, ERR_REQUEST_TIMED_OUT);
    shard_lock(&shard()->shard);
    CU_ASSERT_EQUAL(shard()->shard.watch.offset, 2); /* of "b" */
    group_shard_unlock(shard());
    settle();
    CU_ASSERT_EQUAL(t.done, 2);
    CU_ASSERT_EQUAL(t.outcome, OK);
    end();
}

/* Looked at every 5 s, and old after two minutes. */
static void test_offsets_get_old(void)
{
    begin_with("offsets.retention.minutes=2", "offsets.retention.check.interval.ms=5000");
    lead(1);
    turn();
    shard_lock(&shard()->shard);
    commit(group_shard_add(shard(), STR("g")), "topic", -1);
    group_shard_unlock(shard());
    pass(2 * 60000 - 1);
    CU_ASSERT_PTR_NOT_NULL(loaded("g"));
    pass(4999);
    CU_ASSERT_PTR_NOT_NULL(loaded("g"));
    pass(1);
    settle();
    CU_ASSERT_PTR_NULL(loaded("g"));
    end();
}

SUITE("shard", TEST(test_stores_wait_for_the_disk), TEST(test_stores_behind_each_other),
      TEST(test_resigns), TEST(test_elected_again), TEST(test_lost_without_a_word),
      TEST(test_between_two_words), TEST(test_loading_fails),
      TEST(test_elected_again_while_loading), TEST(test_topics_that_were_left),
      TEST(test_unknown_subscriptions), TEST(test_expiry_beside_commits),
      TEST(test_expiry_beside_stores), TEST(test_topic_removal_beside_commits),
      TEST(test_topic_removal_beside_group_removal), TEST(test_requests_beside_commits),
      TEST(test_store_too_large), TEST(test_removal_in_many_batches),
      TEST(test_tombstone_too_large), TEST(test_damaged_group_records),
      TEST(test_loaded_over_capacity), TEST(test_stores_run_out_of_time),
      TEST(test_offsets_get_old))
