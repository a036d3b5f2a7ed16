/* The state machine of a group, rule by rule, with a clock that the test moves (test_group_random.c
 * lets many members act at random).
 *
 * An asker is a request that the group holds: it must be answered exactly once. */
#include "broker/coordinator/shard.h"

#include "base/tests/suite.h"
#include "broker/coordinator/group.h"
#include "protocol/error.h"

enum {
    SESSION_MS = 10000,
    REBALANCE_MS = 30000,
    DELAY_MS = 3000,
    TEXT_MAX = 128,
    MEMBERS_MAX = 64,
    ASKERS_MAX = 64,
};

struct asker {
    struct group_waiter waiter;
    int answers;
    err error;
    enum group_action_type type;
    int32_t generation;
    char member[TEXT_MAX];
    char leader[TEXT_MAX];
    char protocol[TEXT_MAX];
    char type_name[TEXT_MAX];
    char assignment[TEXT_MAX];
    char members[MEMBERS_MAX][TEXT_MAX];
    int members_n;
    char metadata[TEXT_MAX]; /* of the first member listed */
    bool skip;
};

static struct {
    struct group *group;
    struct group_limits limits;
    int64_t now_ms;
    struct group_output out;
    struct asker askers[ASKERS_MAX];
    int askers_n;
    enum group_store store; /* of the last event */
} t;

/* ---- what comes out ---- */

static void copy_text(char to[TEXT_MAX], struct str from)
{
    CU_ASSERT_FATAL(from.len < TEXT_MAX);
    snprintf(to, TEXT_MAX, "%.*s", (int)from.len, from.data == NULL ? "" : from.data);
}

static struct str str_of_bytes(struct bytes b)
{
    return (struct str){.data = (const char *)b.data, .len = b.len};
}

static void answer(const struct group_action *action)
{
    CU_ASSERT_PTR_NOT_NULL_FATAL(action->waiter);
    struct asker *w = container_of(action->waiter, struct asker, waiter);
    w->answers++;
    CU_ASSERT_EQUAL(w->answers, 1);
    CU_ASSERT_EQUAL(w->type, action->type);
    w->error = action->error;
    w->generation = action->generation;
    w->skip = action->skip_assignment;
    w->members_n = action->members_n;
    copy_text(w->member, action->member_id);
    copy_text(w->leader, action->leader_id);
    copy_text(w->protocol, action->protocol_name);
    copy_text(w->type_name, action->protocol_type);
    copy_text(w->assignment, str_of_bytes(action->assignment));
    for (int i = 0; i < action->members_n && i < MEMBERS_MAX; i++) {
        copy_text(w->members[i], action->members[i].id);
    }
    if (action->members_n > 0) {
        copy_text(w->metadata, str_of_bytes(action->members[0].metadata));
    }
}

static void event_begin(void)
{
    group_output_init(&t.out);
}

/* Answers what is to be answered; a held answer goes out at once, as when storing takes no time. */
static void event_end(void)
{
    for (int32_t i = 0; i < t.out.actions_n; i++) {
        answer(&t.out.actions[i]);
    }
    if (t.out.has_held) {
        CU_ASSERT_EQUAL(t.out.store, STORE_MEMBER);
        answer(&t.out.held);
    }
    t.store = t.out.store;
    group_output_deinit(&t.out);
}

static void begin(void)
{
    memset(&t, 0, sizeof(t));
    t.now_ms = 1000000;
    t.limits = (struct group_limits){.session_timeout_min_ms = 6000,
                                     .session_timeout_max_ms = 1800000,
                                     .initial_delay_ms = DELAY_MS,
                                     .size_max = INT32_MAX,
                                     .random = random_system()};
    t.group = group_new(STR("g"), t.now_ms);
}

static void end(void)
{
    event_begin();
    group_kill(t.group, ERR_NOT_COORDINATOR, &t.out);
    event_end();
    for (int i = 0; i < t.askers_n; i++) {
        CU_ASSERT_EQUAL(t.askers[i].answers, 1);
    }
    group_free(t.group);
}

static struct asker *asker_new(enum group_action_type type)
{
    CU_ASSERT_FATAL(t.askers_n < ASKERS_MAX);
    struct asker *w = &t.askers[t.askers_n++];
    w->type = type;
    return w;
}

/* ---- what goes in ---- */

static struct protocol range_only[] = {{STR("range"), {(const uint8_t *)"r", 1}}};

static struct join_event join_event(const char *member, const char *instance)
{
    return (struct join_event){.member_id = str_of(member),
                               .instance_id = str_of(instance),
                               .client_id = STR("client"),
                               .client_host = STR("/127.0.0.1"),
                               .protocol_type = STR("consumer"),
                               .protocols = range_only,
                               .protocols_n = 1,
                               .session_timeout_ms = SESSION_MS,
                               .rebalance_timeout_ms = REBALANCE_MS};
}

static struct asker *join_with(struct join_event e)
{
    struct asker *w = asker_new(ANSWER_JOIN);
    e.waiter = &w->waiter;
    event_begin();
    group_join(t.group, &e, &t.limits, t.now_ms, &t.out);
    event_end();
    return w;
}

/* "" is a new member; without an instance it joins at once, as clients before version 4 did. */
static struct asker *join(const char *member)
{
    return join_with(join_event(member, NULL));
}

static struct asker *join_static(const char *member, const char *instance)
{
    return join_with(join_event(member, instance));
}

static struct asker *sync_with(struct sync_event e)
{
    struct asker *w = asker_new(ANSWER_SYNC);
    e.waiter = &w->waiter;
    event_begin();
    group_sync(t.group, &e, t.now_ms, &t.out);
    event_end();
    return w;
}

static struct asker *sync_follower(const char *member)
{
    return sync_with(
        (struct sync_event){.member_id = str_of(member), .generation = t.group->generation});
}

