/* Connections.
 *
 * Memory. What frames on their way hold together has a bound (struct net_memory). A connection whose
 * frame must grow beyond it is starved: not read until a timer finds room. One that finds none for
 * the time a frame may be silent is closed, so that waiting frames cannot hold each other for ever.
 *
 * Muting. While a request is parked or an answer is not sent, nothing is read. Interest in reading
 * is dropped lazily, only when bytes come in that moment: most long polls never pay for it.
 *
 * Strangers. Whoever has yet to say who he is, by TLS or a login, has STRANGER_MS for it, however busy he is; from
 * conn_set_session() on silence alone counts.
 *
 * Handshakes. A step of one may cost a millisecond, for a signature. So whose step is due waits in a line, and each turn of the
 * loop takes HANDSHAKES_PER_TURN from it, beside all else that is ready: a thousand that begin at once are
 * served in turn and delay nobody by more.
 *
 * Sending. Answers collect in one writer while pipelined frames are handled, at most
 * OUT_BATCH_BYTES, and go out together. A slow reader holds no batch in memory. */
#define _GNU_SOURCE
#include "broker/net/conn.h"

#include "base/log.h"
#include "broker/net/listeners.h"
#include "broker/security/sasl_server.h"
#include "broker/security/tls_slot.h"

#include <arpa/inet.h>
#include <stdlib.h>

enum {
    OUT_BATCH_BYTES = 64 << 10,
    STARVED_RETRY_MS = 20,
    STRANGER_MS = 10000,
    HANDSHAKES_PER_TURN = 2,
};

struct conn {
    struct io_watch watch;
    struct net_loop *net;
    struct listener *listener;
    struct list link;           /* in net->idle, net->partial or net->strangers */
    struct list starved_link;   /* in net->starved, or alone */
    struct list handshake_link; /* in net->handshakes, or alone */
    int64_t active_ms;
    struct stream stream;
    struct timer throttle; /* runs while nothing is to be read */
    bool ends;             /* when it is over */
    bool busy;             /* a request is parked */
    bool in_frame;         /* inside on_frame */
    bool stranger;
    bool close_after_send;
    bool gone; /* closed while in_frame: freed when it returns */
    void *user;
    struct sending *sending;
    const struct session *session;
    struct sasl_server *sasl; /* NULL: nobody logs in */
    struct sockaddr_storage peer;
    char peer_text[PEER_TEXT_MAX];
};

static void on_ready(struct io_watch *watch, uint32_t events);
static void on_starved(struct timer *timer);
static void on_handshakes(struct loop_task *task);
static void on_throttle_over(struct timer *timer);
static void update_interest(struct conn *conn, bool unread);

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
    if (!list_empty(&net->strangers)) {
        struct conn *oldest = container_of(net->strangers.next, struct conn, link);
        int64_t stranger_ms = oldest->active_ms + STRANGER_MS;
        due_ms = stranger_ms < due_ms ? stranger_ms : due_ms;
    }
    if (due_ms == INT64_MAX) {
        timer_stop(net->loop, &net->idle_timer);
    } else if (!timer_is_running(&net->idle_timer) || net->idle_timer.item.due > due_ms) {
        timer_start(net->loop, &net->idle_timer, due_ms - loop_now_ms(net->loop));
    }
}

/* Those whose time counts from active_ms, the oldest first. */
static void close_older(struct net_loop *net, struct list *list, int64_t age_ms)
{
    int64_t now_ms = loop_now_ms(net->loop);
    list_each_safe (item, list) {
        struct conn *conn = container_of(item, struct conn, link);
        if (conn->active_ms + age_ms > now_ms) {
            break;
        }
        conn_close(conn);
    }
}

/* Closes what has been silent for too long; Kafka closes a connection with a request in progress
 * too. */
static void on_idle(struct timer *timer)
{
    struct net_loop *net = container_of(timer, struct net_loop, idle_timer);
    close_older(net, &net->partial, net->limits.partial_idle_ms);
    close_older(net, &net->strangers, STRANGER_MS);
    if (net->limits.idle_ms >= 0) {
        close_older(net, &net->idle, net->limits.idle_ms);
    }
    start_idle_timer(net);
}

