/* Incremental fetch sessions (KIP-227): the broker remembers which partitions a consumer reads, so
 * that requests and answers carry only what changed.
 *
 * Rules (reference: coordinators §5): a session is an id and an epoch that grows with each request;
 * it is not tied to a connection. The cache has a fixed number of slots, and of partitions that all
 * sessions hold together; without room a client simply stays sessionless. Thread-safe: a session is used by one request at a time (session_lock).
 */
#ifndef OTTLA_BROKER_REPLICA_FETCH_SESSION_H
#define OTTLA_BROKER_REPLICA_FETCH_SESSION_H

#include "base/bytes.h"
#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/random.h"
#include "broker/replica/standing.h"

#include <pthread.h>

struct fetch_sessions;

/* What a client asked for, per partition, and what it was last told. */
struct session_partition {
    struct list link; /* in the order of the answers */
    struct str topic; /* owned; null while an id is not resolved */
    struct uuid topic_id;
    int32_t partition;
    int64_t fetch_offset;
    int64_t log_start_offset; /* the client's */
    int32_t max_bytes;
    int32_t leader_epoch;
    int32_t last_fetched_epoch;
    /* last told */
    int64_t high_watermark;
    int64_t told_log_start_offset;
};

struct fetch_session {
    struct list link; /* least recently used first */
    pthread_mutex_t lock;
    int refs;    /* under the cache's lock, as is `size` */
    size_t size; /* how many partitions it had when it was last given back */
    int32_t id;
    int32_t epoch; /* expected of the next request */
    bool uses_ids;
    bool privileged;
    int64_t created_ms;
    int64_t used_ms;
    struct list partitions;
    struct map by_key;         /* topic name or id, and number → session_partition */
    int64_t broker_epoch;      /* of the replica that fetched last */
    struct standing *standing; /* what its fetches wait for as it is; NULL: they look at all */
};

enum { SESSION_EPOCH_INITIAL = 0, SESSION_EPOCH_FINAL = -1 };

struct fetch_sessions *fetch_sessions_new(int32_t slots, struct random *random);
void fetch_sessions_free(struct fetch_sessions *sessions);

/* An incremental request: finds the session, checks and advances its epoch, and locks it.
 * FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH or FETCH_SESSION_TOPIC_ID_ERROR. */
NODISCARD err fetch_session_continue(struct fetch_sessions *sessions, int32_t id, int32_t epoch,
                                     bool uses_ids, int64_t now_ms, struct fetch_session **session);
/* The session again, locked, to note what was told; NULL when it is gone. */
struct fetch_session *fetch_session_find(struct fetch_sessions *sessions, int32_t id);
/* Unlocks and gives back. A session that has grown over what there is room for ends. */
void fetch_session_done(struct fetch_sessions *sessions, struct fetch_session *session);
/* Ends a session; unknown ids are harmless. */
void fetch_session_remove(struct fetch_sessions *sessions, int32_t id);
/* Keeps a session that the caller made, if there is a slot: gives it an id and returns true; else
 * the caller still owns it. */
bool fetch_session_keep(struct fetch_sessions *sessions, struct fetch_session *session,
                        int64_t now_ms);

struct fetch_sessions_figures {
    int64_t sessions;
    int64_t partitions;
    int64_t evictions; /* since the start */
};
struct fetch_sessions_figures fetch_sessions_tell(struct fetch_sessions *sessions);

struct fetch_session *fetch_session_new(bool uses_ids, bool privileged);
void fetch_session_free(struct fetch_session *session);
/* Finds or adds a partition. `topic` is used unless the session uses ids. */
struct session_partition *fetch_session_partition(struct fetch_session *session, struct str topic,
                                                  struct uuid topic_id, int32_t partition);
void fetch_session_forget(struct fetch_session *session, struct str topic, struct uuid topic_id,
                          int32_t partition);
size_t fetch_session_size(const struct fetch_session *session);
/* Another one, or NULL: what its fetches ask for has changed. */
void fetch_session_set_standing(struct fetch_session *session, struct standing *standing);

#endif
