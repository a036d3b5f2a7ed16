/* An algorithm is a row of ALGORITHMS, and a key takes part only with a row that fits its type and curve, so
 * that a token cannot choose how it is verified: "none" and the symmetric ones are no rows. */
#include "broker/security/jwt.h"

#include "broker/security/base64.h"

#include <math.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <stdlib.h>

enum { KEYS_MAX = 64, NUMBER_BYTES_MAX = 2048, RSA_BITS_MIN = 2048, COORDINATE_MAX = 66 };

enum family { RSA_PKCS1, RSA_PSS, ECDSA };

static const struct algorithm {
    const char *name;
    enum family family;
    const char *digest;
    size_t coordinate; /* ECDSA: half of a signature */
    const char *curve; /* in JWKs */
    const char *group; /* OpenSSL's */
} ALGORITHMS[] = {
    {"RS256", RSA_PKCS1, "SHA256", 0, NULL, NULL},
    {"RS384", RSA_PKCS1, "SHA384", 0, NULL, NULL},
    {"RS512", RSA_PKCS1, "SHA512", 0, NULL, NULL},
    {"PS256", RSA_PSS, "SHA256", 0, NULL, NULL},
    {"PS384", RSA_PSS, "SHA384", 0, NULL, NULL},
    {"PS512", RSA_PSS, "SHA512", 0, NULL, NULL},
    {"ES256", ECDSA, "SHA256", 32, "P-256", "P-256"},
    {"ES384", ECDSA, "SHA384", 48, "P-384", "P-384"},
    {"ES512", ECDSA, "SHA512", COORDINATE_MAX, "P-521", "P-521"},
};
enum { ALGORITHMS_N = sizeof(ALGORITHMS) / sizeof(ALGORITHMS[0]) };

struct jwk {
    EVP_PKEY *key;
    char *kid;         /* NULL: it has none */
    char *alg;         /* NULL: any that fits */
    const char *curve; /* NULL: RSA */
};

struct jwk_set {
    struct jwk keys[KEYS_MAX];
    size_t count;
};

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* ---- keys ---- */

static bool read_bytes(const json_t *object, const char *name, uint8_t bytes[NUMBER_BYTES_MAX],
                       size_t *len)
{
    const char *text = text_of(object, name);
    return text != NULL && base64_decode(BASE64_URL, str_of(text), bytes, NUMBER_BYTES_MAX, len) &&
           *len > 0;
}

static EVP_PKEY *key_of_params(const char *type, OSSL_PARAM_BLD *build)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (params == NULL || context == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) != 1) {
        key = NULL;
    }
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *rsa_key(const json_t *jwk)
{
    uint8_t n[NUMBER_BYTES_MAX];
    uint8_t e[NUMBER_BYTES_MAX];
    size_t n_len = 0;
    size_t e_len = 0;
    if (!read_bytes(jwk, "n", n, &n_len) || !read_bytes(jwk, "e", e, &e_len)) {
        return NULL;
    }
    BIGNUM *modulus = BN_bin2bn(n, (int)n_len, NULL);
    BIGNUM *exponent = BN_bin2bn(e, (int)e_len, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;
    if (BN_num_bits(modulus) >= RSA_BITS_MIN &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent) == 1) {
        key = key_of_params("RSA", build);
    }
    OSSL_PARAM_BLD_free(build);
    BN_free(modulus);
    BN_free(exponent);
    return key;
}

/* A point is 04 x y, both of the curve's length. */
static EVP_PKEY *ec_key(const json_t *jwk, const struct algorithm *algorithm)
{
    uint8_t x[NUMBER_BYTES_MAX];
    uint8_t y[NUMBER_BYTES_MAX];
    uint8_t point[1 + 2 * COORDINATE_MAX] = {4};
    size_t x_len = 0;
    size_t y_len = 0;
    size_t half = algorithm->coordinate;
    if (!read_bytes(jwk, "x", x, &x_len) || !read_bytes(jwk, "y", y, &y_len) || x_len > half ||
        y_len > half) {
        return NULL;
    }
    memcpy(point + 1 + half - x_len, x, x_len);
    memcpy(point + 1 + 2 * half - y_len, y, y_len);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *key = NULL;
    if (OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, algorithm->group, 0) ==
            1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * half) ==
            1) {
        key = key_of_params("EC", build);
    }
    OSSL_PARAM_BLD_free(build);
    return key;
}

