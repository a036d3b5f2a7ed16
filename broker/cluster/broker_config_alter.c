#include "broker/cluster/broker_config_alter.h"

#include "base/refuse.h"
#include "broker/cluster/broker_configs.h"
#include "broker/cluster/cleaner_size.h"
#include "broker/cluster/config_edit.h"
#include "broker/cluster/listener_configs.h"
#include "protocol/error.h"

#include <stdio.h>
#include <stdlib.h>

enum { ARENA_BYTES = 64 << 20, ENTITY_BYTES = 16 };

/* The node's name: `name` is a broker's number, which must be this one, or empty for all. */
static err entity_of(const struct config_editor *editor, struct str name, char entity[ENTITY_BYTES],
                     char message[CONFIG_REASON_BYTES])
{
    if (name.len == 0) {
        snprintf(entity, ENTITY_BYTES, BROKER_CONFIGS_OF_ALL);
        return OK;
    }
    char *text = str_dup(name);
    char *end = NULL;
    long id = strtol(text, &end, 10);
    bool number = end != text && *end == '\0' && id >= INT32_MIN && id <= INT32_MAX;
    free(text);
    if (!number) {
        return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                           "Node id must be an integer, but it is: %.*s", (int)name.len, name.data);
    }
    if (id != editor->broker_id) {
        return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                           "Unexpected broker id, expected %d, but received %ld", editor->broker_id,
                           id);
    }
    snprintf(entity, ENTITY_BYTES, "%ld", id);
    return OK;
}

/* The names of those that are wrong, as Kafka lists them. */
static err refuse_those(const struct properties *news,
                        bool (*is_wrong)(const struct option *option), const char *words,
                        char message[CONFIG_REASON_BYTES])
{
    message[0] = '\0';
    for (size_t i = 0; i < news->count; i++) {
        const struct option *option = config_option(news->items[i].name);
        if (option != NULL && is_wrong(option)) {
            refuse_name(message, CONFIG_REASON_BYTES, words, ", ", str_of(news->items[i].name));
        }
    }
    size_t len = strlen(message);
    if (len == 0) {
        return OK;
    }
    snprintf(message + len, CONFIG_REASON_BYTES - len, ")");
    return ERR_INVALID_REQUEST;
}

/* One that nothing uses, here or in Kafka, can be kept. */
static bool is_not_live(const struct option *option)
{
    return option->dynamic == READ_ONLY ||
           (option->fate != FATE_UNUSED && !broker_option_is_live(option));
}

static bool is_per_broker(const struct option *option)
{
    return option->dynamic == PER_BROKER;
}

static err check_values(const struct properties *news, enum config_source source,
                        char message[CONFIG_REASON_BYTES])
{
    char reason[CONFIG_REASON_BYTES];
    for (size_t i = 0; i < news->count; i++) {
        const struct property *item = &news->items[i];
        const struct option *option = config_option(item->name);
        if (option != NULL && config_check_dynamic(option, source, item->value, reason) != OK) {
            return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                               "Invalid value %.100s for configuration %s: %.200s",
                               option->type == OPTION_PASSWORD ? "[hidden]" : item->value,
                               item->name, reason);
        }
    }
    return OK;
}

static enum config_source layer_source(bool all)
{
    return all ? CONFIG_SOURCE_DYNAMIC_DEFAULT : CONFIG_SOURCE_DYNAMIC_BROKER;
}

static err check_news(const struct config *config, const struct properties *news, bool all,
                      char message[CONFIG_REASON_BYTES])
{
    TRY(listener_configs_check(config, news, all, message));
    if (all) {
        TRY(refuse_those(news, is_per_broker,
                         "Cannot update these configs at default cluster level, broker id must be "
                         "specified: Set(",
                         message));
    }
    TRY(refuse_those(news, is_not_live, "Cannot update these configs dynamically: Set(", message));
    return check_values(news, layer_source(all), message);
}

/* What is there already, perhaps by an Apache broker, is not judged. */
static err check(const struct config *config, const struct properties *before,
                 const struct properties *after, bool all, char message[CONFIG_REASON_BYTES])
{
    struct properties news;
    properties_init(&news);
    for (size_t i = 0; i < after->count; i++) {
        const struct property *item = &after->items[i];
        const char *known = properties_get(before, item->name);
        if (known == NULL || strcmp(known, item->value) != 0) {
            properties_set(&news, item->name, item->value);
        }
    }
    err e = check_news(config, &news, all, message);
    properties_deinit(&news);
    return e;
}

/* A list that has no override is what the default says, whatever server.properties has, as in Kafka. */
static err edit_all(const struct config_change *change, const struct properties *before,
                    struct properties *after, char message[CONFIG_REASON_BYTES])
{
    for (size_t i = 0; !change->replace_all && i < before->count; i++) {
        properties_set(after, before->items[i].name, before->items[i].value);
    }
    for (int32_t i = 0; i < change->edits_n; i++) {
        char *name = str_dup(change->edits[i].name);
        const struct option *option = config_option(name);
        free(name);
        bool is_list = option != NULL && option->type == OPTION_LIST;
        TRY(config_edit_apply(after, &change->edits[i], is_list,
                              is_list ? option->default_text : NULL, message));
    }
    return OK;
}

/* Could the listeners' TLS be made of it? */
static err check_listeners(const struct config_editor *editor, const struct properties *before,
                           const struct properties *after, char message[CONFIG_REASON_BYTES])
{
    if (editor->check_tls == NULL) {
        return OK;
    }
    struct properties plain;
    properties_init(&plain);
    listener_configs_open(editor->config, before, after, &plain);
    err e = editor->check_tls(editor->tls_context, &plain, message);
    properties_deinit(&plain);
    return e;
}

static err alter_node(const struct config_editor *editor, const struct config_change *change,
                      const char *entity, struct arena *arena, char message[CONFIG_REASON_BYTES])
{
    struct znode_config node;
    int32_t version = -1;
    struct properties before;
    struct properties after;
    TRY(broker_configs_read(editor->coord, entity, arena, &node, &version));
    properties_init(&before);
    properties_init(&after);
    for (int32_t i = 0; i < node.entries_n; i++) {
        properties_set(&before, node.entries[i].name.data, node.entries[i].value.data);
    }
    err e = edit_all(change, &before, &after, message);
    bool all = change->name.len == 0;
    e = e == OK ? check(editor->config, &before, &after, all, message) : e;
    e = e == OK ? cleaner_size_check(editor->config, layer_source(all), &after, message) : e;
    e = e == OK && !all ? check_listeners(editor, &before, &after, message) : e;
    e = e == OK ? listener_configs_seal(editor->config, &before, &after, editor->broker_id, message)
                : e;
    if (e == OK && !change->validate_only) {
        const struct config_entity broker = {.type = STR("brokers"),
                                             .name = str_of(entity),
                                             .path = broker_config_path(arena, entity).data,
                                             .version = version};
        e = config_edit_write(editor, arena, &broker, &after);
    }
    properties_deinit(&before);
    properties_deinit(&after);
    return e;
}

static err alter_once(const struct config_editor *editor, const struct config_change *change,
                      char message[CONFIG_REASON_BYTES])
{
    char entity[ENTITY_BYTES];
    struct arena arena;
    TRY(entity_of(editor, change->name, entity, message));
    arena_init(&arena, ARENA_BYTES);
    err e = alter_node(editor, change, entity, &arena, message);
    arena_deinit(&arena);
    return e;
}

err broker_config_alter(const struct config_editor *editor, const struct config_change *change,
                        char message[CONFIG_REASON_BYTES])
{
    return config_edit_persist(editor, change, alter_once, message);
}
