/* Looks for what must not be in a history. Properties by their names in docs/reference/hardening.md §7:
 *
 *   P1   lost-write            an acknowledged record is not there at the end
 *   P2   unseen                the same within its time after healing: the end comes no later (sim.c)
 *   P3   duplicate             one value at two offsets
 *   P4   inconsistent-offsets  two values at one offset, for acknowledgements and polls
 *   P8   poll-skip             a consumer's offsets do not follow each other
 *   P9   nonmonotonic-send     a producer's acknowledged offsets do not grow
 *   P13  marks-back            high watermark or LSO goes back in a leader epoch; LSO <= HW <= LEO
 *   P15  replicas-differ       two replicas have different batches at an offset, at the end
 *   P16  acked-below-min-isr   acks=all succeeds while there were too few in-sync replicas all along
 *        moves-below-min-isr   a high watermark moves though its leader knows of too few
 *   P17  epochs                a leader epoch or a controller's goes back; two leaders in one; a controller
 *                              that is one no more has written
 *        weak-isr              below the true leader's high watermark, and not on a member of the true ISR
 *        strong-isr            below any leader's, or promised to a client, the same
 *        early-join            who joined in a leader epoch has not all that was there when it began
 *        isr-without-log       a member of the true ISR has no files of the partition at all
 *        leader-in-isr         the true leader is not in its ISR
 *        no-divergence         a client beyond the leader's log is not told where that ends (KIP-320)
 *
 * One broker that leads by its own word in two epochs is none of these; what it acknowledges is. */
#ifndef OTTLA_SIM_CHECKER_H
#define OTTLA_SIM_CHECKER_H

#include "sim/history.h"

struct checker_config {
    int partitions_n;
    int brokers_n;
    int min_isr;
    bool
        acks_1_last; /* one broker, or a flush before each acknowledgement: acks=1 is a promise too */
};

enum { VIOLATION_BYTES = 256 };

struct violation {
    const char *property; /* "P1 lost-write" */
    char text[VIOLATION_BYTES];
};

/* The first violations, at most `max`; returns how many there are in all. */
size_t checker_run(const struct history *history, const struct checker_config *config,
                   struct violation *violations, size_t max);

#endif
