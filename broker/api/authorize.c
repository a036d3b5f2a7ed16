/* The needs of the APIs are the last column of api.def; its forms are defined here, and described there. Each is looked at
 * in its turn: one that is for the whole request ends it where it is refused; of one that is for each element of an array the
 * refused elements leave the array at once, and their answers are made (protocol/refusal.h), since their names are in the
 * frame. Where nothing is left of the array the handler has nothing to do,
 * unless the answer has an error for all of it, which goes before those of the elements.
 *
 * The book of ACLs that the first look took is kept to the request's end, so that one request meets one state of them. */
#include "broker/api/authorize.h"

#include "broker/api/authorize_needs.h"
#include "broker/broker.h"
#include "protocol/refusal.h"

/* ---- the table ---- */

#define OPEN                {.how = NEED_NOTHING},
#define FILTERS             {.how = NEED_NOTHING},
#define BY(function)        {.how = NEED_CHECK, .check = (function)},
#define CLUSTER(operation_) {.how = NEED_ONE, .operation = ACL_##operation_, .type = ACL_CLUSTER},
#define CLUSTER_SINCE(operation_, field_)                                                          \
    {.how = NEED_ONE, .operation = ACL_##operation_, .type = ACL_CLUSTER, .field = #field_},
#define CLUSTER_EITHER(operation_, or_)                                                            \
    {.how = NEED_ONE, .operation = ACL_##operation_, .type = ACL_CLUSTER, .or_cluster = ACL_##or_},
#define CLUSTER_INSIDE(operation_)                                                                 \
    {.how = NEED_ONE, .operation = ACL_##operation_, .type = ACL_CLUSTER, .inside = true},
#define CLUSTER_FLAT(operation_)                                                                   \
    {.how = NEED_ONE, .operation = ACL_##operation_, .type = ACL_CLUSTER, .flat = true},
#define CLUSTER_ECHOING(operation_, array_)                                                        \
    {.how = NEED_ONE, .operation = ACL_##operation_, .type = ACL_CLUSTER, .echoed = #array_},
#define ONE(operation_, type_, field_)                                                             \
    {.how = NEED_ONE, .operation = ACL_##operation_, .type = ACL_##type_, .field = #field_},
#define EACH(operation_, type_, field_, name_)                                                     \
    {.how = NEED_EACH,                                                                             \
     .operation = ACL_##operation_,                                                                \
     .type = ACL_##type_,                                                                          \
     .field = #field_,                                                                             \
     .name = #name_},
#define EACH_OR_CLUSTER(operation_, type_, field_, name_, or_)                                     \
    {.how = NEED_EACH,                                                                             \
     .operation = ACL_##operation_,                                                                \
     .type = ACL_##type_,                                                                          \
     .field = #field_,                                                                             \
     .name = #name_,                                                                               \
     .or_cluster = ACL_##or_},
#define EACH_CONFIG(operation_, field_)                                                            \
    {.how = NEED_EACH,                                                                             \
     .operation = ACL_##operation_,                                                                \
     .field = #field_,                                                                             \
     .name = "resource_name",                                                                      \
     .by_resource = true},

enum { NEEDS_MAX = 3 };

static const struct need NEEDS[REQUEST_KEYS][NEEDS_MAX] = {
#define API(key, name, flags, ...) [key] = {__VA_ARGS__},
#include "broker/api/api.def"
#undef API
};

bool authorize_is_among_brokers(int16_t key)
{
    const struct need *need = &NEEDS[key][0];
    return need->how == NEED_ONE && need->field == NULL &&
           (need->operation == ACL_CLUSTER_ACTION || need->or_cluster == ACL_CLUSTER_ACTION);
}

/* ---- asking ---- */

static bool may(const struct req *r, enum asked_how how, enum acl_operation operation,
                enum acl_type type, struct str name)
{
    return r->asker == NULL || asker_may(r->asker, how, operation, type, name);
}

bool req_may(const struct req *r, enum acl_operation operation, enum acl_type type, struct str name)
{
    return may(r, ASKED_TO_DO, operation, type, name);
}

bool req_sees(const struct req *r, enum acl_operation operation, enum acl_type type,
              struct str name)
{
    return may(r, ASKED_TO_FILTER, operation, type, name);
}

int32_t req_operations(const struct req *r, enum acl_type type, struct str name)
{
    return r->asker == NULL ? (int32_t)acl_operations_on(type)
                            : asker_operations(r->asker, type, name);
}

int32_t req_cluster_operations(const struct req *r)
{
    struct str cluster = STR(ACL_CLUSTER_NAME);
    return req_may(r, ACL_DESCRIBE, ACL_CLUSTER, cluster) ? req_operations(r, ACL_CLUSTER, cluster)
                                                          : 0;
}

/* ---- refusing ---- */

static int16_t error_for(enum acl_type type)
{
    switch (type) {
    case ACL_TOPIC:
        return ERR_TOPIC_AUTHORIZATION_FAILED;
    case ACL_GROUP:
        return ERR_GROUP_AUTHORIZATION_FAILED;
    case ACL_TRANSACTIONAL_ID:
        return ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    case ACL_DELEGATION_TOKEN:
        return ERR_DELEGATION_TOKEN_AUTHORIZATION_FAILED;
    default:
        return ERR_CLUSTER_AUTHORIZATION_FAILED;
    }
}

static struct str standard_message(enum acl_type type)
{
    return type == ACL_TOPIC              ? STR("Topic authorization failed.")
           : type == ACL_GROUP            ? STR("Group authorization failed.")
           : type == ACL_TRANSACTIONAL_ID ? STR("Transactional Id authorization failed.")
                                          : STR("Cluster authorization failed.");
}

/* What some APIs say beside the code; null: they say nothing. */
static struct str message_for(const struct req *r, enum acl_type type)
{
    enum { FIND_COORDINATOR_LISTS = 4 };
    switch (r->schema->key) {
    case 10: /* FindCoordinator: of several it explains nothing */
        if (r->version >= FIND_COORDINATOR_LISTS) {
            return STR("");
        }
        return standard_message(type);
    case 19: /* CreateTopics */
        return STR("Authorization failed.");
    case 37: /* CreatePartitions */
        return STR("The topic authorization is failed.");
    case 29: /* the ACLs' */
    case 30:
    case 31:
    case 32: /* DescribeConfigs */
    case 45: /* reassignments */
    case 46:
    case 49: /* AlterClientQuotas */
    case 61: /* DescribeProducers */
        return standard_message(type);
    default:
        return (struct str){0};
    }
}

static struct refusal refusal_of(const struct req *r, const struct need *need, enum acl_type type)
{
    return (struct refusal){.error = error_for(type),
                            .message = message_for(r, type),
                            .inside = need->inside,
                            .flat = need->flat,
                            .echoed = need->echoed};
}

enum authorized authorize_refuse(struct req *r, const struct need *need)
{
    struct refusal refusal = refusal_of(r, need, need->type);
    err e = message_refuse(r->schema->request, r->schema->response, r->version, r->in, r->out,
                           &refusal, &r->arena);
    return e == OK ? ANSWERED : UNANSWERABLE;
}

/* ---- one need ---- */

/* It is no refusal yet, and not logged as one. */
static bool may_instead(const struct req *r, const struct need *need)
{
    return need->or_cluster != 0 &&
           req_sees(r, need->or_cluster, ACL_CLUSTER, STR(ACL_CLUSTER_NAME));
}

/* A text that is null names nothing, and needs nothing. */
enum authorized authorize_one(struct req *r, const struct need *need)
{
    struct str name = STR(ACL_CLUSTER_NAME);
    struct message_array array;
    if (need->type == ACL_CLUSTER && need->field != NULL) {
        if (!message_array_of(r->schema->request, r->version, (void *)(uintptr_t)r->in, need->field,
                              &array)) {
            return AUTHORIZED;
        }
    } else if (need->field != NULL &&
               (!message_text_of(r->schema->request, r->version, r->in, need->field, &name) ||
                name.data == NULL)) {
        return AUTHORIZED;
    }
    return may_instead(r, need) || req_may(r, need->operation, need->type, name)
               ? AUTHORIZED
               : authorize_refuse(r, need);
}

/* Whose ACLs say something about an element. */
static enum acl_type type_of(const struct need *need, const struct message_array *array, int32_t at)
{
    if (!need->by_resource) {
        return need->type;
    }
    return message_element_number(array, at) == RESOURCE_TOPIC ? ACL_TOPIC : ACL_CLUSTER;
}

static bool may_element(const struct req *r, const struct need *need,
                        const struct message_array *array, int32_t at, enum acl_type type)
{
    struct str name =
        type == ACL_CLUSTER ? STR(ACL_CLUSTER_NAME) : message_element_text(array, at, need->name);
    return req_may(r, need->operation, type, name);
}

/* The first refused one makes room for all that may come. */
static err take_out(struct req *r, const struct need *need, const struct message_array *array,
                    int32_t at, enum acl_type type)
{
    struct refusal refusal = refusal_of(r, need, type);
    if (r->refused == NULL) {
        r->refused = req_alloc(r, sizeof(*r->refused));
        TRY(r->refused == NULL ? E_LIMIT : OK);
        TRY(refused_init(r->schema->response, r->version, array->count, r->refused, &r->arena));
    }
    return refused_add(r->refused, r->version, array, at, &refusal, &r->arena);
}

enum authorized authorize_each(struct req *r, const struct need *need)
{
    struct message_array array;
    if (!message_array_of(r->schema->request, r->version, (void *)(uintptr_t)r->in, need->field,
                          &array) ||
        array.count <= 0 || may_instead(r, need)) {
        return AUTHORIZED;
    }
    int32_t kept = 0;
    for (int32_t i = 0; i < array.count; i++) {
        enum acl_type type = type_of(need, &array, i);
        uint8_t *element = array.elements + (size_t)i * array.size;
        if (!may_element(r, need, &array, i, type)) {
            if (take_out(r, need, &array, i, type) != OK) {
                return UNANSWERABLE;
            }
        } else if (kept++ < i) {
            memcpy(array.elements + (size_t)(kept - 1) * array.size, element, array.size);
        }
    }
    *array.count_at = kept;
    if (kept > 0 || message_has_error(r->schema->response, r->version)) {
        return AUTHORIZED;
    }
    return authorize_add_refused(r) ? ANSWERED : UNANSWERABLE;
}

/* ---- the request ---- */

/* "/127.0.0.1" without what Java writes in front. */
static struct str host_of(const struct req *r)
{
    struct str host = r->client_host;
    bool slash = host.len > 0 && host.data[0] == '/';
    return (struct str){.data = host.data + (slash ? 1 : 0), .len = host.len - (slash ? 1 : 0)};
}

static bool begin(struct req *r)
{
    const struct principal *who = &r->session->principal;
    struct str principal = arena_format(&r->arena, "%.*s:%.*s", (int)who->type.len, who->type.data,
                                        (int)who->name.len, who->name.data);
    struct str host = arena_str(&r->arena, host_of(r));
    struct asker *asker = req_alloc(r, sizeof(*asker));
    if (principal.data == NULL || host.data == NULL || asker == NULL) {
        return false;
    }
    *asker = asker_of(r->broker->authorizer, principal, host, r->schema->name);
    r->asker = asker;
    return true;
}

enum authorized authorize_begin(struct req *r)
{
    const struct need *needs = NEEDS[r->schema->key];
    if (!begin(r)) {
        return UNANSWERABLE;
    }
    enum authorized result = AUTHORIZED;
    for (int i = 0; result == AUTHORIZED && i < NEEDS_MAX; i++) {
        switch (needs[i].how) {
        case NEED_NOTHING:
            break;
        case NEED_ONE:
            result = authorize_one(r, &needs[i]);
            break;
        case NEED_EACH:
            result = authorize_each(r, &needs[i]);
            break;
        case NEED_CHECK:
            result = needs[i].check(r);
            break;
        }
    }
    return result;
}

bool authorize_add_refused(struct req *r)
{
    if (r->refused == NULL) {
        return true;
    }
    const struct refused *refused = r->refused;
    r->refused = NULL;
    r->any_refused = true;
    return refused_append(refused, r->schema->response, r->version, r->out, &r->arena) == OK;
}

void authorize_end(struct req *r)
{
    if (r->asker != NULL) {
        asker_done(r->asker);
        r->asker = NULL;
    }
}
