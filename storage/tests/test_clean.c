/* Compaction against a model: random writes by a seed (keys, tombstones, codecs, sequences, transactions, time that
 * passes), cleaned again and again; after each clean the log is what a naive model of the rules leaves, batch by batch
 * and record by record, also when it is opened again. Then its faults: every file operation of a clean ends the process,
 * or fails; damage; a map that is too small; no room. */
#include "util.h"

#include "storage/clean.h"
#include "storage/clean_map.h"
#include "storage/names.h"
#include "storage/plog_internal.h"

enum { KEYS = 12, PRODUCERS = 5, TXN_PRODUCERS = 3, RECORDS_MAX = 6, BATCHES_MAX = 4000 };
enum { RETENTION_MS = 50000 };

/* ---- the model ---- */

struct model_record {
    bool is_left;
    int key; /* -1: none */
    bool is_tombstone;
    int64_t timestamp;
    int value;
};

enum outcome { OUTCOME_NONE, OUTCOME_OPEN, OUTCOME_COMMITTED, OUTCOME_ABORTED };

struct model_batch {
    bool is_there; /* if only its header */
    int64_t base_offset;
    int64_t last_offset;
    int producer; /* -1: none */
    bool is_transactional;
    bool is_marker;
    int txn; /* of the producer: counts */
    enum outcome outcome;
    int64_t horizon_ms; /* -1: none */
    int count;
    struct model_record records[RECORDS_MAX];
};

struct model {
    struct model_batch *batches;
    int batches_n;
    int value;
    int32_t sequences[PRODUCERS];
    int64_t last_data[PRODUCERS]; /* last offset of the last data batch */
    bool is_open[PRODUCERS];
    int txns[PRODUCERS];
};

static void model_init(struct model *m)
{
    *m = (struct model){.batches = xcalloc(BATCHES_MAX, sizeof(*m->batches))};
    for (int i = 0; i < PRODUCERS; i++) {
        m->last_data[i] = -1;
    }
}

static bool model_is_aborted(const struct model_batch *b)
{
    return b->is_transactional && b->outcome == OUTCOME_ABORTED;
}

/* The last offset of a key in what is dirty. */
static int64_t model_last(const struct model *m, int key, int64_t from, int64_t end)
{
    int64_t last = -1;
    for (int i = 0; i < m->batches_n; i++) {
        const struct model_batch *b = &m->batches[i];
        for (int r = 0; b->is_there && !b->is_marker && !model_is_aborted(b) && r < b->count; r++) {
            int64_t offset = b->base_offset + r;
            if (b->records[r].is_left && b->records[r].key == key && offset >= from &&
                offset < end) {
                last = offset;
            }
        }
    }
    return last;
}

/* Is there, before this pass, a batch of the transaction that the marker ends? */
static bool model_has_data(const struct model *before, const struct model_batch *marker)
{
    for (int i = 0; i < before->batches_n; i++) {
        const struct model_batch *b = &before->batches[i];
        if (b->is_there && !b->is_marker && b->is_transactional &&
            b->producer == marker->producer && b->txn == marker->txn) {
            return true;
        }
    }
    return false;
}

static void model_empty(const struct model *m, struct model_batch *b)
{
    for (int r = 0; r < b->count; r++) {
        b->records[r].is_left = false;
    }
    b->horizon_ms = -1; /* a header alone bears none */
    b->is_there = b->producer >= 0 && !b->is_marker && m->last_data[b->producer] == b->last_offset;
}

static void model_clean_data(const struct model *m, struct model_batch *b, const int64_t *last,
                             int64_t now_ms)
{
    int left = 0;
    bool has_tombstones = false;
    for (int r = 0; r < b->count; r++) {
        struct model_record *record = &b->records[r];
        bool expired = record->is_tombstone && b->horizon_ms >= 0 && now_ms >= b->horizon_ms;
        record->is_left = record->is_left && record->key >= 0 &&
                          b->base_offset + r >= last[record->key] && !expired;
        left += record->is_left ? 1 : 0;
        has_tombstones |= record->is_left && record->is_tombstone;
    }
    if (left == 0 || model_is_aborted(b)) {
        model_empty(m, b);
    } else if (has_tombstones && b->horizon_ms < 0) {
        b->horizon_ms = now_ms + RETENTION_MS;
    }
}

static void model_clean(struct model *m, int64_t from, int64_t end, int64_t now_ms)
{
    int64_t last[KEYS];
    struct model before = *m;
    before.batches = xcalloc(BATCHES_MAX, sizeof(*m->batches));
    memcpy(before.batches, m->batches, BATCHES_MAX * sizeof(*m->batches));
    for (int key = 0; key < KEYS; key++) {
        last[key] = model_last(m, key, from, end);
    }
    for (int i = 0; i < m->batches_n && m->batches[i].base_offset < end; i++) {
        struct model_batch *b = &m->batches[i];
        if (!b->is_there) {
            continue;
        }
        if (!b->is_marker) {
            model_clean_data(m, b, last, now_ms);
        } else if (!model_has_data(&before, b)) {
            b->is_there = b->horizon_ms < 0 || now_ms < b->horizon_ms;
            b->horizon_ms = b->horizon_ms < 0 ? now_ms + RETENTION_MS : b->horizon_ms;
        }
    }
    free(before.batches);
}

