/* What the three APIs of ACLs share. */
#ifndef OTTLA_BROKER_API_ACLS_H
#define OTTLA_BROKER_API_ACLS_H

#include "broker/api/request.h"
#include "broker/security/acl.h"

#define NO_AUTHORIZER "No Authorizer is configured."

/* Kafka's UNKNOWN of resource types, patterns, operations and permissions: a request that has it is
 * not parsed, and ends its connection (asked: 3.9.1). */
static inline bool acl_code_is_unknown(int8_t code)
{
    return code == 0;
}

/* The filter of a DescribeAcls, or one of a DeleteAcls. Numbers that are none take nothing. */
#define ACL_FILTER_OF(in)                                                                          \
    ((struct acl_filter){.type = (enum acl_type)(in)->resource_type_filter,                        \
                         .pattern = (enum acl_pattern)(in)->pattern_type_filter,                   \
                         .name = (in)->resource_name_filter,                                       \
                         .acl = {.principal = (in)->principal_filter,                              \
                                 .host = (in)->host_filter,                                        \
                                 .operation = (enum acl_operation)(in)->operation,                 \
                                 .permission = (enum acl_permission)(in)->permission_type}})

#endif
