/* A thread is an event loop with one timer. A clean runs on it from its begin to its end: nothing else is to be done
 * there. The bound on bytes per second is one for all threads: who has used more sleeps it off, in short pieces, so
 * that a stop is seen. */
#include "broker/cleaner.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define AREA "cleaner"

static const double LOAD_MIN = 0.01;
enum { THREADS_MAX = 64, NAP_MS = 50, BURST_MS = 300, IO_BYTES_MIN = 4096 };

struct cleaner_thread {
    struct cleaner *cleaner;
    struct loop *loop;
    struct thread *thread;
    struct timer timer;
    struct loop_task arm; /* posted by cleaner_wake() */
    atomic_bool arm_posted;
};

/* What is in force, as plain values. */
struct cleaner_options {
    bool enable;
    int threads;
    int64_t backoff_ms;
    int64_t map_bytes; /* of all threads */
    double map_load;
    int64_t io_bytes;
    double bytes_per_second;
};

struct cleaner {
    struct cleaner_config config;
    struct cleaner_options options; /* changed while no thread runs */
    bool is_started;
    struct cleaner_thread threads[THREADS_MAX];
    atomic_bool stopping;
    atomic_bool changed; /* logs, since a thread has begun to look */
    atomic_int set_aside_n;

    pthread_mutex_t lock; /* guards the next two */
    int threads_n;        /* that can be woken */
    double free_ms;       /* when what was used is paid for */
};

/* ---- one clean ---- */

/* Sleeps until the bytes are within the bound. */
static bool go_on(void *context, int64_t bytes)
{
    struct cleaner *cleaner = context;
    struct clock *clock = cleaner->config.clock;
    pthread_mutex_lock(&cleaner->lock);
    double now_ms = (double)clock_monotonic_ms(clock);
    double from_ms = cleaner->free_ms > now_ms ? cleaner->free_ms : now_ms;
    cleaner->free_ms = from_ms + (double)bytes * 1000 / cleaner->options.bytes_per_second;
    double until_ms = cleaner->free_ms - BURST_MS;
    pthread_mutex_unlock(&cleaner->lock);
    while (!atomic_load(&cleaner->stopping) && (double)clock_monotonic_ms(clock) < until_ms) {
        clock_sleep_us(clock, NAP_MS * 1000);
    }
    return !atomic_load(&cleaner->stopping);
}

static void set_aside(struct cleaner *cleaner, struct partition *p, err e)
{
    struct topic_partition name = partition_name(p);
    partition_set_aside(p);
    int count = 1 + atomic_fetch_add(&cleaner->set_aside_n, 1);
    log_error(AREA,
              "cannot be cleaned, and is set aside until the next start topic=%.*s partition=%d "
              "error=\"%s\" set_aside=%d",
              (int)name.topic.len, name.topic.data, name.partition, err_text(e), count);
}

static void say_cleaned(struct partition *p, const struct plog_dirt *dirt,
                        const struct plog_cleaned *done, int64_t took_ms)
{
    struct topic_partition name = partition_name(p);
    log_info(AREA,
             "cleaned topic=%.*s partition=%d from=%lld to=%lld keys=%llu bytes_before=%lld "
             "bytes_after=%lld segments_before=%zu segments_after=%zu ms=%lld",
             (int)name.topic.len, name.topic.data, name.partition, (long long)dirt->first_dirty,
             (long long)done->end, (unsigned long long)done->keys, (long long)done->bytes_before,
             (long long)done->bytes_after, done->segments_before, done->segments_after,
             (long long)took_ms);
}

/* A full disk, and a log that was cut meanwhile, are for another time. */
static bool is_for_later(err e)
{
    return e == E_BUSY || err_is_no_room(e);
}

static err clean(struct cleaner *cleaner, struct partition *p, const struct plog_dirt *dirt)
{
    const struct cleaner_options *options = &cleaner->options;
    struct plog_clean how = {.map_bytes = (size_t)(options->map_bytes / options->threads),
                             .map_load = options->map_load,
                             .io_bytes = (size_t)(options->io_bytes / options->threads / 2),
                             .go_on = go_on,
                             .context = cleaner};
    struct plog_cleaned done;
    int64_t began_ms = clock_monotonic_ms(cleaner->config.clock);
    how.io_bytes = how.io_bytes < IO_BYTES_MIN ? IO_BYTES_MIN : how.io_bytes;
    err e = partition_clean(p, dirt, &how, &done);
    if (e == OK) {
        say_cleaned(p, dirt, &done, clock_monotonic_ms(cleaner->config.clock) - began_ms);
        err written = logs_write_checkpoint(cleaner->config.logs, LOGS_CLEANED);
        if (written != OK) {
            log_error(AREA, "cannot write how far logs are cleaned error=\"%s\"",
                      err_text(written));
        }
        cleaner->config.files_dropped(cleaner->config.context);
    } else if (is_for_later(e)) {
        struct topic_partition name = partition_name(p);
        log_info(AREA, "given up for now topic=%.*s partition=%d error=\"%s\"", (int)name.topic.len,
                 name.topic.data, name.partition, err_text(e));
    } else if (e < 0) {
        set_aside(cleaner, p, e);
    }
    return e;
}

