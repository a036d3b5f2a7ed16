/* Timers: one for each kind of checkpoint, each with its own interval, all armed by the first change
 * that is not in one of them; retention (its own interval); removal (armed when something was
 * deleted); flush.ms; producers. An interval below 1 is never: then the file is written when the broker stops.
 *
 * While a log directory is full, all that may give room is done once a second, retention as well: its options may have
 * been changed, or records deleted, to make some. The reserve of each directory is made a second after the start. */
#include "broker/housekeeping.h"

#include "base/log.h"
#include "broker/broker.h"

#include <stdlib.h>

enum { REMOVAL_RETRY_MS = 1000, ROOM_MS = 1000, TXN_LATE_MS = 5 * 60000 };

enum { HIGH_WATERMARKS, RECOVERY_POINTS, LOG_STARTS, CHECKPOINTS };

/* One kind of checkpoint file. */
struct checkpoint {
    struct timer timer;
    struct housekeeping *housekeeping;
    int64_t interval_ms;
    const char *what;
    err (*write)(struct broker *broker);
};

struct housekeeping {
    struct broker *broker;
    atomic_bool dirty;
    atomic_bool arm_posted; /* a task is in the queue once */
    atomic_bool removal_expected;
    struct loop_task arm;
    atomic_bool full_posted;
    struct loop_task expect;
    struct loop_task full;
    struct checkpoint checkpoints[CHECKPOINTS];
    struct timer retention;
    struct timer removal;
    struct timer room;
    struct timer flush;
    struct timer producers;
    bool stopped;
};

static void on_arm(struct loop_task *task)
{
    struct housekeeping *h = container_of(task, struct housekeeping, arm);
    atomic_store(&h->arm_posted, false);
    for (int i = 0; i < CHECKPOINTS && !h->stopped; i++) {
        struct checkpoint *c = &h->checkpoints[i];
        if (c->interval_ms > 0 && !timer_is_running(&c->timer)) {
            timer_start(h->broker->background, &c->timer, c->interval_ms);
        }
    }
}

static void on_expect(struct loop_task *task)
{
    struct housekeeping *h = container_of(task, struct housekeeping, expect);
    struct loop *loop = h->broker->background;
    bool is_soon = timer_is_running(&h->removal) &&
                   h->removal.item.due <= loop_now_ms(loop) + REMOVAL_RETRY_MS;
    atomic_store(&h->removal_expected, false);
    if (!h->stopped && !is_soon) { /* or it would never come while topics are deleted */
        timer_start(loop, &h->removal, REMOVAL_RETRY_MS);
    }
}

/* That a directory is full has been said, and is no news each time. */
static void log_failure(const char *what, err e)
{
    if (e != OK && !err_is_no_room(e)) {
        log_error("housekeeping", "cannot write what=%s error=\"%s\"", what, err_text(e));
    }
}

static void on_checkpoint(struct timer *timer)
{
    struct checkpoint *c = container_of(timer, struct checkpoint, timer);
    atomic_store(&c->housekeeping->dirty, false); /* changes from here on arm the timers again */
    log_failure(c->what, c->write(c->housekeeping->broker));
}

static err write_high_watermarks(struct broker *broker)
{
    return replicas_checkpoint_high_watermarks(broker->replicas, false);
}

static err write_recovery_points(struct broker *broker)
{
    return logs_write_checkpoint(broker->logs, LOGS_RECOVERY_POINTS);
}

static err write_log_starts(struct broker *broker)
{
    return logs_write_checkpoint(broker->logs, LOGS_START_OFFSETS);
}

static void init_checkpoints(struct housekeeping *h)
{
    const struct config *config = h->broker->config;
    struct checkpoint *all = h->checkpoints;
    all[HIGH_WATERMARKS] =
        (struct checkpoint){.interval_ms = config->replica_high_watermark_checkpoint_interval_ms,
                            .what = "high watermarks",
                            .write = write_high_watermarks};
    all[RECOVERY_POINTS] =
        (struct checkpoint){.interval_ms = config->log_flush_offset_checkpoint_interval_ms,
                            .what = "recovery points",
                            .write = write_recovery_points};
    all[LOG_STARTS] =
        (struct checkpoint){.interval_ms = config->log_flush_start_offset_checkpoint_interval_ms,
                            .what = "log starts",
                            .write = write_log_starts};
    for (int i = 0; i < CHECKPOINTS; i++) {
        all[i].timer.fire = on_checkpoint;
        all[i].housekeeping = h;
    }
}

static void apply_retention(struct housekeeping *h)
{
    if (replicas_apply_retention(h->broker->replicas, false) > 0) {
        log_failure("recovery points", logs_write_recovery_points(h->broker->logs));
    }
    housekeeping_expect_removal(h); /* also of what a truncation has deleted */
}

static void on_retention(struct timer *timer)
{
    struct housekeeping *h = container_of(timer, struct housekeeping, retention);
    apply_retention(h);
    timer_start(h->broker->background, timer, h->broker->config->log_retention_check_interval_ms);
}

