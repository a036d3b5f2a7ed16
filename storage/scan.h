/* Walks the batch headers of a part of a .log file, a few KiB a read. Formats 0, 1 and 2. */
#ifndef OTTLA_STORAGE_SCAN_H
#define OTTLA_STORAGE_SCAN_H

#include "base/file.h"
#include "protocol/batch.h"

enum { SCAN_BUFFER_BYTES = 8192, LEGACY_LENGTH_MIN = 14, SCAN_HEADER_MIN = 26 };

struct scan {
    struct fs *fs;
    int fd;
    int64_t next; /* where the next batch begins */
    int64_t end;
    int64_t buffer_position;
    size_t buffer_len;
    uint8_t buffer[SCAN_BUFFER_BYTES];
};

/* Takes a header of any format apart; `len` bytes are there. For formats 0 and 1 the offset is the
 * last one of the entry, and base_offset equals it. E_TRUNCATED when more bytes are needed to tell,
 * E_CORRUPT when the length or the magic is impossible. */
NODISCARD err header_parse(const uint8_t *bytes, size_t len, struct batch *batch);

/* Checks one batch that lies whole in memory, beyond its header: CRC, counts. */
bool batch_is_sound(const uint8_t *data, const struct batch *batch);

void scan_init(struct scan *scan, struct fs *fs, int fd, int64_t position, int64_t end);
/* The next header and its position. E_NOT_FOUND at the end; E_TRUNCATED when the end cuts a batch;
 * E_CORRUPT for an impossible header. */
NODISCARD err scan_next(struct scan *scan, struct batch *batch, int64_t *position);

#endif
