/* The text is a list of name:value with commas, in any order:
 *
 *   initializationVector  base64    of the cipher
 *   keyLength             bits
 *   salt                  base64
 *   keyFactoryAlgorithm   PBKDF2WithHmacSHA512
 *   cipherAlgorithm       AES/CBC/PKCS5Padding, the only one that is written and read here
 *   iterations
 *   passwordLength        of the password, in characters
 *   encryptedPassword     base64
 *
 * The key is made by PBKDF2 of the secret; that takes milliseconds, on the control thread, once for each password
 * that is set. */
#define _GNU_SOURCE
#include "broker/security/password_encoder.h"

#include "broker/security/base64.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CIPHER             "AES/CBC/PKCS5Padding"
#define KEY_FACTORY        "PBKDF2WithHmacSHA512"
#define KEY_FACTORY_PREFIX "PBKDF2WithHmac"

enum {
    IV_BYTES = 16,
    SALT_BYTES = 256,
    PASSWORD_BYTES_MAX = 64 << 10,
    KEY_BYTES_MAX = 32,
    ITERATIONS_MAX = 10000000,
};

static const EVP_MD *digest_of(const char *key_factory)
{
    size_t prefix = strlen(KEY_FACTORY_PREFIX);
    return strncmp(key_factory, KEY_FACTORY_PREFIX, prefix) == 0
               ? EVP_get_digestbyname(key_factory + prefix)
               : NULL;
}

bool password_key_factory_is_known(const char *name)
{
    return digest_of(name) != NULL;
}

static const EVP_CIPHER *cipher_of(int32_t key_bits)
{
    switch (key_bits) {
    case 128:
        return EVP_aes_128_cbc();
    case 192:
        return EVP_aes_192_cbc();
    case 256:
        return EVP_aes_256_cbc();
    default:
        return NULL;
    }
}

struct bytes_out {
    uint8_t *data; /* malloc'd */
    int len;
};

/* What is needed to encrypt or decrypt, besides the secret. */
struct parameters {
    char key_factory[64];
    int32_t key_bits;
    int32_t iterations;
    struct bytes_out iv;
    struct bytes_out salt;
    struct bytes_out encrypted;
};

static void parameters_deinit(struct parameters *p)
{
    free(p->iv.data);
    free(p->salt.data);
    free(p->encrypted.data);
}

/* Encrypts or decrypts; `out` has room for `len` and a block more. -1: the secret does not fit. */
static int crypt_with(const struct parameters *p, const char *secret, bool encrypt,
                      const uint8_t *data, int len, uint8_t *out)
{
    uint8_t key[KEY_BYTES_MAX];
    const EVP_CIPHER *cipher = cipher_of(p->key_bits);
    int key_len = p->key_bits / 8;
    int n = 0;
    int last = 0;
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    bool good = PKCS5_PBKDF2_HMAC(secret, (int)strlen(secret), p->salt.data, p->salt.len,
                                  p->iterations, digest_of(p->key_factory), key_len, key) == 1 &&
                EVP_CipherInit_ex(context, cipher, NULL, key, p->iv.data, encrypt) == 1 &&
                EVP_CipherUpdate(context, out, &n, data, len) == 1 &&
                EVP_CipherFinal_ex(context, out + n, &last) == 1;
    EVP_CIPHER_CTX_free(context);
    OPENSSL_cleanse(key, sizeof(key));
    return good ? n + last : -1;
}

/* As Java counts the characters of text. */
static int characters(const char *text)
{
    int n = 0;
    for (; *text != '\0'; text++) {
        uint8_t byte = (uint8_t)*text;
        n += byte >= 0xf0 ? 2 : (byte & 0xc0) != 0x80 ? 1 : 0;
    }
    return n;
}

static char *base64(const uint8_t *data, int len)
{
    char *text = xmalloc(BASE64_SIZE((size_t)len));
    (void)base64_encode(BASE64_PADDED, bytes_of(data, (size_t)len), text);
    return text;
}

