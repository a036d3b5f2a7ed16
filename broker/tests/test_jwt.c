/* Tokens: signatures of every algorithm by keys that OpenSSL makes here, what is not believed, and the message around
 * them. */
#include "broker/security/jwt.h"

#include "base/tests/suite.h"
#include "broker/security/base64.h"
#include "broker/security/sasl_oauth.h"
#include "protocol/error.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

enum { TEXT_MAX = 8192, NOW_MS = 1000000 };

static char *encoded(struct bytes data)
{
    char *text = xmalloc(BASE64_SIZE(data.len));
    base64_encode(BASE64_URL, data, text);
    return text;
}

/* ---- keys ---- */

static char *number_of(EVP_PKEY *key, const char *name, size_t len)
{
    BIGNUM *number = NULL;
    uint8_t bytes[1024];
    CU_ASSERT_EQUAL_FATAL(EVP_PKEY_get_bn_param(key, name, &number), 1);
    len = len == 0 ? (size_t)BN_num_bytes(number) : len;
    BN_bn2binpad(number, bytes, (int)len);
    BN_free(number);
    return encoded(bytes_of(bytes, len));
}

static char *jwk_of(EVP_PKEY *key, const char *curve, size_t half, const char *more)
{
    bool rsa = curve == NULL;
    char *a = number_of(key, rsa ? OSSL_PKEY_PARAM_RSA_N : OSSL_PKEY_PARAM_EC_PUB_X, half);
    char *b = number_of(key, rsa ? OSSL_PKEY_PARAM_RSA_E : OSSL_PKEY_PARAM_EC_PUB_Y, half);
    char *jwk = rsa ? xasprintf("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"%s}", a, b, more)
                    : xasprintf("{\"kty\":\"EC\",\"crv\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"%s}",
                                curve, a, b, more);
    free(a);
    free(b);
    return jwk;
}

static struct jwk_set *set_of(const char *jwk)
{
    struct jwk_set *set = NULL;
    char *json = xasprintf("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"},%s]}", jwk);
    MUST(jwk_set_parse(bytes_of(json, strlen(json)), &set));
    free(json);
    return set;
}

/* ---- signing ---- */

static size_t raw_of_der(const uint8_t *der, size_t len, size_t half, uint8_t *raw)
{
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &der, (long)len);
    BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, (int)half);
    BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + half, (int)half);
    ECDSA_SIG_free(signature);
    return 2 * half;
}

