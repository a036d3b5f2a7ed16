/* Up to fifty members of a group that act at random: they join (some told their id first, some
 * static), sync, commit, change what they subscribe, leave, crash and come back; storing takes time
 * and may fail. Each run has a seed; a failing one is printed (test_group_random SEED runs it
 * alone).
 *
 * After each event the group is in order (group_check), every request is answered at most once,
 * generations grow by one at a time, one leader is named for each of them and only it is told the
 * members, nothing that is due stays, and a partition has one owner in a generation. At the end, when all who are left do what a client
 * does, the group becomes stable with everybody in it, and stays so. */
#include "broker/coordinator/group.h"

#include "base/tests/suite.h"
#include "protocol/error.h"

#include <signal.h>

enum {
    SEEDS = 150,
    CLIENTS_MAX = 50,
    MEMBERS_MAX = 2 * CLIENTS_MAX, /* an answer that is lost leaves a member that must expire */
    PARTITIONS = 64,
    STEPS = 1500,
    ID_MAX = 96,
    REQUESTS_MAX = 20000,
    CALM_MS = 400000, /* more than any timeout, twice */
};

enum phase { OUT, JOINING, JOINED, SYNCING, WORKING, CRASHED };

struct client {
    enum phase phase;
    bool is_static;
    bool asks_id; /* version 4 and later */
    char instance[16];
    char id[ID_MAX];
    int32_t generation;
    char leader[ID_MAX];
    int subscription; /* changes its metadata */
    int session_ms;
    int rebalance_ms;
    int64_t heartbeat_ms; /* the last sign of life */
    struct request *waits;
    bool told_members;
    char members[MEMBERS_MAX][ID_MAX];
    int members_n;
};

struct request {
    struct group_waiter waiter;
    int answers;
    struct client *client;
    char id[ID_MAX]; /* whose it was */
};

static struct {
    struct seeded_random random;
    struct group *group;
    struct group_limits limits;
    int64_t now_ms;
    struct client clients[CLIENTS_MAX];
    int clients_n;
    struct request requests[REQUESTS_MAX];
    int requests_n;
    struct group_output out;

    int32_t generation;  /* the last that was seen */
    char leader[ID_MAX]; /* of that generation */
    int32_t owners_of;   /* the generation of the owners */
    struct client *owners[PARTITIONS];
    bool storing;
    int32_t storing_generation;
    bool calm; /* nobody crashes, leaves or changes */
    bool failed;
} s;

/* A violated invariant is told once for a seed. */
#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition) && !s.failed) {                                                           \
            printf("line %d: %s\n", __LINE__, #condition);                                         \
            s.failed = true;                                                                       \
        }                                                                                          \
    } while (0)

static uint32_t below(uint32_t n)
{
    return random_below(&s.random.random, n);
}

static void copy_id(char to[ID_MAX], struct str from)
{
    HOLDS(from.len < ID_MAX);
    snprintf(to, ID_MAX, "%.*s", (int)from.len, from.data == NULL ? "" : from.data);
}

/* ---- answers ---- */

static void on_join_answer(struct client *c, const struct group_action *a)
{
    c->phase = OUT;
    if (a->error == ERR_MEMBER_ID_REQUIRED) {
        copy_id(c->id, a->member_id);
        return;
    }
    if (a->error != OK) {
        HOLDS(a->error == ERR_UNKNOWN_MEMBER_ID || a->error == ERR_FENCED_INSTANCE_ID ||
              a->error == ERR_NOT_COORDINATOR);
        c->id[0] = '\0';
        return;
    }
    HOLDS(a->generation == s.group->generation);
    HOLDS(s.group->state == GROUP_COMPLETING_REBALANCE || s.group->state == GROUP_STABLE);
    copy_id(c->id, a->member_id);
    copy_id(c->leader, a->leader_id);
    HOLDS(group_member(s.group, str_of(c->id)) != NULL);
    if (a->generation != s.generation) {
        HOLDS(a->generation > s.generation);
        s.generation = a->generation;
        copy_id(s.leader, a->leader_id);
        HOLDS(group_member(s.group, a->leader_id) != NULL);
    }
    /* One leader in a generation; a static one that came back may be called by its old id. */
    bool leads = strcmp(c->id, c->leader) == 0;
    HOLDS(leads || a->members_n == 0);
    c->told_members = a->members_n > 0;
    c->members_n = 0;
    HOLDS(a->members_n <= MEMBERS_MAX);
    for (int i = 0; i < a->members_n && i < MEMBERS_MAX; i++) {
        copy_id(c->members[c->members_n++], a->members[i].id);
    }
    HOLDS(!c->told_members || a->members_n == group_size(s.group));
    c->generation = a->generation;
    c->phase = JOINED;
    c->heartbeat_ms = s.now_ms;
}

