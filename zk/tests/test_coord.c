/* The contract of zk/coord.h, against the embedded store and the model; and beside a ZooKeeper
 * (tests/with-zookeeper) against that one. */
#define _GNU_SOURCE
#include "zk/tests/coord_suite.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- the contract ---- */

static void test_create_and_get(void)
{
    begin();
    struct coord_op made = create("/a", "one", 0);
    CU_ASSERT_EQUAL(made.error, OK);
    CU_ASSERT_STRING_EQUAL(made.created_path, "/a");
    CU_ASSERT(holds("/a", "one"));
    CU_ASSERT_EQUAL(create("/a", "two", 0).error, E_EXISTS);
    CU_ASSERT(holds("/a", "one"));
    CU_ASSERT_EQUAL(create("/b/c", NULL, 0).error, E_NOT_FOUND);
    CU_ASSERT_EQUAL(get("/b", 0).error, E_NOT_FOUND);
    CU_ASSERT_EQUAL(create("/b", NULL, 0).error, OK);
    CU_ASSERT_EQUAL(create("/b/c", "", 0).error, OK);
    CU_ASSERT(holds("/b", NULL));
    CU_ASSERT(holds("/b/c", ""));
    CU_ASSERT_FALSE(holds("/b/c", NULL));
    reopen();
    CU_ASSERT(holds("/b", NULL));
    CU_ASSERT(holds("/b/c", ""));
    static const uint8_t RAW[] = {0, 255, 1, 0, 128};
    (void)run((struct coord_op){.type = COORD_CREATE, .path = "/raw", .data = bytes_of(RAW, 5)});
    CU_ASSERT(bytes_equal(get("/raw", 0).value, bytes_of(RAW, 5)));
    end();
}

static void test_set_by_version(void)
{
    begin();
    CU_ASSERT_EQUAL(set("/a", "x", COORD_ANY_VERSION).error, E_NOT_FOUND);
    (void)create("/a", "0", 0);
    CU_ASSERT_EQUAL(set("/a", "1", 1).error, E_VERSION);
    struct coord_op done = set("/a", "1", 0);
    CU_ASSERT_EQUAL(done.error, OK);
    CU_ASSERT_EQUAL(done.stat.version, 1);
    CU_ASSERT_EQUAL(set("/a", "2", 0).error, E_VERSION);
    CU_ASSERT(holds("/a", "1"));
    CU_ASSERT_EQUAL(set("/a", NULL, COORD_ANY_VERSION).error, OK);
    CU_ASSERT(holds("/a", NULL));
    CU_ASSERT_EQUAL(get("/a", 0).stat.version, 2);
    CU_ASSERT_EQUAL(delete ("/a", 1), E_VERSION);
    CU_ASSERT_EQUAL(delete ("/a", 2), OK);
    CU_ASSERT_EQUAL(delete ("/a", COORD_ANY_VERSION), E_NOT_FOUND);
    (void)create("/a", "again", 0);
    CU_ASSERT_EQUAL(get("/a", 0).stat.version, 0);
    struct coord_op check = run((struct coord_op){.type = COORD_CHECK, .path = "/a", .version = 0});
    CU_ASSERT_EQUAL(check.error, OK);
    check = run((struct coord_op){.type = COORD_CHECK, .path = "/a", .version = 1});
    CU_ASSERT_EQUAL(check.error, E_VERSION);
    check = run((struct coord_op){.type = COORD_CHECK, .path = "/z", .version = COORD_ANY_VERSION});
    CU_ASSERT_EQUAL(check.error, E_NOT_FOUND);
    end();
}

