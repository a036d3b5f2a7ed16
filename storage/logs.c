/* The table of all logs, over one or several directories.
 *
 * A start: lock every directory, learn who they belong to, then (logs_load) remove the clean
 * marker, read the checkpoints and open every partition. A stop: close every log, checkpoints,
 * marker, lock. The marker is removed before the first log is opened, so a crash while loading
 * counts as unclean. A start that fails after that writes it again, if no log was changed: what was
 * stopped cleanly needs no recovery because somebody tried to start.
 *
 * A directory whose disk refuses, at the start or later, is offline (health.h): it is touched no more, but
 * its lock is held until the end where it was taken. Its logs stay in the table, and answer
 * KAFKA_STORAGE_ERROR. A mistake in log.dirs, or a directory that is full, stops the start instead.
 *
 * A log that is damaged below its recovery point is not opened: it stays in the table as a name
 * without a log, with the checkpoint entries it had, so that the next start comes to the same
 * judgement; the others serve.
 *
 * Locks: two, and no file operation under the first.
 *   lock         the table, the stale names, the deleted directories, the old high watermarks. An
 *                entry found under it lives until logs_delete: only the control thread, which is
 *                the one that deletes, may use a log after unlocking, and none uses the entry. The
 *                callbacks of logs_each and logs_write_high_watermarks run under it.
 *   points_lock  one writer of recovery points at a time (the background thread; the control thread
 *                when it meets a stale name). Held over the writing of the files, and `lock` is
 *                taken inside of it, never the other way round. */
#define _GNU_SOURCE
#include "storage/logs_internal.h"

#include "base/log.h"
#include "base/refuse.h"

#include <stdio.h>
#include <stdlib.h>

#define AREA "storage"

enum { NAME_BYTES_MAX = 255, DELETE_SUFFIX_BYTES = 1 + 32 + 7, PROGRESS_INTERVAL_MS = 5000 };

/* All directories must tell the same, and what the configuration tells. */
static err compare_identity(const struct logs *logs, const struct logs_open *how,
                            struct logs_identity *identity, char reason[LOGS_REASON_BYTES])
{
    *identity = (struct logs_identity){.broker_id = -1};
    for (size_t i = 0; i < logs->dirs_n; i++) {
        const struct log_dir *dir = &logs->dirs[i];
        int32_t broker_id = -1;
        const char *cluster_id = "";
        if (!log_dir_is_online(dir)) {
            continue;
        }
        TRY(log_dir_identity(dir, &broker_id, &cluster_id, reason));
        if (broker_id >= 0 && how->broker_id >= 0 && broker_id != how->broker_id) {
            return refuse(reason, LOGS_REASON_BYTES,
                          "broker.id is %d, but %s/meta.properties says %d; set that broker.id, or "
                          "other log.dirs",
                          how->broker_id, dir->path, broker_id);
        }
        if (*cluster_id != '\0' && how->cluster_id != NULL &&
            strcmp(cluster_id, how->cluster_id) != 0) {
            return refuse(reason, LOGS_REASON_BYTES,
                          "the cluster id is %s, but %s/meta.properties says %s", how->cluster_id,
                          dir->path, cluster_id);
        }
        if (broker_id >= 0 && identity->broker_id >= 0 && broker_id != identity->broker_id) {
            return refuse(reason, LOGS_REASON_BYTES,
                          "%s/meta.properties says broker.id %d, another directory %d; they are of "
                          "two brokers",
                          dir->path, broker_id, identity->broker_id);
        }
        if (*cluster_id != '\0' && identity->cluster_id[0] != '\0' &&
            strcmp(cluster_id, identity->cluster_id) != 0) {
            return refuse(reason, LOGS_REASON_BYTES,
                          "%s/meta.properties says cluster.id %s, another directory %s; they are "
                          "of two clusters",
                          dir->path, cluster_id, identity->cluster_id);
        }
        identity->broker_id = broker_id >= 0 ? broker_id : identity->broker_id;
        if (*cluster_id != '\0') {
            snprintf(identity->cluster_id, sizeof(identity->cluster_id), "%s", cluster_id);
        }
    }
    return OK;
}

