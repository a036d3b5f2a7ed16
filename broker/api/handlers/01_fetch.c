/* Fetch: reads batches of many partitions, waits until there is enough. What is asked for, and what
 * a session remembers of it, is fetch_asked.h.
 *
 * One round: every partition is read (broker/replica/read.h), in order, under the byte limits; the
 * bytes stay in the files. If that is not enough and nothing failed, the request parks with a watch
 * on each partition and the round is repeated when one of them fires, or for the last time when
 * max_wait_ms is over. A partition that was refused before it was read (unknown, no such id) does
 * not end the wait of the others.
 *
 * A replica whose session has nothing new for it gets an empty answer when its time is over, and from then on
 * its fetches stand (broker/replica/standing.h): they look at no partition until something happens in one.
 *
 * Then the answer is built. Ranges of SMALL_BYTES and less are copied into it (one send instead of
 * three system calls), larger ones go out by sendfile. Versions before 4 get converted record
 * formats. (reference: requests §4.2, coordinators §5 and §6) */
#include "broker/api/authorize.h"
#include "broker/api/fetch_asked.h"
#include "broker/api/leaders.h"
#include "broker/api/throttling.h"
#include "broker/api/traffic.h"
#include "broker/broker.h"
#include "broker/replica/read.h"
#include "protocol/legacy.h"

enum {
    SMALL_BYTES = 16 << 10,
    INFLATED_LIMIT_BYTES = 64 << 20,
    FIRST_TOPIC_ID_VERSION = 13,
    FIRST_RECORD_BATCH_VERSION = 4,
    FIRST_SOFT_LIMIT_VERSION = 3,
    FIRST_FOLLOWER_READ_VERSION = 11,
    FIRST_ZSTD_VERSION = 10,
    FIRST_CURRENT_LEADER_VERSION = 16,
    ANSWER_BYTES = 20,       /* of an answer, about, besides its partitions, */
    PARTITION_BYTES = 50,    /* and of each of these, besides its records */
    STANDS_PART_OF_LAG = 10, /* of replica.lag.time.max.ms */
};

/* One partition of the request, and what was found. */
struct part {
    struct asked_partition *asked;
    int16_t refused; /* before reading */
    struct partition *partition;
    struct read_result result;
    struct watch watch;
    bool noted;   /* a replica's: the partition knows how far it is, */
    bool in_sync; /* and had it in the ISR then */
};

struct fetch {
    struct fetch_asked asked;
    struct part *parts; /* of these, in the same order */
    int32_t parts_n;
    int64_t deadline_ms;
    int32_t min_bytes;
    int32_t max_bytes;
    bool committed;
    bool may_follow;        /* a replica's: it is one of the brokers */
    bool quiet;             /* in the last round, all was committed and nobody lacks anything */
    struct leaders leaders; /* of the answer */
    _Atomic int64_t wanted_bytes;
};

/* ---- what is asked for ---- */

/* Replicas by what brokers may do, all others by the topic. */
static bool may_read(const struct req *r, const struct fetch *f, struct str topic)
{
    return fetch_replica_of(r->in) >= 0 ? f->may_follow : req_may(r, ACL_READ, ACL_TOPIC, topic);
}

static void part_resolve(struct req *r, const struct fetch *f, const struct metadata *metadata,
                         struct part *part)
{
    struct asked_partition *asked = part->asked;
    bool by_id = r->version >= FIRST_TOPIC_ID_VERSION;
    const struct topic_info *topic = by_id ? metadata_topic_by_id(metadata, asked->topic_id)
                                           : metadata_topic(metadata, asked->topic);
    if (by_id && topic == NULL) {
        part->refused = ERR_UNKNOWN_TOPIC_ID;
        return;
    }
    if (by_id) {
        asked->topic = arena_str(&r->arena, topic->name);
    }
    if (!may_read(r, f, asked->topic)) {
        part->refused = ERR_TOPIC_AUTHORIZATION_FAILED;
        return;
    }
    if (topic == NULL || asked->number < 0 || asked->number >= topic->partitions_n ||
        !topic->partitions[asked->number].known) {
        part->refused = ERR_UNKNOWN_TOPIC_OR_PARTITION;
        return;
    }
    part->partition = replicas_find(r->broker->replicas, asked->topic, asked->number);
    if (part->partition == NULL) {
        part->refused = ERR_NOT_LEADER_OR_FOLLOWER;
    }
}

