/* A PKCS12 file is a tree of safes, each plain or encrypted, with bags in them: keys, certificates. They
 * are walked here rather than by PKCS12_parse(), which gives one key and no aliases, and knows no safe that keytool
 * has written before Java 8u301: those are encrypted with RC2 of 40 bits, which OpenSSL 3 keeps in a module
 * that would have to be loaded. Its block function is in the library itself.
 *
 * Which certificates belong to a key is found by the key, then by issuers: the identifiers that bags may have
 * for it are not always there. */
#define OPENSSL_SUPPRESS_DEPRECATED /* RC2 */
#include "broker/security/pkcs12.h"

#include <openssl/pkcs12.h>
#include <openssl/rc2.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    RC2_KEY_BYTES = 5,
    RC2_IV_BYTES = 8,
    RC2_BITS = 40,
    CHAIN_MAX = 32,
    ITERATIONS_MAX = 5000000
};

struct bag_key {
    EVP_PKEY *key;
    char *alias;
};

struct walk {
    const char *password;
    const char *key_password;
    struct bag_key *keys;
    size_t keys_n;
    STACK_OF(X509) * certificates;
    char **aliases; /* of each certificate; NULL: it has none */
    const char *why;
};

static err no(struct walk *walk, const char *why)
{
    walk->why = why;
    return E_CONFIG;
}

static void walk_deinit(struct walk *walk)
{
    for (size_t i = 0; i < walk->keys_n; i++) {
        EVP_PKEY_free(walk->keys[i].key);
        OPENSSL_free(walk->keys[i].alias);
    }
    for (int i = 0; i < sk_X509_num(walk->certificates); i++) {
        OPENSSL_free(walk->aliases[i]);
    }
    free(walk->keys);
    free(walk->aliases);
    sk_X509_pop_free(walk->certificates, X509_free);
}

static err take_certificate(struct walk *walk, PKCS12_SAFEBAG *bag)
{
    if (PKCS12_SAFEBAG_get_bag_nid(bag) != NID_x509Certificate) {
        return OK;
    }
    X509 *certificate = PKCS12_SAFEBAG_get1_cert(bag);
    if (certificate == NULL) {
        return no(walk, "a certificate in it is broken");
    }
    size_t n = (size_t)sk_X509_num(walk->certificates);
    walk->aliases = xrealloc(walk->aliases, (n + 1) * sizeof(*walk->aliases));
    walk->aliases[n] = PKCS12_get_friendlyname(bag);
    sk_X509_push(walk->certificates, certificate);
    return OK;
}

static err take_key(struct walk *walk, PKCS12_SAFEBAG *bag, const PKCS8_PRIV_KEY_INFO *info)
{
    EVP_PKEY *key = info == NULL ? NULL : EVP_PKCS82PKEY(info);
    if (key == NULL) {
        return no(walk, "its private key cannot be read; ssl.key.password may be wrong");
    }
    walk->keys = xrealloc(walk->keys, (walk->keys_n + 1) * sizeof(*walk->keys));
    walk->keys[walk->keys_n++] =
        (struct bag_key){.key = key, .alias = PKCS12_get_friendlyname(bag)};
    return OK;
}

static err take_encrypted_key(struct walk *walk, PKCS12_SAFEBAG *bag)
{
    PKCS8_PRIV_KEY_INFO *info =
        PKCS12_decrypt_skey(bag, walk->key_password, (int)strlen(walk->key_password));
    err e = take_key(walk, bag, info);
    PKCS8_PRIV_KEY_INFO_free(info);
    return e;
}

static err take_bags(struct walk *walk, STACK_OF(PKCS12_SAFEBAG) * bags)
{
    for (int i = 0; i < sk_PKCS12_SAFEBAG_num(bags); i++) {
        PKCS12_SAFEBAG *bag = sk_PKCS12_SAFEBAG_value(bags, i);
        switch (PKCS12_SAFEBAG_get_nid(bag)) {
        case NID_certBag:
            TRY(take_certificate(walk, bag));
            break;
        case NID_keyBag:
            TRY(take_key(walk, bag, PKCS12_SAFEBAG_get0_p8inf(bag)));
            break;
        case NID_pkcs8ShroudedKeyBag:
            TRY(take_encrypted_key(walk, bag));
            break;
        default:
            break; /* secret keys, revocation lists: of no use here */
        }
    }
    return OK;
}

