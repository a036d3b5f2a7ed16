/* IncrementalAlterConfigs: sets, deletes, appends to or subtracts from options of topics and brokers.
 * (reference: requests §7.2) */
#include "broker/api/alter_configs.h"

static bool read_change(struct req *r, int32_t at, struct config_change *change)
{
    const struct incremental_alter_configs_request *request = r->in;
    const struct incremental_alter_configs_request_resource *in = &request->resources[at];
    struct config_edit *edits = req_array(r, in->configs_n, sizeof(*edits));
    for (int32_t i = 0; edits != NULL && i < in->configs_n; i++) {
        edits[i] = (struct config_edit){.name = in->configs[i].name,
                                        .value = in->configs[i].value,
                                        .operation = in->configs[i].config_operation};
    }
    *change = (struct config_change){.resource_type = in->resource_type,
                                     .name = in->resource_name,
                                     .edits = edits,
                                     .edits_n = in->configs_n,
                                     .replace_all = false,
                                     .validate_only = request->validate_only};
    return edits != NULL;
}

/* On the control thread. */
static void alter(struct req *r)
{
    const struct incremental_alter_configs_request *in = r->in;
    struct incremental_alter_configs_response *out = r->out;
    const struct altered *altered = alter_resources(r, in->resources_n, read_change);
    out->resources = req_array(r, in->resources_n, sizeof(*out->resources));
    for (int32_t i = 0; altered != NULL && out->resources != NULL && i < in->resources_n; i++) {
        out->resources[out->resources_n++] = (struct incremental_alter_configs_response_resource){
            .error_code = altered[i].error_code,
            .error_message = altered[i].message,
            .resource_type = altered[i].resource_type,
            .resource_name = altered[i].name};
    }
}

enum req_status handle_incremental_alter_configs(struct req *r)
{
    return req_on_control(r, alter, NULL);
}
