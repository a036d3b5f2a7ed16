/* The system's clock and a clock that tests move by hand. */
#define _GNU_SOURCE
#include "base/clock.h"

#include "base/list.h"

#include <time.h>

static int64_t system_wall(struct clock *clock)
{
    (void)clock;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t system_monotonic(struct clock *clock)
{
    (void)clock;
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void system_sleep(struct clock *clock, int64_t us)
{
    (void)clock;
    struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    nanosleep(&time, NULL);
}

struct clock *clock_system(void)
{
    static struct clock clock = {
        .wall_ms = system_wall, .monotonic_us = system_monotonic, .sleep_us = system_sleep};
    return &clock;
}

static int64_t manual_now(struct clock *clock)
{
    return container_of(clock, struct manual_clock, clock)->now_ms;
}

static int64_t manual_now_us(struct clock *clock)
{
    return manual_now(clock) * 1000;
}

static void manual_sleep(struct clock *clock, int64_t us)
{
    struct manual_clock *manual = container_of(clock, struct manual_clock, clock);
    manual->slept_us += us;
    manual->now_ms += manual->slept_us / 1000;
    manual->slept_us %= 1000;
}

void manual_clock_init(struct manual_clock *clock, int64_t at_ms)
{
    *clock = (struct manual_clock){
        .clock = {.wall_ms = manual_now, .monotonic_us = manual_now_us, .sleep_us = manual_sleep},
        .now_ms = at_ms};
}
