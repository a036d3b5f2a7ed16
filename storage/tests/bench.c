/* What the hot paths cost: appends of one small batch, reads at the tail, a clean start of many
 * partitions. Prints; judges nothing. Usage: storage_bench [partitions] */
#define _GNU_SOURCE
#include "base/log.h"
#include "storage/logs.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 500000 };

static double now_us(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static struct log_config config_of(void *context, struct str topic)
{
    (void)context;
    (void)topic;
    return log_config_default();
}

static void check(err e)
{
    if (e != OK) {
        printf("failed: %s\n", err_text(e));
        exit(1);
    }
}

static struct logs *start(const struct storage_env *env, char *dir)
{
    struct logs_open how = {.dirs = &dir, .dirs_n = 1, .broker_id = -1, .config_of = config_of};
    struct logs *logs = NULL;
    struct logs_identity identity;
    char reason[LOGS_REASON_BYTES];
    check(logs_lock(env, &how, &logs, &identity, reason));
    check(logs_load(logs, 1, "cluster", reason));
    return logs;
}

static void bench_append(struct plog *log, int64_t producer_id)
{
    struct writer w;
    struct batch_builder builder;
    char value[100] = "value";
    writer_init(&w, 1 << 20);
    batch_begin(&builder, &w, 0);
    if (producer_id >= 0) {
        builder.producer_id = producer_id;
        builder.producer_epoch = 0;
        builder.base_sequence = 0;
    }
    batch_add(&builder, 1700000000000, bytes_of("key", 3), bytes_of(value, sizeof(value)));
    check(batch_end(&builder));
    double cpu = now_us(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < ROUNDS; i++) {
        struct append_result result;
        store_u32(w.data + 53, producer_id >= 0 ? (uint32_t)i : 0xffffffff);
        check(plog_append(log, w.data, w.len, APPEND_CLIENT, 0, &result));
    }
    printf("append%s: %.2f us CPU\n", producer_id >= 0 ? ", idempotent" : "",
           (now_us(CLOCK_PROCESS_CPUTIME_ID) - cpu) / ROUNDS);
    writer_deinit(&w);
}

static void append_one(struct plog *log, size_t value_bytes)
{
    static const char VALUE[4096];
    struct writer w;
    struct batch_builder builder;
    struct append_result result;
    writer_init(&w, 1 << 20);
    batch_begin(&builder, &w, 0);
    batch_add(&builder, 1700000000000, bytes_of("key", 3), bytes_of(VALUE, value_bytes));
    check(batch_end(&builder));
    check(plog_append(log, w.data, w.len, APPEND_CLIENT, 0, &result));
    writer_deinit(&w);
}

static void bench_read(struct plog *log, int64_t back, const char *what, int rounds)
{
    double cpu = now_us(CLOCK_PROCESS_CPUTIME_ID);
    int64_t end = plog_end_offset(log);
    for (int i = 0; i < rounds; i++) {
        struct log_range range;
        int64_t offset = back > 0 ? end - back : rand() % end;
        check(plog_read(log, offset, end, 1 << 20, true, &range));
        log_range_release(&range);
    }
    printf("read %s: %.2f us CPU\n", what, (now_us(CLOCK_PROCESS_CPUTIME_ID) - cpu) / rounds);
}

static void bench_start(const struct storage_env *env, char *dir, int partitions)
{
    struct logs *logs = start(env, dir);
    struct log_config config = log_config_default();
    double wall = now_us(CLOCK_MONOTONIC);
    for (int i = 0; i < partitions; i++) {
        struct plog *log = NULL;
        check(logs_create(logs, (struct topic_partition){STR("many"), i},
                          uuid_random(random_system()), &config, &log));
    }
    printf("create: %.1f us a partition\n", (now_us(CLOCK_MONOTONIC) - wall) / partitions);
    wall = now_us(CLOCK_MONOTONIC);
    logs_close(logs);
    printf("first clean stop: %.1f ms\n", (now_us(CLOCK_MONOTONIC) - wall) / 1e3);
    for (int i = 0; i < 3; i++) {
        wall = now_us(CLOCK_MONOTONIC);
        logs = start(env, dir);
        printf("clean start of %d: %.1f ms\n", partitions, (now_us(CLOCK_MONOTONIC) - wall) / 1e3);
        wall = now_us(CLOCK_MONOTONIC);
        logs_close(logs);
        printf("clean stop: %.1f ms\n", (now_us(CLOCK_MONOTONIC) - wall) / 1e3);
    }
}

static void flush_one(void *context, struct plog *log)
{
    (void)context;
    check(plog_flush(log));
}

/* A process that died with many segments: what is kept is read and made durable. */
static void bench_recover(const struct storage_env *env, char *dir, int partitions, int segments)
{
    for (int i = 0; i < 2; i++) {
        struct logs *logs = start(env, dir);
        struct log_config config = log_config_default();
        config.segment_bytes = 200000;
        for (int j = 0; j < partitions * segments; j++) {
            struct plog *log = NULL;
            char topic[16];
            snprintf(topic, sizeof(topic), "crash%d", i);
            check(logs_create(logs, (struct topic_partition){str_of(topic), j % partitions},
                              (struct uuid){{1}}, &config, &log));
            for (int k = 0; k < 100; k++) {
                append_one(log, 1000);
            }
            check(plog_roll(log));
        }
        double wall = now_us(CLOCK_MONOTONIC);
        if (i == 1) {
            logs_each(logs, flush_one, NULL);
            printf("plog_flush of each: %.1f ms\n", (now_us(CLOCK_MONOTONIC) - wall) / 1e3);
        }
        logs_abandon(logs);
        wall = now_us(CLOCK_MONOTONIC);
        logs = start(env, dir);
        printf("unclean start, %d logs of %d segments: %.1f ms\n", partitions, segments,
               (now_us(CLOCK_MONOTONIC) - wall) / 1e3);
        logs_close(logs);
    }
}

int main(int argc, char **argv)
{
    int partitions = argc > 1 ? atoi(argv[1]) : 2000;
    char dir[] = "storage-bench-XXXXXX";
    log_set_level(getenv("VERBOSE") == NULL ? LOG_OFF : LOG_INFO);
    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    struct storage_env env = {.fs = fs_system(),
                              .clock = clock_system(),
                              .random = random_system(),
                              .files = file_cache_new(fs_system(), 1024)};
    struct logs *logs = start(&env, dir);
    struct log_config config = log_config_default();
    struct plog *log = NULL;
    check(logs_create(logs, (struct topic_partition){STR("t"), 0}, uuid_random(random_system()),
                      &config, &log));
    bench_append(log, -1);
    bench_append(log, 7);
    bench_read(log, 1, "at the tail", ROUNDS);
    bench_read(log, 60, "60 batches back", ROUNDS);
    bench_read(log, 0, "anywhere", ROUNDS / 10);
    check(logs_delete(logs, (struct topic_partition){STR("t"), 0}));
    logs_close(logs);
    bench_start(&env, dir, partitions);
    bench_recover(&env, dir, 100, 20);
    file_cache_free(env.files);
    char command[64];
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}
