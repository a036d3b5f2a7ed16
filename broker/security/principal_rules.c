/* The list is taken apart by the same two patterns as in Kafka (SslPrincipalMapper), since which commas are of
 * the list and which of a rule is nowhere written but in them.
 *
 * Kafka replaces each place that matches, after the whole has: ".*" with "x" gives "xx", the second for the
 * nothing at the end. So do we. In a replacement $n is a group, for as many digits as make the number of one;
 * a number that is of none is left as text (a '$' before anything else refuses the rule here, and in Kafka those who
 * meet it); a backslash takes the next character as it is. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "broker/security/principal_rules.h"

#include "base/refuse.h"
#include "base/writer.h"

#include <ctype.h>
#include <pcre2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define RULE_PATTERN "(DEFAULT)|RULE:((\\\\.|[^\\\\/])*)\\/((\\\\.|[^\\\\/])*)\\/([LU]?).*?|(.*?)"

enum {
    RESULT_BYTES_MAX = 64 << 10,
    MATCH_STEPS_MAX = 200000,
    MATCH_DEPTH_MAX = 10000,
    MATCH_HEAP_KIB_MAX = 4096,
    GROUP_PATTERN = 2,
    GROUP_REPLACEMENT = 4,
    GROUP_CASE = 6,
};

struct rule {
    pcre2_code *whole;  /* NULL: DEFAULT */
    pcre2_code *places; /* the same, anywhere */
    char *replacement;
    char letters; /* 'L', 'U', 0 */
};

struct principal_rules {
    char *text;
    struct rule *all;
    size_t count;
};

static pcre2_code *compile(const char *pattern, size_t len, uint32_t options)
{
    int error = 0;
    PCRE2_SIZE at = 0;
    return pcre2_compile((PCRE2_SPTR)pattern, len, PCRE2_UTF | options, &error, &at, NULL);
}

/* One try with what it may cost. */
static int match(const pcre2_code *code, const char *text, size_t len, size_t from,
                 pcre2_match_data *data)
{
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(context, MATCH_STEPS_MAX);
    pcre2_set_depth_limit(context, MATCH_DEPTH_MAX);
    pcre2_set_heap_limit(context, MATCH_HEAP_KIB_MAX);
    int n = pcre2_match(code, (PCRE2_SPTR)text, len, from, 0, data, context);
    pcre2_match_context_free(context);
    return n;
}

/* ---- parsing ---- */

static char *group_text(const char *text, const PCRE2_SIZE *groups, int group)
{
    PCRE2_SIZE from = groups[2 * group];
    return from == PCRE2_UNSET ? NULL : strndup(text + from, groups[2 * group + 1] - from);
}

/* Each '$' must be a group's, in Java's words no illegal group reference. */
static bool replacement_fits(const char *at)
{
    for (; *at != '\0'; at++) {
        if (*at == '$' && !isdigit((unsigned char)at[1])) {
            return false;
        }
        at += *at == '\\' && at[1] != '\0' ? 1 : 0;
    }
    return true;
}

static bool rule_make(struct rule *rule, const char *text, const PCRE2_SIZE *groups)
{
    char *pattern = group_text(text, groups, GROUP_PATTERN);
    char *letters = group_text(text, groups, GROUP_CASE);
    rule->replacement = group_text(text, groups, GROUP_REPLACEMENT);
    rule->letters = letters == NULL ? '\0' : *letters;
    size_t len = strlen(pattern);
    rule->whole = compile(pattern, len, PCRE2_ANCHORED | PCRE2_ENDANCHORED);
    rule->places = compile(pattern, len, 0);
    free(pattern);
    free(letters);
    return rule->whole != NULL && rule->places != NULL && replacement_fits(rule->replacement);
}

static err add_rule(struct principal_rules *rules, const pcre2_code *parser, const char *text,
                    size_t len, char *reason, size_t reason_size)
{
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(parser, NULL);
    const PCRE2_SIZE *groups = pcre2_get_ovector_pointer(data);
    err e = OK;
    if (match(parser, text, len, 0, data) < 0) {
        e = refuse(reason, reason_size, "Invalid rule: %.*s", (int)len, text);
    } else if (groups[1] != len) {
        e = refuse(reason, reason_size, "Invalid rule: `%.*s`, unmatched substring: `%.*s`",
                   (int)len, text, (int)(len - groups[1]), text + groups[1]);
    } else if (len > 0) {
        rules->all = xrealloc(rules->all, (rules->count + 1) * sizeof(*rules->all));
        struct rule *rule = &rules->all[rules->count++];
        *rule = (struct rule){0};
        bool is_rule = groups[2 * GROUP_PATTERN] != PCRE2_UNSET;
        if (is_rule && !rule_make(rule, text, groups)) {
            e = refuse(reason, reason_size,
                       "Invalid rule: `%.*s`, its pattern or replacement is none", (int)len, text);
        }
    }
    pcre2_match_data_free(data);
    return e;
}

static err split(struct principal_rules *rules, const pcre2_code *splitter,
                 const pcre2_code *parser, char *reason, size_t reason_size)
{
    const char *text = rules->text;
    size_t len = strlen(text);
    size_t at = 0;
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(splitter, NULL);
    const PCRE2_SIZE *groups = pcre2_get_ovector_pointer(data);
    err e = OK;
    while (e == OK && at <= len && match(splitter, text, len, at, data) >= 0) {
        e = add_rule(rules, parser, text + groups[2], groups[3] - groups[2], reason, reason_size);
        at = groups[1] > groups[0] ? groups[1] : groups[1] + 1;
    }
    pcre2_match_data_free(data);
    return e;
}

