/* A partition's log is cleaned while it is led or followed, and does not move to another directory: the pin keeps it from being closed, the lock is taken for
 * moments. Who takes the log away waits for the pin, which is let go after the next chunk. */
#include "broker/replica/partition_internal.h"

bool partition_find_dirt(struct partition *p, struct partition_dirt *found)
{
    *found = (struct partition_dirt){.dirt.look_ms = INT64_MAX};
    if (partition_is_set_aside(p) || atomic_load(&p->is_cleaned)) {
        return false;
    }
    partition_lock(p);
    err e = partition_check_log(p);
    e = e == OK && (!plog_is_compacted(p->log) || p->is_moving) ? E_NOT_FOUND : e;
    if (e == OK) {
        int64_t stable = plog_last_stable_offset(p->log, partition_high_watermark(p));
        found->min_ratio = plog_config(p->log).min_cleanable_dirty_ratio;
        e = plog_find_dirt(p->log, stable, &found->dirt);
    }
    partition_unlock(p);
    return e == OK;
}

/* A clean, for its callbacks. */
struct run {
    struct partition *p;
    const struct plog_clean *how;
    uint32_t changes;
};

static void lock(void *context)
{
    partition_lock(((struct run *)context)->p);
}

static void unlock(void *context)
{
    partition_unlock(((struct run *)context)->p);
}

static bool go_on(void *context, int64_t bytes)
{
    struct run *run = context;
    struct partition *p = run->p;
    uint32_t changes = atomic_load(&p->changes);
    if (changes != run->changes) {
        partition_lock(p);
        bool there = p->log != NULL && !p->is_moving;
        partition_unlock(p);
        if (!there) {
            return false;
        }
        run->changes = changes;
    }
    return run->how->go_on(run->how->context, bytes);
}

err partition_clean(struct partition *p, const struct plog_dirt *dirt, const struct plog_clean *how,
                    struct plog_cleaned *cleaned)
{
    struct run run = {.p = p, .how = how, .changes = atomic_load(&p->changes)};
    struct plog_clean with_lock = *how;
    struct plog *log = NULL;
    with_lock.lock = lock;
    with_lock.unlock = unlock;
    with_lock.go_on = go_on;
    with_lock.context = &run;
    if (atomic_exchange(&p->is_cleaned, true)) {
        return E_BUSY;
    }
    err e = partition_moves(p) ? E_BUSY : partition_pin(p, -1, true, &log);
    if (e == OK) {
        e = plog_clean(log, dirt, &with_lock, cleaned);
        partition_unpin(p, log);
    }
    atomic_store(&p->is_cleaned, false);
    return e;
}

void partition_set_aside(struct partition *p)
{
    atomic_store(&p->is_set_aside, true);
}

bool partition_is_set_aside(const struct partition *p)
{
    return atomic_load(&p->is_set_aside);
}
