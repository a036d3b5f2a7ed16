/* Whether the disk under a log still works: one object for the log, its segments and the bytes of it
 * that are on their way to a reader. So a read that fails long after the look-up, when the log may be
 * closed, has the same outcome as any other: the log is offline, for good.
 *
 * Reference-counted, thread-safe, without a lock. */
#ifndef OTTLA_STORAGE_HEALTH_H
#define OTTLA_STORAGE_HEALTH_H

#include "base/err.h"

struct health;

/* `dir` is named in the log line; copied. */
struct health *health_new(const char *dir);
void health_retain(struct health *health);
/* NULL is fine. */
void health_release(struct health *health);
bool health_is_offline(const struct health *health);
/* Takes the log offline, with one line that says why. */
void health_fail(struct health *health, err e, const char *doing);

#endif
