/* The authorizer: may somebody do something with a resource? By the rules of Kafka's AclAuthorizer: super users always;
 * otherwise a DENY that fits wins, then an ALLOW; where a resource has no ACL at all an option decides. (reference:
 * security §4, requests §10)
 *
 * Any thread: it changes no more once it is made, but for its cache. Every decision is logged, as Kafka's authorizer
 * does: what is denied at INFO, what is allowed at DEBUG. */
#ifndef OTTLA_BROKER_SECURITY_AUTHORIZER_H
#define OTTLA_BROKER_SECURITY_AUTHORIZER_H

#include "broker/security/acl_cache.h"
#include "broker/security/principal.h"

#define AUTHORIZER_CLASS "kafka.security.authorizer.AclAuthorizer" /* whose name ours goes by */

struct authorizer;

struct authorizer_config {
    const char *super_users; /* "User:a;User:b"; NULL or empty: none */
    bool allow_if_no_acl;    /* where a resource has none */
};

/* Is the text a list of super users? Otherwise the part that is none, or an empty one. */
bool authorizer_super_users_valid(const char *super_users, struct str *part);

/* The list is valid. */
struct authorizer *authorizer_new(const struct authorizer_config *config);
void authorizer_free(struct authorizer *authorizer);
struct acl_cache *authorizer_cache(const struct authorizer *authorizer);

/* Somebody who asks for something, with the ACLs that hold while this is answered. */
struct asker {
    const struct authorizer *authorizer;
    const struct acl_book *book; /* a reference */
    struct str principal;        /* "User:alice"; whoever made the asker keeps the texts */
    struct str host;             /* "10.0.0.1" */
    const char *request;         /* of the log: "Produce" */
    bool is_super;
};
struct asker asker_of(const struct authorizer *authorizer, struct str principal, struct str host,
                      const char *request);
void asker_done(struct asker *asker);

/* How a decision is logged: one that only filters, or tells what would be allowed, is not. */
enum asked_how { ASKED_TO_DO, ASKED_TO_FILTER };

bool asker_may(const struct asker *asker, enum asked_how how, enum acl_operation operation,
               enum acl_type type, struct str name);
/* With any resource of that type at all? What a DENY covers does not count. */
bool asker_may_any(const struct asker *asker, enum acl_operation operation, enum acl_type type);
/* The operations that are allowed, by bits: bit n is operation n. */
int32_t asker_operations(const struct asker *asker, enum acl_type type, struct str name);

#endif
