/* IncrementalAlterConfigs: sets, deletes, appends to or subtracts from options of topics.
 * Broker options are not dynamic yet. (reference: requests §7) */
#include "broker/broker.h"
#include "broker/cluster/config_changes.h"

#include <stdio.h>

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4, RESOURCE_LOGGER = 8 };

typedef struct incremental_alter_configs_request_resource resource_in;

static bool is_named_twice(const struct incremental_alter_configs_request *in, int32_t index)
{
    for (int32_t i = 0; i < in->resources_n; i++) {
        if (i != index && in->resources[i].resource_type == in->resources[index].resource_type &&
            str_equal(in->resources[i].resource_name, in->resources[index].resource_name)) {
            return true;
        }
    }
    return false;
}

static err alter_topic(struct req *r, const resource_in *in, char message[CONFIG_REASON_BYTES])
{
    const struct incremental_alter_configs_request *request = r->in;
    struct config_edit *edits = req_array(r, in->configs_n, sizeof(*edits));
    if (edits == NULL) {
        return ERR_UNKNOWN_SERVER_ERROR;
    }
    for (int32_t i = 0; i < in->configs_n; i++) {
        edits[i] = (struct config_edit){.name = in->configs[i].name,
                                        .value = in->configs[i].value,
                                        .operation = in->configs[i].config_operation};
    }
    struct topic_config_change change = {.topic = in->resource_name,
                                         .edits = edits,
                                         .edits_n = in->configs_n,
                                         .replace_all = false,
                                         .validate_only = request->validate_only};
    return topic_config_alter(r->broker, &change, message);
}

static err alter_one(struct req *r, int32_t index, char message[CONFIG_REASON_BYTES])
{
    const struct incremental_alter_configs_request *in = r->in;
    if (is_named_twice(in, index)) {
        snprintf(message, CONFIG_REASON_BYTES, "Each resource must appear at most once.");
        return ERR_INVALID_REQUEST;
    }
    switch (in->resources[index].resource_type) {
    case RESOURCE_TOPIC:
        return alter_topic(r, &in->resources[index], message);
    case RESOURCE_BROKER:
    case RESOURCE_LOGGER:
        snprintf(message, CONFIG_REASON_BYTES,
                 "Options of brokers cannot be changed while the broker runs.");
        return ERR_INVALID_REQUEST;
    default:
        snprintf(message, CONFIG_REASON_BYTES, "Unknown resource type.");
        return ERR_INVALID_REQUEST;
    }
}

/* On the control thread. */
static void alter_all(struct req *r)
{
    const struct incremental_alter_configs_request *in = r->in;
    struct incremental_alter_configs_response *out = r->out;
    out->resources = req_array(r, in->resources_n, sizeof(*out->resources));
    for (int32_t i = 0; out->resources != NULL && i < in->resources_n; i++) {
        struct incremental_alter_configs_response_resource *result = &out->resources[out->resources_n++];
        char message[CONFIG_REASON_BYTES] = "";
        err e = alter_one(r, i, message);
        result->resource_type = in->resources[i].resource_type;
        result->resource_name = in->resources[i].resource_name;
        result->error_code = kafka_error_wire(e);
        result->error_message =
            e == OK ? (struct str){0} : arena_str(&r->arena, str_of(message));
    }
}

enum req_status handle_incremental_alter_configs(struct req *r)
{
    return req_on_control(r, alter_all, NULL);
}
