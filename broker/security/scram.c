/* The keys, H being the mechanism's hash:
 *
 *   SaltedPassword = PBKDF2(password, salt, iterations)
 *   StoredKey      = H(HMAC(SaltedPassword, "Client Key"))
 *   ServerKey      = HMAC(SaltedPassword, "Server Key")
 *   ClientProof    = ClientKey xor HMAC(StoredKey, auth)
 *   signature      = HMAC(ServerKey, auth)
 *
 * Messages are attributes of one letter, with commas between them; values have no comma. */
#define _GNU_SOURCE
#include "broker/security/scram.h"

#include "broker/security/base64.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

enum { FEIGNED_SALT_BYTES = 26, NUMBER_DIGITS_MAX = 9 };

static const struct {
    const char *name;
    size_t key_len;
} MECHANISMS[] = {{"", 0}, {"SCRAM-SHA-256", 32}, {"SCRAM-SHA-512", 64}};

const char *scram_mechanism_name(enum scram_mechanism mechanism)
{
    return MECHANISMS[mechanism].name;
}

enum scram_mechanism scram_mechanism_of(struct str name)
{
    for (int i = SCRAM_SHA_256; i <= SCRAM_SHA_512; i++) {
        if (str_is(name, MECHANISMS[i].name)) {
            return (enum scram_mechanism)i;
        }
    }
    return SCRAM_UNKNOWN;
}

size_t scram_key_len(enum scram_mechanism mechanism)
{
    return MECHANISMS[mechanism].key_len;
}

/* ---- keys ---- */

static const EVP_MD *hash_of(enum scram_mechanism mechanism)
{
    return mechanism == SCRAM_SHA_512 ? EVP_sha512() : EVP_sha256();
}

static void hmac(enum scram_mechanism mechanism, const uint8_t *key, struct str text,
                 uint8_t out[SCRAM_KEY_MAX])
{
    unsigned len = 0;
    CHECK(HMAC(hash_of(mechanism), key, (int)scram_key_len(mechanism), (const uint8_t *)text.data,
               text.len, out, &len) != NULL);
}

static void hash(enum scram_mechanism mechanism, const uint8_t *data, uint8_t out[SCRAM_KEY_MAX])
{
    CHECK(EVP_Digest(data, scram_key_len(mechanism), out, NULL, hash_of(mechanism), NULL) == 1);
}

void scram_salt_password(enum scram_mechanism mechanism, struct bytes password, struct bytes salt,
                         int32_t iterations, uint8_t salted[SCRAM_KEY_MAX])
{
    CHECK(PKCS5_PBKDF2_HMAC((const char *)password.data, (int)password.len, salt.data,
                            (int)salt.len, iterations, hash_of(mechanism),
                            (int)scram_key_len(mechanism), salted) == 1);
}

/* ---- credentials ---- */

err scram_credential_make(enum scram_mechanism mechanism, struct bytes salted, struct bytes salt,
                          int32_t iterations, struct scram_credential *out)
{
    uint8_t client_key[SCRAM_KEY_MAX];
    unsigned len = 0;
    if (salt.len > SCRAM_SALT_MAX || salted.len > INT32_MAX) {
        return E_LIMIT;
    }
    *out = (struct scram_credential){
        .mechanism = mechanism, .iterations = iterations, .salt_len = salt.len};
    if (salt.len > 0) {
        memcpy(out->salt, salt.data, salt.len);
    }
    const struct str names[] = {STR("Client Key"), STR("Server Key")};
    uint8_t *keys[] = {client_key, out->server_key};
    for (int i = 0; i < 2; i++) {
        CHECK(HMAC(hash_of(mechanism), salted.len == 0 ? "" : (const void *)salted.data,
                   (int)salted.len, (const uint8_t *)names[i].data, names[i].len, keys[i],
                   &len) != NULL);
    }
    hash(mechanism, client_key, out->stored_key);
    OPENSSL_cleanse(client_key, sizeof(client_key));
    return OK;
}

