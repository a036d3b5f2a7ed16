/* The way into the codecs' inflaters, and the one that is small: zstd.
 *
 * An inflater owns one output buffer and whatever state its library needs. Every size that the input
 * announces is held against the input that is there before memory is taken for it: a raw snappy
 * block cannot hold more than 22 times its length (the best element is 64 bytes from 3), an lz4
 * block not more than its frame's block size, and zstd itself refuses a window above 128 MiB, which
 * is also where Java does. */
#include "protocol/inflate.h"

#include "protocol/inflate_internal.h"

#include <stdlib.h>

err inflater_room(struct inflater *f, size_t len)
{
    if (f->out_cap >= len) {
        return OK;
    }
    free(f->out);
    f->out = malloc(len);
    f->out_cap = f->out == NULL ? 0 : len;
    return f->out == NULL ? E_LIMIT : OK;
}

/* ---- zstd ---- */

enum {
    ZSTD_MAGIC_BYTES = 4,
    ZSTD_SKIPPABLE_MASK = 0xfffffff0,
    SPARE_OUT_BYTES_MAX = 256 << 10,
    SPARE_STATE_BYTES_MAX = 1 << 20,
};

static void zstd_begin(struct inflater *f)
{
    (void)ZSTD_DCtx_reset(f->zstd.context, ZSTD_reset_session_only);
    f->zstd.wants_input = true;
    f->zstd.frame_ended = true; /* no input at all is an empty stream */
}

err zstd_open(struct inflater *f)
{
    f->zstd.context = ZSTD_createDCtx();
    if (f->zstd.context == NULL) {
        return E_LIMIT;
    }
    zstd_begin(f);
    return OK;
}

void zstd_close(struct inflater *f)
{
    ZSTD_freeDCtx(f->zstd.context);
}

