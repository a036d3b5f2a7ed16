/* Message sets of the formats 0 and 1, and conversion from and to record batches.
 * (storage-format: entries of offset i64, size i32, CRC-32 (IEEE) i32, magic, attributes,
 * [v1 timestamp], key, value; a compressed entry wraps an inner set.) */
#ifndef OTTLA_PROTOCOL_LEGACY_H
#define OTTLA_PROTOCOL_LEGACY_H

#include "protocol/batch.h"

/* Rewrites v2 batches as a message set of magic 0 or 1, as Fetch before version 4 needs it: control
 * batches and headers are dropped, records of uncompressed batches below `fetch_offset` too, codec
 * kept, zstd is UNSUPPORTED_COMPRESSION_TYPE (76). A trailing partial batch in `batches` is
 * ignored. Old entries already of a lower or equal magic are passed on. CORRUPT_MESSAGE (2) when a
 * batch cannot be read, E_LIMIT when it inflates past its limit or `out` is full; then `out` holds
 * a part. */
NODISCARD err legacy_down_convert(struct bytes batches, int8_t magic, int64_t fetch_offset,
                                  size_t inflated_limit_bytes, struct writer *out);

/* Rewrites a message set (several entries, compressed or not, mixed magics; v2 batches are passed
 * on) as v2 batches, as Produce before version 3 needs it; one v2 batch for each run of
 * uncompressed entries and one for each compressed entry, in its codec; offsets begin at 0 in each.
 * A partial entry at the end is ignored. CORRUPT_MESSAGE (2) when an entry's CRC or structure is
 * wrong, INVALID_RECORD (87) for a compressed entry in a compressed one,
 * UNSUPPORTED_COMPRESSION_TYPE (76) for zstd, E_LIMIT as above. */
NODISCARD err legacy_up_convert(struct bytes set, size_t inflated_limit_bytes, struct writer *out);

#endif
