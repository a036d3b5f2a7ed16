/* At the start the lists are read first, then all nodes in one go, users' clients with them:
 *
 *   children of /config/users, /config/clients, /config/ips
 *   children of /config/users/<user>/clients, for each user
 *   all nodes
 *
 * After a session has expired all is read again: notifications live for 15 minutes, and a user who was removed meanwhile
 * must not log in for ever after.
 *
 * A change is the node that was read, edited, and written back under its version, with the notification in
 * the same transaction. */
#include "broker/cluster/client_configs.h"

#include "base/log.h"
#include "base/map.h"

#include <string.h>

enum { ARENA_BYTES = 256 << 20, TRIES_MAX = 5 };

#define CONFIG_ROOT "/config/"

/* ---- reading ---- */

static err decode(struct arena *arena, const struct coord_op *get, struct znode_config *config)
{
    *config = (struct znode_config){0};
    bool says_nothing = get->error == E_NOT_FOUND || get->value.len == 0;
    if (get->error != OK && get->error != E_NOT_FOUND) {
        return get->error;
    }
    return says_nothing ? OK : znode_config_decode(arena, get->value, config);
}

static void tell(const struct client_configs_sink *sink, struct arena *arena, struct coord_op *get)
{
    struct str path = str_of(get->path + strlen(CONFIG_ROOT));
    struct client_entity entity = {0};
    struct znode_config config;
    if (client_entity_parse(arena, path, &entity) != OK || decode(arena, get, &config) != OK) {
        log_warn("config-changes", "node cannot be read, ignored path=%s", get->path);
        return;
    }
    sink->changed(sink->context, &entity, &config);
}

static err tell_paths(struct coord *coord, const struct client_configs_sink *sink,
                      struct arena *arena, const char **paths, size_t count)
{
    struct coord_op *gets = arena_array(arena, count, sizeof(*gets));
    if (gets == NULL) {
        return count == 0 ? OK : E_LIMIT;
    }
    for (size_t i = 0; i < count; i++) {
        gets[i] = (struct coord_op){.type = COORD_GET, .path = paths[i]};
    }
    TRY(coord_run(coord, gets, count, arena));
    for (size_t i = 0; i < count; i++) {
        tell(sink, arena, &gets[i]);
    }
    return OK;
}

/* The children of these nodes, as paths. */
static err list_below(struct coord *coord, struct arena *arena, const char **parents, size_t count,
                      const char ***paths, size_t *paths_n)
{
    struct coord_op *lists = arena_array(arena, count, sizeof(*lists));
    *paths_n = 0;
    if (lists == NULL) {
        return count == 0 ? OK : E_LIMIT;
    }
    for (size_t i = 0; i < count; i++) {
        lists[i] = (struct coord_op){.type = COORD_CHILDREN, .path = parents[i]};
    }
    TRY(coord_run(coord, lists, count, arena));
    size_t all = 0;
    for (size_t i = 0; i < count; i++) {
        all += lists[i].error == OK ? (size_t)lists[i].children_n : 0;
    }
    *paths = arena_array(arena, all, sizeof(**paths));
    for (size_t i = 0; i < count && *paths != NULL; i++) {
        for (int32_t k = 0; lists[i].error == OK && k < lists[i].children_n; k++) {
            (*paths)[(*paths_n)++] =
                arena_format(arena, "%s/%s", parents[i], lists[i].children[k]).data;
        }
    }
    return *paths == NULL && all > 0 ? E_LIMIT : OK;
}

static err load(struct coord *coord, const struct client_configs_sink *sink, struct arena *arena)
{
    const char *users[] = {CONFIG_ROOT "users"};
    const char *others[] = {CONFIG_ROOT "clients", CONFIG_ROOT "ips"};
    const char **paths = NULL;
    size_t count = 0;
    TRY(list_below(coord, arena, others, 2, &paths, &count));
    TRY(tell_paths(coord, sink, arena, paths, count));
    TRY(list_below(coord, arena, users, 1, &paths, &count));
    TRY(tell_paths(coord, sink, arena, paths, count));
    for (size_t i = 0; i < count; i++) {
        paths[i] = arena_format(arena, "%s/clients", paths[i]).data;
    }
    TRY(list_below(coord, arena, paths, count, &paths, &count));
    return tell_paths(coord, sink, arena, paths, count);
}

