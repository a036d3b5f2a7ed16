/* A book has a map from names to entries for each type, and the prefixes of the type in the order of their bytes, each
 * with its parent: the longest other prefix that it begins with. The prefixes of a name are then found by one binary
 * search and a walk: all of them are beginnings of the last prefix that is not behind the name in that order, so that
 * they are among it and its ancestors.
 *
 * A book is made anew for each publishing, of entries that are shared by count. Ten thousand ACLs take some
 * milliseconds for that, on the thread of the writer; readers take a reference and compare a few names. */
#include "broker/security/acl_cache.h"

#include "base/map.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct counted_entry {
    struct acl_entry entry; /* first */
    atomic_int refs;
};

struct prefix {
    struct counted_entry *entry;
    int32_t parent; /* -1: none */
};

struct acl_book {
    atomic_int refs;
    struct map literal[ACL_TYPES_END]; /* name → entry */
    struct prefix *prefixes[ACL_TYPES_END];
    int32_t prefixes_n[ACL_TYPES_END];
};

struct acl_cache {
    struct map all;       /* the writer's: key_of() → entry */
    pthread_mutex_t lock; /* a leaf; guards the next */
    struct acl_book *book;
};

/* ---- entries ---- */

static void entry_release(struct counted_entry *entry)
{
    if (entry != NULL && atomic_fetch_sub(&entry->refs, 1) == 1) {
        free(entry);
    }
}

static struct str put_text(char **at, struct str text)
{
    struct str copy = {.data = *at, .len = text.len};
    if (text.len > 0) {
        memcpy(*at, text.data, text.len);
    }
    *at += text.len;
    return copy;
}

/* One piece of memory: the entry, its ACLs, then their texts. */
static struct counted_entry *entry_new(const struct acl_resource *resource, const struct acl *acls,
                                       int32_t count)
{
    size_t texts = resource->name.len;
    for (int32_t i = 0; i < count; i++) {
        texts += acls[i].principal.len + acls[i].host.len;
    }
    size_t size = sizeof(struct counted_entry) + (size_t)count * sizeof(struct acl) + texts + 1;
    struct counted_entry *entry = xcalloc(1, size);
    struct acl *copies = (struct acl *)(entry + 1);
    char *at = (char *)(copies + count);
    atomic_init(&entry->refs, 1);
    entry->entry.resource = *resource;
    entry->entry.resource.name = put_text(&at, resource->name);
    for (int32_t i = 0; i < count; i++) {
        copies[i] = acls[i];
        copies[i].principal = put_text(&at, acls[i].principal);
        copies[i].host = put_text(&at, acls[i].host);
    }
    entry->entry.acls = copies;
    entry->entry.acls_n = acls_settle(copies, count);
    return entry;
}

/* ---- books ---- */

static struct acl_book *book_new(void)
{
    struct acl_book *book = xcalloc(1, sizeof(*book));
    atomic_init(&book->refs, 1);
    for (int i = 0; i < ACL_TYPES_END; i++) {
        map_init(&book->literal[i]);
    }
    return book;
}

void acl_book_release(const struct acl_book *shared)
{
    struct acl_book *book = (struct acl_book *)(uintptr_t)shared;
    if (book == NULL || atomic_fetch_sub(&book->refs, 1) != 1) {
        return;
    }
    for (int type = 0; type < ACL_TYPES_END; type++) {
        map_each (entry, &book->literal[type]) {
            entry_release(entry->value);
        }
        map_deinit(&book->literal[type]);
        for (int32_t i = 0; i < book->prefixes_n[type]; i++) {
            entry_release(book->prefixes[type][i].entry);
        }
        free(book->prefixes[type]);
    }
    free(book);
}

static void book_add(struct acl_book *book, struct counted_entry *entry)
{
    const struct acl_resource *resource = &entry->entry.resource;
    atomic_fetch_add(&entry->refs, 1);
    if (resource->pattern == ACL_LITERAL) {
        (void)map_set_str(&book->literal[resource->type], resource->name, entry);
    } else {
        book->prefixes[resource->type][book->prefixes_n[resource->type]++].entry = entry;
    }
}

static int by_name(const void *left, const void *right)
{
    const struct prefix *a = left;
    const struct prefix *b = right;
    return str_compare(a->entry->entry.resource.name, b->entry->entry.resource.name);
}

static struct str name_of(const struct prefix *prefix)
{
    return prefix->entry->entry.resource.name;
}

static bool begins_with(struct str text, struct str prefix)
{
    return text.len >= prefix.len && memcmp(text.data, prefix.data, prefix.len) == 0;
}

/* Each one's parent is the one before it, or an ancestor of that. */
static void link_prefixes(struct prefix *all, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        int32_t parent = i - 1;
        while (parent >= 0 && !begins_with(name_of(&all[i]), name_of(&all[parent]))) {
            parent = all[parent].parent;
        }
        all[i].parent = parent;
    }
}

