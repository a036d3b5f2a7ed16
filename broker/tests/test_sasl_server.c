/* The broker's side of logins: orders of requests, outcomes, sessions; with times that the test chooses. What is said
 * on the wire is compared with Kafka in interop-tests/sasl. */
#include "broker/security/sasl_server.h"

#include "base/tests/suite.h"
#include "broker/security/sasl_scram.h"
#include "protocol/error.h"

enum { VERSIONS = 18, HANDSHAKE = 17, AUTHENTICATE = 36, METADATA = 3, WALL_MS = 5000000 };

#define BYTES(literal) bytes_of(literal, sizeof(literal) - 1)
#define RIGHT          BYTES("\0alice\0secret")
#define WRONG          BYTES("\0alice\0guess")

static struct sasl_listener listener;
static struct sasl_server *sasl;
static struct sasl_outcome out;
static const struct session *session; /* as the connection would keep it */
static int64_t now = 1000;

static void begin(int64_t reauth_ms)
{
    struct properties options;
    properties_init(&options);
    properties_set(&options, "user_alice", "secret");
    properties_set(&options, "user_bob", "secret");
    listener = (struct sasl_listener){.protocol = PROTOCOL_SASL_PLAINTEXT,
                                      .stores = {.users = scram_users_new(),
                                                 .tokens = tokens_new("key", random_system()),
                                                 .random = random_system()}};
    plain_users_init(&listener.plain, &options, random_system());
    properties_deinit(&options);
    char reason[100];
    properties_init(&options);
    MUST(oauth_rules_unsecured(&listener.oauth, &options, reason, sizeof(reason)));
    properties_deinit(&options);
    for (int i = 0; i < SASL_MECHANISMS_N; i++) {
        listener.enabled[i] = true;
        listener.reauth_ms[i] = reauth_ms;
    }
    sasl = sasl_server_new(&listener);
    session = session_anonymous(PROTOCOL_SASL_PLAINTEXT);
    now = 1000;
}

static void again(void)
{
    sasl_server_free(sasl);
    session_release(session);
    session = session_anonymous(PROTOCOL_SASL_PLAINTEXT);
    sasl = sasl_server_new(&listener);
}

static void end(void)
{
    sasl_server_free(sasl);
    session_release(session);
    plain_users_deinit(&listener.plain);
    oauth_rules_deinit(&listener.oauth);
    scram_users_free(listener.stores.users);
    tokens_free(listener.stores.tokens);
}

static enum sasl_verdict ask(int16_t key)
{
    return sasl_server_admit(sasl, key, true, session, now);
}

/* As a client does: the request is admitted, then handled. */
static int16_t handshake(const char *mechanism, int version)
{
    CU_ASSERT_EQUAL(ask(HANDSHAKE), SASL_SERVE);
    sasl_server_handshake(sasl, str_of(mechanism), version, session, now, &out);
    return out.error;
}

static int16_t token(struct bytes bytes)
{
    sasl_server_token(sasl, bytes, session, now, WALL_MS + now, &out);
    if (out.session != NULL) {
        session_release(session);
        session = out.session;
    }
    return out.error;
}

static int16_t login(struct bytes bytes)
{
    CU_ASSERT_EQUAL(handshake("PLAIN", 1), OK);
    CU_ASSERT_EQUAL(ask(AUTHENTICATE), SASL_SERVE);
    return token(bytes);
}

/* ---- orders ---- */

