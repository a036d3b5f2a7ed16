/* The partitions of this broker: one look at each, then one family after the other over all of them.
 *
 * What kafka_exporter tells of a cluster as a whole must come from one broker, or boards that add it up
 * would count it as often as there are brokers: a partition's leader tells of it, and the controller of those
 * without a leader, as the metadata have them.
 *
 * There are lines for the first of them only, by name, where there are many; sums are of all. */
#include "broker/monitor/scrape.h"

#include <stdlib.h>
#include <string.h>

struct scraped {
    struct partition *partition; /* a reference */
    struct topic_partition name;
    struct partition_figures is;
    struct labels labels;              /* topic="t",partition="0" */
    const struct partition_info *info; /* NULL: the metadata do not know it (any more) */
};

struct scraped_all {
    struct scraped *all; /* by name */
    size_t count;
    size_t room;
    size_t told;          /* so many of them have lines, and labels */
    struct scraped *lost; /* without a leader, and without a partition here */
    size_t lost_n;
};

/* ---- collecting ---- */

static void collect(void *context, struct partition *p)
{
    struct scraped_all *c = context;
    if (c->count == c->room) {
        c->room = c->room == 0 ? 64 : c->room * 2;
        c->all = xrealloc(c->all, c->room * sizeof(*c->all));
    }
    partition_retain(p);
    c->all[c->count++] = (struct scraped){.partition = p, .name = partition_name(p)};
}

static int by_name(const void *left, const void *right)
{
    const struct scraped *a = left;
    const struct scraped *b = right;
    int order = str_compare(a->name.topic, b->name.topic);
    return order != 0
               ? order
               : (a->name.partition > b->name.partition) - (a->name.partition < b->name.partition);
}

static const struct partition_info *info_of(const struct metadata *metadata,
                                            struct topic_partition name)
{
    const struct topic_info *topic = metadata_topic(metadata, name.topic);
    bool known = topic != NULL && name.partition < topic->partitions_n &&
                 topic->partitions[name.partition].known;
    return known ? &topic->partitions[name.partition] : NULL;
}

static void label(struct scraped *one)
{
    labels_add(&one->labels, "topic", one->name.topic);
    labels_add_number(&one->labels, "partition", one->name.partition);
}

static void collect_all(struct scrape *scrape, struct scraped_all *c)
{
    size_t most = (size_t)scrape->broker->config->ottla_metrics_partitions_max;
    replicas_each(scrape->broker->replicas, collect, c);
    if (c->count > 1) {
        qsort(c->all, c->count, sizeof(*c->all), by_name);
    }
    c->told = c->count < most ? c->count : most;
    scrape->left_out += (int64_t)(c->count - c->told);
    for (size_t i = 0; i < c->count; i++) {
        struct scraped *one = &c->all[i];
        partition_tell_figures(one->partition, &one->is);
        one->info = info_of(scrape->metadata, one->name);
        if (i < c->told) {
            label(one);
        }
    }
}

static void collect_lost(struct scrape *scrape, struct scraped_all *c,
                         const struct topic_info *topic)
{
    size_t most = (size_t)scrape->broker->config->ottla_metrics_partitions_max;
    for (int32_t i = 0; i < topic->partitions_n; i++) {
        const struct partition_info *info = &topic->partitions[i];
        if (!info->known || info->leader >= 0) {
            continue;
        }
        if (c->lost_n == most) {
            scrape->left_out++;
            continue;
        }
        c->lost = xrealloc(c->lost, (c->lost_n + 1) * sizeof(*c->lost));
        struct scraped *one = &c->lost[c->lost_n++];
        *one = (struct scraped){.name = {.topic = topic->name, .partition = i}, .info = info};
        label(one);
    }
}

static void collect_all_lost(struct scrape *scrape, struct scraped_all *c)
{
    map_each (entry, &scrape->metadata->topics) {
        collect_lost(scrape, c, entry->value);
    }
}

static void release_all(struct scraped_all *c)
{
    for (size_t i = 0; i < c->count; i++) {
        partition_release(c->all[i].partition);
        labels_deinit(&c->all[i].labels);
    }
    for (size_t i = 0; i < c->lost_n; i++) {
        labels_deinit(&c->lost[i].labels);
    }
    free(c->all);
    free(c->lost);
}

/* ---- what is told of one ---- */

/* False: nothing. */
typedef bool (*figure)(const struct scraped *one, int64_t *value);

static bool led(const struct scraped *one)
{
    return one->is.leads;
}

static bool online(const struct scraped *one)
{
    return one->is.online;
}

static bool tell_under_min_isr(const struct scraped *one, int64_t *value)
{
    *value = one->is.isr_n < one->is.min_insync_replicas;
    return led(one);
}

static bool tell_at_min_isr(const struct scraped *one, int64_t *value)
{
    *value = one->is.isr_n == one->is.min_insync_replicas;
    return led(one);
}

static bool tell_under_replicated(const struct scraped *one, int64_t *value)
{
    *value = one->is.isr_n < one->is.replicas_n;
    return led(one);
}

