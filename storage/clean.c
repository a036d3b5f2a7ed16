/* Kafka's Cleaner, CleanedTransactionMetadata and MemoryRecords.filterTo are the rule; each is asked what it
 * leaves of the same log (interop-tests/compaction/test_beside_kafka.py). */
#include "storage/clean.h"

#include "base/planted.h"
#include "storage/producers.h"

#include <stdlib.h>

enum { INFLATED_BYTES_MAX = 512 << 20, GROUP_MAX = 32 };

/* ---- transactions ---- */

struct aborted_txn_met {
    struct txn_entry entry;
    bool has_batches; /* of this pass */
};

void clean_txns_init(struct clean_txns *txns)
{
    *txns = (struct clean_txns){0};
    map_init(&txns->aborted);
    map_init(&txns->committed);
}

void clean_txns_deinit(struct clean_txns *txns)
{
    map_each (entry, &txns->aborted) {
        free(entry->value);
    }
    map_deinit(&txns->aborted);
    map_deinit(&txns->committed);
    free(txns->waiting);
    *txns = (struct clean_txns){0};
}

void clean_txns_add(struct clean_txns *txns, const struct txn_entry *entry)
{
    if (txns->waiting_n == txns->waiting_cap && txns->begun_n > txns->waiting_n / 2) {
        txns->waiting_n -= txns->begun_n;
        memmove(txns->waiting, txns->waiting + txns->begun_n,
                txns->waiting_n * sizeof(*txns->waiting));
        txns->begun_n = 0;
    } else if (txns->waiting_n == txns->waiting_cap) {
        txns->waiting_cap = txns->waiting_cap == 0 ? 16 : txns->waiting_cap * 2;
        txns->waiting = xrealloc(txns->waiting, txns->waiting_cap * sizeof(*txns->waiting));
    }
    size_t at = txns->waiting_n++;
    for (; at > txns->begun_n && txns->waiting[at - 1].first_offset > entry->first_offset; at--) {
        txns->waiting[at] = txns->waiting[at - 1];
    }
    txns->waiting[at] = *entry;
}

/* Those that began at or below `offset` are under way. */
static void begin_aborted(struct clean_txns *txns, int64_t offset)
{
    while (txns->begun_n < txns->waiting_n && txns->waiting[txns->begun_n].first_offset <= offset) {
        const struct txn_entry *entry = &txns->waiting[txns->begun_n++];
        if (map_get_i64(&txns->aborted, entry->producer_id) == NULL) {
            struct aborted_txn_met *met = xcalloc(1, sizeof(*met));
            met->entry = *entry;
            (void)map_set_i64(&txns->aborted, entry->producer_id, met);
        }
    }
}

static bool pass_marker(struct clean_txns *txns, const struct batch *batch,
                        const struct marker *marker, struct txn_entry *kept, bool *has_kept)
{
    if (marker->type == CONTROL_COMMIT) {
        return map_remove_i64(&txns->committed, batch->producer_id) == NULL ||
               planted(MISTAKE_MARKER_BEFORE_DATA);
    }
    if (marker->type != CONTROL_ABORT) {
        return false;
    }
    struct aborted_txn_met *met = map_remove_i64(&txns->aborted, batch->producer_id);
    bool has_batches = met != NULL && met->has_batches;
    if (has_batches && kept != NULL && !planted(MISTAKE_LOSES_ABORTED_TXN)) {
        *kept = met->entry;
        *has_kept = true;
    }
    free(met);
    return !has_batches;
}

