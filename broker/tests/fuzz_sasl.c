/* Any order of requests and tokens on one connection, and any bytes as tokens: who does not know a password is never
 * somebody, and nothing is served before a login or after a failure. The fuzzer knows no password: a session can only come
 * of a token of OAUTHBEARER, which is not enabled here.
 *
 * Input: steps of a byte that says what, a byte that says how long, and bytes. */
#include "broker/security/sasl_scram.h"
#include "broker/security/sasl_server.h"

#include "base/reader.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fill(struct random *random, void *data, size_t len)
{
    (void)random;
    memset(data, 7, len);
}

static struct random fixed = {.fill = fill};

static struct sasl_listener listener_of(void)
{
    struct properties options;
    struct sasl_listener listener = {.protocol = PROTOCOL_SASL_PLAINTEXT,
                                     .stores = {.users = scram_users_new(),
                                                .tokens = tokens_new("key", &fixed),
                                                .random = &fixed},
                                     .enabled = {true, true, true, false}};
    uint8_t salted[SCRAM_KEY_MAX] = {1};
    struct scram_credential credential;
    CHECK(scram_credential_make(SCRAM_SHA_256, bytes_of(salted, 32), bytes_of("salt", 4), 4096,
                                &credential) == OK);
    scram_users_set(listener.stores.users, STR("a"), SCRAM_SHA_256, &credential);
    properties_init(&options);
    properties_set(&options, "user_a", "a password that no fuzzer guesses");
    plain_users_init(&listener.plain, &options, &fixed);
    properties_deinit(&options);
    return listener;
}

static void step(struct sasl_server *sasl, struct reader *reader, bool *failed)
{
    const struct session *nobody = session_anonymous(PROTOCOL_SASL_PLAINTEXT);
    struct sasl_outcome outcome = {0};
    uint8_t what = (uint8_t)reader_i8(reader);
    size_t len = (uint8_t)reader_i8(reader);
    struct bytes bytes =
        reader_bytes(reader, len < reader_left(reader) ? len : reader_left(reader));
    static const char *const NAMES[] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"};
    bool raw = sasl_server_wants_raw(sasl);
    CHECK(!raw || !*failed);
    int16_t key = what % 4 == 0 ? 17 : what % 4 == 1 ? 18 : what % 4 == 2 ? 36 : (int16_t)what;
    enum sasl_verdict verdict =
        raw ? SASL_SERVE : sasl_server_admit(sasl, key, what < 128, nobody, 1000);
    CHECK(!*failed || verdict == SASL_DROP);
    if (verdict == SASL_SERVE && !raw && key == 17) {
        struct str name = bytes.len > 0 ? str_of(NAMES[bytes.data[0] % 4]) : STR("x");
        sasl_server_handshake(sasl, name, what >> 7, nobody, 1000, &outcome);
    } else if (verdict == SASL_SERVE && (raw || key == 36)) {
        sasl_server_token(sasl, bytes, nobody, 1000, 1000, &outcome);
    } else {
        CHECK(verdict != SASL_SERVE || key == 18);
    }
    CHECK(outcome.session == NULL);
    *failed |= outcome.failed || verdict != SASL_SERVE;
}

/* Alone, too: what comes from a server. */
static void be_challenged(struct bytes input)
{
    struct scram_client *client = scram_client_new(SCRAM_SHA_256, STR("a"), STR("b"), &fixed);
    (void)scram_client_first(client);
    (void)!scram_client_challenged(client, input);
    CHECK(!scram_client_trusts(client, input));
    scram_client_free(client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sasl_listener listener = listener_of();
    struct sasl_server *sasl = sasl_server_new(&listener);
    struct reader reader = reader_of(bytes_of(data, size));
    bool failed = false;
    for (int i = 0; i < 64 && reader_left(&reader) >= 2; i++) {
        step(sasl, &reader, &failed);
    }
    be_challenged(bytes_of(data, size));
    sasl_server_free(sasl);
    plain_users_deinit(&listener.plain);
    scram_users_free(listener.stores.users);
    tokens_free(listener.stores.tokens);
    return 0;
}
