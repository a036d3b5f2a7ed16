/* All logs: locks, identity, markers, checkpoints, several directories, creation and deletion. */
#include "util.h"

#include "storage/checkpoint.h"

#include <sys/wait.h>
#include <time.h>

enum { DELETE_DELAY_MS = 7000 };

/* Directories wait for the broker's delay, whatever a topic's is. */
static struct log_config config_of(void *context, struct str topic)
{
    struct log_config config = small_config();
    (void)context;
    config.file_delete_delay_ms = topic.len == 0 ? DELETE_DELAY_MS : 60000;
    return config;
}

struct two {
    struct place p;
    char a[96];
    char b[96];
    char reason[LOGS_REASON_BYTES];
    struct logs_identity identity;
    int dirs_failed; /* so many were told */
    size_t sync_all_from;
};

static void make_two(struct two *t)
{
    place_make(&t->p);
    snprintf(t->a, sizeof(t->a), "%s/a", t->p.dir);
    snprintf(t->b, sizeof(t->b), "%s/deep/b/", t->p.dir);
    t->reason[0] = '\0';
    t->dirs_failed = 0;
    t->sync_all_from = 0;
}

static void on_dir_failed(void *context)
{
    int *dirs_failed = context;
    ++*dirs_failed;
}

static err try_lock(struct two *t, int dirs_n, int32_t broker_id, const char *cluster,
                    struct logs **logs)
{
    char *dirs[] = {t->a, t->b};
    struct logs_open how = {.dirs = dirs,
                            .dirs_n = (size_t)dirs_n,
                            .broker_id = broker_id,
                            .cluster_id = cluster,
                            .config_of = config_of,
                            .dir_failed = on_dir_failed,
                            .failed_context = &t->dirs_failed,
                            .sync_all_from = t->sync_all_from};
    return logs_lock(&t->p.env, &how, logs, &t->identity, t->reason);
}

static struct logs *start(struct two *t, int dirs_n)
{
    struct logs *logs = NULL;
    err e = try_lock(t, dirs_n, -1, NULL, &logs);
    CU_ASSERT_STRING_EQUAL(t->reason, "");
    CU_ASSERT_EQUAL_FATAL(e, OK);
    e = logs_load(logs, 1, "cluster", t->reason);
    CU_ASSERT_STRING_EQUAL(t->reason, "");
    CU_ASSERT_EQUAL_FATAL(e, OK);
    return logs;
}

static struct plog *create(struct logs *logs, const char *topic, int32_t partition)
{
    struct plog *log = NULL;
    struct log_config config = small_config();
    struct topic_partition name = {.topic = str_of(topic), .partition = partition};
    MUST(logs_create(logs, name, (struct uuid){{7, 7}}, &config, &log));
    return log;
}

static struct topic_partition tp(const char *topic, int32_t partition)
{
    return (struct topic_partition){.topic = str_of(topic), .partition = partition};
}

static int64_t minus_one(void *context, struct plog *log)
{
    (void)context;
    return plog_end_offset(log) - 1;
}

/* The log of a process that died is durable up to its end before anybody gets it, by one syncfs for
 * each directory; a directory that refuses that is not started with. */
static void test_recovered_is_durable(void)
{
    struct two t;
    make_two(&t);
    for (int fails = 0; fails < 2; fails++) {
        struct logs *logs = start(&t, 1);
        for (int i = 0; i < 3; i++) {
            struct plog *log = create(logs, "t", i);
            for (int j = 0; j < 30; j++) {
                must_append(log, 2);
            }
        }
        logs_abandon(logs); /* no marker, no checkpoints */
        place_reboot(&t.p);
        t.p.fault.only_syncfs = true;
        t.p.fault.fail_at = fails;
        MUST(try_lock(&t, 1, -1, NULL, &logs));
        err e = logs_load(logs, 1, "cluster", t.reason);
        CU_ASSERT_EQUAL(t.p.fault.calls, 1);
        CU_ASSERT_EQUAL(e, fails ? E_CONFIG : OK);
        for (int i = 0; i < 3 && !fails; i++) {
            struct plog *log = logs_get(logs, tp("t", i));
            CU_ASSERT_EQUAL(plog_end_offset(log), 60);
            CU_ASSERT_EQUAL(plog_recovery_point(log), 60);
        }
        t.p.fault.fail_at = 0;
        logs_abandon(logs);
        run("rm -rf '%s'", t.a, "");
    }
    place_remove(&t.p);
}

