/* Crashes, torn tails, damage and failing file operations. */
#include "util.h"

#include "storage/segment.h"

static struct how fresh(void)
{
    return (struct how){.config = small_config(), .clean = true};
}

static struct how unclean(int64_t recovery_point)
{
    return (struct how){.config = small_config(), .clean = false, .recovery_point = recovery_point};
}

/* A kill at every byte of the last batch: the others are there, the torn one is cut. */
static void test_torn_tail(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    struct plog *log = must_open(&p, &how);
    for (int i = 0; i < 13; i++) {
        must_append(log, 2);
    }
    int64_t end = plog_end_offset(log);
    plog_abandon(log);
    const char *name = "t-0/00000000000000000024.log";
    CU_ASSERT_FATAL(exists(&p, name));
    size_t len = 0;
    uint8_t *data = slurp(&p, name, &len);
    for (size_t cut = 0; cut < len; cut++) {
        place_reboot(&p);
        spit(&p, name, data, cut);
        how = unclean(cut % 3 == 0 ? 0 : 24);
        log = must_open(&p, &how);
        CU_ASSERT_EQUAL(plog_end_offset(log), end - 2);
        CU_ASSERT_EQUAL(check_every_offset(log), 12);
        plog_abandon(log);
    }
    /* zeros, as a file system may leave them, and a second batch behind a hole */
    uint8_t *holed = calloc(1, len * 3);
    memcpy(holed, data, len);
    memcpy(holed + 2 * len, data, len);
    batch_set_base_offset(holed + 2 * len, 28);
    place_reboot(&p);
    spit(&p, name, holed, len * 3);
    how = unclean(0);
    log = must_open(&p, &how);
    CU_ASSERT_EQUAL(plog_end_offset(log), end);
    must_append(log, 1);
    CU_ASSERT_EQUAL(check_every_offset(log), 14);
    plog_abandon(log);
    free(holed);
    free(data);
    place_remove(&p);
}

/* What the CRC does not cover must still be in order. */
static void test_uncovered_fields(void)
{
    for (int round = 0; round < 4; round++) {
        struct place p;
        place_make(&p);
        struct how how = fresh();
        how.config.segment_bytes = 1 << 20;
        struct plog *log = must_open(&p, &how);
        MUST(plog_assign_epoch(log, 0, 0));
        for (int i = 0; i < 4; i++) {
            must_append(log, 2);
        }
        plog_abandon(log);
        size_t len = 0;
        uint8_t *data = slurp(&p, "t-0/00000000000000000000.log", &len);
        struct batch batch;
        batch_parse(data, &batch);
        uint8_t *third = data + 2 * (size_t)batch.size_bytes;
        if (round == 0) {
            batch_set_base_offset(third, 1); /* backwards */
        } else if (round == 1) {
            batch_set_leader_epoch(third - batch.size_bytes, 9);
            batch_set_leader_epoch(third, 3); /* backwards */
        } else if (round == 2) {
            store_u32(third + 57, 7); /* more records than offsets, CRC right */
            batch_crc_update(third, (size_t)batch.size_bytes);
        } else {
            batch_set_base_offset(third, (int64_t)INT32_MAX + 10); /* too far for the segment */
        }
        spit(&p, "t-0/00000000000000000000.log", data, len);
        place_reboot(&p);
        how = unclean(0);
        log = must_open(&p, &how);
        CU_ASSERT_EQUAL(plog_end_offset(log), 4);
        plog_abandon(log);
        free(data);
        place_remove(&p);
    }
}

/* A control batch that is whole but holds no marker ends the log, and leaves no trace in an index.
 */
static void test_bad_marker(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    how.config.segment_bytes = 1 << 20;
    struct plog *log = must_open(&p, &how);
    for (int i = 0; i < 6; i++) {
        must_append(log, 2);
    }
    MUST(append_marker(log, 1, 0, false, 0));
    plog_abandon(log);
    size_t len = 0;
    uint8_t *data = slurp(&p, "t-0/00000000000000000000.log", &len);
    uint8_t *marker = data + len - 78;
    marker[61 + 5] = 0x80; /* the key's version is negative */
    batch_crc_update(marker, 78);
    spit(&p, "t-0/00000000000000000000.log", data, len);
    free(data);
    place_reboot(&p);
    how = unclean(0);
    how.config.index_interval_bytes = 0;
    log = must_open(&p, &how);
    CU_ASSERT_EQUAL(plog_end_offset(log), 12);
    CU_ASSERT_EQUAL(check_every_offset(log), 6);
    plog_abandon(log);
    free(slurp(&p, "t-0/00000000000000000000.index", &len));
    CU_ASSERT_EQUAL(len, 5 * 8);
    place_remove(&p);
}

