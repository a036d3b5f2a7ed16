/* The classic group protocol.
 *
 * A rebalance begins when membership or a subscription changes: the group prepares until every
 * member has joined again or the longest rebalance timeout is over; out of Empty it waits a fixed
 * delay instead, which grows while members come. Then a generation is issued, everybody is
 * answered, and the leader's assignment is awaited, stored, and handed out.
 *
 * Waiting for JoinGroup or SyncGroup counts as being alive: a member's session runs only between
 * its requests. A new member that does not know its id yet may be gone without a trace: it waits
 * for NEW_MEMBER_JOIN_TIMEOUT_MS at most. Static members (with an instance id) keep their place
 * over restarts of the client. */
#include "broker/coordinator/group.h"

#include "broker/coordinator/answers.h"
#include "broker/coordinator/member.h"
#include "protocol/error.h"

#include <stdio.h>
#include <stdlib.h>

enum { NEW_MEMBER_JOIN_TIMEOUT_MS = 300000 };

struct pending_member {
    int64_t deadline_ms;
};

/* ---- members ---- */

struct group *group_new(struct str id, int64_t now_ms)
{
    struct group *group = xcalloc(1, sizeof(*group));
    group_set_text(&group->id, id);
    group->state_timestamp_ms = now_ms;
    list_init(&group->members);
    map_init(&group->by_id);
    map_init(&group->by_instance);
    map_init(&group->pending);
    map_init(&group->offsets);
    return group;
}

void group_free(struct group *group)
{
    list_each_safe (item, &group->members) {
        member_free(container_of(item, struct member, link));
    }
    map_each (entry, &group->pending) {
        free(entry->value);
    }
    map_deinit(&group->by_id);
    map_deinit(&group->by_instance);
    map_deinit(&group->pending);
    map_deinit(&group->offsets);
    free((void *)(uintptr_t)group->id.data);
    free((void *)(uintptr_t)group->protocol_type.data);
    free((void *)(uintptr_t)group->protocol_name.data);
    free((void *)(uintptr_t)group->leader_id.data);
    free(group);
}

struct member *group_member(const struct group *group, struct str member_id)
{
    return member_id.data == NULL ? NULL : map_get_str(&group->by_id, member_id);
}

int32_t group_size(const struct group *group)
{
    return (int32_t)group->by_id.count;
}

static bool pending_remove(struct group *group, struct str member_id)
{
    struct pending_member *pending = map_remove_str(&group->pending, member_id);
    free(pending);
    return pending != NULL;
}

static void set_state(struct group *group, enum group_state state, int64_t now_ms)
{
    group->state = state;
    group->state_timestamp_ms = now_ms;
}

static struct member *member_add(struct group *group, struct str id, const struct join_event *e,
                                 int64_t now_ms)
{
    struct member *m = member_new(id, e, now_ms);
    list_append(&group->members, &m->link);
    CHECK(map_set_str(&group->by_id, m->id, m) == NULL);
    if (m->instance_id.data != NULL) {
        CHECK(map_set_str(&group->by_instance, m->instance_id, m) == NULL);
    }
    if (group->by_id.count == 1) {
        group_set_text(&group->protocol_type, e->protocol_type);
    }
    if (group->leader_id.data == NULL) {
        group_set_text(&group->leader_id, m->id);
    }
    return m;
}

struct member *group_add_loaded(struct group *group, struct str member_id, struct str instance_id,
                                struct str client_id, struct str client_host)
{
    struct str type = group->protocol_type;
    struct join_event e = {.instance_id = instance_id,
                           .client_id = client_id,
                           .client_host = client_host,
                           .protocol_type = {.data = str_dup(type), .len = type.len}};
    struct member *m = member_add(group, member_id, &e, 0);
    free((void *)(uintptr_t)e.protocol_type.data);
    return m;
}

