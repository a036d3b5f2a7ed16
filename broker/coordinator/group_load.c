/* What the records of __consumer_offsets say, for loading.
 *
 * Offsets inside a transaction wait for its marker: a commit applies them, an abort drops them;
 * what is still undecided at the end stays, and makes those offsets unstable for readers that ask
 * for stable ones. */
#include "broker/coordinator/group_shard.h"

#include "base/check.h"
#include "base/planted.h"

#include <stdlib.h>

static struct group *group_for(struct group_shard *shard, struct str id)
{
    struct group *group = group_shard_find(shard, id);
    return group != NULL ? group : group_shard_add(shard, id);
}

void group_shard_apply_offset(void *context, struct str group_id, const struct committed *value,
                              bool tombstone)
{
    struct group_shard *shard = context;
    struct group *group = group_for(shard, group_id);
    const struct committed *known = offsets_get(group, value->topic, value->partition);
    if (known != NULL && known->log_offset > value->log_offset) {
        return; /* the later record wins, whenever the transaction ends */
    }
    if (tombstone) {
        offsets_remove(group, value->topic, value->partition);
    } else {
        offsets_set(group, value);
    }
}

/* A group record replaces what was known of the group, its offsets stay. */
static err apply_group(struct group_shard *shard, struct arena *arena, struct str id,
                       struct bytes value)
{
    int64_t now_ms = shard_now_ms(&shard->shard);
    struct group *before = group_shard_find(shard, id);
    struct group *group = group_new(id, now_ms);
    if (value.data != NULL) {
        err e = record_group_read(value, arena, now_ms, group);
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
        CHECK(map_remove_str(&shard->groups, before->id) == before);
        group_free(before);
    }
    CHECK(map_set_str(&shard->groups, group->id, group) == NULL);
    return OK;
}

static void apply_marker(struct group_shard *shard, const struct batch *batch,
                         const struct record *record)
{
    struct reader key = reader_of(record->key);
    (void)reader_i16(&key);
    int16_t type = reader_i16(&key);
    if (!key.failed && (type == CONTROL_ABORT || type == CONTROL_COMMIT)) {
        pending_offsets_decide(&shard->pending, batch->producer_id, type == CONTROL_COMMIT,
                               group_shard_apply_offset, shard);
    }
}

err group_shard_apply(struct shard *base, struct arena *arena, const struct batch *batch,
                      const struct record *record)
{
    struct group_shard *shard = group_shard_of(base);
    struct record_key key;
    if (batch_is(batch, BATCH_CONTROL)) {
        apply_marker(shard, batch, record);
        return OK;
    }
    if (record->key.data == NULL) {
        return OK;
    }
    TRY(record_key_read(record->key, arena, &key));
    if (key.kind == RECORD_GROUP) {
        return apply_group(shard, arena, key.group_id, record->value);
    }
    if (key.kind != RECORD_OFFSET) {
        return OK;
    }
    struct committed value = {0};
    bool tombstone = record->value.data == NULL;
    if (!tombstone) {
        TRY(record_offset_read(record->value, arena, &value));
    }
    value.topic = key.topic;
    value.partition = key.partition;
    value.log_offset = batch->base_offset;
    if (batch_is(batch, BATCH_TRANSACTIONAL) && !planted(MISTAKE_FORGETS_PENDING)) {
        (void)group_for(shard, key.group_id); /* it is there, whatever becomes of them */
        pending_offsets_add(&shard->pending, batch->producer_id, key.group_id, &value, tombstone,
                            NULL);
    } else if (!batch_is(batch, BATCH_TRANSACTIONAL)) {
        group_shard_apply_offset(shard, key.group_id, &value, tombstone);
    }
    return OK;
}

void group_shard_drop_mentioned(struct group_shard *shard)
{
    struct group **mentioned = xcalloc(shard->groups.count, sizeof(struct group *));
    size_t count = 0;
    map_each (entry, &shard->groups) {
        struct group *group = entry->value;
        if (group->offsets.count == 0 && group->protocol_type.data == NULL &&
            !pending_offsets_hold_any(&shard->pending, group->id)) {
            mentioned[count++] = group;
        }
    }
    for (size_t i = 0; i < count; i++) {
        group_shard_remove(shard, mentioned[i]);
    }
    free(mentioned);
}
