/* ListGroups: the groups that this broker coordinates. (reference: coordinators §1.11) */
#include "broker/broker.h"
#include "broker/coordinator/group.h"
#include "broker/coordinator/shard.h"

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

static void list_shard(struct req *r, const struct shard *shard, size_t *room)
{
    const struct list_groups_request *in = r->in;
    struct list_groups_response *out = r->out;
    if (!list_reserve(r, shard->groups.count, room)) {
        out->error_code = ERR_UNKNOWN_SERVER_ERROR;
        return;
    }
    map_each (entry, &shard->groups) {
        const struct group *group = entry->value;
        if (wanted(in->states_filter, in->states_filter_n, group_state_name(group->state)) &&
            wanted(in->types_filter, in->types_filter_n, "classic")) {
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
    struct coordinator *c = r->broker->coordinator;
    struct list_groups_response *out = r->out;
    size_t room = 0;
    for (int32_t i = 0;; i++) {
        struct shard *shard = shard_at(c, i);
        if (shard == NULL) {
            break;
        }
        pthread_mutex_lock(&shard->lock);
        if (shard->state == SHARD_LOADING) {
            out->error_code = ERR_COORDINATOR_LOAD_IN_PROGRESS;
        }
        list_shard(r, shard, &room);
        pthread_mutex_unlock(&shard->lock);
    }
    return REQ_DONE;
}
