/* Linear probing; nothing is ever removed. The hash is SipHash-1-3 with 128 bits (Aumasson, Bernstein). */
#define _GNU_SOURCE
#include "storage/clean_map.h"

#include <sys/mman.h>

enum { SLOTS_MIN = 64 };

struct clean_slot {
    uint32_t distance; /* 1 + that of the offset from the first one; 0: empty */
    uint32_t print[2]; /* of the key */
};
_Static_assert(sizeof(struct clean_slot) == CLEAN_SLOT_BYTES, "what the size of the map counts in");

struct hash {
    uint64_t first;
    uint64_t second;
};

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline __attribute__((always_inline)) void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static inline __attribute__((always_inline)) uint64_t sip_finish(uint64_t v[4])
{
    for (int i = 0; i < 3; i++) {
        sip_round(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static struct hash hash_of(const struct clean_map *map, struct bytes key)
{
    uint64_t v[4] = {map->hash_key[0] ^ 0x736f6d6570736575, map->hash_key[1] ^ 0x646f72616e646f83,
                     map->hash_key[0] ^ 0x6c7967656e657261, map->hash_key[1] ^ 0x7465646279746573};
    uint64_t word = 0;
    size_t at = 0;
    for (; key.len - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, key.data + at, sizeof(word));
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    word = 0;
    if (key.len > at) {
        memcpy(&word, key.data + at, key.len - at);
    }
    word |= (uint64_t)key.len << 56;
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xee;
    struct hash hash = {.first = sip_finish(v)};
    v[1] ^= 0xdd;
    hash.second = sip_finish(v);
    return hash;
}

err clean_map_init(struct clean_map *map, size_t bytes, double load, int64_t base_offset,
                   int64_t end_offset, struct random *random)
{
    CHECK(base_offset >= 0 && end_offset >= base_offset && load > 0 && load <= 1);
    uint64_t offsets = (uint64_t)(end_offset - base_offset);
    uint64_t slots_n = bytes / CLEAN_SLOT_BYTES;
    uint64_t enough = (uint64_t)((double)offsets / load) + SLOTS_MIN;
    slots_n = slots_n < enough ? slots_n : enough;
    slots_n = slots_n < SLOTS_MIN ? SLOTS_MIN : slots_n;
    void *memory = mmap(NULL, slots_n * CLEAN_SLOT_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        *map = (struct clean_map){0};
        return E_LIMIT;
    }
    (void)madvise(memory, slots_n * CLEAN_SLOT_BYTES, MADV_HUGEPAGE); /* keys are all over it */
    uint64_t limit = (uint64_t)((double)slots_n * load);
    *map = (struct clean_map){.slots = memory,
                              .slots_n = slots_n,
                              .limit = limit < slots_n ? limit : slots_n - 1,
                              .base_offset = base_offset,
                              .latest_offset = base_offset - 1,
                              .hash_key = {random_u64(random), random_u64(random)}};
    return OK;
}

void clean_map_deinit(struct clean_map *map)
{
    if (map->slots != NULL) {
        munmap(map->slots, map->slots_n * CLEAN_SLOT_BYTES);
    }
    *map = (struct clean_map){0};
}

struct clean_key clean_map_key(const struct clean_map *map, struct bytes key)
{
    struct hash hash = hash_of(map, key);
    uint64_t slot = (uint64_t)((unsigned __int128)hash.first * map->slots_n >> 64);
    __builtin_prefetch(&map->slots[slot], 1);
    return (struct clean_key){.slot = slot,
                              .print = {(uint32_t)hash.second, (uint32_t)(hash.second >> 32)}};
}

/* The slot of a key: its own, or the empty one where it would be. */
static struct clean_slot *slot_of(const struct clean_map *map, const struct clean_key *key)
{
    for (uint64_t i = key->slot;; i = i + 1 < map->slots_n ? i + 1 : 0) {
        struct clean_slot *slot = &map->slots[i];
        if (slot->distance == 0 ||
            (slot->print[0] == key->print[0] && slot->print[1] == key->print[1])) {
            return slot;
        }
    }
}

bool clean_map_put(struct clean_map *map, const struct clean_key *key, int64_t offset)
{
    CHECK(offset >= map->base_offset);
    map->first_offset = map->count == 0 ? offset : map->first_offset;
    if (map->count >= map->limit || offset < map->first_offset ||
        offset - map->first_offset >= UINT32_MAX) {
        return false;
    }
    struct clean_slot *slot = slot_of(map, key);
    map->count += slot->distance == 0 ? 1 : 0;
    *slot = (struct clean_slot){.distance = (uint32_t)(offset - map->first_offset) + 1,
                                .print = {key->print[0], key->print[1]}};
    clean_map_passed(map, offset);
    return true;
}

int64_t clean_map_get(const struct clean_map *map, const struct clean_key *key)
{
    const struct clean_slot *slot = slot_of(map, key);
    return slot->distance == 0 ? -1 : map->first_offset + slot->distance - 1;
}

void clean_map_passed(struct clean_map *map, int64_t offset)
{
    map->latest_offset = offset > map->latest_offset ? offset : map->latest_offset;
}
