/* DeleteGroups: removes empty groups and their offsets. (reference: coordinators §1.11) */
#include "broker/broker.h"
#include "broker/coordinator/group.h"
#include "broker/coordinator/shard.h"

enum req_status handle_delete_groups(struct req *r)
{
    const struct delete_groups_request *in = r->in;
    struct delete_groups_response *out = r->out;
    out->results = req_array(r, in->groups_names_n, sizeof(*out->results));
    for (int32_t i = 0; out->results != NULL && i < in->groups_names_n; i++) {
        struct shard *shard = NULL;
        err e = shard_lock(r->broker->coordinator, in->groups_names[i], true, &shard);
        if (e == OK) {
            e = shard_delete_group(shard, in->groups_names[i]);
            shard_unlock(shard);
        }
        struct delete_groups_response_result *result = &out->results[out->results_n++];
        delete_groups_response_result_init(result);
        result->group_id = in->groups_names[i];
        result->error_code = kafka_error_wire(e);
    }
    return REQ_DONE;
}
