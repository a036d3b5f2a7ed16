/* LeaveGroup: takes members out of their group, one, or since version 3 several.
 * (reference: coordinators §1.8) */
#include "broker/broker.h"
#include "broker/coordinator/group.h"
#include "broker/coordinator/group_shard.h"

enum { FIRST_LEAVE_BATCH_VERSION = 3 };

static err leave_one(struct group_coordinator *c, struct group_shard *shard, struct str group_id,
                     struct str member_id, struct str instance_id)
{
    struct group *group = group_shard_find(shard, group_id);
    if (group == NULL) {
        return ERR_UNKNOWN_MEMBER_ID;
    }
    struct group_output out;
    group_output_init(&out);
    err e = group_leave(group, member_id, instance_id, group_coordinator_now_ms(c), &out);
    group_shard_finish_event(shard, group, &out);
    group_output_deinit(&out);
    return e;
}

enum req_status handle_leave_group(struct req *r)
{
    struct group_coordinator *c = r->broker->groups;
    const struct leave_group_request *in = r->in;
    struct leave_group_response *out = r->out;
    struct group_shard *shard = NULL;
    err e = group_shard_lock(c, in->group_id, false, &shard);
    if (e != OK) {
        out->error_code = kafka_error_wire(e);
        return REQ_DONE;
    }
    if (r->version < FIRST_LEAVE_BATCH_VERSION) {
        e = leave_one(c, shard, in->group_id, in->member_id, (struct str){0});
        out->error_code = kafka_error_wire(e);
    }
    out->members = req_array(r, in->members_n, sizeof(*out->members));
    for (int32_t i = 0; out->members != NULL && i < in->members_n; i++) {
        struct leave_group_response_member *member = &out->members[out->members_n++];
        leave_group_response_member_init(member);
        member->member_id = in->members[i].member_id;
        member->group_instance_id = in->members[i].group_instance_id;
        member->error_code = kafka_error_wire(leave_one(
            c, shard, in->group_id, in->members[i].member_id, in->members[i].group_instance_id));
    }
    group_shard_unlock(shard);
    return REQ_DONE;
}
