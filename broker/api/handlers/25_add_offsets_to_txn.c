/* AddOffsetsToTxn: a group's partition of __consumer_offsets becomes one of the transaction's. The group need not
 * exist. (reference: coordinators §4.4) */
#include "broker/broker.h"
#include "broker/coordinator/group_shard.h"
#include "broker/coordinator/txn_shard.h"

enum { FIRST_FENCED_VERSION = 2 };

static enum req_status answer(struct req *r, err e)
{
    struct add_offsets_to_txn_response *out = r->out;
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

/* A topic that is not there yet has the partitions that it will be made with. */
static int32_t partition_of(const struct req *r, struct str group_id)
{
    int32_t number = shards_number_of(&r->broker->groups->shards, group_id);
    int32_t partitions_n = r->broker->config->offsets_topic_num_partitions;
    return number >= 0 ? number : shards_partition_of(group_id, partitions_n);
}

enum req_status handle_add_offsets_to_txn(struct req *r)
{
    const struct add_offsets_to_txn_request *in = r->in;
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
    struct topic_partition name = {.topic = str_of(group_shard_kind.topic),
                                   .partition = partition_of(r, in->group_id)};
    struct txn_partitions *added = txn_partitions_new(&name, 1);
    *waiter = (struct txn_waiter){.waiter = &r->waiter};
    r->state = waiter;
    req_park(r, -1, stored);
    e = txn_shard_add_partitions(shard, in->transactional_id,
                                 (struct txn_producer){in->producer_id, in->producer_epoch}, added,
                                 waiter);
    txn_shard_unlock(shard);
    txn_partitions_release(added);
    if (e == E_BUSY) {
        return REQ_PARKED;
    }
    req_unpark(r);
    return answer(r, e);
}