/* ---- writing ---- */

struct world {
    struct place p;
    struct plog *log;
    struct how how;
    struct model model;
    struct seeded_random random;
    struct {
        int cleans, batches, records, transactions, aborted, compressed, opened, merged;
    } seen;
};

static uint64_t below(struct world *w, uint64_t n)
{
    return random_below(&w->random.random, (uint32_t)n);
}

static struct model_record random_record(struct world *w)
{
    return (struct model_record){
        .is_left = true,
        .key = below(w, 40) == 0 ? -1 : (int)below(w, KEYS),
        .is_tombstone = below(w, 6) == 0,
        .timestamp = w->p.clock.now_ms - (int64_t)below(w, 3000),
        .value = w->model.value++,
    };
}

static void build(struct world *w, struct model_batch *b, struct writer *out)
{
    struct batch_builder builder;
    enum codec codec = below(w, 2) == 0 ? CODEC_NONE : (enum codec)below(w, CODEC_COUNT);
    int flags = b->is_transactional ? BATCH_TRANSACTIONAL : 0;
    batch_begin(&builder, out, (int16_t)((int)codec | flags));
    if (b->producer >= 0) {
        builder.producer_id = 100 + b->producer;
        builder.producer_epoch = 0;
        builder.base_sequence = w->model.sequences[b->producer];
        w->model.sequences[b->producer] += b->count;
    }
    for (int r = 0; r < b->count; r++) {
        char key[16];
        char value[64];
        struct model_record *record = &b->records[r];
        *record = random_record(w);
        int key_len = snprintf(key, sizeof(key), "key-%d", record->key);
        int value_len = snprintf(value, sizeof(value), "value-%d-%020d", record->value, 0);
        batch_add(&builder, record->timestamp,
                  record->key < 0 ? (struct bytes){0} : bytes_of(key, (size_t)key_len),
                  record->is_tombstone ? (struct bytes){0} : bytes_of(value, (size_t)value_len));
    }
    MUST(batch_end(&builder));
    w->seen.compressed += codec == CODEC_NONE ? 0 : 1;
}

static struct model_batch *next_batch(struct world *w)
{
    struct model *m = &w->model;
    CU_ASSERT_FATAL(m->batches_n < BATCHES_MAX);
    struct model_batch *b = &m->batches[m->batches_n++];
    *b = (struct model_batch){
        .is_there = true, .base_offset = plog_end_offset(w->log), .producer = -1, .horizon_ms = -1};
    w->seen.batches++;
    return b;
}

static void write_data(struct world *w)
{
    struct model *m = &w->model;
    struct writer out;
    struct append_result result;
    struct model_batch *b = next_batch(w);
    b->count = 1 + (int)below(w, RECORDS_MAX);
    b->last_offset = b->base_offset + b->count - 1;
    if (below(w, 3) > 0) {
        b->producer = (int)below(w, PRODUCERS);
        b->is_transactional = b->producer < TXN_PRODUCERS;
        m->last_data[b->producer] = b->last_offset;
    }
    if (b->is_transactional) {
        b->outcome = OUTCOME_OPEN;
        m->txns[b->producer] += m->is_open[b->producer] ? 0 : 1;
        m->is_open[b->producer] = true;
        b->txn = m->txns[b->producer];
    }
    writer_init(&out, 1 << 20);
    build(w, b, &out);
    MUST(plog_append(w->log, out.data, out.len, APPEND_CLIENT, 0, &result));
    CU_ASSERT_EQUAL(result.base_offset, b->base_offset);
    writer_deinit(&out);
    w->seen.records += b->count;
}

static void write_marker(struct world *w, int producer)
{
    struct model *m = &w->model;
    bool commit = below(w, 3) > 0;
    if (!m->is_open[producer]) {
        return;
    }
    struct model_batch *b = next_batch(w);
    b->producer = producer;
    b->is_transactional = b->is_marker = true;
    b->txn = m->txns[producer];
    b->count = 1;
    b->last_offset = b->base_offset;
    b->records[0].is_left = true;
    MUST(append_marker(w->log, 100 + producer, 0, commit, 0));
    m->is_open[producer] = false;
    w->seen.transactions++;
    w->seen.aborted += commit ? 0 : 1;
    for (int i = 0; i < m->batches_n; i++) {
        struct model_batch *of = &m->batches[i];
        if (of->producer == producer && of->is_transactional && of->txn == b->txn) {
            of->outcome = commit ? OUTCOME_COMMITTED : OUTCOME_ABORTED;
        }
    }
}

static void write_some(struct world *w, int n)
{
    for (int i = 0; i < n; i++) {
        uint64_t what = below(w, 10);
        w->p.clock.now_ms += (int64_t)below(w, 200);
        if (what < 8) {
            write_data(w);
        } else {
            write_marker(w, (int)below(w, TXN_PRODUCERS));
        }
    }
}

/* ---- comparing ---- */

