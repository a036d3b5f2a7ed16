/* What only the ZooKeeper store does: sessions that outlive a process, connections that are lost,
 * refusals. Runs beside a server (tests/with-zookeeper), in chroots of its own.
 *
 * Time here is the server's: sessions are short, and what must happen is waited for. */
#define _GNU_SOURCE
#include "zk/tests/coord_suite.h"
#include "zk/tests/proxy.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { SHORT_SESSION_MS = 600, SESSION_MS = 2000, LONG_SESSION_MS = 20000 };

static struct proxy proxy;

static int server_port(void)
{
    return (int)strtol(strchr(getenv("OTTLA_TEST_ZOOKEEPER"), ':') + 1, NULL, 10);
}

static void server_signal(int number)
{
    CU_ASSERT_EQUAL(kill((pid_t)strtol(getenv("OTTLA_TEST_ZOOKEEPER_PID"), NULL, 10), number), 0);
}

/* Every thread of the server in state T? */
static bool server_is_stopped(void)
{
    char tasks[64];
    snprintf(tasks, sizeof(tasks), "/proc/%s/task", getenv("OTTLA_TEST_ZOOKEEPER_PID"));
    DIR *dir = opendir(tasks);
    CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
    bool stopped = true;
    for (struct dirent *task = readdir(dir); task != NULL && stopped; task = readdir(dir)) {
        char path[400];
        char stat_line[256] = "";
        snprintf(path, sizeof(path), "%s/%s/stat", tasks, task->d_name);
        FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (file != NULL) {
            stopped = fgets(stat_line, sizeof(stat_line), file) != NULL &&
                      strstr(stat_line, ") T ") != NULL;
            fclose(file);
        }
    }
    closedir(dir);
    return stopped;
}

/* A signal works when its threads come to run, not at once. */
static void server_stop(void)
{
    server_signal(SIGSTOP);
    while (!server_is_stopped()) {
        sleep_ms(1);
    }
}

static int told(enum coord_session state)
{
    pthread_mutex_lock(&s.lock);
    int times = s.told[state];
    pthread_mutex_unlock(&s.lock);
    return times;
}

static bool told_within(enum coord_session state, int times, int ms)
{
    for (int64_t until = now_ms() + ms; told(state) < times; sleep_ms(2)) {
        if (now_ms() > until) {
            return false;
        }
    }
    return true;
}

/* ---- opening ---- */

static err open_how(const struct coord_zookeeper *how, char reason[COORD_REASON_BYTES])
{
    reason[0] = '\0';
    CU_ASSERT_PTR_NULL_FATAL(s.coord);
    return coord_zookeeper_open(how, &EVENTS, &s.coord, reason);
}

static void open_must(const struct coord_zookeeper *how)
{
    char reason[COORD_REASON_BYTES];
    MUST(open_how(how, reason));
}

static void open_with_file(const char *session_path, int session_timeout_ms)
{
    char connect[128];
    struct coord_zookeeper how = zookeeper_of(s.dir, connect);
    how.session_path = session_path;
    how.session_timeout_ms = session_timeout_ms;
    open_must(&how);
}

static void close_it(void)
{
    coord_close(s.coord);
    s.coord = NULL;
}

/* In the test's chroot, through the proxy. */
static void open_proxied(int session_timeout_ms, const char *session_path)
{
    char connect[128];
    snprintf(connect, sizeof(connect), "127.0.0.1:%d%s", proxy.port, strrchr(s.dir, '/'));
    struct coord_zookeeper how = {.connect = connect,
                                  .session_timeout_ms = session_timeout_ms,
                                  .connection_timeout_ms = PATIENCE_MS,
                                  .in_flight_max = 10,
                                  .session_path = session_path};
    open_must(&how);
}

static void begin_proxied(int session_timeout_ms)
{
    begin_closed();
    proxy_begin(&proxy, server_port());
    open_proxied(session_timeout_ms, NULL);
}

static void end_proxied(void)
{
    end();
    proxy_end(&proxy);
}

/* Another session on the same nodes, without the proxy. */
static struct coord *observer_open(void)
{
    char reason[COORD_REASON_BYTES] = "";
    struct coord *coord = NULL;
    static const struct coord_events DEAF = {.watch = NULL, .session = on_session};
    MUST(open_zookeeper(s.dir, &s.clock.clock, &DEAF, &coord, reason));
    return coord;
}

static err observer_does(struct coord *observer, struct coord_op op)
{
    err e = coord_run(observer, &op, 1, &s.arena);
    return e == OK ? op.error : e;
}

/* ---- refusals ---- */

static bool one_line(const char *reason, const char *part)
{
    bool fine = strncmp(reason, "zookeeper.connect: ", 19) == 0 && strchr(reason, '\n') == NULL &&
                strstr(reason, part) != NULL;
    if (!fine) {
        printf("reason: %s\n", reason);
    }
    return fine;
}

