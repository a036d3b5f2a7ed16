/* The event loop: a poller (base/sockets.h), timers (base/heap.h), a queue of posted tasks.
 *
 * One turn: wait (until the next timer, or for ever), read the clock once, handle ready
 * descriptors, fire due timers, run posted tasks, call the end-of-turn hook. A task posted by the
 * loop's own thread need not wake the poller: the loop looks at the queue before it sleeps. A turn
 * that takes longer than SLOW_TURN_MS is logged: something blocks that should not.
 *
 * A watch may be freed while its event waits in the same batch of events (one handler closing
 * another connection): io_watch_set(…, 0) therefore clears it from the batch. */
#define _GNU_SOURCE
#include "base/loop.h"

#include "base/list.h"
#include "base/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { EVENTS_MAX = 128, SLOW_TURN_MS = 200 };

struct loop {
    struct clock *clock;
    struct sockets *sockets;
    struct poller *poller;
    int64_t now_us;
    _Atomic int64_t busy_us;
    pthread_t thread;
    atomic_bool running;
    atomic_bool stopping;

    pthread_mutex_t lock; /* leaf; guards the queue */
    struct loop_task *first;
    struct loop_task *last;
    bool awake; /* the loop will look at the queue before it sleeps */

    struct heap timers;

    struct epoll_event events[EVENTS_MAX];
    int events_n;
    int events_at;

    void (*turn_end)(void *context);
    void *turn_end_context;
};

err loop_new(struct clock *clock, struct sockets *sockets, struct loop **out)
{
    struct poller *poller = sockets->ops->poller_new(sockets);
    if (poller == NULL) {
        return err_from_errno(errno);
    }
    struct loop *loop = xcalloc(1, sizeof(*loop));
    loop->clock = clock;
    loop->sockets = sockets;
    loop->poller = poller;
    loop->now_us = clock_monotonic_us(clock);
    loop->awake = true;
    pthread_mutex_init(&loop->lock, NULL);
    *out = loop;
    return OK;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    loop->poller->ops->free(loop->poller);
    pthread_mutex_destroy(&loop->lock);
    heap_deinit(&loop->timers);
    free(loop);
}

/* ---- tasks ---- */

static void wake(struct loop *loop)
{
    loop->poller->ops->wake(loop->poller);
}

/* Behind the last task: so a task's `next` is NULL while it is in no queue. */
static struct loop_task end_of_queue;

void loop_post(struct loop *loop, struct loop_task *task)
{
    pthread_mutex_lock(&loop->lock);
    CHECK(task->next == NULL); /* twice in the queue, it would follow itself, or cut others off */
    task->next = &end_of_queue;
    if (loop->last == NULL) {
        loop->first = task;
    } else {
        loop->last->next = task;
    }
    loop->last = task;
    bool asleep = !loop->awake;
    loop->awake = true;
    pthread_mutex_unlock(&loop->lock);
    if (asleep) {
        wake(loop);
    }
}

void loop_stop(struct loop *loop)
{
    atomic_store(&loop->stopping, true);
    wake(loop);
}

bool loop_is_current(const struct loop *loop)
{
    return atomic_load(&loop->running) && pthread_equal(loop->thread, pthread_self());
}

static bool run_tasks(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    struct loop_task *task = loop->first;
    loop->first = loop->last = NULL;
    pthread_mutex_unlock(&loop->lock);
    bool any = task != NULL;
    while (task != NULL) {
        struct loop_task *next = task->next == &end_of_queue ? NULL : task->next;
        task->next = NULL;
        task->run(task);
        task = next;
    }
    return any;
}

/* May the loop sleep? From here on a post wakes it. */
static bool prepare_sleep(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    bool empty = loop->first == NULL;
    loop->awake = !empty;
    pthread_mutex_unlock(&loop->lock);
    return empty;
}

static void awoken(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->awake = true;
    pthread_mutex_unlock(&loop->lock);
}

/* ---- timers ---- */

void timer_start(struct loop *loop, struct timer *timer, int64_t delay_ms)
{
    if (!atomic_load_explicit(&loop->running, memory_order_relaxed)) {
        loop->now_us = clock_monotonic_us(loop->clock); /* before the first turn it would be old */
    }
    delay_ms = delay_ms < 0 ? 0 : delay_ms;
    int64_t now_ms = loop_now_ms(loop);
    heap_put(&loop->timers, &timer->item,
             delay_ms > INT64_MAX - now_ms ? INT64_MAX : now_ms + delay_ms);
}

