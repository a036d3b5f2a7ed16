/* Answers are collected while an event is handled, and sent by the shard afterwards. */
#include "broker/coordinator/answers.h"

#include "broker/coordinator/member.h"

#include <stdlib.h>

enum { OUTPUT_ARENA_BYTES = 256 << 20 };

void group_output_init(struct group_output *out)
{
    *out = (struct group_output){0};
    arena_init(&out->arena, OUTPUT_ARENA_BYTES);
}

void group_output_deinit(struct group_output *out)
{
    arena_deinit(&out->arena);
    free(out->actions);
}

struct group_action *answer_add(struct group_output *out, enum group_action_type type,
                                struct group_waiter *waiter, err error)
{
    CHECK(waiter != NULL);
    if (out->actions_n == out->actions_cap) {
        out->actions_cap = out->actions_cap == 0 ? 4 : out->actions_cap * 2;
        out->actions = xrealloc(out->actions, (size_t)out->actions_cap * sizeof(*out->actions));
    }
    struct group_action *action = &out->actions[out->actions_n++];
    *action =
        (struct group_action){.type = type, .waiter = waiter, .error = error, .generation = -1};
    return action;
}

void answer_refuse_join(struct group_output *out, struct group_waiter *waiter, err error,
                        struct str member_id)
{
    struct group_action *action = answer_add(out, ANSWER_JOIN, waiter, error);
    action->member_id = arena_str(&out->arena, member_id);
}

static void list_members(const struct group *group, struct group_output *out,
                         struct group_action *action)
{
    struct join_member *members = arena_array(&out->arena, group->by_id.count, sizeof(*members));
    CHECK(members != NULL);
    int32_t n = 0;
    list_each (item, &group->members) {
        const struct member *m = container_of(item, struct member, link);
        members[n++] = (struct join_member){
            .id = m->id, .instance_id = m->instance_id, .metadata = member_metadata(group, m)};
    }
    action->members = members;
    action->members_n = n;
}

void answer_fill_join(const struct group *group, const struct member *m, bool with_members,
                      struct group_output *out, struct group_action *action)
{
    action->generation = group->generation;
    action->protocol_type = arena_str(&out->arena, group->protocol_type);
    action->protocol_name = arena_str(&out->arena, group->protocol_name);
    action->leader_id = arena_str(&out->arena, group->leader_id);
    action->member_id = arena_str(&out->arena, m->id);
    if (with_members) {
        list_members(group, out, action);
    }
}

void answer_joined(const struct group *group, struct member *m, struct group_waiter *waiter,
                   bool with_members, struct group_output *out)
{
    answer_fill_join(group, m, with_members, out, answer_add(out, ANSWER_JOIN, waiter, OK));
}

const char *group_state_name(enum group_state state)
{
    static const char *const NAMES[] = {"Empty", "PreparingRebalance", "CompletingRebalance",
                                        "Stable", "Dead"};
    return NAMES[state];
}
