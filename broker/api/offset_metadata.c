#include "broker/api/offset_metadata.h"

static size_t utf16_len(struct str s)
{
    size_t units = 0;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.data[i];
        units += (c & 0xc0) != 0x80 ? (c >= 0xf0 ? 2 : 1) : 0;
    }
    return units;
}

bool offset_metadata_fits(const struct config *config, struct str metadata)
{
    return utf16_len(metadata) <= (size_t)config->offset_metadata_max_bytes;
}