err password_encode(const struct password_encoding *encoding, const char *password, char **text)
{
    if (encoding->secret == NULL) {
        return E_CONFIG;
    }
    struct parameters p = {.key_bits = encoding->key_bits,
                           .iterations = encoding->iterations,
                           .iv = {xmalloc(IV_BYTES), IV_BYTES},
                           .salt = {xmalloc(SALT_BYTES), SALT_BYTES}};
    snprintf(p.key_factory, sizeof(p.key_factory), "%s",
             encoding->key_factory != NULL ? encoding->key_factory : KEY_FACTORY);
    int len = (int)strlen(password);
    p.encrypted.data = xmalloc((size_t)len + IV_BYTES);
    bool good = cipher_of(p.key_bits) != NULL && digest_of(p.key_factory) != NULL &&
                RAND_bytes(p.iv.data, IV_BYTES) == 1 && RAND_bytes(p.salt.data, SALT_BYTES) == 1;
    p.encrypted.len = good ? crypt_with(&p, encoding->secret, true, (const uint8_t *)password, len,
                                        p.encrypted.data)
                           : -1;
    if (p.encrypted.len >= 0) {
        char *iv = base64(p.iv.data, p.iv.len);
        char *salt = base64(p.salt.data, p.salt.len);
        char *encrypted = base64(p.encrypted.data, p.encrypted.len);
        *text = xasprintf("initializationVector:%s,keyLength:%d,salt:%s,keyFactoryAlgorithm:%s,"
                          "cipherAlgorithm:" CIPHER ",iterations:%d,passwordLength:%d,"
                          "encryptedPassword:%s",
                          iv, p.key_bits, salt, p.key_factory, p.iterations, characters(password),
                          encrypted);
        free(iv);
        free(salt);
        free(encrypted);
    }
    parameters_deinit(&p);
    return p.encrypted.len >= 0 ? OK : E_CONFIG;
}

/* ---- decoding ---- */

/* The value of a field in `out`; false: it is not there, or too long. */
static bool field(const char *text, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);
    for (const char *at = text; *at != '\0'; at += *at == ',' ? 1 : 0) {
        size_t n = strcspn(at, ",");
        if (n > len && strncmp(at, name, len) == 0 && at[len] == ':' && n - len - 1 < size) {
            memcpy(out, at + len + 1, n - len - 1);
            out[n - len - 1] = '\0';
            return true;
        }
        at += n;
    }
    return false;
}

static bool field_base64(const char *text, const char *name, struct bytes_out *out)
{
    size_t size = strlen(text) + 1;
    char *value = xmalloc(size);
    bool there = field(text, name, value, size);
    size_t len = 0;
    out->data = xmalloc(size);
    bool good = there && base64_decode(BASE64_PADDED, str_of(value), out->data, size, &len);
    out->len = good ? (int)len : -1;
    free(value);
    return out->len > 0;
}

static bool field_number(const char *text, const char *name, int32_t max, int32_t *out)
{
    char value[16];
    char *end = value;
    long number = field(text, name, value, sizeof(value)) ? strtol(value, &end, 10) : 0;
    *out = (int32_t)number;
    return end != value && *end == '\0' && number > 0 && number <= max;
}

static bool parse(const char *text, struct parameters *p)
{
    char cipher[64];
    return field_base64(text, "initializationVector", &p->iv) && p->iv.len == IV_BYTES &&
           field_base64(text, "salt", &p->salt) &&
           field_base64(text, "encryptedPassword", &p->encrypted) &&
           field_number(text, "keyLength", KEY_BYTES_MAX * 8, &p->key_bits) &&
           field_number(text, "iterations", ITERATIONS_MAX, &p->iterations) &&
           field(text, "keyFactoryAlgorithm", p->key_factory, sizeof(p->key_factory)) &&
           field(text, "cipherAlgorithm", cipher, sizeof(cipher)) && strcmp(cipher, CIPHER) == 0 &&
           cipher_of(p->key_bits) != NULL && digest_of(p->key_factory) != NULL;
}

/* NULL: it is another secret. That a wrong one leaves good padding by chance happens; then the length does not fit. */
static char *decrypt(const struct parameters *p, const char *secret, int32_t password_len)
{
    uint8_t *out = xcalloc(1, (size_t)p->encrypted.len + IV_BYTES + 1);
    int n = crypt_with(p, secret, false, p->encrypted.data, p->encrypted.len, out);
    if (n >= 0) {
        out[n] = '\0';
    }
    if (n < 0 || characters((char *)out) != password_len) {
        free(out);
        return NULL;
    }
    return (char *)out;
}

err password_decode(const struct password_encoding *encoding, const char *text, char **password)
{
    struct parameters p = {0};
    int32_t len = 0;
    *password = NULL;
    bool good = strlen(text) <= PASSWORD_BYTES_MAX && parse(text, &p) &&
                field_number(text, "passwordLength", PASSWORD_BYTES_MAX, &len);
    const char *const secrets[] = {encoding->secret, encoding->old_secret};
    for (size_t i = 0; good && *password == NULL && i < 2; i++) {
        *password = secrets[i] == NULL ? NULL : decrypt(&p, secrets[i], len);
    }
    parameters_deinit(&p);
    return !good ? E_MALFORMED : *password == NULL ? E_CONFIG : OK;
}
