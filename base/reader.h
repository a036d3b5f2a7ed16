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

/* Unsigned LEB128, at most 5 bytes and 32 bits. */
uint32_t reader_uvarint(struct reader *r);
/* Zig-zag LEB128, at most 5 bytes. */
int32_t reader_varint(struct reader *r);
/* Zig-zag LEB128, at most 10 bytes. */
int64_t reader_varlong(struct reader *r);

#endif
