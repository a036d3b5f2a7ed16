/* A hash map from bytes to a pointer. Keys are copied; values belong to the caller.
 *
 * Open addressing with a keyed hash, so that a peer cannot choose colliding names. The key is drawn
 * for each map with its first key, and shows nowhere: iteration is in the order in which the keys were first set, so the
 * same calls give the same order in every run. Not locked. */
#ifndef OTTLA_BASE_MAP_H
#define OTTLA_BASE_MAP_H

#include "base/bytes.h"

struct map_entry {
    uint64_t hash;
    uint8_t *key; /* malloc'd; NULL: removed */
    size_t key_len;
    void *value; /* never NULL in an entry with a key */
};

struct map {
    struct map_entry *entries; /* in the order of insertion, with the holes of what was removed */
    size_t entries_n;
    size_t entries_cap;
    uint32_t *slots; /* the hash table: places in `entries` plus one; 0: empty */
    size_t slots_n;  /* a power of two, or 0 */
    size_t count;
    uint64_t seed;
};

void map_init(struct map *map);
/* Frees keys and entries, not values; the map is empty and may be used on. */
void map_deinit(struct map *map);

void *map_get(const struct map *map, struct bytes key);
/* Sets a value and returns the one that was there, or NULL. */
void *map_set(struct map *map, struct bytes key, void *value);
/* Removes and returns the value, or NULL. */
void *map_remove(struct map *map, struct bytes key);

static inline struct bytes map_key_str(struct str s)
{
    return (struct bytes){.data = (const uint8_t *)s.data, .len = s.len};
}

static inline void *map_get_str(const struct map *map, struct str key)
{
    return map_get(map, map_key_str(key));
}

static inline void *map_set_str(struct map *map, struct str key, void *value)
{
    return map_set(map, map_key_str(key), value);
}

static inline void *map_remove_str(struct map *map, struct str key)
{
    return map_remove(map, map_key_str(key));
}

static inline void *map_get_i64(const struct map *map, int64_t key)
{
    return map_get(map, bytes_of(&key, sizeof(key)));
}

static inline void *map_set_i64(struct map *map, int64_t key, void *value)
{
    return map_set(map, bytes_of(&key, sizeof(key)), value);
}

static inline void *map_remove_i64(struct map *map, int64_t key)
{
    return map_remove(map, bytes_of(&key, sizeof(key)));
}

/* The next used entry at or after *at, or NULL. Begin with *at = 0; nothing may be set or removed
 * meanwhile, except that the returned entry's value may be changed. */
struct map_entry *map_next(const struct map *map, size_t *at);

/* Stops the process where the map contradicts itself: see base/check.h. */
void map_check(const struct map *map);

#define map_each(entry, map)                                                                       \
    for (size_t entry##_at = 0, entry##_once = 1; entry##_once != 0; entry##_once = 0)             \
        for (struct map_entry * entry; (entry = map_next((map), &entry##_at)) != NULL;)

#endif
