/* What a crash left is opened as a start would, each log is read whole and compared with the model:
 *
 *   - what was promised is there, byte for byte, and what is there was written once; offsets have no hole (in a
 *     compacted log: each key's last value is there);
 *   - the start lies between the one that was promised and the one that was asked for;
 *   - producers, transactions, leader epochs and the topic's id are what the batches say;
 *   - nothing is offline, and no start is refused.
 *
 * Then again: the second start changes no byte, but that it removes what waits for that; or it follows a power cut just after the first, which may take nothing of
 * what the first has shown; or a clean stop; or an append and a flush. */
#define _GNU_SOURCE
#include "base/arena.h"
#include "storage/names.h"
#include "storage/tests/crash_world.h"
#include "storage/tests/util.h"

#include <stdarg.h>

enum { SAID_MAX = 12 };

/* What a second start may find otherwise: files that wait for their removal, and a copy, whose indexes are made again. */
static const char UNSETTLED[] = SUFFIX_DELETED " -future ";

/* ---- what is there ---- */

static err found_add(struct plog *log, struct found *found, int64_t offset)
{
    struct log_range range;
    TRY(plog_read(log, offset, found->end, 1, true, &range));
    if (range.len < BATCH_HEADER_BYTES) {
        log_range_release(&range);
        return range.len == 0 ? E_NOT_FOUND : E_TRUNCATED;
    }
    struct found_batch batch = {.bytes = xmalloc(range.len)};
    err e = log_range_read(&range, 0, batch.bytes, range.len);
    batch_parse(batch.bytes, &batch.header);
    bool is_whole = (size_t)batch.header.size_bytes == range.len &&
                    batch.header.crc == batch_crc(batch.bytes, range.len) &&
                    batch_last_offset(&batch.header) >= offset;
    log_range_release(&range);
    if (e != OK || !is_whole) {
        free(batch.bytes);
        return e != OK ? e : E_CORRUPT;
    }
    found->all = xrealloc(found->all, (found->n + 1) * sizeof(*found->all));
    found->all[found->n++] = batch;
    return OK;
}

/* Each offset that a batch holds leads to it. */
static err check_offsets(struct plog *log, const struct found *found, int64_t from)
{
    const struct batch *batch = &found->all[found->n - 1].header;
    for (int64_t offset = from; offset <= batch_last_offset(batch); offset++) {
        struct log_range range;
        TRY(plog_read(log, offset, found->end, 1, true, &range));
        bool same =
            range.base_offset == batch->base_offset && range.len == (size_t)batch->size_bytes;
        log_range_release(&range);
        if (!same) {
            return E_CORRUPT;
        }
    }
    return OK;
}

err found_read(struct plog *log, struct found *found)
{
    *found = (struct found){.start = plog_start_offset(log), .end = plog_end_offset(log)};
    for (int64_t offset = found->start; offset < found->end;) {
        err e = found_add(log, found, offset);
        if (e == E_NOT_FOUND) {
            return OK; /* a compacted log may end with a hole; check_run() asks of others */
        }
        TRY(e);
        TRY(check_offsets(log, found, offset));
        offset = batch_last_offset(&found->all[found->n - 1].header) + 1;
    }
    return OK;
}

void found_free(struct found *found)
{
    for (size_t i = 0; i < found->n; i++) {
        free(found->all[i].bytes);
    }
    free(found->all);
    *found = (struct found){0};
}

/* ---- one log that is looked at ---- */

struct look {
    struct world *w; /* the model's */
    const struct log_model *m;
    struct plog *log;
    bool in_cache; /* nothing but a process has ended */
    struct found found;
};

__attribute__((format(printf, 2, 3))) static void wrong(struct look *look, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (look->w->failures++ < SAID_MAX) {
        printf("  WRONG %s: %s-%d ", look->w->where, look->m->topic, look->m->partition);
        vprintf(format, args);
        printf("\n");
        fflush(stdout);
    }
    va_end(args);
}

static const struct found_batch *found_at(const struct look *look, int64_t base_offset)
{
    for (size_t i = 0; i < look->found.n; i++) {
        if (look->found.all[i].header.base_offset == base_offset) {
            return &look->found.all[i];
        }
    }
    return NULL;
}

