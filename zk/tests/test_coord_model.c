/* What several clients see of one model of ZooKeeper: races, lost answers, cuts, sessions that end, and that
 * a seed repeats. That each of them has the contract of coord.h is test_coord.c's. */
#define _GNU_SOURCE
#include "zk/tests/model_suite.h"

#include <inttypes.h>

/* ---- races ---- */

static err second_result;

static void second_stands(struct peer *peer)
{
    if (peer->waits == 1) {
        second_result = create(&t.peers[1], "/controller", "1", COORD_EPHEMERAL).error;
    }
}

/* Client 0 asks first; whose request is there first decides. */
static bool first_wins(uint64_t seed)
{
    begin_seeded(seed, false);
    struct peer *first = &t.peers[0];
    struct peer *second = &t.peers[1];
    coord_model_delay(first->way, 1, 20);
    coord_model_delay(second->way, 1, 20);
    CU_ASSERT_EQUAL(get(&t.peers[2], "/controller", COORD_WATCH).error, E_NOT_FOUND);
    first->waits = 0;
    first->while_waiting = second_stands;
    err first_result = create(first, "/controller", "0", COORD_EPHEMERAL).error;
    first->while_waiting = NULL;
    bool won = first_result == OK;
    CU_ASSERT_EQUAL(won ? second_result : first_result, E_EXISTS);
    CU_ASSERT_EQUAL(won ? first_result : second_result, OK);
    struct coord_op held = get(&t.peers[2], "/controller", 0);
    CU_ASSERT_EQUAL(held.stat.ephemeral_owner,
                    coord_session_id(won ? first->coord : second->coord));
    CU_ASSERT(bytes_equal(held.value, text(won ? "0" : "1")));
    CU_ASSERT(told("2 created /controller\n"));
    end();
    return won;
}

static void test_race(void)
{
    int wins = 0;
    enum { RACES = 20 };
    for (uint64_t seed = 0; seed < RACES; seed++) {
        wins += first_wins(seed) ? 1 : 0;
    }
    CU_ASSERT(wins > 0 && wins < RACES);
}

/* Another's operations come between those of one call, but not into a transaction. */
static void second_creates(struct peer *peer)
{
    if (peer->waits == 1) {
        CU_ASSERT_EQUAL(create(&t.peers[1], "/b15", "1", 0).error, OK);
    }
}

static void test_batches_interleave(void)
{
    for (int transaction = 0; transaction < 2; transaction++) {
        begin();
        struct peer *first = &t.peers[0];
        coord_model_delay(first->way, 5, 5);
        struct coord_op ops[20];
        for (int i = 0; i < 20; i++) {
            const char *path = arena_format(&t.arena, "/b%d", i).data;
            ops[i] = (struct coord_op){.type = COORD_CREATE, .path = path};
        }
        first->waits = 0;
        first->while_waiting = second_creates;
        err e = transaction == 1 ? coord_multi(first->coord, ops, 20, &t.arena)
                                 : coord_run(first->coord, ops, 20, &t.arena);
        CU_ASSERT_EQUAL(e, transaction == 1 ? E_EXISTS : OK);
        CU_ASSERT_EQUAL(t.clock.now_ms, START_MS + (transaction == 1 ? 10 : 20)); /* two windows */
        CU_ASSERT_EQUAL(ops[15].error, E_EXISTS);
        CU_ASSERT_EQUAL(there(first, "/b14"), transaction == 0);
        CU_ASSERT_EQUAL(there(first, "/b16"), transaction == 0);
        end();
    }
}

/* ---- the end of a session ---- */

