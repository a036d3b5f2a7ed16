/* Who wrote last, and which transactions are undecided.
 *
 * For each producer id the last five batches are remembered: a batch that repeats one of them
 * exactly is a retry and is answered with the old offset; any other must continue the sequence. A
 * snapshot keeps only the last of the five, as Kafka's does.
 *
 * Transactions: `open` holds those without a marker, `decided` those whose marker may still be
 * above the high watermark. Both ascend by first offset. In `decided` a span that ends before a
 * later span that also begins before it can never be the smallest one that matters, so it is
 * dropped at once: the list ascends by last offset too, and its head answers the question.
 *
 * First unstable offset = min(first open, first decided whose marker is at or above the high
 * watermark). The last stable offset is that, or the high watermark if smaller. */
#include "storage/producers.h"

#include "base/planted.h"

#include <stdlib.h>

enum { VERIFICATIONS_MAX = 10000 };

err marker_parse(struct bytes batch, struct marker *marker)
{
    struct batch header;
    struct record_iter iter;
    struct record record;
    *marker = (struct marker){.type = -1};
    if (batch.len < BATCH_HEADER_BYTES) {
        return E_MALFORMED;
    }
    batch_parse(batch.data, &header);
    if (header.count == 0) {
        return OK; /* compaction left only the header */
    }
    record_iter_init(&iter,
                     bytes_of(batch.data + BATCH_HEADER_BYTES, batch.len - BATCH_HEADER_BYTES),
                     header.count);
    if (!record_iter_next(&iter, &record)) {
        return E_MALFORMED;
    }
    struct reader key = reader_of(record.key);
    int16_t key_version = reader_i16(&key);
    int16_t type = reader_i16(&key);
    if (key.failed || key_version < 0) {
        return E_MALFORMED;
    }
    if (type != CONTROL_ABORT && type != CONTROL_COMMIT) {
        return OK;
    }
    struct reader value = reader_of(record.value);
    int16_t value_version = reader_i16(&value);
    marker->coordinator_epoch = reader_i32(&value);
    if (value.failed || value_version < 0) {
        return E_MALFORMED;
    }
    marker->type = type;
    return OK;
}

bool batch_is_marker(const struct batch *batch)
{
    return batch->magic == 2 && batch->producer_id >= 0 && batch_is(batch, BATCH_CONTROL) &&
           batch->count > 0;
}

void producers_init(struct producers *producers)
{
    *producers = (struct producers){0};
    map_init(&producers->by_id);
    map_init(&producers->verifications);
}

static void free_map(struct map *map)
{
    map_each (entry, map) {
        free(entry->value);
    }
    map_deinit(map);
}

static void free_all(struct producers *producers)
{
    free_map(&producers->by_id);
    free_map(&producers->verifications);
}

void producers_deinit(struct producers *producers)
{
    free_all(producers);
    free(producers->open.spans);
    free(producers->decided.spans);
}

void producers_clear(struct producers *producers, int64_t end_offset)
{
    CHECK(end_offset >= 0);
    free_all(producers);
    producers->open.count = 0;
    producers->decided.count = 0;
    producers->end_offset = end_offset;
}

static err check_marker(const struct producer *producer, const struct batch *batch,
                        const struct marker *marker)
{
    if (batch->producer_epoch < producer->epoch) {
        return ERR_INVALID_PRODUCER_EPOCH;
    }
    if (marker->type >= 0 && marker->coordinator_epoch < producer->coordinator_epoch) {
        return ERR_TRANSACTION_COORDINATOR_FENCED;
    }
    return OK;
}

/* What comes behind one that is still tried may not come before it. */
static err check_tentative(const struct verification *verification, const struct batch *batch)
{
    return verification != NULL && batch->base_sequence > verification->lowest_sequence
               ? ERR_OUT_OF_ORDER_SEQUENCE_NUMBER
               : OK;
}

/* What was verified is of who asked: another one's batch may be late. */
static err check_verified(const struct producer *producer, const struct verification *verification,
                          const struct batch *batch, uint64_t guard)
{
    bool begins = batch_is(batch, BATCH_TRANSACTIONAL) &&
                  (producer == NULL || producer->txn_first_offset < 0);
    bool verified = verification != NULL && verification->verified && verification->guard == guard;
    return begins && !verified && !planted(MISTAKE_NO_VERIFICATION) ? ERR_INVALID_TXN_STATE : OK;
}

