/* Raw deflate, and the CRC-32 of gzip: by ISA-L where it is present, which takes a third of zlib's
 * time, or else by zlib. CMake picks one of the two files.
 *
 * ISA-L does not refuse tables of codes that are incomplete, which zlib, and so Java, does: no
 * encoder makes such streams, but somebody can by hand. */
#ifndef OTTLA_PROTOCOL_DEFLATE_H
#define OTTLA_PROTOCOL_DEFLATE_H

#include "base/err.h"
#include "base/reader.h"

struct deflate;

struct deflate *deflate_new(void); /* NULL without memory */
void deflate_free(struct deflate *d);
/* Before each stream but the first. */
void deflate_reset(struct deflate *d);
/* Inflates some: *len bytes of `room` are filled, none only when the stream ends. Afterwards `in` is
 * behind what was needed once it has ended. E_CORRUPT: it cannot, or is cut. */
NODISCARD err deflate_some(struct deflate *d, struct reader *in, uint8_t *out, size_t room,
                           size_t *len, bool *ended);
uint32_t gzip_crc32(uint32_t crc, const uint8_t *data, size_t len);

#endif
