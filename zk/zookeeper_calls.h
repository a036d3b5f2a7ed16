/* Calls on a ZooKeeper session: batches, transactions, what becomes of them when the connection is
 * lost. The session itself (its beginning, its events, its end) is coord_zookeeper.c.
 *
 * Lock:   `lock` guards every field below it, and is held while the C client is asked something: the
 *         client holds none of its own locks when it calls back. `changed` tells of every change.
 * Thread: one call at a time, by the control thread. Answers come on the client's thread. */
#ifndef OTTLA_ZK_ZOOKEEPER_CALLS_H
#define OTTLA_ZK_ZOOKEEPER_CALLS_H

#include "base/list.h"
#include "zk/coord.h"

#ifndef THREADED
#define THREADED
#endif
#include <pthread.h>
#include <zookeeper/zookeeper.h>

enum link {
    LINK_DOWN,    /* the client looks for a server */
    LINK_UP,      /* requests can be sent */
    LINK_EXPIRED, /* the session is over */
    LINK_REFUSED, /* the servers do not let us in */
};

struct call;

struct zookeeper_calls {
    watcher_fn watcher; /* of every watch, with `watcher_context` */
    void *watcher_context;
    size_t in_flight_max;
    size_t chroot_len;
    struct histogram *latency_us; /* under the lock; NULL: nobody wants to know */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    zhandle_t *handle;
    int64_t session_id;
    enum link link;
    bool interrupted;
    int64_t deadline_ms;  /* monotonic: calls end with E_BUSY then; INT64_MAX: never */
    struct list requests; /* sent and not answered */
    struct call *call;    /* the one that waits, or NULL */
};

void calls_init(struct zookeeper_calls *calls);
/* The handle is closed: what the client did not answer is freed too. */
void calls_deinit(struct zookeeper_calls *calls);

/* Why nothing can be asked any more: E_CLOSED, E_SESSION, E_BUSY (the deadline), EACCES as an err;
 * or OK. Locked. */
err calls_obstacle(const struct zookeeper_calls *calls);
/* Waits for a change, at most until then (monotonic; INT64_MAX: however long). Locked. */
void calls_wait(struct zookeeper_calls *calls, int64_t until_ms);

/* As coord_run and coord_multi; at the deadline also E_BUSY. Not locked by the caller. */
err calls_run(struct zookeeper_calls *calls, struct coord_op *ops, size_t count,
              struct arena *arena);
NODISCARD err calls_multi(struct zookeeper_calls *calls, struct coord_op *ops, size_t count,
                          struct arena *arena);

/* Asks the server for something small and waits for its answer and all others that are under way:
 * OK when there is none left. Not locked by the caller. */
NODISCARD err calls_drain(struct zookeeper_calls *calls, int64_t patience_ms);

#endif
