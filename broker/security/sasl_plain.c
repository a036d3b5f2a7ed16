/* The message is authzid NUL user NUL password. Passwords are kept as HMACs with a key of this process, so
 * that all comparisons are of the same length. */
#include "broker/security/sasl_plain.h"

#include "base/refuse.h"
#include "protocol/error.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>

enum { DIGEST_BYTES = 32, PARTS = 3 };

static void digest(const struct plain_users *users, struct str password, uint8_t out[DIGEST_BYTES])
{
    unsigned len = 0;
    CHECK(HMAC(EVP_sha256(), users->key, sizeof(users->key), (const uint8_t *)password.data,
               password.len, out, &len) != NULL);
}

void plain_users_init(struct plain_users *users, const struct properties *options,
                      struct random *random)
{
    static const char PREFIX[] = "user_";
    map_init(&users->digests);
    random->fill(random, users->key, sizeof(users->key));
    for (size_t i = 0; i < options->count; i++) {
        const struct property *p = &options->items[i];
        if (strncmp(p->name, PREFIX, sizeof(PREFIX) - 1) == 0) {
            uint8_t *kept = xmalloc(DIGEST_BYTES);
            digest(users, str_of(p->value), kept);
            free(map_set_str(&users->digests, str_of(p->name + sizeof(PREFIX) - 1), kept));
        }
    }
}

void plain_users_deinit(struct plain_users *users)
{
    map_each (entry, &users->digests) {
        free(entry->value);
    }
    map_deinit(&users->digests);
    OPENSSL_cleanse(users->key, sizeof(users->key));
}

bool plain_users_know(const struct plain_users *users, struct str name, struct str password)
{
    uint8_t told[DIGEST_BYTES];
    digest(users, password, told);
    const uint8_t *kept = map_get_str(&users->digests, name);
    bool same = CRYPTO_memcmp(told, kept == NULL ? users->key : kept, DIGEST_BYTES) == 0;
    return same && kept != NULL;
}

/* One part more than there may be is counted, as Kafka does. */
static int split(struct bytes message, struct str parts[PARTS])
{
    const char *at = message.data == NULL ? "" : (const char *)message.data;
    size_t left = message.len;
    int n = 0;
    for (;;) {
        const char *nul = memchr(at, '\0', left);
        size_t len = nul == NULL ? left : (size_t)(nul - at);
        if (n < PARTS) {
            parts[n] = (struct str){at, len};
        }
        n++;
        if (nul == NULL || n > PARTS) {
            return n;
        }
        at = nul + 1;
        left -= len + 1;
    }
}

err sasl_plain_login(const struct plain_users *users, struct bytes message, struct str *name,
                     char text[PLAIN_TEXT_MAX])
{
    struct str parts[PARTS];
    const char *wrong = NULL;
    int n = split(message, parts);
    if (n != PARTS) {
        return refuse_with(ERR_SASL_AUTHENTICATION_FAILED, text, PLAIN_TEXT_MAX,
                           "Invalid SASL/PLAIN response: expected 3 tokens, got %d", n);
    }
    *name = parts[1];
    if (name->len == 0) {
        wrong = "username not specified";
    } else if (parts[2].len == 0) {
        wrong = "password not specified";
    } else if (!plain_users_know(users, *name, parts[2])) {
        wrong = "Invalid username or password";
    } else if (parts[0].len > 0 && !str_equal(parts[0], *name)) {
        wrong = "Client requested an authorization id that is different from username";
    }
    return wrong == NULL ? OK
                         : refuse_with(ERR_SASL_AUTHENTICATION_FAILED, text, PLAIN_TEXT_MAX,
                                       "Authentication failed: %s", wrong);
}
