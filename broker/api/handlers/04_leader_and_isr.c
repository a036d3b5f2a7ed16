/* LeaderAndIsr: a controller says what this broker leads and follows. (reference: zookeeper §5.1, replication §3) */
#include "broker/api/control_request.h"

enum req_status handle_leader_and_isr(struct req *r)
{
    return control_request(r);
}
