/* Fetch: reads batches of many partitions, waits until there is enough, remembers the question in a
 * session.
 *
 * One round: every partition is read (broker/replica/read.h), in order, under the byte limits; the
 * bytes stay in the files. If that is not enough and nothing failed, the request parks with a watch
 * on each partition and the round is repeated when one of them fires, or for the last time when
 * max_wait_ms is over. A partition that was refused before it was read (unknown, no such id) does
 * not end the wait of the others.
 *
 * Then the answer is built: a full one, or in a session only what changed since the last. Ranges of
 * SMALL_BYTES and less are copied into the answer (one send instead of three system calls), larger
 * ones go out by sendfile. Versions before 4 get converted record formats. (reference: requests
 * §4.2, coordinators §5 and §6) */
#include "base/seen.h"
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
};

/* One partition of the request, and what was found. */
struct part {
    struct str topic; /* null: the id is not known */
    struct uuid topic_id;
    int32_t number;
    struct read_request read;
    int16_t refused; /* before reading */
    struct partition *partition;
    struct read_result result;
    struct watch watch;
    int64_t told_high_watermark; /* of the session; -1 */
    int64_t told_log_start_offset;
};

struct fetch {
    struct part *parts;
    int32_t parts_n;
    int32_t session_id;
    bool incremental;
    bool keep_session; /* a full request that asks for one */
    int64_t deadline_ms;
    int32_t min_bytes;
    int32_t max_bytes;
    bool committed;
    _Atomic int64_t wanted_bytes;
};

/* ---- what is asked for ---- */

static void part_resolve(struct req *r, const struct metadata *metadata, struct part *part)
{
    if (r->version >= FIRST_TOPIC_ID_VERSION) {
        const struct topic_info *topic = metadata_topic_by_id(metadata, part->topic_id);
        if (topic == NULL) {
            part->refused = ERR_UNKNOWN_TOPIC_ID;
            return;
        }
        part->topic = arena_str(&r->arena, topic->name);
    }
    const struct topic_info *topic = metadata_topic(metadata, part->topic);
    if (topic == NULL || part->number < 0 || part->number >= topic->partitions_n ||
        !topic->partitions[part->number].known) {
        part->refused = ERR_UNKNOWN_TOPIC_OR_PARTITION;
        return;
    }
    part->partition = replicas_find(r->broker->replicas, part->topic, part->number);
    if (part->partition == NULL) {
        part->refused = ERR_NOT_LEADER_OR_FOLLOWER;
    }
}

static void part_init(struct req *r, struct part *part, const struct session_partition *from)
{
    const struct fetch_request *in = r->in;
    part->topic = from->topic;
    part->topic_id = from->topic_id;
    part->number = from->partition;
    part->read = (struct read_request){
        .offset = from->fetch_offset,
        .leader_epoch = from->leader_epoch,
        .last_fetched_epoch = from->last_fetched_epoch,
        .replica_id = in->replica_id >= 0 ? in->replica_id : in->replica_state.replica_id,
        .read_committed = in->isolation_level == 1,
        .any_replica = r->version >= FIRST_FOLLOWER_READ_VERSION,
        .max_bytes = from->max_bytes < 0 ? 0 : (size_t)from->max_bytes,
    };
    part->told_high_watermark = from->high_watermark;
    part->told_log_start_offset = from->told_log_start_offset;
}

static void remember(struct session_partition *p, const struct fetch_request_partition *in)
{
    p->fetch_offset = in->fetch_offset;
    p->log_start_offset = in->log_start_offset;
    p->max_bytes = in->partition_max_bytes;
    p->leader_epoch = in->current_leader_epoch;
    p->last_fetched_epoch = in->last_fetched_epoch;
}

/* Adds what the request names to a session. A partition named twice is one. */
static void session_update(struct fetch_session *session, const struct fetch_request *in)
{
    for (int32_t t = 0; t < in->topics_n; t++) {
        const struct fetch_request_topic *topic = &in->topics[t];
        for (int32_t i = 0; i < topic->partitions_n; i++) {
            remember(fetch_session_partition(session, topic->topic, topic->topic_id,
                                             topic->partitions[i].partition),
                     &topic->partitions[i]);
        }
    }
    for (int32_t t = 0; t < in->forgotten_topics_n; t++) {
        const struct fetch_request_forgotten_topic *topic = &in->forgotten_topics[t];
        for (int32_t i = 0; i < topic->partitions_n; i++) {
            fetch_session_forget(session, topic->topic, topic->topic_id, topic->partitions[i]);
        }
    }
}