static bool read_key(const json_t *in, struct jwk *out)
{
    const char *type = text_of(in, "kty");
    const char *use = text_of(in, "use");
    const char *curve = text_of(in, "crv");
    *out = (struct jwk){0};
    if (type == NULL || (use != NULL && strcmp(use, "sig") != 0)) {
        return false;
    }
    if (strcmp(type, "RSA") == 0) {
        out->key = rsa_key(in);
    }
    for (size_t i = 0; strcmp(type, "EC") == 0 && curve != NULL && i < ALGORITHMS_N; i++) {
        if (ALGORITHMS[i].curve != NULL && strcmp(curve, ALGORITHMS[i].curve) == 0) {
            out->curve = ALGORITHMS[i].curve;
            out->key = ec_key(in, &ALGORITHMS[i]);
        }
    }
    if (out->key == NULL) {
        return false;
    }
    const char *kid = text_of(in, "kid");
    const char *alg = text_of(in, "alg");
    out->kid = kid == NULL ? NULL : xstrdup(kid);
    out->alg = alg == NULL ? NULL : xstrdup(alg);
    return true;
}

err jwk_set_parse(struct bytes json, struct jwk_set **set)
{
    json_t *object = json_loadb((const char *)json.data, json.len, JSON_REJECT_DUPLICATES, NULL);
    json_t *keys = json_object_get(object, "keys");
    *set = xcalloc(1, sizeof(**set));
    for (size_t i = 0; i < json_array_size(keys) && (*set)->count < KEYS_MAX; i++) {
        (*set)->count += read_key(json_array_get(keys, i), &(*set)->keys[(*set)->count]) ? 1 : 0;
    }
    json_decref(object);
    if ((*set)->count > 0) {
        return OK;
    }
    jwk_set_free(*set);
    *set = NULL;
    return E_MALFORMED;
}

void jwk_set_free(struct jwk_set *set)
{
    for (size_t i = 0; set != NULL && i < set->count; i++) {
        EVP_PKEY_free(set->keys[i].key);
        free(set->keys[i].kid);
        free(set->keys[i].alg);
    }
    free(set);
}

/* ---- tokens ---- */

static json_t *read_part(struct str text)
{
    size_t len = 0;
    uint8_t *bytes = malloc(text.len + 1);
    json_t *object = NULL;
    if (bytes != NULL && base64_decode(BASE64_URL, text, bytes, text.len, &len)) {
        object = json_loadb((const char *)bytes, len, JSON_REJECT_DUPLICATES, NULL);
    }
    free(bytes);
    return object;
}

static bool read_signature(struct str text, struct jwt *jwt)
{
    jwt->signature = malloc(text.len + 1);
    return jwt->signature != NULL &&
           base64_decode(BASE64_URL, text, jwt->signature, text.len, &jwt->signature_len);
}

err jwt_parse(struct str token, struct jwt *jwt)
{
    *jwt = (struct jwt){0};
    const char *end = token.data + token.len;
    const char *first = token.len == 0 ? NULL : memchr(token.data, '.', token.len);
    const char *second = first == NULL ? NULL : memchr(first + 1, '.', (size_t)(end - first - 1));
    if (second == NULL || memchr(second + 1, '.', (size_t)(end - second - 1)) != NULL) {
        return E_MALFORMED;
    }
    jwt->header = read_part((struct str){token.data, (size_t)(first - token.data)});
    jwt->claims = read_part((struct str){first + 1, (size_t)(second - first - 1)});
    jwt->signed_text = (struct str){token.data, (size_t)(second - token.data)};
    bool fine = json_is_object(jwt->header) && json_is_object(jwt->claims) &&
                read_signature((struct str){second + 1, (size_t)(end - second - 1)}, jwt);
    return fine ? OK : E_MALFORMED;
}

void jwt_deinit(struct jwt *jwt)
{
    json_decref(jwt->header);
    json_decref(jwt->claims);
    free(jwt->signature);
    *jwt = (struct jwt){0};
}

bool jwt_is_unsecured(const struct jwt *jwt)
{
    const char *alg = text_of(jwt->header, "alg");
    return alg != NULL && strcmp(alg, "none") == 0 && jwt->signature_len == 0;
}

/* ---- signatures ---- */