/* Gives each member listed in the answer its own id as assignment. */
static struct asker *sync_leader(const struct asker *joined)
{
    struct join_member assignments[MEMBERS_MAX];
    for (int i = 0; i < joined->members_n; i++) {
        struct str id = str_of(joined->members[i]);
        assignments[i] = (struct join_member){.id = id, .metadata = bytes_of(id.data, id.len)};
    }
    return sync_with((struct sync_event){.member_id = str_of(joined->member),
                                         .generation = joined->generation,
                                         .assignments = assignments,
                                         .assignments_n = joined->members_n});
}

static void stored(err outcome)
{
    event_begin();
    group_assignment_stored(t.group, t.group->generation, outcome, t.now_ms, &t.out);
    event_end();
}

/* Time passes in steps; at each deadline the group is ticked, as the coordinator does. */
static void pass(int64_t ms)
{
    int64_t until_ms = t.now_ms + ms;
    for (;;) {
        int64_t next_ms = group_next_deadline_ms(t.group);
        if (next_ms > until_ms) {
            break;
        }
        t.now_ms = next_ms > t.now_ms ? next_ms : t.now_ms;
        event_begin();
        int64_t again_ms = group_tick(t.group, &t.limits, t.now_ms, &t.out);
        event_end();
        CU_ASSERT_FATAL(again_ms > t.now_ms); /* nothing that is due stays */
        CU_ASSERT_EQUAL(again_ms,
                        t.group->state == GROUP_DEAD ? INT64_MAX : group_next_deadline_ms(t.group));
    }
    t.now_ms = until_ms;
}

static err heartbeat(const char *member)
{
    return group_heartbeat(t.group, str_of(member), (struct str){0}, t.group->generation, t.now_ms);
}

static err leave(const char *member, const char *instance)
{
    event_begin();
    err e = group_leave(t.group, str_of(member), str_of(instance), t.now_ms, &t.out);
    event_end();
    return e;
}

static err commit(const char *member, const char *instance, int32_t generation)
{
    return group_check_commit(t.group, str_of(member), str_of(instance), generation, t.now_ms);
}

/* A stable group of n dynamic members; their waiters of the join, the leader's first. */
static void stable_group(int n, struct asker **joined)
{
    for (int i = 0; i < n; i++) {
        joined[i] = join("");
    }
    pass(DELAY_MS * 2);
    CU_ASSERT_EQUAL_FATAL(t.group->state, GROUP_COMPLETING_REBALANCE);
    struct asker *syncs[MEMBERS_MAX];
    for (int i = 1; i < n; i++) {
        syncs[i] = sync_follower(joined[i]->member);
    }
    syncs[0] = sync_leader(joined[0]);
    stored(OK);
    CU_ASSERT_EQUAL_FATAL(t.group->state, GROUP_STABLE);
    for (int i = 0; i < n; i++) {
        CU_ASSERT_EQUAL(syncs[i]->error, OK);
        CU_ASSERT_STRING_EQUAL(syncs[i]->assignment, joined[i]->member);
    }
}

/* ---- joining ---- */

static void test_first_generation(void)
{
    begin();
    CU_ASSERT_EQUAL(t.group->state, GROUP_EMPTY);
    struct asker *a = join("");
    CU_ASSERT_EQUAL(t.group->state, GROUP_PREPARING_REBALANCE);
    pass(1000);
    struct asker *b = join("");
    CU_ASSERT(a->answers == 0 && b->answers == 0);
    pass(1999);
    CU_ASSERT_EQUAL(a->answers, 0);
    pass(1);
    CU_ASSERT_EQUAL(a->answers, 0); /* somebody came: another window */
    pass(DELAY_MS);
    CU_ASSERT(a->answers == 1 && b->answers == 1);
    CU_ASSERT_EQUAL(t.group->state, GROUP_COMPLETING_REBALANCE);
    CU_ASSERT(a->error == OK && a->generation == 1 && b->generation == 1);
    CU_ASSERT_STRING_EQUAL(a->leader, a->member);
    CU_ASSERT_STRING_EQUAL(b->leader, a->member);
    CU_ASSERT_STRING_EQUAL(b->protocol, "range");
    CU_ASSERT_STRING_EQUAL(b->type_name, "consumer");
    CU_ASSERT(a->members_n == 2 && b->members_n == 0);
    CU_ASSERT_STRING_EQUAL(a->metadata, "r");
    CU_ASSERT_PTR_EQUAL(strstr(a->member, "client-"), a->member);
    CU_ASSERT_EQUAL(strlen(a->member), strlen("client-") + 36);
    CU_ASSERT_STRING_NOT_EQUAL(a->member, b->member);
    struct asker *sync_b = sync_follower(b->member);
    CU_ASSERT_EQUAL(sync_b->answers, 0);
    struct asker *sync_a = sync_leader(a);
    CU_ASSERT_EQUAL(t.store, STORE_ASSIGNMENT);
    CU_ASSERT_EQUAL(sync_a->answers, 0);
    stored(OK);
    CU_ASSERT(sync_a->error == OK && sync_b->error == OK);
    CU_ASSERT_STRING_EQUAL(sync_b->assignment, b->member);
    CU_ASSERT_STRING_EQUAL(sync_b->protocol, "range");
    CU_ASSERT_EQUAL(t.group->state, GROUP_STABLE);
    CU_ASSERT_EQUAL(heartbeat(a->member), OK);
    CU_ASSERT_STRING_EQUAL(sync_follower(b->member)->assignment, b->member); /* asked again */
    end();
}

/* Every window in which somebody came adds one, up to the rebalance timeout. */
static void test_initial_delay_is_bounded(void)
{
    begin();
    struct join_event e = join_event("", NULL);
    e.rebalance_timeout_ms = 7000;
    struct asker *first = join_with(e);
    int64_t start_ms = t.now_ms;
    while (first->answers == 0 && t.now_ms - start_ms < 60000) {
        pass(500);
        if (first->answers == 0) {
            (void)join_with(e);
        }
    }
    CU_ASSERT_EQUAL(t.now_ms - start_ms, 7000);
    CU_ASSERT_EQUAL(t.group->generation, 1);
    end();
    begin(); /* nobody else: one window */
    first = join("");
    pass(DELAY_MS - 1);
    CU_ASSERT_EQUAL(first->answers, 0);
    pass(1);
    CU_ASSERT_EQUAL(first->generation, 1);
    end();
    begin(); /* none wanted */
    t.limits.initial_delay_ms = 0;
    CU_ASSERT_EQUAL(join("")->generation, 1);
    end();
}

