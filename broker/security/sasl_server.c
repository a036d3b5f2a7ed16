/* The states of a connection:
 *
 *   BEGUN      ApiVersions or SaslHandshake
 *   HANDSHAKE  ApiVersions has been answered: SaslHandshake
 *   TOKENS     SaslAuthenticate, as often as the mechanism needs
 *   RAW        the same without requests
 *   OPEN       logged in: any request until the session ends; SaslHandshake begins again, where sessions end
 *   FAILED     nothing, for ever
 *
 * A user that nobody knows is challenged like any other, with a salt that stays the same, and fails at the end: nobody
 * can be told from nobody. A failed login says the same whatever was wrong, where Kafka does. */
#define _GNU_SOURCE
#include "broker/security/sasl_server.h"

#include "broker/security/sasl_scram.h"
#include "protocol/error.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

enum { API_VERSIONS = 18, SASL_HANDSHAKE = 17, SASL_AUTHENTICATE = 36, RENEWAL_PAUSE_MS = 1000 };

enum state { BEGUN, HANDSHAKE, TOKENS, RAW, OPEN, FAILED };

struct sasl_server {
    const struct sasl_listener *listener;
    enum state state;
    int mechanism; /* of the login that is under way, or done; -1: none yet */
    bool renews;   /* there is a session already */
    bool other_mechanism;
    bool refused; /* OAUTHBEARER: the client has been told, and may say that it knows */
    bool renewed_before;
    int64_t renewed_ms;
    struct scram_server *scram; /* while it is under way */
    struct token *token;        /* what the login is made with, if it is one */
    char *answer;               /* what the client was told last */
};

struct sasl_server *sasl_server_new(const struct sasl_listener *listener)
{
    struct sasl_server *sasl = xcalloc(1, sizeof(*sasl));
    sasl->listener = listener;
    sasl->mechanism = -1;
    return sasl;
}

static void forget_exchange(struct sasl_server *sasl)
{
    scram_server_free(sasl->scram);
    free(sasl->token);
    sasl->scram = NULL;
    sasl->token = NULL;
    sasl->refused = false;
}

void sasl_server_free(struct sasl_server *sasl)
{
    if (sasl != NULL) {
        forget_exchange(sasl);
        free(sasl->answer);
        free(sasl);
    }
}

const struct sasl_listener *sasl_server_listener(const struct sasl_server *sasl)
{
    return sasl->listener;
}

bool sasl_server_wants_raw(const struct sasl_server *sasl)
{
    return sasl->state == RAW;
}

/* ---- the order of requests ---- */

static enum sasl_verdict admit_first(struct sasl_server *sasl, int16_t api_key, bool version_known)
{
    if (api_key == SASL_HANDSHAKE) {
        return SASL_SERVE;
    }
    if (api_key == API_VERSIONS && sasl->state == BEGUN) {
        sasl->state = version_known ? HANDSHAKE : BEGUN;
        return SASL_SERVE;
    }
    sasl->state = FAILED;
    return SASL_DROP;
}

enum sasl_verdict sasl_server_admit(struct sasl_server *sasl, int16_t api_key, bool version_known,
                                    const struct session *session, int64_t now_ms)
{
    switch (sasl->state) {
    case BEGUN:
    case HANDSHAKE:
        return admit_first(sasl, api_key, version_known);
    case TOKENS:
        if (api_key == SASL_AUTHENTICATE) {
            return SASL_SERVE;
        }
        sasl->state = FAILED;
        return SASL_REFUSE;
    case OPEN:
        return api_key == SASL_HANDSHAKE || session->expires_ms > now_ms ? SASL_SERVE : SASL_DROP;
    default:
        return SASL_DROP;
    }
}

/* ---- outcomes ---- */

static void fail(struct sasl_server *sasl, struct sasl_outcome *outcome, const char *text)
{
    bool raw = sasl->state == RAW;
    sasl->state = FAILED;
    outcome->failed = true;
    outcome->drop = raw;
    outcome->error = ERR_SASL_AUTHENTICATION_FAILED;
    if (text != NULL && *text != '\0') {
        snprintf(outcome->text, sizeof(outcome->text), "%s", text);
    } else {
        snprintf(outcome->text, sizeof(outcome->text),
                 "Authentication failed during authentication due to invalid credentials with SASL "
                 "mechanism %s",
                 sasl_mechanism_name((enum sasl_mechanism)sasl->mechanism));
    }
    forget_exchange(sasl);
}

static void drop(struct sasl_server *sasl, struct sasl_outcome *outcome)
{
    sasl->state = FAILED;
    outcome->drop = true;
    outcome->failed = true;
    forget_exchange(sasl);
}

