/* The last offset of each key, for one pass of the cleaner: a table of fixed size in memory of its own,
 * which goes back to the system with it. (reference: storage format §12)
 *
 * 16 bytes a key (Kafka: 24): 80 bits of a keyed 128-bit hash, and the distance of the offset from the
 * first one. The key of the hash is drawn anew for each map, so that nobody can make two keys meet; by
 * chance two of ten million do in one of 10^10 passes. One thread. */
#ifndef OTTLA_STORAGE_CLEAN_MAP_H
#define OTTLA_STORAGE_CLEAN_MAP_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/random.h"

enum { CLEAN_SLOT_BYTES = 16 };

struct clean_map {
    struct clean_slot *slots; /* mapped */
    uint64_t slots_n;
    uint64_t count;
    uint64_t limit; /* keys that it takes */
    int64_t base_offset;
    int64_t latest_offset; /* all below and this one were looked at; base_offset - 1: none */
    uint64_t hash_key[2];
};

/* Room for `bytes`, but for no more keys than offsets; `load` is the part of it that is used. E_LIMIT: no
 * memory. */
NODISCARD err clean_map_init(struct clean_map *map, size_t bytes, double load, int64_t base_offset,
                             int64_t end_offset, struct random *random);
/* Harmless for one of zeros. */
void clean_map_deinit(struct clean_map *map);
/* Offsets ascend. False: it is full, whether the key is there or not; or the offset is 2^47 away. */
bool clean_map_put(struct clean_map *map, struct bytes key, int64_t offset);
/* -1: it is not there. */
int64_t clean_map_get(const struct clean_map *map, struct bytes key);
/* All up to this offset were looked at. */
void clean_map_passed(struct clean_map *map, int64_t offset);

#endif
