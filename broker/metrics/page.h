/* A page of metrics in Prometheus' text format, or OpenMetrics, family by family.
 *
 * Everything that may come from a client stands in labels, where it is escaped: quotes, backslashes, line
 * ends, and what is no UTF-8. A family without a value is left out.
 *
 * One thread. */
#ifndef OTTLA_BROKER_METRICS_PAGE_H
#define OTTLA_BROKER_METRICS_PAGE_H

#include "base/bytes.h"
#include "base/histogram.h"
#include "broker/metrics/families.h"

#include <stdbool.h>

struct page {
    char *data;
    size_t len;
    size_t cap;
    unsigned lines;
    enum metric_dialect dialect;
    bool openmetrics;
    /* The family that is being written. */
    const struct metric_family *family;
    bool begun;
    char name[128];
    size_t name_len;
};

void page_init(struct page *page, enum metric_dialect dialect, bool openmetrics);
/* Ends the text: nothing is added behind. */
void page_end(struct page *page);
void page_deinit(struct page *page);

/* Labels, as they stand between braces; made once for many families. */
struct labels {
    char *text;
    size_t len;
    size_t cap;
};
/* A label behind those that are there. */
void labels_add(struct labels *labels, const char *name, struct str value);
void labels_add_number(struct labels *labels, const char *name, int64_t value);
/* Back to the first `len` bytes. */
void labels_cut(struct labels *labels, size_t len);
void labels_deinit(struct labels *labels);

void page_family(struct page *page, enum metric metric);
/* Of the family; `labels` NULL: none. */
void page_integer(struct page *page, const struct labels *labels, int64_t value);
void page_real(struct page *page, const struct labels *labels, double value);
/* The quantiles, _count and _sum of TIMES and SIZES: quantiles of `recent`, the rest of `all`. Microseconds become
 * milliseconds. */
void page_histogram(struct page *page, struct labels *labels, const struct histogram_counts *recent,
                    const struct histogram_counts *all);

#endif