static char *signed_by(EVP_PKEY *key, const char *header, const char *claims, const char *digest,
                       bool pss, size_t half)
{
    char *head = encoded(bytes_of(header, strlen(header)));
    char *body = encoded(bytes_of(claims, strlen(claims)));
    char *text = xasprintf("%s.%s", head, body);
    uint8_t signature[1024];
    size_t len = sizeof(signature);
    EVP_PKEY_CTX *params = NULL;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_DigestSignInit_ex(context, &params, digest, NULL, NULL, key, NULL);
    if (pss) {
        EVP_PKEY_CTX_set_rsa_padding(params, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(params, RSA_PSS_SALTLEN_DIGEST);
    }
    CU_ASSERT_EQUAL_FATAL(
        EVP_DigestSign(context, signature, &len, (const uint8_t *)text, strlen(text)), 1);
    EVP_MD_CTX_free(context);
    uint8_t raw[1024];
    if (half > 0) {
        len = raw_of_der(signature, len, half, raw);
        memcpy(signature, raw, len);
    }
    char *end = encoded(bytes_of(signature, len));
    char *token = xasprintf("%s.%s", text, end);
    free(head);
    free(body);
    free(text);
    free(end);
    return token;
}

static err verified(const char *token, const struct jwk_set *set)
{
    struct jwt jwt;
    err e = jwt_parse(str_of(token), &jwt);
    e = e == OK ? jwt_verify(&jwt, set) : e;
    jwt_deinit(&jwt);
    return e;
}

static void check_key(EVP_PKEY *key, const char *curve, size_t half, const char *const *algorithms)
{
    char *jwk = jwk_of(key, curve, half, ",\"kid\":\"k1\",\"use\":\"sig\"");
    struct jwk_set *set = set_of(jwk);
    for (; *algorithms != NULL; algorithms++) {
        const char *alg = *algorithms;
        char digest[8];
        snprintf(digest, sizeof(digest), "SHA%s", alg + 2);
        char *header = xasprintf("{\"alg\":\"%s\",\"kid\":\"k1\"}", alg);
        char *token = signed_by(key, header, "{\"sub\":\"a\"}", digest, alg[0] == 'P', half);
        CU_ASSERT_EQUAL(verified(token, set), OK);
        token[strlen(header)] ^= 2; /* in the claims */
        CU_ASSERT_NOT_EQUAL(verified(token, set), OK);
        free(token);
        free(header);
        header = xasprintf("{\"alg\":\"%s\",\"kid\":\"k2\"}", alg);
        token = signed_by(key, header, "{\"sub\":\"a\"}", digest, alg[0] == 'P', half);
        CU_ASSERT_EQUAL(verified(token, set), E_NOT_FOUND);
        free(token);
        free(header);
    }
    jwk_set_free(set);
    free(jwk);
    EVP_PKEY_free(key);
}

static void test_algorithms(void)
{
    static const char *const RSA[] = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", NULL};
    static const char *const P256[] = {"ES256", NULL};
    static const char *const P384[] = {"ES384", NULL};
    static const char *const P521[] = {"ES512", NULL};
    check_key(EVP_RSA_gen(2048), NULL, 0, RSA);
    check_key(EVP_EC_gen("P-256"), "P-256", 32, P256);
    check_key(EVP_EC_gen("P-384"), "P-384", 48, P384);
    check_key(EVP_EC_gen("P-521"), "P-521", 66, P521);
}

/* A key takes part only as what it is. */
static void test_confusion(void)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    char *jwk = jwk_of(key, NULL, 0, ",\"alg\":\"RS512\"");
    struct jwk_set *set = set_of(jwk);
    char *token = signed_by(key, "{\"alg\":\"RS256\"}", "{}", "SHA256", false, 0);
    CU_ASSERT_EQUAL(verified(token, set), E_NOT_FOUND);
    free(token);
    static const char *const HEADERS[] = {"{\"alg\":\"none\"}",
                                          "{\"alg\":\"None\"}",
                                          "{\"alg\":\"HS256\"}",
                                          "{\"alg\":\"ES256\"}",
                                          "{\"alg\":5}",
                                          "{}",
                                          "{\"alg\":\"RS512\",\"crit\":[\"b64\"]}"};
    for (size_t i = 0; i < sizeof(HEADERS) / sizeof(HEADERS[0]); i++) {
        token = signed_by(key, HEADERS[i], "{}", "SHA512", false, 0);
        CU_ASSERT_NOT_EQUAL(verified(token, set), OK);
        *(strrchr(token, '.') + 1) = '\0';
        CU_ASSERT_NOT_EQUAL(verified(token, set), OK);
        free(token);
    }
    jwk_set_free(set);
    free(jwk);
    EVP_PKEY_free(key);
}

static void test_sets(void)
{
    static const char *const WRONG[] = {
        "",
        "[]",
        "{}",
        "{\"keys\":{}}",
        "{\"keys\":[]}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
        "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQAB\",\"y\":\"AQAB\"}]}",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-999\",\"x\":\"AQAB\",\"y\":\"AQAB\"}]}",
    };
    for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
        struct jwk_set *set = NULL;
        CU_ASSERT_EQUAL(jwk_set_parse(bytes_of(WRONG[i], strlen(WRONG[i])), &set), E_MALFORMED);
        CU_ASSERT_PTR_NULL(set);
    }
}

/* ---- logins ---- */

static struct oauth_rules rules;

static err login_with(const char *head, const char *token, struct oauth_login *login)
{
    char *message =
        xasprintf("%s\x01%s%s\x01\x01", head, token[0] == '\0' ? "" : "auth=Bearer ", token);
    err e = sasl_oauth_login(&rules, bytes_of(message, strlen(message)), NOW_MS, login);
    free(message);
    return e;
}

static char *unsecured(const char *header, const char *claims)
{
    char *head = encoded(bytes_of(header, strlen(header)));
    char *body = encoded(bytes_of(claims, strlen(claims)));
    char *token = xasprintf("%s.%s.", head, body);
    free(head);
    free(body);
    return token;
}

