/* AddPartitionsToTxn: partitions that a transaction is about to write to. Up to version 3 a producer asks for its
 * own; from 4 on a broker asks for several, and may only want to know whether they are in it (KIP-890). (reference:
 * coordinators §4.3) */
#include "broker/api/authorize.h"
#include "broker/broker.h"
#include "broker/coordinator/txn_shard.h"

enum { FIRST_BATCHED_VERSION = 4, FIRST_FENCED_VERSION = 2 };

typedef struct add_partitions_to_txn_request_topic topic_in;
typedef struct add_partitions_to_txn_response_topic_result topic_out;
typedef struct add_partitions_to_txn_response_partition_result partition_out;

/* One transaction of the request. */
struct addition {
    struct str id;
    struct txn_producer by;
    bool verify_only;
    const topic_in *topics;
    int32_t topics_n;
    struct txn_partitions *set;
    partition_out *out; /* for each of the set */
    bool is_one_by_one; /* answered by `out`; else with `error`, as it was asked */
    err error;
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

/* ---- one transaction ---- */

/* Clients may not write into the internal topics, whose partitions come by other requests. Brokers may ask for all. */
static err check_partition(const struct req *r, const struct metadata *metadata,
                           const struct topic_partition *name)
{
    if (r->version < FIRST_BATCHED_VERSION &&
        (topic_is_internal(name->topic) || !req_may(r, ACL_WRITE, ACL_TOPIC, name->topic))) {
        return ERR_TOPIC_AUTHORIZATION_FAILED;
    }
    return metadata_has_partition(metadata, name->topic, name->partition)
               ? OK
               : ERR_UNKNOWN_TOPIC_OR_PARTITION;
}

/* One that may not be added is told so, and all others are not attempted. True: they all may. */
static bool check_partitions(const struct req *r, struct addition *a)
{
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    bool all = true;
    for (int32_t i = 0; i < a->set->count; i++) {
        err e = check_partition(r, metadata, &a->set->items[i]);
        a->out[i].partition_error_code =
            e == OK ? ERR_OPERATION_NOT_ATTEMPTED : kafka_error_wire(e);
        all &= e == OK;
    }
    metadata_release(metadata);
    a->is_one_by_one = !all;
    return all;
}

static err verify(struct addition *a, const struct txn_shard *shard)
{
    const struct txn *txn = txn_shard_find(shard, a->id);
    TRY(txn == NULL ? ERR_INVALID_PRODUCER_ID_MAPPING : txn_verify(txn, a->by));
    for (int32_t i = 0; i < a->set->count; i++) {
        const struct topic_partition *name = &a->set->items[i];
        a->out[i].partition_error_code =
            kafka_error_wire(txn_verify_partition(txn, name->topic, name->partition));
    }
    a->is_one_by_one = true;
    return OK;
}

static void one_answered(struct waiter *woken)
{
    struct addition *a = container_of(woken, struct addition, woken);
    struct req *r = a->all->r;
    if (atomic_fetch_sub(&a->all->left, 1) == 1) {
        req_wake(r);
    }
}

static err add(struct addition *a, struct txn_shard *shard)
{
    a->woken.wake = one_answered;
    a->waiter.waiter = &a->woken;
    a->is_stored = true;
    atomic_fetch_add(&a->all->left, 1);
    err e = txn_shard_add_partitions(shard, a->id, a->by, a->set, &a->waiter);
    if (e != E_BUSY) {
        a->is_stored = false;
        atomic_fetch_sub(&a->all->left, 1);
    }
    return e;
}

static void add_or_verify(struct req *r, struct addition *a)
{
    struct txn_shard *shard = NULL;
    if (!check_partitions(r, a)) {
        return;
    }
    a->error =
        a->id.len == 0 ? ERR_INVALID_REQUEST : txn_shard_lock(r->broker->txns, a->id, &shard);
    if (a->error == OK) {
        a->error = a->verify_only ? verify(a, shard) : add(a, shard);
        txn_shard_unlock(shard);
    }
}

/* ---- the whole request ---- */

/* False: no memory. */
static bool take_partitions(struct req *r, struct addition *a)
{
    int32_t count = 0;
    for (int32_t t = 0; t < a->topics_n; t++) {
        count += a->topics[t].partitions_n;
    }
    struct topic_partition *names = req_array(r, count, sizeof(*names));
    a->out = req_array(r, count, sizeof(*a->out));
    if (count > 0 && (names == NULL || a->out == NULL)) {
        return false;
    }
    size_t n = 0;
    for (int32_t t = 0; t < a->topics_n; t++) {
        for (int32_t i = 0; i < a->topics[t].partitions_n; i++) {
            names[n++] = (struct topic_partition){.topic = a->topics[t].name,
                                                  .partition = a->topics[t].partitions[i]};
        }
    }
    a->set = txn_partitions_new(names, n);
    for (int32_t i = 0; i < a->set->count; i++) {
        a->out[i] = (partition_out){.partition_index = a->set->items[i].partition};
    }
    return true;
}

static void release(struct req *r)
{
    struct adding *adding = r->state;
    for (int32_t i = 0; i < adding->count; i++) {
        txn_partitions_release(adding->each[i].set);
    }
}

static struct adding *adding_new(struct req *r, int32_t count)
{
    struct adding *adding = req_alloc(r, sizeof(*adding));
    if (adding == NULL) {
        return NULL;
    }
    *adding = (struct adding){.r = r, .count = count};
    adding->each = req_array(r, count, sizeof(*adding->each));
    for (int32_t i = 0; adding->each != NULL && i < count; i++) {
        adding->each[i] = (struct addition){.all = adding};
    }
    return adding->each == NULL && count > 0 ? NULL : adding;
}

static bool read_request(struct req *r)
{
    const struct add_partitions_to_txn_request *in = r->in;
    bool batched = r->version >= FIRST_BATCHED_VERSION;
    struct adding *adding = adding_new(r, batched ? in->transactions_n : 1);
    if (adding == NULL) {
        return false;
    }
    r->state = adding;
    r->release = release;
    for (int32_t i = 0; i < adding->count; i++) {
        const struct add_partitions_to_txn_request_transaction *txn =
            batched ? &in->transactions[i] : NULL;
        struct addition *a = &adding->each[i];
        a->id = batched ? txn->transactional_id : in->v3_and_below_transactional_id;
        a->by.id = batched ? txn->producer_id : in->v3_and_below_producer_id;
        a->by.epoch = batched ? txn->producer_epoch : in->v3_and_below_producer_epoch;
        a->verify_only = batched && txn->verify_only;
        a->topics = batched ? txn->topics : in->v3_and_below_topics;
        a->topics_n = batched ? txn->topics_n : in->v3_and_below_topics_n;
        if (!take_partitions(r, a)) {
            return false;
        }
    }
    return true;
}

/* What was asked, in its order. NULL: no memory. */
static topic_out *as_asked(struct req *r, const struct addition *a, err e)
{
    topic_out *topics = req_array(r, a->topics_n, sizeof(*topics));
    for (int32_t t = 0; topics != NULL && t < a->topics_n; t++) {
        const topic_in *in = &a->topics[t];
        topics[t] = (topic_out){.name = in->name,
                                .results_by_partition =
                                    req_array(r, in->partitions_n, sizeof(partition_out))};
        for (int32_t i = 0; topics[t].results_by_partition != NULL && i < in->partitions_n; i++) {
            topics[t].results_by_partition[topics[t].results_by_partition_n++] = (partition_out){
                .partition_index = in->partitions[i], .partition_error_code = kafka_error_wire(e)};
        }
    }
    return topics;
}

/* Each partition once. NULL: no memory. */
static topic_out *one_by_one(struct req *r, const struct addition *a, int32_t *topics_n)
{
    topic_out *topics = req_array(r, a->set->count, sizeof(*topics));
    for (int32_t i = 0; topics != NULL && i < a->set->count;) {
        int32_t n = txn_partitions_of_topic(a->set, i);
        topics[(*topics_n)++] = (topic_out){.name = a->set->items[i].topic,
                                            .results_by_partition = a->out + i,
                                            .results_by_partition_n = n};
        i += n;
    }
    return topics;
}

static topic_out *answer(struct req *r, const struct addition *a, int32_t *topics_n)
{
    err e = a->is_stored ? a->waiter.error : a->error;
    *topics_n = 0;
    if (a->is_one_by_one) {
        return one_by_one(r, a, topics_n);
    }
    if (e == ERR_PRODUCER_FENCED && r->version < FIRST_FENCED_VERSION) {
        e = ERR_INVALID_PRODUCER_EPOCH;
    }
    topic_out *topics = as_asked(r, a, e);
    *topics_n = topics == NULL ? 0 : a->topics_n;
    return topics;
}

static enum req_status all_answered(struct req *r)
{
    struct add_partitions_to_txn_response *out = r->out;
    const struct adding *adding = r->state;
    if (r->version < FIRST_BATCHED_VERSION) {
        out->results_by_topic_v3_and_below =
            answer(r, &adding->each[0], &out->results_by_topic_v3_and_below_n);
        return REQ_DONE;
    }
    out->results_by_transaction = req_array(r, adding->count, sizeof(*out->results_by_transaction));
    for (int32_t i = 0; out->results_by_transaction != NULL && i < adding->count; i++) {
        struct add_partitions_to_txn_response_transaction_result *one =
            &out->results_by_transaction[out->results_by_transaction_n++];
        *one = (struct add_partitions_to_txn_response_transaction_result){.transactional_id =
                                                                              adding->each[i].id};
        one->topic_results = answer(r, &adding->each[i], &one->topic_results_n);
    }
    return REQ_DONE;
}

enum req_status handle_add_partitions_to_txn(struct req *r)
{
    if (!read_request(r)) {
        return REQ_CLOSE;
    }
    struct adding *adding = r->state;
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
