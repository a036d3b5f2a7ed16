/* Retention to the letter (reference: storage format §11): what each rule takes of which segments, in which order, and
 * where it stops; and what DeleteRecords leaves. A log here has one batch of one record in each segment, all of one
 * size; the last one is active. */
#include "util.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { SEGMENTS_MAX = 5, VALUE_BYTES = 100 };

#define NOW_MS  (T0_MS + 86400000)
#define NO_TIME INT64_MAX /* as an age: the record has no timestamp */

struct world {
    struct place p;
    struct how how;
    struct plog *log;
    int64_t segment_bytes;
};

static struct world w;

static void append(int64_t timestamp)
{
    struct batch_spec spec = {.timestamp = timestamp, .value_bytes = VALUE_BYTES};
    MUST(append_spec(w.log, &spec, NULL));
}

static void begin(const int64_t *ages_ms, int count)
{
    memset(&w, 0, sizeof(w));
    place_make(&w.p);
    w.p.clock.now_ms = NOW_MS;
    w.how = (struct how){.config = small_config(), .clean = true};
    w.how.config.retention_ms = -1;
    w.how.config.retention_bytes = -1;
    w.log = must_open(&w.p, &w.how);
    for (int i = 0; i < count; i++) {
        MUST(plog_roll(w.log));
        append(ages_ms[i] == NO_TIME ? -1 : NOW_MS - ages_ms[i]);
    }
    w.segment_bytes = plog_size_bytes(w.log) / count;
    CU_ASSERT_EQUAL_FATAL(plog_size_bytes(w.log), w.segment_bytes * count);
}

static void end(void)
{
    MUST(plog_close(w.log));
    place_remove(&w.p);
}

static int apply(int64_t high_watermark)
{
    int deleted = 0;
    MUST(plog_apply_retention(w.log, high_watermark, &deleted));
    return deleted;
}

static void use_config(void)
{
    plog_set_config(w.log, &w.how.config);
}

/* ---- by time ---- */

struct by_time {
    const char *what;
    int64_t ages_ms[SEGMENTS_MAX];
    int count;
    int64_t high_watermark; /* 0: the end */
    int deleted;
};

static void test_by_time(void)
{
    static const struct by_time ROWS[] = {
        {"all are too old, the active one too", {9000, 8000, 7000, 6000}, 4, 0, 4},
        {"a young one protects those behind it", {9000, 10, 9000, 9000}, 4, 0, 1},
        {"a young first one protects all", {10, 9000, 9000}, 3, 0, 0},
        {"the future never expires", {-5000, 9000, 9000}, 3, 0, 0},
        {"nor far in it", {9000, -1000000000000, 9000}, 3, 0, 1},
        {"as old as allowed is not too old", {1001, 1000, 1000}, 3, 0, 1},
        {"nothing above the high watermark", {9000, 9000, 9000, 9000}, 4, 2, 2},
        {"nor what reaches above it", {9000, 9000, 9000}, 3, 1, 1},
        {"one segment, which is active", {9000}, 1, 0, 1},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        const struct by_time *row = &ROWS[i];
        begin(row->ages_ms, row->count);
        w.how.config.retention_ms = 1000;
        use_config();
        int64_t log_end = plog_end_offset(w.log);
        int deleted = apply(row->high_watermark == 0 ? log_end : row->high_watermark);
        if (deleted != row->deleted) {
            printf("%s: %d\n", row->what, deleted);
        }
        CU_ASSERT_EQUAL(deleted, row->deleted);
        CU_ASSERT_EQUAL(plog_start_offset(w.log), row->deleted);
        CU_ASSERT_EQUAL(plog_end_offset(w.log), log_end);
        CU_ASSERT_EQUAL(check_every_offset(w.log), row->count - row->deleted);
        end();
    }
}

/* An empty segment named by the end is left; it never goes, and offsets go on, also after a start. */
static void test_all_expire(void)
{
    static const int64_t AGES[] = {9000, 9000, 9000};
    begin(AGES, 3);
    w.how.config.retention_ms = 1000;
    use_config();
    CU_ASSERT_EQUAL(apply(3), 3);
    CU_ASSERT(exists(&w.p, "t-0/00000000000000000003.log"));
    CU_ASSERT(exists(&w.p, "t-0/00000000000000000002.log.deleted"));
    w.p.clock.now_ms += 1000000000;
    CU_ASSERT_EQUAL(apply(3), 0);
    MUST(plog_close(w.log));
    w.log = must_open(&w.p, &w.how);
    CU_ASSERT_EQUAL(plog_start_offset(w.log), 3);
    CU_ASSERT_EQUAL(plog_end_offset(w.log), 3);
    CU_ASSERT_EQUAL(apply(3), 0);
    append(w.p.clock.now_ms);
    CU_ASSERT_EQUAL(plog_end_offset(w.log), 4);
    CU_ASSERT_EQUAL(check_every_offset(w.log), 1);
    end();
}

static void set_file_age(const char *name, int64_t age_ms)
{
    int64_t at_ms = NOW_MS - age_ms;
    struct timespec times[2] = {{.tv_sec = at_ms / 1000}, {.tv_sec = at_ms / 1000}};
    char *path = place_path(&w.p, name);
    CU_ASSERT_EQUAL_FATAL(utimensat(AT_FDCWD, path, times, 0), 0);
    free(path);
}