static err check_sequence(const struct producer *producer, const struct batch *batch)
{
    if (batch->producer_epoch != producer->epoch) {
        return batch->base_sequence == 0 || producer->epoch == -1
                   ? OK
                   : ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    }
    int32_t last =
        producer->batches_n == 0 ? -1 : producer->batches[producer->batches_n - 1].last_sequence;
    bool follows = (int64_t)batch->base_sequence == (int64_t)last + 1 ||
                   (batch->base_sequence == 0 && last == INT32_MAX);
    return follows || producer->epoch == -1 ? OK : ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
}

static const struct producer_batch *find_duplicate(const struct producer *producer,
                                                   const struct batch *batch)
{
    if (producer->epoch != batch->producer_epoch) {
        return NULL;
    }
    for (int i = 0; i < producer->batches_n; i++) {
        const struct producer_batch *known = &producer->batches[i];
        if (known->last_sequence == batch_last_sequence(batch) &&
            sequence_add(batch->base_sequence, known->offset_delta) == known->last_sequence) {
            return known;
        }
    }
    return NULL;
}

err producers_check(const struct producers *producers, const struct batch *batch,
                    const struct marker *marker, const struct producers_rules *rules,
                    const struct producer_batch **duplicate)
{
    *duplicate = NULL;
    const struct producer *producer = map_get_i64(&producers->by_id, batch->producer_id);
    const struct verification *verification =
        map_get_i64(&producers->verifications, batch->producer_id);
    if (rules->origin == APPEND_REPLICATION) {
        return OK;
    }
    if (marker != NULL) {
        return producer == NULL ? OK : check_marker(producer, batch, marker);
    }
    if (rules->origin == APPEND_CLIENT && producer != NULL) {
        *duplicate = find_duplicate(producer, batch);
        if (*duplicate != NULL) {
            return OK;
        }
    }
    if (rules->verify) {
        TRY(check_verified(producer, verification, batch, rules->guard));
    }
    if (producer != NULL && batch->producer_epoch < producer->epoch) {
        return ERR_INVALID_PRODUCER_EPOCH;
    }
    if (rules->origin == APPEND_CLIENT) {
        TRY(check_tentative(verification, batch));
    }
    if (producer == NULL) {
        return OK;
    }
    if (rules->origin == APPEND_CLIENT) {
        TRY(check_sequence(producer, batch));
    }
    if (producer->txn_first_offset >= 0 && !batch_is(batch, BATCH_TRANSACTIONAL)) {
        return ERR_INVALID_TXN_STATE;
    }
    return OK;
}

/* Of clients that asked and never came back there may be many. */
static void drop_oldest_verification(struct producers *producers)
{
    size_t at = 0;
    struct map_entry *first = map_next(&producers->verifications, &at);
    int64_t id = 0;
    memcpy(&id, first->key, sizeof(id));
    free(map_remove_i64(&producers->verifications, id));
}

uint64_t producers_verify(struct producers *producers, int64_t producer_id, int16_t epoch,
                          int32_t sequence, int64_t now_ms)
{
    const struct producer *producer = map_get_i64(&producers->by_id, producer_id);
    if (producer != NULL && producer->txn_first_offset >= 0) {
        return 0;
    }
    struct verification *v = map_get_i64(&producers->verifications, producer_id);
    if (v == NULL) {
        if (producers->verifications.count >= VERIFICATIONS_MAX) {
            drop_oldest_verification(producers);
        }
        v = xcalloc(1, sizeof(*v));
        *v = (struct verification){.guard = ++producers->guards,
                                   .epoch = epoch,
                                   .lowest_sequence = sequence,
                                   .since_ms = now_ms};
        map_set_i64(&producers->verifications, producer_id, v);
    } else if (epoch > v->epoch || (epoch == v->epoch && sequence < v->lowest_sequence)) {
        v->epoch = epoch;
        v->lowest_sequence = sequence;
    }
    return v->guard;
}

void producers_verified(struct producers *producers, int64_t producer_id, uint64_t guard)
{
    struct verification *v = map_get_i64(&producers->verifications, producer_id);
    if (v != NULL && v->guard == guard) {
        v->verified = true;
    }
}

static void txn_push(struct txn_list *list, struct txn_span span)
{
    CHECK(span.first_offset >= 0);
    if (list->count == list->cap) {
        list->cap = list->cap == 0 ? 4 : list->cap * 2;
        list->spans = xrealloc(list->spans, list->cap * sizeof(*list->spans));
    }
    size_t at = list->count++;
    while (at > 0 && list->spans[at - 1].first_offset > span.first_offset) {
        list->spans[at] = list->spans[at - 1];
        at--;
    }
    list->spans[at] = span;
}

