/* A login at another broker that is under way, for peer.c: what of it takes long is done by a worker. On one loop's
 * thread. */
#ifndef OTTLA_BROKER_NET_PEER_LOGIN_H
#define OTTLA_BROKER_NET_PEER_LOGIN_H

#include "base/loop.h"
#include "broker/security/sasl_client.h"

struct peer_login;
struct workers;

struct peer_login_config {
    struct loop *loop;
    struct workers *workers;
    const struct sasl_identity *identity;
    struct random *random;
    struct clock *clock;
    /* A worker has done its part: the frame is there. False: it could not. */
    void (*worked)(void *context, bool fine);
    void *context;
};

struct peer_login *peer_login_new(const struct peer_login_config *config);
/* `worked` is not called any more; NULL is fine. */
void peer_login_free(struct peer_login *login);
/* The frame to send. */
struct bytes peer_login_frame(const struct peer_login *login);
/* An answer has come. With SASL_CLIENT_WORK it is under way, or SASL_CLIENT_FAILED: no worker takes it. */
enum sasl_client_step peer_login_take(struct peer_login *login, struct bytes answer);
int64_t peer_login_lifetime_ms(const struct peer_login *login);
const char *peer_login_why(const struct peer_login *login);

#endif
