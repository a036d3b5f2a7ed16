/* Writes a log directory with every kind of file, for Kafka's own tools to judge:
 * storage/tests/check-with-kafka runs them. Usage: write_dir <directory> */
#include "util.h"

static struct log_config config_of(void *context, struct str topic)
{
    (void)context;
    struct log_config config = log_config_default();
    config.retention_ms = -1;
    if (!str_is(topic, "big")) {
        config.segment_bytes = 4000;
        config.index_interval_bytes = 300;
    }
    return config;
}

static struct plog *create(struct logs *logs, const char *topic)
{
    struct log_config config = config_of(NULL, str_of(topic));
    struct plog *log = NULL;
    MUST(logs_create(logs, (struct topic_partition){str_of(topic), 0}, uuid_random(random_system()),
                     &config, &log));
    MUST(plog_assign_epoch(log, 0, 0));
    return log;
}

static void fill(struct logs *logs)
{
    struct plog *plain = create(logs, "plain");
    struct plog *big = create(logs, "big");
    for (int i = 0; i < 2000; i++) {
        struct batch_spec spec = {.count = 1 + i % 7,
                                  .attributes = i % CODEC_COUNT,
                                  .value_bytes = i % 50,
                                  .timestamp = T0_MS + (i * 7919) % 100000};
        MUST(append_spec(big, &spec, NULL));
        if (i < 300) {
            must_append(plain, 1 + i % 3);
        }
        if (i == 100) {
            MUST(plog_assign_epoch(plain, 3, plog_end_offset(plain)));
        }
    }
    struct plog *txn = create(logs, "txn");
    struct batch_spec spec = {.count = 2, .producer_id = 5, .attributes = BATCH_TRANSACTIONAL};
    struct batch_spec other = {.count = 1, .producer_id = 6, .attributes = BATCH_TRANSACTIONAL};
    for (int i = 0; i < 60; i++) {
        MUST(append_spec(txn, &spec, NULL));
        spec.sequence += 2;
        if (i % 4 == 1) {
            MUST(append_spec(txn, &other, NULL));
            other.sequence++;
        }
        MUST(append_marker(txn, 4, 0, i % 3 == 0, 0));
        if (i % 8 == 7) {
            MUST(append_marker(txn, 5, 0, false, 0));
        }
    }
    MUST(append_spec(txn, &spec, NULL));
    struct plog *cut = create(logs, "cut");
    for (int i = 0; i < 300; i++) {
        must_append(cut, 2);
    }
    MUST(plog_truncate(cut, 300));
    for (int i = 0; i < 100; i++) {
        must_append(cut, 2);
    }
    MUST(plog_advance_start(cut, 101));
    int deleted = 0;
    MUST(plog_apply_retention(cut, plog_end_offset(cut), &deleted));
    (void)create(logs, "empty");
}

static void write_all(void)
{
    struct place p = {0};
    snprintf(p.dir, sizeof(p.dir), "%s", getenv("WRITE_DIR"));
    manual_clock_init(&p.clock, T0_MS + 1000000);
    place_env(&p);
    char *dirs[] = {p.dir};
    struct logs_open how = {.dirs = dirs, .dirs_n = 1, .broker_id = -1, .config_of = config_of};
    struct logs *logs = NULL;
    struct logs_identity identity;
    char reason[LOGS_REASON_BYTES] = "";
    MUST(logs_lock(&p.env, &how, &logs, &identity, reason));
    MUST(logs_load(logs, 0, "Mt0xTSq6QeavvJg7W3l2fg", reason));
    fill(logs);
    if (getenv("KILLED") != NULL) { /* what recovery makes of it */
        logs_abandon(logs);
        place_reboot(&p);
        MUST(logs_lock(&p.env, &how, &logs, &identity, reason));
        MUST(logs_load(logs, 0, "Mt0xTSq6QeavvJg7W3l2fg", reason));
    }
    logs_close(logs);
    file_cache_free(p.env.files);
}

SUITE("a directory for Kafka's tools", TEST(write_all))