static bool is_same(const struct found_batch *found, const struct written *b)
{
    return found != NULL && (size_t)found->header.size_bytes == b->len &&
           memcmp(found->bytes, b->bytes, b->len) == 0;
}

static bool is_promised(const struct look *look, const struct written *b)
{
    return b->state == WRITTEN_ACKED && (look->in_cache || b->last_offset < look->m->flushed);
}

/* ---- batches ---- */

static void check_bounds(struct look *look)
{
    int64_t least = look->in_cache ? look->m->start_in_cache : look->m->start_on_disk;
    if (look->found.start < least || look->found.start > look->m->start_most) {
        wrong(look, "starts at %lld, promised %lld, asked for %lld", (long long)look->found.start,
              (long long)least, (long long)look->m->start_most);
    }
    if (plog_is_offline(look->log)) {
        wrong(look, "is offline");
    }
}

static void check_run(struct look *look)
{
    int64_t next = look->found.start;
    for (size_t i = 0; i < look->found.n; i++) {
        const struct batch *batch = &look->found.all[i].header;
        bool continues = i == 0 ? batch->base_offset <= next : batch->base_offset == next;
        bool is_known = false;
        for (size_t j = 0; j < look->m->n; j++) {
            is_known |= is_same(&look->found.all[i], &look->m->all[j]);
        }
        if (!continues || !is_known) {
            wrong(look, "has a %s at %lld", is_known ? "hole" : "batch that nobody wrote",
                  (long long)batch->base_offset);
        }
        next = batch_last_offset(batch) + 1;
    }
    if (next != look->found.end) {
        wrong(look, "ends at %lld, its last batch at %lld", (long long)look->found.end,
              (long long)next);
    }
}

static void check_promised(struct look *look)
{
    for (size_t i = 0; i < look->m->n; i++) {
        const struct written *b = &look->m->all[i];
        if (b->last_offset < look->found.start || !is_promised(look, b)) {
            look->w->seen.lost += b->state == WRITTEN_ACKED ? 1 : 0;
            continue;
        }
        look->w->seen.batches++;
        if (!is_same(found_at(look, b->base_offset), b)) {
            wrong(look, "has lost the batch at %lld, of a log from %lld to %lld, flushed to %lld",
                  (long long)b->base_offset, (long long)look->found.start,
                  (long long)look->found.end, (long long)look->m->flushed);
        }
    }
}

/* ---- keys ---- */

static int number_of(struct bytes text, const char *prefix)
{
    char copy[32] = "";
    size_t skip = strlen(prefix);
    size_t n = text.len < sizeof(copy) - 1 ? text.len : sizeof(copy) - 1;
    memcpy(copy, text.data, n);
    return n > skip && memcmp(copy, prefix, skip) == 0 ? atoi(copy + skip) : -1;
}

/* What a batch says of a key: the offset of its last value, -1 for none. */
static int64_t last_of(const uint8_t *bytes, int key, int *value)
{
    struct batch batch;
    struct record_iter iter;
    struct record record;
    int64_t last = -1;
    batch_parse(bytes, &batch);
    record_iter_init(
        &iter, bytes_of(bytes + BATCH_HEADER_BYTES, (size_t)batch.size_bytes - BATCH_HEADER_BYTES),
        batch.count);
    while (!batch_is(&batch, BATCH_CONTROL) && record_iter_next(&iter, &record)) {
        if (number_of(record.key, "key-") == key) {
            last = batch_offset(&batch, record.offset_delta);
            *value = number_of(record.value, "value-");
        }
    }
    return last;
}

/* Of what was written: does it count? Aborted and undecided records do not. */
static bool counts(const struct written *b)
{
    return b->outcome == TXN_NONE || b->outcome == TXN_COMMITTED;
}

static const struct written *written_of(const struct look *look, int64_t base_offset, int key,
                                        int value)
{
    for (size_t i = 0; i < look->m->n; i++) {
        const struct written *b = &look->m->all[i];
        int has = -1;
        if (b->base_offset == base_offset && last_of(b->bytes, key, &has) >= 0 && has == value) {
            return b;
        }
    }
    return NULL;
}

