/* Four lanes of four bytes while there are 16, then single words, then bytes, then the mixing. */
#include "protocol/xxh32.h"

enum { LANES = 4, STRIPE_BYTES = 16 };

#define PRIME_1 2654435761U
#define PRIME_2 2246822519U
#define PRIME_3 3266489917U
#define PRIME_4 668265263U
#define PRIME_5 374761393U

static uint32_t rotate_left(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static uint32_t load_word(const uint8_t *at)
{
    return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

/* All whole stripes; moves *at behind them. */
static uint32_t hash_stripes(const uint8_t **at, const uint8_t *end)
{
    uint32_t lanes[LANES] = {PRIME_1 + PRIME_2, PRIME_2, 0, 0U - PRIME_1};
    for (; end - *at >= STRIPE_BYTES; *at += STRIPE_BYTES) {
        for (int i = 0; i < LANES; i++) {
            lanes[i] = rotate_left(lanes[i] + load_word(*at + 4 * i) * PRIME_2, 13) * PRIME_1;
        }
    }
    return rotate_left(lanes[0], 1) + rotate_left(lanes[1], 7) + rotate_left(lanes[2], 12) +
           rotate_left(lanes[3], 18);
}

uint32_t xxh32(const uint8_t *data, size_t len)
{
    const uint8_t *at = data;
    const uint8_t *end = data + len;
    uint32_t h = len >= STRIPE_BYTES ? hash_stripes(&at, end) : PRIME_5;
    h += (uint32_t)len;
    for (; end - at >= 4; at += 4) {
        h = rotate_left(h + load_word(at) * PRIME_3, 17) * PRIME_4;
    }
    for (; at < end; at++) {
        h = rotate_left(h + *at * PRIME_5, 11) * PRIME_1;
    }
    h = (h ^ h >> 15) * PRIME_2;
    h = (h ^ h >> 13) * PRIME_3;
    return h ^ h >> 16;
}
