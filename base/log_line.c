/* A line in one of two forms.
 *
 * Kafka's:  [2026-11-21 02:00:00,123] INFO listening listener=PLAINTEXT port=9092 (broker)
 * JSON:     {"time":"2026-11-21T02:00:00.123Z","level":"INFO","logger":"broker","message":"listening",
 *            "fields":{"listener":"PLAINTEXT","port":9092}}
 *
 * Fields are the key=value pairs that a message ends with; values in quotes may have spaces. A message that
 * does not end so has no fields. Control characters become '?', so that a peer's name cannot forge a second
 * line, and what is no UTF-8 is replaced in JSON. */
#define _GNU_SOURCE
#include "base/log_line.h"

#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

/* ---- pairs ---- */

static bool is_key_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
}

struct pair {
    struct str key;
    struct str value;
};

/* The pair that begins here; *end is behind it. */
static bool read_pair(const char *at, const char *stop, struct pair *pair, const char **end)
{
    const char *key = at;
    while (at < stop && is_key_char(*at)) {
        at++;
    }
    if (at == key || at == stop || *at != '=') {
        return false;
    }
    pair->key = (struct str){.data = key, .len = (size_t)(at - key)};
    at++;
    bool quoted = at < stop && *at == '"';
    at += quoted;
    const char *value = at;
    while (at < stop && *at != (quoted ? '"' : ' ')) {
        at++;
    }
    if (quoted && at == stop) {
        return false;
    }
    pair->value = (struct str){.data = value, .len = (size_t)(at - value)};
    at += quoted;
    *end = at;
    return at == stop || *at == ' ';
}

/* Is all from here on pairs? */
static bool only_pairs(const char *at, const char *stop)
{
    struct pair pair;
    while (at < stop) {
        if (!read_pair(at, stop, &pair, &at)) {
            return false;
        }
        at += at < stop;
    }
    return true;
}

/* Where the pairs begin; `stop`: there are none. */
static const char *first_pair(const char *at, const char *stop)
{
    while (at < stop && !only_pairs(at, stop)) {
        const char *space = memchr(at, ' ', (size_t)(stop - at));
        at = space == NULL ? stop : space + 1;
    }
    return at;
}

/* ---- JSON ---- */

/* Text that ends where the memory does: what would not fit is left out whole. */
struct out {
    char *data;
    size_t len;
    size_t cap;
};

static void put(struct out *out, const char *text, size_t len)
{
    if (out->len + len <= out->cap) {
        memcpy(out->data + out->len, text, len);
        out->len += len;
    }
}

static void put_string(struct out *out, struct str text)
{
    bool sound = utf8_is_valid(text);
    put(out, "\"", 1);
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '"' || c == '\\') {
            put(out, "\\", 1);
        }
        bool odd = !sound && (unsigned char)c >= 0x80;
        put(out, odd ? "?" : &c, 1);
    }
    put(out, "\"", 1);
}

static bool is_number(struct str text)
{
    size_t sign = text.len > 0 && text.data[0] == '-';
    size_t digits = text.len - sign;
    if (digits == 0 || digits > 15 || (digits > 1 && text.data[sign] == '0')) {
        return false; /* more digits than a reader of JSON keeps */
    }
    for (size_t i = sign; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
    }
    return true;
}

static void put_fields(struct out *out, const char *at, const char *stop)
{
    put(out, ",\"fields\":{", 11);
    bool first = true;
    struct pair pair;
    while (at < stop && read_pair(at, stop, &pair, &at)) {
        put(out, ",", first ? 0 : 1);
        first = false;
        put_string(out, pair.key);
        put(out, ":", 1);
        if (is_number(pair.value)) {
            put(out, pair.value.data, pair.value.len);
        } else {
            put_string(out, pair.value);
        }
        at += at < stop;
    }
    put(out, "}", 1);
}

static size_t format_json(const struct log_line *line, char *data)
{
    struct out out = {.data = data, .cap = LOG_LINE_MAX_BYTES - 2};
    struct tm utc;
    gmtime_r(&line->time.tv_sec, &utc);
    char head[160];
    size_t len = strftime(head, sizeof(head), "{\"time\":\"%Y-%m-%dT%H:%M:%S", &utc);
    len += (size_t)snprintf(
        head + len, sizeof(head) - len, ".%03dZ\",\"level\":\"%s\",\"logger\":\"%s\",\"message\":",
        (int)(line->time.tv_nsec / 1000000), log_level_name(line->level), line->area);
    put(&out, head, len);
    const char *stop = line->message + line->message_len;
    const char *pairs = first_pair(line->message, stop);
    size_t text_len = (size_t)(pairs - line->message);
    text_len -= text_len > 0 && pairs < stop ? 1 : 0; /* the space before */
    put_string(&out, (struct str){.data = line->message, .len = text_len});
    if (pairs < stop) {
        put_fields(&out, pairs, stop);
    }
    data[out.len] = '}';
    data[out.len + 1] = '\n';
    return out.len + 2;
}

/* ---- Kafka's form ---- */

static size_t format_kafka(const struct log_line *line, char *data)
{
    struct tm local;
    localtime_r(&line->time.tv_sec, &local);
    size_t len = strftime(data, LOG_LINE_MAX_BYTES, "[%Y-%m-%d %H:%M:%S", &local);
    len += (size_t)snprintf(data + len, LOG_LINE_MAX_BYTES - len, ",%03d] %s ",
                            (int)(line->time.tv_nsec / 1000000), log_level_name(line->level));
    memcpy(data + len, line->message, line->message_len);
    len += line->message_len;
    len += (size_t)snprintf(data + len, LOG_LINE_MAX_BYTES - len, " (%s)\n", line->area);
    return len;
}

size_t log_line_format(struct log_line *line, enum log_format format, char out[LOG_LINE_MAX_BYTES])
{
    for (size_t i = 0; i < line->message_len; i++) {
        if ((unsigned char)line->message[i] < 0x20 || line->message[i] == 0x7f) {
            line->message[i] = '?';
        }
    }
    return format == LOG_FORMAT_JSON ? format_json(line, out) : format_kafka(line, out);
}