static void check_key(struct look *look, int key)
{
    int64_t wanted = -1;
    int64_t last = -1;
    int64_t cleaned = plog_cleaned_to(look->log);
    int below_cleaned = 0;
    for (size_t i = 0; i < look->m->n; i++) {
        const struct written *b = &look->m->all[i];
        int value = -1;
        int64_t at = is_promised(look, b) && counts(b) ? last_of(b->bytes, key, &value) : -1;
        wanted = at > wanted ? at : wanted;
    }
    for (size_t i = 0; i < look->found.n; i++) {
        int value = -1;
        int64_t base_offset = look->found.all[i].header.base_offset;
        int64_t at = last_of(look->found.all[i].bytes, key, &value);
        const struct written *b = at < 0 ? NULL : written_of(look, base_offset, key, value);
        if (at >= 0 && b == NULL) {
            wrong(look, "has a value of key %d at %lld that nobody wrote", key, (long long)at);
        }
        bool is_value = b != NULL && counts(b);
        last = is_value && at > last ? at : last;
        below_cleaned += is_value && at < cleaned ? 1 : 0;
    }
    if (last < wanted) {
        wrong(look, "has lost the last value of key %d at %lld", key, (long long)wanted);
    }
    if (below_cleaned > 1) {
        wrong(look, "is cleaned to %lld, and has key %d twice below", (long long)cleaned, key);
    }
    look->w->seen.keys += wanted >= 0 ? 1 : 0;
}

static void check_keys(struct look *look)
{
    for (int key = 0; key < WORLD_KEYS; key++) {
        check_key(look, key);
    }
    if (plog_cleaned_to(look->log) > look->m->cleaned_most) {
        wrong(look, "is cleaned to %lld, of %lld", (long long)plog_cleaned_to(look->log),
              (long long)look->m->cleaned_most);
    }
}

/* ---- producers ---- */

struct producer_state {
    bool is_known;
    int16_t epoch;
    int32_t last_sequence;
    int64_t txn_start; /* -1: none */
};

struct ended_txn {
    int64_t producer_id;
    int64_t first_offset;
    int64_t last_offset; /* its marker's */
};

/* What batches say, one by one. */
struct told {
    struct producer_state producers[WORLD_PRODUCERS];
    struct ended_txn aborted[256];
    int aborted_n;
};

static void tell_marker(struct told *told, struct producer_state *of, const uint8_t *bytes,
                        const struct batch *batch)
{
    struct record_iter iter;
    struct record record = {0};
    record_iter_init(
        &iter, bytes_of(bytes + BATCH_HEADER_BYTES, (size_t)batch->size_bytes - BATCH_HEADER_BYTES),
        batch->count);
    bool is_abort = record_iter_next(&iter, &record) && record.key.data[3] == CONTROL_ABORT;
    if (is_abort && of->txn_start >= 0) {
        CHECK(told->aborted_n < 256);
        told->aborted[told->aborted_n++] =
            (struct ended_txn){batch->producer_id, of->txn_start, batch->base_offset};
    }
    of->txn_start = -1;
}

static void tell(struct told *told, const uint8_t *bytes)
{
    struct batch batch;
    batch_parse(bytes, &batch);
    int64_t at = batch.producer_id - 100;
    if (at < 0 || at >= WORLD_PRODUCERS) {
        return;
    }
    struct producer_state *of = &told->producers[at];
    if (!of->is_known) {
        *of = (struct producer_state){.is_known = true, .last_sequence = -1, .txn_start = -1};
    }
    of->epoch = batch.producer_epoch;
    if (batch_is(&batch, BATCH_CONTROL)) {
        tell_marker(told, of, bytes, &batch);
        return;
    }
    of->last_sequence = batch_last_sequence(&batch);
    if (batch_is(&batch, BATCH_TRANSACTIONAL) && of->txn_start < 0) {
        of->txn_start = batch.base_offset;
    }
}

