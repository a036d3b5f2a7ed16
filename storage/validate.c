/* A leader's look at what a client sent, in Kafka's order, because the first rule that is broken
 * decides the code:
 *
 *   1. the request's rules: one batch, its format, zstd's version (no log start offset is told); old
 *      formats are converted (protocol/legacy.h has their rules);
 *   2. each batch's rules: base offset 0, size, CRC;
 *   3. counts, control bit, sequence;
 *   4. the records: structure, key, timestamps. All bad records are listed, then the batch refused;
 *   5. the rewrite: timestamp type and maximum in place, with the CRC only if they changed; or a
 *      new encoding where the topic asks for another codec.
 *
 * How the records are walked decides what is found, in Kafka as here. Uncompressed ones, and those
 * that are encoded anew, are read whole (record_iter). Those of a compressed batch that is stored as
 * it came are skimmed (protocol/skim.h) while they are inflated, and nothing of them is kept. Offset
 * deltas must be 0, 1, 2… only there: uncompressed ones are stored as they were sent, and a new
 * encoding numbers them.
 *
 * Codes that look odd are Kafka's, which meets these as exceptions that nobody expected: -1 for a
 * payload that cannot be inflated, for wrong offset deltas in a compressed batch, for codecs that do
 * not exist, and for an uncompressed record's length that is a varint of more than five bytes. */
#include "storage/validate.h"

#include "protocol/legacy.h"
#include "protocol/skim.h"

#include <stdlib.h>

enum {
    FRAME_RECORD_MIN = 14,
    RECORD_ERRORS_MAX = 64 << 10,
    /* A batch that is only skimmed takes time and no memory: this bounds the time, seconds at worst.
     * Kafka has no bound. */
    SKIMMED_BYTES_MAX = 1 << 30,
    /* A compressed payload above this part of hurried_bytes_max is not worth a try. */
    HURRIED_RATIO = 4,
};

/* Size of the batch that begins here. E_NOT_FOUND: no whole one. */
static err frame_next(const uint8_t *data, size_t len, size_t *size)
{
    if (len < BATCH_PREFIX_BYTES) {
        return E_NOT_FOUND;
    }
    struct reader r = reader_of(bytes_of(data, len));
    (void)reader_i64(&r);
    int32_t length = reader_i32(&r);
    if (length < FRAME_RECORD_MIN) {
        return ERR_CORRUPT_MESSAGE;
    }
    if (len < BATCH_MAGIC_PREFIX_BYTES) {
        return E_NOT_FOUND;
    }
    if (data[16] > 2) {
        return ERR_CORRUPT_MESSAGE;
    }
    *size = (size_t)length + BATCH_PREFIX_BYTES;
    return *size > len ? E_NOT_FOUND : OK;
}

static err refuse(struct validated *out, err code, const char *message)
{
    out->message = message;
    return code;
}

/* Whether it begins with an entry of an old format, or nothing whole is there at all. */
static bool is_old(const uint8_t *data, size_t len)
{
    size_t size = 0;
    err e = frame_next(data, len, &size);
    return e == E_NOT_FOUND || (e == OK && data[16] < 2);
}

/* Rule 1, and the batch that it is about. */
static err check_request(const struct validate_rules *rules, const uint8_t *data, size_t len,
                         struct validated *out)
{
    size_t at = 0;
    size_t size = 0;
    size_t first = 0;
    for (;; at += size) {
        err e = frame_next(data + at, len - at, &size);
        if (e == E_NOT_FOUND) {
            break;
        }
        if (e != OK) {
            return refuse(out, e, "The record batch is corrupt.");
        }
        if (at > 0) {
            return refuse(out, ERR_INVALID_RECORD,
                          "Produce requests must contain exactly one record batch per partition.");
        }
        if (data[at + 16] != 2) {
            return refuse(out, ERR_INVALID_RECORD,
                          "Produce requests must carry record batches with magic version 2.");
        }
        if (size < BATCH_HEADER_BYTES) {
            return refuse(out, ERR_CORRUPT_MESSAGE, "The record batch is shorter than its header.");
        }
        struct batch batch;
        batch_parse(data + at, &batch);
        if (batch_codec(&batch) == CODEC_ZSTD && !rules->zstd_allowed) {
            return refuse(out, ERR_UNSUPPORTED_COMPRESSION_TYPE,
                          "Produce requests of this version cannot use ZStandard compression.");
        }
        first = size;
    }
    if (first == 0) {
        return refuse(out, ERR_INVALID_RECORD,
                      "Produce requests must have at least one record batch per partition.");
    }
    out->data = (uint8_t *)(uintptr_t)data;
    out->len = first;
    return OK;
}

