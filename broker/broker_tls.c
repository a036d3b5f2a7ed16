/* What the TLS of a broker is made of: a context for each listener that has it, and one for this broker as a client
 * of others, on the listener that brokers use among themselves and on the controller's.
 *
 * Anew. When an option of a listener has changed, or a file that it names, its context is made again, under Kafka's
 * checks: a key store must be of the same names, none may come or go, and among brokers the new stores must understand
 * the old ones, since others still have those. What a context was made of is kept as one text (texts_of), so that
 * what has not changed stays, with its tickets. The text has secrets, as the options have, and is never shown. */
#define _GNU_SOURCE
#include "broker/broker_internal.h"

#include "base/log.h"
#include "base/refuse.h"
#include "broker/security/password_encoder.h"
#include "broker/security/tls_options.h"
#include "broker/security/tls_slot.h"
#include "protocol/error.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- what a context is made of ---- */

static const char *or_empty(const char *text)
{
    return text == NULL ? "" : text;
}

static struct tls_listener as_options_see(const struct listener *listener)
{
    return (struct tls_listener){.name = listener->name, .protocol = listener->security_protocol};
}

static err context_of(const struct config *config, const struct listener *listener,
                      enum tls_side side, struct tls_context **context,
                      char reason[CONFIG_REASON_BYTES])
{
    const struct tls_listener seen = as_options_see(listener);
    return tls_options_context(config, &seen, side, context, reason);
}

/* Malloc'd. */
static char *texts_of(const struct config *config, const struct listener *listener)
{
    const struct tls_listener seen = as_options_see(listener);
    const struct tls_texts t = tls_options_of(config, &seen);
    const char *const parts[] = {
        t.keys.type,          t.keys.location,   t.keys.password,
        t.keys.key_password,  t.keys.key,        t.keys.certificates,
        t.trust.type,         t.trust.location,  t.trust.password,
        t.trust.certificates, t.client_auth,     t.cipher_suites,
        t.enabled_protocols,  t.principal_rules, t.endpoint_identification};
    char *all = xasprintf("%lld %lld", (long long)store_file_modified_ns(t.keys.location),
                          (long long)store_file_modified_ns(t.trust.location));
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        char *longer = xasprintf("%s\n%s", all, or_empty(parts[i]));
        OPENSSL_cleanse(all, strlen(all));
        free(all);
        all = longer;
    }
    return all;
}

static void texts_free(char *texts)
{
    if (texts != NULL) {
        OPENSSL_cleanse(texts, strlen(texts));
        free(texts);
    }
}

/* ---- the start ---- */

static err make_slot(const struct broker *broker, const struct listener *listener,
                     enum tls_side side, struct tls_slot **slot, char reason[BROKER_REASON_BYTES])
{
    struct tls_context *context = NULL;
    TRY(context_of(broker->config, listener, side, &context, reason));
    *slot = tls_slot_new(context);
    return OK;
}

static const struct listener *listener_of(const struct broker *broker, const char *name)
{
    size_t i = 0;
    while (strcmp(broker->listeners.all[i].name, name) != 0) {
        i++;
    }
    return &broker->listeners.all[i];
}

/* A broker that is alone asks nobody. */
static err make_security(const struct broker *broker, const char *name,
                         struct peer_security *security, char reason[BROKER_REASON_BYTES])
{
    const struct listener *listener = listener_of(broker, name);
    bool needed =
        protocol_has_tls(listener->security_protocol) && config_uses_zookeeper(broker->config);
    return needed ? make_slot(broker, listener, TLS_CLIENT, &security->tls, reason) : OK;
}

/* Somebody may have meant it for all listeners. */
static void warn_of_client_auth(const struct config *config, const struct listener *listener)
{
    const char *general = config->ssl_client_auth;
    if (protocol_has_sasl(listener->security_protocol) && strcasecmp(general, "none") != 0 &&
        config_listener_own_text(config, listener->name, "ssl.client.auth", NULL) == NULL) {
        log_warn("tls",
                 "ssl.client.auth=%s is for listeners without SASL, as in Kafka; "
                 "listener.name.<listener>.ssl.client.auth is needed where there is SASL "
                 "listener=%s",
                 general, listener->name);
    }
}

