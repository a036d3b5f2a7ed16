/* Produce: checks a client's batches, appends them, and answers when they are safe.
 *
 * Every partition stands for itself: it is looked at without a lock (api/produce_check.h), appended
 * under its own, and has its own error. They are gone through in order; a look that takes long is a
 * worker's, and the request waits for it before it goes on. With acks=all, or where every record
 * must be on disk before it is acknowledged (flush.messages=1), the request waits until the high
 * watermark has passed what it appended. (reference: requests §4.1, hardening §1) */
#include "base/seen.h"
#include "broker/api/leaders.h"
#include "broker/api/lookup.h"
#include "broker/api/produce_check.h"
#include "broker/api/produce_verify.h"
#include "broker/api/throttling.h"
#include "broker/api/traffic.h"
#include "broker/broker.h"

enum { FIRST_CURRENT_LEADER_VERSION = 10 };

/* A partition that was appended and is not yet safe. */
struct pending {
    struct watch watch;
    struct partition *partition;
    struct produce_response_partition *out;
    struct partition_append appended;
};

struct produce {
    struct pending *pending;
    int32_t pending_n;
    int32_t failed_n;
    int64_t deadline_ms;
    err refused;   /* what all partitions are answered */
    bool detached; /* what is left of the request is in its own memory */
    /* Where the way through the partitions is. */
    int32_t topic;
    int32_t index;
    struct seen seen; /* partitions of this topic */
    struct produce_response_partition *next_out;
    struct partition *partition; /* that is looked at */
    bool is_for_log;             /* it is not refused before anybody looks at its log */
    struct produce_check check;
    struct produce_verify *verify; /* NULL: no transaction */
    int32_t first_place;           /* of the topic, all partitions counted through */
    uint64_t guard;                /* of the partition that is looked at; 0: none */
    struct str message;            /* about it */
};

/* ---- one partition ---- */

static bool may_write(const struct req *r, struct str topic)
{
    return !topic_is_internal(topic) || str_is(r->client_id, "__admin_client");
}

static void note_check(struct req *r, const struct validated *v,
                       struct produce_response_partition *out)
{
    out->error_message = v->message == NULL ? (struct str){0} : str_of(v->message);
    out->record_errors = req_array(r, v->record_errors_n, sizeof(*out->record_errors));
    out->record_errors_n = out->record_errors == NULL ? 0 : v->record_errors_n;
    for (int32_t i = 0; i < out->record_errors_n; i++) {
        out->record_errors[i].batch_index = v->record_errors[i].index;
        out->record_errors[i].batch_index_error_message = str_of(v->record_errors[i].message);
    }
}

/* What was looked at and found good. Every record must be on disk before it is acknowledged where
 * flush.messages is 1, with acks=1 too. */
static err append_checked(struct req *r, struct produce *work,
                          struct produce_response_partition *out, struct partition_append *appended)
{
    const struct produce_request *in = r->in;
    const struct validated *v = &work->check.found;
    if (v->len == 0) {
        return OK; /* nothing was sent */
    }
    struct partition_append_as as = {
        .origin = APPEND_CLIENT, .required_acks = in->acks, .guard = work->guard};
    TRY(partition_append_as(work->partition, v->data, v->len, &as, appended));
    out->base_offset = appended->result.base_offset;
    out->log_append_time_ms = v->append_time_ms;
    out->log_start_offset = appended->log_start_offset;
    return OK;
}

/* The names and records that are still needed point into the frame, which is gone while a request
 * waits: it is kept, or they are copied, once. A frame whose records have all been stored is not
 * worth keeping. */
static bool detach(struct req *r, struct produce *work)
{
    struct produce_request *in = (struct produce_request *)(uintptr_t)r->in;
    struct produce_response *out = r->out;
    if (work->detached || (work->topic < in->topics_n && req_keep_frame(r))) {
        work->detached = true;
        return true;
    }
    for (int32_t t = 0; t < in->topics_n; t++) {
        struct produce_request_topic *topic = &in->topics[t];
        topic->name = arena_str(&r->arena, topic->name);
        if (t < out->topics_n) {
            out->topics[t].name = topic->name;
        }
        for (int32_t i = t == work->topic ? work->index : 0;
             t >= work->topic && i < topic->partitions_n; i++) {
            struct bytes *records = &topic->partitions[i].records.data;
            const uint8_t *copy =
                records->len == 0 ? records->data : arena_copy(&r->arena, *records);
            if (copy == NULL && records->len > 0) {
                return false;
            }
            records->data = copy;
        }
    }
    in->transactional_id = arena_str(&r->arena, in->transactional_id);
    work->detached = true;
    return true;
}

static enum req_status produce_checked(struct req *r);

