/* AlterPartition: a leader asks its controller for other in-sync replicas. (reference: zookeeper §5.5,
 * replication §5.1) */
#include "broker/broker.h"

/* On the control thread. */
static void alter(struct req *r)
{
    controller_alter_partition(r->broker->controller, r->version, r->in, &r->arena, r->out);
}

enum req_status handle_alter_partition(struct req *r)
{
    return req_on_control(r, alter, NULL);
}