static struct acl_book *book_of(const struct map *all)
{
    struct acl_book *book = book_new();
    int32_t prefixes_n[ACL_TYPES_END] = {0};
    map_each (entry, all) {
        const struct acl_entry *one = entry->value;
        prefixes_n[one->resource.type] += one->resource.pattern == ACL_PREFIXED ? 1 : 0;
    }
    for (int type = 0; type < ACL_TYPES_END; type++) {
        book->prefixes[type] = prefixes_n[type] == 0 ? NULL
                                                     : xcalloc((size_t)prefixes_n[type],
                                                               sizeof(*book->prefixes[type]));
    }
    map_each (entry, all) {
        book_add(book, entry->value);
    }
    for (int type = 0; type < ACL_TYPES_END; type++) {
        if (book->prefixes_n[type] > 0) {
            qsort(book->prefixes[type], (size_t)book->prefixes_n[type], sizeof(struct prefix),
                  by_name);
            link_prefixes(book->prefixes[type], book->prefixes_n[type]);
        }
    }
    return book;
}

/* ---- reading ---- */

/* The last prefix that is not behind the name; -1: none. */
static int32_t last_not_behind(const struct prefix *all, int32_t count, struct str name)
{
    int32_t low = 0;
    int32_t high = count;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (str_compare(name_of(&all[middle]), name) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low - 1;
}

void acl_book_each_for(const struct acl_book *book, enum acl_type type, struct str name,
                       bool (*each)(void *context, const struct acl_entry *entry), void *context)
{
    const struct acl_entry *own = map_get_str(&book->literal[type], name);
    const struct acl_entry *all = map_get_str(&book->literal[type], STR(ACL_WILDCARD));
    if ((own != NULL && !each(context, own)) ||
        (all != NULL && all != own && !each(context, all))) {
        return;
    }
    const struct prefix *prefixes = book->prefixes[type];
    int32_t at = last_not_behind(prefixes, book->prefixes_n[type], name);
    for (; at >= 0; at = prefixes[at].parent) {
        if (begins_with(name, name_of(&prefixes[at])) &&
            !each(context, &prefixes[at].entry->entry)) {
            return;
        }
    }
}

void acl_book_each(const struct acl_book *book,
                   bool (*each)(void *context, const struct acl_entry *entry), void *context)
{
    for (int type = 0; type < ACL_TYPES_END; type++) {
        map_each (entry, &book->literal[type]) {
            if (!each(context, entry->value)) {
                return;
            }
        }
        for (int32_t i = 0; i < book->prefixes_n[type]; i++) {
            if (!each(context, &book->prefixes[type][i].entry->entry)) {
                return;
            }
        }
    }
}

/* ---- the cache ---- */

struct acl_cache *acl_cache_new(void)
{
    struct acl_cache *cache = xcalloc(1, sizeof(*cache));
    map_init(&cache->all);
    pthread_mutex_init(&cache->lock, NULL);
    cache->book = book_new();
    return cache;
}

void acl_cache_free(struct acl_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    acl_cache_clear(cache);
    map_deinit(&cache->all);
    acl_book_release(cache->book);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

/* Type and pattern as bytes, then the name; to be freed. */
static struct bytes key_of(const struct acl_resource *resource)
{
    uint8_t *key = xmalloc(resource->name.len + 2);
    key[0] = (uint8_t)resource->type;
    key[1] = (uint8_t)resource->pattern;
    if (resource->name.len > 0) {
        memcpy(key + 2, resource->name.data, resource->name.len);
    }
    return bytes_of(key, resource->name.len + 2);
}

/* NULL: it has none. */
static void replace(struct acl_cache *cache, const struct acl_resource *resource,
                    struct counted_entry *entry)
{
    CHECK(resource->type >= ACL_TOPIC && resource->type < ACL_TYPES_END);
    CHECK(resource->pattern == ACL_LITERAL || resource->pattern == ACL_PREFIXED);
    struct bytes key = key_of(resource);
    entry_release(entry == NULL ? map_remove(&cache->all, key) : map_set(&cache->all, key, entry));
    free((uint8_t *)(uintptr_t)key.data);
}

void acl_cache_set(struct acl_cache *cache, const struct acl_resource *resource,
                   const struct acl *acls, int32_t count)
{
    replace(cache, resource, count == 0 ? NULL : entry_new(resource, acls, count));
}

void acl_cache_set_unreadable(struct acl_cache *cache, const struct acl_resource *resource)
{
    struct counted_entry *entry = entry_new(resource, NULL, 0);
    entry->entry.unreadable = true;
    replace(cache, resource, entry);
}

void acl_cache_clear(struct acl_cache *cache)
{
    map_each (entry, &cache->all) {
        entry_release(entry->value);
    }
    map_deinit(&cache->all);
}

const struct acl_entry *acl_cache_get(const struct acl_cache *cache,
                                      const struct acl_resource *resource)
{
    struct bytes key = key_of(resource);
    const struct acl_entry *entry = map_get(&cache->all, key);
    free((uint8_t *)(uintptr_t)key.data);
    return entry;
}

void acl_cache_publish(struct acl_cache *cache)
{
    struct acl_book *next = book_of(&cache->all);
    pthread_mutex_lock(&cache->lock);
    struct acl_book *before = cache->book;
    cache->book = next;
    pthread_mutex_unlock(&cache->lock);
    acl_book_release(before);
}

const struct acl_book *acl_cache_acquire(struct acl_cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    struct acl_book *book = cache->book;
    atomic_fetch_add(&book->refs, 1);
    pthread_mutex_unlock(&cache->lock);
    return book;
}
