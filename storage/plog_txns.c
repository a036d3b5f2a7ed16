/* The transactions of a log: what is open, and which were aborted.
 *
 * A .txnindex has no check sum. It is compared with what the batches of its segment say, from the
 * producers at the segment's begin (its snapshot, which has one) on: once, before its first use where
 * the segment is small, in the background where a walk over its headers would keep a loop waiting.
 * Until then, and where the comparison is not possible (compaction took batches; no snapshot), the
 * file is believed.
 *
 * Entries that this process appends need no proof. */
#include "storage/plog_internal.h"

#include "base/planted.h"
#include "base/log.h"

#include <stdlib.h>

enum { RETRIES_MAX = 8 };
enum { PROVE_AT_ONCE_BYTES = 16 * 1024 * 1024 }; /* 3 to 10 ms in the page cache */

void plog_count_txns_locked(struct plog *log)
{
    const struct producers *producers = &log->producers;
    CHECK(producers->open.count <= producers->by_id.count);
    atomic_store(&log->open_txns, (int)producers->open.count);
    atomic_store(&log->txns, (int)(producers->open.count + producers->decided.count));
}

int plog_open_txns(const struct plog *log)
{
    return atomic_load(&log->open_txns);
}

int64_t plog_last_stable_offset(struct plog *log, int64_t high_watermark)
{
    if (atomic_load(&log->txns) == 0 || planted(MISTAKE_READS_UNDECIDED)) {
        return high_watermark;
    }
    guard_lock(log);
    int64_t first = producers_first_unstable(&log->producers, high_watermark);
    plog_count_txns_locked(log);
    guard_unlock(log);
    int64_t start = plog_start_offset(log);
    first = first < start ? start : first; /* records may go before their transaction ends */
    return first < high_watermark ? first : high_watermark;
}

/* ---- what a segment's index should be ---- */

/* A walk over a segment, from the producers at its begin. */
struct txn_proof {
    struct producers producers;
    struct txn_entry *entries; /* owned */
    int64_t count;
    int64_t cap;
    int64_t next_offset;
};

static void proof_push(struct txn_proof *proof, const struct txn_entry *entry)
{
    if (proof->count == proof->cap) {
        proof->cap = proof->cap == 0 ? 16 : proof->cap * 2;
        proof->entries = xrealloc(proof->entries, (size_t)proof->cap * sizeof(*proof->entries));
    }
    proof->entries[proof->count++] = *entry;
}

/* E_UNSUPPORTED: records are gone, so the batches do not tell. */
static err proof_add(struct txn_proof *proof, struct fs *fs, int fd,
                     const struct placed_batch *placed)
{
    const struct batch *batch = &placed->header;
    struct txn_entry aborted;
    struct marker marker;
    bool control = batch_is_marker(batch);
    if (batch->base_offset != proof->next_offset ||
        (batch->magic == 2 && batch->count != batch->last_offset_delta + 1)) {
        return E_UNSUPPORTED;
    }
    proof->next_offset = batch_last_offset(batch) + 1;
    if (control) {
        size_t len = (size_t)batch->size_bytes;
        uint8_t *bytes = malloc(len);
        err e = bytes == NULL ? E_LIMIT : fs_read(fs, fd, bytes, len, placed->position);
        e = e == OK ? marker_parse(bytes_of(bytes, len), &marker) : e;
        free(bytes);
        TRY(e);
    }
    if (producers_apply(&proof->producers, batch, control ? &marker : NULL, &aborted)) {
        proof_push(proof, &aborted);
    }
    return OK;
}

/* The producers at the segment's begin. E_UNSUPPORTED: not known. */
static err proof_begin(struct txn_proof *proof, const struct plog *log,
                       const struct segment *segment)
{
    char path[PATH_MAX];
    *proof = (struct txn_proof){.next_offset = segment->base_offset};
    producers_init(&proof->producers);
    if (segment->base_offset == 0) {
        return OK;
    }
    segment_sibling(segment->log_path, SUFFIX_SNAPSHOT, path);
    err e = producers_load(&proof->producers, log->env->fs, path, segment->base_offset,
                           clock_wall_ms(log->env->clock), INT64_MAX);
    return e == E_CORRUPT || err_to_errno(e) == ENOENT ? E_UNSUPPORTED : e;
}