static void test_expiry_of_one_fires_the_watch_of_another(void)
{
    begin();
    struct peer *leader = &t.peers[0];
    struct peer *other = &t.peers[1];
    int64_t session = coord_session_id(leader->coord);
    (void)create(leader, "/ids", NULL, 0);
    (void)create(leader, "/ids/0", NULL, COORD_EPHEMERAL);
    (void)create(leader, "/controller", "0", COORD_EPHEMERAL);
    CU_ASSERT_EQUAL(get(other, "/controller", COORD_WATCH).error, OK);
    CU_ASSERT_EQUAL(children(other, "/ids", COORD_WATCH).children_n, 1);
    coord_model_expire(leader->way);
    CU_ASSERT(told("1 children /ids\n1 deleted /controller\n0 disconnected\n0 expired\n"));
    CU_ASSERT_FALSE(there(other, "/controller"));
    CU_ASSERT_EQUAL(create(other, "/controller", "1", COORD_EPHEMERAL).error, OK);
    CU_ASSERT_EQUAL(get(leader, "/controller", 0).error, E_SESSION);
    CU_ASSERT_EQUAL(create(leader, "/more", NULL, 0).error, E_SESSION);
    CU_ASSERT_EQUAL(coord_session_id(leader->coord), session);
    MUST(coord_renew(leader->coord));
    CU_ASSERT(told(""));
    CU_ASSERT_NOT_EQUAL(coord_session_id(leader->coord), session);
    CU_ASSERT(coord_owned(leader->coord, session) && !coord_owned(other->coord, session));
    CU_ASSERT(coord_owned(leader->coord, coord_session_id(leader->coord)));
    CU_ASSERT_EQUAL(get(leader, "/controller", 0).stat.ephemeral_owner,
                    coord_session_id(other->coord));
    CU_ASSERT_FALSE(there(leader, "/more"));
    MUST(coord_renew(leader->coord)); /* there is nothing to renew */
    end();
}

static void test_close_is_seen_at_once(void)
{
    begin();
    (void)create(&t.peers[0], "/e", NULL, COORD_EPHEMERAL);
    (void)get(&t.peers[0], "/e", COORD_WATCH);
    (void)get(&t.peers[1], "/e", COORD_WATCH);
    close_peer(&t.peers[0]);
    CU_ASSERT(told("1 deleted /e\n"));
    CU_ASSERT_FALSE(there(&t.peers[1], "/e"));
    end();
}

/* The model as text. */
static char *printed(void)
{
    char *all = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&all, &len);
    coord_model_print(t.model, out);
    fclose(out);
    return all;
}

/* Nothing but a beginning and an end of each. */
static void test_no_session_is_left(void)
{
    begin();
    for (int i = 0; i < CLIENTS; i++) {
        close_peer(&t.peers[i]);
    }
    char *all = printed();
    CU_ASSERT_STRING_EQUAL(all, "zxid=6\n/ czxid=0 mzxid=0 pzxid=0 ctime=0 mtime=0 version=0 "
                                "creates=0 owner=0 data=\n");
    free(all);
    end();
}

static void test_a_cut_session_expires_after_its_timeout(void)
{
    begin();
    struct peer *lost = &t.peers[0];
    struct peer *other = &t.peers[1];
    (void)create(lost, "/e", NULL, COORD_EPHEMERAL);
    pass(100 * SESSION_MS); /* pings keep it */
    CU_ASSERT(told(""));
    (void)get(other, "/e", COORD_WATCH);
    (void)get(lost, "/x", COORD_WATCH);
    coord_model_cut(lost->way, COORD_MODEL_BOTH);
    pass(GIVES_UP_MS);
    CU_ASSERT(told("0 disconnected\n"));
    (void)create(other, "/x", NULL, 0);
    CU_ASSERT(there(other, "/e"));
    pass(SESSION_MS - GIVES_UP_MS);
    CU_ASSERT(told("1 deleted /e\n")); /* the cut one cannot know */
    CU_ASSERT_FALSE(there(other, "/e"));
    coord_model_heal(lost->way);
    pass(SESSION_MS);
    CU_ASSERT(told("0 expired\n"));
    CU_ASSERT_EQUAL(get(lost, "/x", 0).error, E_SESSION);
    MUST(coord_renew(lost->coord));
    CU_ASSERT(there(lost, "/x"));
    pass(100 * SESSION_MS);
    CU_ASSERT(told(""));
    end();
}

/* How long it lives is counted from what the ensemble heard last, not from the cut. */
static void test_pings_count(void)
{
    begin();
    (void)create(&t.peers[0], "/e", NULL, COORD_EPHEMERAL);
    pass(SESSION_MS / 3 - 1); /* the ping would be next */
    coord_model_cut(t.peers[0].way, COORD_MODEL_BOTH);
    pass(SESSION_MS * 2 / 3);
    CU_ASSERT(there(&t.peers[1], "/e"));
    pass(1);
    CU_ASSERT_FALSE(there(&t.peers[1], "/e"));
    end();
}

/* ---- lost connections ---- */

