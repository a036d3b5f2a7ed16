/* --command-config: a file of client options, by Kafka's names. Of what is in there the tools follow what is about
 * security: security.protocol, ssl.truststore.*, ssl.keystore.*, ssl.key.password, ssl.enabled.protocols,
 * ssl.cipher.suites, ssl.endpoint.identification.algorithm, sasl.mechanism (PLAIN, SCRAM) and sasl.jaas.config. */
#ifndef OTTLA_CLI_COMMAND_CONFIG_H
#define OTTLA_CLI_COMMAND_CONFIG_H

#include "base/err.h"
#include "broker/security/sasl_client.h"
#include "broker/security/tls_context.h"

/* How brokers are talked to. */
struct client_security {
    int16_t protocol;              /* enum security_protocol */
    struct tls_context *tls;       /* NULL: without */
    struct sasl_identity identity; /* user NULL: nobody logs in */
};

/* `path` NULL: there is no file, and no security. E_CONFIG with a sentence in `reason` (CLI_REASON_BYTES), which has no
 * secret. To be freed by client_security_deinit() in either case. */
NODISCARD err command_config_read(const char *path, struct client_security *security, char *reason);
void client_security_deinit(struct client_security *security);
/* Can it be read? */
NODISCARD err command_config_check(const char *path, char *reason);

/* The version of Kafka whose tools these are like. */
#define CLI_KAFKA_VERSION "3.9.1"

#endif
