/* What the options say of SASL on one listener: which mechanisms, who may log in by them, and as whom this broker does
 * with its like. Read at the start; a setting that is wrong, or would protect less than it says, stops it.
 * (reference: security §1, §3) */
#ifndef OTTLA_BROKER_SECURITY_SASL_LISTENER_H
#define OTTLA_BROKER_SECURITY_SASL_LISTENER_H

#include "broker/config.h"
#include "broker/security/sasl_oauth.h"
#include "broker/security/sasl_plain.h"
#include "broker/security/scram_users.h"
#include "broker/security/tokens.h"

enum sasl_mechanism {
    SASL_PLAIN,
    SASL_SCRAM_SHA_256,
    SASL_SCRAM_SHA_512,
    SASL_OAUTHBEARER,
    SASL_MECHANISMS_N,
};

const char *sasl_mechanism_name(enum sasl_mechanism mechanism);
/* -1: there is no such mechanism. Case counts. */
int sasl_mechanism_of(struct str name);
/* SCRAM_UNKNOWN for others. */
enum scram_mechanism sasl_mechanism_scram(enum sasl_mechanism mechanism);

/* What all listeners share; they outlive the listener. */
struct sasl_stores {
    struct scram_users *users;
    struct tokens *tokens;
    struct random *random;
    struct threads *threads;
    struct clock *clock;
    struct sockets *sockets;
};

struct sasl_listener {
    struct sasl_stores stores;
    int16_t protocol; /* enum security_protocol */
    bool enabled[SASL_MECHANISMS_N];
    int64_t reauth_ms[SASL_MECHANISMS_N]; /* connections.max.reauth.ms; 0: a login lasts */
    struct plain_users plain;
    struct oauth_rules oauth;
    struct jwk_source *keys;
    uint8_t feign_key[32]; /* of the credentials that nobody has */
};

struct sasl_listener_config {
    const struct config *config;
    const char *name; /* of the listener */
    const char *host; /* what it binds */
    int16_t protocol;
    struct sasl_stores stores;
};

/* E_CONFIG with one line in `reason`. */
NODISCARD err sasl_listener_new(const struct sasl_listener_config *config,
                                struct sasl_listener **listener, char *reason, size_t reason_size);
void sasl_listener_free(struct sasl_listener *listener);

/* As whom this broker logs in at others: by sasl.mechanism.inter.broker.protocol, with what the listener's JAAS entry of
 * it says. Texts are owned. */
struct sasl_identity {
    enum sasl_mechanism mechanism;
    char *user;
    char *password; /* NULL with OAUTHBEARER */
};
NODISCARD err sasl_identity_read(const struct config *config, const char *listener,
                                 struct sasl_identity *identity, char *reason, size_t reason_size);
void sasl_identity_deinit(struct sasl_identity *identity);

#endif
