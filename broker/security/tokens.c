/* A token is one piece of memory, texts and all, so that a copy is one piece, too. */
#include "broker/security/tokens.h"

#include "base/map.h"
#include "broker/security/base64.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdlib.h>

enum { SALT_BYTES = 20 };

struct kept {
    struct token *token;
    uint8_t hmac[TOKEN_HMAC_BYTES];
    struct scram_credential *made[SCRAM_MECHANISMS + 1];
};

struct tokens {
    char *secret; /* NULL: off */
    struct random *random;
    pthread_mutex_t lock;
    struct map by_id;
};

/* ---- memory ---- */

static size_t principal_size(const struct principal *p)
{
    return p->type.len + p->name.len;
}

static struct str put_text(char **at, struct str text)
{
    struct str put = {*at, text.len};
    if (text.len > 0) {
        memcpy(*at, text.data, text.len);
    }
    *at += text.len;
    return put;
}

static struct principal put_principal(char **at, const struct principal *p)
{
    struct str type = put_text(at, p->type);
    return (struct principal){.type = type, .name = put_text(at, p->name)};
}

static struct token *token_copy(const struct token *token)
{
    size_t renewers_n = token->renewers_n < 0 ? 0 : (size_t)token->renewers_n;
    size_t size = sizeof(*token) + renewers_n * sizeof(*token->renewers) + token->id.len +
                  principal_size(&token->owner) + principal_size(&token->requester);
    for (size_t i = 0; i < renewers_n; i++) {
        size += principal_size(&token->renewers[i]);
    }
    struct token *copy = xmalloc(size);
    *copy = *token;
    copy->renewers = (struct principal *)(copy + 1);
    copy->renewers_n = (int32_t)renewers_n;
    char *at = (char *)(copy->renewers + renewers_n);
    copy->id = put_text(&at, token->id);
    copy->owner = put_principal(&at, &token->owner);
    copy->requester = put_principal(&at, &token->requester);
    for (size_t i = 0; i < renewers_n; i++) {
        copy->renewers[i] = put_principal(&at, &token->renewers[i]);
    }
    return copy;
}

static void kept_free(struct kept *kept)
{
    if (kept == NULL) {
        return;
    }
    for (int i = 0; i <= SCRAM_MECHANISMS; i++) {
        free(kept->made[i]);
    }
    free(kept->token);
    OPENSSL_cleanse(kept, sizeof(*kept));
    free(kept);
}

/* ---- life ---- */

struct tokens *tokens_new(const char *secret, struct random *random)
{
    struct tokens *tokens = xcalloc(1, sizeof(*tokens));
    tokens->secret = secret == NULL || *secret == '\0' ? NULL : xstrdup(secret);
    tokens->random = random;
    map_init(&tokens->by_id);
    CHECK(pthread_mutex_init(&tokens->lock, NULL) == 0);
    return tokens;
}

void tokens_free(struct tokens *tokens)
{
    if (tokens == NULL) {
        return;
    }
    map_each (entry, &tokens->by_id) {
        kept_free(entry->value);
    }
    map_deinit(&tokens->by_id);
    CHECK(pthread_mutex_destroy(&tokens->lock) == 0);
    if (tokens->secret != NULL) {
        OPENSSL_cleanse(tokens->secret, strlen(tokens->secret));
    }
    free(tokens->secret);
    free(tokens);
}

bool tokens_are_on(const struct tokens *tokens)
{
    return tokens->secret != NULL;
}

void tokens_hmac(const struct tokens *tokens, struct str id, uint8_t hmac[TOKEN_HMAC_BYTES])
{
    unsigned len = 0;
    CHECK(tokens->secret != NULL && HMAC(EVP_sha512(), tokens->secret, (int)strlen(tokens->secret),
                                         (const uint8_t *)id.data, id.len, hmac, &len) != NULL);
}

/* ---- changes ---- */

void tokens_set(struct tokens *tokens, const struct token *token)
{
    struct kept *fresh = xcalloc(1, sizeof(*fresh));
    fresh->token = token_copy(token);
    tokens_hmac(tokens, token->id, fresh->hmac);
    pthread_mutex_lock(&tokens->lock);
    struct kept *old = map_set_str(&tokens->by_id, token->id, fresh);
    for (int i = 0; old != NULL && i <= SCRAM_MECHANISMS; i++) {
        fresh->made[i] = old->made[i]; /* the id is the same, so the password is */
        old->made[i] = NULL;
    }
    pthread_mutex_unlock(&tokens->lock);
    kept_free(old);
}

