/* The four codecs of a record batch, whole body in, whole body out.
 *
 * Inflating input of a peer is where a small request becomes a large one, so every path knows its
 * bound before it allocates: sizes that the input announces are compared with it first, and output
 * grows only as far as it.
 *
 * - gzip: members one after another, as Java reads them; other bytes after a member are ignored.
 * - snappy: Java writes the xerial frame (an 8-byte magic, two int32 versions, then blocks, each
 *   behind its int32 length); librdkafka writes one raw block. Both are read; xerial is written, in
 *   blocks of 32 KiB as Java's.
 * - lz4: the standard frame, independent blocks of 64 KiB.
 * - zstd: in one go and never as a stream, because a stream allocates whatever window the frame
 *   asks for. A frame without a content size is retried with twice the room. */
#include "protocol/batch.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum {
    STEP_BYTES = 64 * 1024,
    XERIAL_HEADER_BYTES = 16,
    XERIAL_BLOCK_BYTES = 32 * 1024,
    SNAPPY_RATIO_MAX = 22,      /* the best element is 64 bytes from 3 */
    GZIP_WINDOW_BITS = 15 + 16, /* with gzip's header, not zlib's */
};

static const uint8_t XERIAL_HEADER[XERIAL_HEADER_BYTES] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0,
                                                           0,    0,   0,   1,   0,   0,   0,   1};
enum { XERIAL_MAGIC_BYTES = 8 };

/* Output that may grow by `left` bytes more. */
struct sink {
    struct writer *out;
    size_t left;
};

/* Room for the next piece, at least a byte, or NULL; the caller gives back what it did not fill. */
static uint8_t *sink_room(struct sink *sink, size_t *room)
{
    *room = sink->left < STEP_BYTES ? sink->left : STEP_BYTES;
    uint8_t *at = *room == 0 ? NULL : writer_grow(sink->out, *room);
    return at;
}

static void sink_filled(struct sink *sink, size_t room, size_t filled)
{
    sink->out->len -= room - filled;
    sink->left -= filled;
}

/* ---- gzip ---- */

static err gzip_member(z_stream *z, struct sink *sink)
{
    for (;;) {
        uint8_t spare = 0;
        size_t room = 0;
        uint8_t *at = sink_room(sink, &room);
        if (sink->out->failed) {
            return E_LIMIT;
        }
        z->next_out = at == NULL ? &spare : at;
        z->avail_out = at == NULL ? 1 : (uInt)room;
        int status = inflate(z, Z_NO_FLUSH);
        if (at == NULL && z->avail_out == 0) {
            return E_LIMIT;
        }
        if (at != NULL) {
            sink_filled(sink, room, room - z->avail_out);
        }
        if (status == Z_STREAM_END) {
            return OK;
        }
        if (status != Z_OK || (z->avail_in == 0 && z->avail_out != 0)) {
            return E_CORRUPT;
        }
    }
}

static err gzip_decompress(struct bytes input, struct sink *sink)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)input.data, .avail_in = (uInt)input.len};
    if (inflateInit2(&z, GZIP_WINDOW_BITS) != Z_OK) {
        return E_LIMIT;
    }
    err e = OK;
    do {
        e = gzip_member(&z, sink);
    } while (e == OK && z.avail_in >= 2 && z.next_in[0] == 0x1f && z.next_in[1] == 0x8b &&
             inflateReset(&z) == Z_OK);
    inflateEnd(&z);
    return e;
}

static err gzip_compress(int level, struct bytes input, struct writer *out)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)input.data, .avail_in = (uInt)input.len};
    if (deflateInit2(&z, level == 0 ? Z_DEFAULT_COMPRESSION : level, Z_DEFLATED, GZIP_WINDOW_BITS,
                     8, Z_DEFAULT_STRATEGY) != Z_OK) {
        return E_LIMIT;
    }
    size_t bound = deflateBound(&z, (uLong)input.len);
    uint8_t *at = writer_grow(out, bound);
    if (at != NULL) {
        z.next_out = at;
        z.avail_out = (uInt)bound;
        CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
        out->len -= z.avail_out;
    }
    deflateEnd(&z);
    return at == NULL ? E_LIMIT : OK;
}

