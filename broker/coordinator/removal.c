/* Removal of committed offsets: by age, with their topic, by request; and of whole groups. Tombstones
 * are written first; what they say is applied when they are safe, or not at all.
 *
 * A tombstone stands in the log behind the commits that are in flight, "coming" below, and removes what they
 * commit, now and at the next load. So age leaves these offsets out, whatever stands in the group; the
 * other removals are of everything before them, and take them along, also where the group has no
 * such offset yet. What is stored otherwise was decided by what the group shows, and is never in the way.
 * (reference: coordinators §1.9, §1.10) */
#include "base/log.h"
#include "broker/coordinator/group.h"
#include "broker/coordinator/group_shard.h"
#include "broker/coordinator/subscription.h"

#include <stdlib.h>

enum { TOMBSTONE_BYTES = 32 }; /* of a record, at most, beside the texts in its key */

struct removal {
    char *group_id;
    struct committed *offsets; /* topics owned */
    int32_t offsets_n;
    int32_t picks_n; /* of a request: what it is about */
    bool group_too;
    bool
        pending_too; /* the group goes though members were told ids and have not joined, and with what
                              transactions have not decided */
    struct waiter *waiter; /* woken at the end; NULL: nobody */
    err *outcome;          /* the waiter's */
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

static void apply_removal(struct group_shard *shard, struct group *group,
                          const struct removal *removal)
{
    for (int32_t i = 0; i < removal->offsets_n; i++) {
        offsets_remove(group, removal->offsets[i].topic, removal->offsets[i].partition);
    }
    bool undecided = pending_offsets_hold_any(&shard->pending, group->id);
    if (removal->pending_too) { /* also what a transaction has committed since */
        offsets_clear(group);
    }
    if (removal->group_too && group->state == GROUP_EMPTY && group->offsets.count == 0 &&
        ((group->pending.count == 0 && !undecided) || removal->pending_too)) {
        pending_offsets_forget_group(&shard->pending, group->id);
        group_shard_remove(shard, group);
    }
}

static void removed(struct group_shard *shard, void *context, err outcome, int64_t at)
{
    struct removal *removal = context;
    (void)at;
    struct group *group = group_shard_find(shard, str_of(removal->group_id));
    if (outcome != OK) {
        log_warn("coordinator", "removal of offsets not stored partition=%d error=%s",
                 shard->shard.number, kafka_error_name(outcome));
    }
    if (outcome == ERR_MESSAGE_TOO_LARGE || outcome == ERR_RECORD_LIST_TOO_LARGE) {
        outcome = OK; /* one tombstone: so was what it would remove, which is not in the log */
    }
    if (outcome == OK && group != NULL) {
        apply_removal(shard, group, removal);
    }
    if (removal->waiter != NULL) {
        *removal->outcome =
            shard_store_err(outcome, ERR_REQUEST_TIMED_OUT, ERR_UNKNOWN_SERVER_ERROR);
        waiter_wake(removal->waiter);
    }
    removal_free(removal);
}

static struct removal *removal_new(const struct group *group, size_t offsets_max)
{
    struct removal *removal = xcalloc(1, sizeof(*removal));
    removal->group_id = str_dup(group->id);
    removal->offsets = xcalloc(offsets_max, sizeof(*removal->offsets));
    return removal;
}

static void removal_add(struct removal *removal, struct str topic, int32_t partition)
{
    struct committed *one = &removal->offsets[removal->offsets_n++];
    one->topic = (struct str){.data = str_dup(topic), .len = topic.len};
    one->partition = partition;
}

/* ---- writing ---- */

static void write_batch(struct group_shard *shard, const struct group *group,
                        struct removal *removal)
{
    int64_t now_ms = shard_now_ms(&shard->shard);
    struct writer writer;
    struct batch_builder batch;
    group_batch_begin(shard, &writer, &batch, false);
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
        removed(shard, removal, e, -1);
        return;
    }
    group_shard_store(shard, &writer, removed, removal, NULL);
}

/* How many of its last offsets fit one batch; one at least. */
static int32_t count_fitting(const struct group *group, const struct removal *removal,
                             size_t bytes_max)
{
    size_t bytes = BATCH_HEADER_BYTES;
    int32_t n = 0;
    for (; n < removal->offsets_n; n++) {
        const struct committed *one = &removal->offsets[removal->offsets_n - 1 - n];
        bytes += TOMBSTONE_BYTES + group->id.len + one->topic.len;
        if (n > 0 && bytes > bytes_max) {
            break;
        }
    }
    return n;
}

/* Its last `n` offsets, as a removal that nobody waits for. */
static struct removal *split_off(const struct group *group, struct removal *removal, int32_t n)
{
    struct removal *part = removal_new(group, (size_t)n);
    removal->offsets_n -= n;
    memcpy(part->offsets, removal->offsets + removal->offsets_n,
           (size_t)n * sizeof(*part->offsets));
    part->offsets_n = n;
    return part;
}

