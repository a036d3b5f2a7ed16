/* What the tests of coordination stores share: a store of the test's own, the watches that it tells,
 * and single operations.
 *
 * Watches may come late and on another thread, so a test waits for them. Every test begins with a
 * store of its own; reopening it is a new session on the same nodes. */
#ifndef OTTLA_ZK_TESTS_COORD_SUITE_H
#define OTTLA_ZK_TESTS_COORD_SUITE_H

#include "zk/coord.h"
#include "zk/model/coord_model.h"

#include "base/tests/suite.h"

#include <pthread.h>
#include <time.h>

/* The ZooKeeper client forgets an answer when it is closed with several under way: a few hundred bytes
 * of its own. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libzookeeper_mt\n";
}

enum { ARENA_BYTES = 64 << 20, WATCHES_MAX = 64, WATCH_PATIENCE_MS = 3000, QUIET_MS = 5 };

struct implementation {
    const char *name;
    /* Makes the store of a test, named after its directory. */
    void (*make)(const char *dir);
    /* Opens that store as a new session. */
    err (*open)(const char *dir, struct clock *clock, const struct coord_events *events,
                struct coord **coord, char reason[COORD_REASON_BYTES]);
    /* The store of a test goes. */
    void (*remove)(void);
    /* The next write has a later time than the last. */
    void (*time_passes)(void);
    bool batches_are_whole; /* when the process is killed in one: all of it or nothing */
    int late_ms;            /* so long after a kill, what it had sent may still arrive */
};

/* ---- a store, and what it tells ---- */

struct seen {
    enum coord_watch_type type;
    char path[64];
};

static struct {
    char dir[64];
    struct coord *coord;
    struct arena arena;
    struct manual_clock clock;
    pthread_mutex_t lock;
    struct seen watches[WATCHES_MAX];
    int watches_n;
    int told[COORD_EXPIRED + 1]; /* how often each state of the session */
} s = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const struct implementation *implementation;

static void on_watch(void *context, enum coord_watch_type type, const char *path)
{
    (void)context;
    pthread_mutex_lock(&s.lock);
    if (s.watches_n < WATCHES_MAX) {
        s.watches[s.watches_n].type = type;
        snprintf(s.watches[s.watches_n++].path, sizeof(s.watches[0].path), "%s", path);
    }
    pthread_mutex_unlock(&s.lock);
}

static void on_session(void *context, enum coord_session state)
{
    (void)context;
    pthread_mutex_lock(&s.lock);
    s.told[state]++;
    pthread_mutex_unlock(&s.lock);
}

static const struct coord_events EVENTS = {.watch = on_watch, .session = on_session};

/* ---- the implementations ---- */

static inline void make_nothing(const char *dir)
{
    (void)dir;
}

static inline void remove_nothing(void)
{
}

static inline err open_embedded(const char *dir, struct clock *clock,
                                const struct coord_events *events, struct coord **coord,
                                char reason[COORD_REASON_BYTES])
{
    char path[128];
    snprintf(path, sizeof(path), "%s/coordination", dir);
    return coord_embedded_open(path, clock, events, coord, reason);
}

static inline void clock_passes(void)
{
    s.clock.now_ms += 1000;
}

__attribute__((unused)) static const struct implementation EMBEDDED = {
    .name = "coord",
    .make = make_nothing,
    .open = open_embedded,
    .remove = remove_nothing,
    .time_passes = clock_passes,
    .batches_are_whole = true,
};

/* A ZooKeeper's tests live in chroots of their own, named as their directories. `connect` has room
 * for 128 bytes. */
static inline struct coord_zookeeper zookeeper_of(const char *dir, char *connect)
{
    const char *chroot = dir == NULL ? "" : strrchr(dir, '/');
    snprintf(connect, 128, "%s%s", getenv("OTTLA_TEST_ZOOKEEPER"), chroot);
    return (struct coord_zookeeper){.connect = connect,
                                    .session_timeout_ms = 20000,
                                    .connection_timeout_ms = 20000,
                                    .in_flight_max = 10};
}

static inline void make_chroot(const char *dir)
{
    char connect[128];
    char reason[COORD_REASON_BYTES];
    struct coord *coord = NULL;
    struct coord_zookeeper how = zookeeper_of(NULL, connect);
    MUST(coord_zookeeper_open(&how, &EVENTS, &coord, reason));
    struct coord_op op = {.type = COORD_CREATE, .path = strrchr(dir, '/')};
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    MUST(coord_run(coord, &op, 1, &arena));
    arena_deinit(&arena);
    coord_close(coord);
    MUST(op.error);
}

static inline err open_zookeeper(const char *dir, struct clock *clock,
                                 const struct coord_events *events, struct coord **coord,
                                 char reason[COORD_REASON_BYTES])
{
    char connect[128];
    struct coord_zookeeper how = zookeeper_of(dir, connect);
    (void)clock; /* the server's counts */
    return coord_zookeeper_open(&how, events, coord, reason);
}

static inline void zookeeper_time_passes(void)
{
    sleep_ms(5);
}

