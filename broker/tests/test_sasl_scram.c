/* SCRAM: the exchange of RFC 7677, both sides against each other, and what neither believes. */
#include "broker/security/sasl_scram.h"

#include "base/tests/suite.h"
#include "broker/security/base64.h"

#define BYTES(literal) bytes_of(literal, sizeof(literal) - 1)

/* ---- base64 ---- */

static void decodes(enum base64_alphabet alphabet, const char *text, const char *data, int len)
{
    uint8_t out[64];
    size_t out_len = 99;
    bool fine = base64_decode(alphabet, str_of(text), out, sizeof(out), &out_len);
    CU_ASSERT_EQUAL(fine, len >= 0);
    if (fine) {
        CU_ASSERT_EQUAL(out_len, (size_t)len);
        CU_ASSERT_EQUAL(memcmp(out, data, (size_t)len), 0);
        char back[BASE64_SIZE(64)];
        base64_encode(alphabet, bytes_of(out, out_len), back);
        CU_ASSERT_STRING_EQUAL(back, text);
    }
}

static void test_base64(void)
{
    decodes(BASE64_PADDED, "", "", 0);
    decodes(BASE64_PADDED, "Zg==", "f", 1);
    decodes(BASE64_PADDED, "Zm8=", "fo", 2);
    decodes(BASE64_PADDED, "Zm9v", "foo", 3);
    decodes(BASE64_PADDED, "+/+/", "\xfb\xff\xbf", 3);
    decodes(BASE64_URL, "-_-_", "\xfb\xff\xbf", 3);
    decodes(BASE64_URL, "Zm8", "fo", 2);
    static const char *const WRONG[] = {
        "Zg", "Zg=", "Zh==", "Z===", "Zm9v=", "Zm 9", "-_-_", "====", "A", "Zg==Zg=="};
    for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
        decodes(BASE64_PADDED, WRONG[i], NULL, -1);
    }
    decodes(BASE64_URL, "Zg==", NULL, -1);
    decodes(BASE64_URL, "+/+/", NULL, -1);
    uint8_t two[2];
    size_t len = 0;
    CU_ASSERT_FALSE(base64_decode(BASE64_PADDED, STR("Zm9v"), two, sizeof(two), &len));
}

/* ---- credentials ---- */

static struct scram_credential credential_of(enum scram_mechanism mechanism, const char *password)
{
    uint8_t salted[SCRAM_KEY_MAX];
    struct scram_credential out;
    struct bytes salt = BYTES("12345678");
    scram_salt_password(mechanism, bytes_of(password, strlen(password)), salt, 4096, salted);
    MUST(scram_credential_make(mechanism, bytes_of(salted, scram_key_len(mechanism)), salt, 4096,
                               &out));
    return out;
}

static void test_credential_text(void)
{
    /* As Kafka's tools have written it. */
    static const char TEXT[] =
        "salt=d3jj4QEADpKZH+hQXDQbMQ==,stored_key=xMNx8vcD6sS02OvFTI79ehj7puVD9wLjWDrqBo13uPc=,"
        "server_key=oQhbn/D7gj2MNw69uS1/NYdvgxOKvo5mvhfAP/PmDUc=,iterations=4096";
    struct scram_credential credential;
    char text[SCRAM_TEXT_MAX];
    MUST(scram_credential_parse(SCRAM_SHA_256, str_of(TEXT), &credential));
    CU_ASSERT_EQUAL(credential.salt_len, 16);
    CU_ASSERT_EQUAL(credential.iterations, 4096);
    scram_credential_format(&credential, text);
    CU_ASSERT_STRING_EQUAL(text, TEXT);
    CU_ASSERT_EQUAL(scram_credential_parse(SCRAM_SHA_512, str_of(TEXT), &credential), E_MALFORMED);
    for (size_t len = 0; len < sizeof(TEXT) - 5; len++) { /* "iterations=4" is fine */
        CU_ASSERT_EQUAL(scram_credential_parse(SCRAM_SHA_256, (struct str){TEXT, len}, &credential),
                        E_MALFORMED);
    }
}