/* After a step of the start: is it refused, with `reason`? Where the disk refused, the directory is offline
 * and the start goes on. */
static err go_on_without(struct logs *logs, struct log_dir *dir, err e,
                         char reason[LOGS_REASON_BYTES])
{
    if (e == OK || (!health_is_of_disk(e) && log_dir_is_online(dir))) {
        return e == OK ? OK : E_CONFIG;
    }
    health_fail_dir(dir->health, reason);
    refuse_name(logs->lost, sizeof(logs->lost),
                logs->dirs_n == 1 ? "" : "none of log.dirs can be used: ", "; ", str_of(reason));
    reason[0] = '\0';
    return OK;
}

static err check_any_left(const struct logs *logs, char reason[LOGS_REASON_BYTES])
{
    if (logs_dirs_online(logs) > 0) {
        return OK;
    }
    return refuse(reason, LOGS_REASON_BYTES, "%s",
                  logs->lost[0] == '\0' ? "all of log.dirs have failed" : logs->lost);
}

err logs_lock(const struct storage_env *env, const struct logs_open *how, struct logs **logs,
              struct logs_identity *identity, char reason[LOGS_REASON_BYTES])
{
    struct logs *made = xcalloc(1, sizeof(*made));
    made->env = env;
    made->config_of = how->config_of;
    made->context = how->context;
    made->dirs = xcalloc(how->dirs_n, sizeof(*made->dirs));
    pthread_mutex_init(&made->lock, NULL);
    pthread_mutex_init(&made->points_lock, NULL);
    map_init(&made->entries);
    map_init(&made->stale);
    reason[0] = '\0';
    err e = how->dirs_n == 0 ? refuse(reason, LOGS_REASON_BYTES, "log.dirs is empty") : OK;
    for (; made->dirs_n < how->dirs_n; made->dirs_n++) {
        const char *path = how->dirs[made->dirs_n];
        log_dir_init(&made->dirs[made->dirs_n], path,
                     health_of_dir(path, how->dir_failed, how->failed_context));
    }
    for (size_t i = 0; e == OK && i < made->dirs_n; i++) {
        e = log_dir_lock(&made->dirs[i], env->fs, reason);
        e = go_on_without(made, &made->dirs[i], e, reason);
    }
    e = e == OK ? check_any_left(made, reason) : e;
    e = e == OK ? compare_identity(made, how, identity, reason) : e;
    if (e != OK) {
        logs_abandon(made);
        return e;
    }
    *logs = made;
    return OK;
}

/* After the broker's delay, not the topic's: it is gone, and at the next start nobody knows what it was. As in Kafka. */
static void deleted_push(struct logs *logs, char *path)
{
    int64_t delay_ms = logs->config_of(logs->context, STR("")).file_delete_delay_ms;
    CHECK(delay_ms >= 0);
    pthread_mutex_lock(&logs->lock);
    if (logs->deleted_n == logs->deleted_cap) {
        logs->deleted_cap = logs->deleted_cap == 0 ? 8 : logs->deleted_cap * 2;
        logs->deleted = xrealloc(logs->deleted, logs->deleted_cap * sizeof(*logs->deleted));
    }
    logs->deleted[logs->deleted_n++] = (struct deleted_dir){
        .path = path, .due_ms = clock_monotonic_ms(logs->env->clock) + delay_ms};
    pthread_mutex_unlock(&logs->lock);
}

