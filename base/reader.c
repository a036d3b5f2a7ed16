/* Variable-length integers. */
#include "base/reader.h"

static uint64_t read_leb128(struct reader *r, int bytes_max)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes_max; i++) {
        const uint8_t *at = reader_take(r, 1);
        if (at == NULL) {
            return 0;
        }
        value |= (uint64_t)(*at & 0x7f) << (7 * i);
        if ((*at & 0x80) == 0) {
            return value;
        }
    }
    r->failed = true;
    return 0;
}

uint32_t reader_uvarint(struct reader *r)
{
    return (uint32_t)read_leb128(r, 5);
}

int32_t reader_varint(struct reader *r)
{
    uint32_t raw = (uint32_t)read_leb128(r, 5);
    return (int32_t)(raw >> 1 ^ (~(raw & 1) + 1));
}

int64_t reader_varlong(struct reader *r)
{
    uint64_t raw = read_leb128(r, 10);
    return (int64_t)(raw >> 1 ^ (~(raw & 1) + 1));
}
