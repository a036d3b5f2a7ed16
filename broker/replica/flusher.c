/* The flush thread takes the whole queue at once, so that while it waits for the disk the next
 * group collects: with many producers the cost of an fdatasync is shared by all that came
 * meanwhile. A partition stays pinned while its log is flushed. */
#include "broker/replica/flusher.h"

#include <stdlib.h>

struct flusher {
    pthread_t thread;
    pthread_mutex_t lock; /* leaf, below a partition's */
    pthread_cond_t wanted;
    struct list queue; /* partition.flush_link; a reference is held */
    bool stopping;
};

static void flush_one(struct partition *p)
{
    struct plog *log = NULL;
    err e = partition_pin(p, -1, true, &log);
    if (e == OK) {
        e = plog_flush(log);
        partition_flushed(p, e);
        partition_unpin(p);
    }
}

static void *run(void *argument)
{
    struct flusher *flusher = argument;
    pthread_mutex_lock(&flusher->lock);
    while (!flusher->stopping || !list_empty(&flusher->queue)) {
        if (list_empty(&flusher->queue)) {
            pthread_cond_wait(&flusher->wanted, &flusher->lock);
            continue;
        }
        struct partition *p = container_of(flusher->queue.next, struct partition, flush_link);
        list_remove(&p->flush_link);
        p->flush_queued = false;
        pthread_mutex_unlock(&flusher->lock);
        flush_one(p);
        partition_release(p);
        pthread_mutex_lock(&flusher->lock);
    }
    pthread_mutex_unlock(&flusher->lock);
    return NULL;
}

struct flusher *flusher_new(void)
{
    struct flusher *flusher = xcalloc(1, sizeof(*flusher));
    pthread_mutex_init(&flusher->lock, NULL);
    pthread_cond_init(&flusher->wanted, NULL);
    list_init(&flusher->queue);
    CHECK(pthread_create(&flusher->thread, NULL, run, flusher) == 0);
    return flusher;
}

void flusher_free(struct flusher *flusher)
{
    if (flusher == NULL) {
        return;
    }
    pthread_mutex_lock(&flusher->lock);
    flusher->stopping = true;
    pthread_cond_signal(&flusher->wanted);
    pthread_mutex_unlock(&flusher->lock);
    pthread_join(flusher->thread, NULL);
    pthread_cond_destroy(&flusher->wanted);
    pthread_mutex_destroy(&flusher->lock);
    free(flusher);
}

void flusher_queue(struct flusher *flusher, struct partition *p)
{
    pthread_mutex_lock(&flusher->lock);
    if (!p->flush_queued) {
        p->flush_queued = true;
        partition_retain(p);
        list_append(&flusher->queue, &p->flush_link);
        pthread_cond_signal(&flusher->wanted);
    }
    pthread_mutex_unlock(&flusher->lock);
}
