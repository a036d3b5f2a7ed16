/* Cipher suites by the names that Java and IANA have for them. (reference: security §2) */
#ifndef OTTLA_BROKER_SECURITY_CIPHER_NAMES_H
#define OTTLA_BROKER_SECURITY_CIPHER_NAMES_H

#include "base/err.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

/* Suites in the words of OpenSSL, which has one list for each generation; malloc'd. */
struct cipher_lists {
    char *until_12; /* TLS 1.2; "": none */
    char *of_13;
};

/* `names` is a list with commas. E_CONFIG with the reason if there is no suite of that name. */
NODISCARD err cipher_lists_of(const char *names, struct cipher_lists *lists, char *reason,
                              size_t reason_size);
void cipher_lists_deinit(struct cipher_lists *lists);

#endif