/* A group that was there before is not delayed by those who come later. */
static void test_delay_of_a_later_generation(void)
{
    begin();
    struct asker *joined[1];
    stable_group(1, joined);
    CU_ASSERT_EQUAL(leave(joined[0]->member, NULL), OK);
    CU_ASSERT_EQUAL(t.group->state, GROUP_EMPTY);
    CU_ASSERT_EQUAL(t.group->generation, 2);
    CU_ASSERT_EQUAL(t.store, STORE_GROUP);
    struct asker *a = join("");
    pass(1000);
    (void)join("");
    pass(1999);
    CU_ASSERT_EQUAL(a->answers, 0);
    pass(1);
    CU_ASSERT_EQUAL(a->generation, 3);
    end();
}

static void test_member_id_required(void)
{
    begin();
    t.limits.initial_delay_ms = 0;
    struct join_event e = join_event("", NULL);
    e.require_known_id = true;
    struct asker *told = join_with(e);
    CU_ASSERT_EQUAL(told->error, ERR_MEMBER_ID_REQUIRED);
    CU_ASSERT_EQUAL(strlen(told->member), strlen("client-") + 36);
    CU_ASSERT(group_size(t.group) == 0 && t.group->state == GROUP_EMPTY);
    struct asker *known = join(told->member);
    CU_ASSERT(known->error == OK && known->generation == 1);
    CU_ASSERT_STRING_EQUAL(known->member, told->member);
    CU_ASSERT_EQUAL(join("never-heard-of")->error, ERR_UNKNOWN_MEMBER_ID);
    /* A rebalance waits for those who were told their id. */
    (void)sync_leader(known);
    stored(OK);
    struct asker *other = join_with(e);
    struct asker *again = join(known->member);
    CU_ASSERT_EQUAL(again->answers, 0);
    struct asker *second = join(other->member);
    CU_ASSERT(again->generation == 2 && second->generation == 2);
    end();
}

/* Without a delay nobody waits for a client that was given an id and went away. */
static void test_no_delay(void)
{
    begin();
    t.limits.initial_delay_ms = 0;
    struct join_event e = join_event("", NULL);
    e.require_known_id = true;
    CU_ASSERT_EQUAL(join_with(e)->error, ERR_MEMBER_ID_REQUIRED);
    CU_ASSERT_EQUAL(t.group->pending.count, 1);
    struct asker *joined = join_with(join_event(join_with(e)->member, NULL));
    CU_ASSERT_EQUAL(joined->answers, 1);
    CU_ASSERT_EQUAL(joined->error, OK);
    CU_ASSERT_EQUAL(joined->generation, 1);
    end();
}

static void test_pending_id_expires(void)
{
    begin();
    struct asker *joined[1];
    stable_group(1, joined);
    struct join_event e = join_event("", NULL);
    e.require_known_id = true;
    struct asker *told = join_with(e);
    pass(SESSION_MS - 1);
    CU_ASSERT_EQUAL(heartbeat(joined[0]->member), OK);
    CU_ASSERT_EQUAL(t.group->pending.count, 1);
    pass(1);
    CU_ASSERT_EQUAL(t.group->pending.count, 0);
    CU_ASSERT_EQUAL(t.group->state, GROUP_STABLE); /* it was no member */
    CU_ASSERT_EQUAL(join(told->member)->error, ERR_UNKNOWN_MEMBER_ID);
    /* In a rebalance its end lets the others go on; so does its leaving. */
    for (int turn = 0; turn < 2; turn++) {
        told = join_with(e);
        struct asker *again = join(joined[0]->member);
        CU_ASSERT_EQUAL(again->answers, 0);
        if (turn == 0) {
            pass(SESSION_MS);
        } else {
            CU_ASSERT_EQUAL(leave(told->member, NULL), OK);
        }
        CU_ASSERT_EQUAL(again->generation, 2 + turn);
        (void)sync_leader(again);
        stored(OK);
    }
    end();
}

static void test_protocols_must_fit(void)
{
    begin();
    struct join_event e = join_event("", NULL);
    e.protocols_n = 0;
    CU_ASSERT_EQUAL(join_with(e)->error, ERR_INCONSISTENT_GROUP_PROTOCOL);
    e = join_event("", NULL);
    e.protocol_type = STR("");
    CU_ASSERT_EQUAL(join_with(e)->error, ERR_INCONSISTENT_GROUP_PROTOCOL);
    struct protocol many[101];
    for (int i = 0; i < 101; i++) {
        many[i] = range_only[0];
    }
    e = join_event("", NULL);
    e.protocols = many;
    e.protocols_n = 101; /* a list that is too long to be compared with others */
    CU_ASSERT_EQUAL(join_with(e)->error, ERR_INCONSISTENT_GROUP_PROTOCOL);
    CU_ASSERT_EQUAL(t.group->state, GROUP_EMPTY);
    (void)join("");
    e = join_event("", NULL);
    e.protocol_type = STR("connect");
    CU_ASSERT_EQUAL(join_with(e)->error, ERR_INCONSISTENT_GROUP_PROTOCOL);
    struct protocol other[] = {{STR("sticky"), {(const uint8_t *)"s", 1}}};
    e = join_event("", NULL);
    e.protocols = other;
    CU_ASSERT_EQUAL(join_with(e)->error, ERR_INCONSISTENT_GROUP_PROTOCOL);
    CU_ASSERT_EQUAL(group_size(t.group), 1);
    end();
}