static bool parts_resolve(struct req *r, struct fetch *f)
{
    f->parts = req_array(r, f->asked.partitions_n, sizeof(*f->parts));
    if (f->parts == NULL) {
        return false;
    }
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    for (; f->parts_n < f->asked.partitions_n; f->parts_n++) {
        f->parts[f->parts_n].asked = &f->asked.partitions[f->parts_n];
        part_resolve(r, f, metadata, &f->parts[f->parts_n]);
    }
    metadata_release(metadata);
    return true;
}

/* ---- reading ---- */

static void release_ranges(struct fetch *f)
{
    for (int32_t i = 0; i < f->parts_n; i++) {
        log_range_release(&f->parts[i].result.range);
        f->parts[i].result.range = (struct log_range){0};
    }
}

static void release_partitions(struct fetch *f)
{
    for (int32_t i = 0; i < f->parts_n; i++) {
        partition_release(f->parts[i].partition);
        f->parts[i].partition = NULL;
    }
}

/* True: it stood, and nothing has happened. */
static bool leave_standing(struct req *r)
{
    struct fetch *f = r->state;
    struct standing *standing = f->asked.standing;
    f->asked.standing = NULL;
    return standing != NULL && standing_leave(standing, &r->waiter);
}

static void fetch_release(struct req *r)
{
    (void)leave_standing(r);
}

static void fetch_abandon(struct req *r)
{
    if (r->state != NULL) {
        release_ranges(r->state);
        release_partitions(r->state);
    }
}

/* What an old client cannot read: a topic that is compressed with zstd by configuration, or one whose
 * configuration forbids converting it. */
static err check_readable(struct req *r, struct part *part)
{
    if (r->version >= FIRST_ZSTD_VERSION) {
        return OK;
    }
    struct plog *log = NULL;
    TRY(partition_pin(part->partition, -1, true, &log));
    struct log_config config = plog_config(log);
    partition_unpin(part->partition, log);
    if (config.compression_type == CODEC_ZSTD) {
        return ERR_UNSUPPORTED_COMPRESSION_TYPE;
    }
    bool converts = r->version < FIRST_RECORD_BATCH_VERSION;
    return converts && !config.message_downconversion_enable ? ERR_UNSUPPORTED_VERSION : OK;
}

/* Consumers that tell their rack, where replica.selector.class has them read in it. */
struct racks {
    struct req *r;
    struct metadata *metadata; /* NULL: nobody is sent away */
    struct selector selector;
};

static struct str rack_of(void *context, int32_t broker_id)
{
    const struct racks *racks = context;
    const struct broker_info *info = metadata_broker(racks->metadata, broker_id);
    bool reachable = info != NULL && (info->id == racks->r->broker->id ||
                                      broker_endpoint_of(info, racks->r->listener->name) != NULL);
    return reachable && info->rack != NULL ? str_of(info->rack) : (struct str){0};
}

static void racks_begin(struct req *r, struct racks *racks)
{
    const struct fetch_request *in = r->in;
    *racks = (struct racks){.r = r};
    racks->selector = (struct selector){.rack = in->rack_id, .rack_of = rack_of, .context = racks};
    if (in->rack_id.len > 0 && fetch_replica_of(r->in) < 0 &&
        config_selects_by_rack(r->broker->config)) {
        racks->metadata = metadata_acquire(r->broker->metadata);
    }
}

