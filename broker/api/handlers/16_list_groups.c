/* ListGroups: the groups that this broker coordinates. (reference: coordinators §1.11) */
#include "broker/api/authorize.h"
#include "broker/broker.h"
#include "broker/coordinator/group.h"
#include "broker/coordinator/group_shard.h"

#include <strings.h>

static bool wanted(const struct str *filter, int32_t count, const char *value)
{
    for (int32_t i = 0; i < count; i++) {
        if (strlen(value) == filter[i].len &&
            strncasecmp(filter[i].data, value, filter[i].len) == 0) {
            return true;
        }
    }
    return count <= 0;
}

/* Makes room for the groups of one more shard, by doubling: the arena frees nothing. */
static bool list_reserve(struct req *r, size_t more, size_t *room)
{
    struct list_groups_response *out = r->out;
    size_t wanted = (size_t)out->groups_n + more;
    if (wanted <= *room) {
        return true;
    }
    size_t fresh = wanted > *room * 2 ? wanted : *room * 2;
    struct list_groups_response_group *groups = arena_array(&r->arena, fresh, sizeof(*groups));
    if (groups == NULL) {
        return false;
    }
    if (out->groups_n > 0) {
        memcpy(groups, out->groups, (size_t)out->groups_n * sizeof(*groups));
    }
    out->groups = groups;
    *room = fresh;
    return true;
}

struct listing {
    struct req *r;
    bool sees_all;
    size_t room;
};

static void list_shard(struct shard *base, void *context)
{
    struct listing *listing = context;
    struct req *r = listing->r;
    const struct group_shard *shard = group_shard_of(base);
    const struct list_groups_request *in = r->in;
    struct list_groups_response *out = r->out;
    if (!list_reserve(r, shard->groups.count, &listing->room)) {
        out->error_code = ERR_UNKNOWN_SERVER_ERROR;
        return;
    }
    map_each (entry, &shard->groups) {
        const struct group *group = entry->value;
        if (wanted(in->states_filter, in->states_filter_n, group_state_name(group->state)) &&
            wanted(in->types_filter, in->types_filter_n, "classic") &&
            (listing->sees_all || req_sees(r, ACL_DESCRIBE, ACL_GROUP, group->id))) {
            struct list_groups_response_group *one = &out->groups[out->groups_n++];
            list_groups_response_group_init(one);
            one->group_id = arena_str(&r->arena, group->id);
            one->protocol_type = text_or_empty(arena_str(&r->arena, group->protocol_type));
            one->group_state = str_of(group_state_name(group->state));
            one->group_type = STR("classic");
        }
    }
}

enum req_status handle_list_groups(struct req *r)
{
    struct list_groups_response *out = r->out;
    struct listing listing = {
        .r = r, .sees_all = req_sees(r, ACL_DESCRIBE, ACL_CLUSTER, STR(ACL_CLUSTER_NAME))};
    err e = shards_each(&r->broker->groups->shards, list_shard, &listing);
    out->error_code = out->error_code == OK ? kafka_error_wire(e) : out->error_code;
    return REQ_DONE;
}