static void test_watches_outlive_the_connection_not_the_session(void)
{
    begin();
    struct peer *watcher = &t.peers[0];
    struct peer *other = &t.peers[1];
    static const char *const PATHS[] = {"/t", "/t/a", "/t/b", "/t/c"};
    for (int i = 0; i < 4; i++) {
        (void)create(other, PATHS[i], "1", 0);
        (void)get(watcher, PATHS[i], i == 0 ? 0 : COORD_WATCH);
    }
    (void)get(watcher, "/t/none", COORD_WATCH);
    (void)children(watcher, "/t", COORD_WATCH);
    (void)children(watcher, "/t/b", COORD_WATCH);
    coord_model_cut(watcher->way, COORD_MODEL_BOTH);
    pass(GIVES_UP_MS);
    (void)set(other, "/t/a", "2", COORD_ANY_VERSION);
    (void)create(other, "/t/none", NULL, 0);
    (void)delete (other, "/t/c", COORD_ANY_VERSION);
    struct coord_op fails[] = {{.type = COORD_CREATE, .path = "/t/b/x"},
                               {.type = COORD_CHECK, .path = "/t", .version = 77}};
    CU_ASSERT_EQUAL(coord_multi(other->coord, fails, 2, &t.arena), E_VERSION);
    CU_ASSERT(told("0 disconnected\n"));
    coord_model_heal(watcher->way);
    pass(2);
    CU_ASSERT(told("0 connected\n0 changed /t/a\n0 deleted /t/c\n0 created /t/none\n"
                   "0 children /t\n"));
    (void)set(other, "/t/a", "3", COORD_ANY_VERSION); /* each once */
    CU_ASSERT(told(""));
    coord_model_break(watcher->way);
    pass(1);
    (void)set(other, "/t/b", "2", COORD_ANY_VERSION);
    (void)create(other, "/t/b/c", NULL, 0);
    CU_ASSERT(told("0 disconnected\n0 connected\n0 changed /t/b\n0 children /t/b\n"));
    (void)get(watcher, "/t/b", COORD_WATCH);
    coord_model_expire(watcher->way);
    MUST(coord_renew(watcher->coord));
    (void)set(other, "/t/b", "3", COORD_ANY_VERSION);
    CU_ASSERT(told("0 disconnected\n0 expired\n"));
    end();
}

/* A node that a client watches changes while its answer is under way. */
static void second_sets(struct peer *peer)
{
    if (peer->waits == 2) {
        (void)set(&t.peers[1], "/a", "2", COORD_ANY_VERSION);
    }
}

static void test_no_change_is_missed_on_the_way(void)
{
    begin();
    struct peer *watcher = &t.peers[0];
    (void)create(watcher, "/a", "1", 0);
    coord_model_delay(watcher->way, 1, 1);
    watcher->waits = 0;
    watcher->while_waiting = second_sets;
    CU_ASSERT(bytes_equal(get(watcher, "/a", COORD_WATCH).value, text("1")));
    pass(2);
    CU_ASSERT(told("0 changed /a\n"));
    end();
}

static void lost_writes(bool applies)
{
    begin();
    struct peer *p = &t.peers[0];
    coord_model_lose(p->way, 0, 1, applies);
    struct coord_op op = create(p, "/c", "x", 0);
    CU_ASSERT(op.error == OK && strcmp(op.created_path, "/c") == 0);
    CU_ASSERT_EQUAL(op.stat.czxid, get(p, "/c", 0).stat.czxid);
    coord_model_lose(p->way, 0, 1, applies);
    CU_ASSERT_EQUAL(create(p, "/e", NULL, COORD_EPHEMERAL).error, OK);
    /* What somebody else made is no success. */
    coord_model_lose(p->way, 0, 1, applies);
    CU_ASSERT_EQUAL(create(p, "/c", "y", 0).error, E_EXISTS);
    (void)create(&t.peers[1], "/of1", NULL, COORD_EPHEMERAL);
    coord_model_lose(p->way, 0, 1, applies);
    CU_ASSERT_EQUAL(create(p, "/of1", NULL, COORD_EPHEMERAL).error, E_EXISTS);
    coord_model_lose(p->way, 0, 1, applies);
    op = set(p, "/c", "1", 0);
    CU_ASSERT(op.error == OK && op.stat.version == 1 && holds(p, "/c", "1"));
    coord_model_lose(p->way, 0, 1, applies);
    CU_ASSERT_EQUAL(set(p, "/c", "1", 77).error, E_VERSION);
    coord_model_lose(p->way, 0, 1, applies);
    CU_ASSERT_EQUAL(delete (p, "/c", 1).error, OK);
    CU_ASSERT_FALSE(there(p, "/c"));
    (void)create(p, "/q", NULL, 0);
    coord_model_lose(p->way, 0, 1, applies);
    op = create(p, "/q/n", NULL, COORD_SEQUENTIAL);
    CU_ASSERT_STRING_EQUAL(op.created_path, applies ? "/q/n0000000001" : "/q/n0000000000");
    CU_ASSERT_EQUAL(children(p, "/q", 0).children_n, applies ? 2 : 1);
    end();
}

