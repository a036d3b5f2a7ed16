/* A HashMap is a table whose size is a power of two, 16 or what is enough for the number it was made for, doubled
 * whenever it is more than three quarters full. A key stands in the slot of its hash (the upper half of String.hashCode
 * folded into the lower one); those of one slot stand in the order in which they came. So the order is that of the
 * slots in the table's last size. (Slots of eight keys and more become trees, which keep that order too.) */
#include "cli/java_order.h"

#include "base/err.h"

#include <stdlib.h>

struct placed {
    uint32_t slot;
    size_t index;
};

static uint32_t hash_of(struct str key)
{
    uint32_t hash = 0;
    for (size_t i = 0; i < key.len; i++) {
        hash = 31 * hash + (uint8_t)key.data[i];
    }
    return hash ^ hash >> 16;
}

static size_t table_size(size_t keys_n, size_t expected)
{
    size_t size = expected == 0 ? 16 : 1;
    while (size < expected) {
        size *= 2;
    }
    while (keys_n > size - size / 4) {
        size *= 2;
    }
    return size;
}

static int compare_placed(const void *a, const void *b)
{
    const struct placed *x = a;
    const struct placed *y = b;
    if (x->slot != y->slot) {
        return x->slot < y->slot ? -1 : 1;
    }
    return x->index < y->index ? -1 : x->index > y->index;
}

void java_order(const struct str *keys, size_t keys_n, size_t expected, size_t *order)
{
    struct placed *placed = xcalloc(keys_n + 1, sizeof(*placed));
    size_t size = table_size(keys_n, expected);
    for (size_t i = 0; i < keys_n; i++) {
        placed[i] = (struct placed){.slot = hash_of(keys[i]) & (uint32_t)(size - 1), .index = i};
    }
    qsort(placed, keys_n, sizeof(*placed), compare_placed);
    for (size_t i = 0; i < keys_n; i++) {
        order[i] = placed[i].index;
    }
    free(placed);
}
