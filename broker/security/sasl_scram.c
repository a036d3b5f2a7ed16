/* Both sides sign the same text: the client's first message without its head, the server's first, and the
 * client's last without the proof. It is collected as the messages pass. */
#define _GNU_SOURCE
#include "broker/security/sasl_scram.h"

#include "broker/security/base64.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

enum { NONCE_BYTES = 18, NONCE_TEXT = BASE64_SIZE(NONCE_BYTES), AUTH_MAX = 4 * SCRAM_MESSAGE_MAX };

static struct str text_of(struct bytes bytes)
{
    return (struct str){(const char *)bytes.data, bytes.len};
}

static struct bytes bytes_of_text(const char *text)
{
    return bytes_of(text, strlen(text));
}

static void draw_nonce(struct random *random, char nonce[NONCE_TEXT])
{
    uint8_t chance[NONCE_BYTES];
    random->fill(random, chance, sizeof(chance));
    base64_encode(BASE64_PADDED, bytes_of(chance, sizeof(chance)), nonce);
}

/* What is signed. */
struct signed_text {
    char *text;
    size_t len;
};

static void sign_more(struct signed_text *text, struct str more)
{
    CHECK(text->len + more.len + 2 <= AUTH_MAX);
    text->text = xrealloc(text->text, text->len + more.len + 2);
    if (text->len > 0) {
        text->text[text->len++] = ',';
    }
    memcpy(text->text + text->len, more.data, more.len);
    text->len += more.len;
    text->text[text->len] = '\0';
}

static struct str signed_of(const struct signed_text *text)
{
    return (struct str){text->text, text->len};
}

/* ---- the broker's side ---- */

struct scram_server {
    char user[SCRAM_USER_MAX];
    char channel[BASE64_SIZE(SCRAM_USER_MAX +
                             8)]; /* the head of the client's message, as it must come back */
    bool by_token;
    bool foreign;
    bool known;
    char nonce[SCRAM_NONCE_MAX + NONCE_TEXT];
    struct scram_credential credential;
    struct signed_text auth;
    char message[SCRAM_MESSAGE_MAX];
};

static bool take_first(struct scram_server *scram, struct bytes first)
{
    struct scram_client_first in;
    char authzid[SCRAM_USER_MAX];
    if (first.len > SCRAM_MESSAGE_MAX || scram_client_first_parse(text_of(first), &in) != OK ||
        !scram_name_decode(in.name, scram->user, sizeof(scram->user)) ||
        in.gs2.len > SCRAM_USER_MAX) {
        return false;
    }
    if (in.authzid.data != NULL) {
        if (!scram_name_decode(in.authzid, authzid, sizeof(authzid))) {
            return false;
        }
        scram->foreign = strcmp(authzid, scram->user) != 0;
    }
    base64_encode(BASE64_PADDED, bytes_of(in.gs2.data, in.gs2.len), scram->channel);
    scram->by_token = in.by_token;
    snprintf(scram->nonce, sizeof(scram->nonce), "%.*s", (int)in.nonce.len, in.nonce.data);
    sign_more(&scram->auth, in.bare);
    return true;
}

struct scram_server *scram_server_new(struct bytes first)
{
    struct scram_server *scram = xcalloc(1, sizeof(*scram));
    if (!take_first(scram, first)) {
        scram_server_free(scram);
        return NULL;
    }
    return scram;
}

void scram_server_free(struct scram_server *scram)
{
    if (scram != NULL) {
        free(scram->auth.text);
        OPENSSL_cleanse(scram, sizeof(*scram));
        free(scram);
    }
}

const char *scram_server_user(const struct scram_server *scram)
{
    return scram->user;
}

bool scram_server_by_token(const struct scram_server *scram)
{
    return scram->by_token;
}

bool scram_server_is_foreign(const struct scram_server *scram)
{
    return scram->foreign;
}

struct bytes scram_server_challenge(struct scram_server *scram, struct random *random,
                                    const struct scram_credential *credential, bool known)
{
    char salt[BASE64_SIZE(SCRAM_SALT_MAX)];
    char own[NONCE_TEXT];
    scram->credential = *credential;
    scram->known = known;
    draw_nonce(random, own);
    strcat(scram->nonce, own); /* NOLINT: the room is that of both */
    base64_encode(BASE64_PADDED, bytes_of(credential->salt, credential->salt_len), salt);
    snprintf(scram->message, sizeof(scram->message), "r=%s,s=%s,i=%d", scram->nonce, salt,
             credential->iterations);
    sign_more(&scram->auth, str_of(scram->message));
    return bytes_of_text(scram->message);
}

/* librdkafka before 2.6 says its own part twice, and Kafka takes that. */
static bool ends_with(struct str text, const char *end)
{
    size_t len = strlen(end);
    return text.len >= len && memcmp(text.data + text.len - len, end, len) == 0;
}

