/* AlterUserScramCredentials: adds and removes SCRAM users, at the controller. (reference: requests §9, security §3) */
#include "broker/broker.h"
#include "broker/cluster/scram_alter.h"

static struct scram_wish *read_wishes(struct req *r, int32_t *count)
{
    const struct alter_user_scram_credentials_request *in = r->in;
    int32_t deletions_n = in->deletions_n < 0 ? 0 : in->deletions_n;
    int32_t upsertions_n = in->upsertions_n < 0 ? 0 : in->upsertions_n;
    *count = deletions_n + upsertions_n;
    struct scram_wish *wishes = req_array(r, *count, sizeof(*wishes));
    for (int32_t i = 0; wishes != NULL && i < deletions_n; i++) {
        wishes[i] = (struct scram_wish){.user = in->deletions[i].name,
                                        .mechanism = in->deletions[i].mechanism,
                                        .removes = true};
    }
    for (int32_t i = 0; wishes != NULL && i < upsertions_n; i++) {
        wishes[deletions_n + i] =
            (struct scram_wish){.user = in->upsertions[i].name,
                                .mechanism = in->upsertions[i].mechanism,
                                .iterations = in->upsertions[i].iterations,
                                .salt = in->upsertions[i].salt,
                                .salted_password = in->upsertions[i].salted_password};
    }
    return wishes;
}

/* Each user once. */
static int32_t refuse_all(const struct scram_wish *wishes, int32_t count, err error,
                          struct scram_result *results)
{
    int32_t results_n = 0;
    struct map told;
    map_init(&told);
    for (int32_t i = 0; i < count; i++) {
        if (map_set_str(&told, wishes[i].user, results) == NULL) {
            results[results_n++] = (struct scram_result){.user = wishes[i].user, .error = error};
        }
    }
    map_deinit(&told);
    return results_n;
}

/* On the control thread. */
static void alter(struct req *r)
{
    struct alter_user_scram_credentials_response *out = r->out;
    int32_t count = 0;
    const struct scram_wish *wishes = read_wishes(r, &count);
    struct scram_result *results = req_array(r, count, sizeof(*results));
    out->results = req_array(r, count, sizeof(*out->results));
    if (wishes == NULL || results == NULL || out->results == NULL) {
        return;
    }
    if (!controller_is_active(r->broker->controller)) {
        out->results_n = refuse_all(wishes, count, ERR_NOT_CONTROLLER, results);
    } else {
        out->results_n = scram_alter(&r->broker->config_editor, wishes, count, results);
    }
    for (int32_t i = 0; i < out->results_n; i++) {
        out->results[i].user = results[i].user;
        out->results[i].error_code = kafka_error_wire(results[i].error);
        out->results[i].error_message = str_of(results[i].message);
    }
}

enum req_status handle_alter_user_scram_credentials(struct req *r)
{
    return req_on_control(r, alter, NULL);
}
