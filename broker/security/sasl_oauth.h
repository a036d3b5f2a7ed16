/* OAUTHBEARER (RFC 7628): the message, and who may be believed: tokens that nobody has signed, or those that a key of a
 * set has. (reference: security §3) */
#ifndef OTTLA_BROKER_SECURITY_SASL_OAUTH_H
#define OTTLA_BROKER_SECURITY_SASL_OAUTH_H

#include "base/properties.h"
#include "broker/security/jwk_source.h"

enum { OAUTH_TEXT_MAX = 512, OAUTH_AUDIENCES_MAX = 16 };

/* What a token must say. Texts are owned. */
struct oauth_rules {
    struct jwk_source *keys; /* whose signatures are believed; NULL: unsecured tokens are */
    char *name_claim;
    char *scope_claim;
    char *scopes; /* all that it must have, with blanks between them; NULL: any */
    char *issuer; /* NULL: any */
    char *audiences[OAUTH_AUDIENCES_MAX];
    size_t audiences_n; /* 0: any */
    int64_t skew_ms;
};

/* The rules of an entry of OAuthBearerLoginModule, for tokens that nobody has signed. E_CONFIG with a reason. */
NODISCARD err oauth_rules_unsecured(struct oauth_rules *rules, const struct properties *options,
                                    char *reason, size_t reason_size);
void oauth_rules_deinit(struct oauth_rules *rules);

struct oauth_login {
    char *name;         /* malloc'd: who it is */
    int64_t expires_ms; /* since 1970 */
    bool may_go_on;     /* refused, but told in JSON first: the client's next message ends it */
    char text[OAUTH_TEXT_MAX];
};

/* OK, or ERR_SASL_AUTHENTICATION_FAILED: with `text` for the client (then empty: the text of all failures), or with
 * the JSON in `text` that it is told before. `wall_ms`: now. */
NODISCARD err sasl_oauth_login(const struct oauth_rules *rules, struct bytes message,
                               int64_t wall_ms, struct oauth_login *login);

/* The client's message of a token; malloc'd. */
char *sasl_oauth_message(const char *token);
/* A token that nobody signs, for this name; malloc'd. */
char *oauth_unsecured_token(const char *name, int64_t wall_ms, int64_t life_ms);

#endif
