/* One log directory: whether it works, its lock, its identity, its names, its clean marker. (reference:
 * storage format §1, §2, §9, §16) Shared by logs*.c only. One thread, but for `health`. */
#ifndef OTTLA_STORAGE_LOGS_DIR_H
#define OTTLA_STORAGE_LOGS_DIR_H

#include "base/map.h"
#include "base/properties.h"
#include "storage/health.h"
#include "storage/logs.h"
#include "storage/room.h"

struct log_dir {
    char *path;
    struct health *health;        /* a reference; its logs have others. Any thread */
    struct room *room;            /* owned. Any thread */
    int lock_fd;                  /* -1: not held */
    struct properties properties; /* meta.properties as it is */
    bool clean;                   /* the marker was there, and was removed */
    bool failed;                  /* something could not be written: no marker at the end */
    size_t partitions_n;
    struct name_list subdirs;   /* as they were when the lock was taken; sorted */
    struct map recovery_points; /* "topic-partition" to checkpoint_value(), as read at the start */
    struct map start_offsets;
    struct map cleaned_to;
    struct map high_watermarks;
    struct map stale; /* names in its checkpoint files that it has no log of; value unused */
    bool has_cleaned; /* there is a cleaner-offset-checkpoint that says something */
};

/* What a subdirectory is. */
enum dir_kind { DIR_PARTITION, DIR_DELETED, DIR_FUTURE, DIR_KEPT, DIR_FOREIGN };
/* Takes a name apart; `topic` points into it. DIR_KEPT: -stray, remote-log-index-cache. */
enum dir_kind dir_name_parse(const char *name, struct str *topic, int32_t *partition);

/* `health` becomes the directory's. `fs`: what its reserve is made and given up with. */
void log_dir_init(struct log_dir *dir, const char *path, struct health *health, struct fs *fs);
/* Releases the lock without touching anything else. */
void log_dir_deinit(struct log_dir *dir, struct fs *fs);

bool log_dir_is_online(const struct log_dir *dir);

/* Creates the directory (and its parents), takes the lock, reads meta.properties, refuses foreign
 * subdirectories. E_CONFIG, or an errno's error where the disk refused, with the reason. */
NODISCARD err log_dir_lock(struct log_dir *dir, struct fs *fs, char reason[LOGS_REASON_BYTES]);
/* The ids that meta.properties tells; -1 and "" where it does not. */
NODISCARD err log_dir_identity(const struct log_dir *dir, int32_t *broker_id,
                               const char **cluster_id, char reason[LOGS_REASON_BYTES]);
/* Writes meta.properties if it would change; other keys in it are kept. */
NODISCARD err log_dir_write_identity(struct log_dir *dir, const struct storage_env *env,
                                     int32_t broker_id, const char *cluster_id);
/* Notes and removes the clean marker, reads the checkpoints. */
NODISCARD err log_dir_begin(struct log_dir *dir, struct fs *fs);
/* Writes the marker and removes the lock file: the very end of a clean stop. */
NODISCARD err log_dir_end(struct log_dir *dir, struct fs *fs);
/* Offsets as values of a map, which may not be NULL. */
static inline void *checkpoint_value(int64_t offset)
{
    return (void *)((uintptr_t)offset + 1);
}
static inline int64_t checkpoint_offset(const void *value)
{
    return value == NULL ? 0 : (int64_t)((uintptr_t)value - 1);
}

#endif
