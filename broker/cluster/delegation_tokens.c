/* A token's node is /delegation_token/tokens/<id>; a notification, below /delegation_token/token_changes, has the id and
 * nothing else. A change is one transaction of the store: the node, and the notification. */
#include "broker/cluster/delegation_tokens.h"

#include "base/list.h"
#include "base/log.h"
#include "broker/cluster/notifications.h"
#include "base/map.h"
#include "broker/security/token_node.h"
#include "protocol/error.h"

#include <stdlib.h>

#define AREA          "tokens"
#define ROOT          "/delegation_token"
#define NODES         "/delegation_token/tokens"
#define CHANGES       "/delegation_token/token_changes"
#define CHANGE_PREFIX "token_change_"

enum { ARENA_BYTES = 256 << 20, NODES_PER_READ = 1000 };

struct delegation_tokens {
    struct delegation_tokens_config config;
    struct notifications notifications;
    bool watched;
    struct timer sweep;
};

static void on_sweep(struct timer *timer);

struct delegation_tokens *delegation_tokens_new(const struct delegation_tokens_config *config)
{
    struct delegation_tokens *d = xcalloc(1, sizeof(*d));
    d->config = *config;
    d->notifications = (struct notifications){.coord = config->coord,
                                              .clock = config->clock,
                                              .path = CHANGES,
                                              .prefix = CHANGE_PREFIX,
                                              .seen = -1};
    d->sweep.fire = on_sweep;
    return d;
}

void delegation_tokens_free(struct delegation_tokens *d)
{
    if (d != NULL) {
        timer_stop(d->config.control, &d->sweep);
        free(d);
    }
}

bool delegation_tokens_are_watched(const struct delegation_tokens *d)
{
    return d->watched;
}

void delegation_tokens_forget_watch(struct delegation_tokens *d)
{
    d->watched = false;
}

bool delegation_tokens_watches(const char *path)
{
    return strcmp(path, CHANGES) == 0;
}

static const char *path_of(struct arena *arena, struct str id)
{
    return arena_format(arena, "%s/%.*s", NODES, (int)id.len, id.data).data;
}

/* ---- reading ---- */

/* A token whose node cannot be read is none. */
static void take_node(struct delegation_tokens *d, struct arena *arena, struct str id,
                      const struct coord_op *get)
{
    struct token token;
    err e = get->error == OK ? token_node_decode(arena, get->value, &token) : get->error;
    if (e == OK && str_equal(token.id, id)) {
        tokens_set(d->config.tokens, &token);
        return;
    }
    tokens_remove(d->config.tokens, id);
    if (e != E_NOT_FOUND) {
        log_error(AREA, "a delegation token's node cannot be read id=%.*s", (int)id.len, id.data);
    }
}

static err read_some(struct delegation_tokens *d, const char **names, int32_t count)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    struct coord_op *gets = xcalloc((size_t)count, sizeof(*gets));
    for (int32_t i = 0; i < count; i++) {
        gets[i] = (struct coord_op){.type = COORD_GET, .path = path_of(&arena, str_of(names[i]))};
    }
    err e = coord_run(d->config.coord, gets, (size_t)count, &arena);
    for (int32_t i = 0; e == OK && i < count; i++) {
        take_node(d, &arena, str_of(names[i]), &gets[i]);
    }
    free(gets);
    arena_deinit(&arena);
    return e;
}

/* What is not there any more is forgotten. */
static void forget_others(struct delegation_tokens *d, const char **names, int32_t names_n)
{
    size_t count = 0;
    struct map there;
    map_init(&there);
    for (int32_t i = 0; i < names_n; i++) {
        map_set_str(&there, str_of(names[i]), d);
    }
    struct token **all = tokens_all(d->config.tokens, &count);
    for (size_t i = 0; i < count; i++) {
        if (map_get_str(&there, all[i]->id) == NULL) {
            tokens_remove(d->config.tokens, all[i]->id);
        }
        free(all[i]);
    }
    free(all);
    map_deinit(&there);
}

