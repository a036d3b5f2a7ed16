/* ExpireDelegationToken: by its owner, who asked for it, or a renewer. (reference: requests §9, security §6) */
#include "broker/api/delegation.h"
#include "broker/broker.h"

/* On the control thread. */
static void expire(struct req *r)
{
    const struct expire_delegation_token_request *in = r->in;
    struct expire_delegation_token_response *out = r->out;
    int64_t expires_ms = -1;
    err e = delegation_check(r);
    if (e == OK) {
        e = delegation_tokens_expire(r->broker->delegation, in->hmac, &r->session->principal,
                                     in->expiry_time_period_ms, &expires_ms);
    }
    out->error_code = delegation_error(e);
    out->expiry_timestamp_ms = e == OK ? expires_ms : -1;
}

enum req_status handle_expire_delegation_token(struct req *r)
{
    return req_on_control(r, expire, NULL);
}
