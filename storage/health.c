/* One flag that never goes back, and the line that says so once; a log has its own and its directory's. A directory
 * has another one, for having no room, that does go back: each change of it is one line, whoever meets it. */
#include "storage/health.h"

#include "base/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define AREA "storage"

enum { WHY_BYTES = 512 };

struct health {
    _Atomic int refs;
    _Atomic bool offline;
    char *path;
    struct health *dir; /* a reference; NULL: this is a directory's, or a log's that has none */
    bool is_dir;
    _Atomic bool full; /* of a directory; never of a log */
    struct health_listener listener;
};

static struct health *health_new(const char *path)
{
    struct health *health = xcalloc(1, sizeof(*health));
    atomic_init(&health->refs, 1);
    health->path = xstrdup(path);
    return health;
}

struct health *health_of_dir(const char *path, const struct health_listener *listener)
{
    struct health *health = health_new(path);
    health->is_dir = true;
    health->listener = *listener;
    return health;
}

struct health *health_of_log(const char *path, struct health *dir)
{
    struct health *health = health_new(path);
    health->dir = dir;
    if (dir != NULL) {
        health_retain(dir);
    }
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
        health_release(health->dir);
        free(health->path);
        free(health);
    }
}

static bool is_offline_itself(const struct health *health)
{
    return atomic_load_explicit(&health->offline, memory_order_acquire);
}

bool health_is_offline(const struct health *health)
{
    return is_offline_itself(health) || (health->dir != NULL && is_offline_itself(health->dir));
}

bool health_failed_alone(const struct health *log)
{
    return is_offline_itself(log) && (log->dir == NULL || !is_offline_itself(log->dir));
}

bool health_is_of_disk(err e)
{
    switch (err_to_errno(e)) {
    case 0:
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return false;
    default:
        return true;
    }
}

void health_fail_dir(struct health *dir, const char *why)
{
    if (atomic_exchange(&dir->offline, true)) {
        return;
    }
    log_error(AREA, "log directory is offline: %s dir=%s", why, dir->path);
    if (dir->listener.failed != NULL) {
        dir->listener.failed(dir->listener.context);
    }
}

void health_note_full(struct health *health, err e)
{
    struct health *dir = health->dir == NULL ? health : health->dir;
    CHECK(err_is_no_room(e));
    if (!dir->is_dir || is_offline_itself(dir) || atomic_exchange(&dir->full, true)) {
        return;
    }
    log_warn(AREA,
             "log directory is full: records are refused, reading goes on dir=%s error=\"%s\"",
             dir->path, err_text(e));
    if (dir->listener.full != NULL) {
        dir->listener.full(dir->listener.context);
    }
}

void health_note_room(struct health *dir)
{
    CHECK(dir->is_dir);
    if (atomic_exchange(&dir->full, false)) {
        log_info(AREA, "log directory has room again dir=%s", dir->path);
    }
}

bool health_is_full(const struct health *health)
{
    const struct health *dir = health->dir == NULL ? health : health->dir;
    return atomic_load_explicit(&dir->full, memory_order_relaxed);
}

void health_fail(struct health *log, err e, const char *doing)
{
    CHECK(e != OK);
    if (log->dir != NULL && health_is_of_disk(e)) {
        char why[WHY_BYTES];
        (void)snprintf(why, sizeof(why), "%s failed in %s: %s", doing, log->path, err_text(e));
        health_fail_dir(log->dir, why);
    } else if (!atomic_exchange(&log->offline, true)) {
        log_error(AREA, "log is offline: %s failed dir=%s error=\"%s\"", doing, log->path,
                  err_text(e));
    }
}
