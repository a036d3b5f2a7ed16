/* ListGroups: the groups that this broker coordinates. */
#include "broker/broker.h"

enum req_status handle_list_groups(struct req *r)
{
    coordinator_list_groups(r->broker->coordinator, r);
    return REQ_DONE;
}