static void on_sync_answer(struct client *c, const struct group_action *a)
{
    if (a->error != OK) {
        c->phase = OUT;
        if (a->error == ERR_UNKNOWN_MEMBER_ID || a->error == ERR_FENCED_INSTANCE_ID) {
            c->id[0] = '\0';
        }
        return;
    }
    HOLDS(s.group->state == GROUP_STABLE && c->generation == s.group->generation);
    if (s.owners_of != c->generation) {
        s.owners_of = c->generation;
        memset(s.owners, 0, sizeof(s.owners));
    }
    for (size_t i = 0; i < a->assignment.len; i++) {
        struct client **owner = &s.owners[a->assignment.data[i] % PARTITIONS];
        HOLDS(*owner == NULL || *owner == c); /* exclusivity */
        *owner = c;
    }
    c->phase = WORKING;
    c->heartbeat_ms = s.now_ms;
}

static void deliver(const struct group_action *a)
{
    struct request *r = container_of(a->waiter, struct request, waiter);
    HOLDS(r != NULL && r->answers == 0);
    r->answers++;
    struct client *c = r->client;
    if (c->waits != r) {
        return; /* it has crashed, or asked again */
    }
    c->waits = NULL;
    if (a->type == ANSWER_JOIN) {
        on_join_answer(c, a);
    } else {
        on_sync_answer(c, a);
    }
}

/* ---- events ---- */

static int32_t generation_before;

static void event_begin(void)
{
    generation_before = s.group->generation;
    group_output_init(&s.out);
}

static void event_end(void)
{
    HOLDS(s.group->generation == generation_before || s.group->generation == generation_before + 1);
    if (s.out.store == STORE_ASSIGNMENT) {
        HOLDS(s.group->state == GROUP_COMPLETING_REBALANCE);
        s.storing = true;
        s.storing_generation = s.group->generation;
    }
    for (int32_t i = 0; i < s.out.actions_n; i++) {
        deliver(&s.out.actions[i]);
    }
    HOLDS(s.out.has_held == (s.out.store == STORE_MEMBER));
    if (s.out.has_held) {
        deliver(&s.out.held);
    }
    group_check(s.group);
    group_output_deinit(&s.out);
}

/* ---- what clients do ---- */

static struct request *request_new(struct client *c)
{
    CU_ASSERT_FATAL(s.requests_n < REQUESTS_MAX);
    struct request *r = &s.requests[s.requests_n++];
    *r = (struct request){.client = c};
    c->waits = r;
    return r;
}

static void client_join(struct client *c)
{
    char metadata[16];
    snprintf(metadata, sizeof(metadata), "s%d", c->subscription);
    struct protocol protocols[] = {{STR("sticky"), bytes_of(metadata, strlen(metadata))},
                                   {STR("range"), bytes_of(metadata, strlen(metadata))}};
    bool both = c->session_ms % 2 == 0;
    struct join_event e = {.member_id = str_of(c->id),
                           .instance_id = c->is_static ? str_of(c->instance) : (struct str){0},
                           .client_id = STR("c"),
                           .client_host = STR("/1"),
                           .protocol_type = STR("consumer"),
                           .protocols = both ? protocols : protocols + 1,
                           .protocols_n = both ? 2 : 1,
                           .session_timeout_ms = c->session_ms,
                           .rebalance_timeout_ms = c->rebalance_ms,
                           .require_known_id = c->asks_id,
                           .can_skip_assignment = c->rebalance_ms % 2 == 0};
    c->phase = JOINING;
    e.waiter = &request_new(c)->waiter;
    event_begin();
    group_join(s.group, &e, &s.limits, s.now_ms, &s.out);
    event_end();
}

