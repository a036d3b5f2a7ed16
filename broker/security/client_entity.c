#include "broker/security/client_entity.h"

#include <string.h>

#define DEFAULT_NAME "<default>"

/* ---- names ---- */

static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
}

struct str name_sanitize(struct arena *arena, struct str name)
{
    static const char DIGITS[] = "0123456789ABCDEF";
    char *text = arena_alloc(arena, name.len * 3 + 1);
    size_t len = 0;
    for (size_t i = 0; text != NULL && i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (is_plain(c)) {
            text[len++] = (char)c;
        } else {
            text[len++] = '%';
            text[len++] = DIGITS[c >> 4];
            text[len++] = DIGITS[c & 15];
        }
    }
    return (struct str){.data = text, .len = len};
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    int letter = c | 0x20;
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

err name_desanitize(struct arena *arena, struct str text, struct str *name)
{
    char *out = arena_alloc(arena, text.len + 1);
    size_t len = 0;
    for (size_t i = 0; out != NULL && i < text.len; i++) {
        char c = text.data[i];
        if (c == '%') {
            int high = i + 2 < text.len ? digit_of(text.data[i + 1]) : -1;
            int low = i + 2 < text.len ? digit_of(text.data[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return E_MALFORMED;
            }
            c = (char)(high << 4 | low);
            i += 2;
        }
        out[len++] = c;
    }
    *name = (struct str){.data = out, .len = len};
    return out == NULL ? E_LIMIT : OK;
}

/* ---- paths ---- */

static struct str part_text(struct arena *arena, const struct entity_part *part)
{
    return part->kind == ENTITY_DEFAULT ? STR(DEFAULT_NAME) : name_sanitize(arena, part->name);
}

struct str client_entity_path(struct arena *arena, const struct client_entity *entity)
{
    struct str user = part_text(arena, &entity->user);
    struct str client = part_text(arena, &entity->client);
    struct str ip = part_text(arena, &entity->ip);
    if (entity->ip.kind != ENTITY_NONE) {
        return arena_format(arena, "ips/%.*s", (int)ip.len, ip.data);
    }
    if (entity->user.kind == ENTITY_NONE) {
        return arena_format(arena, "clients/%.*s", (int)client.len, client.data);
    }
    return entity->client.kind == ENTITY_NONE
               ? arena_format(arena, "users/%.*s", (int)user.len, user.data)
               : arena_format(arena, "users/%.*s/clients/%.*s", (int)user.len, user.data,
                              (int)client.len, client.data);
}

/* Takes the part that follows `word`, up to the next '/'. Null: the path does not go on like that. */
static struct str take_part(struct str *path, const char *word)
{
    size_t len = strlen(word);
    if (path->len <= len || memcmp(path->data, word, len) != 0) {
        return (struct str){0};
    }
    const char *begin = path->data + len;
    const char *slash = memchr(begin, '/', path->len - len);
    size_t part_len = slash == NULL ? path->len - len : (size_t)(slash - begin);
    *path = (struct str){.data = begin + part_len, .len = path->len - len - part_len};
    return (struct str){.data = begin, .len = part_len};
}

static err parse_part(struct arena *arena, struct str text, struct entity_part *part)
{
    *part = (struct entity_part){.kind = ENTITY_NONE};
    if (text.data == NULL) {
        return OK;
    }
    part->kind = str_is(text, DEFAULT_NAME) ? ENTITY_DEFAULT : ENTITY_NAMED;
    return part->kind == ENTITY_DEFAULT ? OK : name_desanitize(arena, text, &part->name);
}

err client_entity_parse(struct arena *arena, struct str path, struct client_entity *entity)
{
    struct str user = take_part(&path, "users/");
    struct str client = take_part(&path, user.data == NULL ? "clients/" : "/clients/");
    struct str ip =
        user.data == NULL && client.data == NULL ? take_part(&path, "ips/") : (struct str){0};
    bool any = user.data != NULL || client.data != NULL || ip.data != NULL;
    if (!any || path.len > 0) {
        return E_MALFORMED;
    }
    TRY(parse_part(arena, user, &entity->user));
    TRY(parse_part(arena, client, &entity->client));
    return parse_part(arena, ip, &entity->ip);
}
