/* What a broker does to its logs, in scenarios of one subject each. Used by the tests of crashes and of errors: an
 * operation that fails ends the scenario where it is, with its error. */
#ifndef OTTLA_STORAGE_TESTS_CRASH_SCENARIOS_H
#define OTTLA_STORAGE_TESTS_CRASH_SCENARIOS_H

#include "storage/tests/crash_world.h"

/* A sanitizer makes all of it ten times as long: one place in so many is tried. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { ONE_IN = 8 };
#else
enum { ONE_IN = 1 };
#endif

/* Where there are two directories, the partition of a log that is in the second and has little to do. */
enum { BYSTANDER = 9 };

struct crash_scenario {
    const char *name;
    size_t dirs_n; /* that it needs */
    /* `w` has no process yet, and has one at the end, unless it was stopped. */
    err (*run)(struct world *w);
};
extern const struct crash_scenario CRASH_SCENARIOS[];
extern const size_t CRASH_SCENARIOS_N;

/* Anything, `steps` times, by the world's seed. */
NODISCARD err crash_scenario_random(struct world *w, int steps);

#endif