/* Looks at the records of work->partition; E_BUSY: the request is parked until a worker has. */
static err check_records(struct req *r, struct produce *work,
                         const struct produce_request_partition *in)
{
    struct plog *log = NULL;
    TRY(partition_pin(work->partition, -1, false, &log));
    err e = produce_check_records(&work->check, log);
    partition_unpin(work->partition, log);
    if (e != E_BUSY) {
        return e;
    }
    if (detach(r, work)) {
        r->state = work;
        req_park(r, -1, produce_checked); /* first: a worker may be faster */
        if (produce_check_by_worker(&work->check, in->records.data)) {
            return E_BUSY;
        }
        req_unpark(r);
    }
    return produce_check_here(&work->check);
}

/* In Kafka's order: is there such a partition, is it what this version may send, may it be written
 * so; then whether it can be written here. */
static err check_partition(struct req *r, struct produce *work, struct str topic,
                           const struct produce_request_partition *in)
{
    const struct produce_request *request = r->in;
    err found = lookup_partition(r, topic, in->index, &work->partition);
    if (found == ERR_UNKNOWN_TOPIC_OR_PARTITION) {
        return found;
    }
    if (in->records.data.data == NULL) {
        return ERR_INVALID_RECORD;
    }
    TRY(produce_check_begin(&work->check, r, in->records.data));
    if (work->verify != NULL) {
        TRY(produce_verify_of(r, work->verify, work->first_place + work->index, &work->guard,
                              &work->message));
    }
    if (request->acks < -1 || request->acks > 1) {
        return ERR_INVALID_REQUIRED_ACKS;
    }
    work->is_for_log = true;
    if (!may_write(r, topic)) {
        return ERR_INVALID_TOPIC_EXCEPTION;
    }
    return found == OK ? check_records(r, work, in) : found;
}

static void count_produced(const struct req *r, const struct produce *work,
                           const struct append_result *result, err e)
{
    const struct produce_request *in = r->in;
    const struct validated *v = &work->check.found;
    bool any = e == OK && v->len > 0;
    int64_t records = any ? result->last_offset - result->base_offset + 1 : 0;
    const struct traffic_produced produced = {
        .error = e,
        .bytes = in->topics[work->topic].partitions[work->index].records.data.len,
        .records = records,
        .converted = v->rewritten.len > 0 ? records : 0,
    };
    traffic_produced(r, work->partition, &produced);
}

/* Appends, after a look that ended with `e`, and fills in the answer. */
static void finish_partition(struct req *r, struct produce *work, err e)
{
    struct produce_response_partition *out = work->next_out++;
    struct partition_append appended = {.committed = true}; /* unless something is appended */
    e = e == OK ? append_checked(r, work, out, &appended) : e;
    out->error_code = kafka_error_of_log(e);
    if (work->is_for_log) {
        count_produced(r, work, &appended.result, e);
    }
    if (e == OK) {
        work->pending[work->pending_n++] =
            (struct pending){.partition = work->partition, .out = out, .appended = appended};
    } else {
        note_check(r, &work->check.found, out);
        out->error_message = work->message.data != NULL ? work->message : out->error_message;
        out->base_offset = -1;
        out->log_start_offset =
            produce_check_tells_log_start(&work->check, e) ? work->check.log_start_offset : -1;
        work->failed_n++;
        if (work->partition != NULL) {
            partition_release(work->partition);
        }
    }
    work->partition = NULL;
    writer_deinit(&work->check.found.rewritten);
    work->check.found = (struct validated){0};
}

/* ---- the whole request ---- */

/* An error that all partitions get before anything is looked at, or OK. */
static err check_request(const struct produce_request *in)
{
    for (int32_t t = 0; in->transactional_id.data == NULL && t < in->topics_n; t++) {
        for (int32_t i = 0; i < in->topics[t].partitions_n; i++) {
            struct batch batch;
            if (produce_batch_of(in->topics[t].partitions[i].records.data, &batch)) {
                return ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
            }
        }
    }
    return OK;
}

/* False: the request is parked until a worker has looked at it. */
static bool produce_one(struct req *r, struct produce *work, struct str topic,
                        const struct produce_request_partition *in)
{
    struct produce_response_partition *out = work->next_out;
    produce_response_partition_init(out);
    out->index = in->index;
    out->base_offset = -1;
    out->log_append_time_ms = -1;
    out->log_start_offset = -1;
    work->message = (struct str){0};
    work->is_for_log = false;
    err e = work->refused != OK ? work->refused : check_partition(r, work, topic, in);
    if (work->refused == ERR_INVALID_PRODUCER_ID_MAPPING) {
        work->message = STR("Transactional records contained more than one producer ID");
    }
    if (e == E_BUSY) {
        return false;
    }
    finish_partition(r, work, e);
    return true;
}