/* Of passwords that the store keeps. */
static err check_encoder(const struct config *config, char reason[BROKER_REASON_BYTES])
{
    const char *factory = config->password_encoder_keyfactory_algorithm;
    int32_t bits = config->password_encoder_key_length;
    if (bits != 128 && bits != 192 && bits != 256) {
        return refuse(
            reason, BROKER_REASON_BYTES,
            "option password.encoder.key.length: %d is not allowed; it must be 128, 192 or "
            "256",
            bits);
    }
    if (factory != NULL && !password_key_factory_is_known(factory)) {
        return refuse(reason, BROKER_REASON_BYTES,
                      "option password.encoder.keyfactory.algorithm: \"%.80s\" is not allowed; it "
                      "must be PBKDF2WithHmacSHA1, PBKDF2WithHmacSHA256, PBKDF2WithHmacSHA384 or "
                      "PBKDF2WithHmacSHA512",
                      factory);
    }
    return OK;
}

err broker_make_tls(struct broker *broker, char reason[BROKER_REASON_BYTES])
{
    TRY(broker->config->password_encoder_secret == NULL ? OK
                                                        : check_encoder(broker->config, reason));
    broker->tls_made_of = xcalloc(broker->listeners.count, sizeof(*broker->tls_made_of));
    for (size_t i = 0; i < broker->listeners.count; i++) {
        struct listener *listener = &broker->listeners.all[i];
        if (protocol_has_tls(listener->security_protocol)) {
            broker->tls_made_of[i] = texts_of(broker->config, listener);
            TRY(make_slot(broker, listener, TLS_SERVER, &listener->tls, reason));
            warn_of_client_auth(broker->config, listener);
            log_info("tls", "listener has TLS listener=%s library=\"%s\" ktls=no", listener->name,
                     OpenSSL_version(OPENSSL_VERSION));
        }
    }
    TRY(make_security(broker, broker->inter_broker_listener, &broker->inter_broker_security,
                      reason));
    return broker_has_control_plane(broker)
               ? make_security(broker, broker->control_listener, &broker->control_security, reason)
               : OK;
}

err broker_check_tls(const struct config *config, const struct listeners *listeners,
                     char reason[BROKER_REASON_BYTES])
{
    TRY(config->password_encoder_secret == NULL ? OK : check_encoder(config, reason));
    for (size_t i = 0; i < listeners->count; i++) {
        const struct listener *listener = &listeners->all[i];
        struct tls_context *context = NULL;
        if (protocol_has_tls(listener->security_protocol)) {
            TRY(context_of(config, listener, TLS_SERVER, &context, reason));
        }
        tls_context_release(context);
    }
    return OK;
}

const struct peer_security *broker_control_security(const struct broker *broker)
{
    return broker_has_control_plane(broker) ? &broker->control_security
                                            : &broker->inter_broker_security;
}

void broker_free_tls(struct broker *broker)
{
    for (size_t i = 0; broker->tls_made_of != NULL && i < broker->listeners.count; i++) {
        tls_slot_free(broker->listeners.all[i].tls);
        broker->listeners.all[i].tls = NULL;
        texts_free(broker->tls_made_of[i]);
    }
    free(broker->tls_made_of);
    tls_slot_free(broker->inter_broker_security.tls);
    tls_slot_free(broker->control_security.tls);
}

/* ---- anew ---- */

/* What would take the place of a listener's context, and of the one towards others on that listener. */
struct change {
    struct tls_context *server;
    struct tls_context *client; /* NULL: there is none */
    struct tls_slot *client_slot;
};

static void change_deinit(struct change *change)
{
    tls_context_release(change->server);
    tls_context_release(change->client);
}

/* The slot towards others on that listener; NULL: there is none. */
static struct tls_slot *client_slot_of(const struct broker *broker, const char *listener)
{
    if (strcmp(listener, broker->inter_broker_listener) == 0) {
        return broker->inter_broker_security.tls;
    }
    return strcmp(listener, broker->control_listener) == 0 ? broker->control_security.tls : NULL;
}

static err check_store_is_there(const struct tls_store *old, const struct tls_store *fresh,
                                const char *kind, char reason[CONFIG_REASON_BYTES])
{
    if ((old == NULL) == (fresh == NULL)) {
        return OK;
    }
    return refuse(reason, CONFIG_REASON_BYTES,
                  old == NULL ? "Cannot add SSL %s to an existing listener for which no %s was "
                                "configured."
                              : "Cannot remove the SSL %s from an existing listener for which a %s "
                                "was configured.",
                  kind, kind);
}

