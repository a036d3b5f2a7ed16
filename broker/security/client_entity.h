/* Whom quotas and SCRAM credentials are for, as a path below /config of the coordination store:
 *
 *   users/<user>    users/<user>/clients/<client>    clients/<client>    ips/<address>
 *
 * "<default>" stands for all that have none of their own. Names are percent-encoded there, so that one of
 * a user who is called "<default>" is another. (reference: zookeeper §1) */
#ifndef OTTLA_BROKER_CLUSTER_CLIENT_ENTITY_H
#define OTTLA_BROKER_CLUSTER_CLIENT_ENTITY_H

#include "base/arena.h"
#include "base/err.h"

enum entity_part_kind { ENTITY_NONE, ENTITY_DEFAULT, ENTITY_NAMED };

struct entity_part {
    enum entity_part_kind kind;
    struct str name; /* of ENTITY_NAMED */
};

struct client_entity {
    struct entity_part user;
    struct entity_part client;
    struct entity_part ip; /* alone */
};

/* The path, without "/config/"; the null string past the arena's cap. */
struct str client_entity_path(struct arena *arena, const struct client_entity *entity);
/* E_MALFORMED: it is none, or a name is not encoded as Kafka does it. */
NODISCARD err client_entity_parse(struct arena *arena, struct str path,
                                  struct client_entity *entity);

/* As Kafka encodes names in paths: all but letters, digits, '.', '-' and '_' becomes %XX. */
struct str name_sanitize(struct arena *arena, struct str name);
NODISCARD err name_desanitize(struct arena *arena, struct str text, struct str *name);

#endif
