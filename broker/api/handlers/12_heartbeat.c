/* Heartbeat: keeps a group member alive, or tells it to rejoin. group_heartbeat() decides; this file
 * only translates. (reference: coordinators §1.7) */
#include "broker/broker.h"
#include "broker/coordinator/group.h"
#include "broker/coordinator/group_shard.h"

enum req_status handle_heartbeat(struct req *r)
{
    struct group_coordinator *c = r->broker->groups;
    const struct heartbeat_request *in = r->in;
    struct heartbeat_response *out = r->out;
    struct group_shard *shard = NULL;
    err e = group_shard_lock(c, in->group_id, false, &shard);
    if (e == OK) {
        struct group *group = group_shard_find(shard, in->group_id);
        e = group == NULL ? ERR_UNKNOWN_MEMBER_ID
                          : group_heartbeat(group, in->member_id, in->group_instance_id,
                                            in->generation_id, group_coordinator_now_ms(c));
        group_shard_unlock(shard);
    }
    out->error_code = kafka_error_wire(e == ERR_COORDINATOR_LOAD_IN_PROGRESS ? OK : e);
    return REQ_DONE;
}