/* Many logs are written by one sync for all of them, few each by its own; where that one fails the stop is not clean. */
static void test_stop_at_once(void)
{
    enum { LOGS_N = 8 };
    struct two t;
    make_two(&t);
    for (int way = 0; way < 3; way++) {
        bool at_once = way > 0;
        bool fails = way > 1;
        t.sync_all_from = at_once ? LOGS_N : LOGS_N + 1;
        struct logs *logs = start(&t, 1);
        for (int i = 0; i < LOGS_N; i++) {
            struct plog *log = create(logs, "t", i);
            for (int j = 0; j < 20; j++) {
                must_append(log, 2);
            }
        }
        t.p.fault.only_syncs = !fails;
        t.p.fault.only_syncfs = fails;
        t.p.fault.fail_at = fails ? 1 : 0;
        t.p.fault.calls = 0;
        logs_close(logs);
        int64_t syncs = t.p.fault.calls;
        CU_ASSERT(fails ? syncs == 1 : at_once ? syncs < LOGS_N : syncs > 3 * LOGS_N);
        place_reboot(&t.p);
        logs = start(&t, 1);
        CU_ASSERT_EQUAL(logs_were_clean(logs), !fails);
        for (int i = 0; i < LOGS_N; i++) {
            struct plog *log = logs_get(logs, tp("t", i));
            CU_ASSERT_EQUAL(plog_end_offset(log), 40);
            CU_ASSERT_EQUAL(plog_recovery_point(log), 40);
            CU_ASSERT_EQUAL(plog_is_unchanged(log), !fails);
        }
        logs_abandon(logs);
        place_reboot(&t.p);
        run("rm -rf '%s'", t.a, "");
    }
    place_remove(&t.p);
}

static void test_life(void)
{
    struct two t;
    make_two(&t);
    struct logs *logs = start(&t, 2);
    CU_ASSERT_FALSE(logs_were_clean(logs)); /* new ones have no marker */
    for (int i = 0; i < 6; i++) {
        struct plog *log = create(logs, "my-topic", i);
        for (int j = 0; j <= i * 10; j++) {
            must_append(log, 2);
        }
        CU_ASSERT_PTR_EQUAL(create(logs, "my-topic", i), log);
    }
    CU_ASSERT_EQUAL(logs_count(logs), 6);
    CU_ASSERT_TRUE(exists(&t.p, "a/my-topic-0"));
    CU_ASSERT_TRUE(exists(&t.p, "deep/b/my-topic-1")); /* the emptier one */
    struct plog *other = NULL;
    struct log_config config = small_config();
    CU_ASSERT_EQUAL(logs_create(logs, tp("my-topic", 3), (struct uuid){{8}}, &config, &other),
                    ERR_INCONSISTENT_TOPIC_ID);
    MUST(plog_advance_start(logs_get(logs, tp("my-topic", 5)), 7));
    MUST(logs_write_high_watermarks(logs, true, minus_one, NULL));
    CU_ASSERT_PTR_NULL(logs_get(logs, tp("my-topic", 9)));
    CU_ASSERT_TRUE(exists(&t.p, "a/.lock"));
    logs_close(logs);
    CU_ASSERT_TRUE(exists(&t.p, "a/.kafka_cleanshutdown"));
    CU_ASSERT_FALSE(exists(&t.p, "a/.lock"));
    place_reboot(&t.p);
    logs = start(&t, 2);
    CU_ASSERT_TRUE(logs_were_clean(logs));
    CU_ASSERT_EQUAL(t.identity.broker_id, 1);
    CU_ASSERT_STRING_EQUAL(t.identity.cluster_id, "cluster");
    for (int i = 0; i < 6; i++) {
        struct plog *log = logs_get(logs, tp("my-topic", i));
        CU_ASSERT_PTR_NOT_NULL_FATAL(log);
        CU_ASSERT_EQUAL(plog_end_offset(log), i * 20 + 2);
        CU_ASSERT_EQUAL(plog_recovery_point(log), i * 20 + 2);
        CU_ASSERT_EQUAL(plog_start_offset(log), i == 5 ? 7 : 0);
        CU_ASSERT_EQUAL(logs_checkpointed_high_watermark(logs, tp("my-topic", i)), i * 20 + 1);
        check_every_offset(log);
    }
    logs_close(logs);
    place_remove(&t.p);
}

static int64_t only_of_a(void *context, struct plog *log)
{
    (void)context;
    return str_is(plog_name(log).topic, "a") ? 7 : -1;
}

/* A log that nobody leads keeps the high watermark that it had. */
static void test_unknown_high_watermarks(void)
{
    struct two t;
    make_two(&t);
    struct logs *logs = start(&t, 2);
    for (int i = 0; i < 4; i++) { /* two of each in each directory */
        must_append(create(logs, i < 2 ? "a" : "stray", i), 9);
    }
    MUST(logs_write_high_watermarks(logs, true, minus_one, NULL));
    logs_close(logs);
    for (int round = 0; round < 2; round++) {
        place_reboot(&t.p);
        logs = start(&t, 2);
        for (int i = 0; i < 4; i++) {
            int64_t known = i >= 2 || round == 0 ? 8 : 7;
            struct topic_partition name = tp(i < 2 ? "a" : "stray", i);
            CU_ASSERT_EQUAL(logs_checkpointed_high_watermark(logs, name), known);
        }
        CU_ASSERT_EQUAL(logs_checkpointed_high_watermark(logs, tp("none", 0)), 0);
        MUST(logs_write_high_watermarks(logs, false, only_of_a, NULL));
        MUST(logs_write_high_watermarks(logs, true, only_of_a, NULL));
        logs_close(logs);
    }
    place_remove(&t.p);
}

