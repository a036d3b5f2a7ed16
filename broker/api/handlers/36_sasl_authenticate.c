/* SaslAuthenticate: a step of a login. What a delegation token needs for its first login is made by a worker; then the
 * step is done again. (reference: requests §2, security §3, §6) */
#include "base/log.h"
#include "base/workers.h"
#include "broker/api/login.h"
#include "broker/broker.h"

struct making {
    struct work work;
    struct req *r;
    struct tokens *tokens;
    enum scram_mechanism mechanism;
    char id[TOKEN_ID_MAX];
};

static enum req_status step(struct req *r);

/* ---- a token's credential ---- */

static void make(struct work *work)
{
    struct making *making = container_of(work, struct making, work);
    tokens_make_credential(making->tokens, str_of(making->id), making->mechanism);
}

static enum req_status go_on(struct req *r)
{
    const struct making *making = r->state;
    bool gone = r->conn == NULL;
    return gone || making->work.cancelled ? REQ_CLOSE : step(r);
}

static enum req_status make_first(struct req *r, const struct sasl_outcome *outcome)
{
    struct making *making = req_alloc(r, sizeof(*making));
    if (making == NULL || r->state != NULL) {
        return REQ_CLOSE;
    }
    *making = (struct making){.work = {.run = make, .done = &r->waiter, .bytes = sizeof(*making)},
                              .r = r,
                              .tokens = r->broker->tokens,
                              .mechanism = outcome->unmade};
    memcpy(making->id, outcome->unmade_id, sizeof(making->id));
    r->state = making;
    req_park(r, -1, go_on);
    if (!workers_submit(r->broker->workers, &making->work)) {
        req_unpark(r);
        return REQ_CLOSE; /* too many at once: the client comes again */
    }
    return REQ_PARKED;
}

/* ---- steps ---- */

static void tell(struct req *r, const struct sasl_outcome *outcome)
{
    struct sasl_authenticate_response *out = r->out;
    out->error_code = outcome->error;
    out->error_message = arena_str(&r->arena, str_of(outcome->text));
    out->auth_bytes = bytes_of(arena_copy(&r->arena, outcome->token), outcome->token.len);
    out->session_lifetime_ms = outcome->lifetime_ms;
}

static void note(const struct req *r, const struct sasl_outcome *outcome)
{
    if (outcome->failed) {
        log_info("sasl", "login refused listener=%s peer=%s", r->listener->name,
                 conn_peer(r->conn));
    } else if (outcome->session != NULL) {
        const struct principal *who = &outcome->session->principal;
        log_debug("sasl", "logged in listener=%s peer=%s principal=\"%.*s:%.*s\"",
                  r->listener->name, conn_peer(r->conn), (int)who->type.len, who->type.data,
                  (int)who->name.len, who->name.data);
    }
}

static enum req_status step(struct req *r)
{
    const struct sasl_authenticate_request *in = r->in;
    struct sasl_outcome outcome;
    sasl_server_token(conn_sasl(r->conn), in->auth_bytes, conn_session(r->conn), r->now_ms,
                      r->wall_ms, &outcome);
    if (outcome.unmade != SCRAM_UNKNOWN) {
        return make_first(r, &outcome);
    }
    tell(r, &outcome);
    note(r, &outcome);
    if (outcome.session != NULL) {
        conn_set_session(r->conn, outcome.session);
    }
    return outcome.failed ? login_fail(r, outcome.drop) : REQ_DONE;
}

enum req_status handle_sasl_authenticate(struct req *r)
{
    struct sasl_authenticate_response *out = r->out;
    if (r->conn == NULL || conn_sasl(r->conn) == NULL) {
        out->error_code = ERR_ILLEGAL_SASL_STATE;
        out->error_message = STR(SASL_AFTER_LOGIN);
        return REQ_DONE;
    }
    return step(r);
}
