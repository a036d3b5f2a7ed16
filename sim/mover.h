/* A client that moves partitions: plans, plans over plans, cancels. What becomes of them the observer sees. */
#ifndef OTTLA_SIM_MOVER_H
#define OTTLA_SIM_MOVER_H

#include "sim/sched.h"

struct network;

struct mover_config {
    struct sched *sched;
    struct trace *trace;
    struct network *network;
    const char *topic;
    int brokers_n;
    int partitions_n;
    int replicas_min; /* with fewer nothing is acknowledged */
};

struct mover;

struct mover *mover_new(const struct mover_config *config);
/* It ends when it has its answer. */
void mover_stop(struct mover *mover);
bool mover_has_ended(const struct mover *mover);
void mover_free(struct mover *mover);

#endif