/* Each votes for its first that all have; the most votes win. */
static void test_votes(void)
{
    begin();
    const struct bytes m = {(const uint8_t *)"m", 1};
    struct protocol a[] = {{STR("x"), m}, {STR("b"), m}, {STR("a"), m}};
    struct protocol b[] = {{STR("a"), m}, {STR("b"), m}};
    struct protocol c[] = {{STR("a"), m}, {STR("y"), m}, {STR("b"), m}};
    const struct {
        struct protocol *protocols;
        int32_t n;
    } members[] = {{a, 3}, {b, 2}, {c, 3}};
    struct asker *joined[3];
    for (int i = 0; i < 3; i++) {
        struct join_event e = join_event("", NULL);
        e.protocols = members[i].protocols;
        e.protocols_n = members[i].n;
        joined[i] = join_with(e);
    }
    pass(DELAY_MS * 2);
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_STRING_EQUAL(joined[i]->protocol, "a");
    }
    CU_ASSERT(
        bytes_equal(member_metadata(t.group, group_member(t.group, str_of(joined[1]->member))), m));
    end();
}

static void test_group_is_full(void)
{
    begin();
    t.limits.size_max = 2;
    struct asker *joined[2];
    stable_group(2, joined);
    CU_ASSERT_EQUAL(join("")->error, ERR_GROUP_MAX_SIZE_REACHED);
    CU_ASSERT_EQUAL(t.group->state, GROUP_STABLE);
    struct asker *a = join(joined[0]->member);
    struct asker *b = join(joined[1]->member);
    CU_ASSERT(a->error == OK && b->error == OK);
    /* Smaller than it is: the last to come back is put out, and the others go on. */
    t.limits.size_max = 1;
    (void)sync_leader(a);
    (void)sync_follower(b->member);
    stored(OK);
    struct asker *again = join(a->member);
    struct asker *out = join(b->member);
    CU_ASSERT_EQUAL(out->error, ERR_GROUP_MAX_SIZE_REACHED);
    CU_ASSERT_EQUAL(group_size(t.group), 1);
    CU_ASSERT_EQUAL(again->generation, 3);
    end();
}

/* ---- rejoining ---- */

static void test_rejoin_of_a_stable_group(void)
{
    begin();
    struct asker *joined[2];
    stable_group(2, joined);
    struct asker *follower = join(joined[1]->member); /* nothing new: the current generation */
    CU_ASSERT(follower->error == OK && follower->generation == 1 && follower->members_n == 0);
    CU_ASSERT_EQUAL(t.group->state, GROUP_STABLE);
    struct join_event e = join_event(joined[1]->member, NULL);
    struct protocol changed[] = {{STR("range"), {(const uint8_t *)"other", 5}}};
    e.protocols = changed;
    follower = join_with(e);
    CU_ASSERT(follower->answers == 0 && t.group->state == GROUP_PREPARING_REBALANCE);
    CU_ASSERT_EQUAL(heartbeat(joined[0]->member), ERR_REBALANCE_IN_PROGRESS);
    struct asker *leader = join(joined[0]->member);
    CU_ASSERT(leader->generation == 2 && follower->generation == 2); /* all are there: at once */
    CU_ASSERT_EQUAL(leader->members_n, 2);
    /* While the assignment is awaited: the same again, with members for the leader only. */
    CU_ASSERT_EQUAL(join(joined[0]->member)->members_n, 2);
    struct asker *same = join_with(e);
    CU_ASSERT(same->generation == 2 && same->members_n == 0);
    (void)sync_leader(leader);
    (void)sync_follower(follower->member);
    stored(OK);
    leader = join(joined[0]->member); /* the leader asks for a rebalance by joining */
    CU_ASSERT(leader->answers == 0 && t.group->state == GROUP_PREPARING_REBALANCE);
    end();
}

static void test_change_while_syncing(void)
{
    begin();
    struct asker *joined[3];
    for (int i = 0; i < 3; i++) {
        joined[i] = join("");
    }
    pass(DELAY_MS * 2);
    struct asker *sync = sync_follower(joined[1]->member);
    struct join_event e = join_event(joined[2]->member, NULL);
    struct protocol changed[] = {{STR("range"), {(const uint8_t *)"other", 5}}};
    e.protocols = changed;
    (void)join_with(e);
    CU_ASSERT_EQUAL(sync->error, ERR_REBALANCE_IN_PROGRESS);
    CU_ASSERT_EQUAL(sync_leader(joined[0])->error, ERR_REBALANCE_IN_PROGRESS);
    CU_ASSERT_EQUAL(sync_follower(joined[1]->member)->error, ERR_REBALANCE_IN_PROGRESS);
    end();
}

/* The assignment of a generation that is over changes nothing. */
static void test_stored_too_late(void)
{
    begin();
    struct asker *joined[2];
    for (int i = 0; i < 2; i++) {
        joined[i] = join("");
    }
    pass(DELAY_MS * 2);
    struct asker *sync = sync_leader(joined[0]);
    struct asker *third = join("");
    CU_ASSERT_EQUAL(sync->error, ERR_REBALANCE_IN_PROGRESS);
    stored(OK);
    CU_ASSERT_EQUAL(t.group->state, GROUP_PREPARING_REBALANCE);
    (void)join(joined[0]->member);
    (void)join(joined[1]->member);
    CU_ASSERT_EQUAL(third->generation, 2);
    stored(OK); /* nobody has assigned yet */
    CU_ASSERT_EQUAL(t.group->state, GROUP_COMPLETING_REBALANCE);
    event_begin();
    group_assignment_stored(t.group, 1, OK, t.now_ms, &t.out);
    event_end();
    CU_ASSERT_EQUAL(t.group->state, GROUP_COMPLETING_REBALANCE);
    end();
}

static void test_storing_fails(void)
{
    begin();
    struct asker *joined[2];
    for (int i = 0; i < 2; i++) {
        joined[i] = join("");
    }
    pass(DELAY_MS * 2);
    struct asker *follower = sync_follower(joined[1]->member);
    struct asker *leader = sync_leader(joined[0]);
    stored(ERR_COORDINATOR_NOT_AVAILABLE);
    CU_ASSERT_EQUAL(leader->error, ERR_COORDINATOR_NOT_AVAILABLE);
    CU_ASSERT_EQUAL(follower->error, ERR_COORDINATOR_NOT_AVAILABLE);
    CU_ASSERT_EQUAL(t.group->state, GROUP_PREPARING_REBALANCE);
    (void)join(joined[0]->member);
    CU_ASSERT_EQUAL(join(joined[1]->member)->generation, 2);
    end();
}

