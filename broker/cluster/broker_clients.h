/* Clients of other brokers by their ids, made when they are first asked. On one loop's thread. */
#ifndef OTTLA_BROKER_CLUSTER_BROKER_CLIENTS_H
#define OTTLA_BROKER_CLUSTER_BROKER_CLIENTS_H

#include "broker/cluster/broker_client.h"

struct broker_clients;

struct broker_clients_config {
    int32_t broker_id; /* who asks */
    struct loop *loop;
    struct workers *workers;
    /* As broker_client's, of a broker. */
    bool (*address)(void *context, int32_t broker_id, struct peer_address *address);
    void *context;
    const struct peer_security *security; /* NULL: neither TLS nor a login; outlives it */
    int64_t connect_timeout_ms;
    int64_t timeout_ms;
};

struct broker_clients *broker_clients_new(const struct broker_clients_config *config);
/* As broker_client_stop(), all of them. */
void broker_clients_stop(struct broker_clients *clients);
void broker_clients_free(struct broker_clients *clients);

struct broker_client *broker_clients_get(struct broker_clients *clients, int32_t broker_id);

#endif
