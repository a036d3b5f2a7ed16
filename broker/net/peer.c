/* A connection is in one of these states, and one timer serves them all:
 *
 *   IDLE        nothing to ask: no timer
 *   RESOLVING   a worker looks the name up           timer: connect_timeout_ms
 *   CONNECTING  the socket connects                  timer: the same
 *   SECURING    it is there, and TLS shakes hands    timer: the same
 *   LOGGING_IN  by SASL                              timer: the same
 *   READY       it is there                          timer: the answer's deadline, if one is asked for
 *   PAUSED      after a failure                      timer: the pause
 *
 * Callbacks may send, disconnect, and free nothing: they run when the state is consistent, and what they
 * bring is looked at when they have returned. */
#define _GNU_SOURCE
#include "broker/net/peer.h"

#include "base/log.h"
#include "base/reader.h"
#include "base/workers.h"
#include "broker/net/peer_login.h"
#include "broker/security/tls_slot.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LENGTH_BYTES = 4,
    CORRELATION_AT = 4,
    HEADER_MIN_BYTES = 8,
    LOGIN_USED_PERCENT = 85, /* of its time; then another connection is made */
};

enum state { IDLE, RESOLVING, CONNECTING, SECURING, LOGGING_IN, READY, PAUSED };

/* A name on its way to an address; it may outlive the peer. */
struct lookup {
    struct work work;
    struct waiter waiter;
    struct loop_task task;
    struct loop *loop;
    struct peer *peer; /* NULL: it does not wait for it any more */
    struct peer_address address;
    struct sockaddr_storage found;
    err result;
};

struct peer {
    struct peer_config config;
    enum state state;
    struct list queue;            /* struct peer_request */
    struct peer_request *current; /* sent, and not answered */
    int32_t correlation_id;
    int64_t pause_ms; /* the next one */
    struct timer timer;
    struct io_watch watch;
    struct stream stream;     /* CONNECTING, SECURING and READY */
    char host[PEER_HOST_MAX]; /* whom it means to reach */
    struct lookup *lookup;
    struct peer_login *login; /* LOGGING_IN */
    int64_t login_until_ms;   /* 0: for ever */
    bool at_work;             /* further down the stack */
};

static void on_ready(struct io_watch *watch, uint32_t events);
static void on_timer(struct timer *timer);
static void go_on(struct peer *peer);

/* ---- life ---- */

struct peer *peer_new(const struct peer_config *config)
{
    struct peer *peer = xcalloc(1, sizeof(*peer));
    peer->config = *config;
    peer->pause_ms = config->backoff_ms;
    peer->timer.fire = on_timer;
    peer->watch = (struct io_watch){.fd = -1, .ready = on_ready};
    list_init(&peer->queue);
    return peer;
}

static bool has_socket(const struct peer *peer)
{
    return peer->state == CONNECTING || peer->state == SECURING || peer->state == LOGGING_IN ||
           peer->state == READY;
}

static void drop_connection(struct peer *peer)
{
    timer_stop(peer->config.loop, &peer->timer);
    if (peer->lookup != NULL) {
        peer->lookup->peer = NULL;
        peer->lookup = NULL;
    }
    if (has_socket(peer)) {
        err_ignore(io_watch_set(peer->config.loop, &peer->watch, 0)); /* it goes with the socket */
        stream_deinit(&peer->stream);
    }
    peer_login_free(peer->login);
    peer->login = NULL;
    peer->state = IDLE;
}

static struct peer_request *take_first(struct peer *peer)
{
    if (list_empty(&peer->queue)) {
        return NULL;
    }
    struct peer_request *request = container_of(peer->queue.next, struct peer_request, link);
    list_remove(&request->link);
    return request;
}

void peer_free(struct peer *peer)
{
    if (peer == NULL) {
        return;
    }
    drop_connection(peer);
    peer->at_work = true; /* nothing begins any more */
    struct peer_request *request = peer->current != NULL ? peer->current : take_first(peer);
    peer->current = NULL;
    for (; request != NULL; request = take_first(peer)) {
        request->done(request, E_CLOSED, NULL, 0);
    }
    free(peer);
}

bool peer_is_connected(const struct peer *peer)
{
    return peer->state == READY;
}

bool peer_is_receiving(const struct peer *peer)
{
    return peer->state == READY && stream_holds_input(&peer->stream);
}

/* ---- failures ---- */

/* One request is told: the one that was being sent, or would have been next. */
static void tell_failure(struct peer *peer, err why)
{
    struct peer_request *request = peer->current != NULL ? peer->current : take_first(peer);
    peer->current = NULL;
    if (request != NULL) {
        request->done(request, why, NULL, 0);
    }
}

