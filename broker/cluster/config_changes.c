#include "broker/cluster/config_changes.h"

#include "base/log.h"
#include "broker/cluster/notifications.h"

#include <stdlib.h>

enum { ARENA_BYTES = 64 << 20 };

struct config_changes {
    struct config_changes_config config;
    struct notifications notifications;
    bool watched;
};

struct config_changes *config_changes_new(const struct config_changes_config *config)
{
    struct config_changes *changes = xcalloc(1, sizeof(*changes));
    changes->config = *config;
    changes->notifications = (struct notifications){.coord = config->coord,
                                                    .clock = config->clock,
                                                    .path = ZNODE_CONFIG_CHANGES,
                                                    .prefix = ZNODE_CONFIG_CHANGE_PREFIX,
                                                    .seen = -1};
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

err config_changes_begin(struct config_changes *changes)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = notifications_begin(&changes->notifications, &arena);
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

static err take(void *context, struct arena *arena, struct bytes value)
{
    struct str entity = {0};
    return znode_config_change_decode(arena, value, &entity) == OK ? apply(context, entity) : OK;
}

err config_changes_on_watch(struct config_changes *changes)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = notifications_follow(&changes->notifications, &arena, take, changes, NULL);
    arena_deinit(&arena);
    if (e != OK && e != E_CLOSED) {
        log_error("config-changes", "cannot read notifications error=\"%s\"", err_text(e));
    }
    changes->watched = e == OK;
    return e;
}