static void test_feigned(void)
{
    struct scram_credential a;
    struct scram_credential b;
    scram_credential_feign(SCRAM_SHA_256, BYTES("key"), STR("nobody"), &a);
    scram_credential_feign(SCRAM_SHA_256, BYTES("key"), STR("nobody"), &b);
    CU_ASSERT_EQUAL(memcmp(&a, &b, sizeof(a)), 0);
    CU_ASSERT_EQUAL(a.iterations, 4096);
    scram_credential_feign(SCRAM_SHA_256, BYTES("key"), STR("nobodY"), &b);
    CU_ASSERT_NOT_EQUAL(memcmp(a.salt, b.salt, a.salt_len), 0);
    scram_credential_feign(SCRAM_SHA_256, BYTES("Key"), STR("nobody"), &b);
    CU_ASSERT_NOT_EQUAL(memcmp(a.salt, b.salt, a.salt_len), 0);
}

/* ---- the RFC's exchange ---- */

#define RFC_FIRST  "n=user,r=rOprNGfwEbeRWgbNEkqO"
#define RFC_NONCE  "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define RFC_SERVER "r=" RFC_NONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define RFC_FINAL  "c=biws,r=" RFC_NONCE
#define RFC_PROOF  "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define RFC_VERIFY "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

static void test_rfc_7677(void)
{
    const struct str auth = STR(RFC_FIRST "," RFC_SERVER "," RFC_FINAL);
    struct scram_server_first challenge;
    MUST(scram_server_first_parse(STR(RFC_SERVER), &challenge));
    uint8_t salted[SCRAM_KEY_MAX];
    uint8_t made[SCRAM_KEY_MAX];
    char text[BASE64_SIZE(SCRAM_KEY_MAX)];
    struct bytes salt = bytes_of(challenge.salt, challenge.salt_len);
    scram_salt_password(SCRAM_SHA_256, BYTES("pencil"), salt, challenge.iterations, salted);
    scram_client_proof(SCRAM_SHA_256, salted, auth, made);
    base64_encode(BASE64_PADDED, bytes_of(made, 32), text);
    CU_ASSERT_STRING_EQUAL(text, RFC_PROOF);
    scram_expected_signature(SCRAM_SHA_256, salted, auth, made);
    base64_encode(BASE64_PADDED, bytes_of(made, 32), text);
    CU_ASSERT_STRING_EQUAL(text, RFC_VERIFY);

    struct scram_credential credential;
    struct scram_client_final final;
    MUST(scram_credential_make(SCRAM_SHA_256, bytes_of(salted, 32), salt, 4096, &credential));
    MUST(scram_client_final_parse(STR(RFC_FINAL ",p=" RFC_PROOF), &final));
    CU_ASSERT(str_is(final.without_proof, RFC_FINAL));
    CU_ASSERT(scram_proof_is_right(&credential, auth, &final));
    final.proof[31] ^= 1;
    CU_ASSERT_FALSE(scram_proof_is_right(&credential, auth, &final));
    scram_server_signature(&credential, auth, made);
    base64_encode(BASE64_PADDED, bytes_of(made, 32), text);
    CU_ASSERT_STRING_EQUAL(text, RFC_VERIFY);
}

/* ---- messages ---- */

