/* What clients and onlookers of a simulation have seen, in the order of the virtual time. The checker
 * (sim/checker.h) knows nothing else. */
#ifndef OTTLA_SIM_HISTORY_H
#define OTTLA_SIM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HISTORY_BROKERS_MAX = 8 };

enum event_kind {
    EVENT_SEND,  /* a producer begins to send a value: who, partition, value, acks */
    EVENT_ACK,   /* it is acknowledged: and offset; -1: an earlier attempt's, which was not told */
    EVENT_POLL,  /* a consumer is given a record: who, partition, offset, value */
    EVENT_MARKS, /* what a fetch said: who is the broker, partition, high_watermark, stable_offset */
    EVENT_LEADER, /* a broker presumes to lead: who, life, partition, epoch, version (of the ISR that it
                     knows), in_sync, high_watermark, stable_offset, end_offset, offset (where its log
                     ended when it began) */
    EVENT_NO_LOG, /* who is in the ISR and has no directory of the partition; high_watermark as below */
    EVENT_LOG, /* a replica's log: who, life, partition, epoch (of the leader that it knows), end_offset;
                     high_watermark: what anybody was promised before that was looked at */
    EVENT_TRUTH, /* what the store says: partition, who (the leader; -1), epoch, isr, replicas, version,
                     controller_epoch (who wrote it), office (the present one) */
    EVENT_PROBE, /* who has been asked for what lies beyond its log, of an epoch that it knows: partition,
                     acks (the error), epoch and end_offset (of the divergence; -1: none was told) */
    EVENT_BATCH,  /* a batch in a replica's files: who, partition, offset, value (a hash of it) */
    EVENT_HEALED, /* from here on nothing is broken */
    EVENT_FINAL,  /* the end: what `who` polls from here on is all that is there */
};

struct event {
    enum event_kind kind;
    int64_t at_us;
    int who;
    int life; /* of a broker */
    int partition;
    int acks;
    int32_t epoch;
    uint32_t isr;      /* bits by broker */
    uint32_t replicas; /* of the truth, by the topic's node */
    int in_sync;       /* how many */
    int32_t controller_epoch;
    int32_t office;
    int32_t version; /* of the truth: the store counts its changes */
    uint64_t value;
    int64_t offset;
    int64_t high_watermark;
    int64_t stable_offset;
    int64_t end_offset;
};

struct history {
    struct event *events;
    size_t n;
    size_t cap;
};

void history_init(struct history *history);
void history_deinit(struct history *history);
void history_add(struct history *history, const struct event *event);

#endif