void timer_stop(struct loop *loop, struct timer *timer)
{
    heap_remove(&loop->timers, &timer->item);
}

static bool fire_timers(struct loop *loop)
{
    bool any = false;
    struct heap_item *first;
    while ((first = heap_first(&loop->timers)) != NULL && first->due <= loop_now_ms(loop)) {
        struct timer *timer = container_of(first, struct timer, item);
        timer_stop(loop, timer);
        timer->fire(timer);
        any = true;
    }
    return any;
}

static int sleep_ms(const struct loop *loop)
{
    if (heap_first(&loop->timers) == NULL) {
        return -1;
    }
    int64_t left = loop_next_due_ms(loop) - clock_monotonic_ms(loop->clock);
    return left < 0 ? 0 : left > 3600000 ? 3600000 : (int)left;
}

int64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_us / 1000;
}

int64_t loop_now_us(const struct loop *loop)
{
    return loop->now_us;
}

int64_t loop_busy_us(const struct loop *loop)
{
    return atomic_load_explicit(&loop->busy_us, memory_order_relaxed);
}

struct sockets *loop_sockets(const struct loop *loop)
{
    return loop->sockets;
}

/* ---- descriptors ---- */

err io_watch_set(struct loop *loop, struct io_watch *watch, uint32_t events)
{
    if (events == watch->events) {
        return OK;
    }
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (loop->poller->ops->set(loop->poller, watch->fd, watch->events, &event) != 0) {
        return err_from_errno(errno);
    }
    watch->events = events;
    if (events == 0) {
        for (int i = loop->events_at; i < loop->events_n; i++) {
            if (loop->events[i].data.ptr == watch) {
                loop->events[i].events = 0;
            }
        }
    }
    return OK;
}

static void handle_events(struct loop *loop)
{
    for (loop->events_at = 0; loop->events_at < loop->events_n;) {
        struct epoll_event *event = &loop->events[loop->events_at++];
        struct io_watch *watch = event->data.ptr;
        if (event->events != 0 && watch != NULL) {
            watch->ready(watch, event->events);
        }
    }
    loop->events_n = 0;
}

void loop_on_turn_end(struct loop *loop, void (*hook)(void *context), void *context)
{
    loop->turn_end = hook;
    loop->turn_end_context = context;
}

/* True: there was something to do. */
static bool turn(struct loop *loop, int wait_ms)
{
    int n = loop->poller->ops->wait(loop->poller, loop->events, EVENTS_MAX, wait_ms);
    loop->events_n = n < 0 ? 0 : n;
    awoken(loop);
    loop->now_us = clock_monotonic_us(loop->clock);
    int64_t start_us = loop->now_us;
    bool busy = loop->events_n > 0;
    handle_events(loop);
    busy |= fire_timers(loop);
    busy |= run_tasks(loop);
    if (loop->turn_end != NULL) {
        loop->turn_end(loop->turn_end_context);
    }
    int64_t took_us = clock_monotonic_us(loop->clock) - start_us;
    atomic_store_explicit(&loop->busy_us, loop_busy_us(loop) + took_us, memory_order_relaxed);
    if (took_us > SLOW_TURN_MS * 1000) {
        log_debug("loop", "slow turn took_ms=%lld", (long long)(took_us / 1000));
    }
    return busy;
}

static void begin_running(struct loop *loop)
{
    loop->thread = pthread_self();
    atomic_store(&loop->running, true);
}

void loop_run(struct loop *loop)
{
    begin_running(loop);
    while (!atomic_load(&loop->stopping)) {
        bool may_sleep = prepare_sleep(loop);
        (void)turn(loop, may_sleep ? sleep_ms(loop) : 0);
    }
    (void)run_tasks(loop);
    atomic_store(&loop->running, false);
}

bool loop_turn(struct loop *loop)
{
    begin_running(loop);
    bool busy = turn(loop, 0);
    busy |= !prepare_sleep(loop);
    atomic_store(&loop->running, false);
    return busy;
}

int64_t loop_next_due_ms(const struct loop *loop)
{
    const struct heap_item *first = heap_first(&loop->timers);
    return first == NULL ? INT64_MAX : first->due;
}

bool loop_is_stopping(const struct loop *loop)
{
    return atomic_load(&loop->stopping);
}

bool loop_drain(struct loop *loop)
{
    bool busy = false;
    while (run_tasks(loop)) {
        busy = true;
    }
    return busy;
}
