/* A context is an SSL_CTX, and what OpenSSL does not know of: the stores it was made of, whose entries a
 * successor is compared with, and the rules for names.
 *
 * Trust is Java's: whoever is in the trust store is believed, whether it is a root, something between or a leaf
 * (X509_V_FLAG_PARTIAL_CHAIN). Without a trust store it is the system's, as Java has one of its own.
 *
 * Alerts are Java's where a client can tell: whatever is wrong with a certificate is certificate_unknown, but
 * for its dates and its signature; OpenSSL derives the alert from the error that verification leaves, so
 * after it the error is replaced by one that has that alert.
 *
 * Security level 1: keys of 1024 bits are taken, as by Java; Debian's level 2 would refuse certificates that serve
 * a Kafka broker today. */
#define _GNU_SOURCE
#include "broker/security/tls_context.h"

#include "base/log.h"
#include "base/refuse.h"
#include "broker/security/cipher_names.h"
#include "broker/security/dn.h"
#include "broker/security/principal_rules.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    SECURITY_LEVEL = 1,
    TICKETS = 1,                    /* after each handshake of 1.3 */
    TICKET_LIFE_S = 2 * 3600,       /* a client's certificate is not looked at again meanwhile */
    HANDSHAKE_BYTES_MAX = 64 << 10, /* a chain of certificates */
    HANDSHAKE_TURNS_MAX = 100,
};

struct tls_context {
    atomic_int refs;
    SSL_CTX *ssl;
    struct tls_store *keys;
    struct tls_store *trust;
    struct principal_rules *rules; /* NULL: a client */
    bool identifies;               /* a client looks whether it has reached whom it meant */
    bool is_client;
};

/* ---- verification ---- */

/* Has an alert of its own in Java; all else is certificate_unknown. */
static int told_error(int error)
{
    switch (error) {
    case X509_V_OK:
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return error;
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        return X509_V_ERR_CERT_REJECTED; /* bad_certificate */
    default:
        return X509_V_ERR_INVALID_EXTENSION; /* OpenSSL has no alert for it: certificate_unknown */
    }
}

static int verify(X509_STORE_CTX *chain, void *argument)
{
    (void)argument;
    int good = X509_verify_cert(chain);
    if (good > 0) {
        return good;
    }
    int error = X509_STORE_CTX_get_error(chain);
    log_debug("tls", "certificate refused reason=\"%s\"", X509_verify_cert_error_string(error));
    X509_STORE_CTX_set_error(chain, told_error(error));
    return 0;
}

/* ---- making one ---- */

static err refuse_openssl(const struct store_refusal *to, const char *what)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    err e = refuse(to->reason, to->size, "%s: %s", what, why == NULL ? "not accepted" : why);
    ERR_clear_error();
    return e;
}

static bool word_is(const char *at, size_t len, const char *word)
{
    return strlen(word) == len && strncmp(at, word, len) == 0;
}

/* Which of 1.2 and 1.3; older ones, which Java has switched off, are passed over beside these. */
static err set_protocols(struct tls_context *context, const char *names,
                         const struct store_refusal *to)
{
    static const char *const OLD[] = {"TLSv1", "TLSv1.1", "SSLv3", "SSLv2Hello"};
    bool has_12 = false;
    bool has_13 = false;
    for (const char *at = names; *(at += strspn(at, ", \t")) != '\0';) {
        size_t len = strcspn(at, ", \t");
        bool is_12 = word_is(at, len, "TLSv1.2");
        bool is_13 = word_is(at, len, "TLSv1.3");
        bool old = false;
        for (size_t i = 0; i < sizeof(OLD) / sizeof(OLD[0]); i++) {
            old |= word_is(at, len, OLD[i]);
        }
        has_12 |= is_12;
        has_13 |= is_13;
        if (!is_12 && !is_13 && !old) {
            has_12 = has_13 = false;
            break;
        }
        if (old) {
            log_warn("tls", "protocol passed over, it is not safe name=%.*s", (int)len, at);
        }
        at += len;
    }
    if (!has_12 && !has_13) {
        return refuse(to->reason, to->size,
                      "option ssl.enabled.protocols: \"%.80s\" is not allowed; it must be of "
                      "TLSv1.2, TLSv1.3",
                      names);
    }
    SSL_CTX_set_min_proto_version(context->ssl, has_12 ? TLS1_2_VERSION : TLS1_3_VERSION);
    SSL_CTX_set_max_proto_version(context->ssl, has_13 ? TLS1_3_VERSION : TLS1_2_VERSION);
    return OK;
}

