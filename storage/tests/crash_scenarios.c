/* Logs of 1800 bytes a segment, three to eight batches: every scenario crosses the borders of its subject in a few
 * hundred changes of the disk, and each of these is a place for a crash. */
#define _GNU_SOURCE
#include "storage/tests/crash_scenarios.h"

#include "storage/tests/util.h"

static err append_many(struct world *w, struct log_model *m, int n)
{
    for (int i = 0; i < n; i++) {
        TRY(world_append_any(w, m));
    }
    return OK;
}

static err begin(struct world *w, const char *topic, int batches, struct log_model **m)
{
    TRY(world_boot(w));
    TRY(world_create(w, topic, 0, m));
    if (w->dirs_n > 1) { /* each log goes where the fewest are */
        struct log_model *bystander = NULL;
        TRY(world_create(w, "t", BYSTANDER, &bystander));
    }
    TRY(world_new_epoch(w, *m));
    return append_many(w, *m, batches);
}

static err run_append(struct world *w)
{
    struct log_model *m = NULL;
    TRY(begin(w, "t", 18, &m));
    TRY(world_new_epoch(w, m));
    TRY(append_many(w, m, 6));
    TRY(world_roll(w, m));
    return append_many(w, m, 3);
}

static err run_flush(struct world *w)
{
    struct log_model *m = NULL;
    TRY(begin(w, "t", 5, &m));
    for (int i = 0; i < 4; i++) {
        TRY(world_flush(w, m));
        TRY(append_many(w, m, 3));
        TRY(world_checkpoint(w));
        TRY(append_many(w, m, 2));
    }
    TRY(world_flush(w, m));
    TRY(world_roll(w, m)); /* with nothing left to be flushed */
    TRY(append_many(w, m, 1));
    return world_flush(w, m);
}

static err run_clean(struct world *w)
{
    struct log_model *m = NULL;
    TRY(begin(w, "c", 24, &m));
    TRY(world_flush(w, m));
    TRY(world_checkpoint(w));
    TRY(world_clean(w, m));
    TRY(append_many(w, m, 6));
    return world_flush(w, m);
}

/* So often that segments are merged, and one has nothing left. */
static err run_merge(struct world *w)
{
    struct log_model *m = NULL;
    TRY(begin(w, "c", 10, &m));
    for (int i = 0; i < 4; i++) {
        TRY(append_many(w, m, 12));
        for (int p = 0; p < WORLD_TXN_PRODUCERS; p++) {
            TRY(world_end_txn(w, m, p, i % 2 == 0));
        }
        TRY(world_roll(w, m));
        TRY(world_flush(w, m));
        TRY(world_clean(w, m));
        w->clock.now_ms += 2000;
        (void)plog_remove_deleted(world_log(w, m));
    }
    return append_many(w, m, 3);
}

static err run_retention(struct world *w)
{
    struct log_model *m = NULL;
    TRY(begin(w, "t", 30, &m));
    TRY(world_flush(w, m));
    TRY(world_retain(w, m));
    TRY(append_many(w, m, 12));
    TRY(world_retain(w, m)); /* of what is not flushed, too */
    w->clock.now_ms += 2000;
    (void)plog_remove_deleted(world_log(w, m));
    return append_many(w, m, 4);
}

static err run_delete_records(struct world *w)
{
    struct log_model *m = NULL;
    TRY(begin(w, "t", 20, &m));
    TRY(world_flush(w, m));
    for (int i = 0; i < 3; i++) {
        int64_t base = world_some_base(w, m);
        TRY(world_advance_start(w, m, base + (i < 2 && base + 1 < m->flushed ? 1 : 0)));
        TRY(world_checkpoint(w));
        TRY(world_retain(w, m));
        TRY(append_many(w, m, 4));
        TRY(world_flush(w, m));
    }
    /* to where a segment begins, and to the end */
    TRY(world_roll(w, m));
    TRY(world_advance_start(w, m, plog_end_offset(world_log(w, m))));
    TRY(world_checkpoint(w));
    TRY(world_retain(w, m));
    return append_many(w, m, 3);
}

static err run_truncate(struct world *w)
{
    struct log_model *m = NULL;
    TRY(begin(w, "t", 16, &m));
    for (int i = 0; i < 3; i++) {
        TRY(world_flush(w, m));
        TRY(world_checkpoint(w));
        TRY(append_many(w, m, 4));
        TRY(world_truncate(w, m, world_some_base(w, m)));
        TRY(world_new_epoch(w, m));
        TRY(append_many(w, m, 7));
    }
    return world_flush(w, m);
}

