/* What is inflated and what is refused, beside the library: texts, elements at random, and blocks
 * that were damaged. Every block is in memory of its own size, for the sanitizers. */
#include "protocol/snappy_block.h"

#include "base/tests/suite.h"

#include <snappy-c.h>
#include <stdlib.h>

enum { TEXT_MAX = 40000, ELEMENTS_MAX = 3000, TURNS = 500, DAMAGES = 20 };

static uint32_t seed = 1;

static uint32_t chance(uint32_t n)
{
    seed = seed * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)(seed >> 8) * n >> 24);
}

struct made {
    uint8_t *data; /* malloc'd */
    size_t len;
};

static struct made exactly(const uint8_t *data, size_t len)
{
    struct made made = {.data = malloc(len == 0 ? 1 : len), .len = len};
    memcpy(made.data, data, len);
    return made;
}

/* Words of a small alphabet; compressed by the library. */
static struct made text_block(void)
{
    static uint8_t text[TEXT_MAX];
    static char packed[TEXT_MAX * 2];
    size_t len = chance(TEXT_MAX);
    uint32_t letters = 1 + chance(30);
    for (size_t i = 0; i < len; i++) {
        text[i] = (uint8_t)(chance(4) == 0 || i < 100 ? chance(letters) : text[i - 1 - chance(99)]);
    }
    size_t packed_len = sizeof(packed);
    CU_ASSERT_EQUAL_FATAL(snappy_compress((const char *)text, len, packed, &packed_len), SNAPPY_OK);
    return exactly((const uint8_t *)packed, packed_len);
}

static size_t put_length(uint8_t *at, size_t len)
{
    size_t n = 0;
    for (; len >= 0x80; len >>= 7) {
        at[n++] = (uint8_t)(len | 0x80);
    }
    at[n++] = (uint8_t)len;
    return n;
}

/* An element that fits behind `made` bytes. Returns how many it makes. */
static size_t put_element(uint8_t *at, size_t *used, size_t made)
{
    uint32_t kind = made == 0 ? 0 : chance(4);
    if (kind == 0) {
        uint32_t len = 1 + (chance(8) == 0 ? chance(600) : chance(20));
        uint32_t extra = len <= 60 && chance(20) > 0 ? 0 : len <= 256 ? 1 + chance(4) : 2;
        at[0] = (uint8_t)((extra == 0 ? len - 1 : 59 + extra) << 2);
        for (uint32_t i = 0; i < extra; i++) {
            at[1 + i] = (uint8_t)(i < 2 ? (len - 1) >> (8 * i) : 0);
        }
        for (uint32_t i = 0; i < len; i++) {
            at[1 + extra + i] = (uint8_t)chance(256);
        }
        *used = 1 + extra + len;
        return len;
    }
    size_t offset = 1 + chance(chance(2) == 0 && made > 40 ? 40 : (uint32_t)made);
    offset = kind == 1 && offset > 2047 ? 2047 : offset;
    uint32_t len = kind == 1 ? 4 + chance(8) : 1 + chance(64);
    at[0] = (uint8_t)(kind == 1 ? 1 | (len - 4) << 2 | (offset >> 8) << 5 : kind | (len - 1) << 2);
    *used = kind == 1 ? 2 : kind == 2 ? 3 : 5;
    for (size_t i = 1; i < *used; i++) {
        at[i] = (uint8_t)(offset >> (8 * (i - 1)));
    }
    return len;
}

static struct made element_block(void)
{
    static uint8_t elements[ELEMENTS_MAX * 700];
    static uint8_t block[sizeof(elements) + 5];
    size_t len = 0;
    size_t used = 0;
    uint32_t n = chance(ELEMENTS_MAX >> chance(12));
    for (uint32_t i = 0; i < n; i++) {
        size_t one = 0;
        len += put_element(elements + used, &one, len);
        used += one;
    }
    size_t head = put_length(block, len);
    memcpy(block + head, elements, used);
    return exactly(block, head + used);
}

