/* Whoever sets `over` has to see to it that the watches are taken down: under the lock of the partition in which
 * something happens that cannot be done, nor by a session's end under the lock of all, so it is posted. The watches
 * have a reference of their own until then. */
#include "broker/replica/standing.h"

#include <stdlib.h>

struct standing {
    struct waiter waiter; /* of the watches */
    struct loop *loop;
    struct loop_task task;
    int64_t until_ms;
    atomic_int refs;
    atomic_bool over;
    _Atomic int64_t wanted_bytes;
    pthread_mutex_t lock; /* a leaf; guards the next */
    struct waiter *waits;
    int32_t count;
    struct watch watches[];
};

static void unref(struct standing *s)
{
    if (atomic_fetch_sub(&s->refs, 1) == 1) {
        pthread_mutex_destroy(&s->lock);
        free(s);
    }
}

static void on_over(struct loop_task *task)
{
    struct standing *s = container_of(task, struct standing, task);
    for (int32_t i = 0; i < s->count; i++) {
        watch_remove(&s->watches[i]);
    }
    unref(s);
}

static void end(struct standing *s)
{
    if (atomic_exchange(&s->over, true)) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    if (s->waits != NULL) {
        waiter_wake(s->waits);
    }
    pthread_mutex_unlock(&s->lock);
    loop_post(s->loop, &s->task);
}

static void on_wake(struct waiter *waiter)
{
    end(container_of(waiter, struct standing, waiter));
}

struct standing *standing_new(struct loop *loop, int32_t count, int64_t until_ms)
{
    struct standing *s = xcalloc(1, sizeof(*s) + (size_t)count * sizeof(s->watches[0]));
    s->waiter.wake = on_wake;
    s->loop = loop;
    s->task.run = on_over;
    s->until_ms = until_ms;
    atomic_store(&s->refs, 2); /* the session's, and the watches' */
    atomic_store(&s->wanted_bytes, 1);
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

void standing_watch(struct standing *s, struct partition *p, struct partition_seen seen)
{
    struct watch *watch = &s->watches[s->count++];
    *watch = (struct watch){.waiter = &s->waiter,
                            .offset = -1,
                            .to_end = true,
                            .seen = seen,
                            .wanted_bytes = &s->wanted_bytes};
    watch_add(watch, p);
}

void standing_drop(struct standing *s)
{
    if (s == NULL) {
        return;
    }
    end(s);
    unref(s);
}

struct standing *standing_enter(struct standing *s, int64_t deadline_ms)
{
    if (s == NULL || atomic_load(&s->over) || deadline_ms > s->until_ms) {
        return NULL;
    }
    atomic_fetch_add(&s->refs, 1);
    return s;
}

bool standing_wait(struct standing *s, struct waiter *waiter)
{
    pthread_mutex_lock(&s->lock);
    bool stands = !atomic_load(&s->over);
    s->waits = stands ? waiter : NULL;
    pthread_mutex_unlock(&s->lock);
    return stands;
}

bool standing_leave(struct standing *s, const struct waiter *waiter)
{
    pthread_mutex_lock(&s->lock);
    s->waits = s->waits == waiter ? NULL : s->waits;
    pthread_mutex_unlock(&s->lock);
    bool stood = !atomic_load(&s->over);
    unref(s);
    return stood;
}
