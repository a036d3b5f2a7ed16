/* Where the keys that sign tokens come from: a file or an https address, read at the start (no keys: no start), again
 * from time to time, and when a token names a key that is not there. Waiting for the address is done on a thread of
 * its own; loops only take what is there. (reference: security §3) */
#ifndef OTTLA_BROKER_SECURITY_JWK_SOURCE_H
#define OTTLA_BROKER_SECURITY_JWK_SOURCE_H

#include "base/threads.h"
#include "broker/security/jwt.h"

struct jwk_source;

struct jwk_source_config {
    const char *url; /* https://host[:port]/path, file:///path, or a path */
    int64_t refresh_ms;
    int64_t retry_ms; /* after a failure, doubled up to the most */
    int64_t retry_max_ms;
    int64_t timeout_ms; /* for one address */
    struct threads *threads;
    struct clock *clock;
    struct sockets *sockets;
};

/* Reads the keys; waits for them. E_CONFIG with a reason where there are none. */
NODISCARD err jwk_source_new(const struct jwk_source_config *config, struct jwk_source **source,
                             char *reason, size_t reason_size);
void jwk_source_free(struct jwk_source *source);
/* Any thread: is the token signed by one of the keys? One that is not there is looked for, for the next time. */
NODISCARD err jwk_source_verify(struct jwk_source *source, const struct jwt *jwt);

#endif
