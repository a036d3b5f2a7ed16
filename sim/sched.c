/* Who can run stands in an array, from which chance takes one; who waits for a time in a heap, the earliest
 * first. Those that are due together can run in the order in which they were made. Numbers of tasks, not
 * addresses, go into the trace. */
#include "sim/sched.h"

#include "base/err.h"
#include "base/heap.h"
#include "sim/fiber.h"
#include "sim/locks.h"

#include <stdlib.h>
#include <string.h>

enum {
    NAME_BYTES = 24,
    PREEMPT_EVERY = 40,
    START_US = 1000000000,
    SPIN_RUNS = 300000,
    BUSY_LOOK = 64
};

enum task_state { TASK_READY, TASK_BLOCKED, TASK_ENDED };

struct task {
    struct list link;
    struct sched *sched;
    struct fiber *fiber;
    struct task_group *group;
    void (*run)(void *context);
    void *context;
    uint64_t number;
    enum task_state state;
    bool woken;
    struct heap_item wait; /* blocked until then: in sched.waiting; in none: for ever */
    int64_t starves_until_us;
    struct task *joiner; /* or NULL */
    char name[NAME_BYTES];
};

struct sched {
    struct random random;
    uint64_t state; /* of chance */
    struct trace *trace;
    int64_t now_us;
    struct task *current;
    struct list tasks;
    struct task **ready;
    size_t ready_n;
    size_t ready_cap;
    struct heap waiting;
    struct task **due; /* some of let_happen */
    size_t due_cap;
    uint64_t tasks_made;
    struct fiber **spare; /* whose tasks are no more: stacks are dear, and brokers begin often */
    size_t spare_n;
    size_t spare_cap;
    struct list sources;
    int quiet;
    uint64_t preempt_in; /* so many locks on */
    uint64_t busy;       /* times that tasks ran since none could */
    char spinner[NAME_BYTES];
};

/* ---- chance ---- */

