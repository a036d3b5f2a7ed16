/* The controller's requests, without a broker: the fence, the order, and new partitions whose topics'
 * options have to be read by the control thread, which may be held up by the store. Both loops are
 * turned by hand, on a clock that is moved by hand. */
#include "broker/cluster/requests_in.h"

#include "broker/tests/store_util.h"

enum { ARENA_BYTES = 64 << 20, ME = 1, BROKER_EPOCH = 100 };

static struct {
    char dir[64];
    struct arena arena;
    struct manual_clock clock;
    struct config config;
    struct loop *control;
    struct loop *state;
    struct loop *flush;
    struct coord *coord;
    struct topic_configs *configs;
    struct storage_env env;
    struct logs *logs;
    struct replicas *replicas;
    struct metadata_cache *metadata;
    struct metadata_waits *waits;
    struct requests_in *in;
    char said[256]; /* what was carried out, in order */
} t;

static void say(const char *what)
{
    size_t at = strlen(t.said);
    snprintf(t.said + at, sizeof(t.said) - at, "%s;", what);
}

static void on_topic_removed(void *context, struct str topic)
{
    char name[32];
    (void)context;
    snprintf(name, sizeof(name), "-%.*s", (int)topic.len, topic.data);
    say(name);
}

static void on_logs_removed(void *context)
{
    (void)context;
}

static struct log_config config_of(void *context, struct str topic)
{
    struct log_config config;
    (void)topic_configs_in_force(context, topic, &config);
    return config;
}

/* Beside another directory, which is offline, or alone. */
static void open_logs(bool one_is_offline)
{
    struct logs_identity identity;
    char reason[LOGS_REASON_BYTES];
    char path[128];
    char offline[] = "/dev/null/data";
    char *dirs[] = {path, offline};
    snprintf(path, sizeof(path), "%s/data", t.dir);
    struct logs_open how = {.dirs = dirs,
                            .dirs_n = one_is_offline ? 2 : 1,
                            .broker_id = ME,
                            .config_of = config_of,
                            .context = t.configs};
    t.env = (struct storage_env){.fs = fs_system(),
                                 .clock = &t.clock.clock,
                                 .random = random_system(),
                                 .files = file_cache_new(fs_system(), 100)};
    MUST(logs_lock(&t.env, &how, &t.logs, &identity, reason));
    MUST(logs_load(t.logs, ME, "c", reason));
}

static void begin_with(bool one_is_offline)
{
    char reason[CONFIG_REASON_BYTES];
    memset(&t, 0, sizeof(t));
    temp_dir_make(t.dir);
    arena_init(&t.arena, ARENA_BYTES);
    manual_clock_init(&t.clock, 1000000);
    config_init(&t.config);
    MUST(config_finish(&t.config, reason));
    MUST(loop_new(&t.clock.clock, sockets_system(), &t.control));
    MUST(loop_new(&t.clock.clock, sockets_system(), &t.state));
    MUST(loop_new(&t.clock.clock, sockets_system(), &t.flush));
    t.coord = store_open(t.dir, &t.clock.clock, ignore_watch);
    t.configs = topic_configs_new(&t.config);
    topic_configs_use(t.configs, t.coord, ME);
    open_logs(one_is_offline);
    struct replicas_config replicas = {.broker_id = ME,
                                       .logs = t.logs,
                                       .clock = &t.clock.clock,
                                       .flush = t.flush,
                                       .config_of = topic_configs_in_force,
                                       .config_context = t.configs};
    t.replicas = replicas_new(&replicas);
    t.metadata = metadata_cache_new();
    t.waits = metadata_waits_new(t.metadata);
    struct requests_in_config config = {.state = t.state,
                                        .control = t.control,
                                        .replicas = t.replicas,
                                        .metadata = t.metadata,
                                        .metadata_waits = t.waits,
                                        .topic_configs = t.configs,
                                        .topic_removed = on_topic_removed,
                                        .logs_removed = on_logs_removed};
    t.in = requests_in_new(&config);
    requests_in_set_broker_epoch(t.in, BROKER_EPOCH);
}

static void begin(void)
{
    begin_with(false);
}

/* The threads have ended. */
static void stop(void)
{
    while (loop_drain(t.control) || loop_drain(t.state)) {
    }
    requests_in_stop(t.in);
    while (loop_drain(t.control) || loop_drain(t.state)) {
    }
}

