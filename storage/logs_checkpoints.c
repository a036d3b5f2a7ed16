/* The checkpoint files of all logs, written while they are in use: recovery points, starts, high
 * watermarks, how far logs are cleaned.
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

struct checkpointed checkpointed_of(const struct plog *log)
{
    return (struct checkpointed){.recovery_point = plog_recovery_point(log),
                                 .start_offset = plog_start_to_checkpoint(log),
                                 .cleaned_to = plog_cleaned_to(log)};
}

void checkpoints_begin(struct next_checkpoints *next)
{
    offset_checkpoint_begin(&next->points);
    offset_checkpoint_begin(&next->starts);
    offset_checkpoint_begin(&next->cleaned);
}

void checkpoints_add(struct next_checkpoints *next, const struct entry *entry,
                     const struct checkpointed *offsets)
{
    CHECK(offsets->recovery_point >= 0 && offsets->start_offset >= 0 && offsets->cleaned_to >= 0);
    struct str topic = str_of(entry->topic);
    offset_checkpoint_add(&next->points, topic, entry->partition, offsets->recovery_point);
    if (offsets->start_offset > 0) {
        offset_checkpoint_add(&next->starts, topic, entry->partition, offsets->start_offset);
    }
    if (offsets->cleaned_to > 0) {
        offset_checkpoint_add(&next->cleaned, topic, entry->partition, offsets->cleaned_to);
    }
}

void checkpoints_add_damaged(struct next_checkpoints *next, const struct entry *entry)
{
    struct checkpointed offsets = {.recovery_point = entry->recovery_point,
                                   .start_offset = entry->start_offset,
                                   .cleaned_to = entry->cleaned_to};
    checkpoints_add(next, entry, &offsets);
}

/* Writes one of them, and lets go of it. */
static err write_one(struct offset_checkpoint *checkpoint, struct fs *fs, const struct log_dir *dir,
                     const char *name)
{
    char *path = xasprintf("%s/%s", dir->path, name);
    err e = offset_checkpoint_write(checkpoint, fs, path, true);
    free(path);
    return e;
}

/* A directory in which nothing was ever cleaned has none. */
static err write_cleaned(struct next_checkpoints *next, struct fs *fs, struct log_dir *dir)
{
    if (next->cleaned.count == 0 && !dir->has_cleaned) {
        offset_checkpoint_discard(&next->cleaned);
        return OK;
    }
    dir->has_cleaned = true;
    return write_one(&next->cleaned, fs, dir, "cleaner-offset-checkpoint");
}

static err write_starts(struct next_checkpoints *next, struct fs *fs, const struct log_dir *dir)
{
    return write_one(&next->starts, fs, dir, "log-start-offset-checkpoint");
}

static err write_points(struct next_checkpoints *next, struct fs *fs, const struct log_dir *dir)
{
    return write_one(&next->points, fs, dir, "recovery-point-offset-checkpoint");
}

err checkpoints_write(struct next_checkpoints *next, struct fs *fs, struct log_dir *dir)
{
    err e = write_points(next, fs, dir);
    err e2 = write_starts(next, fs, dir);
    err e3 = write_cleaned(next, fs, dir);
    e2 = e2 != OK ? e2 : e3;
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

/* What an entry has in a directory: the log, its copy, or what it has taken the place of, which counts until it is gone. */
static const struct plog *log_in(const struct entry *entry, size_t dir)
{
    if (entry->future != NULL && entry->future_dir == dir) {
        return entry->future;
    }
    if (entry->former != NULL && entry->former_dir == dir) {
        return entry->former;
    }
    return entry->dir == dir ? entry->log : NULL;
}

/* Of the logs of one directory. */
static void collect_checkpoints(struct logs *logs, size_t dir, struct next_checkpoints *next)
{
    checkpoints_begin(next);
    pthread_mutex_lock(&logs->lock);
    map_each (found, &logs->entries) {
        const struct entry *entry = found->value;
        const struct plog *log = log_in(entry, dir);
        if (log != NULL) {
            struct checkpointed offsets = checkpointed_of(log);
            checkpoints_add(next, entry, &offsets);
        } else if (entry->dir == dir) {
            checkpoints_add_damaged(next, entry);
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
        struct log_dir *dir = &logs->dirs[i];
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

err logs_write_recovery_points_in(struct logs *logs, size_t dir)
{
    struct next_checkpoints next;
    struct log_dir *at = &logs->dirs[dir];
    pthread_mutex_lock(&logs->points_lock);
    collect_checkpoints(logs, dir, &next);
    err e = after_write(at, checkpoints_write(&next, logs->env->fs, at));
    pthread_mutex_unlock(&logs->points_lock);
    return e == OK && !log_dir_is_online(at) ? ERR_KAFKA_STORAGE_ERROR : e;
}

err logs_write_recovery_points(struct logs *logs)
{
    pthread_mutex_lock(&logs->points_lock);
    err e = write_recovery_points(logs);
    pthread_mutex_unlock(&logs->points_lock);
    return e;
}

static err write_checkpoint(struct logs *logs, size_t dir, enum logs_checkpoint which)
{
    struct next_checkpoints next;
    struct log_dir *at = &logs->dirs[dir];
    struct fs *fs = logs->env->fs;
    collect_checkpoints(logs, dir, &next);
    err e = which == LOGS_RECOVERY_POINTS ? write_points(&next, fs, at)
            : which == LOGS_START_OFFSETS ? write_starts(&next, fs, at)
                                          : write_cleaned(&next, fs, at);
    if (which != LOGS_RECOVERY_POINTS) {
        offset_checkpoint_discard(&next.points);
    }
    if (which != LOGS_START_OFFSETS) {
        offset_checkpoint_discard(&next.starts);
    }
    if (which != LOGS_CLEANED) {
        offset_checkpoint_discard(&next.cleaned);
    }
    return e;
}

err logs_write_checkpoint(struct logs *logs, enum logs_checkpoint which)
{
    err first = OK;
    pthread_mutex_lock(&logs->points_lock);
    for (size_t i = 0; i < logs->dirs_n; i++) {
        if (!log_dir_is_online(&logs->dirs[i])) {
            continue;
        }
        err e = after_write(&logs->dirs[i], write_checkpoint(logs, i, which));
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
    pthread_mutex_lock(&logs->points_lock);
    for (size_t i = 0; i < logs->dirs_n; i++) {
        if (log_dir_is_online(&logs->dirs[i])) {
            err e = write_high_watermarks(logs, i, durable, high_watermark, context);
            first = first == OK ? e : first;
        }
    }
    pthread_mutex_unlock(&logs->points_lock);
    return first;
}
