/* Passwords as options of brokers keep them in the coordination store: encrypted with a key made of
 * password.encoder.secret, in Kafka's text form, which each of the two reads of the other. (reference: zookeeper §1) */
#ifndef OTTLA_BROKER_SECURITY_PASSWORD_ENCODER_H
#define OTTLA_BROKER_SECURITY_PASSWORD_ENCODER_H

#include "base/err.h"

#include <stdbool.h>

#include <stddef.h>
#include <stdint.h>

/* password.encoder.* */
struct password_encoding {
    const char *secret;      /* NULL: nothing can be encoded */
    const char *old_secret;  /* tried where the other does not fit; may be NULL */
    const char *key_factory; /* NULL: PBKDF2WithHmacSHA512 */
    int32_t key_bits;
    int32_t iterations;
};

/* Can it be had? PBKDF2WithHmacSHA1, -SHA256, -SHA384, -SHA512. */
bool password_key_factory_is_known(const char *name);
/* Malloc'd text. E_CONFIG: there is no secret. */
NODISCARD err password_encode(const struct password_encoding *encoding, const char *password,
                              char **text);
/* Malloc'd. E_CONFIG: there is no secret, or another has encoded it; E_MALFORMED: it is no such text. */
NODISCARD err password_decode(const struct password_encoding *encoding, const char *text,
                              char **password);

#endif