static void test_locks(void)
{
    struct two t;
    make_two(&t);
    struct logs *logs = start(&t, 1);
    struct two other = t;
    struct logs *second = NULL;
    CU_ASSERT_EQUAL(try_lock(&other, 1, -1, NULL, &second), E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(other.reason, "in use"));
    CU_ASSERT_PTR_NOT_NULL(strstr(other.reason, t.a));
    CU_ASSERT_EQUAL(try_lock(&other, 2, -1, NULL, &second), E_CONFIG); /* the other one is free */
    CU_ASSERT_PTR_NOT_NULL(strstr(other.reason, "in use"));
    pid_t child = fork();
    if (child == 0) {
        _exit(try_lock(&other, 1, -1, NULL, &second) == E_CONFIG ? 0 : 1);
    }
    int status = 1;
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT_EQUAL(status, 0);
    /* The kind of lock that a Java broker takes meets ours. */
    char *path = place_path(&t.p, "a/.lock");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    CU_ASSERT_EQUAL(fcntl(fd, F_SETLK, &lock), -1);
    close(fd);
    free(path);
    logs_close(logs);
    place_reboot(&t.p);
    logs = start(&t, 1);
    logs_close(logs);
    place_remove(&t.p);
}

static void refused(struct two *t, int dirs_n, int32_t broker_id, const char *cluster,
                    const char *text)
{
    struct logs *logs = NULL;
    CU_ASSERT_EQUAL(try_lock(t, dirs_n, broker_id, cluster, &logs), E_CONFIG);
    if (strstr(t->reason, text) == NULL) {
        printf("reason: %s\n", t->reason);
    }
    CU_ASSERT_PTR_NOT_NULL(strstr(t->reason, text));
    t->reason[0] = '\0';
}

static void test_identity(void)
{
    struct two t;
    make_two(&t);
    logs_close(start(&t, 2));
    refused(&t, 1, 2, NULL, "broker.id is 2");
    refused(&t, 1, 1, "another", "cluster id is another");
    static const char KRAFT[] = "version=1\nnode.id=1\ncluster.id=cluster\n";
    spit(&t.p, "a/meta.properties", KRAFT, strlen(KRAFT));
    refused(&t, 1, -1, NULL, "KRaft");
    static const char OTHER[] = "broker.id=3\ncluster.id=cluster\n";
    spit(&t.p, "a/meta.properties", OTHER, strlen(OTHER));
    refused(&t, 2, -1, NULL, "broker.id 1, another directory 3");
    static const char BAD[] = "broker.id=x\n";
    spit(&t.p, "a/meta.properties", BAD, strlen(BAD));
    refused(&t, 1, -1, NULL, "impossible broker.id");
    /* a directory id and what else there is stay */
    static const char KEPT[] = "#c\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\nbroker.id=1\nx\\:y=z\n";
    spit(&t.p, "a/meta.properties", KEPT, strlen(KEPT));
    logs_close(start(&t, 1));
    size_t len = 0;
    char *text = (char *)slurp(&t.p, "a/meta.properties", &len);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "directory.id=AAAAAAAAAAAAAAAAAAAAAQ\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "cluster.id=cluster\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "x\\:y=z\n"));
    free(text);
    /* foreign directories */
    char *foreign = place_path(&t.p, "a/lost+found");
    mkdir(foreign, 0755);
    refused(&t, 1, -1, NULL, "lost+found");
    rmdir(foreign);
    free(foreign);
    spit(&t.p, "a/coordination.sqlite", "x", 1);
    logs_close(start(&t, 1));
    /* one name in two directories, of two topics */
    run("mkdir '%s'/a/t-0 && mkdir '%s'/deep/b/t-0", t.p.dir, t.p.dir);
    static const char ONE[] = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ";
    static const char TWO[] = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAg";
    spit(&t.p, "a/t-0/partition.metadata", ONE, strlen(ONE));
    spit(&t.p, "deep/b/t-0/partition.metadata", TWO, strlen(TWO));
    struct logs *logs = NULL;
    MUST(try_lock(&t, 2, -1, NULL, &logs));
    CU_ASSERT_EQUAL(logs_load(logs, 1, "cluster", t.reason), E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(t.reason, "t-0 is in two log directories"));
    logs_abandon(logs);
    place_remove(&t.p);
}

static void test_delete(void)
{
    struct two t;
    make_two(&t);
    struct logs *logs = start(&t, 1);
    char longest[250];
    memset(longest, 'x', 249);
    longest[249] = '\0';
    must_append(create(logs, longest, 0), 2);
    struct plog *log = create(logs, "gone", 0);
    for (int i = 0; i < 40; i++) {
        must_append(log, 2);
    }
    MUST(plog_flush(log));
    MUST(plog_advance_start(log, 50));
    MUST(logs_write_recovery_points(logs));
    MUST(logs_write_high_watermarks(logs, true, minus_one, NULL));
    MUST(logs_delete(logs, tp(longest, 0)));
    MUST(logs_delete(logs, tp("gone", 0)));
    CU_ASSERT_EQUAL(logs_delete(logs, tp("gone", 0)), E_NOT_FOUND);
    CU_ASSERT_FALSE(exists(&t.p, "a/gone-0"));
    run("ls '%s'/a | grep -Eq '^gone-0\\.[0-9a-f]{32}-delete$'", t.p.dir, "");
    /* the same name again, and a kill: the old checkpoints must not be taken for the new log's */
    log = create(logs, "gone", 0);
    must_append(log, 2);
    CU_ASSERT_EQUAL(logs_remove_deleted(logs), DELETE_DELAY_MS);
    logs_abandon(logs);
    place_reboot(&t.p);
    logs = start(&t, 1);
    CU_ASSERT_FALSE(logs_were_clean(logs));
    CU_ASSERT_EQUAL(logs_count(logs), 1);
    log = logs_get(logs, tp("gone", 0));
    CU_ASSERT_PTR_NOT_NULL_FATAL(log);
    CU_ASSERT_EQUAL(plog_end_offset(log), 2);
    CU_ASSERT_EQUAL(plog_start_offset(log), 0);
    CU_ASSERT_EQUAL(logs_remove_deleted(logs), DELETE_DELAY_MS);
    t.p.clock.now_ms += DELETE_DELAY_MS;
    CU_ASSERT_EQUAL(logs_remove_deleted(logs), -1);
    run("! ls '%s'/a | grep -q delete", t.p.dir, "");
    logs_close(logs);
    place_remove(&t.p);
}

