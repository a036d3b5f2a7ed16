/* Keys and certificates for tests, made while they run; and stores of them in files. */
#ifndef OTTLA_BROKER_TESTS_TLS_UTIL_H
#define OTTLA_BROKER_TESTS_TLS_UTIL_H

#include "base/tests/suite.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

struct identity {
    EVP_PKEY *key;
    X509 *certificate;
};

UNUSED static void name_add(X509_NAME *name, const char *type, const char *value)
{
    CU_ASSERT_EQUAL_FATAL(X509_NAME_add_entry_by_txt(name, type, MBSTRING_UTF8,
                                                     (const unsigned char *)value, -1, -1, 0),
                          1);
}

UNUSED static void extension_add(X509 *certificate, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    CU_ASSERT_PTR_NOT_NULL_FATAL(extension);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

/* Its key is of P-256. `issuer` NULL: signed by itself, and an authority. `days` below 0: it has expired. */
UNUSED static struct identity identity_make_full(const char *cn, const char *alternatives,
                                                 const struct identity *issuer, int days)
{
    struct identity made = {.key = EVP_EC_gen("P-256"), .certificate = X509_new()};
    X509 *c = made.certificate;
    X509_set_version(c, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c), 1 + (long)(now_ms() % 1000000));
    X509_gmtime_adj(X509_getm_notBefore(c), -2 * 86400L);
    X509_gmtime_adj(X509_getm_notAfter(c), days * 86400L);
    name_add(X509_get_subject_name(c), "CN", cn);
    X509_set_issuer_name(c, X509_get_subject_name(issuer == NULL ? c : issuer->certificate));
    X509_set_pubkey(c, made.key);
    if (issuer == NULL) {
        extension_add(c, NID_basic_constraints, "critical,CA:TRUE");
    }
    if (alternatives != NULL) {
        extension_add(c, NID_subject_alt_name, alternatives);
    }
    CU_ASSERT_FATAL(X509_sign(c, issuer == NULL ? made.key : issuer->key, EVP_sha256()) > 0);
    return made;
}

UNUSED static struct identity identity_make(const char *cn, const struct identity *issuer)
{
    return identity_make_full(cn, "DNS:localhost,IP:127.0.0.1", issuer, 2);
}

UNUSED static void identity_free(struct identity *identity)
{
    EVP_PKEY_free(identity->key);
    X509_free(identity->certificate);
}

/* Malloc'd text of what was written to the BIO, which goes. */
UNUSED static char *bio_text(BIO *bio)
{
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    char *text = strndup(data, (size_t)len);
    BIO_free(bio);
    return text;
}

UNUSED static char *pem_of_certificate(X509 *certificate)
{
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate);
    return bio_text(bio);
}

/* PKCS#8; `pbe` is the number of a scheme of PBES1, 0: PBES2, with a password. */
UNUSED static char *pem_of_key(EVP_PKEY *key, const char *password, int pbe)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *secret = (char *)(uintptr_t)password;
    int len = password == NULL ? 0 : (int)strlen(password);
    if (password == NULL) {
        PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    } else if (pbe != 0) {
        PEM_write_bio_PKCS8PrivateKey_nid(bio, key, pbe, secret, len, NULL, NULL);
    } else {
        PEM_write_bio_PKCS8PrivateKey(bio, key, EVP_aes_256_cbc(), secret, len, NULL, NULL);
    }
    return bio_text(bio);
}

UNUSED static void file_put(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    CU_ASSERT_EQUAL(fwrite(data, 1, len, file), len);
    fclose(file);
}

/* A PEM file of the key (not of NULL) and the certificates. */
UNUSED static void pem_file(const char *path, EVP_PKEY *key, X509 *first, X509 *second)
{
    char *k = key == NULL ? xstrdup("") : pem_of_key(key, NULL, 0);
    char *a = pem_of_certificate(first);
    char *b = second == NULL ? xstrdup("") : pem_of_certificate(second);
    char *all = xasprintf("%s%s%s", a, k, b);
    file_put(path, all, strlen(all));
    free(k);
    free(a);
    free(b);
    free(all);
}

#endif