static const struct algorithm *algorithm_of(const struct jwt *jwt)
{
    const char *alg = text_of(jwt->header, "alg");
    for (size_t i = 0; alg != NULL && i < ALGORITHMS_N; i++) {
        if (strcmp(alg, ALGORITHMS[i].name) == 0) {
            return &ALGORITHMS[i];
        }
    }
    return NULL;
}

static bool key_fits(const struct jwk *key, const struct algorithm *algorithm, const char *kid)
{
    bool same_type = (key->curve == NULL) == (algorithm->curve == NULL) &&
                     (key->curve == NULL || strcmp(key->curve, algorithm->curve) == 0);
    bool same_kid = kid == NULL || (key->kid != NULL && strcmp(key->kid, kid) == 0);
    return same_type && same_kid && (key->alg == NULL || strcmp(key->alg, algorithm->name) == 0);
}

/* OpenSSL wants r and s in DER; a token has them side by side. */
static int der_of_raw(const struct jwt *jwt, size_t half, uint8_t **der)
{
    *der = NULL;
    if (jwt->signature_len != 2 * half) {
        return -1;
    }
    ECDSA_SIG *signature = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(jwt->signature, (int)half, NULL);
    BIGNUM *s = BN_bin2bn(jwt->signature + half, (int)half, NULL);
    int len = -1;
    if (ECDSA_SIG_set0(signature, r, s) == 1) {
        len = i2d_ECDSA_SIG(signature, der);
    }
    ECDSA_SIG_free(signature);
    return len;
}

static bool verify_by(const struct jwt *jwt, const struct algorithm *algorithm, EVP_PKEY *key)
{
    uint8_t *der = NULL;
    const uint8_t *signature = jwt->signature;
    size_t len = jwt->signature_len;
    if (algorithm->family == ECDSA) {
        int der_len = der_of_raw(jwt, algorithm->coordinate, &der);
        if (der_len <= 0) {
            return false;
        }
        signature = der;
        len = (size_t)der_len;
    }
    EVP_PKEY_CTX *params = NULL;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool fine =
        EVP_DigestVerifyInit_ex(context, &params, algorithm->digest, NULL, NULL, key, NULL) == 1;
    if (fine && algorithm->family == RSA_PSS) {
        fine = EVP_PKEY_CTX_set_rsa_padding(params, RSA_PKCS1_PSS_PADDING) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(params, RSA_PSS_SALTLEN_DIGEST) == 1;
    }
    fine = fine && EVP_DigestVerify(context, signature, len, (const uint8_t *)jwt->signed_text.data,
                                    jwt->signed_text.len) == 1;
    EVP_MD_CTX_free(context);
    OPENSSL_free(der);
    return fine;
}

err jwt_verify(const struct jwt *jwt, const struct jwk_set *set)
{
    const struct algorithm *algorithm = algorithm_of(jwt);
    const char *kid = text_of(jwt->header, "kid");
    bool any = false;
    if (algorithm == NULL || json_object_get(jwt->header, "crit") != NULL) {
        return E_MALFORMED;
    }
    for (size_t i = 0; i < set->count; i++) {
        if (key_fits(&set->keys[i], algorithm, kid)) {
            any = true;
            if (verify_by(jwt, algorithm, set->keys[i].key)) {
                return OK;
            }
        }
    }
    return any ? E_MALFORMED : E_NOT_FOUND;
}

/* ---- claims ---- */

bool jwt_time(const struct jwt *jwt, const char *claim, int64_t *time_ms, bool *wrong)
{
    const json_t *value = json_object_get(jwt->claims, claim);
    double seconds = json_number_value(value);
    if (value == NULL) {
        return false;
    }
    bool fine = json_is_number(value) && isfinite(seconds) && fabs(seconds) < 1e14;
    *wrong |= !fine;
    *time_ms = fine ? (int64_t)(seconds * 1000) : 0;
    return fine;
}

const char *jwt_text(const struct jwt *jwt, const char *claim)
{
    return text_of(jwt->claims, claim);
}

bool jwt_has(const struct jwt *jwt, const char *claim, struct str word)
{
    const json_t *value = json_object_get(jwt->claims, claim);
    if (json_is_string(value)) {
        return str_is(word, json_string_value(value));
    }
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *text = json_string_value(json_array_get(value, i));
        if (text != NULL && str_is(word, text)) {
            return true;
        }
    }
    return false;
}