static char *trimmed(const char *text)
{
    while (isspace((unsigned char)*text)) {
        text++;
    }
    size_t len = strlen(text);
    while (len > 0 && isspace((unsigned char)text[len - 1])) {
        len--;
    }
    return strndup(text, len);
}

err principal_rules_parse(const char *text, struct principal_rules **out, char *reason,
                          size_t reason_size)
{
    static const char SPLITTER[] = "\\s*(" RULE_PATTERN ")\\s*(,\\s*|$)";
    struct principal_rules *rules = xcalloc(1, sizeof(*rules));
    rules->text = trimmed(text == NULL ? "DEFAULT" : text);
    pcre2_code *splitter = compile(SPLITTER, sizeof(SPLITTER) - 1, 0);
    pcre2_code *parser = compile(RULE_PATTERN, sizeof(RULE_PATTERN) - 1, PCRE2_ANCHORED);
    CHECK(splitter != NULL && parser != NULL);
    err e = split(rules, splitter, parser, reason, reason_size);
    pcre2_code_free(splitter);
    pcre2_code_free(parser);
    if (e != OK) {
        principal_rules_free(rules);
        return e;
    }
    *out = rules;
    return OK;
}

void principal_rules_free(struct principal_rules *rules)
{
    if (rules == NULL) {
        return;
    }
    for (size_t i = 0; i < rules->count; i++) {
        pcre2_code_free(rules->all[i].whole);
        pcre2_code_free(rules->all[i].places);
        free(rules->all[i].replacement);
    }
    free(rules->all);
    free(rules->text);
    free(rules);
}

/* ---- applying ---- */

/* The group that `digits` begin with, and how many of them it takes; -1: there is none. */
static int group_of(const char *digits, int groups_n, size_t *used)
{
    int group = -1;
    int number = 0;
    for (*used = 0; isdigit((unsigned char)digits[*used]); (*used)++) {
        number = number * 10 + (digits[*used] - '0');
        if (number >= groups_n) {
            break;
        }
        group = number;
    }
    return group;
}

static void put_replacement(struct writer *out, const char *replacement, const char *text,
                            const PCRE2_SIZE *groups, int groups_n)
{
    for (const char *at = replacement; *at != '\0'; at++) {
        size_t used = 0;
        int group = *at == '$' ? group_of(at + 1, groups_n, &used) : -1;
        if (group >= 0) {
            PCRE2_SIZE from = groups[2 * group];
            if (from != PCRE2_UNSET) {
                writer_bytes(out, text + from, groups[2 * group + 1] - from);
            }
            at += used;
            continue;
        }
        at += *at == '\\' && at[1] != '\0' ? 1 : 0;
        writer_i8(out, (int8_t)*at);
    }
}

/* False: it takes too long. */
static bool replace(const struct rule *rule, const char *text, size_t len, pcre2_match_data *data,
                    struct writer *out)
{
    const PCRE2_SIZE *groups = pcre2_get_ovector_pointer(data);
    int groups_n = (int)pcre2_get_ovector_count(data);
    size_t kept = 0;
    size_t at = 0;
    int n = 0;
    while (at <= len && (n = match(rule->places, text, len, at, data)) >= 0) {
        writer_bytes(out, text + kept, groups[0] - kept);
        put_replacement(out, rule->replacement, text, groups, groups_n);
        kept = groups[1];
        at = groups[1] > groups[0] ? groups[1] : groups[1] + 1;
        while (at < len && ((uint8_t)text[at] & 0xC0) == 0x80) {
            at++; /* within a character */
        }
    }
    writer_bytes(out, text + kept, len - kept);
    return n == PCRE2_ERROR_NOMATCH || at > len;
}

/* By PCRE2, which knows the letters of Unicode. Takes `text` over; NULL: it is too long. */
static char *change_case(char *text, char letters)
{
    if (letters == '\0') {
        return text;
    }
    static const char ALL[] = "(?s)^.*";
    const char *by = letters == 'L' ? "\\L$0" : "\\U$0";
    char *changed = xmalloc(RESULT_BYTES_MAX);
    PCRE2_SIZE len = RESULT_BYTES_MAX;
    pcre2_code *all = compile(ALL, sizeof(ALL) - 1, PCRE2_UCP);
    CHECK(all != NULL);
    int n = pcre2_substitute(all, (PCRE2_SPTR)text, strlen(text), 0, PCRE2_SUBSTITUTE_EXTENDED,
                             NULL, NULL, (PCRE2_SPTR)by, strlen(by), (PCRE2_UCHAR *)changed, &len);
    pcre2_code_free(all);
    free(text);
    if (n < 0) {
        free(changed);
        return NULL;
    }
    return changed;
}

/* NULL with *applies: it would have, but takes too long. */
static char *apply(const struct rule *rule, const char *dn, bool *applies)
{
    if (rule->whole == NULL) {
        *applies = true;
        return xstrdup(dn);
    }
    size_t len = strlen(dn);
    struct writer out;
    writer_init(&out, RESULT_BYTES_MAX);
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(rule->whole, NULL);
    int n = match(rule->whole, dn, len, 0, data);
    *applies = n != PCRE2_ERROR_NOMATCH;
    bool good = n >= 0 && replace(rule, dn, len, data, &out);
    writer_i8(&out, '\0');
    pcre2_match_data_free(data);
    if (!good || out.failed) {
        writer_deinit(&out);
        return NULL;
    }
    free(out.splices);
    return change_case((char *)out.data, rule->letters);
}

char *principal_rules_apply(const struct principal_rules *rules, const char *dn)
{
    bool applies = false;
    char *name = NULL;
    for (size_t i = 0; !applies && i < rules->count; i++) {
        name = apply(&rules->all[i], dn, &applies);
    }
    return name;
}
