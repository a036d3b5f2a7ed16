/* What the loops count of requests, added up over all loops. */
#include "broker/monitor/scrape.h"

#include <stdlib.h>

/* One name of a request on all loops. */
struct merged_requests {
    const char *name;
    int number;
    struct labels labels; /* request="Fetch" */
    struct histogram_counts parts_us[REQUEST_PARTS_N];
    struct histogram_counts parts_recent[REQUEST_PARTS_N];
    struct histogram_counts bytes;
    struct histogram_counts bytes_recent;
    uint64_t by_version[REQUEST_VERSIONS_MAX];
    uint64_t errors[ERROR_CODES_N];
    uint64_t slow;
};

static const char *name_of(int number)
{
    if (number >= REQUEST_KEYS) {
        return number == REQUEST_FETCH_CONSUMER ? "FetchConsumer" : "FetchFollower";
    }
    const struct api_schema *schema = api_schema_of((int16_t)number);
    return schema == NULL ? NULL : schema->name;
}

static void merge(struct merged_requests *to, const struct request_metrics *from)
{
    for (int i = 0; i < REQUEST_PARTS_N; i++) {
        histogram_add(&from->parts_us[i], &to->parts_us[i]);
    }
    histogram_add(&from->bytes, &to->bytes);
    for (int i = 0; i < REQUEST_VERSIONS_MAX; i++) {
        to->by_version[i] += atomic_load_explicit(&from->by_version[i], memory_order_relaxed);
    }
    for (int i = 0; i < ERROR_CODES_N; i++) {
        to->errors[i] += atomic_load_explicit(&from->errors.by_code[i], memory_order_relaxed);
    }
    to->slow += atomic_load_explicit(&from->slow, memory_order_relaxed);
}

static struct histogram_counts recent_of(struct scrape *scrape, size_t number,
                                         const struct histogram_counts *all)
{
    enum { WORDS = HISTOGRAM_BUCKETS + 1 };
    _Static_assert(sizeof(*all) == WORDS * sizeof(uint64_t), "a window takes an array of numbers");
    struct histogram_counts recent = *all;
    window_take(&scrape->state->requests, number, recent.counts, WORDS);
    return recent;
}

static void take_recent(struct scrape *scrape, struct merged_requests *m)
{
    enum { OF_EACH = REQUEST_PARTS_N + 1 };
    size_t number = 2 + (size_t)m->number * OF_EACH; /* 0 and 1 are of no requests: see the end */
    for (size_t i = 0; i < REQUEST_PARTS_N; i++) {
        m->parts_recent[i] = recent_of(scrape, number + i, &m->parts_us[i]);
    }
    m->bytes_recent = recent_of(scrape, number + REQUEST_PARTS_N, &m->bytes);
}

/* NULL: there was no such request. */
static struct merged_requests *merge_loops(struct scrape *scrape, int number)
{
    const struct broker *broker = scrape->broker;
    struct merged_requests *merged = NULL;
    for (int i = 0; i < broker->loops_n; i++) {
        const struct request_metrics *of = atomic_load_explicit(
            &broker->api_loops[i].metrics->requests[number], memory_order_acquire);
        if (of == NULL) {
            continue;
        }
        if (merged == NULL) {
            merged = xcalloc(1, sizeof(*merged));
            merged->name = name_of(number);
            merged->number = number;
            labels_add(&merged->labels, "request", str_of(merged->name));
        }
        merge(merged, of);
    }
    if (merged != NULL) {
        take_recent(scrape, merged);
    }
    return merged;
}

struct all_requests {
    struct merged_requests *each[REQUEST_NAMES_N];
    int count;
};

static void times_family(struct page *page, const struct all_requests *all, enum metric metric,
                         enum request_part part)
{
    page_family(page, metric);
    for (int i = 0; i < all->count; i++) {
        struct merged_requests *m = all->each[i];
        page_histogram(page, &m->labels, &m->parts_recent[part], &m->parts_us[part]);
    }
}

static void response_queue_family(struct page *page, const struct all_requests *all)
{
    page_family(page, METRIC_RESPONSE_QUEUE_TIME);
    for (int i = 0; i < all->count; i++) {
        struct histogram_counts zeros = {0};
        zeros.counts[0] = histogram_count(&all->each[i]->parts_us[REQUEST_TOTAL]);
        page_histogram(page, &all->each[i]->labels, &zeros, &zeros);
    }
}