static int number_of(struct bytes text, const char *prefix)
{
    char copy[64] = "";
    size_t skip = strlen(prefix);
    CU_ASSERT_FATAL(text.len > skip && text.len < sizeof(copy));
    CU_ASSERT_EQUAL_FATAL(memcmp(text.data, prefix, skip), 0);
    memcpy(copy, text.data + skip, text.len - skip);
    return atoi(copy);
}

static int model_left(const struct model_batch *b)
{
    int left = 0;
    for (int r = 0; r < b->count; r++) {
        left += b->records[r].is_left ? 1 : 0;
    }
    return left;
}

static bool record_is(const struct model_batch *b, int r, const struct batch *batch,
                      const struct record *record)
{
    const struct model_record *of = &b->records[r];
    bool same = batch_offset(batch, record->offset_delta) == b->base_offset + r;
    if (b->is_marker) {
        return same;
    }
    same &= batch_timestamp(batch, record->timestamp_delta) == of->timestamp;
    same &= (record->key.data == NULL ? -1 : number_of(record->key, "key-")) == of->key;
    same &= (record->value.data == NULL) == of->is_tombstone;
    return same && (of->is_tombstone || number_of(record->value, "value-") == of->value);
}

static bool records_are(const struct model_batch *b, const struct batch *batch, struct bytes bytes)
{
    struct writer scratch;
    struct bytes body;
    struct record_iter iter;
    struct record record;
    bool same = true;
    writer_init(&scratch, 1 << 20);
    MUST(batch_body(bytes, &scratch, 1 << 20, &body));
    record_iter_init(&iter, body, batch->count);
    for (int r = 0; r < b->count; r++) {
        if (b->records[r].is_left) {
            same = same && record_iter_next(&iter, &record) && record_is(b, r, batch, &record);
        }
    }
    same = same && !record_iter_next(&iter, &record) && iter.error == OK;
    writer_deinit(&scratch);
    return same;
}

/* Is it what the model says of it, to the last field? */
static bool batch_is_as(const struct model_batch *b, struct bytes bytes)
{
    struct batch batch;
    batch_parse(bytes.data, &batch);
    bool same = batch.base_offset == b->base_offset &&
                batch_last_offset(&batch) == b->last_offset &&
                batch.crc == batch_crc(bytes.data, bytes.len) && batch.count == model_left(b);
    same &= batch.producer_id == (b->producer < 0 ? -1 : 100 + b->producer);
    same &= batch_is(&batch, BATCH_CONTROL) == b->is_marker;
    same &= batch_is(&batch, BATCH_TRANSACTIONAL) == b->is_transactional;
    same &= batch_is(&batch, BATCH_DELETE_HORIZON) == (b->horizon_ms >= 0);
    same &= b->horizon_ms < 0 || batch.base_timestamp == b->horizon_ms;
    return same && (batch.count == 0 || records_are(b, &batch, bytes));
}

/* The batches at and above `offset`, in order; from every offset the first of them is found. */
static void compare_log(struct world *w)
{
    struct model *m = &w->model;
    int64_t end = plog_end_offset(w->log);
    int64_t offset = 0;
    for (int i = 0; i < m->batches_n; i++) {
        struct model_batch *b = &m->batches[i];
        if (!b->is_there) {
            continue;
        }
        for (; offset <= b->last_offset; offset++) {
            size_t len = 0;
            uint8_t *data = read_range(w->log, offset, end, 1, &len);
            CU_ASSERT_FATAL(len >= BATCH_HEADER_BYTES);
            if (offset == b->last_offset) {
                CU_ASSERT_FATAL(batch_is_as(b, bytes_of(data, len)));
            } else {
                CU_ASSERT_EQUAL_FATAL((int64_t)load_u64(data), b->base_offset);
            }
            free(data);
        }
    }
    for (; offset < end; offset++) {
        struct log_range range;
        MUST(plog_read(w->log, offset, end, 1, true, &range));
        CU_ASSERT_EQUAL_FATAL(range.len, 0);
        log_range_release(&range);
    }
}

/* Who reads what is committed is told of each aborted transaction of which there is something to read. */
static void compare_aborted(struct world *w)
{
    struct arena arena;
    struct aborted_txn *txns = NULL;
    int32_t count = 0;
    arena_init(&arena, 1 << 20);
    MUST(plog_aborted_txns(w->log, 0, plog_end_offset(w->log), &arena, &txns, &count));
    for (int i = 0; i < w->model.batches_n; i++) {
        const struct model_batch *b = &w->model.batches[i];
        bool told = false;
        if (!b->is_there || b->is_marker || !model_is_aborted(b) || model_left(b) == 0) {
            continue;
        }
        for (int32_t j = 0; j < count; j++) {
            told |=
                txns[j].producer_id == 100 + b->producer && txns[j].first_offset <= b->base_offset;
        }
        CU_ASSERT(told);
    }
    arena_deinit(&arena);
}

static void compare_producers(struct world *w)
{
    struct arena arena;
    struct producer_info *infos = NULL;
    int32_t count = 0;
    arena_init(&arena, 1 << 20);
    MUST(plog_producers(w->log, &arena, &infos, &count));
    for (int32_t i = 0; i < count; i++) {
        int producer = (int)(infos[i].producer_id - 100);
        CU_ASSERT_FATAL(producer >= 0 && producer < PRODUCERS);
        CU_ASSERT_EQUAL(infos[i].last_sequence, w->model.sequences[producer] - 1);
        CU_ASSERT_EQUAL(infos[i].txn_start_offset >= 0, w->model.is_open[producer]);
    }
    arena_deinit(&arena);
}

