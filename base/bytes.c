/* Copies of text, and Kafka's base64url form of 16-byte ids. */
#include "base/bytes.h"

#include "base/err.h"

#include <stdlib.h>

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

char *str_dup(struct str s)
{
    if (s.data == NULL) {
        return NULL;
    }
    char *copy = xmalloc(s.len + 1);
    memcpy(copy, s.data, s.len);
    copy[s.len] = '\0';
    return copy;
}

void uuid_format(struct uuid id, char text[UUID_TEXT_LEN + 1])
{
    uint32_t bits = 0;
    int bits_n = 0;
    size_t out = 0;
    for (size_t i = 0; i < sizeof(id.bytes); i++) {
        bits = (bits << 8 | id.bytes[i]) & 0xffff;
        bits_n += 8;
        while (bits_n >= 6) {
            bits_n -= 6;
            text[out++] = ALPHABET[bits >> bits_n & 63];
        }
    }
    text[out++] = ALPHABET[bits << (6 - bits_n) & 63];
    text[out] = '\0';
    CHECK(out == UUID_TEXT_LEN);
}

bool uuid_parse(struct str text, struct uuid *id)
{
    if (text.len != UUID_TEXT_LEN) {
        return false;
    }
    uint32_t bits = 0;
    int bits_n = 0;
    size_t out = 0;
    for (size_t i = 0; i < text.len; i++) {
        const char *found = memchr(ALPHABET, text.data[i], 64);
        if (found == NULL) {
            return false;
        }
        bits = (bits << 6 | (uint32_t)(found - ALPHABET)) & 0xffff;
        bits_n += 6;
        if (bits_n >= 8 && out < sizeof(id->bytes)) {
            bits_n -= 8;
            id->bytes[out++] = (uint8_t)(bits >> bits_n);
        }
    }
    return out == sizeof(id->bytes);
}