void scram_credential_format(const struct scram_credential *credential, char text[SCRAM_TEXT_MAX])
{
    char salt[BASE64_SIZE(SCRAM_SALT_MAX)];
    char stored[BASE64_SIZE(SCRAM_KEY_MAX)];
    char server[BASE64_SIZE(SCRAM_KEY_MAX)];
    size_t key_len = scram_key_len(credential->mechanism);
    base64_encode(BASE64_PADDED, bytes_of(credential->salt, credential->salt_len), salt);
    base64_encode(BASE64_PADDED, bytes_of(credential->stored_key, key_len), stored);
    base64_encode(BASE64_PADDED, bytes_of(credential->server_key, key_len), server);
    snprintf(text, SCRAM_TEXT_MAX, "salt=%s,stored_key=%s,server_key=%s,iterations=%d", salt,
             stored, server, credential->iterations);
}

/* The next part of a list with commas; false: there is none. */
static bool next_part(struct str *rest, struct str *part)
{
    if (rest->data == NULL) {
        return false;
    }
    const char *comma = memchr(rest->data, ',', rest->len);
    part->data = rest->data;
    part->len = comma == NULL ? rest->len : (size_t)(comma - rest->data);
    if (comma == NULL) {
        *rest = (struct str){0};
    } else {
        *rest = (struct str){comma + 1, rest->len - part->len - 1};
    }
    return true;
}

/* What stands behind "name="; the null string: it is another part. */
static struct str value_of(struct str part, const char *name)
{
    size_t len = strlen(name);
    bool is = part.len > len && memcmp(part.data, name, len) == 0 && part.data[len] == '=';
    return is ? (struct str){part.data + len + 1, part.len - len - 1} : (struct str){0};
}

static bool read_number(struct str text, int32_t *number)
{
    *number = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || i >= NUMBER_DIGITS_MAX) {
            return false;
        }
        *number = *number * 10 + (text.data[i] - '0');
    }
    return text.len > 0;
}

static bool read_key(struct str text, size_t key_len, uint8_t key[SCRAM_KEY_MAX])
{
    size_t len = 0;
    return base64_decode(BASE64_PADDED, text, key, SCRAM_KEY_MAX, &len) && len == key_len;
}

err scram_credential_parse(enum scram_mechanism mechanism, struct str text,
                           struct scram_credential *out)
{
    size_t key_len = scram_key_len(mechanism);
    *out = (struct scram_credential){.mechanism = mechanism};
    bool fine[4] = {false};
    for (struct str part; next_part(&text, &part);) {
        struct str salt = value_of(part, "salt");
        struct str stored = value_of(part, "stored_key");
        struct str server = value_of(part, "server_key");
        struct str iterations = value_of(part, "iterations");
        if (salt.data != NULL) {
            fine[0] = base64_decode(BASE64_PADDED, salt, out->salt, SCRAM_SALT_MAX, &out->salt_len);
        } else if (stored.data != NULL) {
            fine[1] = read_key(stored, key_len, out->stored_key);
        } else if (server.data != NULL) {
            fine[2] = read_key(server, key_len, out->server_key);
        } else if (iterations.data != NULL) {
            fine[3] = read_number(iterations, &out->iterations) && out->iterations > 0;
        }
    }
    return fine[0] && fine[1] && fine[2] && fine[3] ? OK : E_MALFORMED;
}

