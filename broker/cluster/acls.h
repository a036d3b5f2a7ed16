/* ACLs in the coordination store: reading all of them, following what is changed by whom ever, changing them.
 *
 * They are in Kafka's znodes, one for each resource, and each change leaves a notification that every broker follows, of
 * Kafka's or ours. A node that cannot be read denies its resource to all but super users, and is told of once.
 *
 * Thread: the start's, then the control thread. (reference: zookeeper §1.5, security §4) */
#ifndef OTTLA_BROKER_CLUSTER_ACLS_H
#define OTTLA_BROKER_CLUSTER_ACLS_H

#include "base/clock.h"
#include "broker/security/acl_cache.h"
#include "zk/coord.h"

struct acls;

struct acls_config {
    struct coord *coord;
    struct clock *clock;
    struct acl_cache *cache; /* what is read is published there */
};

struct acls *acls_new(const struct acls_config *config);
void acls_free(struct acls *acls);

/* Makes Kafka's nodes where they are not there, watches, and reads everything. Also for a new session. What was known is
 * in force until all is read; after an error nothing is watched. */
NODISCARD err acls_load(struct acls *acls);
/* Is this a node that is watched? Then something was changed, by this broker or another: what is new is read, and
 * published. After an error it does not watch. */
bool acls_watches(const char *path);
NODISCARD err acls_on_watch(struct acls *acls);
bool acls_are_watched(const struct acls *acls);
/* The session has ended, and every watch with it: acls_load() is next. */
void acls_forget_watch(struct acls *acls);

/* ---- changing ---- */

enum { ACLS_MESSAGE_BYTES = 512 };

struct acl_binding {
    struct acl_resource resource;
    struct acl acl;
    /* What became of it. */
    err error;
    struct str message; /* in the arena; null without an error */
};

/* Adds them; each has its own error. What is there already is no error. Published when it returns. */
void acls_add(struct acls *acls, struct acl_binding *bindings, int32_t count, struct arena *arena);
/* Removes those that the filter takes; they are in the arena, each with what became of it. E_LIMIT: no memory, and
 * perhaps not all is done. */
NODISCARD err acls_remove(struct acls *acls, const struct acl_filter *filter, struct arena *arena,
                          struct acl_binding **removed, int32_t *count);

#endif