/* Answers whoever waits in the member's name, and takes it out of the group. */
static void member_remove(struct group *group, struct member *m, err error,
                          struct group_output *out)
{
    if (m->join_waiter != NULL) {
        answer_refuse_join(out, m->join_waiter, error, STR(""));
    }
    if (m->sync_waiter != NULL) {
        answer_add(out, ANSWER_SYNC, m->sync_waiter, error);
    }
    list_remove(&m->link);
    CHECK(map_remove_str(&group->by_id, m->id) == m);
    if (m->instance_id.data != NULL) {
        CHECK(map_remove_str(&group->by_instance, m->instance_id) == m);
    }
    if (str_equal(group->leader_id, m->id)) {
        struct member *next = list_empty(&group->members)
                                  ? NULL
                                  : container_of(group->members.next, struct member, link);
        group_set_text(&group->leader_id, next == NULL ? (struct str){0} : next->id);
    }
    member_free(m);
}

static bool is_leader(const struct group *group, const struct member *m)
{
    return str_equal(group->leader_id, m->id);
}

/* ---- rebalancing ---- */

static bool all_joined(const struct group *group)
{
    if (group->pending.count > 0) {
        return false;
    }
    list_each (item, &group->members) {
        if (container_of(item, struct member, link)->join_waiter == NULL) {
            return false;
        }
    }
    return true;
}

static int32_t longest_rebalance_ms(const struct group *group)
{
    int32_t longest = 0;
    list_each (item, &group->members) {
        int32_t timeout = container_of(item, struct member, link)->rebalance_timeout_ms;
        longest = timeout > longest ? timeout : longest;
    }
    return longest;
}

static void complete_join(struct group *group, int64_t now_ms, struct group_output *out);

static void try_complete_join(struct group *group, int64_t now_ms, struct group_output *out)
{
    if (group->state == GROUP_PREPARING_REBALANCE && !group->initial_delay && all_joined(group)) {
        complete_join(group, now_ms, out);
    }
}

/* While it waited a member's session may have run out: it begins anew. */
static void end_syncs(struct group *group, err error, int64_t now_ms, struct group_output *out)
{
    list_each (item, &group->members) {
        struct member *m = container_of(item, struct member, link);
        m->sync_deadline_ms = INT64_MAX;
        if (m->sync_waiter != NULL) {
            answer_add(out, ANSWER_SYNC, m->sync_waiter, error);
            m->sync_waiter = NULL;
            m->session_deadline_ms = now_ms + m->session_timeout_ms;
        }
    }
}

static void prepare(struct group *group, const struct group_limits *limits, int64_t now_ms,
                    struct group_output *out)
{
    if (group->state == GROUP_COMPLETING_REBALANCE) {
        end_syncs(group, ERR_REBALANCE_IN_PROGRESS, now_ms, out);
        list_each (item, &group->members) {
            member_set_assignment(container_of(item, struct member, link), bytes_of("", 0));
        }
    }
    group->storing = false;
    group->initial_delay = group->state == GROUP_EMPTY;
    int32_t longest_ms = longest_rebalance_ms(group);
    if (group->initial_delay) {
        int32_t delay_ms = limits->initial_delay_ms;
        group->rebalance_deadline_ms = now_ms + delay_ms;
        group->initial_delay_left_ms = longest_ms > delay_ms ? longest_ms - delay_ms : 0;
        group->joined_in_window = false;
    } else {
        group->rebalance_deadline_ms = now_ms + longest_ms;
    }
    set_state(group, GROUP_PREPARING_REBALANCE, now_ms);
    if (group->initial_delay && limits->initial_delay_ms <= 0) {
        complete_join(group, now_ms, out); /* who only has an id is not waited for */
    } else {
        try_complete_join(group, now_ms, out);
    }
}

static void maybe_prepare(struct group *group, const struct group_limits *limits, int64_t now_ms,
                          struct group_output *out)
{
    if (group->state == GROUP_PREPARING_REBALANCE) {
        try_complete_join(group, now_ms, out);
    } else if (group->state != GROUP_DEAD) {
        prepare(group, limits, now_ms, out);
    }
}

void group_loaded(struct group *group, const struct group_limits *limits, int64_t now_ms,
                  struct group_output *out)
{
    if (group_size(group) > limits->size_max) {
        prepare(group, limits, now_ms, out);
    }
}

/* Dynamic members that did not join again are out; static ones stay until their session ends. */
static void drop_absent(struct group *group, struct group_output *out)
{
    list_each_safe (item, &group->members) {
        struct member *m = container_of(item, struct member, link);
        if (m->join_waiter == NULL && m->instance_id.data == NULL) {
            member_remove(group, m, ERR_UNKNOWN_MEMBER_ID, out);
        }
    }
}

