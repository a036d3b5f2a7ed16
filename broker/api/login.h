/* Logins, between frames and handlers: what stands in the way of requests on listeners with SASL, until a client has
 * logged in and between its logins. What is allowed is decided by security/sasl_server.h; here it meets connections. */
#ifndef OTTLA_BROKER_API_LOGIN_H
#define OTTLA_BROKER_API_LOGIN_H

#include "broker/api/request.h"
#include "broker/security/sasl_server.h"

enum { LOGIN_RAW_KEY = 36 /* SaslAuthenticate */ };

/* NULL: clients do not log in there. */
struct sasl_server *login_of(struct conn *conn);
/* May the next request be handled? */
enum sasl_verdict login_admit(struct sasl_server *sasl, const struct conn *conn, int16_t api_key,
                              bool version_known);
/* A request between the steps of a login: its own answer with ILLEGAL_SASL_STATE, after the delay, and the end of the
 * connection. */
enum req_status login_refuse(struct req *r);
/* The connection is closed after the delay of failed logins, with the answer that is there or (`drop`) without. */
enum req_status login_fail(struct req *r, bool drop);

/* A token that came without a request: a SaslAuthenticate as far as its handler sees. E_LIMIT. */
NODISCARD err login_prepare_raw(struct req *r, struct bytes token);
/* And its answer. */
NODISCARD err login_encode_raw(const struct req *r, struct writer *out);

#endif
