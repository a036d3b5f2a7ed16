/* The message is n,[a=authzid], 01 key=value 01 … 01, of which the key auth has "Bearer <token>".
 *
 * What Kafka's two validators check differs: without keys exp must lie ahead and iat behind, and nbf is not looked at;
 * with keys nbf, iss and aud are, too. */
#define _GNU_SOURCE
#include "broker/security/sasl_oauth.h"

#include "base/refuse.h"
#include "broker/security/base64.h"
#include "protocol/error.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define SEPARATOR     '\x01'
#define INVALID_TOKEN "{\"status\":\"invalid_token\"}"

static const char NAME_CLAIM[] = "unsecuredValidatorPrincipalClaimName";
static const char SCOPE_CLAIM[] = "unsecuredValidatorScopeClaimName";
static const char SCOPE[] = "unsecuredValidatorRequiredScope";
static const char SKEW[] = "unsecuredValidatorAllowableClockSkewMs";

/* ---- rules ---- */

static char *copy_or(const char *text, const char *otherwise)
{
    return text != NULL || otherwise != NULL ? xstrdup(text != NULL ? text : otherwise) : NULL;
}

err oauth_rules_unsecured(struct oauth_rules *rules, const struct properties *options, char *reason,
                          size_t reason_size)
{
    *rules = (struct oauth_rules){
        .name_claim = copy_or(properties_get(options, NAME_CLAIM), "sub"),
        .scope_claim = copy_or(properties_get(options, SCOPE_CLAIM), "scope"),
        .scopes = copy_or(properties_get(options, SCOPE), NULL),
    };
    const char *skew = properties_get(options, SKEW);
    char *end = NULL;
    rules->skew_ms = skew == NULL ? 0 : strtoll(skew, &end, 10);
    if (skew != NULL && (end == skew || *end != '\0' || rules->skew_ms < 0)) {
        return refuse(reason, reason_size, "%s must be a number of milliseconds", SKEW);
    }
    return OK;
}

void oauth_rules_deinit(struct oauth_rules *rules)
{
    free(rules->name_claim);
    free(rules->scope_claim);
    free(rules->scopes);
    free(rules->issuer);
    for (size_t i = 0; i < rules->audiences_n; i++) {
        free(rules->audiences[i]);
    }
    *rules = (struct oauth_rules){0};
}

/* ---- the message ---- */

struct oauth_message {
    struct str authzid; /* null: none */
    struct str auth;    /* null: none */
};

static struct str until(struct str *rest, char end)
{
    const char *found = rest->len == 0 ? NULL : memchr(rest->data, end, rest->len);
    if (found == NULL) {
        return (struct str){0};
    }
    struct str part = {rest->data, (size_t)(found - rest->data)};
    *rest = (struct str){found + 1, rest->len - part.len - 1};
    return part;
}

static bool is_pair(struct str pair)
{
    const char *equals = memchr(pair.data, '=', pair.len);
    if (equals == NULL || equals == pair.data) {
        return false;
    }
    for (const char *at = pair.data; at < pair.data + pair.len; at++) {
        bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z');
        bool printed = (*at >= 0x20 && *at <= 0x7e) || *at == '\t' || *at == '\r' || *at == '\n';
        if (at < equals ? !letter : !printed) {
            return false;
        }
    }
    return true;
}

static bool read_message(struct bytes message, struct oauth_message *out)
{
    struct str rest = {(const char *)message.data, message.len};
    *out = (struct oauth_message){0};
    if (!str_is(until(&rest, ','), "n")) {
        return false;
    }
    struct str authzid = until(&rest, ',');
    bool has_authzid = authzid.len > 2 && memcmp(authzid.data, "a=", 2) == 0;
    if (authzid.data == NULL || (authzid.len > 0 && !has_authzid)) {
        return false;
    }
    out->authzid = has_authzid ? (struct str){authzid.data + 2, authzid.len - 2} : (struct str){0};
    struct str pair = until(&rest, SEPARATOR);
    if (pair.data == NULL || pair.len > 0) {
        return false;
    }
    while (rest.len > 0 && rest.data[0] != SEPARATOR) {
        pair = until(&rest, SEPARATOR);
        if (pair.data == NULL || !is_pair(pair)) {
            return false;
        }
        if (pair.len > 5 && memcmp(pair.data, "auth=", 5) == 0) {
            out->auth = (struct str){pair.data + 5, pair.len - 5};
        }
    }
    return rest.len == 1 && out->auth.data != NULL;
}

/* "Bearer <token>"; the null string: it is something else. */
static struct str token_of(struct str auth)
{
    static const char SCHEME[] = "Bearer";
    size_t at = sizeof(SCHEME) - 1;
    if (auth.len <= at || strncasecmp(auth.data, SCHEME, at) != 0 || auth.data[at] != ' ') {
        return (struct str){0};
    }
    while (at < auth.len && auth.data[at] == ' ') {
        at++;
    }
    return (struct str){auth.data + at, auth.len - at};
}

/* ---- the token ---- */

