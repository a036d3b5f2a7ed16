/* What decisions are made of, for the files that make them: controller_decide.c, controller_reassign.c. */
#ifndef OTTLA_BROKER_CLUSTER_CONTROLLER_DECIDE_H
#define OTTLA_BROKER_CLUSTER_CONTROLLER_DECIDE_H

#include "broker/cluster/controller_state.h"

/* It lives, and has not refused the partition for its directory. */
bool ctl_replica_is_live(const struct ctl_state *state, const struct ctl_partition *p, int32_t id);
/* The assigned replicas that live, of those in `among` if it is given; in the decision's arena. */
struct id_list ctl_live_replicas(const struct ctl_decision *d, const struct ctl_partition *p,
                                 const struct id_list *among);
/* A leader that shuts down, and that nobody can follow, leads on until it is gone. */
bool ctl_leads_on(const struct ctl_state *state, const struct ctl_partition *p);
/* There is a leader, and it goes on as the one that was elected. */
bool ctl_leader_lives(const struct ctl_decision *d, const struct ctl_partition *p);
/* The state as the model has it, in the next leader epoch. */
void ctl_write_next_epoch(struct ctl_decision *d, struct ctl_topic *topic, int32_t partition);

#endif
