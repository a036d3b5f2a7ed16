/* DescribeCluster: brokers, controller, cluster id. (KIP-700, KIP-919) */
#include "broker/api/endpoint.h"
#include "broker/broker.h"

enum { ENDPOINT_BROKERS = 1, ENDPOINT_CONTROLLERS = 2 };

enum req_status handle_describe_cluster(struct req *r)
{
    const struct describe_cluster_request *in = r->in;
    struct describe_cluster_response *out = r->out;
    if (in->endpoint_type != ENDPOINT_BROKERS) {
        bool controllers = in->endpoint_type == ENDPOINT_CONTROLLERS;
        out->error_code = controllers ? (int16_t)ERR_MISMATCHED_ENDPOINT_TYPE
                                      : (int16_t)ERR_UNSUPPORTED_ENDPOINT_TYPE;
        out->error_message = controllers
                                 ? STR("The request was sent to an endpoint of the wrong type.")
                                 : STR("Unsupported endpoint type.");
        return REQ_DONE;
    }
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    out->cluster_id = str_of(r->broker->cluster_id);
    out->controller_id = metadata->controller_id;
    out->cluster_authorized_operations =
        in->include_cluster_authorized_operations ? CLUSTER_ALL_OPERATIONS : INT32_MIN;
    out->brokers = req_array(r, metadata->brokers_n, sizeof(*out->brokers));
    for (int32_t i = 0; out->brokers != NULL && i < metadata->brokers_n; i++) {
        struct client_endpoint endpoint;
        if (endpoint_for_client(r, &metadata->brokers[i], &endpoint)) {
            struct describe_cluster_response_broker *broker = &out->brokers[out->brokers_n++];
            broker->broker_id = metadata->brokers[i].id;
            broker->host = arena_str(&r->arena, endpoint.host);
            broker->port = endpoint.port;
            broker->rack = arena_str(&r->arena, str_of(metadata->brokers[i].rack));
        }
    }
    metadata_release(metadata);
    return REQ_DONE;
}