static void refused(const char *connect, const char *part, int within_ms)
{
    struct coord_zookeeper how = {.connect = connect,
                                  .session_timeout_ms = SESSION_MS,
                                  .connection_timeout_ms = 300,
                                  .in_flight_max = 10};
    char reason[COORD_REASON_BYTES];
    int64_t begin_at = now_ms();
    err e = open_how(&how, reason);
    CU_ASSERT_NOT_EQUAL_FATAL(e, OK);
    CU_ASSERT(now_ms() - begin_at < within_ms);
    CU_ASSERT(one_line(reason, part));
}

static void test_refuses_garbage(void)
{
    static const char *const BAD[] = {
        "",      ",",         "/",
        "/x",    "h:",        "h:0",
        "h:x",   "h:65536",   "h:99999999999999999999",
        "h:1,",  ",h:1",      "h:1,,g:1",
        "h:1:2", ":2181",     "[::1",
        "[]:1",  "[::1]2181", "fe80::1",
        "h:-1",  "h: 1",
    };
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        refused(BAD[i], "is not host:port", 100);
    }
    static const char *const BAD_CHROOTS[] = {"h:1//", "h:1/a/", "h:1/a//b", "h:1/a/../b", "h:1/."};
    for (size_t i = 0; i < sizeof(BAD_CHROOTS) / sizeof(BAD_CHROOTS[0]); i++) {
        refused(BAD_CHROOTS[i], "chroot", 100);
    }
    refused("no-such-host.invalid:2181", "resolved", PATIENCE_MS);
}

static void test_refuses_when_nobody_answers(void)
{
    int port = 0;
    close(socket_listen(&port));
    char connect[64];
    snprintf(connect, sizeof(connect), "127.0.0.1:%d", port);
    refused(connect, "answered within 300 ms", 1500);
    /* One who accepts and says nothing. */
    int mute = socket_listen(&port);
    snprintf(connect, sizeof(connect), "127.0.0.1:%d/x", port);
    refused(connect, "answered within 300 ms", 1500);
    close(mute);
}

static void test_refuses_a_missing_chroot(void)
{
    char connect[64];
    snprintf(connect, sizeof(connect), "%s/not/there", getenv("OTTLA_TEST_ZOOKEEPER"));
    char advice[128];
    snprintf(advice, sizeof(advice), "zookeeper-shell %s create /not/there \"\"",
             getenv("OTTLA_TEST_ZOOKEEPER"));
    struct coord_zookeeper how = {.connect = connect,
                                  .session_timeout_ms = SESSION_MS,
                                  .connection_timeout_ms = PATIENCE_MS,
                                  .in_flight_max = 10};
    char reason[COORD_REASON_BYTES];
    CU_ASSERT_EQUAL(open_how(&how, reason), E_NOT_FOUND);
    CU_ASSERT(one_line(reason, advice));
}

static void test_connect_strings(void)
{
    begin_closed();
    const char *server = getenv("OTTLA_TEST_ZOOKEEPER");
    int dead = 0;
    close(socket_listen(&dead));
    char both[128];
    char other[128];
    char root[128];
    snprintf(both, sizeof(both), "127.0.0.1:%d, %s%s", dead, server, strrchr(s.dir, '/'));
    snprintf(other, sizeof(other), "%s,127.0.0.1:%d%s", server, dead, strrchr(s.dir, '/'));
    snprintf(root, sizeof(root), "localhost:%d/", server_port());
    const char *const connects[] = {both, other, both, other, both, root, server};
    for (size_t i = 0; i < sizeof(connects) / sizeof(connects[0]); i++) {
        struct coord_zookeeper how = {.connect = connects[i],
                                      .session_timeout_ms = SESSION_MS,
                                      .connection_timeout_ms = PATIENCE_MS,
                                      .in_flight_max = 10};
        open_must(&how);
        CU_ASSERT(there("/"));
        close_it();
    }
    end();
}

/* ---- the session file ---- */

static void session_path(char path[128], const char *dir)
{
    snprintf(path, 128, "%s/session", dir);
}

static char *file_read(const char *path)
{
    FILE *file = fopen(path, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    char *text_read = xcalloc(1, 1024);
    size_t len = fread(text_read, 1, 1023, file);
    text_read[len] = '\0';
    fclose(file);
    return text_read;
}

static void file_write(const char *path, const char *content)
{
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(content, file);
    fclose(file);
}

static bool file_there(const char *path)
{
    return access(path, F_OK) == 0;
}

static void test_session_file(void)
{
    begin_closed();
    char path[128];
    session_path(path, s.dir);
    char stale[160];
    snprintf(stale, sizeof(stale), "%s.tmp", path);
    file_write(stale, "of a process that was killed");
    open_with_file(path, LONG_SESSION_MS);
    struct stat st;
    CU_ASSERT_EQUAL_FATAL(stat(path, &st), 0);
    CU_ASSERT_EQUAL(st.st_mode & 0777, 0600);
    CU_ASSERT_FALSE(file_there(stale));
    char *content = file_read(path);
    char id[32];
    snprintf(id, sizeof(id), "session=%016llx\n", (unsigned long long)coord_session_id(s.coord));
    CU_ASSERT_PTR_NOT_NULL(strstr(content, id));
    free(content);
    close_it();
    CU_ASSERT_FALSE(file_there(path));
    end();
}

/* Opens with the file, makes an ephemeral node, tells its session and waits for its end. */
static void child_with_session(int to, const char *path, int session_timeout_ms)
{
    open_with_file(path, session_timeout_ms);
    int64_t id = coord_session_id(s.coord);
    bool made = create("/me", "x", COORD_EPHEMERAL).error == OK;
    if (!made || write(to, &id, sizeof(id)) != sizeof(id)) {
        _exit(1);
    }
    for (;;) {
        pause();
    }
}

/* The session of a process that was killed; its file is at `path`. */
static int64_t killed_session(const char *path, int session_timeout_ms)
{
    int ends[2];
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        child_with_session(ends[1], path, session_timeout_ms);
    }
    close(ends[1]);
    int64_t id = 0;
    CU_ASSERT_EQUAL_FATAL(read(ends[0], &id, sizeof(id)), sizeof(id));
    close(ends[0]);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return id;
}

