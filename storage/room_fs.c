/* The table of file operations in front of another one, for each use of the reserve one.
 *
 * A write or a new name that finds no room is tried again after each step that the reserve gives. Of which directory,
 * a path tells; a descriptor does not, so there those are asked whose disk is full as far as it says, and all where
 * none says so (a quota). To give up a step too many does no harm: it is made again.
 *
 * A partial write is passed on as it is, and its rest comes as another call. Operations that only read, shrink or sync
 * go straight through. */
#define _GNU_SOURCE
#include "storage/room.h"

#include "base/list.h"

#include <fcntl.h>
#include <stdlib.h>

enum { USES = ROOM_OF_COORDINATORS + 1 };

struct view {
    struct fs fs;
    struct room_fs *all;
    enum room_use use;
};

struct room_fs {
    struct fs *below;
    struct room **rooms; /* owned: the array */
    size_t rooms_n;
    struct view views[USES];
};

static struct view *view_of(struct fs *fs)
{
    return container_of(fs, struct view, fs);
}

static struct fs *below(struct fs *fs)
{
    return view_of(fs)->all->below;
}

static bool is_in(const struct room *room, const char *path)
{
    size_t len = strlen(room_dir(room));
    return strncmp(room_dir(room), path, len) == 0 && path[len] == '/';
}

/* Is it the room's disk that was full, as far as can be told? `path` NULL: of some open file. */
static bool concerns(struct room *room, const char *path)
{
    return path == NULL ? !room_seems_free(room) : is_in(room, path);
}

struct gift {
    bool concerned; /* somebody was */
    bool given;
};

static struct gift give_of(const struct view *view, const char *path, bool all)
{
    struct gift gift = {0};
    for (size_t i = 0; i < view->all->rooms_n; i++) {
        struct room *room = view->all->rooms[i];
        if (all || concerns(room, path)) {
            gift.concerned = true;
            room_note_full(room);
            gift.given |= room_give(room, view->use);
        }
    }
    return gift;
}

/* After a call that failed: is there a little more room now? Leaves errno as it is. */
static bool made_room(struct fs *fs, const char *path)
{
    int number = errno;
    bool given = false;
    if (number == ENOSPC || number == EDQUOT) {
        struct gift gift = give_of(view_of(fs), path, false);
        if (!gift.given && path != NULL) { /* another directory may be on the same disk */
            gift = give_of(view_of(fs), NULL, false);
        } else if (!gift.concerned) {
            gift = give_of(view_of(fs), NULL, true);
        }
        given = gift.given;
    }
    errno = number;
    return given;
}

static int r_open(struct fs *fs, const char *path, int flags)
{
    int fd;
    do {
        fd = below(fs)->ops->open(below(fs), path, flags);
    } while (fd < 0 && (flags & O_CREAT) != 0 && made_room(fs, path));
    return fd;
}

static int r_close(struct fs *fs, int fd)
{
    return below(fs)->ops->close(below(fs), fd);
}

static ssize_t r_pread(struct fs *fs, int fd, void *data, size_t len, int64_t position)
{
    return below(fs)->ops->pread(below(fs), fd, data, len, position);
}

static ssize_t r_pwritev(struct fs *fs, int fd, const struct iovec *parts, int parts_n,
                         int64_t position)
{
    ssize_t written;
    do {
        written = below(fs)->ops->pwritev(below(fs), fd, parts, parts_n, position);
    } while (written < 0 && made_room(fs, NULL));
    return written;
}

static int r_ftruncate(struct fs *fs, int fd, int64_t size)
{
    return below(fs)->ops->ftruncate(below(fs), fd, size);
}

static int r_allocate(struct fs *fs, int fd, int64_t size)
{
    return below(fs)->ops->allocate(below(fs), fd, size);
}

static int r_fdatasync(struct fs *fs, int fd)
{
    return below(fs)->ops->fdatasync(below(fs), fd);
}

static int r_fsync(struct fs *fs, int fd)
{
    return below(fs)->ops->fsync(below(fs), fd);
}

static int r_rename(struct fs *fs, const char *from, const char *to)
{
    int returned;
    do {
        returned = below(fs)->ops->rename(below(fs), from, to);
    } while (returned < 0 && made_room(fs, to));
    return returned;
}

static int r_unlink(struct fs *fs, const char *path)
{
    return below(fs)->ops->unlink(below(fs), path);
}

static int r_mkdir(struct fs *fs, const char *path)
{
    int returned;
    do {
        returned = below(fs)->ops->mkdir(below(fs), path);
    } while (returned < 0 && made_room(fs, path));
    return returned;
}

static int r_rmdir(struct fs *fs, const char *path)
{
    return below(fs)->ops->rmdir(below(fs), path);
}

static int r_stat(struct fs *fs, const char *path, struct fs_stat *stat)
{
    return below(fs)->ops->stat(below(fs), path, stat);
}

static int r_fstat(struct fs *fs, int fd, struct fs_stat *stat)
{
    return below(fs)->ops->fstat(below(fs), fd, stat);
}

static int r_list(struct fs *fs, const char *path, fs_entry_fn *each, void *context)
{
    return below(fs)->ops->list(below(fs), path, each, context);
}

static int r_lock(struct fs *fs, int fd)
{
    return below(fs)->ops->lock(below(fs), fd);
}

static int r_syncfs(struct fs *fs, int fd)
{
    return below(fs)->ops->syncfs(below(fs), fd);
}

static int r_space(struct fs *fs, const char *path, struct fs_space *space)
{
    return below(fs)->ops->space(below(fs), path, space);
}

static int r_set_mtime(struct fs *fs, int fd, int64_t mtime_ms)
{
    return below(fs)->ops->set_mtime(below(fs), fd, mtime_ms);
}

static int r_drop_cache(struct fs *fs, int fd, int64_t len)
{
    return below(fs)->ops->drop_cache(below(fs), fd, len);
}

static const struct fs_ops OPS = {
    .open = r_open,
    .close = r_close,
    .pread = r_pread,
    .pwritev = r_pwritev,
    .ftruncate = r_ftruncate,
    .allocate = r_allocate,
    .fdatasync = r_fdatasync,
    .fsync = r_fsync,
    .rename = r_rename,
    .unlink = r_unlink,
    .mkdir = r_mkdir,
    .rmdir = r_rmdir,
    .stat = r_stat,
    .fstat = r_fstat,
    .list = r_list,
    .lock = r_lock,
    .syncfs = r_syncfs,
    .space = r_space,
    .set_mtime = r_set_mtime,
    .drop_cache = r_drop_cache,
};

struct room_fs *room_fs_new(struct fs *below_it, struct room *const *rooms, size_t rooms_n)
{
    struct room_fs *made = xcalloc(1, sizeof(*made));
    made->below = below_it;
    made->rooms = xcalloc(rooms_n + 1, sizeof(struct room *));
    for (; made->rooms_n < rooms_n; made->rooms_n++) {
        made->rooms[made->rooms_n] = rooms[made->rooms_n];
    }
    for (int use = 0; use < USES; use++) {
        made->views[use] = (struct view){.fs.ops = &OPS, .all = made, .use = (enum room_use)use};
    }
    return made;
}

void room_fs_free(struct room_fs *room_fs)
{
    if (room_fs != NULL) {
        free(room_fs->rooms);
        free(room_fs);
    }
}

struct fs *room_fs_for(struct room_fs *room_fs, enum room_use use)
{
    return &room_fs->views[use].fs;
}
