/* What a replica's fetches wait for while nothing happens: watches that stand from one request of a session to the
 * next, so that an idle follower of ten thousand partitions costs nothing each half second.
 *
 * It begins where a fetch has found nothing in any partition of its session, everything committed and told, and
 * is over with whatever happens in one of them, or after a while: a leader has to hear now and then that its
 * followers are there (partition_replica_fetched).
 *
 * Any thread. References: the session's, and one for each request that waits. */
#ifndef OTTLA_BROKER_REPLICA_STANDING_H
#define OTTLA_BROKER_REPLICA_STANDING_H

#include "broker/replica/partition.h"

struct standing;

/* For so many partitions, until then; `loop`, on whose thread it is made, takes the watches down when it is over. */
struct standing *standing_new(struct loop *loop, int32_t count, int64_t until_ms);
/* `seen` is what its fetch has seen. Not when it is in a session already. */
void standing_watch(struct standing *standing, struct partition *p, struct partition_seen seen);
/* The session needs it no more: as if something had happened. NULL is allowed. */
void standing_drop(struct standing *standing);

/* A request is to wait until then at most. The reference is the caller's; NULL: it is over, or will be. */
struct standing *standing_enter(struct standing *standing, int64_t deadline_ms);
/* Who is woken when it is over. False: it is, nobody is woken. */
bool standing_wait(struct standing *standing, struct waiter *waiter);
/* The waiter is woken no more, and the reference is given back. True: nothing has happened meanwhile. */
bool standing_leave(struct standing *standing, const struct waiter *waiter);

#endif
