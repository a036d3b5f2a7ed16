/* The overrides are read, edited in memory, checked as a whole and written back, where config_changes.c
 * sees it. */
#include "broker/cluster/config_alter.h"

#include "base/refuse.h"
#include "base/seen.h"
#include "broker/cluster/broker_config_alter.h"
#include "broker/cluster/config_edit.h"
#include "broker/cluster/loggers.h"
#include "protocol/error.h"
#include "zk/znodes.h"

#include <stdio.h>
#include <stdlib.h>

enum { ARENA_BYTES = 64 << 20 };

static err edit_one(const struct config_editor *editor, struct properties *overrides,
                    const struct config_edit *edit, char message[CONFIG_REASON_BYTES])
{
    const struct topic_option *option = topic_option(edit->name);
    if (option == NULL && edit->operation != CONFIG_DELETE) {
        return refuse_with(ERR_INVALID_CONFIG, message, CONFIG_REASON_BYTES,
                           "Unknown topic config name: %.*s", (int)edit->name.len, edit->name.data);
    }
    bool is_list = option != NULL && option->type == OPTION_LIST;
    TRY(config_edit_apply(overrides, edit, is_list,
                          is_list ? topic_option_default(editor->config, option) : NULL, message));
    return edit->operation == CONFIG_DELETE
               ? OK
               : topic_option_check(option, properties_get(overrides, option->name), message);
}

/* All of them are named, as Kafka does. */
static err check_nulls(const struct config_change *change, char message[CONFIG_REASON_BYTES])
{
    message[0] = '\0';
    for (int32_t i = 0; i < change->edits_n; i++) {
        const struct config_edit *edit = &change->edits[i];
        if (edit->value.data == NULL && edit->operation != CONFIG_DELETE) {
            refuse_name(message, CONFIG_REASON_BYTES, "Null value not supported for : ", ", ",
                        edit->name);
        }
    }
    return message[0] == '\0' ? OK : ERR_INVALID_REQUEST;
}

static err check_operations(const struct config_change *change, char message[CONFIG_REASON_BYTES])
{
    for (int32_t i = 0; i < change->edits_n; i++) {
        int8_t operation = change->edits[i].operation;
        if (operation < CONFIG_SET || operation > CONFIG_SUBTRACT) {
            return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                               "Unknown operations type %d", operation);
        }
    }
    return OK;
}

static err check_names(const struct config_change *change, char message[CONFIG_REASON_BYTES])
{
    err e = OK;
    struct seen seen;
    seen_init(&seen);
    for (int32_t i = 0; e == OK && i < change->edits_n; i++) {
        if (seen_add(&seen, &(struct seen_key){.name = change->edits[i].name}) > 0) {
            e = refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                            "Error due to duplicate config keys");
        }
    }
    seen_deinit(&seen);
    return e;
}

static bool topic_is_known(const struct config_editor *editor, struct str topic)
{
    struct metadata *metadata = metadata_acquire(editor->metadata);
    bool known = metadata_topic(metadata, topic) != NULL;
    metadata_release(metadata);
    return known;
}

static err edit_all(const struct config_editor *editor, const struct config_change *change,
                    const struct properties *before, struct properties *after,
                    char message[CONFIG_REASON_BYTES])
{
    for (size_t i = 0; !change->replace_all && i < before->count; i++) {
        properties_set(after, before->items[i].name, before->items[i].value);
    }
    for (int32_t i = 0; i < change->edits_n; i++) {
        TRY(edit_one(editor, after, &change->edits[i], message));
    }
    return OK;
}

/* Reads the node, edits, and writes it back if it is still the one that was read. */
static err alter_once(const struct config_editor *editor, const struct config_change *change,
                      char message[CONFIG_REASON_BYTES])
{
    int32_t version = -1;
    const struct properties *before = NULL;
    TRY(topic_configs_refresh(editor->topic_configs, change->name, &version));
    TRY(topic_configs_get(editor->topic_configs, change->name, &before));
    struct properties after;
    properties_init(&after);
    err e = edit_all(editor, change, before, &after, message);
    e = e == OK ? topic_overrides_check(editor->config, &after, message) : e;
    if (e == OK && !change->validate_only) {
        struct arena arena;
        arena_init(&arena, ARENA_BYTES);
        const struct config_entity topic = {.type = STR("topics"),
                                            .name = change->name,
                                            .path = znode_topic_config_path(&arena, change->name),
                                            .version = version};
        e = config_edit_write(editor, &arena, &topic, &after);
        arena_deinit(&arena);
    }
    properties_deinit(&after);
    return e;
}

err config_alter(const struct config_editor *editor, const struct config_change *change,
                 char message[CONFIG_REASON_BYTES])
{
    TRY(check_names(change, message));
    TRY(check_nulls(change, message));
    if (change->resource_type == RESOURCE_LOGGER && !change->replace_all) {
        return logger_alter(editor->broker_id, change, message);
    }
    TRY(check_operations(change, message));
    if (change->resource_type == RESOURCE_BROKER) {
        return broker_config_alter(editor, change, message);
    }
    if (change->resource_type != RESOURCE_TOPIC) {
        return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                           "Unknown resource type %d", change->resource_type);
    }
    if (change->name.len == 0) {
        return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                           "Default topic resources are not allowed.");
    }
    if (!topic_is_known(editor, change->name)) {
        return refuse_with(ERR_UNKNOWN_TOPIC_OR_PARTITION, message, CONFIG_REASON_BYTES,
                           "The topic '%.*s' does not exist.", (int)change->name.len,
                           change->name.data);
    }
    return config_edit_persist(editor, change, alter_once, message);
}