/* Rules 2 and 3. */
static err check_batch(const struct validate_rules *rules, const uint8_t *data,
                       const struct batch *batch, struct validated *out)
{
    bool client = !rules->control_allowed;
    out->log_start_known = true;
    if (client && batch->base_offset != 0) {
        return refuse(out, ERR_INVALID_RECORD, "The baseOffset of the record batch must be 0.");
    }
    if (batch->size_bytes > rules->config->max_message_bytes) {
        out->log_start_known = false;
        return refuse(out, ERR_MESSAGE_TOO_LARGE,
                      "The record batch is larger than max.message.bytes.");
    }
    if (batch_crc(data, (size_t)batch->size_bytes) != batch->crc) {
        out->log_start_known = false;
        return refuse(out, ERR_CORRUPT_MESSAGE, "Record is corrupt (checksum mismatch).");
    }
    if (batch->count <= 0 || batch->last_offset_delta < 0 ||
        (int64_t)batch->last_offset_delta + 1 != batch->count) {
        return refuse(out, ERR_INVALID_RECORD,
                      "The record count does not match the offsets of the batch.");
    }
    if (client && batch_is(batch, BATCH_CONTROL)) {
        return refuse(out, ERR_INVALID_RECORD, "Clients are not allowed to write control records.");
    }
    if (client && batch->producer_id >= 0 && batch->base_sequence < 0) {
        return refuse(out, ERR_INVALID_RECORD,
                      "A record batch with a producer id must have a sequence number.");
    }
    if (batch_codec(batch) >= CODEC_COUNT) {
        return refuse(out, ERR_UNKNOWN_SERVER_ERROR, "Unknown compression type.");
    }
    return OK;
}

static bool is_bounded(const struct log_config *config)
{
    return !config->log_append_time && (config->message_timestamp_before_max_ms != INT64_MAX ||
                                        config->message_timestamp_after_max_ms != INT64_MAX);
}

static bool needs_encoding(const struct log_config *config, const struct batch *batch)
{
    return config->compression_type != COMPRESSION_PRODUCER &&
           config->compression_type != (int)batch_codec(batch) &&
           !(batch_is(batch, BATCH_CONTROL) && batch_codec(batch) == CODEC_NONE);
}

static bool out_of_range(const struct validate_rules *rules, int64_t timestamp)
{
    int64_t age_ms = 0;
    if (__builtin_sub_overflow(rules->now_ms, timestamp, &age_ms)) {
        return true;
    }
    return age_ms > rules->config->message_timestamp_before_max_ms ||
           -age_ms > rules->config->message_timestamp_after_max_ms;
}

/* NULL if the record is fine; else why not. */
static const char *judge_record(const struct validate_rules *rules, const struct batch *batch,
                                bool has_key, int64_t timestamp, bool *is_time)
{
    const struct log_config *config = rules->config;
    *is_time = false;
    if (config->cleanup_compact && !has_key && !batch_is(batch, BATCH_CONTROL)) {
        return "Compacted topic cannot accept message without key.";
    }
    *is_time = true;
    if (!config->log_append_time && timestamp != -1) {
        return out_of_range(rules, timestamp) ? "Timestamp of message is out of range." : NULL;
    }
    if (batch_is(batch, BATCH_LOG_APPEND_TIME)) {
        return "Invalid timestamp type in message. Producer should not set timestamp type to "
               "LogAppendTime.";
    }
    return NULL;
}

