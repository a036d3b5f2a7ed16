/* The JAAS entry of a mechanism is listener.name.<listener>.<mechanism>.sasl.jaas.config and nothing else: Kafka reads
 * a general sasl.jaas.config for clients only, and its global JAAS file (java.security.auth.login.config) is not read
 * here. No refusal has a value of an entry in it. */
#define _GNU_SOURCE
#include "broker/security/sasl_listener.h"

#include "base/refuse.h"
#include "broker/security/jaas.h"
#include "broker/security/security_protocol.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SERVER_CLASS "sasl.server.callback.handler.class"
#define JAAS_OPTION  "sasl.jaas.config"
#define KAFKA        "org.apache.kafka.common.security."

enum { JAAS_REASON_BYTES = 320, JWKS_TIMEOUT_MS = 10000 };

static const struct {
    const char *name;
    enum jaas_module module;
    enum scram_mechanism scram;
    const char *server_class; /* what Kafka has for it by default */
} MECHANISMS[SASL_MECHANISMS_N] = {
    [SASL_PLAIN] = {"PLAIN", JAAS_PLAIN, SCRAM_UNKNOWN,
                    KAFKA "plain.internals.PlainServerCallbackHandler"},
    [SASL_SCRAM_SHA_256] = {"SCRAM-SHA-256", JAAS_SCRAM, SCRAM_SHA_256,
                            KAFKA "scram.internals.ScramServerCallbackHandler"},
    [SASL_SCRAM_SHA_512] = {"SCRAM-SHA-512", JAAS_SCRAM, SCRAM_SHA_512,
                            KAFKA "scram.internals.ScramServerCallbackHandler"},
    [SASL_OAUTHBEARER] = {"OAUTHBEARER", JAAS_OAUTHBEARER, SCRAM_UNKNOWN,
                          KAFKA "oauthbearer.internals.unsecured."
                                "OAuthBearerUnsecuredValidatorCallbackHandler"},
};

static const char *const VALIDATORS[] = {
    KAFKA "oauthbearer.OAuthBearerValidatorCallbackHandler",
    KAFKA "oauthbearer.secured.OAuthBearerValidatorCallbackHandler",
};

const char *sasl_mechanism_name(enum sasl_mechanism mechanism)
{
    return MECHANISMS[mechanism].name;
}

int sasl_mechanism_of(struct str name)
{
    for (int i = 0; i < SASL_MECHANISMS_N; i++) {
        if (str_is(name, MECHANISMS[i].name)) {
            return i;
        }
    }
    return -1;
}

enum scram_mechanism sasl_mechanism_scram(enum sasl_mechanism mechanism)
{
    return MECHANISMS[mechanism].scram;
}

/* ---- options ---- */

/* Where something is read, and where a refusal goes. */
struct reading {
    const struct config *config;
    const char *listener;
    char *reason;
    size_t size;
};

static const char *text_of(const struct reading *in, const char *mechanism, const char *option)
{
    return config_listener_text(in->config, in->listener, mechanism, option);
}

static int64_t number_of(const struct reading *in, const char *mechanism, const char *option)
{
    const char *text = text_of(in, mechanism, option);
    return text == NULL ? 0 : strtoll(text, NULL, 10); /* checked */
}

static void lower(char *text)
{
    for (; *text != '\0'; text++) {
        *text = *text >= 'A' && *text <= 'Z' ? (char)(*text - 'A' + 'a') : *text;
    }
}

/* "listener.name.<listener>.<mechanism>.<option>", to be freed. */
static char *name_of(const struct reading *in, enum sasl_mechanism mechanism, const char *option)
{
    char *name =
        xasprintf("listener.name.%s.%s.%s", in->listener, MECHANISMS[mechanism].name, option);
    lower(name);
    return name;
}

/* The general option does not count. */
static const char *jaas_text(const struct reading *in, enum sasl_mechanism mechanism)
{
    char *name = name_of(in, mechanism, JAAS_OPTION);
    const char *text = NULL;
    const struct properties *properties = &in->config->properties;
    for (size_t i = 0; i < properties->count; i++) {
        text = strcasecmp(properties->items[i].name, name) == 0 ? properties->items[i].value : text;
    }
    free(name);
    return text;
}