/* ---- which one ---- */

struct choice {
    struct partition *best; /* with a reference */
    struct plog_dirt dirt;
    double ratio;
    int64_t look_ms; /* by the wall clock: earliest time at which there may be more */
};

static void consider(void *context, struct partition *p)
{
    struct choice *choice = context;
    struct partition_dirt found;
    if (!partition_find_dirt(p, &found)) {
        return;
    }
    double ratio = plog_dirt_ratio(&found.dirt);
    choice->look_ms = found.dirt.look_ms < choice->look_ms ? found.dirt.look_ms : choice->look_ms;
    if (found.dirt.dirty_bytes == 0 || found.dirt.first_dirty >= found.dirt.end ||
        (ratio <= found.min_ratio && !found.dirt.is_late) ||
        (choice->best != NULL && ratio <= choice->ratio)) {
        return;
    }
    if (choice->best != NULL) {
        partition_release(choice->best);
    }
    partition_retain(p);
    choice->best = p;
    choice->dirt = found.dirt;
    choice->ratio = ratio;
}

/* ---- a thread ---- */

static void sleep_until(struct cleaner_thread *thread, int64_t look_ms)
{
    struct cleaner *cleaner = thread->cleaner;
    int64_t backoff_ms = cleaner->options.backoff_ms;
    int64_t now_ms = clock_wall_ms(cleaner->config.clock);
    if (atomic_load(&cleaner->changed)) {
        timer_start(thread->loop, &thread->timer, backoff_ms);
    } else if (look_ms < INT64_MAX) {
        int64_t delay_ms = look_ms - now_ms;
        timer_start(thread->loop, &thread->timer, delay_ms < backoff_ms ? backoff_ms : delay_ms);
    }
}

static void apply_retention(struct cleaner *cleaner)
{
    if (replicas_apply_retention(cleaner->config.replicas, true) > 0) {
        err e = logs_write_recovery_points(cleaner->config.logs);
        if (e != OK) {
            log_error(AREA, "cannot write recovery points error=\"%s\"", err_text(e));
        }
        cleaner->config.files_dropped(cleaner->config.context);
    }
}

static void on_timer(struct timer *timer)
{
    struct cleaner_thread *thread = container_of(timer, struct cleaner_thread, timer);
    struct cleaner *cleaner = thread->cleaner;
    struct choice choice = {.look_ms = INT64_MAX};
    bool failed = false;
    if (atomic_load(&cleaner->stopping)) {
        return;
    }
    atomic_store(&cleaner->changed, false);
    replicas_each(cleaner->config.replicas, consider, &choice);
    if (choice.best != NULL) {
        failed = is_for_later(clean(cleaner, choice.best, &choice.dirt));
        partition_release(choice.best);
    }
    apply_retention(cleaner);
    if (choice.best == NULL || failed) {
        if (failed) {
            atomic_store(&cleaner->changed, true);
        }
        sleep_until(thread, choice.look_ms);
    } else {
        timer_start(thread->loop, &thread->timer, 0);
    }
}

static void on_arm(struct loop_task *task)
{
    struct cleaner_thread *thread = container_of(task, struct cleaner_thread, arm);
    struct cleaner *cleaner = thread->cleaner;
    int64_t backoff_ms = cleaner->options.backoff_ms;
    int64_t due_ms = loop_now_ms(thread->loop) + backoff_ms;
    atomic_store(&thread->arm_posted, false);
    if (!atomic_load(&cleaner->stopping) &&
        (!timer_is_running(&thread->timer) || thread->timer.item.due > due_ms)) {
        timer_start(thread->loop, &thread->timer, backoff_ms);
    }
}

