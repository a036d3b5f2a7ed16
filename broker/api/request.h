/* One request, from its frame to its answer: what a handler gets.
 *
 * A handler is a plain function: it reads `in`, fills `out`, and returns a status. Both structs,
 * and everything they point to, live in the request's arena. A request belongs to one loop; its
 * handler and its resume function run on that loop's thread.
 *
 * Parking. A handler that must wait calls req_park(), registers with what it waits for, and returns
 * REQ_PARKED. Whoever satisfies it calls req_wake(), from any thread; a timer bounds it; exactly
 * one of them wins, and the resume function runs on the loop. A connection that closes cancels the
 * answer, never an operation that has begun (conn is NULL then); with API_CANCEL_ON_CLOSE it also
 * wakes the request.
 *
 * What `in` points to is the frame, in the connection's buffer, and gone when the handler returns. With
 * API_PARKS (api.h) the frame is copied into the arena first, so a parked request keeps it. Produce
 * parks without: its frames are large, and few of them wait; it keeps the frame then, or copies what it
 * still needs.
 *
 * Requests wait for the control thread, which may itself wait for the coordination store. When the
 * client leaves before its request's turn, the request and its memory are freed, as if it had never
 * arrived. */
#ifndef OTTLA_BROKER_API_REQUEST_H
#define OTTLA_BROKER_API_REQUEST_H

#include "base/arena.h"
#include "base/list.h"
#include "base/waiter.h"
#include "broker/metrics/request_metrics.h"
#include "broker/net/conn.h"
#include "broker/net/server.h"
#include "protocol/codec.h"
#include "protocol/error.h"
#include "protocol/messages.h"

struct asker;
struct broker;
struct api;
struct api_loop;
struct control_call;
struct refused;

enum req_status { REQ_DONE, REQ_PARKED, REQ_CLOSE };

struct req {
    struct broker *broker;
    const struct api *api;
    const struct api_schema *schema; /* what the protocol says of the API */
    struct api_loop *home;
    struct conn *conn; /* NULL: the client is gone */
    struct listener *listener;
    const struct session *session; /* who asks; the request's own reference */
    int16_t version;
    int32_t correlation_id;
    struct str client_id;    /* "" for null */
    struct str client_host;  /* "/127.0.0.1" */
    struct asker *asker;     /* what they may; NULL: there is no authorizer */
    struct refused *refused; /* what was taken out of the request, and still has to be answered */
    bool any_refused;
    const void *in;
    void *out;
    size_t frame_bytes;
    struct buffer kept_frame;  /* what `in` points to; returned at the end */
    struct net_loop *kept_net; /* whom it is returned to */
    struct arena arena;
    struct request_times times; /* only where metrics are wanted */
    int64_t now_ms;             /* monotonic, when the frame was complete or the request resumed */
    int64_t wall_ms;            /* the same moment, since 1970 */
    int32_t throttle_ms; /* for how long nothing more is taken from the client: throttling.h */
    bool client_id_kept; /* it is in the arena */
    bool time_recorded;
    int64_t working_since_us; /* 0: nobody counts */
    int64_t worked_us;
    bool no_answer;      /* acks=0: nothing is sent */
    bool answer_lost;    /* the same, because who stands in the way wants it */
    bool close_after;    /* the answer is the last one */
    bool raw_token;      /* SaslAuthenticate without a request around it, and so is its answer */
    bool header_v0_body; /* ApiVersions of an unknown version: the body is version 0 */

    /* Parking. */
    struct waiter waiter; /* req_wake() for those who know no requests */
    atomic_int park_state;
    bool timed_out; /* set when the timer won */
    enum req_status (*resume)(struct req *r);
    struct timer timer;
    struct loop_task task;
    void *state; /* the handler's own, in the arena */
    void (*on_control)(struct req *r);
    struct control_call *call; /* from req_on_control until it resumes or is given up */
    /* Called when the answer cannot be encoded or sent: releases what would have gone with it. */
    void (*abandon)(struct req *r);
    /* Called at the end, in any case: releases what `in` and `out` point to. */
    void (*release)(struct req *r);
};

/* Begins to wait; timeout_ms < 0: without limit. Call it before anybody can wake the request. */
void req_park(struct req *r, int64_t timeout_ms, enum req_status (*resume)(struct req *r));
/* It need not wait after all: nobody knows of it yet. */
void req_unpark(struct req *r);
/* Any thread; harmless when somebody else was first. */
void req_wake(struct req *r);

/* Runs `run` on the control thread, where the coordination store may be used, and then `resume`
 * (NULL: answers) on the loop. Neither runs, but r->release does, when the client is gone before
 * `run` has begun; so nobody else may know the request meanwhile. Returns REQ_PARKED. */
enum req_status req_on_control(struct req *r, void (*run)(struct req *r),
                               enum req_status (*resume)(struct req *r));

/* While the handler runs: what `in` points to stays until the end. False: it cannot, copy it. */
bool req_keep_frame(struct req *r);

/* Memory of the request, or NULL past its cap: the handler answers or returns REQ_CLOSE. */
static inline void *req_alloc(struct req *r, size_t size)
{
    return arena_alloc(&r->arena, size);
}

static inline void *req_array(struct req *r, int32_t count, size_t size)
{
    return arena_array(&r->arena, count < 0 ? 0 : (size_t)count, size);
}

#endif
