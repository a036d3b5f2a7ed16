/* Who runs event loops: a thread of the system's for each, or somebody who turns many loops on one
 * thread by loop_turn(), as a simulation does. Handed in, so that nothing else starts a thread. */
#ifndef OTTLA_BASE_THREADS_H
#define OTTLA_BASE_THREADS_H

#include "base/loop.h"

struct thread;

/* Who gives way where two want the same processor. */
enum thread_rank {
    THREAD_SERVES, /* somebody waits for what it does */
    THREAD_TENDS,  /* nobody does: compaction, moves */
};

struct threads {
    /* Begins to run the loop. `name` (at most 15 bytes) is what the system's tools show. */
    err (*start)(struct threads *threads, const char *name, enum thread_rank rank,
                 struct loop *loop, struct thread **thread);
    /* Waits until the loop, which was told to stop, has ended; frees. */
    void (*join)(struct threads *threads, struct thread *thread);
};

/* Threads of the system; one for everybody, without state. */
struct threads *threads_system(void);

static inline NODISCARD err thread_start(struct threads *threads, const char *name,
                                         enum thread_rank rank, struct loop *loop,
                                         struct thread **thread)
{
    return threads->start(threads, name, rank, loop, thread);
}

static inline void thread_join(struct threads *threads, struct thread *thread)
{
    threads->join(threads, thread);
}

#endif
