/* Every socket operation of the broker, and the waiting for them, behind one table: the system's, or a
 * network in memory on virtual time.
 *
 * Descriptors are plain ints, non-blocking. Each function is the system call of its name and sets errno;
 * a peer that has gone is an errno, never a signal. Thread-safe as far as the operating system is. */
#ifndef OTTLA_BASE_SOCKETS_H
#define OTTLA_BASE_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>

struct sockets;
struct poller;

struct socket_options {
    bool keep_alive;
    int32_t send_buffer_bytes; /* 0 or less: the system's */
    int32_t receive_buffer_bytes;
};

struct sockets_ops {
    /* A new listening socket at `address`; IPv6's takes both families. */
    int (*listen)(struct sockets *sockets, const struct sockaddr_storage *address, int backlog);
    /* The next connection, as it comes: configure() is for whoever keeps it. */
    int (*accept)(struct sockets *sockets, int fd, struct sockaddr_storage *peer);
    /* Begins to connect, with these options. Its end makes the socket writable. */
    int (*connect)(struct sockets *sockets, const struct sockaddr_storage *to,
                   const struct socket_options *options);
    /* What became of it: 0, or an errno. */
    int (*connect_result)(struct sockets *sockets, int fd);
    void (*configure)(struct sockets *sockets, int fd, const struct socket_options *options);
    int (*local_address)(struct sockets *sockets, int fd, struct sockaddr_storage *address);
    /* 0: the peer sends nothing more. */
    ssize_t (*receive)(struct sockets *sockets, int fd, void *data, size_t len);
    /* `more`: something follows at once, to go with it. */
    ssize_t (*send)(struct sockets *sockets, int fd, const void *data, size_t len, bool more);
    /* From a file that the broker's file table has opened. EIO is of the file, every other errno of the
     * socket. */
    ssize_t (*send_file)(struct sockets *sockets, int fd, int file_fd, int64_t position,
                         size_t len);
    /* Has the peer closed its side, whatever is there still to be received? */
    bool (*peer_has_closed)(struct sockets *sockets, int fd);
    void (*close)(struct sockets *sockets, int fd);
    /* Who waits for descriptors of this table. NULL: errno says why. */
    struct poller *(*poller_new)(struct sockets *sockets);
};

struct sockets {
    const struct sockets_ops *ops;
};

/* The operating system's; one for everybody, without state. */
struct sockets *sockets_system(void);

/* The length of an address of its family. */
socklen_t socket_address_len(const struct sockaddr_storage *address);

/* Waits for one loop (base/loop.h). All on the loop's thread but `wake`. */
struct poller_ops {
    /* Changes the interest in `fd` from `had` to `events` (EPOLLIN, EPOLLOUT…; 0: none). */
    int (*set)(struct poller *poller, int fd, uint32_t had, const struct epoll_event *event);
    /* As epoll_wait; an event whose data.ptr is NULL says that it was woken. */
    int (*wait)(struct poller *poller, struct epoll_event *events, int events_max, int timeout_ms);
    /* Ends a wait, or the next one. Any thread. */
    void (*wake)(struct poller *poller);
    void (*free)(struct poller *poller);
};

struct poller {
    const struct poller_ops *ops;
};

#endif
