/* What has been added to counts lately: two looks at them are kept, and what has come since the older one is
 * the window. A new look is taken when the newer one is `period` old; so the window is one to two periods
 * long while somebody looks often enough, and else as long as the pause.
 *
 * Counts are arrays of uint64_t under a number; they only grow. One thread. */
#ifndef OTTLA_BROKER_MONITOR_WINDOW_H
#define OTTLA_BROKER_MONITOR_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct window_look;

struct window {
    int64_t period_us;
    int64_t older_us; /* when the looks were taken; both at first: when all was 0 */
    int64_t newer_us;
    struct window_look *looks;
    size_t looks_n;
    bool turns; /* this look becomes the newer one */
};

void window_init(struct window *window, int64_t period_us, int64_t now_us);
void window_deinit(struct window *window);
/* Before the counts are looked at. */
void window_begin(struct window *window, int64_t now_us);
/* Takes off `counts` what was there when the window began. `count` is always the same for a number. */
void window_take(struct window *window, size_t number, uint64_t *counts, size_t count);
void window_end(struct window *window, int64_t now_us);
/* How long it is. */
int64_t window_us(const struct window *window, int64_t now_us);

#endif