static struct entry *entry_add(struct logs *logs, const char *key, size_t dir,
                               struct topic_partition name, struct plog *log)
{
    CHECK(dir < logs->dirs_n);
    struct entry *entry = xcalloc(1, sizeof(*entry));
    entry->log = log;
    entry->dir = dir;
    entry->topic = str_dup(name.topic);
    entry->partition = name.partition;
    pthread_mutex_lock(&logs->lock);
    CHECK(map_set_str(&logs->entries, str_of(key), entry) == NULL);
    logs->dirs[dir].partitions_n++;
    pthread_mutex_unlock(&logs->lock);
    return entry;
}

static err load_partition(struct logs *logs, size_t at, const char *key,
                          struct topic_partition name, char reason[LOGS_REASON_BYTES])
{
    struct log_dir *dir = &logs->dirs[at];
    struct entry *known = map_get_str(&logs->entries, str_of(key));
    if (known != NULL) {
        return refuse(reason, LOGS_REASON_BYTES,
                      "%s is in two log directories: %s and %s; move one of them away", key,
                      logs->dirs[known->dir].path, dir->path);
    }
    char *path = xasprintf("%s/%s", dir->path, key);
    struct plog_open how = {
        .dir = path,
        .name = name,
        .dir_health = dir->health,
        .config = logs->config_of(logs->context, name.topic),
        .clean = dir->clean,
        .recovery_point = checkpoint_offset(map_get_str(&dir->recovery_points, str_of(key))),
        .log_start_offset = checkpoint_offset(map_get_str(&dir->start_offsets, str_of(key))),
        .cleaned_to = checkpoint_offset(map_get_str(&dir->cleaned_to, str_of(key))),
    };
    struct plog *log = NULL;
    err e = plog_open(logs->env, &how, &log);
    if (e != OK && e != E_CORRUPT) {
        dir->failed = true;
        e = refuse_with(e, reason, LOGS_REASON_BYTES, "cannot load %s: %s", path, err_text(e));
    } else {
        struct entry *entry = entry_add(logs, key, at, name, log);
        entry->recovery_point = how.recovery_point;
        logs->promises_more |= log != NULL && how.recovery_point > plog_recovery_point(log);
        entry->start_offset = how.log_start_offset;
        entry->cleaned_to = how.cleaned_to;
        dir->failed |= e == E_CORRUPT;
        e = OK;
    }
    free(path);
    return e;
}

static err load_dir(struct logs *logs, size_t at, char reason[LOGS_REASON_BYTES])
{
    struct log_dir *dir = &logs->dirs[at];
    const struct name_list *names = &dir->subdirs;
    err e = OK;
    int64_t said_ms = clock_monotonic_ms(logs->env->clock);
    for (size_t i = 0; i < names->count && e == OK; i++) {
        struct topic_partition name = {0};
        enum dir_kind kind = dir_name_parse(names->names[i], &name.topic, &name.partition);
        if (kind == DIR_PARTITION) {
            e = load_partition(logs, at, names->names[i], name, reason);
        } else if (kind == DIR_DELETED) {
            deleted_push(logs, xasprintf("%s/%s", dir->path, names->names[i]));
        } else {
            log_info(AREA, "leaving a directory alone path=%s/%s", dir->path, names->names[i]);
        }
        int64_t now_ms = clock_monotonic_ms(logs->env->clock);
        if (now_ms - said_ms >= PROGRESS_INTERVAL_MS) {
            log_info(AREA, "loading logs dir=%s done=%zu total=%zu", dir->path, i + 1,
                     names->count);
            said_ms = now_ms;
        }
    }
    return e;
}

/* What recovery kept is made durable before anybody sees it: a partition never answers with less than
 * it acknowledged, also where only flushed records count. One syncfs for all logs of the directory:
 * 100 logs of 20 segments, 0.1 to 0.4 s; an fdatasync for each file 2 s and more (storage_bench). */
