/* Raw deflate by zlib. */
#include "protocol/deflate.h"

#include <stdlib.h>
#include <zlib.h>

enum { RAW_WINDOW_BITS = -15 };

struct deflate {
    z_stream z;
};

struct deflate *deflate_new(void)
{
    struct deflate *d = calloc(1, sizeof(*d));
    if (d != NULL && inflateInit2(&d->z, RAW_WINDOW_BITS) != Z_OK) {
        free(d);
        return NULL;
    }
    return d;
}

void deflate_free(struct deflate *d)
{
    if (d != NULL) {
        inflateEnd(&d->z);
        free(d);
    }
}

void deflate_reset(struct deflate *d)
{
    CHECK(inflateReset(&d->z) == Z_OK);
}

err deflate_some(struct deflate *d, struct reader *in, uint8_t *out, size_t room, size_t *len,
                 bool *ended)
{
    z_stream *z = &d->z;
    z->next_in = (Bytef *)(uintptr_t)in->next;
    z->avail_in = (uInt)reader_left(in);
    z->next_out = out;
    z->avail_out = (uInt)room;
    int status = inflate(z, Z_NO_FLUSH);
    *len = room - z->avail_out;
    *ended = status == Z_STREAM_END;
    if (status != Z_STREAM_END && (status != Z_OK || *len == 0)) {
        return E_CORRUPT;
    }
    in->next = in->end - z->avail_in;
    return OK;
}

uint32_t gzip_crc32(uint32_t crc, const uint8_t *data, size_t len)
{
    return (uint32_t)crc32(crc, data, (uInt)len);
}
