/* Time, as a thing that is handed in, so that tests can hold it still. */
#ifndef OTTLA_BASE_CLOCK_H
#define OTTLA_BASE_CLOCK_H

#include <stdint.h>

struct clock {
    int64_t (*wall_ms)(struct clock *clock);           /* since 1970, may jump */
    int64_t (*monotonic_us)(struct clock *clock);      /* never goes back */
    void (*sleep_us)(struct clock *clock, int64_t us); /* blocks the thread; never on a loop */
};

/* The machine's clock; one for everybody, without state. */
struct clock *clock_system(void);

static inline int64_t clock_wall_ms(struct clock *clock)
{
    return clock->wall_ms(clock);
}

static inline int64_t clock_monotonic_us(struct clock *clock)
{
    return clock->monotonic_us(clock);
}

static inline int64_t clock_monotonic_ms(struct clock *clock)
{
    return clock_monotonic_us(clock) / 1000;
}

static inline void clock_sleep_us(struct clock *clock, int64_t us)
{
    clock->sleep_us(clock, us);
}

/* A clock for tests: both times stand at `now_ms` until it is changed; who sleeps moves it. One
 * thread. */
struct manual_clock {
    struct clock clock;
    int64_t now_ms;
    int64_t slept_us; /* less than a millisecond */
};
void manual_clock_init(struct manual_clock *clock, int64_t now_ms);

#endif
