/* DescribeGroups: state and members; a group that does not exist is Dead, without an error.
 * (reference: coordinators §1.11) */
#include "broker/api/authorize.h"
#include "broker/broker.h"
#include "broker/coordinator/group.h"
#include "broker/coordinator/group_shard.h"

static struct bytes copy_bytes(struct req *r, struct bytes from)
{
    struct str copy =
        arena_str(&r->arena, (struct str){.data = (const char *)from.data, .len = from.len});
    return copy.data == NULL ? bytes_of("", 0) : bytes_of(copy.data, copy.len);
}

static void describe_members(struct req *r, const struct group *group,
                             struct describe_groups_response_group *out)
{
    bool stable = group->state == GROUP_STABLE;
    out->members = req_array(r, group_size(group), sizeof(*out->members));
    if (out->members == NULL) {
        return;
    }
    list_each (item, &group->members) {
        const struct member *m = container_of(item, struct member, link);
        struct describe_groups_response_member *member = &out->members[out->members_n++];
        describe_groups_response_member_init(member);
        member->member_id = arena_str(&r->arena, m->id);
        member->group_instance_id = arena_str(&r->arena, m->instance_id);
        member->client_id = arena_str(&r->arena, m->client_id);
        member->client_host = arena_str(&r->arena, m->client_host);
        member->member_metadata =
            stable ? copy_bytes(r, member_metadata(group, m)) : bytes_of("", 0);
        member->member_assignment = stable ? copy_bytes(r, m->assignment) : bytes_of("", 0);
    }
}

static void describe_one(struct group_coordinator *c, struct req *r, struct str id,
                         struct describe_groups_response_group *out)
{
    const struct describe_groups_request *in = r->in;
    struct group_shard *shard = NULL;
    describe_groups_response_group_init(out);
    out->group_id = id;
    out->group_state = out->protocol_type = out->protocol_data = STR("");
    err e = group_shard_lock(c, id, true, &shard);
    out->error_code = kafka_error_wire(e);
    out->authorized_operations =
        e == OK && in->include_authorized_operations ? req_operations(r, ACL_GROUP, id) : INT32_MIN;
    if (e != OK) {
        return;
    }
    const struct group *group = group_shard_find(shard, id);
    out->group_state = str_of(group_state_name(group == NULL ? GROUP_DEAD : group->state));
    if (group != NULL) {
        out->protocol_type = text_or_empty(arena_str(&r->arena, group->protocol_type));
        if (group->state == GROUP_STABLE) {
            out->protocol_data = text_or_empty(arena_str(&r->arena, group->protocol_name));
        }
        describe_members(r, group, out);
    }
    group_shard_unlock(shard);
}

enum req_status handle_describe_groups(struct req *r)
{
    struct group_coordinator *c = r->broker->groups;
    const struct describe_groups_request *in = r->in;
    struct describe_groups_response *out = r->out;
    out->groups = req_array(r, in->groups_n, sizeof(*out->groups));
    for (int32_t i = 0; out->groups != NULL && i < in->groups_n; i++) {
        describe_one(c, r, in->groups[i], &out->groups[out->groups_n++]);
    }
    return REQ_DONE;
}