/* The rest of a topic. A partition named twice is appended and answered once. */
static bool produce_topic(struct req *r, struct produce *work)
{
    const struct produce_request_topic *in =
        &((const struct produce_request *)r->in)->topics[work->topic];
    struct produce_response *out = r->out;
    while (work->index < in->partitions_n) {
        const struct produce_request_partition *partition = &in->partitions[work->index];
        if (seen_add(&work->seen, &(struct seen_key){.number = partition->index}) == 0) {
            out->topics[work->topic].partitions_n++;
            if (!produce_one(r, work, in->name, partition)) {
                return false;
            }
        }
        work->index++;
    }
    return true;
}

/* Goes on through the partitions; false when the request is parked. */
static bool produce_rest(struct req *r, struct produce *work)
{
    const struct produce_request *in = r->in;
    struct produce_response *out = r->out;
    for (; work->topic < in->topics_n; work->topic++) {
        if (out->topics_n == work->topic) {
            out->topics_n++;
            out->topics[work->topic] = (struct produce_response_topic){
                .name = in->topics[work->topic].name, .partitions = work->next_out};
            work->index = 0;
            seen_init(&work->seen);
        }
        if (!produce_topic(r, work)) {
            return false;
        }
        seen_deinit(&work->seen);
        work->first_place += in->topics[work->topic].partitions_n;
    }
    return true;
}

static bool produce_begin(struct req *r, struct produce *work)
{
    const struct produce_request *in = r->in;
    struct produce_response *out = r->out;
    int32_t total = 0;
    for (int32_t t = 0; t < in->topics_n; t++) {
        total += in->topics[t].partitions_n;
    }
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    work->next_out = req_array(r, total, sizeof(*work->next_out));
    work->pending = req_array(r, total + 1, sizeof(*work->pending));
    work->refused = check_request(in);
    return out->topics != NULL && work->next_out != NULL && work->pending != NULL;
}

/* ---- waiting ---- */

static void release_all(struct produce *work)
{
    for (int32_t i = 0; i < work->pending_n; i++) {
        watch_remove(&work->pending[i].watch);
        partition_release(work->pending[i].partition);
    }
    work->pending_n = 0;
}

/* What became of an append; `wait`: that is not known yet. */
static err outcome(const struct req *r, const struct pending *pending, bool *wait)
{
    const struct produce_request *in = r->in;
    bool committed = pending->appended.committed;
    err e = committed ? OK
                      : partition_is_committed(pending->partition, &pending->appended, in->acks,
                                               &committed);
    *wait = e == OK && !committed;
    return *wait && r->timed_out ? ERR_REQUEST_TIMED_OUT : e;
}

static void tell_nodes(struct req *r, const struct leaders *leaders)
{
    struct produce_response *out = r->out;
    out->node_endpoints = req_array(r, leaders->brokers_n, sizeof(*out->node_endpoints));
    out->node_endpoints_n = out->node_endpoints == NULL ? 0 : leaders->brokers_n;
    for (int32_t i = 0; i < out->node_endpoints_n; i++) {
        const struct client_broker *broker = &leaders->brokers[i];
        out->node_endpoints[i] =
            (struct produce_response_node_endpoint){.node_id = broker->id,
                                                    .host = broker->endpoint.host,
                                                    .port = broker->endpoint.port,
                                                    .rack = broker->rack};
    }
}

/* Who leads what this broker does not. */
static void tell_leaders(struct req *r)
{
    struct leaders leaders = {0};
    struct produce_response *out = r->out;
    for (int32_t t = 0; t < out->topics_n; t++) {
        struct produce_response_topic *topic = &out->topics[t];
        for (int32_t i = 0; i < topic->partitions_n; i++) {
            struct produce_response_partition *partition = &topic->partitions[i];
            if (partition->error_code == ERR_NOT_LEADER_OR_FOLLOWER) {
                leaders_find(r, &leaders, topic->name, partition->index,
                             &partition->current_leader.leader_id,
                             &partition->current_leader.leader_epoch);
            }
        }
    }
    leaders_done(&leaders);
    tell_nodes(r, &leaders);
}

/* An append that is there but not safe keeps its offset in the answer, beside the error. */
static enum req_status produce_finish(struct req *r, struct produce *work)
{
    for (int32_t i = 0; i < work->pending_n; i++) {
        bool wait = false;
        err e = outcome(r, &work->pending[i], &wait);
        if (e != OK) {
            work->pending[i].out->error_code = kafka_error_of_log(e);
            work->failed_n++;
        }
    }
    release_all(work);
    throttling_record(r, QUOTA_PRODUCE, (double)r->frame_bytes);
    if (r->no_answer && work->failed_n > 0) {
        return REQ_CLOSE; /* the only way to tell */
    }
    if (work->failed_n > 0 && r->version >= FIRST_CURRENT_LEADER_VERSION) {
        tell_leaders(r);
    }
    return REQ_DONE;
}