/* The history up to the log's end: of what is found those bytes, of what is not those that were acknowledged. */
static void tell_all(const struct look *look, struct told *told)
{
    size_t next = 0;
    for (size_t i = 0; i < look->m->n; i++) {
        const struct written *b = &look->m->all[i];
        const struct found_batch *found = found_at(look, b->base_offset);
        bool cleaned = look->m->is_compacted && is_promised(look, b);
        bool trimmed = b->last_offset < look->found.start || cleaned;
        if (b->state == WRITTEN_ACKED && b->base_offset < look->found.end && found == NULL &&
            trimmed) {
            while (next < look->found.n &&
                   look->found.all[next].header.base_offset < b->base_offset) {
                tell(told, look->found.all[next++].bytes);
            }
            tell(told, b->bytes);
        }
    }
    while (next < look->found.n) {
        tell(told, look->found.all[next++].bytes);
    }
}

static bool txn_start_fits(int64_t start, int64_t all, int64_t found)
{
    return start == all || start == found || (found >= 0 && start >= all && start <= found);
}

/* Has it written what was cut off before the start, so that nobody knows how much of it counts? */
static bool is_forgotten(const struct look *look, int64_t producer_id)
{
    for (size_t i = 0; i < look->m->n; i++) {
        const struct written *b = &look->m->all[i];
        if (b->producer_id == producer_id && b->state != WRITTEN_ACKED &&
            b->last_offset < look->found.start) {
            return true;
        }
    }
    return false;
}

static void check_producer(struct look *look, const struct producer_info *info,
                           const struct told *all, const struct told *found)
{
    int64_t at = info->producer_id - 100;
    if (is_forgotten(look, info->producer_id)) {
        return;
    }
    if (at < 0 || at >= WORLD_PRODUCERS || !all->producers[at].is_known) {
        wrong(look, "knows a producer %lld that never wrote", (long long)info->producer_id);
        return;
    }
    const struct producer_state *a = &all->producers[at];
    const struct producer_state *f = &found->producers[at];
    bool is_right =
        info->epoch == a->epoch &&
        (info->last_sequence == a->last_sequence ||
         (f->is_known && info->last_sequence == f->last_sequence)) &&
        txn_start_fits(info->txn_start_offset, a->txn_start, f->is_known ? f->txn_start : -1);
    if (!is_right) {
        wrong(look,
              "has producer %lld with epoch %d sequence %d transaction %lld, not %d %d %lld or %d "
              "%lld",
              (long long)info->producer_id, info->epoch, info->last_sequence,
              (long long)info->txn_start_offset, a->epoch, a->last_sequence,
              (long long)a->txn_start, f->last_sequence, (long long)f->txn_start);
    }
    look->w->seen.producers++;
}

static void check_aborted(struct look *look, struct arena *arena, const struct told *all,
                          const struct told *found)
{
    struct aborted_txn *txns = NULL;
    int32_t count = 0;
    err e = plog_aborted_txns(look->log, look->found.start, look->found.end, arena, &txns, &count);
    if (e != OK) {
        wrong(look, "does not tell its aborted transactions: %s", err_text(e));
    }
    for (int i = 0; i < found->aborted_n; i++) {
        const struct ended_txn *txn = &found->aborted[i];
        bool told = false;
        for (int32_t j = 0; j < count; j++) {
            told |= txns[j].producer_id == txn->producer_id &&
                    txns[j].first_offset <= txn->first_offset;
        }
        if (!told) {
            wrong(look, "forgets that %lld aborted from %lld on", (long long)txn->producer_id,
                  (long long)txn->first_offset);
        }
    }
    for (int32_t j = 0; j < count; j++) {
        bool is_known = false;
        for (int i = 0; i < all->aborted_n; i++) {
            is_known |= txns[j].producer_id == all->aborted[i].producer_id &&
                        txns[j].first_offset >= all->aborted[i].first_offset &&
                        txns[j].first_offset <= all->aborted[i].last_offset;
        }
        if (!is_known) {
            wrong(look, "says that %lld aborted from %lld on", (long long)txns[j].producer_id,
                  (long long)txns[j].first_offset);
        }
    }
    look->w->seen.aborted += (uint64_t)found->aborted_n;
}