/* ---- RC2 of 40 bits ---- */

static bool derive(const struct walk *walk, const PBEPARAM *parameters, int id, uint8_t *out,
                   int out_len)
{
    int64_t iterations = parameters->iter == NULL ? 1 : ASN1_INTEGER_get(parameters->iter);
    return iterations > 0 && iterations <= ITERATIONS_MAX &&
           PKCS12_key_gen_utf8(walk->password, (int)strlen(walk->password),
                               ASN1_STRING_data(parameters->salt),
                               ASN1_STRING_length(parameters->salt), id, (int)iterations, out_len,
                               out, EVP_sha1()) == 1;
}

/* Malloc'd; NULL: it cannot be. */
static uint8_t *decrypt_rc2(const struct walk *walk, const X509_ALGOR *algorithm,
                            const ASN1_OCTET_STRING *secret, size_t *len)
{
    uint8_t key[RC2_KEY_BYTES];
    uint8_t iv[RC2_IV_BYTES];
    PBEPARAM *parameters =
        ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBEPARAM), algorithm->parameter);
    size_t secret_len = (size_t)ASN1_STRING_length(secret);
    bool derived = parameters != NULL && secret_len > 0 && secret_len % RC2_IV_BYTES == 0 &&
                   derive(walk, parameters, PKCS12_KEY_ID, key, sizeof(key)) &&
                   derive(walk, parameters, PKCS12_IV_ID, iv, sizeof(iv));
    PBEPARAM_free(parameters);
    if (!derived) {
        return NULL;
    }
    RC2_KEY schedule;
    uint8_t *plain = xmalloc(secret_len);
    RC2_set_key(&schedule, sizeof(key), key, RC2_BITS);
    RC2_cbc_encrypt(ASN1_STRING_get0_data(secret), plain, (long)secret_len, &schedule, iv,
                    RC2_DECRYPT);
    uint8_t padding = plain[secret_len - 1];
    if (padding == 0 || padding > RC2_IV_BYTES) {
        free(plain);
        return NULL;
    }
    *len = secret_len - padding;
    return plain;
}

static STACK_OF(PKCS12_SAFEBAG) * unpack_rc2(const struct walk *walk, const PKCS7 *safe)
{
    const PKCS7_ENC_CONTENT *content = safe->d.encrypted->enc_data;
    size_t len = 0;
    uint8_t *plain = decrypt_rc2(walk, content->algorithm, content->enc_data, &len);
    const uint8_t *at = plain;
    void *bags =
        plain == NULL ? NULL : ASN1_item_d2i(NULL, &at, (long)len, ASN1_ITEM_rptr(PKCS12_SAFEBAGS));
    free(plain);
    return bags;
}

/* ---- safes ---- */

static STACK_OF(PKCS12_SAFEBAG) * unpack(const struct walk *walk, PKCS7 *safe)
{
    if (PKCS7_type_is_data(safe)) {
        return PKCS12_unpack_p7data(safe);
    }
    if (!PKCS7_type_is_encrypted(safe)) {
        return NULL;
    }
    const PKCS7_ENC_CONTENT *content = safe->d.encrypted->enc_data;
    bool rc2 = content->enc_data != NULL &&
               OBJ_obj2nid(content->algorithm->algorithm) == NID_pbe_WithSHA1And40BitRC2_CBC;
    return rc2 ? unpack_rc2(walk, safe)
               : PKCS12_unpack_p7encdata(safe, walk->password, (int)strlen(walk->password));
}

static err take_safes(struct walk *walk, const PKCS12 *p12)
{
    STACK_OF(PKCS7) *safes = PKCS12_unpack_authsafes(p12);
    if (safes == NULL) {
        return no(walk, "it is broken");
    }
    err e = OK;
    for (int i = 0; e == OK && i < sk_PKCS7_num(safes); i++) {
        STACK_OF(PKCS12_SAFEBAG) *bags = unpack(walk, sk_PKCS7_value(safes, i));
        e = bags == NULL ? no(walk, "a part of it is encrypted in a way that is not known")
                         : take_bags(walk, bags);
        sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
    }
    sk_PKCS7_pop_free(safes, PKCS7_free);
    return e;
}

