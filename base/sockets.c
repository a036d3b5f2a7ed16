/* The system's sockets and epoll behind the table.
 *
 * A poller is woken through an eventfd that is watched edge-triggered: each write is an event, and nobody
 * need read it. */
#define _GNU_SOURCE
#include "base/sockets.h"

#include "base/err.h"
#include "base/list.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <unistd.h>

socklen_t socket_address_len(const struct sockaddr_storage *address)
{
    switch (address->ss_family) {
    case AF_INET:
        return sizeof(struct sockaddr_in);
    case AF_INET6:
        return sizeof(struct sockaddr_in6);
    default:
        return sizeof(*address);
    }
}

/* ---- sockets ---- */

static int socket_new(const struct sockaddr_storage *address)
{
    return socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static void close_keeping_errno(int fd)
{
    int saved = errno;
    close(fd);
    errno = saved;
}

static int sys_listen(struct sockets *sockets, const struct sockaddr_storage *address, int backlog)
{
    (void)sockets;
    int fd = socket_new(address);
    if (fd < 0) {
        return -1;
    }
    int one = 1;
    int zero = 0;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (address->ss_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
    }
    if (bind(fd, (const struct sockaddr *)address, socket_address_len(address)) != 0 ||
        listen(fd, backlog) != 0) {
        close_keeping_errno(fd);
        return -1;
    }
    return fd;
}

static int sys_accept(struct sockets *sockets, int fd, struct sockaddr_storage *peer)
{
    socklen_t len = sizeof(*peer);
    (void)sockets;
    return accept4(fd, (struct sockaddr *)peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void sys_configure(struct sockets *sockets, int fd, const struct socket_options *options)
{
    int one = 1;
    (void)sockets;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (options->keep_alive) {
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    }
    if (options->send_buffer_bytes > 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &options->send_buffer_bytes, sizeof(int));
    }
    if (options->receive_buffer_bytes > 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &options->receive_buffer_bytes, sizeof(int));
    }
}

static int sys_connect(struct sockets *sockets, const struct sockaddr_storage *to,
                       const struct socket_options *options)
{
    int fd = socket_new(to);
    if (fd < 0) {
        return -1;
    }
    sys_configure(sockets, fd, options);
    if (connect(fd, (const struct sockaddr *)to, socket_address_len(to)) != 0 &&
        errno != EINPROGRESS) {
        close_keeping_errno(fd);
        return -1;
    }
    return fd;
}

static int sys_connect_result(struct sockets *sockets, int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);
    (void)sockets;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 ? errno : error;
}

static int sys_local_address(struct sockets *sockets, int fd, struct sockaddr_storage *address)
{
    socklen_t len = sizeof(*address);
    (void)sockets;
    return getsockname(fd, (struct sockaddr *)address, &len);
}

static ssize_t sys_receive(struct sockets *sockets, int fd, void *data, size_t len)
{
    (void)sockets;
    return recv(fd, data, len, 0);
}

static ssize_t sys_send(struct sockets *sockets, int fd, const void *data, size_t len, bool more)
{
    (void)sockets;
    return send(fd, data, len, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
}

static ssize_t sys_send_file(struct sockets *sockets, int fd, int file_fd, int64_t position,
                             size_t len)
{
    off_t at = position;
    (void)sockets;
    return sendfile(fd, file_fd, &at, len);
}

static bool sys_peer_has_closed(struct sockets *sockets, int fd)
{
    struct pollfd peer = {.fd = fd, .events = POLLRDHUP};
    (void)sockets;
    return poll(&peer, 1, 0) == 1;
}

static void sys_close(struct sockets *sockets, int fd)
{
    (void)sockets;
    close(fd);
}

/* ---- the poller ---- */

struct sys_poller {
    struct poller poller;
    int epoll_fd;
    int event_fd;
};

static struct sys_poller *sys_poller_of(struct poller *poller)
{
    return container_of(poller, struct sys_poller, poller);
}

static int sys_set(struct poller *poller, int fd, uint32_t had, const struct epoll_event *event)
{
    int op = had == 0 ? EPOLL_CTL_ADD : event->events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    struct epoll_event copy = *event;
    return epoll_ctl(sys_poller_of(poller)->epoll_fd, op, fd, &copy);
}

static int sys_wait(struct poller *poller, struct epoll_event *events, int events_max,
                    int timeout_ms)
{
    return epoll_wait(sys_poller_of(poller)->epoll_fd, events, events_max, timeout_ms);
}

static void sys_wake(struct poller *poller)
{
    uint64_t one = 1;
    ssize_t ignored = write(sys_poller_of(poller)->event_fd, &one, sizeof(one));
    (void)ignored;
}

static void sys_poller_free(struct poller *poller)
{
    struct sys_poller *sys = sys_poller_of(poller);
    if (sys->epoll_fd >= 0) {
        close(sys->epoll_fd);
    }
    if (sys->event_fd >= 0) {
        close(sys->event_fd);
    }
    free(sys);
}

static struct poller *sys_poller_new(struct sockets *sockets)
{
    static const struct poller_ops OPS = {
        .set = sys_set, .wait = sys_wait, .wake = sys_wake, .free = sys_poller_free};
    struct sys_poller *sys = xcalloc(1, sizeof(*sys));
    (void)sockets;
    sys->poller.ops = &OPS;
    sys->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    sys->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event woken = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    if (sys->epoll_fd < 0 || sys->event_fd < 0 ||
        epoll_ctl(sys->epoll_fd, EPOLL_CTL_ADD, sys->event_fd, &woken) != 0) {
        int saved = errno;
        sys_poller_free(&sys->poller);
        errno = saved;
        return NULL;
    }
    return &sys->poller;
}

struct sockets *sockets_system(void)
{
    static const struct sockets_ops OPS = {
        .listen = sys_listen,
        .accept = sys_accept,
        .connect = sys_connect,
        .connect_result = sys_connect_result,
        .configure = sys_configure,
        .local_address = sys_local_address,
        .receive = sys_receive,
        .send = sys_send,
        .send_file = sys_send_file,
        .peer_has_closed = sys_peer_has_closed,
        .close = sys_close,
        .poller_new = sys_poller_new,
    };
    static struct sockets sockets = {.ops = &OPS};
    return &sockets;
}
