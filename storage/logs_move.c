/* A log moves to another directory, and what a crash in the middle of that leaves.
 *
 * The order on the disk, where each step is durable before the next:
 *   1. a copy under the name "<topic>-<partition>.<32 hex>-future", filled and flushed
 *   2. its name becomes "<topic>-<partition>": the log is in two directories
 *   3. the copy has what was appended in between, and is the log; it is flushed to where the two were equal
 *   4. the checkpoints of its directory know it; those of the former one name that one still
 *   5. the former log's name becomes "<topic>-<partition>.<32 hex>-delete"
 * A start that finds the log twice is between 2 and 5. Before 3 the former one is at least as long, after it the new
 * one is, unless power was lost before the flush of 3: then the longer one has all that was promised. A later leader
 * epoch counts for more than length, since a log may be cut after 3; of equals the one with the later start has heard
 * of the last DeleteRecords. Kafka refuses to start then. (reference: storage format §16)
 *
 * A copy that cannot be opened, or is of another topic, is deleted, and made again. One without its log is left alone:
 * the log may be in a directory that is offline.
 *
 * Lock: see logs.c. Entries change under `lock`; files are worked on without it. */
#define _GNU_SOURCE
#include "storage/logs_internal.h"

#include "base/log.h"
#include "base/planted.h"
#include "base/refuse.h"

#include <stdlib.h>

#define AREA "storage"

/* ---- what is known ---- */

struct logs_whereabouts logs_where(struct logs *logs, struct topic_partition name)
{
    struct logs_whereabouts where = {.dir = LOGS_NO_DIR, .future_dir = LOGS_NO_DIR};
    pthread_mutex_lock(&logs->lock);
    const struct entry *entry = logs_entry_locked(logs, name);
    if (entry != NULL) {
        where.dir = (ssize_t)entry->dir;
        where.future = entry->future;
        where.future_dir = entry->future == NULL ? LOGS_NO_DIR : (ssize_t)entry->future_dir;
        where.ends = entry->former != NULL;
    }
    pthread_mutex_unlock(&logs->lock);
    return where;
}

bool logs_move_fits(struct topic_partition name)
{
    char *key = logs_key(name);
    bool fits = strlen(key) + LOGS_SUFFIX_BYTES <= LOGS_NAME_BYTES_MAX;
    free(key);
    return fits;
}

void logs_wish(struct logs *logs, struct topic_partition name, ssize_t dir)
{
    CHECK(dir == LOGS_NO_DIR || (size_t)dir < logs->dirs_n);
    char *key = logs_key(name);
    pthread_mutex_lock(&logs->lock);
    if (dir == LOGS_NO_DIR) {
        map_remove_str(&logs->wishes, str_of(key));
    } else {
        map_set_str(&logs->wishes, str_of(key), checkpoint_value(dir));
    }
    pthread_mutex_unlock(&logs->lock);
    free(key);
}

ssize_t logs_wished(struct logs *logs, struct topic_partition name)
{
    char *key = logs_key(name);
    pthread_mutex_lock(&logs->lock);
    const void *wish = map_get_str(&logs->wishes, str_of(key));
    pthread_mutex_unlock(&logs->lock);
    free(key);
    return wish == NULL ? LOGS_NO_DIR : (ssize_t)checkpoint_offset(wish);
}

void logs_each_future_in(struct logs *logs, size_t dir,
                         void (*each)(void *context, struct plog *log, struct plog *future),
                         void *context)
{
    pthread_mutex_lock(&logs->lock);
    map_each (found, &logs->entries) {
        struct entry *entry = found->value;
        if (entry->future != NULL && entry->future_dir == dir && entry->log != NULL) {
            each(context, entry->log, entry->future);
        }
    }
    pthread_mutex_unlock(&logs->lock);
}

static struct entry *entry_of(struct logs *logs, struct topic_partition name)
{
    pthread_mutex_lock(&logs->lock);
    struct entry *entry = logs_entry_locked(logs, name);
    pthread_mutex_unlock(&logs->lock);
    return entry;
}

/* ---- the copy ---- */

static void set_future(struct logs *logs, struct entry *entry, size_t dir, struct plog *future)
{
    pthread_mutex_lock(&logs->lock);
    CHECK(entry->future == NULL && entry->former == NULL);
    entry->future = future;
    entry->future_dir = dir;
    logs->dirs[dir].partitions_n++;
    pthread_mutex_unlock(&logs->lock);
}

