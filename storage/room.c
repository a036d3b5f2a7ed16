/* The reserve of a log directory.
 *
 * Its size is a 64th of the disk, 16 MiB at most, 1 MiB at least; it is made only where as much again stays free
 * afterwards, and on a disk that is nearly full it is what is left from better times. It is made by fallocate, so that
 * its bytes are really there; where the file system cannot do that there is none, and what has to be written on a full
 * disk may fail.
 *
 * A directory is full from the first write that found no room. That ends when the reserve is whole again and as much
 * more could be allocated: a try, since what statvfs says is not all (a user's quota, a disk of which the last part is
 * only root's). The second half is what keeps it from going to and fro: between two such ends at least that much has
 * been written. Nobody but a full directory is looked at again. */
#define _GNU_SOURCE
#include "storage/room.h"

#include "base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#define AREA "storage"

enum {
    RESERVE_MIN_BYTES = 1 << 20,
    RESERVE_MAX_BYTES = 16 << 20,
    RESERVE_SHARE = 64, /* one of so many parts of the disk */
    STEPS = 16,
    KEPT_STEPS = 4, /* not for coordinators */
};

struct room {
    struct fs *fs;
    char *dir;
    char *path;
    struct health *health; /* a reference */
    pthread_mutex_t lock;
    int64_t whole_bytes; /* 0: not known yet */
    bool said;           /* that there is no reserve */
};

struct room *room_new(struct fs *fs, const char *dir, struct health *health)
{
    struct room *room = xcalloc(1, sizeof(*room));
    room->fs = fs;
    room->dir = xstrdup(dir);
    room->path = xasprintf("%s/.ottla-reserve", dir);
    room->health = health;
    health_retain(health);
    pthread_mutex_init(&room->lock, NULL);
    return room;
}

void room_free(struct room *room)
{
    if (room == NULL) {
        return;
    }
    pthread_mutex_destroy(&room->lock);
    health_release(room->health);
    free(room->path);
    free(room->dir);
    free(room);
}

const char *room_dir(const struct room *room)
{
    return room->dir;
}

void room_note_full(struct room *room)
{
    health_note_full(room->health, err_from_errno(ENOSPC));
}

/* How large the whole reserve is. */
static int64_t whole(struct room *room, const struct fs_space *space)
{
    if (room->whole_bytes == 0) {
        int64_t bytes = space->total_bytes / RESERVE_SHARE;
        bytes = bytes > RESERVE_MAX_BYTES ? RESERVE_MAX_BYTES : bytes;
        bytes = bytes < RESERVE_MIN_BYTES ? RESERVE_MIN_BYTES : bytes;
        room->whole_bytes = bytes - bytes % RESERVE_MIN_BYTES;
    }
    return room->whole_bytes;
}

/* What there is of it, and what that use leaves. Under the lock. */
static err measure(struct room *room, enum room_use use, int64_t *size, int64_t *least)
{
    struct fs_space space;
    err e = fs_path_size(room->fs, room->path, size);
    if (err_to_errno(e) == ENOENT) {
        *size = 0;
        e = OK;
    }
    TRY(e);
    TRY(fs_space(room->fs, room->dir, &space));
    int64_t kept = whole(room, &space) / STEPS * KEPT_STEPS;
    *least = use == ROOM_OF_COORDINATORS ? kept : 0;
    return OK;
}

bool room_has_left(struct room *room, enum room_use use)
{
    int64_t size = 0;
    int64_t least = 0;
    pthread_mutex_lock(&room->lock);
    err e = measure(room, use, &size, &least);
    pthread_mutex_unlock(&room->lock);
    return e == OK && size > least;
}

static err resize(struct room *room, int64_t size)
{
    int fd = -1;
    TRY(fs_open(room->fs, room->path, O_RDWR, &fd));
    err e = fs_truncate(room->fs, fd, size);
    fs_close(room->fs, fd);
    return e;
}

bool room_give(struct room *room, enum room_use use)
{
    int64_t size = 0;
    int64_t least = 0;
    pthread_mutex_lock(&room->lock);
    err e = measure(room, use, &size, &least);
    bool left = e == OK && size > least;
    if (left) {
        int64_t next = size - room->whole_bytes / STEPS;
        e = resize(room, next < least ? least : next);
    }
    pthread_mutex_unlock(&room->lock);
    return left && e == OK;
}

bool room_seems_free(struct room *room)
{
    struct fs_space space;
    if (fs_space(room->fs, room->dir, &space) != OK) {
        return false;
    }
    pthread_mutex_lock(&room->lock);
    int64_t step = whole(room, &space) / STEPS;
    pthread_mutex_unlock(&room->lock);
    return space.usable_bytes >= step && space.usable_files > 0;
}

/* In a full directory twice the reserve is allocated and half of it given back; all of what is new where that fails. */
static err allocate(struct room *room, int64_t size)
{
    int fd = -1;
    int times = health_is_full(room->health) ? 2 : 1;
    TRY(fs_open(room->fs, room->path, O_RDWR | O_CREAT, &fd));
    err e = fs_allocate(room->fs, fd, times * room->whole_bytes);
    err e2 = fs_truncate(room->fs, fd, e == OK ? room->whole_bytes : size);
    fs_close(room->fs, fd);
    return e != OK ? e : e2;
}

static bool cannot_allocate(err e)
{
    int number = err_to_errno(e);
    return number == EOPNOTSUPP || number == ENOSYS || number == EINVAL;
}

/* OK: it is whole, or there can be none, and there is room for as much. */
static err make_whole(struct room *room)
{
    struct fs_space space;
    int64_t size = 0;
    int64_t least = 0;
    TRY(measure(room, ROOM_OF_ALL, &size, &least));
    if (size >= room->whole_bytes && !health_is_full(room->health)) {
        return OK;
    }
    TRY(fs_space(room->fs, room->dir, &space));
    if (space.usable_bytes < 2 * room->whole_bytes - size || space.usable_files == 0) {
        return err_from_errno(ENOSPC);
    }
    err e = allocate(room, size);
    return cannot_allocate(e) ? OK : e;
}

bool room_look(struct room *room)
{
    if (health_is_offline(room->health)) {
        return false;
    }
    pthread_mutex_lock(&room->lock);
    err e = make_whole(room);
    bool say = e != OK && !room->said && !health_is_full(room->health);
    room->said = e != OK;
    pthread_mutex_unlock(&room->lock);
    if (e == OK) {
        health_note_room(room->health);
    } else if (say) {
        log_info(AREA, "log directory has no reserve for when it is full dir=%s error=\"%s\"",
                 room->dir, err_text(e));
    }
    return health_is_full(room->health);
}
