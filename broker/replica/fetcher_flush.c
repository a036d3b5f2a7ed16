/* Waiting for the disk. A flush is asked for where a position is told that is not safe; the loop goes on
 * meanwhile, but nothing is asked of this leader: its other partitions' flushes come with the same one. */
#include "broker/replica/fetcher_internal.h"

#include <stdlib.h>

static void on_woken(struct loop_task *task);

static void on_wake(struct waiter *waiter)
{
    struct flush_wait *wait = container_of(waiter, struct flush_wait, waiter);
    if (!atomic_exchange(&wait->posted, true)) {
        loop_post(wait->fetcher->loop, &wait->task);
    }
}

void fetcher_await_flush(struct fetcher *f, struct followed *it)
{
    struct flush_wait *wait = xcalloc(1, sizeof(*wait));
    wait->fetcher = f;
    wait->of = it;
    wait->waiter.wake = on_wake;
    wait->task.run = on_woken;
    wait->watch = (struct watch){.waiter = &wait->waiter,
                                 .offset = it->at.offset,
                                 .follows = true,
                                 .leader_epoch = it->leader_epoch};
    it->flush_wait = wait;
    f->flushing_n++;
    watch_add(&wait->watch, it->partition);
}

void fetcher_forget_flush(struct followed *it)
{
    struct flush_wait *wait = it->flush_wait;
    if (wait == NULL) {
        return;
    }
    watch_remove(&wait->watch); /* nobody wakes it any more */
    wait->fetcher->flushing_n--;
    it->flush_wait = NULL;
    wait->of = NULL;
    if (!atomic_load(&wait->posted)) {
        free(wait);
    }
}

static void on_woken(struct loop_task *task)
{
    struct flush_wait *wait = container_of(task, struct flush_wait, task);
    struct fetcher *f = wait->fetcher;
    struct followed *it = wait->of;
    if (it == NULL) {
        free(wait);
        return;
    }
    bool safe = false;
    atomic_store(&wait->posted, false);
    err e = partition_is_safe(it->partition, it->leader_epoch, it->at.offset, &safe);
    if (e == OK && !safe) {
        return; /* woken for something else */
    }
    fetcher_forget_flush(it);
    if (e != OK) {
        followed_stop(f, it, e == ERR_KAFKA_STORAGE_ERROR ? kafka_error_name((int16_t)e) : NULL);
    }
    fetcher_go_on(f);
}
