/* A block of snappy: the inflated length as a varint, then elements. An element is a tag byte, whose
 * low two bits say what it is, and
 *
 *   0  literal: length - 1 in the high six bits; 60 to 63: in the 1 to 4 bytes that follow (little
 *      endian); then the bytes;
 *   1  copy of 4 to 11 bytes: length - 4 in bits 2 to 4; 11 bits of offset, of which 3 are in the tag;
 *   2  copy of 1 to 64 bytes: length - 1 in the high six bits, then two bytes of offset;
 *   3  the same with four bytes of offset.
 *
 * Why not the library: a text's elements are of 3 to 10 bytes, and whether a literal or a copy is
 * next cannot be foreseen. The library as gcc builds it branches on that; the misses are most of its
 * time. Here both are one move of 16 bytes from a place that is selected without a branch, and what
 * remains is the chain from tag to tag, about ten cycles an element. Two independent blocks hide one
 * another's chain; xerial's frame is full of them.
 *
 * CPU s per GB inflated, the log lines of bench/load: library 1.12, one block at a time 0.71, two 0.46;
 * `bench/compare --only snappy` is the benchmark.
 *
 * Bytes of the input are taken without the reader: `fast` needs no check of each, because it goes
 * only to where the largest element it takes (FAST_BYTES) still fits; output has the slack. What is
 * not usual goes through `step`, which checks everything: overlapping copies, wrong offsets, long
 * literals, the beginning and the end of a block. */
#include "protocol/snappy_block.h"

#include <stdbool.h>
#include <string.h>

enum {
    RATIO_MAX = 22, /* the best element is 64 bytes from 3 */
    LENGTH_BYTES_MAX = 5,
    LENGTH_LAST_BYTE_MAX = 15, /* of 5: 32 bits */
    MOVE_BYTES = 16,
    FAST_BYTES = 80,
    LITERAL_INLINE_MAX = 60,
    LONG = 255, /* instead of a length: not for `fast` */
};

/* What the tag says: length, how far the next tag is, and the offset's high bits. A literal's
 * offset, which is not used, is one that passes for good. */
struct element {
    uint8_t len;
    uint8_t advance;
    uint16_t offset_high;
};

#define HIGH6(tag) ((tag) >> 2)
#define LEN(tag)                                                                                   \
    (((tag)&3) == 1                                       ? 4 + (HIGH6(tag) & 7)                   \
     : ((tag)&3) == 0 && HIGH6(tag) >= LITERAL_INLINE_MAX ? LONG                                   \
                                                          : HIGH6(tag) + 1)
#define ADVANCE(tag)                                                                               \
    (((tag)&3) == 1 ? 2 : ((tag)&3) == 2 ? 3 : ((tag)&3) == 3 ? 5 : (HIGH6(tag) + 2) & 0xff)
#define OFFSET_HIGH(tag) (((tag)&3) == 0 ? MOVE_BYTES : ((tag)&3) == 1 ? ((tag) >> 5) << 8 : 0)
#define ROW1(tag)                                                                                  \
    {                                                                                              \
        LEN(tag), ADVANCE(tag), OFFSET_HIGH(tag)                                                   \
    }
#define ROW4(tag)  ROW1(tag), ROW1((tag) + 1), ROW1((tag) + 2), ROW1((tag) + 3)
#define ROW16(tag) ROW4(tag), ROW4((tag) + 4), ROW4((tag) + 8), ROW4((tag) + 12)
#define ROW64(tag) ROW16(tag), ROW16((tag) + 16), ROW16((tag) + 32), ROW16((tag) + 48)

static const struct element ELEMENTS[256] = {ROW64(0), ROW64(64), ROW64(128), ROW64(192)};

static const uint32_t OFFSET_MASK[4] = {0, 0xff, 0xffff, 0xffffffff};

struct lane {
    const uint8_t *in;
    const uint8_t *in_fast; /* up to where `fast` may go */
    const uint8_t *in_end;
    uint8_t *out;
    uint8_t *out_end;
    uint8_t *start;
};

static inline uint32_t load_le32(const uint8_t *at)
{
    return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

static inline void move16(uint8_t *to, const uint8_t *from)
{
    uint8_t bytes[MOVE_BYTES];
    memcpy(bytes, from, MOVE_BYTES);
    memcpy(to, bytes, MOVE_BYTES);
}

static uint32_t take_le(struct lane *l, size_t bytes)
{
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value |= (uint32_t)l->in[i] << (8 * i);
    }
    l->in += bytes;
    return value;
}

/* A literal whose tag has been taken. */
static bool step_literal(struct lane *l, size_t high)
{
    size_t len = high + 1;
    if (high >= LITERAL_INLINE_MAX) {
        size_t length_bytes = high - LITERAL_INLINE_MAX + 1;
        if ((size_t)(l->in_end - l->in) < length_bytes) {
            return false;
        }
        len = (size_t)take_le(l, length_bytes) + 1;
    }
    if (len > (size_t)(l->in_end - l->in) || len > (size_t)(l->out_end - l->out)) {
        return false;
    }
    memcpy(l->out, l->in, len);
    l->in += len;
    l->out += len;
    return true;
}

