#include "broker/api/control_request.h"

#include "broker/broker.h"

struct turn {
    struct request_in in;
    struct req *r;
};

static void on_done(struct request_in *in)
{
    req_wake(container_of(in, struct turn, in)->r);
}

enum req_status control_request(struct req *r)
{
    struct turn *turn = req_alloc(r, sizeof(*turn));
    if (turn == NULL) {
        return REQ_CLOSE;
    }
    *turn = (struct turn){.r = r,
                          .in = {.api_key = r->schema->key,
                                 .request = r->in,
                                 .response = r->out,
                                 .arena = &r->arena,
                                 .done = on_done}};
    req_park(r, -1, NULL);
    requests_in_submit(r->broker->requests_in, &turn->in);
    return REQ_PARKED;
}
