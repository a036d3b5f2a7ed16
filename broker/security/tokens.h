/* Delegation tokens, as the store has them: written by the control thread, asked by the loops. One lock, a leaf.
 *
 * Who has a token logs in by SCRAM with its id as the name and the base64 of its HMAC as the password. What SCRAM needs
 * for that takes milliseconds to make, and is made when a token is first used, by a worker. (reference: security §6) */
#ifndef OTTLA_BROKER_SECURITY_TOKENS_H
#define OTTLA_BROKER_SECURITY_TOKENS_H

#include "base/random.h"
#include "broker/security/principal.h"
#include "broker/security/scram.h"

enum { TOKEN_HMAC_BYTES = 64, TOKEN_ID_MAX = 256, TOKEN_RENEWERS_MAX = 1024 };

struct token {
    struct str id;
    struct principal owner;
    struct principal requester;
    struct principal *renewers;
    int32_t renewers_n;
    int64_t issued_ms; /* these three since 1970 */
    int64_t expires_ms;
    int64_t max_ms;
};

struct tokens;

/* `secret`: delegation.token.secret.key; NULL: there are no tokens. */
struct tokens *tokens_new(const char *secret, struct random *random);
void tokens_free(struct tokens *tokens);
bool tokens_are_on(const struct tokens *tokens);

/* Copied. */
void tokens_set(struct tokens *tokens, const struct token *token);
void tokens_remove(struct tokens *tokens, struct str id);
/* A copy, in one piece of memory; NULL: there is none. By its HMAC the same. */
struct token *tokens_get(struct tokens *tokens, struct str id);
struct token *tokens_get_by_hmac(struct tokens *tokens, struct bytes hmac);
/* Copies of all of them; malloc'd, each one, and the list. */
struct token **tokens_all(struct tokens *tokens, size_t *count);
/* What a token's holder knows. */
void tokens_hmac(const struct tokens *tokens, struct str id, uint8_t hmac[TOKEN_HMAC_BYTES]);

/* ---- logins ---- */

enum token_login {
    TOKEN_UNKNOWN, /* or expired */
    TOKEN_UNMADE,  /* tokens_make_credential() first */
    TOKEN_READY,
};
/* READY: the credential, and a copy of the token. */
enum token_login tokens_login(struct tokens *tokens, struct str id, enum scram_mechanism mechanism,
                              int64_t wall_ms, struct scram_credential *credential,
                              struct token **token);
/* On a worker. */
void tokens_make_credential(struct tokens *tokens, struct str id, enum scram_mechanism mechanism);

#endif