/* `expires_ms`: when what it was made with ends, since 1970; 0: never. */
static int64_t lifetime(const struct sasl_server *sasl, int64_t expires_ms, int64_t wall_ms)
{
    int64_t most_ms = sasl->listener->reauth_ms[sasl->mechanism];
    if (expires_ms == 0) {
        return most_ms > 0 ? most_ms : 0;
    }
    int64_t left_ms = expires_ms > wall_ms ? expires_ms - wall_ms : 0;
    return most_ms > 0 && most_ms < left_ms ? most_ms : left_ms;
}

/* The login is proved. */
struct login {
    struct principal principal;
    bool by_token;
    int64_t expires_ms; /* since 1970; 0: never */
};

static void complete(struct sasl_server *sasl, const struct login *login,
                     const struct session *before, int64_t now_ms, int64_t wall_ms,
                     struct sasl_outcome *outcome)
{
    if (sasl->renews && !principal_equals(&before->principal, &login->principal)) {
        char text[SASL_TEXT_MAX];
        const struct principal *was = &before->principal;
        const struct principal *is = &login->principal;
        snprintf(text, sizeof(text),
                 "Cannot change principals during re-authentication from %.*s.%.*s: %.*s.%.*s",
                 (int)was->type.len, was->type.data, (int)was->name.len, was->name.data,
                 (int)is->type.len, is->type.data, (int)is->name.len, is->name.data);
        fail(sasl, outcome, text);
        return;
    }
    bool ends = login->expires_ms != 0 || sasl->listener->reauth_ms[sasl->mechanism] > 0;
    outcome->lifetime_ms = lifetime(sasl, login->expires_ms, wall_ms);
    outcome->session = session_new(&login->principal, sasl->listener->protocol);
    outcome->session->by_token = login->by_token;
    outcome->session->expires_ms = ends ? now_ms + outcome->lifetime_ms : INT64_MAX;
    sasl->state = OPEN;
    sasl->renews = true;
    forget_exchange(sasl);
}

static struct principal user(struct str name)
{
    return (struct principal){.type = STR(PRINCIPAL_USER), .name = name};
}

/* ---- handshakes ---- */

static void begin(struct sasl_server *sasl, int mechanism, int version)
{
    sasl->other_mechanism = sasl->renews && mechanism != sasl->mechanism;
    sasl->mechanism = mechanism;
    sasl->state = version == 0 ? RAW : TOKENS;
}

/* Only sessions that end are renewed, and none more than once a second. */
static bool may_renew(struct sasl_server *sasl, const struct session *session, int64_t now_ms)
{
    bool soon = sasl->renewed_before && now_ms - sasl->renewed_ms < RENEWAL_PAUSE_MS;
    if (session->expires_ms == INT64_MAX || soon) {
        return false;
    }
    sasl->renewed_before = true;
    sasl->renewed_ms = now_ms;
    return true;
}

void sasl_server_handshake(struct sasl_server *sasl, struct str mechanism, int version,
                           const struct session *session, int64_t now_ms,
                           struct sasl_outcome *outcome)
{
    int asked = sasl_mechanism_of(mechanism);
    bool enabled = asked >= 0 && sasl->listener->enabled[asked];
    *outcome = (struct sasl_outcome){0};
    if (sasl->state == OPEN && !may_renew(sasl, session, now_ms)) {
        outcome->error = ERR_ILLEGAL_SASL_STATE;
    } else if (sasl->state != BEGUN && sasl->state != HANDSHAKE && sasl->state != OPEN) {
        drop(sasl, outcome);
    } else if (enabled) {
        begin(sasl, asked, version);
    } else if (sasl->renews) {
        drop(sasl, outcome);
    } else {
        sasl->state = FAILED;
        outcome->failed = true;
        outcome->error = ERR_UNSUPPORTED_SASL_MECHANISM;
    }
}

/* ---- tokens ---- */

/* What a token comes with. */
struct arrival {
    struct bytes token;
    const struct session *session;
    int64_t now_ms;
    int64_t wall_ms;
};

static void take_plain(struct sasl_server *sasl, const struct arrival *in,
                       struct sasl_outcome *outcome)
{
    char text[PLAIN_TEXT_MAX];
    struct str name = {0};
    if (sasl_plain_login(&sasl->listener->plain, in->token, &name, text) != OK) {
        fail(sasl, outcome, text);
        return;
    }
    const struct login login = {.principal = user(name)};
    complete(sasl, &login, in->session, in->now_ms, in->wall_ms, outcome);
}

static struct bytes keep_answer(struct sasl_server *sasl, struct str text)
{
    free(sasl->answer);
    sasl->answer = str_dup(text);
    return bytes_of(sasl->answer, text.len);
}

