/* Loading a shard: the partition's log is read from start to end, and each record applied.
 *
 * Offsets inside a transaction wait for its marker: a commit applies them, an abort drops them;
 * what is still undecided at the end stays, and makes those offsets unstable for readers that ask
 * for stable ones. */
#include "broker/coordinator/shard.h"

#include "base/log.h"

#include <stdlib.h>

enum {
    CHUNK_BYTES = 1 << 20,
    BODY_LIMIT_BYTES = 256 << 20,
    ARENA_BYTES = 64 << 20,
};

struct load {
    struct shard *shard;
    struct arena arena;
    struct writer scratch;
    int64_t now_ms;
};

/* ---- applying ---- */

static struct group *group_for(struct load *load, struct str id)
{
    struct group *group = shard_group(load->shard, id);
    return group != NULL ? group : shard_group_add(load->shard, id);
}

static void apply_offset(void *context, struct str group_id, const struct committed *value,
                         bool tombstone)
{
    struct load *load = context;
    struct group *group = group_for(load, group_id);
    if (tombstone) {
        offsets_remove(group, value->topic, value->partition);
    } else {
        offsets_set(group, value);
    }
}

/* A group record replaces what was known of the group, its offsets stay. */
static err apply_group(struct load *load, struct str id, struct bytes value)
{
    struct group *before = shard_group(load->shard, id);
    struct group *group = group_new(id, load->now_ms);
    if (value.data != NULL) {
        err e = record_group_read(value, &load->arena, load->now_ms, group);
        if (e != OK) {
            group_free(group);
            return e;
        }
    }
    if (before != NULL) {
        struct map offsets = before->offsets;
        map_init(&before->offsets);
        map_deinit(&group->offsets);
        group->offsets = offsets;
        CHECK(map_remove_str(&load->shard->groups, before->id) == before);
        group_free(before);
    }
    CHECK(map_set_str(&load->shard->groups, group->id, group) == NULL);
    return OK;
}

static err apply_record(struct load *load, const struct batch *batch, const struct record *record)
{
    struct record_key key;
    if (record->key.data == NULL) {
        return OK;
    }
    TRY(record_key_read(record->key, &load->arena, &key));
    if (key.kind == RECORD_GROUP) {
        return apply_group(load, key.group_id, record->value);
    }
    if (key.kind != RECORD_OFFSET) {
        return OK;
    }
    struct committed value = {0};
    bool tombstone = record->value.data == NULL;
    if (!tombstone) {
        TRY(record_offset_read(record->value, &load->arena, &value));
    }
    value.topic = key.topic;
    value.partition = key.partition;
    if (batch_is(batch, BATCH_TRANSACTIONAL)) {
        pending_offsets_add(&load->shard->pending, batch->producer_id, key.group_id, &value,
                            tombstone);
    } else {
        apply_offset(load, key.group_id, &value, tombstone);
    }
    return OK;
}

static void apply_marker(struct load *load, const struct batch *batch, const struct record *record)
{
    struct reader key = reader_of(record->key);
    (void)reader_i16(&key);
    int16_t type = reader_i16(&key);
    if (!key.failed && (type == CONTROL_ABORT || type == CONTROL_COMMIT)) {
        pending_offsets_decide(&load->shard->pending, batch->producer_id, type == CONTROL_COMMIT,
                               apply_offset, load);
    }
}

/* A record that cannot be read is skipped, and said: the rest is worth having. */
static err apply_batch(struct load *load, struct bytes bytes)
{
    struct batch batch;
    struct bytes body;
    batch_parse(bytes.data, &batch);
    TRY(batch_body(bytes, &load->scratch, BODY_LIMIT_BYTES, &body));
    struct record_iter iter;
    struct record record;
    record_iter_init(&iter, body, batch.count);
    while (record_iter_next(&iter, &record)) {
        if (batch_is(&batch, BATCH_CONTROL)) {
            apply_marker(load, &batch, &record);
        } else if (apply_record(load, &batch, &record) != OK) {
            log_warn("coordinator", "record unreadable, skipped partition=%d offset=%lld",
                     load->shard->number, (long long)(batch.base_offset + record.offset_delta));
        }
        arena_reset(&load->arena, ARENA_BYTES);
    }
    return iter.error;
}

/* ---- reading ---- */

/* Applies whole batches; *next is the offset after the last. */
static err apply_range(struct load *load, struct bytes data, int64_t *next)
{
    size_t at = 0;
    while (data.len - at >= BATCH_HEADER_BYTES) {
        size_t size = BATCH_PREFIX_BYTES + (size_t)load_u32(data.data + at + 8);
        if (size < BATCH_HEADER_BYTES || size > data.len - at) {
            break;
        }
        struct batch batch;
        batch_parse(data.data + at, &batch);
        if (batch.magic == 2) {
            TRY(apply_batch(load, bytes_of(data.data + at, size)));
        }
        *next = batch_last_offset(&batch) + 1;
        at += size;
    }
    return at > 0 ? OK : E_CORRUPT;
}

static err load_chunk(struct load *load, struct plog *log, int64_t end, int64_t *offset)
{
    struct log_range range = {0};
    TRY(plog_read(log, *offset, end, CHUNK_BYTES, true, &range));
    if (range.file == NULL) {
        *offset = end;
        return OK;
    }
    uint8_t *data = malloc(range.len);
    err e = data == NULL ? E_LIMIT : log_range_read(&range, 0, data, range.len);
    if (e == OK) {
        e = apply_range(load, bytes_of(data, range.len), offset);
    }
    free(data);
    log_range_release(&range);
    return e;
}

/* Groups that were only mentioned: nothing committed, no members, no generation. */
static void drop_empty(struct shard *shard)
{
    struct group **empty = xcalloc(shard->groups.count, sizeof(struct group *));
    size_t empty_n = 0;
    map_each (entry, &shard->groups) {
        struct group *group = entry->value;
        if (group->offsets.count == 0 && group->protocol_type.data == NULL) {
            empty[empty_n++] = group;
        }
    }
    for (size_t i = 0; i < empty_n; i++) {
        shard_group_remove(shard, empty[i]);
    }
    free(empty);
}

err shard_load(struct shard *shard, struct plog *log)
{
    CHECK(shard->state == SHARD_LOADING && shard->groups.count == 0);
    struct load load = {.shard = shard, .now_ms = coordinator_now_ms(shard->coordinator)};
    arena_init(&load.arena, ARENA_BYTES);
    writer_init(&load.scratch, BODY_LIMIT_BYTES);
    int64_t offset = plog_start_offset(log);
    int64_t end = plog_end_offset(log);
    err e = OK;
    while (e == OK && offset < end) {
        e = load_chunk(&load, log, end, &offset);
    }
    drop_empty(shard);
    arena_deinit(&load.arena);
    writer_deinit(&load.scratch);
    return e;
}