static void check_claims(const char *claims, const char *name)
{
    struct oauth_login login;
    char *token = unsecured("{\"alg\":\"none\"}", claims);
    err e = login_with("n,,", token, &login);
    CU_ASSERT_EQUAL(e, name == NULL ? ERR_SASL_AUTHENTICATION_FAILED : OK);
    if (e == OK) {
        CU_ASSERT_STRING_EQUAL(login.name, name == NULL ? "" : name);
    } else {
        CU_ASSERT(login.may_go_on);
        CU_ASSERT_STRING_EQUAL(login.text, "{\"status\":\"invalid_token\"}");
    }
    free(login.name);
    free(token);
}

static void use_options(const char *name, const char *value)
{
    char reason[200];
    struct properties options;
    properties_init(&options);
    if (name != NULL) {
        properties_set(&options, name, value);
    }
    oauth_rules_deinit(&rules);
    MUST(oauth_rules_unsecured(&rules, &options, reason, sizeof(reason)));
    properties_deinit(&options);
}

static void test_unsecured(void)
{
    use_options(NULL, NULL);
    check_claims("{\"sub\":\"bob\",\"exp\":1001}", "bob");
    check_claims("{\"sub\":\"bob\",\"exp\":1000.5,\"iat\":1000}", "bob");
    check_claims("{\"sub\":\"bob\",\"exp\":1001,\"nbf\":5000}", "bob"); /* as Kafka */
    check_claims("{\"sub\":\"bob\",\"exp\":1000}", NULL);
    check_claims("{\"sub\":\"bob\",\"exp\":2000,\"iat\":1001}", NULL);
    check_claims("{\"sub\":\"bob\",\"exp\":\"2000\"}", NULL);
    check_claims("{\"sub\":\"bob\",\"exp\":1e300}", NULL);
    check_claims("{\"sub\":\"bob\"}", NULL);
    check_claims("{\"exp\":2000}", NULL);
    check_claims("{\"sub\":null,\"exp\":2000}", NULL);
    check_claims("{\"sub\":\" \",\"exp\":2000}", NULL);
    check_claims("{\"sub\":7,\"exp\":2000}", NULL);
    check_claims("{\"sub\":\"a\",\"sub\":\"b\",\"exp\":2000}", NULL);
    check_claims("[]", NULL);
    use_options("unsecuredValidatorPrincipalClaimName", "who");
    check_claims("{\"who\":\"eve\",\"exp\":1001}", "eve");
    use_options("unsecuredValidatorRequiredScope", "read write");
    check_claims("{\"sub\":\"eve\",\"scope\":[\"write\",\"read\"],\"exp\":1001}", "eve");
    check_claims("{\"sub\":\"eve\",\"scope\":[\"write\"],\"exp\":1001}", NULL);
    use_options("unsecuredValidatorAllowableClockSkewMs", "2000");
    check_claims("{\"sub\":\"eve\",\"exp\":999}", "eve");
    check_claims("{\"sub\":\"eve\",\"exp\":998}", NULL);
    oauth_rules_deinit(&rules);
}

static void refused_at_once(const char *head, const char *token)
{
    struct oauth_login login;
    CU_ASSERT_EQUAL(login_with(head, token, &login), ERR_SASL_AUTHENTICATION_FAILED);
    CU_ASSERT_FALSE(login.may_go_on);
    CU_ASSERT_PTR_NULL(login.name);
}

static void test_messages(void)
{
    use_options(NULL, NULL);
    char *token = unsecured("{\"alg\":\"none\"}", "{\"sub\":\"bob\",\"exp\":1001}");
    struct oauth_login login;
    MUST(login_with("n,a=bob,", token, &login));
    free(login.name);
    refused_at_once("n,a=eve,", token);
    refused_at_once("y,,", token);
    refused_at_once("n,x=eve,", token);
    refused_at_once("n,", token);
    refused_at_once("", token);
    refused_at_once("n,,", "");
    free(token);
    token = unsecured("{\"alg\":\"RS256\"}", "{\"sub\":\"bob\",\"exp\":1001}");
    CU_ASSERT_EQUAL(login_with("n,,", token, &login), ERR_SASL_AUTHENTICATION_FAILED);
    free(token);
    token = oauth_unsecured_token("it's \"me\"", NOW_MS, 60000);
    MUST(login_with("n,,", token, &login));
    CU_ASSERT_STRING_EQUAL(login.name, "it's \"me\"");
    CU_ASSERT_EQUAL(login.expires_ms, NOW_MS + 60000);
    free(login.name);
    free(token);
    oauth_rules_deinit(&rules);
}

