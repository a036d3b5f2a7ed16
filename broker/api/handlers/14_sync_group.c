/* SyncGroup: the coordinator answers when the leader's assignment is stored. */
#include "broker/broker.h"

enum req_status handle_sync_group(struct req *r)
{
    return coordinator_sync_group(r->broker->coordinator, r);
}
