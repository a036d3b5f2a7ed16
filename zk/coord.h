/* The coordination store, in ZooKeeper's terms: a tree of versioned nodes, ephemeral and sequential
 * ones, transactions, one-shot watches, a session.
 *
 * Two implementations: an embedded store for a broker that runs alone, and ZooKeeper; tests and
 * simulations have a third, a model of ZooKeeper (zk/model/). Whoever uses this interface does not
 * know which one it has.
 *
 * Thread: every call but coord_interrupt is made by one thread, the control thread. A call takes a
 * batch of operations, sends them all, and returns when all are answered: ten thousand nodes are
 * read at the speed of the pipe, and the controller reads as a straight line. Watches and session
 * events come through coord_events, on any thread: they must only post.
 *
 * Connection: a call waits while the connection is lost, until it is back, the session has expired
 * or the call is interrupted. What was under way when it was lost has an unknown outcome, which is
 * found out here: reads are sent again; a write is sent again, and a refusal then is compared with
 * what is there: if that is what was asked for, it is OK. A sequential node may so be created twice.
 * Watches outlive a lost connection, but not the session.
 *
 * Errors of an operation: OK, E_NOT_FOUND (the node, or its parent), E_EXISTS, E_VERSION,
 * E_NOT_EMPTY, E_MALFORMED (that is no path), E_LIMIT (too large for the store, or for the arena),
 * E_SESSION (expired: nothing works until coord_renew), E_CLOSED (interrupted), E_UNKNOWN_OUTCOME
 * (lost many times in a row).
 */
#ifndef OTTLA_ZK_COORD_H
#define OTTLA_ZK_COORD_H

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/histogram.h"

struct coord;

struct coord_stat {
    int64_t czxid;
    int64_t mzxid;
    int64_t ctime_ms;
    int64_t mtime_ms;
    int32_t version;
    int32_t children_version;
    int64_t ephemeral_owner; /* a session, or 0 */
    int32_t data_len;
    int32_t children_n;
};

enum coord_op_type {
    COORD_GET,
    COORD_CHILDREN,
    COORD_CREATE,
    COORD_SET,
    COORD_DELETE,
    COORD_CHECK
};

enum coord_flags {
    COORD_EPHEMERAL = 1,  /* create: gone with the session */
    COORD_SEQUENTIAL = 2, /* create: ten digits are appended to the path */
    COORD_WATCH = 4,      /* get, children: tell of the next change (get also of a creation) */
};

enum { COORD_ANY_VERSION = -1 };

/* One operation and its result. */
struct coord_op {
    enum coord_op_type type;
    const char *path;
    struct bytes data; /* create, set; data NULL is null data, which differs from empty */
    int32_t version;   /* set, delete, check: expected, or COORD_ANY_VERSION */
    int flags;

    /* Results; memory in the arena given to the call. */
    err error;
    struct coord_stat stat; /* not for delete; in a transaction the last one of each node has it */
    struct bytes value;     /* get */
    const char **children;  /* names, sorted */
    int32_t children_n;
    /* Create: with its number. NULL for a sequential node whose number nobody knows: it was made by a
     * transaction whose answer was lost, and which was then found to be done. */
    const char *created_path;
};

enum coord_watch_type {
    COORD_NODE_CREATED,
    COORD_NODE_DELETED,
    COORD_NODE_CHANGED,
    COORD_CHILDREN_CHANGED
};
/* Told when it changes. That a session has begun is not told: the open or the renew that waits for it
 * returns. After COORD_EXPIRED nothing more is told before coord_renew. */
enum coord_session { COORD_CONNECTED, COORD_DISCONNECTED, COORD_EXPIRED };

/* They come from the moment that the session begins, which is a little before open returns. */
struct coord_events {
    void (*watch)(void *context, enum coord_watch_type type, const char *path);
    void (*session)(void *context, enum coord_session state);
    /* A store on a disk of this machine found no room: makes some, on the thread of the call, which is then done once
     * more. False: there is none to be had. NULL: as that. */
    bool (*make_room)(void *context);
    void *context;
};