static void test_session_goes_on(void)
{
    begin_closed();
    char path[128];
    session_path(path, s.dir);
    int64_t id = killed_session(path, LONG_SESSION_MS);
    open_with_file(path, LONG_SESSION_MS);
    CU_ASSERT_EQUAL(coord_session_id(s.coord), id);
    struct coord_op me = get("/me", 0);
    CU_ASSERT_EQUAL(me.error, OK);
    CU_ASSERT_EQUAL(me.stat.ephemeral_owner, id);
    CU_ASSERT(coord_owned(s.coord, id));
    CU_ASSERT_FALSE(coord_owned(s.coord, id + 1));
    CU_ASSERT_FALSE(coord_owned(s.coord, 0));
    CU_ASSERT(file_there(path));
    close_it();
    CU_ASSERT_FALSE(file_there(path));
    open_with_file(path, LONG_SESSION_MS);
    CU_ASSERT_NOT_EQUAL(coord_session_id(s.coord), id);
    CU_ASSERT_FALSE(there("/me"));
    end();
}

static void test_session_is_not_copied(void)
{
    begin_closed();
    char path[128];
    session_path(path, s.dir);
    open_with_file(path, LONG_SESSION_MS);
    struct coord *first = s.coord;
    int64_t id = coord_session_id(first);
    s.coord = NULL;
    char copy[64];
    temp_dir_make(copy);
    char command[256];
    snprintf(command, sizeof(command), "cp -p %s %s/session", path, copy);
    CU_ASSERT_EQUAL_FATAL(system(command), 0);
    char copied[128];
    session_path(copied, copy);
    open_with_file(copied, LONG_SESSION_MS);
    CU_ASSERT_NOT_EQUAL(coord_session_id(s.coord), id);
    CU_ASSERT(there("/"));
    close_it();
    s.coord = first;
    CU_ASSERT(there("/"));
    CU_ASSERT_EQUAL(told(COORD_DISCONNECTED), 0);
    temp_dir_remove(copy);
    end();
}

static void test_expired_session_is_replaced(void)
{
    begin_closed();
    char path[128];
    session_path(path, s.dir);
    int64_t id = killed_session(path, SHORT_SESSION_MS);
    sleep_ms(3 * SHORT_SESSION_MS);
    open_with_file(path, LONG_SESSION_MS);
    CU_ASSERT_NOT_EQUAL(coord_session_id(s.coord), id);
    CU_ASSERT_FALSE(there("/me"));
    CU_ASSERT(told(COORD_EXPIRED) == 0 && told(COORD_CONNECTED) == 0);
    char *content = file_read(path);
    char own[32];
    snprintf(own, sizeof(own), "session=%016llx\n", (unsigned long long)coord_session_id(s.coord));
    CU_ASSERT_PTR_NOT_NULL(strstr(content, own));
    free(content);
    end();
}

/* What is no session file is passed over and replaced. */
static void test_damaged_session_file(void)
{
    begin_closed();
    char path[128];
    session_path(path, s.dir);
    int64_t id = killed_session(path, LONG_SESSION_MS);
    char *content = file_read(path);
    size_t len = strlen(content);
    static const size_t CUTS[] = {0, 1, 10, 40};
    for (size_t i = 0; i < 4 + 3; i++) {
        char *damaged = xstrdup(content);
        if (i < 4) {
            damaged[CUTS[i]] = '\0';
        } else if (i == 4) {
            damaged[len - 2] = 'x'; /* the last digit of the password */
        } else {
            *strchr(damaged, i == 5 ? '1' : '.') = '2'; /* the version; the directory */
        }
        file_write(path, damaged);
        free(damaged);
        open_with_file(path, LONG_SESSION_MS);
        CU_ASSERT_NOT_EQUAL(coord_session_id(s.coord), id);
        close_it();
    }
    file_write(path, content); /* as it was, it is good */
    free(content);
    open_with_file(path, LONG_SESSION_MS);
    CU_ASSERT_EQUAL(coord_session_id(s.coord), id);
    end();
}