static void end(void)
{
    stop();
    replicas_free(t.replicas);
    metadata_waits_free(t.waits);
    metadata_cache_free(t.metadata);
    topic_configs_free(t.configs);
    logs_close(t.logs);
    coord_close(t.coord);
    requests_in_free(t.in);
    loop_free(t.control);
    loop_free(t.state);
    loop_free(t.flush);
    file_cache_free(t.env.files);
    config_deinit(&t.config);
    arena_deinit(&t.arena);
    temp_dir_remove(t.dir);
}

/* Until nobody has anything to do at this moment. */
static void settle(void)
{
    while (loop_turn(t.state) || loop_turn(t.control)) {
    }
}

/* The control thread waits for the store. */
static void settle_without_control(void)
{
    while (loop_turn(t.state)) {
    }
}

static void write_options(const char *topic, const char *json)
{
    struct coord_op op = {.type = COORD_CREATE,
                          .path = znode_topic_config_path(&t.arena, str_of(topic)),
                          .data = bytes_of(json, strlen(json))};
    MUST(coord_run(t.coord, &op, 1, &t.arena));
    MUST(op.error);
}

static void change_options(const char *topic, const char *json)
{
    struct coord_op op = {.type = COORD_SET,
                          .path = znode_topic_config_path(&t.arena, str_of(topic)),
                          .version = COORD_ANY_VERSION,
                          .data = bytes_of(json, strlen(json))};
    MUST(coord_run(t.coord, &op, 1, &t.arena));
    MUST(op.error);
}

/* ---- requests ---- */

struct sent {
    struct request_in in;
    const char *name;
    bool done;
    struct leader_and_isr_request_partition_state partition;
    struct leader_and_isr_request_topic_state topic;
    struct leader_and_isr_request lisr;
    struct leader_and_isr_response lisr_response;
    struct update_metadata_request_partition_state known;
    struct update_metadata_request_topic_state known_topic;
    struct update_metadata_request update;
    struct update_metadata_response update_response;
};

static void on_done(struct request_in *in)
{
    struct sent *sent = container_of(in, struct sent, in);
    CU_ASSERT(!sent->done);
    sent->done = true;
    say(sent->name);
}

/* `leader` gets partition 0 of the topic. */
static void send_leader(struct sent *sent, const char *topic, int32_t leader, int32_t leader_epoch)
{
    static int32_t replicas[] = {ME, ME + 1};
    *sent = (struct sent){.name = topic};
    leader_and_isr_request_partition_state_init(&sent->partition);
    sent->partition.leader = leader;
    sent->partition.leader_epoch = leader_epoch;
    sent->partition.isr = sent->partition.replicas = replicas;
    sent->partition.isr_n = sent->partition.replicas_n = 2;
    leader_and_isr_request_topic_state_init(&sent->topic);
    sent->topic.topic_name = str_of(topic);
    sent->topic.partition_states = &sent->partition;
    sent->topic.partition_states_n = 1;
    leader_and_isr_request_init(&sent->lisr);
    sent->lisr.controller_epoch = 1;
    sent->lisr.broker_epoch = BROKER_EPOCH;
    sent->lisr.topic_states = &sent->topic;
    sent->lisr.topic_states_n = 1;
    sent->in = (struct request_in){.api_key = KEY_LEADER_AND_ISR,
                                   .request = &sent->lisr,
                                   .response = &sent->lisr_response,
                                   .arena = &t.arena,
                                   .done = on_done};
    requests_in_submit(t.in, &sent->in);
}

/* Says who leads partition 0 of the topic (NULL: nothing of any), from `controller_epoch`. */
static void send_metadata(struct sent *sent, const char *name, const char *topic, int32_t leader,
                          int32_t controller_epoch, int64_t broker_epoch)
{
    *sent = (struct sent){.name = name};
    update_metadata_request_partition_state_init(&sent->known);
    sent->known.leader = leader;
    update_metadata_request_topic_state_init(&sent->known_topic);
    sent->known_topic.topic_name = str_of(topic == NULL ? "" : topic);
    sent->known_topic.partition_states = &sent->known;
    sent->known_topic.partition_states_n = 1;
    update_metadata_request_init(&sent->update);
    sent->update.controller_id = controller_epoch;
    sent->update.controller_epoch = controller_epoch;
    sent->update.broker_epoch = broker_epoch;
    sent->update.topic_states = &sent->known_topic;
    sent->update.topic_states_n = topic == NULL ? 0 : 1;
    sent->in = (struct request_in){.api_key = KEY_UPDATE_METADATA,
                                   .request = &sent->update,
                                   .response = &sent->update_response,
                                   .arena = &t.arena,
                                   .done = on_done};
    requests_in_submit(t.in, &sent->in);
}

static int16_t update_from(int32_t controller_epoch, int64_t broker_epoch)
{
    struct sent sent;
    send_metadata(&sent, "u", NULL, 0, controller_epoch, broker_epoch);
    settle();
    CU_ASSERT(sent.done);
    return sent.update_response.error_code;
}