static void test_orders(void)
{
    begin(0);
    CU_ASSERT_EQUAL(sasl_server_admit(sasl, VERSIONS, false, session, now), SASL_SERVE);
    CU_ASSERT_EQUAL(ask(VERSIONS), SASL_SERVE);
    CU_ASSERT_EQUAL(ask(VERSIONS), SASL_DROP);
    CU_ASSERT_EQUAL(ask(HANDSHAKE), SASL_DROP); /* it is over */
    again();
    CU_ASSERT_EQUAL(ask(AUTHENTICATE), SASL_DROP);
    again();
    CU_ASSERT_EQUAL(ask(METADATA), SASL_DROP);
    again();
    CU_ASSERT_EQUAL(handshake("PLAIN", 1), OK);
    CU_ASSERT_EQUAL(ask(HANDSHAKE), SASL_REFUSE);
    CU_ASSERT_EQUAL(ask(AUTHENTICATE), SASL_DROP);
    again();
    CU_ASSERT_EQUAL(handshake("PLAIN", 1), OK);
    CU_ASSERT_EQUAL(ask(METADATA), SASL_REFUSE);
    again();
    CU_ASSERT_EQUAL(login(RIGHT), OK);
    CU_ASSERT_EQUAL(ask(METADATA), SASL_SERVE);
    CU_ASSERT_EQUAL(ask(VERSIONS), SASL_SERVE);
    CU_ASSERT_EQUAL(handshake("PLAIN", 1), ERR_ILLEGAL_SASL_STATE);
    CU_ASSERT_FALSE(out.failed);
    CU_ASSERT_EQUAL(token(RIGHT), ERR_ILLEGAL_SASL_STATE);
    CU_ASSERT_FALSE(out.failed);
    CU_ASSERT_EQUAL(ask(METADATA), SASL_SERVE);
    end();
}

static void test_mechanisms(void)
{
    begin(0);
    listener.enabled[SASL_SCRAM_SHA_512] = false;
    static const char *const NONE[] = {"", "plain", "GSSAPI", "SCRAM-SHA-512", "PLAINx"};
    for (size_t i = 0; i < sizeof(NONE) / sizeof(NONE[0]); i++) {
        CU_ASSERT_EQUAL(handshake(NONE[i], 1), ERR_UNSUPPORTED_SASL_MECHANISM);
        CU_ASSERT(out.failed && !out.drop);
        CU_ASSERT_EQUAL(ask(HANDSHAKE), SASL_DROP);
        again();
    }
    end();
}

static void test_raw(void)
{
    begin(0);
    CU_ASSERT_FALSE(sasl_server_wants_raw(sasl));
    CU_ASSERT_EQUAL(handshake("PLAIN", 0), OK);
    CU_ASSERT(sasl_server_wants_raw(sasl));
    CU_ASSERT_EQUAL(token(RIGHT), OK);
    CU_ASSERT_EQUAL(out.token.len, 0);
    CU_ASSERT_FALSE(sasl_server_wants_raw(sasl));
    CU_ASSERT_EQUAL(ask(METADATA), SASL_SERVE);
    again();
    CU_ASSERT_EQUAL(handshake("PLAIN", 0), OK);
    CU_ASSERT_NOT_EQUAL(token(WRONG), OK);
    CU_ASSERT(out.failed && out.drop);
    CU_ASSERT_FALSE(sasl_server_wants_raw(sasl));
    end();
}

/* ---- outcomes ---- */

static void test_plain(void)
{
    begin(0);
    CU_ASSERT_EQUAL(login(RIGHT), OK);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out.session);
    CU_ASSERT(str_is(session->principal.type, "User") && str_is(session->principal.name, "alice"));
    CU_ASSERT_EQUAL(session->expires_ms, INT64_MAX);
    CU_ASSERT_EQUAL(out.lifetime_ms, 0);
    again();
    CU_ASSERT_EQUAL(login(WRONG), ERR_SASL_AUTHENTICATION_FAILED);
    CU_ASSERT(out.failed && !out.drop && out.session == NULL);
    CU_ASSERT_STRING_EQUAL(out.text, "Authentication failed: Invalid username or password");
    CU_ASSERT_EQUAL(ask(AUTHENTICATE), SASL_DROP); /* nothing is served after that */
    CU_ASSERT_EQUAL(token(RIGHT), OK);
    CU_ASSERT(out.drop && out.session == NULL);
    end();
}

static void make_user(const char *name, const char *password)
{
    uint8_t salted[SCRAM_KEY_MAX];
    struct scram_credential credential;
    scram_salt_password(SCRAM_SHA_256, bytes_of(password, strlen(password)), BYTES("salt"), 4096,
                        salted);
    MUST(scram_credential_make(SCRAM_SHA_256, bytes_of(salted, 32), BYTES("salt"), 4096,
                               &credential));
    scram_users_set(listener.stores.users, str_of(name), SCRAM_SHA_256, &credential);
}