static void txn_take(struct txn_list *list, int64_t producer_id)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->spans[i].producer_id == producer_id) {
            memmove(list->spans + i, list->spans + i + 1,
                    (list->count - i - 1) * sizeof(*list->spans));
            list->count--;
            return;
        }
    }
}

static void decided_push(struct txn_list *list, struct txn_span span)
{
    while (list->count > 0 && list->spans[list->count - 1].first_offset >= span.first_offset) {
        list->count--;
    }
    txn_push(list, span);
}

static struct producer *producer_of(struct producers *producers, int64_t id)
{
    CHECK(id >= 0);
    struct producer *producer = map_get_i64(&producers->by_id, id);
    if (producer == NULL) {
        producer = xcalloc(1, sizeof(*producer));
        producer->id = id;
        producer->epoch = -1;
        producer->coordinator_epoch = -1;
        producer->last_timestamp = -1;
        producer->txn_first_offset = -1;
        map_set_i64(&producers->by_id, id, producer);
    }
    return producer;
}

static void set_epoch(struct producer *producer, int16_t epoch)
{
    if (producer->epoch != epoch) {
        producer->epoch = epoch;
        producer->batches_n = 0;
    }
}

static bool apply_marker(struct producers *producers, struct producer *producer,
                         const struct batch *batch, const struct marker *marker,
                         struct txn_entry *aborted)
{
    CHECK(producer->id == batch->producer_id);
    int64_t offset = batch->base_offset;
    set_epoch(producer, batch->producer_epoch);
    producer->coordinator_epoch = marker->coordinator_epoch;
    producer->last_timestamp = batch->max_timestamp;
    if (producer->txn_first_offset < 0) {
        return false;
    }
    struct txn_span span = {.producer_id = producer->id,
                            .first_offset = producer->txn_first_offset,
                            .last_offset = offset};
    producer->txn_first_offset = -1;
    txn_take(&producers->open, producer->id);
    decided_push(&producers->decided, span);
    *aborted = (struct txn_entry){
        .producer_id = producer->id,
        .first_offset = span.first_offset,
        .last_offset = offset,
        .last_stable_offset =
            producers->open.count > 0 ? producers->open.spans[0].first_offset : offset + 1,
    };
    return marker->type == CONTROL_ABORT;
}

static void apply_data(struct producers *producers, struct producer *producer,
                       const struct batch *batch)
{
    CHECK(producer->batches_n >= 0 && producer->batches_n <= PRODUCER_BATCHES_MAX);
    set_epoch(producer, batch->producer_epoch);
    if (producer->batches_n == PRODUCER_BATCHES_MAX) {
        memmove(producer->batches, producer->batches + 1,
                (PRODUCER_BATCHES_MAX - 1) * sizeof(*producer->batches));
        producer->batches_n--;
    }
    producer->batches[producer->batches_n++] = (struct producer_batch){
        .last_sequence = batch_last_sequence(batch),
        .last_offset = batch_last_offset(batch),
        .offset_delta = batch->last_offset_delta,
        .timestamp = batch->max_timestamp,
    };
    producer->last_timestamp = batch->max_timestamp;
    if (producer->txn_first_offset < 0 && batch_is(batch, BATCH_TRANSACTIONAL)) {
        producer->txn_first_offset = batch->base_offset;
        txn_push(&producers->open, (struct txn_span){.producer_id = producer->id,
                                                     .first_offset = batch->base_offset,
                                                     .last_offset = -1});
    }
}

bool producers_apply(struct producers *producers, const struct batch *batch,
                     const struct marker *marker, struct txn_entry *aborted)
{
    bool is_abort = false;
    if (batch->magic == 2 && batch->producer_id >= 0) {
        if (producers->verifications.count > 0 &&
            (marker != NULL || batch_is(batch, BATCH_TRANSACTIONAL))) {
            free(map_remove_i64(&producers->verifications, batch->producer_id));
        }
        if (marker == NULL && !batch_is(batch, BATCH_CONTROL)) {
            apply_data(producers, producer_of(producers, batch->producer_id), batch);
        } else if (marker != NULL && marker->type >= 0) {
            is_abort = apply_marker(producers, producer_of(producers, batch->producer_id), batch,
                                    marker, aborted);
        }
    }
    producers->end_offset = batch_last_offset(batch) + 1;
    return is_abort;
}

