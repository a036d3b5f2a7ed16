#include "broker/api/config_shown.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_BYTES = 40, DIGITS_MAX = 17 };

/* Double.toString: the fewest digits that mean this number, and one behind the point at the least; with
 * an exponent below a thousandth and from ten million on. */
static struct str shown_double(struct req *r, const char *text)
{
    double value = strtod(text, NULL);
    char digits[NUMBER_BYTES];
    int precision = 0;
    do { /* d.ddde±xx */
        snprintf(digits, sizeof(digits), "%.*e", precision, value);
    } while (strtod(digits, NULL) != value && ++precision < DIGITS_MAX);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (value == 0 || (fabs(value) >= 1e-3 && fabs(value) < 1e7)) {
        int behind = precision - exponent;
        return arena_format(&r->arena, "%.*f", behind < 1 ? 1 : behind, value);
    }
    int mantissa = precision < 1 ? 1 : precision;
    snprintf(digits, sizeof(digits), "%.*e", mantissa, value);
    return arena_format(&r->arena, "%.*sE%d", (int)(strchr(digits, 'e') - digits), digits,
                        exponent);
}

static struct str trimmed(const char *text, size_t len)
{
    while (len > 0 && (unsigned char)text[0] <= ' ') {
        text++;
        len--;
    }
    while (len > 0 && (unsigned char)text[len - 1] <= ' ') {
        len--;
    }
    return (struct str){.data = text, .len = len};
}

static struct str shown_list(struct req *r, const char *text)
{
    char *out = req_array(r, (int32_t)strlen(text) + 1, 1);
    size_t len = 0;
    while (out != NULL) {
        size_t n = strcspn(text, ",");
        struct str entry = trimmed(text, n);
        memcpy(out + len, entry.data, entry.len);
        len += entry.len;
        if (text[n] == '\0') {
            break;
        }
        out[len++] = ',';
        text += n + 1;
    }
    return (struct str){.data = out, .len = len};
}

struct str config_shown(struct req *r, enum option_type type, const char *text)
{
    if (text == NULL) {
        return (struct str){0};
    }
    struct str plain = trimmed(text, strlen(text));
    switch (type) {
    case OPTION_PASSWORD:
        return (struct str){0};
    case OPTION_BOOL:
        return plain.len == strlen("true") ? STR("true") : STR("false");
    case OPTION_SHORT:
    case OPTION_INT:
    case OPTION_LONG:
        return arena_format(&r->arena, "%lld", strtoll(text, NULL, 10));
    case OPTION_DOUBLE:
        return shown_double(r, text);
    case OPTION_LIST:
        return shown_list(r, text);
    default:
        return arena_str(&r->arena, plain);
    }
}
