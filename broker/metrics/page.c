/* Ten thousand partitions are a hundred thousand lines: numbers are written by hand, and a line is one
 * reservation of memory. */
#include "broker/metrics/page.h"

#include "base/err.h"
#include "base/utf8.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINES_A_TURN = 128,
    PAGE_BEGIN_BYTES = 64 << 10,
    LABELS_BEGIN_BYTES = 128,
    NUMBER_BYTES = 32
};

/* ---- memory ---- */

static void grow(char **data, size_t *cap, size_t wanted, size_t least)
{
    if (wanted <= *cap) {
        return;
    }
    size_t fresh = *cap == 0 ? least : *cap * 2;
    *cap = fresh < wanted ? wanted : fresh;
    *data = xrealloc(*data, *cap);
}

static char *reserve(struct page *page, size_t bytes)
{
    grow(&page->data, &page->cap, page->len + bytes, PAGE_BEGIN_BYTES);
    return page->data + page->len;
}

static void put(struct page *page, const char *text, size_t len)
{
    memcpy(reserve(page, len), text, len);
    page->len += len;
}

static void put_text(struct page *page, const char *text)
{
    put(page, text, strlen(text));
}

void page_init(struct page *page, enum metric_dialect dialect, bool openmetrics)
{
    *page = (struct page){.dialect = dialect, .openmetrics = openmetrics};
}

void page_end(struct page *page)
{
    if (page->openmetrics) {
        put_text(page, "# EOF\n");
    }
}

void page_deinit(struct page *page)
{
    free(page->data);
    *page = (struct page){0};
}

/* ---- labels ---- */

static size_t escape(char *out, struct str value)
{
    bool sound = utf8_is_valid(value);
    size_t len = 0;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        if (c == '\\' || c == '"' || c == '\n') {
            out[len++] = '\\';
            out[len++] = c == '\n' ? 'n' : c;
        } else {
            out[len++] = sound || (unsigned char)c < 0x80 ? c : '?';
        }
    }
    return len;
}

void labels_add(struct labels *labels, const char *name, struct str value)
{
    size_t name_len = strlen(name);
    grow(&labels->text, &labels->cap, labels->len + name_len + 2 * value.len + 4,
         LABELS_BEGIN_BYTES);
    char *out = labels->text + labels->len;
    if (labels->len > 0) {
        *out++ = ',';
    }
    memcpy(out, name, name_len);
    out += name_len;
    *out++ = '=';
    *out++ = '"';
    out += escape(out, value);
    *out++ = '"';
    labels->len = (size_t)(out - labels->text);
}

void labels_add_number(struct labels *labels, const char *name, int64_t value)
{
    char text[NUMBER_BYTES];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    labels_add(labels, name, str_of(text));
}

void labels_cut(struct labels *labels, size_t len)
{
    labels->len = len;
}

void labels_deinit(struct labels *labels)
{
    free(labels->text);
    *labels = (struct labels){0};
}

/* ---- families ---- */

void page_family(struct page *page, enum metric metric)
{
    const struct metric_family *family = metric_family_of(metric);
    page->family = family;
    page->begun = false;
    int len = snprintf(page->name, sizeof(page->name), "%s%s", family->name,
                       metric_suffix(family->kind, page->dialect));
    CHECK(len > 0 && (size_t)len < sizeof(page->name));
    page->name_len = (size_t)len;
}

/* In OpenMetrics a counter's family has its name without _total. */
static void begin(struct page *page)
{
    static const char TOTAL[] = "_total";
    if (page->begun) {
        return;
    }
    page->begun = true;
    const char *type = metric_type(page->family->kind, page->dialect);
    size_t len = page->name_len;
    if (page->openmetrics) {
        size_t total = sizeof(TOTAL) - 1;
        bool counts = strcmp(type, "counter") == 0 && len > total &&
                      memcmp(page->name + len - total, TOTAL, total) == 0;
        len -= counts ? total : 0;
        type = strcmp(type, "untyped") == 0 ? "unknown" : type;
    }
    put_text(page, "# HELP ");
    put(page, page->name, len);
    put_text(page, " ");
    put_text(page, page->family->help);
    put_text(page, "\n# TYPE ");
    put(page, page->name, len);
    put_text(page, " ");
    put_text(page, type);
    put_text(page, "\n");
}

static void put_line(struct page *page, const char *suffix, const struct labels *labels,
                     const char *number, size_t number_len)
{
    begin(page);
    size_t suffix_len = strlen(suffix);
    size_t labels_len = labels == NULL ? 0 : labels->len;
    char *out = reserve(page, page->name_len + suffix_len + labels_len + number_len + 4);
    char *start = out;
    memcpy(out, page->name, page->name_len);
    out += page->name_len;
    memcpy(out, suffix, suffix_len);
    out += suffix_len;
    if (labels_len > 0) {
        *out++ = '{';
        memcpy(out, labels->text, labels_len);
        out += labels_len;
        *out++ = '}';
    }
    *out++ = ' ';
    memcpy(out, number, number_len);
    out += number_len;
    *out++ = '\n';
    page->len += (size_t)(out - start);
    /* A page of ten thousand partitions takes 25 ms: who is served has the processor in between. */
    if (++page->lines % LINES_A_TURN == 0) {
        (void)sched_yield();
    }
}

static void put_integer(struct page *page, const char *suffix, const struct labels *labels,
                        int64_t value)
{
    char digits[NUMBER_BYTES];
    char *at = digits + sizeof(digits);
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0) {
        *--at = '-';
    }
    put_line(page, suffix, labels, at, (size_t)(digits + sizeof(digits) - at));
}

static void put_real(struct page *page, const char *suffix, const struct labels *labels,
                     double value)
{
    char text[NUMBER_BYTES];
    int len = snprintf(text, sizeof(text), "%.15g", value);
    put_line(page, suffix, labels, text, (size_t)len);
}

void page_integer(struct page *page, const struct labels *labels, int64_t value)
{
    put_integer(page, "", labels, value);
}

void page_real(struct page *page, const struct labels *labels, double value)
{
    put_real(page, "", labels, value);
}

void page_histogram(struct page *page, struct labels *labels, const struct histogram_counts *recent,
                    const struct histogram_counts *all)
{
    static const char *const QUANTILES[] = {"0.50", "0.75", "0.95", "0.98", "0.99", "0.999"};
    double unit = page->family->kind == METRIC_TIMES ? 1000 : 1;
    size_t len = labels->len;
    for (size_t i = 0; i < sizeof(QUANTILES) / sizeof(QUANTILES[0]); i++) {
        labels_add(labels, "quantile", str_of(QUANTILES[i]));
        put_real(page, "", labels, histogram_quantile(recent, strtod(QUANTILES[i], NULL)) / unit);
        labels_cut(labels, len);
    }
    put_real(page, "_sum", labels, (double)all->sum / unit);
    put_integer(page, "_count", labels, (int64_t)histogram_count(all));
}
