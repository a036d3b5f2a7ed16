/* What a leader checks and rewrites in a client's batches before they are appended (storage format
 * §4.1, hardening §1). Runs without any lock; it may inflate, where the topic needs it. */
#ifndef OTTLA_STORAGE_VALIDATE_H
#define OTTLA_STORAGE_VALIDATE_H

#include "base/arena.h"
#include "protocol/batch.h"
#include "protocol/error.h"
#include "storage/log_config.h"

struct validate_rules {
    const struct log_config *config;
    int64_t now_ms;
    bool one_batch;       /* Produce v3 and later: exactly one batch, of format 2 */
    bool zstd_allowed;    /* Produce v7 and later */
    bool control_allowed; /* a coordinator's own batches */
    size_t inflated_limit_bytes;
};

struct record_error {
    int32_t index;
    const char *message; /* static */
};

struct validated {
    uint8_t *data; /* the batches to append: the input, or `rewritten` */
    size_t len;
    struct writer rewritten; /* owned; used when batches were re-encoded. Caller deinits. */
    int64_t append_time_ms;  /* LogAppendTime; else -1 */
    struct record_error *record_errors; /* in the arena */
    int32_t record_errors_n;
    const char *message;  /* static text for the client, or NULL */
    bool log_start_known; /* an error after which Produce tells the real log start offset */
};

/* Checks `data` and rewrites it in place (timestamp type and maximum, CRC only if they changed), or
 * re-encodes it when the topic's codec asks for it. Returns OK or the Kafka code for the partition:
 * 2, 10, 18, 32, 43, 76, 87. Trailing bytes that are no whole batch are trimmed. */
NODISCARD err validate_batches(const struct validate_rules *rules, uint8_t *data, size_t len,
                               struct arena *arena, struct validated *out);

#endif
