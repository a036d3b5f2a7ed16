/* Tokens are those of Java's StreamTokenizer, as Kafka sets it up: words of letters, digits and . - _ $,
 * which do not begin with a digit, a point or a minus (those are numbers, and no values); strings in
 * either quote, which end with the line; comments behind / and between slash-star and star-slash;
 * anything else is a token by itself. */
#include "broker/security/jaas.h"

#include "base/refuse.h"
#include "base/writer.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { END = -1, TEXT = -2, NUMBER = -3, WORD_MAX = 64 << 10 };

/* `type` is END, TEXT (a word or a string, in `text`), NUMBER, or a character. */
struct tokens {
    const char *next;
    int type;
    struct writer text;
};

static const char *const FLAGS[] = {"required", "requisite", "sufficient", "optional"};

static const struct {
    const char *class;
    const char *name;
} MODULES[] = {
    [JAAS_PLAIN] = {"org.apache.kafka.common.security.plain.PlainLoginModule", "PlainLoginModule"},
    [JAAS_SCRAM] = {"org.apache.kafka.common.security.scram.ScramLoginModule", "ScramLoginModule"},
    [JAAS_OAUTHBEARER] = {"org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
                          "OAuthBearerLoginModule"},
};

const char *jaas_module_name(enum jaas_module module)
{
    return MODULES[module].name;
}

/* ---- tokens ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '.' ||
           c == '-' || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

static bool ends_line(char c)
{
    return c == '\0' || c == '\n' || c == '\r';
}

/* Past blanks and comments. */
static void skip(struct tokens *t)
{
    for (;;) {
        if (*t->next > '\0' && *t->next <= ' ') {
            t->next++;
        } else if (t->next[0] == '/' && t->next[1] == '*') {
            const char *end = strstr(t->next + 2, "*/");
            t->next = end == NULL ? t->next + strlen(t->next) : end + 2;
        } else if (t->next[0] == '/') {
            while (!ends_line(*t->next)) {
                t->next++;
            }
        } else {
            return;
        }
    }
}

/* A character from 0 to 255, as UTF-8. */
static void put(struct tokens *t, unsigned c)
{
    if (c < 0x80) {
        writer_i8(&t->text, (int8_t)c);
    } else {
        writer_i8(&t->text, (int8_t)(0xc0 | c >> 6));
        writer_i8(&t->text, (int8_t)(0x80 | (c & 0x3f)));
    }
}

/* Up to three octal digits, two where the first is above 3. */
static void octal(struct tokens *t)
{
    int digits_max = *t->next <= '3' ? 3 : 2;
    unsigned c = 0;
    for (int i = 0; i < digits_max && *t->next >= '0' && *t->next <= '7'; i++) {
        c = c * 8 + (unsigned)(*t->next++ - '0');
    }
    put(t, c);
}

static void escape(struct tokens *t)
{
    static const char FROM[] = "abfnrtv";
    static const char TO[] = "\a\b\f\n\r\t\v";
    if (*t->next >= '0' && *t->next <= '7') {
        octal(t);
        return;
    }
    const char *found = *t->next == '\0' ? NULL : strchr(FROM, *t->next);
    writer_i8(&t->text, found == NULL ? (int8_t)*t->next : (int8_t)TO[found - FROM]);
    t->next++;
}

static void string(struct tokens *t)
{
    char quote = *t->next++;
    while (*t->next != quote && !ends_line(*t->next)) {
        if (*t->next == '\\' && t->next[1] != '\0') {
            t->next++;
            escape(t);
        } else {
            writer_i8(&t->text, (int8_t)*t->next++);
        }
    }
    t->next += *t->next == quote ? 1 : 0;
}

/* A minus alone is a character; anything else that begins like a number is one. */
static int number(struct tokens *t)
{
    if (t->next[0] == '-' && t->next[1] != '.' && !is_digit(t->next[1])) {
        t->next++;
        return '-';
    }
    t->next++;
    while (is_digit(*t->next) || *t->next == '.') {
        t->next++;
    }
    return NUMBER;
}

