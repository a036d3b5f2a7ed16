/* Delegation tokens: their nodes as Kafka writes them, their lives, who may do what, and two brokers that follow each
 * other on one store. */
#include "broker/cluster/delegation_tokens.h"

#include "broker/security/base64.h"
#include "broker/security/token_node.h"
#include "broker/tests/store_util.h"
#include "protocol/error.h"

enum { ARENA_BYTES = 16 << 20, NOW_MS = 1700000000, LIFE_MS = 10000, EXPIRY_MS = 4000 };

static struct {
    char dir[64];
    struct manual_clock clock;
    struct arena arena;
    struct coord *coord;
    struct loop *loop;
    struct tokens *tokens[2]; /* of two brokers */
    struct delegation_tokens *delegation[2];
    bool leads;
} t;

static const struct principal ALICE = {STR(PRINCIPAL_USER), STR("alice")};
static const struct principal BOB = {STR(PRINCIPAL_USER), STR("bob")};
static const struct principal EVE = {STR(PRINCIPAL_USER), STR("eve")};

static bool leads(void *context)
{
    (void)context;
    return t.leads;
}

static void begin(void)
{
    memset(&t, 0, sizeof(t));
    temp_dir_make(t.dir);
    arena_init(&t.arena, ARENA_BYTES);
    manual_clock_init(&t.clock, NOW_MS);
    t.coord = store_open(t.dir, &t.clock.clock, ignore_watch);
    MUST(loop_new(&t.clock.clock, sockets_system(), &t.loop));
    for (int i = 0; i < 2; i++) {
        t.tokens[i] = tokens_new("key", random_system());
        const struct delegation_tokens_config config = {.coord = t.coord,
                                                        .clock = &t.clock.clock,
                                                        .random = random_system(),
                                                        .control = t.loop,
                                                        .tokens = t.tokens[i],
                                                        .life_max_ms = LIFE_MS,
                                                        .expiry_ms = EXPIRY_MS,
                                                        .check_ms = 1000,
                                                        .is_controller = leads};
        t.delegation[i] = delegation_tokens_new(&config);
        MUST(delegation_tokens_load(t.delegation[i]));
    }
}

static void end(void)
{
    for (int i = 0; i < 2; i++) {
        delegation_tokens_free(t.delegation[i]);
        tokens_free(t.tokens[i]);
    }
    loop_free(t.loop);
    coord_close(t.coord);
    arena_deinit(&t.arena);
    temp_dir_remove(t.dir);
}

static int64_t wall_ms(void)
{
    return clock_wall_ms(&t.clock.clock);
}

static struct token made(int64_t life_ms, struct principal *renewers, int32_t renewers_n)
{
    struct token token = {
        .owner = ALICE, .requester = ALICE, .renewers = renewers, .renewers_n = renewers_n};
    MUST(delegation_tokens_create(t.delegation[0], &token, life_ms, &t.arena));
    return token;
}

static struct bytes hmac_of(const struct token *token)
{
    uint8_t *hmac = arena_alloc(&t.arena, TOKEN_HMAC_BYTES);
    tokens_hmac(t.tokens[0], token->id, hmac);
    return bytes_of(hmac, TOKEN_HMAC_BYTES);
}

/* ---- nodes ---- */

#define KAFKAS                                                                                     \
    "{\"issueTimestamp\":1796026905629,\"renewers\":[\"User%3Abob\",\"User%3A\"],"                 \
    "\"tokenRequester\":\"User%3Aalice\",\"tokenId\":\"jt9l-nLwQQ6RdwFa68l5dA\","                  \
    "\"owner\":\"Group%3Ax%2Fy\",\"expiryTimestamp\":1796113305629,"                               \
    "\"maxTimestamp\":1796631705629,\"version\":3}"

static void test_nodes(void)
{
    begin();
    struct token token;
    MUST(token_node_decode(&t.arena, bytes_of(KAFKAS, strlen(KAFKAS)), &token));
    CU_ASSERT(str_is(token.owner.type, "Group") && str_is(token.owner.name, "x/y"));
    CU_ASSERT(str_is(token.requester.name, "alice"));
    CU_ASSERT_EQUAL(token.renewers_n, 2);
    CU_ASSERT_EQUAL(token.max_ms, 1796631705629);
    struct bytes back = token_node_encode(&t.arena, &token);
    CU_ASSERT(bytes_equal(back, bytes_of(KAFKAS, strlen(KAFKAS))));
    static const char OLD[] =
        "{\"version\":1,\"owner\":\"User%3Aa\",\"tokenId\":\"x\",\"renewers\":[],"
        "\"issueTimestamp\":1,\"maxTimestamp\":2,\"expiryTimestamp\":3}";
    MUST(token_node_decode(&t.arena, bytes_of(OLD, strlen(OLD)), &token));
    CU_ASSERT(str_is(token.requester.name, "a"));
    for (size_t len = 0; len < strlen(KAFKAS); len++) {
        CU_ASSERT_EQUAL(token_node_decode(&t.arena, bytes_of(KAFKAS, len), &token), E_MALFORMED);
    }
    end();
}