static void test_first_messages(void)
{
    struct scram_client_first in;
    MUST(scram_client_first_parse(STR("n,a=x=2Cy,m=future,n=a=3Db,r=Nonce!,tokenauth=TRUE,e=2"),
                                  &in));
    CU_ASSERT(str_is(in.gs2, "n,a=x=2Cy,"));
    CU_ASSERT(str_is(in.bare, "m=future,n=a=3Db,r=Nonce!,tokenauth=TRUE,e=2"));
    CU_ASSERT(str_is(in.authzid, "x=2Cy"));
    CU_ASSERT(str_is(in.nonce, "Nonce!"));
    CU_ASSERT(in.by_token);
    char name[8];
    CU_ASSERT(scram_name_decode(in.name, name, sizeof(name)));
    CU_ASSERT_STRING_EQUAL(name, "a=b");
    char *back = scram_name_encode(STR("a=,b"));
    CU_ASSERT_STRING_EQUAL(back, "a=3D=2Cb");
    free(back);
    static const char *const WRONG[] = {
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=a",
        "n,,n=a,r=",
        "y,,n=a,r=b",
        "p=tls-unique,,n=a,r=b",
        "n,x,n=a,r=b",
        "n,a=,n=a,r=b",
        "n,,n=,r=b",
        "n,,n=a=b,r=c",
        "n,,n=a=2c,r=c",
        "n,,r=b,n=a",
        "n,,n=a,r=b c",
        "n,,n=a,r=b,",
        "n,,n=a,r=b,=x",
        "n,,n=a,r=b,1=x",
        "n,,n=a,r=b,x=",
        "n,,m=x",
    };
    for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++) {
        CU_ASSERT_EQUAL(scram_client_first_parse(str_of(WRONG[i]), &in), E_MALFORMED);
    }
}

/* ---- both sides ---- */

struct both {
    struct scram_client *client;
    struct scram_server *server;
    struct bytes challenge;
};

static struct both meet(enum scram_mechanism mechanism, const char *user, const char *password)
{
    struct both both = {
        .client = scram_client_new(mechanism, str_of(user), str_of(password), random_system())};
    both.server = scram_server_new(scram_client_first(both.client));
    CU_ASSERT_PTR_NOT_NULL_FATAL(both.server);
    CU_ASSERT_STRING_EQUAL(scram_server_user(both.server), user);
    CU_ASSERT_FALSE(scram_server_by_token(both.server));
    CU_ASSERT_FALSE(scram_server_is_foreign(both.server));
    return both;
}

static void part(struct both *both)
{
    scram_client_free(both->client);
    scram_server_free(both->server);
}

static bool login(enum scram_mechanism mechanism, const char *password, bool known)
{
    struct scram_credential credential = credential_of(mechanism, "right");
    struct both both = meet(mechanism, "odd,=name", password);
    struct bytes answer;
    MUST(scram_client_challenged(
        both.client, scram_server_challenge(both.server, random_system(), &credential, known)));
    scram_client_work(both.client);
    bool fine = scram_server_finish(both.server, scram_client_final(both.client), &answer);
    CU_ASSERT_EQUAL(fine && scram_client_trusts(both.client, answer), fine);
    part(&both);
    return fine;
}

static void test_both_sides(void)
{
    CU_ASSERT(login(SCRAM_SHA_256, "right", true));
    CU_ASSERT(login(SCRAM_SHA_512, "right", true));
    CU_ASSERT_FALSE(login(SCRAM_SHA_256, "wrong", true));
    CU_ASSERT_FALSE(login(SCRAM_SHA_512, "right", false)); /* nobody's credential is right */
}

/* The last message of one login is none for another. */
static void test_replay(void)
{
    struct scram_credential credential = credential_of(SCRAM_SHA_256, "right");
    struct both first = meet(SCRAM_SHA_256, "a", "right");
    struct bytes answer;
    MUST(scram_client_challenged(
        first.client, scram_server_challenge(first.server, random_system(), &credential, true)));
    scram_client_work(first.client);
    struct both second = meet(SCRAM_SHA_256, "a", "right");
    (void)scram_server_challenge(second.server, random_system(), &credential, true);
    CU_ASSERT_FALSE(scram_server_finish(second.server, scram_client_final(first.client), &answer));
    CU_ASSERT(scram_server_finish(first.server, scram_client_final(first.client), &answer));
    part(&first);
    part(&second);
}