static void take_oauth(struct sasl_server *sasl, const struct arrival *in,
                       struct sasl_outcome *outcome)
{
    struct oauth_login found;
    if (sasl->refused && in->token.len == 1 && in->token.data[0] == 1) {
        fail(sasl, outcome, sasl->answer);
        return;
    }
    sasl->refused = false; /* another token may follow, as in Kafka */
    if (sasl_oauth_login(&sasl->listener->oauth, in->token, in->wall_ms, &found) == OK) {
        const struct login login = {.principal = user(str_of(found.name)),
                                    .expires_ms = found.expires_ms};
        complete(sasl, &login, in->session, in->now_ms, in->wall_ms, outcome);
        free(found.name);
    } else if (found.may_go_on) {
        sasl->refused = true;
        outcome->token = keep_answer(sasl, str_of(found.text));
    } else {
        fail(sasl, outcome, found.text);
    }
}

/* The credential of who wants to log in, or a feigned one. False: it must be made first. */
static bool find_credential(struct sasl_server *sasl, int64_t wall_ms,
                            struct scram_credential *credential, bool *known,
                            struct sasl_outcome *outcome)
{
    const struct sasl_stores *stores = &sasl->listener->stores;
    enum scram_mechanism mechanism = sasl_mechanism_scram((enum sasl_mechanism)sasl->mechanism);
    struct str name = str_of(scram_server_user(sasl->scram));
    if (scram_server_by_token(sasl->scram)) {
        enum token_login found =
            tokens_login(stores->tokens, name, mechanism, wall_ms, credential, &sasl->token);
        if (found == TOKEN_UNMADE && name.len < TOKEN_ID_MAX) {
            outcome->unmade = mechanism;
            snprintf(outcome->unmade_id, sizeof(outcome->unmade_id), "%s", name.data);
            return false;
        }
        *known = found == TOKEN_READY;
    } else {
        *known = scram_users_get(stores->users, name, mechanism, credential);
    }
    struct scram_credential feigned;
    struct bytes key = bytes_of(sasl->listener->feign_key, sizeof(sasl->listener->feign_key));
    scram_credential_feign(mechanism, key, name, &feigned); /* always: it takes time */
    if (!*known) {
        *credential = feigned;
    }
    return true;
}

static void begin_scram(struct sasl_server *sasl, const struct arrival *in,
                        struct sasl_outcome *outcome)
{
    struct scram_credential credential = {0};
    bool known = false;
    sasl->scram = scram_server_new(in->token);
    if (sasl->scram == NULL) {
        fail(sasl, outcome, NULL);
    } else if (scram_server_is_foreign(sasl->scram)) {
        fail(sasl, outcome,
             "Authentication failed: Client requested an authorization id that is different from "
             "username");
    } else if (find_credential(sasl, in->wall_ms, &credential, &known, outcome)) {
        outcome->token =
            scram_server_challenge(sasl->scram, sasl->listener->stores.random, &credential, known);
    } else {
        forget_exchange(sasl);
    }
    OPENSSL_cleanse(&credential, sizeof(credential));
}

static void finish_scram(struct sasl_server *sasl, const struct arrival *in,
                         struct sasl_outcome *outcome)
{
    struct bytes answer = {0};
    if (!scram_server_finish(sasl->scram, in->token, &answer)) {
        fail(sasl, outcome, NULL);
        return;
    }
    struct bytes kept = keep_answer(sasl, (struct str){(const char *)answer.data, answer.len});
    char *name = xstrdup(scram_server_user(sasl->scram));
    struct token *token = sasl->token;
    sasl->token = NULL;
    const struct login login = {.principal = token != NULL ? token->owner : user(str_of(name)),
                                .by_token = token != NULL,
                                .expires_ms = token != NULL ? token->expires_ms : 0};
    complete(sasl, &login, in->session, in->now_ms, in->wall_ms, outcome);
    if (!outcome->failed) {
        outcome->token = kept;
    }
    free(token);
    free(name);
}

void sasl_server_token(struct sasl_server *sasl, struct bytes token, const struct session *session,
                       int64_t now_ms, int64_t wall_ms, struct sasl_outcome *outcome)
{
    const struct arrival in = {
        .token = token, .session = session, .now_ms = now_ms, .wall_ms = wall_ms};
    *outcome = (struct sasl_outcome){0};
    if (sasl->state == OPEN) {
        outcome->error = ERR_ILLEGAL_SASL_STATE;
        snprintf(outcome->text, sizeof(outcome->text), "%s", SASL_AFTER_LOGIN);
    } else if ((sasl->state != TOKENS && sasl->state != RAW) || sasl->other_mechanism) {
        drop(sasl, outcome);
    } else if (sasl->mechanism == SASL_PLAIN) {
        take_plain(sasl, &in, outcome);
    } else if (sasl->mechanism == SASL_OAUTHBEARER) {
        take_oauth(sasl, &in, outcome);
    } else if (sasl->scram == NULL) {
        begin_scram(sasl, &in, outcome);
    } else {
        finish_scram(sasl, &in, outcome);
    }
}
