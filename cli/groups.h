/* Consumer groups as kafka-consumer-groups shows them: what is asked of brokers, for its own files. */
#ifndef OTTLA_CLI_GROUPS_H
#define OTTLA_CLI_GROUPS_H

#include "cli/brokers.h"

/* One partition of a group: assigned to a member, or with a committed offset, or both. */
struct group_partition {
    struct str topic;
    int32_t partition;
    int32_t member;    /* index of the group's members; -1: nobody's */
    int64_t committed; /* -1: none */
    int64_t end;       /* of the log; -1: not known, the partition may be gone */
};

struct group_view {
    const char *id;
    struct client *coordinator;
    int32_t coordinator_id;
    struct describe_groups_response_group described;
    struct group_partition *partitions; /* by member, then as the answers had them */
    size_t partitions_n;
};

/* All of these have their sentence in brokers->reason, and memory in brokers->arena. */

/* Every group of every broker; `states` filters by them ("Empty,Stable"; NULL: all). */
struct listed_group {
    struct str id;
    struct str state;
};
NODISCARD err groups_list(struct brokers *brokers, const char *states, struct listed_group **all,
                          size_t *count);
/* State and members. */
NODISCARD err group_describe(struct brokers *brokers, struct group_view *group);
/* What its members have, what it has committed, where the logs end. */
NODISCARD err group_offsets(struct brokers *brokers, struct group_view *group);
/* One more partition, of nobody, as if the group had it; once. */
NODISCARD err group_add(struct brokers *brokers, struct group_view *group, struct str topic,
                        int32_t partition);
/* What the leader of a partition has for a time, or for -1 (the end), -2 (the start); -1: nothing, or no such partition. */
NODISCARD err group_ask_offset(struct brokers *brokers, const struct metadata_response *metadata,
                               const struct group_partition *partition, int64_t timestamp,
                               int64_t *offset);
/* All topics. */
NODISCARD err groups_metadata(struct brokers *brokers, struct metadata_response *metadata);
/* Writes the offsets of the partitions, as their `committed` says, into the group, which must have no members. */
NODISCARD err group_write(struct brokers *brokers, const struct group_view *group);
/* The topics and partitions of one member; the bytes are checked. */
NODISCARD err group_assignment(struct brokers *brokers,
                               const struct describe_groups_response_member *member,
                               struct consumer_protocol_assignment *assignment);
/* The code of the answer in *code. */
NODISCARD err group_delete(struct brokers *brokers, const char *id, int16_t *code);

#endif