/* A machine that was restarted may have lost what was not synced: the broker's end is to be noticed. */
static void test_session_of_another_boot(void)
{
    begin_closed();
    char path[128];
    session_path(path, s.dir);
    int64_t id = killed_session(path, LONG_SESSION_MS);
    char *content = file_read(path);
    char *boot = strstr(content, "\nboot=");
    CU_ASSERT_PTR_NOT_NULL_FATAL(boot);
    boot[6] = boot[6] == '0' ? '1' : '0';
    file_write(path, content);
    free(content);
    open_with_file(path, LONG_SESSION_MS);
    CU_ASSERT_NOT_EQUAL(coord_session_id(s.coord), id);
    CU_ASSERT(there("/me")); /* until it expires */
    end();
}

/* ---- lost answers ---- */

/* A write whose answer is lost, or which is lost itself, once. */
static struct coord_op lossy(int type, bool applies, struct coord_op op)
{
    proxy_cut(&proxy, type, 0, 1, applies);
    op = run(op);
    CU_ASSERT_EQUAL(proxy_cuts_done(&proxy), 1);
    return op;
}

static void lost_create(bool applies)
{
    struct coord_op op = {.type = COORD_CREATE, .path = "/c", .data = text("x")};
    op = lossy(TYPE_CREATE, applies, op);
    CU_ASSERT_EQUAL(op.error, OK);
    CU_ASSERT_STRING_EQUAL_FATAL(op.created_path, "/c");
    CU_ASSERT_EQUAL(op.stat.czxid, get("/c", 0).stat.czxid);
    op.flags = COORD_EPHEMERAL;
    op.path = "/e";
    op.data = (struct bytes){0};
    op = lossy(TYPE_CREATE, applies, op);
    CU_ASSERT_EQUAL(op.error, OK);
    CU_ASSERT_EQUAL(get("/e", 0).stat.ephemeral_owner, coord_session_id(s.coord));
    /* What somebody else made is no success. */
    op = (struct coord_op){.type = COORD_CREATE, .path = "/c", .data = text("y")};
    CU_ASSERT_EQUAL(lossy(TYPE_CREATE, applies, op).error, E_EXISTS);
    op = (struct coord_op){.type = COORD_CREATE, .path = "/c", .data = text("x")};
    op.flags = COORD_EPHEMERAL;
    CU_ASSERT_EQUAL(lossy(TYPE_CREATE, applies, op).error, E_EXISTS);
    CU_ASSERT(holds("/c", "x"));
}

static void lost_set(bool applies)
{
    struct coord_op op = {.type = COORD_SET, .path = "/c", .data = text("1"), .version = 0};
    op = lossy(TYPE_SET, applies, op);
    CU_ASSERT_EQUAL(op.error, OK);
    CU_ASSERT_EQUAL(op.stat.version, 1);
    CU_ASSERT(holds("/c", "1"));
    op.data = text("2");
    op.version = COORD_ANY_VERSION;
    CU_ASSERT_EQUAL(lossy(TYPE_SET, applies, op).error, OK);
    CU_ASSERT(holds("/c", "2"));
    op.version = 77;
    CU_ASSERT_EQUAL(lossy(TYPE_SET, applies, op).error, E_VERSION);
    op.path = "/none";
    CU_ASSERT_EQUAL(lossy(TYPE_SET, applies, op).error, E_NOT_FOUND);
}

static void lost_delete(bool applies)
{
    struct coord_op op = {.type = COORD_DELETE, .path = "/c", .version = 99};
    CU_ASSERT_EQUAL(lossy(TYPE_DELETE, applies, op).error, E_VERSION);
    op.version = get("/c", 0).stat.version;
    CU_ASSERT_EQUAL(lossy(TYPE_DELETE, applies, op).error, OK);
    CU_ASSERT_FALSE(there("/c"));
    CU_ASSERT_EQUAL(delete ("/e", COORD_ANY_VERSION), OK);
}

static void lost_sequential(bool applies)
{
    (void)create("/q", NULL, 0);
    struct coord_op op = {.type = COORD_CREATE, .path = "/q/n", .flags = COORD_SEQUENTIAL};
    op = lossy(TYPE_CREATE, applies, op);
    CU_ASSERT_EQUAL(op.error, OK);
    CU_ASSERT_EQUAL(children("/q", 0).children_n, applies ? 2 : 1);
    CU_ASSERT(there(op.created_path));
    CU_ASSERT_STRING_EQUAL(op.created_path, applies ? "/q/n0000000001" : "/q/n0000000000");
}