static bool has_scopes(const struct oauth_rules *rules, const struct jwt *jwt)
{
    const char *at = rules->scopes == NULL ? "" : rules->scopes;
    for (;;) {
        at += strspn(at, " ");
        size_t len = strcspn(at, " ");
        if (len == 0) {
            return true;
        }
        if (!jwt_has(jwt, rules->scope_claim, (struct str){at, len})) {
            return false;
        }
        at += len;
    }
}

static bool audience_fits(const struct oauth_rules *rules, const struct jwt *jwt)
{
    for (size_t i = 0; i < rules->audiences_n; i++) {
        if (jwt_has(jwt, "aud", str_of(rules->audiences[i]))) {
            return true;
        }
    }
    return rules->audiences_n == 0;
}

static bool times_fit(const struct oauth_rules *rules, const struct jwt *jwt, int64_t wall_ms,
                      int64_t *expires_ms)
{
    bool wrong = false;
    int64_t issued_ms = wall_ms;
    int64_t begins_ms = wall_ms;
    bool expires = jwt_time(jwt, "exp", expires_ms, &wrong);
    bool issued = jwt_time(jwt, "iat", &issued_ms, &wrong);
    bool begins = rules->keys != NULL && jwt_time(jwt, "nbf", &begins_ms, &wrong);
    bool in_order = !expires || !issued || issued_ms <= *expires_ms;
    return expires && !wrong && in_order && *expires_ms + rules->skew_ms > wall_ms &&
           issued_ms - rules->skew_ms <= wall_ms &&
           (!begins || begins_ms - rules->skew_ms <= wall_ms);
}

static bool is_believed(const struct oauth_rules *rules, const struct jwt *jwt)
{
    return rules->keys == NULL ? jwt_is_unsecured(jwt) : jwk_source_verify(rules->keys, jwt) == OK;
}

/* E_MALFORMED: it is not to be believed. */
static err check_token(const struct oauth_rules *rules, const struct jwt *jwt, int64_t wall_ms,
                       struct oauth_login *login)
{
    if (!is_believed(rules, jwt) || !times_fit(rules, jwt, wall_ms, &login->expires_ms)) {
        return E_MALFORMED;
    }
    const char *name = jwt_text(jwt, rules->name_claim);
    const char *issuer = jwt_text(jwt, "iss");
    bool issued = rules->issuer == NULL || (issuer != NULL && strcmp(issuer, rules->issuer) == 0);
    if (name == NULL || name[strspn(name, " ")] == '\0' || !issued || !audience_fits(rules, jwt) ||
        !has_scopes(rules, jwt)) {
        return E_MALFORMED;
    }
    login->name = xstrdup(name);
    return OK;
}

static err take_token(const struct oauth_rules *rules, struct str token, int64_t wall_ms,
                      struct oauth_login *login)
{
    struct jwt jwt;
    err e = jwt_parse(token, &jwt);
    e = e == OK ? check_token(rules, &jwt, wall_ms, login) : e;
    jwt_deinit(&jwt);
    if (e != OK) {
        login->may_go_on = true;
        return refuse_with(ERR_SASL_AUTHENTICATION_FAILED, login->text, OAUTH_TEXT_MAX, "%s",
                           INVALID_TOKEN);
    }
    return OK;
}

err sasl_oauth_login(const struct oauth_rules *rules, struct bytes message, int64_t wall_ms,
                     struct oauth_login *login)
{
    struct oauth_message in;
    *login = (struct oauth_login){0};
    struct str token = read_message(message, &in) ? token_of(in.auth) : (struct str){0};
    if (token.data == NULL) {
        return ERR_SASL_AUTHENTICATION_FAILED;
    }
    TRY(take_token(rules, token, wall_ms, login));
    if (in.authzid.data != NULL && !str_is(in.authzid, login->name)) {
        err e = refuse_with(ERR_SASL_AUTHENTICATION_FAILED, login->text, OAUTH_TEXT_MAX,
                            "Authentication failed: Client requested an authorization id (%.*s) "
                            "that is different from the token's principal name (%s)",
                            (int)(in.authzid.len < 100 ? in.authzid.len : 100), in.authzid.data,
                            login->name);
        free(login->name);
        login->name = NULL;
        return e;
    }
    return OK;
}

/* ---- the other side ---- */

char *sasl_oauth_message(const char *token)
{
    return xasprintf("n,,%cauth=Bearer %s%c%c", SEPARATOR, token, SEPARATOR, SEPARATOR);
}

char *oauth_unsecured_token(const char *name, int64_t wall_ms, int64_t life_ms)
{
    static const char HEADER[] = "{\"alg\":\"none\"}";
    char head[BASE64_SIZE(sizeof(HEADER))];
    json_t *claims = json_pack("{s:s,s:I,s:I}", "sub", name, "iat", (json_int_t)(wall_ms / 1000),
                               "exp", (json_int_t)((wall_ms + life_ms) / 1000));
    char *text = json_dumps(claims, JSON_COMPACT);
    json_decref(claims);
    CHECK(text != NULL);
    char *body = xmalloc(BASE64_SIZE(strlen(text)));
    base64_encode(BASE64_URL, bytes_of(HEADER, sizeof(HEADER) - 1), head);
    base64_encode(BASE64_URL, bytes_of(text, strlen(text)), body);
    char *token = xasprintf("%s.%s.", head, body);
    free(body);
    free(text);
    return token;
}