static err sync_recovered(struct logs *logs, size_t at, char reason[LOGS_REASON_BYTES])
{
    struct log_dir *dir = &logs->dirs[at];
    if (dir->clean || dir->partitions_n == 0) {
        return OK;
    }
    int64_t began_ms = clock_monotonic_ms(logs->env->clock);
    err e = fs_sync_all(logs->env->fs, dir->path);
    if (e != OK) {
        dir->failed = true;
        return refuse_with(e, reason, LOGS_REASON_BYTES,
                           "cannot make what was recovered durable in %s: %s", dir->path,
                           err_text(e));
    }
    map_each (found, &logs->entries) {
        const struct entry *entry = found->value;
        if (entry->dir == at && entry->log != NULL) {
            plog_note_synced(entry->log);
        }
    }
    log_info(AREA, "synced what was recovered dir=%s ms=%lld", dir->path,
             (long long)(clock_monotonic_ms(logs->env->clock) - began_ms));
    return OK;
}

static err begin_dir(struct log_dir *dir, const struct storage_env *env, int32_t broker_id,
                     const char *cluster_id, char reason[LOGS_REASON_BYTES])
{
    err e = log_dir_write_identity(dir, env, broker_id, cluster_id);
    e = e == OK ? log_dir_begin(dir, env->fs) : e;
    if (e != OK) {
        return refuse_with(e, reason, LOGS_REASON_BYTES, "cannot start with %s: %s", dir->path,
                           err_text(e));
    }
    if (!dir->clean && dir->subdirs.count > 0) {
        log_info(AREA, "recovering: no clean shutdown marker dir=%s", dir->path);
    }
    return OK;
}

err logs_load(struct logs *logs, int32_t broker_id, const char *cluster_id,
              char reason[LOGS_REASON_BYTES])
{
    int64_t began_ms = clock_monotonic_ms(logs->env->clock);
    for (size_t i = 0; i < logs->dirs_n; i++) {
        struct log_dir *dir = &logs->dirs[i];
        if (log_dir_is_online(dir)) {
            err e = begin_dir(dir, logs->env, broker_id, cluster_id, reason);
            e = e == OK ? load_dir(logs, i, reason) : e;
            e = e == OK ? sync_recovered(logs, i, reason) : e;
            TRY(go_on_without(logs, dir, e, reason));
        }
    }
    for (size_t i = 0; i < logs->dirs_n; i++) {
        logs_note_stale(logs, &logs->dirs[i].recovery_points);
        logs_note_stale(logs, &logs->dirs[i].start_offsets);
    }
    logs->loaded = true;
    if (logs->promises_more) { /* a cut came before its recovery point was on the disk */
        err e = logs_write_recovery_points(logs);
        if (e != OK) {
            return refuse(reason, LOGS_REASON_BYTES, "cannot write recovery points: %s",
                          err_text(e));
        }
    }
    TRY(check_any_left(logs, reason));
    log_info(AREA, "loaded logs count=%zu ms=%lld", logs->entries.count,
             (long long)(clock_monotonic_ms(logs->env->clock) - began_ms));
    return OK;
}

bool logs_were_clean(const struct logs *logs)
{
    for (size_t i = 0; i < logs->dirs_n; i++) {
        if (!logs->dirs[i].clean) {
            return false;
        }
    }
    return true;
}

static void entry_free(struct entry *entry)
{
    free(entry->topic);
    free(entry);
}

static err close_dir(struct logs *logs, size_t at)
{
    struct log_dir *dir = &logs->dirs[at];
    struct next_checkpoints next;
    checkpoints_begin(&next);
    map_each (found, &logs->entries) {
        struct entry *entry = found->value;
        if (entry->dir != at) {
            continue;
        }
        if (entry->log == NULL) {
            checkpoints_add_damaged(&next, entry);
            continue;
        }
        struct checkpointed offsets = checkpointed_of(entry->log);
        int64_t end_offset = plog_end_offset(entry->log);
        err e = plog_close(entry->log);
        entry->log = NULL;
        dir->failed |= e != OK;
        offsets.recovery_point = e == OK ? end_offset : offsets.recovery_point;
        checkpoints_add(&next, entry, &offsets);
    }
    return checkpoints_write(&next, logs->env->fs, dir);
}