static void lost_reads(bool applies)
{
    struct coord_op op = {.type = COORD_GET, .path = "/q", .flags = COORD_WATCH};
    CU_ASSERT_EQUAL(lossy(TYPE_GET, applies, op).error, OK);
    op.path = "/nothing";
    CU_ASSERT_EQUAL(lossy(TYPE_EXISTS, applies, op).error, E_NOT_FOUND);
    op.type = COORD_CHILDREN;
    op.path = "/q";
    CU_ASSERT_EQUAL(lossy(TYPE_CHILDREN, applies, op).children_n, applies ? 2 : 1);
    (void)set("/q", "x", COORD_ANY_VERSION);
    (void)create("/nothing", NULL, 0);
    (void)create("/q/more", NULL, 0);
    CU_ASSERT(fired(COORD_NODE_CHANGED, "/q"));
    CU_ASSERT(fired(COORD_NODE_CREATED, "/nothing"));
    CU_ASSERT(fired(COORD_CHILDREN_CHANGED, "/q"));
    CU_ASSERT(quiet());
}

static void lost_answers(bool applies)
{
    begin_proxied(SESSION_MS);
    lost_create(applies);
    lost_set(applies);
    lost_delete(applies);
    lost_sequential(applies);
    lost_reads(applies);
    CU_ASSERT(told(COORD_DISCONNECTED) > 0);
    CU_ASSERT(told_within(COORD_CONNECTED, told(COORD_DISCONNECTED), PATIENCE_MS));
    CU_ASSERT_EQUAL(told(COORD_EXPIRED), 0);
    end_proxied();
}

static void test_lost_answers(void)
{
    lost_answers(true);
}

static void test_lost_requests(void)
{
    lost_answers(false);
}

static err lossy_multi(bool applies, struct coord_op *ops, size_t count)
{
    proxy_cut(&proxy, TYPE_MULTI, 0, 1, applies);
    err e = coord_multi(s.coord, ops, count, &s.arena);
    CU_ASSERT_EQUAL(proxy_cuts_done(&proxy), 1);
    return e;
}

static void lost_multi(bool applies)
{
    begin_proxied(SESSION_MS);
    (void)create("/old", "x", 0);
    (void)create("/epoch", "1", 0);
    struct coord_op ops[] = {
        {.type = COORD_CHECK, .path = "/epoch", .version = 0},
        {.type = COORD_CREATE, .path = "/new", .data = text("a")},
        {.type = COORD_SET, .path = "/new", .data = text("b"), .version = 0},
        {.type = COORD_CREATE, .path = "/own", .flags = COORD_EPHEMERAL},
        {.type = COORD_DELETE, .path = "/old", .version = 0},
        {.type = COORD_CREATE, .path = "/brief"},
        {.type = COORD_DELETE, .path = "/brief", .version = 0},
    };
    CU_ASSERT_EQUAL(lossy_multi(applies, ops, 7), OK);
    CU_ASSERT(holds("/new", "b") && there("/own") && !there("/old") && !there("/brief"));
    CU_ASSERT_EQUAL(ops[3].stat.czxid, get("/own", 0).stat.czxid);
    CU_ASSERT_EQUAL(ops[3].stat.ephemeral_owner, coord_session_id(s.coord));
    CU_ASSERT_EQUAL(ops[2].stat.version, 1);
    CU_ASSERT_STRING_EQUAL(ops[3].created_path, "/own");
    struct coord_op refusals[] = {
        {.type = COORD_CREATE, .path = "/newer"},
        {.type = COORD_CHECK, .path = "/epoch", .version = 5},
    };
    CU_ASSERT_EQUAL(lossy_multi(applies, refusals, 2), E_VERSION);
    CU_ASSERT_EQUAL(refusals[1].error, E_VERSION);
    CU_ASSERT_EQUAL(lossy_multi(applies, &refusals[1], 1), E_VERSION);
    CU_ASSERT_FALSE(there("/newer"));
    struct coord_op check = {.type = COORD_CHECK, .path = "/epoch", .version = 0};
    CU_ASSERT_EQUAL(lossy(TYPE_MULTI, applies, check).error, OK);
    struct coord_op numbered[] = {
        {.type = COORD_CREATE, .path = "/n", .flags = COORD_SEQUENTIAL},
        {.type = COORD_CREATE, .path = "/mark"},
    };
    CU_ASSERT_EQUAL(lossy_multi(applies, numbered, 2), OK);
    CU_ASSERT_EQUAL(numbered[0].created_path == NULL, applies);
    CU_ASSERT(there("/mark"));
    end_proxied();
}

static void test_lost_transactions(void)
{
    lost_multi(true);
    lost_multi(false);
}

/* Parents come first, and stay first when they are sent again. */
static void test_batch_over_losses(void)
{
    begin_proxied(SESSION_MS);
    enum { N = 300 };
    struct coord_op *ops = xcalloc(N, sizeof(*ops));
    for (int i = 0; i < N; i++) {
        const char *format = i % 2 == 0 ? "/p%03d" : "/p%03d/child";
        const char *path = arena_format(&s.arena, format, i / 2).data;
        ops[i] = (struct coord_op){.type = COORD_CREATE, .path = path, .data = text("v")};
    }
    proxy_cut(&proxy, TYPE_CREATE, 33, 3, true);
    MUST(coord_run(s.coord, ops, N, &s.arena));
    CU_ASSERT_EQUAL(proxy_cuts_done(&proxy), 3);
    for (int i = 0; i < N; i++) {
        CU_ASSERT_EQUAL(ops[i].error, OK);
        CU_ASSERT_STRING_EQUAL(ops[i].created_path, ops[i].path);
        CU_ASSERT(ops[i].stat.czxid > 0);
    }
    CU_ASSERT_EQUAL(children("/", 0).children_n, N / 2);
    free(ops);
    end_proxied();
}

