/* DeleteAcls: each filter is refused, as Kafka does without an authorizer. (reference: requests §9) */
#include "broker/api/acls.h"

enum req_status handle_delete_acls(struct req *r)
{
    const struct delete_acls_request *in = r->in;
    struct delete_acls_response *out = r->out;
    out->filter_results = req_array(r, in->filters_n, sizeof(*out->filter_results));
    for (int32_t i = 0; out->filter_results != NULL && i < in->filters_n; i++) {
        const struct delete_acls_request_filter *filter = &in->filters[i];
        if (acl_code_is_unknown(filter->resource_type_filter) ||
            acl_code_is_unknown(filter->pattern_type_filter) ||
            acl_code_is_unknown(filter->operation) ||
            acl_code_is_unknown(filter->permission_type)) {
            return REQ_CLOSE;
        }
        out->filter_results[out->filter_results_n++] = (struct delete_acls_response_filter_result){
            .error_code = ERR_SECURITY_DISABLED, .error_message = str_of(NO_AUTHORIZER)};
    }
    return out->filter_results == NULL ? REQ_CLOSE : REQ_DONE;
}
