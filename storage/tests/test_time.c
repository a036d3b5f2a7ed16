/* Looking up by time against a scan of everything, with timestamps in any order; ListOffsets v0;
 * and readers beside a writer. */
#include "util.h"

#include <pthread.h>
#include <stdatomic.h>

enum { RECORDS_MAX = 4000 };

static void naive(const int64_t *times, int n, int64_t start, int64_t wanted, int64_t *offset)
{
    for (int64_t i = start; i < n; i++) {
        if (times[i] >= wanted) {
            *offset = i;
            return;
        }
    }
    *offset = -1;
}

static void test_random_times(void)
{
    static int64_t times[RECORDS_MAX];
    srand(7);
    for (int round = 0; round < 6; round++) {
        struct place p;
        place_make(&p);
        struct how how = {.config = small_config(), .clean = true};
        struct plog *log = must_open(&p, &how);
        int n = 0;
        int spread = round == 0 ? 1 : 100 << round;
        while (n < 600) {
            struct batch_spec spec = {.count = 1 + rand() % 6,
                                      .attributes = rand() % 4 == 0 ? CODEC_LZ4 : CODEC_NONE};
            for (int i = 0; i < spec.count; i++) {
                times[n + i] = spec.timestamps[i] = T0_MS + n * 3 + rand() % spread;
            }
            MUST(append_spec(log, &spec, NULL));
            n += spec.count;
        }
        if (round % 2 == 1) {
            MUST(plog_close(log));
            place_reboot(&p);
            how.recovery_point = n;
            log = must_open(&p, &how);
        }
        int64_t start = round == 3 ? 77 : 0;
        MUST(plog_advance_start(log, start));
        int64_t max_time = 0;
        for (int64_t t = T0_MS - 2; t < T0_MS + n * 3 + spread + 2; t += 1 + rand() % 5) {
            struct found_offset found;
            int64_t expected = -1;
            naive(times, n, start, t, &expected);
            MUST(plog_offset_for_timestamp(log, t, INT64_MAX, &found));
            CU_ASSERT_EQUAL(found.offset, expected);
            if (expected >= 0) {
                CU_ASSERT_EQUAL(found.timestamp, times[expected]);
                CU_ASSERT_EQUAL(found.leader_epoch, 0);
                MUST(plog_offset_for_timestamp(log, t, expected, &found));
                CU_ASSERT_EQUAL(found.offset, -1);
            }
        }
        int64_t best = -1;
        for (int i = (int)start; i < n; i++) {
            if (times[i] > max_time) {
                max_time = times[i];
                best = i;
            }
        }
        struct found_offset found;
        MUST(plog_offset_for_max_timestamp(log, &found));
        CU_ASSERT_EQUAL(found.offset, best);
        CU_ASSERT_EQUAL(found.timestamp, max_time);
        plog_abandon(log);
        place_remove(&p);
    }
}

static void test_empty(void)
{
    struct place p;
    place_make(&p);
    struct how how = {.config = small_config(), .clean = true};
    struct plog *log = must_open(&p, &how);
    struct found_offset found;
    MUST(plog_offset_for_max_timestamp(log, &found));
    CU_ASSERT_EQUAL(found.offset, -1);
    MUST(plog_offset_for_timestamp(log, 0, INT64_MAX, &found));
    CU_ASSERT_EQUAL(found.offset, -1);
    struct arena arena;
    int64_t *offsets = NULL;
    int32_t count = 0;
    arena_init(&arena, 1 << 20);
    MUST(plog_offsets_before(log, -1, 0, 10, &arena, &offsets, &count));
    CU_ASSERT(count == 1 && offsets[0] == 0);
    for (int i = 0; i < 30; i++) {
        must_append(log, 2);
    }
    MUST(plog_offsets_before(log, -1, 60, 10, &arena, &offsets, &count));
    CU_ASSERT_EQUAL(count, 4);
    CU_ASSERT(offsets[0] == 60 && offsets[1] == 48 && offsets[3] == 0);
    MUST(plog_offsets_before(log, -2, 60, 10, &arena, &offsets, &count));
    CU_ASSERT(count == 1 && offsets[0] == 0);
    MUST(plog_offsets_before(log, -1, 50, 1, &arena, &offsets, &count));
    CU_ASSERT(count == 1 && offsets[0] == 50);
    MUST(plog_offsets_before(log, 5, 60, 10, &arena, &offsets, &count));
    CU_ASSERT_EQUAL(count, 0);
    arena_deinit(&arena);
    MUST(plog_close(log));
    place_remove(&p);
}

/* ---- threads ---- */

struct shared {
    struct plog *log;
    _Atomic bool stop;
    _Atomic int64_t floor;   /* readers stay above */
    _Atomic int truncations; /* counted before and after each: odd while one goes on */
    _Atomic int bad;
};