static void lost_transactions(bool applies)
{
    begin();
    struct peer *p = &t.peers[0];
    (void)create(p, "/old", "x", 0);
    (void)create(p, "/epoch", "1", 0);
    struct coord_op ops[] = {
        {.type = COORD_CHECK, .path = "/epoch", .version = 0},
        {.type = COORD_CREATE, .path = "/new", .data = text("a")},
        {.type = COORD_SET, .path = "/new", .data = text("b"), .version = 0},
        {.type = COORD_CREATE, .path = "/own", .flags = COORD_EPHEMERAL},
        {.type = COORD_DELETE, .path = "/old", .version = 0},
    };
    coord_model_lose(p->way, 0, 1, applies);
    CU_ASSERT_EQUAL(coord_multi(p->coord, ops, 5, &t.arena), OK);
    CU_ASSERT(holds(p, "/new", "b") && there(p, "/own") && !there(p, "/old"));
    CU_ASSERT_EQUAL(ops[3].stat.czxid, get(p, "/own", 0).stat.czxid);
    CU_ASSERT_EQUAL(ops[1].stat.czxid, get(p, "/new", 0).stat.czxid); /* a set followed it */
    CU_ASSERT(ops[1].stat.version == 0 && ops[2].stat.version == 1);
    CU_ASSERT_EQUAL(get(p, "/new", 0).stat.mzxid, ops[3].stat.czxid); /* one number for all */
    struct coord_op refused[] = {
        {.type = COORD_CREATE, .path = "/newer"},
        {.type = COORD_CHECK, .path = "/epoch", .version = 5},
    };
    coord_model_lose(p->way, 0, 1, applies);
    CU_ASSERT_EQUAL(coord_multi(p->coord, refused, 2, &t.arena), E_VERSION);
    CU_ASSERT(!there(p, "/newer"));
    struct coord_op numbered[] = {
        {.type = COORD_CREATE, .path = "/n", .flags = COORD_SEQUENTIAL},
        {.type = COORD_CREATE, .path = "/mark"},
    };
    coord_model_lose(p->way, 0, 1, applies);
    CU_ASSERT_EQUAL(coord_multi(p->coord, numbered, 2, &t.arena), OK);
    CU_ASSERT_EQUAL(numbered[0].created_path == NULL, applies);
    end();
}

static void test_a_write_whose_answer_was_lost_is_found_out(void)
{
    for (int applies = 0; applies < 2; applies++) {
        lost_writes(applies == 1);
        lost_transactions(applies == 1);
    }
}

static void test_loss_is_told(void)
{
    begin();
    coord_model_lose(t.peers[0].way, 1, 2, true);
    (void)create(&t.peers[0], "/a", NULL, 0);
    CU_ASSERT(told(""));
    CU_ASSERT_EQUAL(create(&t.peers[0], "/b", NULL, 0).error, OK);
    CU_ASSERT(told("0 disconnected\n0 connected\n0 disconnected\n0 connected\n"));
    end();
}

/* Parents come first, and stay first when they are sent again. */
static void test_batch_over_losses(void)
{
    begin();
    enum { N = 300 };
    struct coord_op *ops = xcalloc(N, sizeof(*ops));
    for (int i = 0; i < N; i++) {
        const char *format = i % 2 == 0 ? "/p%03d" : "/p%03d/child";
        const char *path = arena_format(&t.arena, format, i / 2).data;
        ops[i] = (struct coord_op){.type = COORD_CREATE, .path = path, .data = text("v")};
    }
    coord_model_delay(t.peers[0].way, 0, 3);
    coord_model_lose_some(t.peers[0].way, 50000);
    MUST(coord_run(t.peers[0].coord, ops, N, &t.arena));
    for (int i = 0; i < N; i++) {
        CU_ASSERT(ops[i].error == OK && ops[i].stat.czxid > 0);
    }
    coord_model_lose_some(t.peers[0].way, 0);
    CU_ASSERT(t.told_len > 0);
    CU_ASSERT_EQUAL(children(&t.peers[1], "/", 0).children_n, N / 2);
    free(ops);
    end();
}