static void test_gives_up(void)
{
    begin_proxied(SESSION_MS);
    proxy_cut(&proxy, TYPE_CREATE, 0, 1000, false);
    struct coord_op op = {.type = COORD_CREATE, .path = "/a"};
    CU_ASSERT_EQUAL(coord_run(s.coord, &op, 1, &s.arena), E_UNKNOWN_OUTCOME);
    CU_ASSERT_EQUAL(op.error, E_UNKNOWN_OUTCOME);
    CU_ASSERT_PTR_NULL(op.created_path);
    CU_ASSERT_EQUAL(proxy_cuts_done(&proxy), 20);
    proxy_cut(&proxy, TYPE_CREATE, 0, 0, false);
    CU_ASSERT_EQUAL(create("/a", NULL, 0).error, OK);
    end_proxied();
}

/* What changes while the connection is lost is told when it is back. */
static void test_watches_outlive_the_connection(void)
{
    begin_proxied(LONG_SESSION_MS);
    (void)create("/t", NULL, 0);
    (void)create("/t/a", "1", 0);
    (void)create("/t/b", "1", 0);
    (void)get("/t/a", COORD_WATCH);
    (void)get("/t/none", COORD_WATCH);
    (void)get("/t/b", COORD_WATCH);
    (void)children("/t", COORD_WATCH);
    (void)children("/t/b", COORD_WATCH);
    struct coord *observer = observer_open();
    proxy_block(&proxy, true);
    CU_ASSERT(told_within(COORD_DISCONNECTED, 1, PATIENCE_MS));
    MUST(observer_does(observer, (struct coord_op){.type = COORD_SET, .path = "/t/a"}));
    MUST(observer_does(observer, (struct coord_op){.type = COORD_CREATE, .path = "/t/none"}));
    proxy_block(&proxy, false);
    CU_ASSERT(fired(COORD_NODE_CHANGED, "/t/a"));
    CU_ASSERT(fired(COORD_NODE_CREATED, "/t/none"));
    CU_ASSERT(fired(COORD_CHILDREN_CHANGED, "/t"));
    CU_ASSERT(there("/t"));
    CU_ASSERT(quiet());
    MUST(observer_does(observer,
                       (struct coord_op){.type = COORD_SET, .path = "/t/b", .data = text("2")}));
    CU_ASSERT(fired(COORD_NODE_CHANGED, "/t/b"));
    CU_ASSERT(quiet());
    coord_close(observer);
    end_proxied();
}

/* ---- the end of a session ---- */

static void test_expiry(void)
{
    begin_closed();
    proxy_begin(&proxy, server_port());
    char path[128];
    session_path(path, s.dir);
    open_proxied(SHORT_SESSION_MS, path);
    int64_t first = coord_session_id(s.coord);
    (void)create("/me", "x", COORD_EPHEMERAL);
    (void)get("/me", COORD_WATCH);
    struct coord *observer = observer_open();
    proxy_block(&proxy, true);
    int64_t until = now_ms() + PATIENCE_MS;
    while (observer_does(observer, (struct coord_op){.type = COORD_GET, .path = "/me"}) == OK &&
           now_ms() < until) {
        sleep_ms(10);
    }
    CU_ASSERT_EQUAL(told(COORD_EXPIRED), 0); /* only the server knows */
    proxy_block(&proxy, false);
    struct coord_op ops[] = {{.type = COORD_GET, .path = "/me"},
                             {.type = COORD_CREATE, .path = "/other"}};
    CU_ASSERT_EQUAL(coord_run(s.coord, ops, 2, &s.arena), E_SESSION);
    CU_ASSERT(ops[0].error == E_SESSION && ops[1].error == E_SESSION);
    CU_ASSERT(told_within(COORD_EXPIRED, 1, PATIENCE_MS));
    CU_ASSERT_EQUAL(coord_multi(s.coord, &ops[1], 1, &s.arena), E_SESSION);
    CU_ASSERT_EQUAL(coord_session_id(s.coord), first);
    CU_ASSERT(quiet());
    MUST(coord_renew(s.coord));
    int64_t second = coord_session_id(s.coord);
    CU_ASSERT_NOT_EQUAL(second, first);
    CU_ASSERT(coord_owned(s.coord, first) && coord_owned(s.coord, second));
    CU_ASSERT_FALSE(there("/me"));
    CU_ASSERT_EQUAL(create("/me", "x", COORD_EPHEMERAL).stat.czxid, get("/me", 0).stat.czxid);
    CU_ASSERT_EQUAL(get("/me", 0).stat.ephemeral_owner, second);
    MUST(coord_renew(s.coord)); /* there is nothing to renew */
    CU_ASSERT_EQUAL(coord_session_id(s.coord), second);
    char *content = file_read(path);
    char own[32];
    snprintf(own, sizeof(own), "session=%016llx\n", (unsigned long long)second);
    CU_ASSERT_PTR_NOT_NULL(strstr(content, own));
    free(content);
    CU_ASSERT_EQUAL(told(COORD_EXPIRED), 1);
    coord_close(observer);
    end_proxied();
}

