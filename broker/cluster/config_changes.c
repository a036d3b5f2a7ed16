/* Each notification with a higher number than the last one seen names what to read again. Nodes older
 * than 15 minutes are deleted by whoever sees them. */
#include "broker/cluster/config_changes.h"

#include "base/log.h"

#include <stdlib.h>

enum { ARENA_BYTES = 64 << 20, KEPT_MS = 15 * 60 * 1000 };

struct config_changes {
    struct config_changes_config config;
    int64_t seen; /* the number of the last notification */
    bool watched;
};

struct config_changes *config_changes_new(const struct config_changes_config *config)
{
    struct config_changes *changes = xcalloc(1, sizeof(*changes));
    changes->config = *config;
    changes->seen = -1;
    return changes;
}

void config_changes_free(struct config_changes *changes)
{
    free(changes);
}

bool config_changes_are_watched(const struct config_changes *changes)
{
    return changes->watched;
}

void config_changes_forget_watch(struct config_changes *changes)
{
    changes->watched = false;
}

static int64_t number_of(const char *name)
{
    size_t skip = sizeof(ZNODE_CONFIG_CHANGE_PREFIX) - 1;
    return strncmp(name, ZNODE_CONFIG_CHANGE_PREFIX, skip) == 0 ? strtoll(name + skip, NULL, 10)
                                                                : -1;
}

static err list_changes(struct config_changes *changes, struct arena *arena,
                        struct coord_op *children)
{
    *children = (struct coord_op){
        .type = COORD_CHILDREN, .path = ZNODE_CONFIG_CHANGES, .flags = COORD_WATCH};
    TRY(coord_run(changes->config.coord, children, 1, arena));
    return children->error;
}

err config_changes_begin(struct config_changes *changes)
{
    struct arena arena;
    struct coord_op children;
    arena_init(&arena, ARENA_BYTES);
    err e = list_changes(changes, &arena, &children);
    for (int32_t i = 0; e == OK && i < children.children_n; i++) {
        int64_t number = number_of(children.children[i]);
        changes->seen = number > changes->seen ? number : changes->seen;
    }
    arena_deinit(&arena);
    changes->watched = e == OK;
    return e;
}

static bool starts_with(struct str text, struct str prefix)
{
    return text.data != NULL && text.len > prefix.len &&
           memcmp(text.data, prefix.data, prefix.len) == 0;
}

static err apply(struct config_changes *changes, struct str entity)
{
    const struct config_changes_config *config = &changes->config;
    struct str brokers = STR("brokers/");
    struct str topics = STR("topics/");
    if (starts_with(entity, brokers)) {
        return config->broker_changed(
            config->context, (struct str){entity.data + brokers.len, entity.len - brokers.len});
    }
    if (starts_with(entity, topics)) {
        return config->topic_changed(
            config->context, (struct str){entity.data + topics.len, entity.len - topics.len});
    }
    return config->client_changed(config->context, entity);
}

/* A notification counts as seen when it was applied. */
static err process(struct config_changes *changes, struct arena *arena, const char *name)
{
    struct str path = arena_format(arena, "%s/%s", ZNODE_CONFIG_CHANGES, name);
    struct coord_op get = {.type = COORD_GET, .path = path.data};
    TRY(coord_run(changes->config.coord, &get, 1, arena));
    if (get.error != OK) {
        return get.error == E_NOT_FOUND ? OK : get.error; /* deleted by somebody else */
    }
    int64_t number = number_of(name);
    struct str entity = {0};
    if (number > changes->seen) {
        if (znode_config_change_decode(arena, get.value, &entity) == OK) {
            TRY(apply(changes, entity));
        }
        changes->seen = number;
    }
    if (clock_wall_ms(changes->config.clock) - get.stat.ctime_ms > KEPT_MS) {
        struct coord_op gone = {
            .type = COORD_DELETE, .path = path.data, .version = COORD_ANY_VERSION};
        TRY(coord_run(changes->config.coord, &gone, 1, arena)); /* another may have been faster */
    }
    return OK;
}

err config_changes_on_watch(struct config_changes *changes)
{
    struct arena arena;
    struct coord_op children;
    arena_init(&arena, ARENA_BYTES);
    err e = list_changes(changes, &arena, &children);
    for (int32_t i = 0; e == OK && i < children.children_n; i++) {
        e = process(changes, &arena, children.children[i]);
    }
    if (e != OK && e != E_CLOSED) {
        log_error("config-changes", "cannot read notifications error=\"%s\"", err_text(e));
    }
    arena_deinit(&arena);
    changes->watched = e == OK;
    return e;
}
