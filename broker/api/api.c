/* Dispatch: from a frame to a handler, and from its result to bytes.
 *
 * Refusals follow Kafka: an unknown key, a version outside of the range, or a body that does not
 * parse closes the connection without an answer. The one exception is ApiVersions with an unknown
 * version, which is answered in version 0 (KIP-511).
 *
 * Memory: decoding may allocate a small multiple of the frame (reference: hardening §3); then the
 * cap is raised to what an answer may need. A request object is kept with its arena's first chunk
 * for the next request of the loop, so a small request costs no malloc. */
#define _GNU_SOURCE
#include "broker/api/api.h"

#include "base/log.h"
#include "broker/api/authorize.h"
#include "broker/api/login.h"
#include "broker/api/throttling.h"
#include "broker/api/times.h"
#include "broker/broker.h"

#include <stdlib.h>

enum {
    DECODE_FACTOR = 16,
    DECODE_FLOOR_BYTES = 64 << 10,
    ANSWER_LIMIT_BYTES = 256 << 20,
    SPARE_MAX = 64,
    HEADER_MIN_BYTES = 8,
    KEY_MAX = REQUEST_KEYS,
    CLIENT_CHECK_MS = 1000,
    API_VERSIONS_KEY = 18,
    API_VERSIONS_FLEXIBLE = 3,
};

enum park_state { RUNNING, PARKED, WOKEN };

static const struct api APIS[KEY_MAX] = {
#define API(key, name, flags, ...) [key] = {handle_##name, (flags)},
#include "broker/api/api.def"
#undef API
};

const struct api *api_of(int16_t key)
{
    bool served = key >= 0 && key < KEY_MAX && APIS[key].handle != NULL;
    return served ? &APIS[key] : NULL;
}

/* ---- request objects ---- */

static void on_timer(struct timer *timer);
static void on_woken(struct loop_task *task);
static void on_wake(struct waiter *waiter);

static struct req *req_acquire(struct api_loop *home)
{
    struct req *r = home->spare;
    if (r == NULL) {
        r = xcalloc(1, sizeof(*r));
        arena_init(&r->arena, 0);
        return r;
    }
    home->spare = r->state;
    home->spare_n--;
    return r;
}

bool req_keep_frame(struct req *r)
{
    if (r->conn == NULL || !conn_give_frame(r->conn, r->frame_bytes, &r->kept_frame)) {
        return false;
    }
    r->kept_net = conn_loop(r->conn);
    return true;
}

static void req_release(struct req *r)
{
    struct api_loop *home = r->home;
    if (r->kept_net != NULL) {
        net_loop_return(r->kept_net, &r->kept_frame);
    }
    authorize_end(r);
    session_release(r->session);
    struct arena arena = r->arena;
    if (home->spare_n >= SPARE_MAX) {
        arena_deinit(&arena);
        free(r);
        return;
    }
    arena_reset(&arena, 0);
    *r = (struct req){.arena = arena, .state = home->spare};
    home->spare = r;
    home->spare_n++;
}

void api_loop_init(struct api_loop *home, struct broker *broker, struct loop *loop)
{
    *home = (struct api_loop){.broker = broker, .loop = loop};
    if (broker->wants_metrics) {
        home->metrics = xcalloc(1, sizeof(*home->metrics));
    }
}

void api_loop_deinit(struct api_loop *home)
{
    while (home->spare != NULL) {
        struct req *r = home->spare;
        home->spare = r->state;
        arena_deinit(&r->arena);
        free(r);
    }
    inflaters_deinit(&home->inflaters);
    if (home->metrics != NULL) {
        loop_metrics_deinit(home->metrics);
        free(home->metrics);
    }
}

/* ---- answers ---- */

static bool header_is_flexible(const struct req *r)
{
    return r->schema->key != API_VERSIONS_KEY && r->version >= r->schema->flexible_min;
}

static struct error_counts *errors_of(const struct req *r)
{
    struct loop_metrics *metrics = r->home->metrics;
    return metrics == NULL ? NULL : &loop_metrics_of(metrics, r->schema->key)->errors;
}

/* Encodes the answer behind what the connection has to send already. */
static err encode_behind(struct req *r, struct writer *out)
{
    if (r->raw_token) {
        return login_encode_raw(r, out);
    }
    size_t start = out->len;
    size_t spliced = out->spliced_bytes;
    writer_i32(out, 0);
    writer_i32(out, r->correlation_id);
    if (header_is_flexible(r)) {
        writer_uvarint(out, 0);
    }
    int version = r->header_v0_body ? 0 : r->version;
    struct error_counts *errors = errors_of(r);
    TRY(message_encode_counting(r->schema->response, version, r->out, out, errors));
    size_t size = out->len - start - 4 + (out->spliced_bytes - spliced);
    if (out->failed || size > INT32_MAX) {
        return E_LIMIT;
    }
    store_u32(out->data + start, (uint32_t)size);
    return OK;
}

