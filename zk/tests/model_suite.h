/* Several clients of one model of ZooKeeper, for tests: on a time of their own, with what is told to them
 * written down in the order in which it comes. */
#ifndef OTTLA_ZK_TESTS_MODEL_SUITE_H
#define OTTLA_ZK_TESTS_MODEL_SUITE_H

#include "zk/model/coord_model.h"

#include "base/tests/suite.h"

#include <stdarg.h>

enum { CLIENTS = 3, ARENA_BYTES = 64 << 20, START_MS = 1000000, SESSION_MS = 18000 };
enum { TOLD_BYTES = 1 << 16, GIVES_UP_MS = SESSION_MS * 2 / 3 };

struct peer {
    int number;
    struct coord_model_way *way;
    struct coord *coord;
    void (*while_waiting)(struct peer *peer); /* or NULL: then time goes on */
    int waits;
};

static struct {
    struct manual_clock clock;
    struct seeded_random random;
    struct coord_model *model;
    struct arena arena;
    struct peer peers[CLIENTS];
    char told[TOLD_BYTES];
    size_t told_len;
} t;

/* ---- what is told ---- */

__attribute__((format(printf, 1, 2))) static inline void note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t.told + t.told_len, TOLD_BYTES - t.told_len, format, args);
    va_end(args);
    CU_ASSERT_FATAL(n >= 0 && t.told_len + (size_t)n < TOLD_BYTES);
    t.told_len += (size_t)n;
}

static inline void on_watch(void *context, enum coord_watch_type type, const char *path)
{
    static const char *const NAMES[] = {"created", "deleted", "changed", "children"};
    note("%d %s %s\n", ((struct peer *)context)->number, NAMES[type], path);
}

static inline void on_session(void *context, enum coord_session state)
{
    static const char *const NAMES[] = {"connected", "disconnected", "expired"};
    note("%d %s\n", ((struct peer *)context)->number, NAMES[state]);
}

/* Exactly this was told since the last time? */
static inline bool told(const char *expected)
{
    bool same = strcmp(t.told, expected) == 0;
    if (!same) {
        printf("\ntold:\n%sexpected:\n%s", t.told, expected);
    }
    t.told_len = 0;
    t.told[0] = '\0';
    return same;
}

/* ---- time ---- */

static inline void step_to(int64_t until_ms)
{
    int64_t due_ms = coord_model_next_due_ms(t.model);
    t.clock.now_ms = due_ms < until_ms ? due_ms : until_ms;
    (void)coord_model_turn(t.model);
}

static inline void pass(int64_t ms)
{
    int64_t until_ms = t.clock.now_ms + ms;
    while (t.clock.now_ms < until_ms) {
        step_to(until_ms);
    }
}

static inline void on_wait(void *context)
{
    struct peer *peer = context;
    peer->waits++;
    if (peer->while_waiting != NULL) {
        peer->while_waiting(peer);
    }
    step_to(t.clock.now_ms + 1);
}

/* ---- clients ---- */

static inline err open_peer(struct peer *peer, char reason[COORD_REASON_BYTES])
{
    struct coord_events events = {.watch = on_watch, .session = on_session, .context = peer};
    return coord_model_open(peer->way, &events, &peer->coord, reason);
}

static inline void must_open(struct peer *peer)
{
    char reason[COORD_REASON_BYTES];
    MUST(open_peer(peer, reason));
}

static inline void close_peer(struct peer *peer)
{
    coord_close(peer->coord);
    peer->coord = NULL;
}

static inline void begin_seeded(uint64_t seed, bool keeps_session)
{
    memset(&t, 0, sizeof(t));
    manual_clock_init(&t.clock, START_MS);
    seeded_random_init(&t.random, seed);
    arena_init(&t.arena, ARENA_BYTES);
    t.model = coord_model_new(&t.clock.clock, &t.random.random);
    for (int i = 0; i < CLIENTS; i++) {
        struct peer *peer = &t.peers[i];
        struct coord_model_config config = {.session_timeout_ms = SESSION_MS,
                                            .connection_timeout_ms = SESSION_MS,
                                            .keeps_session = keeps_session,
                                            .wait = on_wait,
                                            .wait_context = peer};
        peer->number = i;
        peer->way = coord_model_way_new(t.model, &config);
        must_open(peer);
    }
    CU_ASSERT(told(""));
}

static inline void begin(void)
{
    begin_seeded(1, false);
}

static inline void end(void)
{
    for (int i = 0; i < CLIENTS; i++) {
        if (t.peers[i].coord != NULL) {
            coord_close(t.peers[i].coord);
        }
    }
    coord_model_free(t.model);
    arena_deinit(&t.arena);
}

/* ---- single operations ---- */

static inline struct bytes text(const char *data)
{
    return data == NULL ? (struct bytes){0} : bytes_of(data, strlen(data));
}

/* The error is the call's, if that failed. */
static inline struct coord_op run(struct peer *peer, struct coord_op op)
{
    err e = coord_run(peer->coord, &op, 1, &t.arena);
    op.error = e == OK ? op.error : e;
    return op;
}

static inline struct coord_op create(struct peer *peer, const char *path, const char *data,
                                     int flags)
{
    return run(peer, (struct coord_op){
                         .type = COORD_CREATE, .path = path, .data = text(data), .flags = flags});
}

static inline struct coord_op get(struct peer *peer, const char *path, int flags)
{
    return run(peer, (struct coord_op){.type = COORD_GET, .path = path, .flags = flags});
}

static inline struct coord_op children(struct peer *peer, const char *path, int flags)
{
    return run(peer, (struct coord_op){.type = COORD_CHILDREN, .path = path, .flags = flags});
}

static inline struct coord_op set(struct peer *peer, const char *path, const char *data,
                                  int32_t version)
{
    return run(peer, (struct coord_op){
                         .type = COORD_SET, .path = path, .data = text(data), .version = version});
}

static inline struct coord_op delete (struct peer *peer, const char *path, int32_t version)
{
    return run(peer, (struct coord_op){.type = COORD_DELETE, .path = path, .version = version});
}

static inline bool there(struct peer *peer, const char *path)
{
    return get(peer, path, 0).error == OK;
}

static inline bool holds(struct peer *peer, const char *path, const char *expected)
{
    struct coord_op op = get(peer, path, 0);
    return op.error == OK && bytes_equal(op.value, text(expected));
}

#endif
