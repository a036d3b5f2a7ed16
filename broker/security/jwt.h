/* JSON Web Tokens, signed or (only where that is asked for) not, and the keys that sign them: JWS in compact form
 * (RFC 7515), JWK sets (RFC 7517), RS, PS and ES of 256, 384 and 512 bits (RFC 7518). */
#ifndef OTTLA_BROKER_SECURITY_JWT_H
#define OTTLA_BROKER_SECURITY_JWT_H

#include "base/bytes.h"
#include "base/err.h"

#include <jansson.h>

/* ---- keys ---- */

struct jwk_set;

/* The keys of a set that can verify; others are passed over. E_MALFORMED: it is no set, or has none. */
NODISCARD err jwk_set_parse(struct bytes json, struct jwk_set **set);
void jwk_set_free(struct jwk_set *set);

/* ---- tokens ---- */

struct jwt {
    json_t *header;
    json_t *claims;
    struct str signed_text; /* of the token */
    size_t signature_len;
    uint8_t *signature;
};

/* Takes it apart; nothing is believed yet. The token must outlive it. To be freed in either case. */
NODISCARD err jwt_parse(struct str token, struct jwt *jwt);
void jwt_deinit(struct jwt *jwt);

/* Is it signed by nobody ("alg":"none", no signature)? */
bool jwt_is_unsecured(const struct jwt *jwt);
/* Is it signed by a key of the set? E_NOT_FOUND: by one that is not there (which may be new); E_MALFORMED: no. */
NODISCARD err jwt_verify(const struct jwt *jwt, const struct jwk_set *set);

/* A claim that is a time, in ms since 1970. False: it is not there. `wrong` is set when it is no number. */
bool jwt_time(const struct jwt *jwt, const char *claim, int64_t *time_ms, bool *wrong);
/* A claim that is text. NULL: it is not there, or none. Valid as long as the token. */
const char *jwt_text(const struct jwt *jwt, const char *claim);
/* Has the claim, a text or a list of texts, one of these words? */
bool jwt_has(const struct jwt *jwt, const char *claim, struct str word);

#endif
