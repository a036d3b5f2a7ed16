/* Producers and transactions of a partition: what is verified, who is forgotten, what hangs. */
#include "broker/replica/partition_internal.h"

#include "base/log.h"

enum { PRODUCERS_ARENA_BYTES = 64 << 20 };

err partition_verify_txn(struct partition *p, int64_t producer_id, int16_t epoch, int32_t sequence,
                         uint64_t *guard)
{
    partition_lock(p);
    err e = partition_check_role(p, -1, false);
    *guard = e == OK ? plog_verify_txn(p->log, producer_id, epoch, sequence) : 0;
    partition_unlock(p);
    return e;
}

void partition_txn_verified(struct partition *p, int64_t producer_id, uint64_t guard)
{
    partition_lock(p);
    if (partition_check_role(p, -1, false) == OK) {
        plog_txn_verified(p->log, producer_id, guard);
    }
    partition_unlock(p);
}

err partition_producers(struct partition *p, struct arena *arena, struct producer_info **producers,
                        int32_t *count)
{
    partition_lock(p);
    err e = partition_check_log(p);
    e = e == OK ? plog_producers(p->log, arena, producers, count) : e;
    partition_unlock(p);
    return e;
}

/* ---- from time to time ---- */

void partition_expire_producers(struct partition *p)
{
    partition_lock(p);
    if (partition_check_log(p) == OK) {
        plog_expire_producers(p->log);
    }
    partition_unlock(p);
}

/* The open transaction that began first; false: there is none, or there are too many producers to look. */
static bool find_oldest_txn(struct plog *log, struct producer_info *oldest)
{
    struct arena arena;
    struct producer_info *infos = NULL;
    int32_t count = 0;
    *oldest = (struct producer_info){.txn_start_offset = -1};
    arena_init(&arena, PRODUCERS_ARENA_BYTES);
    err_ignore(plog_producers(log, &arena, &infos, &count));
    for (int32_t i = 0; i < count; i++) {
        int64_t start = infos[i].txn_start_offset;
        if (start >= 0 && (oldest->txn_start_offset < 0 || start < oldest->txn_start_offset)) {
            *oldest = infos[i];
        }
    }
    arena_deinit(&arena);
    return oldest->txn_start_offset >= 0;
}

/* Since when it is the oldest is this broker's time: that of its records is its producer's. */
static void report_hanging(struct partition *p, int64_t txn_max_ms)
{
    struct producer_info oldest;
    int64_t now_ms = clock_monotonic_ms(p->env->clock);
    if (!find_oldest_txn(p->log, &oldest)) {
        return;
    }
    if (oldest.txn_start_offset != p->oldest_txn.offset) {
        p->oldest_txn.offset = oldest.txn_start_offset;
        p->oldest_txn.since_ms = now_ms;
        p->oldest_txn.is_told = false;
    }
    if (now_ms - p->oldest_txn.since_ms > txn_max_ms && !p->oldest_txn.is_told) {
        p->oldest_txn.is_told = true;
        log_warn("partition",
                 "a transaction hangs, kafka-transactions abort ends it topic=%.*s partition=%d "
                 "producer=%lld epoch=%d offset=%lld",
                 (int)p->name.topic.len, p->name.topic.data, p->name.partition,
                 (long long)oldest.producer_id, oldest.epoch, (long long)oldest.txn_start_offset);
    }
}

void partition_report_hanging(struct partition *p, int64_t txn_max_ms)
{
    partition_lock(p);
    if (partition_check_log(p) == OK && p->is_leader && plog_open_txns(p->log) > 0) {
        report_hanging(p, txn_max_ms);
    }
    partition_unlock(p);
}
