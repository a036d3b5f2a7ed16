/* A disk of a limited size: what an append, a roll and a marker take back, what the reserve is given for and what not,
 * when a directory is full and when it is not any more. Each with ENOSPC and with EDQUOT. */
#include "util.h"

#include "storage/logs_internal.h"
#include "storage/plog_internal.h"

enum { WHOLE = 16 << 20 }; /* of the reserve, on a disk of 1 GiB and more */

static struct log_config config_of(void *context, struct str topic)
{
    (void)context;
    (void)topic;
    return small_config();
}

struct world {
    struct place p;
    char dir[96];
    struct logs *logs;
    int told_full;
};

static void on_full(void *context)
{
    struct world *w = context;
    w->told_full++;
}

static err try_start(struct world *w, char reason[LOGS_REASON_BYTES])
{
    char *dirs[] = {w->dir};
    struct logs_identity identity;
    struct logs_open how = {.dirs = dirs,
                            .dirs_n = 1,
                            .broker_id = -1,
                            .config_of = config_of,
                            .dir_full = on_full,
                            .failed_context = w};
    TRY(logs_lock(&w->p.env, &how, &w->logs, &identity, reason));
    return logs_load(w->logs, 1, "cluster", reason);
}

static void start(struct world *w)
{
    char reason[LOGS_REASON_BYTES] = "";
    MUST(try_start(w, reason));
}

static void make(struct world *w)
{
    place_make(&w->p);
    snprintf(w->dir, sizeof(w->dir), "%s/a", w->p.dir);
    w->told_full = 0;
    start(w);
}

static void end(struct world *w)
{
    logs_close(w->logs);
    place_remove(&w->p);
}

static struct plog *create(struct world *w, int32_t partition)
{
    struct plog *log = NULL;
    struct log_config config = small_config();
    MUST(logs_create(w->logs, (struct topic_partition){.topic = STR("t"), .partition = partition},
                     (struct uuid){{7, 7}}, &config, &log));
    return log;
}

static void limit(struct world *w, int64_t free_bytes, int error)
{
    w->p.fault.limited = true;
    w->p.fault.free_bytes = free_bytes;
    w->p.fault.full_error = error;
    w->p.fault.refusals = 0;
}

static int64_t reserve_bytes(const struct world *w)
{
    char *path = xasprintf("%s/.ottla-reserve", w->dir);
    int64_t size = 0;
    err e = fs_path_size(fs_system(), path, &size);
    free(path);
    return e == OK ? size : 0;
}

/* Names and sizes of a log's files, and a sum of their bytes. */
static char *picture(const struct plog *log)
{
    struct name_list names;
    char *text = xstrdup("");
    MUST(fs_list(fs_system(), plog_dir(log), &names));
    for (size_t i = 0; i < names.count; i++) {
        char *path = xasprintf("%s/%s", plog_dir(log), names.names[i]);
        char *data = NULL;
        size_t len = 0;
        uint64_t sum = 0;
        MUST(fs_read_all(fs_system(), path, 1 << 24, &data, &len));
        for (size_t at = 0; at < len; at++) {
            sum = sum * 31 + (uint8_t)data[at];
        }
        char *more =
            xasprintf("%s%s %zu %llx\n", text, names.names[i], len, (unsigned long long)sum);
        free(text);
        text = more;
        free(data);
        free(path);
    }
    name_list_deinit(&names);
    return text;
}

static err append_as(struct plog *log, int count, enum append_origin origin)
{
    struct writer w;
    struct append_result result;
    writer_init(&w, 1 << 24);
    make_batch(&w, &(struct batch_spec){.count = count}, plog_end_offset(log));
    batch_set_base_offset(w.data, plog_end_offset(log));
    err e = plog_append(log, w.data, w.len, origin, 0, &result);
    writer_deinit(&w);
    return e;
}

static int64_t batch_bytes(struct plog *log)
{
    struct writer w;
    writer_init(&w, 1 << 20);
    size_t len = make_batch(&w, &(struct batch_spec){.count = 1}, plog_end_offset(log));
    writer_deinit(&w);
    return (int64_t)len;
}