static void test_kept_directories(void)
{
    struct two t;
    make_two(&t);
    logs_close(start(&t, 1));
    run("cd '%s'/a && mkdir m-0.0123456789abcdef0123456789abcdef-future "
        "s-1.0123456789abcdef0123456789abcdef-stray remote-log-index-cache && touch "
        "m-0.0123456789abcdef0123456789abcdef-future/00000000000000000000.log",
        t.p.dir, "");
    struct logs *logs = start(&t, 1);
    CU_ASSERT_EQUAL(logs_count(logs), 0);
    logs_close(logs);
    CU_ASSERT_TRUE(exists(&t.p, "a/m-0.0123456789abcdef0123456789abcdef-future/"
                                "00000000000000000000.log"));
    place_remove(&t.p);
}

/* A kill: recovery, and the marker appears only after a clean stop. */
static void test_unclean(void)
{
    struct two t;
    make_two(&t);
    struct logs *logs = start(&t, 1);
    struct plog *log = create(logs, "t", 0);
    for (int i = 0; i < 40; i++) {
        must_append(log, 2);
    }
    MUST(plog_flush(log));
    MUST(logs_write_recovery_points(logs));
    must_append(log, 2);
    logs_abandon(logs);
    CU_ASSERT_FALSE(exists(&t.p, "a/.kafka_cleanshutdown"));
    place_reboot(&t.p);
    logs = start(&t, 1);
    log = logs_get(logs, tp("t", 0));
    CU_ASSERT_EQUAL(plog_end_offset(log), 82);
    CU_ASSERT_EQUAL(plog_recovery_point(log), 82);
    logs_close(logs);
    /* damage below the recovery point: that log is out, the others serve, nothing is forgotten */
    place_reboot(&t.p);
    logs = start(&t, 1);
    create(logs, "u", 0);
    MUST(logs_write_recovery_points(logs));
    logs_abandon(logs);
    size_t len = 0;
    uint8_t *data = slurp(&t.p, "a/t-0/00000000000000000072.log", &len);
    CU_ASSERT_PTR_NOT_NULL_FATAL(data);
    data[100] ^= 1;
    spit(&t.p, "a/t-0/00000000000000000072.log", data, len);
    for (int i = 0; i < 3; i++) {
        place_reboot(&t.p);
        logs = start(&t, 1);
        CU_ASSERT_PTR_NULL(logs_get(logs, tp("t", 0)));
        CU_ASSERT_PTR_NOT_NULL(logs_get(logs, tp("u", 0)));
        struct log_config config = small_config();
        CU_ASSERT_EQUAL(logs_create(logs, tp("t", 0), (struct uuid){{7}}, &config, &log),
                        ERR_KAFKA_STORAGE_ERROR);
        MUST(logs_write_recovery_points(logs));
        logs_close(logs);
        CU_ASSERT_FALSE(exists(&t.p, "a/.kafka_cleanshutdown"));
    }
    size_t len2 = 0;
    uint8_t *data2 = slurp(&t.p, "a/t-0/00000000000000000072.log", &len2);
    CU_ASSERT(len == len2 && memcmp(data, data2, len) == 0);
    free(data);
    free(data2);
    place_remove(&t.p);
}

static void begin_transaction(struct plog *log, int64_t producer_id)
{
    struct batch_spec spec = {.producer_id = producer_id + 1, .attributes = BATCH_TRANSACTIONAL};
    MUST(append_spec(log, &spec, NULL));
}

/* Open transactions are there again, and end by their markers. */
static void test_open_transactions(void)
{
    struct two t;
    make_two(&t);
    struct logs *logs = start(&t, 1);
    struct plog *b2 = create(logs, "b", 2);
    must_append(b2, 42);
    begin_transaction(b2, 1000);
    begin_transaction(b2, 7);
    logs_close(logs);
    place_reboot(&t.p);
    logs = start(&t, 1);
    CU_ASSERT_TRUE(logs_were_clean(logs));
    b2 = logs_get(logs, tp("b", 2));
    CU_ASSERT_EQUAL(plog_open_txns(b2), 2);
    CU_ASSERT_EQUAL(plog_last_stable_offset(b2, 44), 42);
    MUST(append_marker(b2, 1000, 0, false, 0));
    CU_ASSERT_EQUAL(plog_last_stable_offset(b2, 45), 43);
    MUST(append_marker(b2, 7, 0, true, 0));
    CU_ASSERT_EQUAL(plog_last_stable_offset(b2, 46), 46);
    CU_ASSERT_EQUAL(plog_open_txns(b2), 0);
    logs_close(logs);
    place_remove(&t.p);
}

