/* Stores of PKCS12, as keytool and openssl write them. */
#ifndef OTTLA_BROKER_SECURITY_PKCS12_H
#define OTTLA_BROKER_SECURITY_PKCS12_H

#include "base/bytes.h"
#include "broker/security/stores.h"

/* What is in the file is added to `store`. `key_password` NULL: as `password`. E_CONFIG with why, as the rest
 * of a sentence. */
NODISCARD err pkcs12_read(struct bytes file, const char *password, const char *key_password,
                          struct tls_store *store, const char **why);

#endif
