/* Questions to one other broker, over a connection that is kept up while there is something to ask: in order,
 * one at a time, each in the newest version that both know.
 *
 * A question is asked once. Who gets no answer asks again, with what is true by then. (reference:
 * replication §1) On one loop's thread. */
#ifndef OTTLA_BROKER_CLUSTER_BROKER_CLIENT_H
#define OTTLA_BROKER_CLUSTER_BROKER_CLIENT_H

#include "base/workers.h"
#include "broker/net/peer.h"
#include "protocol/messages.h"

struct broker_client;

struct broker_client_config {
    int32_t broker_id; /* who asks */
    struct loop *loop;
    struct workers *workers;
    /* Where the other one is now. False: nobody knows, which counts as a failure. */
    bool (*address)(void *context, struct peer_address *address);
    void *context;
    const struct peer_security *security; /* NULL: neither TLS nor a login; outlives it */
    int64_t connect_timeout_ms;
    int64_t timeout_ms; /* of an answer */
};

/* Embedded in who asks, who keeps it, and what it points to, until `done`. */
struct broker_question {
    struct list link;
    int16_t api_key;
    int16_t version_min; /* no older one can carry it */
    int16_t version_max; /* no newer one can; 0: any */
    const void *request;
    void *response; /* of the API's type */
    /* OK: `response` is filled, and valid during the call. Else why there is none: an error of peer.h,
     * E_UNSUPPORTED (the other one has no such version). May ask again. */
    void (*done)(struct broker_question *question, err outcome);
};

struct broker_client *broker_client_new(const struct broker_client_config *config);
/* What waits is told E_CLOSED, and so is what is asked afterwards. */
void broker_client_stop(struct broker_client *client);
void broker_client_free(struct broker_client *client);

void broker_client_ask(struct broker_client *client, struct broker_question *question);
/* It is another broker from now on. What was being asked fails. */
void broker_client_move(struct broker_client *client);

#endif
