/* One log: appending, reading at every offset, index bytes, rolls, retention, truncation. */
#include "util.h"

static struct how fresh(void)
{
    return (struct how){.config = small_config(), .clean = true};
}

static void test_append_and_read(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    struct plog *log = must_open(&p, &how);
    struct append_result result;
    for (int i = 0; i < 200; i++) {
        int count = 1 + i % 5;
        int64_t end = plog_end_offset(log);
        MUST(append_spec(log, &(struct batch_spec){.count = count}, &result));
        CU_ASSERT_EQUAL(result.base_offset, end);
        CU_ASSERT_EQUAL(result.last_offset, end + count - 1);
        CU_ASSERT_EQUAL(plog_end_offset(log), end + count);
    }
    CU_ASSERT_EQUAL(check_every_offset(log), 200);
    struct log_range range;
    CU_ASSERT_EQUAL(plog_read(log, -1, INT64_MAX, 100, true, &range), ERR_OFFSET_OUT_OF_RANGE);
    int64_t end = plog_end_offset(log);
    CU_ASSERT_EQUAL(plog_read(log, end + 1, INT64_MAX, 100, true, &range), ERR_OFFSET_OUT_OF_RANGE);
    MUST(plog_read(log, end, INT64_MAX, 100, true, &range));
    CU_ASSERT_PTR_NULL(range.file);
    MUST(plog_close(log));
    place_reboot(&p);
    how.recovery_point = end;
    log = must_open(&p, &how);
    CU_ASSERT_EQUAL(plog_end_offset(log), end);
    CU_ASSERT_EQUAL(check_every_offset(log), 200);
    must_append(log, 3);
    CU_ASSERT_EQUAL(check_every_offset(log), 201);
    MUST(plog_close(log));
    place_remove(&p);
}

/* Limits: max_offset hides whole batches, max_bytes cuts, min_one does not. */
static void test_read_limits(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    how.config.segment_bytes = 1 << 20;
    struct plog *log = must_open(&p, &how);
    for (int i = 0; i < 300; i++) {
        must_append(log, 2);
    }
    struct log_range one;
    MUST(plog_read(log, 0, 2, 1 << 20, true, &one));
    int64_t size = (int64_t)one.len;
    log_range_release(&one);
    for (int64_t offset = 0; offset < 600; offset += 37) {
        for (int64_t max = offset; max <= 600; max += 11) {
            int64_t position = 0;
            int64_t end = 0;
            for (int64_t at = 0; at < 600; at += 2) {
                struct log_range r;
                if (at == offset / 2 * 2) {
                    position = end;
                }
                if (at + 2 > max) {
                    break;
                }
                (void)r;
                end += 0; /* sizes differ by a few bytes: taken from the log below */
                struct log_range exact;
                MUST(plog_read(log, at, at + 2, 1 << 20, true, &exact));
                end = exact.position + (int64_t)exact.len;
                log_range_release(&exact);
            }
            struct log_range range;
            MUST(plog_read(log, offset, max, 1 << 20, true, &range));
            if (max <= offset || offset / 2 * 2 + 2 > max) {
                CU_ASSERT_EQUAL(range.len, 0);
            } else {
                CU_ASSERT_EQUAL(range.position + (int64_t)range.len, end);
                CU_ASSERT_EQUAL(range.base_offset, offset / 2 * 2);
                CU_ASSERT_EQUAL(plog_bytes_between(log, offset, max), (int64_t)range.len);
            }
            (void)position;
            log_range_release(&range);
        }
    }
    struct log_range range;
    MUST(plog_read(log, 0, 600, 10, false, &range));
    CU_ASSERT_EQUAL(range.len, 10);
    log_range_release(&range);
    MUST(plog_read(log, 0, 600, 10, true, &range));
    CU_ASSERT_EQUAL((int64_t)range.len, size);
    log_range_release(&range);
    MUST(plog_close(log));
    place_remove(&p);
}

/* Entries as the page says: last offset of the set, its position, once more than the interval has
 * been written since the last one. */