/* Later segments go with the cut, and opening twice is opening once. */
static void test_cut_in_the_middle(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    struct plog *log = must_open(&p, &how);
    for (int i = 0; i < 40; i++) {
        must_append(log, 2);
    }
    plog_abandon(log);
    size_t len = 0;
    uint8_t *data = slurp(&p, "t-0/00000000000000000024.log", &len);
    data[len - 1] ^= 1;
    spit(&p, "t-0/00000000000000000024.log", data, len);
    free(data);
    for (int round = 0; round < 3; round++) {
        place_reboot(&p);
        how = unclean(24);
        how.config.cleanup_compact = true; /* where a hole alone would not end the log */
        log = must_open(&p, &how);
        CU_ASSERT_EQUAL(plog_end_offset(log), 46);
        CU_ASSERT_EQUAL(plog_recovery_point(log), 24);
        CU_ASSERT_EQUAL(check_every_offset(log), 23);
        plog_abandon(log);
    }
    CU_ASSERT_FALSE(exists(&p, "t-0/00000000000000000048.log"));
    place_remove(&p);
}

/* Below the recovery point: refused, and not a byte changed. */
static void test_damage(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    struct plog *log = must_open(&p, &how);
    for (int i = 0; i < 40; i++) {
        must_append(log, 2);
    }
    plog_abandon(log);
    size_t len = 0;
    const char *name = "t-0/00000000000000000024.log";
    uint8_t *data = slurp(&p, name, &len);
    data[len - 1] ^= 1;
    spit(&p, name, data, len);
    run("rm -rf '%s.copy' && cp -r '%s/t-0' saved-t", p.dir, p.dir);
    place_reboot(&p);
    how = unclean(47);
    CU_ASSERT_EQUAL(try_open(&p, &how, &log), E_CORRUPT);
    run("diff -r saved-t '%s/t-0' && rm -rf saved-t", p.dir, "");
    /* torn exactly there, with the file's end below the promise */
    spit(&p, name, data, len - 5);
    CU_ASSERT_EQUAL(try_open(&p, &how, &log), E_CORRUPT);
    free(data);
    place_remove(&p);
}

/* A segment that never reached the disk, before one that did. */
static void test_hole(void)
{
    for (int compacted = 0; compacted < 2; compacted++) {
        struct place p;
        place_make(&p);
        struct how how = fresh();
        struct plog *log = must_open(&p, &how);
        for (int i = 0; i < 40; i++) {
            must_append(log, 2);
        }
        plog_abandon(log);
        spit(&p, "t-0/00000000000000000048.log", "", 0);
        place_reboot(&p);
        how = unclean(24);
        how.config.cleanup_compact = compacted != 0;
        log = must_open(&p, &how);
        CU_ASSERT_EQUAL(plog_end_offset(log), compacted ? 80 : 48);
        CU_ASSERT_EQUAL(check_every_offset(log), compacted ? 28 : 24);
        plog_abandon(log);
        place_remove(&p);
    }
}

