/* Whoever breaks things, by chance. */
#ifndef OTTLA_SIM_NEMESIS_H
#define OTTLA_SIM_NEMESIS_H

#include "sim/sim.h"

/* What may happen; printed by its name. */
#define FAULTS(X)                                                                                  \
    X(KILL, "kill")                                                                                \
    X(KILL_AT_CHANGE, "kill-at-change")                                                            \
    X(POWER_LOSS, "power-loss")                                                                    \
    X(POWER_LOSS_AT_CHANGE, "power-loss-at-change")                                                \
    X(STOP, "stop")                                                                                \
    X(PAUSE, "pause")                                                                              \
    X(CUT_STORE, "cut-zookeeper")                                                                  \
    X(EXPIRE, "expire-session")                                                                    \
    X(LOSE_CALLS, "lose-zookeeper-calls")                                                          \
    X(CUT, "cut")                                                                                  \
    X(RESET, "reset")                                                                              \
    X(DELAY, "delay")                                                                              \
    X(DISK_ERRORS, "disk-errors")                                                                  \
    X(DISK_FULL, "disk-full")                                                                      \
    X(SLOW_DISK, "slow-disk")                                                                      \
    X(CLOCK, "clock-jump")                                                                         \
    X(BLACKOUT, "blackout")                                                                        \
    X(STALL, "stall")                                                                              \
    X(STARVE, "starve")                                                                            \
    X(OUST, "oust-controller")                                                                     \
    X(FLIP, "flip")                                                                                \
    X(LEAD_TWICE, "lead-twice")                                                                    \
    X(JOIN, "join")                                                                                \
    X(BOUNCE, "bounce")                                                                            \
    X(LAST_STANDING, "last-standing")                                                              \
    X(NEW_DISK, "new-disk") /* the last, drawn only where it is asked for */

enum fault {
#define FAULT_ENUM(name, text) FAULT_##name,
    FAULTS(FAULT_ENUM)
#undef FAULT_ENUM
        FAULTS_N
};

const char *fault_name(enum fault fault);

struct nemesis;

/* Breaks something every now and then, until it is told to end; what it breaks it mends after a while. */
struct nemesis *nemesis_new(struct sim *sim, const struct sim_options *options);
/* Ends; everything is mended, and brokers start again. */
void nemesis_stop(struct nemesis *nemesis);
bool nemesis_has_ended(const struct nemesis *nemesis);
/* How often each. */
const uint64_t *nemesis_counts(const struct nemesis *nemesis);
void nemesis_free(struct nemesis *nemesis);

#endif
