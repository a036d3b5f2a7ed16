/* What the three APIs of ACLs share while there is no authorizer. */
#ifndef OTTLA_BROKER_API_ACLS_H
#define OTTLA_BROKER_API_ACLS_H

#include "broker/api/request.h"

#define NO_AUTHORIZER "No Authorizer is configured."

/* Kafka's UNKNOWN of resource types, patterns, operations and permissions: a request that has it is
 * not parsed, and ends its connection (asked: 3.9.1). Codes that Kafka does not know are passed. */
static inline bool acl_code_is_unknown(int8_t code)
{
    return code == 0;
}

#endif