/* An answer that cannot be encoded leaves nothing behind: its files are the request's again. */
static err encode_answer(struct req *r)
{
    struct writer *out = conn_out(r->conn);
    size_t len = out->len;
    size_t splices_n = out->splices_n;
    size_t spliced_bytes = out->spliced_bytes;
    err e = encode_behind(r, out);
    if (e != OK) {
        out->len = len;
        out->splices_n = splices_n;
        out->spliced_bytes = spliced_bytes;
        out->failed = false;
    }
    return e;
}

/* Sends the answer and ends the request. The connection's answer is in its output on FRAME_DONE. */
static enum frame_result finish(struct req *r, enum req_status status)
{
    enum frame_result result = status == REQ_CLOSE || r->close_after ? FRAME_CLOSE : FRAME_DONE;
    bool answers = status == REQ_DONE && r->conn != NULL && !r->no_answer && !r->answer_lost;
    if (status == REQ_DONE) {
        throttling_tell(r);
    }
    if (answers) {
        err e = authorize_add_refused(r) ? encode_answer(r) : E_LIMIT;
        if (e != OK) {
            log_error("api", "cannot encode an answer api=%s version=%d error=\"%s\"",
                      r->schema->name, r->version, err_text(e));
            if (r->abandon != NULL) {
                r->abandon(r);
            }
            result = FRAME_CLOSE;
        }
    } else if (r->abandon != NULL) {
        r->abandon(r);
    }
    if (r->no_answer && (r->refused != NULL || r->any_refused)) {
        result = FRAME_CLOSE; /* the only way to tell */
    }
    if (r->throttle_ms > 0 && r->conn != NULL) {
        conn_throttle(r->conn, r->throttle_ms);
    }
    req_times_end(r, answers && result == FRAME_DONE);
    if (r->release != NULL) {
        r->release(r);
    }
    req_release(r);
    return result;
}

/* ---- frames ---- */

struct header {
    int16_t key;
    int16_t version;
    int32_t correlation_id;
    struct str client_id;
};

/* The fixed part of the header; the rest depends on the version's flexibility. */
static bool read_header(struct reader *reader, struct header *header)
{
    header->key = reader_i16(reader);
    header->version = reader_i16(reader);
    header->correlation_id = reader_i32(reader);
    int16_t len = reader_i16(reader);
    header->client_id = STR("");
    if (len > 0) {
        struct bytes text = reader_bytes(reader, (size_t)len);
        header->client_id = (struct str){.data = (const char *)text.data, .len = text.len};
    }
    return !reader->failed;
}

static bool skip_tags(struct reader *reader)
{
    uint32_t count = reader_uvarint(reader);
    for (uint32_t i = 0; i < count && !reader->failed; i++) {
        (void)reader_uvarint(reader);
        (void)reader_bytes(reader, reader_uvarint(reader));
    }
    return !reader->failed;
}

static err decode_body(struct req *r, struct reader *reader)
{
    const struct api_schema *schema = r->schema;
    void *in = req_alloc(r, message_struct_size(schema->request));
    if (in == NULL) {
        return E_LIMIT;
    }
    r->in = in;
    if (r->header_v0_body) {
        message_init(schema->request, in);
        return OK;
    }
    return message_decode(schema->request, r->version, reader, &r->arena, in);
}

static err prepare(struct req *r, uint8_t *frame, size_t len)
{
    bool may_wait = (r->api->flags & API_PARKS) != 0 || r->broker->env.intercept != NULL;
    size_t copied = may_wait ? len + r->client_host.len : 0;
    arena_reset(&r->arena, len * DECODE_FACTOR + DECODE_FLOOR_BYTES + copied);
    if (copied > 0) {
        frame = arena_copy(&r->arena, bytes_of(frame, len));
        if (frame == NULL) {
            return E_LIMIT;
        }
        r->client_host = arena_str(&r->arena, r->client_host);
    }
    struct reader reader = reader_of(bytes_of(frame, len));
    struct header header;
    if (!read_header(&reader, &header)) {
        return E_MALFORMED;
    }
    bool flexible = r->version >= r->schema->flexible_min ||
                    (r->header_v0_body && r->version >= API_VERSIONS_FLEXIBLE);
    if (flexible && !skip_tags(&reader)) {
        return E_MALFORMED;
    }
    r->correlation_id = header.correlation_id;
    r->frame_bytes = len;
    r->client_id = header.client_id;
    r->client_id_kept = copied > 0;
    TRY(decode_body(r, &reader));
    r->arena.cap_bytes += ANSWER_LIMIT_BYTES;
    r->out = req_alloc(r, message_struct_size(r->schema->response));
    if (r->out == NULL) {
        return E_LIMIT;
    }
    message_init(r->schema->response, r->out);
    return OK;
}