/* An older request of the same member is answered when a newer one takes its place. */
static void test_requests_are_replaced(void)
{
    begin();
    struct asker *joined[2];
    stable_group(2, joined);
    struct asker *first = join(joined[0]->member);
    struct asker *second = join(joined[0]->member);
    CU_ASSERT(first->answers == 1 && second->answers == 0);
    (void)join(joined[1]->member);
    CU_ASSERT_EQUAL(second->error, OK);
    first = sync_follower(joined[1]->member);
    second = sync_follower(joined[1]->member);
    CU_ASSERT(first->answers == 1 && second->answers == 0);
    end();
}

/* ---- checks ---- */

static void test_checks(void)
{
    begin();
    struct asker *joined[1];
    CU_ASSERT_EQUAL(heartbeat("nobody"), ERR_UNKNOWN_MEMBER_ID);
    CU_ASSERT_EQUAL(sync_follower("nobody")->error, ERR_UNKNOWN_MEMBER_ID);
    CU_ASSERT_EQUAL(leave("nobody", NULL), ERR_UNKNOWN_MEMBER_ID);
    CU_ASSERT_EQUAL(leave("", "no-instance"), ERR_UNKNOWN_MEMBER_ID);
    stable_group(1, joined);
    struct str id = str_of(joined[0]->member);
    CU_ASSERT_EQUAL(group_heartbeat(t.group, id, (struct str){0}, 0, t.now_ms),
                    ERR_ILLEGAL_GENERATION);
    CU_ASSERT_EQUAL(group_heartbeat(t.group, id, (struct str){0}, 2, t.now_ms),
                    ERR_ILLEGAL_GENERATION);
    CU_ASSERT_EQUAL(group_heartbeat(t.group, id, STR("no"), 1, t.now_ms), ERR_UNKNOWN_MEMBER_ID);
    struct sync_event e = {.member_id = id, .generation = 2};
    CU_ASSERT_EQUAL(sync_with(e)->error, ERR_ILLEGAL_GENERATION);
    e.generation = 1;
    e.protocol_type = STR("connect");
    CU_ASSERT_EQUAL(sync_with(e)->error, ERR_INCONSISTENT_GROUP_PROTOCOL);
    e.protocol_type = STR("consumer");
    e.protocol_name = STR("sticky");
    CU_ASSERT_EQUAL(sync_with(e)->error, ERR_INCONSISTENT_GROUP_PROTOCOL);
    e.protocol_name = STR("range");
    CU_ASSERT_EQUAL(sync_with(e)->error, OK);
    end();
}

static void test_dead(void)
{
    begin();
    struct asker *joined[2];
    stable_group(2, joined);
    struct asker *waits = join(joined[0]->member);
    event_begin();
    group_kill(t.group, ERR_NOT_COORDINATOR, &t.out);
    event_end();
    CU_ASSERT_EQUAL(waits->error, ERR_NOT_COORDINATOR);
    CU_ASSERT_EQUAL(t.group->state, GROUP_DEAD);
    CU_ASSERT_EQUAL(join("")->error, ERR_COORDINATOR_NOT_AVAILABLE);
    CU_ASSERT_EQUAL(sync_follower("x")->error, ERR_COORDINATOR_NOT_AVAILABLE);
    CU_ASSERT_EQUAL(heartbeat("x"), ERR_COORDINATOR_NOT_AVAILABLE);
    CU_ASSERT_EQUAL(leave("x", NULL), ERR_COORDINATOR_NOT_AVAILABLE);
    CU_ASSERT_EQUAL(commit("", NULL, -1), ERR_COORDINATOR_NOT_AVAILABLE);
    end();
}

static void test_commits(void)
{
    begin();
    CU_ASSERT_EQUAL(commit("", NULL, -1), OK);
    CU_ASSERT_EQUAL(commit("x", NULL, -1), OK);
    CU_ASSERT_EQUAL(commit("x", NULL, 0), ERR_UNKNOWN_MEMBER_ID);
    struct asker *a = join("");
    struct asker *s = join_static("", "one");
    pass(DELAY_MS * 2);
    CU_ASSERT_EQUAL(t.group->state, GROUP_COMPLETING_REBALANCE);
    CU_ASSERT_EQUAL(commit(a->member, NULL, 1), ERR_REBALANCE_IN_PROGRESS);
    CU_ASSERT_EQUAL(commit(a->member, NULL, 0), ERR_ILLEGAL_GENERATION);
    (void)sync_leader(a);
    (void)sync_follower(s->member);
    stored(OK);
    CU_ASSERT_EQUAL(commit(a->member, NULL, 1), OK);
    CU_ASSERT_EQUAL(commit(a->member, NULL, -1), ERR_ILLEGAL_GENERATION);
    CU_ASSERT_EQUAL(commit("", NULL, -1), ERR_UNKNOWN_MEMBER_ID);
    CU_ASSERT_EQUAL(commit("x", NULL, 1), ERR_UNKNOWN_MEMBER_ID);
    CU_ASSERT_EQUAL(commit(s->member, "one", 1), OK);
    CU_ASSERT_EQUAL(commit(a->member, "one", 1), ERR_FENCED_INSTANCE_ID);
    CU_ASSERT_EQUAL(commit(s->member, "two", 1), ERR_UNKNOWN_MEMBER_ID);
    pass(SESSION_MS - 1); /* a commit is a sign of life */
    CU_ASSERT_EQUAL(commit(a->member, NULL, 1), OK);
    CU_ASSERT_EQUAL(commit(s->member, "one", 1), OK);
    pass(SESSION_MS - 1);
    CU_ASSERT_EQUAL(group_size(t.group), 2);
    (void)join(a->member); /* the leader: a rebalance begins */
    CU_ASSERT_EQUAL(commit(s->member, "one", 1), OK);
    end();
}

/* ---- time ---- */

