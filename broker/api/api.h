/* The table of APIs, and what happens around a handler: header, version, decoding, answer.
 *
 * One row in api.def adds an API: prototype, dispatch, the ApiVersions entry and the name derive
 * from it. */
#ifndef OTTLA_BROKER_API_API_H
#define OTTLA_BROKER_API_API_H

#include "broker/api/request.h"
#include "protocol/inflate.h"

enum api_flags {
    API_PARKS = 1,           /* the frame is copied before it is decoded, so that it may wait */
    API_CANCEL_ON_CLOSE = 2, /* a closed connection wakes the parked request */
};

struct api {
    enum req_status (*handle)(struct req *r);
    int flags;
};

/* NULL for an API that is not served. */
const struct api *api_of(int16_t key);
/* What the table says is done with the request: for who stands in its way (struct broker_env). */
enum req_status api_handle(struct req *r);
/* Prototypes of all handlers. */
#define API(key, name, flags, ...) enum req_status handle_##name(struct req *r);
#include "broker/api/api.def"
#undef API

/* What one loop needs to serve requests. */
struct api_loop {
    struct broker *broker;
    struct loop *loop;
    struct req *spare; /* finished requests, kept for the next ones */
    int spare_n;
    struct inflaters inflaters;
    struct loop_metrics *metrics; /* NULL: nobody wants any */
    int64_t looked_us;            /* when it last looked at the clock, where somebody wants times */
};

void api_loop_init(struct api_loop *home, struct broker *broker, struct loop *loop);
void api_loop_deinit(struct api_loop *home);
/* The functions that connections call. */
struct conn_handler api_conn_handler(struct api_loop *home);

#endif