/* As `openssl dgst -sha512 -hmac` has it. */
static void test_hmac(void)
{
    uint8_t hmac[TOKEN_HMAC_BYTES];
    char text[BASE64_SIZE(TOKEN_HMAC_BYTES)];
    struct tokens *tokens = tokens_new("key", random_system());
    tokens_hmac(tokens, STR("The quick brown fox jumps over the lazy dog"), hmac);
    base64_encode(BASE64_PADDED, bytes_of(hmac, sizeof(hmac)), text);
    CU_ASSERT_STRING_EQUAL(text, "tCrwkFe6weLUFwjkipAuCbX/fxKrQopP6GZTxz3SSPuC+UilSfe3ka"
                                 "W0GRXuTR7Dk1NX5OIxclDQNyr6Lr7rOg==");
    tokens_free(tokens);
    tokens = tokens_new("", random_system());
    CU_ASSERT_FALSE(tokens_are_on(tokens));
    tokens_free(tokens);
}

/* ---- lives ---- */

static void test_lives(void)
{
    begin();
    struct token token = made(-1, NULL, 0);
    CU_ASSERT_EQUAL(token.id.len, UUID_TEXT_LEN);
    CU_ASSERT_EQUAL(token.max_ms, wall_ms() + LIFE_MS);
    CU_ASSERT_EQUAL(token.expires_ms, wall_ms() + EXPIRY_MS);
    CU_ASSERT_EQUAL(made(0, NULL, 0).max_ms, wall_ms() + LIFE_MS);
    CU_ASSERT_EQUAL(made(INT64_MAX, NULL, 0).max_ms, wall_ms() + LIFE_MS);
    CU_ASSERT_EQUAL(made(100, NULL, 0).expires_ms, wall_ms() + 100);
    int64_t expires_ms = 0;
    struct bytes hmac = hmac_of(&token);
    MUST(delegation_tokens_renew(t.delegation[0], hmac, &ALICE, 5000, &expires_ms));
    CU_ASSERT_EQUAL(expires_ms, wall_ms() + 5000);
    MUST(delegation_tokens_renew(t.delegation[0], hmac, &ALICE, -7, &expires_ms));
    CU_ASSERT_EQUAL(expires_ms, wall_ms() + EXPIRY_MS);
    MUST(delegation_tokens_renew(t.delegation[0], hmac, &ALICE, INT64_MAX, &expires_ms));
    CU_ASSERT_EQUAL(expires_ms, token.max_ms);
    MUST(delegation_tokens_expire(t.delegation[0], hmac, &ALICE, 10, &expires_ms));
    CU_ASSERT_EQUAL(expires_ms, wall_ms() + 10);
    t.clock.now_ms += 11;
    CU_ASSERT_EQUAL(delegation_tokens_renew(t.delegation[0], hmac, &ALICE, 1, &expires_ms),
                    ERR_DELEGATION_TOKEN_EXPIRED);
    CU_ASSERT_EQUAL(delegation_tokens_expire(t.delegation[0], hmac, &ALICE, 1, &expires_ms),
                    ERR_DELEGATION_TOKEN_EXPIRED);
    MUST(delegation_tokens_expire(t.delegation[0], hmac, &ALICE, -1, &expires_ms));
    CU_ASSERT_EQUAL(expires_ms, wall_ms());
    CU_ASSERT_EQUAL(delegation_tokens_expire(t.delegation[0], hmac, &ALICE, -1, &expires_ms),
                    ERR_DELEGATION_TOKEN_NOT_FOUND);
    end();
}

static void test_whose(void)
{
    begin();
    struct principal renewers[] = {BOB};
    struct token token = made(-1, renewers, 1);
    int64_t expires_ms = 0;
    struct bytes hmac = hmac_of(&token);
    MUST(delegation_tokens_renew(t.delegation[0], hmac, &BOB, 1, &expires_ms));
    CU_ASSERT_EQUAL(delegation_tokens_renew(t.delegation[0], hmac, &EVE, 1, &expires_ms),
                    ERR_DELEGATION_TOKEN_OWNER_MISMATCH);
    CU_ASSERT_EQUAL(delegation_tokens_expire(t.delegation[0], hmac, &EVE, -1, &expires_ms),
                    ERR_DELEGATION_TOKEN_OWNER_MISMATCH);
    CU_ASSERT_EQUAL(
        delegation_tokens_renew(t.delegation[0], bytes_of("x", 1), &BOB, 1, &expires_ms),
        ERR_DELEGATION_TOKEN_NOT_FOUND);
    uint8_t other[TOKEN_HMAC_BYTES] = {0};
    CU_ASSERT_EQUAL(delegation_tokens_renew(t.delegation[0], bytes_of(other, sizeof(other)), &BOB,
                                            1, &expires_ms),
                    ERR_DELEGATION_TOKEN_NOT_FOUND);
    end();
}

/* ---- several brokers ---- */

