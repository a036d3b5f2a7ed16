/* Connections.
 *
 * Reading. Bytes are received into the loop's scratch buffer and whole frames are handled in place.
 * What is left of a frame moves to a buffer of the connection, which then grows by doubling as
 * bytes arrive; a warm buffer of the pool that is large enough is taken at once, since it costs no
 * new memory. When the last frame is done the buffer goes back.
 *
 * Memory. All such buffers together have a bound (struct net_memory). A connection whose frame must
 * grow beyond it is starved: not read until a timer finds room. One that finds none for the time a
 * frame may be silent is closed, so that waiting frames cannot hold each other for ever.
 *
 * Muting. While a request is parked or an answer is not sent, nothing is read. Interest in reading
 * is dropped lazily, only when bytes come in that moment: most long polls never pay for it.
 *
 * Sending. Answers collect in one writer while pipelined frames are handled, at most
 * OUT_BATCH_BYTES, and go out together: memory with send (MSG_MORE before a file range), file
 * ranges with sendfile. A slow reader holds no batch in memory. */
#define _GNU_SOURCE
#include "broker/net/conn.h"

#include "base/log.h"
#include "base/reader.h"
#include "storage/file_cache.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SCRATCH_BYTES = 128 << 10,
    OUT_BATCH_BYTES = 64 << 10,
    OUT_SPARE_BYTES = 256 << 10, /* a larger answer buffer is freed, not kept */
    LENGTH_BYTES = 4,
    STARVED_RETRY_MS = 20,
};

struct conn {
    struct io_watch watch;
    struct net_loop *net;
    struct listener *listener;
    struct list link;         /* in net->idle or net->partial */
    struct list starved_link; /* in net->starved, or alone */
    int64_t active_ms;
    struct buffer in; /* owned while a frame is on its way */
    size_t in_len;
    struct writer out;
    size_t out_done;    /* how much of `out`'s own bytes is sent */
    size_t splice_at;   /* the next splice */
    size_t splice_done; /* how much of it is sent */
    bool busy;          /* a request is parked */
    bool in_frame;      /* inside on_frame */
    bool close_after_send;
    bool gone; /* closed while in_frame: freed when it returns */
    void *user;
    struct sockaddr_storage peer;
    char peer_text[PEER_TEXT_MAX];
};

static void on_ready(struct io_watch *watch, uint32_t events);
static void on_starved(struct timer *timer);
static void update_interest(struct conn *conn, bool unread);

/* ---- memory of frames ---- */

static bool memory_take(struct net_loop *net, size_t bytes)
{
    struct net_memory *memory = net->memory;
    if (memory == NULL) {
        return true;
    }
    size_t before = atomic_fetch_add(&memory->buffered_bytes, bytes);
    if (before + bytes <= memory->buffered_bytes_max) {
        return true;
    }
    atomic_fetch_sub(&memory->buffered_bytes, bytes);
    return false;
}

static void in_release(struct conn *conn)
{
    struct net_loop *net = conn->net;
    if (net->memory != NULL) {
        atomic_fetch_sub(&net->memory->buffered_bytes, conn->in.cap);
    }
    buffer_release(&net->pool, &conn->in);
}

/* Gives the connection a buffer of at least `size` bytes with what it has so far. False: there is
 * no room, or no memory. */
static bool in_replace(struct conn *conn, struct buffer fresh, const uint8_t *data, size_t len)
{
    struct net_loop *net = conn->net;
    if (fresh.data == NULL || !memory_take(net, fresh.cap)) {
        buffer_release(&net->pool, &fresh);
        return false;
    }
    memcpy(fresh.data, data, len);
    in_release(conn);
    conn->in = fresh;
    return true;
}

/* ---- life ---- */

