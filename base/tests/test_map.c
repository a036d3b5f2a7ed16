/* The map against a model: an array indexed by the key. */
#include "base/map.h"

#include "base/list.h"
#include "base/tests/suite.h"

enum { KEYS = 500, STEPS = 200000 };

/* Key k as bytes: lengths 0 to 40, zeros among them, many with the same beginning. */
static struct bytes key_of(uint32_t k, uint8_t buffer[64])
{
    size_t len = k == 0 ? 0 : 2 + k % 39;
    memset(buffer, 0, len);
    if (len > 0) {
        buffer[len - 1] = (uint8_t)(k / 39);
        buffer[0] = 7;
    }
    return bytes_of(buffer, len);
}

static void check_all(const struct map *map, void *const *model, size_t count)
{
    size_t seen = 0;
    map_check(map);
    CU_ASSERT_EQUAL_FATAL(map->count, count);
    map_each (entry, map) {
        seen++;
        CU_ASSERT_FATAL(entry->value != NULL);
        uint32_t k = (uint32_t)((void *const *)entry->value - model);
        uint8_t buffer[64];
        struct bytes key = key_of(k, buffer);
        CU_ASSERT_FATAL(bytes_equal(key, bytes_of(entry->key, entry->key_len)));
    }
    CU_ASSERT_EQUAL_FATAL(seen, count);
}

/* A value is the address of a place in the model, so that iteration can find its key. */
static void test_against_a_model(void)
{
    struct map map;
    void *model[KEYS] = {0};
    size_t count = 0;
    struct seeded_random random;
    seeded_random_init(&random, 42);
    map_init(&map);
    for (int step = 0; step < STEPS; step++) {
        uint32_t k = random_below(&random.random, KEYS);
        bool growing = (step / 5000) % 2 == 0;
        uint8_t buffer[64];
        struct bytes key = key_of(k, buffer);
        CU_ASSERT_PTR_EQUAL_FATAL(map_get(&map, key), model[k]);
        if (random_below(&random.random, 10) < (growing ? 7u : 2u)) {
            CU_ASSERT_PTR_EQUAL_FATAL(map_set(&map, key, &model[k]), model[k]);
            count += model[k] == NULL;
            model[k] = &model[k];
        } else {
            CU_ASSERT_PTR_EQUAL_FATAL(map_remove(&map, key), model[k]);
            count -= model[k] != NULL;
            model[k] = NULL;
        }
        if (step % 100 == 0) {
            check_all(&map, model, count);
        }
    }
    check_all(&map, model, count);
    map_deinit(&map);
    map_check(&map);
    CU_ASSERT_EQUAL(map.count, 0);
    CU_ASSERT_PTR_NULL(map_get(&map, bytes_of("x", 1)));
}

static void test_keys_are_copied(void)
{
    struct map map;
    int value = 1;
    char name[] = "topic";
    map_init(&map);
    (void)map_set_str(&map, str_of(name), &value);
    name[0] = 'T';
    CU_ASSERT_PTR_EQUAL(map_get_str(&map, STR("topic")), &value);
    CU_ASSERT_PTR_NULL(map_get_str(&map, STR("Topic")));
    CU_ASSERT_PTR_NULL(map_get_str(&map, STR("topi")));
    (void)map_set_i64(&map, -1, &value);
    CU_ASSERT_PTR_EQUAL(map_get_i64(&map, -1), &value);
    CU_ASSERT_PTR_EQUAL(map_remove_i64(&map, -1), &value);
    CU_ASSERT_PTR_NULL(map_remove_i64(&map, -1));
    map_deinit(&map);
}

static void test_empty(void)
{
    struct map map;
    map_init(&map);
    CU_ASSERT_PTR_NULL(map_get_str(&map, STR("a")));
    CU_ASSERT_PTR_NULL(map_remove_str(&map, STR("a")));
    int seen = 0;
    map_each (entry, &map) {
        seen += entry != NULL;
    }
    CU_ASSERT_EQUAL(seen, 0);
    map_deinit(&map);
}

/* Two maps with the same keys have other seeds: a peer cannot know the order. */
static void test_seeds_differ(void)
{
    struct map a;
    struct map b;
    map_init(&a);
    map_init(&b);
    map_set_str(&a, STR("k"), &a);
    map_set_str(&b, STR("k"), &b);
    CU_ASSERT_NOT_EQUAL(a.seed, b.seed);
    map_deinit(&a);
    map_deinit(&b);
}

struct thing {
    int number;
    struct list link;
};

static void test_list(void)
{
    struct thing things[10];
    struct list head;
    list_init(&head);
    CU_ASSERT(list_empty(&head));
    for (int i = 0; i < 10; i++) {
        things[i].number = i;
        list_append(&head, &things[i].link);
    }
    list_each_safe (item, &head) {
        struct thing *thing = container_of(item, struct thing, link);
        if (thing->number % 2 == 0) {
            list_remove(item);
            list_remove(item);
        }
    }
    list_prepend(&head, &things[0].link);
    static const int LEFT[] = {0, 1, 3, 5, 7, 9};
    int n = 0;
    list_each (item, &head) {
        CU_ASSERT_EQUAL(container_of(item, struct thing, link)->number, LEFT[n]);
        n++;
    }
    CU_ASSERT_EQUAL(n, 6);
}

SUITE("map", TEST(test_against_a_model), TEST(test_keys_are_copied), TEST(test_empty),
      TEST(test_seeds_differ), TEST(test_list))