static void racks_end(struct racks *racks)
{
    if (racks->metadata != NULL) {
        metadata_release(racks->metadata);
    }
}

/* Reads one partition, `left` bytes of it at most; with `min_one` its first batch, however large. */
static void part_read(struct req *r, struct part *part, const struct racks *racks, int64_t left,
                      bool min_one)
{
    const struct fetch_request *in = r->in;
    const struct asked_partition *asked = part->asked;
    int64_t limit = (int64_t)asked->max_bytes < left ? (int64_t)asked->max_bytes : left;
    struct read_request read = {
        .offset = asked->offset,
        .leader_epoch = asked->leader_epoch,
        .last_fetched_epoch = asked->last_fetched_epoch,
        .replica_id = fetch_replica_of(r->in),
        .broker_epoch = in->replica_state.replica_epoch,
        .log_start_offset = asked->replica_log_start_offset,
        .again = part->noted,
        .read_committed = in->isolation_level == 1,
        .any_replica = r->version >= FIRST_FOLLOWER_READ_VERSION,
        .selector = racks->metadata == NULL ? NULL : &racks->selector,
        .max_bytes = limit < 0 ? 0 : (size_t)limit,
        .min_one = min_one,
    };
    part->watch.seen = partition_seen(part->partition);
    partition_read(part->partition, &read, &r->arena, &part->result);
    part->in_sync = read.again ? part->in_sync : part->result.in_sync;
    part->watch.seen.end_offset = part->result.held_back ? -1 : part->result.end_offset;
    part->watch.seen.log_start_offset = part->result.log_start_offset;
    if (part->result.error == OK) {
        part->noted = !part->result.diverged;
        part->result.error = check_readable(r, part);
    }
}

/* A replica that knows a newer epoch than this broker waits until the controller has told it here too: it
 * would only ask again after a pause. */
static bool ends_wait(const struct req *r, const struct part *part)
{
    err e = part->result.error;
    bool comes = fetch_replica_of(r->in) >= 0 && e == ERR_UNKNOWN_LEADER_EPOCH;
    return (e != OK && !comes) || part->result.diverged || part->result.preferred >= 0 ||
           part->result.range.next_segment;
}

/* Can nothing new be told of it before something happens to it? */
static bool is_quiet(const struct part *part)
{
    const struct read_result *result = &part->result;
    return part->in_sync && result->error == OK && !result->diverged && !result->held_back &&
           result->range.len == 0 && result->high_watermark == result->end_offset;
}

/* One round over all partitions. Returns true when the answer need not wait. */
static bool read_round(struct req *r, struct fetch *f)
{
    int64_t left = f->max_bytes;
    int64_t found = 0;
    bool at_once = false;
    int32_t readable = 0;
    struct racks racks;
    release_ranges(f);
    racks_begin(r, &racks);
    f->quiet = true;
    for (int32_t i = 0; i < f->parts_n; i++) {
        struct part *part = &f->parts[i];
        if (part->refused != OK) {
            at_once |= part->refused == ERR_NOT_LEADER_OR_FOLLOWER && fetch_replica_of(r->in) < 0;
            f->quiet = false;
            continue;
        }
        readable++;
        part_read(r, part, &racks, left, r->version >= FIRST_SOFT_LIMIT_VERSION && found == 0);
        /* A range that ends with its segment may hold all that is there: it counts as enough. */
        at_once |= ends_wait(r, part);
        f->quiet = f->quiet && is_quiet(part);
        found += (int64_t)part->result.range.len;
        left -= (int64_t)part->result.range.len;
    }
    racks_end(&racks);
    atomic_store(&f->wanted_bytes, f->min_bytes - found);
    return at_once || readable == 0 || found >= f->min_bytes;
}

/* ---- the answer ---- */