/* Those that are not recorded had none. */
static void add_zeros(struct histogram_counts *counts, const struct histogram_counts *of_all)
{
    uint64_t all = histogram_count(of_all);
    uint64_t held_back = histogram_count(counts);
    counts->counts[0] += all > held_back ? all - held_back : 0;
}

static void throttle_family(struct page *page, const struct all_requests *all)
{
    page_family(page, METRIC_REQUEST_THROTTLE_TIME);
    for (int i = 0; i < all->count; i++) {
        struct merged_requests *m = all->each[i];
        add_zeros(&m->parts_us[REQUEST_THROTTLE], &m->parts_us[REQUEST_TOTAL]);
        add_zeros(&m->parts_recent[REQUEST_THROTTLE], &m->parts_recent[REQUEST_TOTAL]);
        page_histogram(page, &m->labels, &m->parts_recent[REQUEST_THROTTLE],
                       &m->parts_us[REQUEST_THROTTLE]);
    }
}

static void counts_families(struct page *page, const struct all_requests *all)
{
    page_family(page, METRIC_REQUESTS);
    for (int i = 0; i < all->count; i++) {
        struct merged_requests *m = all->each[i];
        for (int version = 0; version < REQUEST_VERSIONS_MAX; version++) {
            size_t len = m->labels.len;
            if (m->by_version[version] > 0) {
                labels_add_number(&m->labels, "version", version);
                page_integer(page, &m->labels, (int64_t)m->by_version[version]);
                labels_cut(&m->labels, len);
            }
        }
    }
    page_family(page, METRIC_REQUEST_ERRORS);
    for (int i = 0; i < all->count; i++) {
        struct merged_requests *m = all->each[i];
        for (int code = -1; code + 1 < ERROR_CODES_N; code++) {
            size_t len = m->labels.len;
            if (m->errors[code + 1] > 0) {
                labels_add(&m->labels, "error", str_of(kafka_error_name(code)));
                page_integer(page, &m->labels, (int64_t)m->errors[code + 1]);
                labels_cut(&m->labels, len);
            }
        }
    }
}

static void sizes_families(struct page *page, const struct all_requests *all)
{
    page_family(page, METRIC_REQUEST_BYTES);
    for (int i = 0; i < all->count; i++) {
        struct merged_requests *m = all->each[i];
        page_histogram(page, &m->labels, &m->bytes_recent, &m->bytes);
    }
    page_family(page, METRIC_SLOW_REQUESTS);
    for (int i = 0; i < all->count; i++) {
        page_integer(page, &all->each[i]->labels, (int64_t)all->each[i]->slow);
    }
}

static void times_of(struct scrape *scrape, enum metric metric, const struct histogram *times_us,
                     size_t number)
{
    struct histogram_counts all = {0};
    struct labels none = {0};
    histogram_add(times_us, &all);
    struct histogram_counts recent = recent_of(scrape, number, &all);
    page_family(scrape->page, metric);
    page_histogram(scrape->page, &none, &recent, &all);
    labels_deinit(&none);
}

void scrape_requests(struct scrape *scrape)
{
    struct all_requests all = {0};
    for (int number = 0; number < REQUEST_NAMES_N; number++) {
        struct merged_requests *m = merge_loops(scrape, number);
        if (m != NULL) {
            all.each[all.count++] = m;
        }
    }
    struct page *page = scrape->page;
    counts_families(page, &all);
    times_family(page, &all, METRIC_REQUEST_TOTAL_TIME, REQUEST_TOTAL);
    times_family(page, &all, METRIC_REQUEST_QUEUE_TIME, REQUEST_QUEUE);
    times_family(page, &all, METRIC_REQUEST_LOCAL_TIME, REQUEST_LOCAL);
    times_family(page, &all, METRIC_REQUEST_REMOTE_TIME, REQUEST_REMOTE);
    throttle_family(page, &all);
    response_queue_family(page, &all);
    times_family(page, &all, METRIC_RESPONSE_SEND_TIME, REQUEST_SEND);
    sizes_families(page, &all);
    const struct broker *broker = scrape->broker;
    times_of(scrape, METRIC_LOG_FLUSH, &broker->events.flush_us, 0);
    if (config_uses_zookeeper(broker->config)) {
        times_of(scrape, METRIC_STORE_LATENCY, &broker->events.store_us, 1);
    }
    for (int i = 0; i < all.count; i++) {
        labels_deinit(&all.each[i]->labels);
        free(all.each[i]);
    }
}
