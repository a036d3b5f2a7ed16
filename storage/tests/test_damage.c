/* A disk that fails a read, and files beside the log that are wrong: what is answered, and what the
 * log is afterwards. */
#include "storage/tests/util.h"

enum { RECORDS = 60 };

static struct how opened_clean(int64_t end)
{
    struct log_config config = small_config();
    config.retention_ms = 1;
    return (struct how){.config = config, .clean = true, .recovery_point = end};
}

/* Segments of a few batches; a transaction of producer 7 is aborted in each of the first three. */
static void make_log(struct place *p)
{
    struct how how = opened_clean(0);
    struct plog *log = must_open(p, &how);
    for (int i = 0; i < RECORDS / 2; i++) {
        must_append(log, 2);
        if (i < 15 && i % 5 == 0) {
            struct batch_spec spec = {.attributes = BATCH_TRANSACTIONAL,
                                      .producer_id = 8,
                                      .sequence = i / 5};
            MUST(append_spec(log, &spec, NULL));
            MUST(append_marker(log, 7, 0, false, 0));
        }
    }
    MUST(plog_close(log));
}

/* ---- a disk that fails a read ---- */

static err ask_bytes(struct plog *log)
{
    struct log_range range;
    uint8_t data[64];
    err e = plog_read(log, 5, 20, 1000, true, &range);
    e = e == OK ? log_range_read(&range, 1, data, sizeof(data)) : e;
    log_range_release(&range);
    return e;
}

static err ask_time(struct plog *log)
{
    struct found_offset found;
    return plog_offset_for_timestamp(log, T0_MS + 30, INT64_MAX, &found);
}

static err ask_max_time(struct plog *log)
{
    struct found_offset found;
    return plog_offset_for_max_timestamp(log, &found);
}

static err ask_before(struct plog *log)
{
    struct arena arena;
    int64_t *offsets = NULL;
    int32_t count = 0;
    arena_init(&arena, 1 << 20);
    err e = plog_offsets_before(log, T0_MS, 60, 10, &arena, &offsets, &count);
    arena_deinit(&arena);
    return e;
}

static err ask_aborted(struct plog *log)
{
    struct arena arena;
    struct aborted_txn *txns = NULL;
    int32_t count = 0;
    arena_init(&arena, 1 << 20);
    err e = plog_aborted_txns(log, 0, 60, &arena, &txns, &count);
    arena_deinit(&arena);
    return e;
}

static err ask_retention(struct plog *log)
{
    int deleted = 0;
    return plog_apply_retention(log, 60, &deleted);
}

static err ask_append(struct plog *log)
{
    return append_spec(log, &(struct batch_spec){.count = 1}, NULL);
}

/* Every call that an operation makes fails in turn, in a log that was just opened. */
static void test_failing_reads(void)
{
    static err (*const ASK[])(struct plog *) = {ask_bytes,     ask_time,    ask_max_time,
                                                ask_before,    ask_aborted, ask_retention,
                                                ask_append};
    for (size_t i = 0; i < sizeof(ASK) / sizeof(ASK[0]); i++) {
        int failed = 0;
        for (int64_t n = 1;; n++) {
            struct place p;
            place_make(&p);
            make_log(&p);
            place_reboot(&p);
            struct how how = opened_clean(RECORDS + 6);
            struct plog *log = must_open(&p, &how);
            p.fault.calls = 0;
            p.fault.fail_at = n;
            err e = ASK[i](log);
            bool hit = p.fault.calls >= n;
            p.fault.fail_at = 0;
            CU_ASSERT_EQUAL(e, hit ? ERR_KAFKA_STORAGE_ERROR : OK);
            CU_ASSERT_EQUAL(plog_is_offline(log), hit);
            if (hit) {
                CU_ASSERT_EQUAL(ask_bytes(log), ERR_KAFKA_STORAGE_ERROR);
                CU_ASSERT_EQUAL(ask_append(log), ERR_KAFKA_STORAGE_ERROR);
            }
            plog_abandon(log);
            place_remove(&p);
            failed += hit;
            if (!hit) {
                break;
            }
        }
        CU_ASSERT(failed > 0);
    }
}

/* The bytes of an answer are read when the log may be closed already. */
static void test_failing_read_after_close(void)
{
    struct place p;
    place_make(&p);
    make_log(&p);
    place_reboot(&p);
    struct how how = opened_clean(RECORDS + 6);
    struct plog *log = must_open(&p, &how);
    struct log_range range;
    uint8_t data[10];
    MUST(plog_read(log, 5, 20, 1000, true, &range));
    plog_abandon(log);
    MUST(log_range_read(&range, range.len - sizeof(data), data, sizeof(data)));
    p.fault.fail_at = p.fault.calls + 1;
    CU_ASSERT_EQUAL(log_range_read(&range, 0, data, sizeof(data)), ERR_KAFKA_STORAGE_ERROR);
    log_range_release(&range);
    place_remove(&p);
}

/* Bytes that are no batch are an error for who reads there, and for nobody else. */
static void test_corrupt_batch(void)
{
    struct place p;
    place_make(&p);
    make_log(&p);
    size_t len = 0;
    uint8_t *data = slurp(&p, "t-0/00000000000000000000.log", &len);
    struct batch first;
    batch_parse(data, &first);
    memset(data + first.size_bytes, 0xff, BATCH_HEADER_BYTES); /* offsets 2 and 3 */
    spit(&p, "t-0/00000000000000000000.log", data, len);
    free(data);
    place_reboot(&p);
    struct how how = opened_clean(RECORDS + 6);
    struct plog *log = must_open(&p, &how);
    struct log_range range;
    MUST(plog_read(log, 0, 60, 1, true, &range));
    log_range_release(&range);
    CU_ASSERT_EQUAL(plog_read(log, 2, 60, 1, true, &range), ERR_CORRUPT_MESSAGE);
    CU_ASSERT_FALSE(plog_is_offline(log));
    MUST(plog_read(log, 40, 60, 1, true, &range));
    log_range_release(&range);
    struct found_offset found;
    CU_ASSERT_EQUAL(plog_offset_for_timestamp(log, T0_MS + 3, INT64_MAX, &found),
                    ERR_CORRUPT_MESSAGE);
    must_append(log, 1);
    MUST(plog_close(log));
    place_remove(&p);
}

SUITE("damage", TEST(test_failing_reads), TEST(test_failing_read_after_close),
      TEST(test_corrupt_batch))
