/* Removal of committed offsets: by age, and with their topic; and of whole groups. Tombstones are
 * written first; what they say is applied when they are safe, or not at all.
 * (reference: coordinators §1.10) */
#include "base/log.h"
#include "broker/coordinator/group.h"
#include "broker/coordinator/shard.h"

#include <stdlib.h>

struct removal {
    char *group_id;
    struct committed *offsets; /* topics owned */
    int32_t offsets_n;
    bool group_too;
};

static void removal_free(struct removal *removal)
{
    for (int32_t i = 0; i < removal->offsets_n; i++) {
        free((void *)(uintptr_t)removal->offsets[i].topic.data);
    }
    free(removal->offsets);
    free(removal->group_id);
    free(removal);
}

static void removed(struct shard *shard, void *context, err outcome)
{
    struct removal *removal = context;
    struct group *group = shard_group(shard, str_of(removal->group_id));
    if (outcome == OK && group != NULL) {
        for (int32_t i = 0; i < removal->offsets_n; i++) {
            offsets_remove(group, removal->offsets[i].topic, removal->offsets[i].partition);
        }
        if (removal->group_too && group->state == GROUP_EMPTY && group->offsets.count == 0 &&
            group->pending.count == 0) {
            shard_group_remove(shard, group);
        }
    }
    removal_free(removal);
}

static void write_removal(struct shard *shard, const struct group *group, struct removal *removal)
{
    int64_t now_ms = coordinator_now_ms(shard->coordinator);
    struct writer writer;
    struct batch_builder batch;
    shard_batch_begin(shard, &writer, &batch, false);
    err e = OK;
    for (int32_t i = 0; e == OK && i < removal->offsets_n; i++) {
        e = record_add_offset_tombstone(&batch, now_ms, group->id, removal->offsets[i].topic,
                                        removal->offsets[i].partition);
    }
    if (e == OK && removal->group_too && group->generation > 0) {
        e = record_add_group_tombstone(&batch, now_ms, group->id);
    }
    bool nothing = batch.count == 0;
    if (e == OK && !nothing) {
        e = batch_end(&batch);
    }
    if (e != OK || nothing) {
        writer_deinit(&writer);
        removed(shard, removal, e);
        return;
    }
    shard_store(shard, &writer, removed, removal);
}

typedef bool (*offset_test)(const struct group *group, const struct committed *value,
                            const void *context);

/* Removes the offsets that the test picks; with `may_end` also the group that is left with none. */
static void remove_offsets(struct shard *shard, struct group *group, offset_test test,
                           const void *context, bool may_end)
{
    struct removal *removal = xcalloc(1, sizeof(*removal));
    removal->group_id = str_dup(group->id);
    removal->offsets = xcalloc(group->offsets.count, sizeof(*removal->offsets));
    map_each (entry, &group->offsets) {
        const struct committed *value = entry->value;
        if (test(group, value, context)) {
            struct committed *one = &removal->offsets[removal->offsets_n++];
            one->topic = (struct str){.data = str_dup(value->topic), .len = value->topic.len};
            one->partition = value->partition;
        }
    }
    removal->group_too = may_end && group->state == GROUP_EMPTY &&
                         (size_t)removal->offsets_n == group->offsets.count &&
                         group->pending.count == 0;
    if (removal->offsets_n == 0 && !removal->group_too) {
        removal_free(removal);
        return;
    }
    write_removal(shard, group, removal);
}

/* Calls `act` for every group; it may remove the group. */
static void each_group(struct shard *shard,
                       void (*act)(struct shard *shard, struct group *group, const void *context),
                       const void *context)
{
    size_t count = 0;
    struct group **groups = xcalloc(shard->groups.count, sizeof(struct group *));
    map_each (entry, &shard->groups) {
        groups[count++] = entry->value;
    }
    for (size_t i = 0; i < count; i++) {
        act(shard, groups[i], context);
    }
    free(groups);
}

/* ---- by age ---- */

struct age {
    int64_t now_ms;
    int64_t retention_ms;
};

static bool is_old(const struct group *group, const struct committed *value, const void *context)
{
    const struct age *age = context;
    if (value->expire_ms >= 0) {
        return value->expire_ms <= age->now_ms;
    }
    bool simple = group->protocol_type.data == NULL || group->protocol_type.len == 0;
    if (group->state != GROUP_EMPTY) {
        return false; /* members may still need it */
    }
    /* Records of before Kafka 2.1 do not tell since when the group is empty. */
    bool unknown = group->state_timestamp_ms < 0;
    int64_t since_ms = simple || unknown ? value->commit_ms : group->state_timestamp_ms;
    return age->now_ms - since_ms >= age->retention_ms;
}

static void expire_group(struct shard *shard, struct group *group, const void *context)
{
    remove_offsets(shard, group, is_old, context, true);
}

/* While a commit is being stored, the offset that it replaces looks old: a tombstone now would come
 * behind it in the log. The next round is for that shard. */
void shard_expire_offsets(struct shard *shard, int64_t now_ms)
{
    if (!list_empty(&shard->stores)) {
        return;
    }
    const struct config *config = shard->coordinator->config.config;
    struct age age = {.now_ms = now_ms,
                      .retention_ms = (int64_t)config->offsets_retention_minutes * 60000};
    each_group(shard, expire_group, &age);
}

/* ---- with the topic ---- */

static bool is_of_topic(const struct group *group, const struct committed *value,
                        const void *context)
{
    (void)group;
    return str_equal(value->topic, *(const struct str *)context);
}

static void remove_topic(struct shard *shard, struct group *group, const void *context)
{
    bool any = false;
    map_each (entry, &group->offsets) {
        any |= is_of_topic(group, entry->value, context);
    }
    if (any) {
        remove_offsets(shard, group, is_of_topic, context, true);
    }
}

void shard_remove_topic(struct shard *shard, struct str topic)
{
    each_group(shard, remove_topic, &topic);
}

/* ---- a whole group ---- */

static void deletion_stored(struct shard *shard, void *context, err outcome)
{
    (void)shard;
    if (outcome != OK) {
        log_warn("coordinator", "group deletion not stored error=%s", kafka_error_name(outcome));
    }
    (void)context;
}

err shard_delete_group(struct shard *shard, struct str id)
{
    struct group *group = shard_group(shard, id);
    if (group == NULL || group->state == GROUP_DEAD) {
        return ERR_GROUP_ID_NOT_FOUND;
    }
    if (group->state != GROUP_EMPTY) {
        return ERR_NON_EMPTY_GROUP;
    }
    int64_t now_ms = coordinator_now_ms(shard->coordinator);
    struct writer writer;
    struct batch_builder batch;
    shard_batch_begin(shard, &writer, &batch, false);
    err e = OK;
    map_each (entry, &group->offsets) {
        const struct committed *value = entry->value;
        e = e == OK ? record_add_offset_tombstone(&batch, now_ms, group->id, value->topic,
                                                  value->partition)
                    : e;
    }
    if (e == OK && group->generation > 0) {
        e = record_add_group_tombstone(&batch, now_ms, group->id);
    }
    bool something = batch.count > 0;
    e = e == OK && something ? batch_end(&batch) : e;
    if (e == OK && something) {
        shard_store(shard, &writer, deletion_stored, NULL);
    } else {
        writer_deinit(&writer);
    }
    if (e == OK) {
        shard_group_remove(shard, group);
    }
    return e == OK ? OK : ERR_UNKNOWN_SERVER_ERROR;
}
