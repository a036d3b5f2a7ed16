/* The four codecs of a record batch, whole body in, whole body out: as Java's producer writes them.
 * Inflating is inflate.h's.
 *
 * - gzip: one member.
 * - snappy: the xerial frame (an 8-byte magic, two int32 versions, then blocks, each behind its int32
 *   length), in blocks of 32 KiB.
 * - lz4: the standard frame, independent blocks of 64 KiB.
 * - zstd: one frame. */
#include "protocol/batch.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>

enum {
    XERIAL_HEADER_BYTES = 16,
    XERIAL_BLOCK_BYTES = 32 * 1024,
    GZIP_WINDOW_BITS = 15 + 16, /* with gzip's header, not zlib's */
};

static const uint8_t XERIAL_HEADER[XERIAL_HEADER_BYTES] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0,
                                                           0,    0,   0,   1,   0,   0,   0,   1};

/* ---- gzip ---- */

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