/* Who asks may not, or not all of it: then it is answered here. */
static enum req_status authorize_then_handle(struct req *r)
{
    switch (authorize_begin(r)) {
    case ANSWERED:
        return REQ_DONE;
    case UNANSWERABLE:
        return REQ_CLOSE;
    default:
        return r->api->handle(r);
    }
}

enum req_status api_handle(struct req *r)
{
    r->api = api_of(r->schema->key);
    return r->broker->authorizer == NULL ? r->api->handle(r) : authorize_then_handle(r);
}

/* A request for this frame, as far as it is known before its header is read. */
static struct req *req_begin(struct api_loop *home, struct conn *conn,
                             const struct api_schema *schema, int16_t version)
{
    struct req *r = req_acquire(home);
    struct arena arena = r->arena;
    *r = (struct req){
        .broker = home->broker,
        .api = api_of(schema->key),
        .schema = schema,
        .home = home,
        .conn = conn,
        .listener = conn_listener(conn),
        .session = session_acquire(conn_session(conn)),
        .version = version,
        .client_host = str_of(conn_peer(conn)),
        .arena = arena,
        .now_ms = loop_now_ms(home->loop),
        .wall_ms = clock_wall_ms(home->broker->clock),
        .header_v0_body = version < schema->version_min || version > schema->version_max,
        .waiter.wake = on_wake,
        .timer.fire = on_timer,
        .task.run = on_woken,
    };
    return r;
}

static enum req_status handle(struct req *r)
{
    const struct broker_env *env = &r->broker->env;
    if (__builtin_expect(env->intercept != NULL, 0)) {
        return env->intercept(env->intercept_context, r);
    }
    return __builtin_expect(r->broker->authorizer == NULL, 1) ? r->api->handle(r)
                                                              : authorize_then_handle(r);
}

/* Has the request carried out, and answers it unless it waits. */
static enum frame_result serve(struct req *r, enum req_status (*instead)(struct req *r))
{
    struct conn *conn = r->conn;
    req_times_begin(r);
    throttling_clock_start(r);
    enum req_status status = instead != NULL ? instead(r) : handle(r);
    if (status == REQ_PARKED) {
        req_times_handled(r);
        throttling_clock_stop(r);
        conn_set_user(conn, r);
        return FRAME_PARKED;
    }
    return finish(r, status);
}

static enum frame_result refuse_frame(struct req *r, err why)
{
    log_debug("api", "request refused api=%s version=%d peer=%s error=\"%s\"", r->schema->name,
              r->version, conn_peer(r->conn), err_text(why));
    req_release(r);
    return FRAME_CLOSE;
}

/* A step of a login without a request around it. */
static enum frame_result on_raw_token(struct api_loop *home, struct conn *conn, uint8_t *frame,
                                      size_t len)
{
    struct req *r = req_begin(home, conn, api_schema_of(LOGIN_RAW_KEY), 0);
    err e = login_prepare_raw(r, bytes_of(frame, len));
    return e == OK ? serve(r, NULL) : refuse_frame(r, e);
}

static enum frame_result on_frame(void *context, struct conn *conn, uint8_t *frame, size_t len)
{
    struct sasl_server *sasl = login_of(conn);
    if (sasl != NULL && sasl_server_wants_raw(sasl)) {
        return on_raw_token(context, conn, frame, len);
    }
    if (len < HEADER_MIN_BYTES || api_of((int16_t)load_u16(frame)) == NULL) {
        return FRAME_CLOSE;
    }
    const struct api_schema *schema = api_schema_of((int16_t)load_u16(frame));
    int16_t version = (int16_t)load_u16(frame + 2);
    bool known = version >= schema->version_min && version <= schema->version_max;
    if (!known && schema->key != API_VERSIONS_KEY) {
        return FRAME_CLOSE;
    }
    enum sasl_verdict verdict = login_admit(sasl, conn, schema->key, known);
    if (verdict == SASL_DROP) {
        return FRAME_CLOSE;
    }
    struct req *r = req_begin(context, conn, schema, version);
    err e = prepare(r, frame, len);
    if (e != OK) {
        return refuse_frame(r, e);
    }
    return serve(r, verdict == SASL_REFUSE ? login_refuse : NULL);
}

/* ---- the control thread ---- */

/* What stands in the control thread's queue for a request. It leaves QUEUED once: by the control
 * thread, which begins the request and so keeps it alive, or by the request's loop, which gives it
 * up; then only this remains in the queue, and the control thread frees it. */
struct control_call {
    struct loop_task task;
    atomic_int state;
    struct req *req; /* gone when ABANDONED */
};

