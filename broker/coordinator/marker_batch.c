/* Key: version int16 (0), type int16. Value: version int16 (0), coordinator epoch int32. */
#include "broker/coordinator/marker_batch.h"

#include "protocol/batch.h"

enum { MARKER_KEY_BYTES = 4, MARKER_VALUE_BYTES = 6, MARKER_BATCH_LIMIT_BYTES = 256 };

void marker_batch_write(struct writer *out, const struct txn_end *end, int64_t now_ms)
{
    struct writer key;
    struct writer value;
    struct batch_builder batch;
    writer_init(&key, MARKER_KEY_BYTES);
    writer_i16(&key, 0);
    writer_i16(&key, end->commit ? CONTROL_COMMIT : CONTROL_ABORT);
    writer_init(&value, MARKER_VALUE_BYTES);
    writer_i16(&value, 0);
    writer_i32(&value, end->coordinator_epoch);
    writer_init(out, MARKER_BATCH_LIMIT_BYTES);
    batch_begin(&batch, out, BATCH_TRANSACTIONAL | BATCH_CONTROL);
    batch.producer_id = end->producer_id;
    batch.producer_epoch = end->producer_epoch;
    batch_add(&batch, now_ms, bytes_of(key.data, key.len), bytes_of(value.data, value.len));
    CHECK(batch_end(&batch) == OK && !out->failed);
    writer_deinit(&key);
    writer_deinit(&value);
}