/* The last error. `more`: behind the client's first message. */
static int16_t scram(const char *user, const char *password)
{
    struct scram_client *client =
        scram_client_new(SCRAM_SHA_256, str_of(user), str_of(password), random_system());
    CU_ASSERT_EQUAL(handshake("SCRAM-SHA-256", 1), OK);
    int16_t e = token(scram_client_first(client));
    if (e == OK) {
        MUST(scram_client_challenged(client, out.token));
        scram_client_work(client);
        e = token(scram_client_final(client));
        CU_ASSERT_EQUAL(e == OK, scram_client_trusts(client, out.token));
    }
    scram_client_free(client);
    return e;
}

static void test_scram(void)
{
    begin(0);
    make_user("carol", "right");
    CU_ASSERT_EQUAL(scram("carol", "right"), OK);
    CU_ASSERT(str_is(session->principal.name, "carol"));
    CU_ASSERT_FALSE(session->by_token);
    static const char *const FAILURES[][2] = {
        {"carol", "wrong"}, {"nobody", "right"}, {"Carol", "right"}, {"alice", "secret"}};
    for (size_t i = 0; i < 4; i++) {
        again();
        CU_ASSERT_EQUAL(scram(FAILURES[i][0], FAILURES[i][1]), ERR_SASL_AUTHENTICATION_FAILED);
        CU_ASSERT_STRING_EQUAL(out.text,
                               "Authentication failed during authentication due to invalid "
                               "credentials with SASL mechanism SCRAM-SHA-256");
    }
    again();
    scram_users_set(listener.stores.users, STR("carol"), SCRAM_SHA_256, NULL);
    CU_ASSERT_EQUAL(scram("carol", "right"), ERR_SASL_AUTHENTICATION_FAILED);
    again();
    CU_ASSERT_EQUAL(handshake("SCRAM-SHA-256", 1), OK);
    CU_ASSERT_EQUAL(token(BYTES("n,a=eve,n=carol,r=abc")), ERR_SASL_AUTHENTICATION_FAILED);
    CU_ASSERT_STRING_EQUAL(out.text, "Authentication failed: Client requested an authorization id "
                                     "that is different from username");
    end();
}

static void test_token_login(void)
{
    begin(0);
    const struct token made = {.id = STR("id1"),
                               .owner = {STR("User"), STR("alice")},
                               .requester = {STR("User"), STR("bob")},
                               .expires_ms = WALL_MS + now + 500,
                               .max_ms = WALL_MS + now + 9000};
    tokens_set(listener.stores.tokens, &made);
    static const char FIRST[] = "n,,n=id1,r=abc,tokenauth=true";
    CU_ASSERT_EQUAL(handshake("SCRAM-SHA-512", 1), OK);
    CU_ASSERT_EQUAL(token(BYTES(FIRST)), OK);
    CU_ASSERT_EQUAL(out.unmade, SCRAM_SHA_512);
    CU_ASSERT_STRING_EQUAL(out.unmade_id, "id1");
    tokens_make_credential(listener.stores.tokens, STR("id1"), out.unmade);
    CU_ASSERT_EQUAL(token(BYTES(FIRST)), OK);
    CU_ASSERT_EQUAL(out.unmade, SCRAM_UNKNOWN);
    CU_ASSERT(out.token.len > 0);
    again();
    CU_ASSERT_EQUAL(handshake("SCRAM-SHA-512", 1), OK); /* a token is no user */
    CU_ASSERT_EQUAL(token(BYTES("n,,n=id1,r=abc")), OK);
    CU_ASSERT_EQUAL(out.unmade, SCRAM_UNKNOWN);
    again();
    now += 500; /* expired: as one that is not there */
    CU_ASSERT_EQUAL(handshake("SCRAM-SHA-256", 1), OK);
    CU_ASSERT_EQUAL(token(BYTES(FIRST)), OK);
    CU_ASSERT_EQUAL(out.unmade, SCRAM_UNKNOWN);
    CU_ASSERT_EQUAL(token(BYTES("c=biws,r=abc,p=AAAA")), ERR_SASL_AUTHENTICATION_FAILED);
    end();
}

/* ---- sessions ---- */