bool clean_txns_pass(struct clean_txns *txns, const struct batch *batch,
                     const struct marker *marker, struct txn_entry *kept, bool *has_kept)
{
    begin_aborted(txns, batch_last_offset(batch));
    if (batch_is(batch, BATCH_CONTROL)) {
        return marker == NULL || pass_marker(txns, batch, marker, kept, has_kept);
    }
    if (!batch_is(batch, BATCH_TRANSACTIONAL)) {
        return false;
    }
    struct aborted_txn_met *met = map_get_i64(&txns->aborted, batch->producer_id);
    if (met != NULL && !planted(MISTAKE_ABORTED_STAYS)) {
        met->has_batches = true;
        return true;
    }
    (void)map_set_i64(&txns->committed, batch->producer_id, txns);
    return false;
}

/* The marker of a control batch; NULL: it is empty, a header that was left. */
static err read_marker(struct bytes bytes, const struct batch *batch, struct marker *marker,
                       const struct marker **read)
{
    *read = NULL;
    if (batch_is(batch, BATCH_CONTROL) && batch->count > 0) {
        TRY(marker_parse(bytes, marker) == OK ? OK : E_CORRUPT);
        *read = marker;
    }
    return OK;
}

/* ---- the map ---- */

/* Records that are read ahead, so that the map has been asked for all of their keys before the first is needed. */
struct group {
    struct record records[GROUP_MAX];
    struct clean_key keys[GROUP_MAX]; /* of those that have one */
    int count;
};

/* False: there are no more. */
static bool group_read(struct group *group, const struct clean_map *map, struct record_iter *iter)
{
    group->count = 0;
    while (group->count < GROUP_MAX && record_iter_next(iter, &group->records[group->count])) {
        const struct record *record = &group->records[group->count];
        if (record->key.data != NULL) {
            group->keys[group->count] = clean_map_key(map, record->key);
        }
        group->count++;
    }
    return group->count > 0;
}

/* False: it is full. */
static bool group_put(const struct group *group, struct clean_map *map, const struct batch *batch,
                      int64_t from)
{
    for (int i = 0; i < group->count; i++) {
        int64_t offset = batch_offset(batch, group->records[i].offset_delta);
        if (group->records[i].key.data != NULL && offset >= from &&
            !clean_map_put(map, &group->keys[i], offset)) {
            return false;
        }
    }
    return true;
}

/* False: it cannot be inflated (not in the memory that is there, either), and nothing is known of what is in it. */
static bool inflate(struct bytes bytes, struct writer *scratch, struct bytes *body)
{
    return batch_body(bytes, scratch, INFLATED_BYTES_MAX, body) == OK;
}

err clean_map_batch(struct clean_map *map, struct clean_txns *txns, struct bytes bytes,
                    const struct batch *batch, int64_t from, struct writer *scratch, bool *full)
{
    struct marker marker;
    const struct marker *read = NULL;
    struct bytes body;
    *full = false;
    TRY(read_marker(bytes, batch, &marker, &read));
    bool skipped = clean_txns_pass(txns, batch, read, NULL, NULL);
    if (!skipped && !batch_is(batch, BATCH_CONTROL) && batch_last_offset(batch) >= from) {
        struct record_iter iter;
        struct group group;
        bool inflated = inflate(bytes, scratch, &body);
        record_iter_init(&iter, inflated ? body : (struct bytes){0}, inflated ? batch->count : 0);
        while (group_read(&group, map, &iter)) {
            if (!group_put(&group, map, batch, from)) {
                *full = true;
                return OK;
            }
        }
    }
    if (batch_last_offset(batch) >= from) {
        clean_map_passed(map, batch_last_offset(batch));
    }
    return OK;
}

/* ---- what stays ---- */

void clean_init(struct clean *clean, const struct clean_map *map, int64_t now_ms,
                int64_t delete_retention_ms)
{
    *clean =
        (struct clean){.map = map, .now_ms = now_ms, .delete_retention_ms = delete_retention_ms};
    clean_txns_init(&clean->txns);
    map_init(&clean->producers);
    writer_init(&clean->scratch, INFLATED_BYTES_MAX);
    writer_init(&clean->stays, SIZE_MAX);
}

