/* OffsetDelete: removes committed offsets, of a group that is empty or of topics that none of its
 * consumers subscribes to. What is there and named twice is answered once. (reference: coordinators §1.9;
 * KIP-496) */
#include "broker/api/merged.h"
#include "broker/broker.h"
#include "broker/coordinator/group_shard.h"

struct deletion {
    struct offset_pick *picks;
    int32_t picks_n;
    struct offset_delete_response_partition **answers;   /* of the picks */
    struct offset_delete_response_partition *partitions; /* of the answer, that are not yet used */
    err outcome;
};

static struct str name_of(const void *topics, int32_t topic)
{
    return ((const struct offset_delete_request_topic *)topics)[topic].name;
}

static int32_t partitions_of(const void *topics, int32_t topic)
{
    return ((const struct offset_delete_request_topic *)topics)[topic].partitions_n;
}

static int32_t number_of(const void *topics, int32_t topic, int32_t place)
{
    const struct offset_delete_request_topic *in = topics;
    return in[topic].partitions[place].partition_index;
}

/* Partitions that do not exist are answered here; the others are picked. */
static void add_topic(struct deletion *deletion, const struct metadata *metadata,
                      const struct merged_topic *in, struct offset_delete_response_topic *out)
{
    out->name = in->name;
    out->partitions = deletion->partitions;
    deletion->partitions += in->partitions_n;
    for (int32_t i = 0; i < in->partitions_n; i++) {
        int32_t number = in->partitions[i].number;
        struct offset_delete_response_partition *answer = &out->partitions[out->partitions_n++];
        bool there = metadata_has_partition(metadata, in->name, number);
        *answer = (struct offset_delete_response_partition){
            .partition_index = number, .error_code = there ? OK : ERR_UNKNOWN_TOPIC_OR_PARTITION};
        if (there) {
            deletion->picks[deletion->picks_n] =
                (struct offset_pick){.topic = in->name, .partition = number};
            deletion->answers[deletion->picks_n++] = answer;
        }
    }
}

static int32_t count_all(const struct merged *merged)
{
    int32_t total = 0;
    for (int32_t t = 0; t < merged->topics_n; t++) {
        total += merged->topics[t].partitions_n;
    }
    return total;
}

/* Room for `total` partitions, here and in the answer. False: no memory. */
static bool make_room(struct req *r, struct deletion *deletion, int32_t total)
{
    deletion->picks = req_array(r, total, sizeof(*deletion->picks));
    deletion->answers = req_array(r, total, sizeof(*deletion->answers));
    deletion->partitions = req_array(r, total, sizeof(*deletion->partitions));
    return deletion->picks != NULL && deletion->answers != NULL && deletion->partitions != NULL;
}

/* False: no memory. */
static bool pick_all(struct req *r, const struct metadata *metadata, struct deletion *deletion)
{
    const struct offset_delete_request *in = r->in;
    struct offset_delete_response *out = r->out;
    struct merge_source source = {.topics = in->topics,
                                  .topics_n = in->topics_n,
                                  .there = metadata,
                                  .name = name_of,
                                  .partitions_n = partitions_of,
                                  .partition = number_of};
    struct merged merged;
    if (!merge_partitions(r, &source, &merged) || !make_room(r, deletion, count_all(&merged))) {
        return false;
    }
    out->topics = req_array(r, merged.topics_n, sizeof(*out->topics));
    for (; out->topics != NULL && out->topics_n < merged.topics_n; out->topics_n++) {
        add_topic(deletion, metadata, &merged.topics[out->topics_n], &out->topics[out->topics_n]);
    }
    return out->topics != NULL;
}

/* NULL: no memory. */
static struct deletion *deletion_of(struct req *r)
{
    struct deletion *deletion = req_alloc(r, sizeof(*deletion));
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    bool picked = deletion != NULL && pick_all(r, metadata, deletion);
    metadata_release(metadata);
    return picked ? deletion : NULL;
}

static enum req_status refuse(struct req *r, err e)
{
    struct offset_delete_response *out = r->out;
    out->error_code = kafka_error_wire(e);
    out->topics_n = 0;
    return REQ_DONE;
}

static enum req_status answer(struct req *r)
{
    const struct deletion *deletion = r->state;
    if (deletion->outcome != OK) {
        return refuse(r, deletion->outcome);
    }
    for (int32_t i = 0; i < deletion->picks_n; i++) {
        deletion->answers[i]->error_code = kafka_error_wire(deletion->picks[i].error);
    }
    return REQ_DONE;
}

enum req_status handle_offset_delete(struct req *r)
{
    const struct offset_delete_request *in = r->in;
    struct deletion *deletion = deletion_of(r); /* before the lock: it may be long */
    r->state = deletion;
    if (deletion == NULL) {
        return refuse(r, ERR_UNKNOWN_SERVER_ERROR);
    }
    struct group_shard *shard = NULL;
    err e = group_shard_lock(r->broker->groups, in->group_id, false, &shard);
    if (e != OK) {
        return refuse(r, e);
    }
    req_park(r, -1, answer);
    e = group_shard_delete_offsets(shard, in->group_id, deletion->picks, deletion->picks_n,
                                   &r->waiter, &deletion->outcome);
    group_shard_unlock(shard);
    if (e != OK) {
        req_unpark(r);
        return refuse(r, e);
    }
    return REQ_PARKED;
}
