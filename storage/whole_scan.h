/* Walks the whole batches of a .log file from its begin, a buffer of many at a read. Formats 0, 1 and 2.
 * scan.h walks the headers alone. */
#ifndef OTTLA_STORAGE_WHOLE_SCAN_H
#define OTTLA_STORAGE_WHOLE_SCAN_H

#include "base/file.h"
#include "protocol/batch.h"

struct whole_scan {
    struct fs *fs;
    int fd;
    int64_t size_bytes;
    int64_t position; /* of the next batch; whoever has taken one moves it behind it */
    size_t read_bytes;
    uint8_t *buffer;
    size_t buffer_cap;
    size_t buffer_len;
    int64_t buffer_position;
};

/* `read_bytes` are read at once, or a batch that is larger. */
void whole_scan_begin(struct whole_scan *scan, struct fs *fs, int fd, int64_t size_bytes,
                      size_t read_bytes);
void whole_scan_end(struct whole_scan *scan);
/* The batch at the position; its bytes live until the next call. E_NOT_FOUND at the end; E_TRUNCATED or E_CORRUPT for
 * one that is cut, or not sound (scan.h). */
NODISCARD err whole_scan_next(struct whole_scan *scan, struct batch *batch, const uint8_t **bytes);

#endif
