/* PEM is taken apart here: in an option's value its lines may have been joined by blanks, and Java's reader takes
 * that. The texts of what does not go together are Kafka's (DefaultSslEngineFactory).
 *
 * What a file is says its beginning, not the option: ssl.keystore.type is JKS unless it is set, and keytool
 * has written PKCS12 for years whatever the file is called. */
#define _GNU_SOURCE
#include "broker/security/stores.h"

#include "base/file.h"
#include "base/reader.h"
#include "base/refuse.h"
#include "broker/security/dn.h"
#include "broker/security/pkcs12.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pkcs12.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { STORE_BYTES_MAX = 8 << 20, REASON_PART = 256 };

static const uint32_t JKS_MAGIC = 0xfeedfeed;
static const uint32_t JCEKS_MAGIC = 0xcececece;

/* ---- life ---- */

struct tls_store *store_new(void)
{
    return xcalloc(1, sizeof(struct tls_store));
}

void store_add(struct tls_store *store, const char *alias, EVP_PKEY *key, STACK_OF(X509) * chain)
{
    store->entries = xrealloc(store->entries, (store->entries_n + 1) * sizeof(*store->entries));
    store->entries[store->entries_n++] = (struct store_entry){
        .alias = xstrdup(alias != NULL ? alias : ""), .key = key, .chain = chain};
}

void store_free(struct tls_store *store)
{
    if (store == NULL) {
        return;
    }
    for (size_t i = 0; i < store->entries_n; i++) {
        free(store->entries[i].alias);
        EVP_PKEY_free(store->entries[i].key);
        sk_X509_pop_free(store->entries[i].chain, X509_free);
    }
    free(store->entries);
    free(store);
}

int64_t store_file_modified_ns(const char *location)
{
    struct stat file;
    if (location == NULL || stat(location, &file) != 0) {
        return 0;
    }
    return (int64_t)file.st_mtim.tv_sec * 1000000000 + file.st_mtim.tv_nsec;
}

/* ---- PEM ---- */

struct pem_block {
    uint8_t *der; /* malloc'd */
    long len;
    bool encrypted; /* of a private key */
};

/* The base64 between two lines, blanks aside; false: it is none. */
static bool decode_base64(const char *text, size_t len, struct pem_block *block)
{
    EVP_ENCODE_CTX *context = EVP_ENCODE_CTX_new();
    block->der = xmalloc(len + 1);
    int n = 0;
    int last = 0;
    char *packed = xmalloc(len + 2);
    size_t packed_n = 0;
    for (size_t i = 0; i < len; i++) {
        if (strchr(" \t\r\n", text[i]) == NULL) {
            packed[packed_n++] = text[i];
        }
    }
    packed[packed_n++] = '\n';
    EVP_DecodeInit(context);
    bool good =
        EVP_DecodeUpdate(context, block->der, &n, (const uint8_t *)packed, (int)packed_n) >= 0 &&
        EVP_DecodeFinal(context, block->der + n, &last) == 1;
    EVP_ENCODE_CTX_free(context);
    OPENSSL_cleanse(packed, packed_n);
    free(packed);
    block->len = n + last;
    if (!good) {
        free(block->der);
    }
    return good;
}

/* The next block after *at whose label ends with `label`. `malformed`: it is no base64. */
static bool next_block(const char **at, const char *label, struct pem_block *block, bool *malformed)
{
    for (;;) {
        const char *begin = strstr(*at, "-----BEGIN ");
        const char *name = begin == NULL ? NULL : begin + strlen("-----BEGIN ");
        const char *name_end = name == NULL ? NULL : strstr(name, "-----");
        const char *body = name_end == NULL ? NULL : name_end + strlen("-----");
        const char *end = body == NULL ? NULL : strstr(body, "-----END ");
        if (end == NULL) {
            return false;
        }
        size_t name_len = (size_t)(name_end - name);
        size_t label_len = strlen(label);
        *at = end + strlen("-----END ");
        if (name_len < label_len || strncmp(name + name_len - label_len, label, label_len) != 0) {
            continue;
        }
        block->encrypted = strncmp(name, "ENCRYPTED ", strlen("ENCRYPTED ")) == 0;
        *malformed = !decode_base64(body, (size_t)(end - body), block);
        return !*malformed;
    }
}

static void block_deinit(struct pem_block *block)
{
    OPENSSL_cleanse(block->der, (size_t)block->len);
    free(block->der);
}

static err no_entries(const char *label, bool malformed, const struct store_refusal *to)
{
    return malformed ? refuse(to->reason, to->size, "a %s entry of it is no base64", label)
                     : refuse(to->reason, to->size, "No matching %s entries in PEM file", label);
}

