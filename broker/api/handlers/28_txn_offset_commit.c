/* TxnOffsetCommit: offsets of a group as a part of a transaction. They wait for its marker: until then they are
 * unstable, and the old ones stand. (reference: coordinators §4.4) */
#include "base/planted.h"
#include "broker/api/lookup.h"
#include "broker/api/merged.h"
#include "broker/api/offset_metadata.h"
#include "broker/broker.h"
#include "broker/coordinator/group_shard.h"
#include "broker/coordinator/txn_verifier.h"

enum { FIRST_LOADING_VERSION = 2, FIRST_ABORTABLE_VERSION = 4 };

typedef struct txn_offset_commit_request_topic topic_in;
typedef struct txn_offset_commit_request_partition partition_in;

struct commit {
    struct merged merged;
    struct txn_question question; /* about the group's partition of __consumer_offsets */
    struct txn_question_partition asked;
    struct partition *partition; /* a reference, while it is asked */
    uint64_t guard;
};

/* ---- the partitions ---- */

static struct str name_of(const void *topics, int32_t topic)
{
    return ((const topic_in *)topics)[topic].name;
}

static int32_t partitions_of(const void *topics, int32_t topic)
{
    return ((const topic_in *)topics)[topic].partitions_n;
}

static int32_t number_of(const void *topics, int32_t topic, int32_t place)
{
    return ((const topic_in *)topics)[topic].partitions[place].partition_index;
}

/* Every partition that is there once, with what is said of it last; answered with what stands against it
 * alone. False: no memory. */
static bool commit_merge(struct req *r, struct commit *commit)
{
    const struct txn_offset_commit_request *in = r->in;
    struct txn_offset_commit_response *out = r->out;
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    struct merge_source source = {.topics = in->topics,
                                  .topics_n = in->topics_n,
                                  .there = metadata,
                                  .name = name_of,
                                  .partitions_n = partitions_of,
                                  .partition = number_of};
    bool done = merge_partitions(r, &source, &commit->merged);
    out->topics = done ? req_array(r, commit->merged.topics_n, sizeof(*out->topics)) : NULL;
    for (int32_t t = 0; out->topics != NULL && t < commit->merged.topics_n; t++) {
        const struct merged_topic *topic = &commit->merged.topics[t];
        struct txn_offset_commit_response_topic *answer = &out->topics[out->topics_n++];
        txn_offset_commit_response_topic_init(answer);
        answer->name = topic->name;
        answer->partitions = req_array(r, topic->partitions_n, sizeof(*answer->partitions));
        for (int32_t i = 0; answer->partitions != NULL && i < topic->partitions_n; i++) {
            int32_t number = topic->partitions[i].number;
            bool there = metadata_has_partition(metadata, topic->name, number);
            answer->partitions[answer->partitions_n++] =
                (struct txn_offset_commit_response_partition){
                    .partition_index = number,
                    .error_code = there ? OK : ERR_UNKNOWN_TOPIC_OR_PARTITION};
        }
    }
    metadata_release(metadata);
    return done && (out->topics != NULL || commit->merged.topics_n == 0);
}

/* Calls `each` for every offset that nothing stands against. */
static err each_offset(const struct req *r, err (*each)(void *context, const struct committed *v),
                       void *context)
{
    const struct txn_offset_commit_request *in = r->in;
    const struct txn_offset_commit_response *out = r->out;
    const struct commit *commit = r->state;
    for (int32_t t = 0; t < out->topics_n; t++) {
        const struct merged_topic *topic = &commit->merged.topics[t];
        for (int32_t i = 0; i < out->topics[t].partitions_n; i++) {
            const struct merged_partition *m = &topic->partitions[i];
            const partition_in *p = &in->topics[m->topic].partitions[m->place];
            if (out->topics[t].partitions[i].error_code != OK) {
                continue;
            }
            struct committed value = {.offset = p->committed_offset,
                                      .leader_epoch = p->committed_leader_epoch,
                                      .metadata = text_or_empty(p->committed_metadata),
                                      .commit_ms = r->wall_ms,
                                      .expire_ms = -1,
                                      .log_offset = -1,
                                      .topic = topic->name,
                                      .partition = m->number};
            TRY(each(context, &value));
        }
    }
    return OK;
}

static err count_one(void *context, const struct committed *value)
{
    (void)value;
    ++*(int32_t *)context;
    return OK;
}