static void test_delete_and_children(void)
{
    begin();
    static const char *const PATHS[] = {"/t",    "/t/b", "/t/a",  "/t/B",
                                        "/t/10", "/t/9", "/t/aa", "/t/b/x"};
    for (size_t i = 0; i < sizeof(PATHS) / sizeof(PATHS[0]); i++) {
        CU_ASSERT_EQUAL(create(PATHS[i], NULL, 0).error, OK);
    }
    (void)create("/t2", NULL, 0);
    struct coord_op list = children("/t", 0);
    static const char *const SORTED[] = {"10", "9", "B", "a", "aa", "b"};
    CU_ASSERT_EQUAL_FATAL(list.children_n, 6);
    for (int i = 0; i < 6; i++) {
        CU_ASSERT_STRING_EQUAL(list.children[i], SORTED[i]);
    }
    CU_ASSERT_EQUAL(list.stat.children_n, 6);
    CU_ASSERT_EQUAL(delete ("/t/b", COORD_ANY_VERSION), E_NOT_EMPTY);
    CU_ASSERT_EQUAL(delete ("/t/b/x", COORD_ANY_VERSION), OK);
    CU_ASSERT_EQUAL(delete ("/t/b", COORD_ANY_VERSION), OK);
    CU_ASSERT_EQUAL(children("/t", 0).children_n, 5);
    CU_ASSERT_EQUAL(children("/t/a", 0).children_n, 0);
    CU_ASSERT_EQUAL(children("/nowhere", 0).error, E_NOT_FOUND);
    bool found = false;
    list = children("/", 0);
    for (int i = 0; i < list.children_n; i++) {
        found |= strcmp(list.children[i], "t2") == 0;
    }
    CU_ASSERT(found);
    end();
}

static void test_sequential(void)
{
    begin();
    (void)create("/q", NULL, 0);
    char last[64] = "";
    for (int i = 0; i < 20; i++) {
        struct coord_op made = create("/q/n_", "x", COORD_SEQUENTIAL);
        CU_ASSERT_EQUAL_FATAL(made.error, OK);
        CU_ASSERT_EQUAL(strlen(made.created_path), strlen("/q/n_") + 10);
        CU_ASSERT(strcmp(made.created_path, last) > 0);
        CU_ASSERT(there(made.created_path));
        snprintf(last, sizeof(last), "%s", made.created_path);
        if (i % 3 == 0) {
            CU_ASSERT_EQUAL(delete (last, COORD_ANY_VERSION), OK);
        }
        if (i == 10) {
            reopen();
        }
    }
    CU_ASSERT_STRING_EQUAL(last, "/q/n_0000000019");
    end();
}

static void test_ephemeral(void)
{
    begin();
    int64_t first = coord_session_id(s.coord);
    (void)create("/ids", NULL, 0);
    CU_ASSERT_EQUAL(create("/ids/0", "x", COORD_EPHEMERAL).error, OK);
    CU_ASSERT_EQUAL(get("/ids/0", 0).stat.ephemeral_owner, first);
    CU_ASSERT_EQUAL(get("/ids", 0).stat.ephemeral_owner, 0);
    CU_ASSERT_NOT_EQUAL(create("/ids/0/child", NULL, 0).error, OK);
    (void)create("/stays", NULL, 0);
    reopen();
    CU_ASSERT_NOT_EQUAL(coord_session_id(s.coord), first);
    CU_ASSERT_FALSE(there("/ids/0"));
    CU_ASSERT(there("/ids") && there("/stays"));
    for (int i = 0; i < 300; i++) {
        char path[32];
        snprintf(path, sizeof(path), "/ids/%d", i);
        (void)create(path, NULL, COORD_EPHEMERAL);
    }
    CU_ASSERT_EQUAL(children("/ids", 0).children_n, 300);
    reopen();
    CU_ASSERT_EQUAL(children("/ids", 0).children_n, 0);
    CU_ASSERT_EQUAL(get("/ids", 0).stat.children_version, 602);
    end();
}

static err multi(struct coord_op *ops, size_t count)
{
    return coord_multi(s.coord, ops, count, &s.arena);
}