static int advance(struct tokens *t)
{
    writer_clear(&t->text);
    skip(t);
    if (*t->next == '\0') {
        t->type = END;
    } else if (is_digit(*t->next) || *t->next == '.' || *t->next == '-') {
        t->type = number(t);
    } else if (*t->next == '"' || *t->next == '\'') {
        string(t);
        t->type = TEXT;
    } else if (is_word(*t->next)) {
        while (is_word(*t->next)) {
            writer_i8(&t->text, (int8_t)*t->next++);
        }
        t->type = TEXT;
    } else {
        t->type = *t->next++;
    }
    writer_i8(&t->text, 0);
    return t->type;
}

static const char *text_of(const struct tokens *t)
{
    return t->text.failed ? "" : (const char *)t->text.data;
}

/* ---- entries ---- */

static err read_module(struct tokens *t, struct jaas *jaas, char *reason, size_t size)
{
    for (size_t i = 0; t->type == TEXT && i < sizeof(MODULES) / sizeof(MODULES[0]); i++) {
        if (strcmp(text_of(t), MODULES[i].class) == 0) {
            jaas->module = (enum jaas_module)i;
            return OK;
        }
    }
    if (t->type != TEXT) {
        return refuse(reason, size, "Login module not specified in JAAS config");
    }
    return refuse(reason, size,
                  "login module %.200s is not known; it must be Kafka's PlainLoginModule, "
                  "ScramLoginModule or OAuthBearerLoginModule",
                  text_of(t));
}

static err read_flag(struct tokens *t, char *reason, size_t size)
{
    if (advance(t) == END) {
        return refuse(reason, size, "Login module control flag not specified in JAAS config");
    }
    for (size_t i = 0; t->type == TEXT && i < sizeof(FLAGS) / sizeof(FLAGS[0]); i++) {
        if (strcasecmp(text_of(t), FLAGS[i]) == 0) {
            return OK;
        }
    }
    return refuse(reason, size, "Invalid login module control flag '%.80s' in JAAS config",
                  t->type == TEXT ? text_of(t) : "null");
}

static err read_option(struct tokens *t, struct jaas *jaas, char *reason, size_t size)
{
    char *name = xstrdup(t->type == TEXT ? text_of(t) : "null");
    bool named = t->type == TEXT;
    bool has_value = advance(t) == '=' && advance(t) == TEXT;
    err e = OK;
    if (named && has_value) {
        properties_set(&jaas->options, name, text_of(t));
    } else {
        e = refuse(reason, size, "Value not specified for key '%.80s' in JAAS config", name);
    }
    free(name);
    return e;
}

/* The first token is there. */
static err read_entry(struct tokens *t, struct jaas *jaas, char *reason, size_t size)
{
    TRY(read_module(t, jaas, reason, size));
    TRY(read_flag(t, reason, size));
    while (advance(t) != END && t->type != ';') {
        TRY(read_option(t, jaas, reason, size));
    }
    return t->type == ';' ? OK
                          : refuse(reason, size, "JAAS config entry not terminated by semi-colon");
}

static err read_all(struct tokens *t, struct jaas *jaas, char *reason, size_t size)
{
    int entries_n = 0;
    while (advance(t) != END) {
        TRY(read_entry(t, jaas, reason, size));
        entries_n++;
    }
    if (entries_n == 0) {
        return refuse(reason, size, "JAAS config property does not contain any login modules");
    }
    return entries_n == 1 ? OK
                          : refuse(reason, size,
                                   "JAAS config property contains %d login modules, should be 1 "
                                   "module",
                                   entries_n);
}

err jaas_parse(const char *text, struct jaas *jaas, char *reason, size_t reason_size)
{
    struct tokens t = {.next = text};
    *jaas = (struct jaas){0};
    properties_init(&jaas->options);
    writer_init(&t.text, WORD_MAX);
    err e = read_all(&t, jaas, reason, reason_size);
    if (e == OK && t.text.failed) {
        e = refuse(reason, reason_size, "JAAS config is too long");
    }
    if (t.text.data != NULL) {
        OPENSSL_cleanse(t.text.data, t.text.cap);
    }
    writer_deinit(&t.text);
    return e;
}

void jaas_deinit(struct jaas *jaas)
{
    for (size_t i = 0; i < jaas->options.count; i++) {
        char *value = jaas->options.items[i].value;
        OPENSSL_cleanse(value, strlen(value));
    }
    properties_deinit(&jaas->options);
}
