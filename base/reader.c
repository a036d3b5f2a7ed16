/* Variable-length integers of more than one byte, and those that are broken. */
#include "base/reader.h"

uint64_t reader_leb128_long(struct reader *r, int bytes_max)
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