static void pause_connection(struct peer *peer)
{
    int64_t pause_ms = peer->pause_ms;
    drop_connection(peer);
    peer->state = PAUSED;
    timer_start(peer->config.loop, &peer->timer, pause_ms);
    peer->pause_ms =
        pause_ms > peer->config.backoff_max_ms / 2 ? peer->config.backoff_max_ms : pause_ms * 2;
}

static void fail(struct peer *peer, err why)
{
    pause_connection(peer);
    tell_failure(peer, why);
}

/* ---- sending ---- */

static err update_interest(struct peer *peer)
{
    uint32_t events = EPOLLIN | (stream_wants_write(&peer->stream) ? (uint32_t)EPOLLOUT : 0U);
    return io_watch_set(peer->config.loop, &peer->watch, events);
}

static err send_current(struct peer *peer)
{
    const struct peer_request *request = peer->current;
    struct writer *out = stream_out(&peer->stream);
    peer->correlation_id = peer->correlation_id == INT32_MAX ? 0 : peer->correlation_id + 1;
    CHECK(request->frame_len >= HEADER_MIN_BYTES);
    size_t at = out->len;
    writer_i32(out, (int32_t)request->frame_len);
    writer_bytes(out, request->frame, request->frame_len);
    if (out->failed) {
        return E_LIMIT;
    }
    store_u32(out->data + at + LENGTH_BYTES + CORRELATION_AT, (uint32_t)peer->correlation_id);
    if (request->timeout_ms >= 0) {
        timer_start(peer->config.loop, &peer->timer, request->timeout_ms);
    }
    if (!stream_flush(&peer->stream)) {
        return E_CLOSED;
    }
    return update_interest(peer);
}

/* ---- receiving ---- */

static err take_answer(struct peer *peer, uint8_t *frame, size_t len)
{
    if (peer->current == NULL || len < LENGTH_BYTES ||
        (int32_t)load_u32(frame) != peer->correlation_id) {
        return E_MALFORMED;
    }
    struct peer_request *request = peer->current;
    peer->current = NULL;
    timer_stop(peer->config.loop, &peer->timer);
    request->done(request, OK, frame, len);
    if (peer->state == READY) {
        peer->pause_ms = peer->config.backoff_ms; /* it was an answer */
    }
    return OK;
}

static err take_login_answer(struct peer *peer, const uint8_t *frame, size_t len);

static bool is_open(const struct peer *peer)
{
    return peer->state == READY || peer->state == LOGGING_IN;
}

static err take_frames(struct peer *peer)
{
    uint8_t *frame = NULL;
    size_t len = 0;
    enum stream_frame next;
    while ((next = stream_next_frame(&peer->stream, &frame, &len)) == FRAME_WHOLE) {
        TRY(peer->state == LOGGING_IN ? take_login_answer(peer, frame, len)
                                      : take_answer(peer, frame, len));
        if (!is_open(peer)) {
            return OK; /* `done` has disconnected */
        }
    }
    if (next == FRAME_REFUSED) {
        return E_MALFORMED;
    }
    return stream_keep(&peer->stream) ? OK : E_LIMIT;
}

/* With TLS 1.3 the other side looks at this one's certificate when the handshake is done here. */
static void say_refusal(const struct peer *peer)
{
    if (peer->stream.tls != NULL && tls_has_reason(peer->stream.tls)) {
        log_warn("tls", "no TLS with another broker host=%s error=\"%s\"", peer->host,
                 tls_why(peer->stream.tls));
    }
}

static err receive(struct peer *peer)
{
    for (;;) {
        switch (stream_receive(&peer->stream)) {
        case STREAM_BYTES:
            TRY(take_frames(peer));
            if (!is_open(peer)) {
                return OK;
            }
            break;
        case STREAM_NOTHING:
            return OK;
        case STREAM_STARVED:
            return E_LIMIT;
        default:
            say_refusal(peer);
            return E_CLOSED;
        }
    }
}

/* ---- connecting ---- */

static err begin_connect(struct peer *peer, const struct sockaddr_storage *to)
{
    struct sockets *sockets = loop_sockets(peer->config.loop);
    const struct socket_options options = {.receive_buffer_bytes =
                                               peer->config.receive_buffer_bytes};
    int fd = sockets->ops->connect(sockets, to, &options);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    stream_init(&peer->stream, sockets, peer->config.streams, fd);
    peer->watch.fd = fd;
    peer->state = CONNECTING;
    return io_watch_set(peer->config.loop, &peer->watch, EPOLLOUT);
}

/* Nothing is left between this broker and its questions. */
static err become_ready(struct peer *peer)
{
    timer_stop(peer->config.loop, &peer->timer);
    peer->state = READY;
    TRY(update_interest(peer));
    if (peer->config.connected != NULL) {
        peer->config.connected(peer->config.context);
    }
    return OK;
}

