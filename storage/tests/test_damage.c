/* A disk that fails a read, and files beside the log that are wrong: what is answered, and what the
 * log is afterwards. */
#define _GNU_SOURCE
#include "storage/index.h"
#include "storage/tests/util.h"

enum { APPENDS = 36, EPOCHS = 3 };

static struct how opened_clean(int64_t end)
{
    struct log_config config = small_config();
    config.retention_ms = 1;
    return (struct how){.config = config, .clean = true, .recovery_point = end};
}

static void append_in(struct plog *log, const struct batch_spec *spec, int32_t epoch)
{
    struct writer w;
    struct append_result result;
    writer_init(&w, 1 << 20);
    make_batch(&w, spec, plog_end_offset(log));
    MUST(plog_append(log, w.data, w.len, APPEND_CLIENT, epoch, &result));
    writer_deinit(&w);
}

static void marker_in(struct plog *log, int64_t producer_id, bool commit, int32_t epoch)
{
    struct writer w;
    struct append_result result;
    writer_init(&w, 1 << 20);
    make_marker(&w, producer_id, 0, commit, 0);
    MUST(plog_append(log, w.data, w.len, APPEND_COORDINATOR, epoch, &result));
    writer_deinit(&w);
}

/* A few segments of a few batches. Producers 7 and 8 have transactions that overlap, most of them
 * aborted; producer 9 is only idempotent; the leader epoch grows; timestamps go up and down, some of
 * them are equal. Returns the end offset. */
static int64_t make_log(struct place *p)
{
    struct how how = opened_clean(0);
    struct plog *log = must_open(p, &how);
    int32_t sequences[3] = {0};
    for (int i = 0; i < APPENDS; i++) {
        int32_t epoch = i / (APPENDS / EPOCHS) * 2;
        if (i % (APPENDS / EPOCHS) == 0) {
            MUST(plog_assign_epoch(log, epoch, plog_end_offset(log)));
        }
        struct batch_spec spec = {.count = 1 + i % 2, .timestamp = T0_MS + i / 2 * 10 - i % 3 * 3};
        int who = i % 4;
        if (who < 3) {
            spec.producer_id = 8 + who;
            spec.attributes = who < 2 ? BATCH_TRANSACTIONAL : 0;
            spec.sequence = sequences[who];
            sequences[who] += spec.count;
        }
        append_in(log, &spec, epoch);
        if (i % 6 == 5) {
            marker_in(log, 7, i == 17, epoch);
        }
        if (i % 9 == 8) {
            marker_in(log, 8, i == 26, epoch);
        }
    }
    marker_in(log, 7, false, (EPOCHS - 1) * 2);
    int64_t end = plog_end_offset(log);
    MUST(plog_close(log));
    return end;
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
    return plog_apply_retention(log, plog_end_offset(log), &deleted);
}

static err ask_append(struct plog *log)
{
    return append_spec(log, &(struct batch_spec){.count = 1}, NULL);
}

