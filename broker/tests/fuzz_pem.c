/* Arbitrary bytes as the options and files of stores: the first byte chooses what they are. Nothing may crash; what is
 * read is used as a listener would. */
#include "broker/security/dn.h"
#include "broker/security/pkcs12.h"

#include <stdlib.h>
#include <string.h>

static void use(struct tls_store *store)
{
    for (size_t i = 0; store != NULL && i < store->entries_n; i++) {
        X509 *first = sk_X509_value(store->entries[i].chain, 0);
        if (first != NULL) {
            free(dn_text(X509_get_subject_name(first)));
            free(dn_alternatives_text(first));
        }
    }
    store_free(store);
}

static void as_pem(const char *text, int kind)
{
    char reason[256];
    const struct store_refusal to = {reason, sizeof(reason)};
    struct tls_store *store = NULL;
    struct store_texts texts = {.type = "PEM", .certificates = text};
    if (kind == 0) {
        err_ignore(trust_store_load(&texts, &store, &to));
    } else {
        texts.key = text;
        err_ignore(key_store_load(&texts, &store, &to));
    }
    use(store);
}

static void as_pkcs12(const uint8_t *data, size_t size)
{
    const char *why = NULL;
    struct tls_store *store = store_new();
    err_ignore(pkcs12_read(bytes_of(data, size), "", NULL, store, &why));
    use(store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    if (data[0] % 4 == 3) {
        as_pkcs12(data + 1, size - 1);
        return 0;
    }
    char *text = strndup((const char *)data + 1, size - 1);
    as_pem(text, data[0] % 4);
    free(text);
    return 0;
}