/* Who is known, and from where on nothing is decided. */
static void check_known(struct look *look, const struct producer_info *infos, int32_t count,
                        const struct told *found)
{
    int64_t stable = look->found.end;
    bool known[WORLD_PRODUCERS] = {false};
    for (int32_t i = 0; i < count; i++) {
        int64_t at = infos[i].producer_id - 100;
        if (at >= 0 && at < WORLD_PRODUCERS) {
            known[at] = true;
        }
        int64_t open = infos[i].txn_start_offset;
        open = open >= 0 && open < look->found.start ? look->found.start : open;
        stable = open >= 0 && open < stable ? open : stable;
    }
    for (int i = 0; i < WORLD_PRODUCERS; i++) {
        if (found->producers[i].is_known && !known[i]) {
            wrong(look, "has forgotten producer %d", 100 + i);
        }
    }
    if (plog_last_stable_offset(look->log, look->found.end) != stable) {
        wrong(look, "is stable to %lld, its producers say %lld",
              (long long)plog_last_stable_offset(look->log, look->found.end), (long long)stable);
    }
}

static void check_producers(struct look *look)
{
    struct told *told = xcalloc(2, sizeof(*told));
    struct arena arena;
    struct producer_info *infos = NULL;
    int32_t count = 0;
    arena_init(&arena, 1 << 20);
    tell_all(look, &told[0]);
    for (size_t i = 0; i < look->found.n; i++) {
        tell(&told[1], look->found.all[i].bytes);
    }
    MUST(plog_producers(look->log, &arena, &infos, &count));
    for (int32_t i = 0; i < count; i++) {
        check_producer(look, &infos[i], &told[0], &told[1]);
    }
    check_known(look, infos, count, &told[1]);
    check_aborted(look, &arena, &told[0], &told[1]);
    arena_deinit(&arena);
    free(told);
}

/* ---- all of a log ---- */

static void check_epochs(struct look *look)
{
    int32_t last = -1;
    for (size_t i = 0; i < look->found.n; i++) {
        const struct batch *batch = &look->found.all[i].header;
        int64_t offset =
            batch->base_offset > look->found.start ? batch->base_offset : look->found.start;
        int32_t epoch = plog_epoch_of(look->log, offset);
        if (epoch != batch->leader_epoch || batch->leader_epoch < last) {
            wrong(look, "has epoch %d at %lld, the batch says %d, the one before %d", epoch,
                  (long long)offset, batch->leader_epoch, last);
        }
        last = batch->leader_epoch;
    }
    if (plog_latest_epoch(look->log) > look->m->epoch) {
        wrong(look, "has epoch %d, which nobody led in", plog_latest_epoch(look->log));
    }
}

static void check_log(struct look *look)
{
    err e = found_read(look->log, &look->found);
    if (e != OK) {
        wrong(look, "cannot be read from %lld to %lld: %s", (long long)look->found.start,
              (long long)look->found.end, err_text(e));
    } else {
        struct uuid id = plog_topic_id(look->log);
        check_bounds(look);
        check_epochs(look);
        if (look->m->is_compacted) {
            check_keys(look);
        } else {
            check_run(look);
            check_promised(look);
        }
        check_producers(look);
        if ((look->in_cache ? look->m->in_cache == LOG_THERE : look->found.n > 0) &&
            memcmp(&id, &look->m->topic_id, sizeof(id)) != 0) {
            wrong(look, "has another topic id");
        }
    }
    found_free(&look->found);
}

/* ---- all logs ---- */

/* A start on what is left: `v` is the process. */
static bool boot(struct world *w, struct world *v)
{
    v->env = (struct storage_env){0};
    if (world_boot(v) == OK) {
        w->seen.opened++;
        return true;
    }
    w->failures++;
    printf("  WRONG %s: the start is refused: %s\n", w->where, v->where);
    return false;
}

static void compare(struct world *w, struct world *v, bool in_cache)
{
    size_t there = 0;
    for (size_t i = 0; i < w->models_n; i++) {
        struct look look = {.w = w, .m = &w->models[i], .in_cache = in_cache};
        enum existence wanted = in_cache ? look.m->in_cache : look.m->on_disk;
        look.log = world_log(v, look.m);
        there += look.log != NULL ? 1 : 0;
        if ((look.log == NULL && wanted == LOG_THERE) ||
            (look.log != NULL && wanted == LOG_ABSENT)) {
            wrong(&look, look.log == NULL ? "is gone" : "is back");
        } else if (look.log != NULL) {
            check_log(&look);
        }
    }
    if (there != logs_count(v->logs)) {
        struct look look = {.w = w, .m = &w->models[0]};
        wrong(&look, "%zu logs are there, %zu of them open", logs_count(v->logs), there);
    }
}

