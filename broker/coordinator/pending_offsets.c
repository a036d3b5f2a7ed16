/* Transactions with offsets are few, and short: a list for each. */
#include "broker/coordinator/pending_offsets.h"

#include "broker/coordinator/group.h"

#include <stdlib.h>

struct pending_offset {
    struct list link;
    struct str group_id;    /* owned */
    struct committed value; /* topic and metadata owned */
    bool tombstone;
};

struct open_txn {
    struct list offsets; /* struct pending_offset */
};

void pending_offsets_init(struct pending_offsets *pending)
{
    map_init(&pending->by_producer);
}

static void offset_free(struct pending_offset *offset)
{
    free((void *)(uintptr_t)offset->group_id.data);
    free((void *)(uintptr_t)offset->value.topic.data);
    free((void *)(uintptr_t)offset->value.metadata.data);
    free(offset);
}

static void txn_free(struct open_txn *txn)
{
    list_each_safe (item, &txn->offsets) {
        offset_free(container_of(item, struct pending_offset, link));
    }
    free(txn);
}

void pending_offsets_clear(struct pending_offsets *pending)
{
    map_each (entry, &pending->by_producer) {
        txn_free(entry->value);
    }
    map_deinit(&pending->by_producer);
}

void pending_offsets_add(struct pending_offsets *pending, int64_t producer_id, struct str group_id,
                         const struct committed *value, bool tombstone)
{
    struct open_txn *txn = map_get_i64(&pending->by_producer, producer_id);
    if (txn == NULL) {
        txn = xcalloc(1, sizeof(*txn));
        list_init(&txn->offsets);
        (void)map_set_i64(&pending->by_producer, producer_id, txn);
    }
    struct pending_offset *offset = xcalloc(1, sizeof(*offset));
    offset->value = *value;
    offset->value.topic = offset->value.metadata = (struct str){0};
    group_set_text(&offset->value.topic, value->topic);
    group_set_text(&offset->value.metadata, value->metadata);
    group_set_text(&offset->group_id, group_id);
    offset->tombstone = tombstone;
    list_append(&txn->offsets, &offset->link);
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
            apply(context, offset->group_id, &offset->value, offset->tombstone);
        }
    }
    txn_free(txn);
}

bool pending_offsets_hold(const struct pending_offsets *pending, struct str group_id,
                          struct str topic, int32_t partition)
{
    map_each (entry, &pending->by_producer) {
        const struct open_txn *txn = entry->value;
        list_each (item, &txn->offsets) {
            const struct pending_offset *offset = container_of(item, struct pending_offset, link);
            if (offset->value.partition == partition && str_equal(offset->group_id, group_id) &&
                str_equal(offset->value.topic, topic)) {
                return true;
            }
        }
    }
    return false;
}
