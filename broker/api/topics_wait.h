/* A request that has changed topics waits until the metadata shows it, or until its time is over.
 *
 * The request's state is the wait, or a struct that begins with one, in its arena. The answer is
 * filled in before (or at the end): what has no error there is waited for, and is REQUEST_TIMED_OUT (7) when it comes
 * late, or at once where the client gave no time (as in Kafka). */
#ifndef OTTLA_BROKER_API_TOPICS_WAIT_H
#define OTTLA_BROKER_API_TOPICS_WAIT_H

#include "broker/api/request.h"
#include "broker/cluster/metadata_waits.h"

/* The answer's entries, 0 to count - 1. `is_done` is called on the state thread too. */
struct topics_wait_rules {
    int16_t *(*error_of)(const struct req *r, int32_t at);
    bool (*is_done)(const struct req *r, const struct metadata *metadata, int32_t at);
    void (*late)(struct req *r, int32_t at);  /* it was waited for in vain; may be NULL */
    enum req_status (*answer)(struct req *r); /* at the end, in any case; NULL: it is filled in */
};

struct topics_wait {
    struct metadata_wait wait;
    const struct topics_wait_rules *rules;
    struct req *req;
    int32_t count;
};

/* REQ_PARKED, or REQ_DONE where there is nothing to wait for. */
enum req_status topics_wait_begin(struct req *r, const struct topics_wait_rules *rules,
                                  int32_t count, int32_t timeout_ms);
/* Is the topic there, and have its first `count` partitions a leader? */
bool topics_wait_leaders(const struct metadata *metadata, struct str topic, int32_t count);

#endif