uint64_t sched_draw(struct sched *sched)
{
    uint64_t z = sched->state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t sched_below(struct sched *sched, uint64_t n)
{
    CHECK(n > 0);
    return sched_draw(sched) % n;
}

int64_t sched_between(struct sched *sched, int64_t min, int64_t max)
{
    return min >= max ? min : min + (int64_t)sched_below(sched, (uint64_t)(max - min) + 1);
}

bool sched_chance(struct sched *sched, uint32_t per_million)
{
    return per_million > 0 && sched_below(sched, 1000000) < per_million;
}

static void fill(struct random *random, void *data, size_t len)
{
    struct sched *sched = container_of(random, struct sched, random);
    for (uint8_t *at = data; len > 0;) {
        uint64_t drawn = sched_draw(sched);
        size_t n = len < sizeof(drawn) ? len : sizeof(drawn);
        memcpy(at, &drawn, n);
        at += n;
        len -= n;
    }
}

struct random *sched_random(struct sched *sched)
{
    return &sched->random;
}

/* ---- life ---- */

struct sched *sched_new(uint64_t seed, struct trace *trace)
{
    struct sched *sched = xcalloc(1, sizeof(*sched));
    sched->random.fill = fill;
    sched->state = seed;
    sched->trace = trace;
    sched->now_us = START_US;
    sched->preempt_in = 1 + sched_below(sched, PREEMPT_EVERY * 2);
    list_init(&sched->tasks);
    list_init(&sched->sources);
    trace_init(trace, &sched->now_us);
    locks_begin(sched);
    return sched;
}

void sched_free(struct sched *sched)
{
    locks_end(sched);
    list_each_safe (item, &sched->tasks) {
        struct task *task = container_of(item, struct task, link);
        CHECK(task->state == TASK_ENDED);
        task_free(task);
    }
    while (sched->spare_n > 0) {
        fiber_free(sched->spare[--sched->spare_n]);
    }
    free(sched->spare);
    free(sched->ready);
    heap_deinit(&sched->waiting);
    free(sched->due);
    free(sched);
}

void sched_add(struct sched *sched, struct sched_source *source)
{
    list_append(&sched->sources, &source->link);
}

int64_t sched_now_us(const struct sched *sched)
{
    return sched->now_us;
}

const int64_t *sched_clock(const struct sched *sched)
{
    return &sched->now_us;
}

struct task *sched_current(const struct sched *sched)
{
    return sched->current;
}

/* ---- who waits for a time ---- */

/* An array of tasks with room for `n`. */
static struct task **grow(struct task **array, size_t n, size_t *cap)
{
    if (n <= *cap) {
        return array;
    }
    *cap = *cap == 0 ? 64 : *cap * 2;
    return xrealloc(array, *cap * sizeof(*array));
}

static void wait_until(struct sched *sched, struct task *task, int64_t until_us)
{
    if (until_us != SCHED_FOREVER_US) {
        heap_put(&sched->waiting, &task->wait, until_us);
    }
}

/* ---- tasks ---- */

static void make_ready(struct sched *sched, struct task *task)
{
    heap_remove(&sched->waiting, &task->wait);
    task->state = TASK_READY;
    sched->ready = grow(sched->ready, sched->ready_n + 1, &sched->ready_cap);
    sched->ready[sched->ready_n++] = task;
}

static void run_task(void *context)
{
    struct task *task = context;
    task->run(task->context);
    task->state = TASK_ENDED;
    if (task->joiner != NULL) {
        task_wake(task->sched, task->joiner);
    }
}

struct task *task_spawn(struct sched *sched, struct task_group *group, const char *name,
                        void (*run)(void *context), void *context)
{
    struct task *task = xcalloc(1, sizeof(*task));
    task->sched = sched;
    task->group = group;
    task->run = run;
    task->context = context;
    task->number = ++sched->tasks_made;
    strncpy(task->name, name, sizeof(task->name) - 1);
    task->fiber = sched->spare_n > 0 ? sched->spare[--sched->spare_n] : fiber_new();
    fiber_begin(task->fiber, run_task, task);
    list_append(&sched->tasks, &task->link);
    make_ready(sched, task);
    return task;
}

bool task_has_ended(const struct task *task)
{
    return task->state == TASK_ENDED;
}

void task_free(struct task *task)
{
    struct sched *sched = task->sched;
    CHECK(task->state == TASK_ENDED);
    list_remove(&task->link);
    if (sched->spare_n == sched->spare_cap) {
        sched->spare_cap = sched->spare_cap == 0 ? 64 : sched->spare_cap * 2;
        sched->spare = xrealloc(sched->spare, sched->spare_cap * sizeof(*sched->spare));
    }
    sched->spare[sched->spare_n++] = task->fiber;
    free(task);
}

void task_join(struct sched *sched, struct task *task)
{
    CHECK(sched->current != NULL && task->joiner == NULL);
    task->joiner = sched->current;
    while (task->state != TASK_ENDED) {
        sched_block(sched, SCHED_FOREVER_US);
    }
    task_free(task);
}

void task_wake(struct sched *sched, struct task *task)
{
    task->woken = true;
    if (task->state == TASK_BLOCKED) {
        make_ready(sched, task);
    }
}

static void leave(struct sched *sched)
{
    struct task *task = sched->current;
    CHECK(task != NULL && sched->quiet == 0);
    fiber_suspend(task->fiber);
}

void sched_yield_now(struct sched *sched)
{
    make_ready(sched, sched->current);
    leave(sched);
}

void sched_block(struct sched *sched, int64_t until_us)
{
    struct task *task = sched->current;
    if (task->woken || until_us <= sched->now_us) {
        sched_yield_now(sched);
    } else {
        task->state = TASK_BLOCKED;
        wait_until(sched, task, until_us);
        leave(sched);
    }
    task->woken = false;
}

void sched_sleep(struct sched *sched, int64_t us)
{
    int64_t until_us = sched->now_us + us;
    do {
        sched_block(sched, until_us);
    } while (sched->now_us < until_us);
}

void sched_preempt(struct sched *sched)
{
    if (sched->current == NULL || sched->quiet > 0 || --sched->preempt_in > 0) {
        return;
    }
    sched->preempt_in = 1 + sched_below(sched, PREEMPT_EVERY * 2);
    sched_yield_now(sched);
}

void sched_quiet_begin(struct sched *sched)
{
    sched->quiet++;
}

void sched_quiet_end(struct sched *sched)
{
    CHECK(sched->quiet-- > 0);
}

static bool may_starve(const struct task *task, const struct task_group *group, const char *name)
{
    return task->group == group && task->state != TASK_ENDED && strstr(task->name, name) != NULL;
}

void sched_starve(struct sched *sched, const struct task_group *group, const char *name, int64_t us)
{
    uint64_t n = 0;
    list_each (item, &sched->tasks) {
        n += may_starve(container_of(item, struct task, link), group, name) ? 1 : 0;
    }
    uint64_t left = n == 0 ? 0 : 1 + sched_below(sched, n);
    list_each (item2, &sched->tasks) {
        struct task *task = container_of(item2, struct task, link);
        if (may_starve(task, group, name) && left > 0 && --left == 0) {
            task->starves_until_us = sched->now_us + us;
        }
    }
}

/* ---- who is next ---- */

static bool stands_still(const struct task *task)
{
    return task->starves_until_us > task->sched->now_us ||
           (task->group != NULL && task->group->paused);
}

/* One of those that can run, or NULL. */
static struct task *pick(struct sched *sched)
{
    if (sched->ready_n == 0) {
        return NULL;
    }
    size_t from = (size_t)sched_below(sched, sched->ready_n);
    for (size_t i = 0; i < sched->ready_n; i++) {
        size_t at = (from + i) % sched->ready_n;
        struct task *task = sched->ready[at];
        if (!stands_still(task)) {
            sched->ready[at] = sched->ready[--sched->ready_n];
            return task;
        }
    }
    return NULL;
}

static void run_one(struct sched *sched, struct task *task)
{
    trace_mix(sched->trace, task->number);
    sched->current = task;
    fiber_resume(task->fiber);
    sched->current = NULL;
    sched->now_us++;
    if (++sched->busy == SPIN_RUNS && sched->spinner[0] == '\0') {
        memcpy(sched->spinner, task->name, sizeof(sched->spinner));
    }
}

static void turn_sources(struct sched *sched)
{
    list_each (item, &sched->sources) {
        struct sched_source *source = container_of(item, struct sched_source, link);
        if (source->next_due_us(source) <= sched->now_us) {
            source->turn(source);
        }
    }
}

static int64_t next_due_us(struct sched *sched)
{
    const struct heap_item *first = heap_first(&sched->waiting);
    int64_t due_us = first == NULL ? INT64_MAX : first->due;
    for (size_t i = 0; i < sched->ready_n; i++) {
        int64_t until_us = sched->ready[i]->starves_until_us;
        due_us = until_us > sched->now_us && until_us < due_us ? until_us : due_us;
    }
    list_each (item, &sched->sources) {
        struct sched_source *source = container_of(item, struct sched_source, link);
        int64_t at_us = source->next_due_us(source);
        due_us = at_us < due_us ? at_us : due_us;
    }
    return due_us;
}

static void end_waits(struct sched *sched)
{
    size_t n = 0;
    struct heap_item *first;
    while ((first = heap_first(&sched->waiting)) != NULL && first->due <= sched->now_us) {
        struct task *task = container_of(first, struct task, wait);
        size_t at = n++;
        heap_remove(&sched->waiting, &task->wait);
        sched->due = grow(sched->due, n, &sched->due_cap);
        for (; at > 0 && sched->due[at - 1]->number > task->number; at--) {
            sched->due[at] = sched->due[at - 1];
        }
        sched->due[at] = task;
    }
    for (size_t i = 0; i < n; i++) {
        make_ready(sched, sched->due[i]);
    }
}

/* What is due by now. */
static void let_happen(struct sched *sched)
{
    trace_mix(sched->trace, (uint64_t)sched->now_us);
    turn_sources(sched);
    end_waits(sched);
}

static void advance(struct sched *sched, int64_t until_us)
{
    int64_t due_us = next_due_us(sched);
    due_us = due_us < until_us ? due_us : until_us;
    sched->now_us = due_us > sched->now_us ? due_us : sched->now_us;
    sched->busy = 0;
    let_happen(sched);
}

const char *sched_spinner(const struct sched *sched)
{
    return sched->spinner[0] == '\0' ? NULL : sched->spinner;
}

bool sched_run_task(struct sched *sched, struct task *awaited, int64_t until_us)
{
    CHECK(sched->current == NULL);
    for (;;) {
        if (awaited != NULL && task_has_ended(awaited)) {
            return true;
        }
        struct task *task = pick(sched);
        if (task == NULL && sched->now_us >= until_us) {
            return false;
        }
        if (task == NULL) {
            advance(sched, until_us);
        } else if (sched->busy > 0 && sched->busy % BUSY_LOOK == 0 && sched->now_us >= until_us) {
            make_ready(sched, task);
            return false;
        } else {
            run_one(sched, task);
            if (sched->busy % BUSY_LOOK == 0) {
                let_happen(sched);
            }
        }
    }
}

void sched_run(struct sched *sched, int64_t until_us)
{
    (void)sched_run_task(sched, NULL, until_us);
}
