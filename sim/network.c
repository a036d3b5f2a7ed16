/* A socket holds what has arrived (`in`), and the pieces that are on their way to it. A piece goes when it is
 * due and its way is not cut; the due times of one socket's pieces only grow, so that none overtakes another
 * inside of a stream. A stream holds WINDOW_BYTES at most, arrived or not: more is EAGAIN.
 *
 * A heap has the time of each socket's first piece. It may be too early (a stall), the piece may be gone or
 * meet a cut: who takes it out looks. What becomes possible earlier than the heap knows (a heal, a new first
 * piece) is put in again.
 *
 * A connection begins with a piece to the listener's host (SYN), answered by one that says yes or no; its end
 * is a piece too (FIN, RESET), and so is noticed late, or, behind a cut, never.
 *
 * A process that has ended leaves sockets that are `dead`: what its threads still ask of them fails, until
 * they have come to their end. Descriptors are never used again. */
#define _GNU_SOURCE
#include "sim/network_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PORT_FIRST = 40000,
    DELAY_MIN_US = 50,
    DELAY_MAX_US = 800,
    ANYBODY = -1,
    ARRIVALS_MAX = 256, /* in one turn: others in the next */
};

/* ---- what is due ---- */

/* It has a first piece, or can be reached again. */
static void expect_arrival(struct socket *s)
{
    if (!list_empty(&s->pieces)) {
        const struct piece *piece = container_of(s->pieces.next, struct piece, link);
        heap_put(&s->host->network->arrivals, &s->arrival, piece->due_us);
    }
}

/* ---- sockets ---- */

static void remember(struct network *network, struct socket *s)
{
    if (network->by_fd_n == network->by_fd_cap) {
        network->by_fd_cap = network->by_fd_cap == 0 ? 64 : network->by_fd_cap * 2;
        network->by_fd = xrealloc(network->by_fd, network->by_fd_cap * sizeof(struct socket *));
    }
    s->fd = NETWORK_FD_FIRST + (int)network->by_fd_n;
    network->by_fd[network->by_fd_n++] = s;
}

static struct socket *by_fd(const struct network *network, int fd)
{
    size_t at = (size_t)(fd - NETWORK_FD_FIRST);
    return fd < NETWORK_FD_FIRST || at >= network->by_fd_n ? NULL : network->by_fd[at];
}

struct socket *socket_at(const struct network *network, int fd)
{
    struct socket *s = by_fd(network, fd);
    return s == NULL || s->closed ? NULL : s;
}

struct socket *socket_new(struct host *host, struct process *process)
{
    struct network *network = host->network;
    struct socket *s = xcalloc(1, sizeof(*s));
    s->host = host;
    s->process = process;
    list_init(&s->pieces);
    list_init(&s->accepted);
    list_init(&s->accept_link);
    list_init(&s->poller_link);
    list_append(&network->sockets, &s->link);
    remember(network, s);
    return s;
}

void socket_let_go(struct socket *s)
{
    s->closed = true;
    s->host->network->may_collect = true;
}

static void drop_pieces(struct socket *s)
{
    list_each_safe (item, &s->pieces) {
        list_remove(item);
        free(container_of(item, struct piece, link));
    }
    s->pieces_bytes = 0;
}

static void socket_free(struct socket *s)
{
    struct network *network = s->host->network;
    drop_pieces(s);
    heap_remove(&network->arrivals, &s->arrival);
    if (s->other != NULL) {
        s->other->other = NULL;
        network->may_collect = true;
    }
    network->by_fd[s->fd - NETWORK_FD_FIRST] = NULL;
    list_remove(&s->poller_link);
    list_remove(&s->accept_link);
    list_remove(&s->link);
    free(s->in);
    free(s);
}

/* What arrives there comes from: */
int socket_sender(const struct socket *s)
{
    return (int)(ntohl(s->remote.sin_addr.s_addr) & 0xff) - 1;
}

static bool is_cut(const struct socket *s)
{
    return s->host->network->cut[socket_sender(s)][s->host->number];
}

void socket_send(struct socket *to, enum piece_kind kind, const void *data, size_t len)
{
    struct network *network = to->host->network;
    struct network_delay delay = network->delays[socket_sender(to)][to->host->number];
    struct piece *piece = xmalloc(sizeof(*piece) + len);
    int64_t due_us =
        sched_now_us(network->sched) + sched_between(network->sched, delay.min_us, delay.max_us);
    const struct network_delay *asking = &network->asking[socket_sender(to)][to->host->number];
    if (to->is_asked && asking->max_us > 0) {
        due_us += sched_between(network->sched, asking->min_us, asking->max_us);
    }
    due_us = due_us > to->last_due_us ? due_us : to->last_due_us;
    to->last_due_us = due_us;
    *piece = (struct piece){.kind = kind, .due_us = due_us, .len = len};
    if (len > 0) {
        memcpy(piece->data, data, len);
    }
    to->pieces_bytes += len;
    bool first = list_empty(&to->pieces);
    list_append(&to->pieces, &piece->link);
    if (first) {
        expect_arrival(to);
    }
}

