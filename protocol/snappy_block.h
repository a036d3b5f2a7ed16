/* One or two blocks of snappy at a time: two that do not depend on each other take little longer
 * than one. */
#ifndef OTTLA_PROTOCOL_SNAPPY_BLOCK_H
#define OTTLA_PROTOCOL_SNAPPY_BLOCK_H

#include "base/bytes.h"
#include "base/err.h"

/* What is written behind the inflated bytes while they are made. */
enum { SNAPPY_SLACK_BYTES = 64 };

struct snappy_block {
    struct bytes elements; /* the block behind its length */
    uint8_t *out;          /* room for `len` and the slack */
    size_t len;            /* inflated; known from the block's beginning */
};

/* Splits a block into its inflated length and its elements. E_CORRUPT: it has no length, or one
 * that so few bytes cannot be inflated to. `out` is the caller's. */
NODISCARD err snappy_block_begin(struct bytes block, struct snappy_block *begun);
/* Exactly `len` bytes, or E_CORRUPT: what the library takes and refuses. */
NODISCARD err snappy_block_inflate(const struct snappy_block *block);
/* E_CORRUPT: at least one of them is. */
NODISCARD err snappy_block_inflate_two(const struct snappy_block blocks[2]);

#endif
