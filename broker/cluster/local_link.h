/* The controller's link to the broker that it runs on: requests are taken as they would come over a
 * connection (encoded, queued, one after the other), carried out, and answered.
 *
 * Thread: the control thread. The answer comes as a task of its loop. */
#ifndef OTTLA_BROKER_CLUSTER_LOCAL_LINK_H
#define OTTLA_BROKER_CLUSTER_LOCAL_LINK_H

#include "base/loop.h"
#include "broker/cluster/controller.h"
#include "broker/cluster/requests_in.h"

/* Embedded in its owner. */
struct local_link {
    int32_t broker_id;
    struct loop *control;
    struct requests_in *in;
    struct controller *controller; /* gets the answers; NULL: there is none any more */
};

/* For struct controller_links; the context is the struct local_link. A request to another broker goes
 * nowhere: there is no connection between brokers yet. */
void local_link_send(void *context, int32_t broker_id, int16_t api_key, int version,
                     const void *request);

#endif