/* The leader must be one that joined. False: nobody has. */
static bool settle_leader(struct group *group)
{
    const struct member *leader = group_member(group, group->leader_id);
    if (leader != NULL && leader->join_waiter != NULL) {
        return true;
    }
    list_each (item, &group->members) {
        const struct member *m = container_of(item, struct member, link);
        if (m->join_waiter != NULL) {
            group_set_text(&group->leader_id, m->id);
            return true;
        }
    }
    return false;
}

static void become_empty(struct group *group, int64_t now_ms, struct group_output *out)
{
    group->generation = generation_after(group->generation);
    group_set_text(&group->protocol_name, (struct str){0});
    group_set_text(&group->leader_id, (struct str){0});
    set_state(group, GROUP_EMPTY, now_ms);
    out->store = STORE_GROUP;
}

static void issue_generation(struct group *group, int64_t now_ms, struct group_output *out)
{
    group->generation = generation_after(group->generation);
    group_set_text(&group->protocol_name, group_vote(group));
    set_state(group, GROUP_COMPLETING_REBALANCE, now_ms);
    int64_t sync_deadline_ms = now_ms + longest_rebalance_ms(group);
    list_each (item, &group->members) {
        struct member *m = container_of(item, struct member, link);
        m->sync_deadline_ms = sync_deadline_ms;
        m->session_deadline_ms = now_ms + m->session_timeout_ms;
        if (m->join_waiter != NULL) {
            struct group_waiter *waiter = m->join_waiter;
            m->join_waiter = NULL;
            m->is_new = false;
            answer_joined(group, m, waiter, is_leader(group, m), out);
        }
    }
}

static void complete_join(struct group *group, int64_t now_ms, struct group_output *out)
{
    group->initial_delay = false;
    drop_absent(group, out);
    if (list_empty(&group->members)) {
        become_empty(group, now_ms, out);
    } else if (!settle_leader(group)) {
        group->rebalance_deadline_ms = now_ms + longest_rebalance_ms(group);
    } else {
        issue_generation(group, now_ms, out);
    }
}

/* ---- joining ---- */

static void wait_in_join(struct member *m, struct group_waiter *waiter, struct group_output *out)
{
    if (m->join_waiter != NULL) {
        answer_refuse_join(out, m->join_waiter, ERR_UNKNOWN_MEMBER_ID,
                           m->id); /* an older request */
    }
    m->join_waiter = waiter;
}

static void add_and_rebalance(struct group *group, struct str id, const struct join_event *e,
                              const struct group_limits *limits, int64_t now_ms,
                              struct group_output *out)
{
    struct member *m = member_add(group, id, e, now_ms);
    m->is_new = true;
    m->session_deadline_ms = now_ms + NEW_MEMBER_JOIN_TIMEOUT_MS;
    m->join_waiter = e->waiter;
    if (group->state == GROUP_PREPARING_REBALANCE && group->generation == 0) {
        group->joined_in_window = true;
    }
    maybe_prepare(group, limits, now_ms, out);
}

static void join_new_dynamic(struct group *group, const struct join_event *e,
                             const struct group_limits *limits, int64_t now_ms,
                             struct group_output *out)
{
    struct str id = member_id_new(&out->arena, limits->random, e->client_id);
    if (!e->require_known_id) {
        add_and_rebalance(group, id, e, limits, now_ms, out);
        return;
    }
    struct pending_member *pending = xcalloc(1, sizeof(*pending));
    pending->deadline_ms = now_ms + e->session_timeout_ms;
    CHECK(map_set_str(&group->pending, id, pending) == NULL);
    answer_refuse_join(out, e->waiter, ERR_MEMBER_ID_REQUIRED, id);
}

/* Gives the place of a static member to its new incarnation. */
static struct member *replace_static(struct group *group, struct member *old, struct str id,
                                     struct group_output *out)
{
    if (old->join_waiter != NULL) {
        answer_refuse_join(out, old->join_waiter, ERR_FENCED_INSTANCE_ID, old->id);
        old->join_waiter = NULL;
    }
    if (old->sync_waiter != NULL) {
        answer_add(out, ANSWER_SYNC, old->sync_waiter, ERR_FENCED_INSTANCE_ID);
        old->sync_waiter = NULL;
    }
    group_rename_member(group, old, id);
    return old;
}

