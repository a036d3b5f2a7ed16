/* Of counts that nobody has looked at yet both looks are zeros. */
#include "broker/monitor/window.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

struct window_look {
    uint64_t *older;
    uint64_t *newer;
    size_t count;
};

void window_init(struct window *window, int64_t period_us, int64_t now_us)
{
    *window = (struct window){.period_us = period_us, .older_us = now_us, .newer_us = now_us};
}

void window_deinit(struct window *window)
{
    for (size_t i = 0; i < window->looks_n; i++) {
        free(window->looks[i].older);
        free(window->looks[i].newer);
    }
    free(window->looks);
    window->looks = NULL;
    window->looks_n = 0;
}

void window_begin(struct window *window, int64_t now_us)
{
    window->turns = now_us - window->newer_us >= window->period_us;
}

static struct window_look *look_of(struct window *window, size_t number, size_t count)
{
    if (number >= window->looks_n) {
        window->looks = xrealloc(window->looks, (number + 1) * sizeof(*window->looks));
        memset(window->looks + window->looks_n, 0,
               (number + 1 - window->looks_n) * sizeof(*window->looks));
        window->looks_n = number + 1;
    }
    struct window_look *look = &window->looks[number];
    if (look->older == NULL) {
        look->older = xcalloc(count, sizeof(*look->older));
        look->newer = xcalloc(count, sizeof(*look->newer));
        look->count = count;
    }
    CHECK(look->count == count);
    return look;
}

void window_take(struct window *window, size_t number, uint64_t *counts, size_t count)
{
    struct window_look *look = look_of(window, number, count);
    if (window->turns) {
        uint64_t *spare = look->older;
        look->older = look->newer;
        look->newer = spare;
        memcpy(look->newer, counts, count * sizeof(*counts));
    }
    for (size_t i = 0; i < count; i++) {
        counts[i] -= look->older[i];
    }
}

void window_end(struct window *window, int64_t now_us)
{
    if (window->turns) {
        window->older_us = window->newer_us;
        window->newer_us = now_us;
    }
}

int64_t window_us(const struct window *window, int64_t now_us)
{
    int64_t since = window->turns ? window->newer_us : window->older_us;
    return now_us - since;
}
