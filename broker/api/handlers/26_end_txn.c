/* EndTxn: commits or aborts. Answered when the outcome is stored; the markers follow. (reference:
 * coordinators §4.5) */
#include "broker/broker.h"
#include "broker/coordinator/txn_shard.h"

enum { FIRST_FENCED_VERSION = 2 };

static enum req_status answer(struct req *r, err e)
{
    struct end_txn_response *out = r->out;
    if (e == ERR_PRODUCER_FENCED && r->version < FIRST_FENCED_VERSION) {
        e = ERR_INVALID_PRODUCER_EPOCH;
    }
    out->error_code = kafka_error_wire(e);
    return REQ_DONE;
}

static enum req_status stored(struct req *r)
{
    const struct txn_waiter *waiter = r->state;
    return answer(r, waiter->error);
}

enum req_status handle_end_txn(struct req *r)
{
    const struct end_txn_request *in = r->in;
    struct txn_waiter *waiter = req_alloc(r, sizeof(*waiter));
    struct txn_shard *shard = NULL;
    if (waiter == NULL) {
        return REQ_CLOSE;
    }
    err e = in->transactional_id.len == 0
                ? ERR_INVALID_REQUEST
                : txn_shard_lock(r->broker->txns, in->transactional_id, &shard);
    if (e != OK) {
        return answer(r, e);
    }
    *waiter = (struct txn_waiter){.waiter = &r->waiter};
    r->state = waiter;
    req_park(r, -1, stored);
    e = txn_shard_end(shard, in->transactional_id,
                      (struct txn_producer){in->producer_id, in->producer_epoch}, in->committed,
                      waiter);
    txn_shard_unlock(shard);
    if (e == E_BUSY) {
        return REQ_PARKED;
    }
    req_unpark(r);
    return answer(r, e);
}