/* In a stable group a static member comes back without a rebalance, if what is chosen stays. */
static void join_static_stable(struct group *group, struct member *m, const struct join_event *e,
                               struct str old_id, const struct group_limits *limits, int64_t now_ms,
                               struct group_output *out)
{
    if (!str_equal(group_vote(group), group->protocol_name)) {
        m->join_waiter = e->waiter;
        maybe_prepare(group, limits, now_ms, out);
        return;
    }
    bool led = is_leader(group, m);
    out->store = STORE_MEMBER;
    out->has_held = true;
    out->held = (struct group_action){.type = ANSWER_JOIN, .waiter = e->waiter};
    out->replaced_id = old_id;
    answer_fill_join(group, m, led && e->can_skip_assignment, out, &out->held);
    if (led && e->can_skip_assignment) {
        out->held.skip_assignment = true;
    } else if (led) {
        out->held.leader_id = old_id; /* so that it does not assign */
    }
}

static void join_static(struct group *group, const struct join_event *e,
                        const struct group_limits *limits, int64_t now_ms, struct group_output *out)
{
    struct str id = member_id_new(&out->arena, limits->random, e->instance_id);
    struct member *old = map_get_str(&group->by_instance, e->instance_id);
    if (old == NULL) {
        add_and_rebalance(group, id, e, limits, now_ms, out);
        return;
    }
    struct str old_id = arena_str(&out->arena, old->id);
    struct member *m = replace_static(group, old, id, out);
    member_update(m, e);
    m->is_new = false;
    m->session_deadline_ms = now_ms + m->session_timeout_ms;
    switch (group->state) {
    case GROUP_STABLE:
        join_static_stable(group, m, e, old_id, limits, now_ms, out);
        break;
    case GROUP_COMPLETING_REBALANCE:
    case GROUP_PREPARING_REBALANCE:
        m->join_waiter = e->waiter;
        maybe_prepare(group, limits, now_ms, out);
        break;
    default:
        answer_refuse_join(out, e->waiter, ERR_UNKNOWN_MEMBER_ID, e->member_id);
        break;
    }
}

static void rejoin(struct group *group, struct member *m, const struct join_event *e,
                   const struct group_limits *limits, int64_t now_ms, struct group_output *out)
{
    bool same = member_same_protocols(m, e);
    bool leads = is_leader(group, m);
    bool rebalance = group->state == GROUP_PREPARING_REBALANCE ||
                     (group->state == GROUP_COMPLETING_REBALANCE && !same) ||
                     (group->state == GROUP_STABLE && (leads || !same));
    m->is_new = false; /* it knows its id */
    m->session_deadline_ms = now_ms + m->session_timeout_ms;
    if (group->state == GROUP_EMPTY) {
        answer_refuse_join(out, e->waiter, ERR_UNKNOWN_MEMBER_ID, m->id);
    } else if (rebalance) {
        member_update(m, e);
        wait_in_join(m, e->waiter, out);
        maybe_prepare(group, limits, now_ms, out);
    } else {
        bool with_members = leads && group->state == GROUP_COMPLETING_REBALANCE;
        answer_joined(group, m, e->waiter, with_members, out);
    }
}

/* The common check of ids. */
static err check_member(const struct group *group, struct str member_id, struct str instance_id,
                        struct member **m)
{
    if (instance_id.data != NULL) {
        *m = map_get_str(&group->by_instance, instance_id);
        if (*m == NULL) {
            return ERR_UNKNOWN_MEMBER_ID;
        }
        return str_equal((*m)->id, member_id) ? OK : ERR_FENCED_INSTANCE_ID;
    }
    *m = group_member(group, member_id);
    return *m == NULL ? ERR_UNKNOWN_MEMBER_ID : OK;
}

static void join_known(struct group *group, const struct join_event *e,
                       const struct group_limits *limits, int64_t now_ms, struct group_output *out)
{
    if (e->instance_id.data == NULL && pending_remove(group, e->member_id)) {
        add_and_rebalance(group, e->member_id, e, limits, now_ms, out);
        return;
    }
    struct member *m = NULL;
    err error = check_member(group, e->member_id, e->instance_id, &m);
    if (error != OK) {
        answer_refuse_join(out, e->waiter, error, e->member_id);
    } else {
        rejoin(group, m, e, limits, now_ms, out);
    }
}

