/* Receive buffers of one loop: power-of-two sizes, a few kept warm, so that a connection owns
 * memory only while a frame is on its way.
 *
 * One thread (the loop's). What is kept is bounded; what is lent out is bounded by the connections'
 * own rule: a buffer grows with what has arrived. */
#ifndef OTTLA_BROKER_NET_BUFFER_POOL_H
#define OTTLA_BROKER_NET_BUFFER_POOL_H

#include <stddef.h>
#include <stdint.h>

enum { BUFFER_CLASS_MIN = 10, BUFFER_CLASS_MAX = 24, BUFFER_POOL_KEPT_BYTES = 8 << 20 };

struct buffer_pool {
    struct buffer_link *free[BUFFER_CLASS_MAX + 1];
    size_t kept_bytes;
};

struct buffer {
    uint8_t *data; /* NULL: none */
    size_t cap;
};

void buffer_pool_init(struct buffer_pool *pool);
/* What is lent out may still be released, and is freed then. */
void buffer_pool_deinit(struct buffer_pool *pool);
/* At least `size` bytes; data NULL when there is no memory. */
struct buffer buffer_acquire(struct buffer_pool *pool, size_t size);
/* A kept buffer of at least `size` bytes, only if there is one: costs no new memory. */
struct buffer buffer_acquire_kept(struct buffer_pool *pool, size_t size);
void buffer_release(struct buffer_pool *pool, struct buffer *buffer);

#endif