static void test_missing_files(void)
{
    static const char *const REMOVED[] = {"00000000000000000024.index",
                                          "00000000000000000024.timeindex", "*.snapshot",
                                          "leader-epoch-checkpoint", "*.index"};
    for (size_t i = 0; i < sizeof(REMOVED) / sizeof(REMOVED[0]); i++) {
        struct place p;
        place_make(&p);
        struct how how = fresh();
        struct plog *log = must_open(&p, &how);
        for (int j = 0; j < 40; j++) {
            must_append(log, 2);
        }
        MUST(append_spec(log, &(struct batch_spec){.producer_id = 8, .sequence = 5}, NULL));
        MUST(plog_close(log));
        run("rm '%s'/t-0/%s", p.dir, REMOVED[i]);
        place_reboot(&p);
        how.recovery_point = 81;
        log = must_open(&p, &how);
        CU_ASSERT_EQUAL(plog_end_offset(log), 81);
        CU_ASSERT_EQUAL(check_every_offset(log), 41);
        struct batch_spec next = {.producer_id = 8, .sequence = 7};
        CU_ASSERT_EQUAL(append_spec(log, &next, NULL), ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
        next.sequence = 6;
        MUST(append_spec(log, &next, NULL));
        MUST(plog_close(log));
        place_remove(&p);
    }
}

/* A damaged snapshot is removed and the state made from an older one, or from nothing. */
static void test_damaged_snapshot(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    struct plog *log = must_open(&p, &how);
    for (int i = 0; i < 30; i++) {
        MUST(append_spec(log, &(struct batch_spec){.count = 2, .producer_id = 8, .sequence = 2 * i},
                         NULL));
    }
    MUST(plog_close(log));
    spit(&p, "t-0/00000000000000000060.snapshot", "\0\1garbage", 9);
    place_reboot(&p);
    how.recovery_point = 60;
    log = must_open(&p, &how);
    struct append_result result;
    MUST(append_spec(log, &(struct batch_spec){.count = 2, .producer_id = 8, .sequence = 50},
                     &result));
    CU_ASSERT_TRUE(result.duplicate);
    CU_ASSERT_EQUAL(result.base_offset, 50);
    MUST(append_spec(log, &(struct batch_spec){.count = 2, .producer_id = 8, .sequence = 60},
                     &result));
    CU_ASSERT_FALSE(result.duplicate);
    plog_abandon(log);
    place_remove(&p);
}

/* Two snapshots beyond the last segment: the older goes because it is stray, the newer because it
 * is damaged. Neither may be missed afterwards. */
static void test_damaged_and_stray_snapshots(void)
{
    for (int clean = 0; clean < 2; clean++) {
        struct place p;
        place_make(&p);
        struct how how = fresh();
        struct plog *log = must_open(&p, &how);
        for (int i = 0; i < 30; i++) {
            MUST(append_spec(
                log, &(struct batch_spec){.count = 2, .producer_id = 8, .sequence = 2 * i}, NULL));
        }
        MUST(plog_close(log));
        spit(&p, "t-0/00000000000000000059.snapshot", "\0\1older", 7);
        spit(&p, "t-0/00000000000000000060.snapshot", "", 0);
        place_reboot(&p);
        how.clean = clean == 1;
        how.recovery_point = clean == 1 ? 60 : 40;
        log = must_open(&p, &how);
        CU_ASSERT_EQUAL(plog_end_offset(log), 60);
        struct append_result result;
        MUST(append_spec(log, &(struct batch_spec){.count = 2, .producer_id = 8, .sequence = 58},
                         &result));
        CU_ASSERT_TRUE(result.duplicate);
        plog_abandon(log);
        place_remove(&p);
    }
}

/* A script of operations; the number of batches that were acknowledged. */
static int play(struct place *p, int64_t *flushed)
{
    struct how how = fresh();
    struct plog *log = NULL;
    int acknowledged = 0;
    *flushed = 0;
    if (try_open(p, &how, &log) != OK) {
        return 0;
    }
    (void)!plog_set_topic_id(log, (struct uuid){{1, 2, 3}});
    for (int i = 0; i < 30; i++) {
        struct batch_spec spec = {.count = 2, .producer_id = i % 2 == 0 ? 5 : 0, .sequence = i};
        if (append_spec(log, &spec, NULL) == OK) {
            CU_ASSERT_EQUAL(acknowledged, i);
            acknowledged++;
        }
        if (i % 7 == 3 && plog_flush(log) == OK) {
            *flushed = plog_recovery_point(log);
        }
        if (i == 20 && !plog_is_offline(log)) {
            (void)!plog_roll(log);
        }
    }
    if (plog_is_offline(log)) {
        CU_ASSERT_EQUAL(append_spec(log, &(struct batch_spec){.count = 1}, NULL),
                        ERR_KAFKA_STORAGE_ERROR);
        CU_ASSERT_EQUAL(plog_flush(log), ERR_KAFKA_STORAGE_ERROR);
        struct log_range range;
        CU_ASSERT_EQUAL(plog_read(log, 0, 1, 1, true, &range), ERR_KAFKA_STORAGE_ERROR);
    }
    if (plog_close(log) == OK) {
        *flushed = 60;
    }
    return acknowledged;
}

/* Sequence numbers above jump, so only those of batches without a gap are accepted: the script
 * sends producer batches with i = 0, 2, 4...: two records each, in sequence. */
static void check_after(struct place *p, int acknowledged, int64_t flushed)
{
    place_reboot(p);
    struct how how = unclean(flushed);
    struct plog *log = NULL;
    err e = try_open(p, &how, &log);
    CU_ASSERT_EQUAL(e, OK);
    if (e != OK) {
        return;
    }
    int batches = check_every_offset(log);
    CU_ASSERT(batches >= acknowledged);
    CU_ASSERT(plog_end_offset(log) >= 2 * acknowledged);
    must_append(log, 1);
    check_every_offset(log);
    plog_abandon(log);
}

/* A kill at each change of a file, with and without half a write: what was acknowledged is there.
 */
static void test_crash_points(void)
{
    for (int tear = 0; tear < 2; tear++) {
        for (int64_t n = 1;; n++) {
            struct place p;
            place_make(&p);
            p.fault.only_changes = true;
            p.fault.die = true;
            p.fault.tear = tear != 0;
            p.fault.fail_at = n;
            int64_t flushed = 0;
            int acknowledged = play(&p, &flushed);
            bool reached = p.fault.calls >= n;
            check_after(&p, acknowledged, flushed);
            place_remove(&p);
            if (!reached) {
                CU_ASSERT_EQUAL(acknowledged, 30);
                CU_ASSERT(n > 60);
                break;
            }
        }
    }
}

/* One operation fails, the process lives on: answers an error, and loses nothing either. */
static void test_each_operation_fails(void)
{
    for (int64_t n = 1;; n++) {
        struct place p;
        place_make(&p);
        p.fault.fail_at = n;
        int64_t flushed = 0;
        int acknowledged = play(&p, &flushed);
        bool reached = p.fault.calls >= n;
        check_after(&p, acknowledged, flushed);
        place_remove(&p);
        if (!reached) {
            CU_ASSERT_EQUAL(acknowledged, 30);
            break;
        }
    }
}

/* A crash in the middle of a recovery, at each of its steps. */
static void test_crash_in_recovery(void)
{
    for (int64_t n = 1;; n++) {
        struct place p;
        place_make(&p);
        struct how how = fresh();
        struct plog *log = must_open(&p, &how);
        for (int i = 0; i < 40; i++) {
            must_append(log, 2);
        }
        plog_abandon(log);
        size_t len = 0;
        uint8_t *data = slurp(&p, "t-0/00000000000000000048.log", &len);
        spit(&p, "t-0/00000000000000000048.log", data, len - 3);
        free(data);
        place_reboot(&p);
        p.fault.only_changes = true;
        p.fault.die = true;
        p.fault.fail_at = n;
        how = unclean(0);
        err e = try_open(&p, &how, &log);
        bool reached = p.fault.calls >= n;
        if (e == OK) {
            plog_abandon(log);
        }
        place_reboot(&p);
        log = must_open(&p, &how);
        CU_ASSERT_EQUAL(plog_end_offset(log), 70);
        CU_ASSERT_EQUAL(check_every_offset(log), 35);
        plog_abandon(log);
        place_remove(&p);
        if (!reached) {
            CU_ASSERT(n > 10); /* what comes out as it was is not written */
            break;
        }
    }
}

/* An fsync that failed is never tried again. */
static void test_failed_fsync(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    struct plog *log = must_open(&p, &how);
    must_append(log, 2);
    p.fault.only_syncs = true;
    p.fault.calls = 0;
    p.fault.fail_at = 1;
    CU_ASSERT_EQUAL(plog_flush(log), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT_TRUE(plog_is_offline(log));
    CU_ASSERT_EQUAL(plog_recovery_point(log), 0);
    int64_t calls = p.fault.calls;
    CU_ASSERT_EQUAL(plog_flush(log), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT_EQUAL(p.fault.calls, calls);
    CU_ASSERT_EQUAL(plog_close(log), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT_EQUAL(p.fault.calls, calls);
    place_remove(&p);
}

/* Leftovers of an interrupted compaction. */
static void test_swap_files(void)
{
    for (int cleaned = 0; cleaned < 2; cleaned++) {
        struct place p;
        place_make(&p);
        struct how how = fresh();
        struct plog *log = must_open(&p, &how);
        for (int i = 0; i < 40; i++) {
            must_append(log, 2);
        }
        plog_abandon(log);
        /* segments 0 and 24 were cleaned into one that keeps two batches */
        size_t len = 0;
        size_t len2 = 0;
        uint8_t *first = slurp(&p, "t-0/00000000000000000000.log", &len);
        uint8_t *second = slurp(&p, "t-0/00000000000000000024.log", &len2);
        struct batch batch;
        batch_parse(first, &batch);
        size_t one = (size_t)batch.size_bytes;
        size_t last = 0; /* the last batch of the second */
        for (size_t at = 0; at < len2; at += (size_t)batch.size_bytes) {
            batch_parse(second + at, &batch);
            last = at;
        }
        uint8_t swap[4096];
        memcpy(swap, first, one);
        memcpy(swap + one, second + last, len2 - last);
        spit(&p, "t-0/00000000000000000000.log.swap", swap, one + len2 - last);
        spit(&p, "t-0/00000000000000000000.index.swap", "", 0);
        spit(&p, "t-0/00000000000000000000.timeindex.swap", "", 0);
        spit(&p, "t-0/00000000000000000099.log.deleted", "x", 1);
        if (cleaned) {
            spit(&p, "t-0/00000000000000000000.log.cleaned", "x", 1);
        }
        free(first);
        free(second);
        place_reboot(&p);
        how = unclean(80);
        how.clean = true;
        log = must_open(&p, &how);
        CU_ASSERT_EQUAL(plog_end_offset(log), 80);
        CU_ASSERT_EQUAL(check_every_offset(log), cleaned ? 40 : 18);
        CU_ASSERT_EQUAL(exists(&p, "t-0/00000000000000000024.log"), cleaned);
        CU_ASSERT_FALSE(exists(&p, "t-0/00000000000000000000.log.swap"));
        CU_ASSERT_FALSE(exists(&p, "t-0/00000000000000000000.log.cleaned"));
        CU_ASSERT_FALSE(exists(&p, "t-0/00000000000000000099.log.deleted"));
        plog_abandon(log);
        place_remove(&p);
    }
}

/* Messages of format 1 in an old segment load, are read, and are indexed. */
static void test_legacy(void)
{
    struct place p;
    place_make(&p);
    static const uint8_t MESSAGE[] = {
        0,    0,    0,    0,    0,    0,    0,    0, /* offset */
        0,    0,    0,    24,                        /* size */
        0,    0,    0,    0,                         /* crc, below */
        1,    0,                                     /* magic, attributes */
        0,    0,    1,    0x8b, 0xcf, 0xe5, 0x68, 0, /* timestamp: T0 */
        0xff, 0xff, 0xff, 0xff,                      /* no key */
        0,    0,    0,    2,    'h',  'i'};
    uint8_t data[sizeof(MESSAGE) * 10];
    for (int i = 0; i < 10; i++) {
        uint8_t *at = data + (size_t)i * sizeof(MESSAGE);
        memcpy(at, MESSAGE, sizeof(MESSAGE));
        batch_set_base_offset(at, i * 2);
        uint32_t crc = 0xffffffff;
        for (size_t j = 16; j < sizeof(MESSAGE); j++) {
            crc ^= at[j];
            for (int k = 0; k < 8; k++) {
                crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
            }
        }
        store_u32(at + 12, ~crc);
    }
    char *dir = place_path(&p, "t-0");
    mkdir(dir, 0755);
    free(dir);
    spit(&p, "t-0/00000000000000000000.log", data, sizeof(data));
    struct how how = unclean(0);
    how.config.index_interval_bytes = 60;
    struct plog *log = must_open(&p, &how);
    CU_ASSERT_EQUAL(plog_end_offset(log), 19);
    for (int64_t offset = 0; offset < 19; offset++) {
        struct log_range range;
        MUST(plog_read(log, offset, 19, 1, true, &range));
        CU_ASSERT_EQUAL(range.base_offset, (offset + 1) / 2 * 2);
        CU_ASSERT_EQUAL(range.len, sizeof(MESSAGE));
        log_range_release(&range);
    }
    struct found_offset found;
    MUST(plog_offset_for_timestamp(log, T0_MS, INT64_MAX, &found));
    CU_ASSERT_EQUAL(found.offset, 0);
    must_append(log, 2);
    CU_ASSERT_EQUAL(plog_end_offset(log), 21);
    MUST(plog_close(log));
    place_remove(&p);
}

SUITE("recovery", TEST(test_torn_tail), TEST(test_uncovered_fields), TEST(test_bad_marker),
      TEST(test_cut_in_the_middle), TEST(test_damage), TEST(test_hole), TEST(test_missing_files),
      TEST(test_damaged_snapshot), TEST(test_damaged_and_stray_snapshots), TEST(test_crash_points),
      TEST(test_each_operation_fails), TEST(test_crash_in_recovery), TEST(test_failed_fsync),
      TEST(test_swap_files), TEST(test_legacy))