/* The logs as they are now, in one number. */
static uint64_t shown(struct world *v, const struct world *w)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < w->models_n; i++) {
        struct plog *log = world_log(v, &w->models[i]);
        struct found found = {0};
        if (log != NULL && found_read(log, &found) == OK) {
            sum = sum * 31 + (uint64_t)found.start * 7 + (uint64_t)found.end + 1;
            for (size_t j = 0; j < found.n; j++) {
                sum = sum * 31 + found.all[j].header.crc;
            }
        }
        found_free(&found);
    }
    return sum;
}

static void differs(struct world *w, const char *what)
{
    if (w->failures++ < SAID_MAX) {
        printf("  WRONG %s: %s\n", w->where, what);
    }
}

/* An append and a flush to each, if asked. */
static void go_on(struct world *w, struct world *v)
{
    for (size_t i = 0; i < w->models_n; i++) {
        struct plog *log = world_log(v, &w->models[i]);
        if (log == NULL) {
            continue;
        }
        struct writer bytes;
        struct append_result result;
        struct batch_builder builder;
        writer_init(&bytes, 1 << 20);
        batch_begin(&builder, &bytes, 0);
        batch_add(&builder, T0_MS, bytes_of("key-0", 5), bytes_of("value-0", 7));
        MUST(batch_end(&builder));
        err e =
            plog_append(log, bytes.data, bytes.len, APPEND_CLIENT, w->models[i].epoch + 1, &result);
        e = e == OK ? plog_flush(log) : e;
        if (e != OK) {
            differs(w, "an append or a flush fails");
        }
        writer_deinit(&bytes);
    }
}

static void crash_again(struct world *w, struct world *v, enum crash_kind kind)
{
    uint64_t before = shown(v, w);
    world_crash(v, kind, 0);
    if (boot(w, v)) {
        if (shown(v, w) != before) {
            differs(w, "the next start, after a power cut, shows other logs");
        }
        world_kill(v);
    }
}

static void check_unchanged(struct world *w, struct world *v)
{
    bool was_clean = logs_were_clean(v->logs); /* then the next is the first that recovers */
    world_kill(v);
    if (was_clean && boot(w, v)) {
        world_kill(v);
    }
    uint64_t before = crash_disk_hash(v->disk, UNSETTLED);
    if (w->prints) {
        crash_disk_print(v->disk);
    }
    if (boot(w, v)) {
        world_kill(v);
        if (w->prints) {
            crash_disk_print(v->disk);
        }
        if (crash_disk_hash(v->disk, UNSETTLED) != before) {
            differs(w, "a second start changes files");
        }
    }
}

static void check_clean_stop(struct world *w, struct world *v)
{
    uint64_t before = shown(v, w);
    world_stop(v);
    if (boot(w, v)) {
        if (!logs_were_clean(v->logs) || shown(v, w) != before) {
            differs(w, "a clean stop, and the start behind it, show other logs");
        }
        world_kill(v);
    }
}

void world_check(struct world *w, struct crash_disk *left, enum crash_kind kind)
{
    struct world v = {.dirs_n = w->dirs_n, .disk = left};
    uint64_t which = crash_disk_hash(left, NULL) >> 7;
    manual_clock_init(&v.clock, w->clock.now_ms);
    seeded_random_init(&v.random, 1);
    if (w->prints) {
        printf("%s\n", w->where);
        log_set_level(LOG_DEBUG);
        crash_disk_print(left);
    }
    if (boot(w, &v)) {
        compare(w, &v, kind == CRASH_KILL || kind == CRASH_TORN);
        switch (which % 4) {
        case 0:
            check_unchanged(w, &v);
            break;
        case 1:
            check_clean_stop(w, &v);
            break;
        case 2:
            go_on(w, &v);
            crash_again(w, &v, CRASH_POWER);
            break;
        default:
            crash_again(w, &v, CRASH_POWER);
        }
    }
    crash_disk_free(v.disk);
}
