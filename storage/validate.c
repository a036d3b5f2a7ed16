/* A leader's look at what a client sent, in Kafka's order, because the first rule that is broken
 * decides the code:
 *
 *   1. the request's rules: one batch, its format, zstd's version (no log start offset is told);
 *   2. each batch's rules: base offset 0, size, CRC;
 *   3. counts, control bit, sequence;
 *   4. the records: structure, key, timestamps. All bad records are listed, then the batch refused;
 *   5. the rewrite: timestamp type and maximum in place, with the CRC only if they changed; or a
 * new encoding where the topic asks for another codec.
 *
 * Records of an uncompressed batch are always walked. A compressed one is inflated only where a
 * rule needs its records: a compacted topic, timestamp bounds, another codec. Elsewhere its maximum
 * timestamp is believed and its payload stored as it came: the one deliberate difference. */
#include "storage/validate.h"

#include <stdlib.h>

enum { FRAME_RECORD_MIN = 14 };

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

/* Rule 1, and how much of the input is whole batches. */
static err check_request(const struct validate_rules *rules, const uint8_t *data, size_t len,
                         struct validated *out)
{
    size_t at = 0;
    size_t size = 0;
    int count = 0;
    for (;; at += size, count++) {
        err e = frame_next(data + at, len - at, &size);
        if (e == E_NOT_FOUND) {
            break;
        }
        if (e != OK) {
            return refuse(out, e, "The record batch is corrupt.");
        }
        if (rules->one_batch && count == 1) {
            return refuse(out, ERR_INVALID_RECORD,
                          "Produce requests must contain exactly one record batch per partition.");
        }
        if (data[at + 16] != 2) {
            return refuse(
                out, rules->one_batch ? ERR_INVALID_RECORD : ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT,
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
    }
    if (count == 0) {
        return refuse(out, ERR_INVALID_RECORD,
                      "Produce requests must have at least one record batch per partition.");
    }
    out->data = (uint8_t *)(uintptr_t)data;
    out->len = at;
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
        return refuse(out, ERR_INVALID_RECORD, "Unknown compression type.");
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
                                const struct record *record, int64_t timestamp, bool *is_time)
{
    const struct log_config *config = rules->config;
    *is_time = false;
    if (config->cleanup_compact && record->key.data == NULL && !batch_is(batch, BATCH_CONTROL)) {
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
    int32_t errors_cap;
    bool time_error;
    int64_t max_timestamp;
};

static bool note_error(struct walk *walk, int32_t index, const char *message)
{
    struct validated *out = walk->out;
    if (out->record_errors_n == walk->errors_cap) {
        int32_t cap = walk->errors_cap == 0 ? 8 : walk->errors_cap * 2;
        struct record_error *grown = arena_array(walk->arena, (size_t)cap, sizeof(*grown));
        if (grown == NULL) {
            return false; /* those that fit are told */
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

static int64_t record_timestamp(const struct batch *batch, const struct record *record)
{
    return batch_is(batch, BATCH_LOG_APPEND_TIME)
               ? batch->max_timestamp
               : (int64_t)((uint64_t)batch->base_timestamp + (uint64_t)record->timestamp_delta);
}

/* Rule 4. */
static err check_records(const struct validate_rules *rules, const struct batch *batch,
                         struct bytes body, struct walk *walk)
{
    struct record_iter iter;
    struct record record;
    walk->max_timestamp = -1;
    record_iter_init(&iter, body, batch->count);
    for (int32_t i = 0; record_iter_next(&iter, &record); i++) {
        bool is_time = false;
        int64_t timestamp = record_timestamp(batch, &record);
        if (record.offset_delta != i) {
            /* Kafka stores an uncompressed batch with others as it is; its offsets would overlap
             * the next batch's. */
            return refuse(walk->out, ERR_INVALID_RECORD, "Offsets in a batch must be consecutive.");
        }
        const char *message = judge_record(rules, batch, &record, timestamp, &is_time);
        if (message != NULL) {
            walk->time_error |= is_time;
            if (!note_error(walk, i, message)) {
                break;
            }
        }
        if (timestamp > walk->max_timestamp) {
            walk->max_timestamp = timestamp;
        }
    }
    if (iter.error != OK) {
        walk->out->record_errors_n = 0;
        return refuse(walk->out, ERR_INVALID_RECORD, "The records of the batch are malformed.");
    }
    if (walk->out->record_errors_n > 0) {
        return walk->time_error
                   ? refuse(walk->out, ERR_INVALID_TIMESTAMP,
                            "One or more records have been rejected due to invalid timestamp")
                   : refuse(walk->out, ERR_INVALID_RECORD,
                            "One or more records have been rejected due to record errors");
    }
    return OK;
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

/* Rule 5 with another codec. */
static err encode_batch(const struct validate_rules *rules, const struct batch *batch,
                        struct bytes body, struct validated *out)
{
    struct batch_builder builder;
    struct record_iter iter;
    struct record record;
    const struct log_config *config = rules->config;
    size_t start = out->rewritten.len;
    int flags = batch->attributes & (BATCH_TRANSACTIONAL | BATCH_CONTROL);
    batch_begin(&builder, &out->rewritten, (int16_t)(config->compression_type | flags));
    builder.level = config->compression_level;
    builder.producer_id = batch->producer_id;
    builder.producer_epoch = batch->producer_epoch;
    builder.base_sequence = batch->base_sequence;
    record_iter_init(&iter, body, batch->count);
    for (int32_t i = 0; record_iter_next(&iter, &record); i++) {
        batch_add_record(&builder, record_timestamp(batch, &record), i, &record);
    }
    if (batch_end(&builder) != OK) {
        return refuse(out, ERR_MESSAGE_TOO_LARGE, "The record batch cannot be encoded.");
    }
    uint8_t *data = out->rewritten.data + start;
    struct batch made;
    batch_parse(data, &made);
    rewrite_header(rules, data, &made, made.max_timestamp);
    if (made.size_bytes > config->max_message_bytes) {
        out->log_start_known = false;
        return refuse(out, ERR_MESSAGE_TOO_LARGE,
                      "The record batch is larger than max.message.bytes after compression.");
    }
    return OK;
}

/* One batch through rules 2 to 5. `encode`: its bytes go to out->rewritten. */
static err take_batch(const struct validate_rules *rules, uint8_t *data, bool encode,
                      struct walk *walk, struct writer *scratch)
{
    struct validated *out = walk->out;
    const struct log_config *config = rules->config;
    struct batch batch;
    batch_parse(data, &batch);
    TRY(check_batch(rules, data, &batch, out));
    struct bytes whole = bytes_of(data, (size_t)batch.size_bytes);
    struct bytes body = {0};
    bool compressed = batch_codec(&batch) != CODEC_NONE;
    bool reencode = needs_encoding(config, &batch);
    bool look = !compressed || reencode || config->cleanup_compact || is_bounded(config);
    walk->max_timestamp = batch.max_timestamp;
    if (look) {
        err e = batch_body(whole, scratch, rules->inflated_limit_bytes, &body);
        if (e != OK) {
            return e == E_LIMIT
                       ? refuse(out, ERR_MESSAGE_TOO_LARGE, "The inflated batch is too large.")
                       : refuse(out, ERR_INVALID_RECORD, "The batch cannot be inflated.");
        }
        TRY(check_records(rules, &batch, body, walk));
    } else if (config->log_append_time && batch_is(&batch, BATCH_LOG_APPEND_TIME)) {
        return refuse(out, ERR_INVALID_TIMESTAMP,
                      "Producer should not set timestamp type to LogAppendTime.");
    }
    if (reencode) {
        return encode_batch(rules, &batch, body, out);
    }
    rewrite_header(rules, data, &batch, walk->max_timestamp);
    if (encode) {
        writer_bytes(&out->rewritten, data, whole.len);
    }
    return OK;
}

static bool any_needs_encoding(const struct log_config *config, const uint8_t *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        struct batch batch;
        batch_parse(data + at, &batch);
        if (needs_encoding(config, &batch)) {
            return true;
        }
        at += (size_t)batch.size_bytes;
    }
    return false;
}

err validate_batches(const struct validate_rules *rules, uint8_t *data, size_t len,
                     struct arena *arena, struct validated *out)
{
    *out = (struct validated){.append_time_ms = -1};
    writer_init(&out->rewritten, rules->inflated_limit_bytes);
    TRY(check_request(rules, data, len, out));
    bool encode = any_needs_encoding(rules->config, data, out->len);
    struct walk walk = {.arena = arena, .out = out};
    struct writer scratch;
    writer_init(&scratch, rules->inflated_limit_bytes);
    err e = OK;
    for (size_t at = 0; e == OK && at < out->len;) {
        size_t size = 0;
        e = frame_next(data + at, out->len - at, &size);
        e = e == OK ? take_batch(rules, data + at, encode, &walk, &scratch) : e;
        at += size;
    }
    writer_deinit(&scratch);
    if (e != OK) {
        return e;
    }
    if (encode) {
        if (out->rewritten.failed) {
            return refuse(out, ERR_MESSAGE_TOO_LARGE, "The re-encoded batches are too large.");
        }
        out->data = out->rewritten.data;
        out->len = out->rewritten.len;
    }
    out->append_time_ms = rules->config->log_append_time ? rules->now_ms : -1;
    out->log_start_known = false;
    return OK;
}
