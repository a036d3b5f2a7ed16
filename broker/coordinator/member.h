/* One member of a group: its texts, and what its protocols decide. Part of group.c's state machine: the
 * shard's lock. (reference: coordinators §1.4) */
#ifndef OTTLA_BROKER_COORDINATOR_MEMBER_H
#define OTTLA_BROKER_COORDINATOR_MEMBER_H

#include "broker/coordinator/group.h"

/* All that it keeps is copied. It is in no group yet. */
struct member *member_new(struct str id, const struct join_event *e, int64_t now_ms);
void member_free(struct member *member);
/* Timeouts and protocols, as it tells them when it joins again. */
void member_update(struct member *m, const struct join_event *e);
/* The leader stays the leader. */
void group_rename_member(struct group *group, struct member *m, struct str id);
/* "<prefix>-<uuid>", in the arena. */
struct str member_id_new(struct arena *arena, struct random *random, struct str prefix);

bool member_same_protocols(const struct member *m, const struct join_event *e);
/* Does the newcomer share a protocol with all members? */
bool group_protocols_fit(const struct group *group, const struct join_event *e);
/* A member that is known may always come back; others only while there is room. */
bool group_has_room(const struct group *group, const struct join_event *e,
                    const struct group_limits *limits);
/* Every member votes for the first of its protocols that all have; null without members. */
struct str group_vote(const struct group *group);

#endif