/* Bytes that stay in the request's arena instead of the file; data->data is NULL without memory. */
static err load_range(struct req *r, const struct log_range *range, struct bytes *data)
{
    uint8_t *copy = req_alloc(r, range->len);
    *data = bytes_of(copy, range->len);
    return copy == NULL ? OK : log_range_read(range, 0, copy, range->len);
}

static err convert(struct req *r, struct part *part, struct records *records)
{
    struct bytes raw = {0};
    TRY(load_range(r, &part->result.range, &raw));
    if (raw.data == NULL) {
        return ERR_UNKNOWN_SERVER_ERROR;
    }
    struct writer converted;
    writer_init(&converted, INFLATED_LIMIT_BYTES);
    err e = legacy_down_convert(raw, r->version < 2 ? 0 : 1, part->asked->offset,
                                INFLATED_LIMIT_BYTES, &converted);
    if (e == OK) {
        uint8_t *copy = req_alloc(r, converted.len);
        e = copy == NULL ? ERR_UNKNOWN_SERVER_ERROR : OK;
        if (e == OK && converted.len > 0) {
            memcpy(copy, converted.data, converted.len);
        }
        records->data = bytes_of(copy, converted.len);
    }
    writer_deinit(&converted);
    return err_is_local(e) ? ERR_CORRUPT_MESSAGE : e; /* what is stored cannot be converted */
}

static err fill_records(struct req *r, struct part *part, struct records *records)
{
    struct log_range *range = &part->result.range;
    records->data = bytes_of("", 0);
    if (range->file == NULL) {
        return OK;
    }
    bool small = range->len <= SMALL_BYTES;
    bool converts = r->version < FIRST_RECORD_BATCH_VERSION;
    err e = converts ? convert(r, part, records)
            : small  ? load_range(r, range, &records->data)
                     : OK;
    if (e == OK && !converts && (!small || records->data.data == NULL)) {
        *records = (struct records){
            .data.len = range->len, .file = range->file, .position = range->position};
        return OK; /* the reference goes with the answer */
    }
    if (e != OK) {
        records->data = bytes_of("", 0);
    }
    log_range_release(range);
    *range = (struct log_range){0};
    return e;
}

static void fill_aborted(struct req *r, const struct part *part,
                         struct fetch_response_partition *out)
{
    out->aborted_transactions =
        req_array(r, part->result.aborted_n + 1, sizeof(*out->aborted_transactions));
    out->aborted_transactions_n = out->aborted_transactions == NULL ? 0 : part->result.aborted_n;
    for (int32_t i = 0; i < out->aborted_transactions_n; i++) {
        out->aborted_transactions[i].producer_id = part->result.aborted[i].producer_id;
        out->aborted_transactions[i].first_offset = part->result.aborted[i].first_offset;
    }
}

/* Who leads now, for a client that asked the wrong broker or with an old epoch. */
static void fill_leader(struct req *r, struct fetch *f, const struct part *part,
                        struct fetch_response_partition *out)
{
    bool misled =
        out->error_code == ERR_NOT_LEADER_OR_FOLLOWER || out->error_code == ERR_FENCED_LEADER_EPOCH;
    if (r->version < FIRST_CURRENT_LEADER_VERSION || !misled) {
        return;
    }
    leaders_find(r, &f->leaders, part->asked->topic, part->asked->number,
                 &out->current_leader.leader_id, &out->current_leader.leader_epoch);
}

static void fill_nodes(struct req *r, struct fetch *f)
{
    struct fetch_response *out = r->out;
    leaders_done(&f->leaders);
    out->node_endpoints = req_array(r, f->leaders.brokers_n, sizeof(*out->node_endpoints));
    out->node_endpoints_n = out->node_endpoints == NULL ? 0 : f->leaders.brokers_n;
    for (int32_t i = 0; i < out->node_endpoints_n; i++) {
        const struct client_broker *broker = &f->leaders.brokers[i];
        out->node_endpoints[i] =
            (struct fetch_response_node_endpoint){.node_id = broker->id,
                                                  .host = broker->endpoint.host,
                                                  .port = broker->endpoint.port,
                                                  .rack = broker->rack};
    }
}

