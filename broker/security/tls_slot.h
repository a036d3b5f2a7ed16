/* The place of a listener's TLS context (or of this broker's own, towards others): connections take the one that
 * is in force, and another may come in its place while they live. Any thread; its lock is a leaf. */
#ifndef OTTLA_BROKER_SECURITY_TLS_SLOT_H
#define OTTLA_BROKER_SECURITY_TLS_SLOT_H

struct tls_context;
struct tls_slot;

/* Takes the context over. */
struct tls_slot *tls_slot_new(struct tls_context *context);
void tls_slot_free(struct tls_slot *slot); /* NULL is fine */
/* To be released. */
struct tls_context *tls_slot_acquire(struct tls_slot *slot);
/* Takes the context over. */
void tls_slot_replace(struct tls_slot *slot, struct tls_context *context);

#endif
