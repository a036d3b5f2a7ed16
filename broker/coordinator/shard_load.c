/* Loading: the partition's log is read from start to end, piece by piece, and each record applied. What is
 * appended meanwhile is read too: markers may come before all is known. */
#include "broker/coordinator/shard.h"

#include "base/log.h"

#include <stdlib.h>

enum { BODY_LIMIT_BYTES = 256 << 20, ARENA_BYTES = 64 << 20 };

struct shard_load {
    struct shard *shard;
    struct arena arena;
    struct writer scratch;
    int64_t offset; /* the next; -1: the log's start */
};

struct shard_load *shard_load_new(struct shard *shard)
{
    struct shard_load *load = xcalloc(1, sizeof(*load));
    load->shard = shard;
    load->offset = -1;
    arena_init(&load->arena, ARENA_BYTES);
    writer_init(&load->scratch, BODY_LIMIT_BYTES);
    return load;
}

void shard_load_free(struct shard_load *load)
{
    if (load != NULL) {
        arena_deinit(&load->arena);
        writer_deinit(&load->scratch);
        free(load);
    }
}

static err apply_record(struct shard_load *load, const struct batch *batch,
                        const struct record *record)
{
    const struct shard_kind *kind = load->shard->shards->config.kind;
    err e = kind->apply(load->shard, &load->arena, batch, record);
    arena_reset(&load->arena, ARENA_BYTES);
    if (e != OK && kind->passes_over) {
        log_warn("coordinator", "record unreadable, skipped topic=%s partition=%d offset=%lld",
                 kind->topic, load->shard->number,
                 (long long)batch_offset(batch, record->offset_delta));
        return OK;
    }
    return e;
}

static err apply_batch(struct shard_load *load, const struct batch *batch, struct bytes bytes,
                       int64_t *at)
{
    struct bytes body;
    TRY(batch_body(bytes, &load->scratch, BODY_LIMIT_BYTES, &body));
    struct record_iter iter;
    struct record record;
    record_iter_init(&iter, body, batch->count);
    while (record_iter_next(&iter, &record)) {
        *at = batch_offset(batch, record.offset_delta);
        TRY(apply_record(load, batch, &record));
    }
    return iter.error;
}

/* Applies whole batches. */
static err apply_range(struct shard_load *load, struct bytes data, int64_t *at)
{
    size_t done = 0;
    while (data.len - done >= BATCH_HEADER_BYTES) {
        const uint8_t *bytes = data.data + done;
        size_t size = BATCH_PREFIX_BYTES + (size_t)load_u32(bytes + 8);
        if (size < BATCH_HEADER_BYTES || size > data.len - done) {
            break;
        }
        struct batch batch;
        batch_parse(bytes, &batch);
        *at = batch.base_offset;
        if (batch.magic == 2) {
            TRY(apply_batch(load, &batch, bytes_of(bytes, size), at));
        }
        load->offset = batch_last_offset(&batch) + 1;
        done += size;
    }
    return done > 0 ? OK : E_CORRUPT;
}

static err load_range(struct shard_load *load, const struct log_range *range, int64_t *at)
{
    uint8_t *data = malloc(range->len);
    err e = data == NULL ? E_LIMIT : log_range_read(range, 0, data, range->len);
    e = e == OK ? apply_range(load, bytes_of(data, range->len), at) : e;
    free(data);
    return e;
}

err shard_load_piece(struct shard_load *load, struct plog *log, bool *done, int64_t *at)
{
    struct log_range range = {0};
    int64_t end = plog_end_offset(log);
    load->offset = load->offset < 0 ? plog_start_offset(log) : load->offset;
    *at = load->offset;
    *done = load->offset >= end;
    if (*done) {
        return OK;
    }
    TRY(plog_read(log, load->offset, end, (size_t)load->shard->shards->config.load_bytes, true,
                  &range));
    if (range.file == NULL) {
        load->offset = end;
        return OK;
    }
    err e = load_range(load, &range, at);
    log_range_release(&range);
    return e;
}
