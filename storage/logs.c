/* The table of all logs, over one or several directories: what happens to it after the start (logs_start.c). A stop: close
 * every log, checkpoints, marker, lock. A start that fails after it has removed the marker writes it again, if no log was
 * changed: what was stopped cleanly needs no recovery because somebody tried to start.
 *
 * A directory whose disk refuses, at the start or later, is offline (health.h): it is touched no more, but
 * its lock is held until the end where it was taken. Its logs stay in the table, and answer
 * KAFKA_STORAGE_ERROR.
 *
 * Locks: two, and no file operation under the first.
 *   lock         the table, the stale names, the deleted directories, the old high watermarks. An
 *                entry found under it lives until logs_delete: only the control thread, which is
 *                the one that deletes, may use a log after unlocking, and none uses the entry. The
 *                callbacks of logs_each and logs_write_high_watermarks run under it.
 *   points_lock  one writer of checkpoints at a time (the background thread; the cleaner; the thread that creates and
 *                deletes, when it meets a stale name or has moved a log). Held over the writing of the files, and `lock` is
 *                taken inside of it, never the other way round. */
#define _GNU_SOURCE
#include "storage/logs_internal.h"

#include "base/log.h"
#include "base/planted.h"

#include <stdio.h>
#include <stdlib.h>

#define AREA "storage"

/* After the broker's delay, not the topic's: it is gone, and at the next start nobody knows what it was. As in Kafka. */
void logs_note_deleted(struct logs *logs, size_t dir, char *path)
{
    int64_t delay_ms = logs->config_of(logs->context, STR("")).file_delete_delay_ms;
    CHECK(delay_ms >= 0);
    pthread_mutex_lock(&logs->lock);
    if (logs->deleted_n == logs->deleted_cap) {
        logs->deleted_cap = logs->deleted_cap == 0 ? 8 : logs->deleted_cap * 2;
        logs->deleted = xrealloc(logs->deleted, logs->deleted_cap * sizeof(*logs->deleted));
    }
    logs->deleted[logs->deleted_n++] = (struct deleted_dir){
        .path = path, .dir = dir, .due_ms = clock_monotonic_ms(logs->env->clock) + delay_ms};
    pthread_mutex_unlock(&logs->lock);
}

