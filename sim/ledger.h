/* Scripted clients that write in transactions, and what must be true of them: who reads only what is committed sees each
 * transaction whole or not at all.
 *
 *   T1  torn           it is in some of its partitions, or its offsets, and not in all
 *   T2  lost           its commit was acknowledged, and it is not there
 *   T3  aborted-read   its abort was acknowledged, or it was read once and is not there in the end
 *   T4  repeated       it is twice in a partition
 *   T5  order          a later one of the same client stands before it
 *   T6  offsets        the group's offset is not that of the last one that is there
 *   T7  hanging        a transaction that nobody goes on with is not ended in its time
 *
 * A transaction writes its number into some partitions, and may commit it as an offset of its client's group. Clients
 * retry, abort, give up, let their time pass, and begin anew with the same id, sometimes while what they were before
 * still acts. */
#ifndef OTTLA_SIM_LEDGER_H
#define OTTLA_SIM_LEDGER_H

#include "sim/checker.h"
#include "sim/sched.h"

struct network;
struct ledger;

struct ledger_config {
    struct sched *sched;
    struct trace *trace;
    struct network *network;
    int brokers_n;
    int replicas_n;
    int min_isr;
};

struct ledger_counts {
    uint64_t begun;
    uint64_t committed;
    uint64_t aborted;
    uint64_t unknown; /* nobody was told what became of them */
    uint64_t fenced;  /* clients that were told so */
    uint64_t reads;
};

struct ledger *ledger_new(const struct ledger_config *config);
/* Writers end when it is known what becomes of their transaction, or in the middle of it. */
void ledger_stop_writers(struct ledger *ledger);
bool ledger_writers_ended(const struct ledger *ledger);
/* Reads all that is committed, from the beginning. */
void ledger_read_all(struct ledger *ledger);
bool ledger_has_read_all(const struct ledger *ledger);
void ledger_stop(struct ledger *ledger);
bool ledger_has_ended(const struct ledger *ledger);
/* After that. As checker_run(). */
size_t ledger_check(const struct ledger *ledger, struct violation *violations, size_t max);
struct ledger_counts ledger_counts(const struct ledger *ledger);
void ledger_free(struct ledger *ledger);

/* For brokers: their internal topics, and how often they look for transactions that have timed out. */
extern const char *const LEDGER_OPTIONS[];
enum { LEDGER_OPTIONS_N = 2 };

#endif