/* With suites of one generation alone the other is off: OpenSSL would agree on it first, and find none then. */
static err set_ciphers(struct tls_context *context, const char *names,
                       const struct store_refusal *to)
{
    if (names == NULL || names[strspn(names, ", \t")] == '\0') {
        return OK;
    }
    struct cipher_lists lists;
    TRY(cipher_lists_of(names, &lists, to->reason, to->size));
    bool has_12 =
        *lists.until_12 != '\0' && SSL_CTX_get_min_proto_version(context->ssl) == TLS1_2_VERSION;
    bool has_13 =
        *lists.of_13 != '\0' && SSL_CTX_get_max_proto_version(context->ssl) == TLS1_3_VERSION;
    bool set = has_12 || has_13;
    if (has_12) {
        set = set && SSL_CTX_set_cipher_list(context->ssl, lists.until_12) == 1;
    }
    set = set && SSL_CTX_set_ciphersuites(context->ssl, lists.of_13) == 1;
    SSL_CTX_set_min_proto_version(context->ssl, has_12 ? TLS1_2_VERSION : TLS1_3_VERSION);
    SSL_CTX_set_max_proto_version(context->ssl, has_13 ? TLS1_3_VERSION : TLS1_2_VERSION);
    cipher_lists_deinit(&lists);
    return set ? OK
               : refuse(to->reason, to->size,
                        "option ssl.cipher.suites: \"%.200s\" has none for ssl.enabled.protocols",
                        names);
}

/* One key of each kind (RSA, EC): the first. */
static err set_keys(struct tls_context *context, const struct store_refusal *to)
{
    int had[8] = {0};
    size_t had_n = 0;
    for (size_t i = 0; i < context->keys->entries_n; i++) {
        const struct store_entry *entry = &context->keys->entries[i];
        int kind = entry->key == NULL ? 0 : EVP_PKEY_get_base_id(entry->key);
        bool again = kind == 0;
        for (size_t k = 0; k < had_n; k++) {
            again |= had[k] == kind;
        }
        if (again || had_n == sizeof(had) / sizeof(had[0])) {
            continue;
        }
        had[had_n++] = kind;
        STACK_OF(X509) *rest = sk_X509_dup(entry->chain);
        X509 *own = sk_X509_shift(rest);
        int set = SSL_CTX_use_cert_and_key(context->ssl, own, entry->key, rest, 1);
        sk_X509_free(rest);
        if (set != 1) {
            return refuse_openssl(to, "option ssl.keystore.location");
        }
    }
    return OK;
}

/* Clients are told whose certificates are asked for, as by Java. */
static err set_trust(struct tls_context *context, bool told, const struct store_refusal *to)
{
    X509_STORE *store = SSL_CTX_get_cert_store(context->ssl);
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    if (context->trust == NULL) {
        (void)SSL_CTX_set_default_verify_paths(context->ssl);
        ERR_clear_error();
        return OK;
    }
    for (size_t i = 0; i < context->trust->entries_n; i++) {
        X509 *one = sk_X509_value(context->trust->entries[i].chain, 0);
        if (X509_STORE_add_cert(store, one) != 1 ||
            (told && SSL_CTX_add_client_CA(context->ssl, one) != 1)) {
            return refuse_openssl(to, "option ssl.truststore.location");
        }
    }
    return OK;
}

