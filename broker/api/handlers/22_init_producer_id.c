/* InitProducerId: a number for a producer that is idempotent; with a transactional id also an epoch, which
 * fences whoever used the id before. (reference: coordinators §4.2) */
#include "broker/broker.h"
#include "broker/coordinator/txn_shard.h"

enum { NO_PRODUCER_ID = -1, BLOCK_WAIT_MS = 5000, FIRST_FENCED_VERSION = 4 };

struct init_work {
    struct producer_ids_wait wait;
    struct txn_waiter waiter;
    int64_t fresh_producer_id;
};

static enum req_status go_on(struct req *r);

static err check(struct req *r)
{
    const struct init_producer_id_request *in = r->in;
    bool transactional = in->transactional_id.data != NULL;
    if ((in->producer_id == NO_PRODUCER_ID) != (in->producer_epoch == -1)) {
        return ERR_INVALID_REQUEST;
    }
    if (transactional && in->transactional_id.len == 0) {
        return ERR_INVALID_REQUEST;
    }
    bool sound = in->transaction_timeout_ms > 0 &&
                 in->transaction_timeout_ms <= r->broker->config->transaction_max_timeout_ms;
    return transactional && !sound ? ERR_INVALID_TRANSACTION_TIMEOUT : OK;
}

static enum req_status answer(struct req *r, err e, int64_t producer_id, int16_t epoch)
{
    struct init_producer_id_response *out = r->out;
    if (e == ERR_PRODUCER_FENCED && r->version < FIRST_FENCED_VERSION) {
        e = ERR_INVALID_PRODUCER_EPOCH;
    }
    out->error_code = kafka_error_wire(e);
    out->producer_id = e == OK ? producer_id : NO_PRODUCER_ID;
    out->producer_epoch = e == OK ? epoch : -1;
    return REQ_DONE;
}

/* ---- fresh producer ids ---- */

static enum req_status block_came(struct req *r)
{
    struct init_work *work = r->state;
    producer_ids_wait_remove(r->broker->producer_ids, &work->wait);
    if (producer_ids_next(r->broker->producer_ids, &work->fresh_producer_id) != OK) {
        return answer(r, ERR_COORDINATOR_LOAD_IN_PROGRESS, NO_PRODUCER_ID, -1);
    }
    return go_on(r);
}

/* False: the block at hand is used up, and the request waits for the next. Clients ask again where it does not
 * come in time. */
static bool take_producer_id(struct req *r, struct init_work *work)
{
    if (producer_ids_next(r->broker->producer_ids, &work->fresh_producer_id) == OK) {
        return true;
    }
    work->wait.waiter = &r->waiter;
    req_park(r, BLOCK_WAIT_MS, block_came);
    producer_ids_wait_add(r->broker->producer_ids, &work->wait);
    return false;
}

/* ---- transactional ids ---- */

static enum req_status stored(struct req *r)
{
    const struct init_work *work = r->state;
    return answer(r, work->waiter.error, work->waiter.producer_id, work->waiter.epoch);
}

static enum req_status ask_coordinator(struct req *r, struct init_work *work)
{
    const struct init_producer_id_request *in = r->in;
    struct txn_init event = {.timeout_ms = in->transaction_timeout_ms,
                             .producer_id = in->producer_id,
                             .epoch = in->producer_epoch,
                             .fresh_producer_id = work->fresh_producer_id};
    struct txn_shard *shard = NULL;
    err e = txn_shard_lock(r->broker->txns, in->transactional_id, &shard);
    if (e != OK) {
        return answer(r, e, NO_PRODUCER_ID, -1);
    }
    work->waiter.waiter = &r->waiter;
    req_park(r, -1, stored);
    e = txn_shard_init_producer_id(shard, in->transactional_id, &event, &work->waiter);
    txn_shard_unlock(shard);
    if (e == E_BUSY) {
        return REQ_PARKED;
    }
    req_unpark(r);
    if (e == E_NOT_FOUND) {
        return take_producer_id(r, work) ? ask_coordinator(r, work) : REQ_PARKED;
    }
    return answer(r, e, NO_PRODUCER_ID, -1);
}

static enum req_status go_on(struct req *r)
{
    const struct init_producer_id_request *in = r->in;
    struct init_work *work = r->state;
    return in->transactional_id.data != NULL ? ask_coordinator(r, work)
                                             : answer(r, OK, work->fresh_producer_id, 0);
}

enum req_status handle_init_producer_id(struct req *r)
{
    const struct init_producer_id_request *in = r->in;
    err e = check(r);
    if (e != OK) {
        return answer(r, e, NO_PRODUCER_ID, -1);
    }
    struct init_work *work = req_alloc(r, sizeof(*work));
    if (work == NULL) {
        return REQ_CLOSE;
    }
    *work = (struct init_work){.fresh_producer_id = NO_PRODUCER_ID};
    r->state = work;
    bool needs_one = in->transactional_id.data == NULL;
    return needs_one && !take_producer_id(r, work) ? REQ_PARKED : go_on(r);
}
