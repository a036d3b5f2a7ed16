/* CRC-32C (Castagnoli), the checksum of a v2 record batch. */
#ifndef OTTLA_BASE_CRC32C_H
#define OTTLA_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Extends `crc` (0 to begin with) by more bytes. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
