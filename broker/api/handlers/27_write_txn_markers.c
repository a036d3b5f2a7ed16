/* WriteTxnMarkers: a transaction coordinator, or whoever ends a transaction that has been left hanging, writes
 * COMMIT or ABORT into partitions; answered when all of it is safe. (reference: coordinators §4.6) */
#include "broker/broker.h"
#include "broker/coordinator/txn_shard.h"

#include <stdlib.h>

typedef struct write_txn_markers_response_partition partition_out;
typedef struct write_txn_markers_response_topic topic_out;
typedef struct write_txn_markers_response_marker marker_out;

struct writing {
    struct written {
        struct txn_marker marker;
        err outcome;
        int32_t place; /* in the request */
    } * each;
    int32_t count;
    struct written **sorted;   /* room, for the answer */
    partition_out *partitions; /* the same */
    topic_out *topics;
    struct txn_marker_places places;
    int64_t deadline_ms;
};

static int32_t count_partitions(const struct write_txn_markers_request *in)
{
    int32_t count = 0;
    for (int32_t m = 0; m < in->markers_n; m++) {
        for (int32_t t = 0; t < in->markers[m].topics_n; t++) {
            count += in->markers[m].topics[t].partition_indexes_n;
        }
    }
    return count;
}

/* Room for all that is asked, also for the answer. NULL: no memory. */
static struct writing *make_room(struct req *r, int32_t count)
{
    struct write_txn_markers_response *out = r->out;
    struct writing *writing = req_alloc(r, sizeof(*writing));
    if (writing == NULL) {
        return NULL;
    }
    *writing = (struct writing){.each = req_array(r, count, sizeof(*writing->each)),
                                .sorted = req_array(r, count, sizeof(struct written *)),
                                .partitions = req_array(r, count, sizeof(partition_out)),
                                .topics = req_array(r, count, sizeof(topic_out)),
                                .places = txn_coordinator_places(&r->broker->txns->config)};
    out->markers = req_array(r, count, sizeof(*out->markers));
    bool enough = writing->each != NULL && writing->sorted != NULL && writing->partitions != NULL &&
                  writing->topics != NULL && out->markers != NULL;
    return enough || count == 0 ? writing : NULL;
}

static struct writing *read_request(struct req *r)
{
    const struct write_txn_markers_request *in = r->in;
    struct writing *writing = make_room(r, count_partitions(in));
    for (int32_t m = 0; writing != NULL && m < in->markers_n; m++) {
        const struct write_txn_markers_request_marker *marker = &in->markers[m];
        struct txn_end end = {.producer_id = marker->producer_id,
                              .producer_epoch = marker->producer_epoch,
                              .commit = marker->transaction_result,
                              .coordinator_epoch = marker->coordinator_epoch};
        for (int32_t t = 0; t < marker->topics_n; t++) {
            for (int32_t i = 0; i < marker->topics[t].partition_indexes_n; i++) {
                struct topic_partition name = {marker->topics[t].name,
                                               marker->topics[t].partition_indexes[i]};
                int32_t place = writing->count++;
                writing->each[place] =
                    (struct written){.marker = {.name = name, .end = end, .waiter = &r->waiter},
                                     .outcome = E_BUSY,
                                     .place = place};
            }
        }
    }
    return writing;
}

/* ---- the answer ---- */

static int compare_names(const struct written *a, const struct written *b)
{
    struct str x = a->marker.name.topic;
    struct str y = b->marker.name.topic;
    int order = memcmp(x.data, y.data, x.len < y.len ? x.len : y.len);
    return order != 0 ? order : (x.len > y.len) - (x.len < y.len);
}

