/* One event loop: readiness of descriptors, timers, and tasks posted by other threads.
 *
 * A loop belongs to the thread that calls loop_run(); everything here is called on that thread,
 * except loop_post() and loop_stop(), which are the only door between threads. An idle loop sleeps
 * without limit: there is no periodic wake-up. */
#ifndef OTTLA_BASE_LOOP_H
#define OTTLA_BASE_LOOP_H

#include "base/clock.h"
#include "base/err.h"
#include "base/heap.h"
#include "base/sockets.h"

struct loop;

/* Work for a loop. Embedded in its owner, queued at most once at a time (that is checked); run() may
 * free it, or post it again. */
struct loop_task {
    struct loop_task *next; /* NULL while it is not queued */
    void (*run)(struct loop_task *task);
};

/* A one-shot timer. Embedded in its owner; must be stopped before its memory goes. */
struct timer {
    struct heap_item item; /* due in ms; in the loop's heap while it runs */
    void (*fire)(struct timer *timer);
};

/* Interest in a descriptor. Embedded in its owner. */
struct io_watch {
    int fd;
    uint32_t events; /* EPOLLIN, EPOLLOUT as asked for */
    void (*ready)(struct io_watch *watch, uint32_t events);
};

/* `sockets`: whose descriptors it waits for; they and the clock outlive it. */
NODISCARD err loop_new(struct clock *clock, struct sockets *sockets, struct loop **loop);
void loop_free(struct loop *loop);
/* Runs until loop_stop(); then drains the tasks that are queued, and returns. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* One turn that does not sleep, for who turns many loops on one thread (a simulation with a clock of
 * its own): what is ready and what is due by the loop's clock. False: there was nothing, and there
 * will be nothing before the poller is woken, a descriptor is ready or a timer is due. */
bool loop_turn(struct loop *loop);
/* When the next timer is due, INT64_MAX without one. Between turns. */
int64_t loop_next_due_ms(const struct loop *loop);
bool loop_is_stopping(const struct loop *loop);
/* Runs the tasks that are queued, while no thread runs the loop. False: there were none. */
bool loop_drain(struct loop *loop);

/* Any thread. Tasks run in the order in which they were posted, after the current event. */
void loop_post(struct loop *loop, struct loop_task *task);
bool loop_is_current(const struct loop *loop);
struct sockets *loop_sockets(const struct loop *loop);

/* Monotonic, read once per turn. */
int64_t loop_now_ms(const struct loop *loop);
int64_t loop_now_us(const struct loop *loop);
/* Any thread: for how long it has not slept since it was made, up to the last turn. */
int64_t loop_busy_us(const struct loop *loop);

void timer_start(struct loop *loop, struct timer *timer, int64_t delay_ms);
void timer_stop(struct loop *loop, struct timer *timer);
static inline bool timer_is_running(const struct timer *timer)
{
    return timer->item.place != 0;
}

/* Starts, changes, or with events 0 ends the interest in watch->fd. */
NODISCARD err io_watch_set(struct loop *loop, struct io_watch *watch, uint32_t events);

/* Called once at the end of each turn, before the loop may sleep: the place to flush. */
void loop_on_turn_end(struct loop *loop, void (*hook)(void *context), void *context);

#endif