static void txn_list_check(const struct txn_list *list)
{
    CHECK(list->count <= list->cap);
    for (size_t i = 0; i < list->count; i++) {
        const struct txn_span *span = &list->spans[i];
        CHECK(span->first_offset >= 0);
        CHECK(i == 0 || span[-1].first_offset <= span->first_offset);
        CHECK(span->last_offset == -1 || span->last_offset >= span->first_offset);
    }
}

void producers_check_whole(const struct producers *producers)
{
    size_t open = 0;
    txn_list_check(&producers->open);
    txn_list_check(&producers->decided);
    map_each (entry, &producers->by_id) {
        const struct producer *producer = entry->value;
        CHECK(producer->batches_n >= 0 && producer->batches_n <= PRODUCER_BATCHES_MAX);
        open += producer->txn_first_offset >= 0 ? 1 : 0;
    }
    CHECK(open == producers->open.count);
    for (size_t i = 0; i < open; i++) {
        const struct txn_span *span = &producers->open.spans[i];
        const struct producer *producer = map_get_i64(&producers->by_id, span->producer_id);
        CHECK(producer != NULL && producer->txn_first_offset == span->first_offset);
    }
}

int64_t producers_first_unstable(struct producers *producers, int64_t high_watermark)
{
    struct txn_list *decided = &producers->decided;
    size_t done = 0;
    while (done < decided->count && decided->spans[done].last_offset < high_watermark) {
        done++;
    }
    if (done > 0) {
        memmove(decided->spans, decided->spans + done,
                (decided->count - done) * sizeof(*decided->spans));
        decided->count -= done;
    }
    int64_t first = INT64_MAX;
    if (decided->count > 0) {
        first = decided->spans[0].first_offset;
    }
    if (producers->open.count > 0 && producers->open.spans[0].first_offset < first) {
        first = producers->open.spans[0].first_offset;
    }
    return first;
}

static bool is_expired(const struct producer *producer, int64_t now_ms, int64_t expiration_ms)
{
    return producer->txn_first_offset < 0 && now_ms - producer->last_timestamp >= expiration_ms;
}

static void expire_verifications(struct producers *producers, int64_t now_ms, int64_t expiration_ms)
{
    size_t at = 0;
    const struct map_entry *first = NULL;
    while ((first = map_next(&producers->verifications, &at)) != NULL &&
           now_ms - ((const struct verification *)first->value)->since_ms >= expiration_ms) {
        drop_oldest_verification(producers);
        at = 0;
    }
}

void producers_expire(struct producers *producers, int64_t now_ms, int64_t expiration_ms)
{
    CHECK(expiration_ms >= 0);
    expire_verifications(producers, now_ms, expiration_ms);
    struct producer **idle = NULL;
    size_t count = 0;
    map_each (entry, &producers->by_id) {
        if (is_expired(entry->value, now_ms, expiration_ms)) {
            idle = idle == NULL ? xcalloc(producers->by_id.count, sizeof(struct producer *)) : idle;
            idle[count++] = entry->value;
        }
    }
    for (size_t i = 0; i < count; i++) {
        map_remove_i64(&producers->by_id, idle[i]->id);
        free(idle[i]);
    }
    free(idle);
}

/* The rest is the snapshot file:
 *   version i16 (1) | crc u32 (CRC-32C of what follows) | count i32 | count times 46 bytes:
 *   producer id i64, epoch i16, last sequence i32, last offset i64, offset delta i32,
 *   timestamp i64, coordinator epoch i32, current transaction's first offset i64. */
#include "base/crc32c.h"
#include "base/writer.h"

#include <fcntl.h>

enum {
    SNAPSHOT_VERSION = 1,
    SNAPSHOT_HEAD_BYTES = 10,
    SNAPSHOT_CRC_FROM = 6,
    SNAPSHOT_ENTRY_BYTES = 46,
    SNAPSHOT_BYTES_MAX = 1024 * 1024 * 1024,
};

static int by_id(const void *a, const void *b)
{
    const struct producer *const *x = a;
    const struct producer *const *y = b;
    return ((*x)->id > (*y)->id) - ((*x)->id < (*y)->id);
}

static void entry_write(struct writer *w, const struct producer *producer)
{
    const struct producer_batch *last =
        producer->batches_n == 0 ? NULL : &producer->batches[producer->batches_n - 1];
    writer_i64(w, producer->id);
    writer_i16(w, producer->epoch);
    writer_i32(w, last == NULL ? -1 : last->last_sequence);
    writer_i64(w, last == NULL ? -1 : last->last_offset);
    writer_i32(w, last == NULL ? 0 : last->offset_delta);
    writer_i64(w, producer->last_timestamp);
    writer_i32(w, producer->coordinator_epoch);
    writer_i64(w, producer->txn_first_offset);
}

