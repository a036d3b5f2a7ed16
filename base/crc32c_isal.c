/* CRC-32C by ISA-L, which picks the machine's best instructions at run time. */
#include "base/crc32c.h"

#include <isa-l/crc.h>
#include <limits.h>

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    unsigned char *at = (unsigned char *)(uintptr_t)data; /* ISA-L's prototype lacks const */
    uint32_t state = ~crc;
    while (len > 0) {
        int chunk = len > INT_MAX ? INT_MAX : (int)len;
        state = crc32_iscsi(at, chunk, state);
        at += chunk;
        len -= (size_t)chunk;
    }
    return ~state;
}
