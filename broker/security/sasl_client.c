#define _GNU_SOURCE
#include "broker/security/sasl_client.h"

#include "broker/security/sasl_scram.h"
#include "protocol/error.h"
#include "protocol/messages.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    HANDSHAKE_KEY = 17,
    AUTHENTICATE_KEY = 36,
    VERSION = 1,
    ARENA_BYTES = 256 << 10,
    WHY_MAX = 256,
    TOKEN_LIFE_MS = 3600000,
};

enum state { HANDSHAKE, CHALLENGED, FINAL, DONE };

struct sasl_client {
    const struct sasl_identity *identity;
    struct random *random;
    struct clock *clock;
    enum state state;
    int32_t correlation_id;
    struct scram_client *scram;
    struct writer frame;
    struct arena arena; /* of the answer that is looked at */
    int64_t lifetime_ms;
    char why[WHY_MAX];
};

/* ---- frames ---- */

static void begin_frame(struct sasl_client *client, int16_t key)
{
    writer_clear(&client->frame);
    writer_i16(&client->frame, key);
    writer_i16(&client->frame, VERSION);
    writer_i32(&client->frame, ++client->correlation_id);
    writer_i16(&client->frame, -1); /* no client id */
}

static enum sasl_client_step fail(struct sasl_client *client, const char *why)
{
    snprintf(client->why, sizeof(client->why), "%s", why);
    return SASL_CLIENT_FAILED;
}

static enum sasl_client_step finish_frame(struct sasl_client *client, err e)
{
    return e != OK || client->frame.failed ? fail(client, "out of memory") : SASL_CLIENT_SEND;
}

static enum sasl_client_step send_token(struct sasl_client *client, struct bytes token)
{
    struct sasl_authenticate_request request = {.auth_bytes = token};
    begin_frame(client, AUTHENTICATE_KEY);
    return finish_frame(client, message_encode(api_schema_of(AUTHENTICATE_KEY)->request, VERSION,
                                               &request, &client->frame));
}

struct bytes sasl_client_frame(const struct sasl_client *client)
{
    return bytes_of(client->frame.data, client->frame.len);
}

/* ---- life ---- */

struct sasl_client *sasl_client_new(const struct sasl_identity *identity, struct random *random,
                                    struct clock *clock)
{
    struct sasl_client *client = xcalloc(1, sizeof(*client));
    client->identity = identity;
    client->random = random;
    client->clock = clock;
    writer_init(&client->frame, SASL_CLIENT_FRAME_MAX);
    arena_init(&client->arena, ARENA_BYTES);
    struct sasl_handshake_request request = {.mechanism =
                                                 str_of(sasl_mechanism_name(identity->mechanism))};
    begin_frame(client, HANDSHAKE_KEY);
    CHECK(message_encode(api_schema_of(HANDSHAKE_KEY)->request, VERSION, &request,
                         &client->frame) == OK);
    return client;
}

void sasl_client_free(struct sasl_client *client)
{
    if (client == NULL) {
        return;
    }
    scram_client_free(client->scram);
    if (client->frame.data != NULL) {
        OPENSSL_cleanse(client->frame.data, client->frame.cap);
    }
    writer_deinit(&client->frame);
    arena_deinit(&client->arena);
    free(client);
}

int64_t sasl_client_lifetime_ms(const struct sasl_client *client)
{
    return client->lifetime_ms;
}

const char *sasl_client_why(const struct sasl_client *client)
{
    return client->why;
}

/* ---- steps ---- */

static enum sasl_client_step send_plain(struct sasl_client *client)
{
    const struct sasl_identity *identity = client->identity;
    size_t user_len = strlen(identity->user);
    size_t len = user_len + strlen(identity->password) + 2;
    char *message = xcalloc(1, len + 1);
    memcpy(message + 1, identity->user, user_len);
    memcpy(message + 2 + user_len, identity->password, len - user_len - 2);
    enum sasl_client_step step = send_token(client, bytes_of(message, len));
    OPENSSL_cleanse(message, len);
    free(message);
    return step;
}

static enum sasl_client_step send_bearer(struct sasl_client *client)
{
    char *token =
        oauth_unsecured_token(client->identity->user, clock_wall_ms(client->clock), TOKEN_LIFE_MS);
    char *message = sasl_oauth_message(token);
    enum sasl_client_step step = send_token(client, bytes_of(message, strlen(message)));
    free(message);
    free(token);
    return step;
}

static enum sasl_client_step send_first(struct sasl_client *client)
{
    const struct sasl_identity *identity = client->identity;
    client->state = FINAL;
    if (identity->mechanism == SASL_PLAIN) {
        return send_plain(client);
    }
    if (identity->mechanism == SASL_OAUTHBEARER) {
        return send_bearer(client);
    }
    client->state = CHALLENGED;
    client->scram =
        scram_client_new(sasl_mechanism_scram(identity->mechanism), str_of(identity->user),
                         str_of(identity->password), client->random);
    return send_token(client, scram_client_first(client->scram));
}

static enum sasl_client_step take_token(struct sasl_client *client, struct bytes token)
{
    if (client->state == CHALLENGED) {
        if (scram_client_challenged(client->scram, token) != OK) {
            return fail(client, "its challenge is none, or asks for too much work");
        }
        client->state = FINAL;
        return SASL_CLIENT_WORK;
    }
    if (client->scram != NULL && !scram_client_trusts(client->scram, token)) {
        return fail(client, "it does not know the password itself");
    }
    if (client->scram == NULL && token.len > 0) {
        return fail(client, "it does not take the token");
    }
    client->state = DONE;
    return SASL_CLIENT_DONE;
}

void sasl_client_work(struct sasl_client *client)
{
    scram_client_work(client->scram);
    (void)send_token(client, scram_client_final(client->scram)); /* too long is found out there */
}

/* ---- answers ---- */

static enum sasl_client_step take_handshake(struct sasl_client *client, struct reader *reader)
{
    struct sasl_handshake_response response;
    if (message_decode(api_schema_of(HANDSHAKE_KEY)->response, VERSION, reader, &client->arena,
                       &response) != OK) {
        return fail(client, "its answer cannot be read");
    }
    return response.error_code == OK ? send_first(client)
                                     : fail(client, "it does not have the mechanism");
}

static enum sasl_client_step take_authenticate(struct sasl_client *client, struct reader *reader)
{
    struct sasl_authenticate_response response;
    if (message_decode(api_schema_of(AUTHENTICATE_KEY)->response, VERSION, reader, &client->arena,
                       &response) != OK) {
        return fail(client, "its answer cannot be read");
    }
    if (response.error_code != OK) {
        snprintf(client->why, sizeof(client->why), "%s: %.*s",
                 kafka_error_name(response.error_code), (int)response.error_message.len,
                 response.error_message.data == NULL ? "" : response.error_message.data);
        return SASL_CLIENT_FAILED;
    }
    client->lifetime_ms = response.session_lifetime_ms;
    return take_token(client, response.auth_bytes);
}

enum sasl_client_step sasl_client_take(struct sasl_client *client, struct bytes answer)
{
    struct reader reader = reader_of(answer);
    arena_reset(&client->arena, ARENA_BYTES);
    if (answer.len > SASL_CLIENT_FRAME_MAX || reader_i32(&reader) != client->correlation_id ||
        client->state == DONE) {
        return fail(client, "its answer is none");
    }
    return client->state == HANDSHAKE ? take_handshake(client, &reader)
                                      : take_authenticate(client, &reader);
}
