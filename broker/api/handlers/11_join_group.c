/* JoinGroup: a member joins; the answer comes when the group has gathered. group_join() decides; this
 * file only translates. (reference: coordinators §1.4) */
#include "broker/api/group_held.h"
#include "broker/broker.h"
#include "broker/coordinator/group_shard.h"

enum {
    FIRST_REBALANCE_TIMEOUT_VERSION = 1,
    FIRST_KNOWN_ID_VERSION = 4,
    FIRST_NULL_PROTOCOL_VERSION = 7,
    FIRST_SKIP_ASSIGNMENT_VERSION = 9,
};

static void fill_join(struct group_waiter *waiter, const struct group_action *action)
{
    struct req *r = group_held_req(waiter);
    struct join_group_response *out = r->out;
    out->error_code = kafka_error_wire(action->error);
    out->generation_id = action->generation;
    out->protocol_type = arena_str(&r->arena, action->protocol_type);
    bool no_name = action->protocol_name.data == NULL;
    out->protocol_name = no_name && r->version < FIRST_NULL_PROTOCOL_VERSION
                             ? STR("")
                             : arena_str(&r->arena, action->protocol_name);
    out->leader =
        action->leader_id.data == NULL ? STR("") : arena_str(&r->arena, action->leader_id);
    out->member_id =
        action->member_id.data == NULL ? STR("") : arena_str(&r->arena, action->member_id);
    out->skip_assignment = action->skip_assignment;
    out->members = req_array(r, action->members_n, sizeof(*out->members));
    for (int32_t i = 0; out->members != NULL && i < action->members_n; i++) {
        struct join_group_response_member *member = &out->members[out->members_n++];
        join_group_response_member_init(member);
        member->member_id = arena_str(&r->arena, action->members[i].id);
        member->group_instance_id = arena_str(&r->arena, action->members[i].instance_id);
        struct bytes metadata = action->members[i].metadata;
        struct str copy = arena_str(
            &r->arena, (struct str){.data = (const char *)metadata.data, .len = metadata.len});
        member->metadata = bytes_of(copy.data, copy.len);
    }
}

static struct protocol *protocols_of(struct req *r, const struct join_group_request *in)
{
    struct protocol *protocols = req_array(r, in->protocols_n, sizeof(*protocols));
    for (int32_t i = 0; protocols != NULL && i < in->protocols_n; i++) {
        protocols[i] =
            (struct protocol){.name = in->protocols[i].name, .metadata = in->protocols[i].metadata};
    }
    return protocols;
}

static enum req_status refuse_join(struct req *r, err e)
{
    const struct join_group_request *in = r->in;
    struct join_group_response *out = r->out;
    out->error_code = kafka_error_wire(e);
    out->generation_id = -1;
    out->member_id = text_or_empty(in->member_id);
    out->leader = STR("");
    out->protocol_name = r->version < FIRST_NULL_PROTOCOL_VERSION ? STR("") : (struct str){0};
    return REQ_DONE;
}

static err check_join(const struct req *r, const struct group *group)
{
    const struct group_limits *limits = &r->broker->groups->limits;
    const struct join_group_request *in = r->in;
    if (in->session_timeout_ms < limits->session_timeout_min_ms ||
        in->session_timeout_ms > limits->session_timeout_max_ms) {
        return ERR_INVALID_SESSION_TIMEOUT;
    }
    return group == NULL && in->member_id.len > 0 ? ERR_UNKNOWN_MEMBER_ID : OK;
}

/* ERR_UNKNOWN_SERVER_ERROR without memory. */
static err event_of(struct req *r, struct join_event *event)
{
    const struct join_group_request *in = r->in;
    *event = (struct join_event){
        .member_id = in->member_id,
        .instance_id = in->group_instance_id,
        .client_id = r->client_id,
        .client_host = r->client_host,
        .protocol_type = in->protocol_type,
        .protocols = protocols_of(r, in),
        .protocols_n = in->protocols_n,
        .session_timeout_ms = in->session_timeout_ms,
        .rebalance_timeout_ms = r->version < FIRST_REBALANCE_TIMEOUT_VERSION
                                    ? in->session_timeout_ms
                                    : in->rebalance_timeout_ms,
        .require_known_id =
            r->version >= FIRST_KNOWN_ID_VERSION && in->group_instance_id.data == NULL,
        .can_skip_assignment = r->version >= FIRST_SKIP_ASSIGNMENT_VERSION,
        .waiter = group_held_new(r, fill_join),
    };
    return event->protocols == NULL || event->waiter == NULL ? ERR_UNKNOWN_SERVER_ERROR : OK;
}

enum req_status handle_join_group(struct req *r)
{
    struct group_coordinator *c = r->broker->groups;
    const struct join_group_request *in = r->in;
    struct group_shard *shard = NULL;
    err e = group_shard_lock(c, in->group_id, false, &shard);
    if (e != OK) {
        return refuse_join(r, e);
    }
    struct group *group = group_shard_find(shard, in->group_id);
    struct join_event event;
    e = check_join(r, group);
    if (e == OK) {
        e = event_of(r, &event);
    }
    if (e != OK) {
        group_shard_unlock(shard);
        return refuse_join(r, e);
    }
    req_park(r, -1, NULL);
    if (group == NULL) {
        group = group_shard_add(shard, in->group_id);
    }
    struct group_output out;
    group_output_init(&out);
    group_join(group, &event, &c->limits, group_coordinator_now_ms(c), &out);
    group_shard_finish_event(shard, group, &out);
    group_output_deinit(&out);
    group_shard_unlock(shard);
    return REQ_PARKED;
}