void cleaner_wake(struct cleaner *cleaner)
{
    if (atomic_load_explicit(&cleaner->changed, memory_order_relaxed) ||
        atomic_exchange(&cleaner->changed, true)) {
        return;
    }
    pthread_mutex_lock(&cleaner->lock);
    for (int i = 0; i < cleaner->threads_n; i++) {
        struct cleaner_thread *thread = &cleaner->threads[i];
        if (!atomic_exchange(&thread->arm_posted, true)) {
            loop_post(thread->loop, &thread->arm);
        }
    }
    pthread_mutex_unlock(&cleaner->lock);
}

/* ---- life ---- */

struct cleaner *cleaner_new(const struct cleaner_config *config)
{
    struct cleaner *cleaner = xcalloc(1, sizeof(*cleaner));
    cleaner->config = *config;
    pthread_mutex_init(&cleaner->lock, NULL);
    return cleaner;
}

static err start_thread(struct cleaner *cleaner, int number)
{
    struct cleaner_thread *thread = &cleaner->threads[number];
    char name[16];
    CHECK(number >= 0 && number < THREADS_MAX);
    *thread =
        (struct cleaner_thread){.cleaner = cleaner, .timer.fire = on_timer, .arm.run = on_arm};
    snprintf(name, sizeof(name), "cleaner-%d", number);
    TRY(loop_new(cleaner->config.clock, cleaner->config.sockets, &thread->loop));
    timer_start(thread->loop, &thread->timer, cleaner->options.backoff_ms);
    err e =
        thread_start(cleaner->config.threads, name, THREAD_TENDS, thread->loop, &thread->thread);
    if (e != OK) {
        timer_stop(thread->loop, &thread->timer);
        loop_free(thread->loop);
    }
    return e;
}

static struct cleaner_options options_of(const struct config *config)
{
    int threads =
        config->log_cleaner_threads < THREADS_MAX ? config->log_cleaner_threads : THREADS_MAX;
    double load = config->log_cleaner_io_buffer_load_factor;
    double rate = config->log_cleaner_io_max_bytes_per_second;
    return (struct cleaner_options){
        .enable = config->log_cleaner_enable,
        .threads = threads,
        .backoff_ms = config->log_cleaner_backoff_ms,
        .map_bytes =
            config->log_cleaner_dedupe_buffer_size > 0 ? config->log_cleaner_dedupe_buffer_size : 0,
        .map_load = load >= LOAD_MIN && load <= 1 ? load
                    : load > 1                    ? 1
                                                  : LOAD_MIN,
        .io_bytes = config->log_cleaner_io_buffer_size,
        .bytes_per_second = rate >= 1 ? rate : 1,
    };
}

static bool options_are(const struct cleaner_options *a, const struct cleaner_options *b)
{
    return a->enable == b->enable && a->threads == b->threads && a->backoff_ms == b->backoff_ms &&
           a->map_bytes == b->map_bytes && a->map_load == b->map_load &&
           a->io_bytes == b->io_bytes && a->bytes_per_second == b->bytes_per_second;
}

err cleaner_take_options(struct cleaner *cleaner, const struct config *config)
{
    struct cleaner_options options = options_of(config);
    if (!cleaner->is_started || options_are(&options, &cleaner->options)) {
        return OK;
    }
    cleaner_stop(cleaner);
    return cleaner_start(cleaner, config);
}

err cleaner_start(struct cleaner *cleaner, const struct config *config)
{
    struct cleaner_options options = options_of(config);
    cleaner->options = options;
    cleaner->is_started = true;
    atomic_store(&cleaner->stopping, false);
    for (int i = 0; options.enable && i < options.threads; i++) {
        TRY(start_thread(cleaner, i));
        pthread_mutex_lock(&cleaner->lock);
        cleaner->threads_n++;
        pthread_mutex_unlock(&cleaner->lock);
    }
    return OK;
}

void cleaner_stop(struct cleaner *cleaner)
{
    atomic_store(&cleaner->stopping, true);
    cleaner->is_started = false;
    pthread_mutex_lock(&cleaner->lock);
    int count = cleaner->threads_n;
    cleaner->threads_n = 0;
    pthread_mutex_unlock(&cleaner->lock);
    for (int i = 0; i < count; i++) {
        struct cleaner_thread *thread = &cleaner->threads[i];
        loop_stop(thread->loop);
        thread_join(cleaner->config.threads, thread->thread);
        timer_stop(thread->loop, &thread->timer);
        loop_free(thread->loop);
    }
}

void cleaner_free(struct cleaner *cleaner)
{
    if (cleaner != NULL) {
        pthread_mutex_destroy(&cleaner->lock);
        free(cleaner);
    }
}
