/* Fuzz: any bytes as a znode. What is accepted is encoded and read again: the same comes out.
 *
 * Input: one byte that says which znode, then its data. */
#include "zk/znodes.h"

enum { ARENA_BYTES = 16 << 20 };

static void topic(struct arena *arena, struct bytes json)
{
    struct znode_topic first;
    struct znode_topic second;
    if (znode_topic_decode(arena, json, &first) != OK) {
        return;
    }
    CHECK(znode_topic_decode(arena, znode_topic_encode(arena, &first), &second) == OK);
    CHECK(uuid_equal(first.id, second.id) && first.partitions_n == second.partitions_n);
    for (int32_t i = 0; i < first.partitions_n; i++) {
        CHECK(first.partitions[i].count == second.partitions[i].count);
    }
}

static void state(struct arena *arena, struct bytes json)
{
    struct znode_state first;
    struct znode_state second;
    if (znode_state_decode(arena, json, &first) == OK) {
        CHECK(znode_state_decode(arena, znode_state_encode(arena, &first), &second) == OK);
        CHECK(first.leader == second.leader && first.leader_epoch == second.leader_epoch &&
              first.isr.count == second.isr.count);
    }
}

static void config(struct arena *arena, struct bytes json)
{
    struct znode_config first;
    struct znode_config second;
    if (znode_config_decode(arena, json, &first) == OK) {
        CHECK(znode_config_decode(arena, znode_config_encode(arena, &first), &second) == OK);
        CHECK(first.entries_n == second.entries_n);
    }
}

static void broker(struct arena *arena, struct bytes json)
{
    struct znode_broker node;
    if (znode_broker_decode(arena, json, &node) == OK) {
        (void)znode_broker_encode(arena, &node);
    }
}

static void small_ones(struct arena *arena, struct bytes json)
{
    struct str text;
    struct znode_producer_ids block;
    struct znode_partitions partitions;
    int32_t id = 0;
    int64_t number = 0;
    (void)!znode_config_change_decode(arena, json, &text);
    (void)!znode_cluster_id_decode(arena, json, &text);
    (void)!znode_controller_decode(arena, json, &id);
    (void)!znode_producer_ids_decode(arena, json, &block);
    (void)!znode_partitions_decode(arena, json, &partitions);
    (void)!znode_log_dir_event_decode(json, &id);
    (void)!znode_number_decode(json, &number);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const NODES[])(struct arena * arena, struct bytes json) = {topic, state, config,
                                                                             broker, small_ones};
    if (size == 0) {
        return 0;
    }
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    NODES[data[0] % (sizeof(NODES) / sizeof(NODES[0]))](&arena, bytes_of(data + 1, size - 1));
    arena_deinit(&arena);
    return 0;
}
