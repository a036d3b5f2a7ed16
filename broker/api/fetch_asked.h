/* What a Fetch asks for, and what its session is told of the answer.
 *
 * A full request names all of its partitions. An incremental one names what has changed since the
 * last; the session has the rest, and the answer then holds only what is new. Either way the
 * partitions are copied out of the session, so that the request needs no lock while it waits.
 * (reference: coordinators §5; KIP-227)
 *
 * Memory: in the request's arena. */
#ifndef OTTLA_BROKER_API_FETCH_ASKED_H
#define OTTLA_BROKER_API_FETCH_ASKED_H

#include "broker/api/request.h"

/* Who fetches: a replica's broker, or -1: a consumer. */
static inline int32_t fetch_replica_of(const struct fetch_request *in)
{
    return in->replica_id >= 0 ? in->replica_id : in->replica_state.replica_id;
}

struct asked_partition {
    struct str topic; /* null: only the id is known */
    struct uuid topic_id;
    int32_t number;
    int64_t offset;
    int32_t leader_epoch;             /* -1: not told */
    int32_t last_fetched_epoch;       /* -1: not told */
    int64_t replica_log_start_offset; /* where the log of who asks begins; -1: not told */
    size_t max_bytes;
    int64_t told_high_watermark; /* by the session's last answer; -1: nothing, or an error */
    int64_t told_log_start_offset;

    /* What was found: filled in by the handler before fetch_asked_done. */
    int64_t high_watermark;
    int64_t log_start_offset;
    bool failed;
    bool diverged;
    bool sent_away; /* to another replica */
    bool has_bytes;
};

struct fetch_asked {
    /* A reference: nothing has happened since the last fetch, which asked for the same, and the
     * partitions are not read. NULL: they are. */
    struct standing *standing;
    struct asked_partition *partitions; /* each once */
    int32_t partitions_n;
    int32_t next_epoch; /* of an incremental request's session, behind this one */
    int32_t session_id; /* of an incremental request; 0: it has just ended */
    bool incremental;
    bool keep; /* a full request that asks for a session */
};

/* Which partitions are asked for, by the rules of sessions. An error is for the whole request: those
 * of fetch_session_continue, or E_LIMIT without memory. */
NODISCARD err fetch_asked_read(struct req *r, struct fetch_asked *asked);
/* Something has happened: the partitions are read after all. FETCH_SESSION_ID_NOT_FOUND where the session has gone
 * meanwhile, or E_LIMIT. */
NODISCARD err fetch_asked_look(struct req *r, struct fetch_asked *asked);
/* The answer was nothing, and nothing is to come by itself: the session's next fetches may stand. */
void fetch_asked_stand(struct req *r, const struct fetch_asked *asked, struct standing *standing);
/* Does a partition stand in the answer? In a session only what is new does. */
bool fetch_asked_tells(const struct fetch_asked *asked, const struct asked_partition *partition);
/* Notes in the session what is told, or makes one where the request wants it. Returns its id for the
 * answer, 0: none. */
int32_t fetch_asked_done(struct req *r, const struct fetch_asked *asked);

#endif