/* Each segment but the first begins with the producers of then. */
static void check_snapshots(const struct world *w)
{
    char *path = place_path(&w->p, "t-0");
    struct name_list names;
    bool first = true;
    MUST(fs_list(fs_system(), path, &names));
    for (size_t i = 0; i < names.count; i++) {
        int64_t base = 0;
        if (segment_name_parse(names.names[i], SUFFIX_LOG, &base)) {
            char *snapshot = xasprintf("t-0/%020lld.snapshot", (long long)base);
            CU_ASSERT(first || exists(&w->p, snapshot));
            free(snapshot);
            first = false;
        }
    }
    name_list_deinit(&names);
    free(path);
}

static void compare(struct world *w)
{
    check_snapshots(w);
    compare_log(w);
    compare_aborted(w);
    compare_producers(w);
}

/* ---- cleaning ---- */

static void no_lock(void *context)
{
    (void)context;
}

static bool always(void *context, int64_t bytes)
{
    (void)context;
    CU_ASSERT(bytes > 0);
    return true;
}

static struct plog_clean simple_clean(void)
{
    return (struct plog_clean){.map_bytes = 1 << 20,
                               .map_load = 0.9,
                               .io_bytes = 300,
                               .lock = no_lock,
                               .unlock = no_lock,
                               .go_on = always};
}

static err find(struct world *w, struct plog_dirt *dirt)
{
    MUST(plog_flush(w->log));
    int64_t end = plog_end_offset(w->log);
    int64_t stable = plog_last_stable_offset(w->log, end);
    MUST(plog_find_dirt(w->log, stable, dirt));
    CU_ASSERT(dirt->end <= stable);
    return dirt->first_dirty < dirt->end ? OK : E_NOT_FOUND;
}

static void clean(struct world *w)
{
    struct plog_dirt dirt;
    struct plog_cleaned cleaned;
    struct plog_clean how = simple_clean();
    if (find(w, &dirt) != OK) {
        return;
    }
    MUST(plog_clean(w->log, &dirt, &how, &cleaned));
    CU_ASSERT_EQUAL(cleaned.end, dirt.end);
    CU_ASSERT_EQUAL(plog_cleaned_to(w->log), dirt.end);
    model_clean(&w->model, dirt.first_dirty, cleaned.end, w->p.clock.now_ms);
    w->seen.cleans++;
    w->seen.merged += (int)(cleaned.segments_before - cleaned.segments_after);
}

static void reopen(struct world *w, bool kill)
{
    w->how.recovery_point = plog_recovery_point(w->log);
    w->how.log_start_offset = plog_start_offset(w->log);
    w->how.cleaned_to = plog_cleaned_to(w->log);
    if (kill) {
        plog_abandon(w->log);
    } else {
        MUST(plog_close(w->log));
        w->how.recovery_point = INT64_MAX;
    }
    w->how.clean = !kill;
    place_reboot(&w->p);
    w->log = must_open(&w->p, &w->how);
    w->seen.opened++;
}

static void world_make(struct world *w, uint64_t seed, int32_t segment_bytes)
{
    *w = (struct world){0};
    place_make(&w->p);
    seeded_random_init(&w->random, seed);
    w->how = (struct how){.config = small_config(), .clean = true};
    w->how.config.segment_bytes = segment_bytes;
    w->how.config.cleanup_compact = true;
    w->how.config.cleanup_delete = false;
    w->how.config.delete_retention_ms = RETENTION_MS;
    w->how.config.producer_id_expiration_ms = INT64_MAX / 4;
    model_init(&w->model);
    w->log = must_open(&w->p, &w->how);
}

static void world_remove(struct world *w)
{
    plog_abandon(w->log);
    free(w->model.batches);
    place_remove(&w->p);
}

/* What has failed need not be seen failing for minutes. */
static bool all_is_well(void)
{
    return CU_get_number_of_failures() == 0;
}

static void test_against_a_model(void)
{
    int cleans = 0, batches = 0, records = 0, transactions = 0, aborted = 0, compressed = 0,
        opened = 0, merged = 0;
    for (uint64_t seed = 1; seed <= 25 && all_is_well(); seed++) {
        struct world w;
        world_make(&w, seed, 1500);
        for (int round = 0; round < 12; round++) {
            write_some(&w, 30);
            clean(&w);
            compare(&w);
            if (below(&w, 3) == 0) {
                reopen(&w, below(&w, 2) == 0);
                compare(&w);
            }
            w.p.clock.now_ms += (int64_t)below(&w, RETENTION_MS);
        }
        cleans += w.seen.cleans;
        batches += w.seen.batches;
        records += w.seen.records;
        transactions += w.seen.transactions;
        aborted += w.seen.aborted;
        compressed += w.seen.compressed;
        opened += w.seen.opened;
        merged += w.seen.merged;
        world_remove(&w);
    }
    printf("cleans %d, batches %d, records %d, compressed %d, transactions %d (%d aborted), "
           "opened again %d, segments merged away %d\n",
           cleans, batches, records, compressed, transactions, aborted, opened, merged);
    CU_ASSERT(cleans > 200 && aborted > 200 && opened > 80 && merged > 200);
}

