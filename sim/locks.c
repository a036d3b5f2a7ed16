/* A lock stays the system's: it is tried, and who cannot have it is noted with its address and blocks
 * until somebody unlocks that. A wait for a condition unlocks and blocks until it is signalled; who waits for
 * one looks again anyway. Outside of tasks everything is the system's. */
#define _GNU_SOURCE
#include "sim/locks.h"

#include "base/err.h"
#include "sim/sched.h"

#include <pthread.h>
#include <stddef.h>

enum { WAITERS_MAX = 512 };

struct lock_waiter {
    const void *on; /* a mutex or a condition */
    struct task *task;
};

/* The one mutable thing of the process (see locks.h). */
static struct {
    struct sched *sched;
    struct lock_waiter waiters[WAITERS_MAX];
    size_t waiters_n;
} locks;

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __real_pthread_cond_broadcast(pthread_cond_t *cond);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_broadcast(pthread_cond_t *cond);
int __real_pthread_rwlock_rdlock(pthread_rwlock_t *lock);
int __real_pthread_rwlock_wrlock(pthread_rwlock_t *lock);
int __real_pthread_rwlock_unlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *lock);

void locks_begin(struct sched *sched)
{
    CHECK(locks.sched == NULL);
    locks.sched = sched;
}

void locks_end(struct sched *sched)
{
    CHECK(locks.sched == sched && locks.waiters_n == 0);
    locks.sched = NULL;
}

static bool in_task(void)
{
    return locks.sched != NULL && sched_current(locks.sched) != NULL;
}

/* It may have been woken for something else: then it is noted still. */
static void forget(const struct task *task)
{
    for (size_t i = 0; i < locks.waiters_n; i++) {
        if (locks.waiters[i].task == task) {
            locks.waiters[i] = locks.waiters[--locks.waiters_n];
            return;
        }
    }
}

static void wait_for(const void *on)
{
    struct task *task = sched_current(locks.sched);
    CHECK(locks.waiters_n < WAITERS_MAX);
    locks.waiters[locks.waiters_n++] = (struct lock_waiter){.on = on, .task = task};
    sched_block(locks.sched, SCHED_FOREVER_US);
    forget(task);
}

static void wake_all(const void *on)
{
    size_t left = 0;
    for (size_t i = 0; i < locks.waiters_n; i++) {
        if (locks.waiters[i].on == on) {
            task_wake(locks.sched, locks.waiters[i].task);
        } else {
            locks.waiters[left++] = locks.waiters[i];
        }
    }
    locks.waiters_n = left;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (!in_task()) {
        return __real_pthread_mutex_lock(mutex);
    }
    sched_preempt(locks.sched);
    while (pthread_mutex_trylock(mutex) != 0) {
        wait_for(mutex);
    }
    return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    int outcome = __real_pthread_mutex_unlock(mutex);
    if (locks.waiters_n > 0) {
        wake_all(mutex);
    }
    return outcome;
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    if (!in_task()) {
        return __real_pthread_cond_wait(cond, mutex);
    }
    (void)__wrap_pthread_mutex_unlock(mutex);
    wait_for(cond);
    return __wrap_pthread_mutex_lock(mutex);
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *cond)
{
    int outcome = __real_pthread_cond_broadcast(cond);
    if (locks.waiters_n > 0) {
        wake_all(cond);
    }
    return outcome;
}

int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *lock)
{
    if (!in_task()) {
        return __real_pthread_rwlock_rdlock(lock);
    }
    sched_preempt(locks.sched);
    while (pthread_rwlock_tryrdlock(lock) != 0) {
        wait_for(lock);
    }
    return 0;
}

int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *lock)
{
    if (!in_task()) {
        return __real_pthread_rwlock_wrlock(lock);
    }
    sched_preempt(locks.sched);
    while (pthread_rwlock_trywrlock(lock) != 0) {
        wait_for(lock);
    }
    return 0;
}

int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *lock)
{
    int outcome = __real_pthread_rwlock_unlock(lock);
    if (locks.waiters_n > 0) {
        wake_all(lock);
    }
    return outcome;
}
