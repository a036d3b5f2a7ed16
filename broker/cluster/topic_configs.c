/* A cache in front of /config/topics. What is not cached is read; what the store does not have is
 * no override. */
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

static struct properties *remember(struct topic_configs *configs, struct str topic,
                                   struct arena *arena, struct bytes json)
{
    struct properties *properties = xcalloc(1, sizeof(*properties));
    struct znode_config node;
    if (json.data != NULL && znode_config_decode(arena, json, &node) != OK) {
        log_error("topic-configs", "node unreadable, defaults are used topic=%.*s", (int)topic.len,
                  topic.data);
        node = (struct znode_config){0};
    }
    for (int32_t i = 0; json.data != NULL && i < node.entries_n; i++) {
        char reason[CONFIG_REASON_BYTES];
        const struct topic_option *option = topic_option(node.entries[i].name);
        if (option == NULL ||
            topic_option_check(option, node.entries[i].value.data, reason) != OK) {
            log_warn("topic-configs", "override ignored topic=%.*s option=%s", (int)topic.len,
                     topic.data, node.entries[i].name.data);
            continue;
        }
        properties_set(properties, node.entries[i].name.data, node.entries[i].value.data);
    }
    properties_free(map_set_str(&configs->topics, topic, properties));
    return properties;
}

err topic_configs_load(struct topic_configs *configs)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    struct coord_op children = {.type = COORD_CHILDREN, .path = ZNODE_CONFIG_TOPICS};
    err e = coord_run(configs->coord, &children, 1, &arena);
    struct coord_op *gets = arena_array(&arena, (size_t)children.children_n + 1, sizeof(*gets));
    for (int32_t i = 0; gets != NULL && i < children.children_n; i++) {
        const char *path = znode_topic_config_path(&arena, str_of(children.children[i]));
        gets[i] = (struct coord_op){.type = COORD_GET, .path = path};
    }
    if (e == OK && gets != NULL) {
        e = coord_run(configs->coord, gets, (size_t)children.children_n, &arena);
    }
    for (int32_t i = 0; e == OK && gets != NULL && i < children.children_n; i++) {
        if (gets[i].error == OK) {
            (void)remember(configs, str_of(children.children[i]), &arena, gets[i].value);
        }
    }
    arena_deinit(&arena);
    return e;
}

const struct properties *topic_configs_get(struct topic_configs *configs, struct str topic)
{
    struct properties *known = map_get_str(&configs->topics, topic);
    if (known != NULL) {
        return known;
    }
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    struct coord_op get = {.type = COORD_GET, .path = znode_topic_config_path(&arena, topic)};
    err e = coord_run(configs->coord, &get, 1, &arena);
    known = remember(configs, topic, &arena,
                     e == OK && get.error == OK ? get.value : (struct bytes){0});
    arena_deinit(&arena);
    return known;
}

void topic_configs_forget(struct topic_configs *configs, struct str topic)
{
    properties_free(map_remove_str(&configs->topics, topic));
}

struct log_config topic_configs_log_config(void *configs, struct str topic)
{
    struct topic_configs *c = configs;
    return topic_log_config(c->config, topic_configs_get(c, topic));
}