/* ---- faults ---- */

/* A log with much to clean, closed; its directory is kept for many tries. */
struct stage {
    struct world w;
    struct model before;
    struct model after;
    struct plog_dirt dirt;
};

static struct model model_copy(const struct model *m)
{
    struct model copy = *m;
    copy.batches = xcalloc(BATCHES_MAX, sizeof(*m->batches));
    memcpy(copy.batches, m->batches, BATCHES_MAX * sizeof(*m->batches));
    return copy;
}

static void copy_dir(const struct place *p, const char *from, const char *to)
{
    char *from_path = place_path(p, from);
    char *to_path = place_path(p, to);
    struct name_list names;
    bool there = false;
    MUST(fs_exists(fs_system(), to_path, &there));
    if (there) {
        MUST(fs_remove_dir(fs_system(), to_path));
    }
    MUST(fs_mkdir(fs_system(), to_path));
    MUST(fs_list(fs_system(), from_path, &names));
    for (size_t i = 0; i < names.count; i++) {
        char *source = xasprintf("%s/%s", from, names.names[i]);
        char *target = xasprintf("%s/%s", to, names.names[i]);
        size_t len = 0;
        uint8_t *data = slurp(p, source, &len);
        CU_ASSERT_PTR_NOT_NULL_FATAL(data);
        spit(p, target, data, len);
        free(data);
        free(source);
        free(target);
    }
    name_list_deinit(&names);
    free(from_path);
    free(to_path);
}

static void stage_make(struct stage *s, uint64_t seed, int32_t segment_bytes)
{
    struct world *w = &s->w;
    world_make(w, seed, segment_bytes);
    write_some(w, 50);
    clean(w); /* so that there is a clean part, too */
    write_some(w, 60);
    CU_ASSERT_EQUAL_FATAL(find(w, &s->dirt), OK);
    s->before = model_copy(&w->model);
    s->after = model_copy(&w->model);
    model_clean(&s->after, s->dirt.first_dirty, s->dirt.end, w->p.clock.now_ms);
    w->how.recovery_point = plog_recovery_point(w->log);
    w->how.cleaned_to = plog_cleaned_to(w->log);
    w->how.clean = false;
    plog_abandon(w->log);
    copy_dir(&w->p, "t-0", "kept");
    place_reboot(&w->p);
    w->log = NULL;
}

static void stage_again(struct stage *s)
{
    copy_dir(&s->w.p, "kept", "t-0");
}

static void stage_remove(struct stage *s)
{
    free(s->before.batches);
    free(s->after.batches);
    world_remove(&s->w);
}

/* Each batch is there as before, or as after, or was nowhere to be after; nothing else is there. True: some are only
 * as before. */
static bool is_before_or_after(struct stage *s)
{
    struct world *w = &s->w;
    int64_t end = plog_end_offset(w->log);
    int64_t offset = 0;
    bool some_before = false;
    for (int i = 0; i < s->before.batches_n; i++) {
        const struct model_batch *before = &s->before.batches[i];
        const struct model_batch *after = &s->after.batches[i];
        size_t len = 0;
        if (!before->is_there) {
            continue;
        }
        uint8_t *data = read_range(w->log, offset, end, 1, &len);
        bool is_it = len >= BATCH_HEADER_BYTES && (int64_t)load_u64(data) == before->base_offset;
        CU_ASSERT_FATAL(is_it || !after->is_there);
        if (is_it) {
            bool as_after = after->is_there && batch_is_as(after, bytes_of(data, len));
            CU_ASSERT_FATAL(as_after || batch_is_as(before, bytes_of(data, len)));
            some_before |= !as_after;
            offset = before->last_offset + 1;
        }
        free(data);
    }
    return some_before;
}

static bool has_leftovers(const struct place *p)
{
    char *path = place_path(p, "t-0");
    struct name_list names;
    bool found = false;
    MUST(fs_list(fs_system(), path, &names));
    for (size_t i = 0; i < names.count; i++) {
        found |=
            strstr(names.names[i], ".cleaned") != NULL || strstr(names.names[i], ".swap") != NULL;
    }
    name_list_deinit(&names);
    free(path);
    return found;
}

static void open_twice(struct stage *s)
{
    struct world *w = &s->w;
    bool before = false;
    for (int i = 0; i < 2; i++) {
        w->log = must_open(&w->p, &w->how);
        bool now = is_before_or_after(s);
        CU_ASSERT(i == 0 || now == before);
        CU_ASSERT_FALSE(has_leftovers(&w->p));
        before = now;
        plog_abandon(w->log);
        place_reboot(&w->p);
    }
    w->log = NULL;
}

