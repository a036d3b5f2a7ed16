/* DescribeAcls: those that this broker knows, of a filter. (reference: requests §9, security §4) */
#include "broker/api/acls.h"
#include "broker/broker.h"
#include "broker/security/authorizer.h"

typedef struct describe_acls_response_resource resource_out;

struct description {
    struct req *r;
    struct acl_filter filter;
    size_t room;
    bool full; /* no memory */
};

/* By doubling: the arena frees nothing. */
static resource_out *add_resource(struct description *d)
{
    struct describe_acls_response *out = d->r->out;
    size_t count = (size_t)out->resources_n;
    if (count == d->room) {
        d->room = d->room == 0 ? 16 : d->room * 2;
        resource_out *all = arena_array(&d->r->arena, d->room, sizeof(*all));
        if (all != NULL && count > 0) {
            memcpy(all, out->resources, count * sizeof(*all));
        }
        d->full |= all == NULL;
        out->resources = all;
    }
    return d->full ? NULL : &out->resources[out->resources_n++];
}

static int32_t count_taken(const struct description *d, const struct acl_entry *entry)
{
    int32_t count = 0;
    for (int32_t i = 0; i < entry->acls_n; i++) {
        count += acl_filter_takes(&d->filter, &entry->acls[i]) ? 1 : 0;
    }
    return count;
}

static bool describe_one(void *context, const struct acl_entry *entry)
{
    struct description *d = context;
    if (!acl_filter_takes_resource(&d->filter, &entry->resource)) {
        return true;
    }
    int32_t count = count_taken(d, entry);
    resource_out *out = count == 0 ? NULL : add_resource(d);
    if (out == NULL) {
        return !d->full;
    }
    describe_acls_response_resource_init(out);
    out->resource_type = (int8_t)entry->resource.type;
    out->pattern_type = (int8_t)entry->resource.pattern;
    out->resource_name = arena_str(&d->r->arena, entry->resource.name);
    out->acls = req_array(d->r, count, sizeof(*out->acls));
    for (int32_t i = 0; out->acls != NULL && i < entry->acls_n; i++) {
        const struct acl *acl = &entry->acls[i];
        if (acl_filter_takes(&d->filter, acl)) {
            out->acls[out->acls_n++] = (struct describe_acls_response_acl){
                .principal = arena_str(&d->r->arena, acl->principal),
                .host = arena_str(&d->r->arena, acl->host),
                .operation = (int8_t)acl->operation,
                .permission_type = (int8_t)acl->permission};
        }
    }
    d->full |= out->acls == NULL;
    return !d->full;
}

enum req_status handle_describe_acls(struct req *r)
{
    const struct describe_acls_request *in = r->in;
    struct describe_acls_response *out = r->out;
    if (acl_code_is_unknown(in->resource_type_filter) || acl_code_is_unknown(in->operation) ||
        acl_code_is_unknown(in->pattern_type_filter) || acl_code_is_unknown(in->permission_type)) {
        return REQ_CLOSE;
    }
    if (r->broker->authorizer == NULL) {
        out->error_code = ERR_SECURITY_DISABLED;
        out->error_message = STR("No Authorizer is configured on the broker");
        return REQ_DONE;
    }
    struct description d = {.r = r, .filter = ACL_FILTER_OF(in)};
    const struct acl_book *book = acl_cache_acquire(authorizer_cache(r->broker->authorizer));
    acl_book_each(book, describe_one, &d);
    acl_book_release(book);
    return d.full ? REQ_CLOSE : REQ_DONE;
}