static void count_fetched(const struct req *r, const struct part *part,
                          const struct fetch_response_partition *out, err e)
{
    size_t bytes = e == OK ? out->records.data.len : 0;
    const struct traffic_fetched fetched = {
        .error = e,
        .bytes = bytes,
        .by_replica = fetch_replica_of(r->in) >= 0,
        .converted = bytes > 0 && r->version < FIRST_RECORD_BATCH_VERSION,
    };
    traffic_fetched(r, part->partition, &fetched);
}

static void fill_partition(struct req *r, struct fetch *f, struct part *part,
                           struct fetch_response_partition *out)
{
    const struct read_result *result = &part->result;
    fetch_response_partition_init(out);
    out->partition_index = part->asked->number;
    /* Null; but Kafka answers [] for what it refuses before it looks for the partition. */
    bool unknown = part->refused == ERR_UNKNOWN_TOPIC_ID ||
                   part->refused == ERR_UNKNOWN_TOPIC_OR_PARTITION ||
                   part->refused == ERR_TOPIC_AUTHORIZATION_FAILED;
    out->aborted_transactions_n = unknown ? 0 : -1;
    out->records.data = bytes_of("", 0);
    err e = part->refused != OK ? part->refused : result->error;
    if (e == OK && !result->diverged) {
        e = fill_records(r, part, &out->records);
    }
    if (e == ERR_KAFKA_STORAGE_ERROR && r->version <= 5) {
        e = ERR_NOT_LEADER_OR_FOLLOWER;
    }
    out->error_code = kafka_error_wire(e);
    if (!unknown) {
        count_fetched(r, part, out, e);
    }
    out->high_watermark = e == OK ? result->high_watermark : -1;
    out->last_stable_offset = e == OK ? result->last_stable_offset : -1;
    out->log_start_offset = e == OK ? result->log_start_offset : -1;
    if (e != OK) {
        fill_leader(r, f, part, out);
        return;
    }
    out->preferred_read_replica = result->preferred;
    if (result->diverged) {
        out->diverging_epoch.epoch = result->diverging_epoch;
        out->diverging_epoch.end_offset = result->diverging_end_offset;
    }
    if (f->committed) {
        fill_aborted(r, part, out);
    }
}

/* What it has seen is what its next fetches have seen. */
static void stand_from_now(struct req *r, const struct fetch *f)
{
    int64_t stands_ms = r->broker->config->replica_lag_time_max_ms / STANDS_PART_OF_LAG;
    struct standing *standing = standing_new(r->home->loop, f->parts_n, r->now_ms + stands_ms);
    for (int32_t i = 0; i < f->parts_n; i++) {
        standing_watch(standing, f->parts[i].partition, f->parts[i].watch.seen);
    }
    fetch_asked_stand(r, &f->asked, standing);
}

/* What the session is to know of it. */
static void part_found(struct part *part)
{
    bool failed = part->refused != OK || part->result.error != OK;
    part->asked->failed = failed;
    part->asked->has_bytes = part->result.range.len > 0;
    part->asked->diverged = part->result.diverged;
    part->asked->sent_away = part->result.preferred >= 0;
    part->asked->high_watermark = part->result.high_watermark;
    part->asked->log_start_offset = part->result.log_start_offset;
}

/* What a replica gets of it, also one that is in sync, counts if the partition is throttled. */
static int64_t throttled_bytes(const struct part *part)
{
    size_t len = part->result.range.len;
    return len > 0 && partition_throttled(part->partition).as_leader ? (int64_t)len : 0;
}

/* What the answer comes to, about. */
static double answer_bytes(const struct fetch *f)
{
    double bytes = ANSWER_BYTES;
    for (int32_t i = 0; i < f->parts_n; i++) {
        const struct part *part = &f->parts[i];
        if (fetch_asked_tells(&f->asked, part->asked)) {
            bytes += (double)(PARTITION_BYTES + part->result.range.len);
        }
    }
    return bytes;
}

