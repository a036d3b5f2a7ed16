/* JoinGroup: the coordinator answers when the group has gathered; this file only names it. */
#include "broker/broker.h"

enum req_status handle_join_group(struct req *r)
{
    return coordinator_join_group(r->broker->coordinator, r);
}
