/* Kafka decodes strings with new String(bytes, UTF_8), which replaces each malformed part by one
 * U+FFFD. What counts as one part is visible to a client (the answer carries the replaced name), so
 * it is done as Java does it:
 *
 * - a byte that begins no sequence, or whose second byte does not fit, is a part of its own;
 * - a sequence that breaks at its third or fourth byte is one part up to the broken byte;
 * - a sequence that the end cuts off is one part;
 * - an encoded surrogate (ED A0..BF xx) is one part of three bytes.
 *
 * Nearly all text is ASCII: that is found eight bytes at a time, and nothing is copied. */
#include "base/utf8.h"

static bool is_continuation(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

/* The length of the sequence that a first byte announces; 0: none. */
static size_t announced_length(uint8_t first)
{
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xc2) {
        return 0;
    }
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

static bool second_fits(uint8_t first, uint8_t second)
{
    if (!is_continuation(second)) {
        return false;
    }
    switch (first) {
    case 0xe0:
        return second >= 0xa0;
    case 0xf0:
        return second >= 0x90;
    case 0xf4:
        return second < 0x90;
    default:
        return true;
    }
}

/* The length of the valid sequence or malformed part at `at`, of which `left` bytes are there. */
static size_t part_length(const uint8_t *at, size_t left, bool *valid)
{
    *valid = false;
    size_t want = announced_length(at[0]);
    if (want == 0) {
        return 1;
    }
    for (size_t i = 1; i < want; i++) {
        if (i == left) {
            return left;
        }
        if (i == 1 ? !second_fits(at[0], at[1]) : !is_continuation(at[i])) {
            return i;
        }
    }
    *valid = !(at[0] == 0xed && at[1] >= 0xa0);
    return want;
}

static size_t ascii_length(const uint8_t *at, size_t len)
{
    size_t i = 0;
    for (uint64_t word; i + sizeof(word) <= len; i += sizeof(word)) {
        memcpy(&word, at + i, sizeof(word));
        if ((word & 0x8080808080808080U) != 0) {
            break;
        }
    }
    while (i < len && at[i] < 0x80) {
        i++;
    }
    return i;
}

/* Length of the text when every malformed part is three bytes long; *valid when there is none. */
static size_t clean_length(const uint8_t *at, size_t len, bool *valid)
{
    size_t total = 0;
    *valid = true;
    for (size_t i = 0; i < len;) {
        bool part_valid = false;
        size_t part = part_length(at + i, len - i, &part_valid);
        total += part_valid ? part : 3;
        *valid = *valid && part_valid;
        i += part;
    }
    return total;
}

bool utf8_clean(struct str *text, struct arena *arena)
{
    const uint8_t *at = (const uint8_t *)text->data;
    size_t ascii = ascii_length(at, text->len);
    if (ascii == text->len) {
        return true;
    }
    bool valid = false;
    size_t len = ascii + clean_length(at + ascii, text->len - ascii, &valid);
    if (valid) {
        return true;
    }
    char *copy = arena_alloc(arena, len);
    if (copy == NULL) {
        return false;
    }
    size_t out = 0;
    for (size_t i = 0; i < text->len;) {
        size_t part = part_length(at + i, text->len - i, &valid);
        memcpy(copy + out, valid ? (const char *)at + i : "\xef\xbf\xbd", valid ? part : 3);
        out += valid ? part : 3;
        i += part;
    }
    *text = (struct str){.data = copy, .len = len};
    return true;
}

bool utf8_is_valid(struct str text)
{
    const uint8_t *at = (const uint8_t *)text.data;
    size_t ascii = ascii_length(at, text.len);
    bool valid = true;
    (void)clean_length(at + ascii, text.len - ascii, &valid);
    return valid;
}
