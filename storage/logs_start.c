/* The start of all logs.
 *
 * Lock every directory, learn who they belong to (logs_lock), then (logs_load) remove the clean
 * marker, read the checkpoints and open every partition. The marker is removed before the first log is opened, so a crash
 * while loading counts as unclean.
 *
 * A directory whose disk refuses is offline (health.h), and the others are started with. A mistake in log.dirs, or a
 * directory that is full, stops the start instead.
 *
 * A log that is damaged below its recovery point is not opened: it stays in the table as a name
 * without a log, with the checkpoint entries it had, so that the next start comes to the same
 * judgement; the others serve.
 *
 * The logs of one directory are opened by several threads, each of which takes the next of the list; the table is filled
 * by one, in the order of the list, when all are open. */
#define _GNU_SOURCE
#include "storage/logs_internal.h"

#include "base/list.h"
#include "base/log.h"
#include "base/refuse.h"
#include "base/workers.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define AREA "storage"

/* Of so many logs of a directory each thread has enough to do. */
enum { PROGRESS_INTERVAL_MS = 5000, LOGS_FOR_A_LOADER = 64 };

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

/* From here on the disk is reached by way of the reserves. */
static void init_dirs(struct logs *logs, const struct storage_env *env, const struct logs_open *how)
{
    const struct health_listener listener = {
        .failed = how->dir_failed, .full = how->dir_full, .context = how->failed_context};
    struct room **rooms = xcalloc(how->dirs_n + 1, sizeof(*rooms));
    logs->dirs = xcalloc(how->dirs_n + 1, sizeof(*logs->dirs));
    for (; logs->dirs_n < how->dirs_n; logs->dirs_n++) {
        const char *path = how->dirs[logs->dirs_n];
        struct log_dir *dir = &logs->dirs[logs->dirs_n];
        log_dir_init(dir, path, health_of_dir(path, &listener), env->fs);
        rooms[logs->dirs_n] = dir->room;
    }
    logs->room_fs = room_fs_new(env->fs, rooms, logs->dirs_n);
    free(rooms);
    logs->own_env = *env;
    logs->own_env.fs = room_fs_for(logs->room_fs, ROOM_OF_ALL);
    logs->own_env.fs_of_coordinators = room_fs_for(logs->room_fs, ROOM_OF_COORDINATORS);
    logs->own_env.fs_of_records = env->fs;
    logs->env = &logs->own_env;
}

