/* A resource's node is /kafka-acl/<Type>/<name>, or below /kafka-acl-extended/prefixed; names have no slashes. A change
 * is one transaction of the store: the node, by its version, and the notification. When somebody else was faster it is
 * tried again, ten times, with what is there then.
 *
 * A notification names a resource, whose node is read. One that is not understood says that something has changed: then
 * all is read. */
#include "broker/cluster/acls.h"

#include "base/log.h"
#include "broker/cluster/notifications.h"
#include "protocol/error.h"

#include <stdlib.h>

#define AREA             "acls"
#define LITERAL_ROOT     "/kafka-acl"
#define EXTENDED_ROOT    "/kafka-acl-extended"
#define PREFIXED_ROOT    "/kafka-acl-extended/prefixed"
#define CHANGES          "/kafka-acl-changes"
#define EXTENDED_CHANGES "/kafka-acl-extended-changes"
#define CHANGE_PREFIX    "acl_changes_"

enum {
    ARENA_BYTES = 256 << 20,
    NODES_PER_READ = 1000,
    TRIES_MAX = 10,
    NAMES_ROOM = 64,
};

/* The two lists of notifications. */
static const struct change_list {
    const char *path;
    bool extended;
} LISTS[] = {{CHANGES, false}, {EXTENDED_CHANGES, true}};

enum { LISTS_N = sizeof(LISTS) / sizeof(LISTS[0]) };

struct acls {
    struct acls_config config;
    struct notifications notifications[LISTS_N];
    bool watched;
    bool complete; /* the cache has all there is: only then it is published */
};

struct acls *acls_new(const struct acls_config *config)
{
    struct acls *acls = xcalloc(1, sizeof(*acls));
    acls->config = *config;
    for (size_t list = 0; list < LISTS_N; list++) {
        acls->notifications[list] = (struct notifications){.coord = config->coord,
                                                           .clock = config->clock,
                                                           .path = LISTS[list].path,
                                                           .prefix = CHANGE_PREFIX,
                                                           .seen = -1};
    }
    return acls;
}

void acls_free(struct acls *acls)
{
    free(acls);
}

bool acls_are_watched(const struct acls *acls)
{
    return acls->watched;
}

void acls_forget_watch(struct acls *acls)
{
    acls->watched = false;
}

bool acls_watches(const char *path)
{
    return strcmp(path, CHANGES) == 0 || strcmp(path, EXTENDED_CHANGES) == 0;
}

/* ---- paths ---- */

static const char *root_of(enum acl_pattern pattern)
{
    return pattern == ACL_LITERAL ? LITERAL_ROOT : PREFIXED_ROOT;
}

/* NULL: no memory. */
static const char *path_of(struct arena *arena, const struct acl_resource *resource)
{
    return arena_format(arena, "%s/%s/%.*s", root_of(resource->pattern),
                        acl_type_word(resource->type), (int)resource->name.len, resource->name.data)
        .data;
}

/* "ResourcePattern(resourceType=TOPIC, name=x, patternType=LITERAL)", as Kafka shows one. */
static struct str shown(struct arena *arena, const struct acl_resource *resource)
{
    return arena_format(arena, "ResourcePattern(resourceType=%s, name=%.*s, patternType=%s)",
                        acl_type_upper(resource->type), (int)resource->name.len,
                        resource->name.data, acl_pattern_upper(resource->pattern));
}

/* ---- reading ---- */

static void take_unreadable(struct acls *acls, const struct acl_resource *resource, err e)
{
    const struct acl_entry *before = acl_cache_get(acls->config.cache, resource);
    if (before == NULL || !before->unreadable) {
        log_error(AREA,
                  "ACLs cannot be read, and nobody but super users may use what they are for: "
                  "type=%s pattern=%s name=\"%.*s\" error=\"%s\"",
                  acl_type_word(resource->type), acl_pattern_upper(resource->pattern),
                  (int)resource->name.len, resource->name.data, err_text(e));
    }
    acl_cache_set_unreadable(acls->config.cache, resource);
}

/* What a node says, or that there is none. */
static void take_node(struct acls *acls, struct arena *arena, const struct acl_resource *resource,
                      const struct coord_op *get)
{
    struct acl *read = NULL;
    int32_t count = 0;
    err e = get->error == E_NOT_FOUND ? OK : acls_decode(arena, get->value, &read, &count);
    if (e == OK) {
        acl_cache_set(acls->config.cache, resource, read, count);
    } else {
        take_unreadable(acls, resource, e);
    }
}