/* What a walk over a batch's records found. */
struct walk {
    struct arena *arena;
    struct validated *out;
    int32_t count;
    int32_t errors_cap;
    bool time_error;
    bool deltas_wrong; /* not 0, 1, 2… */
    int64_t max_timestamp;
};

/* False: no more can be told. */
static bool note_error(struct walk *walk, int32_t index, const char *message)
{
    struct validated *out = walk->out;
    if (out->record_errors_n == RECORD_ERRORS_MAX) {
        return false;
    }
    if (out->record_errors_n == walk->errors_cap) {
        int32_t cap = walk->errors_cap == 0 ? 8 : walk->errors_cap * 2;
        struct record_error *grown = arena_array(walk->arena, (size_t)cap, sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        if (out->record_errors_n > 0) {
            memcpy(grown, out->record_errors, (size_t)out->record_errors_n * sizeof(*grown));
        }
        out->record_errors = grown;
        walk->errors_cap = cap;
    }
    out->record_errors[out->record_errors_n++] =
        (struct record_error){.index = index, .message = message};
    return true;
}

/* The next record of the walk; false: enough has been found wrong. */
static bool take_record(struct walk *walk, const struct validate_rules *rules,
                        const struct batch *batch, const struct skimmed *record)
{
    bool is_time = false;
    int32_t index = walk->count++;
    int64_t timestamp = batch_timestamp(batch, record->timestamp_delta);
    walk->deltas_wrong |= record->offset_delta != index;
    walk->max_timestamp = timestamp > walk->max_timestamp ? timestamp : walk->max_timestamp;
    const char *message = judge_record(rules, batch, record->has_key, timestamp, &is_time);
    if (message == NULL) {
        return true;
    }
    walk->time_error |= is_time;
    return note_error(walk, index, message);
}

/* `error`: how the walk ended. */
static err judge_walk(const struct walk *walk, err error)
{
    struct validated *out = walk->out;
    if (error != OK) {
        out->record_errors_n = 0;
    }
    switch (error) {
    case OK:
        break;
    case E_BUSY:
        return E_BUSY;
    case E_LIMIT:
        return refuse(out, ERR_MESSAGE_TOO_LARGE, "The inflated batch is too large.");
    case E_CORRUPT:
        return refuse(out, ERR_UNKNOWN_SERVER_ERROR, "The records of the batch cannot be read.");
    default:
        return refuse(out, ERR_INVALID_RECORD, "The records of the batch are malformed.");
    }
    if (out->record_errors_n == 0) {
        return OK;
    }
    return walk->time_error
               ? refuse(out, ERR_INVALID_TIMESTAMP,
                        "One or more records have been rejected due to invalid timestamp")
               : refuse(out, ERR_INVALID_RECORD,
                        "One or more records have been rejected due to record errors");
}

/* Rule 4 for records that are there. */
static err check_records(const struct validate_rules *rules, const struct batch *batch,
                         struct bytes body, struct walk *walk)
{
    struct record_iter iter;
    struct record record;
    record_iter_init(&iter, body, batch->count);
    while (record_iter_next(&iter, &record)) {
        struct skimmed skimmed = {.timestamp_delta = record.timestamp_delta,
                                  .offset_delta = record.offset_delta,
                                  .has_key = record.key.data != NULL};
        if (!take_record(walk, rules, batch, &skimmed)) {
            break;
        }
    }
    bool compressed = batch_codec(batch) != CODEC_NONE;
    return judge_walk(walk, iter.error != OK && compressed ? E_MALFORMED : iter.error);
}

/* Rule 4 for records that are only inflated for it. */
static err skim_records(const struct validate_rules *rules, const struct batch *batch,
                        struct bytes payload, struct walk *walk)
{
    bool hurried = rules->hurried_bytes_max > 0;
    struct skim skim;
    struct skimmed record;
    struct inflater *inflater = inflaters_take(rules->inflaters, batch_codec(batch), payload, 0);
    if (inflater == NULL) {
        return refuse(walk->out, ERR_MESSAGE_TOO_LARGE, "There is no memory to inflate the batch.");
    }
    skim_init(&skim, inflater, batch->count,
              hurried ? rules->hurried_bytes_max : SKIMMED_BYTES_MAX);
    while (skim_next(&skim, &record) && take_record(walk, rules, batch, &record)) {
    }
    inflaters_return(rules->inflaters, inflater);
    TRY(judge_walk(walk, skim.error == E_LIMIT && hurried ? E_BUSY : skim.error));
    return walk->deltas_wrong ? refuse(walk->out, ERR_UNKNOWN_SERVER_ERROR,
                                       "Offsets in a compressed batch must be consecutive.")
                              : OK;
}

/* Rule 5 in place. The low byte's meaning is kept; bits that nobody knows go when the header is
 * rewritten, and stay when it is not. */
static void rewrite_header(const struct validate_rules *rules, uint8_t *data,
                           const struct batch *batch, int64_t max_timestamp)
{
    bool append_time = rules->config->log_append_time;
    int64_t wanted = append_time ? rules->now_ms : max_timestamp;
    if (batch_is(batch, BATCH_LOG_APPEND_TIME) == append_time && batch->max_timestamp == wanted) {
        return;
    }
    int known = batch->attributes &
                (BATCH_CODEC_MASK | BATCH_TRANSACTIONAL | BATCH_CONTROL | BATCH_DELETE_HORIZON);
    batch_set_attributes(data, (int16_t)(known | (append_time ? BATCH_LOG_APPEND_TIME : 0)));
    batch_set_max_timestamp(data, wanted);
    batch_crc_update(data, (size_t)batch->size_bytes);
}

/* All records of a batch that has been judged, numbered anew. */
static void add_records(const struct batch *batch, struct bytes body, struct batch_builder *made)
{
    struct record_iter iter;
    struct record record;
    record_iter_init(&iter, body, batch->count);
    for (int32_t i = 0; record_iter_next(&iter, &record); i++) {
        batch_add_record(made, batch_timestamp(batch, record.timestamp_delta), i, &record);
    }
}

/* Rule 5 with another codec; `body` may be in out->rewritten, which is replaced. */
static err encode_batch(const struct validate_rules *rules, const struct batch *batch,
                        struct bytes body, struct validated *out)
{
    const struct log_config *config = rules->config;
    struct batch_builder builder;
    struct writer made;
    int flags = batch->attributes & (BATCH_TRANSACTIONAL | BATCH_CONTROL);
    writer_init(&made, rules->inflated_limit_bytes);
    batch_begin(&builder, &made, (int16_t)(config->compression_type | flags));
    builder.level = config->compression_level;
    builder.producer_id = batch->producer_id;
    builder.producer_epoch = batch->producer_epoch;
    builder.base_sequence = batch->base_sequence;
    add_records(batch, body, &builder);
    err e = batch_end(&builder);
    writer_deinit(&out->rewritten);
    out->rewritten = made;
    if (e != OK) {
        return refuse(out, ERR_MESSAGE_TOO_LARGE, "The record batch cannot be encoded.");
    }
    struct batch header;
    batch_parse(made.data, &header);
    rewrite_header(rules, made.data, &header, header.max_timestamp);
    if (header.size_bytes > config->max_message_bytes) {
        out->log_start_known = false;
        return refuse(out, ERR_MESSAGE_TOO_LARGE,
                      "The record batch is larger than max.message.bytes after compression.");
    }
    out->data = made.data;
    out->len = made.len;
    return OK;
}

/* Rules 4 and 5 where the batch is encoded anew. */
static err reencode_batch(const struct validate_rules *rules, const struct batch *batch,
                          struct bytes whole, struct walk *walk)
{
    struct writer scratch;
    struct bytes body;
    writer_init(&scratch, rules->inflated_limit_bytes);
    err e = batch_body(whole, &scratch, rules->inflated_limit_bytes, &body);
    e = e == OK ? check_records(rules, batch, body, walk) : judge_walk(walk, e);
    e = e == OK ? encode_batch(rules, batch, body, walk->out) : e;
    writer_deinit(&scratch);
    return e;
}

/* Rule 4 where the batch is stored as it came. */
static err look_through(const struct validate_rules *rules, const struct batch *batch,
                        struct bytes body, struct walk *walk)
{
    const struct log_config *config = rules->config;
    if (batch_codec(batch) == CODEC_NONE) {
        return check_records(rules, batch, body, walk);
    }
    if (!rules->compressed_unchecked || config->cleanup_compact || is_bounded(config)) {
        return skim_records(rules, batch, body, walk);
    }
    walk->max_timestamp = batch->max_timestamp;
    return config->log_append_time && batch_is(batch, BATCH_LOG_APPEND_TIME)
               ? refuse(walk->out, ERR_INVALID_TIMESTAMP,
                        "Producer should not set timestamp type to LogAppendTime.")
               : OK;
}

/* Whether it is clear without a try that this takes longer than the caller has. */
static bool takes_long(const struct validate_rules *rules, const struct batch *batch, size_t len,
                       bool reencode)
{
    size_t max = rules->hurried_bytes_max;
    if (max == 0) {
        return false;
    }
    bool compressed = batch_codec(batch) != CODEC_NONE;
    return (compressed && len > max / HURRIED_RATIO) || (reencode && (compressed || len > max));
}

/* Rules 2 to 5 for the batch that rule 1 found. */
static err take_batch(const struct validate_rules *rules, struct arena *arena,
                      struct validated *out)
{
    struct batch batch;
    batch_parse(out->data, &batch);
    struct bytes whole = bytes_of(out->data, out->len);
    struct bytes body = bytes_of(whole.data + BATCH_HEADER_BYTES, whole.len - BATCH_HEADER_BYTES);
    struct walk walk = {.arena = arena, .out = out, .max_timestamp = -1};
    bool reencode = needs_encoding(rules->config, &batch);
    if (takes_long(rules, &batch, body.len, reencode)) {
        return E_BUSY; /* before the checksum: who is not in a hurry computes it anyway */
    }
    TRY(check_batch(rules, out->data, &batch, out));
    if (reencode) {
        return reencode_batch(rules, &batch, whole, &walk);
    }
    TRY(look_through(rules, &batch, body, &walk));
    rewrite_header(rules, out->data, &batch, walk.max_timestamp);
    return OK;
}

/* A message set becomes a batch, which is then judged as any other. */
static err convert(const struct validate_rules *rules, struct bytes set, struct validated *out)
{
    bool hurried = rules->hurried_bytes_max > 0;
    if (hurried && set.len > rules->hurried_bytes_max / HURRIED_RATIO) {
        return E_BUSY;
    }
    err e = legacy_up_convert(set, rules->config->max_message_bytes,
                              hurried ? rules->hurried_bytes_max : rules->inflated_limit_bytes,
                              &out->rewritten);
    if (e == E_LIMIT) {
        return hurried ? E_BUSY : ERR_MESSAGE_TOO_LARGE;
    }
    out->data = out->rewritten.data;
    out->len = out->rewritten.len;
    return e;
}

err validate_request(const struct validate_rules *rules, struct bytes records,
                     struct validated *out)
{
    *out = (struct validated){.append_time_ms = -1};
    writer_init(&out->rewritten, rules->inflated_limit_bytes);
    return rules->old_formats && is_old(records.data, records.len)
               ? OK
               : check_request(rules, records.data, records.len, out);
}

err validate_batches(const struct validate_rules *rules, uint8_t *data, size_t len,
                     struct arena *arena, struct validated *out)
{
    TRY(validate_request(rules, bytes_of(data, len), out));
    if (out->len == 0) {
        TRY(convert(rules, bytes_of(data, len), out));
        if (out->len == 0) {
            return OK;
        }
    }
    TRY(take_batch(rules, arena, out));
    out->append_time_ms = rules->config->log_append_time ? rules->now_ms : -1;
    out->log_start_known = false;
    return OK;
}
