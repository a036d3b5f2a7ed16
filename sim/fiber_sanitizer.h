/* Tells AddressSanitizer of changes of the stack; nothing where it is not there. */
#ifndef OTTLA_SIM_FIBER_SANITIZER_H
#define OTTLA_SIM_FIBER_SANITIZER_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define SIM_FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_FIBER_ASAN 1
#endif
#endif

#ifdef SIM_FIBER_ASAN

#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

/* Before the change; `kept` NULL: this stack is left for ever. */
static inline void stack_leave(void **kept, const void *to, size_t to_bytes)
{
    __sanitizer_start_switch_fiber(kept, to, to_bytes);
}
/* After it; tells which stack was left. */
static inline void stack_enter(void *kept, const void **from, size_t *from_bytes)
{
    __sanitizer_finish_switch_fiber(kept, from, from_bytes);
}
/* Nobody is on it any more: what was noted of its frames is void. */
static inline void stack_forget(const void *stack, size_t bytes)
{
    __asan_unpoison_memory_region(stack, bytes);
}

#else

static inline void stack_leave(void **kept, const void *to, size_t to_bytes)
{
    (void)kept;
    (void)to;
    (void)to_bytes;
}
static inline void stack_enter(void *kept, const void **from, size_t *from_bytes)
{
    (void)kept;
    (void)from;
    (void)from_bytes;
}
static inline void stack_forget(const void *stack, size_t bytes)
{
    (void)stack;
    (void)bytes;
}

#endif
#endif
