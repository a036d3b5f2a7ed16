/* DescribeGroups, ListGroups, DeleteGroups: looking at groups from outside, and removing empty ones.
 * (reference: coordinators §1.11) */
#include "base/log.h"
#include "broker/api/endpoint.h"
#include "broker/coordinator/shard.h"

#include <strings.h>

/* ---- DescribeGroups, ListGroups, DeleteGroups ---- */

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

static void describe_one(struct coordinator *c, struct req *r, struct str id,
                         struct describe_groups_response_group *out)
{
    const struct describe_groups_request *in = r->in;
    struct shard *shard = NULL;
    describe_groups_response_group_init(out);
    out->group_id = id;
    out->group_state = out->protocol_type = out->protocol_data = STR("");
    err e = shard_lock(c, id, true, &shard);
    out->error_code = kafka_error_wire(e);
    out->authorized_operations =
        e == OK && in->include_authorized_operations ? GROUP_ALL_OPERATIONS : INT32_MIN;
    if (e != OK) {
        return;
    }
    const struct group *group = shard_group(shard, id);
    out->group_state = str_of(group_state_name(group == NULL ? GROUP_DEAD : group->state));
    if (group != NULL) {
        out->protocol_type = text_or_empty(arena_str(&r->arena, group->protocol_type));
        if (group->state == GROUP_STABLE) {
            out->protocol_data = text_or_empty(arena_str(&r->arena, group->protocol_name));
        }
        describe_members(r, group, out);
    }
    shard_unlock(shard);
}

void coordinator_describe_groups(struct coordinator *c, struct req *r)
{
    const struct describe_groups_request *in = r->in;
    struct describe_groups_response *out = r->out;
    out->groups = req_array(r, in->groups_n, sizeof(*out->groups));
    for (int32_t i = 0; out->groups != NULL && i < in->groups_n; i++) {
        describe_one(c, r, in->groups[i], &out->groups[out->groups_n++]);
    }
}

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

void coordinator_list_groups(struct coordinator *c, struct req *r)
{
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
}

static void deletion_stored(struct shard *shard, void *context, err outcome)
{
    (void)shard;
    if (outcome != OK) {
        log_warn("coordinator", "group deletion not stored error=%s", kafka_error_name(outcome));
    }
    (void)context;
}

static err delete_one(struct coordinator *c, struct shard *shard, struct str id)
{
    struct group *group = shard_group(shard, id);
    if (group == NULL || group->state == GROUP_DEAD) {
        return ERR_GROUP_ID_NOT_FOUND;
    }
    if (group->state != GROUP_EMPTY) {
        return ERR_NON_EMPTY_GROUP;
    }
    int64_t now_ms = coordinator_now_ms(c);
    struct writer writer;
    struct batch_builder batch;
    shard_batch_begin(shard, &writer, &batch, false);
    err e = OK;
    map_each (entry, &group->offsets) {
        const struct committed *value = entry->value;
        e = e == OK ? record_add_offset_tombstone(&batch, now_ms, group->id, value->topic,
                                                  value->partition)
                    : e;
    }
    if (e == OK && group->generation > 0) {
        e = record_add_group_tombstone(&batch, now_ms, group->id);
    }
    bool something = batch.count > 0;
    e = e == OK && something ? batch_end(&batch) : e;
    if (e == OK && something) {
        shard_store(shard, &writer, deletion_stored, NULL);
    } else {
        writer_deinit(&writer);
    }
    if (e == OK) {
        shard_group_remove(shard, group);
    }
    return e == OK ? OK : ERR_UNKNOWN_SERVER_ERROR;
}

void coordinator_delete_groups(struct coordinator *c, struct req *r)
{
    const struct delete_groups_request *in = r->in;
    struct delete_groups_response *out = r->out;
    out->results = req_array(r, in->groups_names_n, sizeof(*out->results));
    for (int32_t i = 0; out->results != NULL && i < in->groups_names_n; i++) {
        struct shard *shard = NULL;
        err e = shard_lock(c, in->groups_names[i], true, &shard);
        if (e == OK) {
            e = delete_one(c, shard, in->groups_names[i]);
            shard_unlock(shard);
        }
        struct delete_groups_response_result *result = &out->results[out->results_n++];
        delete_groups_response_result_init(result);
        result->group_id = in->groups_names[i];
        result->error_code = kafka_error_wire(e);
    }
}
