/* Three timers: checkpoints (armed by the first change), retention (its own interval, if anything
 * has been written since), removal (armed when something was deleted). */
#include "broker/housekeeping.h"

#include "base/log.h"
#include "broker/broker.h"

#include <stdlib.h>

enum { FIRST_RETENTION_MS = 30000, REMOVAL_RETRY_MS = 1000 };

struct housekeeping {
    struct broker *broker;
    atomic_bool dirty;
    atomic_bool removal_expected;
    struct loop_task arm;
    struct loop_task expect;
    struct timer checkpoint;
    struct timer retention;
    struct timer removal;
    struct timer flush;
    int64_t recovery_points_ms; /* when they were last written */
    bool stopped;
};

static void on_arm(struct loop_task *task)
{
    struct housekeeping *h = container_of(task, struct housekeeping, arm);
    if (!h->stopped) {
        timer_start(h->broker->background, &h->checkpoint,
                    h->broker->config->replica_high_watermark_checkpoint_interval_ms);
    }
}

static void on_expect(struct loop_task *task)
{
    struct housekeeping *h = container_of(task, struct housekeeping, expect);
    atomic_store(&h->removal_expected, false);
    if (!h->stopped) {
        timer_start(h->broker->background, &h->removal, REMOVAL_RETRY_MS);
    }
}

static void log_failure(const char *what, err e)
{
    if (e != OK) {
        log_error("housekeeping", "cannot write what=%s error=\"%s\"", what, err_text(e));
    }
}

static void on_checkpoint(struct timer *timer)
{
    struct housekeeping *h = container_of(timer, struct housekeeping, checkpoint);
    struct broker *broker = h->broker;
    atomic_store(&h->dirty, false); /* changes from here on arm the timer again */
    log_failure("high watermarks", replicas_checkpoint_high_watermarks(broker->replicas, false));
    int64_t now_ms = loop_now_ms(broker->background);
    int32_t interval_ms = broker->config->log_flush_offset_checkpoint_interval_ms;
    if (now_ms - h->recovery_points_ms >= interval_ms) {
        h->recovery_points_ms = now_ms;
        log_failure("recovery points", logs_write_recovery_points(broker->logs));
    }
}

static void on_retention(struct timer *timer)
{
    struct housekeeping *h = container_of(timer, struct housekeeping, retention);
    if (replicas_apply_retention(h->broker->replicas) > 0) {
        log_failure("recovery points", logs_write_recovery_points(h->broker->logs));
        housekeeping_expect_removal(h);
    }
    timer_start(h->broker->background, timer, h->broker->config->log_retention_check_interval_ms);
}

static void on_removal(struct timer *timer)
{
    struct housekeeping *h = container_of(timer, struct housekeeping, removal);
    int64_t more_ms = logs_remove_deleted(h->broker->logs);
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

struct housekeeping *housekeeping_new(struct broker *broker)
{
    struct housekeeping *h = xcalloc(1, sizeof(*h));
    h->broker = broker;
    h->arm.run = on_arm;
    h->expect.run = on_expect;
    h->checkpoint.fire = on_checkpoint;
    h->retention.fire = on_retention;
    h->removal.fire = on_removal;
    h->flush.fire = on_flush;
    return h;
}

void housekeeping_start(struct housekeeping *h)
{
    const struct config *config = h->broker->config;
    int64_t interval_ms = config->log_retention_check_interval_ms;
    timer_start(h->broker->background, &h->retention,
                interval_ms < FIRST_RETENTION_MS ? interval_ms : FIRST_RETENTION_MS);
    timer_start(h->broker->background, &h->removal, REMOVAL_RETRY_MS);
    if (config->log_flush_scheduler_interval_ms < INT64_MAX) {
        timer_start(h->broker->background, &h->flush, config->log_flush_scheduler_interval_ms);
    }
}

void housekeeping_stop(struct housekeeping *h)
{
    h->stopped = true;
    timer_stop(h->broker->background, &h->checkpoint);
    timer_stop(h->broker->background, &h->retention);
    timer_stop(h->broker->background, &h->removal);
    timer_stop(h->broker->background, &h->flush);
}

void housekeeping_free(struct housekeeping *h)
{
    free(h);
}

void housekeeping_mark_dirty(void *housekeeping)
{
    struct housekeeping *h = housekeeping;
    if (!atomic_load_explicit(&h->dirty, memory_order_relaxed) &&
        !atomic_exchange(&h->dirty, true)) {
        loop_post(h->broker->background, &h->arm);
    }
}

void housekeeping_expect_removal(struct housekeeping *h)
{
    if (!atomic_exchange(&h->removal_expected, true)) {
        loop_post(h->broker->background, &h->expect);
    }
}
