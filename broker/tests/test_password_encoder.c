/* Passwords as Kafka encrypts them for the coordination store. */
#define _GNU_SOURCE
#include "broker/security/password_encoder.h"

#include "base/tests/suite.h"

/* By Kafka 3.9.1, with the secret "enc-secret". */
static const char BY_KAFKA[] =
    "initializationVector:FQqj68ydTU8UVPH++JngXg==,keyLength:128,salt:vWm8KeyVprSDPNppsE6OZlG"
    "1aJKOh4SMbuhDj2tPVQvK/F/TrMLsr7DbO0LuvmU/I8ubR+Laa88kz1KhHwCPu0M/c9oXMKKQdG7DIXj6nSNpZzD"
    "1ltWQllhhNXBb/Gtf8g+NkkGHzYczrGqQOeKPWEkKQSKbkrjGnCmxG0lL2LplUs/8yloB60X9KMeBpBtepU9i0cf"
    "H3eZaIC2XHCWDOkpzEs7h7AJpWaHGDlf4MVBs6oKuhEJ6AFjerndIivG1HWZ+Ri3c/VF7oW+qN/rEfzonMDs820y"
    "0ZiJvqLRrjLEhE3lB7NjFP9rAag2m0JxSO5/Yy5ohv1i/Tu3SKkinfw==,keyFactoryAlgorithm:PBKDF2With"
    "HmacSHA512,cipherAlgorithm:AES/CBC/PKCS5Padding,iterations:4096,passwordLength:23,encryp"
    "tedPassword:ZUJWLEBvOKDFOlkG8tKtCwQRMSYXGsdIh3tUNyMnqZc=";

static const struct password_encoding ENCODING = {
    .secret = "enc-secret", .key_bits = 128, .iterations = 4096};

static void decodes(const struct password_encoding *encoding, const char *text, err expected,
                    const char *password)
{
    char *plain = NULL;
    CU_ASSERT_EQUAL(password_decode(encoding, text, &plain), expected);
    if (password == NULL) {
        CU_ASSERT_PTR_NULL(plain);
    } else {
        CU_ASSERT_STRING_EQUAL(plain == NULL ? "" : plain, password);
    }
    free(plain);
}

static void test_kafkas(void)
{
    decodes(&ENCODING, BY_KAFKA, OK, "changeit-planted-secret");
}

static void test_there_and_back(void)
{
    static const char *const PASSWORDS[] = {"x", "päss wörd,with:everything", "sixteen bytes...",
                                            "a rather long one that takes several blocks of it"};
    static const char *const FACTORIES[] = {NULL, "PBKDF2WithHmacSHA1", "PBKDF2WithHmacSHA256"};
    for (size_t i = 0; i < sizeof(PASSWORDS) / sizeof(PASSWORDS[0]); i++) {
        struct password_encoding encoding = ENCODING;
        encoding.key_bits = i % 2 == 0 ? 128 : 256;
        encoding.key_factory = FACTORIES[i % 3];
        char *text = NULL;
        char *again = NULL;
        CU_ASSERT_EQUAL(password_encode(&encoding, PASSWORDS[i], &text), OK);
        CU_ASSERT_EQUAL(password_encode(&encoding, PASSWORDS[i], &again), OK);
        CU_ASSERT_STRING_NOT_EQUAL(text, again);    /* other salts */
        decodes(&ENCODING, text, OK, PASSWORDS[i]); /* the text says how */
        free(text);
        free(again);
    }
}

static void test_secrets(void)
{
    struct password_encoding other = ENCODING;
    char *text = NULL;
    other.secret = "another";
    decodes(&other, BY_KAFKA, E_CONFIG, NULL);
    other.old_secret = "enc-secret";
    decodes(&other, BY_KAFKA, OK, "changeit-planted-secret");
    other = (struct password_encoding){.key_bits = 128, .iterations = 4096};
    decodes(&other, BY_KAFKA, E_CONFIG, NULL);
    CU_ASSERT_EQUAL(password_encode(&other, "x", &text), E_CONFIG);
    CU_ASSERT_PTR_NULL(text);
}

/* Whatever is cut off or changed is refused, or is not the password. */
static void test_broken(void)
{
    decodes(&ENCODING, "", E_MALFORMED, NULL);
    decodes(&ENCODING, "changeit", E_MALFORMED, NULL);
    size_t len = strlen(BY_KAFKA);
    struct password_encoding quick = ENCODING;
    for (size_t cut = 1; cut < len; cut += 7) {
        char *text = strndup(BY_KAFKA, cut);
        char *plain = NULL;
        err e = password_decode(&quick, text, &plain);
        CU_ASSERT(e != OK || strcmp(plain, "changeit-planted-secret") != 0);
        free(plain);
        free(text);
    }
    char *greedy = strdup(BY_KAFKA);
    memcpy(strstr(greedy, "iterations:4096"), "iterations:9999", 15);
    decodes(&ENCODING, greedy, E_CONFIG, NULL);
    free(greedy);
    CU_ASSERT(password_key_factory_is_known("PBKDF2WithHmacSHA512"));
    CU_ASSERT(!password_key_factory_is_known("PBKDF2WithHmacFOO"));
    CU_ASSERT(!password_key_factory_is_known("SHA512"));
}

SUITE("password_encoder", TEST(test_kafkas), TEST(test_there_and_back), TEST(test_secrets),
      TEST(test_broken))