struct coord_ops {
    err (*run)(struct coord *coord, struct coord_op *ops, size_t count, struct arena *arena);
    err (*multi)(struct coord *coord, struct coord_op *ops, size_t count, struct arena *arena);
    int64_t (*session_id)(struct coord *coord);
    bool (*owned)(struct coord *coord, int64_t session_id);
    err (*renew)(struct coord *coord);
    void (*interrupt)(struct coord *coord);
    void (*close)(struct coord *coord);
};

struct coord {
    const struct coord_ops *ops;
};

/* May a node have this path? A sequential one may end in '/'. */
bool coord_path_valid(const char *path, bool sequential);

/* Operations for themselves, in this order; each has its own `error`. Returns OK, or the first error
 * that is no answer of the store: E_MALFORMED, E_LIMIT, E_SESSION, E_CLOSED, E_UNKNOWN_OUTCOME, -errno. Those
 * before and behind it may have been done. */
static inline err coord_run(struct coord *coord, struct coord_op *ops, size_t count,
                            struct arena *arena)
{
    return coord->ops->run(coord, ops, count, arena);
}

/* All or nothing: OK, or the error of the first operation that failed (its `error` is set). Only
 * create, set, delete and check. */
NODISCARD static inline err coord_multi(struct coord *coord, struct coord_op *ops, size_t count,
                                        struct arena *arena)
{
    return coord->ops->multi(coord, ops, count, arena);
}

static inline int64_t coord_session_id(struct coord *coord)
{
    return coord->ops->session_id(coord);
}

/* Is this the session, or one that it came after: is an ephemeral node with this owner one's own?
 */
static inline bool coord_owned(struct coord *coord, int64_t session_id)
{
    return coord->ops->owned(coord, session_id);
}

/* After COORD_EXPIRED: begins a new session; waits until there is one, however long that takes.
 * Ephemeral nodes and watches of the old one are gone or will go. OK or E_CLOSED. */
NODISCARD static inline err coord_renew(struct coord *coord)
{
    return coord->ops->renew(coord);
}

/* Any thread: calls that wait for the connection, now or later, end with E_CLOSED. Only closing is
 * left. */
static inline void coord_interrupt(struct coord *coord)
{
    coord->ops->interrupt(coord);
}

/* Ends the session (ephemeral nodes vanish, if the store can be reached) and frees. Takes three
 * seconds at most, unless names are being resolved; never called from an event. */
static inline void coord_close(struct coord *coord)
{
    coord->ops->close(coord);
}

enum { COORD_REASON_BYTES = 512 };

/* The embedded store: an SQLite file. `path` is created if it is not there. */
NODISCARD err coord_embedded_open(const char *path, struct clock *clock,
                                  const struct coord_events *events, struct coord **coord,
                                  char reason[COORD_REASON_BYTES]);

/* ZooKeeper. */
struct coord_zookeeper {
    const char *connect; /* host:port,host:port/chroot */
    int32_t session_timeout_ms;
    int32_t connection_timeout_ms; /* for the first connection */
    int32_t in_flight_max;         /* requests under way */
    /* The session's number and password are kept there, mode 0600, until it is closed at the server;
     * NULL: they are not kept. */
    const char *session_path;
    struct histogram *latency_us; /* of each request; NULL: nobody wants to know */
};

/* Connects, with the session of `session_path` if there is one that still lives: a process that was
 * killed goes on with its own session, and finds its ephemeral nodes there. A file that was copied
 * from elsewhere is not used. Refuses, with one line in `reason`, an ensemble that does not answer
 * in time and a chroot that does not exist. */
NODISCARD err coord_zookeeper_open(const struct coord_zookeeper *how,
                                   const struct coord_events *events, struct coord **coord,
                                   char reason[COORD_REASON_BYTES]);

#endif
