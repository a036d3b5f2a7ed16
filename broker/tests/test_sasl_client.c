/* This broker's login at another: what it sends, and what of the other side's answers it does not take. The other side is
 * the broker's own. */
#include "broker/security/sasl_client.h"

#include "base/tests/suite.h"
#include "broker/security/sasl_server.h"
#include "protocol/error.h"
#include "protocol/messages.h"

enum { HANDSHAKE = 17, AUTHENTICATE = 36, VERSION = 1, NOW_MS = 1000, WALL_MS = 5000000 };

static struct sasl_listener listener;
static struct sasl_identity identity;
static struct sasl_client *client;
static struct sasl_server *server;
static struct sasl_outcome outcome;
static struct arena arena;
static struct writer answer;

static void begin(enum sasl_mechanism mechanism, const char *password)
{
    struct properties options;
    char reason[100];
    uint8_t salted[SCRAM_KEY_MAX];
    struct scram_credential credential;
    properties_init(&options);
    properties_set(&options, "user_broker", "secret");
    listener = (struct sasl_listener){.protocol = PROTOCOL_SASL_PLAINTEXT,
                                      .enabled = {true, true, true, true},
                                      .reauth_ms = {7000, 7000, 7000, 7000},
                                      .stores = {.users = scram_users_new(),
                                                 .tokens = tokens_new(NULL, random_system()),
                                                 .random = random_system()}};
    plain_users_init(&listener.plain, &options, random_system());
    MUST(oauth_rules_unsecured(&listener.oauth, &options, reason, sizeof(reason)));
    properties_deinit(&options);
    scram_salt_password(SCRAM_SHA_512, bytes_of("secret", 6), bytes_of("salt", 4), 4096, salted);
    MUST(scram_credential_make(SCRAM_SHA_512, bytes_of(salted, 64), bytes_of("salt", 4), 4096,
                               &credential));
    scram_users_set(listener.stores.users, STR("broker"), SCRAM_SHA_512, &credential);
    identity = (struct sasl_identity){.mechanism = mechanism,
                                      .user = xstrdup("broker"),
                                      .password = password == NULL ? NULL : xstrdup(password)};
    client = sasl_client_new(&identity, random_system(), clock_system());
    server = sasl_server_new(&listener);
    arena_init(&arena, 1 << 20);
    writer_init(&answer, 1 << 20);
}

static void end(void)
{
    sasl_client_free(client);
    sasl_server_free(server);
    sasl_identity_deinit(&identity);
    plain_users_deinit(&listener.plain);
    oauth_rules_deinit(&listener.oauth);
    scram_users_free(listener.stores.users);
    tokens_free(listener.stores.tokens);
    arena_deinit(&arena);
    writer_deinit(&answer);
}

/* ---- the other side, as frames ---- */

static int32_t open_frame(int16_t key, void *request)
{
    struct reader r = reader_of(sasl_client_frame(client));
    CU_ASSERT_EQUAL(reader_i16(&r), key);
    CU_ASSERT_EQUAL(reader_i16(&r), VERSION);
    int32_t correlation_id = reader_i32(&r);
    CU_ASSERT_EQUAL(reader_i16(&r), -1);
    MUST(message_decode(api_schema_of(key)->request, VERSION, &r, &arena, request));
    return correlation_id;
}

static enum sasl_client_step tell(int16_t key, int32_t correlation_id, const void *response)
{
    writer_clear(&answer);
    writer_i32(&answer, correlation_id);
    MUST(message_encode(api_schema_of(key)->response, VERSION, response, &answer));
    return sasl_client_take(client, bytes_of(answer.data, answer.len));
}

static enum sasl_client_step shake_hands(void)
{
    struct sasl_handshake_request in;
    int32_t id = open_frame(HANDSHAKE, &in);
    sasl_server_handshake(server, in.mechanism, VERSION, session_anonymous(PROTOCOL_SASL_PLAINTEXT),
                          NOW_MS, &outcome);
    struct sasl_handshake_response out = {.error_code = outcome.error};
    return tell(HANDSHAKE, id, &out);
}

/* `spoil`: changes what the server says. */
static enum sasl_client_step authenticate(int64_t wall_ms,
                                          void (*spoil)(struct sasl_authenticate_response *out))
{
    struct sasl_authenticate_request in;
    int32_t id = open_frame(AUTHENTICATE, &in);
    sasl_server_token(server, in.auth_bytes, session_anonymous(PROTOCOL_SASL_PLAINTEXT), NOW_MS,
                      wall_ms, &outcome);
    session_release(outcome.session != NULL ? outcome.session
                                            : session_anonymous(PROTOCOL_PLAINTEXT));
    struct sasl_authenticate_response out = {
        .error_code = outcome.error,
        .error_message = str_of(outcome.text),
        .auth_bytes = bytes_of(outcome.token.len == 0 ? (const void *)"" : outcome.token.data,
                               outcome.token.len),
        .session_lifetime_ms = outcome.lifetime_ms};
    if (spoil != NULL) {
        spoil(&out);
    }
    return tell(AUTHENTICATE, id, &out);
}

