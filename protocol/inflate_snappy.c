/* Snappy as Java reads it: xerial's frame, which is a 16-byte header, then blocks, each behind its
 * int32 length; or one raw block. Where a block's length is expected another header may stand.
 *
 * Two blocks of a frame are inflated at a time where they are small (snappy_block.h says why). When
 * that fails the second is left for its own turn, so that an error comes where it is. */
#include "protocol/inflate_internal.h"
#include "protocol/snappy_block.h"

enum {
    XERIAL_HEADER_BYTES = 16,
    XERIAL_MAGIC_BYTES = 8,
    XERIAL_VERSION_MIN = 1,
    XERIAL_MAGIC_HEAD = 0x82534e41, /* where a block's length is expected: another stream begins */
    TWO_BYTES_MAX = 64 << 10,       /* of each, inflated; Java's are of 32 KiB */
};

/* The block behind the one that was just taken, if both can be inflated at a time. Moves `r`. */
static bool second_block(struct reader *r, struct snappy_block *second)
{
    if (reader_left(r) < sizeof(uint32_t)) {
        return false;
    }
    uint32_t size = reader_u32(r);
    if (size > reader_left(r)) {
        return false; /* or another header */
    }
    return snappy_block_begin(reader_bytes(r, size), second) == OK && second->len > 0 &&
           second->len <= TWO_BYTES_MAX;
}

static err inflate_block(struct inflater *f, struct bytes data, struct bytes *piece)
{
    struct snappy_block blocks[2] = {0};
    struct reader behind = f->input;
    TRY(snappy_block_begin(data, &blocks[0]));
    size_t first_bytes = blocks[0].len + SNAPPY_SLACK_BYTES;
    bool two =
        blocks[0].len > 0 && blocks[0].len <= TWO_BYTES_MAX && second_block(&behind, &blocks[1]);
    TRY(inflater_room(f, first_bytes + (two ? blocks[1].len + SNAPPY_SLACK_BYTES : 0)));
    blocks[0].out = f->out;
    *piece = bytes_of(f->out, blocks[0].len);
    if (two) {
        blocks[1].out = f->out + first_bytes;
        if (snappy_block_inflate_two(blocks) == OK) {
            f->snappy.next = bytes_of(blocks[1].out, blocks[1].len);
            f->input = behind;
            return OK;
        }
    }
    return snappy_block_inflate(&blocks[0]);
}

/* The rest of the header of a stream that begins where a block could. */
static err header_again(struct reader *r)
{
    (void)reader_i32(r); /* the rest of the magic: not looked at, as in Java */
    int32_t version = reader_i32(r);
    (void)reader_i32(r);
    return r->failed || version < XERIAL_VERSION_MIN ? E_CORRUPT : OK;
}

static err begin(struct inflater *f, struct bytes *piece)
{
    static const uint8_t MAGIC[XERIAL_MAGIC_BYTES] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};
    struct reader *r = &f->input;
    f->begun = true;
    if (reader_left(r) >= XERIAL_HEADER_BYTES && memcmp(r->next, MAGIC, sizeof(MAGIC)) == 0) {
        (void)reader_take(r, XERIAL_HEADER_BYTES);
        return OK;
    }
    f->ended = true; /* one raw block */
    return inflate_block(f, reader_bytes(r, reader_left(r)), piece);
}

err snappy_next(struct inflater *f, struct bytes *piece)
{
    if (!f->begun) {
        TRY(begin(f, piece));
    } else if (f->snappy.next.len > 0) {
        *piece = f->snappy.next;
        f->snappy.next = (struct bytes){0};
    }
    struct reader *r = &f->input;
    while (piece->len == 0 && !f->ended) {
        if (reader_left(r) < sizeof(uint32_t)) {
            f->ended = true;
            return OK;
        }
        uint32_t size = reader_u32(r);
        if (size == XERIAL_MAGIC_HEAD) {
            TRY(header_again(r));
            continue;
        }
        struct bytes block = reader_bytes(r, size);
        if (r->failed) {
            return E_CORRUPT;
        }
        TRY(inflate_block(f, block, piece));
    }
    return OK;
}