/* Nodes whose names are known. */
struct names {
    struct acl_resource *all;
    size_t count;
    size_t room;
};

static void add_name(struct names *names, enum acl_type type, enum acl_pattern pattern,
                     struct str name)
{
    if (names->count == names->room) {
        names->room = names->room == 0 ? NAMES_ROOM : names->room * 2;
        names->all = xrealloc(names->all, names->room * sizeof(*names->all));
    }
    names->all[names->count++] = (struct acl_resource){type, pattern, {str_dup(name), name.len}};
}

static void names_free(struct names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free((char *)(uintptr_t)names->all[i].name.data);
    }
    free(names->all);
}

/* The nodes of one type. */
static err list_names(struct acls *acls, struct arena *arena, struct names *names,
                      enum acl_type type, enum acl_pattern pattern)
{
    const char *path = arena_format(arena, "%s/%s", root_of(pattern), acl_type_word(type)).data;
    struct coord_op children = {.type = COORD_CHILDREN, .path = path};
    TRY(coord_run(acls->config.coord, &children, 1, arena));
    if (children.error != OK) {
        return children.error == E_NOT_FOUND ? OK : children.error;
    }
    for (int32_t i = 0; i < children.children_n; i++) {
        add_name(names, type, pattern, str_of(children.children[i]));
    }
    return OK;
}

static err read_some(struct acls *acls, const struct names *names, size_t begin, size_t count)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    struct coord_op *gets = xcalloc(count, sizeof(*gets));
    for (size_t i = 0; i < count; i++) {
        gets[i] =
            (struct coord_op){.type = COORD_GET, .path = path_of(&arena, &names->all[begin + i])};
    }
    err e = coord_run(acls->config.coord, gets, count, &arena);
    for (size_t i = 0; e == OK && i < count; i++) {
        take_node(acls, &arena, &names->all[begin + i], &gets[i]);
    }
    free(gets);
    arena_deinit(&arena);
    return e;
}

static err read_names(struct acls *acls, const struct names *names)
{
    for (size_t at = 0; at < names->count;) {
        size_t left = names->count - at;
        size_t count = left < NODES_PER_READ ? left : NODES_PER_READ;
        TRY(read_some(acls, names, at, count));
        at += count;
    }
    return OK;
}

static err read_all(struct acls *acls, struct arena *arena)
{
    struct names names = {0};
    err e = OK;
    for (int type = ACL_TOPIC; e == OK && type < ACL_TYPES_END; type++) {
        for (int pattern = ACL_LITERAL; e == OK && pattern <= ACL_PREFIXED; pattern++) {
            e = list_names(acls, arena, &names, (enum acl_type)type, (enum acl_pattern)pattern);
        }
    }
    acls->complete = false;
    acl_cache_clear(acls->config.cache);
    e = e == OK ? read_names(acls, &names) : e;
    acls->complete = e == OK;
    names_free(&names);
    return e;
}

/* ---- notifications ---- */

/* Everybody makes them: whoever comes first. */
static err make_nodes(struct acls *acls, struct arena *arena)
{
    const char *roots[] = {LITERAL_ROOT, EXTENDED_ROOT, PREFIXED_ROOT, CHANGES, EXTENDED_CHANGES};
    struct coord_op ops[sizeof(roots) / sizeof(roots[0]) + 2 * ACL_TYPES_END];
    size_t count = 0;
    for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
        ops[count++] = (struct coord_op){.type = COORD_CREATE, .path = roots[i]};
    }
    for (int type = ACL_TOPIC; type < ACL_TYPES_END; type++) {
        const char *word = acl_type_word((enum acl_type)type);
        const char *literal = arena_format(arena, "%s/%s", LITERAL_ROOT, word).data;
        const char *prefixed = arena_format(arena, "%s/%s", PREFIXED_ROOT, word).data;
        ops[count++] = (struct coord_op){.type = COORD_CREATE, .path = literal};
        ops[count++] = (struct coord_op){.type = COORD_CREATE, .path = prefixed};
    }
    TRY(coord_run(acls->config.coord, ops, count, arena));
    for (size_t i = 0; i < count; i++) {
        if (ops[i].error != OK && ops[i].error != E_EXISTS) {
            return ops[i].error;
        }
    }
    return OK;
}