/* By producer, topic, partition, and the order in which they were asked for. */
static int compare(const void *first, const void *second)
{
    const struct written *a = *(const struct written *const *)first;
    const struct written *b = *(const struct written *const *)second;
    int64_t x = a->marker.end.producer_id;
    int64_t y = b->marker.end.producer_id;
    int order = x != y ? (x > y) - (x < y) : compare_names(a, b);
    if (order == 0) {
        int32_t p = a->marker.name.partition;
        int32_t q = b->marker.name.partition;
        order = p != q ? (p > q) - (p < q) : (a->place > b->place) - (a->place < b->place);
    }
    return order;
}

/* One more of them, in order; `before` NULL: the first. */
static void tell(struct writing *writing, struct write_txn_markers_response *out,
                 const struct written *before, const struct written *one)
{
    int64_t producer_id = one->marker.end.producer_id;
    bool new_marker = before == NULL || before->marker.end.producer_id != producer_id;
    bool new_topic = new_marker || compare_names(before, one) != 0;
    bool new_partition = new_topic || before->marker.name.partition != one->marker.name.partition;
    if (new_marker) {
        out->markers[out->markers_n++] =
            (marker_out){.producer_id = producer_id, .topics = writing->topics};
    }
    marker_out *marker = &out->markers[out->markers_n - 1];
    if (new_topic) {
        *writing->topics++ =
            (topic_out){.name = one->marker.name.topic, .partitions = writing->partitions};
        marker->topics_n++;
    }
    topic_out *topic = &marker->topics[marker->topics_n - 1];
    if (new_partition) {
        writing->partitions++;
        topic->partitions_n++;
    }
    topic->partitions[topic->partitions_n - 1] =
        (partition_out){.partition_index = one->marker.name.partition,
                        .error_code = kafka_error_of_log(one->outcome)};
}

/* The markers of a producer stand together, and of a topic its partitions; what was asked twice is answered with
 * what came last. */
static enum req_status finish(struct req *r, struct writing *writing)
{
    for (int32_t i = 0; i < writing->count; i++) {
        writing->sorted[i] = &writing->each[i];
    }
    if (writing->count > 0) {
        qsort(writing->sorted, (size_t)writing->count, sizeof(struct written *), compare);
    }
    for (int32_t i = 0; i < writing->count; i++) {
        tell(writing, r->out, i == 0 ? NULL : writing->sorted[i - 1], writing->sorted[i]);
    }
    return REQ_DONE;
}

/* ---- waiting ---- */

static bool are_done(const struct writing *writing)
{
    for (int32_t i = 0; i < writing->count; i++) {
        if (writing->each[i].outcome == E_BUSY) {
            return false;
        }
    }
    return true;
}

/* Up to the first that still waits: it wakes the request again. */
static void look(struct writing *writing)
{
    bool waits = false;
    for (int32_t i = 0; i < writing->count && !waits; i++) {
        struct written *one = &writing->each[i];
        if (one->outcome == E_BUSY) {
            one->outcome = txn_marker_look(&one->marker);
        }
        waits = one->outcome == E_BUSY;
    }
}

static void give_up(struct writing *writing)
{
    for (int32_t i = 0; i < writing->count; i++) {
        struct written *one = &writing->each[i];
        if (one->outcome == E_BUSY) {
            one->outcome = txn_marker_look(&one->marker);
        }
        if (one->outcome == E_BUSY && txn_marker_give_up(&one->marker)) {
            one->outcome = ERR_REQUEST_TIMED_OUT;
        }
    }
}

/* When it takes too long what is in partitions of data is given up, as in Kafka: it is there, and may be written
 * again. */
static enum req_status resume(struct req *r)
{
    struct writing *writing = r->state;
    bool in_time = !r->timed_out;
    int64_t left_ms = writing->deadline_ms - r->now_ms; /* it may have been woken late */
    if (are_done(writing)) {
        return finish(r, writing);
    }
    req_park(r, !in_time ? -1 : left_ms < 0 ? 0 : left_ms, resume); /* before it looks */
    if (in_time) {
        look(writing);
    } else {
        give_up(writing);
    }
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
    return finish(r, writing);
}
