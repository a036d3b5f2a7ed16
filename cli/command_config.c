#define _GNU_SOURCE
#include "cli/command_config.h"

#include "base/file.h"
#include "base/properties.h"
#include "base/refuse.h"
#include "broker/security/jaas.h"
#include "broker/security/security_protocol.h"
#include "cli/options.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT_BYTES = 1 << 20, WHY_BYTES = 256 };

/* The file, while it is read. */
struct source {
    const char *path;
    struct properties properties;
    char *reason;
};

static const char *text_or(const struct source *in, const char *name, const char *otherwise)
{
    const char *text = properties_get(&in->properties, name);
    return text == NULL || *text == '\0' ? otherwise : text;
}

/* ---- TLS ---- */

static err read_tls(const struct source *in, struct client_security *security)
{
    char why[WHY_BYTES] = "";
    const struct store_refusal to = {.reason = why, .size = sizeof(why)};
    const char *no_check = properties_get(&in->properties, "ssl.endpoint.identification.algorithm");
    const struct tls_texts texts = {
        .keys = {.type = text_or(in, "ssl.keystore.type", "JKS"),
                 .location = text_or(in, "ssl.keystore.location", NULL),
                 .password = text_or(in, "ssl.keystore.password", NULL),
                 .key_password = text_or(in, "ssl.key.password", NULL),
                 .key = text_or(in, "ssl.keystore.key", NULL),
                 .certificates = text_or(in, "ssl.keystore.certificate.chain", NULL)},
        .trust = {.type = text_or(in, "ssl.truststore.type", "JKS"),
                  .location = text_or(in, "ssl.truststore.location", NULL),
                  .password = text_or(in, "ssl.truststore.password", NULL),
                  .certificates = text_or(in, "ssl.truststore.certificates", NULL)},
        .cipher_suites = text_or(in, "ssl.cipher.suites", ""),
        .enabled_protocols = text_or(in, "ssl.enabled.protocols", "TLSv1.2,TLSv1.3"),
        .endpoint_identification = no_check == NULL ? "https" : no_check,
    };
    err e = tls_context_new(&texts, TLS_CLIENT, "tools", &security->tls, &to);
    return e == OK ? OK : refuse(in->reason, CLI_REASON_BYTES, "%s: %s", in->path, why);
}

/* ---- SASL ---- */

static err refuse_entry(const struct source *in, const char *why)
{
    return refuse(in->reason, CLI_REASON_BYTES, "%s: sasl.jaas.config: %s", in->path, why);
}

static err take_user(const struct source *in, const struct jaas *jaas,
                     struct client_security *security)
{
    bool by_scram = security->identity.mechanism != SASL_PLAIN;
    const char *user = properties_get(&jaas->options, "username");
    const char *password = properties_get(&jaas->options, "password");
    if (jaas->module != (by_scram ? JAAS_SCRAM : JAAS_PLAIN)) {
        return refuse_entry(in, "its login module is not that of sasl.mechanism");
    }
    if (properties_get(&jaas->options, "tokenauth") != NULL) {
        return refuse_entry(in, "these tools do not log in by delegation tokens");
    }
    if (user == NULL || password == NULL) {
        return refuse_entry(in, "username and password are needed");
    }
    security->identity.user = xstrdup(user);
    security->identity.password = xstrdup(password);
    return OK;
}

static err read_sasl(const struct source *in, struct client_security *security)
{
    const char *name = text_or(in, "sasl.mechanism", "GSSAPI");
    int mechanism = sasl_mechanism_of(str_of(name));
    if (mechanism < 0 || mechanism == SASL_OAUTHBEARER) {
        return refuse(in->reason, CLI_REASON_BYTES,
                      "%s: sasl.mechanism=%.40s is not built into these tools; PLAIN, "
                      "SCRAM-SHA-256 and SCRAM-SHA-512 are",
                      in->path, name);
    }
    security->identity.mechanism = (enum sasl_mechanism)mechanism;
    const char *entry = text_or(in, "sasl.jaas.config", NULL);
    if (entry == NULL) {
        return refuse_entry(in, "it is needed with a SASL protocol");
    }
    char why[WHY_BYTES] = "";
    struct jaas jaas;
    err e = jaas_parse(entry, &jaas, why, sizeof(why));
    e = e == OK ? take_user(in, &jaas, security) : refuse_entry(in, why);
    jaas_deinit(&jaas);
    return e;
}

/* ---- the file ---- */

static err read_security(const struct source *in, struct client_security *security)
{
    const char *name = text_or(in, "security.protocol", "PLAINTEXT");
    security->protocol = security_protocol_of(str_of(name));
    if (security->protocol < 0) {
        return refuse(in->reason, CLI_REASON_BYTES,
                      "%s: security.protocol=%.40s is none; it must be PLAINTEXT, SSL, "
                      "SASL_PLAINTEXT or SASL_SSL",
                      in->path, name);
    }
    if (protocol_has_tls(security->protocol)) {
        TRY(read_tls(in, security));
    }
    return protocol_has_sasl(security->protocol) ? read_sasl(in, security) : OK;
}

err command_config_read(const char *path, struct client_security *security, char *reason)
{
    *security = (struct client_security){.protocol = PROTOCOL_PLAINTEXT};
    if (path == NULL) {
        return OK;
    }
    char *text = NULL;
    size_t len = 0;
    err e = fs_read_all(fs_system(), path, FILE_LIMIT_BYTES, &text, &len);
    if (e != OK) {
        return refuse(reason, CLI_REASON_BYTES, "cannot read %s: %s", path, err_text(e));
    }
    struct source in = {.path = path, .reason = reason};
    properties_init(&in.properties);
    int line = 0;
    e = properties_parse(&in.properties, text, len, &line);
    free(text);
    e = e == OK ? read_security(&in, security)
                : refuse(reason, CLI_REASON_BYTES, "%s, line %d: broken \\u escape", path, line);
    properties_deinit(&in.properties);
    return e;
}

void client_security_deinit(struct client_security *security)
{
    if (security->tls != NULL) {
        tls_context_release(security->tls);
    }
    sasl_identity_deinit(&security->identity);
    *security = (struct client_security){.protocol = PROTOCOL_PLAINTEXT};
}

err command_config_check(const char *path, char *reason)
{
    struct client_security security;
    err e = command_config_read(path, &security, reason);
    client_security_deinit(&security);
    return e;
}