static int32_t count_offsets(const struct req *r)
{
    int32_t count = 0;
    err_ignore(each_offset(r, count_one, &count)); /* count_one() cannot fail */
    return count;
}

/* Those that nothing stands against are answered this. */
static enum req_status answer(struct req *r, err e)
{
    struct txn_offset_commit_response *out = r->out;
    if (e == ERR_COORDINATOR_LOAD_IN_PROGRESS && r->version < FIRST_LOADING_VERSION) {
        e = ERR_COORDINATOR_NOT_AVAILABLE;
    }
    for (int32_t t = 0; t < out->topics_n; t++) {
        for (int32_t i = 0; i < out->topics[t].partitions_n; i++) {
            struct txn_offset_commit_response_partition *p = &out->topics[t].partitions[i];
            p->error_code = p->error_code == OK ? kafka_error_wire(e) : p->error_code;
        }
    }
    return REQ_DONE;
}

/* What is too long is refused alone, but only of who may commit. */
static void refuse_long_metadata(const struct req *r)
{
    const struct txn_offset_commit_request *in = r->in;
    struct txn_offset_commit_response *out = r->out;
    const struct commit *commit = r->state;
    for (int32_t t = 0; t < out->topics_n; t++) {
        for (int32_t i = 0; i < out->topics[t].partitions_n; i++) {
            const struct merged_partition *m = &commit->merged.topics[t].partitions[i];
            struct str metadata = in->topics[m->topic].partitions[m->place].committed_metadata;
            if (out->topics[t].partitions[i].error_code == OK &&
                !offset_metadata_fits(r->broker->config, metadata)) {
                out->topics[t].partitions[i].error_code = ERR_OFFSET_METADATA_TOO_LARGE;
            }
        }
    }
}

/* ---- storing ---- */

struct commit_batch {
    struct batch_builder builder;
    struct req *r;
    struct group_shard *shard;
};

static err add_to_batch(void *context, const struct committed *value)
{
    struct commit_batch *batch = context;
    const struct txn_offset_commit_request *in = batch->r->in;
    return record_add_offset(&batch->builder, batch->r->wall_ms, in->group_id, value);
}

static err make_pending(void *context, const struct committed *value)
{
    const struct commit_batch *batch = context;
    const struct txn_offset_commit_request *in = batch->r->in;
    pending_offsets_add(&batch->shard->pending, in->producer_id, in->group_id, value, false,
                        batch->r);
    return OK;
}

static enum req_status stored(struct req *r)
{
    const struct commit *commit = r->state;
    return answer(r, commit->asked.error);
}

/* What may be in the log stays pending: the marker decides about it. */
static void on_stored(struct group_shard *shard, void *context, err outcome, int64_t at)
{
    struct req *r = context;
    const struct txn_offset_commit_request *in = r->in;
    struct commit *commit = r->state;
    bool there = outcome == OK || outcome == ERR_REQUEST_TIMED_OUT ||
                 outcome == ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND;
    pending_offsets_stored(&shard->pending, in->producer_id, r, there ? at : -1);
    if (there && planted(MISTAKE_SHOWS_PENDING)) {
        pending_offsets_decide(&shard->pending, in->producer_id, true, group_shard_apply_offset,
                               shard);
    }
    commit->asked.error =
        shard_store_err(outcome, ERR_REQUEST_TIMED_OUT, ERR_INVALID_COMMIT_OFFSET_SIZE);
    req_wake(r);
}

/* The group is there from now on, if only for what is pending. */
static void store(struct req *r, struct group_shard *shard, struct writer *writer,
                  struct commit_batch *batch)
{
    const struct txn_offset_commit_request *in = r->in;
    const struct commit *commit = r->state;
    if (group_shard_find(shard, in->group_id) == NULL) {
        (void)group_shard_add(shard, in->group_id);
    }
    err_ignore(each_offset(r, make_pending, batch)); /* make_pending() cannot fail */
    req_park(r, -1, stored);
    group_shard_store(shard, writer, on_stored, r, &(struct store_commits){.guard = commit->guard});
}

static err build(struct req *r, struct group_shard *shard, struct writer *writer,
                 struct commit_batch *batch)
{
    const struct txn_offset_commit_request *in = r->in;
    *batch = (struct commit_batch){.r = r, .shard = shard};
    group_batch_begin(shard, writer, &batch->builder, true);
    batch->builder.attributes |= BATCH_TRANSACTIONAL;
    batch->builder.producer_id = in->producer_id;
    batch->builder.producer_epoch = in->producer_epoch;
    TRY(each_offset(r, add_to_batch, batch));
    return batch_end(&batch->builder);
}