static void snapshot_write(struct writer *w, const struct producers *producers)
{
    writer_i16(w, SNAPSHOT_VERSION);
    writer_i32(w, 0);
    writer_i32(w, (int32_t)producers->by_id.count);
    size_t count = 0;
    const struct producer **sorted = xcalloc(producers->by_id.count, sizeof(*sorted));
    map_each (entry, &producers->by_id) {
        sorted[count++] = entry->value;
    }
    qsort(sorted, count, sizeof(*sorted), by_id);
    for (size_t i = 0; i < count; i++) {
        entry_write(w, sorted[i]);
    }
    free(sorted);
    if (!w->failed) {
        store_u32(w->data + 2, crc32c(0, w->data + SNAPSHOT_CRC_FROM, w->len - SNAPSHOT_CRC_FROM));
    }
}

static bool file_says(struct fs *fs, const char *path, struct bytes wanted)
{
    char *data = NULL;
    size_t len = 0;
    err e = fs_read_all(fs, path, wanted.len, &data, &len);
    bool same = e == OK && len == wanted.len && memcmp(data, wanted.data, len) == 0;
    free(data);
    return same;
}

err producers_save(const struct producers *producers, struct fs *fs, const char *path, bool sync)
{
    struct writer w;
    writer_init(&w, SNAPSHOT_BYTES_MAX);
    snapshot_write(&w, producers);
    struct bytes wanted = bytes_of(w.data, w.len);
    err e = w.failed ? E_LIMIT : OK;
    int fd = -1;
    if (e == OK && (sync || !file_says(fs, path, wanted))) {
        e = fs_open(fs, path, O_WRONLY | O_CREAT | O_TRUNC, &fd);
    }
    if (fd >= 0) {
        e = fs_write(fs, fd, wanted, 0);
        if (e == OK && sync) {
            e = fs_datasync(fs, fd);
        }
        fs_close(fs, fd);
    }
    writer_deinit(&w);
    return e;
}

static void entry_read(struct producers *producers, struct reader *r, int64_t now_ms,
                       int64_t expiration_ms)
{
    struct producer entry = {0};
    struct producer_batch last;
    entry.id = reader_i64(r);
    entry.epoch = reader_i16(r);
    last.last_sequence = reader_i32(r);
    last.last_offset = reader_i64(r);
    last.offset_delta = reader_i32(r);
    entry.last_timestamp = last.timestamp = reader_i64(r);
    entry.coordinator_epoch = reader_i32(r);
    entry.txn_first_offset = reader_i64(r);
    if (r->failed || is_expired(&entry, now_ms, expiration_ms)) {
        return;
    }
    if (last.last_offset >= 0) {
        entry.batches[0] = last;
        entry.batches_n = 1;
    }
    *producer_of(producers, entry.id) = entry;
    if (entry.txn_first_offset >= 0) {
        txn_take(&producers->open, entry.id);
        txn_push(&producers->open, (struct txn_span){.producer_id = entry.id,
                                                     .first_offset = entry.txn_first_offset,
                                                     .last_offset = -1});
    }
}

err producers_load(struct producers *producers, struct fs *fs, const char *path, int64_t offset,
                   int64_t now_ms, int64_t expiration_ms)
{
    char *data = NULL;
    size_t len = 0;
    TRY(fs_read_all(fs, path, SNAPSHOT_BYTES_MAX, &data, &len));
    struct reader r = reader_of(bytes_of(data, len));
    int16_t version = reader_i16(&r);
    uint32_t crc = reader_u32(&r);
    int32_t count = reader_i32(&r);
    bool sane = !r.failed && version == SNAPSHOT_VERSION && count >= 0 &&
                len == SNAPSHOT_HEAD_BYTES + (size_t)count * SNAPSHOT_ENTRY_BYTES &&
                crc == crc32c(0, data + SNAPSHOT_CRC_FROM, len - SNAPSHOT_CRC_FROM);
    if (sane) {
        producers_clear(producers, offset);
        for (int32_t i = 0; i < count; i++) {
            entry_read(producers, &r, now_ms, expiration_ms);
        }
    }
    free(data);
    return sane ? OK : E_CORRUPT;
}
