/* What belongs to a log directory as a whole.
 *
 * The lock is an open-file-description lock on .lock: the Java broker's lock (fcntl) conflicts with
 * it, and so does a second one of ours, also in the same process. Plain files that are not Kafka's
 * are ignored; a subdirectory that is neither a partition nor one of Kafka's suffixes stops the
 * start, as in Kafka: it is nearly always a mistake in log.dirs. */
#define _GNU_SOURCE
#include "storage/logs_dir.h"

#include "base/log.h"
#include "base/refuse.h"
#include "storage/checkpoint.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define AREA         "storage"
#define CLEAN_MARKER ".kafka_cleanshutdown"

enum { PROPERTIES_BYTES_MAX = 65536 };

static bool ends_with(struct str s, const char *suffix)
{
    size_t len = strlen(suffix);
    return s.len > len && memcmp(s.data + s.len - len, suffix, len) == 0;
}

/* "<topic>-<partition>": cut at the last dash. */
static bool partition_parse(struct str name, struct str *topic, int32_t *partition)
{
    size_t dash = name.len;
    while (dash > 0 && name.data[dash - 1] != '-') {
        dash--;
    }
    if (dash < 2 || dash == name.len || name.len - dash > 10) {
        return false;
    }
    int64_t number = 0;
    for (size_t i = dash; i < name.len; i++) {
        if (name.data[i] < '0' || name.data[i] > '9') {
            return false;
        }
        number = number * 10 + (name.data[i] - '0');
    }
    *topic = (struct str){.data = name.data, .len = dash - 1};
    *partition = (int32_t)number;
    return number <= INT32_MAX;
}

enum dir_kind dir_name_parse(const char *name, struct str *topic, int32_t *partition)
{
    struct str whole = str_of(name);
    if (strcmp(name, "remote-log-index-cache") == 0) {
        return DIR_KEPT;
    }
    bool deleted = ends_with(whole, "-delete");
    bool future = ends_with(whole, "-future");
    if (deleted || future || ends_with(whole, "-stray")) {
        const char *dot = strrchr(name, '.');
        struct str stem = {.data = name, .len = dot == NULL ? 0 : (size_t)(dot - name)};
        /* The shortened topic of a long name may have lost its partition. */
        if (stem.len > 0 && (partition_parse(stem, topic, partition) || deleted)) {
            return deleted ? DIR_DELETED : future ? DIR_FUTURE : DIR_KEPT;
        }
    }
    return partition_parse(whole, topic, partition) ? DIR_PARTITION : DIR_FOREIGN;
}

void log_dir_init(struct log_dir *dir, const char *path, struct health *health, struct fs *fs)
{
    *dir = (struct log_dir){.lock_fd = -1, .path = xstrdup(path), .health = health};
    size_t len = strlen(dir->path);
    while (len > 1 && dir->path[len - 1] == '/') {
        dir->path[--len] = '\0';
    }
    dir->room = room_new(fs, dir->path, health);
    properties_init(&dir->properties);
    map_init(&dir->recovery_points);
    map_init(&dir->start_offsets);
    map_init(&dir->cleaned_to);
    map_init(&dir->high_watermarks);
}

void log_dir_deinit(struct log_dir *dir, struct fs *fs)
{
    fs_close(fs, dir->lock_fd);
    properties_deinit(&dir->properties);
    map_deinit(&dir->recovery_points);
    map_deinit(&dir->start_offsets);
    map_deinit(&dir->cleaned_to);
    map_deinit(&dir->high_watermarks);
    name_list_deinit(&dir->subdirs);
    room_free(dir->room);
    health_release(dir->health);
    free(dir->path);
}

bool log_dir_is_online(const struct log_dir *dir)
{
    return !health_is_offline(dir->health);
}

static char *file_in(const struct log_dir *dir, const char *name)
{
    return xasprintf("%s/%s", dir->path, name);
}

/* Makes the name of a directory durable. */
static err sync_above(struct fs *fs, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == path) {
        return fs_sync_dir(fs, "/");
    }
    char *above = slash == NULL ? xstrdup(".") : xasprintf("%.*s", (int)(slash - path), path);
    err e = fs_sync_dir(fs, above);
    free(above);
    return e;
}

static err make_dir(struct fs *fs, const char *path)
{
    bool there = false;
    TRY(fs_exists(fs, path, &there));
    if (there) {
        return OK;
    }
    TRY(fs_mkdir(fs, path));
    return sync_above(fs, path);
}

/* The last name is synced also where it is there: who made it may have been killed before the sync, and a directory that
 * a power cut takes has all logs in it. */
