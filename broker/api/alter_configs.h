/* What AlterConfigs and IncrementalAlterConfigs share: everything but the types of their messages. */
#ifndef OTTLA_BROKER_API_ALTER_CONFIGS_H
#define OTTLA_BROKER_API_ALTER_CONFIGS_H

#include "broker/api/request.h"
#include "broker/cluster/config_alter.h"

/* What became of one resource; the message is in the request's arena, null without an error. */
struct altered {
    int16_t error_code;
    struct str message;
    int8_t resource_type;
    struct str name;
};

/* Alters the request's resources 0 to count - 1; one that is named twice is refused each time. `read`
 * says what is asked for, false: no memory, and nothing is altered. Control thread. NULL: no memory. */
const struct altered *alter_resources(struct req *r, int32_t count,
                                      bool (*read)(struct req *r, int32_t at,
                                                   struct config_change *change));

#endif