/* A start that fails for another reason: clean only if no log was changed. */
static void test_abandoned(void)
{
    struct two t;
    make_two(&t);
    struct logs *logs = start(&t, 2);
    must_append(create(logs, "t", 0), 2);
    must_append(create(logs, "t", 1), 2);
    logs_close(logs);
    place_reboot(&t.p);
    logs = start(&t, 2);
    CU_ASSERT_FALSE(exists(&t.p, "a/.kafka_cleanshutdown"));
    logs_abandon(logs);
    CU_ASSERT_TRUE(exists(&t.p, "a/.kafka_cleanshutdown"));
    place_reboot(&t.p);
    logs = start(&t, 2);
    CU_ASSERT_TRUE(logs_were_clean(logs));
    must_append(logs_get(logs, tp("t", 1)), 2);
    logs_abandon(logs);
    CU_ASSERT_TRUE(exists(&t.p, "a/.kafka_cleanshutdown"));
    CU_ASSERT_FALSE(exists(&t.p, "deep/b/.kafka_cleanshutdown"));
    /* an index that has to be made again */
    run("rm '%s'/a/t-0/*.index", t.p.dir, "");
    place_reboot(&t.p);
    logs_abandon(start(&t, 2));
    CU_ASSERT_FALSE(exists(&t.p, "a/.kafka_cleanshutdown"));
    place_remove(&t.p);
}

static void count_entry(void *context, struct str topic, int32_t partition, int64_t offset)
{
    int64_t *sum = context;
    CU_ASSERT(topic.len == 3 && partition == 4);
    *sum += offset;
}

static void test_checkpoint_format(void)
{
    static const struct {
        const char *text;
        err expected;
        int64_t sum;
    } ROWS[] = {
        {"", OK, 0},
        {"0\n0\n", OK, 0},
        {"0\n1\nabc 4 5\n", OK, 5},
        {"0\n2\nabc 4 5\nabc 4 6\n", OK, 11},
        {"0\n2\nabc 4 5\n", E_MALFORMED, 0},
        {"0\n1\nabc 4 5\nabc 4 5\n", E_MALFORMED, 0},
        {"1\n0\n", E_MALFORMED, 0},
        {"0\n", E_MALFORMED, 0},
        {"x\n0\n", E_MALFORMED, 0},
        {"0\n1\nabc 4\n", E_MALFORMED, 0},
        {"0\n1\nabc 4 5 6\n", E_MALFORMED, 0},
        {"0\n1\nabc 4 -5\n", E_MALFORMED, 0},
        {"0\n1\nabc 4 99999999999999999999\n", E_MALFORMED, 0},
        {"0\n1\nabc  4 5\n", E_MALFORMED, 0},
        {"0\n1\n\n", E_MALFORMED, 0},
    };
    struct place p;
    place_make(&p);
    char *path = place_path(&p, "c");
    int64_t sum = 0;
    MUST(offset_checkpoint_read(p.env.fs, path, count_entry, &sum)); /* absent */
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        spit(&p, "c", ROWS[i].text, strlen(ROWS[i].text));
        sum = 0;
        CU_ASSERT_EQUAL(offset_checkpoint_read(p.env.fs, path, count_entry, &sum),
                        ROWS[i].expected);
        CU_ASSERT(ROWS[i].expected != OK || sum == ROWS[i].sum);
    }
    static const char *const EPOCHS[] = {"0\n2\n0 0\n2 5\n", "0\n2\n2 0\n0 5\n", "0\n1\n0 -1\n",
                                         "0\n1\n0\n", "0\n999999999\n0 1\n"};
    for (size_t i = 0; i < sizeof(EPOCHS) / sizeof(EPOCHS[0]); i++) {
        struct epoch_entry *entries = NULL;
        size_t count = 0;
        spit(&p, "c", EPOCHS[i], strlen(EPOCHS[i]));
        CU_ASSERT_EQUAL(epoch_checkpoint_read(p.env.fs, path, &entries, &count),
                        i == 0 ? OK : E_MALFORMED);
        CU_ASSERT_EQUAL(count, i == 0 ? 2 : 0);
        free(entries);
    }
    free(path);
    place_remove(&p);
}

/* Unreadable checkpoints are as good as none: everything is found again. */
static void test_corrupt_checkpoints(void)
{
    struct two t;
    make_two(&t);
    struct logs *logs = start(&t, 1);
    struct plog *log = create(logs, "t", 0);
    for (int i = 0; i < 40; i++) {
        must_append(log, 2);
    }
    logs_close(logs);
    for (int clean = 0; clean < 2; clean++) {
        spit(&t.p, "a/recovery-point-offset-checkpoint", "0\n5\nnonsense", 12);
        spit(&t.p, "a/log-start-offset-checkpoint", "garbage", 7);
        spit(&t.p, "a/replication-offset-checkpoint", "garbage", 7);
        spit(&t.p, "a/t-0/leader-epoch-checkpoint", "garbage", 7);
        place_reboot(&t.p);
        logs = start(&t, 1);
        log = logs_get(logs, tp("t", 0));
        CU_ASSERT_EQUAL(plog_end_offset(log), 80);
        CU_ASSERT_EQUAL(check_every_offset(log), 40);
        if (clean == 0) {
            logs_abandon(logs);
        } else {
            logs_close(logs);
        }
    }
    place_remove(&t.p);
}