static err run_start_at(struct world *w)
{
    struct log_model *m = NULL;
    TRY(begin(w, "t", 14, &m));
    TRY(world_flush(w, m));
    TRY(world_checkpoint(w));
    TRY(world_start_at(w, m, plog_end_offset(world_log(w, m)) + 100));
    TRY(append_many(w, m, 9));
    TRY(world_flush(w, m));
    TRY(world_advance_start(w, m, world_some_base(w, m) + 1));
    TRY(world_checkpoint(w));
    TRY(world_start_at(w, m, 5)); /* below the start that is checkpointed */
    TRY(world_new_epoch(w, m));
    TRY(append_many(w, m, 9));
    TRY(world_flush(w, m));
    return append_many(w, m, 2);
}

static err run_delete(struct world *w)
{
    struct log_model *m = NULL;
    struct log_model *other = NULL;
    TRY(begin(w, "t", 12, &m));
    TRY(world_create(w, "t", 1, &other));
    TRY(append_many(w, other, 4));
    TRY(world_flush(w, other));
    TRY(world_flush(w, m));
    TRY(world_advance_start(w, m, plog_end_offset(world_log(w, m)) - 1));
    TRY(world_checkpoint(w));
    TRY(world_delete(w, m));
    w->clock.now_ms += 100000;
    (void)logs_remove_deleted(w->logs);
    TRY(world_create(w, "t", 0, &m));
    TRY(append_many(w, m, 6));
    TRY(world_flush(w, m));
    return append_many(w, other, 2);
}

/* What a power cut leaves is recovered, and cut again meanwhile; twice. */
static err run_recovery(struct world *w)
{
    struct log_model *m = NULL;
    struct log_model *compacted = NULL;
    TRY(begin(w, "t", 10, &m));
    TRY(world_create(w, "c", 1, &compacted));
    TRY(append_many(w, compacted, 10));
    TRY(world_flush(w, m));
    TRY(world_checkpoint(w));
    for (uint64_t i = 0; i < 3; i++) {
        TRY(append_many(w, m, 9));
        TRY(append_many(w, compacted, 5));
        world_crash(w, i == 1 ? CRASH_KILL : CRASH_ANY, w->moment + i);
        TRY(world_boot(w));
        world_learn(w);
        TRY(world_new_epoch(w, m));
    }
    return append_many(w, m, 3);
}

static err run_clean_stop(struct world *w)
{
    struct log_model *m = NULL;
    struct log_model *compacted = NULL;
    TRY(begin(w, "t", 12, &m));
    TRY(world_create(w, "c", 1, &compacted));
    TRY(append_many(w, compacted, 14));
    world_stop(w);
    TRY(world_boot(w));
    world_learn(w);
    TRY(append_many(w, m, 3));
    TRY(world_advance_start(w, m, world_some_base(w, m) + 1));
    world_stop(w);
    return world_boot(w);
}

/* The same with one sync for all logs. */
static err run_stop_at_once(struct world *w)
{
    w->sync_all_from = 1;
    return run_clean_stop(w);
}

/* From one directory to the other and back, while it is written; once given up, once interrupted. */
static err run_move(struct world *w)
{
    struct log_model *m = NULL;
    struct log_model *compacted = NULL;
    TRY(begin(w, "t", 10, &m));
    TRY(world_create(w, "c", 1, &compacted));
    TRY(append_many(w, compacted, 8));
    TRY(world_flush(w, m));
    TRY(world_advance_start(w, m, world_some_base(w, m) + 1));
    TRY(world_checkpoint(w));
    TRY(world_move_begin(w, m));
    TRY(world_move_on(w, m));
    TRY(append_many(w, m, 4));
    TRY(world_move_end(w, m));
    TRY(append_many(w, m, 3));
    TRY(world_move_begin(w, compacted));
    TRY(world_move_on(w, compacted));
    logs_move_give_up(w->logs, plog_name(world_log(w, compacted)));
    TRY(world_flush(w, compacted));
    TRY(world_move_begin(w, compacted));
    TRY(world_move_on(w, compacted));
    TRY(append_many(w, compacted, 3));
    world_crash(w, CRASH_KILL, w->moment);
    TRY(world_boot(w));
    world_learn(w);
    TRY(world_new_epoch(w, m));
    TRY(world_move_end(w, compacted));
    TRY(world_flush(w, m));
    TRY(world_move_begin(w, m));
    TRY(world_move_end(w, m));
    w->clock.now_ms += 2000;
    (void)logs_remove_deleted(w->logs);
    TRY(append_many(w, m, 2));
    world_stop(w);
    return world_boot(w);
}

