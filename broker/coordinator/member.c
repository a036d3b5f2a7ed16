/* One member of a group, and what its protocols decide: each is a name with the member's metadata, most
 * wanted first. A newcomer must share one with everybody; a generation uses the one that most vote
 * for among those that all have. */
#include "broker/coordinator/member.h"

#include <stdlib.h>

/* Of one member: each is looked up in every other member's list. */
enum { PROTOCOLS_MAX = 100 };

/* ---- texts ---- */

static void bytes_set(struct bytes *field, struct bytes value)
{
    free((void *)(uintptr_t)field->data);
    uint8_t *copy = xmalloc(value.len + 1);
    if (value.len > 0) {
        memcpy(copy, value.data, value.len);
    }
    *field = bytes_of(copy, value.len);
}

void group_set_text(struct str *field, struct str value)
{
    char *copy = str_dup(value);
    free((void *)(uintptr_t)field->data);
    *field = (struct str){.data = copy, .len = value.len};
}

static void protocols_free(struct member *member)
{
    for (int32_t i = 0; i < member->protocols_n; i++) {
        free((void *)(uintptr_t)member->protocols[i].name.data);
        free((void *)(uintptr_t)member->protocols[i].metadata.data);
    }
    free(member->protocols);
    member->protocols = NULL;
    member->protocols_n = 0;
}

static void protocols_set(struct member *member, const struct protocol *protocols, int32_t count)
{
    protocols_free(member);
    member->protocols = xcalloc((size_t)count, sizeof(*member->protocols));
    member->protocols_n = count;
    for (int32_t i = 0; i < count; i++) {
        group_set_text(&member->protocols[i].name, protocols[i].name);
        bytes_set(&member->protocols[i].metadata, protocols[i].metadata);
    }
}

void member_set_protocol(struct member *member, struct str name, struct bytes metadata)
{
    struct protocol one = {.name = name, .metadata = metadata};
    protocols_set(member, &one, 1);
}

void member_set_assignment(struct member *member, struct bytes assignment)
{
    bytes_set(&member->assignment, assignment);
}

void member_free(struct member *member)
{
    free((void *)(uintptr_t)member->id.data);
    free((void *)(uintptr_t)member->instance_id.data);
    free((void *)(uintptr_t)member->client_id.data);
    free((void *)(uintptr_t)member->client_host.data);
    free((void *)(uintptr_t)member->assignment.data);
    protocols_free(member);
    free(member);
}

struct member *member_new(struct str id, const struct join_event *e, int64_t now_ms)
{
    struct member *m = xcalloc(1, sizeof(*m));
    group_set_text(&m->id, id);
    group_set_text(&m->instance_id, e->instance_id);
    group_set_text(&m->client_id, e->client_id);
    group_set_text(&m->client_host, e->client_host);
    m->session_deadline_ms = now_ms + e->session_timeout_ms;
    m->sync_deadline_ms = INT64_MAX;
    member_update(m, e);
    member_set_assignment(m, bytes_of("", 0));
    return m;
}

void member_update(struct member *m, const struct join_event *e)
{
    m->session_timeout_ms = e->session_timeout_ms;
    m->rebalance_timeout_ms = e->rebalance_timeout_ms;
    protocols_set(m, e->protocols, e->protocols_n);
}

void group_rename_member(struct group *group, struct member *m, struct str id)
{
    bool led = str_equal(group->leader_id, m->id);
    CHECK(map_remove_str(&group->by_id, m->id) == m);
    group_set_text(&m->id, id);
    CHECK(map_set_str(&group->by_id, m->id, m) == NULL);
    if (led) {
        group_set_text(&group->leader_id, id);
    }
}

void group_member_not_stored(struct group *group, struct str member_id, struct str replaced_id,
                             int64_t now_ms, struct group_action *refused)
{
    struct member *m = group_member(group, member_id);
    if (m != NULL) {
        group_rename_member(group, m, replaced_id);
        m->session_deadline_ms = now_ms + m->session_timeout_ms;
    }
    refused->generation = group->generation;
    refused->protocol_type = group->protocol_type;
    refused->protocol_name = group->protocol_name;
    refused->leader_id = group->leader_id;
}