static struct token *other_sees(struct str id)
{
    MUST(delegation_tokens_on_watch(t.delegation[1]));
    return tokens_get(t.tokens[1], id);
}

static void test_others_follow(void)
{
    begin();
    struct token token = made(-1, NULL, 0);
    struct token *seen = other_sees(token.id);
    CU_ASSERT_PTR_NOT_NULL_FATAL(seen);
    CU_ASSERT_EQUAL(seen->expires_ms, token.expires_ms);
    free(seen);
    int64_t expires_ms = 0;
    MUST(delegation_tokens_renew(t.delegation[0], hmac_of(&token), &ALICE, 99, &expires_ms));
    seen = other_sees(token.id);
    CU_ASSERT_PTR_NOT_NULL_FATAL(seen);
    CU_ASSERT_EQUAL(seen->expires_ms, expires_ms);
    free(seen);
    MUST(delegation_tokens_expire(t.delegation[0], hmac_of(&token), &ALICE, -1, &expires_ms));
    CU_ASSERT_PTR_NULL(other_sees(token.id));
    /* What went while nobody looked is gone at the next reading of all. */
    token = made(-1, NULL, 0);
    MUST(delegation_tokens_load(t.delegation[1]));
    free(tokens_get(t.tokens[1], token.id));
    struct coord_op gone = {.type = COORD_DELETE,
                            .path = arena_format(&t.arena, "/delegation_token/tokens/%.*s",
                                                 (int)token.id.len, token.id.data)
                                        .data,
                            .version = COORD_ANY_VERSION};
    MUST(coord_run(t.coord, &gone, 1, &t.arena));
    delegation_tokens_forget_watch(t.delegation[1]);
    CU_ASSERT_FALSE(delegation_tokens_are_watched(t.delegation[1]));
    MUST(delegation_tokens_load(t.delegation[1]));
    CU_ASSERT_PTR_NULL(tokens_get(t.tokens[1], token.id));
    end();
}

static size_t count_of(int broker)
{
    size_t count = 0;
    struct token **all = tokens_all(t.tokens[broker], &count);
    for (size_t i = 0; i < count; i++) {
        free(all[i]);
    }
    free(all);
    return count;
}

static void test_sweep(void)
{
    begin();
    made(100, NULL, 0);
    struct token kept = made(-1, NULL, 0);
    t.clock.now_ms += 1001;
    while (loop_turn(t.loop)) {
    }
    CU_ASSERT_EQUAL(count_of(0), 2); /* this is no controller */
    t.leads = true;
    t.clock.now_ms += 1001;
    while (loop_turn(t.loop)) {
    }
    CU_ASSERT_EQUAL(count_of(0), 1);
    struct token *left = tokens_get(t.tokens[0], kept.id);
    CU_ASSERT_PTR_NOT_NULL(left);
    free(left);
    MUST(delegation_tokens_on_watch(t.delegation[1]));
    CU_ASSERT_EQUAL(count_of(1), 1);
    end();
}

/* ---- logins ---- */

static void test_credentials(void)
{
    begin();
    struct token token = made(100, NULL, 0);
    struct scram_credential credential;
    struct token *found = NULL;
    struct tokens *tokens = t.tokens[0];
    CU_ASSERT_EQUAL(tokens_login(tokens, STR("x"), SCRAM_SHA_256, wall_ms(), &credential, &found),
                    TOKEN_UNKNOWN);
    CU_ASSERT_EQUAL(tokens_login(tokens, token.id, SCRAM_SHA_256, wall_ms(), &credential, &found),
                    TOKEN_UNMADE);
    tokens_make_credential(tokens, token.id, SCRAM_SHA_256);
    tokens_make_credential(tokens, STR("x"), SCRAM_SHA_256);
    CU_ASSERT_EQUAL(tokens_login(tokens, token.id, SCRAM_SHA_256, wall_ms(), &credential, &found),
                    TOKEN_READY);
    CU_ASSERT_EQUAL(credential.iterations, SCRAM_ITERATIONS_MIN);
    CU_ASSERT(str_is(found->owner.name, "alice"));
    free(found);
    int64_t expires_ms = 0;
    MUST(delegation_tokens_renew(t.delegation[0], hmac_of(&token), &ALICE, 50, &expires_ms));
    CU_ASSERT_EQUAL(/* it need not be made again */
                    tokens_login(tokens, token.id, SCRAM_SHA_256, wall_ms(), &credential, &found),
                    TOKEN_READY);
    free(found);
    CU_ASSERT_EQUAL(tokens_login(tokens, token.id, SCRAM_SHA_512, wall_ms(), &credential, &found),
                    TOKEN_UNMADE);
    CU_ASSERT_EQUAL(
        tokens_login(tokens, token.id, SCRAM_SHA_256, wall_ms() + 51, &credential, &found),
        TOKEN_UNKNOWN);
    end();
}

SUITE("tokens", TEST(test_nodes), TEST(test_hmac), TEST(test_lives), TEST(test_whose),
      TEST(test_others_follow), TEST(test_sweep), TEST(test_credentials))
