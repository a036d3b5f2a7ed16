/* From option names to a context; all that is checked is checked there. */
#include "broker/security/tls_options.h"

#include "base/refuse.h"
#include "broker/security/security_protocol.h"

static const char *text(const struct config *config, const char *listener, const char *option)
{
    return config_listener_text(config, listener, NULL, option);
}

/* NULL for an empty one, which is what an unset variable of a container leaves. */
static const char *given(const struct config *config, const char *listener, const char *option)
{
    const char *found = text(config, listener, option);
    return found == NULL || *found == '\0' ? NULL : found;
}

/* Who logs in need not show a certificate, too, because the listeners without logins ask for one: there Kafka heeds
 * the option that names the listener alone. */
static const char *client_auth(const struct config *config, const struct tls_listener *listener)
{
    return protocol_has_sasl(listener->protocol)
               ? config_listener_own_text(config, listener->name, "ssl.client.auth", "none")
               : text(config, listener->name, "ssl.client.auth");
}

struct tls_texts tls_options_of(const struct config *config, const struct tls_listener *of)
{
    const char *listener = of->name;
    return (struct tls_texts){
        .keys = {.type = text(config, listener, "ssl.keystore.type"),
                 .location = given(config, listener, "ssl.keystore.location"),
                 .password = given(config, listener, "ssl.keystore.password"),
                 .key_password = given(config, listener, "ssl.key.password"),
                 .key = given(config, listener, "ssl.keystore.key"),
                 .certificates = given(config, listener, "ssl.keystore.certificate.chain")},
        .trust = {.type = text(config, listener, "ssl.truststore.type"),
                  .location = given(config, listener, "ssl.truststore.location"),
                  .password = given(config, listener, "ssl.truststore.password"),
                  .certificates = given(config, listener, "ssl.truststore.certificates")},
        .client_auth = client_auth(config, of),
        .cipher_suites = text(config, listener, "ssl.cipher.suites"),
        .enabled_protocols = text(config, listener, "ssl.enabled.protocols"),
        .principal_rules = text(config, listener, "ssl.principal.mapping.rules"),
        .endpoint_identification = text(config, listener, "ssl.endpoint.identification.algorithm"),
    };
}

err tls_options_context(const struct config *config, const struct tls_listener *listener,
                        enum tls_side side, struct tls_context **context,
                        char reason[CONFIG_REASON_BYTES])
{
    char why[CONFIG_REASON_BYTES] = "";
    const struct store_refusal to = {.reason = why, .size = sizeof(why)};
    const struct tls_texts texts = tls_options_of(config, listener);
    err e = tls_context_new(&texts, side, listener->name, context, &to);
    return e == OK ? OK
                   : refuse(reason, CONFIG_REASON_BYTES, "listener %s: %s", listener->name, why);
}
