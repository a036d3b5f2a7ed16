/* By ucontext: the signal mask that it saves costs a system call for each change, which is little
 * beside a turn of a loop. Below each stack is a page that nobody may touch. */
#define _GNU_SOURCE
#include "sim/fiber.h"

#include "base/err.h"
#include "sim/fiber_sanitizer.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { STACK_BYTES = 512 << 10, GUARD_BYTES = 4096 };

struct fiber {
    void (*run)(void *context);
    void *context;
    uint8_t *stack; /* its guard first */
    ucontext_t own;
    ucontext_t resumer;
    const void *resumer_stack; /* for AddressSanitizer */
    size_t resumer_stack_bytes;
    bool ended;
};

/* makecontext passes ints only. */
static void entry(unsigned high, unsigned low)
{
    struct fiber *fiber = (struct fiber *)(((uintptr_t)high << 32) | low);
    stack_enter(NULL, &fiber->resumer_stack, &fiber->resumer_stack_bytes);
    fiber->run(fiber->context);
    fiber->ended = true;
    stack_leave(NULL, fiber->resumer_stack, fiber->resumer_stack_bytes);
    CHECK(swapcontext(&fiber->own, &fiber->resumer) == 0);
}

struct fiber *fiber_new(void (*run)(void *context), void *context)
{
    struct fiber *fiber = xcalloc(1, sizeof(*fiber));
    fiber->run = run;
    fiber->context = context;
    fiber->stack = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    CHECK(fiber->stack != MAP_FAILED && mprotect(fiber->stack, GUARD_BYTES, PROT_NONE) == 0);
    CHECK(getcontext(&fiber->own) == 0);
    fiber->own.uc_stack.ss_sp = fiber->stack + GUARD_BYTES;
    fiber->own.uc_stack.ss_size = STACK_BYTES;
    uintptr_t self = (uintptr_t)fiber;
    makecontext(&fiber->own, (void (*)(void))(uintptr_t)entry, 2, (unsigned)(self >> 32),
                (unsigned)self);
    return fiber;
}

void fiber_free(struct fiber *fiber)
{
    munmap(fiber->stack, GUARD_BYTES + STACK_BYTES);
    free(fiber);
}

void fiber_resume(struct fiber *fiber)
{
    void *kept = NULL;
    CHECK(!fiber->ended);
    stack_leave(&kept, fiber->stack + GUARD_BYTES, STACK_BYTES);
    CHECK(swapcontext(&fiber->resumer, &fiber->own) == 0);
    stack_enter(kept, NULL, NULL);
}

void fiber_suspend(struct fiber *fiber)
{
    void *kept = NULL;
    stack_leave(&kept, fiber->resumer_stack, fiber->resumer_stack_bytes);
    CHECK(swapcontext(&fiber->own, &fiber->resumer) == 0);
    stack_enter(kept, &fiber->resumer_stack, &fiber->resumer_stack_bytes);
}

bool fiber_has_ended(const struct fiber *fiber)
{
    return fiber->ended;
}
