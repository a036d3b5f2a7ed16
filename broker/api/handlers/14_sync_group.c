/* SyncGroup: a member asks for its part; the answer comes when the leader's assignment is stored.
 * group_sync() decides. (reference: coordinators §1.6) */
#include "broker/api/group_held.h"
#include "broker/broker.h"
#include "broker/coordinator/group_shard.h"

enum { FIRST_SYNC_PROTOCOL_VERSION = 5 };

static void fill_sync(struct group_waiter *waiter, const struct group_action *action)
{
    struct req *r = group_held_req(waiter);
    struct sync_group_response *out = r->out;
    out->error_code = kafka_error_wire(action->error);
    out->protocol_type = arena_str(&r->arena, action->protocol_type);
    out->protocol_name = arena_str(&r->arena, action->protocol_name);
    struct bytes assignment = action->assignment;
    struct str copy = arena_str(
        &r->arena, (struct str){.data = (const char *)assignment.data, .len = assignment.len});
    out->assignment = copy.data == NULL ? bytes_of("", 0) : bytes_of(copy.data, copy.len);
}

static enum req_status refuse_sync(struct req *r, err e)
{
    struct sync_group_response *out = r->out;
    out->error_code = kafka_error_wire(e);
    out->assignment = bytes_of("", 0);
    return REQ_DONE;
}

/* ERR_UNKNOWN_MEMBER_ID without memory. */
static err event_of(struct req *r, struct sync_event *event)
{
    const struct sync_group_request *in = r->in;
    struct join_member *assignments = req_array(r, in->assignments_n, sizeof(*assignments));
    for (int32_t i = 0; assignments != NULL && i < in->assignments_n; i++) {
        assignments[i] = (struct join_member){.id = in->assignments[i].member_id,
                                              .metadata = in->assignments[i].assignment};
    }
    *event = (struct sync_event){
        .member_id = in->member_id,
        .instance_id = in->group_instance_id,
        .generation = in->generation_id,
        .protocol_type = in->protocol_type,
        .protocol_name = in->protocol_name,
        .assignments = assignments,
        .assignments_n = in->assignments_n,
        .waiter = group_held_new(r, fill_sync),
    };
    return assignments == NULL || event->waiter == NULL ? ERR_UNKNOWN_MEMBER_ID : OK;
}

static err gate(struct req *r, struct group_shard **shard)
{
    const struct sync_group_request *in = r->in;
    bool protocol_missing = in->protocol_type.data == NULL || in->protocol_name.data == NULL;
    if (r->version >= FIRST_SYNC_PROTOCOL_VERSION && protocol_missing) {
        return ERR_INCONSISTENT_GROUP_PROTOCOL;
    }
    err e = group_shard_lock(r->broker->groups, in->group_id, false, shard);
    return e == ERR_COORDINATOR_LOAD_IN_PROGRESS ? ERR_REBALANCE_IN_PROGRESS : e;
}

enum req_status handle_sync_group(struct req *r)
{
    const struct sync_group_request *in = r->in;
    struct group_shard *shard = NULL;
    err e = gate(r, &shard);
    if (e != OK) {
        return refuse_sync(r, e);
    }
    struct group *group = group_shard_find(shard, in->group_id);
    struct sync_event event;
    e = group == NULL ? ERR_UNKNOWN_MEMBER_ID : event_of(r, &event);
    if (e != OK) {
        group_shard_unlock(shard);
        return refuse_sync(r, e);
    }
    req_park(r, -1, NULL);
    struct group_output out;
    group_output_init(&out);
    group_sync(group, &event, group_coordinator_now_ms(r->broker->groups), &out);
    group_shard_finish_event(shard, group, &out);
    group_output_deinit(&out);
    group_shard_unlock(shard);
    return REQ_PARKED;
}
