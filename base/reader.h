/* A cursor over input. Every bounds check on input is in this file.
 *
 * Reading past the end, or a varint that is too long, sets `failed` and yields zeros from then on,
 * so a caller reads a whole structure and checks once. Big-endian, as Kafka is. */
#ifndef OTTLA_BASE_READER_H
#define OTTLA_BASE_READER_H

#include "base/bytes.h"

struct reader {
    const uint8_t *next;
    const uint8_t *end;
    bool failed;
};

static inline struct reader reader_of(struct bytes input)
{
    return (struct reader){.next = input.data,
                           .end = input.data == NULL ? NULL : input.data + input.len};
}

static inline size_t reader_left(const struct reader *r)
{
    return r->failed ? 0 : (size_t)(r->end - r->next);
}

static inline const uint8_t *reader_take(struct reader *r, size_t len)
{
    if (r->failed || (size_t)(r->end - r->next) < len) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *at = r->next;
    r->next += len;
    return at;
}

static inline struct bytes reader_bytes(struct reader *r, size_t len)
{
    const uint8_t *at = reader_take(r, len);
    return (struct bytes){.data = at, .len = at == NULL ? 0 : len};
}

static inline uint16_t load_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t load_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline uint64_t load_u64(const uint8_t *at)
{
    return (uint64_t)load_u32(at) << 32 | load_u32(at + 4);
}

static inline int8_t reader_i8(struct reader *r)
{
    const uint8_t *at = reader_take(r, 1);
    return at == NULL ? 0 : (int8_t)at[0];
}

static inline int16_t reader_i16(struct reader *r)
{
    const uint8_t *at = reader_take(r, 2);
    return at == NULL ? 0 : (int16_t)load_u16(at);
}

static inline int32_t reader_i32(struct reader *r)
{
    const uint8_t *at = reader_take(r, 4);
    return at == NULL ? 0 : (int32_t)load_u32(at);
}

static inline uint32_t reader_u32(struct reader *r)
{
    return (uint32_t)reader_i32(r);
}

static inline int64_t reader_i64(struct reader *r)
{
    const uint8_t *at = reader_take(r, 8);
    return at == NULL ? 0 : (int64_t)load_u64(at);
}

/* The rest of a variable-length integer: what reader_leb128 does not decide at once. */
uint64_t reader_leb128_long(struct reader *r, int bytes_max);

/* LEB128; most are one byte, in records nearly all. */
static inline uint64_t reader_leb128(struct reader *r, int bytes_max)
{
    if (!r->failed && r->next < r->end && *r->next < 0x80) {
        return *r->next++;
    }
    return reader_leb128_long(r, bytes_max);
}

/* Unsigned, at most 5 bytes and 32 bits. */
static inline uint32_t reader_uvarint(struct reader *r)
{
    return (uint32_t)reader_leb128(r, 5);
}

/* Zig-zag, at most 5 bytes. */
static inline int32_t reader_varint(struct reader *r)
{
    uint32_t raw = (uint32_t)reader_leb128(r, 5);
    return (int32_t)(raw >> 1 ^ (~(raw & 1) + 1));
}

/* Zig-zag, at most 10 bytes. */
static inline int64_t reader_varlong(struct reader *r)
{
    uint64_t raw = reader_leb128(r, 10);
    return (int64_t)(raw >> 1 ^ (~(raw & 1) + 1));
}

#endif
