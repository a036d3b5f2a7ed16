/* DeleteGroups: removes empty groups and their offsets. */
#include "broker/broker.h"

enum req_status handle_delete_groups(struct req *r)
{
    coordinator_delete_groups(r->broker->coordinator, r);
    return REQ_DONE;
}
