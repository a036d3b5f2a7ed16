/* Gzip as Java's GZIPInputStream reads it. Headers are read here, because libraries refuse flags that
 * Java ignores; the body is raw deflate; the trailer (CRC-32, size modulo 2^32) is checked.
 *
 * After a member Java looks for another one only where more than 18 bytes are left (the least that
 * a member can be is 20), and takes a header that it cannot read as the end of the stream. */
#include "protocol/inflate_internal.h"

enum {
    GZIP_MAGIC = 0x1f8b,
    GZIP_DEFLATE = 8,
    GZIP_HEADER_CRC = 2,
    GZIP_EXTRA = 4,
    GZIP_NAME = 8,
    GZIP_COMMENT = 16,
    GZIP_TIME_OS_BYTES = 6,
    GZIP_REMAINDER_MAX = 18,
    PIECE_BYTES = 64 * 1024,
};

static uint16_t read_le16(struct reader *r)
{
    uint16_t low = (uint8_t)reader_i8(r);
    return (uint16_t)((uint8_t)reader_i8(r) << 8 | low);
}

static uint32_t read_le32(struct reader *r)
{
    uint32_t low = read_le16(r);
    return (uint32_t)read_le16(r) << 16 | low;
}

static void skip_text(struct reader *r)
{
    const uint8_t *end = reader_left(r) == 0 ? NULL : memchr(r->next, 0, reader_left(r));
    (void)reader_take(r, end == NULL ? SIZE_MAX : (size_t)(end - r->next) + 1);
}

static bool read_header(struct reader *r)
{
    const uint8_t *start = r->next;
    bool known = (uint16_t)reader_i16(r) == GZIP_MAGIC && reader_i8(r) == GZIP_DEFLATE;
    int flags = reader_i8(r);
    (void)reader_take(r, GZIP_TIME_OS_BYTES);
    if ((flags & GZIP_EXTRA) != 0) {
        (void)reader_take(r, read_le16(r));
    }
    if ((flags & GZIP_NAME) != 0) {
        skip_text(r);
    }
    if ((flags & GZIP_COMMENT) != 0) {
        skip_text(r);
    }
    if ((flags & GZIP_HEADER_CRC) != 0 && !r->failed) {
        uint32_t crc = gzip_crc32(0, start, (size_t)(r->next - start));
        known &= read_le16(r) == (crc & 0xffff);
    }
    return known && !r->failed;
}

err gzip_open(struct inflater *f)
{
    f->gzip.deflate = deflate_new();
    return f->gzip.deflate == NULL ? E_LIMIT : OK;
}

void gzip_close(struct inflater *f)
{
    deflate_free(f->gzip.deflate);
}

static err begin_member(struct inflater *f)
{
    struct reader r = f->input;
    if (!read_header(&r)) {
        f->ended = f->begun;
        return f->ended ? OK : E_CORRUPT;
    }
    if (f->begun) {
        deflate_reset(f->gzip.deflate);
    }
    f->input = r;
    f->begun = true;
    f->gzip.in_member = true;
    f->gzip.crc = 0;
    f->gzip.size = 0;
    return OK;
}

static err end_member(struct inflater *f)
{
    uint32_t crc = read_le32(&f->input);
    uint32_t size = read_le32(&f->input);
    f->gzip.in_member = false;
    if (f->input.failed || crc != f->gzip.crc || size != f->gzip.size) {
        return E_CORRUPT;
    }
    f->ended = reader_left(&f->input) <= GZIP_REMAINDER_MAX;
    return OK;
}

/* Some of a member's body, at least a byte unless it ends. */
static err inflate_some(struct inflater *f, struct bytes *piece)
{
    size_t len = 0;
    bool ended = false;
    TRY(inflater_room(f, PIECE_BYTES));
    TRY(deflate_some(f->gzip.deflate, &f->input, f->out, PIECE_BYTES, &len, &ended));
    f->gzip.crc = gzip_crc32(f->gzip.crc, f->out, len);
    f->gzip.size += (uint32_t)len;
    *piece = bytes_of(f->out, len);
    return ended ? end_member(f) : OK;
}

err gzip_next(struct inflater *f, struct bytes *piece)
{
    while (piece->len == 0 && !f->ended) {
        TRY(f->gzip.in_member ? inflate_some(f, piece) : begin_member(f));
    }
    return OK;
}
