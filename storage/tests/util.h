/* What the tests of this folder share: a directory of their own, an environment, batches, a file
 * system that fails when told to. */
#ifndef OTTLA_STORAGE_TESTS_UTIL_H
#define OTTLA_STORAGE_TESTS_UTIL_H

#define _GNU_SOURCE
#include "base/log.h"
#include "storage/logs.h"
#include "storage/validate.h"

#include <CUnit/Basic.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNUSED           __attribute__((unused))
#define MUST(expression) CU_ASSERT_EQUAL_FATAL((expression), OK)

enum { T0 = 1700000000 }; /* seconds; timestamps are T0 * 1000 + something */
#define T0_MS ((int64_t)T0 * 1000)

/* ---- a file system with faults ---- */

struct fault_fs {
    struct fs fs;
    _Atomic int64_t calls; /* of operations that count */
    int64_t fail_at;       /* the call that fails; 0: none */
    bool dead;             /* everything after it fails too: a crash */
    bool die;
    bool tear;         /* the failing write writes half of its bytes */
    bool only_changes; /* reads and opens do not count */
    bool only_syncs;   /* only fsync and fdatasync count */
    bool only_syncfs;
};

static inline bool fault_hits(struct fs *fs, bool change, bool sync)
{
    struct fault_fs *f = (struct fault_fs *)(void *)fs;
    if (f->dead) {
        return true;
    }
    if ((f->only_changes && !change) || (f->only_syncs && !sync) || f->only_syncfs) {
        return false;
    }
    if (++f->calls != f->fail_at) {
        return false;
    }
    f->dead = f->die;
    return true;
}

#define FAULT(change, sync)                                                                        \
    if (fault_hits(fs, (change), (sync))) {                                                        \
        errno = EIO;                                                                               \
        return -1;                                                                                 \
    }

UNUSED static int fault_open(struct fs *fs, const char *path, int flags)
{
    FAULT((flags & (O_CREAT | O_TRUNC)) != 0, false)
    return fs_system()->ops->open(fs_system(), path, flags);
}
UNUSED static int fault_close(struct fs *fs, int fd)
{
    (void)fs;
    return fs_system()->ops->close(fs_system(), fd);
}
UNUSED static ssize_t fault_pread(struct fs *fs, int fd, void *data, size_t len, int64_t position)
{
    struct fault_fs *f = (struct fault_fs *)(void *)fs;
    if (!f->dead) {
        FAULT(false, false)
    }
    return fs_system()->ops->pread(fs_system(), fd, data, len, position);
}
UNUSED static ssize_t fault_pwritev(struct fs *fs, int fd, const struct iovec *parts, int parts_n,
                                    int64_t position)
{
    struct fault_fs *f = (struct fault_fs *)(void *)fs;
    bool was_dead = f->dead;
    if (fault_hits(fs, true, false)) {
        if (f->tear && !was_dead) {
            struct iovec half = {.iov_base = parts[0].iov_base, .iov_len = parts[0].iov_len / 2};
            (void)!fs_system()->ops->pwritev(fs_system(), fd, &half, 1, position);
        }
        errno = EIO;
        return -1;
    }
    return fs_system()->ops->pwritev(fs_system(), fd, parts, parts_n, position);
}
UNUSED static int fault_ftruncate(struct fs *fs, int fd, int64_t size)
{
    FAULT(true, false)
    return fs_system()->ops->ftruncate(fs_system(), fd, size);
}
UNUSED static int fault_fdatasync(struct fs *fs, int fd)
{
    (void)fd;
    FAULT(true, true)
    return 0; /* tests need no disk */
}
UNUSED static int fault_syncfs(struct fs *fs, int fd)
{
    struct fault_fs *f = (struct fault_fs *)(void *)fs;
    bool only = f->only_syncfs;
    f->only_syncfs = false;
    int returned = fault_fdatasync(fs, fd);
    f->only_syncfs = only;
    return returned;
}
UNUSED static int fault_rename(struct fs *fs, const char *from, const char *to)
{
    FAULT(true, false)
    return fs_system()->ops->rename(fs_system(), from, to);
}
UNUSED static int fault_unlink(struct fs *fs, const char *path)
{
    FAULT(true, false)
    return fs_system()->ops->unlink(fs_system(), path);
}
UNUSED static int fault_mkdir(struct fs *fs, const char *path)
{
    FAULT(true, false)
    return fs_system()->ops->mkdir(fs_system(), path);
}
UNUSED static int fault_rmdir(struct fs *fs, const char *path)
{
    FAULT(true, false)
    return fs_system()->ops->rmdir(fs_system(), path);
}