/* The leader gives each partition to one of the members. */
static void client_sync(struct client *c)
{
    struct join_member assignments[MEMBERS_MAX];
    uint8_t partitions[MEMBERS_MAX][PARTITIONS];
    for (int i = 0; i < c->members_n; i++) {
        size_t n = 0;
        for (int p = i; p < PARTITIONS; p += c->members_n) {
            partitions[i][n++] = (uint8_t)p;
        }
        assignments[i] = (struct join_member){.id = str_of(c->members[i]),
                                              .metadata = bytes_of(partitions[i], n)};
    }
    struct sync_event e = {.member_id = str_of(c->id),
                           .instance_id = c->is_static ? str_of(c->instance) : (struct str){0},
                           .generation = c->generation,
                           .protocol_type = STR("consumer"),
                           .assignments = assignments,
                           .assignments_n = c->members_n};
    c->phase = SYNCING;
    e.waiter = &request_new(c)->waiter;
    event_begin();
    group_sync(s.group, &e, s.now_ms, &s.out);
    event_end();
}

static void client_heartbeat(struct client *c)
{
    struct str instance = c->is_static ? str_of(c->instance) : (struct str){0};
    err e = below(4) == 0 && !s.calm
                ? group_check_commit(s.group, str_of(c->id), instance, c->generation, s.now_ms)
                : group_heartbeat(s.group, str_of(c->id), instance, c->generation, s.now_ms);
    c->heartbeat_ms = s.now_ms;
    if (e == ERR_UNKNOWN_MEMBER_ID || e == ERR_FENCED_INSTANCE_ID) {
        c->id[0] = '\0';
    }
    if (e != OK) {
        c->phase = OUT;
    }
}

static void client_crash(struct client *c)
{
    c->phase = CRASHED;
    c->waits = NULL;
    c->id[0] = '\0';
}

static void client_leave(struct client *c)
{
    event_begin();
    err e = group_leave(s.group, c->is_static ? STR("") : str_of(c->id),
                        c->is_static ? str_of(c->instance) : (struct str){0}, s.now_ms, &s.out);
    HOLDS(e == OK || e == ERR_UNKNOWN_MEMBER_ID);
    event_end();
    client_crash(c);
}

/* What a client does by itself, and now and then something else. */
static void client_act(struct client *c)
{
    uint32_t mood = s.calm ? 100 : below(100);
    if (c->phase == CRASHED) {
        c->phase = s.calm || mood < 30 ? OUT : CRASHED;
    } else if (mood < 4) {
        client_crash(c);
    } else if (mood < 7) {
        client_leave(c);
    } else if (mood < 10 && c->phase == WORKING) {
        c->subscription++;
        client_join(c);
    } else if (mood < 12 && c->phase == JOINING && c->id[0] != '\0') {
        client_join(c); /* the request timed out: once more */
    } else if (c->phase == OUT) {
        client_join(c);
    } else if (c->phase == JOINED) {
        client_sync(c);
    } else if (c->phase == WORKING) {
        client_heartbeat(c);
    }
}

/* ---- time ---- */

static void finish_storing(void)
{
    if (!s.storing) {
        return;
    }
    s.storing = false;
    err outcome = !s.calm && below(10) == 0 ? ERR_COORDINATOR_NOT_AVAILABLE : OK;
    event_begin();
    group_assignment_stored(s.group, s.storing_generation, outcome, s.now_ms, &s.out);
    event_end();
}