static void test_session_expires(void)
{
    begin();
    struct asker *joined[3];
    stable_group(3, joined);
    pass(SESSION_MS - 1);
    CU_ASSERT_EQUAL(heartbeat(joined[1]->member), OK);
    CU_ASSERT_EQUAL(heartbeat(joined[2]->member), OK);
    CU_ASSERT_EQUAL(t.group->state, GROUP_STABLE);
    pass(1);
    CU_ASSERT_EQUAL(group_size(t.group), 2);
    CU_ASSERT_EQUAL(t.group->state, GROUP_PREPARING_REBALANCE);
    CU_ASSERT_EQUAL(heartbeat(joined[0]->member), ERR_UNKNOWN_MEMBER_ID);
    CU_ASSERT_EQUAL(heartbeat(joined[1]->member), ERR_REBALANCE_IN_PROGRESS);
    struct asker *b = join(joined[1]->member);
    pass(SESSION_MS * 2); /* who waits is alive; the third is not */
    CU_ASSERT_EQUAL(b->generation, 2);
    CU_ASSERT_STRING_EQUAL(b->leader, b->member);
    CU_ASSERT_EQUAL(b->members_n, 1);
    end();
}

/* A rebalance waits as long as the longest timeout, then goes on without the others. */
static void test_rebalance_timeout(void)
{
    begin();
    struct asker *joined[2];
    struct join_event e = join_event("", NULL);
    e.session_timeout_ms = 600000;
    joined[0] = join_with(e);
    e.rebalance_timeout_ms = 50000;
    joined[1] = join_with(e);
    pass(DELAY_MS * 2);
    (void)sync_leader(joined[0]);
    (void)sync_follower(joined[1]->member);
    stored(OK);
    e.member_id = str_of(joined[0]->member);
    e.rebalance_timeout_ms = REBALANCE_MS;
    struct asker *a = join_with(e);
    pass(50000 - 1);
    CU_ASSERT_EQUAL(a->answers, 0);
    pass(1);
    CU_ASSERT_EQUAL(a->generation, 2);
    CU_ASSERT_EQUAL(group_size(t.group), 1);
    end();
}

/* Who has its generation and does not sync is out, whether the leader has synced or not. */
static void test_sync_timeout(void)
{
    for (int turn = 0; turn < 2; turn++) {
        begin();
        struct join_event e = join_event("", NULL);
        e.session_timeout_ms = 600000;
        struct asker *a = join_with(e);
        struct asker *b = join_with(e);
        pass(DELAY_MS * 2);
        int64_t issued_ms = t.now_ms;
        CU_ASSERT_EQUAL(a->generation, 1);
        struct asker *sync = turn == 0 ? sync_leader(a) : sync_follower(b->member);
        const char *late = turn == 0 ? b->member : a->member;
        if (turn == 0) {
            stored(OK);
            CU_ASSERT_EQUAL(sync->error, OK);
        }
        pass(issued_ms + REBALANCE_MS - 1 - t.now_ms);
        CU_ASSERT_EQUAL(group_size(t.group), 2);
        pass(1);
        CU_ASSERT_EQUAL(group_size(t.group), 1);
        CU_ASSERT_PTR_NULL(group_member(t.group, str_of(late)));
        CU_ASSERT_EQUAL(t.group->state, GROUP_PREPARING_REBALANCE);
        CU_ASSERT_EQUAL(sync->error, turn == 0 ? OK : ERR_REBALANCE_IN_PROGRESS);
        end();
    }
}

/* Who waited in SyncGroup for longer than its session, and is told to join again, is alive. */
static void test_session_after_a_long_sync(void)
{
    begin();
    struct asker *a = join("");
    struct asker *b = join("");
    pass(DELAY_MS * 2);
    struct asker *sync = sync_follower(b->member);
    for (int i = 0; i < 2; i++) {
        pass(SESSION_MS - 1);
        CU_ASSERT_EQUAL(heartbeat(a->member), OK);
    }
    CU_ASSERT_EQUAL(leave(a->member, NULL), OK);
    CU_ASSERT_EQUAL(sync->error, ERR_REBALANCE_IN_PROGRESS);
    pass(SESSION_MS - 1);
    CU_ASSERT_EQUAL(join(b->member)->generation, 2);
    end();
}

/* A new member does not know its id and cannot be told from one that is gone: five minutes. */
static void test_new_member_gives_up(void)
{
    begin();
    struct asker *joined[1];
    struct join_event e = join_event("", NULL);
    e.rebalance_timeout_ms = 600000;
    e.session_timeout_ms = 1800000;
    joined[0] = join_with(e);
    pass(DELAY_MS);
    (void)sync_leader(joined[0]);
    stored(OK);
    struct asker *fresh = join("");
    pass(300000 - 1);
    CU_ASSERT_EQUAL(fresh->answers, 0);
    pass(1);
    CU_ASSERT_EQUAL(fresh->error, ERR_UNKNOWN_MEMBER_ID);
    CU_ASSERT_STRING_EQUAL(fresh->member, "");
    CU_ASSERT_EQUAL(group_size(t.group), 1);
    end();
}

/* ---- leaving ---- */

static void test_leave(void)
{
    begin();
    struct asker *joined[3];
    stable_group(3, joined);
    CU_ASSERT_EQUAL(leave(joined[0]->member, NULL), OK);
    CU_ASSERT_EQUAL(leave(joined[0]->member, NULL), ERR_UNKNOWN_MEMBER_ID);
    CU_ASSERT_EQUAL(t.group->state, GROUP_PREPARING_REBALANCE);
    struct asker *b = join(joined[1]->member);
    CU_ASSERT_EQUAL(b->answers, 0);
    CU_ASSERT_EQUAL(leave(joined[2]->member, NULL), OK); /* nobody is missing any more */
    CU_ASSERT(b->generation == 2 && b->members_n == 1);
    CU_ASSERT_STRING_EQUAL(b->leader, b->member);
    struct asker *sync = sync_leader(b);
    CU_ASSERT_EQUAL(leave(b->member, NULL), OK); /* while its sync waits */
    CU_ASSERT_EQUAL(sync->error, ERR_UNKNOWN_MEMBER_ID);
    CU_ASSERT(t.group->state == GROUP_EMPTY && t.group->generation == 3);
    CU_ASSERT_PTR_NULL(t.group->leader_id.data);
    stored(OK);
    CU_ASSERT_EQUAL(t.group->state, GROUP_EMPTY);
    end();
}

