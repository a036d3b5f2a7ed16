/* One pthread for each loop. */
#define _GNU_SOURCE
#include "base/threads.h"

#include <pthread.h>
#include <stdlib.h>

struct thread {
    pthread_t id;
};

static void *run(void *loop)
{
    loop_run(loop);
    return NULL;
}

static err system_start(struct threads *threads, const char *name, struct loop *loop,
                        struct thread **out)
{
    (void)threads;
    struct thread *thread = xcalloc(1, sizeof(*thread));
    int failed = pthread_create(&thread->id, NULL, run, loop);
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
