#include "broker/security/security_protocol.h"

#include <string.h>
#include <strings.h>

static const char *const NAMES[PROTOCOLS_N] = {
    [PROTOCOL_PLAINTEXT] = "PLAINTEXT",
    [PROTOCOL_SSL] = "SSL",
    [PROTOCOL_SASL_PLAINTEXT] = "SASL_PLAINTEXT",
    [PROTOCOL_SASL_SSL] = "SASL_SSL",
};

const char *security_protocol_name(int16_t protocol)
{
    return protocol >= 0 && protocol < PROTOCOLS_N ? NAMES[protocol] : NULL;
}

int16_t security_protocol_of(struct str name)
{
    for (int16_t i = 0; i < PROTOCOLS_N; i++) {
        if (name.len == strlen(NAMES[i]) && strncasecmp(name.data, NAMES[i], name.len) == 0) {
            return i;
        }
    }
    return -1;
}
