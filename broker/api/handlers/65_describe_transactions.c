/* DescribeTransactions: how transactional ids stand with their coordinator (KIP-664). (reference:
 * coordinators §4.10) */
#include "broker/api/authorize.h"
#include "broker/broker.h"
#include "broker/coordinator/txn_shard.h"

typedef struct describe_transactions_response_transaction_state state_out;

/* False: no memory. */
static bool list_partitions(struct req *r, const struct txn_partitions *set, state_out *out)
{
    int32_t count = txn_partitions_count(set);
    int32_t *numbers = req_array(r, count, sizeof(*numbers));
    out->topics = req_array(r, count, sizeof(*out->topics));
    for (int32_t i = 0; numbers != NULL && out->topics != NULL && i < count;) {
        int32_t n = txn_partitions_of_topic(set, i);
        if (!req_sees(r, ACL_DESCRIBE, ACL_TOPIC, set->items[i].topic)) {
            i += n;
            continue;
        }
        struct describe_transactions_response_topic *topic = &out->topics[out->topics_n++];
        describe_transactions_response_topic_init(topic);
        topic->topic = arena_str(&r->arena, set->items[i].topic);
        topic->partitions = numbers + i;
        topic->partitions_n = n;
        for (int32_t end = i + n; i < end; i++) {
            numbers[i] = set->items[i].partition;
        }
    }
    return count == 0 || (numbers != NULL && out->topics != NULL);
}

static err describe(struct req *r, const struct txn_shard *shard, state_out *out)
{
    const struct txn *txn = txn_shard_find(shard, out->transactional_id);
    if (txn == NULL || txn->pending == TXN_DEAD) {
        return ERR_TRANSACTIONAL_ID_NOT_FOUND;
    }
    out->transaction_state = str_of(txn_state_name(txn->is.state));
    out->transaction_timeout_ms = txn->is.timeout_ms;
    out->transaction_start_time_ms = txn->is.start_ms;
    out->producer_id = txn->is.producer_id;
    out->producer_epoch = txn->is.epoch;
    return list_partitions(r, txn->is.partitions, out) ? OK : ERR_UNKNOWN_SERVER_ERROR;
}

static err find_and_describe(struct req *r, state_out *out)
{
    struct txn_shard *shard = NULL;
    TRY(out->transactional_id.len == 0 ? ERR_INVALID_REQUEST : OK);
    TRY(txn_shard_lock(r->broker->txns, out->transactional_id, &shard));
    err e = describe(r, shard, out);
    txn_shard_unlock(shard);
    return e;
}

enum req_status handle_describe_transactions(struct req *r)
{
    const struct describe_transactions_request *in = r->in;
    struct describe_transactions_response *out = r->out;
    out->transaction_states =
        req_array(r, in->transactional_ids_n, sizeof(*out->transaction_states));
    for (int32_t i = 0; out->transaction_states != NULL && i < in->transactional_ids_n; i++) {
        state_out *state = &out->transaction_states[out->transaction_states_n++];
        describe_transactions_response_transaction_state_init(state);
        state->transactional_id = in->transactional_ids[i];
        state->transaction_state = STR("");
        state->error_code = kafka_error_wire(find_and_describe(r, state));
    }
    return REQ_DONE;
}
