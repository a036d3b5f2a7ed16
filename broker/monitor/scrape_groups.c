/* The groups and transactional ids that this broker coordinates. A shard is copied under its lock, and then
 * told without it.
 *
 * A group's lag is known where this broker has a replica of the partition, which in most clusters is
 * everywhere; for the others PromQL can take kafka_topic_partition_current_offset of the leader. */
#include "broker/coordinator/group_shard.h"
#include "broker/coordinator/offsets.h"
#include "broker/coordinator/txn_shard.h"
#include "broker/monitor/scrape.h"

#include <stdlib.h>
#include <string.h>

enum { GROUP_STATES = GROUP_DEAD + 1, GROUP_ID_MAX_BYTES = 1024 };

struct one_group {
    char *id;
    int32_t members_n;
    size_t first_offset; /* in `offsets` */
    size_t offsets_n;
};

struct one_offset {
    char *topic; /* owned */
    int32_t partition;
    int64_t offset;
    int64_t lag; /* -1: it is not known here */
};

struct all_groups {
    int64_t by_state[GROUP_STATES];
    int64_t offsets_total;
    struct one_group *groups;
    size_t groups_n;
    size_t groups_cap;
    struct one_offset *offsets;
    size_t offsets_n;
    size_t offsets_cap;
    size_t most; /* of groups, and of offsets */
    int64_t left_out;
};

/* ---- collecting ---- */

/* The array with room for one more. */
static void *with_room(void *array, size_t *cap, size_t count, size_t size)
{
    if (count < *cap) {
        return array;
    }
    *cap = *cap == 0 ? 64 : *cap * 2;
    return xrealloc(array, *cap * size);
}

static void collect_offset(struct all_groups *all, const struct committed *committed)
{
    all->offsets =
        with_room(all->offsets, &all->offsets_cap, all->offsets_n, sizeof(*all->offsets));
    all->offsets[all->offsets_n++] = (struct one_offset){.topic = str_dup(committed->topic),
                                                         .partition = committed->partition,
                                                         .offset = committed->offset};
}

static int by_topic(const void *left, const void *right)
{
    const struct one_offset *a = left;
    const struct one_offset *b = right;
    int order = strcmp(a->topic, b->topic);
    return order != 0 ? order : (a->partition > b->partition) - (a->partition < b->partition);
}

static void collect_group(struct all_groups *all, const struct group *group)
{
    all->by_state[group->state]++;
    all->offsets_total += (int64_t)group->offsets.count;
    if (all->groups_n == all->most || group->id.len > GROUP_ID_MAX_BYTES) {
        all->left_out++;
        return;
    }
    all->groups = with_room(all->groups, &all->groups_cap, all->groups_n, sizeof(*all->groups));
    struct one_group *one = &all->groups[all->groups_n++];
    *one = (struct one_group){.id = str_dup(group->id),
                              .members_n = (int32_t)group->by_id.count,
                              .first_offset = all->offsets_n};
    if (group->offsets.count > all->most - all->offsets_n) {
        all->left_out += (int64_t)group->offsets.count; /* of some of them sums would be wrong */
        return;
    }
    map_each (entry, &group->offsets) {
        collect_offset(all, entry->value);
    }
    one->offsets_n = all->offsets_n - one->first_offset;
}

static void sort_all(struct all_groups *all)
{
    for (size_t i = 0; i < all->groups_n; i++) {
        const struct one_group *one = &all->groups[i];
        if (one->offsets_n > 1) {
            qsort(all->offsets + one->first_offset, one->offsets_n, sizeof(*all->offsets),
                  by_topic);
        }
    }
}

static void collect_shard(struct shard *shard, void *context)
{
    map_each (entry, &group_shard_of(shard)->groups) {
        collect_group(context, entry->value);
    }
}

static void release_all(struct all_groups *all)
{
    for (size_t i = 0; i < all->groups_n; i++) {
        free(all->groups[i].id);
    }
    for (size_t i = 0; i < all->offsets_n; i++) {
        free(all->offsets[i].topic);
    }
    free(all->groups);
    free(all->offsets);
}

/* ---- telling ---- */

static void states(struct page *page, const struct all_groups *all)
{
    static const enum metric STATES[GROUP_STATES] = {
        [GROUP_EMPTY] = METRIC_GROUPS_EMPTY,
        [GROUP_PREPARING_REBALANCE] = METRIC_GROUPS_PREPARING,
        [GROUP_COMPLETING_REBALANCE] = METRIC_GROUPS_COMPLETING,
        [GROUP_STABLE] = METRIC_GROUPS_STABLE,
        [GROUP_DEAD] = METRIC_GROUPS_DEAD,
    };
    int64_t sum = 0;
    for (int i = 0; i < GROUP_STATES; i++) {
        page_family(page, STATES[i]);
        page_integer(page, NULL, all->by_state[i]);
        sum += all->by_state[i];
    }
    page_family(page, METRIC_GROUPS);
    page_integer(page, NULL, sum);
    page_family(page, METRIC_OFFSETS);
    page_integer(page, NULL, all->offsets_total);
}