/* Every call that an operation makes fails in turn, in a log that was just opened. */
static void test_failing_reads(void)
{
    static err (*const ASK[])(struct plog *) = {
        ask_bytes, ask_time, ask_max_time, ask_before, ask_aborted, ask_retention, ask_append};
    for (size_t i = 0; i < sizeof(ASK) / sizeof(ASK[0]); i++) {
        int failed = 0;
        for (int64_t n = 1;; n++) {
            struct place p;
            place_make(&p);
            int64_t end = make_log(&p);
            place_reboot(&p);
            struct how how = opened_clean(end);
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
    int64_t end = make_log(&p);
    place_reboot(&p);
    struct how how = opened_clean(end);
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
    int64_t end = make_log(&p);
    size_t len = 0;
    uint8_t *data = slurp(&p, "t-0/00000000000000000000.log", &len);
    struct batch first;
    batch_parse(data, &first);
    memset(data + first.size_bytes, 0xff, BATCH_HEADER_BYTES); /* offsets 1 and 2 */
    spit(&p, "t-0/00000000000000000000.log", data, len);
    free(data);
    place_reboot(&p);
    struct how how = opened_clean(end);
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

/* ---- files beside the log ---- */

enum { ANSWERS_MAX = 4096 };

struct answers {
    int64_t values[ANSWERS_MAX];
    int count;
};

static void note(struct answers *a, int64_t value)
{
    CU_ASSERT_FATAL(a->count < ANSWERS_MAX);
    a->values[a->count++] = value;
}

static void ask_offsets(struct plog *log, struct answers *a)
{
    int64_t end = plog_end_offset(log);
    note(a, plog_start_offset(log));
    note(a, end);
    for (int64_t offset = 0; offset < end; offset++) {
        struct log_range range;
        MUST(plog_read(log, offset, end, 1, true, &range));
        note(a, range.base_offset);
        note(a, (int64_t)range.len);
        log_range_release(&range);
        MUST(plog_read(log, 0, offset, 1 << 20, true, &range));
        note(a, (int64_t)range.len);
        log_range_release(&range);
        note(a, plog_bytes_between(log, offset, end));
    }
}

static void ask_times(struct plog *log, struct answers *a)
{
    struct found_offset found;
    for (int64_t t = -8; t < APPENDS * 5 + 12; t += 2) {
        MUST(plog_offset_for_timestamp(log, T0_MS + t, INT64_MAX, &found));
        note(a, found.offset);
        note(a, found.timestamp);
    }
    MUST(plog_offset_for_max_timestamp(log, &found));
    note(a, found.offset);
    note(a, found.timestamp);
}

static void ask_txns(struct plog *log, struct answers *a)
{
    int64_t end = plog_end_offset(log);
    for (int64_t from = 0; from < end; from += 3) {
        for (int64_t to = from + 1; to <= end; to += 7) {
            struct arena arena;
            struct aborted_txn *txns = NULL;
            int32_t count = 0;
            int64_t sum = 0;
            arena_init(&arena, 1 << 20);
            MUST(plog_aborted_txns(log, from, to, &arena, &txns, &count));
            int32_t relevant = 0;
            for (int32_t i = 0; i < count; i++) {
                sum = sum * 31 + txns[i].producer_id * 1000 + txns[i].first_offset;
                relevant++;
            }
            note(a, relevant);
            note(a, sum);
            arena_deinit(&arena);
        }
    }
    note(a, plog_last_stable_offset(log, end));
}

static void ask_epochs(struct plog *log, struct answers *a)
{
    note(a, plog_latest_epoch(log));
    note(a, plog_latest_epoch_start(log));
    for (int64_t offset = 0; offset < plog_end_offset(log); offset++) {
        note(a, plog_epoch_of(log, offset));
    }
    for (int32_t epoch = 0; epoch < EPOCHS * 2 + 1; epoch++) {
        int32_t found = -2;
        int64_t end = -2;
        plog_end_offset_for_epoch(log, epoch, &found, &end);
        note(a, found);
        note(a, end);
    }
}

/* The next batch of each producer follows, an old one is a duplicate. */
static void ask_producers(struct plog *log, struct answers *a)
{
    struct arena arena;
    struct producer_info *infos = NULL;
    int32_t count = 0;
    int64_t sum = 0;
    arena_init(&arena, 1 << 20);
    MUST(plog_producers(log, &arena, &infos, &count));
    for (int32_t i = 0; i < count; i++) {
        sum += (infos[i].producer_id + 1) * (infos[i].last_sequence * 100 + infos[i].epoch) +
               infos[i].txn_start_offset + infos[i].coordinator_epoch;
    }
    note(a, count);
    note(a, sum);
    arena_deinit(&arena);
}

static void ask_all(struct place *p, int64_t end, struct answers *a)
{
    place_reboot(p);
    struct how how = opened_clean(end);
    struct plog *log = must_open(p, &how);
    a->count = 0;
    ask_epochs(log, a);
    ask_offsets(log, a);
    ask_times(log, a);
    ask_txns(log, a);
    ask_producers(log, a);
    CU_ASSERT_FALSE(plog_is_offline(log));
    plog_abandon(log);
}

struct saved_file {
    char name[96];
    uint8_t *data;
    size_t len;
};

enum { FILES_MAX = 64 };

static int save_files(const struct place *p, struct saved_file *files)
{
    struct name_list names;
    char *dir = place_path(p, "t-0");
    MUST(fs_list(fs_system(), dir, &names));
    CU_ASSERT_FATAL(names.count < FILES_MAX);
    for (size_t i = 0; i < names.count; i++) {
        snprintf(files[i].name, sizeof(files[i].name), "t-0/%s", names.names[i]);
        files[i].data = slurp(p, files[i].name, &files[i].len);
    }
    int count = (int)names.count;
    name_list_deinit(&names);
    free(dir);
    return count;
}

/* Reading makes epochs and snapshots again, nothing else. */
static void restore_files(const struct place *p, const struct saved_file *files, int count)
{
    for (int i = 0; i < count; i++) {
        if (strstr(files[i].name, "epoch") != NULL || strstr(files[i].name, ".snapshot") != NULL) {
            spit(p, files[i].name, files[i].data, files[i].len);
        }
    }
}

static bool is_same(const struct answers *a, const struct answers *b)
{
    return a->count == b->count &&
           memcmp(a->values, b->values, (size_t)a->count * sizeof(int64_t)) == 0;
}

/* A log, its files, and what it says while they are whole. */
struct whole {
    struct place place;
    struct saved_file files[FILES_MAX];
    int count;
    int64_t end;
    struct answers right;
};

static void whole_make(struct whole *w)
{
    place_make(&w->place);
    w->end = make_log(&w->place);
    w->count = save_files(&w->place, w->files);
    ask_all(&w->place, w->end, &w->right);
}

/* No damage done is no test. */
static void whole_end(struct whole *w, const char *suffix, int damages)
{
    CU_ASSERT(damages > 0);
    printf("%s: %d damages\n", suffix, damages);
    for (int i = 0; i < w->count; i++) {
        free(w->files[i].data);
    }
    place_remove(&w->place);
}

static bool says_the_same(struct whole *w)
{
    static struct answers now;
    ask_all(&w->place, w->end, &now);
    bool same = is_same(&now, &w->right);
    CU_ASSERT(same);
    return same;
}

static bool ends_with(const char *name, const char *suffix)
{
    const char *at = strstr(name, suffix);
    return at != NULL && strlen(at) == strlen(suffix);
}

/* Each byte of the file is wrong in turn, in a few ways; each time the log opens cleanly and says what
 * it said before. */
static void damage_file(const char *suffix)
{
    static const int XOR[] = {0x01, 0x16, 0xff};
    static struct whole w;
    whole_make(&w);
    int damages = 0;
    for (int i = 0; i < w.count; i++) {
        const struct saved_file *file = &w.files[i];
        if (!ends_with(file->name, suffix)) {
            continue;
        }
        for (size_t at = 0; at < file->len * sizeof(XOR) / sizeof(XOR[0]); at++, damages++) {
            uint8_t *byte = &file->data[at % file->len];
            int flip = XOR[at / file->len];
            *byte = (uint8_t)(*byte ^ flip);
            restore_files(&w.place, w.files, w.count);
            spit(&w.place, file->name, file->data, file->len);
            if (!says_the_same(&w)) {
                fprintf(stderr, "%s byte %zu xor %02x\n", file->name, at % file->len, flip);
            }
            *byte = (uint8_t)(*byte ^ flip);
            spit(&w.place, file->name, file->data, file->len);
        }
    }
    whole_end(&w, suffix, damages);
}

/* The file is gone, is half as long, or goes on with something else. */
static void reshape_file(const char *suffix)
{
    static const uint8_t GARBAGE[3][204] = {{0}, {0xff}, {0, 0, 0, 1, 0, 0, 0, 9}};
    static struct whole w;
    whole_make(&w);
    int damages = 0;
    for (int i = 0; i < w.count * 8; i++) {
        const struct saved_file *file = &w.files[i % w.count];
        int shape = i / w.count;
        bool is_txns = strcmp(suffix, ".txnindex") == 0;
        if (!ends_with(file->name, suffix) || (is_txns && shape == 0)) {
            continue; /* a transaction index that is gone cannot be missed */
        }
        damages++;
        uint8_t *bytes = malloc(file->len + sizeof(GARBAGE[0]));
        memcpy(bytes, file->data, file->len);
        size_t len = shape == 1   ? file->len / 2
                     : shape == 2 ? 0
                     : shape == 3 ? file->len - 1
                     : shape == 4 ? file->len + 1
                                  : file->len + sizeof(GARBAGE[0]);
        if (shape >= 4) {
            memcpy(bytes + file->len, GARBAGE[shape % 3], sizeof(GARBAGE[0]));
        }
        restore_files(&w.place, w.files, w.count);
        spit(&w.place, file->name, bytes, len);
        if (shape == 0) {
            char *path = place_path(&w.place, file->name);
            MUST(fs_unlink(fs_system(), path));
            free(path);
        }
        if (!says_the_same(&w)) {
            fprintf(stderr, "%s shape %d\n", file->name, shape);
        }
        for (int j = 0; j < w.count; j++) {
            spit(&w.place, w.files[j].name, w.files[j].data, w.files[j].len);
        }
        free(bytes);
    }
    whole_end(&w, suffix, damages);
}

static void test_reshaped(void)
{
    reshape_file(".index");
    reshape_file(".timeindex");
    reshape_file(".txnindex");
    reshape_file(".snapshot");
    reshape_file("leader-epoch-checkpoint");
}

static void test_damaged_offset_index(void)
{
    damage_file(".index");
}

static void test_damaged_time_index(void)
{
    damage_file(".timeindex");
}

static void test_damaged_txn_index(void)
{
    damage_file(".txnindex");
}

static void test_damaged_snapshot(void)
{
    damage_file(".snapshot");
}

static void test_damaged_epochs(void)
{
    damage_file("leader-epoch-checkpoint");
}

/* A record whose value looks like batches, and an index entry that leads there: a header without its
 * bytes, or a whole batch without a successor. */
static void test_entry_into_a_value(void)
{
    for (int whole = 0; whole < 2; whole++) {
        struct place p;
        place_make(&p);
        struct how how = opened_clean(0);
        how.config.segment_bytes = 100000;
        struct plog *log = must_open(&p, &how);
        struct writer value;
        writer_init(&value, 1 << 16);
        make_batch(&value, &(struct batch_spec){.count = 1}, 0);
        size_t first = value.len;
        make_batch(&value, &(struct batch_spec){.count = 1}, 1);
        batch_set_base_offset(value.data, 1);
        batch_set_base_offset(value.data + first, 2);
        value.data[first - 1] ^= (uint8_t)(whole ? 0 : 1); /* no longer its CRC */
        size_t used = whole ? first : value.len;
        struct writer w;
        struct batch_builder builder;
        struct append_result result;
        must_append(log, 1);
        writer_init(&w, 1 << 16);
        batch_begin(&builder, &w, 0);
        batch_add(&builder, T0_MS, bytes_of("k", 1), bytes_of(value.data, used));
        MUST(batch_end(&builder));
        MUST(plog_append(log, w.data, w.len, APPEND_CLIENT, 0, &result));
        for (int i = 0; i < 4; i++) {
            must_append(log, 2);
        }
        MUST(plog_close(log));
        size_t len = 0;
        uint8_t *data = slurp(&p, "t-0/00000000000000000000.log", &len);
        uint8_t *at = memmem(data, len, value.data, used);
        CU_ASSERT_PTR_NOT_NULL_FATAL(at);
        uint8_t entry[OFFSET_ENTRY_BYTES];
        store_u32(entry, 2);
        store_u32(entry + 4, (uint32_t)(at - data));
        spit(&p, "t-0/00000000000000000000.index", entry, sizeof(entry));
        free(data);
        writer_deinit(&w);
        writer_deinit(&value);
        place_reboot(&p);
        how.recovery_point = 10;
        log = must_open(&p, &how);
        CU_ASSERT_EQUAL(check_every_offset(log), 6);
        plog_abandon(log);
        place_remove(&p);
    }
}

/* Three batches and an index whose head is wrong: everything is there from the first read on, and the
 * retention pass makes the index again. */
static void test_index_is_mended(void)
{
    struct place p;
    place_make(&p);
    struct how how = opened_clean(0);
    how.config.segment_bytes = 100000;
    how.config.retention_ms = -1;
    struct plog *log = must_open(&p, &how);
    for (int i = 0; i < 3; i++) {
        MUST(append_spec(log, &(struct batch_spec){.count = 2, .value_bytes = 200}, NULL));
    }
    MUST(plog_close(log));
    size_t len = 0;
    uint8_t *whole = slurp(&p, "t-0/00000000000000000000.index", &len);
    CU_ASSERT_FATAL(len >= OFFSET_ENTRY_BYTES);
    uint8_t *bad = malloc(len);
    memcpy(bad, whole, len);
    memset(bad, 0xff, OFFSET_ENTRY_BYTES);
    spit(&p, "t-0/00000000000000000000.index", bad, len);
    place_reboot(&p);
    how.recovery_point = 6;
    log = must_open(&p, &how);
    CU_ASSERT_EQUAL(check_every_offset(log), 3);
    int deleted = 0;
    MUST(plog_apply_retention(log, 0, &deleted));
    CU_ASSERT_EQUAL(check_every_offset(log), 3);
    must_append(log, 2);
    MUST(plog_close(log));
    free(bad);
    bad = slurp(&p, "t-0/00000000000000000000.index", &len);
    CU_ASSERT_FATAL(len >= OFFSET_ENTRY_BYTES);
    CU_ASSERT_EQUAL(memcmp(bad, whole, OFFSET_ENTRY_BYTES), 0);
    free(bad);
    free(whole);
    place_remove(&p);
}

SUITE("damage", TEST(test_reshaped), TEST(test_index_is_mended), TEST(test_entry_into_a_value),
      TEST(test_failing_reads), TEST(test_failing_read_after_close), TEST(test_corrupt_batch),
      TEST(test_damaged_offset_index), TEST(test_damaged_time_index), TEST(test_damaged_txn_index),
      TEST(test_damaged_snapshot), TEST(test_damaged_epochs))
