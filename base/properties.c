/* A reader of Java properties, character by character over logical lines. */
#define _GNU_SOURCE
#include "base/properties.h"

#include "base/bytes.h"

#include <stdlib.h>

struct scan {
    const char *next;
    const char *end;
    int line;
};

void properties_init(struct properties *properties)
{
    *properties = (struct properties){0};
}

void properties_deinit(struct properties *properties)
{
    for (size_t i = 0; i < properties->count; i++) {
        free(properties->items[i].name);
        free(properties->items[i].value);
    }
    free(properties->items);
    *properties = (struct properties){0};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

static bool is_newline(char c)
{
    return c == '\n' || c == '\r';
}

static void skip_newline(struct scan *s)
{
    char c = *s->next++;
    if (c == '\r' && s->next < s->end && *s->next == '\n') {
        s->next++;
    }
    s->line++;
}

static void skip_blanks(struct scan *s)
{
    while (s->next < s->end && is_blank(*s->next)) {
        s->next++;
    }
}

static err read_unicode(struct scan *s, char *out, size_t *len)
{
    unsigned code = 0;
    for (int i = 0; i < 4; i++) {
        char c = s->next < s->end ? *s->next++ : '\0';
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10)
                                                : 16;
        if (digit == 16) {
            return E_MALFORMED;
        }
        code = code << 4 | digit;
    }
    if (code < 0x80) {
        out[(*len)++] = (char)code;
    } else if (code < 0x800) {
        out[(*len)++] = (char)(0xc0 | code >> 6);
        out[(*len)++] = (char)(0x80 | (code & 0x3f));
    } else {
        out[(*len)++] = (char)(0xe0 | code >> 12);
        out[(*len)++] = (char)(0x80 | (code >> 6 & 0x3f));
        out[(*len)++] = (char)(0x80 | (code & 0x3f));
    }
    return OK;
}

/* After a backslash: a continued line, or an escaped character. */
static err read_escape(struct scan *s, char *out, size_t *len)
{
    if (s->next == s->end) {
        return OK;
    }
    if (is_newline(*s->next)) {
        skip_newline(s);
        skip_blanks(s);
        return OK;
    }
    char c = *s->next++;
    switch (c) {
    case 'u':
        return read_unicode(s, out, len);
    case 't':
        out[(*len)++] = '\t';
        break;
    case 'n':
        out[(*len)++] = '\n';
        break;
    case 'r':
        out[(*len)++] = '\r';
        break;
    case 'f':
        out[(*len)++] = '\f';
        break;
    default:
        out[(*len)++] = c;
        break;
    }
    return OK;
}

/* Reads a name (up to a separator) or a value (up to the line's end) into `out`. */
static err read_part(struct scan *s, bool name, char *out)
{
    size_t len = 0;
    while (s->next < s->end && !is_newline(*s->next)) {
        char c = *s->next;
        if (name && (is_blank(c) || c == '=' || c == ':')) {
            break;
        }
        s->next++;
        if (c == '\\') {
            TRY(read_escape(s, out, &len));
        } else {
            out[len++] = c;
        }
    }
    out[len] = '\0';
    return OK;
}

static void skip_separator(struct scan *s)
{
    skip_blanks(s);
    if (s->next < s->end && (*s->next == '=' || *s->next == ':')) {
        s->next++;
        skip_blanks(s);
    }
}

err properties_parse(struct properties *properties, const char *text, size_t len, int *line)
{
    struct scan s = {.next = text, .end = text + len, .line = 1};
    char *name = xmalloc(len + 1);
    char *value = xmalloc(len + 1);
    err e = OK;
    while (s.next < s.end && e == OK) {
        skip_blanks(&s);
        if (s.next == s.end) {
            break;
        }
        if (is_newline(*s.next)) {
            skip_newline(&s);
            continue;
        }
        if (*s.next == '#' || *s.next == '!') {
            while (s.next < s.end && !is_newline(*s.next)) {
                s.next++;
            }
            continue;
        }
        *line = s.line;
        e = read_part(&s, true, name);
        if (e == OK) {
            skip_separator(&s);
            e = read_part(&s, false, value);
        }
        if (e == OK) {
            properties_set(properties, name, value);
        }
    }
    free(name);
    free(value);
    return e;
}

const char *properties_get(const struct properties *properties, const char *name)
{
    for (size_t i = 0; i < properties->count; i++) {
        if (strcmp(properties->items[i].name, name) == 0) {
            return properties->items[i].value;
        }
    }
    return NULL;
}

void properties_set(struct properties *properties, const char *name, const char *value)
{
    for (size_t i = 0; i < properties->count; i++) {
        if (strcmp(properties->items[i].name, name) == 0) {
            free(properties->items[i].value);
            properties->items[i].value = xstrdup(value);
            return;
        }
    }
    if (properties->count == properties->cap) {
        properties->cap = properties->cap == 0 ? 16 : properties->cap * 2;
        properties->items =
            xrealloc(properties->items, properties->cap * sizeof(*properties->items));
    }
    properties->items[properties->count++] =
        (struct property){.name = xstrdup(name), .value = xstrdup(value)};
}

void properties_remove(struct properties *properties, const char *name)
{
    for (size_t i = 0; i < properties->count; i++) {
        struct property *item = &properties->items[i];
        if (strcmp(item->name, name) == 0) {
            free(item->name);
            free(item->value);
            properties->count--;
            memmove(item, item + 1, (properties->count - i) * sizeof(*item));
            return;
        }
    }
}