err logs_lock(const struct storage_env *env, const struct logs_open *how, struct logs **logs,
              struct logs_identity *identity, char reason[LOGS_REASON_BYTES])
{
    struct logs *made = xcalloc(1, sizeof(*made));
    made->config_of = how->config_of;
    made->context = how->context;
    made->workers = how->workers;
    made->loaders = how->loaders;
    made->sync_all_from = how->sync_all_from;
    pthread_mutex_init(&made->lock, NULL);
    pthread_mutex_init(&made->points_lock, NULL);
    map_init(&made->entries);
    map_init(&made->wishes);
    reason[0] = '\0';
    err e = how->dirs_n == 0 ? refuse(reason, LOGS_REASON_BYTES, "log.dirs is empty") : OK;
    init_dirs(made, env, how);
    for (size_t i = 0; e == OK && i < made->dirs_n; i++) {
        e = log_dir_lock(&made->dirs[i], made->env->fs, reason);
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

struct plog_open logs_how_to_open(struct logs *logs, size_t at, const char *key,
                                  struct topic_partition name)
{
    struct log_dir *dir = &logs->dirs[at];
    return (struct plog_open){
        .name = name,
        .dir_health = dir->health,
        .config = logs->config_of(logs->context, name.topic),
        .clean = dir->clean,
        .recovery_point = checkpoint_offset(map_get_str(&dir->recovery_points, str_of(key))),
        .log_start_offset = checkpoint_offset(map_get_str(&dir->start_offsets, str_of(key))),
        .cleaned_to = checkpoint_offset(map_get_str(&dir->cleaned_to, str_of(key))),
    };
}

/* `log` NULL: it is damaged. */
static err add_loaded(struct logs *logs, size_t at, const char *key, const struct plog_open *how,
                      struct plog *log, char reason[LOGS_REASON_BYTES])
{
    struct entry *known = map_get_str(&logs->entries, str_of(key));
    logs->promises_more |= log != NULL && how->recovery_point > plog_recovery_point(log);
    if (known != NULL) {
        return logs_choose(logs, known, at, log, reason);
    }
    struct entry *entry = logs_entry_add(logs, key, at, how->name, log);
    entry->recovery_point = how->recovery_point;
    entry->start_offset = how->log_start_offset;
    entry->cleaned_to = how->cleaned_to;
    return OK;
}

/* One log that was found. */
struct found_log {
    const char *key; /* the directory's name, of `subdirs` */
    char *path;
    struct plog_open how;
    struct plog *log;
    bool opened; /* it was tried, and the rest is what came of it */
    err e;
};

/* The logs of one directory, while they are opened. */
struct loading {
    struct logs *logs;
    size_t dir;
    struct found_log *found;
    size_t found_n;
    _Atomic size_t next;
    _Atomic bool gives_up;
    struct loader *loaders;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    int at_work; /* loaders that have not ended */
};

struct loader {
    struct work work;
    struct waiter done;
    struct loading *loading;
};

static void open_log(struct loading *loading, struct found_log *found)
{
    found->how = logs_how_to_open(loading->logs, loading->dir, found->key, found->how.name);
    found->how.dir = found->path;
    found->e = plog_open(loading->logs->env, &found->how, &found->log);
    found->opened = true;
    if (found->e != OK && found->e != E_CORRUPT) {
        atomic_store(&loading->gives_up, true);
    }
}

/* Opens the next one; false: there is none any more. */
static bool open_next(struct loading *loading)
{
    size_t at = atomic_fetch_add(&loading->next, 1);
    if (at >= loading->found_n || atomic_load(&loading->gives_up)) {
        return false;
    }
    open_log(loading, &loading->found[at]);
    return true;
}

static void run_loader(struct work *work)
{
    struct loading *loading = container_of(work, struct loader, work)->loading;
    while (open_next(loading)) {
    }
}

static void loader_ended(struct waiter *waiter)
{
    struct loading *loading = container_of(waiter, struct loader, done)->loading;
    pthread_mutex_lock(&loading->lock);
    loading->at_work--;
    pthread_cond_broadcast(&loading->ended);
    pthread_mutex_unlock(&loading->lock);
}

static void begin_loaders(struct loading *loading)
{
    struct logs *logs = loading->logs;
    size_t wanted = logs->workers == NULL || logs->loaders <= 1 ? 0 : (size_t)logs->loaders - 1;
    size_t busy = loading->found_n / LOGS_FOR_A_LOADER;
    wanted = wanted < busy ? wanted : busy;
    loading->loaders = xcalloc(wanted + 1, sizeof(*loading->loaders));
    loading->at_work = (int)wanted;
    for (size_t i = 0; i < wanted; i++) {
        struct loader *loader = &loading->loaders[i];
        *loader = (struct loader){.work = {.run = run_loader, .done = &loader->done},
                                  .done = {.wake = loader_ended},
                                  .loading = loading};
        if (!workers_submit(logs->workers, &loader->work)) {
            loader_ended(&loader->done);
        }
    }
}

static void end_loaders(struct loading *loading)
{
    pthread_mutex_lock(&loading->lock);
    while (loading->at_work > 0) {
        pthread_cond_wait(&loading->ended, &loading->lock);
    }
    pthread_mutex_unlock(&loading->lock);
    free(loading->loaders);
}

static void open_all(struct loading *loading)
{
    const struct log_dir *dir = &loading->logs->dirs[loading->dir];
    struct clock *clock = loading->logs->env->clock;
    int64_t said_ms = clock_monotonic_ms(clock);
    begin_loaders(loading);
    while (open_next(loading)) {
        int64_t now_ms = clock_monotonic_ms(clock);
        if (now_ms - said_ms >= PROGRESS_INTERVAL_MS) {
            size_t begun = atomic_load(&loading->next);
            log_info(AREA, "loading logs dir=%s done=%zu total=%zu", dir->path,
                     begun < loading->found_n ? begun : loading->found_n, loading->found_n);
            said_ms = now_ms;
        }
    }
    end_loaders(loading);
}

/* What came of it; of several that could not be opened the first one is told. */
static err take_opened(struct loading *loading, char reason[LOGS_REASON_BYTES])
{
    struct logs *logs = loading->logs;
    err e = OK;
    for (size_t i = 0; i < loading->found_n; i++) {
        struct found_log *found = &loading->found[i];
        if (!found->opened) {
            continue;
        }
        logs->dirs[loading->dir].failed |= found->e != OK;
        if (found->e != OK && found->e != E_CORRUPT) {
            e = e != OK ? e
                        : refuse_with(found->e, reason, LOGS_REASON_BYTES, "cannot load %s: %s",
                                      found->path, err_text(found->e));
        } else if (e == OK) {
            e = add_loaded(logs, loading->dir, found->key, &found->how, found->log, reason);
        } else {
            plog_abandon(found->log);
        }
    }
    return e;
}

/* Sorts the directory's names; what is no log is dealt with at once. */
static void find_logs(struct loading *loading)
{
    struct log_dir *dir = &loading->logs->dirs[loading->dir];
    const struct name_list *names = &dir->subdirs;
    loading->found = xcalloc(names->count + 1, sizeof(*loading->found));
    for (size_t i = 0; i < names->count; i++) {
        struct topic_partition name = {0};
        char *path = xasprintf("%s/%s", dir->path, names->names[i]);
        enum dir_kind kind = dir_name_parse(names->names[i], &name.topic, &name.partition);
        if (kind == DIR_PARTITION) {
            loading->found[loading->found_n++] =
                (struct found_log){.key = names->names[i], .path = path, .how.name = name};
            continue;
        }
        if (kind == DIR_DELETED) {
            logs_note_deleted(loading->logs, loading->dir, path);
            continue;
        }
        if (kind == DIR_FUTURE) {
            logs_note_future(loading->logs, loading->dir, names->names[i]);
        } else {
            log_info(AREA, "leaving a directory alone path=%s", path);
        }
        free(path);
    }
}

static err load_dir(struct logs *logs, size_t at, char reason[LOGS_REASON_BYTES])
{
    struct loading loading = {.logs = logs, .dir = at};
    pthread_mutex_init(&loading.lock, NULL);
    pthread_cond_init(&loading.ended, NULL);
    find_logs(&loading);
    open_all(&loading);
    err e = take_opened(&loading, reason);
    for (size_t i = 0; i < loading.found_n; i++) {
        free(loading.found[i].path);
    }
    free(loading.found);
    pthread_cond_destroy(&loading.ended);
    pthread_mutex_destroy(&loading.lock);
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
    err e = logs_sync_at_once(logs, at);
    if (e != OK) {
        dir->failed = true;
        return refuse_with(e, reason, LOGS_REASON_BYTES,
                           "cannot make what was recovered durable in %s: %s", dir->path,
                           err_text(e));
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
            TRY(go_on_without(logs, dir, e, reason));
        }
    }
    logs_open_futures(logs);
    for (size_t i = 0; i < logs->dirs_n; i++) {
        struct log_dir *dir = &logs->dirs[i];
        if (log_dir_is_online(dir)) {
            TRY(go_on_without(logs, dir, sync_recovered(logs, i, reason), reason));
        }
    }
    for (size_t i = 0; i < logs->dirs_n; i++) {
        logs_note_stale(logs, i, &logs->dirs[i].recovery_points);
        logs_note_stale(logs, i, &logs->dirs[i].start_offsets);
        logs_note_stale(logs, i, &logs->dirs[i].cleaned_to);
    }
    logs->loaded = true;
    if (logs->promises_more) { /* a cut came before its recovery point was on the disk */
        err e = logs_write_recovery_points(logs);
        if (e != OK) {
            return refuse(reason, LOGS_REASON_BYTES, "cannot write recovery points: %s",
                          err_text(e));
        }
    }
    logs_end_moves(logs);
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