struct str member_id_new(struct arena *arena, struct random *random, struct str prefix)
{
    uint8_t raw[16];
    random->fill(random, raw, sizeof(raw));
    raw[6] = (uint8_t)((raw[6] & 0x0f) | 0x40);
    raw[8] = (uint8_t)((raw[8] & 0x3f) | 0x80);
    return arena_format(arena,
                        "%.*s-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
                        "%02x%02x%02x%02x%02x%02x",
                        (int)prefix.len, prefix.data, raw[0], raw[1], raw[2], raw[3], raw[4],
                        raw[5], raw[6], raw[7], raw[8], raw[9], raw[10], raw[11], raw[12], raw[13],
                        raw[14], raw[15]);
}

/* ---- protocols ---- */

static bool offers(const struct protocol *protocols, int32_t count, struct str name)
{
    for (int32_t i = 0; i < count; i++) {
        if (str_equal(protocols[i].name, name)) {
            return true;
        }
    }
    return false;
}

static bool all_offer(const struct group *group, struct str name)
{
    list_each (item, &group->members) {
        const struct member *m = container_of(item, struct member, link);
        if (!offers(m->protocols, m->protocols_n, name)) {
            return false;
        }
    }
    return true;
}

/* Does the newcomer share a protocol with all members? */
bool group_protocols_fit(const struct group *group, const struct join_event *e)
{
    if (e->protocols_n > PROTOCOLS_MAX) {
        return false;
    }
    if (group_size(group) == 0) {
        return e->protocol_type.len > 0 && e->protocols_n > 0;
    }
    if (!str_equal(group->protocol_type, e->protocol_type)) {
        return false;
    }
    for (int32_t i = 0; i < e->protocols_n; i++) {
        if (all_offer(group, e->protocols[i].name)) {
            return true;
        }
    }
    return false;
}

bool member_same_protocols(const struct member *m, const struct join_event *e)
{
    if (m->protocols_n != e->protocols_n) {
        return false;
    }
    for (int32_t i = 0; i < e->protocols_n; i++) {
        if (!str_equal(m->protocols[i].name, e->protocols[i].name) ||
            !bytes_equal(m->protocols[i].metadata, e->protocols[i].metadata)) {
            return false;
        }
    }
    return true;
}

static int32_t votes_for(const struct group *group, struct str name)
{
    int32_t votes = 0;
    list_each (item, &group->members) {
        const struct member *m = container_of(item, struct member, link);
        for (int32_t i = 0; i < m->protocols_n; i++) {
            if (all_offer(group, m->protocols[i].name)) {
                votes += str_equal(m->protocols[i].name, name) ? 1 : 0;
                break;
            }
        }
    }
    return votes;
}

/* Every member votes for the first of its protocols that all have. */
struct str group_vote(const struct group *group)
{
    struct str best = {0};
    int32_t best_votes = 0;
    if (list_empty(&group->members)) {
        return best;
    }
    const struct member *first = container_of(group->members.next, struct member, link);
    for (int32_t i = 0; i < first->protocols_n; i++) {
        if (!all_offer(group, first->protocols[i].name)) {
            continue;
        }
        int32_t votes = votes_for(group, first->protocols[i].name);
        if (votes > best_votes || best.data == NULL) {
            best = first->protocols[i].name;
            best_votes = votes;
        }
    }
    return best;
}

struct bytes member_metadata(const struct group *group, const struct member *m)
{
    for (int32_t i = 0; i < m->protocols_n; i++) {
        if (str_equal(m->protocols[i].name, group->protocol_name)) {
            return m->protocols[i].metadata;
        }
    }
    return bytes_of("", 0);
}

/* ---- room ---- */

bool group_has_room(const struct group *group, const struct join_event *e,
                    const struct group_limits *limits)
{
    const struct member *m = group_member(group, e->member_id);
    int32_t awaiting = 0;
    switch (group->state) {
    case GROUP_PREPARING_REBALANCE:
        list_each (item, &group->members) {
            awaiting += container_of(item, struct member, link)->join_waiter != NULL ? 1 : 0;
        }
        return (m != NULL && m->join_waiter != NULL) || awaiting < limits->size_max;
    case GROUP_COMPLETING_REBALANCE:
    case GROUP_STABLE:
        return m != NULL || group_size(group) < limits->size_max;
    default:
        return true;
    }
}
