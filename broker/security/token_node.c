/* {"issueTimestamp":n,"renewers":["User%3Ab"],"tokenRequester":"User%3Aa","tokenId":"…","owner":"User%3Aa",
 * "expiryTimestamp":n,"maxTimestamp":n,"version":3}. Before version 3 there is no tokenRequester: it is the owner. */
#include "broker/security/token_node.h"

#include "broker/security/client_entity.h"

#include <jansson.h>
#include <stdlib.h>

static json_t *principal_json(struct arena *arena, const struct principal *p)
{
    struct str text = arena_format(arena, "%.*s:%.*s", (int)p->type.len, p->type.data,
                                   (int)p->name.len, p->name.data == NULL ? "" : p->name.data);
    struct str encoded = name_sanitize(arena, text);
    return json_stringn(encoded.data, encoded.len);
}

struct bytes token_node_encode(struct arena *arena, const struct token *token)
{
    json_t *renewers = json_array();
    for (int32_t i = 0; i < token->renewers_n; i++) {
        json_array_append_new(renewers, principal_json(arena, &token->renewers[i]));
    }
    json_t *object = json_pack(
        "{s:I,s:o,s:o,s:o,s:o,s:I,s:I,s:i}", "issueTimestamp", (json_int_t)token->issued_ms,
        "renewers", renewers, "tokenRequester", principal_json(arena, &token->requester), "tokenId",
        json_stringn(token->id.data, token->id.len), "owner", principal_json(arena, &token->owner),
        "expiryTimestamp", (json_int_t)token->expires_ms, "maxTimestamp", (json_int_t)token->max_ms,
        "version", 3);
    char *text = json_dumps(object, JSON_COMPACT);
    struct str kept = text == NULL ? (struct str){0} : arena_str(arena, str_of(text));
    free(text);
    json_decref(object);
    return (struct bytes){.data = (const uint8_t *)kept.data, .len = kept.len};
}

static bool read_principal(struct arena *arena, const json_t *value, struct principal *p)
{
    struct str text = {0};
    const char *encoded = json_string_value(value);
    if (encoded == NULL || name_desanitize(arena, str_of(encoded), &text) != OK) {
        return false;
    }
    const char *colon = text.len == 0 ? NULL : memchr(text.data, ':', text.len);
    if (colon == NULL) {
        return false;
    }
    p->type = (struct str){text.data, (size_t)(colon - text.data)};
    p->name = (struct str){colon + 1, text.len - p->type.len - 1};
    return true;
}

static bool read_time(const json_t *object, const char *name, int64_t *time_ms)
{
    const json_t *value = json_object_get(object, name);
    *time_ms = json_integer_value(value);
    return json_is_integer(value);
}

static bool read_renewers(struct arena *arena, const json_t *list, struct token *token)
{
    size_t count = json_array_size(list);
    token->renewers = arena_array(arena, count, sizeof(*token->renewers));
    for (size_t i = 0; i < count; i++) {
        if (token->renewers == NULL ||
            !read_principal(arena, json_array_get(list, i), &token->renewers[i])) {
            return false;
        }
    }
    token->renewers_n = (int32_t)count;
    return json_is_array(list) && count <= TOKEN_RENEWERS_MAX;
}

static bool read_token(struct arena *arena, const json_t *object, struct token *token)
{
    const char *id = json_string_value(json_object_get(object, "tokenId"));
    const json_t *requester = json_object_get(object, "tokenRequester");
    if (id == NULL || strlen(id) >= TOKEN_ID_MAX ||
        !read_principal(arena, json_object_get(object, "owner"), &token->owner)) {
        return false;
    }
    token->id = arena_str(arena, str_of(id));
    token->requester = token->owner;
    return (requester == NULL || read_principal(arena, requester, &token->requester)) &&
           read_renewers(arena, json_object_get(object, "renewers"), token) &&
           read_time(object, "issueTimestamp", &token->issued_ms) &&
           read_time(object, "expiryTimestamp", &token->expires_ms) &&
           read_time(object, "maxTimestamp", &token->max_ms);
}

err token_node_decode(struct arena *arena, struct bytes json, struct token *token)
{
    *token = (struct token){0};
    json_t *object = json_loadb((const char *)json.data, json.len, 0, NULL);
    bool fine = json_is_object(object) && read_token(arena, object, token);
    json_decref(object);
    return fine ? OK : E_MALFORMED;
}
