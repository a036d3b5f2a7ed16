/* The controller's links to brokers: what it decides reaches each of them in order, one request at a
 * time, the same request again until it is answered, for as long as the broker is registered.
 *
 * Other brokers are asked over a connection, the own one by the same bytes in process. What waits is
 * merged by partition (untold.h).
 *
 * Threads: the controller's functions are called on the control thread; they copy, and post to the state
 * loop, where the links live: the control thread may wait for the store, and an answer must not wait
 * for that before the next request goes out. Answers are posted back. (reference: replication §1) */
#ifndef OTTLA_BROKER_CLUSTER_LINKS_H
#define OTTLA_BROKER_CLUSTER_LINKS_H

#include "base/workers.h"
#include "broker/cluster/controller.h"
#include "broker/cluster/requests_in.h"

struct links;

struct links_config {
    int32_t broker_id;
    struct loop *state;
    struct loop *control;
    struct workers *workers;
    struct requests_in *in;               /* this broker's */
    const char *inter_broker_listener;    /* borrowed */
    const struct peer_security *security; /* NULL: neither TLS nor a login; outlives it */
    int64_t connect_timeout_ms;
    int64_t timeout_ms; /* of an answer: controller.socket.timeout.ms */
};

struct links *links_new(const struct links_config *config);
/* Who gets the answers, on the control thread; NULL: nobody any more. */
void links_set_controller(struct links *links, struct controller *controller);
/* What the controller talks to; the context is the links. */
struct controller_links links_of(struct links *links);
/* State thread. Is a broker that answers still to be told something? */
bool links_have_untold(const struct links *links);
/* The threads have ended: connections are closed, what was not told is dropped. */
void links_stop(struct links *links);
void links_free(struct links *links);

#endif
