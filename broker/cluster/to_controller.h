/* Questions of this broker to the controller, whoever that is: in order, one at a time. A controller
 * elsewhere is asked over a connection, in the newest version that both know; one on this broker on the
 * control thread.
 *
 * A question is asked once. Who gets no answer asks again, with what is true by then; the controller may
 * be another one then. (reference: replication §1) State thread. */
#ifndef OTTLA_BROKER_CLUSTER_TO_CONTROLLER_H
#define OTTLA_BROKER_CLUSTER_TO_CONTROLLER_H

#include "base/workers.h"
#include "broker/cluster/control_keys.h"
#include "broker/cluster/metadata.h"
#include "broker/cluster/broker_client.h"

struct to_controller;

struct to_controller_config {
    int32_t broker_id;
    struct loop *state;
    struct loop *control;
    struct workers *workers;
    struct metadata_cache *metadata;
    const char *listener;                 /* where controllers listen; borrowed */
    const struct peer_security *security; /* NULL: neither TLS nor a login; outlives it */
    int64_t connect_timeout_ms;
    int64_t timeout_ms; /* of an answer */
    /* On the control thread: the answer of the controller that this broker is, or would be. */
    void (*answer)(void *context, int16_t api_key, const void *request, struct arena *arena,
                   void *response);
    void *context;
};

/* Embedded in who asks, who keeps it, and what it points to, until `done`. */
struct question {
    struct list link;
    int16_t api_key;
    int16_t version_max; /* no newer one can carry it; 0: any */
    const void *request;
    void *response; /* of the API's type */
    bool here;      /* whoever the controller is */
    /* OK: `response` is filled, and valid during the call. Else why there is none: an error of peer.h,
     * E_NOT_FOUND when no controller is known. May ask again. */
    void (*done)(struct question *question, err outcome);
};

struct to_controller *to_controller_new(const struct to_controller_config *config);
/* The threads have ended: what waits is told E_CLOSED. */
void to_controller_stop(struct to_controller *to);
void to_controller_free(struct to_controller *to);

void to_controller_ask(struct to_controller *to, struct question *question);

#endif
