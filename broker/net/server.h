/* Listening sockets, and the loops' threads: accepts connections, holds their limits, hands each to
 * the loop with the fewest.
 *
 * Started and stopped by the broker's main thread. */
#ifndef OTTLA_BROKER_NET_SERVER_H
#define OTTLA_BROKER_NET_SERVER_H

#include "base/threads.h"
#include "broker/net/conn.h"
#include "broker/net/listeners.h"
#include "broker/security/quotas.h"

struct server;

/* Sockets that somebody has bound for listeners before, and listens on. */
struct bound_sockets {
    /* The one of a listener with this name, or if `address` is not NULL, the one of this address; -1: there is none. It is
     * the caller's from here on. */
    int (*take)(struct bound_sockets *bound, const char *listener,
                const struct sockaddr_storage *address);
    /* All listeners have been bound: E_CONFIG if somebody's socket is left over. */
    err (*all_bound)(struct bound_sockets *bound, char *reason, size_t reason_size);
};

struct server_config {
    struct threads *threads; /* who runs the loops */
    struct sockets *sockets;
    struct bound_sockets *bound; /* asked before a listener is bound; NULL: nobody is */
    struct listener *listeners;  /* owned by the caller, lives as long as the server */
    size_t listeners_n;
    int loops_n; /* the last one is that of the listener that is alone, if there is one */
    int backlog;
    int32_t conns_max;
    int32_t conns_per_ip_max;
    const struct ip_override *ip_overrides;
    size_t ip_overrides_n;
    struct quotas *quotas; /* of addresses that connect; NULL: none */
    struct conn_rate { /* how many connections per second are taken, of all listeners together */
        int32_t max;
        struct quota_samples samples;
    } rate;
    struct net_limits limits;
    size_t buffered_bytes_max; /* of frames on their way, all connections together */
};

/* Binds all listeners. On failure `reason` says which, and why. */
NODISCARD err server_new(struct clock *clock, const struct server_config *config,
                         struct server **server, char *reason, size_t reason_size);
int server_loops(const struct server *server);
struct net_loop *server_loop(struct server *server, int index);
/* Any thread: the connections of a listener on a loop, since the start. */
struct server_conns {
    int64_t created;
    int64_t closed;
};
struct server_conns server_conns(const struct server *server, size_t listener, int loop);
/* Starts the loops' threads; connections are accepted from here on. `handlers` has one handler for
 * each loop. */
NODISCARD err server_start(struct server *server, const struct conn_handler *handlers);
/* Closes the listening sockets; connections stay. */
void server_stop_accepting(struct server *server);
/* Ends the loops' threads after the tasks that are queued, then closes all connections. */
void server_stop(struct server *server);
void server_free(struct server *server);

#endif
