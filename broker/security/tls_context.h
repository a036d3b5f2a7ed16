/* What the TLS connections of one listener, or of this broker towards others, are made of: key, trust, rules. Made of
 * the options' texts, without connections; it does not change once it is made, and is counted: whoever
 * replaces one (when a store is read again) leaves it to those that still have it. Any thread may acquire, release and
 * make connections.
 *
 * TLS 1.2 and 1.3, without renegotiation and compression. Sessions are resumed by tickets alone, whose key goes
 * with the context; there is no early data. (reference: security §2) */
#ifndef OTTLA_BROKER_SECURITY_TLS_CONTEXT_H
#define OTTLA_BROKER_SECURITY_TLS_CONTEXT_H

#include "broker/security/stores.h"

#include <openssl/ssl.h>
#include <stdbool.h>

struct tls_context;

/* The options in force, as texts; NULL where one is not set and has no default. */
struct tls_texts {
    struct store_texts keys;
    struct store_texts trust;
    const char *client_auth;
    const char *cipher_suites;
    const char *enabled_protocols;
    const char *principal_rules;
    const char *endpoint_identification; /* of a client */
};

enum tls_side { TLS_SERVER, TLS_CLIENT };

/* `name` tells contexts apart: a ticket of one is none of another. E_CONFIG with one sentence if the options do not
 * allow it. */
NODISCARD err tls_context_new(const struct tls_texts *texts, enum tls_side side, const char *name,
                              struct tls_context **context, const struct store_refusal *to);
struct tls_context *tls_context_acquire(struct tls_context *context);
void tls_context_release(struct tls_context *context);

/* A connection's state, without its socket; NULL: no memory. It may outlive the context. `host` is whom a
 * client means to reach; NULL on a server. */
SSL *tls_context_connection(const struct tls_context *context, const char *host);
/* Whose certificate the other side has shown, by the mapping rules; malloc'd. NULL without a certificate.
 * E_NOT_FOUND: no rule applies to it. */
NODISCARD err tls_context_principal(const struct tls_context *context, const SSL *connection,
                                    char **name);

/* NULL: it has none. As long as the context is there. */
const struct tls_store *tls_context_keys(const struct tls_context *context);
const struct tls_store *tls_context_trust(const struct tls_context *context);

/* Can the two shake hands, each with its own stores? `client` may be the same. `why` is static. */
bool tls_contexts_agree(const struct tls_context *server, const struct tls_context *client,
                        const char **why);

#endif
