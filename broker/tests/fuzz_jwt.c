/* Any bytes as a message of OAUTHBEARER, as a token, and as a set of keys: nobody is let in by a token that a key should
 * have signed. */
#include "broker/security/sasl_oauth.h"
#include "protocol/error.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WALL_MS = 1000000 };

static void log_in(struct bytes message)
{
    struct properties options;
    struct oauth_rules rules;
    struct oauth_login login;
    char reason[100];
    properties_init(&options);
    CHECK(oauth_rules_unsecured(&rules, &options, reason, sizeof(reason)) == OK);
    err e = sasl_oauth_login(&rules, message, WALL_MS, &login);
    CHECK(e == OK || e == ERR_SASL_AUTHENTICATION_FAILED);
    CHECK((e == OK) == (login.name != NULL));
    CHECK(e != OK || login.expires_ms > WALL_MS);
    free(login.name);
    oauth_rules_deinit(&rules);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_of(data, size);
    struct jwk_set *set = NULL;
    struct jwt jwt;
    static const char KEYS[] = "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\","
                               "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
                               "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";
    log_in(input);
    if (jwk_set_parse(input, &set) == OK) {
        jwk_set_free(set);
    }
    CHECK(jwk_set_parse(bytes_of(KEYS, sizeof(KEYS) - 1), &set) == OK);
    if (jwt_parse((struct str){(const char *)data, size}, &jwt) == OK) {
        CHECK(!jwt_is_unsecured(&jwt) || jwt_verify(&jwt, set) != OK);
    }
    jwt_deinit(&jwt);
    jwk_set_free(set);
    return 0;
}
