/* Below each stack is a page that nobody may touch. */
#define _GNU_SOURCE
#include "sim/fiber.h"

#include "base/err.h"
#include "sim/context.h"
#include "sim/fiber_sanitizer.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { STACK_BYTES = 512 << 10, GUARD_BYTES = 4096 };

struct fiber {
    void (*run)(void *context);
    void *context;
    uint8_t *stack; /* its guard first */
    struct context *own;
    struct context *resumer;
    const void *resumer_stack; /* for AddressSanitizer */
    size_t resumer_stack_bytes;
    bool ended;
};

static void entry(void *argument)
{
    struct fiber *fiber = argument;
    stack_enter(NULL, &fiber->resumer_stack, &fiber->resumer_stack_bytes);
    fiber->run(fiber->context);
    fiber->ended = true;
    stack_leave(NULL, fiber->resumer_stack, fiber->resumer_stack_bytes);
    context_switch(fiber->own, fiber->resumer);
}

struct fiber *fiber_new(void)
{
    struct fiber *fiber = xcalloc(1, sizeof(*fiber));
    fiber->stack = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    CHECK(fiber->stack != MAP_FAILED && mprotect(fiber->stack, GUARD_BYTES, PROT_NONE) == 0);
    fiber->resumer = context_new(NULL, 0, NULL, NULL);
    return fiber;
}

void fiber_begin(struct fiber *fiber, void (*run)(void *context), void *context)
{
    CHECK(fiber->own == NULL || fiber->ended);
    if (fiber->own != NULL) {
        context_free(fiber->own);
    }
    stack_forget(fiber->stack + GUARD_BYTES, STACK_BYTES);
    fiber->run = run;
    fiber->context = context;
    fiber->ended = false;
    fiber->own = context_new(fiber->stack + GUARD_BYTES, STACK_BYTES, entry, fiber);
}

void fiber_free(struct fiber *fiber)
{
    munmap(fiber->stack, GUARD_BYTES + STACK_BYTES);
    if (fiber->own != NULL) {
        context_free(fiber->own);
    }
    context_free(fiber->resumer);
    free(fiber);
}

void fiber_resume(struct fiber *fiber)
{
    void *kept = NULL;
    CHECK(!fiber->ended);
    stack_leave(&kept, fiber->stack + GUARD_BYTES, STACK_BYTES);
    context_switch(fiber->resumer, fiber->own);
    stack_enter(kept, NULL, NULL);
}

void fiber_suspend(struct fiber *fiber)
{
    void *kept = NULL;
    stack_leave(&kept, fiber->resumer_stack, fiber->resumer_stack_bytes);
    context_switch(fiber->own, fiber->resumer);
    stack_enter(kept, &fiber->resumer_stack, &fiber->resumer_stack_bytes);
}

bool fiber_has_ended(const struct fiber *fiber)
{
    return fiber->ended;
}