/* The entry of a mechanism; to be freed by jaas_deinit() in either case. */
static err read_jaas(const struct reading *in, enum sasl_mechanism mechanism, struct jaas *jaas)
{
    char why[JAAS_REASON_BYTES] = "";
    const char *text = jaas_text(in, mechanism);
    char *name = name_of(in, mechanism, JAAS_OPTION);
    err e = OK;
    *jaas = (struct jaas){0};
    if (text == NULL) {
        e = refuse(in->reason, in->size,
                   "option %s: it is needed for %s on listener %s (a general sasl.jaas.config and "
                   "Java's JAAS file are not read)",
                   name, MECHANISMS[mechanism].name, in->listener);
    } else if (jaas_parse(text, jaas, why, sizeof(why)) != OK) {
        e = refuse(in->reason, in->size, "option %s: %s", name, why);
    } else if (jaas->module != MECHANISMS[mechanism].module) {
        e = refuse(in->reason, in->size, "option %s: %s needs %s, not %s", name,
                   MECHANISMS[mechanism].name, jaas_module_name(MECHANISMS[mechanism].module),
                   jaas_module_name(jaas->module));
    }
    free(name);
    return e;
}

/* No class is loaded by its name: those that are set must be Kafka's own. */
static err check_class(const struct reading *in, enum sasl_mechanism mechanism, const char *option,
                       const char *allowed)
{
    const char *class = text_of(in, MECHANISMS[mechanism].name, option);
    return class == NULL || *class == '\0' || (allowed != NULL && strcmp(class, allowed) == 0)
               ? OK
               : refuse(in->reason, in->size,
                        "option %s: class %.200s of %s on listener %s is not known, and Java "
                        "classes cannot be loaded; remove the option",
                        option, class, MECHANISMS[mechanism].name, in->listener);
}

static err check_classes(const struct reading *in, enum sasl_mechanism mechanism)
{
    TRY(check_class(in, mechanism, "sasl.login.class",
                    KAFKA "authenticator.AbstractLogin$DefaultLogin"));
    return check_class(
        in, mechanism, "sasl.login.callback.handler.class",
        mechanism == SASL_OAUTHBEARER
            ? KAFKA "oauthbearer.internals.unsecured.OAuthBearerUnsecuredLoginCallbackHandler"
            : KAFKA "authenticator.AbstractLogin$DefaultLoginCallbackHandler");
}

/* ---- OAUTHBEARER ---- */

static bool is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "::1") == 0;
}

static void read_audiences(struct oauth_rules *rules, const char *text)
{
    while (text != NULL && *text != '\0' && rules->audiences_n < OAUTH_AUDIENCES_MAX) {
        text += strspn(text, ", ");
        size_t len = strcspn(text, ",");
        if (len > 0) {
            rules->audiences[rules->audiences_n++] = str_dup((struct str){text, len});
        }
        text += len;
    }
}

static err read_keys(const struct reading *in, const struct sasl_stores *stores,
                     struct sasl_listener *listener)
{
    const char *name = MECHANISMS[SASL_OAUTHBEARER].name;
    const char *url = text_of(in, name, "sasl.oauthbearer.jwks.endpoint.url");
    if (url == NULL || *url == '\0') {
        return refuse(in->reason, in->size,
                      "option sasl.oauthbearer.jwks.endpoint.url: it is needed on listener %s; "
                      "without keys no token could be verified",
                      in->listener);
    }
    char why[JAAS_REASON_BYTES] = "";
    const struct jwk_source_config keys = {
        .url = url,
        .refresh_ms = number_of(in, name, "sasl.oauthbearer.jwks.endpoint.refresh.ms"),
        .retry_ms = number_of(in, name, "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms"),
        .retry_max_ms = number_of(in, name, "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms"),
        .timeout_ms = JWKS_TIMEOUT_MS,
        .threads = stores->threads,
        .clock = stores->clock,
        .sockets = stores->sockets,
    };
    if (jwk_source_new(&keys, &listener->keys, why, sizeof(why)) != OK) {
        return refuse(in->reason, in->size, "option sasl.oauthbearer.jwks.endpoint.url: %s", why);
    }
    struct oauth_rules *rules = &listener->oauth;
    const char *issuer = text_of(in, name, "sasl.oauthbearer.expected.issuer");
    *rules = (struct oauth_rules){
        .keys = listener->keys,
        .name_claim = xstrdup(text_of(in, name, "sasl.oauthbearer.sub.claim.name")),
        .scope_claim = xstrdup(text_of(in, name, "sasl.oauthbearer.scope.claim.name")),
        .issuer = issuer == NULL || *issuer == '\0' ? NULL : xstrdup(issuer),
        .skew_ms = number_of(in, name, "sasl.oauthbearer.clock.skew.seconds") * 1000,
    };
    read_audiences(rules, text_of(in, name, "sasl.oauthbearer.expected.audience"));
    return OK;
}