/* ---- logging in ---- */

static err send_login(struct peer *peer)
{
    struct bytes frame = peer_login_frame(peer->login);
    struct writer *out = stream_out(&peer->stream);
    writer_i32(out, (int32_t)frame.len);
    writer_bytes(out, frame.data, frame.len);
    if (out->failed) {
        return E_LIMIT;
    }
    TRY(stream_flush(&peer->stream) ? OK : E_CLOSED);
    return update_interest(peer);
}

static void on_worked(void *context, bool fine)
{
    struct peer *peer = context;
    peer->at_work = true;
    err e = fine ? send_login(peer) : E_CLOSED;
    if (e != OK) {
        fail(peer, e);
    }
    peer->at_work = false;
    go_on(peer);
}

/* A login that ends is used for most of its time, and then by another connection. */
static err finish_login(struct peer *peer)
{
    int64_t lifetime_ms = peer_login_lifetime_ms(peer->login);
    int64_t now_ms = loop_now_ms(peer->config.loop);
    peer->login_until_ms =
        lifetime_ms <= 0 ? 0 : now_ms + lifetime_ms / 100 * LOGIN_USED_PERCENT + 1;
    peer_login_free(peer->login);
    peer->login = NULL;
    peer->stream.frame_bytes_max = peer->config.streams->frame_bytes_max;
    return become_ready(peer);
}

static err take_login_answer(struct peer *peer, const uint8_t *frame, size_t len)
{
    switch (peer_login_take(peer->login, bytes_of(frame, len))) {
    case SASL_CLIENT_SEND:
        return send_login(peer);
    case SASL_CLIENT_WORK:
        return OK;
    case SASL_CLIENT_DONE:
        return finish_login(peer);
    default:
        log_warn("sasl", "cannot log in at another broker host=%s error=\"%s\"", peer->host,
                 peer_login_why(peer->login));
        return E_CLOSED;
    }
}

/* The other broker is who it says, or nobody asks. */
static err begin_login(struct peer *peer)
{
    const struct peer_security *security = peer->config.security;
    if (security == NULL || security->identity == NULL) {
        return become_ready(peer);
    }
    const struct peer_login_config login = {.loop = peer->config.loop,
                                            .workers = peer->config.workers,
                                            .identity = security->identity,
                                            .random = security->random,
                                            .clock = security->clock,
                                            .worked = on_worked,
                                            .context = peer};
    peer->login = peer_login_new(&login);
    peer->state = LOGGING_IN;
    peer->stream.frame_bytes_max = SASL_CLIENT_FRAME_MAX;
    return send_login(peer);
}

static err shake_hands(struct peer *peer)
{
    enum tls_progress progress = tls_handshake(peer->stream.tls);
    if (progress == TLS_DONE) {
        return begin_login(peer);
    }
    if (progress == TLS_FAILED) {
        say_refusal(peer);
        return E_CLOSED;
    }
    uint32_t events = progress == TLS_WANTS_WRITE ? (uint32_t)EPOLLOUT : (uint32_t)EPOLLIN;
    return io_watch_set(peer->config.loop, &peer->watch, events);
}

static err finish_connect(struct peer *peer)
{
    struct sockets *sockets = loop_sockets(peer->config.loop);
    const struct peer_security *security = peer->config.security;
    int error = sockets->ops->connect_result(sockets, peer->stream.fd);
    if (error != 0) {
        return err_from_errno(error);
    }
    peer->login_until_ms = 0;
    if (security == NULL || security->tls == NULL) {
        return begin_login(peer);
    }
    if (!stream_use_tls(&peer->stream, tls_slot_acquire(security->tls), peer->host)) {
        return E_LIMIT;
    }
    peer->state = SECURING;
    return shake_hands(peer);
}

static err resolve(const struct peer_address *address, int flags, struct sockaddr_storage *to)
{
    char port[16];
    struct addrinfo *list = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
    snprintf(port, sizeof(port), "%d", address->port);
    if (getaddrinfo(address->host, port, &hints, &list) != 0) {
        return E_NOT_FOUND;
    }
    memcpy(to, list->ai_addr, list->ai_addrlen);
    freeaddrinfo(list);
    return OK;
}

/* On a worker. */
static void run_lookup(struct work *work)
{
    struct lookup *lookup = container_of(work, struct lookup, work);
    lookup->result = resolve(&lookup->address, 0, &lookup->found);
}

static void on_looked_up(struct waiter *waiter)
{
    struct lookup *lookup = container_of(waiter, struct lookup, waiter);
    loop_post(lookup->loop, &lookup->task);
}