/* Once for each, so that the sums are of the lags that are told. */
static void find_lags(struct scrape *scrape, struct all_groups *all)
{
    for (size_t i = 0; i < all->offsets_n; i++) {
        struct one_offset *one = &all->offsets[i];
        struct partition *p =
            replicas_find(scrape->broker->replicas, str_of(one->topic), one->partition);
        int64_t behind = p == NULL ? -1 : partition_high_watermark(p) - one->offset;
        one->lag = p != NULL && behind < 0 ? 0 : behind;
        partition_release(p);
    }
}

/* What is added up of a topic is told when the next one begins. */
struct telling {
    struct page *page;
    struct labels labels; /* consumergroup="g",topic="t",partition="0" */
    bool lags;            /* of lags, not of offsets */
    bool sums;            /* by topic, not by partition */
};

static void tell_group(struct telling *t, const struct all_groups *all,
                       const struct one_group *group)
{
    struct page *page = t->page;
    labels_cut(&t->labels, 0);
    labels_add(&t->labels, "consumergroup", str_of(group->id));
    size_t group_len = t->labels.len;
    int64_t sum = 0;
    bool any = false;
    for (size_t i = 0; i < group->offsets_n; i++) {
        const struct one_offset *offset = &all->offsets[group->first_offset + i];
        int64_t value = t->lags ? offset->lag : offset->offset;
        bool known = !t->lags || value >= 0;
        sum += known ? value : 0;
        any |= known;
        labels_cut(&t->labels, group_len);
        labels_add(&t->labels, "topic", str_of(offset->topic));
        bool last = i + 1 == group->offsets_n || strcmp(offset[1].topic, offset->topic) != 0;
        if (t->sums && last && any) {
            page_integer(page, &t->labels, sum);
        } else if (!t->sums && known) {
            labels_add_number(&t->labels, "partition", offset->partition);
            page_integer(page, &t->labels, value);
        }
        sum = last ? 0 : sum;
        any = any && !last;
    }
}

static void offsets_family(struct page *page, const struct all_groups *all, enum metric metric)
{
    struct telling t = {
        .page = page,
        .lags = metric == METRIC_EXP_GROUP_LAG || metric == METRIC_EXP_GROUP_LAG_SUM,
        .sums = metric == METRIC_EXP_GROUP_LAG_SUM || metric == METRIC_EXP_GROUP_OFFSET_SUM,
    };
    page_family(page, metric);
    for (size_t i = 0; i < all->groups_n; i++) {
        tell_group(&t, all, &all->groups[i]);
    }
    labels_deinit(&t.labels);
}

static void members_family(struct page *page, const struct all_groups *all)
{
    struct labels labels = {0};
    page_family(page, METRIC_EXP_GROUP_MEMBERS);
    for (size_t i = 0; i < all->groups_n; i++) {
        labels_cut(&labels, 0);
        labels_add(&labels, "consumergroup", str_of(all->groups[i].id));
        page_integer(page, &labels, all->groups[i].members_n);
    }
    labels_deinit(&labels);
}

/* ---- transactions ---- */

static void count_txns(struct shard *shard, void *context)
{
    int64_t *by_state = context;
    map_each (entry, &txn_shard_of(shard)->txns) {
        const struct txn *txn = entry->value;
        by_state[txn->is.state]++;
    }
}

static void scrape_txns(struct scrape *scrape)
{
    int64_t by_state[TXN_STATES] = {0};
    struct labels labels = {0};
    err_ignore(shards_each(&scrape->broker->txns->shards, count_txns, by_state));
    page_family(scrape->page, METRIC_TRANSACTIONS);
    for (int i = 0; i < TXN_STATES; i++) {
        labels_cut(&labels, 0);
        labels_add(&labels, "state", str_of(txn_state_name((enum txn_state)i)));
        page_integer(scrape->page, &labels, by_state[i]);
    }
    labels_deinit(&labels);
}

static void loads(struct page *page, const struct shards *shards, enum metric longest,
                  enum metric average)
{
    int64_t count = atomic_load(&shards->loads_n);
    page_family(page, longest);
    page_integer(page, NULL, atomic_load(&shards->longest_load_ms));
    page_family(page, average);
    page_real(page, NULL, count == 0 ? 0 : (double)atomic_load(&shards->loads_ms) / (double)count);
}

void scrape_groups(struct scrape *scrape)
{
    struct all_groups all = {.most = (size_t)scrape->broker->config->ottla_metrics_partitions_max};
    err_ignore(shards_each(&scrape->broker->groups->shards, collect_shard, &all));
    sort_all(&all);
    find_lags(scrape, &all);
    states(scrape->page, &all);
    offsets_family(scrape->page, &all, METRIC_EXP_GROUP_OFFSET);
    offsets_family(scrape->page, &all, METRIC_EXP_GROUP_OFFSET_SUM);
    offsets_family(scrape->page, &all, METRIC_EXP_GROUP_LAG);
    offsets_family(scrape->page, &all, METRIC_EXP_GROUP_LAG_SUM);
    members_family(scrape->page, &all);
    loads(scrape->page, &scrape->broker->groups->shards, METRIC_GROUP_LOAD_MAX,
          METRIC_GROUP_LOAD_AVG);
    loads(scrape->page, &scrape->broker->txns->shards, METRIC_TXN_LOAD_MAX, METRIC_TXN_LOAD_AVG);
    scrape_txns(scrape);
    scrape->left_out += all.left_out;
    release_all(&all);
}
