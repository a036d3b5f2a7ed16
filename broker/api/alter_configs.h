/* What AlterConfigs and IncrementalAlterConfigs share: everything but the types of their messages. */
#ifndef OTTLA_BROKER_API_ALTER_CONFIGS_H
#define OTTLA_BROKER_API_ALTER_CONFIGS_H

#include "broker/api/request.h"
#include "broker/cluster/config_alter.h"

/* What became of one resource; the message is in the request's arena, null without an error. */
struct altered {
    int16_t error_code;
    struct str message;
};

/* Alters each of them; one that is named twice is refused each time. Control thread. NULL: no
 * memory. */
struct altered *alter_resources(struct req *r, const struct config_change *changes, int32_t count);

#endif