/* ---- what arrives ---- */

struct socket *network_listener_at(struct host *host, in_port_t port)
{
    list_each (item, &host->network->sockets) {
        struct socket *s = container_of(item, struct socket, link);
        if (s->host == host && s->listens && !s->closed && !socket_is_dead(s) &&
            s->local.sin_port == port) {
            return s;
        }
    }
    return NULL;
}

/* `s` is the half that waits at the listener's host. */
static void on_syn(struct socket *s)
{
    struct socket *listener = network_listener_at(s->host, s->local.sin_port);
    struct socket *asks = s->other;
    if (listener == NULL) {
        socket_send(asks, PIECE_REFUSED, NULL, 0);
        socket_free(s);
        return;
    }
    s->process = listener->process;
    s->connected = true;
    list_append(&listener->accepted, &s->accept_link);
    socket_send(asks, PIECE_ACCEPTED, NULL, 0);
    socket_tell(listener);
}

static void take_data(struct socket *s, const struct piece *piece)
{
    if (s->in_done == s->in_len) {
        s->in_done = s->in_len = 0;
    }
    if (s->in_len + piece->len > s->in_cap) {
        s->in_cap = (s->in_len + piece->len) * 2;
        s->in = xrealloc(s->in, s->in_cap);
    }
    memcpy(s->in + s->in_len, piece->data, piece->len);
    s->in_len += piece->len;
}

static void break_socket(struct socket *s, int error)
{
    s->error = error;
    s->ended = true;
    s->connected = false;
    s->in_done = s->in_len = 0;
}

static void arrive(struct socket *s, const struct piece *piece)
{
    if (piece->kind == PIECE_SYN) {
        on_syn(s);
        return;
    }
    if (s->closed || socket_is_dead(s)) {
        if (s->other != NULL && piece->kind == PIECE_DATA) {
            socket_send(s->other, PIECE_RESET, NULL, 0);
        }
        return;
    }
    switch (piece->kind) {
    case PIECE_DATA:
        take_data(s, piece);
        break;
    case PIECE_ACCEPTED:
        s->connected = true;
        break;
    case PIECE_REFUSED:
        break_socket(s, ECONNREFUSED);
        break;
    case PIECE_FIN:
        s->ended = true;
        break;
    default:
        break_socket(s, ECONNRESET);
    }
    socket_tell(s);
}

/* Both halves are over: nobody asks, nothing is under way. */
static void collect(struct network *network)
{
    network->may_collect = false;
    list_each_safe (item, &network->sockets) {
        struct socket *s = container_of(item, struct socket, link);
        if (s->closed && list_empty(&s->pieces) &&
            (s->other == NULL || (s->other->closed && list_empty(&s->other->pieces)))) {
            socket_free(s);
        }
    }
}

/* The first piece, if its way is open. */
static struct piece *next_piece(const struct socket *s)
{
    return s == NULL || list_empty(&s->pieces) || s->host->is_off || is_cut(s)
               ? NULL
               : container_of(s->pieces.next, struct piece, link);
}

static void deliver(struct network *network, int fd)
{
    struct socket *s = by_fd(network, fd);
    struct piece *piece = next_piece(s);
    if (piece == NULL) {
        return;
    }
    if (piece->due_us <= sched_now_us(network->sched)) {
        list_remove(&piece->link);
        s->pieces_bytes -= piece->len;
        network->delivered++;
        network->may_collect |= s->closed;
        trace_mix(network->trace, (uint64_t)s->fd);
        trace_bytes(network->trace, piece->data, piece->len);
        arrive(s, piece);
        free(piece);
        s = by_fd(network, fd);
    }
    if (s != NULL) {
        expect_arrival(s);
    }
}

/* A piece for each socket, the oldest socket first. */
static void network_turn(struct sched_source *source)
{
    struct network *network = container_of(source, struct network, source);
    int fds[ARRIVALS_MAX];
    size_t n = 0;
    struct heap_item *first;
    while (n < ARRIVALS_MAX && (first = heap_first(&network->arrivals)) != NULL &&
           first->due <= sched_now_us(network->sched)) {
        int fd = container_of(first, struct socket, arrival)->fd;
        heap_remove(&network->arrivals, first);
        size_t at = n++;
        for (; at > 0 && fds[at - 1] > fd; at--) {
            fds[at] = fds[at - 1];
        }
        fds[at] = fd;
    }
    for (size_t i = 0; i < n; i++) {
        deliver(network, fds[i]);
    }
    if (network->may_collect) {
        collect(network);
    }
}

static int64_t network_next_due_us(struct sched_source *source)
{
    struct network *network = container_of(source, struct network, source);
    struct heap_item *first;
    while ((first = heap_first(&network->arrivals)) != NULL) {
        const struct piece *piece = next_piece(container_of(first, struct socket, arrival));
        if (piece != NULL && piece->due_us <= first->due) {
            return piece->due_us;
        }
        heap_remove(&network->arrivals, first);
        if (piece != NULL) {
            heap_put(&network->arrivals, first, piece->due_us);
        }
    }
    return INT64_MAX;
}

