/* The system's clock and a clock that tests move by hand. */
#define _GNU_SOURCE
#include "base/clock.h"

#include "base/list.h"

#include <time.h>

static int64_t now_ms(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t system_wall(struct clock *clock)
{
    (void)clock;
    return now_ms(CLOCK_REALTIME);
}

static int64_t system_monotonic(struct clock *clock)
{
    (void)clock;
    return now_ms(CLOCK_MONOTONIC);
}

struct clock *clock_system(void)
{
    static struct clock clock = {.wall_ms = system_wall, .monotonic_ms = system_monotonic};
    return &clock;
}

static int64_t manual_now(struct clock *clock)
{
    return container_of(clock, struct manual_clock, clock)->now_ms;
}

void manual_clock_init(struct manual_clock *clock, int64_t at_ms)
{
    *clock = (struct manual_clock){.clock = {.wall_ms = manual_now, .monotonic_ms = manual_now},
                                   .now_ms = at_ms};
}