static void test_multi(void)
{
    begin();
    struct coord_op fine[] = {
        {.type = COORD_CREATE, .path = "/a", .data = text("1")},
        {.type = COORD_CREATE, .path = "/a/b", .data = text("2")},
        {.type = COORD_SET, .path = "/a", .data = text("3"), .version = 0},
        {.type = COORD_CHECK, .path = "/a", .version = 1},
        {.type = COORD_CREATE, .path = "/c"},
        {.type = COORD_DELETE, .path = "/c", .version = 0},
    };
    CU_ASSERT_EQUAL(multi(fine, 6), OK);
    CU_ASSERT(holds("/a", "3") && holds("/a/b", "2") && !there("/c"));
    CU_ASSERT_EQUAL(fine[2].stat.version, 1);
    int64_t before = get("/a", 0).stat.mzxid;
    struct {
        struct coord_op last;
        err expected;
    } refusals[] = {
        {{.type = COORD_CREATE, .path = "/a/b"}, E_EXISTS},
        {{.type = COORD_CREATE, .path = "/n/o"}, E_NOT_FOUND},
        {{.type = COORD_SET, .path = "/a/b", .version = 7}, E_VERSION},
        {{.type = COORD_SET, .path = "/no", .version = COORD_ANY_VERSION}, E_NOT_FOUND},
        {{.type = COORD_CHECK, .path = "/a", .version = 1}, E_VERSION}, /* set before */
        {{.type = COORD_DELETE, .path = "/a", .version = COORD_ANY_VERSION}, E_NOT_EMPTY},
    };
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct coord_op ops[] = {
            {.type = COORD_SET, .path = "/a", .data = text("no"), .version = COORD_ANY_VERSION},
            {.type = COORD_CREATE, .path = "/new"},
            refusals[i].last,
            {.type = COORD_CREATE, .path = "/newer"},
        };
        CU_ASSERT_EQUAL(multi(ops, 4), refusals[i].expected);
        CU_ASSERT_EQUAL(ops[2].error, refusals[i].expected);
        CU_ASSERT(holds("/a", "3") && !there("/new") && !there("/newer"));
        CU_ASSERT_EQUAL(get("/a", 0).stat.mzxid, before);
    }
    CU_ASSERT(quiet());
    end();
}

/* What is no path is refused, and no answer of the store. */
static void test_paths(void)
{
    begin();
    static const char *const BAD[] = {"",   "a",     "//",   "/a/",   "/a//b",
                                      "/.", "/a/..", "/./a", "/a\x1f"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        CU_ASSERT(!coord_path_valid(BAD[i], false));
        struct coord_op ops[] = {{.type = COORD_CREATE, .path = "/new"},
                                 {.type = COORD_CREATE, .path = BAD[i]}};
        CU_ASSERT_EQUAL(multi(ops, 2), E_MALFORMED);
        CU_ASSERT_EQUAL(coord_run(s.coord, ops + 1, 1, &s.arena), E_MALFORMED);
        struct coord_op look = {.type = COORD_GET, .path = BAD[i]};
        CU_ASSERT_EQUAL(coord_run(s.coord, &look, 1, &s.arena), E_MALFORMED);
    }
    CU_ASSERT(!there("/new"));
    CU_ASSERT(coord_path_valid("/", false) && coord_path_valid("/.a/...", false));
    CU_ASSERT(coord_path_valid("/a/", true));
    end();
}

/* Operations of one call are answered each for itself. */
static void test_batch(void)
{
    begin();
    (void)create("/t", NULL, 0);
    enum { N = 500 };
    struct coord_op *ops = xcalloc(N, sizeof(*ops));
    for (int i = 0; i < N; i++) {
        const char *path = arena_format(&s.arena, "/t/%03d", i / 2).data;
        ops[i] = (struct coord_op){.type = COORD_CREATE, .path = path, .data = text("v")};
    }
    MUST(coord_run(s.coord, ops, N, &s.arena));
    for (int i = 0; i < N; i++) {
        CU_ASSERT_EQUAL(ops[i].error, i % 2 == 0 ? OK : E_EXISTS);
        ops[i].type = COORD_GET;
        ops[i].path = arena_format(&s.arena, "/t/%03d", i).data;
    }
    MUST(coord_run(s.coord, ops, N, &s.arena));
    for (int i = 0; i < N; i++) {
        CU_ASSERT_EQUAL(ops[i].error, i < N / 2 ? OK : E_NOT_FOUND);
    }
    free(ops);
    MUST(coord_run(s.coord, NULL, 0, &s.arena));
    CU_ASSERT_EQUAL(children("/t", 0).children_n, N / 2);
    end();
}

