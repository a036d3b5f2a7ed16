/* How many partitions topics have by the store. The metadata may not name a topic that is there: a broker
 * that has just started, or whose controller has, is told of them bit by bit. Who would give something up
 * because a topic is gone asks here. */
#ifndef OTTLA_BROKER_CLUSTER_TOPIC_SIZES_H
#define OTTLA_BROKER_CLUSTER_TOPIC_SIZES_H

#include "base/bytes.h"
#include "base/loop.h"
#include "zk/coord.h"

/* Embedded in who asks, who keeps it, and what it points to, until `done`. */
struct topic_sizes_question {
    const struct str *topics;
    int32_t *partitions; /* the answer: 0, there is no such topic; -1, it is not known */
    size_t count;
    struct loop *loop; /* where `done` runs */
    void (*done)(struct topic_sizes_question *question);

    struct loop_task task; /* the way there and back */
    struct coord *coord;
};

/* Any thread. The store is asked on the control thread, and waited for while it is out of reach. */
void topic_sizes_ask(struct topic_sizes_question *question, struct loop *control,
                     struct coord *coord);

#endif
