/* Six bits for each character; what is left over at the end must be zero, so that one value has one
 * text. */
#include "broker/security/base64.h"

static const char COMMON[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

static char letter_of(enum base64_alphabet alphabet, uint32_t six)
{
    if (six < 62) {
        return COMMON[six];
    }
    return alphabet == BASE64_URL ? "-_"[six - 62] : "+/"[six - 62];
}

static int value_of(enum base64_alphabet alphabet, char letter)
{
    if (letter >= 'A' && letter <= 'Z') {
        return letter - 'A';
    }
    if (letter >= 'a' && letter <= 'z') {
        return letter - 'a' + 26;
    }
    if (letter >= '0' && letter <= '9') {
        return letter - '0' + 52;
    }
    if (letter == (alphabet == BASE64_URL ? '-' : '+')) {
        return 62;
    }
    return letter == (alphabet == BASE64_URL ? '_' : '/') ? 63 : -1;
}

size_t base64_encode(enum base64_alphabet alphabet, struct bytes data, char *text)
{
    size_t len = 0;
    for (size_t at = 0; at < data.len; at += 3) {
        size_t n = data.len - at < 3 ? data.len - at : 3;
        uint32_t bits = (uint32_t)data.data[at] << 16;
        bits |= n > 1 ? (uint32_t)data.data[at + 1] << 8 : 0;
        bits |= n > 2 ? (uint32_t)data.data[at + 2] : 0;
        for (size_t i = 0; i <= n; i++) {
            text[len++] = letter_of(alphabet, bits >> (18 - 6 * i) & 63);
        }
        for (size_t i = n; i < 3 && alphabet == BASE64_PADDED; i++) {
            text[len++] = '=';
        }
    }
    text[len] = '\0';
    return len;
}

/* Without the padding, which must fit. */
static bool unpad(enum base64_alphabet alphabet, struct str *text)
{
    if (alphabet == BASE64_PADDED) {
        if (text->len % 4 != 0) {
            return false;
        }
        for (int i = 0; i < 2 && text->len > 0 && text->data[text->len - 1] == '='; i++) {
            text->len--;
        }
    }
    return text->len % 4 != 1;
}

bool base64_decode(enum base64_alphabet alphabet, struct str text, uint8_t *data, size_t size,
                   size_t *len)
{
    uint32_t bits = 0;
    int have = 0;
    *len = 0;
    if (!unpad(alphabet, &text)) {
        return false;
    }
    for (size_t at = 0; at < text.len; at++) {
        int six = value_of(alphabet, text.data[at]);
        if (six < 0) {
            return false;
        }
        bits = (bits << 6 | (uint32_t)six) & 0xffffff;
        have += 6;
        if (have >= 8) {
            if (*len == size) {
                return false;
            }
            have -= 8;
            data[(*len)++] = (uint8_t)(bits >> have);
        }
    }
    return (bits & ((1U << have) - 1)) == 0;
}