void scram_credential_feign(enum scram_mechanism mechanism, struct bytes key, struct str name,
                            struct scram_credential *out)
{
    static const char LETTERS[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    uint8_t chance[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    CHECK(HMAC(EVP_sha512(), key.data, (int)key.len, (const uint8_t *)name.data, name.len, chance,
               &len) != NULL);
    *out = (struct scram_credential){
        .mechanism = mechanism, .iterations = SCRAM_ITERATIONS_MIN, .salt_len = FEIGNED_SALT_BYTES};
    for (size_t i = 0; i < FEIGNED_SALT_BYTES; i++) { /* as Kafka's tools make them */
        out->salt[i] = (uint8_t)LETTERS[chance[i] % (sizeof(LETTERS) - 1)];
    }
    memcpy(out->stored_key, chance + 32, 32);
    memcpy(out->server_key, chance + 16, 32);
}

/* ---- names ---- */

static bool is_name(struct str written)
{
    for (size_t i = 0; i < written.len; i++) {
        char c = written.data[i];
        bool escape =
            c == '=' && i + 2 < written.len &&
            (memcmp(written.data + i, "=2C", 3) == 0 || memcmp(written.data + i, "=3D", 3) == 0);
        if (c == '\0' || (c == '=' && !escape)) {
            return false;
        }
    }
    return written.len > 0;
}

bool scram_name_decode(struct str written, char *name, size_t size)
{
    size_t len = 0;
    if (!is_name(written)) {
        return false;
    }
    for (size_t i = 0; i < written.len; i++) {
        if (len + 1 >= size) {
            return false;
        }
        char c = written.data[i];
        if (c == '=') {
            c = written.data[i + 1] == '2' ? ',' : '=';
            i += 2;
        }
        name[len++] = c;
    }
    name[len] = '\0';
    return true;
}

char *scram_name_encode(struct str name)
{
    char *written = xmalloc(name.len * 3 + 1);
    size_t len = 0;
    for (size_t i = 0; i < name.len; i++) {
        if (name.data[i] == ',' || name.data[i] == '=') {
            memcpy(written + len, name.data[i] == ',' ? "=2C" : "=3D", 3);
            len += 3;
        } else {
            written[len++] = name.data[i];
        }
    }
    written[len] = '\0';
    return written;
}

/* ---- messages ---- */

static bool is_nonce(struct str nonce)
{
    for (size_t i = 0; i < nonce.len; i++) {
        if (nonce.data[i] < 0x21 || nonce.data[i] > 0x7e) {
            return false;
        }
    }
    return nonce.len > 0 && nonce.len <= SCRAM_NONCE_MAX;
}

/* letters=value */
static bool is_extension(struct str part)
{
    size_t letters = 0;
    while (letters < part.len && ((part.data[letters] | 0x20) >= 'a') &&
           ((part.data[letters] | 0x20) <= 'z')) {
        letters++;
    }
    return letters > 0 && letters + 1 < part.len && part.data[letters] == '=' &&
           memchr(part.data, '\0', part.len) == NULL;
}

/* n,[a=authzid], */
static bool read_gs2(struct str *rest, struct scram_client_first *out)
{
    struct str part = {0};
    const char *begin = rest->data;
    if (!next_part(rest, &part) || !str_is(part, "n") || !next_part(rest, &part)) {
        return false;
    }
    if (part.len > 0) {
        out->authzid = value_of(part, "a");
        if (out->authzid.data == NULL || !is_name(out->authzid)) {
            return false;
        }
    }
    if (rest->data == NULL) {
        return false;
    }
    out->gs2 = (struct str){begin, (size_t)(rest->data - begin)};
    return true;
}

err scram_client_first_parse(struct str message, struct scram_client_first *out)
{
    struct str rest = message;
    struct str part = {0};
    *out = (struct scram_client_first){0};
    if (message.data == NULL || !read_gs2(&rest, out) || !next_part(&rest, &part)) {
        return E_MALFORMED;
    }
    out->bare = (struct str){part.data, (size_t)(message.data + message.len - part.data)};
    if (value_of(part, "m").data != NULL && !next_part(&rest, &part)) {
        return E_MALFORMED;
    }
    out->name = value_of(part, "n");
    if (!is_name(out->name) || !next_part(&rest, &part)) {
        return E_MALFORMED;
    }
    out->nonce = value_of(part, "r");
    if (out->nonce.data == NULL || !is_nonce(out->nonce)) {
        return E_MALFORMED;
    }
    while (next_part(&rest, &part)) {
        if (!is_extension(part)) {
            return E_MALFORMED;
        }
        struct str by_token = value_of(part, "tokenauth");
        out->by_token |= by_token.len == 4 && strncasecmp(by_token.data, "true", 4) == 0;
    }
    return OK;
}

err scram_server_first_parse(struct str message, struct scram_server_first *out)
{
    struct str rest = message;
    struct str part = {0};
    *out = (struct scram_server_first){0};
    if (!next_part(&rest, &part)) {
        return E_MALFORMED;
    }
    out->nonce = value_of(part, "r");
    if (out->nonce.data == NULL || !is_nonce(out->nonce) || !next_part(&rest, &part)) {
        return E_MALFORMED;
    }
    struct str salt = value_of(part, "s");
    if (salt.data == NULL ||
        !base64_decode(BASE64_PADDED, salt, out->salt, SCRAM_SALT_MAX, &out->salt_len) ||
        !next_part(&rest, &part)) {
        return E_MALFORMED;
    }
    struct str iterations = value_of(part, "i");
    return iterations.data != NULL && read_number(iterations, &out->iterations) ? OK : E_MALFORMED;
}

err scram_client_final_parse(struct str message, struct scram_client_final *out)
{
    struct str rest = message;
    struct str part = {0};
    *out = (struct scram_client_final){0};
    if (!next_part(&rest, &part)) {
        return E_MALFORMED;
    }
    out->channel = value_of(part, "c");
    if (out->channel.data == NULL || !next_part(&rest, &part)) {
        return E_MALFORMED;
    }
    out->nonce = value_of(part, "r");
    if (out->nonce.data == NULL) {
        return E_MALFORMED;
    }
    while (next_part(&rest, &part)) {
        struct str proof = value_of(part, "p");
        if (proof.data != NULL) {
            out->without_proof = (struct str){message.data, (size_t)(part.data - message.data) - 1};
            bool fine = rest.data == NULL && base64_decode(BASE64_PADDED, proof, out->proof,
                                                           SCRAM_KEY_MAX, &out->proof_len);
            return fine ? OK : E_MALFORMED;
        }
    }
    return E_MALFORMED;
}

/* ---- proofs ---- */

bool scram_proof_is_right(const struct scram_credential *credential, struct str auth,
                          const struct scram_client_final *final)
{
    enum scram_mechanism mechanism = credential->mechanism;
    size_t len = scram_key_len(mechanism);
    uint8_t key[SCRAM_KEY_MAX];
    uint8_t stored[SCRAM_KEY_MAX];
    hmac(mechanism, credential->stored_key, auth, key);
    for (size_t i = 0; i < len; i++) {
        key[i] ^= final->proof[i];
    }
    hash(mechanism, key, stored);
    bool same = CRYPTO_memcmp(stored, credential->stored_key, len) == 0;
    OPENSSL_cleanse(key, sizeof(key));
    return same && final->proof_len == len;
}

void scram_server_signature(const struct scram_credential *credential, struct str auth,
                            uint8_t signature[SCRAM_KEY_MAX])
{
    hmac(credential->mechanism, credential->server_key, auth, signature);
}

void scram_client_proof(enum scram_mechanism mechanism, const uint8_t salted[SCRAM_KEY_MAX],
                        struct str auth, uint8_t proof[SCRAM_KEY_MAX])
{
    uint8_t client_key[SCRAM_KEY_MAX];
    uint8_t stored[SCRAM_KEY_MAX];
    hmac(mechanism, salted, STR("Client Key"), client_key);
    hash(mechanism, client_key, stored);
    hmac(mechanism, stored, auth, proof);
    for (size_t i = 0; i < scram_key_len(mechanism); i++) {
        proof[i] ^= client_key[i];
    }
    OPENSSL_cleanse(client_key, sizeof(client_key));
}

void scram_expected_signature(enum scram_mechanism mechanism, const uint8_t salted[SCRAM_KEY_MAX],
                              struct str auth, uint8_t signature[SCRAM_KEY_MAX])
{
    uint8_t server_key[SCRAM_KEY_MAX];
    hmac(mechanism, salted, STR("Server Key"), server_key);
    hmac(mechanism, server_key, auth, signature);
    OPENSSL_cleanse(server_key, sizeof(server_key));
}
