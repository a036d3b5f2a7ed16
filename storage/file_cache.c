/* Open files by path, in a few independent shards so that threads seldom meet.
 *
 * A shard is a map from path to open_file and a list in order of use. Both the cache and every
 * caller hold a reference; evicting or forgetting drops the cache's, and the descriptor is closed
 * with the last one. A file is opened while the shard's lock is held: a miss is rare, and so no two
 * threads open the same path, and file_cache_forget() after a rename cannot be overtaken by an open
 * that began before it.
 *
 * A descriptor with unflushed writes may be evicted and opened again before its fsync: the kernel
 * reports a write-back error to the first fsync that follows, also on a new descriptor, as long as
 * the inode has stayed in memory. */
#include "storage/file_cache.h"

#include "base/list.h"
#include "base/map.h"
#include "protocol/error.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SHARDS_MAX = 16, FILES_PER_SHARD_MIN = 64 };

struct open_file {
    _Atomic int refs;
    int fd;
    _Atomic int64_t cut_at; /* what is above is not what it was; INT64_MAX */
    struct fs *fs;
    struct health *health; /* a reference, or NULL */
    struct list link;      /* most recently used first */
    char *path;
};

struct shard {
    pthread_mutex_t lock;
    struct map files;
    struct list order;
    int count;
} __attribute__((aligned(64)));

struct file_cache {
    struct fs *fs;
    int shards_n;
    int files_per_shard;
    struct shard shards[SHARDS_MAX];
};

struct file_cache *file_cache_new(struct fs *fs, int files_max)
{
    CHECK(files_max > 0);
    struct file_cache *cache = aligned_alloc(64, sizeof(*cache));
    CHECK(cache != NULL);
    cache->fs = fs;
    cache->shards_n = files_max / FILES_PER_SHARD_MIN;
    cache->shards_n = cache->shards_n < 1            ? 1
                      : cache->shards_n > SHARDS_MAX ? SHARDS_MAX
                                                     : cache->shards_n;
    cache->files_per_shard = files_max / cache->shards_n;
    if (cache->files_per_shard < 1) {
        cache->files_per_shard = 1;
    }
    for (int i = 0; i < cache->shards_n; i++) {
        struct shard *shard = &cache->shards[i];
        pthread_mutex_init(&shard->lock, NULL);
        map_init(&shard->files);
        list_init(&shard->order);
        shard->count = 0;
    }
    return cache;
}

static void shard_drop(struct shard *shard, struct open_file *file)
{
    CHECK(map_remove_str(&shard->files, str_of(file->path)) == file);
    CHECK(shard->count > 0);
    list_remove(&file->link);
    shard->count--;
}

void file_cache_free(struct file_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    for (int i = 0; i < cache->shards_n; i++) {
        struct shard *shard = &cache->shards[i];
        while (!list_empty(&shard->order)) {
            struct open_file *file = container_of(shard->order.next, struct open_file, link);
            shard_drop(shard, file);
            open_file_release(file);
        }
        CHECK(shard->count == 0 && shard->files.count == 0);
        map_deinit(&shard->files);
        pthread_mutex_destroy(&shard->lock);
    }
    free(cache);
}

static struct shard *shard_of(struct file_cache *cache, struct str path)
{
    if (cache->shards_n == 1) {
        return &cache->shards[0];
    }
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < path.len; i++) {
        hash = (hash ^ (uint8_t)path.data[i]) * 16777619u;
    }
    return &cache->shards[(hash >> 8) % (uint32_t)cache->shards_n];
}

static err open_new(struct fs *fs, const char *path, struct health *health, struct open_file **file)
{
    int fd = -1;
    TRY(fs_open(fs, path, O_RDWR, &fd));
    struct open_file *opened = xcalloc(1, sizeof(*opened));
    opened->fd = fd;
    opened->fs = fs;
    opened->path = xstrdup(path);
    opened->health = health;
    if (health != NULL) {
        health_retain(health);
    }
    atomic_init(&opened->refs, 1);
    atomic_init(&opened->cut_at, INT64_MAX);
    *file = opened;
    return OK;
}

/* The one that had to make room, or NULL. */
static struct open_file *shard_add(struct file_cache *cache, struct shard *shard,
                                   struct open_file *file)
{
    CHECK(map_set_str(&shard->files, str_of(file->path), file) == NULL);
    list_prepend(&shard->order, &file->link);
    if (++shard->count <= cache->files_per_shard) {
        return NULL;
    }
    struct open_file *evicted = container_of(shard->order.prev, struct open_file, link);
    shard_drop(shard, evicted);
    return evicted;
}

err file_cache_acquire(struct file_cache *cache, const char *path, struct health *health,
                       struct open_file **file)
{
    struct str name = str_of(path);
    struct shard *shard = shard_of(cache, name);
    struct open_file *evicted = NULL;
    err e = OK;
    pthread_mutex_lock(&shard->lock);
    *file = map_get_str(&shard->files, name);
    if (*file == NULL) {
        e = open_new(cache->fs, path, health, file);
        evicted = e == OK ? shard_add(cache, shard, *file) : NULL;
    } else if (shard->order.next != &(*file)->link) {
        list_remove(&(*file)->link);
        list_prepend(&shard->order, &(*file)->link);
    }
    if (e == OK) {
        open_file_retain(*file);
    }
    pthread_mutex_unlock(&shard->lock);
    if (evicted != NULL) {
        open_file_release(evicted);
    }
    return e;
}

void open_file_retain(struct open_file *file)
{
    CHECK(atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed) > 0);
}

void open_file_release(struct open_file *file)
{
    if (file != NULL && atomic_fetch_sub_explicit(&file->refs, 1, memory_order_acq_rel) == 1) {
        fs_close(file->fs, file->fd);
        health_release(file->health);
        free(file->path);
        free(file);
    }
}

int open_file_fd(const struct open_file *file)
{
    CHECK(file->fd >= 0);
    return file->fd;
}

err open_file_read(struct open_file *file, void *data, size_t len, int64_t position)
{
    CHECK(position >= 0);
    err e = fs_read(file->fs, file->fd, data, len, position);
    if (e == OK) {
        return open_file_is_cut(file, position + (int64_t)len) ? ERR_KAFKA_STORAGE_ERROR : OK;
    }
    if (err_to_errno(e) != 0) {
        open_file_failed(file, e);
    }
    return ERR_KAFKA_STORAGE_ERROR;
}

void open_file_failed(struct open_file *file, err e)
{
    CHECK(err_to_errno(e) != 0);
    if (file->health != NULL) {
        health_fail(file->health, e, "reading");
    }
}

void open_file_cut(struct file_cache *cache, struct open_file *file, int64_t position)
{
    CHECK(position >= 0);
    if (position < atomic_load(&file->cut_at)) {
        atomic_store(&file->cut_at, position);
    }
    file_cache_forget(cache, file->path);
}

bool open_file_is_cut(const struct open_file *file, int64_t end)
{
    return end > atomic_load_explicit(&file->cut_at, memory_order_acquire);
}

void file_cache_forget(struct file_cache *cache, const char *path)
{
    struct str name = str_of(path);
    struct shard *shard = shard_of(cache, name);
    pthread_mutex_lock(&shard->lock);
    struct open_file *file = map_get_str(&shard->files, name);
    if (file != NULL) {
        shard_drop(shard, file);
    }
    pthread_mutex_unlock(&shard->lock);
    open_file_release(file);
}
