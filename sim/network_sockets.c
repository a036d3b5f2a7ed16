/* What a process may ask of its sockets. A task may be preempted at the beginning of a call that moves bytes;
 * one that finds its process gone has an error. */
#define _GNU_SOURCE
#include "sim/network_internal.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES_MAX = 64 << 10, SHORT_READS = 50000 /* of a million */ };

static struct sched *sched_of(struct sockets *sockets)
{
    return process_of(sockets)->host->network->sched;
}

/* NULL, with errno set, where it cannot be used. */
static struct socket *socket_find(struct sockets *sockets, int fd)
{
    const struct process *process = process_of(sockets);
    struct socket *s = process->dead ? NULL : socket_at(process->host->network, fd);
    if (s == NULL) {
        errno = ENOTCONN;
    }
    return s;
}

static int net_listen(struct sockets *sockets, const struct sockaddr_storage *address, int backlog)
{
    struct process *process = process_of(sockets);
    struct host *host = process->host;
    const struct sockaddr_in *at = (const struct sockaddr_in *)(const void *)address;
    (void)backlog;
    if (address->ss_family != AF_INET || process->dead) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    in_port_t port = at->sin_port != 0 ? at->sin_port : htons((uint16_t)host->next_port++);
    if (network_listener_at(host, port) != NULL) {
        errno = EADDRINUSE;
        return -1;
    }
    struct socket *s = socket_new(host, process);
    s->listens = true;
    s->local = *at;
    s->local.sin_port = port;
    return s->fd;
}

static int net_accept(struct sockets *sockets, int fd, struct sockaddr_storage *peer)
{
    struct socket *listener = socket_find(sockets, fd);
    if (listener == NULL) {
        return -1;
    }
    if (list_empty(&listener->accepted)) {
        errno = EAGAIN;
        return -1;
    }
    struct socket *s = container_of(listener->accepted.next, struct socket, accept_link);
    list_remove(&s->accept_link);
    memcpy(peer, &s->remote, sizeof(s->remote));
    return s->fd;
}

static int net_connect(struct sockets *sockets, const struct sockaddr_storage *to,
                       const struct socket_options *options)
{
    struct process *process = process_of(sockets);
    struct host *host = process->host;
    const struct sockaddr_in *at = (const struct sockaddr_in *)(const void *)to;
    int number = (int)(ntohl(at->sin_addr.s_addr) & 0xff) - 1;
    (void)options;
    if (process->dead || number < 0 || number >= NETWORK_HOSTS_MAX) {
        errno = ENETUNREACH;
        return -1;
    }
    struct socket *s = socket_new(host, process);
    struct socket *other = socket_new(&host->network->hosts[number], NULL);
    s->remote = other->local = *at;
    s->local = *at;
    s->local.sin_addr.s_addr = htonl(0x0a000001u + (uint32_t)host->number);
    s->local.sin_port = htons((uint16_t)host->next_port++);
    other->remote = s->local;
    other->is_asked = true;
    s->other = other;
    other->other = s;
    socket_send(other, PIECE_SYN, NULL, 0);
    return s->fd;
}

static int net_connect_result(struct sockets *sockets, int fd)
{
    const struct socket *s = socket_find(sockets, fd);
    return s == NULL ? errno : s->error;
}

static void net_configure(struct sockets *sockets, int fd, const struct socket_options *options)
{
    (void)sockets;
    (void)fd;
    (void)options;
}

static int net_local_address(struct sockets *sockets, int fd, struct sockaddr_storage *address)
{
    const struct socket *s = socket_find(sockets, fd);
    if (s == NULL) {
        return -1;
    }
    memcpy(address, &s->local, sizeof(s->local));
    return 0;
}

static ssize_t refuse_io(const struct socket *s)
{
    errno = s == NULL ? ENOTCONN : s->error;
    return -1;
}

