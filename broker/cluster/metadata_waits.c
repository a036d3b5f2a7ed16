/* One list under one leaf mutex: those who wait for topics are few. */
#include "broker/cluster/metadata_waits.h"

#include <pthread.h>
#include <stdlib.h>

struct metadata_waits {
    struct metadata_cache *cache;
    pthread_mutex_t lock;
    struct list list;
    bool stopped;
};

struct metadata_waits *metadata_waits_new(struct metadata_cache *cache)
{
    struct metadata_waits *waits = xcalloc(1, sizeof(*waits));
    waits->cache = cache;
    pthread_mutex_init(&waits->lock, NULL);
    list_init(&waits->list);
    return waits;
}

void metadata_waits_free(struct metadata_waits *waits)
{
    if (waits != NULL) {
        pthread_mutex_destroy(&waits->lock);
        free(waits);
    }
}

void metadata_wait_add(struct metadata_waits *waits, struct metadata_wait *wait)
{
    pthread_mutex_lock(&waits->lock);
    list_append(&waits->list, &wait->link);
    struct metadata *metadata = metadata_acquire(waits->cache);
    if (waits->stopped || wait->satisfied(wait, metadata)) {
        waiter_wake(wait->waiter);
    }
    pthread_mutex_unlock(&waits->lock);
    metadata_release(metadata);
}

void metadata_waits_stop(struct metadata_waits *waits)
{
    pthread_mutex_lock(&waits->lock);
    waits->stopped = true;
    list_each (item, &waits->list) {
        waiter_wake(container_of(item, struct metadata_wait, link)->waiter);
    }
    pthread_mutex_unlock(&waits->lock);
}

void metadata_wait_remove(struct metadata_waits *waits, struct metadata_wait *wait)
{
    pthread_mutex_lock(&waits->lock);
    list_remove(&wait->link);
    pthread_mutex_unlock(&waits->lock);
}

void metadata_waits_check(struct metadata_waits *waits)
{
    pthread_mutex_lock(&waits->lock);
    struct metadata *metadata = metadata_acquire(waits->cache);
    list_each (item, &waits->list) {
        struct metadata_wait *wait = container_of(item, struct metadata_wait, link);
        if (wait->satisfied(wait, metadata)) {
            waiter_wake(wait->waiter);
        }
    }
    pthread_mutex_unlock(&waits->lock);
    metadata_release(metadata);
}
