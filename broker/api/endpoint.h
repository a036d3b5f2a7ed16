/* What a client is told to connect to, shared by several handlers. */
#ifndef OTTLA_BROKER_API_ENDPOINT_H
#define OTTLA_BROKER_API_ENDPOINT_H

#include "broker/api/request.h"
#include "broker/cluster/metadata.h"

struct client_endpoint {
    struct str host; /* in the request's arena, or the metadata's */
    int32_t port;
};

/* The broker's endpoint on the listener that the request came in on. This broker's own, when
 * nothing is advertised, is the address that the client itself used. False: it has none there. */
bool endpoint_for_client(struct req *r, const struct broker_info *broker,
                         struct client_endpoint *endpoint);

/* A broker as Metadata and DescribeCluster show it to a client. */
struct client_broker {
    int32_t id;
    struct client_endpoint endpoint;
    struct str rack; /* null: none; the metadata's */
};
/* Those that have an endpoint for the client, in the request's arena; NULL: no memory. Texts may be the
 * metadata's. */
struct client_broker *brokers_for_client(struct req *r, const struct metadata *metadata,
                                         int32_t *count);

#endif
