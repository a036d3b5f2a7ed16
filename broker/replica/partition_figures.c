/* How a partition stands, for its metrics: one look under its lock, and nothing that reads a file. */
#include "broker/replica/partition_internal.h"

static void tell_log(const struct partition *p, struct partition_figures *figures)
{
    figures->start_offset = plog_start_offset(p->log);
    figures->end_offset = plog_end_offset(p->log);
    figures->size_bytes = plog_size_bytes(p->log);
    figures->segments_n = plog_segments_n(p->log);
    figures->last_stable_offset = plog_last_stable_offset(p->log, figures->high_watermark);
    int64_t behind = p->leader_high_watermark - figures->end_offset;
    figures->lag = figures->follows && behind > 0 ? behind : 0;
}

void partition_tell_figures(struct partition *p, struct partition_figures *figures)
{
    partition_lock(p);
    *figures = (struct partition_figures){
        .leads = p->is_leader,
        .online = partition_check_log(p) == OK,
        .follows = !p->is_leader && p->state.leader >= 0 && p->state.leader != p->env->broker_id,
        .isr_n = p->state.isr.count,
        .replicas_n = p->state.replicas.count,
        .min_insync_replicas = p->min_insync_replicas,
        .moves = p->is_moving,
        .high_watermark = partition_high_watermark(p),
    };
    if (p->log != NULL) {
        tell_log(p, figures);
    }
    partition_unlock(p);
}