/* ---- snappy ---- */

static err snappy_block(struct bytes block, struct sink *sink)
{
    size_t len = 0;
    const char *data = (const char *)block.data;
    if (snappy_uncompressed_length(data, block.len, &len) != SNAPPY_OK) {
        return E_CORRUPT;
    }
    if (len > sink->left) {
        return E_LIMIT;
    }
    if (len > SNAPPY_RATIO_MAX * block.len) {
        return E_CORRUPT;
    }
    uint8_t *at = writer_grow(sink->out, len);
    if (at == NULL) {
        return E_LIMIT;
    }
    if (snappy_uncompress(data, block.len, (char *)at, &len) != SNAPPY_OK) {
        return E_CORRUPT;
    }
    sink->left -= len;
    return OK;
}

static bool is_xerial(struct bytes input)
{
    return input.len >= XERIAL_HEADER_BYTES &&
           memcmp(input.data, XERIAL_HEADER, XERIAL_MAGIC_BYTES) == 0;
}

static err snappy_decompress(struct bytes input, struct sink *sink)
{
    if (!is_xerial(input)) {
        return snappy_block(input, sink);
    }
    struct reader r = reader_of(input);
    while (reader_left(&r) > 0) {
        /* Streams that were joined have a header in the middle. */
        if (is_xerial(bytes_of(r.next, reader_left(&r)))) {
            (void)reader_take(&r, XERIAL_HEADER_BYTES);
            continue;
        }
        struct bytes block = reader_bytes(&r, reader_u32(&r));
        if (r.failed) {
            return E_CORRUPT;
        }
        TRY(snappy_block(block, sink));
    }
    return OK;
}

static err xerial_compress(struct bytes input, struct writer *out)
{
    writer_bytes(out, XERIAL_HEADER, sizeof(XERIAL_HEADER));
    for (size_t done = 0; done < input.len;) {
        size_t len = input.len - done;
        len = len > XERIAL_BLOCK_BYTES ? XERIAL_BLOCK_BYTES : len;
        size_t bound = snappy_max_compressed_length(len);
        uint8_t *at = writer_grow(out, sizeof(uint32_t) + bound);
        if (at == NULL) {
            return E_LIMIT;
        }
        size_t packed = bound;
        CHECK(snappy_compress((const char *)input.data + done, len, (char *)at + sizeof(uint32_t),
                              &packed) == SNAPPY_OK);
        store_u32(at, (uint32_t)packed);
        out->len -= bound - packed;
        done += len;
    }
    return out->failed ? E_LIMIT : OK;
}

/* ---- lz4 ---- */

static err lz4_stream(LZ4F_dctx *context, struct bytes input, struct sink *sink)
{
    for (;;) {
        uint8_t spare = 0;
        size_t room = 0;
        uint8_t *at = sink_room(sink, &room);
        if (sink->out->failed) {
            return E_LIMIT;
        }
        size_t filled = at == NULL ? 1 : room;
        size_t used = input.len;
        size_t hint =
            LZ4F_decompress(context, at == NULL ? &spare : at, &filled, input.data, &used, NULL);
        bool failed = LZ4F_isError(hint) != 0;
        if (at != NULL) {
            sink_filled(sink, room, failed ? 0 : filled);
        }
        if (failed) {
            return E_CORRUPT;
        }
        if (at == NULL && filled > 0) {
            return E_LIMIT;
        }
        input = bytes_of(input.data + used, input.len - used);
        if (hint == 0) {
            return OK;
        }
        if (input.len == 0 && filled < (at == NULL ? 1 : room)) {
            return E_CORRUPT;
        }
    }
}

static err lz4_decompress(struct bytes input, struct sink *sink)
{
    LZ4F_dctx *context = NULL;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)) != 0) {
        return E_LIMIT;
    }
    err e = lz4_stream(context, input, sink);
    LZ4F_freeDecompressionContext(context);
    return e;
}