/* A consumer over its quotas gets nothing, and what it does not get is not counted. */
static bool is_held_back(struct req *r, struct fetch *f)
{
    struct quotas *quotas = r->broker->quotas;
    if (!quotas_active(quotas, QUOTA_CONSUME) && !quotas_active(quotas, QUOTA_REQUEST)) {
        return false;
    }
    double bytes = answer_bytes(f);
    throttling_record(r, QUOTA_CONSUME, bytes);
    throttling_record_time(r);
    if (r->throttle_ms == 0) {
        return false;
    }
    struct quota_client client = throttling_client(r);
    quotas_unrecord(quotas, QUOTA_CONSUME, &client, bytes);
    return true;
}

static enum req_status answer_nothing(struct req *r, struct fetch *f)
{
    struct fetch_response *out = r->out;
    out->session_id = f->asked.incremental ? f->asked.session_id : 0;
    release_ranges(f);
    release_partitions(f);
    return REQ_DONE;
}

/* Consecutive partitions of one topic share an entry, as Kafka lists them. */
static enum req_status build_answer(struct req *r, struct fetch *f)
{
    struct fetch_response *out = r->out;
    bool replica = fetch_replica_of(r->in) >= 0;
    int64_t throttled = 0;
    for (int32_t i = 0; i < f->parts_n; i++) {
        part_found(&f->parts[i]);
        throttled += replica ? throttled_bytes(&f->parts[i]) : 0;
    }
    if (!replica && is_held_back(r, f)) {
        return answer_nothing(r, f);
    }
    if (throttled > 0) {
        throttle_record(&r->broker->leader_throttle, throttled);
    }
    out->session_id = fetch_asked_done(r, &f->asked);
    out->topics = req_array(r, f->parts_n, sizeof(*out->topics));
    struct fetch_response_partition *partitions = req_array(r, f->parts_n, sizeof(*partitions));
    if (out->topics == NULL || partitions == NULL) {
        return REQ_CLOSE;
    }
    struct fetch_response_topic *topic = NULL;
    bool ids = r->version >= FIRST_TOPIC_ID_VERSION;
    for (int32_t i = 0; i < f->parts_n; i++) {
        const struct asked_partition *asked = f->parts[i].asked;
        if (!fetch_asked_tells(&f->asked, asked)) {
            continue;
        }
        bool same = topic != NULL && (ids ? uuid_equal(topic->topic_id, asked->topic_id)
                                          : str_equal(topic->topic, asked->topic));
        if (!same) {
            topic = &out->topics[out->topics_n++];
            topic->topic = asked->topic;
            topic->topic_id = asked->topic_id;
            topic->partitions = partitions;
        }
        fill_partition(r, f, &f->parts[i], partitions++);
        topic->partitions_n++;
    }
    fill_nodes(r, f);
    if (r->timed_out && f->quiet && f->asked.incremental && out->topics_n == 0) {
        stand_from_now(r, f);
    }
    release_partitions(f);
    return REQ_DONE;
}

/* ---- waiting ---- */

static void watches_remove(struct fetch *f)
{
    for (int32_t i = 0; i < f->parts_n; i++) {
        watch_remove(&f->parts[i].watch);
    }
}

static enum req_status fetch_wait(struct req *r, struct fetch *f);

static enum req_status fetch_round(struct req *r, struct fetch *f)
{
    bool enough = read_round(r, f);
    return enough || r->now_ms >= f->deadline_ms ? build_answer(r, f) : fetch_wait(r, f);
}

static enum req_status fetch_resume(struct req *r)
{
    struct fetch *f = r->state;
    watches_remove(f);
    if (r->conn == NULL) {
        return REQ_DONE;
    }
    if (r->timed_out && f->quiet && atomic_load(&f->wanted_bytes) == f->min_bytes) {
        return build_answer(r, f);
    }
    return fetch_round(r, f);
}

