/* DescribeUserScramCredentials: which users there are, without their secrets. (reference: requests §9, security §3) */
#include "base/seen.h"
#include "broker/broker.h"

#include <stdlib.h>

typedef struct describe_user_scram_credentials_response_result result_out;

static void take_iterations(struct req *r, const int32_t iterations[SCRAM_MECHANISMS + 1],
                            result_out *out)
{
    out->credential_infos = req_array(r, SCRAM_MECHANISMS, sizeof(*out->credential_infos));
    out->credential_infos_n = 0;
    for (int i = 1; out->credential_infos != NULL && i <= SCRAM_MECHANISMS; i++) {
        if (iterations[i] > 0) {
            out->credential_infos[out->credential_infos_n].mechanism = (int8_t)i;
            out->credential_infos[out->credential_infos_n++].iterations = iterations[i];
        }
    }
}

/* ---- all of them ---- */

struct listing {
    struct req *r;
    int32_t room; /* 0: only count */
    int32_t count;
};

static void list_one(void *context, struct str name, const int32_t iterations[SCRAM_MECHANISMS + 1])
{
    struct listing *listing = context;
    struct describe_user_scram_credentials_response *out = listing->r->out;
    if (listing->count++ < listing->room) {
        result_out *result = &out->results[out->results_n++];
        describe_user_scram_credentials_response_result_init(result);
        result->user = arena_str(&listing->r->arena, name);
        result->error_message = STR("");
        take_iterations(listing->r, iterations, result);
    }
}

static void list_all(struct req *r)
{
    struct describe_user_scram_credentials_response *out = r->out;
    struct listing counting = {.r = r};
    scram_users_each(r->broker->scram_users, list_one, &counting);
    out->results = req_array(r, counting.count, sizeof(*out->results));
    struct listing listing = {.r = r, .room = out->results == NULL ? 0 : counting.count};
    scram_users_each(r->broker->scram_users, list_one, &listing);
}

/* ---- those that are named ---- */

static void describe_one(struct req *r, struct str user, bool twice, result_out *out)
{
    int32_t iterations[SCRAM_MECHANISMS + 1] = {0};
    bool any = false;
    for (int i = 1; i <= SCRAM_MECHANISMS; i++) {
        struct scram_credential credential;
        if (scram_users_get(r->broker->scram_users, user, (enum scram_mechanism)i, &credential)) {
            iterations[i] = credential.iterations;
            any = true;
        }
    }
    const char *format = NULL;
    if (user.len == 0) {
        out->error_code = ERR_RESOURCE_NOT_FOUND;
        format = "Username must not be empty";
    } else if (twice) {
        out->error_code = ERR_DUPLICATE_RESOURCE;
        format = "Cannot describe SCRAM credentials for the same user twice in a single request: ";
    } else if (!any) {
        out->error_code = ERR_RESOURCE_NOT_FOUND;
        format = "Attempt to describe a user credential that does not exist: ";
    } else {
        out->error_message = STR("");
        take_iterations(r, iterations, out);
        return;
    }
    out->error_message = arena_format(&r->arena, "%s%.*s", format, (int)user.len, user.data);
}

static void describe_named(struct req *r)
{
    const struct describe_user_scram_credentials_request *in = r->in;
    struct describe_user_scram_credentials_response *out = r->out;
    struct seen seen;
    struct seen told;
    seen_init(&seen);
    seen_init(&told);
    for (int32_t i = 0; i < in->users_n; i++) {
        (void)seen_add(&seen, &(struct seen_key){.name = in->users[i].name});
    }
    out->results = req_array(r, in->users_n, sizeof(*out->results));
    for (int32_t i = 0; out->results != NULL && i < in->users_n; i++) {
        const struct seen_key key = {.name = in->users[i].name};
        if (seen_add(&told, &key) == 0) {
            result_out *result = &out->results[out->results_n++];
            describe_user_scram_credentials_response_result_init(result);
            result->user = in->users[i].name;
            describe_one(r, in->users[i].name, seen_times(&seen, &key) > 1, result);
        }
    }
    seen_deinit(&told);
    seen_deinit(&seen);
}

enum req_status handle_describe_user_scram_credentials(struct req *r)
{
    const struct describe_user_scram_credentials_request *in = r->in;
    struct describe_user_scram_credentials_response *out = r->out;
    out->error_message = STR("");
    if (in->users_n <= 0) {
        list_all(r);
    } else {
        describe_named(r);
    }
    return REQ_DONE;
}
