/* What the tests of cluster share: an embedded store with the nodes that every broker makes. */
#ifndef OTTLA_BROKER_TESTS_STORE_UTIL_H
#define OTTLA_BROKER_TESTS_STORE_UTIL_H

#include "base/tests/suite.h"
#include "zk/coord.h"
#include "zk/znodes.h"

UNUSED static void ignore_watch(void *context, enum coord_watch_type type, const char *path)
{
    (void)context;
    (void)type;
    (void)path;
}

UNUSED static void ignore_session(void *context, enum coord_session state)
{
    (void)context;
    (void)state;
}

/* In the directory; `watch` may be ignore_watch. */
UNUSED static struct coord *store_open(const char *dir, struct clock *clock,
                                       void (*watch)(void *context, enum coord_watch_type type,
                                                     const char *path))
{
    char reason[COORD_REASON_BYTES];
    char path[128];
    struct coord *coord = NULL;
    struct arena arena;
    const struct coord_events events = {.watch = watch, .session = ignore_session};
    snprintf(path, sizeof(path), "%s/coordination", dir);
    MUST(coord_embedded_open(path, clock, &events, &coord, reason));
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < ZNODE_PERSISTENT_N; i++) {
        struct coord_op op = {.type = COORD_CREATE, .path = ZNODE_PERSISTENT[i]};
        MUST(coord_run(coord, &op, 1, &arena));
        CU_ASSERT(op.error == OK || op.error == E_EXISTS);
    }
    arena_deinit(&arena);
    return coord;
}

#endif