/* ---- keys from a file ---- */

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

static bool is_taken(const char *token)
{
    struct oauth_login login;
    err e = login_with("n,,", token, &login);
    free(login.name);
    return e == OK;
}

static void test_keys_of_a_file(void)
{
    char dir[64];
    char reason[512];
    temp_dir_make(dir);
    char *path = xasprintf("%s/keys", dir);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    char *jwk = jwk_of(key, "P-256", 32, "");
    char *json = xasprintf("{\"keys\":[%s]}", jwk);
    struct jwk_source *source = NULL;
    struct jwk_source_config config = {.url = path,
                                       .refresh_ms = 10,
                                       .retry_ms = 10,
                                       .retry_max_ms = 10,
                                       .threads = threads_system(),
                                       .clock = clock_system(),
                                       .sockets = sockets_system()};
    CU_ASSERT_EQUAL(jwk_source_new(&config, &source, reason, sizeof(reason)), E_CONFIG);
    write_text(path, "{\"keys\":[]}");
    CU_ASSERT_EQUAL(jwk_source_new(&config, &source, reason, sizeof(reason)), E_CONFIG);
    write_text(path, json);
    MUST(jwk_source_new(&config, &source, reason, sizeof(reason)));
    rules = (struct oauth_rules){.keys = source,
                                 .name_claim = xstrdup("sub"),
                                 .scope_claim = xstrdup("scope"),
                                 .issuer = xstrdup("me"),
                                 .audiences = {xstrdup("you")},
                                 .audiences_n = 1};
    static const struct {
        const char *claims;
        bool fine;
    } ROWS[] = {
        {"{\"sub\":\"bob\",\"exp\":1001,\"iss\":\"me\",\"aud\":[\"x\",\"you\"]}", true},
        {"{\"sub\":\"bob\",\"exp\":1001,\"iss\":\"me\",\"aud\":\"you\",\"nbf\":1000}", true},
        {"{\"sub\":\"bob\",\"exp\":1001,\"iss\":\"me\",\"aud\":\"you\",\"nbf\":1001}", false},
        {"{\"sub\":\"bob\",\"exp\":1000,\"iss\":\"me\",\"aud\":\"you\"}", false},
        {"{\"sub\":\"bob\",\"exp\":1001,\"iss\":\"Me\",\"aud\":\"you\"}", false},
        {"{\"sub\":\"bob\",\"exp\":1001,\"aud\":\"you\"}", false},
        {"{\"sub\":\"bob\",\"exp\":1001,\"iss\":\"me\",\"aud\":\"they\"}", false},
        {"{\"sub\":\"bob\",\"exp\":1001,\"iss\":\"me\"}", false},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        struct oauth_login login;
        char *token = signed_by(key, "{\"alg\":\"ES256\"}", ROWS[i].claims, "SHA256", false, 32);
        CU_ASSERT_EQUAL(login_with("n,,", token, &login) == OK, ROWS[i].fine);
        free(login.name);
        free(token);
        token = unsecured("{\"alg\":\"none\"}", ROWS[i].claims);
        CU_ASSERT_NOT_EQUAL(login_with("n,,", token, &login), OK);
        free(token);
    }
    /* Keys are read again; a file that is none changes nothing. */
    write_text(path, "{");
    sleep_ms(30);
    EVP_PKEY *other = EVP_EC_gen("P-384");
    char *token = signed_by(other, "{\"alg\":\"ES384\"}", ROWS[0].claims, "SHA384", false, 48);
    struct oauth_login login;
    CU_ASSERT_NOT_EQUAL(login_with("n,,", token, &login), OK);
    free(jwk);
    free(json);
    jwk = jwk_of(other, "P-384", 48, "");
    json = xasprintf("{\"keys\":[%s]}", jwk);
    write_text(path, json);
    EVENTUALLY(is_taken(token));
    free(token);
    jwk_source_free(source);
    oauth_rules_deinit(&rules);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    free(jwk);
    free(json);
    free(path);
    temp_dir_remove(dir);
}

SUITE("jwt", TEST(test_algorithms), TEST(test_confusion), TEST(test_sets), TEST(test_unsecured),
      TEST(test_messages), TEST(test_keys_of_a_file))