/* The n-th change of a file ends the process, or fails; is torn or not. */
static void test_every_change(void)
{
    int states = 0, befores = 0;
    for (uint64_t seed = 1; seed <= 2 && all_is_well(); seed++) {
        struct stage s;
        stage_make(&s, seed, 4000);
        struct world *w = &s.w;
        bool more = true;
        for (int64_t n = 1; more && all_is_well(); n++) {
            for (int way = 0; way < 3; way++) {
                struct plog_cleaned cleaned;
                struct plog_clean how = simple_clean();
                stage_again(&s);
                w->log = must_open(&w->p, &w->how);
                w->p.fault.calls = 0;
                w->p.fault.only_changes = true;
                w->p.fault.fail_at = n;
                w->p.fault.die = way > 0;
                w->p.fault.tear = way > 1;
                err e = plog_clean(w->log, &s.dirt, &how, &cleaned);
                CU_ASSERT(e == OK || plog_is_offline(w->log) || way == 0);
                more = w->p.fault.calls >= n;
                plog_abandon(w->log);
                place_reboot(&w->p);
                open_twice(&s);
                states++;
                befores += e == OK ? 0 : 1;
            }
        }
        w->log = must_open(&w->p, &w->how);
        stage_remove(&s);
    }
    printf("states %d, of those not cleaned to the end %d\n", states, befores);
    CU_ASSERT(states > 300 && befores > 250);
}

static void test_no_room(void)
{
    struct stage s;
    struct plog_cleaned cleaned;
    struct plog_clean how = simple_clean();
    stage_make(&s, 7, 4000);
    struct world *w = &s.w;
    w->log = must_open(&w->p, &w->how);
    MUST(plog_flush(w->log));
    w->p.fault.calls = 0;
    w->p.fault.only_changes = true;
    w->p.fault.error = ENOSPC;
    w->p.fault.fail_at = 3;
    CU_ASSERT_EQUAL(err_to_errno(plog_clean(w->log, &s.dirt, &how, &cleaned)), ENOSPC);
    CU_ASSERT_FALSE(plog_is_offline(w->log));
    CU_ASSERT_FALSE(has_leftovers(&w->p));
    CU_ASSERT(is_before_or_after(&s));
    MUST(plog_clean(w->log, &s.dirt, &how, &cleaned));
    CU_ASSERT_EQUAL(plog_cleaned_to(w->log), s.dirt.end);
    free(w->model.batches);
    w->model = model_copy(&s.after);
    compare(w);
    stage_remove(&s);
}

/* Who is asked whether to go on says no; or the log is cut beside the cleaner. */
struct interruption {
    struct world *w;
    int64_t calls;
    int64_t at;
    int64_t truncate_to; /* -1: gives up */
};

static bool interrupt(void *context, int64_t bytes)
{
    struct interruption *interruption = context;
    (void)bytes;
    if (++interruption->calls != interruption->at) {
        return true;
    }
    if (interruption->truncate_to < 0) {
        return false;
    }
    MUST(plog_truncate(interruption->w->log, interruption->truncate_to));
    return true;
}

/* A clean of the stage, interrupted at one of its calls. */
static err clean_interrupted(struct stage *s, int64_t at, int64_t truncate_to)
{
    struct interruption interruption = {.w = &s->w, .at = at, .truncate_to = truncate_to};
    struct plog_cleaned cleaned;
    struct plog_clean how = simple_clean();
    how.go_on = interrupt;
    how.context = &interruption;
    stage_again(s);
    s->w.log = must_open(&s->w.p, &s->w.how);
    err e = plog_clean(s->w.log, &s->dirt, &how, &cleaned);
    CU_ASSERT_EQUAL(e, interruption.calls >= at ? E_BUSY : OK);
    CU_ASSERT_FALSE(plog_is_offline(s->w.log));
    CU_ASSERT_FALSE(has_leftovers(&s->w.p));
    return e;
}

static void test_interrupted(void)
{
    struct stage s;
    int given_up = 0;
    stage_make(&s, 9, 4000);
    struct world *w = &s.w;
    for (int64_t at = 1; at < 60; at += 2) {
        err e = clean_interrupted(&s, at, -1);
        CU_ASSERT_EQUAL(plog_cleaned_to(w->log), e == OK ? s.dirt.end : w->how.cleaned_to);
        (void)is_before_or_after(&s);
        given_up += e == E_BUSY ? 1 : 0;
        plog_abandon(w->log);
        place_reboot(&w->p);
    }
    CU_ASSERT(given_up > 10);
    w->log = must_open(&w->p, &w->how);
    stage_remove(&s);
}

static void test_cut_beside(void)
{
    struct stage s;
    int cut = 0;
    stage_make(&s, 11, 4000);
    struct world *w = &s.w;
    for (int64_t at = 1; at < 60; at += 2) {
        cut += clean_interrupted(&s, at, s.dirt.end - 20) == E_BUSY ? 1 : 0;
        CU_ASSERT(plog_cleaned_to(w->log) <= plog_end_offset(w->log));
        plog_abandon(w->log);
        place_reboot(&w->p);
    }
    CU_ASSERT(cut > 10);
    stage_again(&s);
    w->log = must_open(&w->p, &w->how);
    stage_remove(&s);
}