static void start_idle_timer(struct net_loop *net)
{
    int64_t due_ms = INT64_MAX;
    if (!list_empty(&net->idle) && net->limits.idle_ms >= 0) {
        struct conn *oldest = container_of(net->idle.next, struct conn, link);
        due_ms = oldest->active_ms + net->limits.idle_ms;
    }
    if (!list_empty(&net->partial)) {
        struct conn *oldest = container_of(net->partial.next, struct conn, link);
        int64_t partial_ms = oldest->active_ms + net->limits.partial_idle_ms;
        due_ms = partial_ms < due_ms ? partial_ms : due_ms;
    }
    if (due_ms == INT64_MAX) {
        timer_stop(net->loop, &net->idle_timer);
    } else if (net->idle_timer.place == 0 || net->idle_timer.due_ms > due_ms) {
        timer_start(net->loop, &net->idle_timer, due_ms - loop_now_ms(net->loop));
    }
}

/* Closes what has been silent for too long; Kafka closes a connection with a request in progress
 * too. */
static void on_idle(struct timer *timer)
{
    struct net_loop *net = container_of(timer, struct net_loop, idle_timer);
    int64_t now_ms = loop_now_ms(net->loop);
    list_each_safe (item, &net->partial) {
        struct conn *conn = container_of(item, struct conn, link);
        if (conn->active_ms + net->limits.partial_idle_ms > now_ms) {
            break;
        }
        conn_close(conn);
    }
    list_each_safe (item2, &net->idle) {
        struct conn *conn = container_of(item2, struct conn, link);
        if (net->limits.idle_ms < 0 || conn->active_ms + net->limits.idle_ms > now_ms) {
            break;
        }
        conn_close(conn);
    }
    start_idle_timer(net);
}

void net_loop_init(struct net_loop *net, struct loop *loop, const struct conn_handler *handler,
                   const struct net_limits *limits)
{
    *net = (struct net_loop){.loop = loop, .handler = *handler, .limits = *limits};
    buffer_pool_init(&net->pool);
    list_init(&net->idle);
    list_init(&net->partial);
    list_init(&net->starved);
    net->idle_timer.fire = on_idle;
    net->starved_timer.fire = on_starved;
}

void net_loop_deinit(struct net_loop *net)
{
    net->closed = true;
    list_each_safe (item, &net->idle) {
        conn_close(container_of(item, struct conn, link));
    }
    list_each_safe (item2, &net->partial) {
        conn_close(container_of(item2, struct conn, link));
    }
    timer_stop(net->loop, &net->idle_timer);
    timer_stop(net->loop, &net->starved_timer);
    buffer_release(&net->pool, &net->scratch);
    buffer_pool_deinit(&net->pool);
    writer_deinit(&net->spare_out);
}

void peer_format(const struct sockaddr_storage *peer, char text[PEER_TEXT_MAX])
{
    *text++ = '/';
    *text = '\0';
    if (peer->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)peer;
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
            inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], text, INET6_ADDRSTRLEN);
        } else {
            inet_ntop(AF_INET6, &in6->sin6_addr, text, INET6_ADDRSTRLEN);
        }
    } else {
        const struct sockaddr_in *in4 = (const struct sockaddr_in *)(const void *)peer;
        inet_ntop(AF_INET, &in4->sin_addr, text, INET6_ADDRSTRLEN);
    }
}

static void set_options(const struct net_loop *net, int fd)
{
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    if (net->limits.send_buffer_bytes > 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &net->limits.send_buffer_bytes, sizeof(int));
    }
    if (net->limits.receive_buffer_bytes > 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &net->limits.receive_buffer_bytes, sizeof(int));
    }
}

void conn_open(struct net_loop *net, int fd, struct listener *listener,
               const struct sockaddr_storage *peer)
{
    if (net->closed) {
        close(fd);
        return;
    }
    struct conn *conn = xcalloc(1, sizeof(*conn));
    conn->net = net;
    conn->listener = listener;
    conn->watch = (struct io_watch){.fd = fd, .ready = on_ready};
    list_init(&conn->starved_link);
    conn->active_ms = loop_now_ms(net->loop);
    conn->peer = *peer;
    peer_format(peer, conn->peer_text);
    set_options(net, fd);
    list_append(&net->idle, &conn->link);
    atomic_fetch_add(&net->conns_n, 1);
    if (io_watch_set(net->loop, &conn->watch, EPOLLIN) != OK) {
        conn_close(conn);
        return;
    }
    start_idle_timer(net);
}