/* ---- what is taken ---- */

static void test_plain(void)
{
    begin(SASL_PLAIN, "secret");
    CU_ASSERT_EQUAL(shake_hands(), SASL_CLIENT_SEND);
    CU_ASSERT_EQUAL(authenticate(WALL_MS, NULL), SASL_CLIENT_DONE);
    CU_ASSERT_EQUAL(sasl_client_lifetime_ms(client), 7000);
    end();
    begin(SASL_PLAIN, "wrong");
    CU_ASSERT_EQUAL(shake_hands(), SASL_CLIENT_SEND);
    CU_ASSERT_EQUAL(authenticate(WALL_MS, NULL), SASL_CLIENT_FAILED);
    CU_ASSERT_STRING_EQUAL(sasl_client_why(client),
                           "SASL_AUTHENTICATION_FAILED: Authentication failed: Invalid username or "
                           "password");
    end();
}

static void test_scram(void)
{
    begin(SASL_SCRAM_SHA_512, "secret");
    CU_ASSERT_EQUAL(shake_hands(), SASL_CLIENT_SEND);
    CU_ASSERT_EQUAL(authenticate(WALL_MS, NULL), SASL_CLIENT_WORK);
    sasl_client_work(client);
    CU_ASSERT_EQUAL(authenticate(WALL_MS, NULL), SASL_CLIENT_DONE);
    end();
}

static void test_bearer(void)
{
    int64_t wall_ms = clock_wall_ms(clock_system());
    begin(SASL_OAUTHBEARER, NULL);
    CU_ASSERT_EQUAL(shake_hands(), SASL_CLIENT_SEND);
    CU_ASSERT_EQUAL(authenticate(wall_ms, NULL), SASL_CLIENT_DONE);
    end();
    begin(SASL_OAUTHBEARER, NULL);
    CU_ASSERT_EQUAL(shake_hands(), SASL_CLIENT_SEND);
    CU_ASSERT_EQUAL(authenticate(wall_ms + 2 * 3600000, NULL), SASL_CLIENT_FAILED);
    end();
}

/* ---- what is not ---- */

static void ask_too_much(struct sasl_authenticate_response *out)
{
    static char text[1024];
    int len = (int)out->auth_bytes.len - (int)strlen("4096");
    snprintf(text, sizeof(text), "%.*s%s", len, (const char *)out->auth_bytes.data, "99999999");
    out->auth_bytes = bytes_of(text, strlen(text));
}

static void lie(struct sasl_authenticate_response *out)
{
    out->error_code = OK;
    out->auth_bytes = bytes_of("v=AAAA", 6);
}

static void say_nothing(struct sasl_authenticate_response *out)
{
    *out = (struct sasl_authenticate_response){.error_message = STR(""),
                                               .auth_bytes = bytes_of("", 0)};
}

static void scram_fails(void (*first)(struct sasl_authenticate_response *out),
                        void (*second)(struct sasl_authenticate_response *out))
{
    begin(SASL_SCRAM_SHA_512, "secret");
    CU_ASSERT_EQUAL(shake_hands(), SASL_CLIENT_SEND);
    enum sasl_client_step step = authenticate(WALL_MS, first);
    if (second != NULL) {
        CU_ASSERT_EQUAL(step, SASL_CLIENT_WORK);
        sasl_client_work(client);
        step = authenticate(WALL_MS, second);
    }
    CU_ASSERT_EQUAL(step, SASL_CLIENT_FAILED);
    CU_ASSERT_STRING_NOT_EQUAL(sasl_client_why(client), "");
    end();
}

/* Somebody else who stands there in place of the broker. */
static void test_false_servers(void)
{
    scram_fails(ask_too_much, NULL);
    scram_fails(say_nothing, NULL);
    scram_fails(NULL, lie);
    scram_fails(NULL, say_nothing);
}

static void test_other_answers(void)
{
    begin(SASL_PLAIN, "secret");
    struct sasl_handshake_response out = {.error_code = OK};
    CU_ASSERT_EQUAL(tell(HANDSHAKE, 77, &out), SASL_CLIENT_FAILED);
    end();
    begin(SASL_PLAIN, "secret");
    out.error_code = ERR_UNSUPPORTED_SASL_MECHANISM;
    CU_ASSERT_EQUAL(tell(HANDSHAKE, 1, &out), SASL_CLIENT_FAILED);
    end();
    begin(SASL_PLAIN, "secret");
    CU_ASSERT_EQUAL(sasl_client_take(client, bytes_of("\0\0\0\1\0", 5)), SASL_CLIENT_FAILED);
    CU_ASSERT_EQUAL(sasl_client_take(client, (struct bytes){0}), SASL_CLIENT_FAILED);
    end();
}

SUITE("sasl_client", TEST(test_plain), TEST(test_scram), TEST(test_bearer),
      TEST(test_false_servers), TEST(test_other_answers))
