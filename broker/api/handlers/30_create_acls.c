/* CreateAcls: written on the control thread; this broker heeds them when it answers, the others when they have read
 * the notification. Any broker does it. (reference: requests §9, security §4) */
#include "broker/api/acls.h"
#include "broker/broker.h"
#include "broker/cluster/acls.h"

typedef struct create_acls_request_creation acl_in;

static bool is_unknown(const acl_in *acl)
{
    return acl_code_is_unknown(acl->resource_type) || acl_code_is_unknown(acl->operation) ||
           acl_code_is_unknown(acl->resource_pattern_type) ||
           acl_code_is_unknown(acl->permission_type);
}

static struct acl_binding binding_of(const acl_in *in)
{
    return (struct acl_binding){.resource = {(enum acl_type)in->resource_type,
                                             (enum acl_pattern)in->resource_pattern_type,
                                             in->resource_name},
                                .acl = {.principal = in->principal,
                                        .host = in->host,
                                        .operation = (enum acl_operation)in->operation,
                                        .permission = (enum acl_permission)in->permission_type},
                                .error = ERR_INVALID_REQUEST};
}

/* It must say one thing, of one resource, that has a node of its own in the store. */
static bool is_sound(struct req *r, const struct acl_binding *binding)
{
    const struct acl_resource *resource = &binding->resource;
    const struct acl *acl = &binding->acl;
    if (resource->type < ACL_TOPIC || resource->type >= ACL_TYPES_END ||
        (resource->pattern != ACL_LITERAL && resource->pattern != ACL_PREFIXED) ||
        acl->operation < ACL_ALL || acl->operation >= ACL_OPERATIONS_END ||
        (acl->permission != ACL_ALLOW && acl->permission != ACL_DENY) ||
        memchr(acl->principal.data, ':', acl->principal.len) == NULL ||
        memchr(resource->name.data, '/', resource->name.len) != NULL) {
        return false;
    }
    struct str path =
        arena_format(&r->arena, "/%.*s", (int)resource->name.len, resource->name.data);
    return path.data != NULL && path.len == resource->name.len + 1 &&
           /* no 0 in it */ coord_path_valid(path.data, false);
}

/* NULL: it may be added. */
static const char *refusal_of(struct req *r, const struct acl_binding *binding)
{
    const struct acl_resource *resource = &binding->resource;
    if (resource->type == ACL_CLUSTER && !str_is(resource->name, ACL_CLUSTER_NAME)) {
        return "The only valid name for the CLUSTER resource is " ACL_CLUSTER_NAME;
    }
    if (resource->name.len == 0) {
        return "Invalid empty resource name";
    }
    return is_sound(r, binding) ? NULL : "Failed to create ACL";
}

/* On the control thread. Sound ones come first in `bindings`; `places` says where each stands in the answer. */
static void create_all(struct req *r)
{
    const struct create_acls_request *in = r->in;
    struct create_acls_response *out = r->out;
    struct acl_binding *bindings = req_array(r, in->creations_n, sizeof(*bindings));
    int32_t *places = req_array(r, in->creations_n, sizeof(*places));
    int32_t count = 0;
    if (bindings == NULL || places == NULL) {
        return;
    }
    for (int32_t i = 0; i < in->creations_n; i++) {
        bindings[count] = binding_of(&in->creations[i]);
        const char *message = refusal_of(r, &bindings[count]);
        out->results[i].error_code = ERR_INVALID_REQUEST;
        out->results[i].error_message = message == NULL ? (struct str){0} : str_of(message);
        places[count] = i;
        count += message == NULL ? 1 : 0;
    }
    acls_add(r->broker->acls, bindings, count, &r->arena);
    for (int32_t i = 0; i < count; i++) {
        out->results[places[i]].error_code = kafka_error_wire(bindings[i].error);
        out->results[places[i]].error_message =
            bindings[i].message.data == NULL ? STR("") : bindings[i].message;
    }
}

enum req_status handle_create_acls(struct req *r)
{
    const struct create_acls_request *in = r->in;
    struct create_acls_response *out = r->out;
    bool enabled = r->broker->authorizer != NULL;
    out->results = req_array(r, in->creations_n, sizeof(*out->results));
    for (int32_t i = 0; out->results != NULL && i < in->creations_n; i++) {
        if (is_unknown(&in->creations[i])) {
            return REQ_CLOSE;
        }
        out->results[out->results_n++] = (struct create_acls_response_result){
            .error_code = enabled ? ERR_UNKNOWN_SERVER_ERROR : ERR_SECURITY_DISABLED,
            .error_message = enabled ? (struct str){0} : str_of(NO_AUTHORIZER)};
    }
    if (out->results == NULL) {
        return REQ_CLOSE;
    }
    return enabled ? req_on_control(r, create_all, NULL) : REQ_DONE;
}
