/* What is due first: an intrusive binary heap. The item lives in the thing that is due.
 *
 * No ownership of items, no lock. All zero is an empty heap, and an item that is in none. */
#ifndef OTTLA_BASE_HEAP_H
#define OTTLA_BASE_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct heap_item {
    int64_t due;
    size_t place; /* in its heap, from 1 on; 0: in none */
};

struct heap {
    struct heap_item **items; /* malloc'd */
    size_t count;
    size_t room;
};

void heap_deinit(struct heap *heap);
/* It is due then; also one that is in this heap already. */
void heap_put(struct heap *heap, struct heap_item *item, int64_t due);
/* Harmless for one that is in none. */
void heap_remove(struct heap *heap, struct heap_item *item);

/* NULL: nothing is due. */
static inline struct heap_item *heap_first(const struct heap *heap)
{
    return heap->count == 0 ? NULL : heap->items[0];
}

#endif