void group_join(struct group *group, const struct join_event *e, const struct group_limits *limits,
                int64_t now_ms, struct group_output *out)
{
    CHECK(e->waiter != NULL);
    if (!group_has_room(group, e, limits)) {
        struct member *m = group_member(group, e->member_id);
        answer_refuse_join(out, e->waiter, ERR_GROUP_MAX_SIZE_REACHED, STR(""));
        if (m != NULL) {
            member_remove(group, m, ERR_GROUP_MAX_SIZE_REACHED, out);
            try_complete_join(group, now_ms, out);
        }
    } else if (group->state == GROUP_DEAD) {
        answer_refuse_join(out, e->waiter, ERR_COORDINATOR_NOT_AVAILABLE, e->member_id);
    } else if (!group_protocols_fit(group, e)) {
        answer_refuse_join(out, e->waiter, ERR_INCONSISTENT_GROUP_PROTOCOL, e->member_id);
    } else if (e->member_id.len > 0) {
        join_known(group, e, limits, now_ms, out);
    } else if (e->instance_id.data != NULL) {
        join_static(group, e, limits, now_ms, out);
    } else {
        join_new_dynamic(group, e, limits, now_ms, out);
    }
}

/* ---- syncing ---- */

static void answer_sync(struct group *group, struct member *m, struct group_waiter *waiter,
                        int64_t now_ms, struct group_output *out)
{
    struct group_action *action = answer_add(out, ANSWER_SYNC, waiter, OK);
    action->assignment = m->assignment;
    action->protocol_type = arena_str(&out->arena, group->protocol_type);
    action->protocol_name = arena_str(&out->arena, group->protocol_name);
    m->session_deadline_ms = now_ms + m->session_timeout_ms;
    m->sync_deadline_ms = INT64_MAX;
}

static void take_assignments(struct group *group, const struct sync_event *e)
{
    list_each (item, &group->members) {
        member_set_assignment(container_of(item, struct member, link), bytes_of("", 0));
    }
    for (int32_t i = 0; i < e->assignments_n; i++) {
        struct member *m = group_member(group, e->assignments[i].id);
        if (m != NULL) {
            member_set_assignment(m, e->assignments[i].metadata);
        }
    }
}

static err check_sync(const struct group *group, const struct sync_event *e, struct member **m)
{
    if (group->state == GROUP_DEAD) {
        return ERR_COORDINATOR_NOT_AVAILABLE;
    }
    TRY(check_member(group, e->member_id, e->instance_id, m));
    if (e->generation != group->generation) {
        return ERR_ILLEGAL_GENERATION;
    }
    bool type_differs =
        e->protocol_type.data != NULL && !str_equal(e->protocol_type, group->protocol_type);
    bool name_differs =
        e->protocol_name.data != NULL && !str_equal(e->protocol_name, group->protocol_name);
    if (type_differs || name_differs) {
        return ERR_INCONSISTENT_GROUP_PROTOCOL;
    }
    if (group->state == GROUP_EMPTY) {
        return ERR_UNKNOWN_MEMBER_ID;
    }
    return group->state == GROUP_PREPARING_REBALANCE ? ERR_REBALANCE_IN_PROGRESS : OK;
}

void group_sync(struct group *group, const struct sync_event *e, int64_t now_ms,
                struct group_output *out)
{
    CHECK(e->waiter != NULL);
    struct member *m = NULL;
    err error = check_sync(group, e, &m);
    if (error != OK) {
        answer_add(out, ANSWER_SYNC, e->waiter, error);
    } else if (group->state == GROUP_STABLE) {
        answer_sync(group, m, e->waiter, now_ms, out);
    } else {
        if (m->sync_waiter != NULL) {
            answer_add(out, ANSWER_SYNC, m->sync_waiter, ERR_UNKNOWN_MEMBER_ID);
        }
        m->sync_waiter = e->waiter;
        m->sync_deadline_ms = INT64_MAX;
        if (is_leader(group, m) && !group->storing) {
            take_assignments(group, e);
            group->storing = true;
            out->store = STORE_ASSIGNMENT;
        }
    }
}

