/* DescribeCluster: brokers, controller, cluster id. (KIP-700, KIP-919) */
#include "broker/api/authorize.h"
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
        in->include_cluster_authorized_operations ? req_cluster_operations(r) : INT32_MIN;
    int32_t count = 0;
    const struct client_broker *brokers = brokers_for_client(r, metadata, &count);
    out->brokers = req_array(r, count, sizeof(*out->brokers));
    for (int32_t i = 0; out->brokers != NULL && i < count; i++) {
        out->brokers[out->brokers_n++] = (struct describe_cluster_response_broker){
            .broker_id = brokers[i].id,
            .host = arena_str(&r->arena, brokers[i].endpoint.host),
            .port = brokers[i].endpoint.port,
            .rack = arena_str(&r->arena, brokers[i].rack)};
    }
    metadata_release(metadata);
    return REQ_DONE;
}