static struct plog *take_future(struct logs *logs, struct entry *entry)
{
    pthread_mutex_lock(&logs->lock);
    struct plog *future = entry->future;
    entry->future = NULL;
    if (future != NULL) {
        CHECK(logs->dirs[entry->future_dir].partitions_n > 0);
        logs->dirs[entry->future_dir].partitions_n--;
    }
    pthread_mutex_unlock(&logs->lock);
    return future;
}

static err bury_log(struct logs *logs, size_t dir, struct plog *log)
{
    char *path = xstrdup(plog_dir(log));
    err e = logs_bury(logs, dir, path, log);
    free(path);
    return e;
}

/* "<topic>-<partition>.<32 hex>-future" in that directory; malloc'd. */
static char *future_path(struct logs *logs, size_t dir, struct topic_partition name)
{
    char hex[LOGS_HEX_BYTES];
    logs_random_hex(logs->env->random, hex);
    return xasprintf("%s/%.*s-%d.%s-future", logs->dirs[dir].path, (int)name.topic.len,
                     name.topic.data, name.partition, hex);
}

err logs_move_begin(struct logs *logs, struct topic_partition name, size_t dir,
                    struct plog **future)
{
    struct entry *entry = entry_of(logs, name);
    CHECK(entry != NULL && entry->log != NULL && dir < logs->dirs_n && dir != entry->dir);
    if (entry->former != NULL || logs_dirs_online(logs) < logs->dirs_n) {
        return ERR_KAFKA_STORAGE_ERROR; /* a directory that is offline may have an older copy */
    }
    char *key = logs_key(name);
    err forgotten = logs_forget_stale(logs, dir, key);
    free(key);
    TRY(forgotten);
    char *path = future_path(logs, dir, name);
    struct plog_open how = {.dir = path,
                            .name = name,
                            .dir_health = logs->dirs[dir].health,
                            .config = plog_config(entry->log),
                            .clean = true,
                            .log_start_offset = plog_start_offset(entry->log)};
    struct plog *made = NULL;
    err e = plog_open(logs->env, &how, &made);
    if (e == OK && !uuid_is_zero(plog_topic_id(entry->log))) {
        e = plog_set_topic_id(made, plog_topic_id(entry->log));
    }
    if (e == OK) {
        set_future(logs, entry, dir, made);
        *future = made;
    } else {
        logs_fail_dir(logs, dir, e, "creating", path);
        err_ignore(logs_bury(logs, dir, path, made)); /* it has said so */
        e = ERR_KAFKA_STORAGE_ERROR;
    }
    free(path);
    return e;
}

void logs_move_set_aside(struct logs *logs, struct topic_partition name)
{
    struct entry *entry = entry_of(logs, name);
    struct plog *future = entry == NULL ? NULL : take_future(logs, entry);
    if (future == NULL) {
        return;
    }
    char *path = future_path(logs, entry->future_dir, name);
    err e = fs_rename(logs->env->fs, plog_dir(future), path);
    log_info(AREA, "move set aside, it goes on after the next start dir=%s", path);
    plog_abandon(future);
    logs_fail_dir(logs, entry->future_dir, e, "renaming to", path);
    free(path);
}

void logs_move_give_up(struct logs *logs, struct topic_partition name)
{
    struct entry *entry = entry_of(logs, name);
    size_t dir = entry == NULL ? 0 : entry->future_dir;
    struct plog *future = entry == NULL ? NULL : take_future(logs, entry);
    if (future != NULL) {
        log_info(AREA, "move given up topic=%.*s partition=%d dir=%s", (int)name.topic.len,
                 name.topic.data, name.partition, plog_dir(future));
        err_ignore(bury_log(logs, dir, future)); /* it has said so */
    }
}

err logs_bury_copies(struct logs *logs, struct entry *entry)
{
    size_t dir = entry->future_dir;
    struct plog *future = take_future(logs, entry);
    pthread_mutex_lock(&logs->lock);
    struct plog *former = entry->former;
    entry->former = NULL;
    logs->dirs[entry->former_dir].partitions_n -= former == NULL ? 0 : 1;
    pthread_mutex_unlock(&logs->lock);
    err e = future == NULL ? OK : bury_log(logs, dir, future);
    if (former == NULL) {
        return e;
    }
    err e2 = bury_log(logs, entry->former_dir, former);
    return e == OK ? e2 : e;
}

/* ---- it takes the log's place ---- */

