/* StopReplica: a controller takes partitions away. (reference: zookeeper §5.3) */
#include "broker/api/control_request.h"

enum req_status handle_stop_replica(struct req *r)
{
    return control_request(r);
}
