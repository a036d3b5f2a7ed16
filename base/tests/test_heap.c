/* What is due first, whatever was put, moved and removed before. */
#include "base/heap.h"

#include "base/list.h"
#include "base/random.h"
#include "base/tests/suite.h"

enum { ITEMS = 300, STEPS = 20000, DUE_MAX = 50 };

static struct heap_item items[ITEMS];

/* By looking at all of them. */
static int64_t least_due(void)
{
    int64_t least = INT64_MAX;
    for (int i = 0; i < ITEMS; i++) {
        least = items[i].place != 0 && items[i].due < least ? items[i].due : least;
    }
    return least;
}

static void test_against_a_search(void)
{
    struct heap heap = {0};
    struct seeded_random random;
    seeded_random_init(&random, 7);
    memset(items, 0, sizeof(items));
    for (int i = 0; i < STEPS; i++) {
        struct heap_item *item = &items[random_below(&random.random, ITEMS)];
        if (random_below(&random.random, 3) == 0) {
            heap_remove(&heap, item);
            CU_ASSERT_EQUAL(item->place, 0);
        } else {
            heap_put(&heap, item, random_below(&random.random, DUE_MAX));
        }
        const struct heap_item *first = heap_first(&heap);
        CU_ASSERT_EQUAL(first == NULL ? INT64_MAX : first->due, least_due());
    }
    int64_t before = 0;
    while (heap_first(&heap) != NULL) {
        struct heap_item *first = heap_first(&heap);
        CU_ASSERT(first->due >= before);
        before = first->due;
        heap_remove(&heap, first);
    }
    CU_ASSERT_EQUAL(heap.count, 0);
    CU_ASSERT_EQUAL(least_due(), INT64_MAX);
    heap_deinit(&heap);
}

static void test_empty(void)
{
    struct heap heap = {0};
    struct heap_item item = {0};
    CU_ASSERT_PTR_NULL(heap_first(&heap));
    heap_remove(&heap, &item);
    heap_put(&heap, &item, INT64_MAX);
    CU_ASSERT_PTR_EQUAL(heap_first(&heap), &item);
    heap_put(&heap, &item, -1); /* it is in it once */
    CU_ASSERT_EQUAL(heap.count, 1);
    heap_remove(&heap, &item);
    heap_remove(&heap, &item);
    CU_ASSERT_PTR_NULL(heap_first(&heap));
    heap_deinit(&heap);
    heap_deinit(&heap);
}

SUITE("heap", TEST(test_against_a_search), TEST(test_empty))