static int16_t partition_error(const struct sent *sent)
{
    CU_ASSERT_EQUAL_FATAL(sent->lisr_response.error_code, OK);
    CU_ASSERT_EQUAL_FATAL(sent->lisr_response.partition_errors_n, 1);
    return sent->lisr_response.partition_errors[0].error_code;
}

static int32_t known_controller(void)
{
    struct metadata *now = metadata_acquire(t.metadata);
    int32_t id = now->controller_id;
    metadata_release(now);
    return id;
}

static struct log_config config_of_log(const char *topic)
{
    struct plog *log = logs_get(t.logs, (struct topic_partition){.topic = str_of(topic)});
    CU_ASSERT_PTR_NOT_NULL_FATAL(log);
    return plog_config(log);
}

static bool leads(const char *topic)
{
    struct partition *p = replicas_find(t.replicas, str_of(topic), 0);
    bool yes = p != NULL && partition_role(p).leads;
    partition_release(p);
    return yes;
}

/* ---- tests ---- */

/* A deposed controller, and a request to an earlier life of this broker, change nothing. */
static void test_fence(void)
{
    begin();
    CU_ASSERT_EQUAL(update_from(5, BROKER_EPOCH), OK);
    CU_ASSERT_EQUAL(update_from(4, BROKER_EPOCH), ERR_STALE_CONTROLLER_EPOCH);
    CU_ASSERT_EQUAL(known_controller(), 5);
    CU_ASSERT_EQUAL(update_from(6, BROKER_EPOCH - 1), ERR_STALE_BROKER_EPOCH);
    CU_ASSERT_EQUAL(known_controller(), 5);
    CU_ASSERT_EQUAL(update_from(5, -1), OK); /* a version that does not tell it */
    CU_ASSERT_EQUAL(update_from(6, BROKER_EPOCH + 1),
                    OK); /* the controller knows more than we do */
    CU_ASSERT_EQUAL(known_controller(), 6);
    end();
}

/* New partitions begin with their topics' own options; what comes behind them waits its turn. */
static void test_options_are_read_first(void)
{
    struct sent first;
    struct sent second;
    begin();
    write_options("a", "{\"version\":1,\"config\":{\"retention.ms\":\"9\"}}");
    send_leader(&first, "a", ME, 1);
    send_metadata(&second, "u", "a", ME, 1, BROKER_EPOCH);
    settle_without_control();
    CU_ASSERT_STRING_EQUAL(t.said, "");
    settle();
    CU_ASSERT_STRING_EQUAL(t.said, "a;u;");
    CU_ASSERT_EQUAL(partition_error(&first), OK);
    CU_ASSERT(leads("a"));
    CU_ASSERT_EQUAL(config_of_log("a").retention_ms, 9);
    CU_ASSERT_EQUAL(loop_next_due_ms(t.state), INT64_MAX);
    end();
}

/* A log of a topic that nobody knew of at the start: it was careful until now. */
static void test_log_that_was_loaded(void)
{
    struct sent sent;
    begin();
    write_options("a", "{\"version\":1,\"config\":{\"retention.ms\":\"9\"}}");
    struct topic_partition name = {.topic = STR("a")};
    struct log_config careful = config_of(t.configs, name.topic);
    struct plog *log = NULL;
    MUST(logs_create(t.logs, name, (struct uuid){{0}}, &careful, &log));
    CU_ASSERT_EQUAL(config_of_log("a").retention_ms, -1);
    send_leader(&sent, "a", ME, 1);
    settle();
    CU_ASSERT(leads("a"));
    CU_ASSERT_EQUAL(config_of_log("a").retention_ms, 9);
    end();
}

static err answer_of(const struct sent *sent)
{
    CU_ASSERT_FATAL(sent->done && sent->lisr_response.topics_n == 1);
    return sent->lisr_response.topics[0].partition_errors[0].error_code;
}

