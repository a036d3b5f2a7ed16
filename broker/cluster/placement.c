/* With racks the brokers stand in a row in which the racks take turns, by name, and in each rack the lowest id
 * comes first. A place is passed over while its rack has a replica of the partition and another has none, and
 * where its broker has one. Without racks the row is that of the ids, and the same walk never passes over any. */
#include "broker/cluster/placement.h"

#include <stdlib.h>

/* Brokers in the order in which they are taken. */
struct row {
    const struct broker_info **brokers;
    int32_t count;
    int32_t racks; /* 1 where there are none */
};

static bool has_rack(const struct broker_info *broker)
{
    return broker->rack != NULL;
}

bool placement_is_mixed(const struct metadata *metadata)
{
    for (int32_t i = 1; i < metadata->brokers_n; i++) {
        if (has_rack(&metadata->brokers[i]) != has_rack(&metadata->brokers[0])) {
            return true;
        }
    }
    return false;
}

static int by_rack_and_id(const void *one, const void *other)
{
    const struct broker_info *a = *(const struct broker_info *const *)one;
    const struct broker_info *b = *(const struct broker_info *const *)other;
    int order = has_rack(a) && has_rack(b) ? strcmp(a->rack, b->rack) : 0;
    return order != 0 ? order : (a->id > b->id) - (a->id < b->id);
}

static bool same_rack(const struct broker_info *a, const struct broker_info *b)
{
    return !has_rack(a) || strcmp(a->rack, b->rack) == 0;
}

/* How many before it, of brokers by rack, are of its rack. */
static int32_t place_in_rack(const struct broker_info *const *sorted, int32_t at)
{
    int32_t before = 0;
    while (before < at && same_rack(sorted[at], sorted[at - before - 1])) {
        before++;
    }
    return before;
}

/* First the first of each rack, then the second of each, … */
static void take_turns(const struct broker_info **sorted, struct row *row)
{
    for (int32_t turn = 0, taken = 0; taken < row->count; turn++) {
        for (int32_t i = 0; i < row->count; i++) {
            if (place_in_rack(sorted, i) == turn) {
                row->brokers[taken++] = sorted[i];
                row->racks += turn == 0 ? 1 : 0;
            }
        }
    }
}

static struct row row_of(const struct metadata *metadata)
{
    struct row row = {.count = metadata->brokers_n};
    const struct broker_info **sorted = xcalloc((size_t)row.count, sizeof(*sorted));
    row.brokers = xcalloc((size_t)row.count, sizeof(*row.brokers));
    for (int32_t i = 0; i < row.count; i++) {
        sorted[i] = &metadata->brokers[i];
    }
    qsort(sorted, (size_t)row.count, sizeof(*sorted), by_rack_and_id);
    take_turns(sorted, &row);
    free(sorted);
    return row;
}

/* The places of a partition's replicas, as they are taken. */
struct taken {
    const struct row *row;
    struct id_list *list;
    const struct broker_info **brokers;
    int32_t racks; /* how many have a replica */
};

/* Has its rack none yet? */
static bool is_new_rack(const struct taken *taken, const struct broker_info *broker)
{
    for (int32_t i = 0; i < taken->list->count; i++) {
        if (same_rack(taken->brokers[i], broker)) {
            return false;
        }
    }
    return true;
}

static bool is_taken(const struct taken *taken, const struct broker_info *broker)
{
    for (int32_t i = 0; i < taken->list->count; i++) {
        if (taken->brokers[i] == broker) {
            return true;
        }
    }
    return false;
}

static void take(struct taken *taken, const struct broker_info *broker)
{
    taken->racks += is_new_rack(taken, broker) ? 1 : 0;
    taken->brokers[taken->list->count] = broker;
    taken->list->ids[taken->list->count++] = broker->id;
}

/* The walk from the leader's place: where it is after `steps`. */
static int32_t step(const struct row *row, int32_t leader, int32_t shift, int32_t steps)
{
    return (leader + 1 + (shift + steps) % (row->count - 1)) % row->count;
}

static void choose_one(struct taken *taken, int32_t leader, int32_t shift, int32_t factor)
{
    const struct row *row = taken->row;
    taken->list->count = 0;
    taken->racks = 0;
    take(taken, row->brokers[leader]);
    for (int32_t steps = 0; taken->list->count < factor; steps++) {
        const struct broker_info *next = row->brokers[step(row, leader, shift * row->racks, steps)];
        bool rack_may = taken->racks == row->racks || is_new_rack(taken, next);
        if (rack_may && !is_taken(taken, next)) {
            take(taken, next);
        }
    }
}

void placement_choose(struct random *random, const struct metadata *metadata, struct id_list *lists,
                      int32_t first, int32_t count, int32_t factor)
{
    struct row row = row_of(metadata);
    struct taken taken = {.row = &row};
    int32_t start = (int32_t)random_below(random, (uint32_t)row.count);
    int32_t shift = (int32_t)random_below(random, (uint32_t)row.count);
    taken.brokers = xcalloc((size_t)factor, sizeof(*taken.brokers));
    for (int32_t i = 0; i < count; i++) {
        int32_t p = first + i;
        shift += p > 0 && p % row.count == 0 ? 1 : 0;
        taken.list = &lists[i];
        choose_one(&taken, (p + start) % row.count, shift, factor);
    }
    free(taken.brokers);
    free(row.brokers);
}