void tokens_remove(struct tokens *tokens, struct str id)
{
    pthread_mutex_lock(&tokens->lock);
    struct kept *old = map_remove_str(&tokens->by_id, id);
    pthread_mutex_unlock(&tokens->lock);
    kept_free(old);
}

/* ---- questions ---- */

struct token *tokens_get(struct tokens *tokens, struct str id)
{
    pthread_mutex_lock(&tokens->lock);
    const struct kept *kept = map_get_str(&tokens->by_id, id);
    struct token *copy = kept == NULL ? NULL : token_copy(kept->token);
    pthread_mutex_unlock(&tokens->lock);
    return copy;
}

struct token *tokens_get_by_hmac(struct tokens *tokens, struct bytes hmac)
{
    struct token *copy = NULL;
    if (hmac.len != TOKEN_HMAC_BYTES) {
        return NULL;
    }
    pthread_mutex_lock(&tokens->lock);
    map_each (entry, &tokens->by_id) {
        const struct kept *kept = entry->value;
        if (CRYPTO_memcmp(kept->hmac, hmac.data, TOKEN_HMAC_BYTES) == 0) {
            copy = token_copy(kept->token);
        }
    }
    pthread_mutex_unlock(&tokens->lock);
    return copy;
}

struct token **tokens_all(struct tokens *tokens, size_t *count)
{
    pthread_mutex_lock(&tokens->lock);
    struct token **all = xcalloc(tokens->by_id.count + 1, sizeof(struct token *));
    *count = 0;
    map_each (entry, &tokens->by_id) {
        all[(*count)++] = token_copy(((const struct kept *)entry->value)->token);
    }
    pthread_mutex_unlock(&tokens->lock);
    return all;
}

/* ---- logins ---- */

enum token_login tokens_login(struct tokens *tokens, struct str id, enum scram_mechanism mechanism,
                              int64_t wall_ms, struct scram_credential *credential,
                              struct token **token)
{
    enum token_login found = TOKEN_UNKNOWN;
    pthread_mutex_lock(&tokens->lock);
    const struct kept *kept = map_get_str(&tokens->by_id, id);
    if (kept != NULL && kept->token->expires_ms > wall_ms && kept->token->max_ms > wall_ms) {
        found = kept->made[mechanism] == NULL ? TOKEN_UNMADE : TOKEN_READY;
        if (found == TOKEN_READY) {
            *credential = *kept->made[mechanism];
            *token = token_copy(kept->token);
        }
    }
    pthread_mutex_unlock(&tokens->lock);
    return found;
}

static struct scram_credential *make(struct tokens *tokens, struct str id,
                                     enum scram_mechanism mechanism)
{
    uint8_t salt[SALT_BYTES];
    uint8_t hmac[TOKEN_HMAC_BYTES];
    uint8_t salted[SCRAM_KEY_MAX];
    char password[BASE64_SIZE(TOKEN_HMAC_BYTES)];
    struct scram_credential *made = xcalloc(1, sizeof(*made));
    struct bytes salt_bytes = bytes_of(salt, sizeof(salt));
    tokens->random->fill(tokens->random, salt, sizeof(salt));
    tokens_hmac(tokens, id, hmac);
    size_t len = base64_encode(BASE64_PADDED, bytes_of(hmac, sizeof(hmac)), password);
    scram_salt_password(mechanism, bytes_of(password, len), salt_bytes, SCRAM_ITERATIONS_MIN,
                        salted);
    CHECK(scram_credential_make(mechanism, bytes_of(salted, scram_key_len(mechanism)), salt_bytes,
                                SCRAM_ITERATIONS_MIN, made) == OK);
    OPENSSL_cleanse(hmac, sizeof(hmac));
    OPENSSL_cleanse(password, sizeof(password));
    OPENSSL_cleanse(salted, sizeof(salted));
    return made;
}

void tokens_make_credential(struct tokens *tokens, struct str id, enum scram_mechanism mechanism)
{
    struct scram_credential *made = make(tokens, id, mechanism);
    pthread_mutex_lock(&tokens->lock);
    struct kept *kept = map_get_str(&tokens->by_id, id);
    if (kept != NULL && kept->made[mechanism] == NULL) {
        kept->made[mechanism] = made;
        made = NULL;
    }
    pthread_mutex_unlock(&tokens->lock);
    free(made);
}
