/* Views of memory that somebody else owns: bytes, text, and 16-byte ids.
 *
 * A view never owns. Whoever hands one out says how long it lives. */
#ifndef OTTLA_BASE_BYTES_H
#define OTTLA_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* `data` NULL is the null value, which differs from an empty one. */
struct bytes {
    const uint8_t *data;
    size_t len;
};

/* Text, UTF-8, not terminated. `data` NULL is the null string. */
struct str {
    const char *data;
    size_t len;
};

struct uuid {
    uint8_t bytes[16];
};

#define STR(literal) ((struct str){.data = (literal), .len = sizeof(literal) - 1})

static inline struct bytes bytes_of(const void *data, size_t len)
{
    return (struct bytes){.data = data, .len = len};
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline struct str str_of(const char *text)
{
    return (struct str){.data = text, .len = text == NULL ? 0 : strlen(text)};
}

static inline bool str_is_null(struct str s)
{
    return s.data == NULL;
}

static inline bool str_equal(struct str a, struct str b)
{
    return (a.data == NULL) == (b.data == NULL) && a.len == b.len &&
           (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* The order of their bytes, a beginning of the other first: below 0, 0, above 0. Neither is null. */
static inline int str_compare(struct str a, struct str b)
{
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static inline bool str_is(struct str a, const char *text)
{
    return str_equal(a, str_of(text));
}

/* A malloc'd, terminated copy; NULL for the null string. */
char *str_dup(struct str s);

static inline bool uuid_equal(struct uuid a, struct uuid b)
{
    return memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0;
}

static inline bool uuid_is_zero(struct uuid id)
{
    return uuid_equal(id, (struct uuid){{0}});
}

/* Kafka's text form of an id: 22 characters of base64url without padding. */
enum { UUID_TEXT_LEN = 22 };
void uuid_format(struct uuid id, char text[UUID_TEXT_LEN + 1]);
bool uuid_parse(struct str text, struct uuid *id);

#endif
