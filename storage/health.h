/* Whether the disk under a log still works, and has room: one object for a log directory, and one for each log in it,
 * shared by the log, its segments and the bytes of it that are on their way to a reader. So a read that fails long
 * after the look-up, when the log may be closed, has the same outcome as any other.
 *
 * What the disk refuses takes the directory offline, with all its logs; what concerns one log (no descriptors, a
 * sync for which there was no room) that log alone. Both for good. (reference: storage format §9, §16) That a directory
 * is full is no failure and comes to an end: until then nothing is appended there for clients (room.h).
 *
 * Reference-counted, thread-safe, without a lock. */
#ifndef OTTLA_STORAGE_HEALTH_H
#define OTTLA_STORAGE_HEALTH_H

#include "base/err.h"

struct health;

/* Both are told on the thread that met it, which may hold any lock: they post and no more. Either may be NULL; the
 * context outlives every log. */
struct health_listener {
    void (*failed)(void *context); /* once */
    void (*full)(void *context);   /* each time that it has become so */
    void *context;
};
/* Paths are named in log lines; copied. */
struct health *health_of_dir(const char *path, const struct health_listener *listener);
/* `dir`: of its log directory, of which it takes a reference; NULL where there is none to lose. */
struct health *health_of_log(const char *path, struct health *dir);
void health_retain(struct health *health);
/* NULL is fine. */
void health_release(struct health *health);
/* Of a log: it or its directory. */
bool health_is_offline(const struct health *health);
/* Is the log offline in a directory that is not? */
bool health_failed_alone(const struct health *log);

/* Of a log or a directory: `e` says that there is no room (ENOSPC, EDQUOT). The directory is full, with one line,
 * until health_note_room(). Nothing without a directory. */
void health_note_full(struct health *health, err e);
/* Of a directory: with one line, if it was full. */
void health_note_room(struct health *dir);
/* Is the directory full? Cheap. */
bool health_is_full(const struct health *health);

/* Does the disk refuse (EIO, EROFS, ...), and is not merely full (ENOSPC, EDQUOT), nor this process short of
 * descriptors or memory? */
bool health_is_of_disk(err e);
/* Takes the log offline, or its directory, with one line that says why. */
void health_fail(struct health *log, err e, const char *doing);
/* Takes the directory offline, with one line; `why` is a sentence that names the path. */
void health_fail_dir(struct health *dir, const char *why);

#endif
