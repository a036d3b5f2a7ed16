/* What a group answers to those who wait, collected in the output of an event. Part of group.c's state
 * machine. Texts are copied into the output's arena. */
#ifndef OTTLA_BROKER_COORDINATOR_ANSWERS_H
#define OTTLA_BROKER_COORDINATOR_ANSWERS_H

#include "broker/coordinator/group.h"

/* An answer without anything but its error. */
struct group_action *answer_add(struct group_output *out, enum group_action_type type,
                                struct group_waiter *waiter, err error);
void answer_refuse_join(struct group_output *out, struct group_waiter *waiter, err error,
                        struct str member_id);
/* The generation as it is, to a member; `with_members` to the one that assigns. */
void answer_fill_join(const struct group *group, const struct member *m, bool with_members,
                      struct group_output *out, struct group_action *action);
void answer_joined(const struct group *group, struct member *m, struct group_waiter *waiter,
                   bool with_members, struct group_output *out);

#endif