/* ---- life ---- */

static void host_init(struct network *network, int number)
{
    network->hosts[number] =
        (struct host){.network = network, .number = number, .next_port = PORT_FIRST};
    for (int to = 0; to < NETWORK_HOSTS_MAX; to++) {
        network->delays[number][to] =
            (struct network_delay){.min_us = DELAY_MIN_US, .max_us = DELAY_MAX_US};
    }
}

struct network *network_new(struct sched *sched, struct trace *trace)
{
    struct network *network = xcalloc(1, sizeof(*network));
    network->sched = sched;
    network->trace = trace;
    list_init(&network->sockets);
    list_init(&network->processes);
    for (int i = 0; i < NETWORK_HOSTS_MAX; i++) {
        host_init(network, i);
    }
    network->source.turn = network_turn;
    network->source.next_due_us = network_next_due_us;
    sched_add(sched, &network->source);
    return network;
}

void network_free(struct network *network)
{
    list_each_safe (item, &network->sockets) {
        socket_free(container_of(item, struct socket, link));
    }
    list_each_safe (item2, &network->processes) {
        list_remove(item2);
        free(container_of(item2, struct process, link));
    }
    free(network->by_fd);
    heap_deinit(&network->arrivals);
    free(network);
}

/* What has waited at the host, all of it or what comes from one. */
static void resume(struct network *network, int to, int from)
{
    list_each (item, &network->sockets) {
        struct socket *s = container_of(item, struct socket, link);
        if (s->host->number == to && (from == ANYBODY || socket_sender(s) == from)) {
            expect_arrival(s);
        }
    }
}

struct sockets *network_begin_process(struct network *network, int number, struct fs *fs)
{
    struct host *host = &network->hosts[number];
    struct process *process = xcalloc(1, sizeof(*process));
    *process = (struct process){.sockets.ops = network_sockets_ops(), .host = host, .fs = fs};
    list_append(&network->processes, &process->link);
    host->is_off = false;
    resume(network, number, ANYBODY);
    return &process->sockets;
}

void network_address(int host, char text[NETWORK_ADDRESS_MAX])
{
    snprintf(text, NETWORK_ADDRESS_MAX, "10.0.0.%d", (host + 1) & 0xff);
}

/* ---- faults ---- */

void network_cut(struct network *network, int from, int to, bool cut)
{
    bool was = network->cut[from][to];
    network->cut[from][to] = cut;
    if (was && !cut) {
        resume(network, to, from);
    }
}

void network_set_delay(struct network *network, int from, int to, struct network_delay delay)
{
    network->delays[from][to] = delay;
}

void network_delay_asking(struct network *network, int from, int to, struct network_delay delay)
{
    network->asking[from][to] = delay;
}

static bool connects(const struct socket *s, int a, int b)
{
    return !s->listens && !socket_is_dead(s) && !s->closed && s->connected &&
           ((s->host->number == a && socket_sender(s) == b) ||
            (s->host->number == b && socket_sender(s) == a));
}

void network_reset(struct network *network, int a, int b)
{
    list_each (item, &network->sockets) {
        struct socket *s = container_of(item, struct socket, link);
        if (connects(s, a, b)) {
            drop_pieces(s);
            break_socket(s, ECONNRESET);
            socket_tell(s);
        }
    }
}

/* What is under way there is late, and what comes behind it too. */
static void stall(struct socket *s, int64_t until_us)
{
    s->last_due_us = until_us > s->last_due_us ? until_us : s->last_due_us;
    list_each (item, &s->pieces) {
        struct piece *piece = container_of(item, struct piece, link);
        piece->due_us = piece->due_us < until_us ? until_us : piece->due_us;
    }
}

void network_stall(struct network *network, int a, int b, int64_t us)
{
    uint64_t n = 0;
    list_each (item, &network->sockets) {
        n += connects(container_of(item, struct socket, link), a, b) ? 1 : 0;
    }
    uint64_t left = n == 0 ? 0 : 1 + sched_below(network->sched, n);
    list_each (item2, &network->sockets) {
        struct socket *s = container_of(item2, struct socket, link);
        if (connects(s, a, b) && left > 0 && --left == 0) {
            stall(s, sched_now_us(network->sched) + us);
        }
    }
}

/* The kernel closes a socket whose process has gone; who watches it is told that it is no more. */
static void end_socket(struct socket *s, bool silent)
{
    if (s->other != NULL && !silent) {
        socket_send(s->other, s->in_done < s->in_len ? PIECE_RESET : PIECE_FIN, NULL, 0);
    }
    socket_tell(s);
}

void network_end_process(struct network *network, struct sockets *sockets, bool silent)
{
    struct process *process = process_of(sockets);
    if (process->dead) {
        return;
    }
    process->dead = true;
    process->host->is_off = silent;
    list_each (item, &network->sockets) {
        struct socket *s = container_of(item, struct socket, link);
        if (s->process == process && !s->closed) {
            end_socket(s, silent);
        }
    }
}

uint64_t network_delivered(const struct network *network)
{
    return network->delivered;
}
