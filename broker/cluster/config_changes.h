/* The notifications below /config/changes, which every broker follows: each names a topic, a broker
 * or a client whose options have changed in the store. (config_alter.h writes them.)
 *
 * Thread: the control thread. (reference: zookeeper §1, §2) */
#ifndef OTTLA_BROKER_CLUSTER_CONFIG_CHANGES_H
#define OTTLA_BROKER_CLUSTER_CONFIG_CHANGES_H

#include "base/clock.h"
#include "zk/coord.h"
#include "zk/znodes.h"

struct config_changes;

struct config_changes_config {
    struct coord *coord;
    struct clock *clock;
    /* Read its options again. After an error the notification counts as not seen. */
    err (*topic_changed)(void *context, struct str topic);
    err (*broker_changed)(void *context, struct str entity); /* a number, or "<default>" */
    /* "users/…", "clients/…", "ips/…": client_configs.h */
    err (*client_changed)(void *context, struct str path);
    void *context;
};

struct config_changes *config_changes_new(const struct config_changes_config *config);
void config_changes_free(struct config_changes *changes);

/* Watches from here on; what was notified before is known already. */
NODISCARD err config_changes_begin(struct config_changes *changes);
/* The list of notifications has changed, or may have: applies the new ones, deletes old ones, and
 * watches on. After an error it does not watch. */
NODISCARD err config_changes_on_watch(struct config_changes *changes);
bool config_changes_are_watched(const struct config_changes *changes);
/* The session has ended, and every watch with it. */
void config_changes_forget_watch(struct config_changes *changes);

#endif
