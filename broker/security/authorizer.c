/* A decision looks at the ACLs of a few resources: those of the name itself, of "*", and of the prefixes of the name. Of
 * each it looks at two runs of the list, which is sorted by principal: those for who asks, and those for everybody.
 *
 * "May they with any resource of this type" goes through all of the type, and stops at the first that is allowed. It is
 * asked once when a producer starts that has no transactional id, and only of one without IdempotentWrite. */
#include "broker/security/authorizer.h"

#include "base/log.h"
#include "base/map.h"

#include <stdlib.h>

#define AREA "kafka.authorizer.logger"

enum { SHOWN_MAX_BYTES = 256 };

struct authorizer {
    struct map super_users; /* principals */
    bool allow_if_no_acl;
    struct acl_cache *cache;
};

#define BIT(operation) (1u << ACL_##operation)

/* What an ALLOW must be for, by bits, to allow an operation. */
static uint32_t allowed_by(enum acl_operation operation)
{
    uint32_t own = 1u << operation | BIT(ALL);
    switch (operation) {
    case ACL_DESCRIBE:
        return own | BIT(READ) | BIT(WRITE) | BIT(DELETE) | BIT(ALTER);
    case ACL_DESCRIBE_CONFIGS:
        return own | BIT(ALTER_CONFIGS);
    default:
        return own;
    }
}

/* ---- super users ---- */

