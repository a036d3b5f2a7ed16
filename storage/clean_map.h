/* The last offset of each key, for one pass of the cleaner: a table of fixed size in memory of its own,
 * which goes back to the system with it. (reference: storage format §12)
 *
 * 12 bytes a key (Kafka: 24): 64 bits of a keyed 128-bit hash, and the distance of the offset from the first one. Where a
 * key is looked for is told by the other 64 bits, so that two that are taken for one have more than 80 bits in common. The
 * key of the hash is drawn anew for each map, so that nobody can make two keys meet; by chance two of ten million do in
 * one of 10^10 passes. One thread. */
#ifndef OTTLA_STORAGE_CLEAN_MAP_H
#define OTTLA_STORAGE_CLEAN_MAP_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/random.h"

enum { CLEAN_SLOT_BYTES = 12 };

struct clean_map {
    struct clean_slot *slots; /* mapped */
    uint64_t slots_n;
    uint64_t count;
    uint64_t limit; /* keys that it takes */
    int64_t base_offset;
    int64_t first_offset;  /* of the keys that are in it */
    int64_t latest_offset; /* all below and this one were looked at; base_offset - 1: none */
    uint64_t hash_key[2];
};

/* Room for `bytes`, but for no more keys than offsets; `load` is the part of it that is used. E_LIMIT: no
 * memory. */
NODISCARD err clean_map_init(struct clean_map *map, size_t bytes, double load, int64_t base_offset,
                             int64_t end_offset, struct random *random);
/* Harmless for one of zeros. */
void clean_map_deinit(struct clean_map *map);

/* A key as the map knows it. */
struct clean_key {
    uint64_t slot; /* where it is looked for first */
    uint32_t print[2];
};
/* Asks for its slot from memory: who has several keys does so for all of them before the first is looked for, since a
 * large table is in no cache. */
struct clean_key clean_map_key(const struct clean_map *map, struct bytes key);
/* Offsets ascend. False: it is full, whether the key is there or not; or the offset is 2^32 away from the first one, or
 * below it, as in a batch whose deltas a peer has put in another order, which nobody judges. */
bool clean_map_put(struct clean_map *map, const struct clean_key *key, int64_t offset);
/* -1: it is not there. */
int64_t clean_map_get(const struct clean_map *map, const struct clean_key *key);
/* All up to this offset were looked at. */
void clean_map_passed(struct clean_map *map, int64_t offset);

#endif
