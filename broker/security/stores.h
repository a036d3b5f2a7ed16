/* Key stores and trust stores, as Kafka's ssl.keystore.* and ssl.truststore.* name them: PEM (a file or
 * in the option itself) and PKCS12. A store of Java's own format (JKS) is refused with the line that
 * converts it; under the name JKS a file of PKCS12 is read all the same, as Java does.
 *
 * A store does not change once it is loaded: any thread may read it. Refusals name the option, never a
 * secret, in Kafka's words where it has some. (reference: security §2) */
#ifndef OTTLA_BROKER_SECURITY_STORES_H
#define OTTLA_BROKER_SECURITY_STORES_H

#include "base/err.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stddef.h>

/* The options' texts; NULL where one is not set. */
struct store_texts {
    const char *type;
    const char *location;
    const char *password;
    const char *key_password; /* of a key store only, as is `key` */
    const char *key;          /* ssl.keystore.key */
    const char *certificates; /* ssl.keystore.certificate.chain, ssl.truststore.certificates */
};

/* Where a refusal is written. */
struct store_refusal {
    char *reason;
    size_t size;
};

/* A certificate that is trusted, or a key with its certificates, the key's own first. */
struct store_entry {
    char *alias;
    EVP_PKEY *key; /* NULL: a certificate alone */
    STACK_OF(X509) * chain;
};

struct tls_store {
    struct store_entry *entries;
    size_t entries_n;
    int64_t modified_ns; /* of the file; 0: there is none */
};

/* E_CONFIG with one sentence if the texts do not go together, or the store cannot be read. *store is
 * NULL where no store is configured. */
NODISCARD err key_store_load(const struct store_texts *texts, struct tls_store **store,
                             const struct store_refusal *to);
NODISCARD err trust_store_load(const struct store_texts *texts, struct tls_store **store,
                               const struct store_refusal *to);
void store_free(struct tls_store *store);
/* Of a file as it is now; 0: there is none. */
int64_t store_file_modified_ns(const char *location);

/* For who reads a format: takes the key, which may be NULL, and the chain over. */
void store_add(struct tls_store *store, const char *alias, EVP_PKEY *key, STACK_OF(X509) * chain);
struct tls_store *store_new(void);

/* May the new key store take the place of the one that a listener has? Kafka's rule: as many entries, and under each alias
 * the same name and at least the same alternative names, unless such changes are allowed. */
NODISCARD err store_check_successor(const struct tls_store *old, const struct tls_store *fresh,
                                    bool name_may_change, bool alternatives_may_change,
                                    const struct store_refusal *to);

#endif
