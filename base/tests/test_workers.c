/* A pool of threads: everything runs once, what is over the bounds is refused, and a stop cancels
 * what has not begun. */
#include "base/workers.h"

#include "base/list.h"
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>

/* Work that may be held up by a gate. */
struct job {
    struct work work;
    struct waiter done;
    struct gate *gate;
    atomic_int runs;
    atomic_int wakes;
};

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool open;
    int inside; /* that have come to it */
    int woken;
};

static void gate_init(struct gate *gate, bool open)
{
    *gate = (struct gate){.open = open};
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->moved, NULL);
}

static void gate_open(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_broadcast(&gate->moved);
    pthread_mutex_unlock(&gate->lock);
}

static void await(struct gate *gate, const int *count, int wanted)
{
    pthread_mutex_lock(&gate->lock);
    while (*count < wanted) {
        pthread_cond_wait(&gate->moved, &gate->lock);
    }
    pthread_mutex_unlock(&gate->lock);
}

static void run(struct work *work)
{
    struct job *job = container_of(work, struct job, work);
    pthread_mutex_lock(&job->gate->lock);
    job->gate->inside++;
    pthread_cond_broadcast(&job->gate->moved);
    while (!job->gate->open) {
        pthread_cond_wait(&job->gate->moved, &job->gate->lock);
    }
    pthread_mutex_unlock(&job->gate->lock);
    atomic_fetch_add(&job->runs, 1);
}

static void wake(struct waiter *waiter)
{
    struct job *job = container_of(waiter, struct job, done);
    atomic_fetch_add(&job->wakes, 1);
    pthread_mutex_lock(&job->gate->lock);
    job->gate->woken++;
    pthread_cond_broadcast(&job->gate->moved);
    pthread_mutex_unlock(&job->gate->lock);
}

static struct workers *pool(int threads_max, size_t queued_max, size_t queued_bytes_max)
{
    return workers_new(&(struct workers_config){.threads = threads_system(),
                                                .sockets = sockets_system(),
                                                .clock = clock_system(),
                                                .threads_max = threads_max,
                                                .queued_max = queued_max,
                                                .queued_bytes_max = queued_bytes_max});
}

static bool submit(struct workers *workers, struct job *job, struct gate *gate, size_t bytes)
{
    job->gate = gate;
    job->done.wake = wake;
    job->work = (struct work){.run = run, .done = &job->done, .bytes = bytes};
    return workers_submit(workers, &job->work);
}

static void test_all_run_once(void)
{
    enum { JOBS = 1000 };
    static struct job jobs[JOBS];
    struct gate gate;
    gate_init(&gate, true);
    struct workers *workers = pool(3, JOBS, 1 << 20);
    for (int i = 0; i < JOBS; i++) {
        CU_ASSERT_TRUE(submit(workers, &jobs[i], &gate, 1));
    }
    await(&gate, &gate.woken, JOBS);
    workers_stop(workers);
    workers_free(workers);
    for (int i = 0; i < JOBS; i++) {
        CU_ASSERT(atomic_load(&jobs[i].runs) == 1 && atomic_load(&jobs[i].wakes) == 1 &&
                  !jobs[i].work.cancelled);
    }
}

static void test_bounds(void)
{
    struct job jobs[6] = {0};
    struct gate gate;
    gate_init(&gate, false);
    struct workers *workers = pool(1, 2, 100);
    CU_ASSERT_TRUE(submit(workers, &jobs[0], &gate, 500)); /* alone: more than all of it */
    await(&gate, &gate.inside, 1);
    CU_ASSERT_FALSE(submit(workers, &jobs[1], &gate, 1));
    gate_open(&gate);
    await(&gate, &gate.woken, 1);
    gate_init(&gate, false);
    while (!submit(workers, &jobs[2], &gate, 10)) { /* until the first one's bytes are given back */
    }
    await(&gate, &gate.inside, 1);
    CU_ASSERT_FALSE(submit(workers, &jobs[3], &gate, 91));
    CU_ASSERT_TRUE(submit(workers, &jobs[3], &gate, 90));
    CU_ASSERT_TRUE(submit(workers, &jobs[4], &gate, 0));
    CU_ASSERT_FALSE(submit(workers, &jobs[5], &gate, 0)); /* two are queued */
    gate_open(&gate);
    await(&gate, &gate.woken, 3);
    workers_stop(workers);
    workers_free(workers);
    CU_ASSERT_EQUAL(atomic_load(&jobs[5].wakes), 0);
}

static void *open_soon(void *gate)
{
    gate_open(gate);
    return NULL;
}

static void test_stop(void)
{
    struct job jobs[3] = {0};
    struct gate gate;
    pthread_t opener;
    gate_init(&gate, false);
    struct workers *workers = pool(1, 10, 100);
    CU_ASSERT_TRUE(submit(workers, &jobs[0], &gate, 1));
    await(&gate, &gate.inside, 1);
    CU_ASSERT_TRUE(submit(workers, &jobs[1], &gate, 1));
    CU_ASSERT_EQUAL(pthread_create(&opener, NULL, open_soon, &gate), 0);
    workers_stop(workers);
    pthread_join(opener, NULL);
    CU_ASSERT(atomic_load(&jobs[0].runs) == 1 && atomic_load(&jobs[0].wakes) == 1);
    CU_ASSERT(atomic_load(&jobs[1].wakes) == 1);
    CU_ASSERT_EQUAL(jobs[1].work.cancelled, atomic_load(&jobs[1].runs) == 0);
    CU_ASSERT_FALSE(submit(workers, &jobs[2], &gate, 1));
    workers_free(workers);
    workers_free(NULL);
    workers_free(pool(2, 1, 1)); /* never used: no thread */
}

SUITE("workers", TEST(test_all_run_once), TEST(test_bounds), TEST(test_stop))