static err set_client_auth(struct tls_context *context, const char *text,
                           const struct store_refusal *to)
{
    int mode = SSL_VERIFY_NONE;
    if (strcasecmp(text, "required") == 0) {
        mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    } else if (strcasecmp(text, "requested") == 0) {
        mode = SSL_VERIFY_PEER;
    } else if (strcasecmp(text, "none") != 0) {
        return refuse(
            to->reason, to->size,
            "option ssl.client.auth: \"%.80s\" is not allowed; it must be none, requested "
            "or required",
            text);
    }
    SSL_CTX_set_verify(context->ssl, mode, NULL);
    return set_trust(context, mode != SSL_VERIFY_NONE, to);
}

static err set_server(struct tls_context *context, const struct tls_texts *texts, const char *name,
                      const struct store_refusal *to)
{
    if (context->keys == NULL) {
        return refuse(to->reason, to->size,
                      "option ssl.keystore.location: it is not set; a listener with TLS needs a "
                      "key and its certificate");
    }
    uint8_t id[SSL_MAX_SID_CTX_LENGTH] = {0};
    size_t len = strlen(name);
    memcpy(id, name, len < sizeof(id) ? len : sizeof(id));
    SSL_CTX_set_session_id_context(context->ssl, id, sizeof(id));
    SSL_CTX_set_num_tickets(context->ssl, TICKETS);
    SSL_CTX_set_timeout(context->ssl, TICKET_LIFE_S);
    TRY(set_client_auth(context, texts->client_auth, to));
    char rules[256] = "";
    return principal_rules_parse(texts->principal_rules, &context->rules, rules, sizeof(rules)) ==
                   OK
               ? OK
               : refuse(to->reason, to->size, "option ssl.principal.mapping.rules: %s", rules);
}

static err set_client(struct tls_context *context, const struct tls_texts *texts,
                      const struct store_refusal *to)
{
    const char *how = texts->endpoint_identification;
    context->is_client = true;
    context->identifies = how != NULL && *how != '\0';
    if (context->identifies && strcasecmp(how, "https") != 0) {
        return refuse(to->reason, to->size,
                      "option ssl.endpoint.identification.algorithm: \"%.80s\" is not allowed; it "
                      "must be https or empty",
                      how);
    }
    SSL_CTX_set_verify(context->ssl, SSL_VERIFY_PEER, NULL);
    return set_trust(context, false, to);
}

static void set_manners(SSL_CTX *ssl)
{
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(ssl, HANDSHAKE_BYTES_MAX);
    SSL_CTX_set_max_early_data(ssl, 0);
    SSL_CTX_set_security_level(ssl, SECURITY_LEVEL);
    SSL_CTX_set_cert_verify_callback(ssl, verify, NULL);
    SSL_CTX_set_dh_auto(ssl, 1);
}

static err fill(struct tls_context *context, const struct tls_texts *texts, enum tls_side side,
                const char *name, const struct store_refusal *to)
{
    TRY(key_store_load(&texts->keys, &context->keys, to));
    TRY(trust_store_load(&texts->trust, &context->trust, to));
    set_manners(context->ssl);
    TRY(set_protocols(context, texts->enabled_protocols, to));
    TRY(set_ciphers(context, texts->cipher_suites, to));
    TRY(context->keys == NULL ? OK : set_keys(context, to));
    return side == TLS_SERVER ? set_server(context, texts, name, to)
                              : set_client(context, texts, to);
}

err tls_context_new(const struct tls_texts *texts, enum tls_side side, const char *name,
                    struct tls_context **out, const struct store_refusal *to)
{
    OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL);
    struct tls_context *context = xcalloc(1, sizeof(*context));
    context->refs = 1;
    context->ssl = SSL_CTX_new(side == TLS_SERVER ? TLS_server_method() : TLS_client_method());
    err e = context->ssl == NULL ? refuse_openssl(to, "TLS") : OK;
    e = e == OK ? fill(context, texts, side, name, to) : e;
    if (e != OK) {
        tls_context_release(context);
        return e;
    }
    *out = context;
    return OK;
}