/* ---- calls that wait ---- */

struct call {
    pthread_t thread;
    err error;
    int64_t ended_ms;
};

static void *call_main(void *context)
{
    struct call *call = context;
    struct coord_op op = {.type = COORD_GET, .path = "/a", .flags = COORD_WATCH};
    err e = coord_run(s.coord, &op, 1, &s.arena);
    call->error = e == OK ? op.error : e;
    call->ended_ms = now_ms();
    return NULL;
}

static void *renew_main(void *context)
{
    struct call *call = context;
    call->error = coord_renew(s.coord);
    call->ended_ms = now_ms();
    return NULL;
}

static void call_begin(struct call *call, void *(*main)(void *))
{
    CU_ASSERT_EQUAL_FATAL(pthread_create(&call->thread, NULL, main, call), 0);
}

static err call_end(struct call *call)
{
    pthread_join(call->thread, NULL);
    return call->error;
}

static void test_pause(void)
{
    begin_closed();
    open_with_file(NULL, LONG_SESSION_MS / 10);
    (void)create("/a", "1", 0);
    (void)get("/a", COORD_WATCH);
    int64_t id = coord_session_id(s.coord);
    static const int PAUSES_MS[] = {50, 1000};
    for (size_t i = 0; i < 2; i++) {
        server_stop();
        struct call call;
        call_begin(&call, call_main);
        sleep_ms(PAUSES_MS[i]);
        int64_t resumed_ms = now_ms();
        server_signal(SIGCONT);
        CU_ASSERT_EQUAL(call_end(&call), OK);
        CU_ASSERT(call.ended_ms >= resumed_ms);
    }
    CU_ASSERT(set("/a", "2", 0).error == OK);
    CU_ASSERT(fired(COORD_NODE_CHANGED, "/a"));
    CU_ASSERT(quiet());
    CU_ASSERT_EQUAL(coord_session_id(s.coord), id);
    CU_ASSERT_EQUAL(told(COORD_EXPIRED), 0);
    end();
}

static void interrupted_while_paused(int pause_ms)
{
    begin_closed();
    char path[128];
    session_path(path, s.dir);
    open_with_file(path, SESSION_MS);
    (void)create("/a", "1", 0);
    server_stop();
    struct call call;
    call_begin(&call, call_main);
    sleep_ms(pause_ms);
    int64_t at_ms = now_ms();
    coord_interrupt(s.coord);
    CU_ASSERT_EQUAL(call_end(&call), E_CLOSED);
    CU_ASSERT(call.ended_ms - at_ms < 100);
    struct coord_op op = {.type = COORD_GET, .path = "/a"};
    CU_ASSERT_EQUAL(coord_run(s.coord, &op, 1, &s.arena), E_CLOSED);
    CU_ASSERT_EQUAL(op.error, E_CLOSED);
    CU_ASSERT_EQUAL(coord_renew(s.coord), E_CLOSED);
    at_ms = now_ms();
    close_it();
    CU_ASSERT(now_ms() - at_ms < 3000);
    server_signal(SIGCONT);
    CU_ASSERT(file_there(path)); /* it could not be told */
    open_with_file(path, LONG_SESSION_MS);
    CU_ASSERT(there("/a"));
    end();
}

static void test_interrupt(void)
{
    interrupted_while_paused(20);   /* before the client knows */
    interrupted_while_paused(1800); /* after it */
}

static void test_interrupt_renew(void)
{
    begin_proxied(SHORT_SESSION_MS);
    proxy_block(&proxy, true);
    sleep_ms(4 * SHORT_SESSION_MS);
    proxy_block(&proxy, false);
    CU_ASSERT(told_within(COORD_EXPIRED, 1, PATIENCE_MS));
    proxy_block(&proxy, true);
    struct call call;
    call_begin(&call, renew_main);
    sleep_ms(300);
    int64_t at_ms = now_ms();
    coord_interrupt(s.coord);
    CU_ASSERT_EQUAL(call_end(&call), E_CLOSED);
    CU_ASSERT(call.ended_ms - at_ms < 100);
    struct coord_op op = {.type = COORD_GET, .path = "/a"};
    CU_ASSERT_EQUAL(coord_run(s.coord, &op, 1, &s.arena), E_CLOSED);
    at_ms = now_ms();
    close_it();
    CU_ASSERT(now_ms() - at_ms < 3000);
    end_proxied();
}

/* ---- limits ---- */

