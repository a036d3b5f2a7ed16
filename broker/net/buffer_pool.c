/* Free lists by size class. Sizes above the largest class come from malloc and go back to it. */
#include "broker/net/buffer_pool.h"

#include <stdlib.h>

struct buffer_link {
    struct buffer_link *next;
};

void buffer_pool_init(struct buffer_pool *pool)
{
    *pool = (struct buffer_pool){0};
}

void buffer_pool_deinit(struct buffer_pool *pool)
{
    for (int class = 0; class <= BUFFER_CLASS_MAX; class ++) {
        while (pool->free[class] != NULL) {
            struct buffer_link *link = pool->free[class];
            pool->free[class] = link->next;
            free(link);
        }
    }
    pool->kept_bytes = BUFFER_POOL_KEPT_BYTES; /* nothing more is kept */
}

static int class_of(size_t size)
{
    int class = BUFFER_CLASS_MIN;
    while (class <= BUFFER_CLASS_MAX && ((size_t)1 << class) < size) {
        class ++;
    }
    return class;
}

static struct buffer take(struct buffer_pool *pool, int class)
{
    struct buffer_link *link = pool->free[class];
    size_t cap = (size_t)1 << class;
    pool->free[class] = link->next;
    pool->kept_bytes -= cap;
    return (struct buffer){.data = (uint8_t *)link, .cap = cap};
}

struct buffer buffer_acquire(struct buffer_pool *pool, size_t size)
{
    int class = class_of(size);
    if (class <= BUFFER_CLASS_MAX && pool->free[class] != NULL) {
        return take(pool, class);
    }
    size_t cap = class <= BUFFER_CLASS_MAX ? (size_t)1 << class : size;
    uint8_t *data = malloc(cap);
    return (struct buffer){.data = data, .cap = data == NULL ? 0 : cap};
}

struct buffer buffer_acquire_kept(struct buffer_pool *pool, size_t size)
{
    for (int class = class_of(size); class <= BUFFER_CLASS_MAX; class ++) {
        if (pool->free[class] != NULL) {
            return take(pool, class);
        }
    }
    return (struct buffer){0};
}

void buffer_release(struct buffer_pool *pool, struct buffer *buffer)
{
    if (buffer->data == NULL) {
        return;
    }
    int class = class_of(buffer->cap);
    if (class > BUFFER_CLASS_MAX || pool->kept_bytes + buffer->cap > BUFFER_POOL_KEPT_BYTES) {
        free(buffer->data);
    } else {
        struct buffer_link *link = (struct buffer_link *)(void *)buffer->data;
        link->next = pool->free[class];
        pool->free[class] = link;
        pool->kept_bytes += buffer->cap;
    }
    *buffer = (struct buffer){0};
}