static void logs_free(struct logs *logs)
{
    if (logs == NULL) {
        return;
    }
    map_each (found, &logs->entries) {
        struct entry *entry = found->value;
        plog_abandon(entry->log);
        entry_free(entry);
    }
    for (size_t i = 0; i < logs->dirs_n; i++) {
        log_dir_deinit(&logs->dirs[i], logs->env->fs);
    }
    for (size_t i = 0; i < logs->deleted_n; i++) {
        free(logs->deleted[i].path);
    }
    free(logs->deleted);
    free(logs->dirs);
    map_deinit(&logs->entries);
    map_deinit(&logs->stale);
    pthread_mutex_destroy(&logs->lock);
    pthread_mutex_destroy(&logs->points_lock);
    free(logs);
}

void logs_close(struct logs *logs)
{
    for (size_t i = 0; i < logs->dirs_n && logs->loaded; i++) {
        struct log_dir *dir = &logs->dirs[i];
        if (!log_dir_is_online(dir)) {
            log_warn(AREA, "a directory that is offline is left as it is dir=%s", dir->path);
            continue;
        }
        err e = close_dir(logs, i);
        if (e == OK && !dir->failed) {
            e = log_dir_end(dir, logs->env->fs);
        }
        if (e != OK || dir->failed) {
            log_error(AREA, "the stop is not clean, the next start recovers dir=%s error=\"%s\"",
                      dir->path, err_text(e));
        }
    }
    logs_free(logs);
}

/* Is every log of this directory as a clean stop left it? */
static bool dir_is_unchanged(const struct logs *logs, size_t at)
{
    const struct log_dir *dir = &logs->dirs[at];
    bool unchanged = dir->clean && !dir->failed && log_dir_is_online(dir);
    map_each (found, &logs->entries) {
        const struct entry *entry = found->value;
        if (entry->dir == at) {
            unchanged = unchanged && entry->log != NULL && plog_is_unchanged(entry->log);
        }
    }
    return unchanged;
}

void logs_abandon(struct logs *logs)
{
    for (size_t i = 0; logs != NULL && i < logs->dirs_n; i++) {
        struct log_dir *dir = &logs->dirs[i];
        err e = dir_is_unchanged(logs, i) ? log_dir_end(dir, logs->env->fs) : OK;
        if (e != OK) {
            log_error(AREA, "cannot mark a directory as clean again dir=%s error=\"%s\"", dir->path,
                      err_text(e));
        }
    }
    logs_free(logs);
}

/* Is there such a log? *log is NULL when it is damaged. */
static bool look_up(struct logs *logs, struct topic_partition name, struct plog **log)
{
    char key[NAME_BYTES_MAX + 32];
    int len =
        snprintf(key, sizeof(key), "%.*s-%d", (int)name.topic.len, name.topic.data, name.partition);
    *log = NULL;
    if (len < 0 || (size_t)len >= sizeof(key)) {
        return false;
    }
    pthread_mutex_lock(&logs->lock);
    const struct entry *entry =
        map_get_str(&logs->entries, (struct str){.data = key, .len = (size_t)len});
    if (entry != NULL) {
        *log = entry->log;
    }
    pthread_mutex_unlock(&logs->lock);
    return entry != NULL;
}

struct plog *logs_get(struct logs *logs, struct topic_partition name)
{
    struct plog *log = NULL;
    (void)look_up(logs, name, &log);
    return log;
}

enum { ALL_DIRS = -1 };

static void each_of(struct logs *logs, ssize_t dir, void (*each)(void *context, struct plog *log),
                    void *context)
{
    pthread_mutex_lock(&logs->lock);
    map_each (found, &logs->entries) {
        struct entry *entry = found->value;
        if (entry->log != NULL && (dir == ALL_DIRS || entry->dir == (size_t)dir)) {
            each(context, entry->log);
        }
    }
    pthread_mutex_unlock(&logs->lock);
}

