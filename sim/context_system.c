/* By ucontext, where there is no faster way. */
#define _GNU_SOURCE
#include "sim/context.h"

#include "base/err.h"

#include <stdint.h>
#include <stdlib.h>
#include <ucontext.h>

struct context {
    void (*run)(void *argument);
    void *argument;
    ucontext_t kept;
};

/* makecontext passes ints only. */
static void entry(unsigned high, unsigned low)
{
    struct context *context = (struct context *)(((uintptr_t)high << 32) | low);
    context->run(context->argument);
}

struct context *context_new(void *stack, size_t bytes, void (*run)(void *argument), void *argument)
{
    struct context *context = xcalloc(1, sizeof(*context));
    context->run = run;
    context->argument = argument;
    CHECK(getcontext(&context->kept) == 0);
    if (stack != NULL) {
        context->kept.uc_stack.ss_sp = stack;
        context->kept.uc_stack.ss_size = bytes;
        uintptr_t self = (uintptr_t)context;
        makecontext(&context->kept, (void (*)(void))(uintptr_t)entry, 2, (unsigned)(self >> 32),
                    (unsigned)self);
    }
    return context;
}

void context_free(struct context *context)
{
    free(context);
}

void context_switch(struct context *from, const struct context *to)
{
    CHECK(swapcontext(&from->kept, &to->kept) == 0);
}