/* As many batches as the topic's max.message.bytes asks for; the last one ends it. (Kafka writes one: where
 * that is too large the offsets are forgotten, and back after the next start.) */
static void write_removal(struct group_shard *shard, const struct group *group,
                          struct removal *removal)
{
    size_t bytes_max = shard_batch_bytes_max(&shard->shard);
    size_t group_bytes = removal->group_too ? TOMBSTONE_BYTES + group->id.len : 0;
    bytes_max -= group_bytes < bytes_max ? group_bytes : bytes_max;
    for (;;) {
        int32_t n = count_fitting(group, removal, bytes_max);
        if (n == removal->offsets_n) {
            break;
        }
        write_batch(shard, group, split_off(group, removal, n));
    }
    write_batch(shard, group, removal);
}

/* ---- choosing ---- */

typedef bool (*offset_test)(const struct group *group, const struct committed *value,
                            const void *context);

static bool holds(const struct group *group, const struct committed *value)
{
    return group != NULL && offsets_get(group, value->topic, value->partition) != NULL;
}

/* Its offsets, and those that only are coming. */
static size_t count_all(const struct group *group, const struct group *coming)
{
    size_t count = group->offsets.count;
    if (coming != NULL) {
        map_each (entry, &coming->offsets) {
            count += holds(group, entry->value) ? 0 : 1;
        }
    }
    return count;
}

/* Those of them that the test picks. */
static struct removal *choose(const struct group *group, const struct group *coming,
                              offset_test test, const void *context)
{
    struct removal *removal = removal_new(group, count_all(group, coming));
    map_each (entry, &group->offsets) {
        const struct committed *value = entry->value;
        if (test(group, value, context)) {
            removal_add(removal, value->topic, value->partition);
        }
    }
    if (coming == NULL) {
        return removal;
    }
    map_each (entry, &coming->offsets) {
        const struct committed *value = entry->value;
        if (!holds(group, value) && test(group, value, context)) {
            removal_add(removal, value->topic, value->partition);
        }
    }
    return removal;
}

/* Carries it out; a group that is empty and left with no offset goes too. */
static void remove_now(struct group_shard *shard, const struct group *group,
                       const struct group *coming, struct removal *removal)
{
    removal->group_too =
        group->state == GROUP_EMPTY && (size_t)removal->offsets_n == count_all(group, coming) &&
        group->pending.count == 0 && !pending_offsets_hold_any(&shard->pending, group->id);
    if (removal->offsets_n == 0 && !removal->group_too) {
        removed(shard, removal, OK, -1);
    } else {
        write_removal(shard, group, removal);
    }
}

/* Calls `act` for every group; it may remove the group. */
static void each_group(struct group_shard *shard,
                       void (*act)(struct group_shard *shard, struct group *group,
                                   const void *context),
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
    const struct map *all_coming;
    const struct group *coming;       /* of the group that is looked at */
    struct subscription subscription; /* of the group that is looked at */
    const struct pending_offsets *pending;
};

/* Since when an offset is not needed, or -1: it may be. A group that only commits has no type. Records
 * of before Kafka 2.1 do not tell since when a group is empty. */
static int64_t unused_since_ms(const struct group *group, const struct committed *value,
                               const struct subscription *subscription)
{
    if (group->protocol_type.data == NULL || group->protocol_type.len == 0) {
        return value->commit_ms;
    }
    if (group->state == GROUP_EMPTY) {
        return group->state_timestamp_ms < 0 ? value->commit_ms : group->state_timestamp_ms;
    }
    bool left = group->state == GROUP_STABLE && subscription->known &&
                !subscription_holds(subscription, value->topic);
    return left ? value->commit_ms : -1;
}

static bool is_old(const struct group *group, const struct committed *value, const void *context)
{
    const struct age *age = context;
    int64_t since_ms = unused_since_ms(group, value, &age->subscription);
    if (since_ms < 0 || holds(age->coming, value) ||
        pending_offsets_hold(age->pending, group->id, value->topic, value->partition)) {
        return false;
    }
    return value->expire_ms >= 0 ? value->expire_ms <= age->now_ms
                                 : age->now_ms - since_ms >= age->retention_ms;
}

static void expire_group(struct group_shard *shard, struct group *group, const void *context)
{
    struct age age = *(const struct age *)context;
    age.coming = map_get_str(age.all_coming, group->id);
    subscription_read(&age.subscription, group);
    remove_now(shard, group, age.coming, choose(group, age.coming, is_old, &age));
    subscription_deinit(&age.subscription);
}

