/* Produce: checks a client's batches, appends them, and answers when they are safe.
 *
 * Every partition stands for itself: it is validated without a lock (storage/validate.h), appended
 * under its own, and has its own error. With acks=all, or where every record must be on disk before
 * it is acknowledged (flush.messages=1), the request waits until the high watermark has passed what
 * it appended. (reference: requests §4.1, hardening §1) */
#include "broker/api/lookup.h"
#include "base/seen.h"
#include "broker/broker.h"
#include "storage/validate.h"

enum {
    INFLATED_FLOOR_BYTES = 16 << 20,
    INFLATED_FACTOR = 8,
    FIRST_RECORD_BATCH_VERSION = 3,
    FIRST_ZSTD_VERSION = 7,
};

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
};

/* ---- one partition ---- */

static bool may_write(const struct req *r, struct str topic)
{
    return !topic_is_internal(topic) || str_is(r->client_id, "__admin_client");
}

static void note_validation(struct req *r, const struct validated *v,
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

/* Errors after which Kafka tells the log's real start. */
static bool tells_log_start(err e, const struct validated *v)
{
    return v->log_start_known || e == ERR_OUT_OF_ORDER_SEQUENCE_NUMBER ||
           e == ERR_INVALID_PRODUCER_EPOCH || e == ERR_INVALID_TXN_STATE;
}

/* `flush_first`: every record must be on disk before it is acknowledged, with acks=1 too. */
static err append_validated(struct req *r, struct partition *p, struct validated *v,
                            bool flush_first, struct produce_response_partition *out,
                            struct partition_append *appended)
{
    const struct produce_request *in = r->in;
    TRY(partition_append(p, v->data, v->len, APPEND_CLIENT, in->acks, appended));
    appended->committed |= in->acks == 1 && !flush_first;
    out->base_offset = appended->result.base_offset;
    out->log_append_time_ms = v->append_time_ms;
    out->log_start_offset = appended->log_start_offset;
    return OK;
}

static err validate_and_append(struct req *r, struct partition *p, struct bytes records,
                               struct produce_response_partition *out,
                               struct partition_append *appended)
{
    struct plog *log = NULL;
    TRY(partition_pin(p, -1, false, &log));
    struct log_config config = plog_config(log);
    int64_t log_start = plog_start_offset(log);
    partition_unpin(p);
    bool old = r->version < FIRST_RECORD_BATCH_VERSION;
    size_t inflated = (size_t)config.max_message_bytes * INFLATED_FACTOR;
    struct validate_rules rules = {
        .config = &config,
        .now_ms = r->wall_ms,
        .old_formats = old,
        .zstd_allowed = old || r->version >= FIRST_ZSTD_VERSION,
        .compressed_unchecked = !r->broker->config->produce_validate_compressed,
        .inflated_limit_bytes = inflated < INFLATED_FLOOR_BYTES ? INFLATED_FLOOR_BYTES : inflated,
    };
    struct validated v = {0};
    err e =
        validate_batches(&rules, (uint8_t *)(uintptr_t)records.data, records.len, &r->arena, &v);
    if (e == OK && v.len > 0) {
        e = append_validated(r, p, &v, config.flush_messages <= 1, out, appended);
    }
    if (e != OK) {
        note_validation(r, &v, out);
        out->log_start_offset = tells_log_start(e, &v) ? log_start : -1;
    }
    writer_deinit(&v.rewritten);
    return e;
}

static err produce_partition(struct req *r, struct str topic,
                             const struct produce_request_partition *in,
                             struct produce_response_partition *out, struct pending *pending)
{
    struct partition *p = NULL;
    TRY(lookup_partition(r, topic, in->index, &p));
    struct partition_append appended = {.committed = true}; /* unless something is appended */
    err e = OK;
    if (in->records.data.data == NULL) {
        e = ERR_INVALID_RECORD;
    } else if (!may_write(r, topic)) {
        e = ERR_INVALID_TOPIC_EXCEPTION;
    } else {
        e = validate_and_append(r, p, in->records.data, out, &appended);
    }
    if (e != OK) {
        partition_release(p);
        return e;
    }
    *pending = (struct pending){.partition = p, .out = out, .appended = appended};
    return OK;
}

/* ---- the whole request ---- */

/* An error that all partitions get before anything is looked at, or OK. */
static err check_request(const struct produce_request *in)
{
    if (in->acks < -1 || in->acks > 1) {
        return ERR_INVALID_REQUIRED_ACKS;
    }
    for (int32_t t = 0; t < in->topics_n; t++) {
        for (int32_t i = 0; i < in->topics[t].partitions_n; i++) {
            struct bytes records = in->topics[t].partitions[i].records.data;
            struct batch batch;
            if (records.len < BATCH_HEADER_BYTES) {
                continue;
            }
            batch_parse(records.data, &batch);
            if (batch.magic == 2 && batch_is(&batch, BATCH_TRANSACTIONAL)) {
                /* Transactions need their coordinator, which is not here. */
                return in->transactional_id.data == NULL ? ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED
                                                         : ERR_INVALID_TXN_STATE;
            }
        }
    }
    return OK;
}

static void produce_one(struct req *r, struct produce *work, struct str topic,
                        const struct produce_request_partition *in, err refused,
                        struct produce_response_partition *out)
{
    produce_response_partition_init(out);
    out->index = in->index;
    out->base_offset = -1;
    out->log_append_time_ms = -1;
    out->log_start_offset = -1;
    struct pending *pending = &work->pending[work->pending_n];
    err e = refused != OK ? refused : produce_partition(r, topic, in, out, pending);
    out->error_code = kafka_error_of_log(e);
    if (e == OK) {
        work->pending_n++;
    } else {
        out->base_offset = -1;
        work->failed_n++;
    }
}

/* A partition named twice is appended and answered once. */
static void produce_topic(struct req *r, struct produce *work,
                          const struct produce_request_topic *in, err refused,
                          struct produce_response_topic *out)
{
    struct seen seen;
    seen_init(&seen);
    out->name = in->name;
    for (int32_t i = 0; i < in->partitions_n; i++) {
        if (seen_add(&seen, &(struct seen_key){.number = in->partitions[i].index}) == 0) {
            produce_one(r, work, out->name, &in->partitions[i], refused,
                        &out->partitions[out->partitions_n++]);
        }
    }
    seen_deinit(&seen);
}

static bool produce_all(struct req *r, struct produce *work)
{
    const struct produce_request *in = r->in;
    struct produce_response *out = r->out;
    int32_t total = 0;
    for (int32_t t = 0; t < in->topics_n; t++) {
        total += in->topics[t].partitions_n;
    }
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    struct produce_response_partition *partitions = req_array(r, total, sizeof(*partitions));
    work->pending = req_array(r, total + 1, sizeof(*work->pending));
    if (out->topics == NULL || partitions == NULL || work->pending == NULL) {
        return false;
    }
    err refused = check_request(in);
    for (int32_t t = 0; t < in->topics_n; t++) {
        struct produce_response_topic *topic = &out->topics[out->topics_n++];
        topic->partitions = partitions;
        produce_topic(r, work, &in->topics[t], refused, topic);
        partitions += topic->partitions_n;
    }
    return true;
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
    if (r->no_answer && work->failed_n > 0) {
        return REQ_CLOSE; /* the only way to tell */
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
    req_park(r, timeout_ms, produce_resume);
    for (int32_t i = 0; i < work->pending_n; i++) {
        struct pending *pending = &work->pending[i];
        if (!pending->appended.committed) {
            pending->watch = (struct watch){.waiter = &r->waiter,
                                            .offset = pending->appended.required_offset,
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
    return park_all(r, work, work->deadline_ms - r->now_ms);
}

/* The frame is gone while a request waits: what the answer and the resumed handler need is copied.
 */
static bool detach(struct req *r)
{
    const struct produce_request *in = r->in;
    struct produce_response *out = r->out;
    struct produce_request *kept = req_alloc(r, sizeof(*kept));
    if (kept == NULL) {
        return false;
    }
    *kept = (struct produce_request){.acks = in->acks, .timeout_ms = in->timeout_ms};
    r->in = kept;
    for (int32_t t = 0; t < out->topics_n; t++) {
        out->topics[t].name = arena_str(&r->arena, out->topics[t].name);
    }
    return true;
}

static enum req_status produce_wait(struct req *r, struct produce *work)
{
    const struct produce_request *in = r->in;
    r->state = work;
    if (!detach(r)) {
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

enum req_status handle_produce(struct req *r)
{
    const struct produce_request *in = r->in;
    struct produce *work = req_alloc(r, sizeof(*work));
    if (work == NULL || !produce_all(r, work)) {
        return REQ_CLOSE;
    }
    r->no_answer = in->acks == 0;
    if (needs_wait(r, work)) {
        return produce_wait(r, work);
    }
    return produce_finish(r, work);
}