/* The copy under its new name. */
static err open_published(struct logs *logs, const struct entry *entry, const char *path,
                          int64_t end_offset, struct plog **log)
{
    struct plog_open how = {.dir = path,
                            .name = plog_name(entry->log),
                            .dir_health = logs->dirs[entry->future_dir].health,
                            .config = plog_config(entry->log),
                            .clean = true,
                            .recovery_point = end_offset,
                            .log_start_offset = plog_start_offset(entry->log),
                            .cleaned_to = plog_cleaned_to(entry->log)};
    how.log_start_offset = how.log_start_offset < end_offset ? how.log_start_offset : end_offset;
    return plog_open(logs->env, &how, log);
}

/* Closes the copy and renames it. A checkpoint of it may be of before it was cut: it is forgotten first. */
static err publish(struct logs *logs, const struct entry *entry, struct plog *future,
                   const char *path)
{
    char *before = xstrdup(plog_dir(future));
    err e = plog_close(future);
    e = e == OK ? logs_write_recovery_points_in(logs, entry->future_dir) : e;
    e = e == OK ? fs_rename(logs->env->fs, before, path) : e;
    e = e == OK ? fs_sync_dir(logs->env->fs, logs->dirs[entry->future_dir].path) : e;
    if (e != OK) {
        logs_fail_dir(logs, entry->future_dir, e, "moving to", path);
        err_ignore(logs_bury(logs, entry->future_dir, before, NULL)); /* it has said so */
    }
    free(before);
    return e;
}

err logs_move_publish(struct logs *logs, struct topic_partition name, struct plog **future)
{
    struct entry *entry = entry_of(logs, name);
    CHECK(entry != NULL && entry->future == *future);
    struct log_dir *dir = &logs->dirs[entry->future_dir];
    struct plog *copy = take_future(logs, entry);
    int64_t end_offset = plog_end_offset(copy);
    char *key = logs_key(name);
    char *path = xasprintf("%s/%s", dir->path, key);
    *future = NULL;
    err e = publish(logs, entry, copy, path);
    if (e == OK) {
        e = open_published(logs, entry, path, end_offset, future);
        if (e != OK) {
            logs_fail_dir(logs, entry->future_dir, e, "opening", path);
            err_ignore(logs_bury(logs, entry->future_dir, path, NULL)); /* it has said so */
        }
    }
    if (e == OK) {
        set_future(logs, entry, entry->future_dir, *future);
    }
    free(path);
    free(key);
    return e == OK ? OK : ERR_KAFKA_STORAGE_ERROR;
}

void logs_move_swap(struct logs *logs, struct topic_partition name)
{
    char *key = logs_key(name);
    pthread_mutex_lock(&logs->lock);
    struct entry *entry = map_get_str(&logs->entries, str_of(key));
    CHECK(entry != NULL && entry->future != NULL && entry->former == NULL);
    entry->former = entry->log;
    entry->former_dir = entry->dir;
    entry->log = entry->future;
    entry->dir = entry->future_dir;
    entry->future = NULL;
    const void *wish = map_get_str(&logs->wishes, str_of(key));
    if (wish != NULL && (size_t)checkpoint_offset(wish) == entry->dir) {
        map_remove_str(&logs->wishes, str_of(key));
    }
    map_remove_str(&logs->dirs[entry->former_dir].high_watermarks, str_of(key));
    pthread_mutex_unlock(&logs->lock);
    free(key);
}

/* First the new directory's checkpoints: where they cannot be written the former log is what a start without that
 * directory has. */
static err end_move(struct logs *logs, struct entry *entry)
{
    struct plog *former = entry->former;
    TRY(planted(MISTAKE_MOVE_UNTOLD) ? OK : logs_write_recovery_points_in(logs, entry->dir));
    if (plog_is_offline(entry->log)) {
        return ERR_KAFKA_STORAGE_ERROR;
    }
    log_debug(AREA, "moved dir=%s from=%s", plog_dir(entry->log), plog_dir(former));
    pthread_mutex_lock(&logs->lock);
    entry->former = NULL;
    CHECK(logs->dirs[entry->former_dir].partitions_n > 0);
    logs->dirs[entry->former_dir].partitions_n--;
    pthread_mutex_unlock(&logs->lock);
    return bury_log(logs, entry->former_dir, former);
}

err logs_move_end(struct logs *logs, struct topic_partition name)
{
    struct entry *entry = entry_of(logs, name);
    CHECK(entry != NULL && entry->former != NULL && entry->log != NULL);
    return end_move(logs, entry);
}

