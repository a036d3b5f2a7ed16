/* Of one transaction in a list, in the order of its commits; of one group by partition, so that a look-up costs the
 * same however much is undecided. */
#include "broker/coordinator/pending_offsets.h"

#include "broker/coordinator/group.h"

#include <stdlib.h>

struct pending_group {
    struct str id;     /* owned */
    struct map places; /* by partition and topic: struct pending_place */
};

/* What is undecided about one partition. */
struct pending_place {
    struct pending_group *group;
    struct list offsets; /* struct pending_offset, by place_link */
};

struct pending_offset {
    struct list link; /* in the transaction */
    struct list place_link;
    struct pending_place *place;
    struct committed value; /* topic and metadata owned */
    int64_t producer_id;
    bool tombstone;
    const void *storing;
};

struct open_txn {
    struct list offsets; /* struct pending_offset, by link */
};

enum { KEY_MAX = 300 };

static struct bytes key_of(struct str topic, int32_t partition, uint8_t key[KEY_MAX])
{
    size_t len = topic.len > KEY_MAX - sizeof(partition) ? KEY_MAX - sizeof(partition) : topic.len;
    memcpy(key, &partition, sizeof(partition));
    memcpy(key + sizeof(partition), topic.data, len);
    return bytes_of(key, len + sizeof(partition));
}

void pending_offsets_init(struct pending_offsets *pending)
{
    map_init(&pending->by_producer);
    map_init(&pending->by_group);
}

/* Takes it out of all it is in; a place, a group and a transaction go with their last. */
static void drop(struct pending_offsets *pending, struct pending_offset *offset)
{
    struct pending_place *place = offset->place;
    struct pending_group *group = place->group;
    struct open_txn *txn = map_get_i64(&pending->by_producer, offset->producer_id);
    uint8_t key[KEY_MAX];
    list_remove(&offset->link);
    list_remove(&offset->place_link);
    if (list_empty(&place->offsets)) {
        (void)map_remove(&group->places, key_of(offset->value.topic, offset->value.partition, key));
        free(place);
    }
    if (group->places.count == 0) {
        (void)map_remove_str(&pending->by_group, group->id);
        map_deinit(&group->places);
        free((void *)(uintptr_t)group->id.data);
        free(group);
    }
    if (txn != NULL && list_empty(&txn->offsets)) {
        (void)map_remove_i64(&pending->by_producer, offset->producer_id);
        free(txn);
    }
    free((void *)(uintptr_t)offset->value.topic.data);
    free((void *)(uintptr_t)offset->value.metadata.data);
    free(offset);
}

/* Of one that is in the table no more. */
static void txn_drop(struct pending_offsets *pending, struct open_txn *txn)
{
    list_each_safe (item, &txn->offsets) {
        drop(pending, container_of(item, struct pending_offset, link));
    }
    free(txn);
}