static void publish(struct acls *acls)
{
    if (acls->complete) {
        acl_cache_publish(acls->config.cache);
    }
}

/* Watches first: what is changed while all is read is notified. */
static err load(struct acls *acls, struct arena *arena)
{
    TRY(make_nodes(acls, arena));
    for (size_t list = 0; list < LISTS_N; list++) {
        TRY(notifications_begin(&acls->notifications[list], arena));
    }
    TRY(read_all(acls, arena));
    publish(acls);
    return OK;
}

err acls_load(struct acls *acls)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = load(acls, &arena);
    arena_deinit(&arena);
    acls->watched = e == OK;
    if (e != OK && e != E_CLOSED) {
        log_error(AREA, "cannot read the ACLs error=\"%s\"", err_text(e));
    }
    return e;
}

static err read_one(struct acls *acls, struct arena *arena, const struct acl_resource *resource)
{
    struct coord_op get = {.type = COORD_GET, .path = path_of(arena, resource)};
    TRY(coord_run(acls->config.coord, &get, 1, arena));
    take_node(acls, arena, resource, &get);
    log_info(AREA, "ACLs have changed type=%s pattern=%s name=\"%.*s\"",
             acl_type_word(resource->type), acl_pattern_upper(resource->pattern),
             (int)resource->name.len, resource->name.data);
    return OK;
}

/* Whose notifications are taken. */
struct following {
    struct acls *acls;
    const struct change_list *list;
};

static err take_notification(void *context, struct arena *arena, struct bytes value)
{
    const struct following *following = context;
    struct acl_resource resource;
    if (acl_change_decode(arena, value, following->list->extended, &resource) == OK) {
        return read_one(following->acls, arena, &resource);
    }
    log_warn(AREA, "notification not understood, reading all ACLs list=%s", following->list->path);
    return read_all(following->acls, arena);
}

err acls_on_watch(struct acls *acls)
{
    struct arena arena;
    bool any = false;
    err e = OK;
    arena_init(&arena, ARENA_BYTES);
    for (size_t list = 0; e == OK && list < LISTS_N; list++) {
        struct following following = {acls, &LISTS[list]};
        e = notifications_follow(&acls->notifications[list], &arena, take_notification, &following,
                                 &any);
    }
    arena_deinit(&arena);
    if (any && e == OK) {
        publish(acls);
    }
    acls->watched = e == OK && acls->complete;
    if (e != OK && e != E_CLOSED) {
        log_error(AREA, "cannot read notifications of ACLs error=\"%s\"", err_text(e));
    }
    return e;
}

/* ---- changing ---- */

/* What a resource is to have; `version` of its node, -1: there is none. */
struct wanted {
    const struct acl_resource *resource;
    struct acl *acls;
    int32_t count;
    int32_t version;
};

/* The node and its notification, or neither. */
static err write_node(struct acls *acls, struct arena *arena, const struct wanted *wanted)
{
    bool prefixed = wanted->resource->pattern == ACL_PREFIXED;
    const char *list = prefixed ? EXTENDED_CHANGES : CHANGES;
    const char *path = path_of(arena, wanted->resource);
    struct coord_op ops[] = {
        {.type = wanted->version < 0 ? COORD_CREATE
                 : wanted->count > 0 ? COORD_SET
                                     : COORD_DELETE,
         .path = path,
         .version = wanted->version},
        {.type = COORD_CREATE,
         .path = arena_format(arena, "%s/%s", list, CHANGE_PREFIX).data,
         .flags = COORD_SEQUENTIAL,
         .data = acl_change_encode(arena, wanted->resource)},
    };
    if (wanted->count > 0) {
        ops[0].data = acls_encode(arena, wanted->acls, wanted->count);
    }
    if (path == NULL || ops[1].path == NULL || ops[1].data.data == NULL) {
        return E_LIMIT;
    }
    return coord_multi(acls->config.coord, ops, 2, arena);
}

/* Changes what is wanted, or says that nothing is to be changed. */
typedef err edit_acls(void *context, struct wanted *wanted, bool *changed);