/* Copies a session's partitions into the request, so that it needs no lock while it waits. */
static bool parts_from_session(struct req *r, struct fetch *f, const struct fetch_session *session)
{
    f->parts = req_array(r, (int32_t)fetch_session_size(session), sizeof(*f->parts));
    if (f->parts == NULL) {
        return false;
    }
    list_each (item, &session->partitions) {
        struct session_partition *p = container_of(item, struct session_partition, link);
        struct part *part = &f->parts[f->parts_n++];
        part_init(r, part, p);
        part->topic = arena_str(&r->arena, part->topic);
    }
    return true;
}

/* Adds what a full request names; a partition named twice is one. */
static void part_add(struct req *r, struct fetch *f, const struct fetch_request_topic *topic,
                     const struct fetch_request_partition *in, struct seen *seen)
{
    struct seen_key key = {.name = topic->topic, .id = topic->topic_id, .number = in->partition};
    if (seen_add(seen, &key) > 0) {
        return;
    }
    struct session_partition one = {.topic = topic->topic,
                                    .topic_id = topic->topic_id,
                                    .partition = in->partition,
                                    .high_watermark = -1,
                                    .told_log_start_offset = -1};
    remember(&one, in);
    part_init(r, &f->parts[f->parts_n++], &one);
}

static bool parts_from_request(struct req *r, struct fetch *f)
{
    const struct fetch_request *in = r->in;
    int32_t total = 0;
    for (int32_t t = 0; t < in->topics_n; t++) {
        total += in->topics[t].partitions_n;
    }
    f->parts = req_array(r, total, sizeof(*f->parts));
    if (f->parts == NULL) {
        return false;
    }
    struct seen seen;
    seen_init(&seen);
    for (int32_t t = 0; t < in->topics_n; t++) {
        for (int32_t i = 0; i < in->topics[t].partitions_n; i++) {
            part_add(r, f, &in->topics[t], &in->topics[t].partitions[i], &seen);
        }
    }
    seen_deinit(&seen);
    return true;
}

/* Which partitions are asked for, by the rules of sessions. An error is for the whole request. */
static err fetch_begin(struct req *r, struct fetch *f)
{
    const struct fetch_request *in = r->in;
    struct fetch_sessions *sessions = r->broker->fetch_sessions;
    bool uses_ids = r->version >= FIRST_TOPIC_ID_VERSION;
    f->committed = in->isolation_level == 1;
    if (in->session_epoch == SESSION_EPOCH_FINAL || in->session_epoch == SESSION_EPOCH_INITIAL) {
        if (in->session_id != 0) {
            fetch_session_remove(sessions, in->session_id);
        }
        f->keep_session = in->session_epoch == SESSION_EPOCH_INITIAL;
        return parts_from_request(r, f) ? OK : E_LIMIT;
    }
    struct fetch_session *session = NULL;
    TRY(fetch_session_continue(sessions, in->session_id, in->session_epoch, uses_ids, r->now_ms,
                               &session));
    session_update(session, in);
    f->session_id = session->id;
    f->incremental = true;
    bool room = parts_from_session(r, f, session);
    bool empty = fetch_session_size(session) == 0;
    fetch_session_done(sessions, session);
    if (empty) {
        fetch_session_remove(sessions, f->session_id);
        f->session_id = 0;
    }
    return room ? OK : E_LIMIT;
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
    partition_unpin(part->partition);
    if (config.compression_type == CODEC_ZSTD) {
        return ERR_UNSUPPORTED_COMPRESSION_TYPE;
    }
    bool converts = r->version < FIRST_RECORD_BATCH_VERSION;
    return converts && !config.message_downconversion_enable ? ERR_UNSUPPORTED_VERSION : OK;
}