struct entry *logs_entry_add(struct logs *logs, const char *key, size_t dir,
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

struct plog **logs_place_in(struct entry *entry, size_t dir)
{
    if (entry->future != NULL && entry->future_dir == dir) {
        return &entry->future;
    }
    if (entry->former != NULL && entry->former_dir == dir) {
        return &entry->former;
    }
    return entry->log != NULL && entry->dir == dir ? &entry->log : NULL;
}

err logs_sync_at_once(struct logs *logs, size_t dir)
{
    TRY(fs_sync_all(logs->env->fs, logs->dirs[dir].lock_fd));
    map_each (found, &logs->entries) {
        struct plog **log = logs_place_in(found->value, dir);
        if (log != NULL && !plog_is_offline(*log)) {
            plog_note_synced(*log);
        }
    }
    return OK;
}

static void entry_free(struct entry *entry)
{
    plog_abandon(entry->log);
    plog_abandon(entry->future);
    plog_abandon(entry->former);
    free(entry->topic);
    free(entry);
}

/* Closes one log of an entry, and adds it to the next checkpoints. */
static void close_log(struct log_dir *dir, const struct entry *entry, struct plog *log,
                      struct next_checkpoints *next)
{
    struct checkpointed offsets = checkpointed_of(log);
    int64_t end_offset = plog_end_offset(log);
    err e = plog_close(log);
    dir->failed |= e != OK;
    offsets.recovery_point = e == OK ? end_offset : offsets.recovery_point;
    checkpoints_add(next, entry, &offsets);
}

static bool has_many_to_write(struct logs *logs, size_t at)
{
    size_t count = 0;
    map_each (found, &logs->entries) {
        struct plog **log = logs_place_in(found->value, at);
        count += log != NULL && !plog_is_unchanged(*log) ? 1 : 0;
    }
    return logs->sync_all_from > 0 && count >= logs->sync_all_from;
}

/* All logs of a directory by one sync: 10,000 of them each by its own took 10 s (bench/logs). */
static err write_all(struct logs *logs, size_t at)
{
    map_each (found, &logs->entries) {
        struct plog **log = logs_place_in(found->value, at);
        if (log != NULL) {
            err_ignore(plog_close_begin(*log)); /* its own close finds the same */
        }
    }
    return planted(MISTAKE_STOP_UNSYNCED) ? OK : logs_sync_at_once(logs, at);
}

static err close_dir(struct logs *logs, size_t at)
{
    struct log_dir *dir = &logs->dirs[at];
    struct next_checkpoints next;
    TRY(has_many_to_write(logs, at) ? write_all(logs, at) : OK);
    checkpoints_begin(&next);
    map_each (found, &logs->entries) {
        struct entry *entry = found->value;
        struct plog **log = logs_place_in(entry, at);
        if (log != NULL) {
            close_log(dir, entry, *log, &next);
            *log = NULL;
        } else if (entry->dir == at && entry->log == NULL) {
            checkpoints_add_damaged(&next, entry);
        }
    }
    return checkpoints_write(&next, logs->env->fs, dir);
}

static void logs_free(struct logs *logs)
{
    if (logs == NULL) {
        return;
    }
    map_each (found, &logs->entries) {
        entry_free(found->value);
    }
    for (size_t i = 0; i < logs->dirs_n; i++) {
        log_dir_deinit(&logs->dirs[i], logs->env->fs);
    }
    for (size_t i = 0; i < logs->deleted_n; i++) {
        free(logs->deleted[i].path);
    }
    for (size_t i = 0; i < logs->found_futures_n; i++) {
        free(logs->found_futures[i].name);
    }
    free(logs->found_futures);
    free(logs->deleted);
    room_fs_free(logs->room_fs);
    free(logs->dirs);
    map_deinit(&logs->entries);
    map_deinit(&logs->wishes);
    pthread_mutex_destroy(&logs->lock);
    pthread_mutex_destroy(&logs->points_lock);
    free(logs);
}

/* What has moved is durable where it is now, before what it was goes. Where it cannot be it has failed, and the next start
 * looks which of the two is further. */
static void end_moves(struct logs *logs)
{
    map_each (found, &logs->entries) {
        struct entry *entry = found->value;
        if (entry->former != NULL) {
            err_ignore(plog_flush(entry->log));
        }
    }
    logs_end_moves(logs);
}

void logs_close(struct logs *logs)
{
    if (logs->loaded) {
        end_moves(logs);
    }
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
        if (entry->future != NULL && entry->future_dir == at) {
            unchanged = unchanged && plog_is_unchanged(entry->future);
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

struct entry *logs_entry_locked(struct logs *logs, struct topic_partition name)
{
    char key[LOGS_NAME_BYTES_MAX + 32];
    int len =
        snprintf(key, sizeof(key), "%.*s-%d", (int)name.topic.len, name.topic.data, name.partition);
    return len < 0 || (size_t)len >= sizeof(key)
               ? NULL
               : map_get_str(&logs->entries, (struct str){.data = key, .len = (size_t)len});
}

/* Is there such a log? *log is NULL when it is damaged. */
static bool look_up(struct logs *logs, struct topic_partition name, struct plog **log)
{
    pthread_mutex_lock(&logs->lock);
    const struct entry *entry = logs_entry_locked(logs, name);
    *log = entry == NULL ? NULL : entry->log;
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

static bool is_better(const struct log_dir *dir, const struct log_dir *best)
{
    bool full = health_is_full(dir->health);
    if (best == NULL || full != health_is_full(best->health)) {
        return best == NULL || !full;
    }
    return dir->partitions_n < best->partitions_n;
}

/* May a log be made there? What is left of a full directory's reserve may be kept back for the store. */
static bool takes_logs(const struct log_dir *dir)
{
    return !health_is_full(dir->health) || room_seems_free(dir->room) ||
           room_has_left(dir->room, ROOM_OF_COORDINATORS) || !room_has_left(dir->room, ROOM_OF_ALL);
}

/* Of those that are online: where it is wished, else the one with the fewest partitions. */
static err choose_dir(const struct logs *logs, const char *key, size_t *at)
{
    const struct log_dir *best = NULL;
    const void *wish = map_get_str(&logs->wishes, str_of(key));
    *at = (size_t)checkpoint_offset(wish);
    if (wish != NULL && log_dir_is_online(&logs->dirs[*at])) {
        return OK;
    }
    for (size_t i = 0; i < logs->dirs_n; i++) {
        const struct log_dir *dir = &logs->dirs[i];
        if (log_dir_is_online(dir) && is_better(dir, best)) {
            best = dir;
            *at = i;
        }
    }
    return best != NULL && takes_logs(best) ? OK : ERR_KAFKA_STORAGE_ERROR;
}

void logs_fail_dir(struct logs *logs, size_t dir, err e, const char *doing, const char *path)
{
    if (health_is_of_disk(e)) {
        char *why = xasprintf("%s %s failed: %s", doing, path, err_text(e));
        health_fail_dir(logs->dirs[dir].health, why);
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
    err e = strlen(key) > LOGS_NAME_BYTES_MAX ? E_LIMIT : OK;
    size_t at = 0;
    e = e == OK ? choose_dir(logs, key, &at) : e;
    e = e == OK ? logs_forget_stale(logs, at, key) : e;
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
        logs_entry_add(logs, key, at, name, made);
        map_remove_str(&logs->wishes, str_of(key));
        *log = made;
    } else {
        plog_abandon(made);
        logs_fail_dir(logs, at, e, "creating", path);
        e = e > 0 || e == E_LIMIT ? e : ERR_KAFKA_STORAGE_ERROR;
    }
    free(path);
    free(key);
    return e;
}

void logs_random_hex(struct random *random, char hex[LOGS_HEX_BYTES])
{
    struct uuid id = uuid_random(random);
    for (size_t i = 0; i < sizeof(id.bytes); i++) {
        snprintf(hex + 2 * i, 3, "%02x", id.bytes[i]);
    }
}

/* "<topic>-<partition>.<32 hex>-delete" beside the path of a log or of a copy of one, the front shortened to fit a file
 * name. */
static char *deleted_name(struct random *random, const char *path)
{
    const char *name = strrchr(path, '/') + 1;
    struct topic_partition of;
    bool is_copy = dir_name_parse(name, &of.topic, &of.partition) == DIR_FUTURE;
    int len = is_copy ? (int)(strrchr(name, '.') - name) : (int)strlen(name);
    int keep = LOGS_NAME_BYTES_MAX - LOGS_SUFFIX_BYTES;
    char hex[LOGS_HEX_BYTES];
    logs_random_hex(random, hex);
    return xasprintf("%.*s%.*s.%s-delete", (int)(name - path), path, len < keep ? len : keep, name,
                     hex);
}

/* A directory that has its new name, or could not get it (`e`): durable, and to be removed. */
static err put_away(struct logs *logs, size_t at, const char *path, char *renamed, err e)
{
    e = e == OK ? fs_sync_dir(logs->env->fs, logs->dirs[at].path) : e;
    if (e == OK) {
        logs_note_deleted(logs, at, renamed);
        return OK;
    }
    log_error(AREA, "cannot delete a log dir=%s error=\"%s\"", path, err_text(e));
    logs_fail_dir(logs, at, e, "deleting", path);
    free(renamed);
    return ERR_KAFKA_STORAGE_ERROR;
}

/* The directory's checkpoints may know what is buried, a log or a copy. */
static void note_buried(struct logs *logs, size_t at, const char *path)
{
    struct topic_partition name;
    enum dir_kind kind = dir_name_parse(strrchr(path, '/') + 1, &name.topic, &name.partition);
    CHECK(kind == DIR_PARTITION || kind == DIR_FUTURE);
    char *key = logs_key(name);
    pthread_mutex_lock(&logs->lock);
    map_set_str(&logs->dirs[at].stale, str_of(key), logs);
    pthread_mutex_unlock(&logs->lock);
    free(key);
}

err logs_bury(struct logs *logs, size_t at, const char *path, struct plog *log)
{
    if (!log_dir_is_online(&logs->dirs[at])) {
        plog_abandon(log);
        return OK;
    }
    char *renamed = deleted_name(logs->env->random, path);
    err e = fs_rename(logs->env->fs, path, renamed);
    note_buried(logs, at, path);
    plog_abandon(log);
    return put_away(logs, at, path, renamed, e);
}

/* Out of the table, whose files have another name by now. */
static void delete_entry(struct logs *logs, struct entry *entry, const char *key)
{
    struct log_dir *dir = &logs->dirs[entry->dir];
    pthread_mutex_lock(&logs->lock);
    CHECK(dir->partitions_n > 0 && map_remove_str(&logs->entries, str_of(key)) == entry);
    dir->partitions_n--;
    map_set_str(&dir->stale, str_of(key), logs);
    map_remove_str(&dir->high_watermarks, str_of(key));
    pthread_mutex_unlock(&logs->lock);
    entry_free(entry); /* forgets the open files, after the rename */
}

/* First what a move has made of it, so that nothing of that can be taken for the log after a crash. Where it cannot be
 * renamed it stays in the table: checkpoints without it would give it, at the next start, records back that it has let
 * go. */
static err delete_named(struct logs *logs, struct entry *entry, const char *key)
{
    size_t at = entry->dir;
    TRY(logs_bury_copies(logs, entry));
    if (!log_dir_is_online(&logs->dirs[at])) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    char *path = xasprintf("%s/%s", logs->dirs[at].path, key);
    char *renamed = deleted_name(logs->env->random, path);
    err e = fs_rename(logs->env->fs, path, renamed);
    if (e == OK) {
        delete_entry(logs, entry, key);
    }
    e = put_away(logs, at, path, renamed, e);
    free(path);
    return e;
}

err logs_delete(struct logs *logs, struct topic_partition name)
{
    char *key = logs_key(name);
    pthread_mutex_lock(&logs->lock);
    struct entry *entry = map_get_str(&logs->entries, str_of(key));
    pthread_mutex_unlock(&logs->lock);
    err e = entry == NULL ? E_NOT_FOUND : delete_named(logs, entry, key);
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
            bool at_once = health_is_full(logs->dirs[logs->deleted[i].dir].health);
            int64_t wait_ms = at_once ? 0 : logs->deleted[i].due_ms - now_ms;
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
        if (e != OK && err_to_errno(e) != ENOENT) {
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

bool logs_find_dir(const struct logs *logs, struct str path, size_t *dir)
{
    while (path.len > 1 && path.data[path.len - 1] == '/') {
        path.len--;
    }
    bool found = false;
    for (size_t i = 0; i < logs->dirs_n && !found; i++) {
        char *own = logs_dir_path(logs, i);
        found = str_equal(path, str_of(own));
        *dir = i;
        free(own);
    }
    return found;
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
