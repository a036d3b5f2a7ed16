/* Two passes: topics with their room, then partitions. Maps, so that a request that names a hundred
 * thousand costs no more than it is long. */
#include "broker/api/merged.h"

#include "base/map.h"

static void count_topics(const struct merge_source *source, struct map *by_name,
                         struct merged *merged)
{
    for (int32_t t = 0; t < source->topics_n; t++) {
        int32_t count = source->partitions_n(source->topics, t);
        struct str name = source->name(source->topics, t);
        struct merged_topic *topic = map_get_str(by_name, name);
        if (topic == NULL && count > 0) {
            topic = &merged->topics[merged->topics_n++];
            topic->name = name;
            (void)map_set_str(by_name, name, topic);
        }
        if (count > 0) {
            topic->partitions_n += count;
        }
    }
}

/* Their number was the room; it grows again from nothing. */
static bool allocate(struct req *r, struct merged *merged)
{
    bool room = true;
    for (int32_t t = 0; room && t < merged->topics_n; t++) {
        struct merged_topic *topic = &merged->topics[t];
        topic->partitions = req_array(r, topic->partitions_n, sizeof(*topic->partitions));
        topic->partitions_n = 0;
        room = topic->partitions != NULL;
    }
    return room;
}

struct place_key {
    const struct merged_topic *topic;
    int64_t number;
};

static void add(struct map *by_place, struct merged_topic *topic,
                const struct merged_partition *named)
{
    struct place_key key = {.topic = topic, .number = named->number};
    struct merged_partition *partition = map_get(by_place, bytes_of(&key, sizeof(key)));
    if (partition == NULL) {
        partition = &topic->partitions[topic->partitions_n++];
        (void)map_set(by_place, bytes_of(&key, sizeof(key)), partition);
    }
    *partition = *named;
}

static void add_all(const struct merge_source *source, const struct map *by_name)
{
    struct map by_place;
    map_init(&by_place);
    for (int32_t t = 0; t < source->topics_n; t++) {
        struct merged_topic *topic = map_get_str(by_name, source->name(source->topics, t));
        for (int32_t i = 0; i < source->partitions_n(source->topics, t); i++) {
            struct merged_partition named = {
                .number = source->partition(source->topics, t, i), .topic = t, .place = i};
            add(&by_place, topic, &named);
        }
    }
    map_deinit(&by_place);
}

bool merge_partitions(struct req *r, const struct merge_source *source, struct merged *merged)
{
    *merged = (struct merged){.topics = req_array(r, source->topics_n, sizeof(*merged->topics))};
    if (merged->topics == NULL) {
        return false;
    }
    struct map by_name;
    map_init(&by_name);
    count_topics(source, &by_name, merged);
    bool room = allocate(r, merged);
    if (room) {
        add_all(source, &by_name);
    }
    map_deinit(&by_name);
    return room;
}