void group_shard_expire_offsets(struct group_shard *shard, int64_t now_ms)
{
    struct map coming;
    group_shard_coming_init(shard, (struct str){0}, &coming);
    const struct config *config = shard->coordinator->config.config;
    struct age age = {.now_ms = now_ms,
                      .retention_ms = (int64_t)config->offsets_retention_minutes * 60000,
                      .all_coming = &coming,
                      .pending = &shard->pending};
    each_group(shard, expire_group, &age);
    group_shard_coming_deinit(&coming);
}

/* ---- with the topic ---- */

struct gone {
    struct str topic;
    const struct map *all_coming;
};

static bool is_of_topic(const struct group *group, const struct committed *value,
                        const void *context)
{
    const struct gone *gone = context;
    (void)group;
    return str_equal(value->topic, gone->topic);
}

static void remove_topic(struct group_shard *shard, struct group *group, const void *context)
{
    const struct gone *gone = context;
    const struct group *coming = map_get_str(gone->all_coming, group->id);
    struct removal *removal = choose(group, coming, is_of_topic, gone);
    if (removal->offsets_n > 0) {
        remove_now(shard, group, coming, removal);
    } else {
        removal_free(removal); /* the group stays as it is */
    }
}

/* A group that was deleted is there again for what it commits. */
static void add_coming_groups(struct group_shard *shard, const struct map *coming)
{
    map_each (entry, coming) {
        const struct group *group = entry->value;
        if (group_shard_find(shard, group->id) == NULL) {
            (void)group_shard_add(shard, group->id);
        }
    }
}

void group_shard_remove_topic(struct group_shard *shard, struct str topic)
{
    struct map coming;
    pending_offsets_forget_topic(&shard->pending, topic);
    group_shard_coming_init(shard, (struct str){0}, &coming);
    add_coming_groups(shard, &coming);
    each_group(shard, remove_topic, &(struct gone){.topic = topic, .all_coming = &coming});
    group_shard_coming_deinit(&coming);
}

/* ---- by request ---- */

/* What transactions have not decided goes too. */
static void pick(struct pending_offsets *pending, const struct group *group,
                 const struct group *coming, struct removal *removal, struct offset_pick *picks)
{
    struct subscription subscription;
    subscription_read(&subscription, group);
    for (int32_t i = 0; i < removal->picks_n; i++) {
        struct offset_pick *p = &picks[i];
        struct committed named = {.topic = p->topic, .partition = p->partition};
        if (subscription_holds(&subscription, p->topic)) {
            p->error = ERR_GROUP_SUBSCRIBED_TO_TOPIC;
            continue;
        }
        pending_offsets_forget(pending, group->id, p->topic, p->partition);
        if (holds(group, &named) || holds(coming, &named)) {
            removal_add(removal, p->topic, p->partition);
        }
    }
    subscription_deinit(&subscription);
}

err group_shard_delete_offsets(struct group_shard *shard, struct str group_id,
                               struct offset_pick *picks, int32_t picks_n, struct waiter *waiter,
                               err *outcome)
{
    struct group *group = group_shard_find(shard, group_id);
    if (group == NULL || group->state == GROUP_DEAD) {
        return ERR_GROUP_ID_NOT_FOUND;
    }
    if (group->state != GROUP_EMPTY && !group_is_of_consumers(group)) {
        return ERR_NON_EMPTY_GROUP;
    }
    struct map all_coming;
    group_shard_coming_init(shard, group_id, &all_coming);
    const struct group *coming = map_get_str(&all_coming, group_id);
    struct removal *removal = removal_new(group, (size_t)picks_n);
    removal->picks_n = picks_n;
    pick(&shard->pending, group, coming, removal, picks);
    removal->waiter = waiter;
    removal->outcome = outcome;
    if (removal->offsets_n > 0) {
        remove_now(shard, group, coming, removal);
    } else {
        removed(shard, removal, OK, -1); /* the group stays as it is */
    }
    group_shard_coming_deinit(&all_coming);
    return OK;
}

/* ---- a whole group ---- */

static bool is_any(const struct group *group, const struct committed *value, const void *context)
{
    (void)group;
    (void)value;
    (void)context;
    return true;
}

err group_shard_delete_group(struct group_shard *shard, struct str id, struct waiter *waiter,
                             err *outcome)
{
    struct group *group = group_shard_find(shard, id);
    if (group == NULL || group->state == GROUP_DEAD) {
        return ERR_GROUP_ID_NOT_FOUND;
    }
    if (group->state != GROUP_EMPTY) {
        return ERR_NON_EMPTY_GROUP;
    }
    struct map coming;
    group_shard_coming_init(shard, id, &coming);
    struct removal *removal = choose(group, map_get_str(&coming, id), is_any, NULL);
    group_shard_coming_deinit(&coming);
    removal->group_too = true;
    removal->pending_too = true;
    removal->waiter = waiter;
    removal->outcome = outcome;
    write_removal(shard, group, removal);
    return OK;
}
