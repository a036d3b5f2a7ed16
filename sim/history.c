/* One array. */
#include "sim/history.h"

#include "base/err.h"

#include <stdlib.h>

void history_init(struct history *history)
{
    *history = (struct history){0};
}

void history_deinit(struct history *history)
{
    free(history->events);
}

void history_add(struct history *history, const struct event *event)
{
    if (history->n == history->cap) {
        history->cap = history->cap == 0 ? 1024 : history->cap * 2;
        history->events = xrealloc(history->events, history->cap * sizeof(*history->events));
    }
    history->events[history->n++] = *event;
}