void pending_offsets_clear(struct pending_offsets *pending)
{
    struct map_entry *entry = NULL;
    size_t at = 0;
    while ((entry = map_next(&pending->by_producer, &at)) != NULL) {
        struct open_txn *txn = entry->value;
        int64_t id = 0;
        memcpy(&id, entry->key, sizeof(id));
        (void)map_remove_i64(&pending->by_producer, id);
        txn_drop(pending, txn);
        at = 0;
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

static struct pending_place *place_for(struct pending_offsets *pending, struct str group_id,
                                       struct str topic, int32_t partition)
{
    uint8_t key[KEY_MAX];
    struct pending_group *group = map_get_str(&pending->by_group, group_id);
    if (group == NULL) {
        group = xcalloc(1, sizeof(*group));
        map_init(&group->places);
        group_set_text(&group->id, group_id);
        (void)map_set_str(&pending->by_group, group_id, group);
    }
    struct pending_place *place = map_get(&group->places, key_of(topic, partition, key));
    if (place == NULL) {
        place = xcalloc(1, sizeof(*place));
        place->group = group;
        list_init(&place->offsets);
        (void)map_set(&group->places, key_of(topic, partition, key), place);
    }
    return place;
}

/* What the same transaction has committed before is not needed any more. */
static void drop_older(struct pending_offsets *pending, const struct pending_offset *offset)
{
    list_each_safe (item, &offset->place->offsets) {
        struct pending_offset *other = container_of(item, struct pending_offset, place_link);
        if (other != offset && other->producer_id == offset->producer_id &&
            other->storing == NULL && other->value.log_offset <= offset->value.log_offset) {
            drop(pending, other);
        }
    }
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
    offset->producer_id = producer_id;
    offset->tombstone = tombstone;
    offset->storing = storing;
    offset->place = place_for(pending, group_id, value->topic, value->partition);
    list_append(&txn->offsets, &offset->link);
    list_append(&offset->place->offsets, &offset->place_link);
    if (storing == NULL) {
        drop_older(pending, offset);
    }
}

/* They stand together, and near the end. */
void pending_offsets_stored(struct pending_offsets *pending, int64_t producer_id,
                            const void *storing, int64_t log_offset)
{
    struct open_txn *txn = map_get_i64(&pending->by_producer, producer_id);
    bool found = false;
    bool more = txn != NULL;
    for (struct list *item = more ? txn->offsets.prev : NULL; more;) {
        struct pending_offset *offset = container_of(item, struct pending_offset, link);
        bool is_one = offset->storing == storing;
        if (is_one && log_offset >= 0) {
            offset->storing = NULL;
            offset->value.log_offset = log_offset;
            drop_older(pending, offset);
        }
        item = item->prev;
        more = item != &txn->offsets && (is_one || !found); /* the transaction goes with its last */
        found |= is_one;
        if (is_one && log_offset < 0) {
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
            apply(context, offset->place->group->id, &offset->value, offset->tombstone);
        }
    }
    txn_drop(pending, txn);
}

bool pending_offsets_hold(const struct pending_offsets *pending, struct str group_id,
                          struct str topic, int32_t partition)
{
    uint8_t key[KEY_MAX];
    const struct pending_group *group = map_get_str(&pending->by_group, group_id);
    return group != NULL && map_get(&group->places, key_of(topic, partition, key)) != NULL;
}

bool pending_offsets_hold_any(const struct pending_offsets *pending, struct str group_id)
{
    return map_get_str(&pending->by_group, group_id) != NULL;
}

void pending_offsets_forget(struct pending_offsets *pending, struct str group_id, struct str topic,
                            int32_t partition)
{
    uint8_t key[KEY_MAX];
    const struct pending_group *group = map_get_str(&pending->by_group, group_id);
    struct pending_place *place =
        group == NULL ? NULL : map_get(&group->places, key_of(topic, partition, key));
    bool more = place != NULL;
    while (more) {
        struct list *item = place->offsets.next;
        more = item->next != &place->offsets; /* the place goes with its last */
        drop(pending, container_of(item, struct pending_offset, place_link));
    }
}

/* Calls pending_offsets_forget() for a group's places: all, or those of a topic (not null). */
static void forget_places(struct pending_offsets *pending, struct pending_group *group,
                          struct str topic)
{
    struct str group_id = group->id;
    char *id = str_dup(group_id);
    size_t count = 0;
    struct committed *named = xcalloc(group->places.count, sizeof(*named));
    map_each (entry, &group->places) {
        const struct pending_place *place = entry->value;
        const struct pending_offset *first =
            container_of(place->offsets.next, struct pending_offset, place_link);
        if (topic.data == NULL || str_equal(first->value.topic, topic)) {
            named[count].partition = first->value.partition;
            group_set_text(&named[count++].topic, first->value.topic);
        }
    }
    for (size_t i = 0; i < count; i++) {
        pending_offsets_forget(pending, str_of(id), named[i].topic, named[i].partition);
        free((void *)(uintptr_t)named[i].topic.data);
    }
    free(named);
    free(id);
}

void pending_offsets_forget_group(struct pending_offsets *pending, struct str group_id)
{
    struct pending_group *group = map_get_str(&pending->by_group, group_id);
    if (group != NULL) {
        forget_places(pending, group, (struct str){0});
    }
}

void pending_offsets_forget_topic(struct pending_offsets *pending, struct str topic)
{
    size_t count = 0;
    struct pending_group **groups =
        xcalloc(pending->by_group.count, sizeof(struct pending_group *));
    map_each (entry, &pending->by_group) {
        groups[count++] = entry->value;
    }
    for (size_t i = 0; i < count; i++) {
        forget_places(pending, groups[i], topic);
    }
    free(groups);
}
