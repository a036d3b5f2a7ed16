/* Raw deflate by Intel's ISA-L. It reads ahead: whole bytes that it holds at the end of a stream are
 * given back. */
#include "protocol/deflate.h"

#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#include <stdlib.h>

struct deflate {
    struct inflate_state state;
};

struct deflate *deflate_new(void)
{
    struct deflate *d = malloc(sizeof(*d));
    if (d != NULL) {
        isal_inflate_init(&d->state);
    }
    return d;
}

void deflate_free(struct deflate *d)
{
    free(d);
}

void deflate_reset(struct deflate *d)
{
    isal_inflate_reset(&d->state);
}

err deflate_some(struct deflate *d, struct reader *in, uint8_t *out, size_t room, size_t *len,
                 bool *ended)
{
    struct inflate_state *s = &d->state;
    s->next_in = (uint8_t *)(uintptr_t)in->next;
    s->avail_in = (uint32_t)reader_left(in);
    s->next_out = out;
    s->avail_out = (uint32_t)room;
    int status = isal_inflate(s);
    *len = room - s->avail_out;
    *ended = s->block_state == ISAL_BLOCK_FINISH;
    if (status != ISAL_DECOMP_OK || (*len == 0 && !*ended)) {
        return E_CORRUPT;
    }
    size_t ahead = *ended && s->read_in_length > 0 ? (size_t)s->read_in_length / 8 : 0;
    in->next = in->end - s->avail_in - ahead;
    return OK;
}

uint32_t gzip_crc32(uint32_t crc, const uint8_t *data, size_t len)
{
    return crc32_gzip_refl(crc, data, len);
}