void net_loop_init(struct net_loop *net, struct loop *loop, const struct conn_handler *handler,
                   const struct net_limits *limits, struct net_memory *memory)
{
    *net = (struct net_loop){.loop = loop, .handler = *handler, .limits = *limits};
    stream_pool_init(&net->streams, limits->frame_bytes_max, memory);
    list_init(&net->idle);
    list_init(&net->partial);
    list_init(&net->starved);
    list_init(&net->strangers);
    list_init(&net->handshakes);
    net->handshake_task.run = on_handshakes;
    net->idle_timer.fire = on_idle;
    net->starved_timer.fire = on_starved;
}

void net_loop_close_conns(struct net_loop *net)
{
    list_each_safe (item, &net->idle) {
        conn_close(container_of(item, struct conn, link));
    }
    list_each_safe (item2, &net->partial) {
        conn_close(container_of(item2, struct conn, link));
    }
    list_each_safe (item3, &net->strangers) {
        conn_close(container_of(item3, struct conn, link));
    }
}

void net_loop_deinit(struct net_loop *net)
{
    net->closed = true;
    net_loop_close_conns(net);
    timer_stop(net->loop, &net->idle_timer);
    timer_stop(net->loop, &net->starved_timer);
    stream_pool_deinit(&net->streams);
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

/* False: no memory. */
static bool begin_tls(struct conn *conn)
{
    struct listener *listener = conn->listener;
    return listener == NULL || listener->tls == NULL ||
           stream_use_tls(&conn->stream, tls_slot_acquire(listener->tls), NULL);
}

void conn_open(struct net_loop *net, int fd, struct listener *listener,
               const struct sockaddr_storage *peer)
{
    struct sockets *sockets = loop_sockets(net->loop);
    if (net->closed) {
        sockets->ops->close(sockets, fd);
        return;
    }
    struct conn *conn = xcalloc(1, sizeof(*conn));
    conn->net = net;
    conn->listener = listener;
    conn->session =
        session_anonymous(listener == NULL ? PROTOCOL_PLAINTEXT : listener->security_protocol);
    conn->watch = (struct io_watch){.fd = fd, .ready = on_ready};
    stream_init(&conn->stream, sockets, &net->streams, fd);
    conn->throttle.fire = on_throttle_over;
    list_init(&conn->starved_link);
    list_init(&conn->handshake_link);
    conn->active_ms = loop_now_ms(net->loop);
    conn->peer = *peer;
    peer_format(peer, conn->peer_text);
    sockets->ops->configure(sockets, fd,
                            &(struct socket_options){
                                .keep_alive = true,
                                .send_buffer_bytes = net->limits.send_buffer_bytes,
                                .receive_buffer_bytes = net->limits.receive_buffer_bytes,
                            });
    conn->stranger = conn->session->protocol != PROTOCOL_PLAINTEXT;
    if (protocol_has_sasl(conn->session->protocol)) {
        conn->stream.frame_bytes_max = net->limits.login_bytes_max;
    }
    list_append(conn->stranger ? &net->strangers : &net->idle, &conn->link);
    atomic_fetch_add(&net->conns_n, 1);
    if (!begin_tls(conn) || io_watch_set(net->loop, &conn->watch, EPOLLIN) != OK) {
        conn_close(conn);
        return;
    }
    start_idle_timer(net);
}

static void tell_sent(struct conn *conn)
{
    struct conn_handler *handler = &conn->net->handler;
    if (conn->sending != NULL) {
        handler->on_sent(handler->context, conn->sending);
        conn->sending = NULL;
    }
}

void conn_close(struct conn *conn)
{
    struct net_loop *net = conn->net;
    if (conn->in_frame) {
        conn->gone = true;
        return;
    }
    tell_sent(conn);
    if (conn->busy) {
        conn->busy = false;
        net->handler.on_close(net->handler.context, conn);
    }
    if (net->on_conn_gone != NULL) {
        net->on_conn_gone(net->gone_context, conn);
    }
    err_ignore(io_watch_set(net->loop, &conn->watch, 0));
    timer_stop(net->loop, &conn->throttle);
    stream_deinit(&conn->stream);
    session_release(conn->session);
    sasl_server_free(conn->sasl);
    list_remove(&conn->link);
    list_remove(&conn->starved_link);
    list_remove(&conn->handshake_link);
    atomic_fetch_sub(&net->conns_n, 1);
    free(conn);
}

void conn_close_after_send(struct conn *conn)
{
    conn->close_after_send = true;
}

/* ---- reading and answering ---- */

/* False: the connection is gone. */
static bool flush(struct conn *conn)
{
    bool sent = stream_flush(&conn->stream);
    if (sent && !stream_has_output(&conn->stream)) {
        tell_sent(conn);
    }
    if (!sent || (conn->close_after_send && !stream_has_output(&conn->stream))) {
        conn_close(conn);
        return false;
    }
    return true;
}

static bool is_throttled(const struct conn *conn)
{
    return timer_is_running(&conn->throttle);
}

static bool may_read(const struct conn *conn)
{
    return !conn->busy && !is_throttled(conn) && !stream_has_output(&conn->stream);
}

static void touch(struct conn *conn)
{
    struct net_loop *net = conn->net;
    if (!list_empty(&conn->starved_link) || conn->stranger) {
        return; /* it gets no further: its silence counts; or all of its time does */
    }
    conn->active_ms = loop_now_ms(net->loop);
    list_remove(&conn->link);
    bool in_frame = stream_holds_input(&conn->stream) && may_read(conn);
    list_append(in_frame ? &net->partial : &net->idle, &conn->link);
    start_idle_timer(net);
}

/* Another frame may be handled: none is parked, and not too many answers wait. */
static bool may_handle(const struct conn *conn)
{
    const struct writer *out = &conn->stream.out;
    return !conn->busy && !is_throttled(conn) && !conn->close_after_send &&
           out->len < OUT_BATCH_BYTES && out->spliced_bytes < OUT_BATCH_BYTES;
}

/* False: it was closed meanwhile. */
static bool handle_frame(struct conn *conn, uint8_t *frame, size_t len)
{
    struct conn_handler *handler = &conn->net->handler;
    conn->in_frame = true;
    conn->busy = true;
    enum frame_result result = handler->on_frame(handler->context, conn, frame, len);
    conn->in_frame = false;
    conn->busy = result == FRAME_PARKED;
    conn->close_after_send |= result == FRAME_CLOSE;
    return !conn->gone;
}

/* Handles what can be handled of what has arrived, keeps the rest, sends. False: it is gone. */
static bool consume(struct conn *conn)
{
    uint8_t *frame = NULL;
    size_t len = 0;
    while (may_handle(conn)) {
        enum stream_frame next = stream_next_frame(&conn->stream, &frame, &len);
        if (next == FRAME_NONE) {
            break;
        }
        if (next == FRAME_REFUSED) {
            conn->close_after_send = true;
        } else if (!handle_frame(conn, frame, len)) {
            conn_close(conn);
            return false;
        }
    }
    if (!stream_keep(&conn->stream)) {
        conn_close(conn);
        return false;
    }
    return flush(conn);
}

/* Tries again later; see Memory. */
static void starve(struct conn *conn)
{
    struct net_loop *net = conn->net;
    list_append(&net->starved, &conn->starved_link);
    if (!timer_is_running(&net->starved_timer)) {
        timer_start(net->loop, &net->starved_timer, STARVED_RETRY_MS);
    }
}

/* What the socket, or TLS, has now; in one piece. False: it is gone. */
static bool receive_once(struct conn *conn)
{
    switch (stream_receive(&conn->stream)) {
    case STREAM_BYTES:
        return consume(conn);
    case STREAM_STARVED:
        starve(conn);
        return true;
    case STREAM_NOTHING:
        return true;
    default:
        conn_close(conn);
        return false;
    }
}

/* What waits in the connection's own buffer, or in TLS, as long as answers can be sent. */
static bool drain(struct conn *conn)
{
    while (may_read(conn) && list_empty(&conn->starved_link)) {
        if (stream_reopen(&conn->stream)) {
            if (!consume(conn)) {
                return false;
            }
        } else if (!stream_has_unread(&conn->stream)) {
            return true;
        } else if (!receive_once(conn)) {
            return false;
        }
    }
    return true;
}

/* False: it is gone. */
static bool receive(struct conn *conn)
{
    return receive_once(conn) && drain(conn);
}

static void on_starved(struct timer *timer)
{
    struct net_loop *net = container_of(timer, struct net_loop, starved_timer);
    struct list again;
    list_init(&again);
    while (!list_empty(&net->starved)) { /* who starves anew waits for the timer again */
        struct list *item = net->starved.next;
        list_remove(item);
        list_append(&again, item);
    }
    while (!list_empty(&again)) {
        struct conn *conn = container_of(again.next, struct conn, starved_link);
        list_remove(&conn->starved_link);
        if (drain(conn)) {
            update_interest(conn, false);
        }
    }
}

/* Sets what the loop waits for. `unread`: bytes are there that must wait. */
static void update_interest(struct conn *conn, bool unread)
{
    bool wanted = may_read(conn) && list_empty(&conn->starved_link);
    bool left_on = conn->busy && (conn->watch.events & EPOLLIN) != 0 && !unread; /* see Muting */
    uint32_t events =
        (stream_wants_write(&conn->stream) ? EPOLLOUT : 0u) | (wanted || left_on ? EPOLLIN : 0u);
    /* EPOLLERR is always reported: asking for it alone keeps the descriptor registered. */
    if (io_watch_set(conn->net->loop, &conn->watch, events == 0 ? EPOLLERR : events) != OK) {
        conn_close(conn);
    }
}

/* ---- handshakes ---- */

static bool is_shaking_hands(const struct conn *conn)
{
    return conn->stream.tls != NULL && !tls_is_ready(conn->stream.tls);
}

static void post_handshakes(struct net_loop *net)
{
    if (!net->handshake_posted && !list_empty(&net->handshakes)) {
        net->handshake_posted = true;
        loop_post(net->loop, &net->handshake_task);
    }
}

/* Until its turn comes the poller does not tell again what it has told. */
static void queue_handshake(struct conn *conn)
{
    struct net_loop *net = conn->net;
    if (io_watch_set(net->loop, &conn->watch, EPOLLERR) != OK) {
        conn_close(conn);
        return;
    }
    if (list_empty(&conn->handshake_link)) {
        list_append(&net->handshakes, &conn->handshake_link);
    }
    post_handshakes(net);
}

/* Whose certificate it was is who it is, unless a login follows. False: nobody that the rules know. */
static bool take_certificate(struct conn *conn)
{
    int16_t protocol = conn->session->protocol;
    if (protocol_has_sasl(protocol)) {
        return true;
    }
    char *name = NULL;
    err e = tls_principal(conn->stream.tls, &name);
    if (name != NULL) {
        const struct principal principal = {.type = STR(PRINCIPAL_USER), .name = str_of(name)};
        conn_set_session(conn, session_new(&principal, protocol));
    }
    conn->stranger = e != OK;
    free(name);
    return e == OK;
}

static void begin_requests(struct conn *conn)
{
    if (!take_certificate(conn)) {
        conn_close(conn);
        return;
    }
    touch(conn);
    if (receive(conn)) {
        touch(conn);
        update_interest(conn, false);
    }
}

/* The other side has time to read why: closing at once would take that back, where it has sent more meanwhile. */
static void end_later(struct conn *conn)
{
    conn->ends = true;
    timer_start(conn->net->loop, &conn->throttle, conn->net->limits.refusal_ms);
    if (io_watch_set(conn->net->loop, &conn->watch, EPOLLERR) != OK) {
        conn_close(conn);
    }
}

static void step_handshake(struct conn *conn)
{
    enum tls_progress progress = tls_handshake(conn->stream.tls);
    if (progress == TLS_DONE) {
        begin_requests(conn);
        return;
    }
    if (progress == TLS_FAILED && !tls_has_reason(conn->stream.tls)) {
        conn_close(conn); /* it has just gone, as those do that look whether we live */
        return;
    }
    if (progress == TLS_FAILED) {
        log_info("server", "Failed authentication with %s (SSL handshake failed: %s)",
                 conn->peer_text, tls_why(conn->stream.tls));
        end_later(conn);
        return;
    }
    uint32_t events = progress == TLS_WANTS_WRITE ? (uint32_t)EPOLLOUT : (uint32_t)EPOLLIN;
    if (io_watch_set(conn->net->loop, &conn->watch, events) != OK) {
        conn_close(conn);
    }
}

static void on_handshakes(struct loop_task *task)
{
    struct net_loop *net = container_of(task, struct net_loop, handshake_task);
    net->handshake_posted = false;
    for (int i = 0; i < HANDSHAKES_PER_TURN && !list_empty(&net->handshakes); i++) {
        struct conn *conn = container_of(net->handshakes.next, struct conn, handshake_link);
        list_remove(&conn->handshake_link);
        step_handshake(conn);
    }
    post_handshakes(net);
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    struct conn *conn = container_of(watch, struct conn, watch);
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        conn_close(conn);
        return;
    }
    if (is_shaking_hands(conn)) {
        queue_handshake(conn);
        return;
    }
    bool held_up = stream_wants_write(&conn->stream) && !stream_has_output(&conn->stream);
    if ((events & EPOLLOUT) != 0 && (!flush(conn) || !drain(conn))) {
        return;
    }
    bool unread = (events & EPOLLIN) != 0 || held_up;
    if (unread && may_read(conn)) {
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

void conn_throttle(struct conn *conn, int32_t ms)
{
    timer_start(conn->net->loop, &conn->throttle, ms);
}

static void on_throttle_over(struct timer *timer)
{
    struct conn *conn = container_of(timer, struct conn, throttle);
    if (conn->ends) {
        conn_close(conn);
    } else if (drain(conn)) {
        touch(conn);
        update_interest(conn, false);
    }
}

bool conn_give_frame(struct conn *conn, size_t len, struct buffer *given)
{
    CHECK(conn->in_frame);
    return stream_give(&conn->stream, len, given);
}

void net_loop_return(struct net_loop *net, struct buffer *given)
{
    stream_pool_return(&net->streams, given);
}

/* ---- access ---- */

struct writer *conn_out(struct conn *conn)
{
    return stream_out(&conn->stream);
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

bool conn_local_address(const struct conn *conn, struct sockaddr_storage *address)
{
    struct sockets *sockets = loop_sockets(conn->net->loop);
    return sockets->ops->local_address(sockets, conn->watch.fd, address) == 0;
}

bool conn_peer_has_closed(const struct conn *conn)
{
    struct sockets *sockets = loop_sockets(conn->net->loop);
    return sockets->ops->peer_has_closed(sockets, conn->watch.fd);
}

const struct session *conn_session(const struct conn *conn)
{
    return conn->session;
}

struct sasl_server *conn_sasl(const struct conn *conn)
{
    return conn->sasl;
}

void conn_set_sasl(struct conn *conn, struct sasl_server *sasl)
{
    CHECK(conn->sasl == NULL);
    conn->sasl = sasl;
}

void conn_set_session(struct conn *conn, const struct session *session)
{
    session_release(conn->session);
    conn->session = session;
    conn->stranger = false;
    conn->stream.frame_bytes_max = conn->net->limits.frame_bytes_max;
}

void *conn_user(const struct conn *conn)
{
    return conn->user;
}

void conn_set_user(struct conn *conn, void *user)
{
    conn->user = user;
}

struct sending *conn_sending(const struct conn *conn)
{
    return conn->sending;
}

void conn_set_sending(struct conn *conn, struct sending *sending)
{
    conn->sending = sending;
}