/* Returns the milliseconds until there is more to do, or -1. */
static int64_t remove_deleted(struct housekeeping *h)
{
    int64_t logs_ms = logs_remove_deleted(h->broker->logs);
    int64_t files_ms = replicas_remove_deleted(h->broker->replicas);
    return logs_ms < 0 || (files_ms >= 0 && files_ms < logs_ms) ? files_ms : logs_ms;
}

static void on_room(struct timer *timer)
{
    struct housekeeping *h = container_of(timer, struct housekeeping, room);
    if (!logs_look_for_room(h->broker->logs)) {
        return;
    }
    apply_retention(h);
    (void)remove_deleted(h);
    if (logs_look_for_room(h->broker->logs)) {
        timer_start(h->broker->background, timer, ROOM_MS);
    }
}

static void on_full(struct loop_task *task)
{
    struct housekeeping *h = container_of(task, struct housekeeping, full);
    atomic_store(&h->full_posted, false);
    if (!h->stopped) {
        timer_start(h->broker->background, &h->room, 0);
    }
}

static void on_removal(struct timer *timer)
{
    struct housekeeping *h = container_of(timer, struct housekeeping, removal);
    int64_t more_ms = remove_deleted(h);
    if (more_ms >= 0) {
        timer_start(h->broker->background, timer,
                    more_ms < REMOVAL_RETRY_MS ? REMOVAL_RETRY_MS : more_ms);
    }
}

/* flush.ms: looked at every log.flush.scheduler.interval.ms, which by default is never. */
static void on_flush(struct timer *timer)
{
    struct housekeeping *h = container_of(timer, struct housekeeping, flush);
    replicas_flush_due(h->broker->replicas, loop_now_ms(h->broker->background));
    timer_start(h->broker->background, timer, h->broker->config->log_flush_scheduler_interval_ms);
}

/* A transaction is open for the longest timeout, and some time more until it is aborted: Kafka's bound for what is
 * late. */
static void on_producers(struct timer *timer)
{
    struct housekeeping *h = container_of(timer, struct housekeeping, producers);
    const struct config *config = h->broker->config;
    replicas_expire_producers(h->broker->replicas,
                              (int64_t)config->transaction_max_timeout_ms + TXN_LATE_MS);
    timer_start(h->broker->background, timer, config->producer_id_expiration_check_interval_ms);
}

struct housekeeping *housekeeping_new(struct broker *broker)
{
    struct housekeeping *h = xcalloc(1, sizeof(*h));
    h->broker = broker;
    h->arm.run = on_arm;
    h->expect.run = on_expect;
    h->full.run = on_full;
    h->retention.fire = on_retention;
    h->removal.fire = on_removal;
    h->room.fire = on_room;
    h->flush.fire = on_flush;
    h->producers.fire = on_producers;
    init_checkpoints(h);
    return h;
}

void housekeeping_start(struct housekeeping *h)
{
    const struct config *config = h->broker->config;
    int64_t interval_ms = config->log_retention_check_interval_ms;
    timer_start(h->broker->background, &h->retention,
                interval_ms < config->log_initial_task_delay_ms
                    ? interval_ms
                    : config->log_initial_task_delay_ms);
    timer_start(h->broker->background, &h->removal, REMOVAL_RETRY_MS);
    timer_start(h->broker->background, &h->room, ROOM_MS);
    interval_ms = config->producer_id_expiration_check_interval_ms;
    timer_start(h->broker->background, &h->producers,
                interval_ms < config->log_initial_task_delay_ms
                    ? interval_ms
                    : config->log_initial_task_delay_ms);
    int64_t flush_ms = config->log_flush_scheduler_interval_ms;
    if (flush_ms > 0 && flush_ms < INT64_MAX) {
        timer_start(h->broker->background, &h->flush, flush_ms);
    }
}

void housekeeping_stop(struct housekeeping *h)
{
    h->stopped = true;
    for (int i = 0; i < CHECKPOINTS; i++) {
        timer_stop(h->broker->background, &h->checkpoints[i].timer);
    }
    timer_stop(h->broker->background, &h->retention);
    timer_stop(h->broker->background, &h->removal);
    timer_stop(h->broker->background, &h->room);
    timer_stop(h->broker->background, &h->flush);
    timer_stop(h->broker->background, &h->producers);
}

void housekeeping_free(struct housekeeping *h)
{
    free(h);
}

void housekeeping_mark_dirty(void *housekeeping)
{
    struct housekeeping *h = housekeeping;
    if (!atomic_load_explicit(&h->dirty, memory_order_relaxed) &&
        !atomic_exchange(&h->dirty, true) && !atomic_exchange(&h->arm_posted, true)) {
        loop_post(h->broker->background, &h->arm);
    }
}

void housekeeping_note_full(struct housekeeping *h)
{
    if (!atomic_exchange(&h->full_posted, true)) {
        loop_post(h->broker->background, &h->full);
    }
}

void housekeeping_expect_removal(struct housekeeping *h)
{
    if (!atomic_exchange(&h->removal_expected, true)) {
        loop_post(h->broker->background, &h->expect);
    }
}
