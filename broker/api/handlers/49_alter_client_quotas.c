/* AlterClientQuotas: sets and removes limits of users, clients and addresses; every entity for itself.
 * (reference: requests §7.3, security §5) */
#include "broker/broker.h"
#include "broker/cluster/client_quotas.h"

typedef struct alter_client_quotas_request_entry entry_in;
typedef struct alter_client_quotas_response_entry entry_out;

static err alter_one(struct req *r, const entry_in *in, bool validate_only,
                     char message[CONFIG_REASON_BYTES])
{
    struct quota_entity_part *parts = req_array(r, in->entity_n, sizeof(*parts));
    struct quota_edit *edits = req_array(r, in->ops_n, sizeof(*edits));
    if ((parts == NULL && in->entity_n > 0) || (edits == NULL && in->ops_n > 0)) {
        return ERR_UNKNOWN_SERVER_ERROR;
    }
    for (int32_t i = 0; i < in->entity_n; i++) {
        parts[i] = (struct quota_entity_part){.type = in->entity[i].entity_type,
                                              .name = in->entity[i].entity_name};
    }
    for (int32_t i = 0; i < in->ops_n; i++) {
        edits[i] = (struct quota_edit){
            .key = in->ops[i].key, .value = in->ops[i].value, .remove = in->ops[i].remove};
    }
    const struct quota_alteration alteration = {.parts = parts,
                                                .parts_n = in->entity_n,
                                                .edits = edits,
                                                .edits_n = in->ops_n,
                                                .validate_only = validate_only};
    return client_quotas_alter(&r->broker->config_editor, &alteration, message);
}

static bool echo_entity(struct req *r, const entry_in *in, entry_out *out)
{
    out->entity = req_array(r, in->entity_n, sizeof(*out->entity));
    for (int32_t i = 0; out->entity != NULL && i < in->entity_n; i++) {
        out->entity[out->entity_n++] = (struct alter_client_quotas_response_entity){
            .entity_type = in->entity[i].entity_type, .entity_name = in->entity[i].entity_name};
    }
    return out->entity != NULL || in->entity_n == 0;
}

/* On the control thread. */
static void alter_all(struct req *r)
{
    const struct alter_client_quotas_request *in = r->in;
    struct alter_client_quotas_response *out = r->out;
    out->entries = req_array(r, in->entries_n, sizeof(*out->entries));
    for (int32_t i = 0; out->entries != NULL && i < in->entries_n; i++) {
        char message[CONFIG_REASON_BYTES] = "";
        entry_out *entry = &out->entries[out->entries_n++];
        alter_client_quotas_response_entry_init(entry);
        err e = echo_entity(r, &in->entries[i], entry)
                    ? alter_one(r, &in->entries[i], in->validate_only, message)
                    : ERR_UNKNOWN_SERVER_ERROR;
        entry->error_code = kafka_error_wire(e);
        entry->error_message =
            message[0] == '\0' ? (struct str){0} : arena_str(&r->arena, str_of(message));
    }
}

enum req_status handle_alter_client_quotas(struct req *r)
{
    return req_on_control(r, alter_all, NULL);
}
