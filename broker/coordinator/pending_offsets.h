/* Offsets that were committed inside of transactions, and wait for their marker: a commit applies them,
 * an abort drops them. Meanwhile those offsets are unstable for readers that ask for stable ones, and
 * their groups are kept. (reference: coordinators §4.4)
 *
 * Lock: the shard's. */
#ifndef OTTLA_BROKER_COORDINATOR_PENDING_OFFSETS_H
#define OTTLA_BROKER_COORDINATOR_PENDING_OFFSETS_H

#include "broker/coordinator/offsets.h"

struct pending_offsets {
    struct map by_producer; /* producer id → its open transaction */
    struct map by_group;    /* group id → its undecided offsets */
};

void pending_offsets_init(struct pending_offsets *pending);
/* Forgets all; it may be used on. */
void pending_offsets_clear(struct pending_offsets *pending);
/* Everything is copied. A tombstone deletes the offset, when it is decided so. `storing`: who is storing it
 * (NULL: it is in the log), until pending_offsets_stored(). */
void pending_offsets_add(struct pending_offsets *pending, int64_t producer_id, struct str group_id,
                         const struct committed *value, bool tombstone, const void *storing);
/* What `storing` has added is in the log, at this offset; -1: it is not, and forgotten. */
void pending_offsets_stored(struct pending_offsets *pending, int64_t producer_id,
                            const void *storing, int64_t log_offset);
/* The producer's transaction ends: with `commit`, `apply` is called for each offset, in their order. */
void pending_offsets_decide(struct pending_offsets *pending, int64_t producer_id, bool commit,
                            void (*apply)(void *context, struct str group_id,
                                          const struct committed *value, bool tombstone),
                            void *context);
/* Is an offset of this partition undecided? */
bool pending_offsets_hold(const struct pending_offsets *pending, struct str group_id,
                          struct str topic, int32_t partition);
/* Is any of this group? */
bool pending_offsets_hold_any(const struct pending_offsets *pending, struct str group_id);
/* They are never applied. */
void pending_offsets_forget(struct pending_offsets *pending, struct str group_id, struct str topic,
                            int32_t partition);
void pending_offsets_forget_group(struct pending_offsets *pending, struct str group_id);
void pending_offsets_forget_topic(struct pending_offsets *pending, struct str topic);

#endif