/* A byte of a sealed segment is wrong: what is before it may be cleaned, it and what follows are as before. */
static void test_damage(void)
{
    struct stage s;
    struct plog_cleaned cleaned;
    struct plog_clean how = simple_clean();
    stage_make(&s, 13, 1500);
    struct world *w = &s.w;
    char *command =
        xasprintf("f=$(ls '%s'/t-0/*.log | sed -n 3p); "
                  "printf '\\377' | dd of=\"$f\" bs=1 seek=100 conv=notrunc 2>/dev/null",
                  w->p.dir);
    stage_again(&s);
    w->how.recovery_point = INT64_MAX;
    w->how.clean = true; /* nobody looks at it before */
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
    free(command);
    w->log = must_open(&w->p, &w->how);
    int64_t bytes = plog_size_bytes(w->log);
    CU_ASSERT_EQUAL(plog_clean(w->log, &s.dirt, &how, &cleaned), E_CORRUPT);
    CU_ASSERT_FALSE(plog_is_offline(w->log));
    CU_ASSERT_FALSE(has_leftovers(&w->p));
    CU_ASSERT(plog_size_bytes(w->log) <= bytes);
    CU_ASSERT(plog_cleaned_to(w->log) < s.dirt.end);
    stage_remove(&s);
}

/* More keys than the map holds: in several passes, each of which gets on. */
static void test_small_map(void)
{
    struct stage s;
    struct plog_dirt dirt;
    struct plog_clean how = simple_clean();
    int passes = 0;
    stage_make(&s, 15, 4000);
    struct world *w = &s.w;
    how.map_bytes = 0;
    how.map_load = 0.05; /* of 64 slots: three keys */
    w->log = must_open(&w->p, &w->how);
    while (find(w, &dirt) == OK) {
        struct plog_cleaned cleaned;
        MUST(plog_clean(w->log, &dirt, &how, &cleaned));
        CU_ASSERT_FATAL(cleaned.end > dirt.first_dirty && cleaned.keys <= 3);
        passes++;
    }
    CU_ASSERT(passes > 20);
    /* Of each key the last one is there, and of aborted transactions nothing. */
    int64_t end = plog_end_offset(w->log);
    for (int i = 0; i < s.after.batches_n; i++) {
        const struct model_batch *b = &s.after.batches[i];
        if (b->is_there && !b->is_marker && model_left(b) > 0) {
            size_t len = 0;
            uint8_t *data = read_range(w->log, b->last_offset, end, 1, &len);
            CU_ASSERT_FATAL(len >= BATCH_HEADER_BYTES);
            CU_ASSERT_EQUAL((int64_t)load_u64(data), b->base_offset);
            free(data);
        }
    }
    stage_remove(&s);
}

/* Who has begun to read reads on, from the old files. */
static void test_reader_beside(void)
{
    struct stage s;
    struct log_range range;
    struct plog_cleaned cleaned;
    struct plog_clean how = simple_clean();
    stage_make(&s, 17, 4000);
    struct world *w = &s.w;
    w->log = must_open(&w->p, &w->how);
    MUST(plog_read(w->log, 0, INT64_MAX, 1 << 20, true, &range));
    uint8_t *before = malloc(range.len);
    uint8_t *after = malloc(range.len);
    uint32_t layout = plog_layout(w->log);
    MUST(log_range_read(&range, 0, before, range.len));
    MUST(plog_clean(w->log, &s.dirt, &how, &cleaned));
    CU_ASSERT_NOT_EQUAL(plog_layout(w->log), layout);
    w->p.clock.now_ms += 100000;
    while (plog_remove_deleted(w->log) >= 0) {
        w->p.clock.now_ms += 100000;
    }
    MUST(log_range_read(&range, 0, after, range.len));
    CU_ASSERT_EQUAL(memcmp(before, after, range.len), 0);
    log_range_release(&range);
    free(before);
    free(after);
    stage_remove(&s);
}

static err append_at(struct world *w, int64_t offset, const char *key)
{
    struct writer out;
    struct batch_builder builder;
    struct append_result result;
    writer_init(&out, 1 << 20);
    batch_begin(&builder, &out, CODEC_NONE);
    batch_add(&builder, T0_MS, bytes_of(key, strlen(key)), bytes_of("v", 1));
    MUST(batch_end(&builder));
    batch_set_base_offset(out.data, offset);
    batch_set_leader_epoch(out.data, 0);
    batch_crc_update(out.data, out.len);
    err e = plog_append(w->log, out.data, out.len, APPEND_REPLICATION, 0, &result);
    writer_deinit(&out);
    return e;
}

/* The deltas of a batch stand as a peer has written them: an offset below the first one must not look like a late one. */
static void test_map_of_any_order(void)
{
    struct clean_map map;
    MUST(clean_map_init(&map, 1 << 16, 0.5, 50, 1000, random_system()));
    struct clean_key a = clean_map_key(&map, bytes_of("a", 1));
    struct clean_key b = clean_map_key(&map, bytes_of("b", 1));
    CU_ASSERT_TRUE(clean_map_put(&map, &a, 100));
    CU_ASSERT_FALSE(clean_map_put(&map, &b, 80));
    CU_ASSERT_EQUAL(clean_map_get(&map, &a), 100);
    CU_ASSERT_EQUAL(clean_map_get(&map, &b), -1);
    CU_ASSERT_EQUAL(map.latest_offset, 100);
    CU_ASSERT_TRUE(clean_map_put(&map, &b, 101));
    CU_ASSERT_EQUAL(clean_map_get(&map, &b), 101);
    clean_map_deinit(&map);
}