static enum req_status fetch_wait(struct req *r, struct fetch *f)
{
    release_ranges(f);
    req_park(r, f->deadline_ms - r->now_ms, fetch_resume);
    for (int32_t i = 0; i < f->parts_n; i++) {
        struct part *part = &f->parts[i];
        if (part->refused == OK) {
            part->watch = (struct watch){.waiter = &r->waiter,
                                         .offset = -1,
                                         .to_end = fetch_replica_of(r->in) >= 0,
                                         .seen = part->watch.seen,
                                         .wanted_bytes = &f->wanted_bytes};
            watch_add(&part->watch, part->partition);
        }
    }
    return REQ_PARKED;
}

static enum req_status refuse(struct req *r, err e)
{
    struct fetch_response *out = r->out;
    if (e == E_LIMIT) {
        return REQ_CLOSE;
    }
    out->error_code = kafka_error_wire(e);
    return REQ_DONE;
}

static enum req_status standing_resume(struct req *r)
{
    struct fetch *f = r->state;
    struct fetch_response *out = r->out;
    bool stood = leave_standing(r);
    if (r->conn == NULL) {
        return REQ_DONE;
    }
    if (stood && r->timed_out) {
        out->session_id = f->asked.session_id;
        return REQ_DONE;
    }
    err e = fetch_asked_look(r, &f->asked);
    if (e != OK) {
        return refuse(r, e);
    }
    return parts_resolve(r, f) ? fetch_round(r, f) : REQ_CLOSE;
}

static enum req_status fetch_stand(struct req *r, struct fetch *f)
{
    req_park(r, f->deadline_ms - r->now_ms, standing_resume);
    if (!standing_wait(f->asked.standing, &r->waiter)) {
        req_wake(r);
    }
    return REQ_PARKED;
}

/* More than a consumer's burst is never asked for at once: it would be held back for ever. */
static int32_t within_quota(struct req *r, int32_t limit)
{
    struct quota_client client = throttling_client(r);
    double burst = fetch_replica_of(r->in) >= 0
                       ? limit
                       : quotas_burst(r->broker->quotas, QUOTA_CONSUME, &client);
    return burst < limit ? (int32_t)burst : limit;
}

enum req_status handle_fetch(struct req *r)
{
    const struct fetch_request *in = r->in;
    struct fetch *f = req_alloc(r, sizeof(*f));
    if (f == NULL) {
        return REQ_CLOSE;
    }
    r->state = f;
    r->abandon = fetch_abandon;
    r->release = fetch_release;
    err e = fetch_asked_read(r, &f->asked);
    if (e != OK) {
        return refuse(r, e);
    }
    f->committed = in->isolation_level == 1;
    f->may_follow = fetch_replica_of(in) >= 0 &&
                    req_may(r, ACL_CLUSTER_ACTION, ACL_CLUSTER, STR(ACL_CLUSTER_NAME));
    int32_t limit = r->broker->config->fetch_max_bytes;
    limit = within_quota(r, limit);
    f->max_bytes = in->max_bytes < limit ? in->max_bytes : limit;
    f->min_bytes = in->min_bytes < f->max_bytes ? in->min_bytes : f->max_bytes;
    f->deadline_ms = r->now_ms + (in->max_wait_ms < 0 ? 0 : in->max_wait_ms);
    if (f->asked.standing != NULL && f->may_follow) {
        return fetch_stand(r, f);
    }
    if (f->asked.standing != NULL) { /* somebody else's session, or they may not any more */
        (void)leave_standing(r);
        e = fetch_asked_look(r, &f->asked);
        if (e != OK) {
            return refuse(r, e);
        }
    }
    return parts_resolve(r, f) ? fetch_round(r, f) : REQ_CLOSE;
}
