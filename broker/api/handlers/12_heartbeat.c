/* Heartbeat: keeps a group member alive, or tells it to rejoin. */
#include "broker/broker.h"

enum req_status handle_heartbeat(struct req *r)
{
    coordinator_heartbeat(r->broker->coordinator, r);
    return REQ_DONE;
}