struct tls_context *tls_context_acquire(struct tls_context *context)
{
    atomic_fetch_add(&context->refs, 1);
    return context;
}

void tls_context_release(struct tls_context *context)
{
    if (context == NULL || atomic_fetch_sub(&context->refs, 1) > 1) {
        return;
    }
    SSL_CTX_free(context->ssl);
    store_free(context->keys);
    store_free(context->trust);
    principal_rules_free(context->rules);
    free(context);
}

const struct tls_store *tls_context_keys(const struct tls_context *context)
{
    return context->keys;
}

const struct tls_store *tls_context_trust(const struct tls_context *context)
{
    return context->trust;
}

/* ---- connections ---- */

static bool is_address(const char *host)
{
    uint8_t address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* An address is no name that could be asked for (RFC 6066). */
static bool set_host(const struct tls_context *context, SSL *ssl, const char *host)
{
    bool address = is_address(host);
    if (!address && SSL_set_tlsext_host_name(ssl, host) != 1) {
        return false;
    }
    if (!context->identifies) {
        return true;
    }
    X509_VERIFY_PARAM *wanted = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return address ? X509_VERIFY_PARAM_set1_ip_asc(wanted, host) == 1
                   : X509_VERIFY_PARAM_set1_host(wanted, host, 0) == 1;
}

SSL *tls_context_connection(const struct tls_context *context, const char *host)
{
    SSL *ssl = SSL_new(context->ssl);
    if (ssl == NULL) {
        return NULL;
    }
    if (!context->is_client) {
        SSL_set_accept_state(ssl);
        return ssl;
    }
    SSL_set_connect_state(ssl);
    if (host != NULL && !set_host(context, ssl, host)) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

err tls_context_principal(const struct tls_context *context, const SSL *connection, char **name)
{
    *name = NULL;
    X509 *certificate = SSL_get0_peer_certificate(connection);
    if (certificate == NULL) {
        return OK;
    }
    char *dn = dn_text(X509_get_subject_name(certificate));
    *name = dn == NULL ? NULL : principal_rules_apply(context->rules, dn);
    if (*name == NULL) {
        log_info("tls", "No rules apply to %s", dn == NULL ? "a name that is broken" : dn);
    }
    free(dn);
    return *name == NULL ? E_NOT_FOUND : OK;
}

/* ---- do they understand each other? ---- */

/* True: nothing more is to be done. */
static bool step(SSL *ssl, const char **why)
{
    int done = SSL_do_handshake(ssl);
    int error = SSL_get_error(ssl, done);
    if (done != 1 && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
        const char *reason = ERR_reason_error_string(ERR_peek_last_error());
        *why = reason != NULL ? reason : "the handshake failed";
        ERR_clear_error();
    }
    return done == 1;
}

static bool shake_hands(SSL *server, SSL *client, const char **why)
{
    bool served = false;
    bool asked = false;
    for (int i = 0; i < HANDSHAKE_TURNS_MAX && *why == NULL && !(served && asked); i++) {
        asked = asked || step(client, why);
        served = *why == NULL && (served || step(server, why));
    }
    return served && asked && *why == NULL;
}

bool tls_contexts_agree(const struct tls_context *server, const struct tls_context *client,
                        const char **why)
{
    *why = NULL;
    SSL *a = tls_context_connection(server, NULL);
    SSL *b = tls_context_connection(client, NULL);
    BIO *of_a = NULL;
    BIO *of_b = NULL;
    bool agree = false;
    if (a != NULL && b != NULL &&
        BIO_new_bio_pair(&of_a, HANDSHAKE_BYTES_MAX, &of_b, HANDSHAKE_BYTES_MAX) == 1) {
        SSL_set_bio(a, of_a, of_a);
        SSL_set_bio(b, of_b, of_b);
        agree = shake_hands(a, b, why);
    }
    SSL_free(a);
    SSL_free(b);
    return agree;
}
