/* Somebody who waits for something: a parked request, a coordinator's shard, a fetcher, a flush.
 *
 * Embedded in whoever waits; the thing that is waited for keeps a pointer and knows no more of it.
 * wake() may be called on any thread, under the lock of the thing, and more often than once: it only
 * posts (loop_post) or sets a flag. Who was woken looks again; a wake-up too many does no harm. */
#ifndef OTTLA_BASE_WAITER_H
#define OTTLA_BASE_WAITER_H

struct waiter {
    void (*wake)(struct waiter *waiter);
};

static inline void waiter_wake(struct waiter *waiter)
{
    waiter->wake(waiter);
}

#endif
