/* The cluster as this broker knows it, and its disks.
 *
 * What is of the whole cluster the controller tells, from the metadata that it has told every broker, itself
 * among them; on others those numbers are 0, as with Kafka, or not there. */
#include "broker/monitor/scrape.h"

#include <stdio.h>
#include <stdlib.h>

struct cluster_counts {
    int64_t topics;
    int64_t partitions;
    int64_t offline;
    int64_t imbalanced;
};

static void count_partition(const struct partition_info *p, struct cluster_counts *counts)
{
    if (!p->known) {
        return;
    }
    counts->partitions++;
    counts->offline += p->leader < 0;
    counts->imbalanced += p->replicas_n > 0 && p->leader != p->replicas[0];
}

static struct cluster_counts count_cluster(const struct metadata *metadata)
{
    struct cluster_counts counts = {0};
    map_each (entry, &metadata->topics) {
        const struct topic_info *topic = entry->value;
        counts.topics++;
        for (int32_t i = 0; i < topic->partitions_n; i++) {
            count_partition(&topic->partitions[i], &counts);
        }
    }
    return counts;
}

static void one(struct page *page, enum metric metric, int64_t value)
{
    page_family(page, metric);
    page_integer(page, NULL, value);
}

static void scrape_controller(struct scrape *scrape)
{
    struct page *page = scrape->page;
    struct cluster_counts counts = {0};
    if (scrape->is_controller) {
        counts = count_cluster(scrape->metadata);
    }
    const struct events *events = &scrape->broker->events;
    one(page, METRIC_ACTIVE_CONTROLLER, scrape->is_controller);
    one(page, METRIC_OFFLINE_PARTITIONS, counts.offline);
    one(page, METRIC_PREFERRED_IMBALANCE, counts.imbalanced);
    one(page, METRIC_GLOBAL_TOPICS, counts.topics);
    one(page, METRIC_GLOBAL_PARTITIONS, counts.partitions);
    one(page, METRIC_ACTIVE_BROKERS, scrape->is_controller ? scrape->metadata->brokers_n : 0);
    one(page, METRIC_UNCLEAN_ELECTIONS, (int64_t)events_count(events, EVENT_UNCLEAN_ELECTIONS));
    one(page, METRIC_ISR_SHRINKS, (int64_t)events_count(events, EVENT_ISR_SHRINKS));
    one(page, METRIC_ISR_EXPANDS, (int64_t)events_count(events, EVENT_ISR_EXPANDS));
    one(page, METRIC_FAILED_ISR_UPDATES, (int64_t)events_count(events, EVENT_FAILED_ISR_UPDATES));
    if (config_uses_zookeeper(scrape->broker->config)) {
        one(page, METRIC_STORE_DISCONNECTS, (int64_t)events_count(events, EVENT_STORE_DISCONNECTS));
        one(page, METRIC_STORE_CONNECTS, (int64_t)events_count(events, EVENT_STORE_CONNECTS));
        one(page, METRIC_STORE_EXPIRES, (int64_t)events_count(events, EVENT_STORE_EXPIRES));
    }
}

/* ---- as kafka_exporter tells it ---- */

static void scrape_brokers(struct scrape *scrape)
{
    struct page *page = scrape->page;
    const struct metadata *metadata = scrape->metadata;
    struct labels labels = {0};
    one(page, METRIC_EXP_BROKERS, metadata->brokers_n);
    page_family(page, METRIC_EXP_BROKER_INFO);
    for (int32_t i = 0; i < metadata->brokers_n; i++) {
        const struct broker_info *broker = &metadata->brokers[i];
        if (broker->endpoints_n == 0) {
            continue;
        }
        char address[ENDPOINT_HOST_MAX + 16];
        snprintf(address, sizeof(address), "%s:%d", broker->endpoints[0].host,
                 broker->endpoints[0].port);
        labels_cut(&labels, 0);
        labels_add(&labels, "address", str_of(address));
        labels_add_number(&labels, "id", broker->id);
        page_integer(page, &labels, 1);
    }
    labels_deinit(&labels);
}

static void scrape_topics(struct scrape *scrape)
{
    struct labels labels = {0};
    int32_t left = scrape->broker->config->ottla_metrics_partitions_max;
    page_family(scrape->page, METRIC_EXP_TOPIC_PARTITIONS);
    map_each (entry, &scrape->metadata->topics) {
        const struct topic_info *topic = entry->value;
        if (left-- <= 0) {
            scrape->left_out++;
            continue;
        }
        labels_cut(&labels, 0);
        labels_add(&labels, "topic", topic->name);
        page_integer(scrape->page, &labels, topic->partitions_n);
    }
    labels_deinit(&labels);
}

/* ---- disks ---- */

static void dir_family(struct scrape *scrape, enum metric metric)
{
    const struct logs *logs = scrape->broker->logs;
    struct labels labels = {0};
    page_family(scrape->page, metric);
    for (size_t i = 0; i < logs_dirs(logs); i++) {
        struct fs_space space;
        char *path = logs_dir_path(logs, i);
        if (logs_dir_space(logs, i, &space) == OK) {
            labels_cut(&labels, 0);
            labels_add(&labels, "dir", str_of(path));
            page_integer(scrape->page, &labels,
                         metric == METRIC_DIR_FREE ? space.usable_bytes : space.total_bytes);
        }
        free(path);
    }
    labels_deinit(&labels);
}

void scrape_cluster(struct scrape *scrape)
{
    scrape_controller(scrape);
    if (scrape->is_controller) {
        scrape_brokers(scrape);
        scrape_topics(scrape);
    }
    const struct logs *logs = scrape->broker->logs;
    one(scrape->page, METRIC_OFFLINE_DIRS, (int64_t)(logs_dirs(logs) - logs_dirs_online(logs)));
    dir_family(scrape, METRIC_DIR_FREE);
    dir_family(scrape, METRIC_DIR_SIZE);
}
