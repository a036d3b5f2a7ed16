/* ACLs: who may, or may not, do what with which resource; their words and their numbers. Filters of them.
 * (reference: security §4, requests §10) */
#ifndef OTTLA_BROKER_SECURITY_ACL_H
#define OTTLA_BROKER_SECURITY_ACL_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"

/* The numbers are those on the wire; what is below the first real one is for filters. */
enum acl_type {
    ACL_TYPE_ANY = 1,
    ACL_TOPIC,
    ACL_GROUP,
    ACL_CLUSTER,
    ACL_TRANSACTIONAL_ID,
    ACL_DELEGATION_TOKEN,
    ACL_USER,
    ACL_TYPES_END,
};

enum acl_pattern { ACL_PATTERN_ANY = 1, ACL_MATCH, ACL_LITERAL, ACL_PREFIXED, ACL_PATTERNS_END };

enum acl_operation {
    ACL_OPERATION_ANY = 1,
    ACL_ALL,
    ACL_READ,
    ACL_WRITE,
    ACL_CREATE,
    ACL_DELETE,
    ACL_ALTER,
    ACL_DESCRIBE,
    ACL_CLUSTER_ACTION,
    ACL_DESCRIBE_CONFIGS,
    ACL_ALTER_CONFIGS,
    ACL_IDEMPOTENT_WRITE,
    ACL_CREATE_TOKENS,
    ACL_DESCRIBE_TOKENS,
    ACL_OPERATIONS_END,
};

enum acl_permission { ACL_PERMISSION_ANY = 1, ACL_DENY, ACL_ALLOW, ACL_PERMISSIONS_END };

#define ACL_CLUSTER_NAME "kafka-cluster" /* the one cluster */
#define ACL_WILDCARD     "*"             /* a literal name: all of the type; a host: all of them */
#define ACL_EVERYBODY    "User:*"

/* What ACLs are about. */
struct acl_resource {
    enum acl_type type;
    enum acl_pattern pattern; /* ACL_LITERAL or ACL_PREFIXED */
    struct str name;
};

/* One ACL of a resource. */
struct acl {
    struct str principal; /* "User:alice" */
    struct str host;      /* an address, as text, or "*" */
    enum acl_operation operation;
    enum acl_permission permission;
};

/* Words as they stand in znodes: "TransactionalId", "ClusterAction", "Allow"; in change nodes and in Kafka's texts
 * "TRANSACTIONAL_ID", "LITERAL". NULL: there is no such number. */
const char *acl_type_word(enum acl_type type);
const char *acl_type_upper(enum acl_type type);
const char *acl_pattern_upper(enum acl_pattern pattern);
const char *acl_operation_word(enum acl_operation operation);
const char *acl_permission_word(enum acl_permission permission);
/* Back, in any case of letters; 0: there is no such word. */
enum acl_type acl_type_of(struct str word);
enum acl_operation acl_operation_of(struct str word);
enum acl_permission acl_permission_of(struct str word);

/* The operations that there are on a resource of that type, by bits. */
uint32_t acl_operations_on(enum acl_type type);

bool acl_equals(const struct acl *a, const struct acl *b);
/* Their order: by principal, then the rest; 0: they are the same. */
int acl_compare(const struct acl *a, const struct acl *b);
/* Puts them into their order, each once; returns how many there are then. */
int32_t acls_settle(struct acl *acls, int32_t count);

/* Which ACLs are meant; a null text means any. With ACL_MATCH a name means all that is in force for it: its own, "*",
 * and the prefixes that it begins with. */
struct acl_filter {
    enum acl_type type;
    enum acl_pattern pattern;
    struct str name;
    struct acl acl;
};
bool acl_filter_takes_resource(const struct acl_filter *filter,
                               const struct acl_resource *resource);
bool acl_filter_takes(const struct acl_filter *filter, const struct acl *acl);
/* The one resource that it can only mean, or false. */
bool acl_filter_names_one(const struct acl_filter *filter, struct acl_resource *resource);

/* ---- znodes ---- */

/* The node of a resource: {"version":1,"acls":[…]}. Reading keeps each ACL once; E_MALFORMED where anything in it
 * is not understood: what an ACL says that cannot be read is not known. All memory is the arena's. */
struct bytes acls_encode(struct arena *arena, const struct acl *acls, int32_t count);
NODISCARD err acls_decode(struct arena *arena, struct bytes json, struct acl **acls,
                          int32_t *count);

/* The text of a change node, and back: "TOPIC:name" of literal resources, JSON of prefixed ones. */
struct bytes acl_change_encode(struct arena *arena, const struct acl_resource *resource);
NODISCARD err acl_change_decode(struct arena *arena, struct bytes text, bool extended,
                                struct acl_resource *resource);

#endif