err client_configs_load(struct coord *coord, const struct client_configs_sink *sink)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = load(coord, sink, &arena);
    arena_deinit(&arena);
    return e;
}

/* Passes on what it is told, and remembers of whom. */
struct listening {
    const struct client_configs_sink *sink;
    struct arena *arena;
    struct map there; /* paths, with anything */
};

static void listen(void *context, const struct client_entity *entity,
                   const struct znode_config *config)
{
    struct listening *listening = context;
    map_set_str(&listening->there, client_entity_path(listening->arena, entity), listening);
    listening->sink->changed(listening->sink->context, entity, config);
}

static void tell_gone(const struct listening *listening, const char *path)
{
    static const struct znode_config NOTHING = {0};
    struct client_entity entity = {0};
    if (map_get_str(&listening->there, str_of(path)) == NULL &&
        client_entity_parse(listening->arena, str_of(path), &entity) == OK) {
        log_info("config-changes", "node has gone untold path=/config/%s", path);
        listening->sink->changed(listening->sink->context, &entity, &NOTHING);
    }
}

err client_configs_load_again(struct coord *coord, const struct client_configs_sink *sink,
                              const char *const *known, size_t known_n)
{
    struct arena arena;
    struct listening listening = {.sink = sink, .arena = &arena};
    const struct client_configs_sink between = {.changed = listen, .context = &listening};
    arena_init(&arena, ARENA_BYTES);
    map_init(&listening.there);
    err e = load(coord, &between, &arena);
    for (size_t i = 0; e == OK && i < known_n; i++) {
        tell_gone(&listening, known[i]);
    }
    map_deinit(&listening.there);
    arena_deinit(&arena);
    return e;
}

err client_configs_changed(struct coord *coord, const struct client_configs_sink *sink,
                           struct str path)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    const char *whole = arena_format(&arena, CONFIG_ROOT "%.*s", (int)path.len, path.data).data;
    err e = whole == NULL || !coord_path_valid(whole, false)
                ? OK /* nobody's */
                : tell_paths(coord, sink, &arena, &whole, 1);
    arena_deinit(&arena);
    return e;
}

static const char *path_of(struct arena *arena, const struct client_entity *entity)
{
    struct str path = client_entity_path(arena, entity);
    return arena_format(arena, CONFIG_ROOT "%.*s", (int)path.len, path.data).data;
}

err client_config_read(struct coord *coord, struct arena *arena, const struct client_entity *entity,
                       struct znode_config *config, int32_t *version)
{
    struct coord_op get = {.type = COORD_GET, .path = path_of(arena, entity)};
    TRY(coord_run(coord, &get, 1, arena));
    *version = get.error == OK ? get.stat.version : -1;
    return decode(arena, &get, config);
}

/* ---- writing ---- */

static void edit_entries(struct znode_config *config, const struct client_config_edit *edit)
{
    for (int32_t i = 0; i < config->entries_n; i++) {
        if (!str_equal(config->entries[i].name, edit->name)) {
            continue;
        }
        if (edit->value.data != NULL) {
            config->entries[i].value = edit->value;
        } else {
            memmove(&config->entries[i], &config->entries[i + 1],
                    (size_t)(config->entries_n - i - 1) * sizeof(*config->entries));
            config->entries_n--;
        }
        return;
    }
    if (edit->value.data != NULL) {
        config->entries[config->entries_n++] =
            (struct znode_config_entry){.name = edit->name, .value = edit->value};
    }
}

static err edit_config(struct arena *arena, struct znode_config *config,
                       const struct client_config_edit *edits, int32_t edits_n)
{
    size_t room = (size_t)config->entries_n + (size_t)edits_n;
    struct znode_config_entry *entries = arena_array(arena, room, sizeof(*entries));
    if (entries == NULL) {
        return E_LIMIT;
    }
    if (config->entries_n > 0) {
        memcpy(entries, config->entries, (size_t)config->entries_n * sizeof(*entries));
    }
    config->entries = entries;
    for (int32_t i = 0; i < edits_n; i++) {
        edit_entries(config, &edits[i]);
    }
    return OK;
}