static void release_splices(struct conn *conn)
{
    for (size_t i = conn->splice_at; i < conn->out.splices_n; i++) {
        open_file_release((struct open_file *)(uintptr_t)conn->out.splices[i].file);
    }
    conn->out.splices_n = conn->splice_at = conn->splice_done = 0;
}

void conn_close(struct conn *conn)
{
    struct net_loop *net = conn->net;
    if (conn->in_frame) {
        conn->gone = true;
        return;
    }
    if (conn->busy) {
        conn->busy = false;
        net->handler.on_close(net->handler.context, conn);
    }
    if (net->on_conn_gone != NULL) {
        net->on_conn_gone(net->gone_context, conn);
    }
    err_ignore(io_watch_set(net->loop, &conn->watch, 0));
    close(conn->watch.fd);
    list_remove(&conn->link);
    release_splices(conn);
    writer_deinit(&conn->out);
    in_release(conn);
    list_remove(&conn->starved_link);
    atomic_fetch_sub(&net->conns_n, 1);
    free(conn);
}

void conn_close_after_send(struct conn *conn)
{
    conn->close_after_send = true;
}

/* ---- sending ---- */

static bool has_output(const struct conn *conn)
{
    return conn->out_done < conn->out.len || conn->splice_at < conn->out.splices_n;
}

enum send_result { SENT, SEND_BLOCKED, SEND_FAILED };

static enum send_result send_outcome(ssize_t n)
{
    if (n > 0) {
        return SENT;
    }
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? SEND_BLOCKED
                                                                                : SEND_FAILED;
}

