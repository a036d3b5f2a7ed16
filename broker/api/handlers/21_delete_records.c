/* DeleteRecords: moves the start of logs forward, and waits until the logs of all replicas that live begin there, or
 * the client's time is up. The other replicas hear of it in the answer to their next fetch, and tell with the one
 * after that. A partition that is named twice is answered once, by what the last one says, as Kafka does.
 * (reference: requests §6.4) */
#include "broker/api/lookup.h"
#include "base/seen.h"
#include "protocol/topic_name.h"

/* A partition of which not all replicas have told. */
struct pending {
    struct watch watch;
    struct partition *partition;
    struct delete_records_response_partition *out;
    int64_t required_offset;
};

struct deletion {
    struct pending *pending;
    int32_t pending_n;
    int64_t deadline_ms;
    struct seen seen;
};

static err delete_from(struct req *r, struct str topic,
                       const struct delete_records_request_partition *in, struct pending *pending)
{
    struct partition_deletion deletion;
    err e = lookup_partition(r, topic, in->partition_index, &pending->partition);
    if (e != ERR_UNKNOWN_TOPIC_OR_PARTITION && topic_is_internal(topic)) {
        e = ERR_INVALID_TOPIC_EXCEPTION;
    }
    TRY(e);
    TRY(partition_delete_records(pending->partition, in->offset, &deletion));
    pending->required_offset = deletion.required_offset;
    pending->out->low_watermark = deletion.low_watermark;
    return OK;
}

static void delete_one(struct req *r, struct deletion *work, struct str topic,
                       const struct delete_records_request_partition *in,
                       struct delete_records_response_partition *out)
{
    struct pending *pending = &work->pending[work->pending_n];
    *pending = (struct pending){.out = out};
    *out = (struct delete_records_response_partition){.partition_index = in->partition_index,
                                                      .low_watermark = -1};
    err e = delete_from(r, topic, in, pending);
    out->error_code = kafka_error_of_log(e);
    if (e == OK && out->low_watermark < pending->required_offset) {
        work->pending_n++;
    } else if (pending->partition != NULL) {
        partition_release(pending->partition);
    }
}

/* From the last to the first: what was seen already has had its last word. */
static void delete_from_topic(struct req *r, struct deletion *work,
                              const struct delete_records_request_topic *in)
{
    struct delete_records_response *out = r->out;
    struct delete_records_response_topic *topic = &out->topics[out->topics_n];
    topic->name = arena_str(&r->arena, in->name); /* the frame may go meanwhile */
    topic->partitions = req_array(r, in->partitions_n, sizeof(*topic->partitions));
    for (int32_t i = in->partitions_n - 1; topic->partitions != NULL && i >= 0; i--) {
        const struct delete_records_request_partition *partition = &in->partitions[i];
        if (seen_add(&work->seen, &(struct seen_key){.name = in->name,
                                                     .number = partition->partition_index}) == 0) {
            delete_one(r, work, in->name, partition, &topic->partitions[topic->partitions_n++]);
        }
    }
    out->topics_n += topic->partitions_n > 0 ? 1 : 0;
}

/* ---- waiting ---- */

/* True: there is nothing more to wait for, and the answer is in its place. One whose time is up keeps the low
 * watermark that it had when it was asked for. */
static bool settle(const struct req *r, struct pending *pending)
{
    int64_t low_watermark = -1;
    err e = partition_low_watermark(pending->partition, &low_watermark);
    if (e == OK && low_watermark < pending->required_offset) {
        pending->out->error_code = ERR_REQUEST_TIMED_OUT;
        return r->timed_out;
    }
    pending->out->error_code = kafka_error_of_log(e);
    pending->out->low_watermark = low_watermark;
    return true;
}

static void settle_some(const struct req *r, struct deletion *work)
{
    int32_t left = 0;
    for (int32_t i = 0; i < work->pending_n; i++) {
        struct pending *pending = &work->pending[i];
        watch_remove(&pending->watch);
        if (settle(r, pending)) {
            partition_release(pending->partition);
        } else {
            work->pending[left++] = *pending;
        }
    }
    work->pending_n = left;
}

static enum req_status wait_on(struct req *r);

static enum req_status park(struct req *r, struct deletion *work)
{
    int64_t left_ms = work->deadline_ms - r->now_ms; /* it may have been woken late */
    req_park(r, left_ms < 0 ? 0 : left_ms, wait_on);
    for (int32_t i = 0; i < work->pending_n; i++) {
        struct pending *pending = &work->pending[i];
        pending->watch = (struct watch){
            .waiter = &r->waiter, .offset = pending->required_offset, .starts = true};
        watch_add(&pending->watch, pending->partition);
    }
    return REQ_PARKED;
}

static enum req_status wait_on(struct req *r)
{
    struct deletion *work = r->state;
    settle_some(r, work);
    return work->pending_n > 0 ? park(r, work) : REQ_DONE;
}

static bool begin(struct req *r, struct deletion *work)
{
    const struct delete_records_request *in = r->in;
    struct delete_records_response *out = r->out;
    int32_t total = 0;
    for (int32_t t = 0; t < in->topics_n; t++) {
        total += in->topics[t].partitions_n;
    }
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    *work = (struct deletion){.pending = req_array(r, total + 1, sizeof(*work->pending)),
                              .deadline_ms = r->now_ms + (in->timeout_ms < 0 ? 0 : in->timeout_ms)};
    return out->topics != NULL && work->pending != NULL;
}

enum req_status handle_delete_records(struct req *r)
{
    const struct delete_records_request *in = r->in;
    struct deletion *work = req_alloc(r, sizeof(*work));
    if (work == NULL || !begin(r, work)) {
        return REQ_CLOSE;
    }
    seen_init(&work->seen);
    for (int32_t t = in->topics_n - 1; t >= 0; t--) {
        delete_from_topic(r, work, &in->topics[t]);
    }
    seen_deinit(&work->seen);
    r->state = work;
    return work->pending_n > 0 ? park(r, work) : REQ_DONE;
}