static bool tell_isr(const struct scraped *one, int64_t *value)
{
    *value = one->is.isr_n;
    return led(one);
}

static bool tell_replicas(const struct scraped *one, int64_t *value)
{
    *value = one->is.replicas_n;
    return led(one);
}

static bool tell_stable_lag(const struct scraped *one, int64_t *value)
{
    *value = one->is.high_watermark - one->is.last_stable_offset;
    return led(one) && online(one);
}

static bool tell_size(const struct scraped *one, int64_t *value)
{
    *value = one->is.size_bytes;
    return online(one);
}

static bool tell_start(const struct scraped *one, int64_t *value)
{
    *value = one->is.start_offset;
    return online(one);
}

static bool tell_end(const struct scraped *one, int64_t *value)
{
    *value = one->is.end_offset;
    return online(one);
}

static bool tell_segments(const struct scraped *one, int64_t *value)
{
    *value = one->is.segments_n;
    return online(one);
}

static bool tell_high_watermark(const struct scraped *one, int64_t *value)
{
    *value = one->is.high_watermark;
    return led(one) && online(one);
}

static bool tell_oldest(const struct scraped *one, int64_t *value)
{
    *value = one->is.start_offset;
    return led(one) && online(one);
}

static bool tell_leader(const struct scraped *one, int64_t *value)
{
    *value = one->info == NULL ? -1 : one->info->leader;
    return led(one) && one->info != NULL;
}

static bool tell_preferred(const struct scraped *one, int64_t *value)
{
    const struct partition_info *info = one->info;
    *value = info != NULL && info->replicas_n > 0 && info->replicas[0] == info->leader;
    return led(one);
}

/* ---- and of one without a leader ---- */

static bool lost_leader(const struct scraped *one, int64_t *value)
{
    *value = one->info->leader;
    return true;
}

static bool lost_preferred(const struct scraped *one, int64_t *value)
{
    (void)one;
    *value = 0;
    return true;
}

static bool lost_isr(const struct scraped *one, int64_t *value)
{
    *value = one->info->isr_n;
    return true;
}

static bool lost_replicas(const struct scraped *one, int64_t *value)
{
    *value = one->info->replicas_n;
    return true;
}

static bool lost_under_replicated(const struct scraped *one, int64_t *value)
{
    *value = one->info->isr_n < one->info->replicas_n;
    return true;
}

static const struct {
    enum metric metric;
    figure figure;
    figure of_lost; /* NULL: nothing */
} FAMILIES[] = {
    {METRIC_PARTITION_UNDER_MIN_ISR, tell_under_min_isr, NULL},
    {METRIC_PARTITION_AT_MIN_ISR, tell_at_min_isr, NULL},
    {METRIC_PARTITION_UNDER_REPLICATED, tell_under_replicated, NULL},
    {METRIC_PARTITION_ISR, tell_isr, NULL},
    {METRIC_PARTITION_REPLICAS, tell_replicas, NULL},
    {METRIC_PARTITION_STABLE_LAG, tell_stable_lag, NULL},
    {METRIC_LOG_SIZE, tell_size, NULL},
    {METRIC_LOG_START, tell_start, NULL},
    {METRIC_LOG_END, tell_end, NULL},
    {METRIC_LOG_SEGMENTS, tell_segments, NULL},
    {METRIC_EXP_CURRENT_OFFSET, tell_high_watermark, NULL},
    {METRIC_EXP_OLDEST_OFFSET, tell_oldest, NULL},
    {METRIC_EXP_ISR, tell_isr, lost_isr},
    {METRIC_EXP_REPLICAS, tell_replicas, lost_replicas},
    {METRIC_EXP_LEADER, tell_leader, lost_leader},
    {METRIC_EXP_PREFERRED, tell_preferred, lost_preferred},
    {METRIC_EXP_UNDER_REPLICATED, tell_under_replicated, lost_under_replicated},
};

static void lines(struct page *page, const struct scraped *all, size_t count, figure told)
{
    for (size_t i = 0; i < count; i++) {
        int64_t value = 0;
        if (told(&all[i], &value)) {
            page_integer(page, &all[i].labels, value);
        }
    }
}

static void each_family(struct page *page, const struct scraped_all *c)
{
    for (size_t f = 0; f < sizeof(FAMILIES) / sizeof(FAMILIES[0]); f++) {
        page_family(page, FAMILIES[f].metric);
        lines(page, c->all, c->told, FAMILIES[f].figure);
        if (FAMILIES[f].of_lost != NULL) {
            lines(page, c->lost, c->lost_n, FAMILIES[f].of_lost);
        }
    }
}

/* ---- sums over all ---- */

static bool is_led(const struct scraped *one, int64_t *value)
{
    *value = led(one);
    return true;
}

static bool is_here(const struct scraped *one, int64_t *value)
{
    (void)one;
    *value = 1;
    return true;
}

static bool is_offline(const struct scraped *one, int64_t *value)
{
    *value = !online(one);
    return true;
}