static bool library(struct made block, struct made *text)
{
    size_t len = 0;
    *text = (struct made){0};
    if (snappy_uncompressed_length((const char *)block.data, block.len, &len) != SNAPPY_OK ||
        len > 22 * block.len) {
        return false;
    }
    text->data = malloc(len == 0 ? 1 : len);
    text->len = len;
    return snappy_uncompress((const char *)block.data, block.len, (char *)text->data, &text->len) ==
           SNAPPY_OK;
}

/* Room as a caller gives it. */
static bool begin(struct made block, struct snappy_block *begun)
{
    if (snappy_block_begin(bytes_of(block.data, block.len), begun) != OK) {
        begun->out = NULL;
        return false;
    }
    begun->out = malloc(begun->len + SNAPPY_SLACK_BYTES);
    return true;
}

static bool is_text(const struct snappy_block *block, struct made text)
{
    return block->len == text.len && memcmp(block->out, text.data, text.len) == 0;
}

static void compare_two(struct made a, struct made b)
{
    struct made text[2];
    struct snappy_block blocks[2];
    bool fine[2] = {library(a, &text[0]), library(b, &text[1])};
    bool begun_a = begin(a, &blocks[0]);
    bool begun_b = begin(b, &blocks[1]);
    CU_ASSERT_FATAL((begun_a && snappy_block_inflate(&blocks[0]) == OK) == fine[0]);
    CU_ASSERT_FATAL(!fine[0] || is_text(&blocks[0], text[0]));
    if (begun_a && begun_b) {
        memset(blocks[0].out, 0xee, blocks[0].len);
        err e = snappy_block_inflate_two(blocks);
        CU_ASSERT_FATAL((e == OK) == (fine[0] && fine[1]));
        CU_ASSERT_FATAL(e != OK || (is_text(&blocks[0], text[0]) && is_text(&blocks[1], text[1])));
    }
    for (int i = 0; i < 2; i++) {
        free(blocks[i].out);
        free(text[i].data);
    }
}

static void damage(struct made *block)
{
    uint32_t n = 1 + chance(3);
    for (uint32_t i = 0; i < n && block->len > 0; i++) {
        uint32_t at = chance(4) == 0 ? chance(10) : chance((uint32_t)block->len);
        at = at < block->len ? at : 0;
        if (chance(4) == 0) {
            *block = (struct made){.data = realloc(block->data, at + 1), .len = at + 1};
        } else {
            block->data[at] = (uint8_t)chance(256);
        }
    }
}

static void test_beside_the_library(void)
{
    for (int turn = 0; turn < TURNS; turn++) {
        struct made a = chance(2) == 0 ? text_block() : element_block();
        struct made b = chance(2) == 0 ? text_block() : element_block();
        compare_two(a, b);
        for (int i = 0; i < DAMAGES; i++) {
            struct made broken = exactly(a.data, a.len);
            damage(&broken);
            compare_two(broken, b);
            compare_two(b, broken);
            free(broken.data);
        }
        free(a.data);
        free(b.data);
    }
}

static void test_lengths(void)
{
    static const struct {
        const char *bytes;
        size_t len;
        err expected;
    } ROWS[] = {
        {"", 0, E_CORRUPT},
        {"\x80", 1, E_CORRUPT},
        {"\x00", 1, OK},
        {"\x80\x00", 2, OK},
        {"\x80\x80\x80\x80\x10", 5, E_CORRUPT},
        {"\x80\x80\x80\x80\x80\x00", 6, E_CORRUPT},
        {"\x2c\x00", 2, OK},
        {"\x2d\x00", 2, E_CORRUPT}, /* 45 bytes from 2 */
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        struct snappy_block block;
        CU_ASSERT_EQUAL(snappy_block_begin(bytes_of(ROWS[i].bytes, ROWS[i].len), &block),
                        ROWS[i].expected);
    }
}

SUITE("snappy_block", TEST(test_beside_the_library), TEST(test_lengths))