static err read_all(struct delegation_tokens *d, struct arena *arena)
{
    struct coord_op children = {.type = COORD_CHILDREN, .path = NODES};
    TRY(coord_run(d->config.coord, &children, 1, arena));
    TRY(children.error);
    for (int32_t at = 0; at < children.children_n; at += NODES_PER_READ) {
        int32_t left = children.children_n - at;
        TRY(read_some(d, children.children + at, left < NODES_PER_READ ? left : NODES_PER_READ));
    }
    forget_others(d, children.children, children.children_n);
    return OK;
}

static err make_nodes(struct delegation_tokens *d, struct arena *arena)
{
    struct coord_op ops[] = {{.type = COORD_CREATE, .path = ROOT},
                             {.type = COORD_CREATE, .path = NODES},
                             {.type = COORD_CREATE, .path = CHANGES}};
    TRY(coord_run(d->config.coord, ops, 3, arena));
    for (int i = 0; i < 3; i++) {
        if (ops[i].error != OK && ops[i].error != E_EXISTS) {
            return ops[i].error;
        }
    }
    return OK;
}

/* Watches first: what is changed while all is read is notified. */
static err load(struct delegation_tokens *d, struct arena *arena)
{
    TRY(make_nodes(d, arena));
    TRY(notifications_begin(&d->notifications, arena));
    return read_all(d, arena);
}

err delegation_tokens_load(struct delegation_tokens *d)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = load(d, &arena);
    arena_deinit(&arena);
    d->watched = e == OK;
    if (e != OK && e != E_CLOSED) {
        log_error(AREA, "cannot read the delegation tokens error=\"%s\"", err_text(e));
    }
    if (!timer_is_running(&d->sweep)) {
        timer_start(d->config.control, &d->sweep, d->config.check_ms);
    }
    return e;
}

/* ---- notifications ---- */

/* It has the id of the token. */
static err take_notification(void *context, struct arena *arena, struct bytes value)
{
    struct delegation_tokens *d = context;
    struct str id = {(const char *)value.data, value.len};
    const char *node = path_of(arena, id);
    if (id.len > 0 && node != NULL && coord_path_valid(node, false)) {
        struct coord_op token = {.type = COORD_GET, .path = node};
        TRY(coord_run(d->config.coord, &token, 1, arena));
        take_node(d, arena, id, &token);
    }
    return OK;
}

err delegation_tokens_on_watch(struct delegation_tokens *d)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = notifications_follow(&d->notifications, &arena, take_notification, d, NULL);
    arena_deinit(&arena);
    d->watched = e == OK;
    if (e != OK && e != E_CLOSED) {
        log_error(AREA, "cannot read notifications of tokens error=\"%s\"", err_text(e));
    }
    return e;
}

/* ---- changing ---- */

static err write_node(struct delegation_tokens *d, struct arena *arena, struct coord_op op,
                      struct str id)
{
    struct coord_op ops[] = {op,
                             {.type = COORD_CREATE,
                              .path = CHANGES "/" CHANGE_PREFIX,
                              .data = bytes_of(id.data, id.len),
                              .flags = COORD_SEQUENTIAL}};
    if (ops[0].path == NULL || (op.type != COORD_DELETE && op.data.data == NULL)) {
        return E_LIMIT;
    }
    return coord_multi(d->config.coord, ops, 2, arena);
}

err delegation_tokens_create(struct delegation_tokens *d, struct token *token, int64_t life_ms,
                             struct arena *arena)
{
    const struct delegation_tokens_config *config = &d->config;
    char id[UUID_TEXT_LEN + 1];
    int64_t now_ms = clock_wall_ms(config->clock);
    int64_t life = life_ms <= 0 || life_ms > config->life_max_ms ? config->life_max_ms : life_ms;
    uuid_format(uuid_random(config->random), id);
    token->id = arena_str(arena, str_of(id));
    token->issued_ms = now_ms;
    token->max_ms = now_ms + life;
    token->expires_ms = now_ms + (life < config->expiry_ms ? life : config->expiry_ms);
    if (token->id.data == NULL) {
        return E_LIMIT;
    }
    const struct coord_op op = {.type = COORD_CREATE,
                                .path = path_of(arena, token->id),
                                .data = token_node_encode(arena, token)};
    TRY(write_node(d, arena, op, token->id));
    tokens_set(config->tokens, token);
    return OK;
}