/* The log of a partition may be in the directory that is offline: only a new one gets another. */
static void test_offline_directory(void)
{
    struct sent sent;
    begin_with(true);
    send_leader(&sent, "a", ME, 1);
    settle();
    CU_ASSERT_EQUAL(answer_of(&sent), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT_EQUAL(logs_count(t.logs), 0);
    send_leader(&sent, "b", ME, 1);
    sent.partition.is_new = true;
    settle();
    CU_ASSERT_EQUAL(answer_of(&sent), OK);
    CU_ASSERT(leads("b"));
    send_leader(&sent, "b", ME, 2); /* it is there */
    settle();
    CU_ASSERT_EQUAL(answer_of(&sent), OK);
    send_leader(&sent, "a", ME, 2);
    settle();
    CU_ASSERT_EQUAL(answer_of(&sent), ERR_KAFKA_STORAGE_ERROR);
    end();
}

/* The store cannot be reached: the partition comes all the same, careful, and has its own options when
 * they can be read. */
static void test_store_out_of_reach(void)
{
    struct sent sent;
    begin();
    write_options(
        "a", "{\"version\":1,\"config\":{\"retention.ms\":\"9\",\"max.message.bytes\":\"7\"}}");
    send_leader(&sent, "a", ME, 1);
    settle_without_control();
    t.clock.now_ms += OPTIONS_WAIT_MS - 1;
    settle_without_control();
    CU_ASSERT(!sent.done);
    t.clock.now_ms += 1;
    settle_without_control();
    CU_ASSERT(sent.done && leads("a"));
    CU_ASSERT_EQUAL(config_of_log("a").retention_ms, -1);
    CU_ASSERT_EQUAL(config_of_log("a").flush_messages, 1);
    CU_ASSERT_EQUAL(config_of_log("a").min_insync_replicas, INT32_MAX);
    settle();
    CU_ASSERT_EQUAL(config_of_log("a").retention_ms, 9);
    CU_ASSERT_EQUAL(config_of_log("a").flush_messages, INT64_MAX);
    CU_ASSERT_EQUAL(config_of_log("a").min_insync_replicas, 1);
    CU_ASSERT_EQUAL(config_of_log("a").max_message_bytes, 7);
    end();
}

/* A broker that is cut off from the store alone is demoted at once: what is here already asks nothing. */
static void test_demoted_without_the_store(void)
{
    struct sent sent;
    begin();
    send_leader(&sent, "a", ME, 1);
    settle();
    CU_ASSERT(leads("a"));
    topic_configs_withdraw(t.configs, STR("a")); /* and its options are not known */
    send_leader(&sent, "a", ME + 1, 2);
    settle_without_control();
    CU_ASSERT(sent.done && !leads("a"));
    end();
}

/* The answer to one request that has gone on without it does not begin another's too early. */
static void test_late_answer(void)
{
    struct sent first;
    struct sent second;
    begin();
    write_options("b", "{\"version\":1,\"config\":{\"retention.ms\":\"9\"}}");
    send_leader(&first, "a", ME, 1);
    settle_without_control();
    t.clock.now_ms += OPTIONS_WAIT_MS;
    settle_without_control();
    CU_ASSERT(first.done);
    send_leader(&second, "b", ME, 1);
    settle_without_control();
    CU_ASSERT(!second.done);
    CU_ASSERT(loop_turn(t.control));
    settle();
    CU_ASSERT(second.done);
    CU_ASSERT_EQUAL(config_of_log("b").retention_ms, 9);
    end();
}

/* A topic that is made again under its name has its own options, not those of the one before. */
static void test_topic_made_again(void)
{
    struct sent first;
    struct sent known;
    struct sent gone;
    struct sent again;
    struct log_config config;
    begin();
    write_options("a", "{\"version\":1,\"config\":{\"retention.ms\":\"9\"}}");
    send_leader(&first, "a", ME + 1, 1);
    send_metadata(&known, "u", "a", ME + 1, 1, BROKER_EPOCH);
    settle();
    CU_ASSERT(topic_configs_in_force(t.configs, STR("a"), &config));
    CU_ASSERT_EQUAL(config.retention_ms, 9);
    send_metadata(&gone, "u", "a", -2, 1, BROKER_EPOCH); /* it is being deleted */
    settle_without_control();
    CU_ASSERT_PTR_NOT_NULL(strstr(t.said, "-a;"));
    CU_ASSERT(!topic_configs_in_force(t.configs, STR("a"), &config));
    change_options("a", "{\"version\":1,\"config\":{\"retention.ms\":\"8\"}}");
    send_leader(&again, "a", ME, 2);
    again.partition.partition_index = 1; /* the log of partition 0 is still there */
    settle();
    CU_ASSERT_EQUAL(partition_error(&again), OK);
    CU_ASSERT(topic_configs_in_force(t.configs, STR("a"), &config));
    CU_ASSERT_EQUAL(config.retention_ms, 8);
    end();
}

/* A change that is published while a partition is being made reaches it: it is behind it in the queue. */
static void test_configs_in_turn(void)
{
    struct sent sent;
    begin();
    send_leader(&sent, "a", ME, 1);
    settle_without_control();
    CU_ASSERT(loop_turn(t.control)); /* read; the state thread has not heard of it */
    write_options("a", "{\"version\":1,\"config\":{\"retention.ms\":\"9\"}}");
    MUST(topic_configs_refresh(t.configs, STR("a"), NULL));
    requests_in_take_configs(t.in, STR("a"));
    settle();
    CU_ASSERT_EQUAL(config_of_log("a").retention_ms, 9);
    end();
}

/* More replicas than any list had room for. */
static void test_many_replicas(void)
{
    enum { REPLICAS = 10000 };
    struct sent sent;
    begin();
    int32_t *ids = arena_array(&t.arena, REPLICAS, sizeof(*ids));
    for (int32_t i = 0; i < REPLICAS; i++) {
        ids[i] = REPLICAS - i; /* this broker is the last of them */
    }
    send_leader(&sent, "a", ME, 1);
    sent.partition.replicas = ids;
    sent.partition.replicas_n = REPLICAS;
    sent.partition.isr = NULL;
    sent.partition.isr_n = -1;
    settle();
    CU_ASSERT_EQUAL(partition_error(&sent), OK);
    CU_ASSERT(leads("a"));
    send_leader(&sent, "b", ME, 1);
    ids[REPLICAS - 1] = 2;
    sent.partition.replicas = ids; /* not among them */
    sent.partition.replicas_n = REPLICAS;
    settle();
    CU_ASSERT_EQUAL(partition_error(&sent), ERR_UNKNOWN_TOPIC_OR_PARTITION);
    end();
}

/* The broker ends while a request waits. */
static int16_t lead(const char *topic, uint8_t id, int32_t leader_epoch)
{
    struct sent sent;
    send_leader(&sent, topic, ME, leader_epoch);
    sent.topic.topic_id = (struct uuid){{id}};
    settle();
    return partition_error(&sent);
}

static void delete_replica(const char *topic, int32_t leader_epoch)
{
    struct stop_replica_request_partition_state partition;
    struct stop_replica_request_topic_state state;
    struct stop_replica_request request;
    struct stop_replica_response response;
    stop_replica_request_partition_state_init(&partition);
    partition.leader_epoch = leader_epoch;
    partition.delete_partition = true;
    stop_replica_request_topic_state_init(&state);
    state.topic_name = str_of(topic);
    state.partition_states = &partition;
    state.partition_states_n = 1;
    stop_replica_request_init(&request);
    request.topic_states = &state;
    request.topic_states_n = 1;
    stop_replica_response_init(&response);
    replicas_stop_replica(t.replicas, &request, &t.arena, &response);
    CU_ASSERT_EQUAL_FATAL(response.partition_errors_n, 1);
    CU_ASSERT_EQUAL(response.partition_errors[0].error_code, OK);
}

/* What was decided before a replica was deleted comes after that: nothing is made. What was decided
 * later, and another topic of the name, are made. */
static void test_role_of_before_a_deletion(void)
{
    begin();
    CU_ASSERT_EQUAL(lead("a", 1, 3), OK);
    delete_replica("a", 6);
    CU_ASSERT_EQUAL(lead("a", 1, 5), ERR_STALE_CONTROLLER_EPOCH);
    CU_ASSERT(!leads("a"));
    CU_ASSERT_PTR_NULL(logs_get(t.logs, (struct topic_partition){.topic = STR("a")}));
    CU_ASSERT_EQUAL(lead("a", 1, 7), OK);
    CU_ASSERT(leads("a"));
    delete_replica("a", 8);
    CU_ASSERT_EQUAL(lead("a", 2, 0), OK);
    CU_ASSERT(leads("a"));
    end();
}

static void test_end(void)
{
    struct sent first;
    struct sent second;
    begin();
    send_leader(&first, "a", ME, 1);
    send_metadata(&second, "u", "a", ME, 1, BROKER_EPOCH);
    settle_without_control();
    loop_drain(t.state);
    requests_in_stop(t.in);
    CU_ASSERT(first.done && second.done);
    CU_ASSERT_EQUAL(first.lisr_response.error_code, ERR_BROKER_NOT_AVAILABLE);
    CU_ASSERT_EQUAL(second.update_response.error_code, ERR_BROKER_NOT_AVAILABLE);
    end();
}

SUITE("requests in", TEST(test_fence), TEST(test_options_are_read_first),
      TEST(test_log_that_was_loaded), TEST(test_offline_directory), TEST(test_store_out_of_reach),
      TEST(test_demoted_without_the_store), TEST(test_late_answer), TEST(test_topic_made_again),
      TEST(test_configs_in_turn), TEST(test_many_replicas), TEST(test_role_of_before_a_deletion),
      TEST(test_end))
