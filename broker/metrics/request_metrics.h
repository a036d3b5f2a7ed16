/* What one event loop counts of its requests: how many of each API and version, with which errors, and how
 * long they took, in the parts that Kafka divides them into (RequestMetrics).
 *
 * Written by the loop's thread alone, without a lock or an operation that other processors take part in;
 * any thread reads. There is none while nobody wants metrics (`ottla.http.listener` is not set), and then
 * nothing is counted. An API's counts are made with its first request.
 *
 *   queue    from the moment when the loop saw that bytes had come to that when the request was begun
 *   local    until its handler returned
 *   remote   while it waited: for other replicas, for records to come, for a group's members
 *   send     from the moment when its answer was there to that when all of it was written to the socket
 *   total    all of it
 * Kafka's response queue does not exist here: an answer is written by the thread that made it. */
#ifndef OTTLA_BROKER_METRICS_REQUEST_METRICS_H
#define OTTLA_BROKER_METRICS_REQUEST_METRICS_H

#include "base/histogram.h"
#include "broker/metrics/topic_counters.h"
#include "protocol/codec.h"

#include <stdbool.h>

/* A fetch is counted under its own name, and under that of who fetched. */
enum {
    REQUEST_KEYS = 100,
    REQUEST_FETCH_CONSUMER = REQUEST_KEYS,
    REQUEST_FETCH_FOLLOWER,
    REQUEST_NAMES_N,
    REQUEST_VERSIONS_MAX = 32,
};

enum request_part {
    REQUEST_TOTAL,
    REQUEST_QUEUE,
    REQUEST_LOCAL,
    REQUEST_REMOTE,
    REQUEST_SEND,
    REQUEST_THROTTLE, /* only of those that are held back afterwards */
    REQUEST_PARTS_N
};

struct request_metrics {
    struct histogram parts_us[REQUEST_PARTS_N];
    struct histogram bytes; /* of the request */
    struct error_counts errors;
    _Atomic uint64_t by_version[REQUEST_VERSIONS_MAX];
    _Atomic uint64_t slow;
};

struct loop_metrics {
    struct request_metrics *_Atomic requests[REQUEST_NAMES_N]; /* NULL: none yet */
    struct topic_counters all_topics;
    struct sending *spare; /* to be used again */
    int spare_n;
};

/* The times of one request, in microseconds. */
struct request_times {
    int64_t arrived;
    int64_t begun;
    int64_t handled; /* its handler has returned, for the first time */
};

/* An answer that is not written yet. */
struct sending {
    struct sending *next;
    struct request_metrics *of[2]; /* the second is NULL but for a fetch */
    int64_t arrived_us;
    int64_t answered_us;
};

void loop_metrics_deinit(struct loop_metrics *metrics);
/* Those of an API, or of a kind of fetch. On the loop's thread. */
struct request_metrics *loop_metrics_of(struct loop_metrics *metrics, int name);
/* A request of this API was slow. */
void loop_metrics_slow(struct loop_metrics *metrics, int name);
/* A request whose answer was made at `now_us`. What is returned waits in front of `before` until it is
 * written; NULL: `answered` is false, nothing will be. */
struct request_done {
    int name;
    int also; /* REQUEST_FETCH_…; -1: no fetch */
    int version;
    size_t bytes;
    int64_t throttle_us; /* for which the client is held back */
    struct request_times times;
    bool answered;
};
struct sending *loop_metrics_done(struct loop_metrics *metrics, const struct request_done *done,
                                  int64_t now_us, struct sending *before);
/* These answers are written, or never will be. */
void loop_metrics_sent(struct loop_metrics *metrics, struct sending *all, int64_t now_us);

#endif
