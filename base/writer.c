/* Growth by doubling, big-endian stores, variable-length integers. */
#include "base/writer.h"

#include <stdlib.h>

void writer_init(struct writer *w, size_t limit_bytes)
{
    *w = (struct writer){.limit_bytes = limit_bytes};
}

void writer_deinit(struct writer *w)
{
    free(w->data);
    free(w->splices);
    *w = (struct writer){0};
}

void writer_clear(struct writer *w)
{
    w->len = 0;
    w->splices_n = 0;
    w->spliced_bytes = 0;
    w->failed = false;
}

uint8_t *writer_grow(struct writer *w, size_t len)
{
    if (w->failed || len > w->limit_bytes || w->len > w->limit_bytes - len) {
        w->failed = true;
        return NULL;
    }
    if (w->data == NULL || w->cap - w->len < len) {
        size_t cap = w->cap == 0 ? 256 : w->cap;
        while (cap - w->len < len) {
            cap *= 2;
        }
        uint8_t *grown = realloc(w->data, cap);
        if (grown == NULL) {
            w->failed = true;
            return NULL;
        }
        w->data = grown;
        w->cap = cap;
    }
    uint8_t *at = w->data + w->len;
    w->len += len;
    return at;
}

void writer_splice(struct writer *w, const void *file, int64_t position, size_t len)
{
    if (w->splices_n == w->splices_cap) {
        size_t cap = w->splices_cap == 0 ? 4 : w->splices_cap * 2;
        struct splice *grown = realloc(w->splices, cap * sizeof(*grown));
        if (grown == NULL) {
            w->failed = true;
            return;
        }
        w->splices = grown;
        w->splices_cap = cap;
    }
    w->splices[w->splices_n++] =
        (struct splice){.at = w->len, .file = file, .position = position, .len = len};
    w->spliced_bytes += len;
}

void writer_i8(struct writer *w, int8_t v)
{
    uint8_t *at = writer_grow(w, 1);
    if (at != NULL) {
        at[0] = (uint8_t)v;
    }
}

void writer_i16(struct writer *w, int16_t v)
{
    uint8_t *at = writer_grow(w, 2);
    if (at != NULL) {
        store_u16(at, (uint16_t)v);
    }
}

void writer_i32(struct writer *w, int32_t v)
{
    uint8_t *at = writer_grow(w, 4);
    if (at != NULL) {
        store_u32(at, (uint32_t)v);
    }
}

void writer_i64(struct writer *w, int64_t v)
{
    uint8_t *at = writer_grow(w, 8);
    if (at != NULL) {
        store_u64(at, (uint64_t)v);
    }
}

void writer_bytes(struct writer *w, const void *data, size_t len)
{
    uint8_t *at = len == 0 ? NULL : writer_grow(w, len);
    if (at != NULL) {
        memcpy(at, data, len);
    }
}

static void write_leb128(struct writer *w, uint64_t v)
{
    uint8_t encoded[10];
    size_t len = 0;
    while (v >= 0x80) {
        encoded[len++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    encoded[len++] = (uint8_t)v;
    writer_bytes(w, encoded, len);
}

static uint64_t zigzag(int64_t v)
{
    return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

void writer_uvarint(struct writer *w, uint32_t v)
{
    write_leb128(w, v);
}

void writer_varint(struct writer *w, int32_t v)
{
    write_leb128(w, zigzag(v));
}

void writer_varlong(struct writer *w, int64_t v)
{
    write_leb128(w, zigzag(v));
}

static size_t leb128_size(uint64_t v)
{
    size_t len = 1;
    while (v >= 0x80) {
        v >>= 7;
        len++;
    }
    return len;
}

size_t uvarint_size(uint32_t v)
{
    return leb128_size(v);
}

size_t varlong_size(int64_t v)
{
    return leb128_size(zigzag(v));
}