static err read_pem_certificates(const char *text, STACK_OF(X509) * out,
                                 const struct store_refusal *to)
{
    struct pem_block block;
    bool malformed = false;
    while (next_block(&text, "CERTIFICATE", &block, &malformed)) {
        const uint8_t *at = block.der;
        X509 *certificate = d2i_X509(NULL, &at, block.len);
        block_deinit(&block);
        if (certificate == NULL) {
            return refuse(to->reason, to->size, "a CERTIFICATE entry of it is broken");
        }
        sk_X509_push(out, certificate);
    }
    return sk_X509_num(out) > 0 && !malformed ? OK : no_entries("CERTIFICATE", malformed, to);
}

static EVP_PKEY *key_of_block(const struct pem_block *block, const char *password)
{
    const uint8_t *at = block->der;
    PKCS8_PRIV_KEY_INFO *info = NULL;
    if (block->encrypted) {
        X509_SIG *secret = d2i_X509_SIG(NULL, &at, block->len);
        info = secret == NULL || password == NULL
                   ? NULL
                   : PKCS8_decrypt(secret, password, (int)strlen(password));
        X509_SIG_free(secret);
    } else {
        info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, block->len);
    }
    EVP_PKEY *key = info == NULL ? NULL : EVP_PKCS82PKEY(info);
    PKCS8_PRIV_KEY_INFO_free(info);
    return key;
}

static err read_pem_key(const char *text, const char *password, EVP_PKEY **key,
                        const struct store_refusal *to)
{
    struct pem_block block;
    struct pem_block another;
    bool malformed = false;
    if (!next_block(&text, "PRIVATE KEY", &block, &malformed)) {
        return no_entries("PRIVATE KEY", malformed, to);
    }
    bool several = next_block(&text, "PRIVATE KEY", &another, &malformed);
    if (several) {
        block_deinit(&another);
    }
    *key = several ? NULL : key_of_block(&block, password);
    bool encrypted = block.encrypted;
    block_deinit(&block);
    if (several) {
        return refuse(to->reason, to->size, "Expected one private key, but found more");
    }
    if (*key != NULL) {
        return OK;
    }
    if (encrypted) {
        return refuse(to->reason, to->size, "its private key is encrypted, and %s",
                      password == NULL ? "ssl.key.password is not set"
                                       : "ssl.key.password does not open it");
    }
    return refuse(to->reason, to->size,
                  "its private key is not of PKCS#8; convert it: openssl pkcs8 -topk8");
}

/* Brings the key's own certificate to the front. False: it is not there. */
static bool own_first(EVP_PKEY *key, STACK_OF(X509) * chain)
{
    for (int i = 0; i < sk_X509_num(chain); i++) {
        if (X509_check_private_key(sk_X509_value(chain, i), key) == 1) {
            X509 *own = sk_X509_delete(chain, i);
            sk_X509_unshift(chain, own);
            return true;
        }
    }
    return false;
}

static err read_pem_pair(const char *key_text, const char *chain_text, const char *password,
                         struct tls_store *store, const struct store_refusal *to)
{
    EVP_PKEY *key = NULL;
    STACK_OF(X509) *chain = sk_X509_new_null();
    err e = read_pem_certificates(chain_text, chain, to);
    e = e == OK ? read_pem_key(key_text, password, &key, to) : e;
    if (e == OK && !own_first(key, chain)) {
        e = refuse(to->reason, to->size,
                   "its private key does not belong to any of its certificates");
    }
    store_add(store, "kafka", key, chain);
    return e;
}

static err read_pem_trust(const char *text, struct tls_store *store, const struct store_refusal *to)
{
    STACK_OF(X509) *all = sk_X509_new_null();
    err e = read_pem_certificates(text, all, to);
    for (int i = 0; i < sk_X509_num(all); i++) {
        char alias[24];
        STACK_OF(X509) *alone = sk_X509_new_null();
        X509_up_ref(sk_X509_value(all, i));
        sk_X509_push(alone, sk_X509_value(all, i));
        snprintf(alias, sizeof(alias), "kafka%d", i);
        store_add(store, alias, NULL, alone);
    }
    sk_X509_pop_free(all, X509_free);
    return e;
}

/* ---- files ---- */

/* The words that options of the two kinds of store have. */
struct kind {
    const char *prefix; /* of the options */
    bool keys;
};

static const struct kind KEYS = {"ssl.keystore", true};
static const struct kind TRUST = {"ssl.truststore", false};

static err refuse_file(const struct kind *kind, const struct store_texts *texts, const char *why,
                       const struct store_refusal *to)
{
    return refuse(to->reason, to->size,
                  "option %s.location: Failed to load SSL keystore %s of type %s: %s", kind->prefix,
                  texts->location, texts->type, why);
}