/* What comes after a lost request is lost too. */
static void test_the_rest_of_a_batch_is_lost_with_it(void)
{
    begin();
    enum { N = 10 };
    struct coord_op ops[N];
    coord_model_delay(t.peers[0].way, 5, 5);
    for (int i = 0; i < N; i++) {
        ops[i] = (struct coord_op){.type = COORD_CREATE, .path = "/s", .flags = COORD_SEQUENTIAL};
    }
    coord_model_lose(t.peers[0].way, 3, 1, false);
    MUST(coord_run(t.peers[0].coord, ops, N, &t.arena));
    for (int i = 0; i < N; i++) {
        CU_ASSERT_STRING_EQUAL(ops[i].created_path, arena_format(&t.arena, "/s%010d", i).data);
    }
    CU_ASSERT_EQUAL(children(&t.peers[1], "/", 0).children_n, N);
    end();
}

static void test_gives_up(void)
{
    begin();
    coord_model_lose(t.peers[0].way, 0, 1000, false);
    struct coord_op op = create(&t.peers[0], "/a", NULL, 0);
    CU_ASSERT_EQUAL(op.error, E_UNKNOWN_OUTCOME);
    CU_ASSERT_PTR_NULL(op.created_path);
    coord_model_lose(t.peers[0].way, 0, 0, false);
    CU_ASSERT_EQUAL(create(&t.peers[0], "/a", NULL, 0).error, OK);
    end();
}

/* ---- cuts ---- */

static int64_t heal_at_ms;
static bool seen_by_other;

static void heals_in_time(struct peer *peer)
{
    if (t.clock.now_ms >= heal_at_ms) {
        coord_model_heal(peer->way);
    } else {
        seen_by_other = there(&t.peers[1], "/a");
    }
}

/* A create by client 0, which is cut and heals after so long. */
static struct coord_op create_while_cut(enum coord_model_direction direction, int64_t heal_ms,
                                        int flags)
{
    struct peer *p = &t.peers[0];
    coord_model_cut(p->way, direction);
    heal_at_ms = t.clock.now_ms + heal_ms;
    seen_by_other = false;
    p->while_waiting = heals_in_time;
    struct coord_op op = create(p, "/a", "x", flags);
    p->while_waiting = NULL;
    return op;
}

static void test_a_short_cut_is_a_delay(void)
{
    static const enum coord_model_direction DIRECTIONS[] = {COORD_MODEL_REQUESTS,
                                                            COORD_MODEL_ANSWERS, COORD_MODEL_BOTH};
    for (int i = 0; i < 3; i++) {
        begin();
        CU_ASSERT_EQUAL(create_while_cut(DIRECTIONS[i], 1000, 0).error, OK);
        CU_ASSERT_EQUAL(t.clock.now_ms, START_MS + 1001);
        CU_ASSERT_EQUAL(seen_by_other, DIRECTIONS[i] == COORD_MODEL_ANSWERS);
        CU_ASSERT(told(""));
        end();
    }
}

/* Longer than the client has patience, shorter than the session lives. */
static void test_a_longer_cut_loses_the_connection(void)
{
    static const enum coord_model_direction DIRECTIONS[] = {COORD_MODEL_REQUESTS,
                                                            COORD_MODEL_ANSWERS, COORD_MODEL_BOTH};
    for (int i = 0; i < 3; i++) {
        bool arrived = DIRECTIONS[i] == COORD_MODEL_ANSWERS;
        begin();
        CU_ASSERT_EQUAL(create_while_cut(DIRECTIONS[i], GIVES_UP_MS + 2000, 0).error, OK);
        CU_ASSERT_EQUAL(seen_by_other, arrived);
        CU_ASSERT(told("0 disconnected\n0 connected\n"));
        CU_ASSERT_EQUAL(get(&t.peers[0], "/a", 0).stat.ephemeral_owner, 0);
        end();
        begin();
        struct coord_op op = create_while_cut(DIRECTIONS[i], GIVES_UP_MS + 2000, COORD_SEQUENTIAL);
        CU_ASSERT_STRING_EQUAL(op.created_path, arrived ? "/a0000000001" : "/a0000000000");
        end();
    }
}

