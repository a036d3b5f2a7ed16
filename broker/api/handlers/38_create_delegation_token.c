/* CreateDelegationToken: for who asks, or for another owner. (reference: requests §9, security §6) */
#include "broker/api/authorize.h"
#include "broker/api/delegation.h"
#include "broker/broker.h"

static struct principal owner_of(const struct req *r)
{
    const struct create_delegation_token_request *in = r->in;
    bool named = in->owner_principal_name.len > 0;
    return named ? (struct principal){.type = in->owner_principal_type,
                                      .name = in->owner_principal_name}
                 : r->session->principal;
}

static err check(struct req *r, const struct principal *owner)
{
    const struct create_delegation_token_request *in = r->in;
    TRY(delegation_check(r));
    for (int32_t i = 0; i < in->renewers_n; i++) {
        if (!str_is(in->renewers[i].principal_type, PRINCIPAL_USER)) {
            return ERR_INVALID_PRINCIPAL_TYPE;
        }
    }
    if (owner->type.len == 0 || in->renewers_n > TOKEN_RENEWERS_MAX) {
        return ERR_INVALID_PRINCIPAL_TYPE;
    }
    if (principal_equals(owner, &r->session->principal)) {
        return OK;
    }
    struct str name = arena_format(&r->arena, "%.*s:%.*s", (int)owner->type.len, owner->type.data,
                                   (int)owner->name.len, owner->name.data);
    return req_may(r, ACL_CREATE_TOKENS, ACL_USER, name)
               ? OK
               : ERR_DELEGATION_TOKEN_AUTHORIZATION_FAILED;
}

static err make(struct req *r, struct token *token, uint8_t **hmac)
{
    const struct create_delegation_token_request *in = r->in;
    token->renewers = req_array(r, in->renewers_n, sizeof(*token->renewers));
    *hmac = req_alloc(r, TOKEN_HMAC_BYTES);
    if (token->renewers == NULL || *hmac == NULL) {
        return E_LIMIT;
    }
    for (int32_t i = 0; i < in->renewers_n; i++) {
        token->renewers[token->renewers_n++] = (struct principal){
            .type = in->renewers[i].principal_type, .name = in->renewers[i].principal_name};
    }
    TRY(delegation_tokens_create(r->broker->delegation, token, in->max_lifetime_ms, &r->arena));
    tokens_hmac(r->broker->tokens, token->id, *hmac);
    return OK;
}

static void tell(struct create_delegation_token_response *out, const struct token *token)
{
    out->principal_type = token->owner.type;
    out->principal_name = token->owner.name;
    out->token_requester_principal_type = token->requester.type;
    out->token_requester_principal_name = token->requester.name;
    out->issue_timestamp_ms = token->issued_ms;
    out->expiry_timestamp_ms = token->expires_ms;
    out->max_timestamp_ms = token->max_ms;
    out->token_id = token->id;
}

/* On the control thread. */
static void create(struct req *r)
{
    struct create_delegation_token_response *out = r->out;
    const struct principal *requester = &r->session->principal;
    const struct principal owner = owner_of(r);
    struct token token = {.id = STR(""),
                          .owner = owner,
                          .requester = *requester,
                          .issued_ms = -1,
                          .expires_ms = -1,
                          .max_ms = -1};
    uint8_t *hmac = NULL;
    err e = check(r, &owner);
    e = e == OK ? make(r, &token, &hmac) : e;
    if (e != OK) {
        token.id = STR("");
        token.issued_ms = token.expires_ms = token.max_ms = -1;
    }
    if (token.owner.type.data == NULL) {
        token.owner.type = STR("");
    }
    tell(out, &token);
    out->hmac = e == OK ? bytes_of(hmac, TOKEN_HMAC_BYTES) : bytes_of("", 0);
    out->error_code = delegation_error(e);
}

enum req_status handle_create_delegation_token(struct req *r)
{
    return req_on_control(r, create, NULL);
}
