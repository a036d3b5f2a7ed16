/* One queue, and a loop for each thread: a thread that was idle is posted a task, in which it takes
 * work until there is none. The lock guards everything and is not held while work runs. */
#include "base/workers.h"

#include "base/list.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAME_MAX_BYTES = 16 };

struct worker {
    struct workers *pool;
    struct loop *loop;
    struct thread *thread;
    struct loop_task task;
    bool busy; /* the task is posted or runs */
};

struct workers {
    struct workers_config config;
    pthread_mutex_t lock; /* leaf */
    struct work *first;
    struct work **last;
    size_t queued;
    size_t bytes; /* of what is queued or runs */
    struct worker *workers;
    int workers_n;
    bool stopping;
};

static struct work *take_locked(struct workers *pool)
{
    struct work *work = pool->first;
    pool->first = work->next;
    if (pool->first == NULL) {
        pool->last = &pool->first;
    }
    pool->queued--;
    return work;
}

static void take_work(struct loop_task *task)
{
    struct worker *worker = container_of(task, struct worker, task);
    struct workers *pool = worker->pool;
    pthread_mutex_lock(&pool->lock);
    while (pool->first != NULL && !pool->stopping) {
        struct work *work = take_locked(pool);
        size_t bytes = work->bytes;
        pthread_mutex_unlock(&pool->lock);
        work->run(work);
        waiter_wake(work->done);
        pthread_mutex_lock(&pool->lock);
        pool->bytes -= bytes;
    }
    worker->busy = false;
    pthread_mutex_unlock(&pool->lock);
}

struct workers *workers_new(const struct workers_config *config)
{
    struct workers *pool = xcalloc(1, sizeof(*pool));
    CHECK(config->threads_max > 0);
    pool->config = *config;
    pthread_mutex_init(&pool->lock, NULL);
    pool->last = &pool->first;
    pool->workers = xcalloc((size_t)config->threads_max, sizeof(*pool->workers));
    return pool;
}

static err start_worker(struct workers *pool, struct worker *worker)
{
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof(name), "worker-%d", pool->workers_n);
    *worker = (struct worker){.pool = pool, .task.run = take_work};
    TRY(loop_new(pool->config.clock, pool->config.sockets, &worker->loop));
    err e = thread_start(pool->config.threads, name, THREAD_SERVES, worker->loop, &worker->thread);
    if (e != OK) {
        loop_free(worker->loop);
        return e;
    }
    pool->workers_n++;
    return OK;
}

/* An idle one, or a new one; NULL when all are busy. */
static struct worker *find_worker_locked(struct workers *pool)
{
    for (int i = 0; i < pool->workers_n; i++) {
        if (!pool->workers[i].busy) {
            return &pool->workers[i];
        }
    }
    if (pool->workers_n == pool->config.threads_max) {
        return NULL;
    }
    struct worker *worker = &pool->workers[pool->workers_n];
    return start_worker(pool, worker) == OK ? worker : NULL;
}

static bool has_room_locked(const struct workers *pool, size_t bytes)
{
    return pool->queued < pool->config.queued_max &&
           (pool->bytes == 0 || pool->bytes + bytes <= pool->config.queued_bytes_max);
}

bool workers_submit(struct workers *pool, struct work *work)
{
    pthread_mutex_lock(&pool->lock);
    bool taken = !pool->stopping && has_room_locked(pool, work->bytes);
    struct worker *worker = taken ? find_worker_locked(pool) : NULL;
    taken &= pool->workers_n > 0; /* not one could be started */
    if (taken) {
        work->next = NULL;
        work->cancelled = false;
        *pool->last = work;
        pool->last = &work->next;
        pool->queued++;
        pool->bytes += work->bytes;
    }
    if (taken && worker != NULL) {
        worker->busy = true;
        loop_post(worker->loop, &worker->task);
    }
    pthread_mutex_unlock(&pool->lock);
    return taken;
}

void workers_stop(struct workers *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->workers_n; i++) {
        loop_stop(pool->workers[i].loop);
    }
    for (int i = 0; i < pool->workers_n; i++) {
        thread_join(pool->config.threads, pool->workers[i].thread);
        loop_free(pool->workers[i].loop);
    }
    pool->workers_n = 0;
    while (pool->first != NULL) {
        struct work *work = take_locked(pool);
        work->cancelled = true;
        waiter_wake(work->done);
    }
}

void workers_free(struct workers *pool)
{
    if (pool == NULL) {
        return;
    }
    CHECK(pool->workers_n == 0);
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool);
}
