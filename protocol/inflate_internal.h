/* What the codecs' inflaters share: inflate.c has the way in, each of the others one codec. */
#ifndef OTTLA_PROTOCOL_INFLATE_INTERNAL_H
#define OTTLA_PROTOCOL_INFLATE_INTERNAL_H

#include "protocol/deflate.h"
#include "protocol/inflate.h"

#include <zstd.h>

struct inflater {
    enum codec codec;
    int flags;
    struct reader input;
    uint8_t *out; /* malloc'd: where pieces are inflated to */
    size_t out_cap;
    bool begun; /* the first header has been read */
    bool ended;
    union {
        struct {
            struct deflate *deflate;
            bool in_member;
            uint32_t crc;
            uint32_t size; /* modulo 2^32, as the trailer has it */
        } gzip;
        struct {
            size_t block_bytes_max;
            bool block_checksums;
            bool content_checksum;
        } lz4;
        struct {
            struct bytes next; /* a piece that has been inflated beside the one before it */
        } snappy;
        struct {
            ZSTD_DCtx *context;
            ZSTD_inBuffer in;
            bool wants_input;
            bool frame_ended; /* since input was last taken */
        } zstd;
    };
};

/* Makes `out` at least so large; what was in it is gone. */
NODISCARD err inflater_room(struct inflater *f, size_t len);

/* One codec each. `open` is called once on a zeroed union, `next` only until it has ended. */
NODISCARD err gzip_open(struct inflater *f);
NODISCARD err gzip_next(struct inflater *f, struct bytes *piece);
void gzip_close(struct inflater *f);
NODISCARD err snappy_next(struct inflater *f, struct bytes *piece);
NODISCARD err lz4_next(struct inflater *f, struct bytes *piece);
NODISCARD err zstd_open(struct inflater *f);
NODISCARD err zstd_next(struct inflater *f, struct bytes *piece);
void zstd_close(struct inflater *f);

#endif
