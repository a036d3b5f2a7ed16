/* Requests of one call to the C client (internal to zookeeper_calls.c).
 *
 * Lock: everything here is called with zookeeper_calls.lock held, and step_answered is too. */
#ifndef OTTLA_ZK_ZOOKEEPER_CLIENT_H
#define OTTLA_ZK_ZOOKEEPER_CLIENT_H

#include "zk/coord_remote.h"
#include "zk/zookeeper_calls.h"

enum ask {
    ASK_OP,     /* what the operation says */
    ASK_ABSENT, /* a watch on a node that is not there */
    ASK_STAT,   /* the stat of the node */
    ASK_FRESH,  /* the node after a sync */
    ASK_MULTI,  /* all operations, as a transaction */
};

/* Where the question and the place for its answer are: `ops`, prepared by remote_op_prepare. */
struct step {
    struct list link; /* in the call's `ready` */
    enum ask ask;
    struct coord_op *ops;
    size_t ops_n; /* 1, but for ASK_MULTI */
    int losses;
    int64_t sent_us;
    bool done;
    err error;
};

struct call {
    struct step *steps;
    size_t steps_n;
    size_t left;
    size_t under_way;
    struct list ready;
    struct arena *arena;
};

/* Sends what `question` asks; the answer is for `step`, or for nobody when that is NULL. ZOK, or why
 * the client does not take it; then no answer comes for the step. Where it lacks memory, an answer
 * may come all the same: such a request stays in the list until the end. */
int request_send(struct zookeeper_calls *calls, const struct step *question, struct step *step);

/* An answer has been copied to where it belongs: `rc` is the client's, `e` what became of the copy
 * when that is ZOK. In zookeeper_calls.c. */
void step_answered(struct zookeeper_calls *calls, struct step *step, int rc, err e);

/* From here on no answer is for a step. */
void requests_forget(struct zookeeper_calls *calls);
/* The handle is closed: no answer comes. */
void requests_free(struct zookeeper_calls *calls);

/* The outcome is unknown, or the request was not looked at: it is to be sent again. */
bool zookeeper_is_loss(int rc);
bool zookeeper_is_end_of_session(int rc);
err zookeeper_err(int rc);

#endif