static void test_a_long_cut_ends_the_session(void)
{
    begin();
    CU_ASSERT_EQUAL(create_while_cut(COORD_MODEL_REQUESTS, 3 * SESSION_MS, 0).error, E_SESSION);
    CU_ASSERT(told("0 disconnected\n0 expired\n"));
    CU_ASSERT_FALSE(there(&t.peers[1], "/a"));
    end();
}

/* A request that is under way arrives though its client has given the connection up. */
static void soon_without_delay(struct peer *peer)
{
    if (t.clock.now_ms > START_MS + GIVES_UP_MS) {
        coord_model_delay(peer->way, 0, 0);
        seen_by_other = seen_by_other || there(&t.peers[1], "/a0000000000");
    }
}

static void test_a_request_outlives_its_connection(void)
{
    begin();
    struct peer *p = &t.peers[0];
    coord_model_delay(p->way, GIVES_UP_MS + 1, GIVES_UP_MS + 1);
    seen_by_other = false;
    p->while_waiting = soon_without_delay;
    struct coord_op op = create(p, "/a", NULL, COORD_SEQUENTIAL);
    CU_ASSERT(seen_by_other);
    CU_ASSERT_STRING_EQUAL(op.created_path, "/a0000000001");
    CU_ASSERT(t.clock.now_ms < START_MS + 2 * GIVES_UP_MS); /* the new one does not wait for it */
    CU_ASSERT(told("0 disconnected\n0 connected\n"));
    end();
}

/* ---- waiting ---- */

static void interrupts(struct peer *peer)
{
    if (peer->waits == 10) {
        coord_interrupt(peer->coord);
    }
}

static void test_interrupt(void)
{
    begin();
    struct peer *p = &t.peers[0];
    coord_model_cut(p->way, COORD_MODEL_BOTH);
    p->waits = 0;
    p->while_waiting = interrupts;
    CU_ASSERT_EQUAL(get(p, "/", 0).error, E_CLOSED);
    CU_ASSERT_EQUAL(p->waits, 10);
    CU_ASSERT_EQUAL(get(p, "/", 0).error, E_CLOSED);
    CU_ASSERT_EQUAL(coord_renew(p->coord), E_CLOSED);
    p->while_waiting = NULL;
    int64_t from_ms = t.clock.now_ms;
    close_peer(p);
    CU_ASSERT(t.clock.now_ms - from_ms <= 3000);
    end();
}

static void test_renew_waits(void)
{
    begin();
    struct peer *p = &t.peers[0];
    coord_model_expire(p->way);
    coord_model_cut(p->way, COORD_MODEL_BOTH);
    heal_at_ms = t.clock.now_ms + 10 * SESSION_MS;
    p->while_waiting = heals_in_time;
    MUST(coord_renew(p->coord));
    CU_ASSERT(t.clock.now_ms >= heal_at_ms);
    CU_ASSERT(told("0 disconnected\n0 expired\n"));
    coord_model_expire(p->way);
    coord_model_cut(p->way, COORD_MODEL_BOTH);
    p->waits = 0;
    p->while_waiting = interrupts;
    CU_ASSERT_EQUAL(coord_renew(p->coord), E_CLOSED);
    p->while_waiting = NULL;
    end();
}

/* Without a hook the clock goes on by itself, from one thing that is due to the next. */
static void test_without_a_hook(void)
{
    begin();
    struct coord_model_config config = {.session_timeout_ms = SESSION_MS,
                                        .connection_timeout_ms = 5000};
    struct peer extra = {.number = 7, .way = coord_model_way_new(t.model, &config)};
    coord_model_delay(extra.way, 100, 100);
    must_open(&extra);
    CU_ASSERT_EQUAL(t.clock.now_ms, START_MS + 200);
    CU_ASSERT_EQUAL(create(&extra, "/a", NULL, 0).error, OK);
    CU_ASSERT_EQUAL(t.clock.now_ms, START_MS + 400);
    close_peer(&extra);
    coord_model_cut(extra.way, COORD_MODEL_ANSWERS);
    char reason[COORD_REASON_BYTES] = "";
    CU_ASSERT_EQUAL(open_peer(&extra, reason), E_BUSY);
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, "within 5000 ms"));
    CU_ASSERT(t.clock.now_ms >= START_MS + 5600);
    end();
}

