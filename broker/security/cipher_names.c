/* OpenSSL knows the standard's name of each of its suites, so there is no table here. Java has "SSL_" where the
 * standard has "TLS_" for the oldest ones, and takes both. */
#define _GNU_SOURCE
#include "broker/security/cipher_names.h"

#include "base/refuse.h"

#include <stdlib.h>
#include <string.h>

static const SSL_CIPHER *cipher_named(const STACK_OF(SSL_CIPHER) * all, const char *name,
                                      size_t len)
{
    static const char OLD[] = "SSL_";
    size_t skip = len > strlen(OLD) && strncmp(name, OLD, strlen(OLD)) == 0 ? strlen(OLD) : 0;
    for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
        const SSL_CIPHER *cipher = sk_SSL_CIPHER_value(all, i);
        const char *standard = SSL_CIPHER_standard_name(cipher);
        if (standard != NULL && strlen(standard) == len &&
            strncmp(standard + skip, name + skip, len - skip) == 0) {
            return cipher;
        }
    }
    return NULL;
}

static void add(char **list, const char *name)
{
    char *longer = xasprintf("%s%s%s", *list, **list == '\0' ? "" : ":", name);
    free(*list);
    *list = longer;
}

static err add_all(const STACK_OF(SSL_CIPHER) * all, const char *names, struct cipher_lists *lists,
                   char *reason, size_t reason_size)
{
    for (const char *at = names; *(at += strspn(at, ", \t")) != '\0';) {
        size_t len = strcspn(at, ", \t");
        const SSL_CIPHER *cipher = cipher_named(all, at, len);
        if (cipher == NULL) {
            return refuse(reason, reason_size,
                          "option ssl.cipher.suites: \"%.*s\" is not allowed; it must be the name "
                          "of a suite, such as TLS_AES_128_GCM_SHA256 or "
                          "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                          (int)(len > 80 ? 80 : len), at);
        }
        bool is_13 = strcmp(SSL_CIPHER_get_version(cipher), "TLSv1.3") == 0;
        add(is_13 ? &lists->of_13 : &lists->until_12, SSL_CIPHER_get_name(cipher));
        at += len;
    }
    return OK;
}

err cipher_lists_of(const char *names, struct cipher_lists *lists, char *reason, size_t reason_size)
{
    *lists = (struct cipher_lists){.until_12 = xstrdup(""), .of_13 = xstrdup("")};
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    err e = context == NULL ? E_LIMIT : OK;
    if (e == OK) {
        SSL_CTX_set_security_level(context, 0);
        int set =
            SSL_CTX_set_cipher_list(context, "ALL:!aNULL:!eNULL") &&
            SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:"
                                              "TLS_AES_128_GCM_SHA256:TLS_AES_128_CCM_SHA256:"
                                              "TLS_AES_128_CCM_8_SHA256");
        CHECK(set == 1);
        e = add_all(SSL_CTX_get_ciphers(context), names, lists, reason, reason_size);
    }
    SSL_CTX_free(context);
    if (e != OK) {
        cipher_lists_deinit(lists);
    }
    return e;
}

void cipher_lists_deinit(struct cipher_lists *lists)
{
    free(lists->until_12);
    free(lists->of_13);
    *lists = (struct cipher_lists){0};
}
