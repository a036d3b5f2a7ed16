/* Fields are taken from the piece that is there; one that reaches over its end goes on in the next.
 * An error ends the walk: from then on every field is 0. */
#include "protocol/skim.h"

enum { VARINT_BYTES_MAX = 5, VARLONG_BYTES_MAX = 10 };

void skim_init(struct skim *s, struct inflater *inflater, int32_t count, size_t bytes_max)
{
    *s = (struct skim){.inflater = inflater, .bytes_left = bytes_max, .left = count};
}

/* The next piece; false at the end of the payload or after an error. */
static bool refill(struct skim *s)
{
    struct bytes piece;
    s->error = s->error == OK ? inflater_next(s->inflater, &piece) : s->error;
    if (s->error != OK || piece.len == 0) {
        s->end = s->next;
        return false;
    }
    if (piece.len > s->bytes_left) {
        s->error = E_LIMIT;
        s->end = s->next;
        return false;
    }
    s->bytes_left -= piece.len;
    s->next = piece.data;
    s->end = piece.data + piece.len;
    return true;
}

static void fail(struct skim *s)
{
    s->error = s->error == OK ? E_MALFORMED : s->error;
}

static uint8_t take_byte(struct skim *s)
{
    if (s->next == s->end && !refill(s)) {
        fail(s);
        return 0;
    }
    return *s->next++;
}

static uint64_t take_leb128_long(struct skim *s, int bytes_max)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes_max; i++) {
        uint8_t byte = take_byte(s);
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            return value;
        }
    }
    fail(s);
    return 0;
}

static inline int64_t take_varlong(struct skim *s, int bytes_max)
{
    uint64_t raw =
        s->next < s->end && *s->next < 0x80 ? *s->next++ : take_leb128_long(s, bytes_max);
    return (int64_t)(raw >> 1 ^ (~(raw & 1) + 1));
}

static inline int32_t take_varint(struct skim *s)
{
    uint64_t raw =
        s->next < s->end && *s->next < 0x80 ? *s->next++ : take_leb128_long(s, VARINT_BYTES_MAX);
    uint32_t low = (uint32_t)raw;
    return (int32_t)(low >> 1 ^ (~(low & 1) + 1));
}

static void skip(struct skim *s, size_t len)
{
    while (len > (size_t)(s->end - s->next)) {
        len -= (size_t)(s->end - s->next);
        s->next = s->end;
        if (!refill(s)) {
            fail(s);
            return;
        }
    }
    s->next += len;
}

/* Passes over bytes behind their length; false for null. */
static inline bool skip_nullable(struct skim *s)
{
    int32_t len = take_varint(s);
    if (len > 0) {
        skip(s, (size_t)len);
    }
    return len >= 0;
}

static void skip_headers(struct skim *s, int32_t count)
{
    if (count < 0) {
        fail(s);
    }
    for (int32_t i = 0; i < count && s->error == OK; i++) {
        if (!skip_nullable(s)) {
            fail(s); /* a header has a key */
        }
        (void)skip_nullable(s);
    }
}

bool skim_next(struct skim *s, struct skimmed *record)
{
    if (s->error != OK) {
        return false;
    }
    if (s->left == 0) {
        if (s->next < s->end || refill(s)) {
            fail(s);
        }
        return false;
    }
    s->left--;
    (void)take_varint(s); /* the length */
    (void)take_byte(s);   /* the attributes */
    record->timestamp_delta = take_varlong(s, VARLONG_BYTES_MAX);
    record->offset_delta = take_varint(s);
    record->has_key = skip_nullable(s);
    (void)skip_nullable(s);
    skip_headers(s, take_varint(s));
    return s->error == OK;
}
