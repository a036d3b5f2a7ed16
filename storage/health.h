/* Whether the disk under a log still works: one object for a log directory, and one for each log in it, shared
 * by the log, its segments and the bytes of it that are on their way to a reader. So a read that fails long
 * after the look-up, when the log may be closed, has the same outcome as any other.
 *
 * What the disk refuses takes the directory offline, with all its logs; what concerns one log (a disk that
 * is full, bytes that are damaged) that log alone. Both for good. (reference: storage format §9, §16)
 *
 * Reference-counted, thread-safe, without a lock. */
#ifndef OTTLA_STORAGE_HEALTH_H
#define OTTLA_STORAGE_HEALTH_H

#include "base/err.h"

struct health;

/* Paths are named in log lines; copied. `failed` is told once, on the thread that met the failure, which
 * may hold any lock: it posts and no more. It may be NULL; the context outlives every log. */
struct health *health_of_dir(const char *path, void (*failed)(void *context), void *context);
/* `dir`: of its log directory, of which it takes a reference; NULL where there is none to lose. */
struct health *health_of_log(const char *path, struct health *dir);
void health_retain(struct health *health);
/* NULL is fine. */
void health_release(struct health *health);
/* Of a log: it or its directory. */
bool health_is_offline(const struct health *health);
/* Is the log offline in a directory that is not? */
bool health_failed_alone(const struct health *log);

/* Does the disk refuse (EIO, EROFS, ...), and is not merely full (ENOSPC, EDQUOT), nor this process short of
 * descriptors or memory? */
bool health_is_of_disk(err e);
/* Takes the log offline, or its directory, with one line that says why. */
void health_fail(struct health *log, err e, const char *doing);
/* Takes the directory offline, with one line; `why` is a sentence that names the path. */
void health_fail_dir(struct health *dir, const char *why);

#endif