static void test_leave_while_joining(void)
{
    begin();
    struct asker *a = join("");
    struct member *m = container_of(t.group->members.next, struct member, link);
    char id[TEXT_MAX];
    copy_text(id, m->id);
    CU_ASSERT_EQUAL(leave(id, NULL), OK);
    CU_ASSERT_EQUAL(a->error, ERR_UNKNOWN_MEMBER_ID);
    pass(DELAY_MS * 3);
    CU_ASSERT_EQUAL(t.group->state, GROUP_EMPTY);
    CU_ASSERT_EQUAL(group_next_deadline_ms(t.group), INT64_MAX);
    end();
}

/* ---- static members ---- */

/* A stable group of two static members, "one" (the leader) and "two". */
static void static_group(struct asker **one, struct asker **two)
{
    *one = join_static("", "one");
    *two = join_static("", "two");
    pass(DELAY_MS * 2);
    (void)sync_leader(*one);
    (void)sync_follower((*two)->member);
    stored(OK);
    CU_ASSERT_EQUAL_FATAL(t.group->state, GROUP_STABLE);
    CU_ASSERT_PTR_EQUAL(strstr((*one)->member, "one-"), (*one)->member);
}

static void test_static_member_comes_back(void)
{
    begin();
    struct asker *one;
    struct asker *two;
    static_group(&one, &two);
    struct asker *back = join_static("", "two");
    CU_ASSERT_EQUAL(t.store, STORE_MEMBER);
    CU_ASSERT(back->error == OK && back->generation == 1 && back->members_n == 0);
    CU_ASSERT_STRING_NOT_EQUAL(back->member, two->member);
    CU_ASSERT_STRING_EQUAL(back->leader, one->member);
    CU_ASSERT_EQUAL(t.group->state, GROUP_STABLE);
    CU_ASSERT_STRING_EQUAL(sync_follower(back->member)->assignment, two->member);
    CU_ASSERT_EQUAL(heartbeat(two->member), ERR_UNKNOWN_MEMBER_ID);
    CU_ASSERT_EQUAL(group_heartbeat(t.group, str_of(two->member), STR("two"), 1, t.now_ms),
                    ERR_FENCED_INSTANCE_ID);
    CU_ASSERT_EQUAL(join_static(two->member, "two")->error, ERR_FENCED_INSTANCE_ID);
    CU_ASSERT_EQUAL(leave(two->member, "two"), ERR_FENCED_INSTANCE_ID);
    CU_ASSERT_EQUAL(join_static(back->member, "two")->error, OK);
    end();
}

static void test_static_member_not_stored(void)
{
    begin();
    struct asker *one;
    struct asker *two;
    static_group(&one, &two);
    struct asker *back = join_static("", "one");
    CU_ASSERT_EQUAL(t.store, STORE_MEMBER);
    struct group_action refused = {.type = ANSWER_JOIN};
    t.now_ms += 1;
    group_member_not_stored(t.group, str_of(back->member), str_of(one->member), t.now_ms, &refused);
    group_check(t.group);
    CU_ASSERT(str_is(refused.leader_id, one->member) && refused.generation == 1);
    CU_ASSERT_EQUAL(heartbeat(one->member), OK);
    CU_ASSERT_EQUAL(heartbeat(back->member), ERR_UNKNOWN_MEMBER_ID);
    /* in the meantime it has gone, or is another */
    group_member_not_stored(t.group, STR("nobody"), STR("two"), t.now_ms, &refused);
    CU_ASSERT_EQUAL(heartbeat(two->member), OK);
    end();
}

static void test_static_leader_comes_back(void)
{
    begin();
    struct asker *one;
    struct asker *two;
    static_group(&one, &two);
    struct asker *old_client = join_static("", "one");
    CU_ASSERT(old_client->members_n == 0 && !old_client->skip);
    CU_ASSERT_STRING_EQUAL(old_client->leader, one->member); /* so that it does not assign */
    struct join_event e = join_event("", "one");
    e.can_skip_assignment = true;
    struct asker *client = join_with(e);
    CU_ASSERT(client->members_n == 2 && client->skip);
    CU_ASSERT_STRING_EQUAL(client->leader, client->member);
    CU_ASSERT_EQUAL(t.group->state, GROUP_STABLE);
    CU_ASSERT_EQUAL(t.group->generation, 1);
    end();
}

static void test_static_member_with_other_protocols(void)
{
    begin();
    const struct bytes m = {(const uint8_t *)"m", 1};
    struct protocol both[] = {{STR("range"), m}, {STR("sticky"), m}};
    struct protocol turned[] = {{STR("sticky"), m}, {STR("range"), m}};
    struct join_event e = join_event("", "one");
    e.protocols = both;
    e.protocols_n = 2;
    struct asker *one = join_with(e);
    pass(DELAY_MS * 2);
    CU_ASSERT_STRING_EQUAL(one->protocol, "range");
    (void)sync_leader(one);
    stored(OK);
    e.protocols = turned;
    struct asker *back = join_with(e);
    CU_ASSERT(back->generation == 2); /* alone: the rebalance is over at once */
    CU_ASSERT_STRING_EQUAL(back->protocol, "sticky");
    end();
}

/* A waiting request of the old incarnation is fenced. */
static void test_static_member_is_fenced(void)
{
    begin();
    struct asker *one;
    struct asker *two;
    static_group(&one, &two);
    struct asker *waits = join_static(one->member, "one"); /* the leader: a rebalance */
    CU_ASSERT_EQUAL(waits->answers, 0);
    struct asker *back = join_static("", "one");
    CU_ASSERT_EQUAL(waits->error, ERR_FENCED_INSTANCE_ID);
    (void)join_static(two->member, "two");
    CU_ASSERT(back->error == OK && back->generation == 2 && back->members_n == 2);
    struct asker *sync = sync_follower(two->member);
    (void)join_static("", "two");
    CU_ASSERT_EQUAL(sync->error, ERR_FENCED_INSTANCE_ID);
    CU_ASSERT_EQUAL(t.group->state, GROUP_PREPARING_REBALANCE);
    end();
}