static bool must_go_on(const struct req *r, const struct produce *work)
{
    bool wait = false;
    for (int32_t i = 0; i < work->pending_n && !wait; i++) {
        (void)outcome(r, &work->pending[i], &wait);
    }
    return wait;
}

static enum req_status produce_resume(struct req *r);

static enum req_status park_all(struct req *r, struct produce *work, int64_t timeout_ms)
{
    int16_t acks = ((const struct produce_request *)r->in)->acks;
    req_park(r, timeout_ms, produce_resume);
    for (int32_t i = 0; i < work->pending_n; i++) {
        struct pending *pending = &work->pending[i];
        if (!pending->appended.committed) {
            pending->watch = (struct watch){.waiter = &r->waiter,
                                            .offset = pending->appended.required_offset,
                                            .here = acks == 1,
                                            .leader_epoch = pending->appended.leader_epoch};
            watch_add(&pending->watch, pending->partition);
        }
    }
    return REQ_PARKED;
}

static enum req_status produce_resume(struct req *r)
{
    struct produce *work = r->state;
    if (r->timed_out || !must_go_on(r, work)) {
        return produce_finish(r, work);
    }
    for (int32_t i = 0; i < work->pending_n; i++) {
        watch_remove(&work->pending[i].watch);
    }
    int64_t left_ms = work->deadline_ms - r->now_ms; /* it may have been woken late */
    return park_all(r, work, left_ms < 0 ? 0 : left_ms);
}

static enum req_status produce_wait(struct req *r, struct produce *work)
{
    const struct produce_request *in = r->in;
    r->state = work;
    if (!detach(r, work)) {
        release_all(work);
        return REQ_CLOSE;
    }
    work->deadline_ms = r->now_ms + (in->timeout_ms < 0 ? 0 : in->timeout_ms);
    return park_all(r, work, work->deadline_ms - r->now_ms);
}

static bool needs_wait(const struct req *r, const struct produce *work)
{
    const struct produce_request *in = r->in;
    bool committed = true;
    for (int32_t i = 0; i < work->pending_n; i++) {
        committed &= work->pending[i].appended.committed;
    }
    return in->acks != 0 && !committed;
}

/* All partitions have been gone through. */
static enum req_status produce_end(struct req *r, struct produce *work)
{
    return needs_wait(r, work) ? produce_wait(r, work) : produce_finish(r, work);
}

/* A worker has looked at a partition, or never will. */
static enum req_status produce_checked(struct req *r)
{
    struct produce *work = r->state;
    if (work->check.work.cancelled) {
        seen_deinit(&work->seen);
        writer_deinit(&work->check.found.rewritten);
        partition_release(work->partition);
        release_all(work);
        return REQ_CLOSE;
    }
    finish_partition(r, work, work->check.result);
    work->index++;
    return produce_rest(r, work) ? produce_end(r, work) : REQ_PARKED;
}

static enum req_status produce_on(struct req *r, struct produce *work)
{
    return produce_rest(r, work) ? produce_end(r, work) : REQ_PARKED;
}

/* ---- transactions ---- */

static enum req_status produce_verified(struct req *r)
{
    struct produce *work = r->state;
    produce_verify_end(work->verify);
    return produce_on(r, work);
}

/* The coordinator may be another broker: then the request waits for its answer. */
static enum req_status produce_in_txn(struct req *r, struct produce *work)
{
    work->verify = req_alloc(r, sizeof(*work->verify));
    if (work->verify == NULL || !detach(r, work)) {
        return REQ_CLOSE;
    }
    r->state = work;
    req_park(r, -1, produce_verified);
    err e = produce_verify_begin(r, work->verify);
    if (e == E_BUSY) {
        return REQ_PARKED;
    }
    req_unpark(r);
    work->refused = e;
    return e == E_LIMIT ? REQ_CLOSE : produce_verified(r);
}

enum req_status handle_produce(struct req *r)
{
    const struct produce_request *in = r->in;
    struct produce *work = req_alloc(r, sizeof(*work));
    if (work == NULL || !produce_begin(r, work)) {
        return REQ_CLOSE;
    }
    r->no_answer = in->acks == 0;
    bool in_txn = in->transactional_id.data != NULL && work->refused == OK;
    return in_txn ? produce_in_txn(r, work) : produce_on(r, work);
}