static err refuse_jks(const struct kind *kind, const struct store_texts *texts,
                      const struct store_refusal *to)
{
    return refuse(
        to->reason, to->size,
        "option %s.location: %s is of Java's own format, which is not read; convert it: keytool "
        "-importkeystore -srckeystore %s -destkeystore %s.p12 -deststoretype PKCS12",
        kind->prefix, texts->location, texts->location, texts->location);
}

static err read_pkcs12(const struct kind *kind, const struct store_texts *texts, struct bytes file,
                       struct tls_store *store, const struct store_refusal *to)
{
    uint32_t magic = file.len < sizeof(magic) ? 0 : load_u32(file.data);
    if (magic == JKS_MAGIC || magic == JCEKS_MAGIC) {
        return refuse_jks(kind, texts, to);
    }
    const char *why = NULL;
    err e = pkcs12_read(file, texts->password, texts->key_password, store, &why);
    return e == OK ? OK : refuse_file(kind, texts, why, to);
}

static err read_pem_file(const struct kind *kind, const struct store_texts *texts, const char *text,
                         struct tls_store *store, const struct store_refusal *to)
{
    char why[REASON_PART] = "";
    const struct store_refusal part = {.reason = why, .size = sizeof(why)};
    err e = kind->keys ? read_pem_pair(text, text, texts->key_password, store, &part)
                       : read_pem_trust(text, store, &part);
    return e == OK ? OK : refuse_file(kind, texts, why, to);
}

static err read_file(const struct kind *kind, const struct store_texts *texts,
                     struct tls_store *store, const struct store_refusal *to)
{
    char *data = NULL;
    size_t len = 0;
    store->modified_ns = store_file_modified_ns(texts->location);
    err e = fs_read_all(fs_system(), texts->location, STORE_BYTES_MAX, &data, &len);
    if (e != OK) {
        return refuse_file(kind, texts, err_text(e), to);
    }
    e = strcmp(texts->type, "PEM") == 0 ? read_pem_file(kind, texts, data, store, to)
                                        : read_pkcs12(kind, texts, bytes_of(data, len), store, to);
    OPENSSL_cleanse(data, len);
    free(data);
    return e;
}

/* ---- what goes together ---- */

#define ONLY_KEY_PASSWORD                                                                          \
    "SSL key store password cannot be specified with PEM format, only key password may be "        \
    "specified"

static err no(const char *option, const char *kafkas, const struct store_refusal *to)
{
    return refuse(to->reason, to->size, "option %s: %s", option, kafkas);
}

static err check_type(const struct kind *kind, const struct store_texts *texts,
                      const struct store_refusal *to)
{
    static const char *const TYPES[] = {"JKS", "PKCS12", "PEM"};
    for (size_t i = 0; i < sizeof(TYPES) / sizeof(TYPES[0]); i++) {
        if (strcmp(texts->type, TYPES[i]) == 0) {
            return OK;
        }
    }
    return refuse(to->reason, to->size,
                  "option %s.type: \"%.80s\" is not allowed; it must be PKCS12 or PEM",
                  kind->prefix, texts->type);
}

static err check_key_texts(const struct store_texts *t, const struct store_refusal *to)
{
    bool pem = strcmp(t->type, "PEM") == 0;
    if (t->key != NULL && !pem) {
        return refuse(to->reason, to->size,
                      "option ssl.keystore.key: SSL private key can be specified only for PEM, but "
                      "key store type is %s.",
                      t->type);
    }
    if (t->key != NULL && t->certificates == NULL) {
        return no("ssl.keystore.key",
                  "SSL private key is specified, but certificate chain is not specified.", to);
    }
    if (t->key != NULL && t->location != NULL) {
        return no("ssl.keystore.key",
                  "Both SSL key store location and separate private key are specified.", to);
    }
    if (t->certificates != NULL && t->key == NULL) {
        return no("ssl.keystore.certificate.chain",
                  "SSL certificate chain is specified, but private key is not specified", to);
    }
    if (pem && t->password != NULL) {
        return no("ssl.keystore.password", ONLY_KEY_PASSWORD, to);
    }
    if (t->location == NULL && t->password != NULL) {
        return no("ssl.keystore.password",
                  "SSL key store is not specified, but key store password is specified.", to);
    }
    if (t->location != NULL && !pem && t->password == NULL) {
        return no("ssl.keystore.location",
                  "SSL key store is specified, but key store password is not specified.", to);
    }
    return OK;
}

