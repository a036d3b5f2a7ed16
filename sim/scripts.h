/* Faults in a row: what a draw of single ones hardly ever brings about. Each is run by a task, and waits for the
 * store to say that its turn has come; what does not come in time is passed over. One at a time. */
#ifndef OTTLA_SIM_SCRIPTS_H
#define OTTLA_SIM_SCRIPTS_H

#include "sim/sim.h"

struct scripts;

/* `stop`: looked at again and again; then a script mends what it has broken, and ends. */
struct scripts *scripts_new(struct sim *sim, const bool *stop);
/* None runs. */
void scripts_free(struct scripts *scripts);

/* False: another script runs, or there is nothing yet that it could be about. */
bool script_lead_twice(struct scripts *scripts, int partition);
bool script_join(struct scripts *scripts, int partition);
bool script_bounce(struct scripts *scripts, int partition);
bool script_last_standing(struct scripts *scripts, int broker);
bool script_new_disk(struct scripts *scripts, int broker);

/* A broker that must stay down, whoever looks after it. */
bool scripts_hold_down(const struct scripts *scripts, int broker);

#endif
