/* DeleteAcls: all that a filter takes, on the control thread. Of two filters that take the same the first removes it.
 * (reference: requests §9, security §4) */
#include "broker/api/acls.h"
#include "broker/broker.h"
#include "broker/cluster/acls.h"

typedef struct delete_acls_response_filter_result result_out;
typedef struct delete_acls_response_matching_acl matching_out;

static bool is_unknown(const struct delete_acls_request_filter *filter)
{
    return acl_code_is_unknown(filter->resource_type_filter) ||
           acl_code_is_unknown(filter->pattern_type_filter) ||
           acl_code_is_unknown(filter->operation) || acl_code_is_unknown(filter->permission_type);
}

static void tell_removed(const struct acl_binding *removed, matching_out *out)
{
    delete_acls_response_matching_acl_init(out);
    out->error_code = kafka_error_wire(removed->error);
    out->error_message = removed->message;
    out->resource_type = (int8_t)removed->resource.type;
    out->resource_name = removed->resource.name;
    out->pattern_type = (int8_t)removed->resource.pattern;
    out->principal = removed->acl.principal;
    out->host = removed->acl.host;
    out->operation = (int8_t)removed->acl.operation;
    out->permission_type = (int8_t)removed->acl.permission;
}

/* On the control thread. */
static void delete_all(struct req *r)
{
    const struct delete_acls_request *in = r->in;
    struct delete_acls_response *out = r->out;
    for (int32_t i = 0; i < in->filters_n; i++) {
        result_out *result = &out->filter_results[i];
        struct acl_filter filter = ACL_FILTER_OF(&in->filters[i]);
        struct acl_binding *removed = NULL;
        int32_t count = 0;
        err e = acls_remove(r->broker->acls, &filter, &r->arena, &removed, &count);
        result->matching_acls = req_array(r, count, sizeof(*result->matching_acls));
        if (e == OK && result->matching_acls != NULL) {
            result->error_code = OK;
            for (int32_t k = 0; k < count; k++) {
                tell_removed(&removed[k], &result->matching_acls[result->matching_acls_n++]);
            }
        }
    }
}

enum req_status handle_delete_acls(struct req *r)
{
    const struct delete_acls_request *in = r->in;
    struct delete_acls_response *out = r->out;
    bool enabled = r->broker->authorizer != NULL;
    out->filter_results = req_array(r, in->filters_n, sizeof(*out->filter_results));
    for (int32_t i = 0; out->filter_results != NULL && i < in->filters_n; i++) {
        if (is_unknown(&in->filters[i])) {
            return REQ_CLOSE;
        }
        out->filter_results[out->filter_results_n++] =
            (result_out){.error_code = enabled ? ERR_UNKNOWN_SERVER_ERROR : ERR_SECURITY_DISABLED,
                         .error_message = enabled ? (struct str){0} : str_of(NO_AUTHORIZER)};
    }
    if (out->filter_results == NULL) {
        return REQ_CLOSE;
    }
    return enabled ? req_on_control(r, delete_all, NULL) : REQ_DONE;
}
