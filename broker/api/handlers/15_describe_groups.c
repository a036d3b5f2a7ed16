/* DescribeGroups: state and members; a group that does not exist is Dead, without an error. */
#include "broker/broker.h"

enum req_status handle_describe_groups(struct req *r)
{
    coordinator_describe_groups(r->broker->coordinator, r);
    return REQ_DONE;
}
