/* Who is at the other end of a connection, from its login on. A session never changes: a new login makes a
 * new one. It is shared by the connection and by its requests, which may outlive it, and counted on their
 * loop's thread; whoever is nobody in particular (no certificate, no login) has one that costs no memory. */
#ifndef OTTLA_BROKER_SECURITY_SESSION_H
#define OTTLA_BROKER_SECURITY_SESSION_H

#include "broker/security/security_protocol.h"
#include "broker/security/principal.h"

struct session {
    struct principal principal;
    int16_t protocol;   /* enum security_protocol, of the listener */
    bool by_token;      /* logged in with a delegation token */
    int64_t expires_ms; /* monotonic: from then on only a new login is taken; INT64_MAX: never */
    int refs;           /* 0: it is not counted */
};

/* What a login says. Texts are copied. */
struct session *session_new(const struct principal *principal, int16_t protocol);
/* User:ANONYMOUS. */
const struct session *session_anonymous(int16_t protocol);

const struct session *session_acquire(const struct session *session);
void session_release(const struct session *session);

#endif
