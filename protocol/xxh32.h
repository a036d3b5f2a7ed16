/* xxHash32 with seed 0: the checksum of lz4 frames, which the lz4 library computes and does not
 * offer. */
#ifndef OTTLA_PROTOCOL_XXH32_H
#define OTTLA_PROTOCOL_XXH32_H

#include <stddef.h>
#include <stdint.h>

uint32_t xxh32(const uint8_t *data, size_t len);

#endif