static err lz4_compress(int level, struct bytes input, struct writer *out)
{
    LZ4F_preferences_t preferences = {
        .frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent},
        .compressionLevel = level,
    };
    size_t bound = LZ4F_compressFrameBound(input.len, &preferences);
    uint8_t *at = writer_grow(out, bound);
    if (at == NULL) {
        return E_LIMIT;
    }
    size_t packed = LZ4F_compressFrame(at, bound, input.data, input.len, &preferences);
    CHECK(LZ4F_isError(packed) == 0);
    out->len -= bound - packed;
    return OK;
}

/* ---- zstd ---- */

static err zstd_decompress(struct bytes input, struct sink *sink)
{
    unsigned long long announced = ZSTD_getFrameContentSize(input.data, input.len);
    if (announced == ZSTD_CONTENTSIZE_ERROR) {
        return E_CORRUPT;
    }
    bool known = announced != ZSTD_CONTENTSIZE_UNKNOWN;
    if (known && announced > sink->left) {
        return E_LIMIT;
    }
    size_t room = known ? (size_t)announced : input.len * 4;
    room = room < STEP_BYTES ? STEP_BYTES : room;
    for (;;) {
        room = room > sink->left ? sink->left : room;
        uint8_t *at = writer_grow(sink->out, room);
        if (at == NULL) {
            return E_LIMIT;
        }
        size_t filled = ZSTD_decompress(at, room, input.data, input.len);
        if (ZSTD_isError(filled) == 0) {
            sink_filled(sink, room, filled);
            return OK;
        }
        sink_filled(sink, room, 0);
        if (ZSTD_getErrorCode(filled) != ZSTD_error_dstSize_tooSmall) {
            return E_CORRUPT;
        }
        if (room == sink->left) {
            return E_LIMIT;
        }
        room *= 2;
    }
}

static err zstd_compress(int level, struct bytes input, struct writer *out)
{
    size_t bound = ZSTD_compressBound(input.len);
    uint8_t *at = writer_grow(out, bound);
    if (at == NULL) {
        return E_LIMIT;
    }
    size_t packed =
        ZSTD_compress(at, bound, input.data, input.len, level == 0 ? ZSTD_CLEVEL_DEFAULT : level);
    if (ZSTD_isError(packed) != 0) {
        return E_LIMIT;
    }
    out->len -= bound - packed;
    return OK;
}

/* ---- by number ---- */

err codec_compress(enum codec codec, int level, struct bytes input, struct writer *out)
{
    if (input.len > INT32_MAX) {
        return E_LIMIT;
    }
    switch (codec) {
    case CODEC_NONE:
        writer_bytes(out, input.data, input.len);
        return out->failed ? E_LIMIT : OK;
    case CODEC_GZIP:
        return gzip_compress(level, input, out);
    case CODEC_SNAPPY:
        return xerial_compress(input, out);
    case CODEC_LZ4:
        return lz4_compress(level, input, out);
    case CODEC_ZSTD:
        return zstd_compress(level, input, out);
    default:
        return E_UNSUPPORTED;
    }
}

err codec_decompress(enum codec codec, struct bytes input, size_t limit_bytes, struct writer *out)
{
    if (input.len > INT32_MAX) {
        return E_LIMIT;
    }
    if (input.len == 0 && codec != CODEC_NONE) {
        return E_CORRUPT; /* even nothing is some bytes when compressed */
    }
    struct sink sink = {.out = out, .left = limit_bytes};
    switch (codec) {
    case CODEC_NONE:
        if (input.len > limit_bytes) {
            return E_LIMIT;
        }
        writer_bytes(out, input.data, input.len);
        return out->failed ? E_LIMIT : OK;
    case CODEC_GZIP:
        return gzip_decompress(input, &sink);
    case CODEC_SNAPPY:
        return snappy_decompress(input, &sink);
    case CODEC_LZ4:
        return lz4_decompress(input, &sink);
    case CODEC_ZSTD:
        return zstd_decompress(input, &sink);
    default:
        return E_CORRUPT;
    }
}
