/* A dense array of entries in the order of insertion, and beside it a table of their places: linear
 * probing over a power of two, deletion by shifting back, load at most 3/4. Removal leaves a hole in
 * the array; when the array is full it is closed up if a quarter are holes, else it doubles. */
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
}

void map_deinit(struct map *map)
{
    for (size_t i = 0; i < map->entries_n; i++) {
        free(map->entries[i].key);
    }
    free(map->entries);
    free(map->slots);
    *map = (struct map){0};
}

/* The slot of a key: of its entry, or the empty one where it would be. */
static size_t slot_find(const struct map *map, uint64_t hash, struct bytes key)
{
    size_t mask = map->slots_n - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        if (map->slots[i] == 0) {
            return i;
        }
        const struct map_entry *entry = &map->entries[map->slots[i] - 1];
        if (entry->hash == hash && entry->key_len == key.len &&
            (key.len == 0 || memcmp(entry->key, key.data, key.len) == 0)) {
            return i;
        }
    }
}

static struct map_entry *slot_entry(const struct map *map, size_t slot)
{
    return map->slots[slot] == 0 ? NULL : &map->entries[map->slots[slot] - 1];
}

void *map_get(const struct map *map, struct bytes key)
{
    if (map->count == 0) {
        return NULL;
    }
    struct map_entry *entry = slot_entry(map, slot_find(map, hash_bytes(map->seed, key), key));
    return entry == NULL ? NULL : entry->value;
}

static void close_holes(struct map *map)
{
    size_t n = 0;
    for (size_t i = 0; i < map->entries_n; i++) {
        if (map->entries[i].key != NULL) {
            map->entries[n++] = map->entries[i];
        }
    }
    map->entries_n = n;
    CHECK(n == map->count);
}

/* Makes room for one more entry, and the table anew: the places have changed. */
static void make_room(struct map *map)
{
    if (map->entries_cap == 0) { /* most maps stay empty, and a draw is a system call */
        CHECK(getrandom(&map->seed, sizeof(map->seed), 0) == (ssize_t)sizeof(map->seed));
    }
    close_holes(map);
    if (map->entries_n + map->entries_n / 3 >= map->entries_cap) {
        map->entries_cap = map->entries_cap == 0 ? 6 : map->entries_cap * 2;
        map->entries = xrealloc(map->entries, map->entries_cap * sizeof(*map->entries));
        map->slots_n = map->slots_n == 0 ? 8 : map->slots_n * 2;
        free(map->slots);
        map->slots = xcalloc(map->slots_n, sizeof(*map->slots));
    } else {
        memset(map->slots, 0, map->slots_n * sizeof(*map->slots));
    }
    CHECK(map->entries_cap < UINT32_MAX);
    size_t mask = map->slots_n - 1;
    for (size_t i = 0; i < map->entries_n; i++) {
        size_t slot = map->entries[i].hash & mask;
        while (map->slots[slot] != 0) {
            slot = (slot + 1) & mask;
        }
        map->slots[slot] = (uint32_t)(i + 1);
    }
}

void *map_set(struct map *map, struct bytes key, void *value)
{
    CHECK(value != NULL);
    if (map->entries_n == map->entries_cap) {
        make_room(map);
    }
    uint64_t hash = hash_bytes(map->seed, key);
    size_t slot = slot_find(map, hash, key);
    struct map_entry *entry = slot_entry(map, slot);
    if (entry != NULL) {
        void *before = entry->value;
        entry->value = value;
        return before;
    }
    entry = &map->entries[map->entries_n++];
    *entry = (struct map_entry){
        .hash = hash, .key = xmalloc(key.len + 1), .key_len = key.len, .value = value};
    if (key.len > 0) {
        memcpy(entry->key, key.data, key.len);
    }
    entry->key[key.len] = 0;
    map->slots[slot] = (uint32_t)map->entries_n;
    map->count++;
    return NULL;
}

/* Entries behind an emptied slot move up, so that probing does not stop at it. */
static void slot_empty(struct map *map, size_t hole)
{
    size_t mask = map->slots_n - 1;
    for (size_t i = (hole + 1) & mask; map->slots[i] != 0; i = (i + 1) & mask) {
        size_t home = map->entries[map->slots[i] - 1].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole] = 0;
}

void *map_remove(struct map *map, struct bytes key)
{
    if (map->count == 0) {
        return NULL;
    }
    size_t slot = slot_find(map, hash_bytes(map->seed, key), key);
    struct map_entry *entry = slot_entry(map, slot);
    if (entry == NULL) {
        return NULL;
    }
    void *value = entry->value;
    slot_empty(map, slot);
    free(entry->key);
    *entry = (struct map_entry){0};
    if (--map->count == 0) {
        map->entries_n = 0;
    }
    return value;
}

struct map_entry *map_next(const struct map *map, size_t *at)
{
    while (*at < map->entries_n) {
        struct map_entry *entry = &map->entries[(*at)++];
        if (entry->key != NULL) {
            return entry;
        }
    }
    return NULL;
}

/* Each entry is found from its own hash, and nothing else stands in the table. */
void map_check(const struct map *map)
{
    size_t live = 0;
    size_t used = 0;
    for (size_t i = 0; i < map->entries_n; i++) {
        const struct map_entry *entry = &map->entries[i];
        if (entry->key == NULL) {
            continue;
        }
        struct bytes key = bytes_of(entry->key, entry->key_len);
        CHECK(entry->value != NULL && entry->hash == hash_bytes(map->seed, key));
        CHECK(slot_entry(map, slot_find(map, entry->hash, key)) == entry);
        live++;
    }
    for (size_t i = 0; i < map->slots_n; i++) {
        used += map->slots[i] != 0 ? 1 : 0;
    }
    CHECK(live == map->count && used == map->count);
    CHECK(map->entries_n <= map->entries_cap);
    CHECK((map->slots_n & (map->slots_n - 1)) == 0);
    CHECK(map->entries_cap <= map->slots_n / 4 * 3);
}
