/* One flag that never goes back, and the line that says so once. */
#include "storage/health.h"

#include "base/log.h"

#include <stdatomic.h>
#include <stdlib.h>

struct health {
    _Atomic int refs;
    _Atomic bool offline;
    char *dir;
};

struct health *health_new(const char *dir)
{
    struct health *health = xcalloc(1, sizeof(*health));
    atomic_init(&health->refs, 1);
    health->dir = xstrdup(dir);
    return health;
}

void health_retain(struct health *health)
{
    int before = atomic_fetch_add_explicit(&health->refs, 1, memory_order_relaxed);
    CHECK(before > 0);
}

void health_release(struct health *health)
{
    if (health != NULL && atomic_fetch_sub_explicit(&health->refs, 1, memory_order_acq_rel) == 1) {
        free(health->dir);
        free(health);
    }
}

bool health_is_offline(const struct health *health)
{
    return atomic_load_explicit(&health->offline, memory_order_acquire);
}

void health_fail(struct health *health, err e, const char *doing)
{
    CHECK(e != OK);
    if (!atomic_exchange(&health->offline, true)) {
        log_error("storage", "log is offline: %s failed dir=%s error=\"%s\"", doing, health->dir,
                  err_text(e));
    }
}
