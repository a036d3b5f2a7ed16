/* A cache in front of /config/topics. What is not cached is read; what the store does not have is
 * no override; what could not be read is not cached. */
#include "broker/cluster/topic_configs.h"

#include "base/log.h"
#include "base/map.h"
#include "zk/znodes.h"

#include <stdlib.h>

enum { ARENA_BYTES = 256 << 20 };

struct topic_configs {
    const struct config *config;
    struct coord *coord;
    struct map topics; /* name → struct properties */
};

struct topic_configs *topic_configs_new(const struct config *config)
{
    struct topic_configs *configs = xcalloc(1, sizeof(*configs));
    configs->config = config;
    map_init(&configs->topics);
    return configs;
}

void topic_configs_use(struct topic_configs *configs, struct coord *coord)
{
    configs->coord = coord;
}

static void properties_free(struct properties *properties)
{
    if (properties != NULL) {
        properties_deinit(properties);
        free(properties);
    }
}

void topic_configs_free(struct topic_configs *configs)
{
    if (configs == NULL) {
        return;
    }
    map_each (entry, &configs->topics) {
        properties_free(entry->value);
    }
    map_deinit(&configs->topics);
    free(configs);
}

/* Once for each value: what is known already was told. */
static void warn_of_lost(struct topic_configs *configs, struct str topic,
                         const struct topic_option *option, const char *value)
{
    const struct properties *known = map_get_str(&configs->topics, topic);
    const char *told = known == NULL ? NULL : properties_get(known, option->name);
    const char *normal = topic_option_default(configs->config, option);
    if (option->lost != NULL && strcmp(value, normal) != 0 &&
        (told == NULL || strcmp(value, told) != 0)) {
        log_warn("topic-configs", "override has no effect topic=%.*s option=%s reason=\"%s\"",
                 (int)topic.len, topic.data, option->name, option->lost);
    }
}

/* What the store answered about a topic becomes what is known. */
static err remember(struct topic_configs *configs, struct str topic, struct arena *arena,
                    const struct coord_op *get)
{
    struct znode_config node = {0};
    if (get->error != OK && get->error != E_NOT_FOUND) {
        return get->error;
    }
    if (get->error == OK && znode_config_decode(arena, get->value, &node) != OK) {
        log_error("topic-configs", "node unreadable; what was known of it stays path=%s",
                  get->path);
        return E_MALFORMED;
    }
    struct properties *properties = xcalloc(1, sizeof(*properties));
    for (int32_t i = 0; i < node.entries_n; i++) {
        char reason[CONFIG_REASON_BYTES];
        const struct topic_option *option = topic_option(node.entries[i].name);
        if (option == NULL ||
            topic_option_check(option, node.entries[i].value.data, reason) != OK) {
            log_warn("topic-configs", "override ignored topic=%.*s option=%s", (int)topic.len,
                     topic.data, node.entries[i].name.data);
            continue;
        }
        warn_of_lost(configs, topic, option, node.entries[i].value.data);
        properties_set(properties, node.entries[i].name.data, node.entries[i].value.data);
    }
    properties_free(map_set_str(&configs->topics, topic, properties));
    return OK;
}

static err load(struct topic_configs *configs, struct arena *arena)
{
    struct coord_op children = {.type = COORD_CHILDREN, .path = ZNODE_CONFIG_TOPICS};
    TRY(coord_run(configs->coord, &children, 1, arena));
    TRY(children.error);
    struct coord_op *gets = arena_array(arena, (size_t)children.children_n, sizeof(*gets));
    if (gets == NULL) {
        return E_LIMIT;
    }
    for (int32_t i = 0; i < children.children_n; i++) {
        const char *path = znode_topic_config_path(arena, str_of(children.children[i]));
        gets[i] = (struct coord_op){.type = COORD_GET, .path = path};
    }
    TRY(coord_run(configs->coord, gets, (size_t)children.children_n, arena));
    for (int32_t i = 0; i < children.children_n; i++) {
        err_ignore(remember(configs, str_of(children.children[i]), arena, &gets[i])); /* logged */
    }
    return OK;
}

err topic_configs_load(struct topic_configs *configs)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = load(configs, &arena);
    arena_deinit(&arena);
    return e;
}

err topic_configs_refresh(struct topic_configs *configs, struct str topic, int32_t *version)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    struct coord_op get = {.type = COORD_GET, .path = znode_topic_config_path(&arena, topic)};
    err e = coord_run(configs->coord, &get, 1, &arena);
    e = e == OK ? remember(configs, topic, &arena, &get) : e;
    if (version != NULL) {
        *version = get.error == OK ? get.stat.version : -1;
    }
    arena_deinit(&arena);
    return e;
}

err topic_configs_get(struct topic_configs *configs, struct str topic,
                      const struct properties **overrides)
{
    *overrides = map_get_str(&configs->topics, topic);
    if (*overrides == NULL) {
        TRY(topic_configs_refresh(configs, topic, NULL));
        *overrides = map_get_str(&configs->topics, topic);
    }
    return OK;
}

void topic_configs_forget(struct topic_configs *configs, struct str topic)
{
    properties_free(map_remove_str(&configs->topics, topic));
}

struct log_config topic_configs_log_config(void *configs, struct str topic)
{
    struct topic_configs *c = configs;
    const struct properties *overrides = NULL;
    if (topic_configs_get(c, topic, &overrides) == OK) {
        return topic_log_config(c->config, overrides);
    }
    struct properties none;
    properties_init(&none);
    struct log_config config = topic_log_config(c->config, &none);
    properties_deinit(&none);
    config.retention_ms = -1;
    config.retention_bytes = -1;
    log_warn("topic-configs", "options unknown, nothing is deleted by retention topic=%.*s",
             (int)topic.len, topic.data);
    return config;
}