/* ---- directories that fail ---- */

/* One that is none: the others serve, and what is new goes to them. All of them: the start is refused. */
static void test_offline_at_start(void)
{
    struct two t;
    make_two(&t);
    struct logs *logs = NULL;
    spit(&t.p, "a", "x", 1);
    logs = start(&t, 2);
    CU_ASSERT_EQUAL(t.dirs_failed, 1);
    CU_ASSERT_EQUAL(logs_dirs(logs), 2);
    CU_ASSERT_EQUAL(logs_dirs_online(logs), 1);
    CU_ASSERT_FALSE(logs_dir_is_online(logs, 0));
    CU_ASSERT_PTR_NOT_NULL(strstr(logs_first_dir(logs), "/deep/b"));
    for (int i = 0; i < 3; i++) {
        must_append(create(logs, "t", i), 2);
    }
    CU_ASSERT_TRUE(exists(&t.p, "deep/b/t-2"));
    MUST(logs_write_high_watermarks(logs, true, minus_one, NULL));
    MUST(logs_write_recovery_points(logs));
    MUST(logs_write_checkpoint(logs, LOGS_START_OFFSETS));
    logs_close(logs);
    CU_ASSERT_TRUE(exists(&t.p, "deep/b/.kafka_cleanshutdown"));
    refused(&t, 2, 9, NULL, "broker.id is 9");
    refused(&t, 1, -1, NULL, "/a/.lock: Not a directory");
    run("rm -r '%s'/deep && touch '%s'/deep", t.p.dir, t.p.dir);
    refused(&t, 2, -1, NULL, "none of log.dirs can be used: ");
    refused(&t, 2, -1, NULL, "/a/.lock: Not a directory; cannot create ");
    place_remove(&t.p);
}

static err append_n(struct plog *log, int count)
{
    return append_spec(log, &(struct batch_spec){.count = count}, NULL);
}

static void make_two_with_logs(struct two *t)
{
    make_two(t);
    struct logs *logs = start(t, 2);
    for (int i = 0; i < 4; i++) { /* two in each directory */
        must_append(create(logs, "t", i), 2);
    }
    MUST(logs_write_high_watermarks(logs, true, minus_one, NULL));
    logs_close(logs);
    place_reboot(&t->p);
}

static void check_ends(struct logs *logs, size_t dir, int64_t end_offset)
{
    for (int i = (int)dir; i < 4; i += 2) {
        struct plog *log = logs_get(logs, tp("t", i));
        CU_ASSERT_PTR_NOT_NULL_FATAL(log);
        CU_ASSERT_EQUAL(plog_end_offset(log), end_offset);
        CU_ASSERT_FALSE(plog_is_offline(log));
    }
}

/* Each call of a start fails once: at most one directory goes offline, and nothing is lost in either. */
static void test_start_with_errors(void)
{
    struct two t;
    make_two_with_logs(&t);
    bool offline[2] = {false, false};
    for (int64_t at = 1; at > 0; at++) {
        struct logs *logs = NULL;
        t.p.fault.fail_at = at;
        MUST(try_lock(&t, 2, -1, NULL, &logs));
        MUST(logs_load(logs, 1, "cluster", t.reason));
        CU_ASSERT_STRING_EQUAL(t.reason, "");
        CU_ASSERT(logs_dirs_online(logs) >= 1);
        for (size_t dir = 0; dir < 2; dir++) {
            if (logs_dir_is_online(logs, dir)) {
                check_ends(logs, dir, 2);
            }
            offline[dir] |= !logs_dir_is_online(logs, dir);
        }
        at = t.p.fault.calls < at ? -1 : at;
        t.p.fault.fail_at = 0;
        logs_close(logs);
        place_reboot(&t.p);
    }
    CU_ASSERT(offline[0] && offline[1]);
    struct logs *logs = start(&t, 2);
    CU_ASSERT_EQUAL(logs_count(logs), 4);
    check_ends(logs, 0, 2);
    check_ends(logs, 1, 2);
    logs_close(logs);
    place_remove(&t.p);
}