/* Records without a timestamp are as old as their file. */
static void test_by_file_time(void)
{
    static const int64_t AGES[] = {NO_TIME, NO_TIME, NO_TIME};
    begin(AGES, 3);
    set_file_age("t-0/00000000000000000000.log", 9000);
    set_file_age("t-0/00000000000000000001.log", 9000);
    set_file_age("t-0/00000000000000000002.log", 0);
    w.how.config.retention_ms = 5000;
    use_config();
    CU_ASSERT_EQUAL(apply(3), 2);
    set_file_age("t-0/00000000000000000002.log", 9000);
    CU_ASSERT_EQUAL(apply(3), 1);
    end();
}

/* ---- by size ---- */

struct by_size {
    int keep; /* segments */
    int more_bytes;
    int deleted; /* of four */
};

/* The active segment counts; what is left is not less than allowed, until nothing is. */
static void test_by_size(void)
{
    static const int64_t AGES[] = {0, 0, 0, 0};
    static const struct by_size ROWS[] = {{2, 0, 2}, {2, 1, 1}, {2, -1, 2}, {1, -1, 3}, {0, 1, 3},
                                          {0, 0, 4}, {4, 0, 0}, {4, 1, 0},  {3, 1, 0},  {3, 0, 1}};
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        begin(AGES, 4);
        w.how.config.retention_bytes = w.segment_bytes * ROWS[i].keep + ROWS[i].more_bytes;
        use_config();
        CU_ASSERT_EQUAL(apply(4), ROWS[i].deleted);
        CU_ASSERT_EQUAL(plog_start_offset(w.log), ROWS[i].deleted);
        CU_ASSERT_EQUAL(check_every_offset(w.log), 4 - ROWS[i].deleted);
        end();
    }
}

/* ---- together ---- */

/* Start, size, time, in this order: each sees what the one before has left. */
static void test_order(void)
{
    static const int64_t AGES[] = {10, 10, 9000, 10, 9000};
    begin(AGES, 5);
    w.how.config.retention_ms = 1000;
    use_config();
    CU_ASSERT_EQUAL(apply(5), 0); /* the first is young */
    MUST(plog_advance_start(w.log, 1));
    w.how.config.retention_bytes = w.segment_bytes * 3;
    use_config();
    CU_ASSERT_EQUAL(apply(5), 3); /* 0 by its start, 1 by the size, 2 by its time; 3 is young */
    CU_ASSERT_EQUAL(plog_start_offset(w.log), 3);
    end();
}

/* compact alone: segments below the start go, whatever the bounds say. */
static void test_compacted(void)
{
    static const int64_t AGES[] = {9000, 9000, 9000, 9000};
    begin(AGES, 4);
    w.how.config.retention_ms = 1;
    w.how.config.retention_bytes = 1;
    w.how.config.cleanup_delete = false;
    w.how.config.cleanup_compact = true;
    use_config();
    CU_ASSERT_EQUAL(apply(4), 0);
    MUST(plog_advance_start(w.log, 2));
    CU_ASSERT_EQUAL(apply(4), 2);
    w.how.config.cleanup_delete = true; /* at the next check */
    use_config();
    CU_ASSERT_EQUAL(apply(4), 2);
    end();
}

static void test_without_limits(void)
{
    static const int64_t AGES[] = {INT64_C(1000000000000), 9000, 9000};
    begin(AGES, 3);
    CU_ASSERT_EQUAL(apply(3), 0);
    end();
}

/* ---- the start that DeleteRecords moves ---- */

/* Inside a batch: that is served whole, and kept. The checkpoint names the log only while the start is above its first
 * segment's base. */
static void test_start_in_a_batch(void)
{
    static const int64_t AGES[] = {0, 0};
    struct log_range range;
    begin(AGES, 2);
    MUST(plog_roll(w.log));
    MUST(append_spec(w.log, &(struct batch_spec){.count = 5}, NULL)); /* 2 to 6 */
    MUST(plog_roll(w.log));
    append(NOW_MS); /* 7 */
    MUST(plog_advance_start(w.log, 4));
    CU_ASSERT_EQUAL(plog_start_to_checkpoint(w.log), 4);
    CU_ASSERT_EQUAL(apply(8), 2);
    CU_ASSERT_EQUAL(plog_start_offset(w.log), 4);
    CU_ASSERT_EQUAL(plog_start_to_checkpoint(w.log), 4);
    CU_ASSERT_EQUAL(plog_read(w.log, 3, INT64_MAX, 1 << 20, true, &range), ERR_OFFSET_OUT_OF_RANGE);
    size_t len = 0;
    uint8_t *data = read_range(w.log, 4, INT64_MAX, 1, &len);
    CU_ASSERT_FATAL(len > 8);
    CU_ASSERT_EQUAL(load_u64(data), 2);
    free(data);
    MUST(plog_advance_start(w.log, 3)); /* never back */
    CU_ASSERT_EQUAL(plog_start_offset(w.log), 4);
    MUST(plog_advance_start(w.log, 7));
    CU_ASSERT_EQUAL(apply(8), 1);
    CU_ASSERT_EQUAL(plog_start_to_checkpoint(w.log),
                    7); /* a power cut could bring back what has gone */
    MUST(plog_flush(w.log));
    CU_ASSERT_EQUAL(plog_start_to_checkpoint(w.log), 0);
    MUST(plog_advance_start(w.log, 8)); /* all: the active segment stays */
    CU_ASSERT_EQUAL(apply(8), 0);
    CU_ASSERT_EQUAL(plog_start_to_checkpoint(w.log), 8);
    CU_ASSERT(exists(&w.p, "t-0/00000000000000000007.log"));
    end();
}

SUITE("retention", TEST(test_by_time), TEST(test_all_expire), TEST(test_by_file_time),
      TEST(test_by_size), TEST(test_order), TEST(test_compacted), TEST(test_without_limits),
      TEST(test_start_in_a_batch))
