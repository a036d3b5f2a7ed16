/* Group commit: one background thread that makes logs durable, all pending partitions in one go,
 * one fdatasync each, and then lets the high watermarks move and the acknowledgements out.
 *
 * A partition is queued by flush.messages and flush.ms (its appends), or at a roll. */
#ifndef OTTLA_BROKER_REPLICA_FLUSHER_H
#define OTTLA_BROKER_REPLICA_FLUSHER_H

#include "broker/replica/partition.h"

struct flusher *flusher_new(void);
/* Flushes what is queued and ends the thread. */
void flusher_free(struct flusher *flusher);
/* Queues a partition; the caller holds its lock. Twice is once. */
void flusher_queue(struct flusher *flusher, struct partition *p);

#endif