bool scram_server_finish(struct scram_server *scram, struct bytes final, struct bytes *answer)
{
    struct scram_client_final in;
    uint8_t signature[SCRAM_KEY_MAX];
    char text[BASE64_SIZE(SCRAM_KEY_MAX)];
    if (final.len > SCRAM_MESSAGE_MAX || scram_client_final_parse(text_of(final), &in) != OK) {
        return false;
    }
    sign_more(&scram->auth, in.without_proof);
    struct str auth = signed_of(&scram->auth);
    /* Clients of Kafka send the head of a client without an authorization id, whatever they sent first. */
    bool bound = str_is(in.channel, scram->channel) || str_is(in.channel, "biws");
    bool fresh = ends_with(in.nonce, scram->nonce);
    bool proved = scram_proof_is_right(&scram->credential, auth, &in);
    scram_server_signature(&scram->credential, auth, signature);
    base64_encode(BASE64_PADDED, bytes_of(signature, scram_key_len(scram->credential.mechanism)),
                  text);
    snprintf(scram->message, sizeof(scram->message), "v=%s", text);
    *answer = bytes_of_text(scram->message);
    return bound && fresh && proved && scram->known;
}

/* ---- the side of who logs in ---- */

struct scram_client {
    enum scram_mechanism mechanism;
    char *password;
    char nonce[NONCE_TEXT];
    char full_nonce[SCRAM_NONCE_MAX + 1];
    struct scram_server_first challenge;
    uint8_t salted[SCRAM_KEY_MAX];
    struct signed_text auth;
    char message[SCRAM_MESSAGE_MAX];
};

struct scram_client *scram_client_new(enum scram_mechanism mechanism, struct str user,
                                      struct str password, struct random *random)
{
    struct scram_client *scram = xcalloc(1, sizeof(*scram));
    scram->mechanism = mechanism;
    scram->password = str_dup(password);
    draw_nonce(random, scram->nonce);
    char *name = scram_name_encode(user);
    snprintf(scram->message, sizeof(scram->message), "n,,n=%s,r=%s", name, scram->nonce);
    free(name);
    sign_more(&scram->auth, str_of(scram->message + strlen("n,,")));
    return scram;
}

void scram_client_free(struct scram_client *scram)
{
    if (scram != NULL) {
        OPENSSL_cleanse(scram->password, strlen(scram->password));
        free(scram->password);
        free(scram->auth.text);
        OPENSSL_cleanse(scram, sizeof(*scram));
        free(scram);
    }
}

struct bytes scram_client_first(struct scram_client *scram)
{
    return bytes_of_text(scram->message);
}

err scram_client_challenged(struct scram_client *scram, struct bytes challenge)
{
    struct scram_server_first *in = &scram->challenge;
    size_t own = strlen(scram->nonce);
    if (challenge.len > SCRAM_MESSAGE_MAX ||
        scram_server_first_parse(text_of(challenge), in) != OK) {
        return E_MALFORMED;
    }
    bool fresh = in->nonce.len > own && memcmp(in->nonce.data, scram->nonce, own) == 0;
    if (!fresh || in->iterations < SCRAM_ITERATIONS_MIN || in->iterations > SCRAM_ITERATIONS_MAX) {
        return E_MALFORMED;
    }
    snprintf(scram->full_nonce, sizeof(scram->full_nonce), "%.*s", (int)in->nonce.len,
             in->nonce.data);
    sign_more(&scram->auth, text_of(challenge));
    return OK;
}

void scram_client_work(struct scram_client *scram)
{
    uint8_t proof[SCRAM_KEY_MAX];
    char proof_text[BASE64_SIZE(SCRAM_KEY_MAX)];
    const struct scram_server_first *in = &scram->challenge;
    scram_salt_password(scram->mechanism, bytes_of_text(scram->password),
                        bytes_of(in->salt, in->salt_len), in->iterations, scram->salted);
    snprintf(scram->message, sizeof(scram->message), "c=biws,r=%s", scram->full_nonce);
    sign_more(&scram->auth, str_of(scram->message));
    scram_client_proof(scram->mechanism, scram->salted, signed_of(&scram->auth), proof);
    base64_encode(BASE64_PADDED, bytes_of(proof, scram_key_len(scram->mechanism)), proof_text);
    snprintf(scram->message, sizeof(scram->message), "c=biws,r=%s,p=%s", scram->full_nonce,
             proof_text);
}

struct bytes scram_client_final(struct scram_client *scram)
{
    return bytes_of_text(scram->message);
}

bool scram_client_trusts(const struct scram_client *scram, struct bytes answer)
{
    uint8_t expected[SCRAM_KEY_MAX];
    uint8_t told[SCRAM_KEY_MAX];
    size_t len = 0;
    size_t key_len = scram_key_len(scram->mechanism);
    struct str text = text_of(answer);
    if (text.len < 2 || text.data[0] != 'v' || text.data[1] != '=' ||
        !base64_decode(BASE64_PADDED, (struct str){text.data + 2, text.len - 2}, told, sizeof(told),
                       &len)) {
        return false;
    }
    scram_expected_signature(scram->mechanism, scram->salted, signed_of(&scram->auth), expected);
    return len == key_len && CRYPTO_memcmp(expected, told, key_len) == 0;
}
