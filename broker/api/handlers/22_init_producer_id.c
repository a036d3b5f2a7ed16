/* InitProducerId: a number for an idempotent producer. Transactional ids need the transaction
 * coordinator, which is not here: the client is told that it is not available. */
#include "broker/api/lookup.h"
#include "broker/broker.h"

enum { NO_PRODUCER_ID = -1 };

static err check(struct req *r)
{
    const struct init_producer_id_request *in = r->in;
    bool transactional = in->transactional_id.data != NULL;
    if (transactional && in->transactional_id.len == 0) {
        return ERR_INVALID_REQUEST;
    }
    if ((in->producer_id == NO_PRODUCER_ID) != (in->producer_epoch == -1)) {
        return ERR_INVALID_REQUEST;
    }
    if (transactional &&
        (in->transaction_timeout_ms <= 0 ||
         in->transaction_timeout_ms > r->broker->config->transaction_max_timeout_ms)) {
        return ERR_INVALID_TRANSACTION_TIMEOUT;
    }
    return transactional ? refuse_transactional(r, in->transactional_id) : OK;
}

static void answer(struct req *r, err e, int64_t producer_id)
{
    struct init_producer_id_response *out = r->out;
    out->error_code = kafka_error_wire(e);
    out->producer_id = e == OK ? producer_id : NO_PRODUCER_ID;
    out->producer_epoch = e == OK ? 0 : -1;
}

/* On the control thread: claims a block of numbers if none is left, and takes one. */
static void claim_and_answer(struct req *r)
{
    int64_t producer_id = NO_PRODUCER_ID;
    err e = producer_ids_claim(r->broker->producer_ids, r->broker->coord);
    if (e == OK) {
        e = producer_ids_next(r->broker->producer_ids, &producer_id);
    }
    answer(r, e == OK ? OK : ERR_COORDINATOR_LOAD_IN_PROGRESS, producer_id);
}

enum req_status handle_init_producer_id(struct req *r)
{
    int64_t producer_id = NO_PRODUCER_ID;
    err e = check(r);
    if (e == OK && producer_ids_next(r->broker->producer_ids, &producer_id) != OK) {
        return req_on_control(r, claim_and_answer, NULL);
    }
    answer(r, e, producer_id);
    return REQ_DONE;
}
