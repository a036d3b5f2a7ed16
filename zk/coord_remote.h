/* What stores behind a connection share: the results of an operation, its size, and what became of a
 * write that was sent twice. ZooKeeper's (zookeeper_calls.c) and the model's (model/).
 *
 * Whatever was under way when the connection was lost has an unknown outcome and is sent again. A
 * write that is refused then is compared with what is there: if that is what was asked for, the
 * first attempt did it. */
#ifndef OTTLA_ZK_COORD_REMOTE_H
#define OTTLA_ZK_COORD_REMOTE_H

#include "zk/coord.h"

enum {
    REMOTE_REQUEST_BYTES_MAX = 1000000, /* a server's jute.maxbuffer is 0xfffff */
    REMOTE_SEQUENCE_BYTES = 12,         /* digits, a sign, a zero byte */
    REMOTE_LOSSES_MAX = 20,             /* then it is E_UNKNOWN_OUTCOME */
};

/* What an operation takes of a request. */
size_t remote_request_bytes(const struct coord_op *op);

/* Clears the results and makes room for what the server is to tell: `created_path` of a create has
 * room for REMOTE_SEQUENCE_BYTES more than the path. E_MALFORMED, E_LIMIT. */
NODISCARD err remote_op_prepare(struct coord_op *op, struct arena *arena);
/* What was not created has no path. */
void remote_op_finish(struct coord_op *op, err e);
/* The end of operations for themselves: the first error that is no answer of the store, as coord_run()
 * returns it. */
NODISCARD err remote_run_finish(struct coord_op *ops, size_t count);
/* The path of a node that was created, into the room that is there. */
void remote_created_path_set(struct coord_op *op, const char *path);

/* Something that the store answers, and not a reason to stop. */
bool remote_is_refusal(err e);

/* The refusal that an operation gets when it was done before. */
bool remote_may_be_applied(const struct coord_op *op, err refused);

/* How to read what is there now; `found` has its path, and gets its results and its error. */
struct remote_reader {
    void (*read)(void *context, struct coord_op *found, struct arena *arena);
    void *context;
    int64_t session_id; /* whose ephemeral nodes are one's own */
};

/* An operation, or a transaction, that was sent twice and refused. OK when it was applied, with its
 * results; `refused` when it was not; or why nobody knows. */
NODISCARD err remote_settle(const struct remote_reader *reader, struct coord_op *op, err refused);
/* An operation for itself that got `e` in the end, having been lost so often. */
void remote_settle_lost(const struct remote_reader *reader, struct coord_op *op, err e, int losses);
NODISCARD err remote_settle_multi(const struct remote_reader *reader, struct coord_op *ops,
                                  size_t count, err refused);

#endif