/* A client that knows the password, and signs a last message with another nonce: `format` makes it of the whole one. */
static bool finishes_with(const char *format, const char *channel)
{
    struct scram_credential credential = credential_of(SCRAM_SHA_256, "right");
    uint8_t salted[SCRAM_KEY_MAX];
    uint8_t proof[SCRAM_KEY_MAX];
    char text[BASE64_SIZE(SCRAM_KEY_MAX)];
    char nonce[600];
    struct scram_server *server = scram_server_new(BYTES("n,,n=a,r=own"));
    char *challenge = xstrdup(
        (const char *)scram_server_challenge(server, random_system(), &credential, true).data);
    snprintf(nonce, sizeof(nonce), "%s%.*s", format, (int)strcspn(challenge, ",") - 2,
             challenge + 2);
    if (format[0] == '-') { /* without so many characters at the end */
        snprintf(nonce, sizeof(nonce), "%.*s", (int)strcspn(challenge, ",") - 2 - atoi(format + 1),
                 challenge + 2);
    }
    char *bare = xasprintf("c=%s,r=%s", channel, nonce);
    char *auth = xasprintf("n=a,r=own,%s,%s", challenge, bare);
    scram_salt_password(SCRAM_SHA_256, BYTES("right"), BYTES("12345678"), 4096, salted);
    scram_client_proof(SCRAM_SHA_256, salted, str_of(auth), proof);
    base64_encode(BASE64_PADDED, bytes_of(proof, 32), text);
    char *final = xasprintf("%s,p=%s", bare, text);
    struct bytes answer;
    bool fine = scram_server_finish(server, bytes_of(final, strlen(final)), &answer);
    scram_server_free(server);
    free(final);
    free(auth);
    free(bare);
    free(challenge);
    return fine;
}

static void test_nonces(void)
{
    CU_ASSERT(finishes_with("", "biws"));
    CU_ASSERT(finishes_with("own", "biws")); /* as librdkafka 2.0: its own, and behind it both */
    CU_ASSERT_FALSE(finishes_with("-1", "biws"));
    CU_ASSERT_FALSE(finishes_with("-24", "biws")); /* nothing of the server's */
    CU_ASSERT_FALSE(finishes_with("", "eSws"));    /* another head than was sent */
    CU_ASSERT_FALSE(finishes_with("", ""));
}

static void challenged(const char *format, const char *text, err expected)
{
    struct scram_client *client =
        scram_client_new(SCRAM_SHA_256, STR("a"), STR("b"), random_system());
    char *nonce = xstrdup((const char *)scram_client_first(client).data + strlen("n,,n=a,r="));
    char *message = xasprintf("r=%s%s%s", format, nonce, text);
    CU_ASSERT_EQUAL(scram_client_challenged(client, bytes_of(message, strlen(message))), expected);
    free(message);
    free(nonce);
    scram_client_free(client);
}

static void test_what_a_client_does_not_take(void)
{
    challenged("", "x,s=QUJD,i=4096", OK);
    challenged("", "x,s=QUJD,i=16384", OK);
    challenged("", "x,s=QUJD,i=4095", E_MALFORMED);
    challenged("", "x,s=QUJD,i=16385", E_MALFORMED);
    challenged("", "x,s=QUJD,i=999999999999", E_MALFORMED);
    challenged("", ",s=QUJD,i=4096", E_MALFORMED); /* nothing of the server's own */
    challenged("x", "x,s=QUJD,i=4096", E_MALFORMED);
    challenged("", "x,s=QUJ,i=4096", E_MALFORMED);
    challenged("", "x,i=4096", E_MALFORMED);
    struct scram_client *client =
        scram_client_new(SCRAM_SHA_256, STR("a"), STR("b"), random_system());
    CU_ASSERT_FALSE(scram_client_trusts(client, BYTES("v=" RFC_VERIFY)));
    CU_ASSERT_FALSE(scram_client_trusts(client, BYTES("e=other-error")));
    CU_ASSERT_FALSE(scram_client_trusts(client, BYTES("")));
    scram_client_free(client);
}

SUITE("sasl_scram", TEST(test_base64), TEST(test_credential_text), TEST(test_feigned),
      TEST(test_rfc_7677), TEST(test_first_messages), TEST(test_both_sides), TEST(test_replay),
      TEST(test_nonces), TEST(test_what_a_client_does_not_take))
