/* A stack of its own, for what stands for a thread: runs until it gives way, and goes on there. */
#ifndef OTTLA_SIM_FIBER_H
#define OTTLA_SIM_FIBER_H

#include <stdbool.h>

struct fiber;

/* Runs nothing yet. */
struct fiber *fiber_new(void);
/* Is to run that, from the beginning of its stack. One that is new, or has ended. */
void fiber_begin(struct fiber *fiber, void (*run)(void *context), void *context);
/* One that has ended, or has not begun. */
void fiber_free(struct fiber *fiber);
/* Runs it until it suspends itself, or ends. Not from within a fiber. */
void fiber_resume(struct fiber *fiber);
/* By the fiber itself: back to who resumed it. */
void fiber_suspend(struct fiber *fiber);
bool fiber_has_ended(const struct fiber *fiber);

#endif
