/* A growing buffer that bytes are written to, big-endian.
 *
 * A file range can stand in the middle of the output without being copied: writer_splice notes
 * where, and the connection sends it with sendfile. Out of memory or past the limit sets `failed`;
 * checked once, at the end. Not locked. */
#ifndef OTTLA_BASE_WRITER_H
#define OTTLA_BASE_WRITER_H

#include "base/bytes.h"
#include "base/err.h"

/* Bytes of a file, in the place `at` of the output. What `file` is, the sender knows; the protocol
 * does not. */
struct splice {
    size_t at;
    const void *file;
    int64_t position;
    size_t len;
};

struct writer {
    uint8_t *data; /* malloc'd, owned */
    size_t len;
    size_t cap;
    size_t limit_bytes;
    struct splice *splices; /* malloc'd, owned; ascending by `at` */
    size_t splices_n;
    size_t splices_cap;
    size_t spliced_bytes;
    bool failed;
};

void writer_init(struct writer *w, size_t limit_bytes);
void writer_deinit(struct writer *w);
/* Forgets what was written, keeps the memory. */
void writer_clear(struct writer *w);

/* Room for `len` bytes at the end, already counted as written; NULL when failed. The pointer is
 * valid until the next write. */
uint8_t *writer_grow(struct writer *w, size_t len);
void writer_splice(struct writer *w, const void *file, int64_t position, size_t len);

static inline void store_u16(uint8_t *at, uint16_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static inline void store_u32(uint8_t *at, uint32_t v)
{
    at[0] = (uint8_t)(v >> 24);
    at[1] = (uint8_t)(v >> 16);
    at[2] = (uint8_t)(v >> 8);
    at[3] = (uint8_t)v;
}

static inline void store_u64(uint8_t *at, uint64_t v)
{
    store_u32(at, (uint32_t)(v >> 32));
    store_u32(at + 4, (uint32_t)v);
}

void writer_i8(struct writer *w, int8_t v);
void writer_i16(struct writer *w, int16_t v);
void writer_i32(struct writer *w, int32_t v);
void writer_i64(struct writer *w, int64_t v);
void writer_bytes(struct writer *w, const void *data, size_t len);
void writer_uvarint(struct writer *w, uint32_t v);
void writer_varint(struct writer *w, int32_t v);
void writer_varlong(struct writer *w, int64_t v);

/* How many bytes the value takes. */
size_t uvarint_size(uint32_t v);
size_t varlong_size(int64_t v);

#endif