/* Static members stay through a rebalance in which they are away, until their session ends. */
static void test_static_member_is_away(void)
{
    begin();
    struct join_event e = join_event("", "one");
    e.session_timeout_ms = 100000;
    struct asker *one = join_with(e);
    e.instance_id = STR("two");
    struct asker *two = join_with(e);
    struct asker *dynamic = join("");
    pass(DELAY_MS * 2);
    (void)sync_leader(one);
    (void)sync_follower(two->member);
    (void)sync_follower(dynamic->member);
    stored(OK);
    CU_ASSERT_EQUAL(leave(dynamic->member, NULL), OK);
    struct asker *again = join_static(two->member, "two");
    pass(REBALANCE_MS);
    CU_ASSERT(again->error == OK && again->generation == 2);
    CU_ASSERT_STRING_EQUAL(again->leader, two->member); /* the leader must be one that is there */
    CU_ASSERT(again->members_n == 2 && group_size(t.group) == 2);
    end();
    /* All are away: the rebalance waits for them, and then for their sessions. */
    begin();
    e.instance_id = STR("one");
    one = join_with(e);
    dynamic = join("");
    pass(DELAY_MS * 2);
    (void)sync_leader(one);
    (void)sync_follower(dynamic->member);
    stored(OK);
    CU_ASSERT_EQUAL(leave(dynamic->member, NULL), OK);
    pass(REBALANCE_MS + 1000);
    CU_ASSERT_EQUAL(t.group->state, GROUP_PREPARING_REBALANCE);
    CU_ASSERT_EQUAL(group_size(t.group), 1);
    pass(100000);
    CU_ASSERT_EQUAL(t.group->state, GROUP_EMPTY);
    end();
}

static void test_leave_by_instance(void)
{
    begin();
    struct asker *one;
    struct asker *two;
    static_group(&one, &two);
    CU_ASSERT_EQUAL(leave("", "two"), OK);
    CU_ASSERT_EQUAL(leave("", "two"), ERR_UNKNOWN_MEMBER_ID);
    CU_ASSERT_EQUAL(leave(one->member, "one"), OK);
    CU_ASSERT_EQUAL(t.group->state, GROUP_EMPTY);
    CU_ASSERT_EQUAL(t.group->by_instance.count, 0);
    end();
}

/* ---- loading ---- */

static void test_loaded(void)
{
    begin();
    group_set_text(&t.group->protocol_type, STR("consumer"));
    group_set_text(&t.group->protocol_name, STR("range"));
    group_set_text(&t.group->leader_id, STR("m1"));
    t.group->generation = 7;
    t.group->state = GROUP_STABLE;
    static const char *const IDS[] = {"m1", "m2"};
    for (int i = 0; i < 2; i++) {
        struct member *m = group_add_loaded(
            t.group, str_of(IDS[i]), i == 1 ? STR("two") : (struct str){0}, STR("c"), STR("/h"));
        m->session_timeout_ms = SESSION_MS;
        m->rebalance_timeout_ms = REBALANCE_MS;
        m->session_deadline_ms = t.now_ms + SESSION_MS;
        member_set_protocol(m, STR("range"), bytes_of("x", 1));
        member_set_assignment(m, bytes_of(IDS[i], 2));
    }
    CU_ASSERT_EQUAL(heartbeat("m1"), OK);
    CU_ASSERT_STRING_EQUAL(sync_follower("m2")->assignment, "m2");
    pass(SESSION_MS / 2);
    CU_ASSERT_EQUAL(group_heartbeat(t.group, STR("m2"), STR("two"), 7, t.now_ms), OK);
    pass(SESSION_MS / 2);
    CU_ASSERT_PTR_NULL(group_member(t.group, STR("m1")));
    CU_ASSERT_EQUAL(t.group->state, GROUP_PREPARING_REBALANCE);
    struct asker *back = join_static("m2", "two");
    CU_ASSERT_EQUAL(back->generation, 8);
    end();
}

static void test_state_names(void)
{
    CU_ASSERT_STRING_EQUAL(group_state_name(GROUP_EMPTY), "Empty");
    CU_ASSERT_STRING_EQUAL(group_state_name(GROUP_PREPARING_REBALANCE), "PreparingRebalance");
    CU_ASSERT_STRING_EQUAL(group_state_name(GROUP_COMPLETING_REBALANCE), "CompletingRebalance");
    CU_ASSERT_STRING_EQUAL(group_state_name(GROUP_STABLE), "Stable");
    CU_ASSERT_STRING_EQUAL(group_state_name(GROUP_DEAD), "Dead");
}

SUITE("group", TEST(test_first_generation), TEST(test_initial_delay_is_bounded),
      TEST(test_delay_of_a_later_generation), TEST(test_member_id_required), TEST(test_no_delay),
      TEST(test_pending_id_expires), TEST(test_protocols_must_fit), TEST(test_votes),
      TEST(test_group_is_full), TEST(test_rejoin_of_a_stable_group),
      TEST(test_change_while_syncing), TEST(test_stored_too_late), TEST(test_storing_fails),
      TEST(test_requests_are_replaced), TEST(test_checks), TEST(test_dead), TEST(test_commits),
      TEST(test_session_expires), TEST(test_rebalance_timeout), TEST(test_sync_timeout),
      TEST(test_session_after_a_long_sync), TEST(test_new_member_gives_up), TEST(test_leave),
      TEST(test_leave_while_joining), TEST(test_static_member_comes_back),
      TEST(test_static_member_not_stored), TEST(test_static_leader_comes_back),
      TEST(test_static_member_with_other_protocols), TEST(test_static_member_is_fenced),
      TEST(test_static_member_is_away), TEST(test_leave_by_instance), TEST(test_loaded),
      TEST(test_state_names))
