/* ControlledShutdown: a broker that is to stop asks its controller to let others lead. (reference: zookeeper
 * §5.4) */
#include "broker/broker.h"

/* On the control thread. */
static void let_go(struct req *r)
{
    controller_controlled_shutdown(r->broker->controller, r->in, &r->arena, r->out);
}

enum req_status handle_controlled_shutdown(struct req *r)
{
    return req_on_control(r, let_go, NULL);
}
