/* Errors that pass become NOT_ENOUGH_REPLICAS (19), as in Kafka: on others old clients do not try again. */
#include "broker/api/produce_verify.h"

#include "base/seen.h"
#include "broker/api/lookup.h"
#include "broker/broker.h"

enum { FIRST_ABORTABLE_VERSION = 11 };

bool produce_batch_of(struct bytes records, struct batch *batch)
{
    if (records.len < BATCH_HEADER_BYTES) {
        return false;
    }
    batch_parse(records.data, batch);
    return batch->magic == 2 && batch_is(batch, BATCH_TRANSACTIONAL);
}

/* What the partition answers otherwise comes again when it is appended. */
static void note(struct req *r, struct produce_verify *verify, struct topic_partition name,
                 const struct batch *batch, int32_t place)
{
    struct partition *p = NULL;
    uint64_t guard = 0;
    if (lookup_partition(r, name.topic, name.partition, &p) != OK) {
        return;
    }
    if (partition_verify_txn(p, batch->producer_id, batch->producer_epoch, batch->base_sequence,
                             &guard) != OK ||
        guard == 0) {
        partition_release(p);
        return;
    }
    struct txn_question *question = &verify->question;
    verify->each[question->partitions_n] =
        (struct verified_partition){.partition = p, .guard = guard, .place = place};
    question->partitions[question->partitions_n++] =
        (struct txn_question_partition){.name = name, .error = ERR_NETWORK_EXCEPTION};
}

/* One that is named twice is appended once. */
static err note_topic(struct req *r, struct produce_verify *verify,
                      const struct produce_request_topic *topic, int32_t first_place, bool *any)
{
    struct seen seen;
    err e = OK;
    seen_init(&seen);
    for (int32_t i = 0; e == OK && i < topic->partitions_n; i++) {
        struct batch batch;
        int32_t index = topic->partitions[i].index;
        if (seen_add(&seen, &(struct seen_key){.number = index}) != 0 ||
            !produce_batch_of(topic->partitions[i].records.data, &batch) ||
            batch.producer_id < 0) { /* of no transaction, whatever it says */
            continue;
        }
        struct txn_producer by = {batch.producer_id, batch.producer_epoch};
        struct txn_producer first = verify->question.by;
        bool same = by.id == first.id && by.epoch == first.epoch;
        e = *any && !same ? ERR_INVALID_PRODUCER_ID_MAPPING : OK;
        *any = true;
        if (e == OK) {
            verify->question.by = by;
            note(r, verify, (struct topic_partition){topic->name, index}, &batch, first_place + i);
        }
    }
    seen_deinit(&seen);
    return e;
}

static err note_all(struct req *r, struct produce_verify *verify)
{
    const struct produce_request *in = r->in;
    bool any = false;
    int32_t place = 0;
    for (int32_t t = 0; t < in->topics_n; t++) {
        TRY(note_topic(r, verify, &in->topics[t], place, &any));
        place += in->topics[t].partitions_n;
    }
    return OK;
}

static int32_t count_partitions(const struct produce_request *in)
{
    int32_t count = 0;
    for (int32_t t = 0; t < in->topics_n; t++) {
        count += in->topics[t].partitions_n;
    }
    return count;
}

err produce_verify_begin(struct req *r, struct produce_verify *verify)
{
    const struct produce_request *in = r->in;
    int32_t count = count_partitions(in);
    *verify = (struct produce_verify){.question = {.id = in->transactional_id,
                                                   .by = {.id = -1, .epoch = -1},
                                                   .waiter = &r->waiter}};
    verify->question.partitions = req_array(r, count, sizeof(*verify->question.partitions));
    verify->each = req_array(r, count, sizeof(*verify->each));
    if (count > 0 && (verify->question.partitions == NULL || verify->each == NULL)) {
        return E_LIMIT;
    }
    err e = note_all(r, verify);
    if (e != OK || verify->question.partitions_n == 0) {
        produce_verify_end(verify);
        return e;
    }
    return txn_verifier_ask(r->broker->txns->verifier, &verify->question) ? OK : E_BUSY;
}

void produce_verify_end(struct produce_verify *verify)
{
    const struct txn_question *question = &verify->question;
    for (int32_t i = 0; i < question->partitions_n; i++) {
        struct verified_partition *one = &verify->each[i];
        if (one->partition != NULL && question->partitions[i].error == OK) {
            partition_txn_verified(one->partition, question->by.id, one->guard);
        }
        partition_release(one->partition);
        one->partition = NULL;
    }
}

static bool passes(err e)
{
    return e == ERR_NETWORK_EXCEPTION || e == ERR_COORDINATOR_LOAD_IN_PROGRESS ||
           e == ERR_COORDINATOR_NOT_AVAILABLE || e == ERR_NOT_COORDINATOR ||
           e == ERR_CONCURRENT_TRANSACTIONS;
}

static err as_told(struct req *r, err e, struct str *message)
{
    if (passes(e)) {
        *message = arena_format(&r->arena,
                                "Unable to verify the partition has been added to the transaction. "
                                "Underlying error: %s",
                                kafka_error_name(e));
        return ERR_NOT_ENOUGH_REPLICAS;
    }
    if (e == ERR_TRANSACTION_ABORTABLE && r->version < FIRST_ABORTABLE_VERSION) {
        *message = STR("Partition was not added to the transaction");
        return ERR_INVALID_TXN_STATE;
    }
    return e;
}

err produce_verify_of(struct req *r, struct produce_verify *verify, int32_t place, uint64_t *guard,
                      struct str *message)
{
    const struct txn_question *question = &verify->question;
    *guard = 0;
    while (verify->next < question->partitions_n && verify->each[verify->next].place < place) {
        verify->next++;
    }
    if (verify->next == question->partitions_n || verify->each[verify->next].place != place) {
        return OK;
    }
    *guard = verify->each[verify->next].guard;
    err e = question->partitions[verify->next].error;
    return e == OK ? OK : as_told(r, e, message);
}