static void test_index_bytes(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    how.config.segment_bytes = 1 << 20;
    struct plog *log = must_open(&p, &how);
    uint8_t expected[4096];
    uint8_t expected_time[4096];
    size_t n = 0;
    size_t times = 0;
    int64_t position = 0;
    int64_t since = 0;
    for (int i = 0; i < 60; i++) {
        struct writer w;
        struct append_result result;
        writer_init(&w, 1 << 20);
        make_batch(&w, &(struct batch_spec){.count = 2}, plog_end_offset(log));
        MUST(plog_append(log, w.data, w.len, APPEND_CLIENT, 0, &result));
        bool last = i == 59;
        if (since > 150) {
            store_u32(expected + n, (uint32_t)result.last_offset);
            store_u32(expected + n + 4, (uint32_t)position);
            n += 8;
            since = 0;
            last = true;
        }
        if (last) {
            store_u64(expected_time + times, (uint64_t)(T0_MS + result.last_offset));
            store_u32(expected_time + times + 8, (uint32_t)result.last_offset);
            times += 12;
        }
        since += (int64_t)w.len;
        position += (int64_t)w.len;
        writer_deinit(&w);
    }
    MUST(plog_close(log));
    size_t len = 0;
    uint8_t *bytes = slurp(&p, "t-0/00000000000000000000.index", &len);
    CU_ASSERT_EQUAL_FATAL(len, n);
    CU_ASSERT(memcmp(bytes, expected, n) == 0);
    free(bytes);
    bytes = slurp(&p, "t-0/00000000000000000000.timeindex", &len);
    CU_ASSERT_EQUAL_FATAL(len, times);
    CU_ASSERT(memcmp(bytes, expected_time, times) == 0);
    free(bytes);
    place_remove(&p);
}

/* Thousands of entries: memory, write-behind and file agree. */
static void test_long_index(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    how.config.segment_bytes = 1 << 30;
    how.config.index_interval_bytes = 0;
    struct plog *log = must_open(&p, &how);
    for (int i = 0; i < 3000; i++) {
        must_append(log, 1);
    }
    for (int64_t offset = 0; offset < 3000; offset += 7) {
        size_t len = 0;
        uint8_t *data = read_range(log, offset, 3000, 1, &len);
        struct batch batch;
        batch_parse(data, &batch);
        CU_ASSERT_EQUAL(batch.base_offset, offset);
        free(data);
        struct found_offset found;
        MUST(plog_offset_for_timestamp(log, T0_MS + offset, INT64_MAX, &found));
        CU_ASSERT_EQUAL(found.offset, offset);
    }
    MUST(plog_truncate(log, 1234));
    CU_ASSERT_EQUAL(check_every_offset(log), 1234);
    MUST(plog_truncate(log, 100));
    must_append(log, 1);
    CU_ASSERT_EQUAL(check_every_offset(log), 101);
    MUST(plog_close(log));
    place_remove(&p);
}

/* A coordinator's batch is held to max.message.bytes; the leader has judged all others. */
static void test_message_size(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    struct writer w;
    writer_init(&w, 1 << 10);
    how.config.max_message_bytes = (int32_t)make_batch(&w, &(struct batch_spec){0}, 0);
    struct plog *log = must_open(&p, &how);
    struct append_result result;
    MUST(plog_append(log, w.data, w.len, APPEND_COORDINATOR, 0, &result));
    how.config.max_message_bytes--;
    plog_set_config(log, &how.config);
    CU_ASSERT_EQUAL(plog_append(log, w.data, w.len, APPEND_COORDINATOR, 0, &result),
                    ERR_MESSAGE_TOO_LARGE);
    CU_ASSERT_EQUAL(plog_end_offset(log), 1);
    MUST(plog_append(log, w.data, w.len, APPEND_CLIENT, 0, &result));
    store_u64(w.data, 2);
    MUST(plog_append(log, w.data, w.len, APPEND_REPLICATION, 0, &result));
    writer_deinit(&w);
    MUST(plog_close(log));
    place_remove(&p);
}

