/* DescribeDelegationToken: of these owners, or of all, those that who asks may see. (reference: requests §9,
 * security §6) */
#include "broker/api/authorize.h"
#include "broker/api/delegation.h"
#include "broker/broker.h"

#include <stdlib.h>

typedef struct describe_delegation_token_response_token token_out;

static bool has_part(const struct token *token, const struct principal *who)
{
    bool has = principal_equals(&token->owner, who) || principal_equals(&token->requester, who);
    for (int32_t i = 0; i < token->renewers_n; i++) {
        has |= principal_equals(&token->renewers[i], who);
    }
    return has;
}

static bool is_asked_for(const struct req *r, const struct token *token)
{
    const struct describe_delegation_token_request *in = r->in;
    for (int32_t i = 0; i < in->owners_n; i++) {
        const struct principal owner = {.type = in->owners[i].principal_type,
                                        .name = in->owners[i].principal_name};
        if (has_part(token, &owner)) {
            return true;
        }
    }
    return in->owners_n < 0;
}

static bool is_seen(struct req *r, const struct token *token)
{
    const struct principal *owner = &token->owner;
    if (has_part(token, &r->session->principal) ||
        req_sees(r, ACL_DESCRIBE, ACL_DELEGATION_TOKEN, token->id)) {
        return true;
    }
    struct str name = arena_format(&r->arena, "%.*s:%.*s", (int)owner->type.len, owner->type.data,
                                   (int)owner->name.len, owner->name.data);
    return req_sees(r, ACL_DESCRIBE_TOKENS, ACL_USER, name);
}

/* False: no memory. */
static bool tell(struct req *r, const struct token *token, token_out *out)
{
    uint8_t *hmac = req_alloc(r, TOKEN_HMAC_BYTES);
    out->renewers = req_array(r, token->renewers_n, sizeof(*out->renewers));
    if (hmac == NULL || out->renewers == NULL) {
        return false;
    }
    tokens_hmac(r->broker->tokens, token->id, hmac);
    out->hmac = bytes_of(hmac, TOKEN_HMAC_BYTES);
    out->token_id = arena_str(&r->arena, token->id);
    out->principal_type = arena_str(&r->arena, token->owner.type);
    out->principal_name = arena_str(&r->arena, token->owner.name);
    out->token_requester_principal_type = arena_str(&r->arena, token->requester.type);
    out->token_requester_principal_name = arena_str(&r->arena, token->requester.name);
    out->issue_timestamp = token->issued_ms;
    out->expiry_timestamp = token->expires_ms;
    out->max_timestamp = token->max_ms;
    out->renewers_n = token->renewers_n;
    for (int32_t i = 0; i < token->renewers_n; i++) {
        out->renewers[i].principal_type = arena_str(&r->arena, token->renewers[i].type);
        out->renewers[i].principal_name = arena_str(&r->arena, token->renewers[i].name);
    }
    return true;
}

static void tell_all(struct req *r, struct token **all, size_t count)
{
    struct describe_delegation_token_response *out = r->out;
    out->tokens = req_array(r, (int32_t)count, sizeof(*out->tokens));
    for (size_t i = 0; out->tokens != NULL && i < count; i++) {
        if (is_asked_for(r, all[i]) && is_seen(r, all[i])) {
            token_out *one = &out->tokens[out->tokens_n];
            describe_delegation_token_response_token_init(one);
            out->tokens_n += tell(r, all[i], one) ? 1 : 0;
        }
    }
}

enum req_status handle_describe_delegation_token(struct req *r)
{
    struct describe_delegation_token_response *out = r->out;
    err e = delegation_check(r);
    if (e == OK) {
        size_t count = 0;
        struct token **all = tokens_all(r->broker->tokens, &count);
        tell_all(r, all, count);
        for (size_t i = 0; i < count; i++) {
            free(all[i]);
        }
        free(all);
    }
    out->error_code = delegation_error(e);
    return REQ_DONE;
}
