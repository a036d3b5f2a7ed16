/* The metadata is looked at by whoever changes it (cluster/metadata_waits.h), and once more when the
 * time is over: what has come by then is no error. */
#include "broker/api/topics_wait.h"

#include "broker/broker.h"

static bool all_done(struct metadata_wait *waiting, const struct metadata *metadata)
{
    const struct topics_wait *wait = container_of(waiting, struct topics_wait, wait);
    for (int32_t i = 0; i < wait->count; i++) {
        if (*wait->rules->error_of(wait->req, i) == OK &&
            !wait->rules->is_done(wait->req, metadata, i)) {
            return false;
        }
    }
    return true;
}

static void time_out(struct req *r, const struct topics_wait *wait)
{
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    for (int32_t i = 0; i < wait->count; i++) {
        int16_t *error = wait->rules->error_of(r, i);
        if (*error == OK && !wait->rules->is_done(r, metadata, i)) {
            *error = ERR_REQUEST_TIMED_OUT;
            if (wait->rules->late != NULL) {
                wait->rules->late(r, i);
            }
        }
    }
    metadata_release(metadata);
}

static enum req_status finish(struct req *r, const struct topics_wait_rules *rules)
{
    return rules->answer == NULL ? REQ_DONE : rules->answer(r);
}

static enum req_status waited(struct req *r)
{
    struct topics_wait *wait = r->state;
    metadata_wait_remove(r->broker->metadata_waits, &wait->wait);
    if (r->timed_out) {
        time_out(r, wait);
    }
    return finish(r, wait->rules);
}

enum req_status topics_wait_begin(struct req *r, const struct topics_wait_rules *rules,
                                  int32_t count, int32_t timeout_ms)
{
    if (timeout_ms <= 0) {
        for (int32_t i = 0; i < count; i++) {
            int16_t *error = rules->error_of(r, i);
            *error = *error == OK ? (int16_t)ERR_REQUEST_TIMED_OUT : *error;
        }
        return finish(r, rules);
    }
    struct topics_wait *wait = r->state;
    *wait = (struct topics_wait){.wait = {.waiter = &r->waiter, .satisfied = all_done},
                                 .rules = rules,
                                 .req = r,
                                 .count = count};
    req_park(r, timeout_ms, waited);
    metadata_wait_add(r->broker->metadata_waits, &wait->wait);
    return REQ_PARKED;
}

bool topics_wait_leaders(const struct metadata *metadata, struct str topic, int32_t count)
{
    const struct topic_info *info = metadata_topic(metadata, topic);
    if (info == NULL || info->partitions_n < count) {
        return false;
    }
    for (int32_t p = 0; p < count; p++) {
        if (!info->partitions[p].known || info->partitions[p].leader < 0) {
            return false;
        }
    }
    return true;
}