/* Each byte at which an append may run out: it leaves nothing behind, and the same one goes through later. */
static void test_append_taken_back(void)
{
    static const int errors[] = {ENOSPC, EDQUOT};
    int64_t refused = 0;
    for (size_t i = 0; i < 2; i++) {
        struct place p;
        struct how how = {.config = small_config(), .clean = true};
        place_make(&p);
        struct plog *log = must_open(&p, &how);
        must_append(log, 2);
        char *before = picture(log);
        p.fault.limited = true;
        p.fault.full_error = errors[i];
        for (int64_t free_bytes = 0; free_bytes < 80; free_bytes++) {
            p.fault.free_bytes = free_bytes;
            CU_ASSERT_EQUAL(append_as(log, 2, APPEND_CLIENT), ERR_KAFKA_STORAGE_ERROR);
            char *after = picture(log);
            CU_ASSERT_STRING_EQUAL(before, after);
            CU_ASSERT_EQUAL(p.fault.free_bytes, free_bytes);
            free(after);
            refused++;
        }
        CU_ASSERT_FALSE(plog_is_offline(log));
        CU_ASSERT_EQUAL(plog_end_offset(log), 2);
        p.fault.limited = false;
        MUST(append_as(log, 2, APPEND_CLIENT));
        CU_ASSERT_EQUAL(plog_end_offset(log), 4);
        MUST(plog_close(log));
        free(before);
        place_remove(&p);
    }
    printf("\n  appends taken back: %lld\n", (long long)refused);
    CU_ASSERT(refused >= 160);
}