enum call_state { QUEUED, BEGUN, ABANDONED };

static bool call_leaves_queue(struct control_call *call, enum call_state to)
{
    int expected = QUEUED;
    return atomic_compare_exchange_strong(&call->state, &expected, to);
}

static void run_call(struct loop_task *task)
{
    struct control_call *call = container_of(task, struct control_call, task);
    if (!call_leaves_queue(call, BEGUN)) {
        free(call);
        return;
    }
    struct req *r = call->req;
    r->on_control(r);
    req_wake(r); /* frees the call */
}

static void give_up_call(struct req *r)
{
    if (call_leaves_queue(r->call, ABANDONED)) {
        timer_stop(r->home->loop, &r->timer);
        (void)finish(r, REQ_DONE);
    }
}

/* Nothing is read from a connection while its request waits, so a peer's close is not seen there. A
 * second passes before it is looked for: who only closes its own half has its answer by then, if
 * the store can be reached. */
static void look_after_client(struct req *r)
{
    if (r->conn == NULL || atomic_load(&r->call->state) != QUEUED) {
        return;
    }
    if (conn_peer_has_closed(r->conn)) {
        conn_close(r->conn); /* calls on_close */
    } else {
        timer_start(r->home->loop, &r->timer, CLIENT_CHECK_MS);
    }
}

enum req_status req_on_control(struct req *r, void (*run)(struct req *r),
                               enum req_status (*then)(struct req *r))
{
    r->on_control = run;
    req_park(r, -1, then);
    r->call = xcalloc(1, sizeof(*r->call));
    *r->call = (struct control_call){.task.run = run_call, .req = r};
    timer_start(r->home->loop, &r->timer, CLIENT_CHECK_MS);
    loop_post(r->broker->control, &r->call->task);
    return REQ_PARKED;
}

/* ---- parking ---- */

/* It may point into a frame that goes; quotas are about it until the end. */
static void keep_client_id(struct req *r)
{
    if (!r->client_id_kept && r->client_id.len > 0) {
        r->client_id = arena_str(&r->arena, r->client_id);
    }
    r->client_id_kept = true;
}

void req_park(struct req *r, int64_t timeout_ms, enum req_status (*resume)(struct req *r))
{
    keep_client_id(r);
    r->resume = resume;
    r->timed_out = false;
    atomic_store(&r->park_state, PARKED);
    if (timeout_ms >= 0) {
        timer_start(r->home->loop, &r->timer, timeout_ms);
    }
}

void req_unpark(struct req *r)
{
    CHECK(atomic_exchange(&r->park_state, RUNNING) == PARKED);
    timer_stop(r->home->loop, &r->timer);
}

static bool claim(struct req *r)
{
    int expected = PARKED;
    return atomic_compare_exchange_strong(&r->park_state, &expected, WOKEN);
}

void req_wake(struct req *r)
{
    if (claim(r)) {
        loop_post(r->home->loop, &r->task);
    }
}

static void on_wake(struct waiter *waiter)
{
    req_wake(container_of(waiter, struct req, waiter));
}

static void resume(struct req *r)
{
    timer_stop(r->home->loop, &r->timer);
    free(r->call);
    r->call = NULL;
    r->now_ms = loop_now_ms(r->home->loop);
    r->wall_ms = clock_wall_ms(r->broker->clock);
    throttling_clock_start(r);
    enum req_status status = r->resume == NULL ? REQ_DONE : r->resume(r);
    if (status == REQ_PARKED) {
        throttling_clock_stop(r);
        return;
    }
    struct conn *conn = r->conn;
    if (conn != NULL) {
        conn_set_user(conn, NULL);
    }
    enum frame_result result = finish(r, status);
    if (conn != NULL) {
        if (result == FRAME_CLOSE) {
            conn_close_after_send(conn);
        }
        conn_resume(conn);
    }
}

static void on_timer(struct timer *timer)
{
    struct req *r = container_of(timer, struct req, timer);
    if (r->call != NULL) {
        look_after_client(r);
    } else if (claim(r)) {
        r->timed_out = true;
        resume(r);
    }
}

static void on_woken(struct loop_task *task)
{
    resume(container_of(task, struct req, task));
}

static void on_close(void *context, struct conn *conn)
{
    (void)context;
    struct req *r = conn_user(conn);
    r->conn = NULL;
    if (r->call != NULL) {
        give_up_call(r);
    } else if ((r->api->flags & API_CANCEL_ON_CLOSE) != 0) {
        req_wake(r);
    }
}

struct conn_handler api_conn_handler(struct api_loop *home)
{
    return (struct conn_handler){
        .on_frame = on_frame, .on_close = on_close, .on_sent = req_times_sent, .context = home};
}
