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

/* Rewrites a message set of magic 0 or 1 as one v2 batch, as Produce before version 3 needs it; its
 * offsets begin at 0. It is judged as Kafka judges it, and the codes are Kafka's:
 *
 *   2   an entry's size or CRC is wrong, also inside of a wrapper
 *   10  an entry is larger than entry_bytes_max
 *   87  a wrapper beside anything else, or several magics; a wrapper that is null or holds nothing,
 *       a wrapper, or another magic; zstd
 *   -1  a wrapper that cannot be inflated; key or value longer than the entry
 *
 * A partial entry at the end is ignored, in a wrapper too; of nothing becomes nothing. E_LIMIT as
 * above; then and after a code `out` holds a part. */
NODISCARD err legacy_up_convert(struct bytes set, int32_t entry_bytes_max,
                                size_t inflated_limit_bytes, struct writer *out);

#endif