void logs_each(struct logs *logs, void (*each)(void *context, struct plog *log), void *context)
{
    each_of(logs, ALL_DIRS, each, context);
}

void logs_each_in(struct logs *logs, size_t dir, void (*each)(void *context, struct plog *log),
                  void *context)
{
    CHECK(dir < logs->dirs_n);
    each_of(logs, (ssize_t)dir, each, context);
}

size_t logs_count(struct logs *logs)
{
    pthread_mutex_lock(&logs->lock);
    size_t count = logs->entries.count;
    pthread_mutex_unlock(&logs->lock);
    return count;
}

/* Of those that are online. */
static err emptiest_dir(const struct logs *logs, size_t *at)
{
    const struct log_dir *best = NULL;
    for (size_t i = 0; i < logs->dirs_n; i++) {
        const struct log_dir *dir = &logs->dirs[i];
        if (log_dir_is_online(dir) && (best == NULL || dir->partitions_n < best->partitions_n)) {
            best = dir;
            *at = i;
        }
    }
    return best == NULL ? ERR_KAFKA_STORAGE_ERROR : OK;
}

/* The disk refused what concerns no single log. */
static void fail_dir(struct log_dir *dir, err e, const char *doing, const char *path)
{
    if (health_is_of_disk(e)) {
        char *why = xasprintf("%s %s failed: %s", doing, path, err_text(e));
        health_fail_dir(dir->health, why);
        free(why);
    }
}

static err existing(struct plog *known, struct uuid topic_id, struct plog **log)
{
    if (known == NULL) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    if (!uuid_is_zero(topic_id)) {
        TRY(plog_set_topic_id(known, topic_id));
    }
    *log = known;
    return OK;
}

err logs_create(struct logs *logs, struct topic_partition name, struct uuid topic_id,
                const struct log_config *config, struct plog **log)
{
    struct plog *known = NULL;
    if (look_up(logs, name, &known)) {
        return existing(known, topic_id, log);
    }
    char *key = logs_key(name);
    err e = strlen(key) > NAME_BYTES_MAX ? E_LIMIT : OK;
    e = e == OK ? logs_forget_stale(logs, key) : e;
    size_t at = 0;
    e = e == OK ? emptiest_dir(logs, &at) : e;
    struct log_dir *dir = &logs->dirs[at];
    char *path = xasprintf("%s/%s", dir->path, key);
    struct plog_open how = {
        .dir = path, .name = name, .dir_health = dir->health, .config = *config, .clean = true};
    struct plog *made = NULL;
    e = e == OK ? plog_open(logs->env, &how, &made) : e;
    if (e == OK && !uuid_is_zero(topic_id)) {
        e = plog_set_topic_id(made, topic_id);
    }
    if (e == OK) {
        entry_add(logs, key, at, name, made);
        *log = made;
    } else {
        plog_abandon(made);
        fail_dir(dir, e, "creating", path);
        e = e > 0 || e == E_LIMIT ? e : ERR_KAFKA_STORAGE_ERROR;
    }
    free(path);
    free(key);
    return e;
}

/* "<topic>-<partition>.<32 hex>-delete", the front shortened to fit a file name. */
static char *deleted_name(struct random *random, const char *dir, const char *key)
{
    struct uuid id = uuid_random(random);
    char hex[33];
    for (size_t i = 0; i < sizeof(id.bytes); i++) {
        snprintf(hex + 2 * i, 3, "%02x", id.bytes[i]);
    }
    int keep = NAME_BYTES_MAX - DELETE_SUFFIX_BYTES;
    return xasprintf("%s/%.*s.%s-delete", dir, keep, key, hex);
}

