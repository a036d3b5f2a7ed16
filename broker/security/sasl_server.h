/* The broker's side of logins on one connection: requests and tokens in, answers and verdicts out. It knows neither the
 * connection nor how requests are written; times are handed in. Which order of requests is allowed, what a failure is
 * told, when a login ends, and when it may be renewed, is decided here. (reference: security §3, requests §2) */
#ifndef OTTLA_BROKER_SECURITY_SASL_SERVER_H
#define OTTLA_BROKER_SECURITY_SASL_SERVER_H

#include "broker/security/sasl_listener.h"
#include "broker/security/session.h"

struct sasl_server;

struct sasl_server *sasl_server_new(const struct sasl_listener *listener);
void sasl_server_free(struct sasl_server *sasl);
const struct sasl_listener *sasl_server_listener(const struct sasl_server *sasl);

enum sasl_verdict {
    SASL_SERVE,  /* the request may be handled */
    SASL_REFUSE, /* it is answered with ILLEGAL_SASL_STATE, and the connection closed */
    SASL_DROP,   /* the connection is closed without an answer */
};
/* A request has come, before anything of it is looked at; of a session that is in force, NULL before the first
 * login. `version_known`: of ApiVersions, whether its version is served. */
enum sasl_verdict sasl_server_admit(struct sasl_server *sasl, int16_t api_key, bool version_known,
                                    const struct session *session, int64_t now_ms);
/* Are the next bytes a token without a request around it (SaslHandshake of version 0)? */
bool sasl_server_wants_raw(const struct sasl_server *sasl);

/* What SaslAuthenticate is told where nobody logs in. */
#define SASL_AFTER_LOGIN "SaslAuthenticate request received after successful authentication"

enum { SASL_TEXT_MAX = 512 };

struct sasl_outcome {
    int16_t error;            /* 0, 33, 34, 58 */
    char text[SASL_TEXT_MAX]; /* beside an error; of the mechanism's */
    struct bytes token;       /* for the client; valid until the next call */
    bool drop;                /* the connection is closed without an answer */
    bool failed;              /* it is answered, after the delay of failures, and closed */
    struct session *session;  /* a login is done: the caller's */
    int64_t lifetime_ms;      /* how long that one holds; 0: for ever */
    /* The token must be given in again when this is made: tokens_make_credential(), by a worker. */
    enum scram_mechanism unmade;
    char unmade_id[TOKEN_ID_MAX];
};

/* SaslHandshake. With 33 the caller tells which mechanisms there are. `session` as above. */
void sasl_server_handshake(struct sasl_server *sasl, struct str mechanism, int version,
                           const struct session *session, int64_t now_ms,
                           struct sasl_outcome *outcome);
/* A token. `wall_ms`: now, since 1970. */
void sasl_server_token(struct sasl_server *sasl, struct bytes token, const struct session *session,
                       int64_t now_ms, int64_t wall_ms, struct sasl_outcome *outcome);

#endif
