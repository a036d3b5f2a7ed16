#include "broker/api/delegation.h"

#include "base/log.h"
#include "broker/broker.h"

err delegation_check(const struct req *r)
{
    const struct session *session = r->session;
    bool anonymous = str_is(session->principal.name, PRINCIPAL_ANONYMOUS);
    if (session->protocol == PROTOCOL_PLAINTEXT ||
        (session->protocol == PROTOCOL_SSL && anonymous) || session->by_token) {
        return ERR_DELEGATION_TOKEN_REQUEST_NOT_ALLOWED;
    }
    return tokens_are_on(r->broker->tokens) ? OK : ERR_DELEGATION_TOKEN_AUTH_DISABLED;
}

int16_t delegation_error(err e)
{
    if (err_is_local(e)) {
        log_error("tokens", "a delegation token is not changed error=\"%s\"", err_text(e));
        return ERR_REQUEST_TIMED_OUT;
    }
    return (int16_t)e;
}
