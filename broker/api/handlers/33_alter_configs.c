/* AlterConfigs: replaces all overrides of a topic. (reference: requests §7) */
#include "base/seen.h"
#include "broker/broker.h"

typedef struct alter_configs_request_resource resource_in;

static struct seen_key key_of(const resource_in *in)
{
    return (struct seen_key){.name = in->resource_name, .number = in->resource_type};
}

static err alter_one(struct req *r, const resource_in *in, char message[CONFIG_REASON_BYTES])
{
    const struct alter_configs_request *request = r->in;
    struct config_edit *edits = req_array(r, in->configs_n, sizeof(*edits));
    if (edits == NULL) {
        return ERR_UNKNOWN_SERVER_ERROR;
    }
    for (int32_t i = 0; i < in->configs_n; i++) {
        edits[i] = (struct config_edit){
            .name = in->configs[i].name, .value = in->configs[i].value, .operation = CONFIG_SET};
    }
    struct config_change change = {.resource_type = in->resource_type,
                                   .name = in->resource_name,
                                   .edits = edits,
                                   .edits_n = in->configs_n,
                                   .replace_all = true,
                                   .validate_only = request->validate_only};
    return config_alter(&r->broker->config_editor, &change, message);
}

/* On the control thread. */
static void alter_all(struct req *r)
{
    const struct alter_configs_request *in = r->in;
    struct alter_configs_response *out = r->out;
    struct seen seen;
    seen_init(&seen);
    for (int32_t i = 0; i < in->resources_n; i++) {
        struct seen_key key = key_of(&in->resources[i]);
        (void)seen_add(&seen, &key);
    }
    out->resources = req_array(r, in->resources_n, sizeof(*out->resources));
    for (int32_t i = 0; out->resources != NULL && i < in->resources_n; i++) {
        char message[CONFIG_REASON_BYTES] = "Each resource must appear at most once.";
        struct seen_key key = key_of(&in->resources[i]);
        err e = seen_times(&seen, &key) > 1 ? ERR_INVALID_REQUEST
                                            : alter_one(r, &in->resources[i], message);
        out->resources[out->resources_n++] = (struct alter_configs_response_resource){
            .error_code = kafka_error_wire(e),
            .error_message = e == OK ? (struct str){0} : arena_str(&r->arena, str_of(message)),
            .resource_type = in->resources[i].resource_type,
            .resource_name = in->resources[i].resource_name};
    }
    seen_deinit(&seen);
}

enum req_status handle_alter_configs(struct req *r)
{
    return req_on_control(r, alter_all, NULL);
}
