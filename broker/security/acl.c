/* One table for each list of words. Kafka reads the words of its znodes in any case of letters. The operations of a type
 * are those that its tools allow, and that "authorized operations" are told of. */
#include "broker/security/acl.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <strings.h>

static const struct type_row {
    const char *word;
    const char *upper;
    uint32_t operations;
} TYPES[ACL_TYPES_END] = {
#define BIT(operation) (1u << ACL_##operation)
    [ACL_TYPE_ANY] = {"Any", "ANY", 0},
    [ACL_TOPIC] = {"Topic", "TOPIC",
                   BIT(READ) | BIT(WRITE) | BIT(CREATE) | BIT(DELETE) | BIT(ALTER) | BIT(DESCRIBE) |
                       BIT(DESCRIBE_CONFIGS) | BIT(ALTER_CONFIGS)},
    [ACL_GROUP] = {"Group", "GROUP", BIT(READ) | BIT(DELETE) | BIT(DESCRIBE)},
    [ACL_CLUSTER] = {"Cluster", "CLUSTER",
                     BIT(CREATE) | BIT(ALTER) | BIT(DESCRIBE) | BIT(CLUSTER_ACTION) |
                         BIT(DESCRIBE_CONFIGS) | BIT(ALTER_CONFIGS) | BIT(IDEMPOTENT_WRITE)},
    [ACL_TRANSACTIONAL_ID] = {"TransactionalId", "TRANSACTIONAL_ID", BIT(WRITE) | BIT(DESCRIBE)},
    [ACL_DELEGATION_TOKEN] = {"DelegationToken", "DELEGATION_TOKEN", BIT(DESCRIBE)},
    [ACL_USER] = {"User", "USER", BIT(CREATE_TOKENS) | BIT(DESCRIBE_TOKENS)},
#undef BIT
};

static const char *const PATTERNS[ACL_PATTERNS_END] = {[ACL_PATTERN_ANY] = "ANY",
                                                       [ACL_MATCH] = "MATCH",
                                                       [ACL_LITERAL] = "LITERAL",
                                                       [ACL_PREFIXED] = "PREFIXED"};

static const char *const OPERATIONS[ACL_OPERATIONS_END] = {
    [ACL_OPERATION_ANY] = "Any",
    [ACL_ALL] = "All",
    [ACL_READ] = "Read",
    [ACL_WRITE] = "Write",
    [ACL_CREATE] = "Create",
    [ACL_DELETE] = "Delete",
    [ACL_ALTER] = "Alter",
    [ACL_DESCRIBE] = "Describe",
    [ACL_CLUSTER_ACTION] = "ClusterAction",
    [ACL_DESCRIBE_CONFIGS] = "DescribeConfigs",
    [ACL_ALTER_CONFIGS] = "AlterConfigs",
    [ACL_IDEMPOTENT_WRITE] = "IdempotentWrite",
    [ACL_CREATE_TOKENS] = "CreateTokens",
    [ACL_DESCRIBE_TOKENS] = "DescribeTokens",
};

static const char *const PERMISSIONS[ACL_PERMISSIONS_END] = {
    [ACL_PERMISSION_ANY] = "Any", [ACL_DENY] = "Deny", [ACL_ALLOW] = "Allow"};

/* ---- words ---- */

static bool is_in(int number, int end)
{
    return number > 0 && number < end;
}

const char *acl_type_word(enum acl_type type)
{
    return is_in((int)type, ACL_TYPES_END) ? TYPES[type].word : NULL;
}

const char *acl_type_upper(enum acl_type type)
{
    return is_in((int)type, ACL_TYPES_END) ? TYPES[type].upper : NULL;
}

const char *acl_pattern_upper(enum acl_pattern pattern)
{
    return is_in((int)pattern, ACL_PATTERNS_END) ? PATTERNS[pattern] : NULL;
}

const char *acl_operation_word(enum acl_operation operation)
{
    return is_in((int)operation, ACL_OPERATIONS_END) ? OPERATIONS[operation] : NULL;
}

const char *acl_permission_word(enum acl_permission permission)
{
    return is_in((int)permission, ACL_PERMISSIONS_END) ? PERMISSIONS[permission] : NULL;
}

static bool is_word(struct str word, const char *text)
{
    return word.data != NULL && word.len == strlen(text) &&
           strncasecmp(word.data, text, word.len) == 0;
}

enum acl_type acl_type_of(struct str word)
{
    for (int i = ACL_TOPIC; i < ACL_TYPES_END; i++) {
        if (is_word(word, TYPES[i].word) || is_word(word, TYPES[i].upper)) {
            return (enum acl_type)i;
        }
    }
    return 0;
}