static void test_renewal(void)
{
    begin(3000);
    CU_ASSERT_EQUAL(login(RIGHT), OK);
    CU_ASSERT_EQUAL(out.lifetime_ms, 3000);
    CU_ASSERT_EQUAL(session->expires_ms, now + 3000);
    now += 2999;
    CU_ASSERT_EQUAL(ask(METADATA), SASL_SERVE);
    now += 1;
    CU_ASSERT_EQUAL(ask(METADATA), SASL_DROP);
    CU_ASSERT_EQUAL(ask(VERSIONS), SASL_DROP);
    CU_ASSERT_EQUAL(login(RIGHT), OK); /* it may still be renewed */
    CU_ASSERT_EQUAL(ask(METADATA), SASL_SERVE);
    now += 999;
    CU_ASSERT_EQUAL(handshake("PLAIN", 1), ERR_ILLEGAL_SASL_STATE); /* not so often */
    now += 1;
    CU_ASSERT_EQUAL(handshake("PLAIN", 1), OK);
    CU_ASSERT_EQUAL(ask(METADATA), SASL_REFUSE); /* between the steps */
    end();
}

static void test_renewal_as_another(void)
{
    begin(3000);
    CU_ASSERT_EQUAL(login(RIGHT), OK);
    CU_ASSERT_EQUAL(login(BYTES("\0bob\0secret")), ERR_SASL_AUTHENTICATION_FAILED);
    CU_ASSERT_STRING_EQUAL(
        out.text, "Cannot change principals during re-authentication from User.alice: User.bob");
    CU_ASSERT_EQUAL(ask(METADATA), SASL_DROP);
    again();
    CU_ASSERT_EQUAL(login(RIGHT), OK);
    CU_ASSERT_EQUAL(handshake("OAUTHBEARER", 1), OK);
    (void)token(BYTES("x"));
    CU_ASSERT(out.drop);
    again();
    CU_ASSERT_EQUAL(login(RIGHT), OK);
    (void)handshake("NOPE", 1);
    CU_ASSERT(out.drop);
    end();
}

static int16_t bearer(const char *name, int64_t life_ms)
{
    char *made = oauth_unsecured_token(name, WALL_MS + now, life_ms);
    char *message = sasl_oauth_message(made);
    int16_t e = token(bytes_of(message, strlen(message)));
    free(message);
    free(made);
    return e;
}

static void test_lifetimes(void)
{
    begin(3000);
    CU_ASSERT_EQUAL(handshake("OAUTHBEARER", 1), OK);
    CU_ASSERT_EQUAL(bearer("a", 2000), OK);
    CU_ASSERT_EQUAL(out.lifetime_ms, 2000);
    again();
    CU_ASSERT_EQUAL(handshake("OAUTHBEARER", 1), OK);
    CU_ASSERT_EQUAL(bearer("a", 60000), OK);
    CU_ASSERT_EQUAL(out.lifetime_ms, 3000);
    again();
    listener.reauth_ms[SASL_OAUTHBEARER] = 0;
    CU_ASSERT_EQUAL(handshake("OAUTHBEARER", 1), OK);
    CU_ASSERT_EQUAL(bearer("a", 60000), OK);
    CU_ASSERT_EQUAL(out.lifetime_ms, 60000);
    now += 60000;
    CU_ASSERT_EQUAL(ask(METADATA), SASL_DROP);
    CU_ASSERT_EQUAL(handshake("OAUTHBEARER", 1), OK);
    CU_ASSERT_EQUAL(bearer("a", 1000), OK);
    end();
}

static void test_refused_token(void)
{
    begin(0);
    CU_ASSERT_EQUAL(handshake("OAUTHBEARER", 1), OK);
    CU_ASSERT_EQUAL(bearer("a", -1000), OK);
    CU_ASSERT(out.session == NULL && out.token.len > 0);
    CU_ASSERT_EQUAL(ask(METADATA), SASL_REFUSE);
    again();
    CU_ASSERT_EQUAL(handshake("OAUTHBEARER", 1), OK);
    CU_ASSERT_EQUAL(bearer("a", -1000), OK);
    CU_ASSERT_EQUAL(token(BYTES("\x01")), ERR_SASL_AUTHENTICATION_FAILED);
    CU_ASSERT_STRING_EQUAL(out.text, "{\"status\":\"invalid_token\"}");
    end();
}

SUITE("sasl_server", TEST(test_orders), TEST(test_mechanisms), TEST(test_raw), TEST(test_plain),
      TEST(test_scram), TEST(test_token_login), TEST(test_renewal), TEST(test_renewal_as_another),
      TEST(test_lifetimes), TEST(test_refused_token))