/* The disk under one log refuses: all of its directory is offline, told of once, and touched no more. */
static void test_dir_fails(void)
{
    struct two t;
    make_two_with_logs(&t);
    struct logs *logs = start(&t, 2);
    t.p.fault.only_changes = true;
    t.p.fault.fail_at = t.p.fault.calls + 1;
    CU_ASSERT_EQUAL(append_n(logs_get(logs, tp("t", 0)), 2), ERR_KAFKA_STORAGE_ERROR);
    t.p.fault.fail_at = 0;
    CU_ASSERT_EQUAL(append_n(logs_get(logs, tp("t", 2)), 2), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT_FALSE(plog_failed_alone(logs_get(logs, tp("t", 0))));
    CU_ASSERT_FALSE(plog_failed_alone(logs_get(logs, tp("t", 2))));
    must_append(logs_get(logs, tp("t", 1)), 2);
    must_append(logs_get(logs, tp("t", 3)), 2);
    CU_ASSERT_EQUAL(t.dirs_failed, 1);
    CU_ASSERT_FALSE(logs_dir_is_online(logs, 0));
    CU_ASSERT_EQUAL(logs_delete(logs, tp("t", 0)), ERR_KAFKA_STORAGE_ERROR);
    create(logs, "new", 0);
    create(logs, "new", 1);
    CU_ASSERT_TRUE(exists(&t.p, "deep/b/new-0") && exists(&t.p, "deep/b/new-1"));
    run("rm '%s'/a/*-checkpoint", t.p.dir, "");
    MUST(logs_write_high_watermarks(logs, true, minus_one, NULL));
    MUST(logs_write_recovery_points(logs));
    run("! ls '%s'/a | grep -q checkpoint", t.p.dir, "");
    logs_close(logs);
    CU_ASSERT_FALSE(exists(&t.p, "a/.kafka_cleanshutdown"));
    CU_ASSERT_TRUE(exists(&t.p, "deep/b/.kafka_cleanshutdown"));
    place_reboot(&t.p);
    logs = start(&t, 2);
    check_ends(logs, 0, 2);
    check_ends(logs, 1, 4);
    logs_close(logs);
    place_remove(&t.p);
}

/* A checkpoint, a creation and a deletion that the disk refuses are of the directory, too; the last one
 * that fails leaves nothing. */
static void test_dir_fails_by_its_own(void)
{
    struct log_config config = small_config();
    for (int how = 0; how < 3; how++) {
        struct two t;
        struct plog *log = NULL;
        make_two_with_logs(&t);
        struct logs *logs = start(&t, 2);
        for (int dir = 0; dir < 2; dir++) {
            t.p.fault.only_changes = true;
            t.p.fault.fail_at = t.p.fault.calls + 1;
            if (how == 0) {
                MUST(logs_write_recovery_points(logs));
            } else if (how == 1) {
                CU_ASSERT_EQUAL(
                    logs_create(logs, tp("new", 0), (struct uuid){{7, 7}}, &config, &log),
                    ERR_KAFKA_STORAGE_ERROR);
            } else {
                CU_ASSERT_EQUAL(logs_delete(logs, tp("t", dir)), ERR_KAFKA_STORAGE_ERROR);
            }
            t.p.fault.fail_at = 0;
            CU_ASSERT_EQUAL(t.dirs_failed, dir + 1);
            CU_ASSERT_EQUAL(logs_dirs_online(logs), 1 - (size_t)dir);
        }
        CU_ASSERT_EQUAL(logs_create(logs, tp("more", 0), (struct uuid){{7, 7}}, &config, &log),
                        ERR_KAFKA_STORAGE_ERROR);
        logs_close(logs);
        place_reboot(&t.p);
        logs = start(&t, 2);
        CU_ASSERT_EQUAL(logs_count(logs), 4); /* what was not deleted is there */
        logs_close(logs);
        place_remove(&t.p);
    }
}

/* There is no room: the directory takes no records until it is looked at, the other one does; a start is refused. */
static void test_full(void)
{
    static const int errors[] = {ENOSPC, EDQUOT};
    for (size_t i = 0; i < 2; i++) {
        struct two t;
        make_two_with_logs(&t);
        struct logs *logs = start(&t, 2);
        t.p.fault.only_changes = true;
        t.p.fault.error = errors[i];
        t.p.fault.fail_at = t.p.fault.calls + 1;
        CU_ASSERT_EQUAL(append_n(logs_get(logs, tp("t", 0)), 2), ERR_KAFKA_STORAGE_ERROR);
        CU_ASSERT_EQUAL(append_n(logs_get(logs, tp("t", 0)), 2), ERR_KAFKA_STORAGE_ERROR);
        CU_ASSERT_EQUAL(append_n(logs_get(logs, tp("t", 2)), 2), ERR_KAFKA_STORAGE_ERROR);
        must_append(logs_get(logs, tp("t", 1)), 2);
        CU_ASSERT_FALSE(logs_look_for_room(logs));
        must_append(logs_get(logs, tp("t", 0)), 2);
        t.p.fault.fail_at = t.p.fault.calls + 1;
        MUST(logs_write_recovery_points(logs)); /* at the cost of the reserve */
        CU_ASSERT_EQUAL(t.dirs_failed, 0);
        CU_ASSERT_EQUAL(logs_dirs_online(logs), 2);
        logs_close(logs);
        run("rm '%s/.ottla-reserve' '%s/.ottla-reserve'", t.a, t.b);
        place_reboot(&t.p);
        t.p.fault.only_changes = true;
        t.p.fault.error = errors[i];
        t.p.fault.fail_at = 3;
        refused(&t, 2, -1, NULL, "cannot open");
        place_remove(&t.p);
    }
}

/* One directory has no room at all: that is nothing to the logs of the other one. */
static void test_full_beside(void)
{
    struct two t;
    struct plog *log = NULL;
    struct log_config config = small_config();
    make_two_with_logs(&t);
    struct logs *logs = start(&t, 2);
    struct topic_partition there = tp("t", 0);
    struct topic_partition beside = tp("t", 1);
    CU_ASSERT_NOT_EQUAL_FATAL(logs_where(logs, there).dir, logs_where(logs, beside).dir);
    t.p.fault.full_dir = logs_where(logs, there).dir == 0 ? t.a : t.b;
    must_append(logs_get(logs, beside), 1);
    CU_ASSERT(err_is_no_room(logs_write_recovery_points(logs)));
    CU_ASSERT(err_is_no_room(logs_write_recovery_points_of(logs, there)));
    MUST(logs_write_recovery_points_of(logs, beside));
    MUST(logs_write_recovery_points_of(logs, tp("none", 0)));
    MUST(logs_delete(logs, beside)); /* which the checkpoint names from now on */
    MUST(logs_create(logs, beside, (struct uuid){{7, 7}}, &config, &log));
    CU_ASSERT_NOT_EQUAL(logs_where(logs, there).dir, logs_where(logs, beside).dir);
    CU_ASSERT_EQUAL(t.dirs_failed, 0);
    t.p.fault.full_dir = NULL;
    logs_close(logs);
    place_remove(&t.p);
}

/* The recovery points of that directory know t-0. */
static bool is_named(const struct two *t, const char *dir)
{
    char *name = xasprintf("%s/recovery-point-offset-checkpoint", dir + strlen(t->p.dir) + 1);
    size_t len = 0;
    char *text = (char *)slurp(&t->p, name, &len);
    bool found = text != NULL && memmem(text, len, "\nt 0 ", 5) != NULL;
    free(text);
    free(name);
    return found;
}

static struct plog *begin_move(struct logs *logs, size_t dir)
{
    struct plog *future = NULL;
    MUST(logs_move_begin(logs, tp("t", 0), dir, &future));
    CU_ASSERT_PTR_NOT_NULL_FATAL(future);
    return future;
}

/* A log was moved away, and the process died: the checkpoint that names it still is not for a copy that comes back. */
static void test_moved_away_is_stale(void)
{
    struct two t;
    make_two(&t);
    struct logs *logs = start(&t, 2);
    must_append(create(logs, "t", 0), 3);
    size_t from = (size_t)logs_where(logs, tp("t", 0)).dir;
    const char *was = from == 0 ? t.a : t.b;
    MUST(plog_flush(logs_get(logs, tp("t", 0))));
    struct plog *future = begin_move(logs, 1 - from);
    must_append(future, 3);
    MUST(logs_move_publish(logs, tp("t", 0), &future));
    logs_move_swap(logs, tp("t", 0));
    MUST(plog_flush(future));
    MUST(logs_write_recovery_points(logs));
    MUST(logs_move_end(logs, tp("t", 0)));
    logs_abandon(logs);
    place_reboot(&t.p);
    logs = start(&t, 2);
    CU_ASSERT_EQUAL(logs_where(logs, tp("t", 0)).dir, (ssize_t)(1 - from));
    CU_ASSERT(is_named(&t, was));
    (void)begin_move(logs, from);
    CU_ASSERT_FALSE(is_named(&t, was));
    MUST(logs_write_recovery_points(logs));
    CU_ASSERT(is_named(&t, was)); /* the copy is */
    logs_move_give_up(logs, tp("t", 0));
    (void)begin_move(logs, from);
    CU_ASSERT_FALSE(is_named(&t, was)); /* nor is it for the next copy */
    logs_close(logs);
    place_remove(&t.p);
}

/* Ten thousand partitions: what a clean start costs is printed, and must not be absurd. */
static void test_many(void)
{
    enum { MANY = 2000 };
    struct two t;
    make_two(&t);
    struct logs *logs = start(&t, 1);
    for (int i = 0; i < MANY; i++) {
        struct plog *log = create(logs, "many", i);
        if (i % 2 == 0) {
            must_append(log, 2);
        }
    }
    logs_close(logs);
    place_reboot(&t.p);
    struct timespec from;
    struct timespec to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    logs = start(&t, 1);
    clock_gettime(CLOCK_MONOTONIC, &to);
    double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
    printf("\n  clean start of %d partitions: %.1f ms\n", MANY, ms);
    CU_ASSERT_EQUAL(logs_count(logs), MANY);
    CU_ASSERT_EQUAL(plog_end_offset(logs_get(logs, tp("many", 2))), 2);
    CU_ASSERT(ms < 5000);
    logs_close(logs);
    place_remove(&t.p);
}

SUITE("logs", TEST(test_stop_at_once), TEST(test_life), TEST(test_recovered_is_durable),
      TEST(test_unknown_high_watermarks), TEST(test_locks), TEST(test_identity), TEST(test_delete),
      TEST(test_kept_directories), TEST(test_unclean), TEST(test_open_transactions),
      TEST(test_abandoned), TEST(test_checkpoint_format), TEST(test_corrupt_checkpoints),
      TEST(test_offline_at_start), TEST(test_start_with_errors), TEST(test_dir_fails),
      TEST(test_dir_fails_by_its_own), TEST(test_full), TEST(test_full_beside),
      TEST(test_moved_away_is_stale), TEST(test_many))