void group_assignment_stored(struct group *group, int32_t generation, err outcome, int64_t now_ms,
                             struct group_output *out)
{
    if (group->state != GROUP_COMPLETING_REBALANCE || group->generation != generation ||
        !group->storing) {
        return;
    }
    group->storing = false;
    if (outcome != OK) {
        list_each (item, &group->members) {
            member_set_assignment(container_of(item, struct member, link), bytes_of("", 0));
        }
        end_syncs(group, outcome, now_ms, out);
        static const struct group_limits NO_DELAY = {0};
        maybe_prepare(group, &NO_DELAY, now_ms, out);
        return;
    }
    set_state(group, GROUP_STABLE, now_ms);
    list_each (item, &group->members) {
        struct member *m = container_of(item, struct member, link);
        if (m->sync_waiter != NULL) {
            struct group_waiter *waiter = m->sync_waiter;
            m->sync_waiter = NULL;
            answer_sync(group, m, waiter, now_ms, out);
        }
    }
}

/* ---- the rest ---- */

err group_heartbeat(struct group *group, struct str member_id, struct str instance_id,
                    int32_t generation, int64_t now_ms)
{
    if (group->state == GROUP_DEAD) {
        return ERR_COORDINATOR_NOT_AVAILABLE;
    }
    struct member *m = NULL;
    TRY(check_member(group, member_id, instance_id, &m));
    if (generation != group->generation) {
        return ERR_ILLEGAL_GENERATION;
    }
    if (group->state == GROUP_EMPTY) {
        return ERR_UNKNOWN_MEMBER_ID;
    }
    m->session_deadline_ms = now_ms + m->session_timeout_ms;
    return group->state == GROUP_PREPARING_REBALANCE ? ERR_REBALANCE_IN_PROGRESS : OK;
}

/* After a member went: the others rebalance, or the rebalance that runs is looked at again. */
static void on_departure(struct group *group, int64_t now_ms, struct group_output *out)
{
    static const struct group_limits NO_DELAY = {0};
    if (group->state == GROUP_STABLE || group->state == GROUP_COMPLETING_REBALANCE) {
        prepare(group, &NO_DELAY, now_ms, out);
    } else {
        try_complete_join(group, now_ms, out);
    }
}

err group_leave(struct group *group, struct str member_id, struct str instance_id, int64_t now_ms,
                struct group_output *out)
{
    if (group->state == GROUP_DEAD) {
        return ERR_COORDINATOR_NOT_AVAILABLE;
    }
    if (instance_id.data == NULL && pending_remove(group, member_id)) {
        try_complete_join(group, now_ms, out);
        return OK;
    }
    struct member *m = NULL;
    if (instance_id.data != NULL && member_id.len == 0) {
        m = map_get_str(&group->by_instance, instance_id);
        if (m == NULL) {
            return ERR_UNKNOWN_MEMBER_ID;
        }
    } else {
        TRY(check_member(group, member_id, instance_id, &m));
    }
    member_remove(group, m, ERR_UNKNOWN_MEMBER_ID, out);
    on_departure(group, now_ms, out);
    return OK;
}

err group_check_commit(struct group *group, struct str member_id, struct str instance_id,
                       int32_t generation, int64_t now_ms)
{
    if (group->state == GROUP_DEAD) {
        return ERR_COORDINATOR_NOT_AVAILABLE;
    }
    if (generation < 0 && group->state == GROUP_EMPTY) {
        return OK;
    }
    bool anonymous = generation < 0 && member_id.len == 0 && instance_id.data == NULL;
    if (anonymous) {
        return ERR_UNKNOWN_MEMBER_ID;
    }
    struct member *m = NULL;
    TRY(check_member(group, member_id, instance_id, &m));
    if (generation != group->generation) {
        return ERR_ILLEGAL_GENERATION;
    }
    if (group->state == GROUP_COMPLETING_REBALANCE) {
        return ERR_REBALANCE_IN_PROGRESS;
    }
    m->session_deadline_ms = now_ms + m->session_timeout_ms;
    return OK;
}