UNUSED static int fault_stat(struct fs *fs, const char *path, struct fs_stat *stat)
{
    FAULT(false, false)
    return fs_system()->ops->stat(fs_system(), path, stat);
}
UNUSED static int fault_fstat(struct fs *fs, int fd, struct fs_stat *stat)
{
    FAULT(false, false)
    return fs_system()->ops->fstat(fs_system(), fd, stat);
}
UNUSED static int fault_list(struct fs *fs, const char *path, fs_entry_fn *each, void *context)
{
    FAULT(false, false)
    return fs_system()->ops->list(fs_system(), path, each, context);
}
UNUSED static int fault_lock(struct fs *fs, int fd)
{
    FAULT(false, false)
    return fs_system()->ops->lock(fs_system(), fd);
}

UNUSED static int fault_space(struct fs *fs, const char *path, struct fs_space *space)
{
    FAULT(false, false);
    return fs_system()->ops->space(fs_system(), path, space);
}

static const struct fs_ops FAULT_OPS UNUSED = {
    .open = fault_open,
    .close = fault_close,
    .pread = fault_pread,
    .pwritev = fault_pwritev,
    .ftruncate = fault_ftruncate,
    .fdatasync = fault_fdatasync,
    .fsync = fault_fdatasync,
    .rename = fault_rename,
    .unlink = fault_unlink,
    .mkdir = fault_mkdir,
    .rmdir = fault_rmdir,
    .stat = fault_stat,
    .fstat = fault_fstat,
    .list = fault_list,
    .lock = fault_lock,
    .syncfs = fault_syncfs,
    .space = fault_space,
};

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
    p->env.fs = &p->fault.fs;
    p->env.clock = &p->clock.clock;
    p->env.random = random_system();
    p->env.files = file_cache_new(p->env.fs, 32);
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
};

UNUSED static err try_open(struct place *p, const struct how *how, struct plog **log)
{
    char *dir = place_path(p, "t-0");
    struct plog_open open = {.dir = dir,
                             .name = {.topic = STR("t"), .partition = 0},
                             .config = how->config,
                             .clean = how->clean,
                             .recovery_point = how->recovery_point,
                             .log_start_offset = how->log_start_offset};
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

#define SUITE(name, ...)                                                                           \
    int main(void)                                                                                 \
    {                                                                                              \
        CU_TestInfo tests[] = {__VA_ARGS__, CU_TEST_INFO_NULL};                                    \
        CU_SuiteInfo suites[] = {{(name), NULL, NULL, NULL, NULL, tests}, CU_SUITE_INFO_NULL};     \
        if (CU_initialize_registry() != CUE_SUCCESS ||                                             \
            CU_register_suites(suites) != CUE_SUCCESS) {                                           \
            return 2;                                                                              \
        }                                                                                          \
        CU_basic_set_mode(CU_BRM_NORMAL);                                                          \
        CU_basic_run_tests();                                                                      \
        unsigned failed = CU_get_number_of_failures();                                             \
        CU_cleanup_registry();                                                                     \
        return failed == 0 ? 0 : 1;                                                                \
    }
#define TEST(function)                                                                             \
    {                                                                                              \
#function, function                                                                        \
    }

#endif
