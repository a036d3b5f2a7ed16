/* A pointer under a lock: it is taken once for each connection, beside a handshake that costs ten thousand
 * times as much. */
#include "broker/security/tls_slot.h"

#include "broker/security/tls_context.h"

#include <pthread.h>
#include <stdlib.h>

struct tls_slot {
    pthread_mutex_t lock;
    struct tls_context *context;
};

struct tls_slot *tls_slot_new(struct tls_context *context)
{
    struct tls_slot *slot = xcalloc(1, sizeof(*slot));
    pthread_mutex_init(&slot->lock, NULL);
    slot->context = context;
    return slot;
}

void tls_slot_free(struct tls_slot *slot)
{
    if (slot == NULL) {
        return;
    }
    tls_context_release(slot->context);
    pthread_mutex_destroy(&slot->lock);
    free(slot);
}

struct tls_context *tls_slot_acquire(struct tls_slot *slot)
{
    pthread_mutex_lock(&slot->lock);
    struct tls_context *context = tls_context_acquire(slot->context);
    pthread_mutex_unlock(&slot->lock);
    return context;
}

void tls_slot_replace(struct tls_slot *slot, struct tls_context *context)
{
    pthread_mutex_lock(&slot->lock);
    struct tls_context *old = slot->context;
    slot->context = context;
    pthread_mutex_unlock(&slot->lock);
    tls_context_release(old);
}
