/* WriteTxnMarkers: a transaction coordinator, or whoever ends a transaction that has been left hanging, writes
 * COMMIT or ABORT into partitions; answered when all of it is safe. (reference: coordinators §4.6) */
#include "broker/broker.h"
#include "broker/coordinator/txn_shard.h"

typedef struct write_txn_markers_response_partition partition_out;
typedef struct write_txn_markers_response_marker marker_out;

struct writing {
    struct written {
        struct txn_marker marker;
        partition_out *out;
        err outcome;
    } * each;
    int32_t count;
    struct txn_marker_places places;
    int64_t deadline_ms;
};

/* False: no memory. */
static bool take_topic(struct req *r, struct writing *writing,
                       const struct write_txn_markers_request_marker *in,
                       const struct write_txn_markers_request_topic *topic, marker_out *marker)
{
    struct write_txn_markers_response_topic *out = &marker->topics[marker->topics_n++];
    write_txn_markers_response_topic_init(out);
    out->name = topic->name;
    out->partitions = req_array(r, topic->partition_indexes_n, sizeof(*out->partitions));
    for (int32_t i = 0; out->partitions != NULL && i < topic->partition_indexes_n; i++) {
        struct written *one = &writing->each[writing->count++];
        *one = (struct written){
            .marker = {.name = {topic->name, topic->partition_indexes[i]},
                       .end = {.producer_id = in->producer_id,
                               .producer_epoch = in->producer_epoch,
                               .commit = in->transaction_result,
                               .coordinator_epoch = in->coordinator_epoch},
                       .waiter = &r->waiter},
            .out = &out->partitions[out->partitions_n++],
            .outcome = E_BUSY,
        };
        one->out->partition_index = topic->partition_indexes[i];
    }
    return out->partitions != NULL || topic->partition_indexes_n == 0;
}

/* The markers of a producer stand together in the answer. Which one is whose: by the request's place. NULL: no
 * memory. */
static marker_out **make_answers(struct req *r)
{
    const struct write_txn_markers_request *in = r->in;
    struct write_txn_markers_response *out = r->out;
    int32_t topics_n = 0;
    marker_out **answers = req_array(r, in->markers_n, sizeof(marker_out *));
    struct map by_producer;
    out->markers = req_array(r, in->markers_n, sizeof(*out->markers));
    if (answers == NULL || out->markers == NULL) {
        return NULL;
    }
    map_init(&by_producer);
    for (int32_t m = 0; m < in->markers_n; m++) {
        answers[m] = map_get_i64(&by_producer, in->markers[m].producer_id);
        if (answers[m] == NULL) {
            answers[m] = &out->markers[out->markers_n++];
            write_txn_markers_response_marker_init(answers[m]);
            answers[m]->producer_id = in->markers[m].producer_id;
            (void)map_set_i64(&by_producer, in->markers[m].producer_id, answers[m]);
        }
        answers[m]->topics_n += in->markers[m].topics_n; /* room, for now */
        topics_n += in->markers[m].topics_n;
    }
    map_deinit(&by_producer);
    struct write_txn_markers_response_topic *topics = req_array(r, topics_n, sizeof(*topics));
    for (int32_t m = 0; topics != NULL && m < out->markers_n; m++) {
        out->markers[m].topics = topics;
        topics += out->markers[m].topics_n;
        out->markers[m].topics_n = 0;
    }
    return topics == NULL && topics_n > 0 ? NULL : answers;
}

static struct writing *read_request(struct req *r)
{
    const struct write_txn_markers_request *in = r->in;
    struct writing *writing = req_alloc(r, sizeof(*writing));
    int32_t count = 0;
    for (int32_t m = 0; m < in->markers_n; m++) {
        for (int32_t t = 0; t < in->markers[m].topics_n; t++) {
            count += in->markers[m].topics[t].partition_indexes_n;
        }
    }
    marker_out **answers = make_answers(r);
    if (writing == NULL || (answers == NULL && in->markers_n > 0)) {
        return NULL;
    }
    *writing = (struct writing){.places = txn_coordinator_places(&r->broker->txns->config)};
    writing->each = req_array(r, count, sizeof(*writing->each));
    for (int32_t m = 0; writing->each != NULL && m < in->markers_n; m++) {
        for (int32_t t = 0; t < in->markers[m].topics_n; t++) {
            if (!take_topic(r, writing, &in->markers[m], &in->markers[m].topics[t], answers[m])) {
                return NULL;
            }
        }
    }
    return writing->each != NULL || count == 0 ? writing : NULL;
}

static bool are_done(const struct writing *writing)
{
    for (int32_t i = 0; i < writing->count; i++) {
        if (writing->each[i].outcome == E_BUSY) {
            return false;
        }
    }
    return true;
}

static enum req_status finish(const struct writing *writing)
{
    for (int32_t i = 0; i < writing->count; i++) {
        writing->each[i].out->error_code = kafka_error_of_log(writing->each[i].outcome);
    }
    return REQ_DONE;
}

static void look(struct writing *writing, bool give_up)
{
    for (int32_t i = 0; i < writing->count; i++) {
        struct written *one = &writing->each[i];
        if (one->outcome == E_BUSY) {
            one->outcome = txn_marker_look(&one->marker);
        }
        if (one->outcome == E_BUSY && give_up && txn_marker_give_up(&one->marker)) {
            one->outcome = ERR_REQUEST_TIMED_OUT;
        }
    }
}

/* When it takes too long what is in partitions of data is given up, as in Kafka: it is there, and may be written
 * again. */
static enum req_status resume(struct req *r)
{
    struct writing *writing = r->state;
    bool give_up = r->timed_out;
    if (are_done(writing)) {
        return finish(writing);
    }
    req_park(r, give_up ? -1 : writing->deadline_ms - r->now_ms, resume); /* before it looks */
    look(writing, give_up);
    if (are_done(writing)) {
        req_wake(r); /* somebody may have already */
    }
    return REQ_PARKED;
}

enum req_status handle_write_txn_markers(struct req *r)
{
    int64_t timeout_ms = r->broker->config->request_timeout_ms;
    struct writing *writing = read_request(r);
    if (writing == NULL) {
        return REQ_CLOSE;
    }
    r->state = writing;
    writing->deadline_ms = r->now_ms + timeout_ms;
    req_park(r, timeout_ms, resume);
    for (int32_t i = 0; i < writing->count; i++) {
        writing->each[i].outcome = txn_marker_begin(&writing->places, &writing->each[i].marker);
    }
    if (!are_done(writing)) {
        return REQ_PARKED;
    }
    req_unpark(r);
    return finish(writing);
}
