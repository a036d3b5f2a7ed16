/* SaslHandshake: a client chooses how it logs in. (reference: requests §2, security §3) */
#include "broker/api/login.h"

static void tell_mechanisms(struct req *r, const struct sasl_listener *listener)
{
    struct sasl_handshake_response *out = r->out;
    out->mechanisms = req_array(r, SASL_MECHANISMS_N, sizeof(*out->mechanisms));
    for (int i = 0; out->mechanisms != NULL && i < SASL_MECHANISMS_N; i++) {
        if (listener->enabled[i]) {
            out->mechanisms[out->mechanisms_n++] =
                str_of(sasl_mechanism_name((enum sasl_mechanism)i));
        }
    }
}

enum req_status handle_sasl_handshake(struct req *r)
{
    const struct sasl_handshake_request *in = r->in;
    struct sasl_handshake_response *out = r->out;
    struct sasl_server *sasl = r->conn == NULL ? NULL : conn_sasl(r->conn);
    if (sasl == NULL) {
        out->error_code = ERR_ILLEGAL_SASL_STATE;
        return REQ_DONE;
    }
    struct sasl_outcome outcome;
    sasl_server_handshake(sasl, in->mechanism, r->version, conn_session(r->conn), r->now_ms,
                          &outcome);
    out->error_code = outcome.error;
    if (outcome.error != ERR_ILLEGAL_SASL_STATE) {
        tell_mechanisms(r, sasl_server_listener(sasl));
    }
    return outcome.failed ? login_fail(r, outcome.drop) : REQ_DONE;
}