static void test_roll_rules(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    struct plog *log = must_open(&p, &how);
    struct append_result result;
    /* by size: never above segment.bytes */
    bool rolled = false;
    for (int i = 0; i < 12; i++) {
        MUST(append_spec(log, &(struct batch_spec){.value_bytes = 120}, &result));
        rolled |= result.rolled;
    }
    CU_ASSERT(rolled);
    CU_ASSERT(exists(&p, "t-0/00000000000000000005.log"));
    CU_ASSERT(exists(&p, "t-0/00000000000000000005.snapshot"));
    /* a set that fits no segment */
    CU_ASSERT_EQUAL(append_spec(log, &(struct batch_spec){.value_bytes = 1000}, NULL),
                    ERR_RECORD_LIST_TOO_LARGE);
    /* by time: against the first batch of the segment */
    how.config.segment_bytes = 1 << 20;
    how.config.segment_ms = 1000;
    plog_set_config(log, &how.config);
    MUST(plog_roll(log));
    MUST(append_spec(log, &(struct batch_spec){.timestamp = T0_MS}, &result));
    MUST(append_spec(log, &(struct batch_spec){.timestamp = T0_MS + 1000}, &result));
    CU_ASSERT_FALSE(result.rolled);
    MUST(append_spec(log, &(struct batch_spec){.timestamp = T0_MS + 1001}, &result));
    CU_ASSERT_TRUE(result.rolled);
    /* by a full index: 8 entries fit */
    how.config.segment_ms = INT64_MAX;
    how.config.segment_index_bytes = 64;
    how.config.index_interval_bytes = 0;
    plog_set_config(log, &how.config);
    MUST(plog_roll(log));
    int before_roll = 0;
    do {
        MUST(append_spec(log, &(struct batch_spec){.count = 1}, &result));
    } while (!result.rolled && ++before_roll < 100);
    CU_ASSERT_EQUAL(before_roll, 5); /* the time index is full at 64/12 - 1 entries */
    check_every_offset(log);
    MUST(plog_close(log));
    place_remove(&p);
}

static void test_retention(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    how.config.retention_ms = -1;
    struct plog *log = must_open(&p, &how);
    int deleted = 0;
    for (int i = 0; i < 40; i++) {
        must_append(log, 2);
    }
    int64_t size = plog_size_bytes(log);
    MUST(plog_apply_retention(log, plog_end_offset(log), &deleted));
    CU_ASSERT_EQUAL(deleted, 0);
    /* by size, but not above the high watermark */
    how.config.retention_bytes = size / 2;
    plog_set_config(log, &how.config);
    MUST(plog_apply_retention(log, 0, &deleted));
    CU_ASSERT_EQUAL(deleted, 0);
    MUST(plog_apply_retention(log, plog_end_offset(log), &deleted));
    CU_ASSERT(deleted > 0);
    CU_ASSERT(plog_size_bytes(log) >= size / 2);
    CU_ASSERT(plog_start_offset(log) > 0);
    CU_ASSERT(exists(&p, "t-0/00000000000000000000.log.deleted"));
    check_every_offset(log);
    /* by start offset */
    int64_t middle = plog_end_offset(log) - 3;
    MUST(plog_advance_start(log, middle));
    MUST(plog_apply_retention(log, plog_end_offset(log), &deleted));
    CU_ASSERT_EQUAL(plog_start_offset(log), middle);
    CU_ASSERT_EQUAL(plog_advance_start(log, plog_end_offset(log) + 1), ERR_OFFSET_OUT_OF_RANGE);
    check_every_offset(log);
    /* by time: everything goes, an empty segment stays */
    how.config.retention_bytes = -1;
    how.config.retention_ms = 1;
    plog_set_config(log, &how.config);
    int64_t end = plog_end_offset(log);
    MUST(plog_apply_retention(log, end, &deleted));
    CU_ASSERT_EQUAL(plog_start_offset(log), end);
    CU_ASSERT_EQUAL(plog_size_bytes(log), 0);
    MUST(plog_apply_retention(log, end, &deleted));
    CU_ASSERT_EQUAL(deleted, 0);
    must_append(log, 1);
    CU_ASSERT_EQUAL(check_every_offset(log), 1);
    /* the files go after the delay */
    CU_ASSERT_EQUAL(plog_remove_deleted(log), how.config.file_delete_delay_ms);
    p.clock.now_ms += how.config.file_delete_delay_ms;
    CU_ASSERT_EQUAL(plog_remove_deleted(log), -1);
    CU_ASSERT_FALSE(exists(&p, "t-0/00000000000000000000.log.deleted"));
    MUST(plog_close(log));
    place_remove(&p);
}

