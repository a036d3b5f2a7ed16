/* Two passes: topics with their room, then partitions. By hash, so that a request that names millions
 * costs no more than it is long. */
#include "broker/api/merged.h"

#include "base/map.h"
#include "broker/broker.h"
#include "broker/cluster/metadata.h"

/* A topic that is there, or whose partitions are merged unseen. */
static bool may_be_left_out(const struct merge_source *source, struct str name)
{
    return source->there == NULL || metadata_topic(source->there, name) != NULL;
}

static void count_topics(const struct merge_source *source, struct map *by_name,
                         struct merged *merged)
{
    for (int32_t t = 0; t < source->topics_n; t++) {
        int32_t count = source->partitions_n(source->topics, t);
        struct str name = source->name(source->topics, t);
        struct merged_topic *topic = map_get_str(by_name, name);
        if (topic == NULL && (count > 0 || !may_be_left_out(source, name))) {
            topic = &merged->topics[merged->topics_n++];
            topic->name = name;
            (void)map_set_str(by_name, name, topic);
        }
        if (count > 0) {
            topic->partitions_n += count;
        }
    }
}

/* Which partitions were named: a table of places in the one array of them all, in the request's memory.
 * Open addressing, with a secret seed. */
struct places {
    struct merged_partition *all;
    uint32_t *slots; /* places plus one; 0: empty */
    size_t slots_n;  /* a power of two, more than twice the partitions */
    uint64_t seed;
};

static bool places_init(struct req *r, size_t total, struct places *places)
{
    size_t slots_n = 4;
    while (slots_n <= total * 2) {
        slots_n *= 2;
    }
    *places = (struct places){.all = arena_array(&r->arena, total, sizeof(*places->all)),
                              .slots = arena_array(&r->arena, slots_n, sizeof(*places->slots)),
                              .slots_n = slots_n,
                              .seed = random_u64(r->broker->env.random)};
    return places->all != NULL && places->slots != NULL && total < UINT32_MAX;
}

static size_t hash_of(const struct places *places, uint64_t topic_at, int32_t number)
{
    uint64_t h = places->seed ^ (topic_at << 32 | (uint32_t)number);
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    return (size_t)(h ^ h >> 32) & (places->slots_n - 1);
}

/* In place of one that was named before. */
static bool replace(struct places *places, const struct merged_topic *topic,
                    const struct merged_partition *named)
{
    size_t first = (size_t)(topic->partitions - places->all);
    size_t slot = hash_of(places, first, named->number);
    for (; places->slots[slot] != 0; slot = (slot + 1) & (places->slots_n - 1)) {
        size_t at = places->slots[slot] - 1;
        bool of_topic = at >= first && at < first + (size_t)topic->partitions_n;
        if (of_topic && places->all[at].number == named->number) {
            places->all[at] = *named;
            return true;
        }
    }
    places->slots[slot] = (uint32_t)(first + (size_t)topic->partitions_n + 1);
    return false;
}

/* Each topic's count was its room; it grows again from nothing. */
static void give_room(struct merged *merged, const struct places *places)
{
    size_t first = 0;
    for (int32_t t = 0; t < merged->topics_n; t++) {
        struct merged_topic *topic = &merged->topics[t];
        topic->partitions = places->all + first;
        first += (size_t)topic->partitions_n;
        topic->partitions_n = 0;
    }
}

static void add_all(const struct merge_source *source, const struct map *by_name,
                    struct places *places)
{
    for (int32_t t = 0; t < source->topics_n; t++) {
        struct merged_topic *topic = map_get_str(by_name, source->name(source->topics, t));
        for (int32_t i = 0; i < source->partitions_n(source->topics, t); i++) {
            struct merged_partition named = {
                .number = source->partition(source->topics, t, i), .topic = t, .place = i};
            bool merge = source->there == NULL ||
                         metadata_has_partition(source->there, topic->name, named.number);
            if (!merge || !replace(places, topic, &named)) {
                topic->partitions[topic->partitions_n++] = named;
            }
        }
    }
}

static size_t total_of(const struct merged *merged)
{
    size_t total = 0;
    for (int32_t t = 0; t < merged->topics_n; t++) {
        total += (size_t)merged->topics[t].partitions_n;
    }
    return total;
}

bool merge_partitions(struct req *r, const struct merge_source *source, struct merged *merged)
{
    *merged = (struct merged){.topics = req_array(r, source->topics_n, sizeof(*merged->topics))};
    if (merged->topics == NULL) {
        return false;
    }
    struct map by_name;
    struct places places;
    map_init(&by_name);
    count_topics(source, &by_name, merged);
    bool room = places_init(r, total_of(merged), &places);
    if (room) {
        give_room(merged, &places);
        add_all(source, &by_name, &places);
    }
    map_deinit(&by_name);
    return room;
}
