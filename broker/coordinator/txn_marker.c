/* A partition of __consumer_offsets belongs to a shard of groups, which has to know what the marker decides,
 * in its place among what else is committed: it writes it. */
#include "broker/coordinator/txn_marker.h"

#include "broker/coordinator/marker_batch.h"

/* ---- by a shard ---- */

static err begin_by_shard(const struct txn_marker_places *places, struct txn_marker *marker)
{
    marker->groups = places->groups;
    marker->by_shard = (struct group_txn_end){.end = marker->end, .waiter = marker->waiter};
    return group_coordinator_end_txn(places->groups, marker->name.partition, &marker->by_shard);
}

/* ---- in a partition of data ---- */

static void let_go(struct txn_marker *marker)
{
    watch_remove(&marker->watch);
    partition_release(marker->partition);
    marker->partition = NULL;
}

static void watch_it(struct txn_marker *marker)
{
    watch_remove(&marker->watch);
    marker->watch = (struct watch){.waiter = marker->waiter,
                                   .offset = marker->appended.required_offset,
                                   .leader_epoch = marker->appended.leader_epoch};
    watch_add(&marker->watch, marker->partition);
}

static err begin_here(const struct txn_marker_places *places, struct txn_marker *marker)
{
    struct writer batch;
    marker_batch_write(&batch, &marker->end, clock_wall_ms(places->clock));
    err e = partition_append(marker->partition, batch.data, batch.len, APPEND_COORDINATOR, -1,
                             &marker->appended);
    writer_deinit(&batch);
    if (e == OK && !marker->appended.committed) {
        watch_it(marker);
        return E_BUSY;
    }
    let_go(marker);
    return e;
}

err txn_marker_begin(const struct txn_marker_places *places, struct txn_marker *marker)
{
    if (marker->end.producer_id < 0 || marker->end.producer_epoch < 0) {
        return ERR_UNKNOWN_SERVER_ERROR;
    }
    marker->partition = replicas_find(places->replicas, marker->name.topic, marker->name.partition);
    if (marker->partition == NULL) {
        return ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    if (str_is(marker->name.topic, "__consumer_offsets")) {
        let_go(marker);
        return begin_by_shard(places, marker);
    }
    return begin_here(places, marker);
}

err txn_marker_look(struct txn_marker *marker)
{
    if (marker->groups != NULL) {
        return group_coordinator_txn_ended(marker->groups, marker->name.partition,
                                           &marker->by_shard);
    }
    bool committed = false;
    err e = partition_is_committed(marker->partition, &marker->appended, -1, &committed);
    if (e == OK && !committed) {
        watch_it(marker);
        return E_BUSY;
    }
    let_go(marker);
    return e;
}

bool txn_marker_give_up(struct txn_marker *marker)
{
    if (marker->groups != NULL) {
        return txn_marker_look(marker) != E_BUSY;
    }
    let_go(marker);
    return true;
}
