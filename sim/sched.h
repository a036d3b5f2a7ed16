/* Virtual time and the threads of a simulation: fibers, of which one runs at a time, in an order that a
 * seed decides.
 *
 * A task is what a thread is elsewhere: it runs until it blocks, sleeps or yields, and wherever it takes
 * a lock it may have to give way (sim/locks.c), as a thread is preempted. When no task can run the time
 * moves on to the next moment at which something is due; each time that one runs takes a microsecond too, so
 * that one that never waits stops nobody else. */
#ifndef OTTLA_SIM_SCHED_H
#define OTTLA_SIM_SCHED_H

#include "base/list.h"
#include "base/random.h"
#include "sim/trace.h"

struct sched;
struct task;

/* Tasks that stand still together, as those of one process. */
struct task_group {
    bool paused;
};

/* Something beside the tasks to which time matters: a network, a store. */
struct sched_source {
    struct list link;
    void (*turn)(struct sched_source *source); /* does what is due; starts, wakes, blocks nobody */
    int64_t (*next_due_us)(struct sched_source *source);
};

/* One that ran on and on while nobody could sleep, or NULL: the first that was met. */
const char *sched_spinner(const struct sched *sched);

struct sched *sched_new(uint64_t seed, struct trace *trace);
/* No task may be left. */
void sched_free(struct sched *sched);
void sched_add(struct sched *sched, struct sched_source *source);

/* ---- time and chance ---- */

int64_t sched_now_us(const struct sched *sched);
const int64_t *sched_clock(const struct sched *sched);
uint64_t sched_draw(struct sched *sched);
/* 0 to n - 1; n > 0. */
uint64_t sched_below(struct sched *sched, uint64_t n);
/* min to max, both included. */
int64_t sched_between(struct sched *sched, int64_t min, int64_t max);
/* So many times of a million. */
bool sched_chance(struct sched *sched, uint32_t per_million);
/* The same chance, as it is handed to brokers and models. */
struct random *sched_random(struct sched *sched);

/* ---- from outside of tasks ---- */

/* Runs tasks until that time. */
void sched_run(struct sched *sched, int64_t until_us);
/* Or until the task has ended; false: it has not, by then. */
bool sched_run_task(struct sched *sched, struct task *task, int64_t until_us);

/* ---- tasks ---- */

/* `group` NULL: it never stands still. `name` is copied. Freed by task_join, or with the scheduler. */
struct task *task_spawn(struct sched *sched, struct task_group *group, const char *name,
                        void (*run)(void *context), void *context);
bool task_has_ended(const struct task *task);
/* By a task: waits until another one has ended, and frees it. */
void task_join(struct sched *sched, struct task *task);
/* One that has ended. */
void task_free(struct task *task);
struct task *sched_current(const struct sched *sched);

#define SCHED_FOREVER_US INT64_MAX

/* These by the task that runs. */
void sched_yield_now(struct sched *sched);
/* Until task_wake(), or that time; at once when it was woken since it last blocked. */
void sched_block(struct sched *sched, int64_t until_us);
void sched_sleep(struct sched *sched, int64_t us);

void task_wake(struct sched *sched, struct task *task);
/* Where a thread might be preempted: by chance others run. Not in a quiet part, and not outside of
 * tasks. */
void sched_preempt(struct sched *sched);
/* Nobody is preempted between these; they nest. */
void sched_quiet_begin(struct sched *sched);
void sched_quiet_end(struct sched *sched);
/* One of a group's tasks, by chance, is not run for so long, as a thread that the kernel forgets. `name`: one
 * whose name has that in it. */
void sched_starve(struct sched *sched, const struct task_group *group, const char *name,
                  int64_t us);

#endif