static void on_lookup_done(struct loop_task *task)
{
    struct lookup *lookup = container_of(task, struct lookup, task);
    struct peer *peer = lookup->peer;
    if (peer != NULL) {
        peer->lookup = NULL;
        err e = lookup->work.cancelled ? E_CLOSED : lookup->result;
        e = e == OK ? begin_connect(peer, &lookup->found) : e;
        if (e != OK) {
            fail(peer, e);
        }
        go_on(peer);
    }
    free(lookup);
}

static err begin_lookup(struct peer *peer, const struct peer_address *address)
{
    struct lookup *lookup = xcalloc(1, sizeof(*lookup));
    *lookup = (struct lookup){.work.run = run_lookup,
                              .waiter.wake = on_looked_up,
                              .task.run = on_lookup_done,
                              .loop = peer->config.loop,
                              .peer = peer,
                              .address = *address};
    lookup->work.done = &lookup->waiter;
    lookup->work.bytes = sizeof(*lookup);
    if (!workers_submit(peer->config.workers, &lookup->work)) {
        free(lookup);
        return E_LIMIT;
    }
    peer->lookup = lookup;
    peer->state = RESOLVING;
    return OK;
}

static err begin(struct peer *peer)
{
    struct peer_address address;
    struct sockaddr_storage to = {0};
    if (!peer->config.address(peer->config.context, &address)) {
        return E_NOT_FOUND;
    }
    snprintf(peer->host, sizeof(peer->host), "%s", address.host);
    timer_start(peer->config.loop, &peer->timer, peer->config.connect_timeout_ms);
    bool in_figures = resolve(&address, AI_NUMERICHOST, &to) == OK;
    return in_figures ? begin_connect(peer, &to) : begin_lookup(peer, &address);
}

/* ---- events ---- */

/* Does what there is to do next; not from within a callback, whose caller goes on afterwards. */
static void go_on(struct peer *peer)
{
    if (peer->at_work) {
        return;
    }
    peer->at_work = true;
    if (peer->state == READY && peer->current == NULL && peer->login_until_ms != 0 &&
        loop_now_ms(peer->config.loop) >= peer->login_until_ms) {
        drop_connection(peer);
    }
    while (!list_empty(&peer->queue) &&
           (peer->state == IDLE || (peer->state == READY && peer->current == NULL))) {
        err e = OK;
        if (peer->state == IDLE) {
            e = begin(peer);
        } else {
            peer->current = take_first(peer);
            e = send_current(peer);
        }
        if (e != OK) {
            fail(peer, e);
        }
    }
    peer->at_work = false;
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    struct peer *peer = container_of(watch, struct peer, watch);
    err e = OK;
    peer->at_work = true;
    if (peer->state == CONNECTING) {
        e = finish_connect(peer);
    } else if (peer->state == SECURING) {
        e = shake_hands(peer);
    } else {
        e = (events & EPOLLOUT) != 0 && !stream_flush(&peer->stream) ? E_CLOSED : OK;
        e = e == OK ? receive(peer) : e;
        e = e == OK && is_open(peer) ? update_interest(peer) : e;
    }
    if (e != OK && peer->state == READY && peer->current == NULL) {
        drop_connection(peer); /* it was idle for too long, for the other side: nobody is told */
    } else if (e != OK) {
        fail(peer, e);
    }
    peer->at_work = false;
    go_on(peer);
}

static void on_timer(struct timer *timer)
{
    struct peer *peer = container_of(timer, struct peer, timer);
    if (peer->state == PAUSED) {
        peer->state = IDLE;
    } else {
        peer->at_work = true;
        fail(peer, err_from_errno(ETIMEDOUT));
        peer->at_work = false;
    }
    go_on(peer);
}

/* ---- asking ---- */

void peer_send(struct peer *peer, struct peer_request *request)
{
    list_append(&peer->queue, &request->link);
    go_on(peer);
}

void peer_send_first(struct peer *peer, struct peer_request *request)
{
    list_prepend(&peer->queue, &request->link);
    go_on(peer);
}

bool peer_cancel(struct peer *peer, struct peer_request *request)
{
    list_each (item, &peer->queue) {
        if (item == &request->link) {
            list_remove(item);
            return true;
        }
    }
    return false;
}

void peer_disconnect(struct peer *peer)
{
    bool outer = peer->at_work;
    peer->pause_ms = peer->config.backoff_ms;
    drop_connection(peer);
    if (peer->current != NULL) {
        peer->at_work = true;
        tell_failure(peer, E_CLOSED);
        peer->at_work = outer;
    }
    go_on(peer);
}

void peer_refuse(struct peer *peer)
{
    CHECK(peer->at_work && peer->current == NULL);
    if (peer->state == READY) {
        pause_connection(peer);
    }
}
