/* One pthread for each loop. */
#define _GNU_SOURCE
#include "base/threads.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { NICE_OF_TENDING = 10 };

struct thread {
    pthread_t id;
    enum thread_rank rank;
    struct loop *loop;
};

static void *run(void *context)
{
    struct thread *thread = context;
    if (thread->rank == THREAD_TENDS) { /* a hint; on Linux of the thread alone */
        (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICE_OF_TENDING);
    }
    loop_run(thread->loop);
    return NULL;
}

static err system_start(struct threads *threads, const char *name, enum thread_rank rank,
                        struct loop *loop, struct thread **out)
{
    (void)threads;
    struct thread *thread = xcalloc(1, sizeof(*thread));
    *thread = (struct thread){.rank = rank, .loop = loop};
    int failed = pthread_create(&thread->id, NULL, run, thread);
    if (failed != 0) {
        free(thread);
        return err_from_errno(failed);
    }
    (void)pthread_setname_np(thread->id, name);
    *out = thread;
    return OK;
}

static void system_join(struct threads *threads, struct thread *thread)
{
    (void)threads;
    CHECK(pthread_join(thread->id, NULL) == 0);
    free(thread);
}

struct threads *threads_system(void)
{
    static struct threads threads = {.start = system_start, .join = system_join};
    return &threads;
}