/* The next part of the list, without the blanks around it; false: there is none. */
static bool next_part(const char **at, struct str *part)
{
    if (*at == NULL) {
        return false;
    }
    const char *begin = *at + strspn(*at, " \t");
    const char *end = *at + strcspn(*at, ";");
    *at = *end == ';' ? end + 1 : NULL;
    while (end > begin && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    *part = (struct str){.data = begin, .len = end > begin ? (size_t)(end - begin) : 0};
    return true;
}

static const char *list_of(const char *super_users)
{
    return super_users == NULL || *super_users == '\0' ? NULL : super_users;
}

bool authorizer_super_users_valid(const char *super_users, struct str *part)
{
    const char *at = list_of(super_users);
    struct principal principal;
    while (next_part(&at, part)) {
        if (!principal_parse(*part, &principal)) {
            return false;
        }
    }
    return true;
}

struct authorizer *authorizer_new(const struct authorizer_config *config)
{
    struct authorizer *authorizer = xcalloc(1, sizeof(*authorizer));
    authorizer->allow_if_no_acl = config->allow_if_no_acl;
    authorizer->cache = acl_cache_new();
    map_init(&authorizer->super_users);
    const char *at = list_of(config->super_users);
    struct str part;
    while (next_part(&at, &part)) {
        (void)map_set_str(&authorizer->super_users, part, authorizer);
    }
    return authorizer;
}

void authorizer_free(struct authorizer *authorizer)
{
    if (authorizer != NULL) {
        acl_cache_free(authorizer->cache);
        map_deinit(&authorizer->super_users);
        free(authorizer);
    }
}

struct acl_cache *authorizer_cache(const struct authorizer *authorizer)
{
    return authorizer->cache;
}

struct asker asker_of(const struct authorizer *authorizer, struct str principal, struct str host,
                      const char *request)
{
    return (struct asker){
        .authorizer = authorizer,
        .book = acl_cache_acquire(authorizer->cache),
        .principal = principal,
        .host = host,
        .request = request,
        .is_super = map_get_str(&authorizer->super_users, principal) != NULL,
    };
}

void asker_done(struct asker *asker)
{
    acl_book_release(asker->book);
    asker->book = NULL;
}

/* ---- one resource's ACLs ---- */

/* Those of one principal stand together. */
static int32_t first_of(const struct acl_entry *entry, struct str principal)
{
    int32_t low = 0;
    int32_t high = entry->acls_n;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (str_compare(entry->acls[middle].principal, principal) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct found {
    uint32_t denied; /* operations, by bits */
    uint32_t allowed;
};

static void look_for(const struct acl_entry *entry, struct str principal, struct str host,
                     struct found *found)
{
    for (int32_t i = first_of(entry, principal);
         i < entry->acls_n && str_equal(entry->acls[i].principal, principal); i++) {
        const struct acl *acl = &entry->acls[i];
        if (str_is(acl->host, ACL_WILDCARD) || str_equal(acl->host, host)) {
            uint32_t bit = 1u << acl->operation;
            found->denied |= acl->permission == ACL_DENY ? bit : 0;
            found->allowed |= acl->permission == ACL_ALLOW ? bit : 0;
        }
    }
}

static struct found look(const struct asker *asker, const struct acl_entry *entry)
{
    struct found found = {0};
    look_for(entry, asker->principal, asker->host, &found);
    if (!str_is(asker->principal, ACL_EVERYBODY)) {
        look_for(entry, STR(ACL_EVERYBODY), asker->host, &found);
    }
    return found;
}

/* ---- decisions ---- */

/* What is in force for a name, gathered. */
struct gathered {
    const struct asker *asker;
    struct found found;
    bool any;
    bool unreadable;
};

static bool gather_entry(void *context, const struct acl_entry *entry)
{
    struct gathered *gathered = context;
    struct found found = look(gathered->asker, entry);
    gathered->any = true;
    gathered->unreadable |= entry->unreadable;
    gathered->found.denied |= found.denied;
    gathered->found.allowed |= found.allowed;
    return !gathered->unreadable;
}

static struct gathered gather(const struct asker *asker, enum acl_type type, struct str name)
{
    struct gathered gathered = {.asker = asker};
    acl_book_each_for(asker->book, type, name, gather_entry, &gathered);
    return gathered;
}

static bool decide(const struct gathered *gathered, enum acl_operation operation)
{
    if (!gathered->any) {
        return gathered->asker->authorizer->allow_if_no_acl;
    }
    bool denied = (gathered->found.denied & (1u << operation | BIT(ALL))) != 0;
    return !gathered->unreadable && !denied &&
           (gathered->found.allowed & allowed_by(operation)) != 0;
}

/* A client's text for a line: of bounded length, and without what would end it. */
static const char *shown(struct str text, char room[SHOWN_MAX_BYTES])
{
    size_t len = text.len < SHOWN_MAX_BYTES ? text.len : SHOWN_MAX_BYTES - 1;
    while (len < text.len && len > 0 && ((unsigned char)text.data[len] & 0xc0) == 0x80) {
        len--; /* within a character */
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        room[i] = c < ' ' || c == '"' || c == 0x7f ? '?' : text.data[i];
    }
    room[len] = '\0';
    return room;
}

/* In the words of Kafka's authorizer; each thing is asked for by itself. */
static void log_decision(const struct asker *asker, bool allowed, enum acl_operation operation,
                         enum acl_type type, struct str name)
{
    enum log_level level = allowed ? LOG_DEBUG : LOG_INFO;
    if (!log_is_on(level, AREA)) {
        return;
    }
    char principal[SHOWN_MAX_BYTES];
    char resource[SHOWN_MAX_BYTES];
    log_write(level, AREA,
              "Principal = %s is %s operation = %s from host = %.*s on resource = %s:LITERAL:%s "
              "for request = %s with resourceRefCount = 1",
              shown(asker->principal, principal), allowed ? "Allowed" : "Denied",
              acl_operation_word(operation), (int)asker->host.len, asker->host.data,
              acl_type_word(type), shown(name, resource), asker->request);
}

bool asker_may(const struct asker *asker, enum asked_how how, enum acl_operation operation,
               enum acl_type type, struct str name)
{
    bool allowed = asker->is_super;
    if (!allowed) {
        struct gathered gathered = gather(asker, type, name);
        allowed = decide(&gathered, operation);
    }
    if (how == ASKED_TO_DO) {
        log_decision(asker, allowed, operation, type, name);
    }
    return allowed;
}

int32_t asker_operations(const struct asker *asker, enum acl_type type, struct str name)
{
    uint32_t there = acl_operations_on(type);
    if (asker->is_super) {
        return (int32_t)there;
    }
    struct gathered gathered = gather(asker, type, name);
    uint32_t allowed = 0;
    for (int operation = ACL_READ; operation < ACL_OPERATIONS_END; operation++) {
        bool may =
            (there & 1u << operation) != 0 && decide(&gathered, (enum acl_operation)operation);
        allowed |= may ? 1u << operation : 0;
    }
    return (int32_t)allowed;
}

/* ---- any resource of a type ---- */

struct any {
    const struct asker *asker;
    enum acl_operation operation;
    enum acl_type type;
    const struct acl_entry *entry; /* that is looked at */
    bool denied;                   /* all that it allows */
    bool allowed;
};

/* A DENY of the same literal name, or of a prefix that covers all that the entry is for. */
static bool look_for_deny(void *context, const struct acl_entry *entry)
{
    struct any *any = context;
    bool covers = entry->resource.pattern == ACL_PREFIXED
                      ? !str_is(any->entry->resource.name, ACL_WILDCARD)
                      : any->entry->resource.pattern == ACL_LITERAL &&
                            str_equal(entry->resource.name, any->entry->resource.name);
    struct found found = look(any->asker, entry);
    any->denied |=
        covers && (entry->unreadable || (found.denied & (1u << any->operation | BIT(ALL))) != 0);
    return !any->denied;
}

static bool look_at_one(void *context, const struct acl_entry *entry)
{
    struct any *any = context;
    struct found found = look(any->asker, entry);
    if (entry->resource.type != any->type || (found.allowed & allowed_by(any->operation)) == 0) {
        return true;
    }
    any->entry = entry;
    any->denied = false;
    acl_book_each_for(any->asker->book, any->type, entry->resource.name, look_for_deny, any);
    any->allowed = !any->denied;
    return !any->allowed;
}

/* A DENY of "*" covers all, also where an option allows what has no ACL. */
static bool denies_all(void *context, const struct acl_entry *entry)
{
    struct any *any = context;
    bool all = entry->resource.pattern == ACL_LITERAL;
    struct found found = look(any->asker, entry);
    any->denied |=
        all && (entry->unreadable || (found.denied & (1u << any->operation | BIT(ALL))) != 0);
    return !any->denied;
}

bool asker_may_any(const struct asker *asker, enum acl_operation operation, enum acl_type type)
{
    struct any any = {.asker = asker, .operation = operation, .type = type};
    any.allowed = asker->is_super;
    if (!any.allowed) {
        acl_book_each_for(asker->book, type, STR(ACL_WILDCARD), denies_all, &any);
        any.allowed = !any.denied && asker->authorizer->allow_if_no_acl;
    }
    if (!any.allowed && !any.denied) {
        acl_book_each(asker->book, look_at_one, &any);
    }
    log_decision(asker, any.allowed, operation, type, STR("NONE"));
    return any.allowed;
}