static void test_data_watches(void)
{
    begin();
    CU_ASSERT_EQUAL(get("/a", COORD_WATCH).error, E_NOT_FOUND);
    (void)create("/a", "1", 0);
    CU_ASSERT(fired(COORD_NODE_CREATED, "/a"));
    (void)set("/a", "2", COORD_ANY_VERSION);
    CU_ASSERT(quiet());
    (void)get("/a", COORD_WATCH);
    (void)get("/a", COORD_WATCH);
    (void)create("/a/child", NULL, 0);
    CU_ASSERT(quiet());
    (void)set("/a", "2", COORD_ANY_VERSION); /* the same value is a change too */
    CU_ASSERT(fired(COORD_NODE_CHANGED, "/a"));
    (void)set("/a", "3", COORD_ANY_VERSION);
    CU_ASSERT(quiet());
    (void)get("/a/child", COORD_WATCH);
    CU_ASSERT_EQUAL(set("/a/child", "x", 9).error, E_VERSION);
    CU_ASSERT(quiet());
    (void)delete ("/a/child", COORD_ANY_VERSION);
    CU_ASSERT(fired(COORD_NODE_DELETED, "/a/child"));
    (void)create("/a/child", NULL, 0);
    CU_ASSERT(quiet());
    end();
}

static void test_child_watches(void)
{
    begin();
    (void)create("/t", NULL, 0);
    (void)children("/t", COORD_WATCH);
    (void)set("/t", "x", COORD_ANY_VERSION);
    (void)create("/t2", NULL, 0);
    CU_ASSERT(quiet());
    (void)create("/t/a", NULL, 0);
    CU_ASSERT(fired(COORD_CHILDREN_CHANGED, "/t"));
    (void)create("/t/b", NULL, 0);
    CU_ASSERT(quiet());
    (void)children("/t", COORD_WATCH);
    (void)set("/t/a", "x", COORD_ANY_VERSION);
    (void)create("/t/a/deep", NULL, 0);
    CU_ASSERT(quiet());
    (void)delete ("/t/b", COORD_ANY_VERSION);
    CU_ASSERT(fired(COORD_CHILDREN_CHANGED, "/t"));
    (void)children("/t2", COORD_WATCH);
    (void)delete ("/t2", COORD_ANY_VERSION);
    CU_ASSERT(fired(COORD_NODE_DELETED, "/t2"));
    (void)children("/", COORD_WATCH);
    (void)create("/top", NULL, 0);
    CU_ASSERT(fired(COORD_CHILDREN_CHANGED, "/"));
    (void)children("/t", COORD_WATCH);
    (void)get("/t", COORD_WATCH);
    (void)create("/t/c", NULL, 0);
    CU_ASSERT(fired(COORD_CHILDREN_CHANGED, "/t"));
    (void)set("/t", "y", COORD_ANY_VERSION);
    CU_ASSERT(fired(COORD_NODE_CHANGED, "/t"));
    CU_ASSERT(quiet());
    end();
}

