/* Transactions with offsets are few, and short: a list for each, and one for each group. */
#include "broker/coordinator/pending_offsets.h"

#include "broker/coordinator/group.h"

#include <stdlib.h>

struct pending_group {
    struct str id;       /* owned */
    struct list offsets; /* struct pending_offset, by group_link */
};

struct pending_offset {
    struct list link; /* in the transaction */
    struct list group_link;
    struct pending_group *group;
    struct committed value; /* topic and metadata owned */
    bool tombstone;
    const void *storing;
};

struct open_txn {
    struct list offsets; /* struct pending_offset, by link */
};

void pending_offsets_init(struct pending_offsets *pending)
{
    map_init(&pending->by_producer);
    map_init(&pending->by_group);
}

/* Takes it out of both lists; a group goes with its last. */
static void drop(struct pending_offsets *pending, struct pending_offset *offset)
{
    struct pending_group *group = offset->group;
    list_remove(&offset->link);
    list_remove(&offset->group_link);
    free((void *)(uintptr_t)offset->value.topic.data);
    free((void *)(uintptr_t)offset->value.metadata.data);
    free(offset);
    if (list_empty(&group->offsets)) {
        (void)map_remove_str(&pending->by_group, group->id);
        free((void *)(uintptr_t)group->id.data);
        free(group);
    }
}

static void txn_drop(struct pending_offsets *pending, struct open_txn *txn)
{
    list_each_safe (item, &txn->offsets) {
        drop(pending, container_of(item, struct pending_offset, link));
    }
    free(txn);
}

void pending_offsets_clear(struct pending_offsets *pending)
{
    map_each (entry, &pending->by_producer) {
        txn_drop(pending, entry->value);
    }
    map_deinit(&pending->by_producer);
    map_deinit(&pending->by_group);
}

static struct open_txn *txn_for(struct pending_offsets *pending, int64_t producer_id)
{
    struct open_txn *txn = map_get_i64(&pending->by_producer, producer_id);
    if (txn == NULL) {
        txn = xcalloc(1, sizeof(*txn));
        list_init(&txn->offsets);
        (void)map_set_i64(&pending->by_producer, producer_id, txn);
    }
    return txn;
}

static struct pending_group *group_for(struct pending_offsets *pending, struct str id)
{
    struct pending_group *group = map_get_str(&pending->by_group, id);
    if (group == NULL) {
        group = xcalloc(1, sizeof(*group));
        list_init(&group->offsets);
        group_set_text(&group->id, id);
        (void)map_set_str(&pending->by_group, id, group);
    }
    return group;
}

void pending_offsets_add(struct pending_offsets *pending, int64_t producer_id, struct str group_id,
                         const struct committed *value, bool tombstone, const void *storing)
{
    struct open_txn *txn = txn_for(pending, producer_id);
    struct pending_offset *offset = xcalloc(1, sizeof(*offset));
    offset->value = *value;
    offset->value.topic = offset->value.metadata = (struct str){0};
    group_set_text(&offset->value.topic, value->topic);
    group_set_text(&offset->value.metadata, value->metadata);
    offset->tombstone = tombstone;
    offset->storing = storing;
    offset->group = group_for(pending, group_id);
    list_append(&txn->offsets, &offset->link);
    list_append(&offset->group->offsets, &offset->group_link);
}

void pending_offsets_stored(struct pending_offsets *pending, int64_t producer_id,
                            const void *storing, int64_t log_offset)
{
    struct open_txn *txn = map_get_i64(&pending->by_producer, producer_id);
    if (txn == NULL) {
        return;
    }
    list_each_safe (item, &txn->offsets) {
        struct pending_offset *offset = container_of(item, struct pending_offset, link);
        if (offset->storing != storing) {
            continue;
        }
        offset->storing = NULL;
        offset->value.log_offset = log_offset;
        if (log_offset < 0) {
            drop(pending, offset);
        }
    }
}

void pending_offsets_decide(struct pending_offsets *pending, int64_t producer_id, bool commit,
                            void (*apply)(void *context, struct str group_id,
                                          const struct committed *value, bool tombstone),
                            void *context)
{
    struct open_txn *txn = map_remove_i64(&pending->by_producer, producer_id);
    if (txn == NULL) {
        return;
    }
    list_each (item, &txn->offsets) {
        const struct pending_offset *offset = container_of(item, struct pending_offset, link);
        if (commit) {
            apply(context, offset->group->id, &offset->value, offset->tombstone);
        }
    }
    txn_drop(pending, txn);
}

bool pending_offsets_hold(const struct pending_offsets *pending, struct str group_id,
                          struct str topic, int32_t partition)
{
    const struct pending_group *group = map_get_str(&pending->by_group, group_id);
    if (group == NULL) {
        return false;
    }
    list_each (item, &group->offsets) {
        const struct pending_offset *offset = container_of(item, struct pending_offset, group_link);
        if (offset->value.partition == partition && str_equal(offset->value.topic, topic)) {
            return true;
        }
    }
    return false;
}

bool pending_offsets_hold_any(const struct pending_offsets *pending, struct str group_id)
{
    return map_get_str(&pending->by_group, group_id) != NULL;
}

void pending_offsets_forget(struct pending_offsets *pending, struct str group_id, struct str topic,
                            int32_t partition)
{
    const struct pending_group *group = map_get_str(&pending->by_group, group_id);
    bool more = group != NULL;
    for (struct list *item = more ? group->offsets.next : NULL; more;) {
        struct pending_offset *offset = container_of(item, struct pending_offset, group_link);
        item = item->next;
        more = item != &group->offsets; /* the group goes with the last */
        if (offset->value.partition == partition && str_equal(offset->value.topic, topic)) {
            drop(pending, offset);
        }
    }
}

void pending_offsets_forget_group(struct pending_offsets *pending, struct str group_id)
{
    struct pending_group *group = map_get_str(&pending->by_group, group_id);
    bool more = group != NULL;
    while (more) {
        struct list *item = group->offsets.next;
        more = item->next != &group->offsets; /* the group goes with the last */
        drop(pending, container_of(item, struct pending_offset, group_link));
    }
}

void pending_offsets_forget_topic(struct pending_offsets *pending, struct str topic)
{
    map_each (entry, &pending->by_producer) {
        struct open_txn *txn = entry->value;
        list_each_safe (item, &txn->offsets) {
            struct pending_offset *offset = container_of(item, struct pending_offset, link);
            if (str_equal(offset->value.topic, topic)) {
                drop(pending, offset);
            }
        }
    }
}