void clean_forget_producers(struct clean *clean)
{
    map_each (entry, &clean->producers) {
        free(entry->value);
    }
    map_deinit(&clean->producers);
    map_init(&clean->producers);
}

void clean_deinit(struct clean *clean)
{
    clean_forget_producers(clean);
    map_deinit(&clean->producers);
    clean_txns_deinit(&clean->txns);
    writer_deinit(&clean->scratch);
    writer_deinit(&clean->stays);
}

void clean_note_producer(struct clean *clean, int64_t id, struct clean_producer producer)
{
    struct clean_producer *noted = xcalloc(1, sizeof(*noted));
    *noted = producer;
    free(map_set_i64(&clean->producers, id, noted));
}

/* Is this the batch by which an active producer's sequence is known, or, of one that has left only a marker, its
 * epoch? */
static bool is_last_of_producer(const struct clean *clean, const struct batch *batch)
{
    const struct clean_producer *producer =
        batch->producer_id < 0 ? NULL : map_get_i64(&clean->producers, batch->producer_id);
    if (producer == NULL || planted(MISTAKE_FORGETS_SEQUENCE)) {
        return false;
    }
    return producer->last_offset >= 0
               ? batch_last_offset(batch) == producer->last_offset
               : batch_is(batch, BATCH_CONTROL) && batch->producer_epoch == producer->epoch;
}

/* The time until which tombstones and a marker of this batch stay; -1: it has not been set. */
static int64_t horizon_of(const struct batch *batch)
{
    return batch_is(batch, BATCH_DELETE_HORIZON) ? batch->base_timestamp : -1;
}

static bool record_stays(const struct clean *clean, const struct batch *batch,
                         const struct record *record, const struct clean_key *key)
{
    int64_t offset = batch_offset(batch, record->offset_delta);
    if (offset > clean->map->latest_offset) {
        return true;
    }
    if (record->key.data == NULL || offset < clean_map_get(clean->map, key)) {
        return false;
    }
    int64_t horizon = horizon_of(batch);
    return record->value.data != NULL ||
           ((horizon < 0 || clean->now_ms < horizon) && !planted(MISTAKE_TOMBSTONE_AT_ONCE));
}

static void keep_whole(struct bytes bytes, struct writer *out)
{
    writer_bytes(out, bytes.data, bytes.len);
}

/* The header alone: sequences and the producer's state are read from it. */
static void keep_empty(const struct batch *batch, struct writer *out)
{
    struct batch_builder builder;
    size_t start = out->len;
    int keep = BATCH_LOG_APPEND_TIME | BATCH_TRANSACTIONAL | BATCH_CONTROL;
    batch_begin(&builder, out, (int16_t)(batch->attributes & keep));
    builder.producer_id = batch->producer_id;
    builder.producer_epoch = batch->producer_epoch;
    builder.base_sequence = batch->base_sequence;
    builder.last_offset_delta = batch->last_offset_delta;
    builder.max_timestamp = batch->max_timestamp;
    if (batch_end(&builder) == OK) {
        batch_set_base_offset(out->data + start, batch->base_offset);
        batch_set_leader_epoch(out->data + start, batch->leader_epoch);
    }
}

/* What a look at the records of a batch says; which of them stay is in clean->stays. */
struct look {
    int32_t stay_n;
    bool has_tombstones; /* among those that stay */
    bool is_sound;       /* they could all be read */
};

static struct look look_at_records(struct clean *clean, const struct batch *batch,
                                   struct bytes body)
{
    struct look look = {0};
    struct record_iter iter;
    struct group group;
    bool control = batch_is(batch, BATCH_CONTROL);
    writer_clear(&clean->stays);
    record_iter_init(&iter, body, batch->count);
    while (group_read(&group, clean->map, &iter)) {
        for (int i = 0; i < group.count; i++) {
            const struct record *record = &group.records[i];
            bool stays = control || record_stays(clean, batch, record, &group.keys[i]);
            writer_i8(&clean->stays, stays ? 1 : 0);
            look.stay_n += stays ? 1 : 0;
            look.has_tombstones |= stays && record->value.data == NULL;
        }
    }
    look.is_sound = iter.error == OK && !clean->stays.failed;
    return look;
}