enum acl_operation acl_operation_of(struct str word)
{
    for (int i = ACL_ALL; i < ACL_OPERATIONS_END; i++) {
        if (is_word(word, OPERATIONS[i])) {
            return (enum acl_operation)i;
        }
    }
    return 0;
}

enum acl_permission acl_permission_of(struct str word)
{
    return is_word(word, "Allow") ? ACL_ALLOW : is_word(word, "Deny") ? ACL_DENY : 0;
}

uint32_t acl_operations_on(enum acl_type type)
{
    return is_in((int)type, ACL_TYPES_END) ? TYPES[type].operations : 0;
}

/* ---- comparing ---- */

bool acl_equals(const struct acl *a, const struct acl *b)
{
    return a->operation == b->operation && a->permission == b->permission &&
           str_equal(a->principal, b->principal) && str_equal(a->host, b->host);
}

int acl_compare(const struct acl *a, const struct acl *b)
{
    int order = str_compare(a->principal, b->principal);
    order = order != 0 ? order : (int)a->permission - (int)b->permission;
    order = order != 0 ? order : (int)a->operation - (int)b->operation;
    return order != 0 ? order : str_compare(a->host, b->host);
}

static int by_order(const void *a, const void *b)
{
    return acl_compare(a, b);
}

int32_t acls_settle(struct acl *acls, int32_t count)
{
    int32_t kept = 0;
    if (count > 0) {
        qsort(acls, (size_t)count, sizeof(*acls), by_order);
    }
    for (int32_t i = 0; i < count; i++) {
        if (kept == 0 || !acl_equals(&acls[kept - 1], &acls[i])) {
            acls[kept++] = acls[i];
        }
    }
    return kept;
}

static bool begins_with(struct str text, struct str prefix)
{
    return text.len >= prefix.len && memcmp(text.data, prefix.data, prefix.len) == 0;
}

static bool takes_name(const struct acl_filter *filter, const struct acl_resource *resource)
{
    bool literal = resource->pattern == ACL_LITERAL;
    bool same = str_equal(filter->name, resource->name);
    if (filter->name.data == NULL || same) {
        return true;
    }
    return filter->pattern == ACL_MATCH && (literal ? str_is(resource->name, ACL_WILDCARD)
                                                    : begins_with(filter->name, resource->name));
}

bool acl_filter_takes_resource(const struct acl_filter *filter, const struct acl_resource *resource)
{
    bool type = filter->type == ACL_TYPE_ANY || filter->type == resource->type;
    bool pattern = filter->pattern == ACL_PATTERN_ANY || filter->pattern == ACL_MATCH ||
                   filter->pattern == resource->pattern;
    return type && pattern && takes_name(filter, resource);
}

bool acl_filter_takes(const struct acl_filter *filter, const struct acl *acl)
{
    const struct acl *wanted = &filter->acl;
    return (wanted->principal.data == NULL || str_equal(wanted->principal, acl->principal)) &&
           (wanted->host.data == NULL || str_equal(wanted->host, acl->host)) &&
           (wanted->operation == ACL_OPERATION_ANY || wanted->operation == acl->operation) &&
           (wanted->permission == ACL_PERMISSION_ANY || wanted->permission == acl->permission);
}

bool acl_filter_names_one(const struct acl_filter *filter, struct acl_resource *resource)
{
    bool one = filter->name.data != NULL && filter->type != ACL_TYPE_ANY &&
               (filter->pattern == ACL_LITERAL || filter->pattern == ACL_PREFIXED);
    *resource = (struct acl_resource){filter->type, filter->pattern, filter->name};
    return one;
}

/* ---- znodes ---- */

static json_t *text_json(struct str s)
{
    json_t *text = json_stringn(s.data, s.len);
    CHECK(text != NULL); /* what is not UTF-8 is refused before it comes here */
    return text;
}

/* Takes over the object. */
static struct bytes dump(struct arena *arena, json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    CHECK(text != NULL);
    struct str copy = arena_str(arena, str_of(text));
    free(text);
    return bytes_of(copy.data, copy.len);
}

struct bytes acls_encode(struct arena *arena, const struct acl *acls, int32_t count)
{
    json_t *array = json_array();
    for (int32_t i = 0; i < count; i++) {
        json_t *one =
            json_pack("{s:o,s:s,s:s,s:o}", "principal", text_json(acls[i].principal),
                      "permissionType", acl_permission_word(acls[i].permission), "operation",
                      acl_operation_word(acls[i].operation), "host", text_json(acls[i].host));
        CHECK(one != NULL && json_array_append_new(array, one) == 0);
    }
    return dump(arena, json_pack("{s:i,s:o}", "version", 1, "acls", array));
}

