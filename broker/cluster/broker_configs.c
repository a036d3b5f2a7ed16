/* A node becomes a layer of the configuration: each of its options is set in the layer, and what the
 * layer has and the node has not is removed from it.
 *
 * While the broker runs, only options that topics inherit change, and throttles: nothing but the
 * control thread reads them, which publishes what follows. Other dynamic options (threads, connections,
 * listeners) were used at the start and stay as they were in force; a line says so. Clients cannot set those (broker_config_alter.c), but an Apache broker's can.
 *
 * Options of single listeners are listener_configs.h's. A node can hold secrets, and what is not known here may be
 * one: values are never logged. */
#include "broker/cluster/broker_configs.h"

#include "base/log.h"
#include "broker/cluster/cleaner_size.h"
#include "broker/cluster/listener_configs.h"
#include "zk/znodes.h"

#include <stdio.h>
#include <stdlib.h>

#define AREA "broker-configs"

enum { ARENA_BYTES = 64 << 20 };

struct str broker_config_path(struct arena *arena, const char *entity)
{
    return arena_format(arena, "/config/brokers/%s", entity);
}

/* A layer and its node. */
struct layer {
    enum config_source source;
    char entity[16]; /* as in its path */
};

static struct layer layer_of_all(void)
{
    return (struct layer){.source = CONFIG_SOURCE_DYNAMIC_DEFAULT, .entity = BROKER_CONFIGS_OF_ALL};
}

static struct layer layer_of_broker(int32_t broker_id)
{
    struct layer layer = {.source = CONFIG_SOURCE_DYNAMIC_BROKER};
    snprintf(layer.entity, sizeof(layer.entity), "%d", broker_id);
    return layer;
}

err broker_configs_read(struct coord *coord, const char *entity, struct arena *arena,
                        struct znode_config *node, int32_t *version)
{
    struct str path = broker_config_path(arena, entity);
    struct coord_op get = {.type = COORD_GET, .path = path.data};
    *node = (struct znode_config){0};
    *version = -1;
    TRY(coord_run(coord, &get, 1, arena));
    if (get.error == E_NOT_FOUND) {
        return OK;
    }
    TRY(get.error);
    *version = get.stat.version;
    return get.value.data == NULL ? OK : znode_config_decode(arena, get.value, node);
}

/* A node that is not there, or cannot be read, says nothing. */
static err read_node(struct coord *coord, const struct layer *layer, struct arena *arena,
                     struct znode_config *node, int32_t *version)
{
    err e = broker_configs_read(coord, layer->entity, arena, node, version);
    if (e == E_MALFORMED) {
        log_warn(AREA, "node unreadable, its options are ignored path=%s",
                 broker_config_path(arena, layer->entity).data);
        *node = (struct znode_config){0};
        return OK;
    }
    return e;
}

static const char *node_value(const struct znode_config *node, const struct option *option)
{
    for (int32_t i = 0; i < node->entries_n; i++) {
        if (str_is(node->entries[i].name, option->name)) {
            return node->entries[i].value.data;
        }
    }
    return NULL;
}

static void warn_of_unknown(const struct layer *layer, const struct znode_config *node)
{
    for (int32_t i = 0; i < node->entries_n; i++) {
        const char *name = node->entries[i].name.data;
        if (config_option(name) == NULL && strncmp(name, "listener.name.", 14) != 0) {
            log_warn(AREA, "unknown option, ignored broker=%s name=%.100s", layer->entity, name);
        }
    }
}

bool broker_option_is_live(const struct option *option)
{
    if (option->dynamic == ONLY_DYNAMIC) {
        return true;
    }
    size_t count = 0;
    const struct topic_option *options = topic_options(&count);
    for (size_t i = 0; i < count; i++) {
        if (options[i].broker_option != NULL &&
            strcmp(options[i].broker_option, option->name) == 0) {
            return true;
        }
    }
    return strcmp(option->name, "producer.id.expiration.ms") == 0 ||
           strncmp(option->name, "log.cleaner.", 12) == 0;
}

/* One option of a layer becomes `value`, or nothing where that is not allowed. True if it changed. */
static bool set_option(struct config *config, const struct layer *layer,
                       const struct option *option, const char *value)
{
    char reason[CONFIG_REASON_BYTES];
    const char *known = config_text_from(config, option, layer->source);
    if (value != NULL && known != NULL && strcmp(value, known) == 0) {
        return false;
    }
    if (value != NULL && config_set_dynamic(config, option, layer->source, value, reason) == OK) {
        return true;
    }
    if (value != NULL) {
        log_warn(AREA, "option ignored broker=%s name=%s reason=\"%s\"", layer->entity,
                 option->name, reason);
    }
    if (known == NULL) {
        return false;
    }
    CHECK(config_set_dynamic(config, option, layer->source, NULL, reason) == OK);
    return true;
}

/* What does not fit leaves both options as they are, with one line. */
static bool cleaner_fits(const struct config *config, const struct layer *layer,
                         const struct znode_config *node)
{
    char reason[CONFIG_REASON_BYTES];
    struct properties values;
    properties_init(&values);
    for (int32_t i = 0; i < node->entries_n; i++) {
        if (cleaner_size_has(node->entries[i].name.data)) {
            properties_set(&values, node->entries[i].name.data, node->entries[i].value.data);
        }
    }
    err e = cleaner_size_check(config, layer->source, &values, reason);
    properties_deinit(&values);
    if (e != OK) {
        log_warn(AREA, "options of the cleaner ignored broker=%s reason=\"%s\"", layer->entity,
                 reason);
    }
    return e == OK;
}

