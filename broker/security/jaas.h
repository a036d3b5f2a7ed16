/* An entry of sasl.jaas.config, as Kafka reads it:
 *
 *   org.apache.kafka.common.security.plain.PlainLoginModule required username="a" user_b="secret";
 *
 * Of Java's login modules three are known, and no class is ever loaded: any other name is refused.
 * (reference: security §3) */
#ifndef OTTLA_BROKER_SECURITY_JAAS_H
#define OTTLA_BROKER_SECURITY_JAAS_H

#include "base/properties.h"

enum jaas_module { JAAS_PLAIN, JAAS_SCRAM, JAAS_OAUTHBEARER };

struct jaas {
    enum jaas_module module;
    struct properties options; /* secrets are among them */
};

/* E_CONFIG, with Kafka's sentence in `reason`, which has no value of an option. To be freed by
 * jaas_deinit() in either case. */
NODISCARD err jaas_parse(const char *text, struct jaas *jaas, char *reason, size_t reason_size);
void jaas_deinit(struct jaas *jaas);

/* The short name of the class: "PlainLoginModule". */
const char *jaas_module_name(enum jaas_module module);

#endif
