/* One block of memory: the set, its items, and the topics' names, each once. */
#include "broker/coordinator/txn_partitions.h"

#include <stdlib.h>

static int compare(const struct topic_partition *a, const struct topic_partition *b)
{
    size_t len = a->topic.len < b->topic.len ? a->topic.len : b->topic.len;
    int order = memcmp(a->topic.data, b->topic.data, len);
    if (order == 0 && a->topic.len != b->topic.len) {
        order = a->topic.len < b->topic.len ? -1 : 1;
    }
    return order != 0 ? order : (a->partition > b->partition) - (a->partition < b->partition);
}

static int compare_items(const void *a, const void *b)
{
    return compare(a, b);
}

/* Of names in order, each once. */
static struct txn_partitions *copy(const struct topic_partition *names, size_t count)
{
    size_t text_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bool same = i > 0 && str_equal(names[i].topic, names[i - 1].topic);
        text_bytes += same ? 0 : names[i].topic.len;
    }
    size_t items_bytes = count * sizeof(struct topic_partition);
    struct txn_partitions *set = xcalloc(1, sizeof(*set) + items_bytes + text_bytes);
    atomic_init(&set->references, 1);
    set->count = (int32_t)count;
    set->items = (struct topic_partition *)(set + 1);
    char *text = (char *)(set->items + count);
    for (size_t i = 0; i < count; i++) {
        bool same = i > 0 && str_equal(names[i].topic, names[i - 1].topic);
        set->items[i] =
            same ? set->items[i - 1]
                 : (struct topic_partition){.topic = {.data = text, .len = names[i].topic.len}};
        set->items[i].partition = names[i].partition;
        if (!same) {
            memcpy(text, names[i].topic.data, names[i].topic.len);
            text += names[i].topic.len;
        }
    }
    return set;
}

struct txn_partitions *txn_partitions_new(struct topic_partition *names, size_t count)
{
    size_t kept = 0;
    if (count > 0) {
        qsort(names, count, sizeof(*names), compare_items);
    }
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || compare(&names[kept - 1], &names[i]) != 0) {
            names[kept++] = names[i];
        }
    }
    return copy(names, kept);
}

struct txn_partitions *txn_partitions_retain(struct txn_partitions *partitions)
{
    if (partitions != NULL) {
        atomic_fetch_add(&partitions->references, 1);
    }
    return partitions;
}

void txn_partitions_release(struct txn_partitions *partitions)
{
    if (partitions != NULL && atomic_fetch_sub(&partitions->references, 1) == 1) {
        free(partitions);
    }
}

struct txn_partitions *txn_partitions_union(const struct txn_partitions *a,
                                            const struct txn_partitions *b)
{
    size_t n = (size_t)txn_partitions_count(a);
    size_t m = (size_t)txn_partitions_count(b);
    struct topic_partition *merged = xcalloc(n + m, sizeof(*merged));
    size_t count = 0;
    for (size_t i = 0, k = 0; i < n || k < m;) {
        int order = i == n ? 1 : k == m ? -1 : compare(&a->items[i], &b->items[k]);
        merged[count++] = order <= 0 ? a->items[i] : b->items[k];
        i += order <= 0 ? 1 : 0;
        k += order >= 0 ? 1 : 0;
    }
    struct txn_partitions *set = copy(merged, count);
    free(merged);
    return set;
}

bool txn_partitions_hold(const struct txn_partitions *partitions, struct str topic,
                         int32_t partition)
{
    struct topic_partition name = {.topic = topic, .partition = partition};
    return txn_partitions_count(partitions) > 0 &&
           bsearch(&name, partitions->items, (size_t)partitions->count, sizeof(name),
                   compare_items) != NULL;
}

bool txn_partitions_hold_all(const struct txn_partitions *partitions,
                             const struct txn_partitions *all)
{
    for (int32_t i = 0; i < txn_partitions_count(all); i++) {
        if (!txn_partitions_hold(partitions, all->items[i].topic, all->items[i].partition)) {
            return false;
        }
    }
    return true;
}

int32_t txn_partitions_of_topic(const struct txn_partitions *partitions, int32_t from)
{
    int32_t n = 0;
    while (from + n < partitions->count &&
           str_equal(partitions->items[from + n].topic, partitions->items[from].topic)) {
        n++;
    }
    return n;
}
