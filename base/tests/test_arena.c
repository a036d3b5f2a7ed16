/* The arena: its cap, zeroed and aligned memory, what a reset keeps. */
#include "base/arena.h"

#include "base/tests/suite.h"

#include <malloc.h>

enum { CAP = 100000 };

static size_t take_all(struct arena *arena, size_t size)
{
    size_t n = 0;
    while (arena_alloc(arena, size) != NULL) {
        n++;
    }
    return n;
}

static void test_zeroed_and_aligned(void)
{
    struct arena arena;
    arena_init(&arena, CAP);
    for (int turn = 0; turn < 3; turn++) {
        for (size_t size = 0; size < 700; size += 7) {
            uint8_t *memory = arena_alloc(&arena, size);
            CU_ASSERT_PTR_NOT_NULL_FATAL(memory);
            CU_ASSERT_EQUAL((uintptr_t)memory % 16, 0);
            for (size_t i = 0; i < size; i++) {
                CU_ASSERT_EQUAL_FATAL(memory[i], 0);
            }
            memset(memory, 0xff, size);
        }
        arena_reset(&arena, CAP);
    }
    arena_deinit(&arena);
}

static void test_copy(void)
{
    static const uint8_t TEXT[] = "twenty bytes of text";
    struct arena arena;
    arena_init(&arena, CAP);
    for (size_t len = 0; len <= sizeof(TEXT); len++) {
        uint8_t *copy = arena_copy(&arena, bytes_of(TEXT, len));
        CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
        CU_ASSERT_EQUAL((uintptr_t)copy % 16, 0);
        CU_ASSERT_EQUAL(memcmp(copy, TEXT, len), 0);
    }
    (void)take_all(&arena, 16);
    CU_ASSERT_PTR_NULL(arena_copy(&arena, bytes_of(TEXT, sizeof(TEXT))));
    arena_deinit(&arena);
}

static void test_cap(void)
{
    struct arena arena;
    for (size_t size = 1; size <= 4096; size = size * 3 + 1) {
        arena_init(&arena, CAP);
        size_t n = take_all(&arena, size);
        CU_ASSERT(n * size <= CAP);
        CU_ASSERT(n * ((size + 15) & ~(size_t)15) > CAP / 2);
        CU_ASSERT_PTR_NULL(arena_alloc(&arena, CAP + 1));
        arena_deinit(&arena);
    }
    arena_init(&arena, CAP);
    CU_ASSERT_PTR_NOT_NULL(arena_alloc(&arena, CAP / 16 * 16));
    CU_ASSERT_PTR_NULL(arena_alloc(&arena, 1));
    arena_deinit(&arena);
}

/* What malloc gave is the cap and little more, however small the allocations are. */
static void test_memory_is_within_the_cap(void)
{
    struct arena arena;
    for (size_t size = 1; size < 3000; size = size * 2 + 1) {
        size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
        arena_init(&arena, 1 << 20);
        (void)take_all(&arena, size);
        size_t taken = mallinfo2().uordblks + mallinfo2().hblkhd - before;
        CU_ASSERT(taken < (1 << 20) + (64 << 10));
        arena_deinit(&arena);
    }
}

static void test_huge_sizes(void)
{
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    CU_ASSERT_PTR_NULL(arena_alloc(&arena, SIZE_MAX));
    CU_ASSERT_PTR_NULL(arena_alloc(&arena, SIZE_MAX - 15));
    CU_ASSERT_PTR_NULL(arena_array(&arena, SIZE_MAX / 2, 3));
    CU_ASSERT_PTR_NULL(arena_array(&arena, 1ull << 33, 1ull << 33));
    CU_ASSERT_PTR_NOT_NULL(arena_array(&arena, 0, 8));
    arena_deinit(&arena);
}

static void test_reset(void)
{
    struct arena arena;
    arena_init(&arena, CAP);
    uint8_t *first = arena_alloc(&arena, 100);
    arena_reset(&arena, CAP);
    CU_ASSERT_EQUAL(arena.used_bytes, 0);
    CU_ASSERT_PTR_EQUAL(arena_alloc(&arena, 100), first);
    (void)take_all(&arena, 1000);
    arena_reset(&arena, 64);
    CU_ASSERT_PTR_NULL(arena_alloc(&arena, 65));
    CU_ASSERT_PTR_NOT_NULL(arena_alloc(&arena, 64));
    CU_ASSERT_PTR_NULL(arena_alloc(&arena, 1));
    arena_deinit(&arena);
}

static void test_text(void)
{
    struct arena arena;
    arena_init(&arena, 64);
    struct str copy = arena_str(&arena, (struct str){.data = "abcdef", .len = 3});
    CU_ASSERT(str_is(copy, "abc") && copy.data[3] == '\0');
    CU_ASSERT_PTR_NULL(arena_str(&arena, (struct str){0}).data);
    struct str empty = arena_str(&arena, STR(""));
    CU_ASSERT(empty.data != NULL && empty.len == 0);
    CU_ASSERT(str_is(arena_format(&arena, "%d-%s", 7, "x"), "7-x"));
    CU_ASSERT_PTR_NULL(arena_format(&arena, "%080d", 1).data);
    CU_ASSERT_PTR_NULL(
        arena_str(&arena, (struct str){.data = "0123456789012345678901234567890123456789"
                                               "0123456789012345678901234567890123456789",
                                       .len = 80})
            .data);
    arena_deinit(&arena);
}

SUITE("arena", TEST(test_zeroed_and_aligned), TEST(test_copy), TEST(test_cap),
      TEST(test_memory_is_within_the_cap), TEST(test_huge_sizes), TEST(test_reset), TEST(test_text))
