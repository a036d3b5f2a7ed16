/* DescribeAcls: there is no authorizer, so there are no ACLs to tell. (reference: requests §9) */
#include "broker/api/acls.h"

enum req_status handle_describe_acls(struct req *r)
{
    const struct describe_acls_request *in = r->in;
    struct describe_acls_response *out = r->out;
    if (acl_code_is_unknown(in->resource_type_filter) || acl_code_is_unknown(in->operation) ||
        acl_code_is_unknown(in->pattern_type_filter) || acl_code_is_unknown(in->permission_type)) {
        return REQ_CLOSE;
    }
    out->error_code = ERR_SECURITY_DISABLED;
    out->error_message = STR("No Authorizer is configured on the broker");
    return REQ_DONE;
}
