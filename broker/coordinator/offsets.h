/* Committed offsets of a group, and the records of __consumer_offsets: keys and values of offsets
 * and groups, in Kafka's schemas (reference: storage format §13). */
#ifndef OTTLA_BROKER_COORDINATOR_OFFSETS_H
#define OTTLA_BROKER_COORDINATOR_OFFSETS_H

#include "broker/coordinator/group.h"
#include "protocol/batch.h"

struct committed {
    int64_t offset;
    int32_t leader_epoch;
    int64_t commit_ms;
    int64_t expire_ms;   /* -1: by the group's retention */
    int64_t log_offset;  /* of its batch in the log */
    struct str metadata; /* owned */
    struct str topic;    /* owned */
    int32_t partition;
};

/* NULL when nothing is committed. */
struct committed *offsets_get(const struct group *group, struct str topic, int32_t partition);
/* Sets a copy. */
void offsets_set(struct group *group, const struct committed *value);
void offsets_remove(struct group *group, struct str topic, int32_t partition);
/* Frees all of them. */
void offsets_clear(struct group *group);

/* Records are added to a batch. */
NODISCARD err record_add_offset(struct batch_builder *batch, int64_t now_ms, struct str group_id,
                                const struct committed *value);
NODISCARD err record_add_offset_tombstone(struct batch_builder *batch, int64_t now_ms,
                                          struct str group_id, struct str topic, int32_t partition);
NODISCARD err record_add_group(struct batch_builder *batch, int64_t now_ms,
                               const struct group *group);
NODISCARD err record_add_group_tombstone(struct batch_builder *batch, int64_t now_ms,
                                         struct str group_id);

/* What a key says. Unknown versions are skipped: kind RECORD_OTHER. */
enum record_kind { RECORD_OTHER, RECORD_OFFSET, RECORD_GROUP };
struct record_key {
    enum record_kind kind;
    struct str group_id;
    struct str topic;
    int32_t partition;
};
NODISCARD err record_key_read(struct bytes key, struct arena *arena, struct record_key *out);
/* The value of an offset record; texts are the arena's. */
NODISCARD err record_offset_read(struct bytes value, struct arena *arena, struct committed *out);
/* Fills a new group of a group record. E_MALFORMED also where a member stands twice in it, or members
 * have no protocol. */
NODISCARD err record_group_read(struct bytes value, struct arena *arena, int64_t now_ms,
                                struct group *group);

#endif
