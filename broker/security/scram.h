/* SCRAM: credentials, messages and proofs (RFC 5802, RFC 7677), for both sides. Who speaks when is
 * sasl_scram.h's.
 *
 * A credential is what a server keeps of a password, and the value of SCRAM-SHA-256 or -512 in
 * /config/users/<name>: salt=…,stored_key=…,server_key=…,iterations=… (reference: security §3) */
#ifndef OTTLA_BROKER_SECURITY_SCRAM_H
#define OTTLA_BROKER_SECURITY_SCRAM_H

#include "base/bytes.h"
#include "base/err.h"

/* As on the wire of DescribeUserScramCredentials. */
enum scram_mechanism { SCRAM_UNKNOWN = 0, SCRAM_SHA_256 = 1, SCRAM_SHA_512 = 2 };
enum {
    SCRAM_MECHANISMS = 2,
    SCRAM_KEY_MAX = 64,
    SCRAM_SALT_MAX = 256,
    SCRAM_ITERATIONS_MIN = 4096,
    SCRAM_ITERATIONS_MAX = 16384,
    SCRAM_NONCE_MAX = 256,
    SCRAM_TEXT_MAX = 1024, /* of a credential */
};

struct scram_credential {
    enum scram_mechanism mechanism;
    int32_t iterations;
    size_t salt_len;
    uint8_t salt[SCRAM_SALT_MAX];
    uint8_t stored_key[SCRAM_KEY_MAX];
    uint8_t server_key[SCRAM_KEY_MAX];
};

/* "SCRAM-SHA-256", "SCRAM-SHA-512". */
const char *scram_mechanism_name(enum scram_mechanism mechanism);
enum scram_mechanism scram_mechanism_of(struct str name);
/* How long its keys are. */
size_t scram_key_len(enum scram_mechanism mechanism);

/* ---- credentials ---- */

/* Takes milliseconds: never on a loop. `salted` gets scram_key_len() bytes. */
void scram_salt_password(enum scram_mechanism mechanism, struct bytes password, struct bytes salt,
                         int32_t iterations, uint8_t salted[SCRAM_KEY_MAX]);
/* From what a client has made of a password. E_LIMIT: the salt is too long. */
NODISCARD err scram_credential_make(enum scram_mechanism mechanism, struct bytes salted,
                                    struct bytes salt, int32_t iterations,
                                    struct scram_credential *out);
/* The text that the store keeps. */
void scram_credential_format(const struct scram_credential *credential, char text[SCRAM_TEXT_MAX]);
NODISCARD err scram_credential_parse(enum scram_mechanism mechanism, struct str text,
                                     struct scram_credential *out);
/* One that nobody has: always the same for a name, and told from another only by who knows `key`. */
void scram_credential_feign(enum scram_mechanism mechanism, struct bytes key, struct str name,
                            struct scram_credential *out);

/* ---- messages ---- */

/* What a client says first; views of its message. */
struct scram_client_first {
    struct str gs2;     /* "n,,", with an authorization id "n,a=x," */
    struct str bare;    /* the rest */
    struct str authzid; /* as written, null where there is none */
    struct str name;    /* as written: =2C and =3D stand for , and = */
    struct str nonce;
    bool by_token; /* the extension tokenauth=true */
};
NODISCARD err scram_client_first_parse(struct str message, struct scram_client_first *out);
/* Name as it is; `size` includes the terminator. False: it does not fit, or breaks a rule. */
bool scram_name_decode(struct str written, char *name, size_t size);
/* The other way round; to be freed. */
char *scram_name_encode(struct str name);

struct scram_server_first {
    struct str nonce;
    size_t salt_len;
    uint8_t salt[SCRAM_SALT_MAX];
    int32_t iterations;
};
NODISCARD err scram_server_first_parse(struct str message, struct scram_server_first *out);

struct scram_client_final {
    struct str without_proof;
    struct str channel; /* base64 */
    struct str nonce;
    size_t proof_len;
    uint8_t proof[SCRAM_KEY_MAX];
};
NODISCARD err scram_client_final_parse(struct str message, struct scram_client_final *out);

/* ---- proofs ---- */

/* `auth` is the three messages that both sides have seen, with commas between them. */
bool scram_proof_is_right(const struct scram_credential *credential, struct str auth,
                          const struct scram_client_final *final);
void scram_server_signature(const struct scram_credential *credential, struct str auth,
                            uint8_t signature[SCRAM_KEY_MAX]);
/* What a client sends: of the key that it has made of its password. */
void scram_client_proof(enum scram_mechanism mechanism, const uint8_t salted[SCRAM_KEY_MAX],
                        struct str auth, uint8_t proof[SCRAM_KEY_MAX]);
/* The signature that the server must send then. */
void scram_expected_signature(enum scram_mechanism mechanism, const uint8_t salted[SCRAM_KEY_MAX],
                              struct str auth, uint8_t signature[SCRAM_KEY_MAX]);

#endif
