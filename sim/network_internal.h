/* The parts of the network, and how they are called (internal to network*.c).
 *
 *   network.c          hosts and processes, what is under way, faults
 *   network_sockets.c  what a process may do: the table
 *   network_poller.c   what is ready, and who waits for it
 *
 * One thread: tasks that use it give way only where the table says. */
#ifndef OTTLA_SIM_NETWORK_INTERNAL_H
#define OTTLA_SIM_NETWORK_INTERNAL_H

#include "base/err.h"
#include "base/heap.h"
#include "sim/network.h"

#include <netinet/in.h>

enum {
    NETWORK_WINDOW_BYTES = 256 << 10, /* what a stream holds at most, under way and arrived */
    NETWORK_FD_FIRST = 1 << 20,       /* far from those of files */
};

enum piece_kind { PIECE_DATA, PIECE_SYN, PIECE_ACCEPTED, PIECE_REFUSED, PIECE_FIN, PIECE_RESET };

struct piece {
    struct list link;
    enum piece_kind kind;
    int64_t due_us;
    size_t len;
    uint8_t data[];
};

struct host {
    struct network *network;
    int number;
    bool is_off;
    int next_port;
};

/* A process on a host has a table of its own, so that what is left of it harms no later one. */
struct process {
    struct sockets sockets;
    struct list link; /* in network.processes */
    struct host *host;
    struct fs *fs;
    bool dead;
};

struct socket {
    struct list link; /* in network.sockets */
    struct host *host;
    struct process *process; /* NULL: it is not accepted yet */
    int fd;
    bool closed; /* by its owner: nobody will ask any more */
    struct sockaddr_in local;
    struct sockaddr_in remote;
    struct socket *other;     /* of the same connection; NULL: gone */
    struct list pieces;       /* on their way here */
    struct heap_item arrival; /* of the first of them, in network.arrivals; may be too early */
    int64_t last_due_us;      /* of those */
    size_t pieces_bytes;

    bool listens;
    struct list accepted; /* struct socket, by accept_link */
    struct list accept_link;

    bool is_asked; /* the listener's half of a connection */
    bool connected;
    int error;  /* to be told */
    bool ended; /* the other side sends no more */
    uint8_t *in;
    size_t in_len;
    size_t in_done;
    size_t in_cap;

    struct net_poller *poller; /* who waits for it, or NULL */
    struct epoll_event wanted;
    struct list poller_link;
};

struct net_poller {
    struct poller poller;
    struct network *network;
    struct task *waiting; /* or NULL */
    bool woken;
    struct list watched; /* struct socket */
};

struct network {
    struct sched_source source;
    struct sched *sched;
    struct trace *trace;
    struct host hosts[NETWORK_HOSTS_MAX];
    bool cut[NETWORK_HOSTS_MAX][NETWORK_HOSTS_MAX];
    struct network_delay delays[NETWORK_HOSTS_MAX][NETWORK_HOSTS_MAX];
    struct network_delay asking[NETWORK_HOSTS_MAX][NETWORK_HOSTS_MAX];
    struct list sockets;
    struct socket **by_fd; /* from NETWORK_FD_FIRST on; NULL: gone */
    size_t by_fd_n;
    size_t by_fd_cap;
    struct heap arrivals; /* struct socket */
    bool may_collect;
    struct list processes;
    uint64_t delivered;
};

static inline struct process *process_of(struct sockets *sockets)
{
    return container_of(sockets, struct process, sockets);
}

static inline bool socket_is_dead(const struct socket *s)
{
    return s->process != NULL && s->process->dead;
}

/* ---- network.c ---- */

/* `process` NULL: it will be whose listener accepts it. */
struct socket *socket_new(struct host *host, struct process *process);
/* Not closed, or NULL. */
struct socket *socket_at(const struct network *network, int fd);
/* Closed by its owner: both ends go when the other one is too. */
void socket_let_go(struct socket *s);
/* The host that what arrives there comes from. */
int socket_sender(const struct socket *s);
/* Sends a piece to the socket, from the other one of its connection. */
void socket_send(struct socket *to, enum piece_kind kind, const void *data, size_t len);
struct socket *network_listener_at(struct host *host, in_port_t port);

/* ---- network_sockets.c ---- */

const struct sockets_ops *network_sockets_ops(void);

/* ---- network_poller.c ---- */

struct poller *network_poller_new(struct sockets *sockets);
/* Something has changed: who waits for it looks. */
void socket_tell(struct socket *s);

#endif