/* Anybody can make a token that nobody signs. */
static err read_unsecured(const struct reading *in, const struct sasl_listener_config *config,
                          struct sasl_listener *listener, const struct jaas *jaas)
{
    char why[JAAS_REASON_BYTES] = "";
    if (text_of(in, MECHANISMS[SASL_OAUTHBEARER].name, "sasl.oauthbearer.jwks.endpoint.url") !=
        NULL) {
        return refuse(in->reason, in->size,
                      "option " SERVER_CLASS ": it must be %s on listener %s, so that the keys of "
                      "sasl.oauthbearer.jwks.endpoint.url are used",
                      VALIDATORS[0], in->listener);
    }
    if (!is_loopback(config->host) && !config->config->ottla_allow_unsecured_tokens) {
        return refuse(in->reason, in->size,
                      "option sasl.enabled.mechanisms: OAUTHBEARER on listener %s would take "
                      "tokens that nobody has signed; set " SERVER_CLASS "=%s and "
                      "sasl.oauthbearer.jwks.endpoint.url, or ottla.allow.unsecured.tokens=true",
                      in->listener, VALIDATORS[0]);
    }
    char *name = name_of(in, SASL_OAUTHBEARER, JAAS_OPTION);
    err e = oauth_rules_unsecured(&listener->oauth, &jaas->options, why, sizeof(why));
    e = e == OK ? OK : refuse(in->reason, in->size, "option %s: %s", name, why);
    free(name);
    return e;
}

static err read_oauth(const struct reading *in, const struct sasl_listener_config *config,
                      struct sasl_listener *listener, const struct jaas *jaas)
{
    const char *class = text_of(in, MECHANISMS[SASL_OAUTHBEARER].name, SERVER_CLASS);
    for (size_t i = 0; class != NULL && i < 2; i++) {
        if (strcmp(class, VALIDATORS[i]) == 0) {
            return read_keys(in, &config->stores, listener);
        }
    }
    TRY(check_class(in, SASL_OAUTHBEARER, SERVER_CLASS, MECHANISMS[SASL_OAUTHBEARER].server_class));
    return read_unsecured(in, config, listener, jaas);
}

/* ---- a listener ---- */

static err read_mechanism(const struct reading *in, const struct sasl_listener_config *config,
                          struct sasl_listener *listener, enum sasl_mechanism mechanism)
{
    struct jaas jaas;
    err e = read_jaas(in, mechanism, &jaas);
    e = e == OK ? check_classes(in, mechanism) : e;
    if (e == OK && mechanism == SASL_OAUTHBEARER) {
        e = read_oauth(in, config, listener, &jaas);
    } else if (e == OK) {
        e = check_class(in, mechanism, SERVER_CLASS, MECHANISMS[mechanism].server_class);
    }
    if (e == OK && mechanism == SASL_PLAIN) {
        plain_users_deinit(&listener->plain);
        plain_users_init(&listener->plain, &jaas.options, config->stores.random);
    }
    listener->enabled[mechanism] = true;
    listener->reauth_ms[mechanism] =
        number_of(in, MECHANISMS[mechanism].name, "connections.max.reauth.ms");
    jaas_deinit(&jaas);
    return e;
}

static err refuse_mechanism(const struct reading *in, const char *option, struct str name)
{
    bool kerberos = str_is(name, "GSSAPI");
    return refuse(in->reason, in->size,
                  "option %s: %.*s %s; it must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or "
                  "OAUTHBEARER, on listener %s",
                  option, (int)(name.len < 80 ? name.len : 80), name.data,
                  kerberos ? "(Kerberos, the default) is not built" : "is not a mechanism",
                  in->listener);
}

static err read_mechanisms(const struct reading *in, const struct sasl_listener_config *config,
                           struct sasl_listener *listener)
{
    const char *at = text_of(in, NULL, "sasl.enabled.mechanisms");
    bool any = false;
    while (at != NULL && *(at += strspn(at, ", \t")) != '\0') {
        struct str name = {at, strcspn(at, ", \t")};
        int mechanism = sasl_mechanism_of(name);
        if (mechanism < 0) {
            return refuse_mechanism(in, "sasl.enabled.mechanisms", name);
        }
        any = true;
        TRY(read_mechanism(in, config, listener, (enum sasl_mechanism)mechanism));
        at += name.len;
    }
    return any ? OK
               : refuse(in->reason, in->size,
                        "option sasl.enabled.mechanisms: listener %s needs at least one",
                        in->listener);
}

