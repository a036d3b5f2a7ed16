/* A login of this broker at another: SaslHandshake, then SaslAuthenticate as often as the mechanism needs. Frames in,
 * frames out; it knows no connection. What the other side says is bounded in size and in the work that it asks for, and by
 * SCRAM it must prove that it knows the password, too. (reference: security §1, §3) */
#ifndef OTTLA_BROKER_SECURITY_SASL_CLIENT_H
#define OTTLA_BROKER_SECURITY_SASL_CLIENT_H

#include "base/clock.h"
#include "broker/security/sasl_listener.h"

enum { SASL_CLIENT_FRAME_MAX = 64 << 10 };

struct sasl_client;

enum sasl_client_step {
    SASL_CLIENT_SEND, /* sasl_client_frame(), and wait for its answer */
    SASL_CLIENT_WORK, /* sasl_client_work() on a worker, then as SEND */
    SASL_CLIENT_DONE,
    SASL_CLIENT_FAILED, /* sasl_client_why() */
};

/* `identity` outlives it. */
struct sasl_client *sasl_client_new(const struct sasl_identity *identity, struct random *random,
                                    struct clock *clock);
void sasl_client_free(struct sasl_client *client);
/* The first frame is there. */
struct bytes sasl_client_frame(const struct sasl_client *client);
/* An answer has come. */
enum sasl_client_step sasl_client_take(struct sasl_client *client, struct bytes answer);
void sasl_client_work(struct sasl_client *client);
/* How long the login holds; 0: for ever. */
int64_t sasl_client_lifetime_ms(const struct sasl_client *client);
const char *sasl_client_why(const struct sasl_client *client);

#endif