/* Made anew of the records that stay. With a horizon that is the base of the timestamps. */
static err rebuild(const struct clean *clean, const struct batch *batch, struct bytes body,
                   int64_t horizon, struct writer *out)
{
    struct batch_builder builder;
    struct record_iter iter;
    struct record record;
    size_t start = out->len;
    int attributes = batch->attributes & ~BATCH_DELETE_HORIZON;
    batch_begin(&builder, out, (int16_t)(attributes | (horizon >= 0 ? BATCH_DELETE_HORIZON : 0)));
    builder.producer_id = batch->producer_id;
    builder.producer_epoch = batch->producer_epoch;
    builder.base_sequence = batch->base_sequence;
    builder.has_base_timestamp = horizon >= 0;
    builder.base_timestamp = horizon;
    record_iter_init(&iter, body, batch->count);
    for (size_t i = 0; record_iter_next(&iter, &record); i++) {
        if (clean->stays.data[i] != 0) {
            batch_add_record(&builder, batch_timestamp(batch, record.timestamp_delta),
                             record.offset_delta, &record);
        }
    }
    builder.last_offset_delta = batch->last_offset_delta;
    TRY(batch_end(&builder));
    batch_set_base_offset(out->data + start, batch->base_offset);
    batch_set_leader_epoch(out->data + start, batch->leader_epoch);
    return OK;
}

/* `removable`: a marker of a transaction of which nothing is left. */
static err clean_records(struct clean *clean, struct bytes bytes, const struct batch *batch,
                         struct bytes body, bool removable, struct writer *out)
{
    struct look look = look_at_records(clean, batch, body);
    int64_t horizon = horizon_of(batch);
    bool set = (horizon < 0 || planted(MISTAKE_NEW_HORIZON)) && (look.has_tombstones || removable);
    if (!look.is_sound || (look.stay_n == batch->count && !set)) {
        keep_whole(bytes, out);
        return OK;
    }
    if (look.stay_n == 0) {
        if (is_last_of_producer(clean, batch)) {
            keep_empty(batch, out);
        }
        return OK;
    }
    return rebuild(clean, batch, body, set ? clean->now_ms + clean->delete_retention_ms : horizon,
                   out);
}

static err clean_v2(struct clean *clean, struct bytes bytes, const struct batch *batch,
                    struct writer *out, struct cleaned *cleaned)
{
    struct marker marker;
    const struct marker *read = NULL;
    struct bytes body;
    bool control = batch_is(batch, BATCH_CONTROL);
    TRY(read_marker(bytes, batch, &marker, &read));
    bool removable =
        clean_txns_pass(&clean->txns, batch, read, &cleaned->aborted, &cleaned->has_aborted);
    int64_t horizon = horizon_of(batch);
    bool goes = removable && (!control || (horizon >= 0 && horizon <= clean->now_ms));
    if (goes || batch->count == 0) {
        if (is_last_of_producer(clean, batch)) {
            keep_empty(batch, out);
        }
        return OK;
    }
    if (!inflate(bytes, &clean->scratch, &body)) {
        keep_whole(bytes, out);
        return OK;
    }
    return clean_records(clean, bytes, batch, body, removable && control, out);
}

err clean_batch(struct clean *clean, struct bytes bytes, const struct batch *batch,
                struct writer *out, struct cleaned *cleaned)
{
    *cleaned = (struct cleaned){0};
    if (batch->magic < 2) {
        keep_whole(bytes, out);
    } else {
        TRY(clean_v2(clean, bytes, batch, out, cleaned));
    }
    return out->failed ? E_LIMIT : OK;
}