static err edit_once(struct acls *acls, struct arena *arena, const struct acl_resource *resource,
                     edit_acls *edit, void *context)
{
    struct coord_op get = {.type = COORD_GET, .path = path_of(arena, resource)};
    struct wanted wanted = {.resource = resource, .version = -1};
    TRY(get.path == NULL ? E_LIMIT : coord_run(acls->config.coord, &get, 1, arena));
    if (get.error == OK) {
        wanted.version = get.stat.version;
        TRY(acls_decode(arena, get.value, &wanted.acls, &wanted.count));
    } else if (get.error != E_NOT_FOUND) {
        return get.error;
    }
    bool changed = false;
    TRY(edit(context, &wanted, &changed));
    if (changed) {
        TRY(write_node(acls, arena, &wanted));
    }
    acl_cache_set(acls->config.cache, resource, wanted.acls, wanted.count);
    return OK;
}

static bool was_faster(err e)
{
    return e == E_VERSION || e == E_EXISTS || e == E_NOT_FOUND;
}

/* An error is told with its text. */
static err edit(struct acls *acls, struct arena *arena, const struct acl_resource *resource,
                edit_acls *how, void *context, struct str *message)
{
    err e = edit_once(acls, arena, resource, how, context);
    for (int tries = 0; was_faster(e) && tries < TRIES_MAX; tries++) {
        e = edit_once(acls, arena, resource, how, context);
    }
    if (e == OK) {
        return OK;
    }
    struct str name = shown(arena, resource);
    *message =
        was_faster(e) ? arena_format(arena,
                                     "Failed to update ACLs for %.*s after trying a maximum of %d "
                                     "times",
                                     (int)name.len, name.data, TRIES_MAX)
        : e == E_MALFORMED
            ? arena_format(arena, "The ACLs of %.*s in the coordination store cannot be read",
                           (int)name.len, name.data)
            : STR("The coordination store cannot be reached.");
    log_warn(AREA, "ACLs not changed type=%s name=\"%.*s\" error=\"%s\"",
             acl_type_word(resource->type), (int)resource->name.len, resource->name.data,
             err_text(e));
    return was_faster(e) || e == E_MALFORMED || e == E_LIMIT ? ERR_UNKNOWN_SERVER_ERROR
                                                             : ERR_REQUEST_TIMED_OUT;
}

/* ---- adding ---- */

static int by_resource(const void *left, const void *right)
{
    const struct acl_resource *a = &(*(struct acl_binding *const *)left)->resource;
    const struct acl_resource *b = &(*(struct acl_binding *const *)right)->resource;
    int order = (int)a->type - (int)b->type;
    order = order != 0 ? order : (int)a->pattern - (int)b->pattern;
    return order != 0 ? order : str_compare(a->name, b->name);
}

/* Bindings of one resource. */
struct addition {
    struct acl_binding **bindings;
    size_t count;
    struct arena *arena;
};

static err add_acls(void *context, struct wanted *wanted, bool *changed)
{
    const struct addition *addition = context;
    size_t total = (size_t)wanted->count + addition->count;
    struct acl *all = arena_array(addition->arena, total, sizeof(*all));
    TRY(all == NULL ? E_LIMIT : OK);
    if (wanted->count > 0) {
        memcpy(all, wanted->acls, (size_t)wanted->count * sizeof(*all));
    }
    for (size_t i = 0; i < addition->count; i++) {
        all[(size_t)wanted->count + i] = addition->bindings[i]->acl;
    }
    int32_t before = wanted->count;
    wanted->acls = all;
    wanted->count = acls_settle(all, (int32_t)total);
    *changed = wanted->count != before;
    return OK;
}

static void add_to_one(struct acls *acls, const struct addition *addition)
{
    struct acl_binding *first = addition->bindings[0];
    struct str message = {0};
    err e = edit(acls, addition->arena, &first->resource, add_acls, (void *)(uintptr_t)addition,
                 &message);
    for (size_t i = 0; i < addition->count; i++) {
        addition->bindings[i]->error = e;
        addition->bindings[i]->message = message;
    }
}

