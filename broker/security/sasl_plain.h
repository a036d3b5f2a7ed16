/* PLAIN: the one message of it, and the users that a JAAS entry names. RFC 4616. (reference: security §3) */
#ifndef OTTLA_BROKER_SECURITY_SASL_PLAIN_H
#define OTTLA_BROKER_SECURITY_SASL_PLAIN_H

#include "base/map.h"
#include "base/properties.h"
#include "base/random.h"

/* Names with what is kept of their passwords. */
struct plain_users {
    struct map digests; /* malloc'd, by name */
    uint8_t key[32];    /* of the digests; drawn for each table */
};

/* Options user_<name>=<password> of the entry; others are passed over. */
void plain_users_init(struct plain_users *users, const struct properties *options,
                      struct random *random);
void plain_users_deinit(struct plain_users *users);
/* Takes the same time for a name that is not there. */
bool plain_users_know(const struct plain_users *users, struct str name, struct str password);

enum { PLAIN_TEXT_MAX = 128 };

/* Takes the message apart and looks the user up. OK and the name, a part of the message; otherwise
 * ERR_SASL_AUTHENTICATION_FAILED with Kafka's sentence. */
NODISCARD err sasl_plain_login(const struct plain_users *users, struct bytes message,
                               struct str *name, char text[PLAIN_TEXT_MAX]);

#endif