/* A power cut takes of the log what the copy has on the disk; a stop forgets that the copy was to be cut. */
static err run_move_ahead(struct world *w)
{
    struct log_model *m = NULL;
    TRY(begin(w, "t", 6, &m));
    TRY(world_flush(w, m));
    TRY(append_many(w, m, 6));
    TRY(world_move_begin(w, m));
    TRY(world_move_on(w, m));
    TRY(plog_flush(logs_where(w->logs, plog_name(world_log(w, m))).future));
    world_crash(w, CRASH_POWER, 1);
    TRY(world_boot(w));
    world_learn(w);
    TRY(world_new_epoch(w, m));
    TRY(append_many(w, m, 5));
    TRY(world_move_on(w, m));
    TRY(world_flush(w, m));
    TRY(world_truncate(w, m, world_some_base(w, m)));
    TRY(world_new_epoch(w, m));
    TRY(append_many(w, m, 8));
    world_stop(w);
    TRY(world_boot(w));
    world_learn(w);
    TRY(world_new_epoch(w, m));
    TRY(world_move_end(w, m));
    return world_flush(w, m);
}

const struct crash_scenario CRASH_SCENARIOS[] = {
    {"append across a roll", 1, run_append},
    {"flush and checkpoint", 1, run_flush},
    {"clean", 1, run_clean},
    {"clean and merge", 1, run_merge},
    {"retention", 1, run_retention},
    {"delete records", 1, run_delete_records},
    {"truncate", 1, run_truncate},
    {"start at", 1, run_start_at},
    {"delete a partition", 1, run_delete},
    {"recovery", 1, run_recovery},
    {"clean stop", 1, run_clean_stop},
    {"clean stop at once", 1, run_stop_at_once},
    {"move", 2, run_move},
    {"move ahead of the log", 2, run_move_ahead},
};
const size_t CRASH_SCENARIOS_N = sizeof(CRASH_SCENARIOS) / sizeof(CRASH_SCENARIOS[0]);

/* ---- by chance ---- */

static err change_log(struct world *w, struct log_model *m)
{
    struct plog *log = world_log(w, m);
    int64_t end = log == NULL ? 0 : plog_end_offset(log);
    uint32_t what = world_below(w, 12);
    if (log == NULL) {
        return world_create(w, m->topic, m->partition, &m);
    }
    if (m->is_compacted) {
        return what < 8 ? world_clean(w, m) : world_new_epoch(w, m);
    }
    switch (what) {
    case 0:
        return world_start_at(w, m, world_below(w, (uint32_t)end + 20));
    case 1:
        return world_delete(w, m);
    case 2:
    case 3:
        TRY(world_truncate(w, m, world_some_base(w, m)));
        return world_new_epoch(w, m);
    case 4:
    case 5:
        return world_advance_start(w, m, world_some_base(w, m));
    case 6: {
        int64_t base = world_some_base(w, m);
        return base < end ? world_advance_start(w, m, base + 1) : OK;
    }
    case 7:
    case 8:
        return world_retain(w, m);
    default:
        return world_new_epoch(w, m);
    }
}

static err change_life(struct world *w)
{
    uint32_t what = world_below(w, 5);
    if (what == 0) {
        world_stop(w);
    } else {
        world_crash(w, what == 1 ? CRASH_KILL : what == 2 ? CRASH_POWER : CRASH_ANY, w->moment);
    }
    TRY(world_boot(w));
    world_learn(w);
    return OK;
}

static err step(struct world *w)
{
    struct log_model *m = &w->models[world_below(w, (uint32_t)w->models_n)];
    uint32_t what = world_below(w, 40);
    w->clock.now_ms += world_below(w, 300);
    if (what < 4) {
        return change_log(w, m);
    }
    if (what == 4) {
        return change_life(w);
    }
    if (world_log(w, m) == NULL) {
        return OK;
    }
    if (what < 9) {
        return world_flush(w, m);
    }
    if (what < 12) {
        return world_checkpoint(w);
    }
    if (what == 12) {
        return world_roll(w, m);
    }
    if (what == 13) {
        (void)plog_remove_deleted(world_log(w, m));
        (void)logs_remove_deleted(w->logs);
        return OK;
    }
    return world_append_any(w, m);
}

err crash_scenario_random(struct world *w, int steps)
{
    struct log_model *m = NULL;
    TRY(begin(w, "t", 3, &m));
    TRY(world_create(w, "c", 1, &m));
    for (int i = 0; i < steps; i++) {
        TRY(step(w));
    }
    return OK;
}
