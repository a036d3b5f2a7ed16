/* Key: version int16 (0), type int16. Value: version int16 (0), coordinator epoch int32.
 *
 * A partition of __consumer_offsets belongs to a shard of groups, which has to know what the marker decides,
 * in its place among what else is committed: it writes it. */
#include "broker/coordinator/txn_marker.h"

#include "protocol/batch.h"

enum { MARKER_KEY_BYTES = 4, MARKER_VALUE_BYTES = 6, MARKER_BATCH_LIMIT_BYTES = 256 };

void txn_marker_batch(struct writer *out, const struct txn_end *end, int64_t now_ms)
{
    struct writer key;
    struct writer value;
    struct batch_builder batch;
    writer_init(&key, MARKER_KEY_BYTES);
    writer_i16(&key, 0);
    writer_i16(&key, end->commit ? CONTROL_COMMIT : CONTROL_ABORT);
    writer_init(&value, MARKER_VALUE_BYTES);
    writer_i16(&value, 0);
    writer_i32(&value, end->coordinator_epoch);
    writer_init(out, MARKER_BATCH_LIMIT_BYTES);
    batch_begin(&batch, out, BATCH_TRANSACTIONAL | BATCH_CONTROL);
    batch.producer_id = end->producer_id;
    batch.producer_epoch = end->producer_epoch;
    batch_add(&batch, now_ms, bytes_of(key.data, key.len), bytes_of(value.data, value.len));
    CHECK(batch_end(&batch) == OK && !out->failed);
    writer_deinit(&key);
    writer_deinit(&value);
}

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
    txn_marker_batch(&batch, &marker->end, clock_wall_ms(places->clock));
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
