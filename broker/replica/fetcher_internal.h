/* A fetcher, for its own files: fetcher.c (partitions, session, requests), fetcher_answer.c (what becomes
 * of an answer), fetcher_offsets.c (a log that has no common offset with its leader's) and fetcher_flush.c
 * (waiting for the disk). */
#ifndef OTTLA_BROKER_REPLICA_FETCHER_INTERNAL_H
#define OTTLA_BROKER_REPLICA_FETCHER_INTERNAL_H

#include "broker/replica/fetcher.h"

#include "base/map.h"
#include "protocol/exchange.h"

enum { FETCH_KEY = 1, LIST_OFFSETS_KEY = 2 };

enum follow_state {
    FOLLOW_BEGINS, /* its position is not known */
    FOLLOW_FETCHES,
    FOLLOW_PAUSES,  /* until due_ms */
    FOLLOW_ASKS,    /* its leader, for offsets */
    FOLLOW_STOPPED, /* until the controller says more */
};

struct flush_wait;

struct followed {
    struct list link;            /* of all */
    struct list turn;            /* of those whose turn it is in this state */
    struct partition *partition; /* a reference */
    struct topic_partition name; /* the partition's */
    struct uuid topic_id;
    int32_t leader_epoch;
    enum follow_state state;
    struct follower_position at;
    struct follower_position told; /* as the leader's session has it */
    bool in_session;
    bool behind; /* its leader's high watermark, or not known to have reached it */
    int64_t due_ms;
    int64_t pause_ms;              /* the last one; 0: none since the last success */
    struct flush_wait *flush_wait; /* NULL: what it has is safe */
};

/* A follower's next fetch tells its leader that it has all below, so that this must be safe first: with
 * flush.messages=1 on the disk. */
struct flush_wait {
    struct fetcher *fetcher;
    struct followed *of; /* NULL: it is followed no more */
    struct watch watch;
    struct waiter waiter;
    struct loop_task task;
    atomic_bool posted;
};

/* One that is followed no more, and still in the leader's session. */
struct forgotten {
    struct list link;
    struct str topic; /* owned */
    struct uuid topic_id;
    int32_t partition;
};

struct fetcher {
    struct fetcher_env *env;
    struct loop *loop;
    struct peer *peer;
    struct str client_id; /* owned */
    int32_t leader;
    struct list all;      /* struct followed */
    struct map names;     /* topic and number → struct followed */
    struct map ids;       /* topic id and number → struct followed, where there is an id */
    int32_t without_id_n; /* of all, whose topic has none */
    int32_t fetching_n;
    struct list
        news; /* struct followed, by turn: they fetch, and their leader must be told where */
    struct list paused; /* by turn */
    struct list asking; /* by turn */
    struct list forgotten;

    int16_t version; /* of the session */
    int32_t session_id;
    int32_t session_epoch;

    bool busy;      /* a request is on its way */
    int flushing_n; /* flush_waits; nothing is asked meanwhile */
    bool hurried;
    struct peer_request asked;
    struct writer frame;
    struct arena arena; /* of the request, then of its answer */
    struct timer wake;  /* the next pause is over */
    struct timer hurry;
    int64_t hurry_again_ms; /* not before */
    int64_t asked_ms;       /* when the request that is on its way was sent */
    bool out_of_reach;      /* said in the log */

    /* See Sharing in fetcher.c. */
    int64_t behind_ms;       /* when a partition was last seen behind */
    int64_t shared_ms;       /* when records last came that were waited for */
    size_t shared_bytes;     /* of them, in the last answer that had some */
    int64_t shared_round_ms; /* how long the last large answer took */

    struct followed *asks; /* for offsets; NULL: nobody, or it is followed no more */
    bool asks_earliest;
    struct fetch_rate rate;
};

/* By name, or where that is null by id. NULL: nobody. */
struct followed *fetcher_find(const struct fetcher *f, struct str topic, struct uuid id,
                              int32_t partition);
/* The only way in which a state changes. */
void followed_set_state(struct fetcher *f, struct followed *it, enum follow_state state);
/* After an error: tries again later. `why` is logged when it is the first in a row. */
void followed_pause(struct fetcher *f, struct followed *it, err why);
/* Nothing is tried until the controller says more; `why` NULL: that is on its way. */
void followed_stop(struct fetcher *f, struct followed *it, const char *why);
/* It goes on from there. */
void followed_go_on(struct fetcher *f, struct followed *it,
                    const struct follower_position *position);
/* A new session begins with the next request. */
void fetcher_end_session(struct fetcher *f);

/* Sends what there is to ask; nothing while a request is on its way. */
void fetcher_go_on(struct fetcher *f);
/* Encodes and sends; `done` as struct peer_request's. */
void fetcher_send(struct fetcher *f, const struct exchange *exchange, const void *request,
                  void (*done)(struct peer_request *request, err outcome, uint8_t *frame,
                               size_t len));
/* The request failed: all of it is asked again, on another connection. */
void fetcher_failed(struct fetcher *f, err why);

/* fetcher_flush.c: until what it has is safe, nothing is asked. */
void fetcher_await_flush(struct fetcher *f, struct followed *it);
void fetcher_forget_flush(struct followed *it);

/* fetcher_answer.c */
void fetcher_take_answer(struct fetcher *f, const struct fetch_response *response);

/* fetcher_offsets.c: asks for whoever needs it. False: nobody does. */
bool fetcher_ask_offsets(struct fetcher *f);

#endif