static bool is_whose(const struct token *token, const struct principal *who)
{
    bool may = principal_equals(&token->owner, who) || principal_equals(&token->requester, who);
    for (int32_t i = 0; i < token->renewers_n; i++) {
        may |= principal_equals(&token->renewers[i], who);
    }
    return may;
}

static bool has_expired(const struct token *token, int64_t now_ms)
{
    return token->max_ms < now_ms || token->expires_ms < now_ms;
}

static err write_expiry(struct delegation_tokens *d, struct token *token, int64_t period_ms,
                        int64_t now_ms, struct arena *arena)
{
    if (has_expired(token, now_ms)) {
        return ERR_DELEGATION_TOKEN_EXPIRED;
    }
    token->expires_ms = period_ms > token->max_ms - now_ms ? token->max_ms : now_ms + period_ms;
    const struct coord_op op = {.type = COORD_SET,
                                .path = path_of(arena, token->id),
                                .data = token_node_encode(arena, token),
                                .version = COORD_ANY_VERSION};
    TRY(write_node(d, arena, op, token->id));
    tokens_set(d->config.tokens, token);
    return OK;
}

static err remove_token(struct delegation_tokens *d, struct str id, struct arena *arena)
{
    const struct coord_op op = {
        .type = COORD_DELETE, .path = path_of(arena, id), .version = COORD_ANY_VERSION};
    err e = write_node(d, arena, op, id);
    if (e == OK || e == E_NOT_FOUND) {
        tokens_remove(d->config.tokens, id);
        return OK;
    }
    return e;
}

/* A new expiry, or (`removes`) none. */
static err change(struct delegation_tokens *d, struct bytes hmac, const struct principal *who,
                  int64_t period_ms, bool removes, int64_t *expires_ms)
{
    int64_t now_ms = clock_wall_ms(d->config.clock);
    struct token *token = tokens_get_by_hmac(d->config.tokens, hmac);
    if (token == NULL) {
        return ERR_DELEGATION_TOKEN_NOT_FOUND;
    }
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = ERR_DELEGATION_TOKEN_OWNER_MISMATCH;
    if (is_whose(token, who)) {
        e = removes ? remove_token(d, token->id, &arena)
                    : write_expiry(d, token, period_ms, now_ms, &arena);
        *expires_ms = removes ? now_ms : token->expires_ms;
    }
    arena_deinit(&arena);
    free(token);
    return e == E_NOT_FOUND ? ERR_DELEGATION_TOKEN_NOT_FOUND : e; /* another has removed it */
}

err delegation_tokens_renew(struct delegation_tokens *d, struct bytes hmac,
                            const struct principal *who, int64_t period_ms, int64_t *expires_ms)
{
    return change(d, hmac, who, period_ms < 0 ? d->config.expiry_ms : period_ms, false, expires_ms);
}

err delegation_tokens_expire(struct delegation_tokens *d, struct bytes hmac,
                             const struct principal *who, int64_t period_ms, int64_t *expires_ms)
{
    return change(d, hmac, who, period_ms, period_ms < 0, expires_ms);
}

/* ---- the sweep ---- */

static void sweep(struct delegation_tokens *d)
{
    size_t count = 0;
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    int64_t now_ms = clock_wall_ms(d->config.clock);
    struct token **all = tokens_all(d->config.tokens, &count);
    for (size_t i = 0; i < count; i++) {
        if (has_expired(all[i], now_ms)) {
            err e = remove_token(d, all[i]->id, &arena);
            if (e != OK && e != E_CLOSED) {
                log_error(AREA, "an expired token stays error=\"%s\"", err_text(e));
            }
        }
        free(all[i]);
    }
    free(all);
    arena_deinit(&arena);
}

static void on_sweep(struct timer *timer)
{
    struct delegation_tokens *d = container_of(timer, struct delegation_tokens, sweep);
    if (d->config.is_controller(d->config.context)) {
        sweep(d);
    }
    timer_start(d->config.control, &d->sweep, d->config.check_ms);
}
