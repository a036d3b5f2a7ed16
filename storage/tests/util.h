/* What the tests of this folder share: a directory of their own, an environment on a file system that
 * fails when told to (fault_fs.h), batches. */
#ifndef OTTLA_STORAGE_TESTS_UTIL_H
#define OTTLA_STORAGE_TESTS_UTIL_H

#define _GNU_SOURCE
#include "base/tests/suite.h"
#include "storage/logs.h"
#include "storage/tests/fault_fs.h"
#include "storage/validate.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { T0 = 1700000000 }; /* seconds; timestamps are T0 * 1000 + something */
#define T0_MS ((int64_t)T0 * 1000)

/* ---- a place and an environment ---- */

struct place {
    char dir[64];
    struct manual_clock clock;
    struct fault_fs fault;
    struct storage_env env;
};

UNUSED static void place_env(struct place *p)
{
    p->fault = (struct fault_fs){.fs.ops = &FAULT_OPS};
    p->env = (struct storage_env){.fs = &p->fault.fs,
                                  .clock = &p->clock.clock,
                                  .random = random_system(),
                                  .files = file_cache_new(&p->fault.fs, 32)};
}

UNUSED static void place_make(struct place *p)
{
    log_set_level(getenv("VERBOSE") == NULL ? LOG_OFF : LOG_DEBUG);
    snprintf(p->dir, sizeof(p->dir), "storage-test-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(p->dir));
    manual_clock_init(&p->clock, T0_MS + 1000000);
    place_env(p);
}

UNUSED static void run(const char *format, const char *a, const char *b)
{
    char command[1024];
    snprintf(command, sizeof(command), format, a, b);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
}

UNUSED static void place_remove(struct place *p)
{
    file_cache_free(p->env.files);
    run("rm -rf '%s'", p->dir, "");
}

/* A new process: nothing of the old one's memory is left. */
UNUSED static void place_reboot(struct place *p)
{
    file_cache_free(p->env.files);
    place_env(p);
}

UNUSED static char *place_path(const struct place *p, const char *name)
{
    return xasprintf("%s/%s", p->dir, name);
}

UNUSED static struct log_config small_config(void)
{
    struct log_config config = log_config_default();
    config.segment_bytes = 1000;
    config.index_interval_bytes = 150;
    return config;
}

struct how {
    struct log_config config;
    bool clean;
    int64_t recovery_point;
    int64_t log_start_offset;
    int64_t cleaned_to;
};

UNUSED static err try_open(struct place *p, const struct how *how, struct plog **log)
{
    char *dir = place_path(p, "t-0");
    struct plog_open open = {.dir = dir,
                             .name = {.topic = STR("t"), .partition = 0},
                             .config = how->config,
                             .clean = how->clean,
                             .recovery_point = how->recovery_point,
                             .log_start_offset = how->log_start_offset,
                             .cleaned_to = how->cleaned_to};
    err e = plog_open(&p->env, &open, log);
    free(dir);
    return e;
}

UNUSED static struct plog *must_open(struct place *p, const struct how *how)
{
    struct plog *log = NULL;
    MUST(try_open(p, how, &log));
    return log;
}

/* ---- batches ---- */

struct batch_spec {
    int count; /* of records; 0: 1 */
    int64_t timestamp;
    int value_bytes;
    int attributes;
    int64_t producer_id; /* 0: none; else the id plus one */
    int16_t epoch;
    int32_t sequence;
    int64_t timestamps[8]; /* if set, of each record */
};

/* Values are "v<offset_hint + i>" padded, so that they can be found again. */
UNUSED static size_t make_batch(struct writer *w, const struct batch_spec *spec, int64_t hint)
{
    struct batch_builder builder;
    size_t start = w->len;
    batch_begin(&builder, w, (int16_t)spec->attributes);
    if (spec->producer_id > 0) {
        builder.producer_id = spec->producer_id - 1;
        builder.producer_epoch = spec->epoch;
        builder.base_sequence = spec->sequence;
    }
    for (int i = 0; i < (spec->count == 0 ? 1 : spec->count); i++) {
        char value[4096];
        int len = snprintf(value, sizeof(value), "v%lld", (long long)hint + i);
        while (len < spec->value_bytes) {
            value[len++] = '.';
        }
        int64_t timestamp = spec->timestamps[0] != 0 ? spec->timestamps[i] : spec->timestamp;
        batch_add(&builder, timestamp == 0 ? T0_MS + hint + i : timestamp, bytes_of("k", 1),
                  bytes_of(value, (size_t)len));
    }
    MUST(batch_end(&builder));
    return w->len - start;
}

/* A transaction marker. */
UNUSED static void make_marker(struct writer *w, int64_t producer_id, int16_t epoch, bool commit,
                               int32_t coordinator_epoch)
{
    struct batch_builder builder;
    uint8_t key[4] = {0, 0, 0, commit ? 1 : 0};
    uint8_t value[6] = {0};
    store_u32(value + 2, (uint32_t)coordinator_epoch);
    batch_begin(&builder, w, BATCH_TRANSACTIONAL | BATCH_CONTROL);
    builder.producer_id = producer_id;
    builder.producer_epoch = epoch;
    batch_add(&builder, T0_MS, bytes_of(key, sizeof(key)), bytes_of(value, sizeof(value)));
    MUST(batch_end(&builder));
}

UNUSED static err append_spec(struct plog *log, const struct batch_spec *spec,
                              struct append_result *result)
{
    struct writer w;
    struct append_result ignored;
    writer_init(&w, 1 << 24);
    make_batch(&w, spec, plog_end_offset(log));
    err e = plog_append(log, w.data, w.len, APPEND_CLIENT, 0, result == NULL ? &ignored : result);
    writer_deinit(&w);
    return e;
}

UNUSED static void must_append(struct plog *log, int count)
{
    MUST(append_spec(log, &(struct batch_spec){.count = count}, NULL));
}

UNUSED static err append_marker(struct plog *log, int64_t producer_id, int16_t epoch, bool commit,
                                int32_t coordinator_epoch)
{
    struct writer w;
    struct append_result result;
    writer_init(&w, 1 << 20);
    make_marker(&w, producer_id, epoch, commit, coordinator_epoch);
    err e = plog_append(log, w.data, w.len, APPEND_COORDINATOR, 0, &result);
    writer_deinit(&w);
    return e;
}

/* Reads the bytes of one answer; malloc'd. */
UNUSED static uint8_t *read_range(struct plog *log, int64_t offset, int64_t max_offset,
                                  size_t max_bytes, size_t *len)
{
    struct log_range range;
    MUST(plog_read(log, offset, max_offset, max_bytes, true, &range));
    *len = range.len;
    uint8_t *data = malloc(range.len + 1);
    if (range.file != NULL) {
        MUST(fs_read(fs_system(), open_file_fd(range.file), data, range.len, range.position));
    }
    log_range_release(&range);
    return data;
}

/* Every offset of the log yields the batch that holds it, or the next; every batch fits its CRC.
 * Returns the number of batches. */
UNUSED static int check_every_offset(struct plog *log)
{
    int batches = 0;
    int64_t end = plog_end_offset(log);
    int64_t last_base = -1;
    for (int64_t offset = plog_start_offset(log); offset < end; offset++) {
        size_t len = 0;
        uint8_t *data = read_range(log, offset, end, 1, &len);
        CU_ASSERT_FATAL(len >= BATCH_HEADER_BYTES);
        struct batch batch;
        batch_parse(data, &batch);
        CU_ASSERT_EQUAL(len, (size_t)batch.size_bytes);
        CU_ASSERT(batch_last_offset(&batch) >= offset);
        CU_ASSERT_EQUAL(batch.crc, batch_crc(data, len));
        batches += batch.base_offset != last_base ? 1 : 0;
        last_base = batch.base_offset;
        free(data);
    }
    return batches;
}

/* A whole file; malloc'd, NULL if there is none. */
UNUSED static uint8_t *slurp(const struct place *p, const char *name, size_t *len)
{
    char *path = place_path(p, name);
    char *data = NULL;
    *len = 0;
    err e = fs_read_all(fs_system(), path, 1 << 28, &data, len);
    free(path);
    return e == OK ? (uint8_t *)data : NULL;
}

UNUSED static void spit(const struct place *p, const char *name, const void *data, size_t len)
{
    char *path = place_path(p, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL_FATAL(write(fd, data, len), (ssize_t)len);
    close(fd);
    free(path);
}

UNUSED static bool exists(const struct place *p, const char *name)
{
    char *path = place_path(p, name);
    bool found = false;
    MUST(fs_exists(fs_system(), path, &found));
    free(path);
    return found;
}

#endif
