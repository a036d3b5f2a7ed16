/* The topic id of a log: partition.metadata. */
#define _GNU_SOURCE
#include "storage/plog_internal.h"

#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

enum { METADATA_BYTES_MAX = 4096 };

/* partition.metadata: "version: 0" and "topic_id: <22 characters>", a line each. The first is only
 * required to be a number at or above 0, as Kafka requires it. */
err plog_read_topic_id(struct plog *log)
{
    char *path = xasprintf("%s/partition.metadata", log->dir);
    char *text = NULL;
    size_t len = 0;
    err e = fs_read_all(log->env->fs, path, METADATA_BYTES_MAX, &text, &len);
    free(path);
    if (err_to_errno(e) == ENOENT) {
        return OK;
    }
    TRY(e);
    int version = -1;
    char id[64] = "";
    int fields = sscanf(text, "version: %d topic_id: %63s", &version, id);
    free(text);
    struct uuid topic_id;
    if (fields != 2 || version < 0 || !uuid_parse(str_of(id), &topic_id) ||
        uuid_is_zero(topic_id)) {
        log_error(AREA, "partition.metadata is damaged dir=%s", log->dir);
        return E_CORRUPT;
    }
    log->topic_id = topic_id;
    return OK;
}

struct uuid plog_topic_id(const struct plog *log)
{
    guard_lock(log);
    struct uuid id = log->topic_id;
    guard_unlock(log);
    return id;
}

/* The content is synced before the rename; the directory entry with the log's first flush, which is
 * the first time that anything of this partition is promised. */
err plog_set_topic_id(struct plog *log, struct uuid topic_id)
{
    struct uuid known = plog_topic_id(log);
    if (uuid_equal(known, topic_id)) {
        return OK;
    }
    if (!uuid_is_zero(known) || uuid_is_zero(topic_id)) {
        return ERR_INCONSISTENT_TOPIC_ID;
    }
    char id[UUID_TEXT_LEN + 1];
    char text[64];
    uuid_format(topic_id, id);
    int len = snprintf(text, sizeof(text), "version: 0\ntopic_id: %s", id);
    char *path = xasprintf("%s/partition.metadata", log->dir);
    char *temporary = xasprintf("%s.tmp", path);
    struct fs *fs = log->env->fs;
    int fd = -1;
    err e = fs_open(fs, temporary, O_WRONLY | O_CREAT | O_TRUNC, &fd);
    if (e == OK) {
        e = fs_write(fs, fd, bytes_of(text, (size_t)len), 0);
        e = e == OK ? fs_datasync(fs, fd) : e;
        fs_close(fs, fd);
    }
    e = e == OK ? fs_rename(fs, temporary, path) : e;
    if (err_is_no_room(e)) {
        err_ignore(fs_unlink(fs, temporary)); /* the next try replaces it */
    }
    free(temporary);
    free(path);
    LOG_TRY(log, plog_refuse(log, e), "writing partition.metadata");
    guard_lock(log);
    log->topic_id = topic_id;
    guard_unlock(log);
    atomic_store(&log->entries_dirty, true);
    return OK;
}