/* One round over all partitions. Returns true when the answer need not wait. */
static bool read_round(struct req *r, struct fetch *f)
{
    int64_t left = f->max_bytes;
    int64_t found = 0;
    bool failed = false;
    int32_t asked = 0;
    release_ranges(f);
    for (int32_t i = 0; i < f->parts_n; i++) {
        struct part *part = &f->parts[i];
        if (part->refused != OK) {
            continue;
        }
        asked++;
        struct read_request read = part->read;
        int64_t limit = (int64_t)read.max_bytes < left ? (int64_t)read.max_bytes : left;
        read.max_bytes = limit < 0 ? 0 : (size_t)limit;
        read.min_one = r->version >= FIRST_SOFT_LIMIT_VERSION && found == 0;
        part->watch.seen = partition_seen(part->partition);
        partition_read(part->partition, &read, &r->arena, &part->result);
        if (part->result.error == OK) {
            part->result.error = check_readable(r, part);
        }
        failed |= part->result.error != OK || part->result.diverged;
        /* A range that ends with its segment may hold all that is there: it counts as enough. */
        failed |= part->result.range.next_segment;
        found += (int64_t)part->result.range.len;
        left -= (int64_t)part->result.range.len;
    }
    atomic_store(&f->wanted_bytes, f->min_bytes - found);
    return failed || asked == 0 || found >= f->min_bytes;
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
    err e = legacy_down_convert(raw, r->version < 2 ? 0 : 1, part->read.offset,
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
    return e > -1000 ? e : ERR_CORRUPT_MESSAGE;
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
static void fill_leader(struct req *r, const struct part *part,
                        struct fetch_response_partition *out)
{
    bool misled =
        out->error_code == ERR_NOT_LEADER_OR_FOLLOWER || out->error_code == ERR_FENCED_LEADER_EPOCH;
    if (r->version < FIRST_CURRENT_LEADER_VERSION || !misled) {
        return;
    }
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    const struct topic_info *topic = metadata_topic(metadata, part->topic);
    if (topic != NULL && part->number >= 0 && part->number < topic->partitions_n) {
        out->current_leader.leader_id = topic->partitions[part->number].leader;
        out->current_leader.leader_epoch = topic->partitions[part->number].leader_epoch;
    }
    metadata_release(metadata);
}

static void fill_partition(struct req *r, struct fetch *f, struct part *part,
                           struct fetch_response_partition *out)
{
    const struct read_result *result = &part->result;
    fetch_response_partition_init(out);
    out->partition_index = part->number;
    /* Null; but Kafka answers [] for what it refuses before it looks for the partition. */
    bool unknown = part->refused == ERR_UNKNOWN_TOPIC_ID ||
                   part->refused == ERR_UNKNOWN_TOPIC_OR_PARTITION;
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
    out->high_watermark = e == OK ? result->high_watermark : -1;
    out->last_stable_offset = e == OK ? result->last_stable_offset : -1;
    out->log_start_offset = e == OK ? result->log_start_offset : -1;
    if (e != OK) {
        fill_leader(r, part, out);
        return;
    }
    if (result->diverged) {
        out->diverging_epoch.epoch = result->diverging_epoch;
        out->diverging_epoch.end_offset = result->diverging_end_offset;
    }
    if (f->committed) {
        fill_aborted(r, part, out);
    }
}

/* In a session only what is new is told; partitions with data move to the end of its order. */
static bool worth_telling(const struct fetch *f, const struct part *part)
{
    if (!f->incremental || part->refused != OK || part->result.error != OK) {
        return true;
    }
    return part->result.range.len > 0 || part->result.diverged ||
           part->result.high_watermark != part->told_high_watermark ||
           part->result.log_start_offset != part->told_log_start_offset;
}

static void session_note(struct fetch_session *session, const struct part *part)
{
    struct session_partition *p =
        fetch_session_partition(session, part->topic, part->topic_id, part->number);
    bool failed = part->refused != OK || part->result.error != OK;
    p->high_watermark = failed ? -1 : part->result.high_watermark;
    p->told_log_start_offset = failed ? -1 : part->result.log_start_offset;
    if (part->result.range.len > 0) {
        list_remove(&p->link);
        list_append(&session->partitions, &p->link);
    }
}

/* A full request that wants a session gets one with what it asked for. */
static int32_t session_make(struct req *r, struct fetch *f)
{
    const struct fetch_request *in = r->in;
    if (!f->keep_session) {
        return 0;
    }
    struct fetch_session *session = fetch_session_new(r->version >= FIRST_TOPIC_ID_VERSION, false);
    session_update(session, in);
    for (int32_t i = 0; i < f->parts_n; i++) {
        session_note(session, &f->parts[i]);
    }
    if (fetch_session_keep(r->broker->fetch_sessions, session, r->now_ms)) {
        return session->id;
    }
    fetch_session_free(session);
    return 0;
}

static void session_tell(struct req *r, struct fetch *f)
{
    struct fetch_sessions *sessions = r->broker->fetch_sessions;
    struct fetch_session *session =
        f->session_id == 0 ? NULL : fetch_session_find(sessions, f->session_id);
    if (session == NULL) {
        return;
    }
    for (int32_t i = 0; i < f->parts_n; i++) {
        if (worth_telling(f, &f->parts[i])) {
            session_note(session, &f->parts[i]);
        }
    }
    fetch_session_done(sessions, session);
}

/* Consecutive partitions of one topic share an entry, as Kafka lists them. */
static enum req_status build_answer(struct req *r, struct fetch *f)
{
    struct fetch_response *out = r->out;
    out->session_id = f->incremental ? f->session_id : session_make(r, f);
    if (f->incremental) {
        session_tell(r, f);
    }
    out->topics = req_array(r, f->parts_n, sizeof(*out->topics));
    struct fetch_response_partition *partitions = req_array(r, f->parts_n, sizeof(*partitions));
    if (out->topics == NULL || partitions == NULL) {
        return REQ_CLOSE;
    }
    struct fetch_response_topic *topic = NULL;
    bool ids = r->version >= FIRST_TOPIC_ID_VERSION;
    for (int32_t i = 0; i < f->parts_n; i++) {
        struct part *part = &f->parts[i];
        if (!worth_telling(f, part)) {
            continue;
        }
        bool same = topic != NULL && (ids ? uuid_equal(topic->topic_id, part->topic_id)
                                          : str_equal(topic->topic, part->topic));
        if (!same) {
            topic = &out->topics[out->topics_n++];
            topic->topic = part->topic;
            topic->topic_id = part->topic_id;
            topic->partitions = partitions;
        }
        fill_partition(r, f, part, partitions++);
        topic->partitions_n++;
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

static enum req_status fetch_resume(struct req *r)
{
    struct fetch *f = r->state;
    watches_remove(f);
    if (r->conn == NULL) {
        return REQ_DONE;
    }
    bool enough = read_round(r, f);
    return enough || r->now_ms >= f->deadline_ms ? build_answer(r, f) : fetch_wait(r, f);
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
                                         .seen = part->watch.seen,
                                         .wanted_bytes = &f->wanted_bytes};
            watch_add(&part->watch, part->partition);
        }
    }
    return REQ_PARKED;
}

enum req_status handle_fetch(struct req *r)
{
    const struct fetch_request *in = r->in;
    struct fetch_response *out = r->out;
    struct fetch *f = req_alloc(r, sizeof(*f));
    if (f == NULL) {
        return REQ_CLOSE;
    }
    r->state = f;
    r->abandon = fetch_abandon;
    err e = fetch_begin(r, f);
    if (e != OK) {
        out->error_code = kafka_error_wire(e);
        return e == E_LIMIT ? REQ_CLOSE : REQ_DONE;
    }
    int32_t limit = r->broker->config->fetch_max_bytes;
    f->max_bytes = in->max_bytes < limit ? in->max_bytes : limit;
    f->min_bytes = in->min_bytes < f->max_bytes ? in->min_bytes : f->max_bytes;
    f->deadline_ms = r->now_ms + (in->max_wait_ms < 0 ? 0 : in->max_wait_ms);
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    for (int32_t i = 0; i < f->parts_n; i++) {
        part_resolve(r, metadata, &f->parts[i]);
    }
    metadata_release(metadata);
    bool enough = read_round(r, f);
    return enough || in->max_wait_ms <= 0 ? build_answer(r, f) : fetch_wait(r, f);
}