/* One element, everything checked; false: it is corrupt. */
static bool step(struct lane *l)
{
    unsigned tag = *l->in++;
    if ((tag & 3) == 0) {
        return step_literal(l, tag >> 2);
    }
    size_t offset_bytes = ELEMENTS[tag].advance - 1;
    if ((size_t)(l->in_end - l->in) < offset_bytes) {
        return false;
    }
    size_t offset = ELEMENTS[tag].offset_high + take_le(l, offset_bytes);
    size_t len = ELEMENTS[tag].len;
    if (offset == 0 || offset > (size_t)(l->out - l->start) ||
        len > (size_t)(l->out_end - l->out)) {
        return false;
    }
    const uint8_t *from = l->out - offset;
    for (size_t i = 0; i < len; i++) {
        l->out[i] = from[i]; /* may overlap: what was just written comes again */
    }
    l->out += len;
    return true;
}

/* One usual element; false, and nothing is taken: it is for `step`. Where is_fast() says so. */
static inline __attribute__((always_inline)) bool fast(const uint8_t **in_at, uint8_t **out_at,
                                                       const uint8_t *start)
{
    const uint8_t *in = *in_at;
    uint8_t *out = *out_at;
    unsigned tag = *in;
    struct element e = ELEMENTS[tag];
    size_t offset = e.offset_high + (size_t)(load_le32(in + 1) & OFFSET_MASK[tag & 3]);
    size_t made = (size_t)(out - start);
    if (__builtin_expect(offset - MOVE_BYTES > made - MOVE_BYTES, 0)) {
        return false; /* an offset below 16, as a number without sign, is too large as well */
    }
    const uint8_t *from = (tag & 3) == 0 ? in + 1 : out - offset;
    move16(out, from);
    if (__builtin_expect(e.len > MOVE_BYTES, 0)) {
        if (e.len == LONG) {
            return false;
        }
        move16(out + 16, from + 16);
        move16(out + 32, from + 32);
        move16(out + 48, from + 48);
    }
    *in_at = in + e.advance;
    *out_at = out + e.len;
    return true;
}

static bool is_fast(const struct lane *l)
{
    return l->in < l->in_fast && l->out < l->out_end && l->out - l->start >= MOVE_BYTES;
}

static struct lane lane_of(const struct snappy_block *block)
{
    const uint8_t *in = block->elements.data;
    size_t len = block->elements.len;
    return (struct lane){.in = in,
                         .in_fast = in + (len > FAST_BYTES ? len - FAST_BYTES : 0),
                         .in_end = in + len,
                         .out = block->out,
                         .out_end = block->out + block->len,
                         .start = block->out};
}

static void run(struct lane *l)
{
    const uint8_t *in = l->in;
    uint8_t *out = l->out;
    while (in < l->in_fast && out < l->out_end && fast(&in, &out, l->start)) {
    }
    l->in = in;
    l->out = out;
}

static void run_two(struct lane *a, struct lane *b)
{
    const uint8_t *in_a = a->in;
    const uint8_t *in_b = b->in;
    uint8_t *out_a = a->out;
    uint8_t *out_b = b->out;
    while (in_a < a->in_fast && in_b < b->in_fast && out_a < a->out_end && out_b < b->out_end &&
           fast(&in_a, &out_a, a->start) && fast(&in_b, &out_b, b->start)) {
    }
    a->in = in_a;
    b->in = in_b;
    a->out = out_a;
    b->out = out_b;
}

/* The rest of a block. `fast` may have gone beyond the end, into the slack. */
static bool finish(struct lane *l)
{
    while (l->in < l->in_end && l->out <= l->out_end) {
        if (is_fast(l)) {
            run(l);
        }
        if (l->out > l->out_end || !step(l)) {
            return false;
        }
    }
    return l->in == l->in_end && l->out == l->out_end;
}

err snappy_block_begin(struct bytes block, struct snappy_block *begun)
{
    uint32_t len = 0;
    for (size_t i = 0; i < block.len && i < LENGTH_BYTES_MAX; i++) {
        uint8_t byte = block.data[i];
        if (i == LENGTH_BYTES_MAX - 1 && byte > LENGTH_LAST_BYTE_MAX) {
            return E_CORRUPT;
        }
        len |= (uint32_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            begun->len = len;
            begun->elements = bytes_of(block.data + i + 1, block.len - i - 1);
            return len > RATIO_MAX * block.len ? E_CORRUPT : OK;
        }
    }
    return E_CORRUPT;
}

err snappy_block_inflate(const struct snappy_block *block)
{
    struct lane lane = lane_of(block);
    return finish(&lane) ? OK : E_CORRUPT;
}

err snappy_block_inflate_two(const struct snappy_block blocks[2])
{
    struct lane a = lane_of(&blocks[0]);
    struct lane b = lane_of(&blocks[1]);
    while (a.in < a.in_end && b.in < b.in_end && a.out <= a.out_end && b.out <= b.out_end) {
        if (is_fast(&a) && is_fast(&b)) {
            run_two(&a, &b);
        } else if (a.in >= a.in_fast || b.in >= b.in_fast) {
            break; /* one is nearly done */
        }
        if (a.out > a.out_end || b.out > b.out_end || !step(&a) || !step(&b)) {
            return E_CORRUPT;
        }
    }
    return finish(&a) && finish(&b) ? OK : E_CORRUPT;
}