static enum send_result send_memory(struct conn *conn, size_t end, bool more)
{
    ssize_t n = send(conn->watch.fd, conn->out.data + conn->out_done, end - conn->out_done,
                     MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    if (n > 0) {
        conn->out_done += (size_t)n;
    }
    return send_outcome(n);
}

/* A file that is shorter than promised (it cannot be while the range is below the high watermark)
 * ends the connection: the peer was told the length. */
static enum send_result send_file(struct conn *conn, const struct splice *splice)
{
    struct open_file *file = (struct open_file *)(uintptr_t)splice->file;
    off_t position = splice->position + (int64_t)conn->splice_done;
    ssize_t n =
        sendfile(conn->watch.fd, open_file_fd(file), &position, splice->len - conn->splice_done);
    if (n > 0) {
        conn->splice_done += (size_t)n;
        if (conn->splice_done == splice->len) {
            open_file_release(file);
            conn->splice_at++;
            conn->splice_done = 0;
        }
    }
    return send_outcome(n);
}

static enum send_result send_some(struct conn *conn)
{
    while (has_output(conn)) {
        const struct splice *splice =
            conn->splice_at < conn->out.splices_n ? &conn->out.splices[conn->splice_at] : NULL;
        size_t end = splice == NULL ? conn->out.len : splice->at;
        enum send_result result =
            conn->out_done < end ? send_memory(conn, end, splice != NULL) : send_file(conn, splice);
        if (result != SENT) {
            return result;
        }
    }
    return SENT;
}

/* Gives the answer buffer to the loop for the next answer, or frees it. */
static void recycle_out(struct conn *conn)
{
    struct net_loop *net = conn->net;
    writer_clear(&conn->out);
    conn->out_done = conn->splice_at = 0;
    if (net->spare_out.data == NULL && conn->out.cap <= OUT_SPARE_BYTES) {
        net->spare_out = conn->out;
    } else {
        writer_deinit(&conn->out);
    }
    conn->out = (struct writer){0};
}

/* False: the connection is gone. */
static bool flush(struct conn *conn)
{
    if (has_output(conn)) {
        enum send_result result = send_some(conn);
        if (result == SEND_FAILED) {
            conn_close(conn);
            return false;
        }
    }
    if (!has_output(conn)) {
        recycle_out(conn);
        if (conn->close_after_send) {
            conn_close(conn);
            return false;
        }
    }
    return true;
}

/* ---- reading ---- */

static void touch(struct conn *conn)
{
    struct net_loop *net = conn->net;
    if (!list_empty(&conn->starved_link)) {
        return; /* it gets no further: its silence counts */
    }
    conn->active_ms = loop_now_ms(net->loop);
    list_remove(&conn->link);
    bool in_frame = conn->in_len > 0 && !conn->busy && !has_output(conn);
    list_append(in_frame ? &net->partial : &net->idle, &conn->link);
    start_idle_timer(net);
}

/* The size that the frame at `data` announces, or -1 if it is not allowed. */
static int64_t frame_size(const struct conn *conn, const uint8_t *data)
{
    int32_t size = (int32_t)load_u32(data);
    return size < 0 || size > conn->net->limits.frame_bytes_max ? -1 : size;
}

/* Handles whole frames of data[0..len) until there is none, one is parked, or enough answers wait.
 * Returns how many bytes were used up, or -1 when the connection must end. */
static ssize_t handle_frames(struct conn *conn, uint8_t *data, size_t len)
{
    size_t used = 0;
    while (!conn->busy && !conn->close_after_send && conn->out.len < OUT_BATCH_BYTES &&
           conn->out.spliced_bytes < OUT_BATCH_BYTES && len - used >= LENGTH_BYTES) {
        int64_t size = frame_size(conn, data + used);
        if (size < 0) {
            conn->close_after_send = true;
            break;
        }
        if (len - used - LENGTH_BYTES < (size_t)size) {
            break;
        }
        conn->in_frame = true;
        conn->busy = true;
        enum frame_result result = conn->net->handler.on_frame(
            conn->net->handler.context, conn, data + used + LENGTH_BYTES, (size_t)size);
        conn->in_frame = false;
        used += LENGTH_BYTES + (size_t)size;
        if (result != FRAME_PARKED) {
            conn->busy = false;
        }
        if (conn->gone) {
            return -1;
        }
        if (result == FRAME_CLOSE) {
            conn->close_after_send = true;
        }
    }
    return (ssize_t)used;
}

/* Keeps the bytes that are left over in the connection's own buffer. */
static bool keep_rest(struct conn *conn, const uint8_t *rest, size_t len)
{
    if (conn->in.data != NULL) {
        if (len == 0) {
            in_release(conn);
        } else if (rest != conn->in.data) {
            memmove(conn->in.data, rest, len);
        }
    } else if (len > 0) {
        if (!in_replace(conn, buffer_acquire(&conn->net->pool, len), rest, len)) {
            return false;
        }
    }
    conn->in_len = len;
    return true;
}

/* Handles what can be handled of data[0..len), keeps the rest, sends. False: it is gone. */
static bool consume(struct conn *conn, uint8_t *data, size_t len)
{
    ssize_t used = handle_frames(conn, data, len);
    if (used < 0) {
        conn_close(conn);
        return false;
    }
    if (!keep_rest(conn, data + used, len - (size_t)used)) {
        conn_close(conn);
        return false;
    }
    return flush(conn);
}

/* Frames that wait in the connection's own buffer, as long as answers can be sent. */
static bool drain(struct conn *conn)
{
    while (!conn->busy && !has_output(conn) && conn->in_len >= LENGTH_BYTES) {
        int64_t size = frame_size(conn, conn->in.data);
        if (size >= 0 && conn->in_len - LENGTH_BYTES < (size_t)size) {
            return true;
        }
        if (!consume(conn, conn->in.data, conn->in_len)) {
            return false;
        }
    }
    return true;
}

/* Makes room in the connection's buffer for the frame that is on its way. */
static bool grow_in(struct conn *conn)
{
    struct buffer_pool *pool = &conn->net->pool;
    if (conn->in_len < conn->in.cap) {
        return true;
    }
    size_t want = conn->in.cap * 2;
    if (conn->in_len >= LENGTH_BYTES) {
        int64_t size = frame_size(conn, conn->in.data);
        size_t whole = LENGTH_BYTES + (size_t)(size < 0 ? 0 : size);
        if (want > whole) {
            want = whole > conn->in.cap ? whole : want;
        } else {
            struct buffer kept = buffer_acquire_kept(pool, whole);
            if (in_replace(conn, kept, conn->in.data, conn->in_len)) {
                return true;
            }
        }
    }
    return in_replace(conn, buffer_acquire(pool, want), conn->in.data, conn->in_len);
}

/* Tries again later; see Memory. */
static void starve(struct conn *conn)
{
    struct net_loop *net = conn->net;
    list_append(&net->starved, &conn->starved_link);
    if (net->starved_timer.place == 0) {
        timer_start(net->loop, &net->starved_timer, STARVED_RETRY_MS);
    }
}

static void on_starved(struct timer *timer)
{
    struct net_loop *net = container_of(timer, struct net_loop, starved_timer);
    list_each_safe (item, &net->starved) {
        struct conn *conn = container_of(item, struct conn, starved_link);
        list_remove(item);
        update_interest(conn, false);
    }
}

static bool receive(struct conn *conn)
{
    struct net_loop *net = conn->net;
    if (net->scratch.data == NULL) {
        net->scratch = buffer_acquire(&net->pool, SCRATCH_BYTES);
    }
    if (net->scratch.data == NULL) {
        conn_close(conn);
        return false;
    }
    if (conn->in_len > 0 && !grow_in(conn)) {
        starve(conn);
        return true;
    }
    bool own = conn->in_len > 0;
    uint8_t *into = own ? conn->in.data + conn->in_len : net->scratch.data;
    size_t room = own ? conn->in.cap - conn->in_len : net->scratch.cap;
    ssize_t n = recv(conn->watch.fd, into, room, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    if (n <= 0) {
        conn_close(conn);
        return false;
    }
    if (!own) {
        return consume(conn, into, (size_t)n) && drain(conn);
    }
    conn->in_len += (size_t)n;
    return drain(conn);
}

/* Sets what the loop waits for. `unread`: bytes are there that must wait. */
static void update_interest(struct conn *conn, bool unread)
{
    bool wanted = !conn->busy && !has_output(conn) && list_empty(&conn->starved_link);
    bool left_on = conn->busy && (conn->watch.events & EPOLLIN) != 0 && !unread; /* see Muting */
    uint32_t events = (has_output(conn) ? EPOLLOUT : 0u) | (wanted || left_on ? EPOLLIN : 0u);
    /* EPOLLERR is always reported: asking for it alone keeps the descriptor registered. */
    if (io_watch_set(conn->net->loop, &conn->watch, events == 0 ? EPOLLERR : events) != OK) {
        conn_close(conn);
    }
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    struct conn *conn = container_of(watch, struct conn, watch);
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        conn_close(conn);
        return;
    }
    if ((events & EPOLLOUT) != 0 && (!flush(conn) || !drain(conn))) {
        return;
    }
    bool unread = (events & EPOLLIN) != 0;
    if (unread && !conn->busy && !has_output(conn)) {
        unread = false;
        if (!receive(conn)) {
            return;
        }
    }
    touch(conn);
    update_interest(conn, unread);
}

void conn_resume(struct conn *conn)
{
    conn->busy = false;
    if (!flush(conn) || !drain(conn)) {
        return;
    }
    touch(conn);
    update_interest(conn, false);
}

/* ---- access ---- */

struct writer *conn_out(struct conn *conn)
{
    if (conn->out.data == NULL && conn->out.limit_bytes == 0) {
        conn->out = conn->net->spare_out;
        conn->net->spare_out = (struct writer){0};
        writer_clear(&conn->out);
        conn->out.limit_bytes = INT32_MAX;
    }
    return &conn->out;
}

struct net_loop *conn_loop(const struct conn *conn)
{
    return conn->net;
}

struct listener *conn_listener(const struct conn *conn)
{
    return conn->listener;
}

const char *conn_peer(const struct conn *conn)
{
    return conn->peer_text;
}

const struct sockaddr_storage *conn_peer_address(const struct conn *conn)
{
    return &conn->peer;
}

int conn_fd(const struct conn *conn)
{
    return conn->watch.fd;
}

void *conn_user(const struct conn *conn)
{
    return conn->user;
}

void conn_set_user(struct conn *conn, void *user)
{
    conn->user = user;
}
