/* AddPartitionsToTxn: partitions that a transaction is about to write to. Up to version 3 a producer asks for its
 * own; from 4 on a broker asks for several, and may only want to know whether they are in it (KIP-890).
 * (reference: coordinators §4.3) */
#include "broker/broker.h"
#include "broker/coordinator/txn_shard.h"

enum { FIRST_BATCHED_VERSION = 4, FIRST_FENCED_VERSION = 2 };

typedef struct add_partitions_to_txn_request_topic topic_in;
typedef struct add_partitions_to_txn_response_topic_result topic_out;

/* One transaction of the request. */
struct addition {
    struct str id;
    struct txn_producer by;
    bool verify_only;
    const topic_in *topics;
    int32_t topics_n;
    topic_out *out;
    struct txn_waiter waiter;
    struct waiter woken;
    struct adding *all;
    bool is_stored; /* answered by the waiter */
};

struct adding {
    struct req *r;
    struct addition *each;
    int32_t count;
    atomic_int left; /* not answered yet, and the handler while it is at work */
};

/* ---- answers ---- */

/* False: no memory. */
static bool prepare(struct req *r, struct addition *a)
{
    a->out = req_array(r, a->topics_n, sizeof(*a->out));
    for (int32_t t = 0; a->out != NULL && t < a->topics_n; t++) {
        const topic_in *in = &a->topics[t];
        topic_out *out = &a->out[t];
        add_partitions_to_txn_response_topic_result_init(out);
        out->name = in->name;
        out->results_by_partition =
            req_array(r, in->partitions_n, sizeof(*out->results_by_partition));
        if (out->results_by_partition == NULL) {
            return false;
        }
        out->results_by_partition_n = in->partitions_n;
        for (int32_t i = 0; i < in->partitions_n; i++) {
            out->results_by_partition[i].partition_index = in->partitions[i];
            out->results_by_partition[i].partition_error_code = OK;
        }
    }
    return a->out != NULL;
}

static void answer_all(const struct req *r, struct addition *a, err e)
{
    if (e == ERR_PRODUCER_FENCED && r->version < FIRST_FENCED_VERSION) {
        e = ERR_INVALID_PRODUCER_EPOCH;
    }
    for (int32_t t = 0; t < a->topics_n; t++) {
        for (int32_t i = 0; i < a->out[t].results_by_partition_n; i++) {
            a->out[t].results_by_partition[i].partition_error_code = kafka_error_wire(e);
        }
    }
}

/* One that does not exist is told so, and all others are not attempted. True: they all do. */
static bool check_partitions(const struct req *r, struct addition *a)
{
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    bool all = true;
    answer_all(r, a, ERR_OPERATION_NOT_ATTEMPTED);
    for (int32_t t = 0; t < a->topics_n; t++) {
        for (int32_t i = 0; i < a->topics[t].partitions_n; i++) {
            if (!metadata_has_partition(metadata, a->topics[t].name, a->topics[t].partitions[i])) {
                a->out[t].results_by_partition[i].partition_error_code =
                    ERR_UNKNOWN_TOPIC_OR_PARTITION;
                all = false;
            }
        }
    }
    metadata_release(metadata);
    return all;
}

/* ---- one transaction ---- */

static void verify(const struct req *r, struct addition *a, const struct txn_shard *shard)
{
    const struct txn *txn = txn_shard_find(shard, a->id);
    err e = txn == NULL ? ERR_INVALID_PRODUCER_ID_MAPPING : txn_verify(txn, a->by);
    answer_all(r, a, e);
    for (int32_t t = 0; e == OK && t < a->topics_n; t++) {
        for (int32_t i = 0; i < a->topics[t].partitions_n; i++) {
            a->out[t].results_by_partition[i].partition_error_code = kafka_error_wire(
                txn_verify_partition(txn, a->topics[t].name, a->topics[t].partitions[i]));
        }
    }
}

/* NULL: no memory. */
static struct txn_partitions *partitions_of(struct req *r, const struct addition *a)
{
    int32_t count = 0;
    for (int32_t t = 0; t < a->topics_n; t++) {
        count += a->topics[t].partitions_n;
    }
    struct topic_partition *names = req_array(r, count, sizeof(*names));
    size_t n = 0;
    for (int32_t t = 0; names != NULL && t < a->topics_n; t++) {
        for (int32_t i = 0; i < a->topics[t].partitions_n; i++) {
            names[n++] = (struct topic_partition){.topic = a->topics[t].name,
                                                  .partition = a->topics[t].partitions[i]};
        }
    }
    return names == NULL && count > 0 ? NULL : txn_partitions_new(names, n);
}

static void one_answered(struct waiter *woken)
{
    struct addition *a = container_of(woken, struct addition, woken);
    struct req *r = a->all->r;
    if (atomic_fetch_sub(&a->all->left, 1) == 1) {
        req_wake(r);
    }
}