/* Returns how many options of the layer have changed. */
static int set_layer(struct config *config, const struct layer *layer,
                     const struct znode_config *node, bool running)
{
    int changed = 0;
    size_t count = 0;
    const struct option *options = config_options(&count);
    warn_of_unknown(layer, node);
    bool fits = !running || cleaner_fits(config, layer, node);
    for (size_t i = 0; i < count; i++) {
        const struct option *option = &options[i];
        const char *value = node_value(node, option);
        const char *known = config_text_from(config, option, layer->source);
        if ((value == NULL && known == NULL) || (!fits && cleaner_size_has(option->name))) {
            continue;
        }
        if (running && option->dynamic != READ_ONLY && !broker_option_is_live(option)) {
            if (value == NULL || known == NULL || strcmp(value, known) != 0) {
                log_info(AREA, "option changes at the next start broker=%s name=%s", layer->entity,
                         option->name);
            }
            continue;
        }
        changed += set_option(config, layer, option, value) ? 1 : 0;
    }
    return changed;
}

static int set_node(struct config *config, const struct layer *layer,
                    const struct znode_config *node, bool running)
{
    int changed = set_layer(config, layer, node, running);
    return layer->source == CONFIG_SOURCE_DYNAMIC_BROKER
               ? changed + listener_configs_set(config, node)
               : changed;
}

/* After password.encoder.secret has changed. What cannot be written now is written at another start. */
static void renew_passwords(const struct config *config, struct coord *coord,
                            const struct layer *layer, struct arena *arena,
                            struct znode_config *node, int32_t version)
{
    if (!listener_configs_renew(config, arena, node)) {
        return;
    }
    struct coord_op set = {.type = COORD_SET,
                           .path = broker_config_path(arena, layer->entity).data,
                           .data = znode_config_encode(arena, node),
                           .version = version};
    err e = coord_run(coord, &set, 1, arena);
    e = e == OK ? set.error : e;
    if (e == OK) {
        log_info(AREA, "passwords encrypted with the new secret broker=%s", layer->entity);
    } else {
        log_warn(AREA, "passwords not encrypted with the new secret broker=%s error=\"%s\"",
                 layer->entity, err_text(e));
    }
}

static err load_layer(struct config *config, struct coord *coord, const struct layer *layer,
                      struct arena *arena)
{
    struct znode_config node;
    int32_t version = -1;
    TRY(read_node(coord, layer, arena, &node, &version));
    if (layer->source == CONFIG_SOURCE_DYNAMIC_BROKER) {
        renew_passwords(config, coord, layer, arena, &node, version);
    }
    int set = set_node(config, layer, &node, false);
    if (set > 0) {
        log_info(AREA, "options of the store are used broker=%s count=%d", layer->entity, set);
    }
    return OK;
}

err broker_configs_load(struct config *config, struct coord *coord, int32_t broker_id)
{
    struct arena arena;
    struct layer all = layer_of_all();
    struct layer own = layer_of_broker(broker_id);
    arena_init(&arena, ARENA_BYTES);
    err e = load_layer(config, coord, &all, &arena);
    e = e == OK ? load_layer(config, coord, &own, &arena) : e;
    cleaner_size_drop_misfits(config);
    arena_deinit(&arena);
    return e;
}

/* ---- while the broker runs ---- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

void broker_configs_reload(const struct broker_configs *configs, const struct config *fresh)
{
    size_t count = 0;
    int changed = 0;
    const struct option *options = config_options(&count);
    for (size_t i = 0; i < count; i++) {
        const struct option *option = &options[i];
        const char *value = config_text_from(fresh, option, CONFIG_SOURCE_STATIC_BROKER);
        const char *known = config_text_from(configs->config, option, CONFIG_SOURCE_STATIC_BROKER);
        if (option->dynamic == ONLY_DYNAMIC || same_text(value, known)) {
            continue;
        }
        /* The cleaner's size is judged against what it has while it runs: by the store's layers alone. */
        if (!broker_option_is_live(option) || cleaner_size_has(option->name)) {
            log_info(AREA, "option changes at the next start name=%s", option->name);
            continue;
        }
        config_set_static(configs->config, option, value);
        changed++;
    }
    if (changed > 0) {
        topic_configs_republish(configs->topic_configs);
        configs->changed(configs->context);
    }
    log_info(AREA, "server.properties was read again changed=%d", changed);
}

static err change_layer(const struct broker_configs *configs, const struct layer *layer)
{
    struct arena arena;
    struct znode_config node;
    arena_init(&arena, ARENA_BYTES);
    int32_t version = -1;
    err e = read_node(configs->coord, layer, &arena, &node, &version);
    int changed = e == OK ? set_node(configs->config, layer, &node, true) : 0;
    arena_deinit(&arena);
    if (changed > 0) {
        topic_configs_republish(configs->topic_configs);
        configs->changed(configs->context);
        log_info(AREA, "options changed broker=%s count=%d", layer->entity, changed);
    }
    return e;
}

err broker_configs_changed(const struct broker_configs *configs, struct str entity)
{
    struct layer layers[] = {layer_of_all(), layer_of_broker(configs->broker_id)};
    for (size_t i = 0; i < sizeof(layers) / sizeof(layers[0]); i++) {
        if (str_is(entity, layers[i].entity)) {
            TRY(change_layer(configs, &layers[i]));
        }
    }
    return OK;
}