void logs_end_moves(struct logs *logs)
{
    map_each (found, &logs->entries) {
        struct entry *entry = found->value;
        if (entry->former == NULL || plog_is_offline(entry->log)) {
            continue;
        }
        err e = end_move(logs, entry);
        if (e != OK) {
            log_error(AREA, "what was moved cannot be deleted now dir=%s error=\"%s\"",
                      plog_dir(entry->log), err_text(e));
        }
    }
}

/* ---- a start ---- */

/* Is it further than the other one? */
static bool is_further(struct plog *log, struct plog *than)
{
    int32_t epoch = plog_latest_epoch(log);
    int32_t other_epoch = plog_latest_epoch(than);
    if (epoch != other_epoch) {
        return epoch > other_epoch;
    }
    if (plog_end_offset(log) != plog_end_offset(than)) {
        return plog_end_offset(log) > plog_end_offset(than);
    }
    return plog_start_offset(log) > plog_start_offset(than);
}

static bool may_be_one(const struct plog *a, const struct plog *b)
{
    struct uuid id = plog_topic_id(a);
    struct uuid other = plog_topic_id(b);
    return uuid_is_zero(id) || uuid_is_zero(other) || uuid_equal(id, other);
}

/* Of the two directories' checkpoints the larger one counts. */
static void carry_high_watermark(struct logs *logs, const struct entry *entry)
{
    char *key = logs_key(plog_name(entry->log));
    struct map *own = &logs->dirs[entry->dir].high_watermarks;
    const void *other = map_get_str(&logs->dirs[entry->former_dir].high_watermarks, str_of(key));
    if (checkpoint_offset(other) > checkpoint_offset(map_get_str(own, str_of(key)))) {
        map_set_str(own, str_of(key), checkpoint_value(checkpoint_offset(other)));
    }
    free(key);
}

/* Of a log in two directories one is damaged below what was promised, the other is whole: that one counts. The damaged
 * one is kept under a name that no start looks at, Kafka's neither. */
static err set_damaged_aside(struct logs *logs, const struct entry *entry, size_t dir)
{
    char hex[LOGS_HEX_BYTES];
    logs_random_hex(logs->env->random, hex);
    char *path = xasprintf("%s/%s-%d", logs->dirs[dir].path, entry->topic, entry->partition);
    char *aside = xasprintf("%s.%s-stray", path, hex);
    err e = fs_rename(logs->env->fs, path, aside);
    e = e == OK ? fs_sync_dir(logs->env->fs, logs->dirs[dir].path) : e;
    log_error(AREA, "of a log in two directories the whole one is kept dir=%s damaged=%s",
              plog_dir(entry->log), aside);
    logs_fail_dir(logs, dir, e, "renaming", path);
    free(path);
    free(aside);
    return OK;
}

err logs_choose(struct logs *logs, struct entry *entry, size_t dir, struct plog *other,
                char reason[LOGS_REASON_BYTES])
{
    const char *first = logs->dirs[entry->dir].path;
    if (entry->log != NULL && other == NULL) {
        return set_damaged_aside(logs, entry, dir);
    }
    if (entry->log == NULL && other != NULL) {
        size_t damaged = entry->dir;
        entry->log = other;
        entry->dir = dir;
        logs->dirs[dir].partitions_n++;
        logs->dirs[damaged].partitions_n--;
        return set_damaged_aside(logs, entry, damaged);
    }
    if (entry->former != NULL || other == NULL || !may_be_one(entry->log, other)) {
        plog_abandon(other);
        return refuse(reason, LOGS_REASON_BYTES,
                      "%s-%d is in two log directories: %s and %s; move one of them away",
                      entry->topic, entry->partition, first, logs->dirs[dir].path);
    }
    entry->former = other;
    entry->former_dir = dir;
    logs->dirs[dir].partitions_n++;
    if (is_further(other, entry->log) != planted(MISTAKE_SHORTER_STAYS)) {
        entry->former = entry->log;
        entry->former_dir = entry->dir;
        entry->log = other;
        entry->dir = dir;
    }
    carry_high_watermark(logs, entry);
    int64_t start = plog_start_offset(entry->former);
    if (start > plog_start_offset(entry->log) && start <= plog_end_offset(entry->log)) {
        err_ignore(plog_advance_start(entry->log, start)); /* it is offline then, and says so */
    }
    log_warn(AREA,
             "a move was interrupted, the log that is further is kept dir=%s end_offset=%lld "
             "other=%s other_end_offset=%lld",
             plog_dir(entry->log), (long long)plog_end_offset(entry->log), plog_dir(entry->former),
             (long long)plog_end_offset(entry->former));
    return OK;
}