void acls_add(struct acls *acls, struct acl_binding *bindings, int32_t count, struct arena *arena)
{
    size_t total = count < 0 ? 0 : (size_t)count;
    struct acl_binding **sorted = xcalloc(total + 1, sizeof(struct acl_binding *));
    for (size_t i = 0; i < total; i++) {
        sorted[i] = &bindings[i];
    }
    if (total > 0) {
        qsort(sorted, total, sizeof(struct acl_binding *), by_resource);
    }
    for (size_t at = 0; at < total;) {
        size_t n = 1;
        while (at + n < total && by_resource(&sorted[at], &sorted[at + n]) == 0) {
            n++;
        }
        add_to_one(acls, &(struct addition){.bindings = &sorted[at], .count = n, .arena = arena});
        at += n;
    }
    free(sorted);
    publish(acls);
}

/* ---- removing ---- */

struct removal {
    const struct acl_filter *filter;
    struct arena *arena;
    struct acl *taken; /* of one resource, by the last try */
    int32_t taken_n;
    struct acl_binding *removed; /* of all */
    int32_t removed_n;
    int32_t room;
};

static err remove_acls(void *context, struct wanted *wanted, bool *changed)
{
    struct removal *removal = context;
    int32_t kept = 0;
    removal->taken_n = 0;
    removal->taken =
        arena_array(removal->arena, (size_t)wanted->count + 1, sizeof(*removal->taken));
    TRY(removal->taken == NULL ? E_LIMIT : OK);
    for (int32_t i = 0; i < wanted->count; i++) {
        if (acl_filter_takes(removal->filter, &wanted->acls[i])) {
            removal->taken[removal->taken_n++] = wanted->acls[i];
        } else {
            wanted->acls[kept++] = wanted->acls[i];
        }
    }
    wanted->count = kept;
    *changed = removal->taken_n > 0;
    return OK;
}

/* Resources that the filter takes, and of which the cache knows an ACL that it takes. */
struct collection {
    const struct acl_filter *filter;
    struct names names;
};

static bool collect(void *context, const struct acl_entry *entry)
{
    struct collection *collection = context;
    bool taken = false;
    for (int32_t i = 0; i < entry->acls_n && !taken; i++) {
        taken = acl_filter_takes(collection->filter, &entry->acls[i]);
    }
    if (taken && acl_filter_takes_resource(collection->filter, &entry->resource)) {
        add_name(&collection->names, entry->resource.type, entry->resource.pattern,
                 entry->resource.name);
    }
    return true;
}

/* By doubling: the arena frees nothing. */
static err make_room(struct removal *removal, int32_t more)
{
    if (removal->removed_n + more <= removal->room) {
        return OK;
    }
    int32_t room = (removal->removed_n + more) * 2;
    struct acl_binding *all = arena_array(removal->arena, (size_t)room, sizeof(*all));
    TRY(all == NULL ? E_LIMIT : OK);
    if (removal->removed_n > 0) {
        memcpy(all, removal->removed, (size_t)removal->removed_n * sizeof(*all));
    }
    removal->removed = all;
    removal->room = room;
    return OK;
}

/* Where those of a resource cannot be removed, each that was meant is told so. */
static err remove_from(struct acls *acls, const struct acl_resource *resource,
                       struct removal *removal)
{
    struct str message = {0};
    err e = edit(acls, removal->arena, resource, remove_acls, removal, &message);
    struct str name = arena_str(removal->arena, resource->name);
    TRY(name.data == NULL ? E_LIMIT : make_room(removal, removal->taken_n));
    for (int32_t i = 0; i < removal->taken_n; i++) {
        removal->removed[removal->removed_n++] =
            (struct acl_binding){.resource = {resource->type, resource->pattern, name},
                                 .acl = removal->taken[i],
                                 .error = e,
                                 .message = message};
    }
    removal->taken_n = 0;
    return OK;
}

err acls_remove(struct acls *acls, const struct acl_filter *filter, struct arena *arena,
                struct acl_binding **removed, int32_t *count)
{
    struct collection collection = {.filter = filter};
    struct removal removal = {.filter = filter, .arena = arena};
    const struct acl_book *book = acl_cache_acquire(acls->config.cache);
    acl_book_each(book, collect, &collection);
    acl_book_release(book);
    err e = OK;
    for (size_t i = 0; e == OK && i < collection.names.count; i++) {
        e = remove_from(acls, &collection.names.all[i], &removal);
    }
    names_free(&collection.names);
    publish(acls);
    *removed = removal.removed;
    *count = removal.removed_n;
    return e;
}
