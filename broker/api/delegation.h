/* What the four APIs of delegation tokens share. (reference: security §6) */
#ifndef OTTLA_BROKER_API_DELEGATION_H
#define OTTLA_BROKER_API_DELEGATION_H

#include "broker/api/request.h"

/* May this client ask for anything of tokens, and are there any? DELEGATION_TOKEN_REQUEST_NOT_ALLOWED: nobody knows who
 * it is, or only a token does; DELEGATION_TOKEN_AUTH_DISABLED. */
NODISCARD err delegation_check(const struct req *r);
/* An error as the client is told it. */
int16_t delegation_error(err e);

#endif