/* E_BUSY: its waiter will be woken. */
static err add(struct req *r, struct addition *a, struct txn_shard *shard)
{
    struct txn_partitions *added = partitions_of(r, a);
    if (added == NULL) {
        return ERR_UNKNOWN_SERVER_ERROR;
    }
    a->woken.wake = one_answered;
    a->waiter.waiter = &a->woken;
    a->is_stored = true;
    atomic_fetch_add(&a->all->left, 1);
    err e = txn_shard_add_partitions(shard, a->id, a->by, added, &a->waiter);
    txn_partitions_release(added);
    if (e != E_BUSY) {
        a->is_stored = false;
        atomic_fetch_sub(&a->all->left, 1);
    }
    return e;
}

static void add_or_verify(struct req *r, struct addition *a)
{
    struct txn_shard *shard = NULL;
    if (a->id.len == 0) {
        answer_all(r, a, ERR_INVALID_REQUEST);
        return;
    }
    if (!check_partitions(r, a)) {
        return;
    }
    err e = txn_shard_lock(r->broker->txns, a->id, &shard);
    if (e != OK) {
        answer_all(r, a, e);
        return;
    }
    if (a->verify_only) {
        verify(r, a, shard);
    } else {
        e = add(r, a, shard);
        if (e != E_BUSY) {
            answer_all(r, a, e);
        }
    }
    txn_shard_unlock(shard);
}

/* ---- the whole request ---- */

static struct adding *adding_new(struct req *r, int32_t count)
{
    struct adding *adding = req_alloc(r, sizeof(*adding));
    if (adding != NULL) {
        *adding = (struct adding){.r = r, .count = count};
        adding->each = req_array(r, count, sizeof(*adding->each));
    }
    return adding == NULL || (adding->each == NULL && count > 0) ? NULL : adding;
}

static struct adding *read_request(struct req *r)
{
    const struct add_partitions_to_txn_request *in = r->in;
    bool batched = r->version >= FIRST_BATCHED_VERSION;
    struct adding *adding = adding_new(r, batched ? in->transactions_n : 1);
    for (int32_t i = 0; adding != NULL && i < adding->count; i++) {
        const struct add_partitions_to_txn_request_transaction *txn = &in->transactions[i];
        adding->each[i] = batched ? (struct addition){.id = txn->transactional_id,
                                                      .by = {txn->producer_id, txn->producer_epoch},
                                                      .verify_only = txn->verify_only,
                                                      .topics = txn->topics,
                                                      .topics_n = txn->topics_n}
                                  : (struct addition){.id = in->v3_and_below_transactional_id,
                                                      .by = {in->v3_and_below_producer_id,
                                                             in->v3_and_below_producer_epoch},
                                                      .topics = in->v3_and_below_topics,
                                                      .topics_n = in->v3_and_below_topics_n};
        adding->each[i].all = adding;
        if (!prepare(r, &adding->each[i])) {
            return NULL;
        }
    }
    return adding;
}

static enum req_status fill_in(struct req *r)
{
    struct add_partitions_to_txn_response *out = r->out;
    const struct adding *adding = r->state;
    if (r->version < FIRST_BATCHED_VERSION) {
        out->results_by_topic_v3_and_below = adding->each[0].out;
        out->results_by_topic_v3_and_below_n = adding->each[0].topics_n;
        return REQ_DONE;
    }
    out->results_by_transaction = req_array(r, adding->count, sizeof(*out->results_by_transaction));
    for (int32_t i = 0; out->results_by_transaction != NULL && i < adding->count; i++) {
        struct add_partitions_to_txn_response_transaction_result *result =
            &out->results_by_transaction[out->results_by_transaction_n++];
        result->transactional_id = adding->each[i].id;
        result->topic_results = adding->each[i].out;
        result->topic_results_n = adding->each[i].topics_n;
    }
    return REQ_DONE;
}

static enum req_status all_answered(struct req *r)
{
    struct adding *adding = r->state;
    for (int32_t i = 0; i < adding->count; i++) {
        if (adding->each[i].is_stored) {
            answer_all(r, &adding->each[i], adding->each[i].waiter.error);
        }
    }
    return fill_in(r);
}

enum req_status handle_add_partitions_to_txn(struct req *r)
{
    struct adding *adding = read_request(r);
    if (adding == NULL) {
        return REQ_CLOSE;
    }
    r->state = adding;
    atomic_init(&adding->left, 1);
    req_park(r, -1, all_answered);
    for (int32_t i = 0; i < adding->count; i++) {
        add_or_verify(r, &adding->each[i]);
    }
    if (atomic_fetch_sub(&adding->left, 1) > 1) {
        return REQ_PARKED;
    }
    req_unpark(r);
    return all_answered(r);
}