/* A transaction that fails fires nothing and uses no watch up. */
static void test_watches_and_multi(void)
{
    begin();
    (void)create("/t", NULL, 0);
    (void)create("/t/a", NULL, 0);
    (void)children("/t", COORD_WATCH);
    (void)children("/t/a", COORD_WATCH);
    (void)get("/t", COORD_WATCH);
    struct coord_op fails[] = {
        {.type = COORD_SET, .path = "/t", .version = COORD_ANY_VERSION},
        {.type = COORD_DELETE, .path = "/t/a", .version = COORD_ANY_VERSION},
        {.type = COORD_CREATE, .path = "/t/b"},
        {.type = COORD_CHECK, .path = "/t", .version = 77},
    };
    CU_ASSERT_EQUAL(multi(fails, 4), E_VERSION);
    CU_ASSERT_EQUAL(children("/t", 0).stat.children_version, 1);
    CU_ASSERT(quiet());
    CU_ASSERT_EQUAL(multi(fails, 3), OK);
    CU_ASSERT(fired(COORD_NODE_CHANGED, "/t"));
    CU_ASSERT(fired(COORD_CHILDREN_CHANGED, "/t"));
    CU_ASSERT(fired(COORD_NODE_DELETED, "/t/a"));
    CU_ASSERT(quiet());
    /* A watch on children is still one after a failure. */
    (void)create("/t/a", NULL, 0);
    (void)children("/t/a", COORD_WATCH);
    struct coord_op fails_too[] = {
        {.type = COORD_DELETE, .path = "/t/a", .version = COORD_ANY_VERSION},
        {.type = COORD_CHECK, .path = "/t", .version = 77},
    };
    CU_ASSERT_EQUAL(multi(fails_too, 2), E_VERSION);
    (void)set("/t/a", "x", COORD_ANY_VERSION);
    CU_ASSERT(quiet());
    (void)create("/t/a/b", NULL, 0);
    CU_ASSERT(fired(COORD_CHILDREN_CHANGED, "/t/a"));
    CU_ASSERT(quiet());
    end();
}

static void test_stat(void)
{
    begin();
    (void)create("/a", "12345", 0);
    struct coord_stat made = get("/a", 0).stat;
    CU_ASSERT_EQUAL(made.czxid, made.mzxid);
    CU_ASSERT_EQUAL(made.ctime_ms, made.mtime_ms);
    CU_ASSERT(made.version == 0 && made.children_version == 0 && made.children_n == 0);
    CU_ASSERT_EQUAL(made.data_len, 5);
    implementation->time_passes();
    struct coord_stat told = set("/a", "123", 0).stat;
    struct coord_stat changed = get("/a", 0).stat;
    CU_ASSERT(told.mzxid == changed.mzxid && told.mtime_ms == changed.mtime_ms);
    CU_ASSERT(told.data_len == 3 && told.czxid == made.czxid);
    CU_ASSERT_EQUAL(changed.czxid, made.czxid);
    CU_ASSERT(changed.mzxid > made.mzxid);
    CU_ASSERT_EQUAL(changed.ctime_ms, made.ctime_ms);
    CU_ASSERT(changed.mtime_ms > made.mtime_ms);
    CU_ASSERT_EQUAL(changed.data_len, 3);
    struct coord_stat child = create("/a/b", NULL, 0).stat;
    CU_ASSERT(child.czxid > changed.mzxid && child.czxid == get("/a/b", 0).stat.czxid);
    struct coord_stat parent = get("/a", 0).stat;
    CU_ASSERT(parent.children_n == 1 && parent.children_version == 1 && parent.version == 1);
    CU_ASSERT_EQUAL(parent.mzxid, changed.mzxid);
    (void)delete ("/a/b", 0);
    parent = get("/a", 0).stat;
    CU_ASSERT(parent.children_n == 0 && parent.children_version == 2);
    reopen();
    struct coord_stat again = get("/a", 0).stat;
    CU_ASSERT_EQUAL(memcmp(&again, &parent, sizeof(again)), 0);
    end();
}