static void test_truncate(void)
{
    for (int64_t at = 0; at <= 81; at += 3) {
        struct place p;
        place_make(&p);
        struct how how = fresh();
        struct plog *log = must_open(&p, &how);
        for (int i = 0; i < 40; i++) {
            must_append(log, 2);
        }
        MUST(plog_flush(log));
        MUST(plog_truncate(log, at));
        int64_t end = at < 80 ? at : 80;
        CU_ASSERT_EQUAL(plog_end_offset(log), end);
        CU_ASSERT(plog_recovery_point(log) <= end);
        int64_t whole = end / 2 * 2;
        struct log_range range;
        if (whole > 0) {
            size_t len = 0;
            uint8_t *data = read_range(log, whole - 1, INT64_MAX, 1, &len);
            free(data);
        }
        if (end != whole) {
            MUST(plog_read(log, whole, INT64_MAX, 1, true, &range));
            CU_ASSERT_EQUAL(range.len, 0); /* the batch went as a whole */
            log_range_release(&range);
        }
        must_append(log, 2);
        MUST(plog_close(log));
        place_reboot(&p);
        how.recovery_point = end + 2;
        log = must_open(&p, &how);
        CU_ASSERT_EQUAL(plog_end_offset(log), end + 2);
        plog_abandon(log);
        place_reboot(&p);
        how.clean = false;
        how.recovery_point = 0;
        log = must_open(&p, &how);
        CU_ASSERT_EQUAL(plog_end_offset(log), end + 2);
        check_every_offset(log);
        plog_abandon(log);
        place_remove(&p);
    }
}

static void test_restart_at(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    struct plog *log = must_open(&p, &how);
    for (int i = 0; i < 40; i++) {
        must_append(log, 2);
    }
    MUST(plog_assign_epoch(log, 3, 80));
    MUST(plog_truncate_fully_and_start_at(log, 500));
    CU_ASSERT_EQUAL(plog_start_offset(log), 500);
    CU_ASSERT_EQUAL(plog_end_offset(log), 500);
    CU_ASSERT_EQUAL(plog_size_bytes(log), 0);
    CU_ASSERT_EQUAL(plog_latest_epoch(log), -1);
    must_append(log, 2);
    CU_ASSERT_EQUAL(check_every_offset(log), 1);
    /* at the base it has already */
    MUST(plog_truncate_fully_and_start_at(log, 500));
    must_append(log, 2);
    CU_ASSERT_EQUAL(check_every_offset(log), 1);
    MUST(plog_close(log));
    place_reboot(&p);
    how.recovery_point = 502;
    log = must_open(&p, &how);
    CU_ASSERT_EQUAL(plog_start_offset(log), 500);
    CU_ASSERT_EQUAL(check_every_offset(log), 1);
    plog_abandon(log);
    place_remove(&p);
}