static uint32_t load_le32(const uint8_t *at)
{
    return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

/* Libraries that are built so read formats of before version 1 as well; Java does not. */
static bool zstd_frame_is_known(const uint8_t *at, size_t len)
{
    if (len < ZSTD_MAGIC_BYTES) {
        return true; /* too little to tell: the library refuses what is no beginning of a magic */
    }
    uint32_t magic = load_le32(at);
    return magic == ZSTD_MAGICNUMBER || (magic & ZSTD_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

/* Takes the next stretch of input, as long as those that Java takes: what follows the end of a
 * frame depends on it. */
static err zstd_take(struct inflater *f)
{
    size_t left = reader_left(&f->input);
    if (left == 0) {
        f->ended = f->zstd.frame_ended;
        return f->ended ? OK : E_CORRUPT;
    }
    size_t len = ZSTD_DStreamInSize();
    struct bytes part = reader_bytes(&f->input, left < len ? left : len);
    f->zstd.in = (ZSTD_inBuffer){.src = part.data, .size = part.len};
    f->zstd.frame_ended = false;
    return OK;
}

static err zstd_step(struct inflater *f, ZSTD_outBuffer *out)
{
    ZSTD_inBuffer *in = &f->zstd.in;
    if (!f->begun) {
        const uint8_t *at = (const uint8_t *)in->src + in->pos;
        f->begun = true;
        if (!zstd_frame_is_known(at, (size_t)(f->input.end - at))) {
            return E_CORRUPT;
        }
    }
    size_t left = ZSTD_decompressStream(f->zstd.context, out, in);
    if (ZSTD_isError(left) != 0) {
        return E_CORRUPT;
    }
    if (left == 0) {
        f->begun = false;
        f->zstd.frame_ended = true;
        f->zstd.wants_input = in->pos == in->size;
    } else {
        f->zstd.wants_input = out->pos < out->size;
    }
    return OK;
}

err zstd_next(struct inflater *f, struct bytes *piece)
{
    TRY(inflater_room(f, ZSTD_DStreamOutSize()));
    ZSTD_outBuffer out = {.dst = f->out, .size = f->out_cap};
    while (out.pos == 0) {
        if (f->zstd.wants_input && f->zstd.in.pos == f->zstd.in.size) {
            TRY(zstd_take(f));
            if (f->ended) {
                return OK;
            }
        }
        TRY(zstd_step(f, &out));
    }
    *piece = bytes_of(f->out, out.pos);
    return OK;
}

/* ---- any ---- */

struct inflater *inflater_new(enum codec codec, struct bytes input, int flags)
{
    struct inflater *f = calloc(1, sizeof(*f));
    if (f == NULL) {
        return NULL;
    }
    f->codec = codec;
    f->flags = flags;
    f->input = reader_of(input);
    err e = codec == CODEC_GZIP ? gzip_open(f) : codec == CODEC_ZSTD ? zstd_open(f) : OK;
    if (e != OK) {
        free(f);
        return NULL;
    }
    return f;
}

void inflater_free(struct inflater *f)
{
    if (f == NULL) {
        return;
    }
    if (f->codec == CODEC_GZIP) {
        gzip_close(f);
    } else if (f->codec == CODEC_ZSTD) {
        zstd_close(f);
    }
    free(f->out);
    free(f);
}

/* ---- again ---- */

/* As it was made, but for the memory that it has. */
static void begin_again(struct inflater *f, struct bytes input, int flags)
{
    struct inflater before = *f;
    memset(f, 0, sizeof(*f));
    f->codec = before.codec;
    f->flags = flags;
    f->input = reader_of(input);
    f->out = before.out;
    f->out_cap = before.out_cap;
    if (f->codec == CODEC_GZIP) {
        f->gzip.deflate = before.gzip.deflate;
        deflate_reset(f->gzip.deflate);
    } else if (f->codec == CODEC_ZSTD) {
        f->zstd.context = before.zstd.context;
        zstd_begin(f);
    }
}

static bool is_worth_keeping(const struct inflater *f)
{
    size_t state = f->codec == CODEC_ZSTD ? ZSTD_sizeof_DCtx(f->zstd.context) : 0;
    return f->out_cap <= SPARE_OUT_BYTES_MAX && state <= SPARE_STATE_BYTES_MAX;
}

struct inflater *inflaters_take(struct inflaters *inflaters, enum codec codec, struct bytes input,
                                int flags)
{
    bool known = inflaters != NULL && codec < CODEC_COUNT;
    struct inflater *f = known ? inflaters->spare[codec] : NULL;
    if (f == NULL) {
        return inflater_new(codec, input, flags);
    }
    inflaters->spare[codec] = NULL;
    begin_again(f, input, flags);
    return f;
}

void inflaters_return(struct inflaters *inflaters, struct inflater *f)
{
    bool keep = inflaters != NULL && f->codec < CODEC_COUNT && inflaters->spare[f->codec] == NULL &&
                is_worth_keeping(f);
    if (keep) {
        f->input = (struct reader){0};
        inflaters->spare[f->codec] = f;
    } else {
        inflater_free(f);
    }
}

void inflaters_deinit(struct inflaters *inflaters)
{
    for (int i = 0; i < CODEC_COUNT; i++) {
        inflater_free(inflaters->spare[i]);
        inflaters->spare[i] = NULL;
    }
}

/* ---- any ---- */

err inflater_next(struct inflater *f, struct bytes *piece)
{
    static const uint8_t NOTHING[1] = {0};
    *piece = bytes_of(NOTHING, 0);
    if (f->ended) {
        return OK;
    }
    switch (f->codec) {
    case CODEC_GZIP:
        return gzip_next(f, piece);
    case CODEC_SNAPPY:
        return snappy_next(f, piece);
    case CODEC_LZ4:
        return lz4_next(f, piece);
    case CODEC_ZSTD:
        return zstd_next(f, piece);
    default:
        return E_CORRUPT; /* codecs 5 to 7 */
    }
}

err inflater_all(struct inflater *f, size_t limit_bytes, struct writer *out)
{
    for (;;) {
        struct bytes piece;
        TRY(inflater_next(f, &piece));
        if (piece.len == 0) {
            return OK;
        }
        if (piece.len > limit_bytes) {
            return E_LIMIT;
        }
        limit_bytes -= piece.len;
        writer_bytes(out, piece.data, piece.len);
        if (out->failed) {
            return E_LIMIT;
        }
    }
}

err codec_decompress(enum codec codec, struct bytes input, size_t limit_bytes, struct writer *out)
{
    if (input.len > INT32_MAX) {
        return E_LIMIT;
    }
    if (codec == CODEC_NONE) {
        if (input.len > limit_bytes) {
            return E_LIMIT;
        }
        writer_bytes(out, input.data, input.len);
        return out->failed ? E_LIMIT : OK;
    }
    struct inflater *f = inflater_new(codec, input, 0);
    err e = f == NULL ? E_LIMIT : inflater_all(f, limit_bytes, out);
    inflater_free(f);
    return e;
}
