/* A failed login is answered late, so that guessing is slow: its request waits by a timer, as others wait for events,
 * and holds nobody up. */
#include "broker/api/login.h"

#include "broker/broker.h"

enum { RAW_ARENA_BYTES = 16 << 10 };

struct sasl_server *login_of(struct conn *conn)
{
    const struct listener *listener = conn_listener(conn);
    if (listener == NULL || listener->sasl == NULL) {
        return NULL;
    }
    struct sasl_server *sasl = conn_sasl(conn);
    if (sasl == NULL) {
        sasl = sasl_server_new(listener->sasl);
        conn_set_sasl(conn, sasl);
    }
    return sasl;
}

enum sasl_verdict login_admit(struct sasl_server *sasl, const struct conn *conn, int16_t api_key,
                              bool version_known)
{
    return sasl == NULL ? SASL_SERVE
                        : sasl_server_admit(sasl, api_key, version_known, conn_session(conn),
                                            loop_now_ms(conn_loop(conn)->loop));
}

/* ---- failures ---- */

static enum req_status drop(struct req *r)
{
    (void)r;
    return REQ_CLOSE;
}

enum req_status login_fail(struct req *r, bool dropped)
{
    r->close_after = true;
    req_park(r, r->broker->config->connection_failed_authentication_delay_ms,
             dropped ? drop : NULL);
    return REQ_PARKED;
}

enum req_status login_refuse(struct req *r)
{
    message_set_error(r->schema->response, r->header_v0_body ? 0 : r->version, r->out,
                      ERR_ILLEGAL_SASL_STATE);
    return login_fail(r, false);
}

/* ---- tokens without requests ---- */

err login_prepare_raw(struct req *r, struct bytes token)
{
    arena_reset(&r->arena, token.len + RAW_ARENA_BYTES);
    struct sasl_authenticate_request *in = req_alloc(r, sizeof(*in));
    r->in = in;
    r->out = req_alloc(r, sizeof(struct sasl_authenticate_response));
    uint8_t *copy = arena_copy(&r->arena, token);
    r->client_host = arena_str(&r->arena, r->client_host);
    if (in == NULL || r->out == NULL || (copy == NULL && token.len > 0)) {
        return E_LIMIT;
    }
    message_init(r->schema->request, in);
    message_init(r->schema->response, r->out);
    in->auth_bytes = bytes_of(copy, token.len);
    r->raw_token = true;
    r->frame_bytes = token.len;
    return OK;
}

err login_encode_raw(const struct req *r, struct writer *out)
{
    const struct sasl_authenticate_response *response = r->out;
    writer_i32(out, (int32_t)response->auth_bytes.len);
    writer_bytes(out, response->auth_bytes.data, response->auth_bytes.len);
    return out->failed ? E_LIMIT : OK;
}
