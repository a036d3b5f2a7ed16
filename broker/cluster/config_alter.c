/* The overrides are read, edited in memory, checked as a whole and written back, as one transaction with
 * a sequential node that says which topic changed (config_changes.c sees it). */
#include "broker/cluster/config_alter.h"

#include "base/log.h"
#include "base/refuse.h"
#include "base/seen.h"
#include "broker/cluster/loggers.h"
#include "protocol/error.h"
#include "zk/znodes.h"

#include <stdio.h>
#include <stdlib.h>

enum { ARENA_BYTES = 64 << 20, TRIES_MAX = 5 };

static void remove_item(struct properties *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].name, name) == 0) {
            free(list->items[i].name);
            free(list->items[i].value);
            list->count--;
            memmove(&list->items[i], &list->items[i + 1],
                    (list->count - i) * sizeof(list->items[0]));
            return;
        }
    }
}

/* Is `item` an element of the comma-separated list? */
static bool list_holds(const char *list, const char *item, size_t len)
{
    while (*list != '\0') {
        size_t n = strcspn(list, ",");
        if (n == len && memcmp(list, item, n) == 0) {
            return true;
        }
        list += list[n] == ',' ? n + 1 : n;
    }
    return false;
}

/* Adds or takes away elements, from the override or from the default. Returns malloc'd text. */
static char *edit_list(const char *before, const char *edit, bool append)
{
    size_t size = strlen(before) + strlen(edit) + 2;
    size_t len = 0;
    char *out = xcalloc(size, 1);
    const char *sources[] = {before, append ? edit : ""};
    for (int s = 0; s < 2; s++) {
        for (const char *at = sources[s]; *at != '\0';) {
            size_t n = strcspn(at, ",");
            bool keep = n > 0 && !list_holds(out, at, n) && (append || !list_holds(edit, at, n));
            if (keep) {
                len += (size_t)snprintf(out + len, size - len, "%s%.*s", len > 0 ? "," : "", (int)n,
                                        at);
            }
            at += at[n] == ',' ? n + 1 : n;
        }
    }
    return out;
}

static err edit_one(const struct config_editor *editor, struct properties *overrides,
                    const struct config_edit *edit, char message[CONFIG_REASON_BYTES])
{
    const struct topic_option *option = topic_option(edit->name);
    if (edit->operation == CONFIG_DELETE) {
        char *name = str_dup(edit->name);
        remove_item(overrides, name);
        free(name);
        return OK;
    }
    if (edit->operation < CONFIG_SET || edit->operation > CONFIG_SUBTRACT) {
        return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                           "Unknown operation on: %.*s", (int)edit->name.len, edit->name.data);
    }
    if (option == NULL) {
        return refuse_with(ERR_INVALID_CONFIG, message, CONFIG_REASON_BYTES,
                           "Unknown topic config name: %.*s", (int)edit->name.len, edit->name.data);
    }
    char *value = str_dup(edit->value);
    err e = OK;
    if (edit->operation != CONFIG_SET && option->type != OPTION_LIST) {
        e = refuse_with(ERR_INVALID_CONFIG, message, CONFIG_REASON_BYTES,
                        "Append and subtract are only allowed for lists, not for: %.*s",
                        (int)edit->name.len, edit->name.data);
    } else if (edit->operation != CONFIG_SET) {
        const char *before = properties_get(overrides, option->name);
        before = before != NULL ? before : topic_option_default(editor->config, option);
        char *list =
            edit_list(before == NULL ? "" : before, value, edit->operation == CONFIG_APPEND);
        free(value);
        value = list;
    }
    if (e == OK) {
        e = topic_option_check(option, value, message);
    }
    if (e == OK) {
        properties_set(overrides, option->name, value);
    }
    free(value);
    return e;
}

/* `version` is the node's that was read, -1 when there was none. */
static err write_overrides(const struct config_editor *editor, struct arena *arena,
                           struct str topic, const struct properties *overrides, int32_t version)
{
    struct znode_config node = {.entries =
                                    arena_array(arena, overrides->count, sizeof(*node.entries))};
    for (size_t i = 0; node.entries != NULL && i < overrides->count; i++) {
        node.entries[node.entries_n++] = (struct znode_config_entry){
            .name = str_of(overrides->items[i].name), .value = str_of(overrides->items[i].value)};
    }
    struct coord_op ops[] = {
        {.type = version < 0 ? COORD_CREATE : COORD_SET,
         .path = znode_topic_config_path(arena, topic),
         .data = znode_config_encode(arena, &node),
         .version = version},
        {.type = COORD_CREATE,
         .path = ZNODE_CONFIG_CHANGES "/" ZNODE_CONFIG_CHANGE_PREFIX,
         .data = znode_config_change_encode(arena, STR("topics"), topic),
         .flags = COORD_SEQUENTIAL},
    };
    return controller_multi(editor->controller, ops, 2, arena);
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
        e = write_overrides(editor, &arena, change->name, &after, version);
        arena_deinit(&arena);
    }
    properties_deinit(&after);
    return e;
}

/* What the store says, as a client is told. */
static err store_err(err e, struct str topic, char message[CONFIG_REASON_BYTES])
{
    if (!err_is_local(e)) {
        return e; /* a refusal, with its words */
    }
    log_error("config-changes", "options not changed topic=%.*s error=\"%s\"", (int)topic.len,
              topic.data, err_text(e));
    if (e == E_MALFORMED) {
        return refuse_with(ERR_UNKNOWN_SERVER_ERROR, message, CONFIG_REASON_BYTES,
                           "The topic's node in the coordination store cannot be read: %.*s",
                           (int)topic.len, topic.data);
    }
    return refuse_with(ERR_REQUEST_TIMED_OUT, message, CONFIG_REASON_BYTES,
                       "The coordination store cannot be reached: %.*s", (int)topic.len,
                       topic.data);
}

err config_alter(const struct config_editor *editor, const struct config_change *change,
                 char message[CONFIG_REASON_BYTES])
{
    TRY(check_names(change, message));
    TRY(check_nulls(change, message));
    if (change->resource_type == RESOURCE_LOGGER && !change->replace_all) {
        return logger_alter(editor->broker_id, change, message);
    }
    if (change->resource_type == RESOURCE_BROKER) {
        return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                           "Options of brokers cannot be changed while the broker runs: %.*s",
                           (int)change->name.len, change->name.data);
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
    err e = E_VERSION;
    for (int i = 0; i < TRIES_MAX && (e == E_VERSION || e == E_EXISTS || e == E_NOT_FOUND); i++) {
        e = alter_once(editor, change, message); /* another may write at the same time */
    }
    return store_err(e, change->name, message);
}