/* Null without such a text. */
static struct str text_of(const json_t *object, const char *name)
{
    const json_t *text = json_object_get(object, name);
    return json_is_string(text) ? (struct str){json_string_value(text), json_string_length(text)}
                                : (struct str){0};
}

static err acl_decode(struct arena *arena, const json_t *object, struct acl *acl)
{
    struct str principal = text_of(object, "principal");
    struct str host = text_of(object, "host");
    *acl = (struct acl){.principal = arena_str(arena, principal),
                        .host = arena_str(arena, host),
                        .operation = acl_operation_of(text_of(object, "operation")),
                        .permission = acl_permission_of(text_of(object, "permissionType"))};
    bool sound = principal.data != NULL && memchr(principal.data, ':', principal.len) != NULL &&
                 host.data != NULL && acl->operation != 0 && acl->permission != 0;
    return !sound                                                  ? E_MALFORMED
           : acl->principal.data == NULL || acl->host.data == NULL ? E_LIMIT
                                                                   : OK;
}

static err decode_all(struct arena *arena, const json_t *object, struct acl **acls, int32_t *count)
{
    const json_t *array = json_object_get(object, "acls");
    if (!json_is_array(array) || json_integer_value(json_object_get(object, "version")) != 1) {
        return E_MALFORMED;
    }
    *acls = arena_array(arena, json_array_size(array), sizeof(**acls));
    if (*acls == NULL) {
        return E_LIMIT;
    }
    for (size_t i = 0; i < json_array_size(array); i++) {
        TRY(acl_decode(arena, json_array_get(array, i), &(*acls)[(*count)++]));
    }
    *count = acls_settle(*acls, *count);
    return OK;
}

static json_t *load(struct bytes json)
{
    return json.data == NULL ? NULL
                             : json_loadb((const char *)json.data, json.len, JSON_ALLOW_NUL, NULL);
}

/* A node without data has no ACLs, as Kafka reads it. */
err acls_decode(struct arena *arena, struct bytes json, struct acl **acls, int32_t *count)
{
    *acls = NULL;
    *count = 0;
    if (json.len == 0) {
        return OK;
    }
    json_t *object = load(json);
    err e = object == NULL ? E_MALFORMED : decode_all(arena, object, acls, count);
    json_decref(object);
    return e;
}

struct bytes acl_change_encode(struct arena *arena, const struct acl_resource *resource)
{
    if (resource->pattern == ACL_LITERAL) {
        struct str text = arena_format(arena, "%s:%.*s", acl_type_upper(resource->type),
                                       (int)resource->name.len, resource->name.data);
        return bytes_of(text.data, text.len);
    }
    return dump(arena, json_pack("{s:i,s:s,s:o,s:s}", "version", 1, "resourceType",
                                 acl_type_upper(resource->type), "name", text_json(resource->name),
                                 "patternType", acl_pattern_upper(resource->pattern)));
}

static err extended_decode(struct arena *arena, struct bytes json, struct acl_resource *resource)
{
    json_t *object = load(json);
    struct str pattern = text_of(object, "patternType");
    *resource = (struct acl_resource){.type = acl_type_of(text_of(object, "resourceType")),
                                      .pattern = is_word(pattern, "LITERAL")    ? ACL_LITERAL
                                                 : is_word(pattern, "PREFIXED") ? ACL_PREFIXED
                                                                                : 0,
                                      .name = arena_str(arena, text_of(object, "name"))};
    json_decref(object);
    bool sound = resource->type != 0 && resource->pattern != 0 && resource->name.data != NULL;
    return sound ? OK : E_MALFORMED;
}

err acl_change_decode(struct arena *arena, struct bytes text, bool extended,
                      struct acl_resource *resource)
{
    if (extended) {
        return extended_decode(arena, text, resource);
    }
    const uint8_t *colon = text.len == 0 ? NULL : memchr(text.data, ':', text.len);
    if (colon == NULL) {
        return E_MALFORMED;
    }
    struct str type = {(const char *)text.data, (size_t)(colon - text.data)};
    struct str name = {(const char *)colon + 1, text.len - type.len - 1};
    *resource = (struct acl_resource){acl_type_of(type), ACL_LITERAL, arena_str(arena, name)};
    return resource->type == 0 || resource->name.data == NULL ? E_MALFORMED : OK;
}
