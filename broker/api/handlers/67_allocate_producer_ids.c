/* AllocateProducerIds: the controller gives a broker a block of numbers for producers. (reference:
 * replication §9) */
#include "broker/broker.h"

/* On the control thread. */
static void allocate(struct req *r)
{
    controller_allocate_producer_ids(r->broker->controller, r->in, r->out);
}

enum req_status handle_allocate_producer_ids(struct req *r)
{
    return req_on_control(r, allocate, NULL);
}
