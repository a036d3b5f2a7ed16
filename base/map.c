/* Linear probing over a power of two, deletion by shifting back; load at most 3/4. */
#include "base/map.h"

#include "base/err.h"

#include <stdlib.h>
#include <sys/random.h>

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    h ^= h >> 32;
    return h;
}

static uint64_t hash_bytes(uint64_t seed, struct bytes key)
{
    uint64_t h = seed ^ key.len * 0x9e3779b97f4a7c15u;
    size_t at = 0;
    for (; key.len - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, key.data + at, 8);
        h = mix(h ^ word) + seed;
    }
    uint64_t tail = 0;
    if (key.len > at) {
        memcpy(&tail, key.data + at, key.len - at);
    }
    return mix(mix(h ^ tail) + (seed << 1 | 1));
}

void map_init(struct map *map)
{
    *map = (struct map){0};
    CHECK(getrandom(&map->seed, sizeof(map->seed), 0) == (ssize_t)sizeof(map->seed));
}

void map_deinit(struct map *map)
{
    for (size_t i = 0; i < map->capacity; i++) {
        free(map->entries[i].key);
    }
    free(map->entries);
    *map = (struct map){.seed = map->seed};
}

static struct map_entry *slot_find(const struct map *map, uint64_t hash, struct bytes key)
{
    size_t mask = map->capacity - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct map_entry *entry = &map->entries[i];
        if (entry->key == NULL) {
            return entry;
        }
        if (entry->hash == hash && entry->key_len == key.len &&
            (key.len == 0 || memcmp(entry->key, key.data, key.len) == 0)) {
            return entry;
        }
    }
}

void *map_get(const struct map *map, struct bytes key)
{
    if (map->count == 0) {
        return NULL;
    }
    struct map_entry *entry = slot_find(map, hash_bytes(map->seed, key), key);
    return entry->key == NULL ? NULL : entry->value;
}

static void map_grow(struct map *map)
{
    struct map_entry *old = map->entries;
    size_t old_capacity = map->capacity;
    map->capacity = old_capacity == 0 ? 8 : old_capacity * 2;
    map->entries = xcalloc(map->capacity, sizeof(*map->entries));
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].key != NULL) {
            *slot_find(map, old[i].hash, bytes_of(old[i].key, old[i].key_len)) = old[i];
        }
    }
    free(old);
}

void *map_set(struct map *map, struct bytes key, void *value)
{
    CHECK(value != NULL);
    if (map->count + map->count / 3 + 1 >= map->capacity) {
        map_grow(map);
    }
    uint64_t hash = hash_bytes(map->seed, key);
    struct map_entry *entry = slot_find(map, hash, key);
    if (entry->key != NULL) {
        void *before = entry->value;
        entry->value = value;
        return before;
    }
    entry->hash = hash;
    entry->key_len = key.len;
    entry->key = xmalloc(key.len + 1);
    if (key.len > 0) {
        memcpy(entry->key, key.data, key.len);
    }
    entry->key[key.len] = 0;
    entry->value = value;
    map->count++;
    return NULL;
}

void *map_remove(struct map *map, struct bytes key)
{
    if (map->count == 0) {
        return NULL;
    }
    struct map_entry *entry = slot_find(map, hash_bytes(map->seed, key), key);
    if (entry->key == NULL) {
        return NULL;
    }
    void *value = entry->value;
    free(entry->key);
    map->count--;
    size_t mask = map->capacity - 1;
    size_t hole = (size_t)(entry - map->entries);
    for (size_t i = (hole + 1) & mask; map->entries[i].key != NULL; i = (i + 1) & mask) {
        size_t home = map->entries[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->entries[hole] = map->entries[i];
            hole = i;
        }
    }
    map->entries[hole] = (struct map_entry){0};
    return value;
}

struct map_entry *map_next(const struct map *map, size_t *at)
{
    while (*at < map->capacity) {
        struct map_entry *entry = &map->entries[(*at)++];
        if (entry->key != NULL) {
            return entry;
        }
    }
    return NULL;
}