err group_check_txn_commit(const struct group *group, struct str member_id, struct str instance_id,
                           int32_t generation)
{
    struct member *m = NULL;
    bool anonymous = generation < 0 && member_id.len == 0 && instance_id.data == NULL;
    TRY(group->state == GROUP_DEAD ? ERR_COORDINATOR_NOT_AVAILABLE : OK);
    if (anonymous || (generation < 0 && group->state == GROUP_EMPTY)) {
        return OK;
    }
    TRY(check_member(group, member_id, instance_id, &m));
    return generation == group->generation ? OK : ERR_ILLEGAL_GENERATION;
}

void group_kill(struct group *group, err error, struct group_output *out)
{
    list_each_safe (item, &group->members) {
        member_remove(group, container_of(item, struct member, link), error, out);
    }
    group->state = GROUP_DEAD;
}

/* ---- time ---- */

static bool session_runs(const struct member *m)
{
    return (m->join_waiter == NULL && m->sync_waiter == NULL) || m->is_new;
}

/* Is a SyncGroup of this generation still due from some? */
static bool awaits_syncs(const struct group *group)
{
    return group->state == GROUP_COMPLETING_REBALANCE || group->state == GROUP_STABLE;
}

/* The first rebalance of an empty group: each window in which somebody came adds another. */
static void extend_or_complete(struct group *group, const struct group_limits *limits,
                               int64_t now_ms, struct group_output *out)
{
    if (group->initial_delay && group->joined_in_window && group->initial_delay_left_ms > 0) {
        int64_t more_ms = limits->initial_delay_ms < group->initial_delay_left_ms
                              ? limits->initial_delay_ms
                              : group->initial_delay_left_ms;
        group->initial_delay_left_ms -= more_ms;
        group->rebalance_deadline_ms = now_ms + more_ms;
        group->joined_in_window = false;
    } else {
        complete_join(group, now_ms, out);
    }
}

static bool expire_members(struct group *group, int64_t now_ms, struct group_output *out)
{
    bool gone = false;
    list_each_safe (item, &group->members) {
        struct member *m = container_of(item, struct member, link);
        bool late_sync = awaits_syncs(group) && m->sync_deadline_ms <= now_ms;
        bool expired = session_runs(m) && m->session_deadline_ms <= now_ms;
        if (late_sync || expired) {
            member_remove(group, m, ERR_UNKNOWN_MEMBER_ID, out);
            gone = true;
        }
    }
    return gone;
}

static bool expire_pending(struct group *group, int64_t now_ms)
{
    struct str *late = NULL;
    size_t late_n = 0;
    map_each (entry, &group->pending) {
        const struct pending_member *pending = entry->value;
        if (pending->deadline_ms <= now_ms) {
            late = late != NULL ? late : xcalloc(group->pending.count, sizeof(*late));
            late[late_n++] = (struct str){.data = (const char *)entry->key, .len = entry->key_len};
        }
    }
    for (size_t i = 0; i < late_n; i++) {
        (void)pending_remove(group, late[i]);
    }
    free(late);
    return late_n > 0;
}

int64_t group_next_deadline_ms(const struct group *group)
{
    int64_t next_ms = INT64_MAX;
    if (group->state == GROUP_PREPARING_REBALANCE) {
        next_ms = group->rebalance_deadline_ms;
    }
    list_each (item, &group->members) {
        const struct member *m = container_of(item, struct member, link);
        if (session_runs(m) && m->session_deadline_ms < next_ms) {
            next_ms = m->session_deadline_ms;
        }
        if (awaits_syncs(group) && m->sync_deadline_ms < next_ms) {
            next_ms = m->sync_deadline_ms;
        }
    }
    map_each (entry, &group->pending) {
        const struct pending_member *pending = entry->value;
        next_ms = pending->deadline_ms < next_ms ? pending->deadline_ms : next_ms;
    }
    return next_ms;
}

int64_t group_tick(struct group *group, const struct group_limits *limits, int64_t now_ms,
                   struct group_output *out)
{
    if (group->state == GROUP_DEAD) {
        return INT64_MAX;
    }
    if (expire_members(group, now_ms, out)) {
        on_departure(group, now_ms, out);
    }
    if (expire_pending(group, now_ms)) {
        try_complete_join(group, now_ms, out);
    }
    if (group->state == GROUP_PREPARING_REBALANCE && group->rebalance_deadline_ms <= now_ms) {
        extend_or_complete(group, limits, now_ms, out);
    }
    return group_next_deadline_ms(group);
}
