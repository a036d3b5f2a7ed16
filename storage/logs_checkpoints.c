/* The checkpoint files of all logs, written while they are in use: recovery points, starts, high
 * watermarks.
 *
 * Checkpoints on the disk may name partitions that are gone. Were one created again and the broker
 * killed, the old start offset would be taken for the new log's; so those names are remembered as
 * `stale`, and a creation that meets one writes the checkpoints first. For the locks see logs.c. */
#define _GNU_SOURCE
#include "storage/logs_internal.h"

#include <stdlib.h>

char *logs_key(struct topic_partition name)
{
    return xasprintf("%.*s-%d", (int)name.topic.len, name.topic.data, name.partition);
}

void logs_note_stale(struct logs *logs, const struct map *checkpoint)
{
    map_each (found, checkpoint) {
        struct bytes key = bytes_of(found->key, found->key_len);
        if (map_get(&logs->entries, key) == NULL) {
            map_set(&logs->stale, key, logs);
        }
    }
}

void checkpoints_begin(struct next_checkpoints *next)
{
    offset_checkpoint_begin(&next->points);
    offset_checkpoint_begin(&next->starts);
}

void checkpoints_add(struct next_checkpoints *next, const struct entry *entry,
                     int64_t recovery_point, int64_t start_offset)
{
    CHECK(recovery_point >= 0 && start_offset >= 0);
    struct str topic = str_of(entry->topic);
    offset_checkpoint_add(&next->points, topic, entry->partition, recovery_point);
    if (start_offset > 0) {
        offset_checkpoint_add(&next->starts, topic, entry->partition, start_offset);
    }
}

static err write_starts(struct next_checkpoints *next, struct fs *fs, const struct log_dir *dir)
{
    char *path = xasprintf("%s/log-start-offset-checkpoint", dir->path);
    err e = offset_checkpoint_write(&next->starts, fs, path, true);
    free(path);
    return e;
}

static err write_points(struct next_checkpoints *next, struct fs *fs, const struct log_dir *dir)
{
    char *path = xasprintf("%s/recovery-point-offset-checkpoint", dir->path);
    err e = offset_checkpoint_write(&next->points, fs, path, true);
    free(path);
    return e;
}

err checkpoints_write(struct next_checkpoints *next, struct fs *fs, const struct log_dir *dir)
{
    err e = write_points(next, fs, dir);
    err e2 = write_starts(next, fs, dir);
    return e != OK ? e : e2;
}

/* A directory whose disk refuses is offline from then on, and holds up nothing in the others. */
static err after_write(const struct log_dir *dir, err e)
{
    if (!health_is_of_disk(e)) {
        return e;
    }
    char *why = xasprintf("writing checkpoints in %s failed: %s", dir->path, err_text(e));
    health_fail_dir(dir->health, why);
    free(why);
    return OK;
}

/* Of the logs of one directory. */
static void collect_checkpoints(struct logs *logs, size_t dir, struct next_checkpoints *next)
{
    checkpoints_begin(next);
    pthread_mutex_lock(&logs->lock);
    map_each (found, &logs->entries) {
        const struct entry *entry = found->value;
        if (entry->dir == dir && entry->log != NULL) {
            checkpoints_add(next, entry, plog_recovery_point(entry->log),
                            plog_start_to_checkpoint(entry->log));
        } else if (entry->dir == dir) {
            checkpoints_add(next, entry, entry->recovery_point, entry->start_offset);
        }
    }
    pthread_mutex_unlock(&logs->lock);
}

static err write_recovery_points(struct logs *logs)
{
    err first = OK;
    pthread_mutex_lock(&logs->lock);
    struct map were_stale = logs->stale;
    map_init(&logs->stale); /* a log that is deleted from here on may be in the new files */
    pthread_mutex_unlock(&logs->lock);
    for (size_t i = 0; i < logs->dirs_n; i++) {
        const struct log_dir *dir = &logs->dirs[i];
        if (!log_dir_is_online(dir)) {
            continue;
        }
        struct next_checkpoints next;
        collect_checkpoints(logs, i, &next);
        err e = after_write(dir, checkpoints_write(&next, logs->env->fs, dir));
        first = first == OK ? e : first;
    }
    if (first != OK) {
        pthread_mutex_lock(&logs->lock);
        logs_note_stale(logs, &were_stale);
        pthread_mutex_unlock(&logs->lock);
    }
    map_deinit(&were_stale);
    return first;
}