/* ---- which belongs to which ---- */

static X509 *issuer_of(const struct walk *walk, X509 *certificate)
{
    for (int i = 0; i < sk_X509_num(walk->certificates); i++) {
        X509 *other = sk_X509_value(walk->certificates, i);
        if (other != certificate && X509_check_issued(other, certificate) == X509_V_OK) {
            return other;
        }
    }
    return NULL;
}

static bool is_in(STACK_OF(X509) * chain, X509 *certificate)
{
    for (int i = 0; i < sk_X509_num(chain); i++) {
        if (sk_X509_value(chain, i) == certificate) {
            return true;
        }
    }
    return false;
}

static STACK_OF(X509) * chain_of(const struct walk *walk, EVP_PKEY *key)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    X509 *next = NULL;
    for (int i = 0; next == NULL && i < sk_X509_num(walk->certificates); i++) {
        X509 *one = sk_X509_value(walk->certificates, i);
        next = X509_check_private_key(one, key) == 1 ? one : NULL;
    }
    for (; next != NULL && sk_X509_num(chain) < CHAIN_MAX && !is_in(chain, next);
         next = issuer_of(walk, next)) {
        X509_up_ref(next);
        sk_X509_push(chain, next);
    }
    return chain;
}

static err make_entries(struct walk *walk, struct tls_store *store)
{
    STACK_OF(X509) *of_keys = sk_X509_new_null();
    err e = OK;
    for (size_t i = 0; e == OK && i < walk->keys_n; i++) {
        STACK_OF(X509) *chain = chain_of(walk, walk->keys[i].key);
        for (int c = 0; c < sk_X509_num(chain); c++) {
            sk_X509_push(of_keys, sk_X509_value(chain, c));
        }
        e = sk_X509_num(chain) > 0 ? OK : no(walk, "its private key has no certificate in it");
        store_add(store, walk->keys[i].alias, walk->keys[i].key, chain);
        walk->keys[i].key = NULL;
    }
    for (int i = 0; e == OK && i < sk_X509_num(walk->certificates); i++) {
        X509 *one = sk_X509_value(walk->certificates, i);
        if (!is_in(of_keys, one)) {
            STACK_OF(X509) *alone = sk_X509_new_null();
            X509_up_ref(one);
            sk_X509_push(alone, one);
            store_add(store, walk->aliases[i], NULL, alone);
        }
    }
    sk_X509_free(of_keys);
    return e;
}

static int64_t mac_iterations(const PKCS12 *p12)
{
    const ASN1_INTEGER *iterations = NULL;
    PKCS12_get0_mac(NULL, NULL, NULL, &iterations, p12);
    return iterations == NULL ? 1 : ASN1_INTEGER_get(iterations);
}

err pkcs12_read(struct bytes file, const char *password, const char *key_password,
                struct tls_store *store, const char **why)
{
    struct walk walk = {.password = password,
                        .key_password = key_password != NULL ? key_password : password,
                        .certificates = sk_X509_new_null()};
    const uint8_t *at = file.data;
    PKCS12 *p12 = d2i_PKCS12(NULL, &at, (long)file.len);
    err e = OK;
    if (p12 == NULL) {
        e = no(&walk, "it is no store of PKCS12");
    } else if (PKCS12_mac_present(p12) && mac_iterations(p12) > ITERATIONS_MAX) {
        e = no(&walk, "its integrity is protected with too many iterations");
    } else if (PKCS12_mac_present(p12) &&
               PKCS12_verify_mac(p12, password, (int)strlen(password)) != 1) {
        e = no(&walk, "keystore password was incorrect");
    }
    e = e == OK ? take_safes(&walk, p12) : e;
    e = e == OK ? make_entries(&walk, store) : e;
    *why = walk.why;
    PKCS12_free(p12);
    walk_deinit(&walk);
    return e;
}
