/* What a leader checks and rewrites in a client's batches before they are appended. (reference:
 * storage format §4.1, hardening §1) Runs without any lock, on any thread. */
#ifndef OTTLA_STORAGE_VALIDATE_H
#define OTTLA_STORAGE_VALIDATE_H

#include "base/arena.h"
#include "protocol/batch.h"
#include "protocol/error.h"
#include "protocol/inflate.h"
#include "storage/log_config.h"

struct validate_rules {
    const struct log_config *config;
    int64_t now_ms;
    bool old_formats;     /* Produce v0 to v2: message sets too, which become a batch; or nothing */
    bool zstd_allowed;    /* all versions but Produce v3 to v6 */
    bool control_allowed; /* a coordinator's own batches */
    /* Compressed batches are stored as they came and their header is believed, where no rule of the
     * topic needs their records. */
    bool compressed_unchecked;
    /* What inflated records may take in memory, where they are encoded anew: another codec, old
     * formats. */
    size_t inflated_limit_bytes;
    struct inflaters *inflaters; /* of this thread; NULL: made for each batch */
    /* The caller must not be held up: E_BUSY, and nothing is changed, when more than this would be
     * inflated or encoded; 0: there is no hurry. */
    size_t hurried_bytes_max;
};

struct record_error {
    int32_t index;
    const char *message; /* static */
};

struct validated {
    uint8_t *data;           /* the batch to append: in the input, or `rewritten` */
    size_t len;              /* 0: nothing was sent, which old versions may */
    struct writer rewritten; /* owned; used when the batch was encoded anew. Caller deinits. */
    int64_t append_time_ms;  /* LogAppendTime; else -1 */
    struct record_error *record_errors; /* in the arena */
    int32_t record_errors_n;
    const char *message;  /* static text for the client, or NULL */
    bool log_start_known; /* an error after which Produce tells the real log start offset */
};

/* The first of the rules, which is about the request and needs no log: one batch, its format, zstd's
 * version. OK too for what is left of old formats, which are converted: `out` has no batch then.
 * CORRUPT_MESSAGE (2), UNSUPPORTED_COMPRESSION_TYPE (76), INVALID_RECORD (87). */
NODISCARD err validate_request(const struct validate_rules *rules, struct bytes records,
                               struct validated *out);

/* Checks the one batch in `data` by all rules and rewrites it in place (timestamp type and maximum, CRC only if
 * they changed), or encodes it anew where the topic's codec or an old format asks for it. Trailing bytes
 * that are no whole batch are trimmed. A compressed batch is inflated in bounded memory
 * (protocol/inflate.h).
 *
 * Returns OK, E_BUSY, or the Kafka code for the partition: UNKNOWN_SERVER_ERROR (-1),
 * CORRUPT_MESSAGE (2), MESSAGE_TOO_LARGE (10), INVALID_TIMESTAMP (32),
 * UNSUPPORTED_COMPRESSION_TYPE (76), INVALID_RECORD (87). */
NODISCARD err validate_batches(const struct validate_rules *rules, uint8_t *data, size_t len,
                               struct arena *arena, struct validated *out);

#endif