static void *reader_main(void *argument)
{
    struct shared *s = argument;
    unsigned seed = (unsigned)(uintptr_t)&seed;
    while (!atomic_load(&s->stop)) {
        int truncations = atomic_load(&s->truncations);
        int64_t end = plog_end_offset(s->log);
        int64_t start = plog_start_offset(s->log);
        if (end <= start) {
            continue;
        }
        int64_t offset = start + rand_r(&seed) % (end - start);
        struct log_range range;
        err e = plog_read(s->log, offset, end, 200, true, &range);
        if (e == ERR_OFFSET_OUT_OF_RANGE) {
            continue; /* deleted or cut meanwhile */
        }
        if (e != OK) {
            atomic_fetch_add(&s->bad, 1);
            continue;
        }
        uint8_t head[BATCH_HEADER_BYTES];
        struct batch batch;
        if (range.file != NULL && fs_read(fs_system(), open_file_fd(range.file), head, sizeof(head),
                                          range.position) == OK) {
            batch_parse(head, &batch);
            /* What was cut off after it was found is overwritten: only its bytes are no more. */
            bool cut = truncations % 2 != 0 || truncations != atomic_load(&s->truncations);
            if (!cut && (batch_last_offset(&batch) < offset || batch.base_offset > offset)) {
                atomic_fetch_add(&s->bad, 1);
            }
        }
        log_range_release(&range);
        struct found_offset found;
        (void)plog_bytes_between(s->log, offset, end);
        (void)plog_last_stable_offset(s->log, end);
        (void)plog_epoch_of(s->log, offset);
        if (plog_offset_for_timestamp(s->log, T0_MS + offset, end, &found) != OK) {
            atomic_fetch_add(&s->bad, 1);
        }
    }
    return NULL;
}

static void *flusher_main(void *argument)
{
    struct shared *s = argument;
    while (!atomic_load(&s->stop)) {
        if (plog_flush(s->log) != OK) {
            atomic_fetch_add(&s->bad, 1);
        }
        (void)plog_remove_deleted(s->log);
        usleep(500);
    }
    return NULL;
}

static void test_threads(void)
{
    struct place p;
    place_make(&p);
    struct how how = {.config = small_config(), .clean = true};
    how.config.segment_bytes = 5000;
    how.config.retention_ms = -1;
    how.config.retention_bytes = 50000;
    how.config.file_delete_delay_ms = 0;
    how.config.index_interval_bytes = 100;
    struct shared s = {.log = must_open(&p, &how)};
    pthread_t threads[4];
    for (int i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, reader_main, &s);
    }
    pthread_create(&threads[3], NULL, flusher_main, &s);
    struct batch_spec txn = {.producer_id = 3, .attributes = BATCH_TRANSACTIONAL};
    for (int i = 0; i < 6000; i++) {
        must_append(s.log, 1 + i % 3);
        if (i % 50 == 10) {
            MUST(append_spec(s.log, &txn, NULL));
            txn.sequence++;
        } else if (i % 50 == 30) {
            MUST(append_marker(s.log, 2, 0, i % 100 == 30, 0));
        } else if (i % 500 == 499) {
            int deleted = 0;
            MUST(plog_apply_retention(s.log, plog_end_offset(s.log), &deleted));
            MUST(plog_assign_epoch(s.log, i, plog_end_offset(s.log)));
        } else if (i % 700 == 699) {
            how.config.index_interval_bytes ^= 1;
            plog_set_config(s.log, &how.config);
        }
    }
    /* And truncations beside them: a reader asks again. */
    for (int i = 0; i < 20; i++) {
        atomic_fetch_add(&s.truncations, 1);
        MUST(plog_truncate(s.log, plog_end_offset(s.log) - 30));
        atomic_fetch_add(&s.truncations, 1);
        must_append(s.log, 3);
    }
    atomic_store(&s.stop, true);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    CU_ASSERT_EQUAL(atomic_load(&s.bad), 0);
    CU_ASSERT(plog_start_offset(s.log) > 0);
    check_every_offset(s.log);
    MUST(plog_close(s.log));
    place_remove(&p);
}

/* ---- retention in the middle of a look ---- */

static struct plog *hooked;

/* The first look at a file: old segments go before the next one. */
static int hook_fstat(struct fs *fs, int fd, struct fs_stat *stat)
{
    struct plog *log = hooked;
    int deleted = 0;
    hooked = NULL;
    if (log != NULL) {
        MUST(plog_advance_start(log, 40));
        MUST(plog_apply_retention(log, 60, &deleted));
        CU_ASSERT(deleted > 0);
    }
    return fault_fstat(fs, fd, stat);
}

/* Segments that were there when it began are gone when it comes to them: that is no disk that fails. */
static void test_retention_beside(void)
{
    struct place p;
    place_make(&p);
    struct how how = {.config = small_config(), .clean = true};
    struct plog *log = must_open(&p, &how);
    for (int i = 0; i < 30; i++) {
        must_append(log, 2);
    }
    struct fs_ops ops = FAULT_OPS;
    ops.fstat = hook_fstat;
    p.fault.fs.ops = &ops;
    hooked = log;
    struct arena arena;
    int64_t *offsets = NULL;
    int32_t count = 0;
    arena_init(&arena, 1 << 20);
    MUST(plog_offsets_before(log, 5, 60, 10, &arena, &offsets, &count));
    CU_ASSERT_EQUAL(count, 0);
    CU_ASSERT_PTR_NULL(hooked);
    CU_ASSERT(!plog_is_offline(log));
    arena_deinit(&arena);
    MUST(plog_close(log));
    place_remove(&p);
}

SUITE("time and threads", TEST(test_random_times), TEST(test_empty), TEST(test_threads),
      TEST(test_retention_beside))
