/* InitProducerId: a number for an idempotent producer. Transactional ids need the transaction
 * coordinator, which is not here: the client is told that it is not available. */
#include "broker/api/lookup.h"
#include "broker/broker.h"

enum { NO_PRODUCER_ID = -1, BLOCK_WAIT_MS = 5000 };

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

static void take_and_answer(struct req *r)
{
    int64_t producer_id = NO_PRODUCER_ID;
    err e = producer_ids_next(r->broker->producer_ids, &producer_id);
    answer(r, e == OK ? OK : ERR_COORDINATOR_LOAD_IN_PROGRESS, producer_id);
}

static enum req_status waited(struct req *r)
{
    producer_ids_wait_remove(r->broker->producer_ids, r->state);
    take_and_answer(r);
    return REQ_DONE;
}

/* The block at hand is used up: clients ask again where the next one does not come in time. */
static enum req_status wait_for_block(struct req *r)
{
    struct producer_ids_wait *wait = req_alloc(r, sizeof(*wait));
    if (wait == NULL) {
        return REQ_CLOSE;
    }
    wait->waiter = &r->waiter;
    r->state = wait;
    req_park(r, BLOCK_WAIT_MS, waited);
    producer_ids_wait_add(r->broker->producer_ids, wait);
    return REQ_PARKED;
}

enum req_status handle_init_producer_id(struct req *r)
{
    int64_t producer_id = NO_PRODUCER_ID;
    err e = check(r);
    if (e == OK && producer_ids_next(r->broker->producer_ids, &producer_id) != OK) {
        return wait_for_block(r);
    }
    answer(r, e, producer_id);
    return REQ_DONE;
}