/* Broker epochs are czxids: they may only grow, over restarts and over what was deleted. */
static void test_zxid_grows(void)
{
    begin();
    int64_t last = 0;
    for (int i = 0; i < 5; i++) {
        int64_t czxid = create("/ids", NULL, COORD_EPHEMERAL).stat.czxid;
        CU_ASSERT(czxid > last);
        last = czxid;
        reopen();
        struct coord_op fails[] = {
            {.type = COORD_CREATE, .path = "/x"},
            {.type = COORD_CHECK, .path = "/y", .version = 0},
        };
        CU_ASSERT_EQUAL(multi(fails, 2), E_NOT_FOUND);
    }
    end();
}

static void test_arena_is_too_small(void)
{
    begin();
    (void)create("/a", "0123456789012345678901234567890123456789", 0);
    struct arena tiny;
    arena_init(&tiny, 16);
    struct coord_op op = {.type = COORD_GET, .path = "/a"};
    CU_ASSERT_EQUAL(coord_run(s.coord, &op, 1, &tiny), E_LIMIT);
    arena_deinit(&tiny);
    CU_ASSERT(holds("/a", "0123456789012345678901234567890123456789"));
    end();
}

/* ---- a process that is killed ---- */

enum { KILLS = 12 };

/* Writes pairs by transactions and single nodes, and tells each number once it is acknowledged. */
static void write_until_killed(int to, int first)
{
    reopen();
    for (int i = first;; i++) {
        char a[32];
        char b[32];
        snprintf(a, sizeof(a), "/k/a%06d", i);
        snprintf(b, sizeof(b), "/k/b%06d", i);
        struct coord_op ops[] = {
            {.type = COORD_CREATE, .path = a, .data = text("value")},
            {.type = COORD_SET, .path = "/last", .data = text(a), .version = COORD_ANY_VERSION},
            {.type = COORD_CREATE, .path = b, .data = text("value")},
        };
        bool done = i % 2 == 0 || !implementation->batches_are_whole
                        ? multi(ops, 3) == OK
                        : coord_run(s.coord, ops, 3, &s.arena) == OK && ops[0].error == OK &&
                              ops[1].error == OK && ops[2].error == OK;
        if (!done || write(to, &i, sizeof(i)) != sizeof(i)) {
            _exit(1);
        }
        arena_reset(&s.arena, ARENA_BYTES);
    }
}

/* The highest number that was acknowledged before the end. */
static int run_and_kill(int first, int after_ms)
{
    int ends[2];
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    coord_close(s.coord);
    s.coord = NULL;
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        write_until_killed(ends[1], first);
    }
    close(ends[1]);
    int acknowledged = first - 1;
    int number = 0;
    if (read(ends[0], &number, sizeof(number)) == sizeof(number)) {
        acknowledged = number;
        sleep_ms(after_ms);
    }
    kill(child, SIGKILL);
    while (read(ends[0], &number, sizeof(number)) == sizeof(number)) {
        acknowledged = number;
    }
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    CU_ASSERT(WIFSIGNALED(status));
    return acknowledged;
}

static void test_kill(void)
{
    begin();
    (void)create("/k", NULL, 0);
    (void)create("/last", NULL, 0);
    struct seeded_random random;
    seeded_random_init(&random, 99);
    int next = 0;
    int64_t zxid = 0;
    for (int kills = 0; kills < KILLS; kills++) {
        int acknowledged = run_and_kill(next, (int)random_below(&random.random, 15));
        reopen();
        sleep_ms(implementation->late_ms);
        CU_ASSERT(acknowledged >= next);
        struct coord_op list = children("/k", 0);
        /* Pairs only, without a hole, everything acknowledged, at most one more. */
        int pairs = list.children_n / 2;
        CU_ASSERT_EQUAL(list.children_n % 2, 0);
        CU_ASSERT(pairs == acknowledged + 1 || pairs == acknowledged + 2);
        for (int i = 0; i < pairs; i++) {
            CU_ASSERT_EQUAL(strtol(list.children[i] + 1, NULL, 10), i);
            CU_ASSERT_EQUAL(strtol(list.children[pairs + i] + 1, NULL, 10), i);
        }
        char last[32];
        snprintf(last, sizeof(last), "/k/a%06d", pairs - 1);
        CU_ASSERT(holds("/last", last) && holds(last, "value"));
        struct coord_stat stat = get("/last", 0).stat;
        CU_ASSERT(stat.mzxid > zxid);
        zxid = stat.mzxid;
        next = pairs;
        arena_reset(&s.arena, ARENA_BYTES);
    }
    CU_ASSERT(next > KILLS);
    end();
}

