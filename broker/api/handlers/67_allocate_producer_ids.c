/* AllocateProducerIds: the controller gives a broker a block of numbers for producers. (reference:
 * replication §9) */
#include "broker/broker.h"

/* On the control thread. */
static void allocate(struct req *r)
{
    const struct allocate_producer_ids_request *in = r->in;
    struct allocate_producer_ids_response *out = r->out;
    int64_t first = 0;
    err e = controller_check_broker(r->broker->controller, in->broker_id, in->broker_epoch);
    if (e == OK) {
        e = producer_ids_block(r->broker->coord, in->broker_id, &first);
        e = e == OK ? OK : ERR_UNKNOWN_SERVER_ERROR; /* the store's, which is logged there */
    }
    out->error_code = kafka_error_wire(e);
    out->producer_id_start = e == OK ? first : 0;
    out->producer_id_len = e == OK ? PRODUCER_IDS_BLOCK : 0;
}

enum req_status handle_allocate_producer_ids(struct req *r)
{
    return req_on_control(r, allocate, NULL);
}