static err check_successor(const struct config *config, const struct tls_context *old,
                           const struct tls_context *fresh, char reason[CONFIG_REASON_BYTES])
{
    const struct store_refusal to = {.reason = reason, .size = CONFIG_REASON_BYTES};
    TRY(check_store_is_there(tls_context_keys(old), tls_context_keys(fresh), "keystore", reason));
    TRY(check_store_is_there(tls_context_trust(old), tls_context_trust(fresh), "truststore",
                             reason));
    return store_check_successor(tls_context_keys(old), tls_context_keys(fresh),
                                 config->ssl_allow_dn_changes, config->ssl_allow_san_changes, &to);
}

/* Others have the old stores still. */
static err check_understanding(const struct change *change, const struct tls_context *old_server,
                               char reason[CONFIG_REASON_BYTES])
{
    struct tls_context *old_client = tls_slot_acquire(change->client_slot);
    const char *why = NULL;
    bool agree = tls_contexts_agree(change->server, old_client, &why) &&
                 tls_contexts_agree(old_server, change->client, &why);
    tls_context_release(old_client);
    return agree ? OK
                 : refuse(reason, CONFIG_REASON_BYTES,
                          "brokers that have the old stores and this one would not understand each "
                          "other: %s",
                          why == NULL ? "the handshake does not end" : why);
}

static err prepare(const struct broker *broker, const struct config *config,
                   const struct listener *listener, struct change *change,
                   char reason[CONFIG_REASON_BYTES])
{
    *change = (struct change){.client_slot = client_slot_of(broker, listener->name)};
    TRY(context_of(config, listener, TLS_SERVER, &change->server, reason));
    if (change->client_slot != NULL) {
        TRY(context_of(config, listener, TLS_CLIENT, &change->client, reason));
    }
    struct tls_context *old = tls_slot_acquire(listener->tls);
    err e = check_successor(config, old, change->server, reason);
    e = e == OK && change->client != NULL ? check_understanding(change, old, reason) : e;
    tls_context_release(old);
    return e;
}

err broker_check_tls_change(void *context, const struct properties *listener_options,
                            char message[CONFIG_REASON_BYTES])
{
    const struct broker *broker = context;
    struct config config = *broker->config;
    config.dynamic = *listener_options;
    err e = OK;
    for (size_t i = 0; e == OK && i < broker->listeners.count; i++) {
        const struct listener *listener = &broker->listeners.all[i];
        char *texts = listener->tls == NULL ? NULL : texts_of(&config, listener);
        if (texts != NULL && strcmp(texts, broker->tls_made_of[i]) != 0) {
            char reason[CONFIG_REASON_BYTES] = "";
            struct change change;
            e = prepare(broker, &config, listener, &change, reason);
            change_deinit(&change);
            e = e == OK
                    ? OK
                    : refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                                  "Invalid value org.apache.kafka.common.config.ConfigException: "
                                  "Validation of dynamic config update of SSLFactory failed: "
                                  "org.apache.kafka.common.config.ConfigException: %.300s for "
                                  "configuration Invalid dynamic configuration",
                                  reason);
        }
        texts_free(texts);
    }
    return e;
}

/* False: it stays as it was. */
static bool replace(const struct broker *broker, const struct listener *listener)
{
    char reason[CONFIG_REASON_BYTES] = "";
    struct change change;
    err e = prepare(broker, broker->config, listener, &change, reason);
    if (e != OK) {
        log_error("tls", "TLS stays as it was listener=%s reason=\"%s\"", listener->name, reason);
        change_deinit(&change);
        return false;
    }
    tls_slot_replace(listener->tls, change.server);
    if (change.client_slot != NULL) {
        tls_slot_replace(change.client_slot, change.client);
    }
    log_info("tls", "TLS was made anew, for new connections listener=%s", listener->name);
    return true;
}

void broker_reload_tls(struct broker *broker)
{
    for (size_t i = 0; broker->tls_made_of != NULL && i < broker->listeners.count; i++) {
        const struct listener *listener = &broker->listeners.all[i];
        char *texts = listener->tls == NULL ? NULL : texts_of(broker->config, listener);
        if (texts != NULL && strcmp(texts, broker->tls_made_of[i]) != 0 &&
            replace(broker, listener)) {
            char *old = broker->tls_made_of[i];
            broker->tls_made_of[i] = texts;
            texts = old;
        }
        texts_free(texts);
    }
}
