/* What a function keeps for its caller goes onto the stack (System V: rbx, rbp, r12 to r15), the stack's end
 * into the context. ucontext does a system call for signal masks, which nobody here has, with each change: a
 * sixth of a simulation's time. Rounding modes are nobody's either. */
#include "sim/context.h"

#include "base/err.h"

#include <stdint.h>
#include <stdlib.h>

struct context {
    void *sp;
};

enum { KEPT = 6, ALIGNMENT = 16 };

void context_x86_64_switch(void **from, void *to);
void context_x86_64_begin(void);

/* The first change to a stack returns into context_x86_64_begin, where r12 is `run` and r13 its argument. */
__asm__(".text\n"
        ".globl context_x86_64_switch\n"
        ".type context_x86_64_switch, @function\n"
        "context_x86_64_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size context_x86_64_switch, .-context_x86_64_switch\n"
        ".globl context_x86_64_begin\n"
        ".type context_x86_64_begin, @function\n"
        "context_x86_64_begin:\n"
        "    movq %r13, %rdi\n"
        "    callq *%r12\n"
        "    ud2\n"
        ".size context_x86_64_begin, .-context_x86_64_begin\n");

struct context *context_new(void *stack, size_t bytes, void (*run)(void *argument), void *argument)
{
    struct context *context = xcalloc(1, sizeof(*context));
    if (stack != NULL) {
        uintptr_t end = ((uintptr_t)stack + bytes) & ~(uintptr_t)(ALIGNMENT - 1);
        uintptr_t *kept = (uintptr_t *)end - (KEPT + 1); /* r15 first, where to return to last */
        kept[2] = (uintptr_t)argument;
        kept[3] = (uintptr_t)run;
        kept[KEPT] = (uintptr_t)context_x86_64_begin;
        context->sp = kept;
    }
    return context;
}

void context_free(struct context *context)
{
    free(context);
}

void context_switch(struct context *from, const struct context *to)
{
    context_x86_64_switch(&from->sp, to->sp);
}
