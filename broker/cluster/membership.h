/* A broker's place in the cluster: the coordination store, the identity that is settled with it, and
 * the registration, which ends with the session and is made anew.
 *
 * Thread: the start's, then the control thread. Refusals are one line in `reason`
 * (REASON_BYTES). (reference: zookeeper §1.1, §3) */
#ifndef OTTLA_BROKER_CLUSTER_MEMBERSHIP_H
#define OTTLA_BROKER_CLUSTER_MEMBERSHIP_H

#include "base/loop.h"
#include "base/random.h"
#include "broker/cluster/acls.h"
#include "broker/cluster/delegation_tokens.h"
#include "broker/cluster/config_changes.h"
#include "broker/cluster/controller.h"
#include "broker/config.h"
#include "broker/metrics/events.h"
#include "storage/logs.h"

struct membership;

enum { CLUSTER_ID_MAX = 64, MEMBERSHIP_REASON_BYTES = 640 };

struct membership_config {
    const struct config *config;
    struct clock *clock;
    struct random *random;
    struct loop *control;
    const char *dir; /* where the embedded store, or ZooKeeper's session, is kept; copied */
    /* Opens the store; NULL: the one that the configuration names. */
    err (*open)(void *context, const struct coord_events *events, struct coord **coord,
                char *reason);
    void *open_context;
    /* Told that the broker is registered, and with which epoch. */
    void (*registered)(void *context, int64_t broker_epoch);
    /* Reads the configurations of topics and brokers, which may have changed unseen. */
    err (*read_configs)(void *context);
    /* The disk under `dir` is full: makes a little room, or says that there is none. NULL:
     * as that. */
    bool (*make_room)(void *context);
    void *context;
    struct events *events; /* NULL: nobody counts */
};

struct membership *membership_new(const struct membership_config *config);
/* After the store is closed and the control loop drained. */
void membership_free(struct membership *membership);

/* Opens the store: ZooKeeper, or the embedded one in the first log directory. */
NODISCARD err membership_connect(struct membership *membership, char *reason);
/* NULL before. Whoever owns the membership closes it. */
struct coord *membership_coord(const struct membership *membership);
/* Makes Kafka's persistent nodes, settles cluster id and broker id, and sees that nobody else is
 * registered with it: a session that is dying is waited for. Writes nothing when it refuses because
 * of what meta.properties says. */
NODISCARD err membership_settle(struct membership *membership, const struct logs_identity *identity,
                                char *reason);
int32_t membership_broker_id(const struct membership *membership);
const char *membership_cluster_id(const struct membership *membership);
/* Writes /brokers/ids/N with these endpoints (kept by the caller). The node's transaction number is the
 * broker's epoch. A node that an own earlier session left is replaced. */
NODISCARD err membership_register(struct membership *membership,
                                  const struct znode_endpoint *endpoints, int32_t endpoints_n,
                                  char *reason);
/* Stands for election. From then on whatever fails or ends (the session, the registration, the
 * office) is tried again until it is there. */
NODISCARD err membership_elect(struct membership *membership, struct controller *controller,
                               struct config_changes *changes, char *reason);
/* Before it stands for election: ACLs are read in each session, and followed. */
void membership_follow_acls(struct membership *membership, struct acls *acls);
/* The same of delegation tokens. */
void membership_follow_tokens(struct membership *membership, struct delegation_tokens *delegation);
/* Any thread: a log directory of this broker, or a log in it, has failed; the controller is told. */
void membership_log_failed(struct membership *membership);
/* Any thread: how it stands. */
struct membership_figures {
    bool connected; /* the store is in reach */
    bool settled; /* registered, with all that is read in a session, and the controller is known */
    bool is_controller; /* it is this broker */
};
struct membership_figures membership_tell(const struct membership *m);
/* What still comes from the store is passed over: there is no controller any more. */
void membership_stop(struct membership *membership);

#endif
