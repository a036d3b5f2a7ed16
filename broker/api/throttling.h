/* Clients over their quotas are answered at once, told for how long nothing more is taken from them, and not read
 * for that time (KIP-219). What a request is worth is recorded when its answer is made: its bytes by the
 * handler, the time that it took a loop here. A throttled connection holds no thread and no buffer.
 * (reference: coordinators §7, security §5)
 *
 * Thread: the request's loop. */
#ifndef OTTLA_BROKER_API_THROTTLING_H
#define OTTLA_BROKER_API_THROTTLING_H

#include "broker/api/api.h"
#include "broker/cluster/topics.h"
#include "broker/security/quotas.h"

/* Whose quotas count. */
struct quota_client throttling_client(const struct req *r);

/* The handler begins, or goes on; and stops, or waits. */
void throttling_clock_start(struct req *r);
void throttling_clock_stop(struct req *r);

/* Records bytes; the request's throttle time grows to what they ask for. */
void throttling_record(struct req *r, enum quota_type type, double amount);
/* Records the time that the request has taken, once. Requests among brokers are exempt. */
void throttling_record_time(struct req *r);
/* Partitions are to be made or deleted: THROTTLING_QUOTA_EXCEEDED where the client has had too much and its version knows
 * that; older ones go on, and are held back. `context` is the struct req, which may wait on the control thread. (KIP-599) */
NODISCARD err throttling_mutate(void *context, int32_t partitions);
static inline struct mutation_check throttling_mutation_check(struct req *r)
{
    return (struct mutation_check){.ask = throttling_mutate, .context = r};
}
/* The answer is made: says it in there. */
void throttling_tell(struct req *r);

#endif
