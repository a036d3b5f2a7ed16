/* LeaveGroup: takes members out of their group. */
#include "broker/broker.h"

enum req_status handle_leave_group(struct req *r)
{
    coordinator_leave_group(r->broker->coordinator, r);
    return REQ_DONE;
}
