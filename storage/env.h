/* What everything of storage is handed: nothing here looks for a disk or a clock of its own. */
#ifndef OTTLA_STORAGE_ENV_H
#define OTTLA_STORAGE_ENV_H

#include "base/clock.h"
#include "base/random.h"
#include "storage/file_cache.h"

/* What all logs share; owned by the broker, outlives them. */
struct storage_env {
    struct fs *fs;
    struct clock *clock;
    struct random *random;
    struct file_cache *files;
};

#endif
