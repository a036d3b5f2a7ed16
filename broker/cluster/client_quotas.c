#include "broker/cluster/client_quotas.h"

#include "base/log.h"
#include "base/refuse.h"
#include "protocol/error.h"

#include <math.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES = 1 << 20, NUMBER_BYTES = 40 };

#define EPSILON 1e-6 /* how far a whole number may be off, since it travels as a double */

/* ---- reading ---- */

static const struct quota_key *key_of(struct str name)
{
    for (int i = 0; i < QUOTA_TYPES; i++) {
        if (str_is(name, QUOTA_KEYS[i].name)) {
            return &QUOTA_KEYS[i];
        }
    }
    return NULL;
}

struct quota_limits client_quotas_read(const struct znode_config *config)
{
    struct quota_limits limits = QUOTA_NO_LIMITS;
    for (int32_t i = 0; i < config->entries_n; i++) {
        const struct quota_key *key = key_of(config->entries[i].name);
        char text[NUMBER_BYTES];
        char *end = NULL;
        if (key == NULL || config->entries[i].value.len >= sizeof(text)) {
            continue;
        }
        snprintf(text, sizeof(text), "%.*s", (int)config->entries[i].value.len,
                 config->entries[i].value.data);
        double value = strtod(text, &end);
        if (end != text && *end == '\0' && value >= 0) {
            limits.limit[key - QUOTA_KEYS] = value;
        }
    }
    return limits;
}

/* ---- altering ---- */

static struct entity_part *part_named(struct client_entity *entity, struct str type)
{
    return str_is(type, "user")        ? &entity->user
           : str_is(type, "client-id") ? &entity->client
           : str_is(type, "ip")        ? &entity->ip
                                       : NULL;
}

static bool is_address(struct str name)
{
    char host[NI_MAXHOST];
    struct addrinfo *found = NULL;
    if (name.len == 0 || name.len >= sizeof(host) || memchr(name.data, '\0', name.len) != NULL) {
        return false;
    }
    snprintf(host, sizeof(host), "%.*s", (int)name.len, name.data);
    if (getaddrinfo(host, NULL, NULL, &found) != 0) {
        return false;
    }
    freeaddrinfo(found);
    return true;
}

static err refuse_entity(char message[CONFIG_REASON_BYTES], const char *words)
{
    return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES, "%s", words);
}

static err check_combination(const struct client_entity *entity, char message[CONFIG_REASON_BYTES])
{
    bool of_client = entity->user.kind != ENTITY_NONE || entity->client.kind != ENTITY_NONE;
    if (entity->ip.kind == ENTITY_NONE) {
        return OK;
    }
    if (of_client) {
        return refuse_entity(message, "Invalid quota entity combination, IP entity should not be "
                                      "used with user/client ID entity.");
    }
    return entity->ip.kind == ENTITY_DEFAULT || is_address(entity->ip.name)
               ? OK
               : refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                             "%.*s is not a valid IP or resolvable host.", (int)entity->ip.name.len,
                             entity->ip.name.data);
}

static err read_entity(const struct quota_alteration *alteration, struct client_entity *entity,
                       char message[CONFIG_REASON_BYTES])
{
    if (alteration->parts_n == 0) {
        return refuse_entity(message, "Invalid empty client quota entity");
    }
    for (int32_t i = 0; i < alteration->parts_n; i++) {
        const struct quota_entity_part *in = &alteration->parts[i];
        struct entity_part *part = part_named(entity, in->type);
        if (part == NULL) {
            return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                               "Unhandled client quota entity type: %.*s", (int)in->type.len,
                               in->type.data);
        }
        if (in->name.data != NULL && in->name.len == 0) {
            return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                               "Empty %.*s not supported", (int)in->type.len, in->type.data);
        }
        *part = (struct entity_part){.kind = in->name.data == NULL ? ENTITY_DEFAULT : ENTITY_NAMED,
                                     .name = in->name};
    }
    return check_combination(entity, message);
}

/* A double as Java prints it: with ".0" where it is whole. */
static struct str number_text(struct arena *arena, double value, bool is_whole)
{
    if (is_whole) {
        return arena_format(arena, "%.0f", value);
    }
    for (int digits = 1; digits <= 17; digits++) {
        char text[NUMBER_BYTES];
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            bool plain = strpbrk(text, ".e") != NULL;
            return strchr(text, 'e') != NULL ? arena_format(arena, "%.1f", value)
                                             : arena_format(arena, "%s%s", text, plain ? "" : ".0");
        }
    }
    return arena_format(arena, "%.17g", value);
}

static err read_edit(struct arena *arena, const struct client_entity *entity,
                     const struct quota_edit *edit, struct client_config_edit *out,
                     char message[CONFIG_REASON_BYTES])
{
    *out = (struct client_config_edit){.name = edit->key};
    if (edit->remove) {
        return OK;
    }
    const struct quota_key *key = key_of(edit->key);
    if (key == NULL || key->of_ips != (entity->ip.kind != ENTITY_NONE)) {
        return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                           "Invalid configuration key %.*s", (int)edit->key.len, edit->key.data);
    }
    double value = key->is_whole ? floor(edit->value + EPSILON) : edit->value;
    bool fits = value >= 0 && value <= key->most && fabs(value - edit->value) <= EPSILON;
    if (!fits) {
        const char *type = key->of_ips ? "INT" : key->is_whole ? "LONG" : "DOUBLE";
        return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                           "Configuration %s must be a %s value", key->name, type);
    }
    out->value = number_text(arena, value, key->is_whole);
    return OK;
}

static err alter(const struct config_editor *editor, struct arena *arena,
                 const struct quota_alteration *alteration, char message[CONFIG_REASON_BYTES])
{
    struct client_entity entity = {0};
    TRY(read_entity(alteration, &entity, message));
    struct client_config_edit *edits =
        arena_array(arena, (size_t)alteration->edits_n, sizeof(*edits));
    for (int32_t i = 0; edits != NULL && i < alteration->edits_n; i++) {
        TRY(read_edit(arena, &entity, &alteration->edits[i], &edits[i], message));
    }
    if (alteration->validate_only || edits == NULL) {
        return edits == NULL && alteration->edits_n > 0 ? E_LIMIT : OK;
    }
    return client_config_alter(editor, &entity, edits, alteration->edits_n);
}

err client_quotas_alter(const struct config_editor *editor,
                        const struct quota_alteration *alteration,
                        char message[CONFIG_REASON_BYTES])
{
    struct arena arena;
    message[0] = '\0';
    arena_init(&arena, ARENA_BYTES);
    err e = alter(editor, &arena, alteration, message);
    arena_deinit(&arena);
    if (!err_is_local(e)) {
        return e;
    }
    log_error("config-changes", "quotas not changed error=\"%s\"", err_text(e));
    return e == E_MALFORMED
               ? refuse_with(ERR_UNKNOWN_SERVER_ERROR, message, CONFIG_REASON_BYTES,
                             "The entity's node in the coordination store cannot be read")
               : refuse_with(ERR_REQUEST_TIMED_OUT, message, CONFIG_REASON_BYTES,
                             "The coordination store cannot be reached");
}