/* ---- a process that is killed ---- */

static void killed(bool keeps_session)
{
    begin_seeded(3, keeps_session);
    struct peer *p = &t.peers[0];
    int64_t session = coord_session_id(p->coord);
    (void)create(p, "/e", NULL, COORD_EPHEMERAL);
    (void)get(p, "/e", COORD_WATCH);
    coord_model_kill(p->way);
    CU_ASSERT_EQUAL(get(p, "/e", 0).error, E_CLOSED);
    close_peer(p);
    pass(1000);
    CU_ASSERT(there(&t.peers[1], "/e"));
    must_open(p);
    CU_ASSERT_EQUAL(coord_session_id(p->coord) == session, keeps_session);
    CU_ASSERT_EQUAL(coord_owned(p->coord, session), keeps_session);
    pass(10 * SESSION_MS);
    CU_ASSERT_EQUAL(there(&t.peers[1], "/e"), keeps_session);
    CU_ASSERT(told(""));
    /* Closed in peace there is nothing to take up. */
    session = coord_session_id(p->coord);
    close_peer(p);
    must_open(p);
    CU_ASSERT_NOT_EQUAL(coord_session_id(p->coord), session);
    CU_ASSERT_FALSE(coord_owned(p->coord, session));
    /* Nor when it has expired meanwhile. */
    session = coord_session_id(p->coord);
    coord_model_kill(p->way);
    close_peer(p);
    pass(2 * SESSION_MS);
    must_open(p);
    CU_ASSERT_NOT_EQUAL(coord_session_id(p->coord), session);
    CU_ASSERT_EQUAL(coord_owned(p->coord, session), keeps_session);
    CU_ASSERT(told(""));
    end();
}

static void test_kill(void)
{
    killed(true);
    killed(false);
}

/* ---- who wrote which version ---- */

enum { VERSIONS_MAX = 2000, INCREMENTS = 300 };

static struct {
    int32_t winners[VERSIONS_MAX]; /* by version: how many were told that theirs is this one */
    int32_t told_ok;
    int32_t told_version; /* refused */
} counter;

/* Sets /counter to something that nobody else writes, if nobody has come first. */
static void increment(struct peer *peer)
{
    static int number;
    int32_t version = get(peer, "/counter", 0).stat.version;
    const char *mine = arena_format(&t.arena, "%d of %d", ++number, peer->number).data;
    struct coord_op done = set(peer, "/counter", mine, version);
    if (done.error == OK) {
        CU_ASSERT_EQUAL(done.stat.version, version + 1);
        CU_ASSERT_FATAL(done.stat.version < VERSIONS_MAX);
        counter.winners[done.stat.version]++;
        counter.told_ok++;
    } else {
        CU_ASSERT_EQUAL(done.error, E_VERSION);
        counter.told_version++;
    }
}

static void another_increments(struct peer *peer)
{
    struct peer *other = &t.peers[peer->number + 1];
    if (peer->number + 1 < CLIENTS && peer->waits % 7 == 0) {
        increment(other);
    }
}

/* Over lost answers no two are told that the same version is theirs. Whoever was overwritten before it
 * could ask again is told E_VERSION though it wrote: nobody can know better. */
static void test_nobody_is_told_of_the_write_of_another(void)
{
    begin();
    memset(&counter, 0, sizeof(counter));
    (void)create(&t.peers[0], "/counter", "", 0);
    for (int i = 0; i < CLIENTS; i++) {
        coord_model_delay(t.peers[i].way, 0, 10);
        coord_model_lose_some(t.peers[i].way, 100000);
        t.peers[i].while_waiting = another_increments;
    }
    for (int i = 0; i < INCREMENTS; i++) {
        increment(&t.peers[0]);
    }
    for (int i = 0; i < CLIENTS; i++) {
        t.peers[i].while_waiting = NULL;
    }
    int32_t version = get(&t.peers[0], "/counter", 0).stat.version;
    for (int32_t i = 0; i < VERSIONS_MAX; i++) {
        CU_ASSERT(counter.winners[i] <= (i <= version ? 1 : 0));
    }
    CU_ASSERT(counter.told_ok <= version && counter.told_ok > INCREMENTS);
    CU_ASSERT(counter.told_version > 0);
    end();
}