/* Small segments whose offsets lie far from each other: an index has 31 bits for an offset, the map of keys 32. */
static void test_far_offsets(void)
{
    static const int64_t FAR = INT64_C(1) << 30;
    struct world w;
    struct plog_dirt dirt;
    struct plog_cleaned cleaned;
    struct plog_clean how = simple_clean();
    world_make(&w, 1, 1 << 20);
    for (int i = 0; i < 8; i++) {
        char key[16];
        snprintf(key, sizeof(key), "key-%d", i);
        MUST(append_at(&w, FAR * i, key));
        MUST(plog_roll(w.log));
    }
    MUST(append_at(&w, FAR * 16, "a key alone"));
    MUST(plog_roll(w.log));
    int passes = 0;
    int merged = 0;
    do {
        CU_ASSERT_EQUAL_FATAL(find(&w, &dirt), OK);
        CU_ASSERT_EQUAL_FATAL(plog_clean(w.log, &dirt, &how, &cleaned), OK);
        CU_ASSERT_FATAL(cleaned.end > dirt.first_dirty);
        merged += cleaned.segments_after < cleaned.segments_before ? 1 : 0;
    } while (++passes < 10 && cleaned.end < dirt.end);
    CU_ASSERT(passes == 3 && merged > 0 && cleaned.segments_after >= 4);
    for (int i = 0; i < 8; i++) {
        size_t len = 0;
        uint8_t *data = read_range(w.log, FAR * i, INT64_MAX, 1, &len);
        CU_ASSERT_FATAL(len >= BATCH_HEADER_BYTES);
        CU_ASSERT_EQUAL((int64_t)load_u64(data), FAR * i);
        free(data);
    }
    world_remove(&w);
}

/* Dirt is found, then the log is cut and grows again, with an open transaction where all was decided. */
static void test_cut_before(void)
{
    struct stage s;
    struct plog_dirt dirt;
    struct plog_cleaned cleaned;
    struct plog_clean how = simple_clean();
    stage_make(&s, 11, 4000);
    struct world *w = &s.w;
    w->log = must_open(&w->p, &w->how);
    CU_ASSERT_EQUAL_FATAL(find(w, &dirt), OK);
    MUST(plog_truncate(w->log, dirt.end / 2));
    for (int64_t offset = plog_end_offset(w->log); offset < dirt.end + 20; offset++) {
        MUST(append_at(w, offset, "key-1"));
    }
    int64_t bytes = plog_size_bytes(w->log);
    CU_ASSERT_EQUAL(plog_clean(w->log, &dirt, &how, &cleaned), E_BUSY);
    CU_ASSERT_EQUAL(plog_size_bytes(w->log), bytes);
    CU_ASSERT_FALSE(plog_is_offline(w->log));
    stage_remove(&s);
}

/* Dirt whose end lies within a segment, as of a log that a copy with other segments has taken the place of: that
 * segment is as before. */
static void test_end_within_a_segment(void)
{
    struct stage s;
    struct plog_dirt dirt;
    struct plog_cleaned cleaned;
    struct plog_clean how = simple_clean();
    stage_make(&s, 11, 4000);
    struct world *w = &s.w;
    w->log = must_open(&w->p, &w->how);
    CU_ASSERT_EQUAL_FATAL(find(w, &dirt), OK);
    size_t last = plog_segment_at(w->log, dirt.end - 1);
    CU_ASSERT_FATAL(last > 0);
    struct segment *segment = w->log->segments[last];
    int64_t base = segment->base_offset;
    int64_t size = atomic_load(&segment->size_bytes);
    dirt.end = base + 1;
    MUST(plog_clean(w->log, &dirt, &how, &cleaned));
    CU_ASSERT(cleaned.end <= base);
    CU_ASSERT_EQUAL(plog_cleaned_to(w->log), cleaned.end);
    CU_ASSERT_EQUAL(log_active(w->log)->base_offset > base, true);
    segment = w->log->segments[plog_segment_at(w->log, base)];
    CU_ASSERT_EQUAL(segment->base_offset, base);
    CU_ASSERT_EQUAL(atomic_load(&segment->size_bytes), size);
    dirt.end = w->log->segments[0]->base_offset + 1;
    CU_ASSERT_EQUAL(plog_clean(w->log, &dirt, &how, &cleaned), E_BUSY); /* no whole segment */
    stage_remove(&s);
}

/* The quick ones first: what is planted is found soon. */
SUITE("clean", TEST(test_map_of_any_order), TEST(test_far_offsets), TEST(test_interrupted),
      TEST(test_against_a_model), TEST(test_every_change), TEST(test_no_room),
      TEST(test_cut_beside), TEST(test_damage), TEST(test_small_map), TEST(test_reader_beside),
      TEST(test_cut_before), TEST(test_end_within_a_segment))