static const struct {
    enum metric metric;
    figure figure;
} SUMS[] = {
    {METRIC_LEADER_COUNT, is_led},
    {METRIC_PARTITION_COUNT, is_here},
    {METRIC_UNDER_REPLICATED, tell_under_replicated},
    {METRIC_UNDER_MIN_ISR_COUNT, tell_under_min_isr},
    {METRIC_AT_MIN_ISR_COUNT, tell_at_min_isr},
    {METRIC_OFFLINE_REPLICAS, is_offline},
};

static void sums(struct scrape *scrape, const struct scraped_all *c)
{
    for (size_t s = 0; s < sizeof(SUMS) / sizeof(SUMS[0]); s++) {
        int64_t sum = 0;
        for (size_t i = 0; i < c->count; i++) {
            int64_t value = 0;
            sum += SUMS[s].figure(&c->all[i], &value) ? value : 0;
        }
        page_family(scrape->page, SUMS[s].metric);
        page_integer(scrape->page, NULL, sum);
    }
    int64_t lag = 0;
    for (size_t i = 0; i < c->count; i++) {
        lag = c->all[i].is.lag > lag ? c->all[i].is.lag : lag;
    }
    struct labels labels = {0};
    labels_add(&labels, "clientId", STR("Replica"));
    page_family(scrape->page, METRIC_FETCHER_MAX_LAG);
    page_integer(scrape->page, &labels, lag);
    page_family(scrape->page, METRIC_FETCHER_MIN_RATE);
    page_real(scrape->page, &labels, fetchers_least_rate(scrape->broker->fetchers));
    labels_deinit(&labels);
}

/* ---- traffic by topic ---- */

static const struct {
    enum metric metric;
    enum topic_counter counter;
} TRAFFIC[] = {
    {METRIC_MESSAGES_IN, COUNT_MESSAGES_IN},
    {METRIC_BYTES_IN, COUNT_BYTES_IN},
    {METRIC_BYTES_OUT, COUNT_BYTES_OUT},
    {METRIC_BYTES_REJECTED, COUNT_BYTES_REJECTED},
    {METRIC_PRODUCE_REQUESTS, COUNT_PRODUCE_REQUESTS},
    {METRIC_FETCH_REQUESTS, COUNT_FETCH_REQUESTS},
    {METRIC_FAILED_PRODUCE, COUNT_FAILED_PRODUCE},
    {METRIC_FAILED_FETCH, COUNT_FAILED_FETCH},
    {METRIC_PRODUCE_CONVERSIONS, COUNT_PRODUCE_CONVERSIONS},
    {METRIC_FETCH_CONVERSIONS, COUNT_FETCH_CONVERSIONS},
};

static int64_t of_broker(const struct broker *broker, enum topic_counter counter)
{
    uint64_t sum = topic_counters_get(&broker->events.coordinators, counter);
    for (int i = 0; i < broker->loops_n; i++) {
        sum += topic_counters_get(&broker->api_loops[i].metrics->all_topics, counter);
    }
    return (int64_t)sum;
}

/* A topic that nobody has written to or read from since it came here is left out, as with Kafka. */
static void topics_of(struct page *page, const struct scraped_all *c, enum topic_counter counter)
{
    struct labels labels = {0};
    for (size_t i = 0; i < c->told;) {
        struct str topic = c->all[i].name.topic;
        uint64_t sum = 0;
        uint64_t requests = 0;
        for (; i < c->count && str_equal(c->all[i].name.topic, topic); i++) {
            const struct topic_counters *counters = partition_counters(c->all[i].partition);
            sum += topic_counters_get(counters, counter);
            requests += topic_counters_get(counters, COUNT_PRODUCE_REQUESTS) +
                        topic_counters_get(counters, COUNT_FETCH_REQUESTS);
        }
        if (requests > 0) {
            labels_cut(&labels, 0);
            labels_add(&labels, "topic", topic);
            page_integer(page, &labels, (int64_t)sum);
        }
    }
    labels_deinit(&labels);
}

static void traffic(struct scrape *scrape, const struct scraped_all *c)
{
    for (size_t i = 0; i < sizeof(TRAFFIC) / sizeof(TRAFFIC[0]); i++) {
        page_family(scrape->page, TRAFFIC[i].metric);
        page_integer(scrape->page, NULL, of_broker(scrape->broker, TRAFFIC[i].counter));
        topics_of(scrape->page, c, TRAFFIC[i].counter);
    }
    page_family(scrape->page, METRIC_REPLICATION_BYTES_IN);
    page_integer(scrape->page, NULL,
                 (int64_t)events_count(&scrape->broker->events, EVENT_REPLICATION_BYTES_IN));
    page_family(scrape->page, METRIC_REPLICATION_BYTES_OUT);
    page_integer(scrape->page, NULL, of_broker(scrape->broker, COUNT_REPLICATION_BYTES_OUT));
}

void scrape_partitions(struct scrape *scrape)
{
    struct scraped_all c = {0};
    collect_all(scrape, &c);
    if (scrape->is_controller) {
        collect_all_lost(scrape, &c);
    }
    traffic(scrape, &c);
    sums(scrape, &c);
    each_family(scrape->page, &c);
    release_all(&c);
}