void logs_note_future(struct logs *logs, size_t dir, const char *name)
{
    size_t bytes = (logs->found_futures_n + 1) * sizeof(*logs->found_futures);
    logs->found_futures = xrealloc(logs->found_futures, bytes);
    logs->found_futures[logs->found_futures_n++] =
        (struct found_future){.dir = dir, .name = xstrdup(name)};
}

/* Cuts a copy to where it agrees with the log, which may have been cut since it was copied, or has lost more to a power
 * cut: as a follower does with its leader's log, by leader epochs (KIP-101, KIP-279). */
static err agree(struct plog *log, struct plog *copy)
{
    int64_t end = plog_end_offset(log);
    if (planted(MISTAKE_COPY_UNCOMPARED)) {
        return OK;
    }
    TRY(plog_end_offset(copy) > end ? plog_truncate(copy, end) : OK);
    while (plog_end_offset(copy) > plog_start_offset(copy)) {
        int32_t epoch = plog_latest_epoch(copy);
        int32_t known = -1;
        int32_t own = -1;
        int64_t known_end = -1;
        int64_t own_end = -1;
        plog_end_offset_for_epoch(log, epoch, &known, &known_end);
        plog_end_offset_for_epoch(copy, known, &own, &own_end);
        int64_t cut = known_end < own_end ? known_end : own_end;
        if (epoch < 0 || known < 0 || own != known || cut <= plog_start_offset(copy)) {
            return plog_truncate_fully_and_start_at(copy, plog_start_offset(log));
        }
        if (cut >= plog_end_offset(copy)) {
            return OK;
        }
        TRY(plog_truncate(copy, cut));
        if (known == epoch) {
            return OK;
        }
    }
    return OK;
}

/* The copy of a log that is here; else *future is NULL, and the copy is deleted. One that cannot be opened is to be made
 * again. */
static void open_future(struct logs *logs, const struct entry *entry, size_t dir, const char *path,
                        struct plog **future)
{
    struct topic_partition name = plog_name(entry->log);
    bool is_wanted = entry->future == NULL && entry->dir != dir;
    char *key = logs_key(name);
    struct plog_open how = logs_how_to_open(logs, dir, key, name);
    how.dir = path;
    free(key);
    *future = NULL;
    err e = is_wanted ? plog_open(logs->env, &how, future) : E_NOT_FOUND;
    e = e == OK && may_be_one(*future, entry->log) ? agree(entry->log, *future) : e;
    logs->promises_more |= e == OK && how.recovery_point > plog_recovery_point(*future);
    logs_fail_dir(logs, dir, e, "opening", path);
    if (e != OK || !may_be_one(*future, entry->log)) {
        log_warn(AREA, "deleting a copy that cannot be gone on with dir=%s", path);
        err_ignore(logs_bury(logs, dir, path, *future)); /* it has said so */
        *future = NULL;
    }
    if (is_wanted && e != OK) {
        logs_wish(logs, name, (ssize_t)dir);
    }
}

static void open_found(struct logs *logs, size_t dir, const char *name)
{
    struct topic_partition of;
    char *path = xasprintf("%s/%s", logs->dirs[dir].path, name);
    struct plog *future = NULL;
    CHECK(dir_name_parse(name, &of.topic, &of.partition) == DIR_FUTURE);
    struct entry *entry = entry_of(logs, of);
    if (entry == NULL || entry->log == NULL || entry->former != NULL) {
        log_info(AREA, "leaving a directory alone path=%s", path);
    } else {
        open_future(logs, entry, dir, path, &future);
    }
    if (future != NULL) {
        set_future(logs, entry, dir, future);
        log_info(AREA, "a move goes on dir=%s end_offset=%lld of=%lld", path,
                 (long long)plog_end_offset(future), (long long)plog_end_offset(entry->log));
    }
    free(path);
}

void logs_open_futures(struct logs *logs)
{
    for (size_t i = 0; i < logs->found_futures_n; i++) {
        struct found_future *found = &logs->found_futures[i];
        if (log_dir_is_online(&logs->dirs[found->dir])) {
            open_found(logs, found->dir, found->name);
        }
        free(found->name);
    }
    free(logs->found_futures);
    logs->found_futures = NULL;
    logs->found_futures_n = 0;
}
