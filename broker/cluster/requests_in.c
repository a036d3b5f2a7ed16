/* Fence, then hand over: what is done is replicas.c's and metadata.c's. */
#include "broker/cluster/requests_in.h"

#include <stdlib.h>

struct requests_in {
    struct requests_in_config config;
    int64_t broker_epoch;     /* -1: not registered yet */
    int32_t controller_epoch; /* the highest seen */
};

struct requests_in *requests_in_new(const struct requests_in_config *config)
{
    struct requests_in *in = xcalloc(1, sizeof(*in));
    in->config = *config;
    in->broker_epoch = -1;
    return in;
}

void requests_in_free(struct requests_in *in)
{
    free(in);
}

void requests_in_set_broker_epoch(struct requests_in *in, int64_t broker_epoch)
{
    in->broker_epoch = broker_epoch;
}

/* Versions without a broker epoch have -1 there. */
static err fence(struct requests_in *in, int32_t controller_epoch, int64_t broker_epoch)
{
    if (broker_epoch != -1 && broker_epoch < in->broker_epoch) {
        return ERR_STALE_BROKER_EPOCH;
    }
    if (controller_epoch < in->controller_epoch) {
        return ERR_STALE_CONTROLLER_EPOCH;
    }
    in->controller_epoch = controller_epoch;
    return OK;
}

void requests_in_leader_and_isr(struct requests_in *in,
                                const struct leader_and_isr_request *request, struct arena *arena,
                                struct leader_and_isr_response *response)
{
    leader_and_isr_response_init(response);
    response->error_code =
        kafka_error_wire(fence(in, request->controller_epoch, request->broker_epoch));
    if (response->error_code == OK) {
        replicas_leader_and_isr(in->config.replicas, request, arena, response);
    }
}

void requests_in_stop_replica(struct requests_in *in, const struct stop_replica_request *request,
                              struct arena *arena, struct stop_replica_response *response)
{
    stop_replica_response_init(response);
    response->error_code =
        kafka_error_wire(fence(in, request->controller_epoch, request->broker_epoch));
    if (response->error_code == OK) {
        replicas_stop_replica(in->config.replicas, request, arena, response);
        in->config.logs_removed(in->config.context);
    }
}

void requests_in_update_metadata(struct requests_in *in,
                                 const struct update_metadata_request *request,
                                 struct update_metadata_response *response)
{
    update_metadata_response_init(response);
    response->error_code =
        kafka_error_wire(fence(in, request->controller_epoch, request->broker_epoch));
    if (response->error_code == OK) {
        metadata_update(in->config.metadata, request, in->config.topic_removed, in->config.context);
        metadata_waits_check(in->config.metadata_waits);
    }
}