static err make_dirs(struct fs *fs, const char *path)
{
    char *part = xstrdup(path);
    err e = OK;
    for (char *slash = strchr(part + 1, '/'); slash != NULL && e == OK;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        e = make_dir(fs, part);
        *slash = '/';
    }
    free(part);
    TRY(e);
    TRY(fs_mkdir(fs, path));
    return sync_above(fs, path);
}

static err check_names(struct log_dir *dir, struct fs *fs, char reason[LOGS_REASON_BYTES])
{
    err e = fs_list_dirs(fs, dir->path, &dir->subdirs);
    if (e != OK) {
        return refuse_with(e, reason, LOGS_REASON_BYTES, "cannot list %s: %s", dir->path,
                           err_text(e));
    }
    for (size_t i = 0; i < dir->subdirs.count && e == OK; i++) {
        struct str topic;
        int32_t partition = 0;
        if (dir_name_parse(dir->subdirs.names[i], &topic, &partition) == DIR_FOREIGN) {
            e = refuse(reason, LOGS_REASON_BYTES,
                       "%s/%s is a directory, but not of the form topic-partition; log.dirs must "
                       "hold nothing but Kafka's partitions",
                       dir->path, dir->subdirs.names[i]);
        }
    }
    return e;
}

static err read_properties(struct log_dir *dir, struct fs *fs, char reason[LOGS_REASON_BYTES])
{
    char *path = file_in(dir, "meta.properties");
    char *text = NULL;
    size_t len = 0;
    int line = 0;
    err e = fs_read_all(fs, path, PROPERTIES_BYTES_MAX, &text, &len);
    if (err_to_errno(e) == ENOENT) {
        free(path);
        return OK;
    }
    if (e == OK) {
        e = properties_parse(&dir->properties, text, len, &line);
    }
    if (e != OK) {
        e = refuse_with(err_to_errno(e) == 0 ? E_CONFIG : e, reason, LOGS_REASON_BYTES,
                        "cannot read %s: %s", path, err_text(e));
    }
    free(text);
    free(path);
    return e;
}

static err take_lock(struct log_dir *dir, struct fs *fs, char reason[LOGS_REASON_BYTES])
{
    char *path = file_in(dir, ".lock");
    err e = fs_open(fs, path, O_RDWR | O_CREAT, &dir->lock_fd);
    free(path);
    if (e != OK) {
        dir->lock_fd = -1;
        return refuse_with(e, reason, LOGS_REASON_BYTES, "cannot open %s/.lock: %s", dir->path,
                           err_text(e));
    }
    e = fs_lock(fs, dir->lock_fd);
    if (err_to_errno(e) == EAGAIN || err_to_errno(e) == EACCES) {
        return refuse(reason, LOGS_REASON_BYTES,
                      "%s is in use: another broker holds the lock on %s/.lock", dir->path,
                      dir->path);
    }
    return e == OK ? OK
                   : refuse_with(e, reason, LOGS_REASON_BYTES, "cannot lock %s/.lock: %s",
                                 dir->path, err_text(e));
}

err log_dir_lock(struct log_dir *dir, struct fs *fs, char reason[LOGS_REASON_BYTES])
{
    err e = make_dirs(fs, dir->path);
    if (e != OK) {
        return refuse_with(e, reason, LOGS_REASON_BYTES, "cannot create %s: %s", dir->path,
                           err_text(e));
    }
    TRY(take_lock(dir, fs, reason));
    TRY(read_properties(dir, fs, reason));
    return check_names(dir, fs, reason);
}

err log_dir_identity(const struct log_dir *dir, int32_t *broker_id, const char **cluster_id,
                     char reason[LOGS_REASON_BYTES])
{
    const char *version = properties_get(&dir->properties, "version");
    const char *id = properties_get(&dir->properties, "broker.id");
    const char *cluster = properties_get(&dir->properties, "cluster.id");
    if (version != NULL && strcmp(version, "0") != 0) {
        return refuse(reason, LOGS_REASON_BYTES,
                      "%s/meta.properties has version %s: it was written in KRaft mode, which is "
                      "not built; name another directory in log.dirs",
                      dir->path, version);
    }
    *broker_id = -1;
    *cluster_id = cluster == NULL ? "" : cluster;
    if (strlen(*cluster_id) >= sizeof(((struct logs_identity *)NULL)->cluster_id)) {
        return refuse(reason, LOGS_REASON_BYTES, "%s/meta.properties has an impossible cluster.id",
                      dir->path);
    }
    if (id != NULL) {
        char *end = NULL;
        errno = 0;
        long number = strtol(id, &end, 10);
        if (*id == '\0' || *end != '\0' || errno != 0 || number < 0 || number > INT32_MAX) {
            return refuse(reason, LOGS_REASON_BYTES,
                          "%s/meta.properties has an impossible broker.id: %s", dir->path, id);
        }
        *broker_id = (int32_t)number;
    }
    return OK;
}