static err check_trust_texts(const struct store_texts *t, const struct store_refusal *to)
{
    bool pem = strcmp(t->type, "PEM") == 0;
    if (t->certificates != NULL && !pem) {
        return refuse(to->reason, to->size,
                      "option ssl.truststore.certificates: SSL trust store certs can be specified "
                      "only for PEM, but trust store type is %s.",
                      t->type);
    }
    if (t->certificates != NULL && t->location != NULL) {
        return no("ssl.truststore.certificates",
                  "Both SSL trust store location and separate trust certificates are specified.",
                  to);
    }
    if (pem && t->password != NULL) {
        return no("ssl.truststore.password",
                  "SSL trust store password cannot be specified for PEM format.", to);
    }
    if (t->location == NULL && t->password != NULL) {
        return no("ssl.truststore.password",
                  "SSL trust store is not specified, but trust store password is specified.", to);
    }
    return OK;
}

/* ---- loading ---- */

static err read_inline(const struct kind *kind, const struct store_texts *texts,
                       struct tls_store *store, const struct store_refusal *to)
{
    char why[REASON_PART] = "";
    const struct store_refusal part = {.reason = why, .size = sizeof(why)};
    err e = kind->keys
                ? read_pem_pair(texts->key, texts->certificates, texts->key_password, store, &part)
                : read_pem_trust(texts->certificates, store, &part);
    return e == OK ? OK
                   : refuse(to->reason, to->size, "option %s.%s: %s", kind->prefix,
                            kind->keys ? "key" : "certificates", why);
}

static bool has_key(const struct tls_store *store)
{
    for (size_t i = 0; i < store->entries_n; i++) {
        if (store->entries[i].key != NULL) {
            return true;
        }
    }
    return false;
}

static err load(const struct kind *kind, const struct store_texts *texts, struct tls_store **out,
                const struct store_refusal *to)
{
    if (texts->location == NULL && texts->certificates == NULL) {
        return OK;
    }
    struct tls_store *store = store_new();
    err e = texts->certificates != NULL ? read_inline(kind, texts, store, to)
                                        : read_file(kind, texts, store, to);
    if (e == OK && kind->keys && !has_key(store)) {
        e = refuse_file(kind, texts, "Private key not provided", to);
    } else if (e == OK && store->entries_n == 0) {
        e = refuse_file(kind, texts, "At least one certificate expected, but none found", to);
    }
    ERR_clear_error();
    if (e != OK) {
        store_free(store);
        return e;
    }
    *out = store;
    return OK;
}

err key_store_load(const struct store_texts *texts, struct tls_store **store,
                   const struct store_refusal *to)
{
    *store = NULL;
    TRY(check_type(&KEYS, texts, to));
    TRY(check_key_texts(texts, to));
    return load(&KEYS, texts, store, to);
}

err trust_store_load(const struct store_texts *texts, struct tls_store **store,
                     const struct store_refusal *to)
{
    *store = NULL;
    TRY(check_type(&TRUST, texts, to));
    TRY(check_trust_texts(texts, to));
    return load(&TRUST, texts, store, to);
}

/* ---- one after another ---- */

static err check_entry(const struct store_entry *old, const struct store_entry *fresh,
                       bool name_may_change, bool alternatives_may_change,
                       const struct store_refusal *to)
{
    X509 *before = sk_X509_value(old->chain, 0);
    X509 *after = sk_X509_value(fresh->chain, 0);
    char *a = NULL;
    char *b = NULL;
    err e = OK;
    if (!name_may_change &&
        X509_NAME_cmp(X509_get_subject_name(before), X509_get_subject_name(after)) != 0) {
        a = dn_text(X509_get_subject_name(before));
        b = dn_text(X509_get_subject_name(after));
        e = refuse(to->reason, to->size,
                   "Keystore DistinguishedName does not match:  existing={alias=%s, DN=%s}, "
                   "new={alias=%s, DN=%s}",
                   old->alias, a == NULL ? "" : a, fresh->alias, b == NULL ? "" : b);
    } else if (!alternatives_may_change && !dn_alternatives_cover(after, before)) {
        a = dn_alternatives_text(before);
        b = dn_alternatives_text(after);
        e = refuse(to->reason, to->size,
                   "Keystore SubjectAltNames do not match:  existing={alias=%s, SAN=%s}, "
                   "new={alias=%s, SAN=%s}",
                   old->alias, a, fresh->alias, b);
    }
    free(a);
    free(b);
    return e;
}

err store_check_successor(const struct tls_store *old, const struct tls_store *fresh,
                          bool name_may_change, bool alternatives_may_change,
                          const struct store_refusal *to)
{
    if (old->entries_n != fresh->entries_n) {
        return refuse(to->reason, to->size,
                      "Keystore entries do not match, existing store contains %zu entries, new "
                      "store contains %zu entries",
                      old->entries_n, fresh->entries_n);
    }
    for (size_t i = 0; i < old->entries_n; i++) {
        TRY(check_entry(&old->entries[i], &fresh->entries[i], name_may_change,
                        alternatives_may_change, to));
    }
    return OK;
}
