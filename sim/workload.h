/* Scripted clients: who makes a topic, who sends, who reads. Each is a task, and writes down what it sees. */
#ifndef OTTLA_SIM_WORKLOAD_H
#define OTTLA_SIM_WORKLOAD_H

#include "sim/history.h"
#include "sim/sched.h"

struct network;

struct workload_config {
    struct sched *sched;
    struct trace *trace;
    struct network *network;
    struct history *history;
    int brokers_n;
    int partitions_n;
    int replicas_n;
    int min_isr;
    bool flush_messages; /* flush.messages=1 */
    int producers_n;     /* the last of several sends with acks=1, the others with acks=all */
    int consumers_n;
    bool asks_elections;
    /* Told before something is written down; may be NULL. */
    void (*before_note)(void *context, const struct event *event);
    void *context;
};

struct workload;

/* Begins by making the topic. */
struct workload *workload_new(const struct workload_config *config);
/* Producers end when the batch that they have begun is acknowledged, or given up. */
void workload_stop_producers(struct workload *workload);
bool workload_producers_ended(const struct workload *workload);
/* Reads everything from the beginning, after EVENT_FINAL. */
void workload_read_all(struct workload *workload);
bool workload_has_read_all(const struct workload *workload);
/* Tells all tasks to end; they have ended after a while. */
void workload_stop(struct workload *workload);
bool workload_has_ended(const struct workload *workload);
void workload_free(struct workload *workload);

extern const char WORKLOAD_TOPIC[];

struct workload_counts {
    uint64_t sends;
    uint64_t acks;
    uint64_t polls;
    uint64_t errors; /* answers and connections that failed */
};
struct workload_counts workload_counts(const struct workload *workload);

#endif