/* A value with Java's escapes for what would not be read back. */
static void write_escaped(struct writer *w, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '\\' || *c == ':' || *c == '=' || *c == '#' || *c == '!' ||
            (*c == ' ' && c == text)) {
            writer_i8(w, '\\');
        }
        writer_bytes(w, c, 1);
    }
}

err log_dir_write_identity(struct log_dir *dir, const struct storage_env *env, int32_t broker_id,
                           const char *cluster_id)
{
    CHECK(dir->lock_fd >= 0 && broker_id >= 0);
    char id[16];
    snprintf(id, sizeof(id), "%d", broker_id);
    const char *known_id = properties_get(&dir->properties, "broker.id");
    const char *known_cluster = properties_get(&dir->properties, "cluster.id");
    const char *known_version = properties_get(&dir->properties, "version");
    if (known_id != NULL && strcmp(known_id, id) == 0 && known_cluster != NULL &&
        strcmp(known_cluster, cluster_id) == 0 && known_version != NULL) {
        return OK;
    }
    properties_set(&dir->properties, "broker.id", id);
    properties_set(&dir->properties, "version", "0");
    properties_set(&dir->properties, "cluster.id", cluster_id);
    struct writer w;
    char date[64];
    struct tm utc;
    time_t now = (time_t)(clock_wall_ms(env->clock) / 1000);
    writer_init(&w, PROPERTIES_BYTES_MAX);
    gmtime_r(&now, &utc);
    size_t len = strftime(date, sizeof(date), "#\n#%a %b %d %H:%M:%S UTC %Y\n", &utc);
    writer_bytes(&w, date, len);
    for (size_t i = 0; i < dir->properties.count; i++) {
        write_escaped(&w, dir->properties.items[i].name);
        writer_bytes(&w, "=", 1);
        write_escaped(&w, dir->properties.items[i].value);
        writer_bytes(&w, "\n", 1);
    }
    char *path = file_in(dir, "meta.properties");
    err e = w.failed ? E_LIMIT : fs_write_atomic(env->fs, path, bytes_of(w.data, w.len));
    free(path);
    writer_deinit(&w);
    return e;
}

static void note_offset(void *context, struct str topic, int32_t partition, int64_t offset)
{
    char *name = xasprintf("%.*s-%d", (int)topic.len, topic.data, partition);
    map_set_str(context, str_of(name), checkpoint_value(offset));
    free(name);
}

/* One that makes no sense is as good as absent: everything is looked at again. Not one that the disk does not give. */
static err read_checkpoint(struct log_dir *dir, struct fs *fs, const char *name, struct map *map)
{
    char *path = file_in(dir, name);
    err e = offset_checkpoint_read(fs, path, note_offset, map);
    bool unread = err_to_errno(e) != 0; /* what it says is there, and counts */
    if (e != OK && !unread) {
        log_warn(AREA, "a checkpoint is unreadable and ignored file=%s error=\"%s\"", path,
                 err_text(e));
        map_deinit(map);
        map_init(map);
    }
    free(path);
    return unread ? e : OK;
}

err log_dir_begin(struct log_dir *dir, struct fs *fs)
{
    CHECK(dir->lock_fd >= 0);
    char *marker = file_in(dir, CLEAN_MARKER);
    err e = fs_exists(fs, marker, &dir->clean);
    e = e == OK && dir->clean ? fs_unlink(fs, marker) : e;
    if (e == OK && dir->clean) {
        e = fs_sync_dir(fs, dir->path);
    }
    free(marker);
    TRY(e);
    TRY(read_checkpoint(dir, fs, "recovery-point-offset-checkpoint", &dir->recovery_points));
    TRY(read_checkpoint(dir, fs, "log-start-offset-checkpoint", &dir->start_offsets));
    TRY(read_checkpoint(dir, fs, "cleaner-offset-checkpoint", &dir->cleaned_to));
    TRY(read_checkpoint(dir, fs, "replication-offset-checkpoint", &dir->high_watermarks));
    dir->has_cleaned = dir->cleaned_to.count > 0;
    return OK;
}

err log_dir_end(struct log_dir *dir, struct fs *fs)
{
    static const char TEXT[] = "{\"version\":0,\"brokerEpoch\":-1}";
    char *marker = file_in(dir, CLEAN_MARKER);
    err e = fs_write_atomic(fs, marker, bytes_of(TEXT, sizeof(TEXT) - 1));
    free(marker);
    char *lock = file_in(dir, ".lock");
    e = e == OK ? fs_unlink(fs, lock) : e;
    free(lock);
    return e;
}
