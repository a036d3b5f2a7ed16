#include "base/heap.h"

#include "base/err.h"

#include <stdlib.h>

void heap_deinit(struct heap *heap)
{
    free(heap->items);
    *heap = (struct heap){0};
}

static void place(struct heap *heap, size_t at, struct heap_item *item)
{
    heap->items[at - 1] = item;
    item->place = at;
}

static struct heap_item *at_place(const struct heap *heap, size_t at)
{
    return heap->items[at - 1];
}

/* From there up or down, to where it belongs. */
static void settle(struct heap *heap, size_t at, struct heap_item *item)
{
    for (; at > 1 && at_place(heap, at / 2)->due > item->due; at /= 2) {
        place(heap, at, at_place(heap, at / 2));
    }
    for (size_t child; (child = at * 2) <= heap->count; at = child) {
        if (child < heap->count && at_place(heap, child + 1)->due < at_place(heap, child)->due) {
            child++;
        }
        if (at_place(heap, child)->due >= item->due) {
            break;
        }
        place(heap, at, at_place(heap, child));
    }
    place(heap, at, item);
}

void heap_put(struct heap *heap, struct heap_item *item, int64_t due)
{
    heap_remove(heap, item);
    if (heap->count == heap->room) {
        heap->room = heap->room == 0 ? 64 : heap->room * 2;
        heap->items = xrealloc(heap->items, heap->room * sizeof(struct heap_item *));
    }
    item->due = due;
    settle(heap, ++heap->count, item);
}

void heap_remove(struct heap *heap, struct heap_item *item)
{
    size_t at = item->place;
    if (at == 0) {
        return;
    }
    item->place = 0;
    struct heap_item *last = heap->items[--heap->count];
    if (last != item) {
        settle(heap, at, last);
    }
}
