/* The buffer is larger than index.interval.bytes' default, so that a look-up that starts at an
 * index entry normally needs one pread. A batch that ends beyond the buffer is skipped without
 * reading its body. */
#include "storage/scan.h"

err header_parse(const uint8_t *bytes, size_t len, struct batch *batch)
{
    if (len < BATCH_MAGIC_PREFIX_BYTES) {
        return E_TRUNCATED;
    }
    int8_t magic = (int8_t)bytes[16];
    struct reader r = reader_of(bytes_of(bytes, len));
    int64_t offset = reader_i64(&r);
    int32_t length = reader_i32(&r);
    int32_t length_min = magic == 2   ? BATCH_LENGTH_MIN
                         : magic == 1 ? LEGACY_LENGTH_MIN + 8
                                      : LEGACY_LENGTH_MIN;
    if (magic < 0 || magic > 2 || length < length_min || length > INT32_MAX - BATCH_PREFIX_BYTES) {
        return E_CORRUPT;
    }
    if (magic == 2) {
        if (len < BATCH_HEADER_BYTES) {
            return E_TRUNCATED;
        }
        batch_parse(bytes, batch);
        return OK;
    }
    *batch = (struct batch){
        .base_offset = offset,
        .size_bytes = length + BATCH_PREFIX_BYTES,
        .leader_epoch = -1,
        .magic = magic,
        .base_timestamp = -1,
        .max_timestamp = -1,
        .producer_id = -1,
        .producer_epoch = -1,
        .base_sequence = -1,
        .count = 1,
    };
    batch->crc = reader_u32(&r);
    (void)reader_take(&r, 1);
    batch->attributes = (int16_t)(uint8_t)reader_i8(&r);
    if (magic == 1) {
        batch->base_timestamp = batch->max_timestamp = reader_i64(&r);
    }
    return r.failed ? E_TRUNCATED : OK;
}

/* CRC-32 (IEEE), of the formats before 2; a nibble at a time: they are rare. */
static uint32_t crc32_ieee(const uint8_t *data, size_t len)
{
    static const uint32_t TABLE[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                       0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                       0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ TABLE[crc & 15];
        crc = crc >> 4 ^ TABLE[crc & 15];
    }
    return ~crc;
}

bool batch_is_sound(const uint8_t *data, const struct batch *batch)
{
    CHECK(batch->size_bytes >= BATCH_PREFIX_BYTES + LEGACY_LENGTH_MIN);
    size_t len = (size_t)batch->size_bytes;
    if (batch->base_offset < 0) {
        return false;
    }
    if (batch->magic < 2) {
        return crc32_ieee(data + 16, len - 16) == batch->crc;
    }
    /* Compaction removes records and keeps the delta, so fewer are fine; more are not. */
    return batch->last_offset_delta >= 0 && batch->count >= 0 &&
           (int64_t)batch->count <= (int64_t)batch->last_offset_delta + 1 &&
           batch->base_offset <= INT64_MAX - batch->last_offset_delta &&
           batch_crc(data, len) == batch->crc;
}

void scan_init(struct scan *scan, struct fs *fs, int fd, int64_t position, int64_t end)
{
    CHECK(position >= 0 && fd >= 0);
    scan->fs = fs;
    scan->fd = fd;
    scan->next = position;
    scan->end = end;
    scan->buffer_position = position;
    scan->buffer_len = 0;
}

err scan_next(struct scan *scan, struct batch *batch, int64_t *position)
{
    if (scan->next >= scan->end) {
        return E_NOT_FOUND;
    }
    int64_t skip = scan->next - scan->buffer_position;
    int64_t left = scan->end - scan->next;
    size_t wanted = left < BATCH_HEADER_BYTES ? (size_t)left : BATCH_HEADER_BYTES;
    if (skip < 0 || skip + (int64_t)wanted > (int64_t)scan->buffer_len) {
        size_t len = left < SCAN_BUFFER_BYTES ? (size_t)left : SCAN_BUFFER_BYTES;
        TRY(fs_read_some(scan->fs, scan->fd, scan->buffer, len, scan->next, &scan->buffer_len));
        scan->buffer_position = scan->next;
        skip = 0;
        wanted = scan->buffer_len < wanted ? scan->buffer_len : wanted;
    }
    TRY(header_parse(scan->buffer + skip, wanted, batch));
    if (batch->size_bytes > left) {
        return E_TRUNCATED;
    }
    CHECK(batch->size_bytes > 0);
    *position = scan->next;
    scan->next += batch->size_bytes;
    return OK;
}
