/* What a reader may see: a consumer up to the high watermark, or with read_committed up to the last
 * stable offset; a replica all of the log. An offset above that, but not above the log's end, is no
 * error: there is nothing to read yet. A replica that has diverged has not fetched: what it has is not
 * what is here. A consumer that is sent to another replica gets nothing here. (reference: requests §4.2, zookeeper §7, replication §5) */
#include "broker/replica/read.h"

#include "base/planted.h"

enum { LAYOUTS_MAX = 8 };

static void note_divergence(struct plog *log, const struct read_request *request,
                            struct read_result *result)
{
    int32_t epoch = -1;
    int64_t end_offset = -1;
    plog_end_offset_for_epoch(log, request->last_fetched_epoch, &epoch, &end_offset);
    if (end_offset < 0) {
        result->error = ERR_OFFSET_OUT_OF_RANGE;
    } else if (epoch < request->last_fetched_epoch || end_offset < request->offset) {
        result->diverged = true;
        result->diverging_epoch = epoch;
        result->diverging_end_offset = end_offset;
    }
}

/* A first batch that the limit cuts is no use to anybody: nothing is returned instead. */
static err drop_cut_batch(const struct read_request *request, struct log_range *range)
{
    if (request->min_one || range->file == NULL || range->len < request->max_bytes) {
        return OK;
    }
    uint8_t prefix[BATCH_PREFIX_BYTES];
    bool cut = range->len < sizeof(prefix);
    if (!cut) {
        TRY(log_range_read(range, 0, prefix, sizeof(prefix)));
        cut = range->len < BATCH_PREFIX_BYTES + (size_t)load_u32(prefix + 8);
    }
    if (cut) {
        log_range_release(range);
        *range = (struct log_range){0};
    }
    return OK;
}

/* The batches, and for who reads what is committed the aborted transactions in them: of one layout of the log, since
 * compaction takes both away together. */
static err read_batches(struct plog *log, const struct read_request *request, int64_t end,
                        struct arena *arena, struct read_result *result)
{
    bool wants_aborted = request->read_committed && request->replica_id < 0;
    for (int i = 0; i < LAYOUTS_MAX; i++) {
        uint32_t layout = plog_layout(log);
        TRY(plog_read(log, request->offset, end, request->max_bytes, request->min_one,
                      &result->range));
        TRY(drop_cut_batch(request, &result->range));
        if (!wants_aborted || result->range.len == 0) {
            return OK;
        }
        TRY(plog_aborted_txns(log, request->offset, end, arena, &result->aborted,
                              &result->aborted_n));
        if (plog_layout(log) == layout) {
            return OK;
        }
        log_range_release(&result->range);
    }
    return ERR_KAFKA_STORAGE_ERROR; /* it is cleaned again and again: the client comes back */
}

/* `own_epoch`: of a replica's fetch. */
static void read_log(struct partition *p, struct plog *log, int32_t own_epoch,
                     const struct read_request *request, struct arena *arena,
                     struct read_result *result)
{
    int64_t high_watermark = partition_high_watermark(p);
    result->high_watermark = high_watermark;
    result->last_stable_offset = plog_last_stable_offset(log, high_watermark);
    result->log_start_offset = plog_start_offset(log);
    result->end_offset = plog_end_offset(log);
    if (request->selector != NULL) {
        result->preferred = partition_choose_replica(p, request->selector, request->offset);
        if (result->preferred >= 0) {
            return;
        }
    }
    if (request->last_fetched_epoch >= 0 && request->offset >= result->log_start_offset &&
        !(planted(MISTAKE_OUT_OF_RANGE) && request->offset > result->end_offset)) {
        note_divergence(log, request, result);
        if (result->error != OK || result->diverged) {
            return;
        }
    }
    if (request->offset < result->log_start_offset || request->offset > result->end_offset) {
        result->error = ERR_OFFSET_OUT_OF_RANGE;
        return;
    }
    bool replica = request->replica_id >= 0;
    int64_t end = replica                   ? result->end_offset
                  : request->read_committed ? result->last_stable_offset
                                            : high_watermark;
    bool wanted = request->offset < end && (request->max_bytes > 0 || request->min_one);
    result->held_back = wanted && replica && partition_holds_back(p, request->replica_id);
    if (wanted && !result->held_back) {
        result->error = read_batches(log, request, end, arena, result);
    }
    if (result->error == OK && replica && !request->again) {
        const struct replica_fetch fetch = {.offset = request->offset,
                                            .log_start_offset = request->log_start_offset,
                                            .leader_end_offset = result->end_offset,
                                            .leader_epoch = own_epoch,
                                            .broker_epoch = request->broker_epoch};
        result->in_sync = partition_replica_fetched(p, request->replica_id, &fetch);
        result->high_watermark = partition_high_watermark(p);
    }
}

/* False: the log has moved to another directory beside it, and what was read goes on there. */
static bool read_once(struct partition *p, const struct read_request *request, struct arena *arena,
                      struct read_result *result)
{
    *result = (struct read_result){.preferred = -1};
    struct plog *log = NULL;
    int32_t own_epoch = -1;
    result->error = request->replica_id >= 0
                        ? partition_pin_for_replica(p, request->leader_epoch, request->replica_id,
                                                    &log, &own_epoch)
                        : partition_pin(p, request->leader_epoch, request->any_replica, &log);
    if (result->error != OK) {
        return true;
    }
    read_log(p, log, own_epoch, request, arena, result);
    bool whole = result->error != ERR_OFFSET_OUT_OF_RANGE || partition_has_log(p, log);
    partition_unpin(p, log);
    return whole;
}

void partition_read(struct partition *p, const struct read_request *request, struct arena *arena,
                    struct read_result *result)
{
    while (!read_once(p, request, arena, result)) {
    }
    if (result->error != OK) {
        log_range_release(&result->range);
        result->range = (struct log_range){0};
        result->high_watermark = result->last_stable_offset = result->log_start_offset = -1;
        result->end_offset = -1;
    }
}