static err check_member(const struct req *r, const struct group_shard *shard)
{
    const struct txn_offset_commit_request *in = r->in;
    const struct group *group = group_shard_find(shard, in->group_id);
    if (group == NULL) {
        return in->generation_id < 0 ? OK : ERR_UNKNOWN_MEMBER_ID;
    }
    return group_check_txn_commit(group, in->member_id, in->group_instance_id, in->generation_id);
}

static enum req_status commit_now(struct req *r)
{
    const struct txn_offset_commit_request *in = r->in;
    struct group_shard *shard = NULL;
    struct writer writer;
    struct commit_batch batch;
    err e = group_shard_lock(r->broker->groups, in->group_id, false, &shard);
    if (e != OK) {
        return answer(r, e);
    }
    e = check_member(r, shard);
    if (e == OK) {
        refuse_long_metadata(r);
    }
    if (e != OK || count_offsets(r) == 0) {
        group_shard_unlock(shard);
        return answer(r, e);
    }
    e = build(r, shard, &writer, &batch);
    if (e == OK) {
        store(r, shard, &writer, &batch);
    } else {
        writer_deinit(&writer);
    }
    group_shard_unlock(shard);
    return e == OK ? REQ_PARKED : answer(r, ERR_INVALID_COMMIT_OFFSET_SIZE);
}

/* ---- verifying ---- */

static enum req_status verified(struct req *r)
{
    const struct txn_offset_commit_request *in = r->in;
    struct commit *commit = r->state;
    err e = commit->asked.error;
    if (e == OK) {
        partition_txn_verified(commit->partition, in->producer_id, commit->guard);
    }
    partition_release(commit->partition);
    commit->partition = NULL;
    if (e == ERR_TRANSACTION_ABORTABLE && r->version < FIRST_ABORTABLE_VERSION) {
        e = ERR_INVALID_TXN_STATE;
    } else if (e == ERR_NETWORK_EXCEPTION) {
        e = ERR_COORDINATOR_LOAD_IN_PROGRESS;
    }
    return e == OK ? commit_now(r) : answer(r, e);
}

/* The transaction's coordinator is asked whether it has the group's partition. */
static enum req_status verify(struct req *r, struct commit *commit)
{
    const struct txn_offset_commit_request *in = r->in;
    struct topic_partition name = {.topic = str_of(group_shard_kind.topic),
                                   .partition =
                                       shards_number_of(&r->broker->groups->shards, in->group_id)};
    if (lookup_partition(r, name.topic, name.partition, &commit->partition) != OK) {
        return answer(r, ERR_NOT_COORDINATOR);
    }
    err e = partition_verify_txn(commit->partition, in->producer_id, in->producer_epoch, -1,
                                 &commit->guard);
    if (e != OK || commit->guard == 0) {
        partition_release(commit->partition);
        return e == OK ? commit_now(r) : answer(r, ERR_NOT_COORDINATOR);
    }
    commit->asked = (struct txn_question_partition){.name = name};
    commit->question = (struct txn_question){.id = in->transactional_id,
                                             .by = {in->producer_id, in->producer_epoch},
                                             .partitions = &commit->asked,
                                             .partitions_n = 1,
                                             .waiter = &r->waiter};
    req_park(r, -1, verified);
    if (!txn_verifier_ask(r->broker->txns->verifier, &commit->question)) {
        return REQ_PARKED;
    }
    req_unpark(r);
    return verified(r);
}

enum req_status handle_txn_offset_commit(struct req *r)
{
    const struct txn_offset_commit_request *in = r->in;
    struct commit *commit = req_alloc(r, sizeof(*commit));
    struct group_shard *shard = NULL;
    if (commit == NULL || !commit_merge(r, commit)) {
        return REQ_CLOSE;
    }
    r->state = commit;
    if (count_offsets(r) == 0) {
        return REQ_DONE;
    }
    err e = group_shard_lock(r->broker->groups, in->group_id, false, &shard);
    if (e != OK) {
        return answer(r, e);
    }
    group_shard_unlock(shard);
    bool is_one = in->producer_id >= 0 && in->producer_epoch >= 0;
    return is_one ? verify(r, commit) : answer(r, ERR_INVALID_PRODUCER_ID_MAPPING);
}
