/* They grow old in their order, and the store lists them in it: only the oldest are looked at for their age, and no more than
 * DELETED_MAX are deleted each time. */
#include "broker/cluster/notifications.h"

#include <stdlib.h>
#include <string.h>

enum { KEPT_MS = 15 * 60 * 1000, DELETED_MAX = 100 };

static int64_t number_of(const struct notifications *all, const char *name)
{
    size_t skip = strlen(all->prefix);
    return strncmp(name, all->prefix, skip) == 0 ? strtoll(name + skip, NULL, 10) : -1;
}

static err list(const struct notifications *all, struct arena *arena, struct coord_op *children)
{
    *children = (struct coord_op){.type = COORD_CHILDREN, .path = all->path, .flags = COORD_WATCH};
    TRY(coord_run(all->coord, children, 1, arena));
    return children->error;
}

err notifications_begin(struct notifications *all, struct arena *arena)
{
    struct coord_op children;
    TRY(list(all, arena, &children));
    all->seen = -1;
    for (int32_t i = 0; i < children.children_n; i++) {
        int64_t number = number_of(all, children.children[i]);
        all->seen = number > all->seen ? number : all->seen;
    }
    return OK;
}

static err read_one(const struct notifications *all, struct arena *arena, const char *name,
                    struct coord_op *get)
{
    struct str path = arena_format(arena, "%s/%s", all->path, name);
    *get = (struct coord_op){.type = COORD_GET, .path = path.data};
    return path.data == NULL ? E_LIMIT : coord_run(all->coord, get, 1, arena);
}

/* True: it was old, and is gone; the next may be old too. */
static bool delete_if_old(const struct notifications *all, struct arena *arena, const char *name)
{
    struct coord_op get;
    if (read_one(all, arena, name, &get) != OK || (get.error != OK && get.error != E_NOT_FOUND)) {
        return false;
    }
    if (get.error == E_NOT_FOUND) {
        return true;
    }
    if (clock_wall_ms(all->clock) - get.stat.ctime_ms <= KEPT_MS) {
        return false;
    }
    struct coord_op gone = {.type = COORD_DELETE, .path = get.path, .version = COORD_ANY_VERSION};
    return coord_run(all->coord, &gone, 1, arena) == OK;
}

err notifications_follow(struct notifications *all, struct arena *arena,
                         err (*take)(void *context, struct arena *arena, struct bytes value),
                         void *context, bool *any)
{
    struct coord_op children;
    TRY(list(all, arena, &children));
    for (int32_t i = 0; i < children.children_n; i++) {
        int64_t number = number_of(all, children.children[i]);
        struct coord_op get;
        if (number <= all->seen) {
            continue;
        }
        TRY(read_one(all, arena, children.children[i], &get));
        if (get.error == E_NOT_FOUND) {
            continue; /* deleted by somebody else */
        }
        TRY(get.error);
        TRY(take(context, arena, get.value));
        all->seen = number;
        if (any != NULL) {
            *any = true;
        }
    }
    bool old = true;
    for (int32_t i = 0; old && i < children.children_n && i < DELETED_MAX; i++) {
        old = delete_if_old(all, arena, children.children[i]);
    }
    return OK;
}
