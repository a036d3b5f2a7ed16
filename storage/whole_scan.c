#include "storage/whole_scan.h"

#include "base/planted.h"

#include "storage/scan.h"

#include <stdlib.h>

void whole_scan_begin(struct whole_scan *scan, struct fs *fs, int fd, int64_t size_bytes,
                      size_t read_bytes)
{
    CHECK(read_bytes >= BATCH_HEADER_BYTES);
    *scan =
        (struct whole_scan){.fs = fs, .fd = fd, .size_bytes = size_bytes, .read_bytes = read_bytes};
}

void whole_scan_end(struct whole_scan *scan)
{
    free(scan->buffer);
    scan->buffer = NULL;
}

/* Makes `len` bytes at the current position readable; E_TRUNCATED when the file ends before. */
static err view(struct whole_scan *scan, size_t len, const uint8_t **bytes)
{
    int64_t skip = scan->position - scan->buffer_position;
    *bytes = NULL;
    if ((int64_t)len > scan->size_bytes - scan->position) {
        return E_TRUNCATED;
    }
    if (scan->buffer == NULL || skip < 0 || skip + (int64_t)len > (int64_t)scan->buffer_len) {
        size_t cap = len > scan->read_bytes ? len : scan->read_bytes;
        if (cap > scan->buffer_cap) {
            free(scan->buffer);
            scan->buffer_cap = 0;
            scan->buffer = malloc(cap);
            if (scan->buffer == NULL) {
                return E_LIMIT;
            }
            scan->buffer_cap = cap;
        }
        TRY(fs_read_some(scan->fs, scan->fd, scan->buffer, scan->buffer_cap, scan->position,
                         &scan->buffer_len));
        scan->buffer_position = scan->position;
        skip = 0;
        if (scan->buffer_len < len) {
            return E_TRUNCATED;
        }
    }
    *bytes = scan->buffer + skip;
    return OK;
}

err whole_scan_next(struct whole_scan *scan, struct batch *batch, const uint8_t **bytes)
{
    int64_t left = scan->size_bytes - scan->position;
    if (left == 0) {
        return E_NOT_FOUND;
    }
    size_t head = left < BATCH_HEADER_BYTES ? (size_t)left : BATCH_HEADER_BYTES;
    TRY(view(scan, head, bytes));
    TRY(header_parse(*bytes, head, batch));
    TRY(view(scan, (size_t)batch->size_bytes, bytes));
    return batch_is_sound(*bytes, batch) || planted(MISTAKE_NO_CRC_AT_RECOVERY) ? OK : E_CORRUPT;
}
