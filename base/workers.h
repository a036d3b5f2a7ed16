/* A few threads for work that takes long, so that nobody's loop does.
 *
 * A thread is started when there is work and all others are busy, up to the most; a pool that is not
 * used costs nothing. What is queued is bounded, in number and in bytes: over it work is not taken,
 * and whoever has it does it himself, which is what keeps him from bringing more. */
#ifndef OTTLA_BASE_WORKERS_H
#define OTTLA_BASE_WORKERS_H

#include "base/threads.h"
#include "base/waiter.h"

struct workers;

/* Embedded in its owner, which keeps it until it is woken. */
struct work {
    struct work *next;
    void (*run)(struct work *work); /* on a thread of the pool */
    struct waiter *done;            /* woken there when it has run; it may free the work */
    size_t bytes;                   /* the memory that it holds */
    bool cancelled;                 /* the pool was stopped: it has not run */
};

struct workers_config {
    struct threads *threads;
    struct clock *clock;
    struct sockets *sockets; /* for the loops of the threads */
    int threads_max;
    size_t queued_max;
    size_t queued_bytes_max; /* of what is queued or runs */
};

struct workers *workers_new(const struct workers_config *config);
/* Any thread. False: too much is queued, or the pool is stopped. Work larger than all that may be
 * queued is taken when there is nothing else. */
bool workers_submit(struct workers *workers, struct work *work);
/* Lets what has begun come to its end, cancels the rest, and ends the threads. */
void workers_stop(struct workers *workers);
void workers_free(struct workers *workers); /* stopped, or never used; NULL is fine */

#endif