__attribute__((unused)) static const struct implementation ZOOKEEPER = {
    .name = "coord on ZooKeeper",
    .make = make_chroot,
    .open = open_zookeeper,
    .remove = remove_nothing,
    .time_passes = zookeeper_time_passes,
    .late_ms = 50,
};

static struct {
    struct seeded_random random;
    struct coord_model *model;
    struct coord_model_way *way;
} on_model;

static inline void make_model(const char *dir)
{
    (void)dir;
    seeded_random_init(&on_model.random, 1);
    on_model.model = coord_model_new(&s.clock.clock, &on_model.random.random);
    struct coord_model_config config = {.session_timeout_ms = 20000,
                                        .connection_timeout_ms = 20000};
    on_model.way = coord_model_way_new(on_model.model, &config);
}

static inline err open_model(const char *dir, struct clock *clock,
                             const struct coord_events *events, struct coord **coord,
                             char reason[COORD_REASON_BYTES])
{
    (void)dir;
    (void)clock;
    return coord_model_open(on_model.way, events, coord, reason);
}

static inline void remove_model(void)
{
    coord_model_free(on_model.model);
}

/* Not for a process that is killed: it goes with it. */
__attribute__((unused)) static const struct implementation MODEL = {
    .name = "coord on the model",
    .make = make_model,
    .open = open_model,
    .remove = remove_model,
    .time_passes = clock_passes,
};

/* ---- the store of a test ---- */

static inline void reopen(void)
{
    if (s.coord != NULL) {
        coord_close(s.coord);
    }
    char reason[COORD_REASON_BYTES] = "";
    s.coord = NULL;
    err e = implementation->open(s.dir, &s.clock.clock, &EVENTS, &s.coord, reason);
    CU_ASSERT_EQUAL_FATAL(e, OK);
}

/* All but the opening. */
static void begin_closed(void)
{
    temp_dir_make(s.dir);
    manual_clock_init(&s.clock, 1700000000000);
    implementation->make(s.dir);
    arena_init(&s.arena, ARENA_BYTES);
    s.watches_n = 0;
    memset(s.told, 0, sizeof(s.told));
    s.coord = NULL;
}

static inline void begin(void)
{
    begin_closed();
    reopen();
}

static void end(void)
{
    if (s.coord != NULL) {
        coord_close(s.coord);
        s.coord = NULL;
    }
    arena_deinit(&s.arena);
    implementation->remove();
    temp_dir_remove(s.dir);
}

/* ---- watches ---- */

/* Has this watch fired? Then it is taken from the list. */
static bool took_watch(enum coord_watch_type type, const char *path)
{
    bool found = false;
    pthread_mutex_lock(&s.lock);
    for (int i = 0; i < s.watches_n && !found; i++) {
        if (s.watches[i].type == type && strcmp(s.watches[i].path, path) == 0) {
            s.watches[i] = s.watches[--s.watches_n];
            found = true;
        }
    }
    pthread_mutex_unlock(&s.lock);
    return found;
}

static inline bool fired(enum coord_watch_type type, const char *path)
{
    for (int ms = 0; ms < WATCH_PATIENCE_MS; ms++) {
        if (took_watch(type, path)) {
            return true;
        }
        sleep_ms(1);
    }
    return false;
}

static inline bool quiet(void)
{
    sleep_ms(QUIET_MS);
    pthread_mutex_lock(&s.lock);
    bool none = s.watches_n == 0;
    pthread_mutex_unlock(&s.lock);
    return none;
}

/* ---- single operations ---- */

static struct coord_op run(struct coord_op op)
{
    err e = coord_run(s.coord, &op, 1, &s.arena);
    CU_ASSERT_EQUAL(e, OK);
    return op;
}

static struct bytes text(const char *data)
{
    return data == NULL ? (struct bytes){0} : bytes_of(data, strlen(data));
}

static inline struct coord_op create(const char *path, const char *data, int flags)
{
    return run(
        (struct coord_op){.type = COORD_CREATE, .path = path, .data = text(data), .flags = flags});
}

static inline struct coord_op get(const char *path, int flags)
{
    return run((struct coord_op){.type = COORD_GET, .path = path, .flags = flags});
}

static inline struct coord_op set(const char *path, const char *data, int32_t version)
{
    return run(
        (struct coord_op){.type = COORD_SET, .path = path, .data = text(data), .version = version});
}

static inline err delete (const char *path, int32_t version)
{
    return run((struct coord_op){.type = COORD_DELETE, .path = path, .version = version}).error;
}

static inline struct coord_op children(const char *path, int flags)
{
    return run((struct coord_op){.type = COORD_CHILDREN, .path = path, .flags = flags});
}

static inline bool there(const char *path)
{
    return get(path, 0).error == OK;
}

static inline bool holds(const char *path, const char *expected)
{
    struct coord_op op = get(path, 0);
    struct bytes want = text(expected);
    return op.error == OK && (op.value.data == NULL) == (want.data == NULL) &&
           bytes_equal(op.value, want);
}

#endif
