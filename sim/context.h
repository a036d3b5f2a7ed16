/* Where a stack goes on: the one thing of a fiber that is the machine's. One of context_*.c is built. */
#ifndef OTTLA_SIM_CONTEXT_H
#define OTTLA_SIM_CONTEXT_H

#include <stddef.h>

struct context;

/* Begins with run(argument) on that stack, once somebody changes to it; `run` never returns. `stack` NULL: of
 * who calls, to come back to. */
struct context *context_new(void *stack, size_t bytes, void (*run)(void *argument), void *argument);
void context_free(struct context *context);
/* Keeps this one in `from`, and goes on where `to` was kept. */
void context_switch(struct context *from, const struct context *to);

#endif
