/* All ACLs of the cluster in memory, as the authorizer asks for them: by resource, and for a name all that is in force
 * for it, in time that does not grow with their number.
 *
 * Threads: one writes (the control thread), collecting changes until it publishes them; any thread takes a reference to
 * what was published last, which never changes. */
#ifndef OTTLA_BROKER_SECURITY_ACL_CACHE_H
#define OTTLA_BROKER_SECURITY_ACL_CACHE_H

#include "broker/security/acl.h"

struct acl_cache;
struct acl_book;

/* The ACLs of one resource; shared by books, and never changed. */
struct acl_entry {
    struct acl_resource resource;
    const struct acl *acls; /* in their order (acl_compare), each once */
    int32_t acls_n;
    bool unreadable; /* nobody knows what they say: nobody may do anything with it */
};

struct acl_cache *acl_cache_new(void);
void acl_cache_free(struct acl_cache *cache);

/* ---- the writer ---- */

/* These are a resource's ACLs from the next publishing on; none: it has none. Copied. */
void acl_cache_set(struct acl_cache *cache, const struct acl_resource *resource,
                   const struct acl *acls, int32_t count);
/* What they are cannot be read. */
void acl_cache_set_unreadable(struct acl_cache *cache, const struct acl_resource *resource);
/* Everything is forgotten. Nothing is published: until then what was known is in force. */
void acl_cache_clear(struct acl_cache *cache);
void acl_cache_publish(struct acl_cache *cache);
/* As the writer has it; NULL: there are none. */
const struct acl_entry *acl_cache_get(const struct acl_cache *cache,
                                      const struct acl_resource *resource);

/* ---- readers ---- */

/* A reference: acl_book_release() it. */
const struct acl_book *acl_cache_acquire(struct acl_cache *cache);
void acl_book_release(const struct acl_book *book);

/* What is in force for a name: calls `each` for its own ACLs, those of "*", and those of the prefixes that it begins
 * with, until one call returns false. */
void acl_book_each_for(const struct acl_book *book, enum acl_type type, struct str name,
                       bool (*each)(void *context, const struct acl_entry *entry), void *context);
/* All resources that have ACLs, those of a type together, literal ones first. */
void acl_book_each(const struct acl_book *book,
                   bool (*each)(void *context, const struct acl_entry *entry), void *context);

#endif
