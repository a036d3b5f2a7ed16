/* One lz4 frame, as Java reads it: magic · flags · block descriptor · [content size] · checksum, then
 * blocks, each behind its length (little-endian; the highest bit: stored as it is), the last length
 * is 0. The library reads single blocks; its own reader of frames takes what Java refuses (linked
 * blocks, dictionaries, several frames) and refuses what Java takes (a wrong content size). */
#include "protocol/inflate_internal.h"
#include "protocol/xxh32.h"

#include <lz4.h>

enum {
    LZ4_MAGIC = 0x184d2204,
    LZ4_FIXED_BYTES = 7, /* magic, flags, block descriptor, checksum */
    LZ4_MAGIC_BYTES = 4,
    LZ4_VERSION_MASK = 0xc0,
    LZ4_VERSION = 0x40,
    LZ4_INDEPENDENT = 0x20,
    LZ4_BLOCK_CHECKSUMS = 0x10,
    LZ4_CONTENT_SIZE = 0x08,
    LZ4_CONTENT_CHECKSUM = 0x04,
    LZ4_FLAGS_RESERVED = 0x03, /* one of them: a dictionary */
    LZ4_BLOCK_RESERVED = 0x8f,
    LZ4_BLOCK_ID_MIN = 4, /* 64 KiB; 7 is 4 MiB */
    LZ4_RATIO_MAX = 255,
};

static uint32_t read_le32(struct reader *r)
{
    return __builtin_bswap32(reader_u32(r));
}

static err read_header(struct inflater *f)
{
    struct reader *r = &f->input;
    if (reader_left(r) < LZ4_FIXED_BYTES) {
        return E_CORRUPT;
    }
    uint32_t magic = read_le32(r);
    const uint8_t *descriptor = r->next;
    int flags = (uint8_t)reader_i8(r);
    int block = (uint8_t)reader_i8(r);
    if ((flags & LZ4_CONTENT_SIZE) != 0) {
        (void)reader_i64(r);
    }
    size_t len = (size_t)(r->next - descriptor);
    uint8_t checksum = (uint8_t)reader_i8(r);
    if (r->failed || magic != LZ4_MAGIC || (flags & LZ4_VERSION_MASK) != LZ4_VERSION ||
        (flags & LZ4_INDEPENDENT) == 0 || (flags & LZ4_FLAGS_RESERVED) != 0 ||
        (block & LZ4_BLOCK_RESERVED) != 0 || block >> 4 < LZ4_BLOCK_ID_MIN) {
        return E_CORRUPT;
    }
    if ((f->flags & INFLATE_LZ4_HEADER_UNCHECKED) == 0 &&
        checksum != (uint8_t)(xxh32(descriptor, len) >> 8)) {
        return E_CORRUPT;
    }
    f->lz4.block_bytes_max = (size_t)1 << (8 + 2 * (block >> 4));
    f->lz4.block_checksums = (flags & LZ4_BLOCK_CHECKSUMS) != 0;
    f->lz4.content_checksum = (flags & LZ4_CONTENT_CHECKSUM) != 0;
    f->begun = true;
    return OK;
}

static err inflate_block(struct inflater *f, struct bytes block, struct bytes *piece)
{
    size_t room = block.len * LZ4_RATIO_MAX;
    room = room < f->lz4.block_bytes_max ? room : f->lz4.block_bytes_max;
    TRY(inflater_room(f, room));
    int len =
        LZ4_decompress_safe((const char *)block.data, (char *)f->out, (int)block.len, (int)room);
    if (len < 0) {
        return E_CORRUPT;
    }
    *piece = bytes_of(f->out, (size_t)len);
    return OK;
}

static err next_block(struct inflater *f, struct bytes *piece)
{
    struct reader *r = &f->input;
    uint32_t length = read_le32(r);
    size_t size = length & INT32_MAX;
    if (size == 0) {
        if (f->lz4.content_checksum) {
            (void)reader_u32(r);
        }
        f->ended = true;
        return r->failed ? E_CORRUPT : OK;
    }
    struct bytes block = reader_bytes(r, size);
    if (r->failed || size > f->lz4.block_bytes_max) {
        return E_CORRUPT;
    }
    if (f->lz4.block_checksums && (read_le32(r) != xxh32(block.data, block.len) || r->failed)) {
        return E_CORRUPT;
    }
    if (length > INT32_MAX) {
        *piece = block;
        return OK;
    }
    return inflate_block(f, block, piece);
}

err lz4_next(struct inflater *f, struct bytes *piece)
{
    if (!f->begun) {
        TRY(read_header(f));
    }
    while (piece->len == 0 && !f->ended) {
        TRY(next_block(f, piece));
    }
    return OK;
}