/* A user's clients lie two levels deep, and what is above them may not be there. */
static err make_parents(const struct config_editor *editor, struct arena *arena,
                        const struct client_entity *entity)
{
    if (entity->user.kind == ENTITY_NONE || entity->client.kind == ENTITY_NONE) {
        return OK;
    }
    struct client_entity user = {.user = entity->user};
    const char *path = path_of(arena, &user);
    struct coord_op ops[] = {
        {.type = COORD_CREATE, .path = path},
        {.type = COORD_CREATE, .path = arena_format(arena, "%s/clients", path).data},
    };
    TRY(coord_run(editor->coord, ops, 2, arena));
    for (int i = 0; i < 2; i++) {
        if (ops[i].error != OK && ops[i].error != E_EXISTS) {
            return ops[i].error;
        }
    }
    return OK;
}

static err write_node(const struct config_editor *editor, struct arena *arena,
                      const struct client_entity *entity, const struct znode_config *config,
                      int32_t version)
{
    struct coord_op ops[] = {
        {.type = version < 0 ? COORD_CREATE : COORD_SET,
         .path = path_of(arena, entity),
         .data = znode_config_encode(arena, config),
         .version = version},
        {.type = COORD_CREATE,
         .path = ZNODE_CONFIG_CHANGES "/" ZNODE_CONFIG_CHANGE_PREFIX,
         .data = znode_entity_change_encode(arena, client_entity_path(arena, entity)),
         .flags = COORD_SEQUENTIAL},
    };
    return controller_multi(editor->controller, ops, 2, arena);
}

/* Removes the node if it says nothing and has nothing below it; who writes it meanwhile wins. */
static void remove_idle(const struct config_editor *editor, struct arena *arena, const char *path)
{
    struct znode_config config;
    struct coord_op get = {.type = COORD_GET, .path = path};
    if (coord_run(editor->coord, &get, 1, arena) != OK || get.error != OK ||
        decode(arena, &get, &config) != OK || config.entries_n > 0) {
        return;
    }
    struct coord_op gone = {.type = COORD_DELETE, .path = path, .version = get.stat.version};
    err_ignore(coord_run(editor->coord, &gone, 1, arena));
}

static void clean_up(const struct config_editor *editor, struct arena *arena,
                     const struct client_entity *entity)
{
    remove_idle(editor, arena, path_of(arena, entity));
    if (entity->user.kind != ENTITY_NONE && entity->client.kind != ENTITY_NONE) {
        struct client_entity user = {.user = entity->user};
        const char *path = path_of(arena, &user);
        remove_idle(editor, arena, arena_format(arena, "%s/clients", path).data);
        remove_idle(editor, arena, path);
    }
}

static err alter_once(const struct config_editor *editor, struct arena *arena,
                      const struct client_entity *entity, const struct client_config_edit *edits,
                      int32_t edits_n)
{
    int32_t version = -1;
    struct znode_config config;
    TRY(client_config_read(editor->coord, arena, entity, &config, &version));
    TRY(edit_config(arena, &config, edits, edits_n));
    if (config.entries_n == 0 && version < 0) {
        return OK;
    }
    TRY(make_parents(editor, arena, entity));
    TRY(write_node(editor, arena, entity, &config, version));
    if (config.entries_n == 0) {
        clean_up(editor, arena, entity);
    }
    return OK;
}

err client_config_alter(const struct config_editor *editor, const struct client_entity *entity,
                        const struct client_config_edit *edits, int32_t edits_n)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = E_VERSION;
    for (int i = 0; i < TRIES_MAX && (e == E_VERSION || e == E_EXISTS || e == E_NOT_FOUND); i++) {
        e = edits_n == 0 ? OK : alter_once(editor, &arena, entity, edits, edits_n);
    }
    arena_deinit(&arena);
    return e;
}
