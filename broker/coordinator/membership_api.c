/* JoinGroup, SyncGroup, Heartbeat, LeaveGroup: from requests to events of a group. What they decide is
 * group.c's; who waits is answered by shard_finish_event(). */
#include "broker/coordinator/shard.h"

enum {
    FIRST_REBALANCE_TIMEOUT_VERSION = 1,
    FIRST_KNOWN_ID_VERSION = 4,
    FIRST_SKIP_ASSIGNMENT_VERSION = 9,
    FIRST_SYNC_PROTOCOL_VERSION = 5,
    FIRST_LEAVE_BATCH_VERSION = 3,
};

/* ---- JoinGroup ---- */

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
    out->protocol_name = r->version < 7 ? STR("") : (struct str){0};
    return REQ_DONE;
}

enum req_status coordinator_join_group(struct coordinator *c, struct req *r)
{
    const struct join_group_request *in = r->in;
    struct shard *shard = NULL;
    err e = shard_lock(c, in->group_id, false, &shard);
    if (e != OK) {
        return refuse_join(r, e);
    }
    struct group *group = shard_group(shard, in->group_id);
    struct protocol *protocols = protocols_of(r, in);
    if (in->session_timeout_ms < c->limits.session_timeout_min_ms ||
        in->session_timeout_ms > c->limits.session_timeout_max_ms) {
        e = ERR_INVALID_SESSION_TIMEOUT;
    } else if (group == NULL && in->member_id.len > 0) {
        e = ERR_UNKNOWN_MEMBER_ID;
    } else if (protocols == NULL) {
        e = ERR_UNKNOWN_SERVER_ERROR;
    }
    if (e != OK) {
        shard_unlock(shard);
        return refuse_join(r, e);
    }
    struct join_event event = {
        .member_id = in->member_id,
        .instance_id = in->group_instance_id,
        .client_id = r->client_id,
        .client_host = r->client_host,
        .protocol_type = in->protocol_type,
        .protocols = protocols,
        .protocols_n = in->protocols_n,
        .session_timeout_ms = in->session_timeout_ms,
        .rebalance_timeout_ms = r->version < FIRST_REBALANCE_TIMEOUT_VERSION
                                    ? in->session_timeout_ms
                                    : in->rebalance_timeout_ms,
        .require_known_id =
            r->version >= FIRST_KNOWN_ID_VERSION && in->group_instance_id.data == NULL,
        .can_skip_assignment = r->version >= FIRST_SKIP_ASSIGNMENT_VERSION,
        .waiter = r,
    };
    req_park(r, -1, NULL);
    if (group == NULL) {
        group = shard_group_add(shard, in->group_id);
    }
    struct group_output out;
    group_output_init(&out);
    group_join(group, &event, &c->limits, coordinator_now_ms(c), &out);
    shard_finish_event(shard, group, &out);
    group_output_deinit(&out);
    shard_unlock(shard);
    return REQ_PARKED;
}

/* ---- SyncGroup ---- */

static enum req_status refuse_sync(struct req *r, err e)
{
    struct sync_group_response *out = r->out;
    out->error_code = kafka_error_wire(e);
    out->assignment = bytes_of("", 0);
    return REQ_DONE;
}

enum req_status coordinator_sync_group(struct coordinator *c, struct req *r)
{
    const struct sync_group_request *in = r->in;
    bool protocol_missing = in->protocol_type.data == NULL || in->protocol_name.data == NULL;
    if (r->version >= FIRST_SYNC_PROTOCOL_VERSION && protocol_missing) {
        return refuse_sync(r, ERR_INCONSISTENT_GROUP_PROTOCOL);
    }
    struct shard *shard = NULL;
    err e = shard_lock(c, in->group_id, false, &shard);
    if (e != OK) {
        return refuse_sync(r,
                           e == ERR_COORDINATOR_LOAD_IN_PROGRESS ? ERR_REBALANCE_IN_PROGRESS : e);
    }
    struct group *group = shard_group(shard, in->group_id);
    struct join_member *assignments = req_array(r, in->assignments_n, sizeof(*assignments));
    if (group == NULL || assignments == NULL) {
        shard_unlock(shard);
        return refuse_sync(r, ERR_UNKNOWN_MEMBER_ID);
    }
    for (int32_t i = 0; i < in->assignments_n; i++) {
        assignments[i] = (struct join_member){.id = in->assignments[i].member_id,
                                              .metadata = in->assignments[i].assignment};
    }
    struct sync_event event = {
        .member_id = in->member_id,
        .instance_id = in->group_instance_id,
        .generation = in->generation_id,
        .protocol_type = in->protocol_type,
        .protocol_name = in->protocol_name,
        .assignments = assignments,
        .assignments_n = in->assignments_n,
        .waiter = r,
    };
    req_park(r, -1, NULL);
    struct group_output out;
    group_output_init(&out);
    group_sync(group, &event, coordinator_now_ms(c), &out);
    shard_finish_event(shard, group, &out);
    group_output_deinit(&out);
    shard_unlock(shard);
    return REQ_PARKED;
}

/* ---- Heartbeat, LeaveGroup ---- */

void coordinator_heartbeat(struct coordinator *c, struct req *r)
{
    const struct heartbeat_request *in = r->in;
    struct heartbeat_response *out = r->out;
    struct shard *shard = NULL;
    err e = shard_lock(c, in->group_id, false, &shard);
    if (e == OK) {
        struct group *group = shard_group(shard, in->group_id);
        e = group == NULL ? ERR_UNKNOWN_MEMBER_ID
                          : group_heartbeat(group, in->member_id, in->group_instance_id,
                                            in->generation_id, coordinator_now_ms(c));
        shard_unlock(shard);
    }
    out->error_code = kafka_error_wire(e == ERR_COORDINATOR_LOAD_IN_PROGRESS ? OK : e);
}

static err leave_one(struct coordinator *c, struct shard *shard, struct str group_id,
                     struct str member_id, struct str instance_id)
{
    struct group *group = shard_group(shard, group_id);
    if (group == NULL) {
        return ERR_UNKNOWN_MEMBER_ID;
    }
    struct group_output out;
    group_output_init(&out);
    err e = group_leave(group, member_id, instance_id, coordinator_now_ms(c), &out);
    shard_finish_event(shard, group, &out);
    group_output_deinit(&out);
    return e;
}

void coordinator_leave_group(struct coordinator *c, struct req *r)
{
    const struct leave_group_request *in = r->in;
    struct leave_group_response *out = r->out;
    struct shard *shard = NULL;
    err e = shard_lock(c, in->group_id, false, &shard);
    if (e != OK) {
        out->error_code = kafka_error_wire(e);
        return;
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
    shard_unlock(shard);
}
