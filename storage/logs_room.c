/* What the table of logs does about directories that are full. The reserve of each is room.c's, and that files which
 * wait for their removal go at once is said where they wait.
 *
 * A start has to write a little before any log is there: the store begins a session in it. Its reserve was kept for
 * that; and what is only to be removed goes first. */
#include "storage/logs_internal.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

#define AREA "storage"

enum { START_BYTES = 1 << 20 };

/* Logs that were deleted before the last stop. */
static bool finish_deletions(struct logs *logs, struct log_dir *dir)
{
    bool some = false;
    for (size_t i = 0; i < dir->subdirs.count; i++) {
        struct topic_partition name;
        if (dir_name_parse(dir->subdirs.names[i], &name.topic, &name.partition) != DIR_DELETED) {
            continue;
        }
        char *path = xasprintf("%s/%s", dir->path, dir->subdirs.names[i]);
        err e = fs_remove_dir(logs->env->fs, path);
        some |= e == OK;
        if (e == OK) {
            log_info(AREA, "removed a deleted log before its time, for its room dir=%s", path);
        }
        free(path);
    }
    return some;
}

static struct log_dir *dir_of_store(struct logs *logs)
{
    const char *path = logs_first_dir(logs);
    size_t at = 0;
    while (logs->dirs[at].path != path) {
        at++;
    }
    return &logs->dirs[at];
}

bool logs_make_room(struct logs *logs)
{
    struct log_dir *dir = dir_of_store(logs);
    room_note_full(dir->room);
    return room_give(dir->room, ROOM_OF_ALL) || (!logs->loaded && finish_deletions(logs, dir));
}

void logs_tell_full(struct logs *logs, char *reason, size_t reason_bytes)
{
    const struct log_dir *dir = dir_of_store(logs);
    struct fs_space space = {0};
    err_ignore(fs_space(logs->env->fs, dir->path, &space)); /* nothing usable, then */
    (void)snprintf(reason, reason_bytes,
                   "the disk of %s is full: a start needs %d bytes there, %lld are free", dir->path,
                   START_BYTES, (long long)space.usable_bytes);
}

bool logs_look_for_room(struct logs *logs)
{
    bool full = false;
    for (size_t i = 0; i < logs->dirs_n; i++) {
        full |= room_look(logs->dirs[i].room);
    }
    return full;
}