static ssize_t net_receive(struct sockets *sockets, int fd, void *data, size_t len)
{
    struct sched *sched = sched_of(sockets);
    sched_preempt(sched);
    struct socket *s = socket_find(sockets, fd);
    if (s == NULL || s->error != 0) {
        return refuse_io(s);
    }
    size_t there = s->in_len - s->in_done;
    if (there == 0) {
        errno = EAGAIN;
        return s->ended ? 0 : -1;
    }
    size_t n = there < len ? there : len;
    n = n > 1 && sched_chance(sched, SHORT_READS) ? 1 + (size_t)sched_below(sched, n) : n;
    n = n < there ? n : there;
    memcpy(data, s->in + s->in_done, n);
    s->in_done += n;
    if (s->other != NULL) {
        socket_tell(s->other); /* there is room again */
    }
    return (ssize_t)n;
}

/* How much may be sent, 0 with EAGAIN. */
static size_t room(const struct socket *s)
{
    const struct socket *to = s->other;
    size_t held = to->pieces_bytes + to->in_len - to->in_done;
    errno = EAGAIN;
    return held >= NETWORK_WINDOW_BYTES ? 0 : NETWORK_WINDOW_BYTES - held;
}

static struct socket *socket_to_send(struct sockets *sockets, int fd)
{
    sched_preempt(sched_of(sockets));
    struct socket *s = socket_find(sockets, fd);
    if (s == NULL || s->error != 0 || !s->connected || s->other == NULL) {
        errno = s != NULL && s->error != 0 ? s->error : EPIPE;
        return NULL;
    }
    return s;
}

static ssize_t net_send(struct sockets *sockets, int fd, const void *data, size_t len, bool more)
{
    struct socket *s = socket_to_send(sockets, fd);
    (void)more;
    if (s == NULL) {
        return -1;
    }
    size_t n = room(s);
    n = n < len ? n : len;
    n = n < PIECE_BYTES_MAX ? n : PIECE_BYTES_MAX;
    if (n == 0) {
        return -1;
    }
    socket_send(s->other, PIECE_DATA, data, n);
    return (ssize_t)n;
}

static ssize_t net_send_file(struct sockets *sockets, int fd, int file_fd, int64_t position,
                             size_t len)
{
    struct fs *fs = process_of(sockets)->fs;
    struct sched *sched = sched_of(sockets);
    struct socket *s = socket_to_send(sockets, fd);
    size_t n = s == NULL ? 0 : room(s);
    n = n < len ? n : len;
    n = n < PIECE_BYTES_MAX ? n : PIECE_BYTES_MAX;
    if (n == 0) {
        return -1;
    }
    uint8_t *data = xmalloc(n);
    sched_quiet_begin(sched); /* what is known of the socket stays so */
    ssize_t read_bytes = fs->ops->pread(fs, file_fd, data, n, position);
    sched_quiet_end(sched);
    if (read_bytes > 0) {
        socket_send(s->other, PIECE_DATA, data, (size_t)read_bytes);
    }
    free(data);
    return read_bytes;
}

static bool net_peer_has_closed(struct sockets *sockets, int fd)
{
    const struct socket *s = socket_find(sockets, fd);
    return s == NULL || s->ended;
}

static void socket_close(struct socket *s)
{
    bool unread = s->in_done < s->in_len;
    socket_let_go(s);
    list_remove(&s->poller_link);
    s->poller = NULL;
    if (s->other != NULL && !socket_is_dead(s)) {
        socket_send(s->other, unread ? PIECE_RESET : PIECE_FIN, NULL, 0);
    }
    list_each_safe (item, &s->accepted) {
        list_remove(item);
        socket_close(container_of(item, struct socket, accept_link));
    }
}

static void net_close(struct sockets *sockets, int fd)
{
    struct socket *s = socket_at(process_of(sockets)->host->network, fd);
    if (s != NULL) {
        socket_close(s);
    }
}

const struct sockets_ops *network_sockets_ops(void)
{
    static const struct sockets_ops OPS = {
        .listen = net_listen,
        .accept = net_accept,
        .connect = net_connect,
        .connect_result = net_connect_result,
        .configure = net_configure,
        .local_address = net_local_address,
        .receive = net_receive,
        .send = net_send,
        .send_file = net_send_file,
        .peer_has_closed = net_peer_has_closed,
        .close = net_close,
        .poller_new = network_poller_new,
    };
    return &OPS;
}