static void proof_end(struct txn_proof *proof)
{
    producers_deinit(&proof->producers);
    free(proof->entries);
}

static err proof_walk(struct txn_proof *proof, struct segment *segment)
{
    struct fs *fs = segment->txns.env->fs;
    struct open_file *file = NULL;
    struct placed_batch placed;
    struct scan scan;
    TRY(segment_file(segment, &file));
    int fd = open_file_fd(file);
    scan_init(&scan, fs, fd, 0, atomic_load(&segment->size_bytes));
    err e = OK;
    while (e == OK && (e = scan_next(&scan, &placed.header, &placed.position)) == OK) {
        e = proof_add(proof, fs, fd, &placed);
    }
    open_file_release(file);
    return e == E_NOT_FOUND ? OK : e;
}

err plog_prove_txns(struct plog *log, struct segment *segment, bool in_background)
{
    if (txn_index_is_proven(&segment->txns) ||
        (!in_background && atomic_load(&segment->size_bytes) > PROVE_AT_ONCE_BYTES)) {
        return OK;
    }
    struct txn_proof proof;
    bool changed = false;
    err e = proof_begin(&proof, log, segment);
    e = e == OK ? proof_walk(&proof, segment) : e;
    if (e == OK) {
        e = txn_index_prove(&segment->txns, proof.entries, proof.count, &changed);
    } else if (e == E_UNSUPPORTED || e == E_CORRUPT || e == E_TRUNCATED || e == E_MALFORMED) {
        txn_index_believe(&segment->txns);
        e = OK;
    }
    if (changed) {
        log_warn(AREA, "a transaction index did not fit its log and was made again file=%s",
                 segment->log_path);
    }
    proof_end(&proof);
    return e;
}

/* A walk over the transaction indexes for one question. */
struct txn_search {
    int64_t from;
    int64_t to;
    struct arena *arena;
    struct aborted_txn *found;
    int32_t count;
    int32_t cap;
    bool done;
    err error;
};

static bool txn_visit(void *context, const struct txn_entry *entry)
{
    struct txn_search *search = context;
    if (entry->last_offset >= search->from && entry->first_offset < search->to) {
        if (search->count == search->cap) {
            int32_t cap = search->cap == 0 ? 8 : search->cap * 2;
            struct aborted_txn *grown = arena_array(search->arena, (size_t)cap, sizeof(*grown));
            if (grown == NULL) {
                search->error = E_LIMIT;
                return false;
            }
            if (search->count > 0) {
                memcpy(grown, search->found, (size_t)search->count * sizeof(*grown));
            }
            search->found = grown;
            search->cap = cap;
        }
        search->found[search->count++] = (struct aborted_txn){.producer_id = entry->producer_id,
                                                              .first_offset = entry->first_offset};
    }
    search->done = entry->last_stable_offset >= search->to;
    return !search->done;
}

/* From the segment that holds `from` forward, until an entry says that everything below its last
 * stable offset, and so below `to`, was decided. */
static err aborted_txns(struct plog *log, struct txn_search *search)
{
    int64_t base = search->from;
    bool more = true;
    while (more && !search->done && search->error == OK) {
        guard_lock(log);
        size_t i = plog_segment_at(log, base);
        struct segment *segment = log->segments[i];
        more = i + 1 < log->segments_n;
        base = more ? log->segments[i + 1]->base_offset : base;
        segment_retain(segment);
        guard_unlock(log);
        err e = plog_prove_txns(log, segment, false);
        e = e == OK ? txn_index_each(&segment->txns, txn_visit, search) : e;
        segment_release(segment);
        TRY(e);
    }
    return search->error;
}

err plog_aborted_txns(struct plog *log, int64_t from, int64_t to, struct arena *arena,
                      struct aborted_txn **txns, int32_t *count)
{
    if (plog_is_offline(log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    for (int i = 0; i < RETRIES_MAX; i++) {
        struct txn_search search = {.from = from, .to = to, .arena = arena};
        struct log_moment moment = plog_moment(log);
        err e = aborted_txns(log, &search);
        *txns = search.found;
        *count = search.count;
        if (e == E_LIMIT || !plog_read_again(log, &moment, e)) {
            return plog_read_fail(log, plog_refuse(log, e), "reading a transaction index");
        }
    }
    return ERR_KAFKA_STORAGE_ERROR; /* as plog_read */
}
