/* What everything of storage is handed: nothing here looks for a disk or a clock of its own. */
#ifndef OTTLA_STORAGE_ENV_H
#define OTTLA_STORAGE_ENV_H

#include "base/clock.h"
#include "base/random.h"
#include "storage/file_cache.h"

/* What all logs share; owned by the broker, or the table of its logs; outlives them.
 *
 * Three ways to the same files, which differ when the disk is full (room.h): what describes the records may have all
 * of the reserve, what coordinators append a part of it, clients' records nothing. NULL: as `fs`. */
struct storage_env {
    struct fs *fs;
    struct fs *fs_of_coordinators;
    struct fs *fs_of_records;
    struct clock *clock;
    struct random *random;
    struct file_cache *files;
};

static inline struct fs *env_fs_of_coordinators(const struct storage_env *env)
{
    return env->fs_of_coordinators == NULL ? env->fs : env->fs_of_coordinators;
}

static inline struct fs *env_fs_of_records(const struct storage_env *env)
{
    return env->fs_of_records == NULL ? env->fs : env->fs_of_records;
}

#endif
