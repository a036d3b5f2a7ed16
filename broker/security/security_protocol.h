/* The security protocols of listeners, with their numbers on the wire and in Kafka's znodes' names. */
#ifndef OTTLA_BROKER_NET_SECURITY_PROTOCOL_H
#define OTTLA_BROKER_NET_SECURITY_PROTOCOL_H

#include "base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

enum security_protocol {
    PROTOCOL_PLAINTEXT,
    PROTOCOL_SSL,
    PROTOCOL_SASL_PLAINTEXT,
    PROTOCOL_SASL_SSL,
    PROTOCOLS_N,
};

/* NULL: the number is none. */
const char *security_protocol_name(int16_t protocol);
/* In any case of letters; -1: it is none. */
int16_t security_protocol_of(struct str name);

static inline bool protocol_has_tls(int16_t protocol)
{
    return protocol == PROTOCOL_SSL || protocol == PROTOCOL_SASL_SSL;
}

static inline bool protocol_has_sasl(int16_t protocol)
{
    return protocol == PROTOCOL_SASL_PLAINTEXT || protocol == PROTOCOL_SASL_SSL;
}

#endif
