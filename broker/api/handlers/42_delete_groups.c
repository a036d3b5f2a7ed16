/* DeleteGroups: removes empty groups and their offsets, and answers when that is safe. A group that is
 * named twice is answered once. (reference: coordinators §1.11) */
#include "base/seen.h"
#include "broker/broker.h"
#include "broker/coordinator/group_shard.h"

/* One group; `left` counts those that are not yet done, and the handler while it is at work. */
struct deletion {
    struct waiter waiter;
    struct req *r;
    atomic_int *left;
    err outcome;
};

struct deletions {
    struct deletion *each; /* in the order of the answer */
    atomic_int left;
};

static void on_done(struct waiter *waiter)
{
    struct deletion *deletion = container_of(waiter, struct deletion, waiter);
    if (atomic_fetch_sub(deletion->left, 1) == 1) {
        req_wake(deletion->r);
    }
}

static enum req_status answer(struct req *r)
{
    struct delete_groups_response *out = r->out;
    const struct deletions *deletions = r->state;
    for (int32_t i = 0; i < out->results_n; i++) {
        out->results[i].error_code = kafka_error_wire(deletions->each[i].outcome);
    }
    return REQ_DONE;
}

static void delete_group(struct req *r, struct str id, struct deletion *deletion)
{
    struct group_shard *shard = NULL;
    deletion->outcome = group_shard_lock(r->broker->groups, id, true, &shard);
    if (deletion->outcome != OK) {
        return;
    }
    atomic_fetch_add(deletion->left, 1);
    err e = group_shard_delete_group(shard, id, &deletion->waiter, &deletion->outcome);
    if (e != OK) {
        deletion->outcome = e;
        atomic_fetch_sub(deletion->left, 1);
    }
    group_shard_unlock(shard);
}

/* Each once. False: no memory. */
static bool name_groups(struct req *r)
{
    const struct delete_groups_request *in = r->in;
    struct delete_groups_response *out = r->out;
    out->results = req_array(r, in->groups_names_n, sizeof(*out->results));
    struct seen seen;
    seen_init(&seen);
    for (int32_t i = 0; out->results != NULL && i < in->groups_names_n; i++) {
        if (seen_add(&seen, &(struct seen_key){.name = in->groups_names[i]}) == 0) {
            struct delete_groups_response_result *result = &out->results[out->results_n++];
            delete_groups_response_result_init(result);
            result->group_id = in->groups_names[i];
        }
    }
    seen_deinit(&seen);
    return out->results != NULL;
}

enum req_status handle_delete_groups(struct req *r)
{
    struct delete_groups_response *out = r->out;
    struct deletions *deletions = req_alloc(r, sizeof(*deletions));
    if (deletions == NULL || !name_groups(r)) {
        return REQ_CLOSE;
    }
    deletions->each = req_array(r, out->results_n, sizeof(*deletions->each));
    if (deletions->each == NULL) {
        return REQ_CLOSE;
    }
    r->state = deletions;
    atomic_init(&deletions->left, 1);
    req_park(r, -1, answer);
    for (int32_t i = 0; i < out->results_n; i++) {
        deletions->each[i] =
            (struct deletion){.waiter = {.wake = on_done}, .r = r, .left = &deletions->left};
        delete_group(r, out->results[i].group_id, &deletions->each[i]);
    }
    if (atomic_fetch_sub(&deletions->left, 1) > 1) {
        return REQ_PARKED;
    }
    req_unpark(r);
    return answer(r);
}
