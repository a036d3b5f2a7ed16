/* Mutexes and condition variables under fibers. A program of the simulation is linked with
 * -Wl,--wrap=pthread_mutex_lock and the like (sim/CMakeLists.txt), so that the broker's own code takes its
 * locks here: who finds one taken lets others run, and who takes one may be preempted first. */
#ifndef OTTLA_SIM_LOCKS_H
#define OTTLA_SIM_LOCKS_H

struct sched;

/* One scheduler at a time in a process: a mutex does not say whose it is. */
void locks_begin(struct sched *sched);
void locks_end(struct sched *sched);

#endif