/* A follower takes offsets and epochs as they are, holes too, and refuses what does not fit. */
static void test_replication(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    struct plog *log = must_open(&p, &how);
    struct append_result result;
    struct writer w;
    writer_init(&w, 1 << 20);
    size_t first = make_batch(&w, &(struct batch_spec){.count = 3}, 0);
    make_batch(&w, &(struct batch_spec){.count = 2}, 10);
    batch_set_base_offset(w.data, 4);
    batch_set_leader_epoch(w.data, 2);
    batch_set_base_offset(w.data + first, 10);
    batch_set_leader_epoch(w.data + first, 5);
    MUST(plog_append(log, w.data, w.len, APPEND_REPLICATION, 7, &result));
    CU_ASSERT_EQUAL(result.base_offset, 4);
    CU_ASSERT_EQUAL(plog_end_offset(log), 12);
    CU_ASSERT_EQUAL(plog_latest_epoch(log), 5);
    CU_ASSERT_EQUAL(plog_latest_epoch_start(log), 10);
    CU_ASSERT_EQUAL(plog_epoch_of(log, 9), 2);
    int32_t epoch = 0;
    int64_t end = 0;
    plog_end_offset_for_epoch(log, 3, &epoch, &end);
    CU_ASSERT(epoch == 2 && end == 10);
    plog_end_offset_for_epoch(log, 5, &epoch, &end);
    CU_ASSERT(epoch == 5 && end == 12);
    plog_end_offset_for_epoch(log, 6, &epoch, &end);
    CU_ASSERT(epoch == -1 && end == -1);
    plog_end_offset_for_epoch(log, 0, &epoch, &end);
    CU_ASSERT(epoch == 0 && end == 4);
    CU_ASSERT_EQUAL(plog_append(log, w.data, w.len, APPEND_REPLICATION, 7, &result), E_MALFORMED);
    batch_set_base_offset(w.data, 20);
    batch_set_base_offset(w.data + first, 30);
    w.data[w.len - 1] ^= 1;
    CU_ASSERT_EQUAL(plog_append(log, w.data, w.len, APPEND_REPLICATION, 7, &result),
                    ERR_CORRUPT_MESSAGE);
    CU_ASSERT_EQUAL(plog_end_offset(log), 12);
    CU_ASSERT_FALSE(plog_is_offline(log));
    for (int64_t offset = 0; offset < 12; offset++) {
        size_t len = 0;
        uint8_t *data = read_range(log, offset, 12, 1, &len);
        struct batch batch;
        batch_parse(data, &batch);
        CU_ASSERT_EQUAL(batch.base_offset, offset <= 6 ? 4 : 10);
        free(data);
    }
    /* an empty log and a batch that begins below its start */
    MUST(plog_truncate_fully_and_start_at(log, 101));
    w.data[w.len - 1] ^= 1;
    batch_set_base_offset(w.data, 100);
    batch_set_base_offset(w.data + first, 110);
    const size_t wrong_at[] = {first - 1, w.len - 1};
    for (size_t i = 0; i < 2; i++) { /* one that is not good changes nothing */
        w.data[wrong_at[i]] ^= 1;
        CU_ASSERT_EQUAL(plog_append(log, w.data, w.len, APPEND_REPLICATION, 7, &result),
                        ERR_CORRUPT_MESSAGE);
        CU_ASSERT(plog_start_offset(log) == 101 && plog_end_offset(log) == 101);
        w.data[wrong_at[i]] ^= 1;
    }
    MUST(plog_append(log, w.data, w.len, APPEND_REPLICATION, 7, &result));
    CU_ASSERT_EQUAL(plog_start_offset(log), 100);
    CU_ASSERT_EQUAL(plog_end_offset(log), 112);
    writer_deinit(&w);
    MUST(plog_close(log));
    place_remove(&p);
}

static void test_topic_id(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    struct plog *log = must_open(&p, &how);
    CU_ASSERT(uuid_is_zero(plog_topic_id(log)));
    struct uuid id = uuid_random(random_system());
    MUST(plog_set_topic_id(log, id));
    MUST(plog_set_topic_id(log, id));
    CU_ASSERT_EQUAL(plog_set_topic_id(log, uuid_random(random_system())),
                    ERR_INCONSISTENT_TOPIC_ID);
    MUST(plog_close(log));
    place_reboot(&p);
    log = must_open(&p, &how);
    CU_ASSERT(uuid_equal(plog_topic_id(log), id));
    plog_abandon(log);
    size_t len = 0;
    uint8_t *text = slurp(&p, "t-0/partition.metadata", &len);
    CU_ASSERT_EQUAL(len, 11 + 10 + 22);
    CU_ASSERT(memcmp(text, "version: 0\ntopic_id: ", 21) == 0);
    free(text);
    place_remove(&p);
}

SUITE("plog", TEST(test_append_and_read), TEST(test_read_limits), TEST(test_index_bytes),
      TEST(test_long_index), TEST(test_message_size), TEST(test_roll_rules), TEST(test_retention),
      TEST(test_truncate), TEST(test_restart_at), TEST(test_replication), TEST(test_topic_id))
