/* Fetches from one leader, over one connection, what the replicas of this broker lack that follow it.
 *
 * Everything is on one event loop. Each partition has its own leader epoch, which fences what is done
 * with an answer (partition.h); one that comes late is dropped.
 *
 * An error of one partition makes it pause, first 10 ms, then longer, up to replica.fetch.backoff.ms; an
 * epoch that the leader has left, a log that cannot be cut where the leader says, and a disk that fails
 * make it wait for the controller's next word. (reference: replication §4, zookeeper §7, KIP-227) */
#ifndef OTTLA_BROKER_REPLICA_FETCHER_H
#define OTTLA_BROKER_REPLICA_FETCHER_H

#include "base/workers.h"
#include "broker/net/peer.h"
#include "broker/replica/fetch_rates.h"
#include "broker/replica/partition.h"

struct fetcher;

/* What all fetchers of a broker share; outlives them. */
struct fetcher_env {
    int32_t broker_id;
    _Atomic int64_t broker_epoch; /* -1: not registered yet */
    struct workers *workers;
    struct clock *clock;
    /* Any thread: where that broker is now. False: nobody knows. */
    bool (*address)(void *context, int32_t broker_id, struct peer_address *address);
    void *context;
    struct throttle *throttle; /* NULL: as fast as it can */
    int16_t fetch_version;     /* of inter.broker.protocol.version; 12 where a topic has no id */
    int16_t list_offsets_version;
    int32_t wait_ms; /* replica.fetch.wait.max.ms, and so on */
    int32_t min_bytes;
    int32_t max_bytes;
    int32_t partition_max_bytes;
    int32_t pause_max_ms;
    int64_t timeout_ms;                   /* of an answer, beyond the wait */
    const struct peer_security *security; /* NULL: neither TLS nor a login; outlives it */
    int64_t connect_timeout_ms;
    int32_t receive_buffer_bytes; /* -1: the system's */
    struct fetch_rates *rates;    /* NULL: nobody wants to know */
};

struct fetcher *fetcher_new(struct fetcher_env *env, struct loop *loop, struct stream_pool *streams,
                            int32_t leader, int number);
void fetcher_free(struct fetcher *fetcher);

/* On the loop's thread. Takes a reference to the partition. Who is followed already begins anew. */
void fetcher_follow(struct fetcher *fetcher, struct partition *p, int32_t leader_epoch);
void fetcher_unfollow(struct fetcher *fetcher, const struct partition *p);

#endif