/* ---- a seed ---- */

enum { ROUNDS = 400, NODES = 6 };

static void trouble(struct peer *peer, struct random *chance)
{
    switch (random_below(chance, 12)) {
    case 0:
        coord_model_cut(peer->way, (enum coord_model_direction)(1 + random_below(chance, 3)));
        break;
    case 1:
        coord_model_expire(peer->way);
        break;
    case 2:
        coord_model_break(peer->way);
        break;
    case 3:
        pass(random_below(chance, SESSION_MS));
        break;
    default:
        coord_model_heal(peer->way);
    }
}

static void anything(struct peer *peer, struct random *chance)
{
    uint32_t node = random_below(chance, NODES);
    const char *path = arena_format(&t.arena, "/n%u", node).data;
    bool ephemeral = random_below(chance, 2) == 1;
    bool watch = random_below(chance, 2) == 1;
    struct coord_op op = {.type = (enum coord_op_type)random_below(chance, COORD_CHECK + 1),
                          .path = path,
                          .version = COORD_ANY_VERSION};
    op.flags = (watch ? COORD_WATCH : 0) | (ephemeral ? COORD_EPHEMERAL : 0);
    op.flags = op.type == COORD_CREATE ? op.flags & ~COORD_WATCH : op.flags & COORD_WATCH;
    op = run(peer, op);
    note("%" PRId64 " %d op %d %s: %d %" PRId64 "\n", t.clock.now_ms, peer->number, (int)op.type,
         path, op.error, op.error == OK ? op.stat.mzxid : 0);
    if (op.error == E_SESSION) {
        MUST(coord_renew(peer->coord));
    }
}

static void heals(struct peer *peer)
{
    if (peer->waits % 20000 == 0) {
        coord_model_heal(peer->way);
    }
}

/* Everything that was seen, and the end: the caller frees. */
static char *history(uint64_t seed)
{
    begin_seeded(seed, false);
    struct seeded_random chance;
    seeded_random_init(&chance, seed + 1000);
    for (int i = 0; i < CLIENTS; i++) {
        t.peers[i].while_waiting = heals;
        coord_model_delay(t.peers[i].way, 0, 30);
        coord_model_lose_some(t.peers[i].way, 50000);
    }
    for (int i = 0; i < ROUNDS; i++) {
        struct peer *peer = &t.peers[random_below(&chance.random, CLIENTS)];
        anything(peer, &chance.random);
        trouble(peer, &chance.random);
    }
    char *model = printed();
    char *all = xasprintf("%s%s", t.told, model);
    free(model);
    end();
    return all;
}

static void test_a_seed_repeats(void)
{
    char *other = history(0);
    for (uint64_t seed = 1; seed <= 5; seed++) {
        char *first = history(seed);
        char *second = history(seed);
        CU_ASSERT_STRING_EQUAL(first, second);
        CU_ASSERT_STRING_NOT_EQUAL(first, other);
        CU_ASSERT_PTR_NOT_NULL(strstr(first, "expired"));
        CU_ASSERT_PTR_NOT_NULL(strstr(first, "disconnected"));
        free(second);
        free(other);
        other = first;
    }
    free(other);
}

SUITE("coord_model", TEST(test_race), TEST(test_batches_interleave),
      TEST(test_expiry_of_one_fires_the_watch_of_another), TEST(test_close_is_seen_at_once),
      TEST(test_no_session_is_left), TEST(test_a_cut_session_expires_after_its_timeout),
      TEST(test_pings_count), TEST(test_watches_outlive_the_connection_not_the_session),
      TEST(test_no_change_is_missed_on_the_way),
      TEST(test_a_write_whose_answer_was_lost_is_found_out), TEST(test_loss_is_told),
      TEST(test_batch_over_losses), TEST(test_the_rest_of_a_batch_is_lost_with_it),
      TEST(test_gives_up), TEST(test_a_short_cut_is_a_delay),
      TEST(test_a_longer_cut_loses_the_connection), TEST(test_a_long_cut_ends_the_session),
      TEST(test_a_request_outlives_its_connection), TEST(test_interrupt), TEST(test_renew_waits),
      TEST(test_without_a_hook), TEST(test_kill), TEST(test_nobody_is_told_of_the_write_of_another),
      TEST(test_a_seed_repeats))
