/* Murmur2 of 32 bits, with the seed that Kafka uses, its sign taken away, modulo the number of partitions. */
#include "cli/partitioner.h"

static uint32_t load_le32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint32_t murmur2(struct bytes key)
{
    const uint32_t m = 0x5bd1e995;
    uint32_t h = 0x9747b28c ^ (uint32_t)key.len;
    size_t i = 0;
    for (; i + 4 <= key.len; i += 4) {
        uint32_t k = load_le32(key.data + i) * m;
        h = (h * m) ^ ((k ^ k >> 24) * m);
    }
    uint32_t tail = 0;
    for (size_t j = key.len; j > i; j--) {
        tail = tail << 8 | key.data[j - 1];
    }
    if (i < key.len) {
        h = (h ^ tail) * m;
    }
    h = (h ^ h >> 13) * m;
    return h ^ h >> 15;
}

int32_t partition_of_key(struct bytes key, int32_t partitions_n)
{
    return (int32_t)((murmur2(key) & 0x7fffffff) % (uint32_t)partitions_n);
}