err logs_write_recovery_points(struct logs *logs)
{
    pthread_mutex_lock(&logs->points_lock);
    err e = write_recovery_points(logs);
    pthread_mutex_unlock(&logs->points_lock);
    return e;
}

err logs_write_checkpoint(struct logs *logs, enum logs_checkpoint which)
{
    err first = OK;
    pthread_mutex_lock(&logs->points_lock);
    for (size_t i = 0; i < logs->dirs_n; i++) {
        const struct log_dir *dir = &logs->dirs[i];
        if (!log_dir_is_online(dir)) {
            continue;
        }
        struct next_checkpoints next;
        collect_checkpoints(logs, i, &next);
        bool points = which == LOGS_RECOVERY_POINTS;
        offset_checkpoint_discard(points ? &next.starts : &next.points);
        err e = after_write(dir, points ? write_points(&next, logs->env->fs, dir)
                                        : write_starts(&next, logs->env->fs, dir));
        first = first == OK ? e : first;
    }
    pthread_mutex_unlock(&logs->points_lock);
    return first;
}

err logs_forget_stale(struct logs *logs, const char *key)
{
    pthread_mutex_lock(&logs->points_lock);
    pthread_mutex_lock(&logs->lock);
    bool stale = map_get_str(&logs->stale, str_of(key)) != NULL;
    pthread_mutex_unlock(&logs->lock);
    err e = stale ? write_recovery_points(logs) : OK;
    pthread_mutex_unlock(&logs->points_lock);
    return e;
}

static int64_t old_high_watermark_locked(const struct logs *logs, const struct entry *entry,
                                         struct bytes key)
{
    return checkpoint_offset(map_get(&logs->dirs[entry->dir].high_watermarks, key));
}

int64_t logs_checkpointed_high_watermark(struct logs *logs, struct topic_partition name)
{
    char *key = logs_key(name);
    struct bytes key_bytes = bytes_of(key, strlen(key));
    pthread_mutex_lock(&logs->lock);
    const struct entry *entry = map_get(&logs->entries, key_bytes);
    int64_t offset = entry == NULL ? 0 : old_high_watermark_locked(logs, entry, key_bytes);
    pthread_mutex_unlock(&logs->lock);
    free(key);
    return offset;
}

static err write_high_watermarks(struct logs *logs, size_t at, bool durable,
                                 int64_t (*high_watermark)(void *context, struct plog *log),
                                 void *context)
{
    struct offset_checkpoint next;
    offset_checkpoint_begin(&next);
    pthread_mutex_lock(&logs->lock);
    map_each (found, &logs->entries) {
        const struct entry *entry = found->value;
        struct bytes key = bytes_of(found->key, found->key_len);
        if (entry->dir == at) {
            int64_t offset = entry->log == NULL ? -1 : high_watermark(context, entry->log);
            offset = offset >= 0 ? offset : old_high_watermark_locked(logs, entry, key);
            offset_checkpoint_add(&next, str_of(entry->topic), entry->partition, offset);
        }
    }
    pthread_mutex_unlock(&logs->lock);
    char *path = xasprintf("%s/replication-offset-checkpoint", logs->dirs[at].path);
    err e = offset_checkpoint_write(&next, logs->env->fs, path, durable);
    free(path);
    return after_write(&logs->dirs[at], e);
}

err logs_write_high_watermarks(struct logs *logs, bool durable,
                               int64_t (*high_watermark)(void *context, struct plog *log),
                               void *context)
{
    err first = OK;
    for (size_t i = 0; i < logs->dirs_n; i++) {
        if (log_dir_is_online(&logs->dirs[i])) {
            err e = write_high_watermarks(logs, i, durable, high_watermark, context);
            first = first == OK ? e : first;
        }
    }
    return first;
}