err logs_delete(struct logs *logs, struct topic_partition name)
{
    char *key = logs_key(name);
    pthread_mutex_lock(&logs->lock);
    struct entry *entry = map_get_str(&logs->entries, str_of(key));
    bool online = entry != NULL && log_dir_is_online(&logs->dirs[entry->dir]);
    if (online) {
        (void)map_remove_str(&logs->entries, str_of(key));
    }
    pthread_mutex_unlock(&logs->lock);
    if (!online) {
        free(key);
        return entry == NULL ? E_NOT_FOUND : ERR_KAFKA_STORAGE_ERROR;
    }
    struct log_dir *dir = &logs->dirs[entry->dir];
    struct fs *fs = logs->env->fs;
    char *path = xasprintf("%s/%s", dir->path, key);
    char *renamed = deleted_name(logs->env->random, dir->path, key);
    err e = fs_rename(fs, path, renamed);
    plog_abandon(entry->log); /* forgets the open files, after the rename */
    e = e == OK ? fs_sync_dir(fs, dir->path) : e;
    pthread_mutex_lock(&logs->lock);
    CHECK(dir->partitions_n > 0);
    dir->partitions_n--;
    map_set_str(&logs->stale, str_of(key), logs);
    map_remove_str(&dir->high_watermarks, str_of(key));
    pthread_mutex_unlock(&logs->lock);
    if (e == OK) {
        deleted_push(logs, renamed);
    } else {
        log_error(AREA, "cannot delete a log dir=%s error=\"%s\"", path, err_text(e));
        fail_dir(dir, e, "deleting", path);
        free(renamed);
        e = ERR_KAFKA_STORAGE_ERROR;
    }
    entry_free(entry);
    free(path);
    free(key);
    return e;
}

int64_t logs_remove_deleted(struct logs *logs)
{
    for (;;) {
        int64_t now_ms = clock_monotonic_ms(logs->env->clock);
        int64_t next_ms = -1;
        char *path = NULL;
        pthread_mutex_lock(&logs->lock);
        for (size_t i = 0; i < logs->deleted_n && path == NULL; i++) {
            int64_t wait_ms = logs->deleted[i].due_ms - now_ms;
            if (wait_ms <= 0) {
                path = logs->deleted[i].path;
                logs->deleted[i] = logs->deleted[--logs->deleted_n];
            } else if (next_ms < 0 || wait_ms < next_ms) {
                next_ms = wait_ms;
            }
        }
        pthread_mutex_unlock(&logs->lock);
        if (path == NULL) {
            return next_ms;
        }
        err e = fs_remove_dir(logs->env->fs, path);
        if (e != OK) {
            log_warn(AREA, "cannot remove a deleted log dir=%s error=\"%s\"", path, err_text(e));
        }
        free(path);
    }
}

const char *logs_first_dir(const struct logs *logs)
{
    size_t at = 0;
    while (at + 1 < logs->dirs_n && !log_dir_is_online(&logs->dirs[at])) {
        at++;
    }
    return logs->dirs[at].path;
}

size_t logs_dirs_online(const struct logs *logs)
{
    size_t online = 0;
    for (size_t i = 0; i < logs->dirs_n; i++) {
        online += log_dir_is_online(&logs->dirs[i]) ? 1 : 0;
    }
    return online;
}

bool logs_dir_is_online(const struct logs *logs, size_t dir)
{
    CHECK(dir < logs->dirs_n);
    return log_dir_is_online(&logs->dirs[dir]);
}

size_t logs_dirs(const struct logs *logs)
{
    return logs->dirs_n;
}

char *logs_dir_path(const struct logs *logs, size_t dir)
{
    CHECK(dir < logs->dirs_n);
    return fs_absolute(logs->dirs[dir].path);
}

err logs_dir_space(const struct logs *logs, size_t dir, struct fs_space *space)
{
    CHECK(dir < logs->dirs_n);
    return fs_space(logs->env->fs, logs->dirs[dir].path, space);
}
