/* A cache in front of /config/topics. What is not cached is read; what the store does not have is
 * no override; what could not be read is not cached.
 *
 * What is published is one configuration for each topic that is known, and all topics without
 * overrides share one. */
#include "broker/cluster/topic_configs.h"

#include "base/log.h"
#include "base/map.h"
#include "zk/znodes.h"

#include <pthread.h>
#include <stdlib.h>

enum { ARENA_BYTES = 256 << 20 };

/* What is published of a topic. */
struct in_force {
    struct log_config log;
    struct throttled_replicas leaders; /* of this broker */
    struct throttled_replicas followers;
};

struct topic_configs {
    int32_t broker_id;
    const struct config *config;
    struct coord *coord;
    struct map topics;     /* name → struct properties */
    pthread_mutex_t lock;  /* leaf; guards the rest */
    struct map in_force;   /* name → struct in_force: its own, or &plain */
    struct in_force plain; /* without overrides */
};

struct topic_configs *topic_configs_new(const struct config *config)
{
    struct topic_configs *configs = xcalloc(1, sizeof(*configs));
    configs->config = config;
    map_init(&configs->topics);
    map_init(&configs->in_force);
    pthread_mutex_init(&configs->lock, NULL);
    configs->plain.log = topic_log_config(config, NULL);
    return configs;
}

void topic_configs_use(struct topic_configs *configs, struct coord *coord, int32_t broker_id)
{
    configs->broker_id = broker_id;
    configs->coord = coord;
    topic_configs_republish(configs); /* the store's options of brokers have been read */
}

/* ---- what is published ---- */

static void in_force_free(struct topic_configs *configs, struct in_force *it)
{
    if (it != NULL && it != &configs->plain) {
        throttled_replicas_deinit(&it->leaders);
        throttled_replicas_deinit(&it->followers);
        free(it);
    }
}

static void publish(struct topic_configs *configs, struct str topic,
                    const struct properties *overrides)
{
    struct in_force *it = &configs->plain;
    if (overrides->count > 0) {
        it = xcalloc(1, sizeof(*it));
        it->log = topic_log_config(configs->config, overrides);
        it->leaders = throttled_replicas_parse(
            properties_get(overrides, "leader.replication.throttled.replicas"), configs->broker_id);
        it->followers = throttled_replicas_parse(
            properties_get(overrides, "follower.replication.throttled.replicas"),
            configs->broker_id);
    }
    pthread_mutex_lock(&configs->lock);
    in_force_free(configs, map_set_str(&configs->in_force, topic, it));
    pthread_mutex_unlock(&configs->lock);
}

void topic_configs_withdraw(struct topic_configs *configs, struct str topic)
{
    pthread_mutex_lock(&configs->lock);
    in_force_free(configs, map_remove_str(&configs->in_force, topic));
    pthread_mutex_unlock(&configs->lock);
}

/* Only what is published: a topic that was withdrawn stays so. */
void topic_configs_republish(struct topic_configs *configs)
{
    struct log_config plain = topic_log_config(configs->config, NULL);
    pthread_mutex_lock(&configs->lock);
    configs->plain.log = plain;
    map_each (entry, &configs->in_force) {
        struct str topic = {.data = (const char *)entry->key, .len = entry->key_len};
        struct in_force *it = entry->value;
        if (it != &configs->plain) {
            it->log = topic_log_config(configs->config, map_get_str(&configs->topics, topic));
        }
    }
    pthread_mutex_unlock(&configs->lock);
}

bool topic_configs_in_force(void *configs, struct str topic, struct log_config *config)
{
    struct topic_configs *c = configs;
    pthread_mutex_lock(&c->lock);
    const struct in_force *known = map_get_str(&c->in_force, topic);
    *config = known != NULL ? known->log : c->plain.log;
    pthread_mutex_unlock(&c->lock);
    if (known == NULL) {
        config->retention_ms = -1;
        config->retention_bytes = -1;
        config->flush_messages = 1;
        config->min_insync_replicas = INT32_MAX; /* all that there are */
    }
    return known != NULL;
}

struct replica_throttled topic_configs_throttled(void *configs, struct topic_partition name)
{
    struct topic_configs *c = configs;
    struct replica_throttled throttled = {0};
    pthread_mutex_lock(&c->lock);
    const struct in_force *known = map_get_str(&c->in_force, name.topic);
    if (known != NULL) {
        throttled.as_leader = throttled_replicas_hold(&known->leaders, name.partition);
        throttled.as_follower = throttled_replicas_hold(&known->followers, name.partition);
    }
    pthread_mutex_unlock(&c->lock);
    return throttled;
}

/* ---- what is read ---- */

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
    map_each (entry, &configs->in_force) {
        in_force_free(configs, entry->value);
    }
    map_deinit(&configs->in_force);
    pthread_mutex_destroy(&configs->lock);
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

/* Takes the properties over. */
static void learn(struct topic_configs *configs, struct str topic, struct properties *properties)
{
    properties_free(map_set_str(&configs->topics, topic, properties));
    publish(configs, topic, properties);
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
    learn(configs, topic, properties);
    return OK;
}

void topic_configs_written(struct topic_configs *configs, struct str topic,
                           const struct properties *overrides)
{
    struct properties *properties = xcalloc(1, sizeof(*properties));
    for (size_t i = 0; i < overrides->count; i++) {
        const char *name = overrides->items[i].name;
        warn_of_lost(configs, topic, topic_option(str_of(name)), overrides->items[i].value);
        properties_set(properties, name, overrides->items[i].value);
    }
    learn(configs, topic, properties);
}

/* What cannot be decoded is logged, and passed over. */
static err read_topics(struct topic_configs *configs, struct arena *arena, const struct str *topics,
                       size_t count)
{
    struct coord_op *gets = arena_array(arena, count, sizeof(*gets));
    if (gets == NULL) {
        return E_LIMIT;
    }
    for (size_t i = 0; i < count; i++) {
        const char *path = znode_topic_config_path(arena, topics[i]);
        gets[i] = (struct coord_op){.type = COORD_GET, .path = path};
    }
    TRY(coord_run(configs->coord, gets, count, arena));
    for (size_t i = 0; i < count; i++) {
        err_ignore(remember(configs, topics[i], arena, &gets[i])); /* logged */
    }
    return OK;
}

static err load(struct topic_configs *configs, struct arena *arena)
{
    struct coord_op children = {.type = COORD_CHILDREN, .path = ZNODE_CONFIG_TOPICS};
    TRY(coord_run(configs->coord, &children, 1, arena));
    TRY(children.error);
    size_t count = (size_t)children.children_n;
    struct str *topics = arena_array(arena, count, sizeof(*topics));
    if (topics == NULL) {
        return E_LIMIT;
    }
    for (size_t i = 0; i < count; i++) {
        topics[i] = str_of(children.children[i]);
    }
    return read_topics(configs, arena, topics, count);
}

err topic_configs_load(struct topic_configs *configs)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = load(configs, &arena);
    arena_deinit(&arena);
    return e;
}

err topic_configs_read(struct topic_configs *configs, const struct str *topics, size_t count)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    struct str *unknown = arena_array(&arena, count, sizeof(*unknown));
    size_t unknown_n = 0;
    for (size_t i = 0; unknown != NULL && i < count; i++) {
        if (map_get_str(&configs->topics, topics[i]) == NULL) {
            unknown[unknown_n++] = topics[i];
        }
    }
    err e = unknown == NULL ? E_LIMIT : read_topics(configs, &arena, unknown, unknown_n);
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
    topic_configs_withdraw(configs, topic);
}