/* ---- of the embedded store only ---- */

static void test_embedded_refuses_garbage(void)
{
    manual_clock_init(&s.clock, 0);
    temp_dir_make(s.dir);
    char path[128];
    snprintf(path, sizeof(path), "%s/coordination", s.dir);
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (int i = 0; i < 500; i++) {
        fprintf(file, "this is no database\n");
    }
    fclose(file);
    struct coord *coord = NULL;
    char reason[COORD_REASON_BYTES] = "";
    err e = coord_embedded_open(path, &s.clock.clock, &EVENTS, &coord, reason);
    CU_ASSERT_EQUAL(e, E_CORRUPT);
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, path));
    CU_ASSERT_PTR_NULL(strchr(reason, '\n'));
    e = coord_embedded_open("/nowhere/at/all", &s.clock.clock, &EVENTS, &coord, reason);
    CU_ASSERT_NOT_EQUAL(e, OK);
    temp_dir_remove(s.dir);
}

static mode_t mode_of(const char *path)
{
    struct stat status;
    CU_ASSERT_EQUAL_FATAL(stat(path, &status), 0);
    return status.st_mode & 0777;
}

/* Credentials are in it: also one that was made before that was so is its owner's alone. */
static void test_embedded_is_private(void)
{
    manual_clock_init(&s.clock, 0);
    temp_dir_make(s.dir);
    char path[128];
    char journal[160];
    char reason[COORD_REASON_BYTES] = "";
    snprintf(path, sizeof(path), "%s/coordination", s.dir);
    snprintf(journal, sizeof(journal), "%s-journal", path);
    for (int life = 0; life < 2; life++) {
        struct coord *coord = NULL;
        MUST(coord_embedded_open(path, &s.clock.clock, &EVENTS, &coord, reason));
        CU_ASSERT_EQUAL(mode_of(path), 0600);
        CU_ASSERT_EQUAL(mode_of(journal), 0600);
        coord_close(coord);
        CU_ASSERT_EQUAL(chmod(path, 0644), 0);
        CU_ASSERT_EQUAL(chmod(journal, 0644), 0);
    }
    temp_dir_remove(s.dir);
}

int main(int argc, char **argv)
{
    const struct suite_test tests[] = {
        TEST(test_create_and_get),
        TEST(test_set_by_version),
        TEST(test_delete_and_children),
        TEST(test_sequential),
        TEST(test_ephemeral),
        TEST(test_multi),
        TEST(test_paths),
        TEST(test_batch),
        TEST(test_data_watches),
        TEST(test_child_watches),
        TEST(test_watches_and_multi),
        TEST(test_stat),
        TEST(test_zxid_grows),
        TEST(test_arena_is_too_small),
        TEST(test_kill),
        TEST(test_embedded_refuses_garbage),
        TEST(test_embedded_is_private),
    };
    enum { ALL = sizeof(tests) / sizeof(tests[0]), NOT_IN_MEMORY = 3 };
    implementation = getenv("OTTLA_TEST_ZOOKEEPER") == NULL ? &EMBEDDED : &ZOOKEEPER;
    int failed = suite_run(implementation->name, tests, ALL, argc, argv);
    if (implementation == &EMBEDDED) {
        implementation = &MODEL;
        failed |= suite_run(implementation->name, tests, ALL - NOT_IN_MEMORY, argc, argv);
    }
    return failed;
}
