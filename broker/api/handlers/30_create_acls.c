/* CreateAcls: each is refused, since no authorizer would heed it. (reference: requests §9) */
#include "broker/api/acls.h"

enum req_status handle_create_acls(struct req *r)
{
    const struct create_acls_request *in = r->in;
    struct create_acls_response *out = r->out;
    out->results = req_array(r, in->creations_n, sizeof(*out->results));
    for (int32_t i = 0; out->results != NULL && i < in->creations_n; i++) {
        const struct create_acls_request_creation *acl = &in->creations[i];
        if (acl_code_is_unknown(acl->resource_type) || acl_code_is_unknown(acl->operation) ||
            acl_code_is_unknown(acl->resource_pattern_type) ||
            acl_code_is_unknown(acl->permission_type)) {
            return REQ_CLOSE;
        }
        out->results[out->results_n++] = (struct create_acls_response_result){
            .error_code = ERR_SECURITY_DISABLED, .error_message = str_of(NO_AUTHORIZER)};
    }
    return out->results == NULL ? REQ_CLOSE : REQ_DONE;
}