/* Of a secret that all brokers of a cluster have, where there is one, so that nobody's salts are the same on all of them
 * and after a restart, as somebody's are. Of one that anybody knows salts could be told apart: then it is chance. */
static void choose_feign_key(const struct reading *in, struct sasl_listener *listener)
{
    static const char PURPOSE[] = "credentials that nobody has";
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    const char *secret = in->config->delegation_token_secret_key;
    for (int i = 0; (secret == NULL || *secret == '\0') && i < SASL_MECHANISMS_N; i++) {
        const char *entry = listener->enabled[i] ? jaas_text(in, (enum sasl_mechanism)i) : NULL;
        secret = entry != NULL && strstr(entry, "password=") != NULL ? entry : NULL;
    }
    if (secret == NULL || *secret == '\0') {
        struct random *random = listener->stores.random;
        random->fill(random, listener->feign_key, sizeof(listener->feign_key));
        return;
    }
    CHECK(HMAC(EVP_sha256(), secret, (int)strlen(secret), (const uint8_t *)PURPOSE,
               sizeof(PURPOSE) - 1, digest, &len) != NULL);
    memcpy(listener->feign_key, digest, sizeof(listener->feign_key));
}

err sasl_listener_new(const struct sasl_listener_config *config, struct sasl_listener **out,
                      char *reason, size_t reason_size)
{
    const struct reading in = {
        .config = config->config, .listener = config->name, .reason = reason, .size = reason_size};
    struct sasl_listener *listener = xcalloc(1, sizeof(*listener));
    listener->stores = config->stores;
    listener->protocol = config->protocol;
    map_init(&listener->plain.digests);
    err e = read_mechanisms(&in, config, listener);
    choose_feign_key(&in, listener);
    if (e != OK) {
        sasl_listener_free(listener);
        listener = NULL;
    }
    *out = listener;
    return e;
}

void sasl_listener_free(struct sasl_listener *listener)
{
    if (listener != NULL) {
        plain_users_deinit(&listener->plain);
        oauth_rules_deinit(&listener->oauth);
        jwk_source_free(listener->keys);
        OPENSSL_cleanse(listener->feign_key, sizeof(listener->feign_key));
        free(listener);
    }
}

/* ---- this broker at others ---- */

static err take_credentials(const struct reading *in, const struct jaas *jaas,
                            struct sasl_identity *identity)
{
    bool by_token = identity->mechanism == SASL_OAUTHBEARER;
    const char *user_option = by_token ? "unsecuredLoginStringClaim_sub" : "username";
    const char *user = properties_get(&jaas->options, user_option);
    const char *password = properties_get(&jaas->options, "password");
    if (user == NULL || *user == '\0' || (!by_token && (password == NULL || *password == '\0'))) {
        char *name = name_of(in, identity->mechanism, JAAS_OPTION);
        err e = refuse(in->reason, in->size,
                       "option %s: %s needed, for brokers log in at each other with them", name,
                       by_token ? "unsecuredLoginStringClaim_sub is" : "username and password are");
        free(name);
        return e;
    }
    identity->user = xstrdup(user);
    identity->password = by_token ? NULL : xstrdup(password);
    return OK;
}

err sasl_identity_read(const struct config *config, const char *listener,
                       struct sasl_identity *identity, char *reason, size_t reason_size)
{
    const struct reading in = {
        .config = config, .listener = listener, .reason = reason, .size = reason_size};
    const char *name = text_of(&in, NULL, "sasl.mechanism.inter.broker.protocol");
    int mechanism = sasl_mechanism_of(str_of(name));
    struct jaas jaas;
    *identity = (struct sasl_identity){0};
    if (mechanism < 0) {
        return refuse_mechanism(&in, "sasl.mechanism.inter.broker.protocol", str_of(name));
    }
    identity->mechanism = (enum sasl_mechanism)mechanism;
    err e = read_jaas(&in, identity->mechanism, &jaas);
    e = e == OK ? take_credentials(&in, &jaas, identity) : e;
    jaas_deinit(&jaas);
    return e;
}

void sasl_identity_deinit(struct sasl_identity *identity)
{
    if (identity->password != NULL) {
        OPENSSL_cleanse(identity->password, strlen(identity->password));
    }
    free(identity->password);
    free(identity->user);
    *identity = (struct sasl_identity){0};
}