/* What cannot be taken back is final, as is a sync. */
static void test_final(void)
{
    struct place p;
    struct how how = {.config = small_config(), .clean = true};
    place_make(&p);
    struct plog *log = must_open(&p, &how);
    must_append(log, 2);
    p.fault.limited = p.fault.cuts_refused = true;
    p.fault.free_bytes = 10;
    CU_ASSERT_EQUAL(append_as(log, 2, APPEND_CLIENT), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT_TRUE(plog_is_offline(log));
    plog_abandon(log);
    place_reboot(&p);
    how.clean = false;
    log = must_open(&p, &how);
    CU_ASSERT_EQUAL(plog_end_offset(log), 2);
    p.fault.only_syncs = true;
    p.fault.error = ENOSPC;
    p.fault.calls = 0;
    p.fault.fail_at = 1;
    must_append(log, 2);
    CU_ASSERT_EQUAL(plog_flush(log), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT_TRUE(plog_is_offline(log));
    plog_abandon(log);
    place_remove(&p);
}

/* A roll that fails at its n-th change: no name is left of the new segment, and it is done later. */
static void test_roll_taken_back(void)
{
    static const int errors[] = {ENOSPC, EDQUOT};
    int64_t refused = 0;
    for (size_t i = 0; i < 2; i++) {
        struct place p;
        struct how how = {.config = small_config(), .clean = true};
        place_make(&p);
        struct plog *log = must_open(&p, &how);
        for (int j = 0; j < 5; j++) {
            must_append(log, 2);
        }
        p.fault.only_changes = true;
        p.fault.error = errors[i];
        for (int at = 1;; at++) {
            p.fault.calls = 0;
            p.fault.fail_at = at;
            err e = plog_roll(log);
            if (e == OK) {
                break;
            }
            refused++;
            CU_ASSERT_EQUAL(e, ERR_KAFKA_STORAGE_ERROR);
            CU_ASSERT_FALSE_FATAL(plog_is_offline(log));
            CU_ASSERT_EQUAL(log->segments_n, 1);
            char *files = picture(log);
            CU_ASSERT_PTR_NULL(strstr(files, "00000000000000000010.log"));
            CU_ASSERT_PTR_NULL(strstr(files, "00000000000000000010.index"));
            free(files);
            p.fault.fail_at = 0;
            must_append(log, 1); /* it goes on where it was */
            MUST(plog_truncate(log, 10));
        }
        p.fault.fail_at = 0;
        CU_ASSERT_EQUAL(log->segments_n, 2);
        must_append(log, 2);
        plog_abandon(log);
        place_reboot(&p);
        how.clean = false;
        log = must_open(&p, &how);
        CU_ASSERT_EQUAL(plog_end_offset(log), 12);
        MUST(plog_close(log));
        place_remove(&p);
    }
    printf("\n  rolls taken back: %lld\n", (long long)refused);
    CU_ASSERT(refused >= 8);
}

static struct batch_spec transactional(int64_t producer, int32_t sequence)
{
    return (struct batch_spec){.count = 1,
                               .producer_id = producer + 1,
                               .sequence = sequence,
                               .attributes = BATCH_TRANSACTIONAL};
}

static int32_t aborted(struct plog *log)
{
    struct arena arena;
    struct aborted_txn *txns = NULL;
    int32_t count = 0;
    arena_init(&arena, 1 << 20);
    MUST(plog_aborted_txns(log, 0, plog_end_offset(log), &arena, &txns, &count));
    arena_deinit(&arena);
    return count;
}

/* A marker that aborts is there with its index entry, or not at all. */
static void test_marker_taken_back(void)
{
    struct place p;
    struct how how = {.config = small_config(), .clean = true};
    place_make(&p);
    how.config.verify_transactions = false;
    struct plog *log = must_open(&p, &how);
    struct batch_spec spec = transactional(5, 0);
    MUST(append_spec(log, &spec, NULL));
    p.fault.limited = true;
    int refused = 0;
    err e;
    for (int64_t free_bytes = 0;; free_bytes++, refused++) {
        p.fault.free_bytes = free_bytes;
        e = append_marker(log, 5, 0, false, 0);
        if (e == OK) {
            break;
        }
        CU_ASSERT_EQUAL(e, ERR_KAFKA_STORAGE_ERROR);
        CU_ASSERT_EQUAL(p.fault.free_bytes, free_bytes);
        CU_ASSERT_EQUAL(plog_open_txns(log), 1);
        CU_ASSERT_EQUAL(aborted(log), 0);
    }
    printf("\n  markers taken back: %d\n", refused);
    CU_ASSERT(refused > 100);
    CU_ASSERT_EQUAL(plog_open_txns(log), 0);
    CU_ASSERT_EQUAL(aborted(log), 1);
    p.fault.limited = false;
    MUST(append_marker(log, 5, 0, false,
                       0)); /* nothing is open: no entry, and no room kept for one */
    CU_ASSERT_EQUAL(aborted(log), 1);
    char *path = xasprintf("%s/00000000000000000000.txnindex", plog_dir(log));
    int64_t size = 0;
    MUST(fs_path_size(fs_system(), path, &size));
    CU_ASSERT_EQUAL(size, TXN_ENTRY_BYTES);
    free(path);
    MUST(plog_close(log));
    place_remove(&p);
}

/* Index entries wait in memory: nothing is lost to a reader, and they are written when there is room. */
static void test_index_waits(void)
{
    enum { BATCHES = 3000 };
    struct place p;
    struct how how = {.config = small_config(), .clean = true};
    place_make(&p);
    how.config.segment_bytes = 1 << 24;
    how.config.index_interval_bytes = 1;
    struct plog *log = must_open(&p, &how);
    must_append(log, 1);
    int64_t waited = 0;
    for (int i = 0; i < BATCHES; i++) {
        p.fault.limited = true;
        p.fault.free_bytes = batch_bytes(log); /* for nothing else */
        MUST(append_as(log, 1, APPEND_COORDINATOR));
        p.fault.limited = false;
        waited = log_active(log)->offsets.tail_n;
    }
    CU_ASSERT(waited > BATCHES / 2);
    CU_ASSERT_EQUAL(log_active(log)->offsets.file_n, 0);
    for (int64_t offset = 0; offset < plog_end_offset(log); offset += 97) {
        struct log_range range;
        MUST(plog_read(log, offset, plog_end_offset(log), 1, true, &range));
        CU_ASSERT_EQUAL(range.base_offset, offset);
        log_range_release(&range);
    }
    MUST(append_as(log, 1, APPEND_COORDINATOR));
    MUST(append_as(log, 1, APPEND_COORDINATOR));
    CU_ASSERT(log_active(log)->offsets.file_n > BATCHES / 2);
    MUST(plog_close(log));
    printf("\n  index entries that waited: %lld\n", (long long)waited);
    place_remove(&p);
}

/* A follower's batch of `count` records at `offset`. */
static err replicate(struct plog *log, int64_t offset, int count)
{
    struct writer w;
    struct append_result result;
    writer_init(&w, 1 << 20);
    make_batch(&w, &(struct batch_spec){.count = count}, offset);
    batch_set_base_offset(w.data, offset);
    err e = plog_append(log, w.data, w.len, APPEND_REPLICATION, 0, &result);
    writer_deinit(&w);
    return e;
}

/* Under names that count. */
static bool has_files_of(const struct plog *log, int64_t base)
{
    static const char *const SUFFIXES[] = {"log", "index", "timeindex", "txnindex", "snapshot"};
    char *files = picture(log);
    bool found = false;
    for (size_t i = 0; i < sizeof(SUFFIXES) / sizeof(SUFFIXES[0]); i++) {
        char name[64];
        snprintf(name, sizeof(name), "%020lld.%s ", (long long)base, SUFFIXES[i]);
        found |= strstr(files, name) != NULL;
    }
    free(files);
    return found;
}

/* A follower of a compacted log rolls over a gap, and each byte may be the one for which there is no room: nothing is
 * left of the new segment, and a batch within the gap is taken as if nothing had been. */
static void test_roll_over_a_gap_taken_back(void)
{
    static const int errors[] = {ENOSPC, EDQUOT};
    int refused = 0;
    int rolled = 0;
    for (size_t i = 0; i < 2; i++) {
        struct place p;
        struct how how = {.config = small_config(), .clean = true};
        place_make(&p);
        struct plog *log = must_open(&p, &how);
        while (plog_size_bytes(log) + batch_bytes(log) <= 1000) {
            must_append(log, 1);
        }
        int64_t end = plog_end_offset(log);
        int64_t base = end + 100;
        for (int64_t free_bytes = 0;; free_bytes++) {
            uint32_t cuts = atomic_load(&log->cuts);
            p.fault.limited = true;
            p.fault.full_error = errors[i];
            p.fault.free_bytes = free_bytes;
            if (replicate(log, base, 1) == OK) {
                break;
            }
            refused++;
            rolled += atomic_load(&log->cuts) != cuts ? 1 : 0;
            CU_ASSERT_FALSE_FATAL(plog_is_offline(log));
            CU_ASSERT_EQUAL_FATAL(plog_end_offset(log), end);
            CU_ASSERT_EQUAL_FATAL(log_active(log)->base_offset, 0);
            CU_ASSERT(log->snapshot_offset <= end && log->producers.end_offset == end);
            CU_ASSERT_FALSE(has_files_of(log, base));
        }
        p.fault.limited = false;
        MUST(plog_truncate(log, end));
        p.fault.limited = true;
        p.fault.free_bytes = 70; /* for what a roll writes, and not for the batch */
        CU_ASSERT_EQUAL(replicate(log, base, 1), ERR_KAFKA_STORAGE_ERROR);
        p.fault.limited = false;
        MUST(replicate(log, end, 1));
        CU_ASSERT_EQUAL(plog_end_offset(log), end + 1);
        CU_ASSERT_EQUAL(check_every_offset(log), end + 1);
        MUST(plog_close(log));
        place_reboot(&p);
        how.recovery_point = INT64_MAX;
        log = must_open(&p, &how);
        CU_ASSERT_EQUAL(plog_end_offset(log), end + 1);
        MUST(plog_close(log));
        place_remove(&p);
    }
    printf("\n  rolls over a gap taken back: %d, of those with a segment: %d\n", refused, rolled);
    CU_ASSERT(rolled > 100);
}

/* The same where nothing is to be appended behind the gap. */
static void test_skip_taken_back(void)
{
    struct place p;
    struct how how = {.config = small_config(), .clean = true};
    int refused = 0;
    place_make(&p);
    struct plog *log = must_open(&p, &how);
    must_append(log, 2);
    p.fault.only_changes = true;
    p.fault.error = ENOSPC;
    for (p.fault.fail_at = 1;; p.fault.fail_at++) {
        p.fault.calls = 0;
        if (plog_skip_to(log, 100) == OK) {
            break;
        }
        refused++;
        CU_ASSERT_FALSE_FATAL(plog_is_offline(log));
        CU_ASSERT_EQUAL(plog_end_offset(log), 2);
        CU_ASSERT_EQUAL(log->segments_n, 1);
        CU_ASSERT(log->snapshot_offset <= 2 && log->producers.end_offset == 2);
        CU_ASSERT_FALSE(has_files_of(log, 100));
    }
    CU_ASSERT(refused >= 4);
    p.fault.fail_at = 0;
    CU_ASSERT_EQUAL(plog_end_offset(log), 100);
    MUST(plog_close(log));
    place_remove(&p);
}

/* An empty follower begins anew where its leader's batch does; without room for that batch it stays where it was. */
static void test_no_room_to_begin_anew(void)
{
    struct world w;
    make(&w);
    struct plog *log = create(&w, 0);
    MUST(append_as(log, 1, APPEND_CLIENT));
    CU_ASSERT_FALSE(logs_look_for_room(w.logs));
    MUST(plog_truncate_fully_and_start_at(log, 5));
    for (int64_t free_bytes = 10; free_bytes >= 0; free_bytes -= 10) {
        limit(&w, free_bytes, 0);
        CU_ASSERT_EQUAL(replicate(log, 3, 4), ERR_KAFKA_STORAGE_ERROR);
        CU_ASSERT_FALSE(plog_is_offline(log));
        CU_ASSERT_EQUAL(plog_start_offset(log), 5);
        CU_ASSERT_EQUAL(plog_end_offset(log), 5);
    }
    uint32_t truncations = atomic_load(&log->truncations);
    CU_ASSERT_EQUAL(replicate(log, 3, 4), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT_EQUAL(atomic_load(&log->truncations), truncations); /* it is full: not tried */
    w.p.fault.limited = false;
    CU_ASSERT_FALSE(logs_look_for_room(w.logs));
    MUST(replicate(log, 3, 4));
    CU_ASSERT_EQUAL(plog_end_offset(log), 7);
    end(&w);
}

/* The reserve is there for what describes records, a part of it for coordinators, nothing for clients. */
static void test_reserve(void)
{
    static const int errors[] = {ENOSPC, EDQUOT};
    for (size_t i = 0; i < 2; i++) {
        struct world w;
        make(&w);
        struct plog *log = create(&w, 0);
        MUST(append_as(log, 1, APPEND_CLIENT));
        CU_ASSERT_FALSE(logs_look_for_room(w.logs));
        CU_ASSERT_EQUAL(reserve_bytes(&w), WHOLE);
        limit(&w, 10, errors[i]);
        CU_ASSERT_EQUAL(append_as(log, 1, APPEND_CLIENT), ERR_KAFKA_STORAGE_ERROR);
        CU_ASSERT_EQUAL(w.told_full, 1);
        CU_ASSERT_EQUAL(reserve_bytes(&w), WHOLE);
        int64_t refusals = w.p.fault.refusals;
        CU_ASSERT_EQUAL(append_as(log, 1, APPEND_CLIENT), ERR_KAFKA_STORAGE_ERROR);
        CU_ASSERT_EQUAL(append_as(log, 1, APPEND_REPLICATION), ERR_KAFKA_STORAGE_ERROR);
        CU_ASSERT_EQUAL(w.p.fault.refusals, refusals); /* they were not tried */
        MUST(logs_write_recovery_points(w.logs));
        CU_ASSERT_EQUAL(reserve_bytes(&w), WHOLE / 16 * 15);
        while (append_as(log, 1, APPEND_COORDINATOR) == OK) {
            w.p.fault.free_bytes = 0; /* somebody else eats it */
        }
        CU_ASSERT_EQUAL(reserve_bytes(&w), WHOLE / 16 * 4);
        CU_ASSERT_FALSE(plog_is_offline(log));
        MUST(logs_write_recovery_points(w.logs));
        CU_ASSERT_EQUAL(reserve_bytes(&w), WHOLE / 16 * 3);
        for (int n = 3; n > 0; n--) {
            CU_ASSERT_TRUE(logs_make_room(w.logs));
        }
        CU_ASSERT_FALSE(logs_make_room(w.logs));
        w.p.fault.free_bytes = 0;
        CU_ASSERT_EQUAL(logs_write_recovery_points(w.logs), err_from_errno(errors[i]));
        CU_ASSERT_EQUAL(append_as(log, 1, APPEND_CLIENT), ERR_KAFKA_STORAGE_ERROR);
        CU_ASSERT_EQUAL(w.told_full, 1);
        w.p.fault.limited = false;
        end(&w);
    }
}

/* Full until the reserve is whole and as much again is free, and not a byte earlier. */
static void test_room_returns(void)
{
    struct world w;
    make(&w);
    struct plog *log = create(&w, 0);
    MUST(append_as(log, 1, APPEND_CLIENT));
    CU_ASSERT_FALSE(logs_look_for_room(w.logs));
    limit(&w, 0, 0);
    CU_ASSERT_EQUAL(append_as(log, 1, APPEND_CLIENT), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT_TRUE(logs_make_room(w.logs));
    w.p.fault.free_bytes = WHOLE / 16 + WHOLE - 1;
    CU_ASSERT_TRUE(logs_look_for_room(w.logs));
    CU_ASSERT_EQUAL(append_as(log, 1, APPEND_CLIENT), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT_EQUAL(reserve_bytes(&w), WHOLE / 16 * 15);
    w.p.fault.free_bytes++;
    CU_ASSERT_FALSE(logs_look_for_room(w.logs));
    CU_ASSERT_EQUAL(reserve_bytes(&w), WHOLE);
    CU_ASSERT_EQUAL(w.p.fault.free_bytes, WHOLE);
    MUST(append_as(log, 1, APPEND_CLIENT));
    w.p.fault.free_bytes = 0;
    CU_ASSERT_EQUAL(append_as(log, 1, APPEND_CLIENT), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT_EQUAL(w.told_full, 2);
    w.p.fault.limited = false;
    CU_ASSERT_FALSE(logs_look_for_room(w.logs));
    MUST(append_as(log, 1, APPEND_CLIENT));
    end(&w);
}

/* What is deleted while the directory is full gives its room at once: segments, logs, and those that waited. */
static void test_deletion_gives_room(void)
{
    struct world w;
    make(&w);
    struct plog *log = create(&w, 0);
    struct plog *other = create(&w, 1);
    struct topic_partition first = {.topic = STR("t"), .partition = 0};
    for (int i = 0; i < 40; i++) {
        MUST(append_as(log, 2, APPEND_CLIENT));
        MUST(append_as(other, 2, APPEND_CLIENT));
    }
    int deleted = 0;
    int64_t half = plog_end_offset(other) / 2;
    MUST(plog_advance_start(other, half));
    MUST(plog_apply_retention(other, half, &deleted));
    CU_ASSERT(deleted > 0);
    CU_ASSERT(plog_remove_deleted(other) > 0); /* they wait */
    limit(&w, 0, 0);
    CU_ASSERT_EQUAL(append_as(other, 1, APPEND_CLIENT), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT_EQUAL(plog_remove_deleted(other), -1);
    int64_t freed = w.p.fault.free_bytes;
    CU_ASSERT(freed > 1000);
    MUST(plog_advance_start(other, plog_end_offset(other)));
    MUST(plog_apply_retention(other, plog_end_offset(other), &deleted));
    CU_ASSERT_EQUAL(plog_size_bytes(other), 0); /* also the active one went */
    CU_ASSERT(w.p.fault.free_bytes > freed + 1000);
    freed = w.p.fault.free_bytes;
    MUST(logs_delete(w.logs, first));
    CU_ASSERT_EQUAL(logs_remove_deleted(w.logs), -1);
    CU_ASSERT_FALSE(plog_is_offline(other));
    w.p.fault.limited = false;
    end(&w);
}

/* Killed and stopped on a full disk with nothing in reserve: all that was acknowledged is there, and can be read. */
static void test_starts_full(void)
{
    int64_t records = 0;
    for (int clean = 0; clean < 2; clean++) {
        struct world w;
        char reason[LOGS_REASON_BYTES] = "";
        make(&w);
        struct plog *log = create(&w, 0);
        limit(&w, 5000, 0);
        while (append_as(log, 2, APPEND_CLIENT) == OK) {
        }
        int64_t end_offset = plog_end_offset(log);
        CU_ASSERT(end_offset > 40);
        w.p.fault.free_bytes = 0;
        if (clean) {
            logs_close(w.logs);
        } else {
            logs_abandon(w.logs);
        }
        place_reboot(&w.p);
        limit(&w, 0, 0);
        MUST(try_start(&w, reason));
        log = logs_get(w.logs, (struct topic_partition){.topic = STR("t"), .partition = 0});
        CU_ASSERT_PTR_NOT_NULL_FATAL(log);
        CU_ASSERT_EQUAL(plog_end_offset(log), end_offset);
        for (int64_t offset = 0; offset < end_offset; offset += 2, records += 2) {
            struct log_range range;
            MUST(plog_read(log, offset, end_offset, 1, true, &range));
            CU_ASSERT_EQUAL(range.base_offset, offset);
            log_range_release(&range);
        }
        w.p.fault.limited = false;
        CU_ASSERT_FALSE(logs_look_for_room(w.logs));
        MUST(append_as(log, 2, APPEND_CLIENT));
        end(&w);
    }
    printf("\n  records read after a start on a full disk: %lld\n", (long long)records);
}

SUITE("room", TEST(test_append_taken_back), TEST(test_final), TEST(test_roll_taken_back),
      TEST(test_marker_taken_back), TEST(test_index_waits), TEST(test_roll_over_a_gap_taken_back),
      TEST(test_skip_taken_back), TEST(test_no_room_to_begin_anew), TEST(test_reserve),
      TEST(test_room_returns), TEST(test_deletion_gives_room), TEST(test_starts_full))