static void test_too_large(void)
{
    begin_closed();
    open_with_file(NULL, LONG_SESSION_MS);
    enum { N = 1000001 };
    char *data = xmalloc(N);
    memset(data, 'x', N);
    (void)create("/a", NULL, 0);
    struct coord_op ops[] = {
        {.type = COORD_CREATE, .path = "/b", .data = bytes_of(data, N)},
        {.type = COORD_CREATE, .path = "/c"},
        {.type = COORD_SET, .path = "/a", .data = bytes_of(data, N), .version = 0},
    };
    CU_ASSERT_EQUAL(coord_run(s.coord, ops, 3, &s.arena), E_LIMIT);
    CU_ASSERT(ops[0].error == E_LIMIT && ops[1].error == OK && ops[2].error == E_LIMIT);
    struct coord_op halves[] = {
        {.type = COORD_CREATE, .path = "/d", .data = bytes_of(data, N / 2)},
        {.type = COORD_CREATE, .path = "/e", .data = bytes_of(data, N / 2)},
    };
    CU_ASSERT_EQUAL(coord_multi(s.coord, halves, 2, &s.arena), E_LIMIT);
    CU_ASSERT_EQUAL(halves[1].error, E_LIMIT);
    CU_ASSERT(there("/c") && !there("/b") && !there("/d"));
    /* What is let through is not too much for the server. */
    size_t most = N - 1 - 64 - strlen("/f") - strlen(strrchr(s.dir, '/'));
    struct coord_op large = {.type = COORD_CREATE, .path = "/f", .data = bytes_of(data, most)};
    CU_ASSERT_EQUAL(run(large).error, OK);
    CU_ASSERT(bytes_equal(get("/f", 0).value, bytes_of(data, most)));
    CU_ASSERT_EQUAL(told(COORD_DISCONNECTED), 0);
    free(data);
    end();
}

static void test_no_path(void)
{
    begin_closed();
    open_with_file(NULL, LONG_SESSION_MS);
    static const char *const BAD[] = {"",      "a",   "/a/", "//",    "/a//b",
                                      "/a/./", "/..", "/.",  "/a\nb", "/a/../b"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        struct coord_op op = {.type = COORD_GET, .path = BAD[i]};
        CU_ASSERT_EQUAL(coord_run(s.coord, &op, 1, &s.arena), E_MALFORMED);
        op.type = COORD_CREATE;
        CU_ASSERT_EQUAL(coord_multi(s.coord, &op, 1, &s.arena), E_MALFORMED);
    }
    CU_ASSERT_EQUAL(create("/...", NULL, 0).error, OK);
    CU_ASSERT_EQUAL(create("/..a", NULL, 0).error, OK);
    CU_ASSERT_STRING_EQUAL(create("/.../", NULL, COORD_SEQUENTIAL).created_path, "/.../0000000000");
    CU_ASSERT_EQUAL(told(COORD_DISCONNECTED), 0);
    end();
}

static void test_many(void)
{
    begin_closed();
    open_with_file(NULL, LONG_SESSION_MS);
    enum { N = 3000 };
    struct coord_op *ops = xcalloc(N, sizeof(*ops));
    (void)create("/t", NULL, 0);
    for (int i = 0; i < N; i++) {
        const char *path = arena_format(&s.arena, "/t/%04d", i).data;
        ops[i] = (struct coord_op){.type = COORD_CREATE, .path = path, .data = text(path)};
    }
    MUST(coord_run(s.coord, ops, N, &s.arena));
    for (int i = 0; i < N; i++) {
        ops[i] = (struct coord_op){.type = COORD_GET, .path = ops[i].path, .flags = COORD_WATCH};
    }
    MUST(coord_run(s.coord, ops, N, &s.arena));
    for (int i = 0; i < N; i++) {
        CU_ASSERT(bytes_equal(ops[i].value, text(ops[i].path)));
    }
    struct coord_op list = children("/t", 0);
    CU_ASSERT_EQUAL_FATAL(list.children_n, N);
    for (int i = 0; i < N; i++) {
        CU_ASSERT_STRING_EQUAL(list.children[i], ops[i].path + 3);
    }
    free(ops);
    end();
}

int main(int argc, char **argv)
{
    const struct suite_test tests[] = {
        TEST(test_refuses_garbage),
        TEST(test_refuses_when_nobody_answers),
        TEST(test_refuses_a_missing_chroot),
        TEST(test_connect_strings),
        TEST(test_session_file),
        TEST(test_session_goes_on),
        TEST(test_session_is_not_copied),
        TEST(test_expired_session_is_replaced),
        TEST(test_damaged_session_file),
        TEST(test_session_of_another_boot),
        TEST(test_lost_answers),
        TEST(test_lost_requests),
        TEST(test_lost_transactions),
        TEST(test_batch_over_losses),
        TEST(test_gives_up),
        TEST(test_watches_outlive_the_connection),
        TEST(test_expiry),
        TEST(test_pause),
        TEST(test_interrupt),
        TEST(test_interrupt_renew),
        TEST(test_too_large),
        TEST(test_no_path),
        TEST(test_many),
    };
    if (getenv("OTTLA_TEST_ZOOKEEPER") == NULL) {
        printf("skipped, because there is no ZooKeeper (tests/with-zookeeper)\n");
        return 77;
    }
    implementation = &ZOOKEEPER;
    return suite_run("zookeeper", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