static void pass(int64_t ms)
{
    int64_t until_ms = s.now_ms + ms;
    while (group_next_deadline_ms(s.group) <= until_ms && !s.failed) {
        int64_t next_ms = group_next_deadline_ms(s.group);
        s.now_ms = next_ms > s.now_ms ? next_ms : s.now_ms;
        event_begin();
        int64_t again_ms = group_tick(s.group, &s.limits, s.now_ms, &s.out);
        event_end();
        HOLDS(again_ms > s.now_ms);
    }
    s.now_ms = until_ms;
}

/* ---- one run ---- */

static void setup(uint64_t seed)
{
    memset(&s, 0, sizeof(s));
    seeded_random_init(&s.random, seed);
    s.now_ms = 1000000;
    s.limits = (struct group_limits){.session_timeout_min_ms = 1,
                                     .session_timeout_max_ms = INT32_MAX,
                                     .initial_delay_ms = below(2) == 0 ? 0 : 3000,
                                     .size_max = INT32_MAX,
                                     .random = &s.random.random};
    s.group = group_new(STR("g"), s.now_ms);
    s.clients_n = 1 + (int)below(CLIENTS_MAX);
    for (int i = 0; i < s.clients_n; i++) {
        struct client *c = &s.clients[i];
        c->is_static = below(4) == 0;
        c->asks_id = below(2) == 0;
        c->session_ms = 6000 + (int)below(10000);
        c->rebalance_ms = 5000 + (int)below(30000);
        snprintf(c->instance, sizeof(c->instance), "i%d", i);
    }
}

static bool everybody_works(void)
{
    for (int i = 0; i < s.clients_n; i++) {
        if (s.clients[i].phase != WORKING || s.clients[i].generation != s.group->generation) {
            return false;
        }
    }
    return s.group->state == GROUP_STABLE && group_size(s.group) == s.clients_n &&
           s.group->pending.count == 0;
}

static void calm_turn(void)
{
    for (int i = 0; i < s.clients_n; i++) {
        client_act(&s.clients[i]);
    }
    finish_storing();
    pass(1000);
}

static uint64_t running_seed;

/* group_check() stops the process. */
static void on_abort(int signal_number)
{
    (void)signal_number;
    printf("seed %llu: stopped\n", (unsigned long long)running_seed);
    fflush(stdout);
}

static void run(uint64_t seed)
{
    running_seed = seed;
    setup(seed);
    for (int step = 0; step < STEPS && !s.failed; step++) {
        client_act(&s.clients[below((uint32_t)s.clients_n)]);
        if (below(3) == 0) {
            finish_storing();
        }
        if (below(4) == 0) {
            pass(below(10) == 0 ? below(40000) : below(600));
        }
    }
    s.calm = true;
    int64_t calm_since_ms = s.now_ms;
    while (!everybody_works() && s.now_ms < calm_since_ms + CALM_MS && !s.failed) {
        calm_turn();
    }
    HOLDS(everybody_works());
    int32_t generation = s.group->generation;
    for (int i = 0; i < 60 && !s.failed; i++) {
        calm_turn();
    }
    HOLDS(everybody_works() && s.group->generation == generation);
    event_begin();
    group_kill(s.group, ERR_NOT_COORDINATOR, &s.out);
    event_end();
    for (int i = 0; i < s.requests_n; i++) {
        HOLDS(s.requests[i].answers == 1);
    }
    group_free(s.group);
    CU_ASSERT_FALSE(s.failed);
    if (s.failed) {
        printf("seed %llu: %d clients, %d requests, generation %d\n", (unsigned long long)seed,
               s.clients_n, s.requests_n, s.generation);
    }
}

static uint64_t only_seed;

static void test_random_members(void)
{
    if (only_seed != 0) {
        run(only_seed);
        return;
    }
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run(seed);
    }
}

int main(int argc, char **argv)
{
    const struct suite_test tests[] = {TEST(test_random_members)};
    signal(SIGABRT, on_abort);
    only_seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    return suite_run("group at random", tests, 1, 1, argv);
}
