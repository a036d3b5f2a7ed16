#include "broker/cluster/config_edit.h"

#include "base/log.h"
#include "base/refuse.h"
#include "protocol/error.h"
#include "zk/znodes.h"

#include <stdio.h>
#include <stdlib.h>

enum { TRIES_MAX = 5 };

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

err config_edit_apply(struct properties *overrides, const struct config_edit *edit, bool is_list,
                      const char *inherited, char message[CONFIG_REASON_BYTES])
{
    bool in_list = edit->operation == CONFIG_APPEND || edit->operation == CONFIG_SUBTRACT;
    if (in_list && !is_list) {
        return refuse_with(ERR_INVALID_CONFIG, message, CONFIG_REASON_BYTES,
                           "Append and subtract are only allowed for lists, not for: %.*s",
                           (int)edit->name.len, edit->name.data);
    }
    char *name = str_dup(edit->name);
    char *value = edit->operation == CONFIG_DELETE ? NULL : str_dup(edit->value);
    if (in_list) {
        const char *before = properties_get(overrides, name);
        before = before != NULL ? before : inherited;
        char *list =
            edit_list(before == NULL ? "" : before, value, edit->operation == CONFIG_APPEND);
        free(value);
        value = list;
    }
    if (value == NULL) {
        properties_remove(overrides, name);
    } else {
        properties_set(overrides, name, value);
    }
    free(value);
    free(name);
    return OK;
}

err config_edit_write(const struct config_editor *editor, struct arena *arena,
                      const struct config_entity *entity, const struct properties *overrides)
{
    struct znode_config node = {.entries =
                                    arena_array(arena, overrides->count, sizeof(*node.entries))};
    for (size_t i = 0; node.entries != NULL && i < overrides->count; i++) {
        node.entries[node.entries_n++] = (struct znode_config_entry){
            .name = str_of(overrides->items[i].name), .value = str_of(overrides->items[i].value)};
    }
    struct coord_op ops[] = {
        {.type = entity->version < 0 ? COORD_CREATE : COORD_SET,
         .path = entity->path,
         .data = znode_config_encode(arena, &node),
         .version = entity->version},
        {.type = COORD_CREATE,
         .path = ZNODE_CONFIG_CHANGES "/" ZNODE_CONFIG_CHANGE_PREFIX,
         .data = znode_config_change_encode(arena, entity->type, entity->name),
         .flags = COORD_SEQUENTIAL},
    };
    return controller_multi(editor->controller, ops, 2, arena);
}

static err store_err(err e, const struct config_change *change, char message[CONFIG_REASON_BYTES])
{
    struct str name = change->name;
    const char *what = change->resource_type == RESOURCE_TOPIC ? "topic" : "broker";
    if (!err_is_local(e)) {
        return e; /* a refusal, with its words */
    }
    log_error("config-changes", "options not changed %s=%.*s error=\"%s\"", what, (int)name.len,
              name.data, err_text(e));
    if (e == E_MALFORMED) {
        return refuse_with(ERR_UNKNOWN_SERVER_ERROR, message, CONFIG_REASON_BYTES,
                           "The %s's node in the coordination store cannot be read: %.*s", what,
                           (int)name.len, name.data);
    }
    return refuse_with(ERR_REQUEST_TIMED_OUT, message, CONFIG_REASON_BYTES,
                       "The coordination store cannot be reached: %.*s", (int)name.len, name.data);
}

err config_edit_persist(const struct config_editor *editor, const struct config_change *change,
                        err (*once)(const struct config_editor *editor,
                                    const struct config_change *change,
                                    char message[CONFIG_REASON_BYTES]),
                        char message[CONFIG_REASON_BYTES])
{
    err e = E_VERSION;
    for (int i = 0; i < TRIES_MAX && (e == E_VERSION || e == E_EXISTS || e == E_NOT_FOUND); i++) {
        e = once(editor, change, message);
    }
    return store_err(e, change, message);
}
