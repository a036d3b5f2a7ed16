/* A file system that fails when told to, or is of a limited size. */
#ifndef OTTLA_STORAGE_TESTS_FAULT_FS_H
#define OTTLA_STORAGE_TESTS_FAULT_FS_H

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#define UNUSED __attribute__((unused))

struct fault_fs {
    struct fs fs;
    _Atomic int64_t calls; /* of operations that count */
    int64_t fail_at;       /* the call that fails; 0: none */
    int error;             /* what it fails with; 0: EIO */
    bool dead;             /* everything after it fails too: a crash */
    bool die;
    bool tear;         /* the failing write writes half of its bytes */
    bool only_changes; /* reads and opens do not count */
    bool only_syncs;   /* only fsync and fdatasync count */
    bool only_syncfs;
    /* A disk of so many bytes more, over all files that are written through here. */
    bool limited;
    int64_t free_bytes;
    int full_error;       /* 0: ENOSPC */
    bool cuts_refused;    /* a file cannot be made shorter */
    int64_t refusals;     /* that found no room */
    const char *full_dir; /* below it no file can be made or emptied: ENOSPC; NULL: none */
};

static inline bool fault_hits(struct fs *fs, bool change, bool sync)
{
    struct fault_fs *f = (struct fault_fs *)(void *)fs;
    if (f->dead) {
        return true;
    }
    if ((f->only_changes && !change) || (f->only_syncs && !sync) || f->only_syncfs) {
        return false;
    }
    if (++f->calls != f->fail_at) {
        return false;
    }
    f->dead = f->die;
    return true;
}

static inline int fault_error(const struct fs *fs)
{
    const struct fault_fs *f = (const struct fault_fs *)(const void *)fs;
    return f->error == 0 ? EIO : f->error;
}

#define FAULT(change, sync)                                                                        \
    if (fault_hits(fs, (change), (sync))) {                                                        \
        errno = fault_error(fs);                                                                   \
        return -1;                                                                                 \
    }

/* What a name gives back when it goes, or is made empty. */
static inline int64_t limited_size(const char *path)
{
    struct fs_stat stat;
    return fs_system()->ops->stat(fs_system(), path, &stat) == 0 && !stat.is_dir ? stat.size : 0;
}

static inline void limited_gain(struct fs *fs, int64_t bytes)
{
    struct fault_fs *f = (struct fault_fs *)(void *)fs;
    if (f->limited) { /* or threads write to it at the same time */
        f->free_bytes += bytes;
    }
}

/* How far a file may grow towards `end`; -1 with errno: not at all. */
static inline int64_t limited_grow(struct fs *fs, int fd, int64_t position, int64_t end)
{
    struct fault_fs *f = (struct fault_fs *)(void *)fs;
    struct fs_stat stat;
    if (!f->limited || fs_system()->ops->fstat(fs_system(), fd, &stat) != 0 || end <= stat.size) {
        return end;
    }
    int64_t most = stat.size + f->free_bytes;
    if (most < end) {
        f->refusals++;
    }
    if (most <= position) {
        errno = f->full_error == 0 ? ENOSPC : f->full_error;
        return -1;
    }
    end = most < end ? most : end;
    f->free_bytes -= end - stat.size;
    return end;
}

UNUSED static int fault_open(struct fs *fs, const char *path, int flags)
{
    FAULT((flags & (O_CREAT | O_TRUNC)) != 0, false)
    const char *full_dir = ((struct fault_fs *)(void *)fs)->full_dir;
    if (full_dir != NULL && (flags & (O_CREAT | O_TRUNC)) != 0 &&
        strncmp(path, full_dir, strlen(full_dir)) == 0) {
        errno = ENOSPC;
        return -1;
    }
    limited_gain(fs, (flags & O_TRUNC) != 0 ? limited_size(path) : 0);
    return fs_system()->ops->open(fs_system(), path, flags);
}
UNUSED static int fault_close(struct fs *fs, int fd)
{
    (void)fs;
    return fs_system()->ops->close(fs_system(), fd);
}
UNUSED static ssize_t fault_pread(struct fs *fs, int fd, void *data, size_t len, int64_t position)
{
    struct fault_fs *f = (struct fault_fs *)(void *)fs;
    if (!f->dead) {
        FAULT(false, false)
    }
    return fs_system()->ops->pread(fs_system(), fd, data, len, position);
}
UNUSED static ssize_t fault_pwritev(struct fs *fs, int fd, const struct iovec *parts, int parts_n,
                                    int64_t position)
{
    struct fault_fs *f = (struct fault_fs *)(void *)fs;
    bool was_dead = f->dead;
    if (fault_hits(fs, true, false)) {
        if (f->tear && !was_dead) {
            struct iovec half = {.iov_base = parts[0].iov_base, .iov_len = parts[0].iov_len / 2};
            (void)!fs_system()->ops->pwritev(fs_system(), fd, &half, 1, position);
        }
        errno = fault_error(fs);
        return -1;
    }
    int64_t len = 0;
    for (int i = 0; i < parts_n; i++) {
        len += (int64_t)parts[i].iov_len;
    }
    int64_t end = limited_grow(fs, fd, position, position + len);
    if (end < position + len) {
        size_t first = (size_t)(end - position);
        struct iovec part = {.iov_base = parts[0].iov_base,
                             .iov_len = first < parts[0].iov_len ? first : parts[0].iov_len};
        return end < 0 ? -1 : fs_system()->ops->pwritev(fs_system(), fd, &part, 1, position);
    }
    return fs_system()->ops->pwritev(fs_system(), fd, parts, parts_n, position);
}
UNUSED static int fault_ftruncate(struct fs *fs, int fd, int64_t size)
{
    FAULT(true, false)
    struct fs_stat stat;
    if (((struct fault_fs *)(void *)fs)->cuts_refused) {
        errno = EIO;
        return -1;
    }
    if (fs_system()->ops->fstat(fs_system(), fd, &stat) == 0 && stat.size > size) {
        limited_gain(fs, stat.size - size);
    }
    return fs_system()->ops->ftruncate(fs_system(), fd, size);
}
UNUSED static int fault_allocate(struct fs *fs, int fd, int64_t size)
{
    FAULT(true, false)
    int64_t end = limited_grow(fs, fd, size - 1, size);
    return end < size ? -1 : fs_system()->ops->allocate(fs_system(), fd, size);
}
UNUSED static int fault_fdatasync(struct fs *fs, int fd)
{
    (void)fd;
    FAULT(true, true)
    return 0; /* tests need no disk */
}
UNUSED static int fault_syncfs(struct fs *fs, int fd)
{
    struct fault_fs *f = (struct fault_fs *)(void *)fs;
    bool only = f->only_syncfs;
    f->only_syncfs = false;
    int returned = fault_fdatasync(fs, fd);
    f->only_syncfs = only;
    return returned;
}
UNUSED static int fault_rename(struct fs *fs, const char *from, const char *to)
{
    FAULT(true, false)
    limited_gain(fs, limited_size(to));
    return fs_system()->ops->rename(fs_system(), from, to);
}
UNUSED static int fault_unlink(struct fs *fs, const char *path)
{
    FAULT(true, false)
    limited_gain(fs, limited_size(path));
    return fs_system()->ops->unlink(fs_system(), path);
}
UNUSED static int fault_mkdir(struct fs *fs, const char *path)
{
    FAULT(true, false)
    return fs_system()->ops->mkdir(fs_system(), path);
}
UNUSED static int fault_rmdir(struct fs *fs, const char *path)
{
    FAULT(true, false)
    return fs_system()->ops->rmdir(fs_system(), path);
}

UNUSED static int fault_stat(struct fs *fs, const char *path, struct fs_stat *stat)
{
    FAULT(false, false)
    return fs_system()->ops->stat(fs_system(), path, stat);
}
UNUSED static int fault_fstat(struct fs *fs, int fd, struct fs_stat *stat)
{
    FAULT(false, false)
    return fs_system()->ops->fstat(fs_system(), fd, stat);
}
UNUSED static int fault_list(struct fs *fs, const char *path, fs_entry_fn *each, void *context)
{
    FAULT(false, false)
    return fs_system()->ops->list(fs_system(), path, each, context);
}
UNUSED static int fault_lock(struct fs *fs, int fd)
{
    FAULT(false, false)
    return fs_system()->ops->lock(fs_system(), fd);
}

UNUSED static int fault_space(struct fs *fs, const char *path, struct fs_space *space)
{
    FAULT(false, false)
    const struct fault_fs *f = (const struct fault_fs *)(const void *)fs;
    int returned = fs_system()->ops->space(fs_system(), path, space);
    space->usable_bytes = f->limited ? f->free_bytes : space->usable_bytes;
    return returned;
}

UNUSED static int fault_set_mtime(struct fs *fs, int fd, int64_t mtime_ms)
{
    FAULT(true, false)
    return fs_system()->ops->set_mtime(fs_system(), fd, mtime_ms);
}
UNUSED static int fault_drop_cache(struct fs *fs, int fd, int64_t len)
{
    (void)fs;
    (void)fd;
    (void)len;
    return 0; /* what is not synced would be written first */
}

static const struct fs_ops FAULT_OPS UNUSED = {
    .open = fault_open,
    .close = fault_close,
    .pread = fault_pread,
    .pwritev = fault_pwritev,
    .ftruncate = fault_ftruncate,
    .allocate = fault_allocate,
    .fdatasync = fault_fdatasync,
    .fsync = fault_fdatasync,
    .rename = fault_rename,
    .unlink = fault_unlink,
    .mkdir = fault_mkdir,
    .rmdir = fault_rmdir,
    .stat = fault_stat,
    .fstat = fault_fstat,
    .list = fault_list,
    .lock = fault_lock,
    .syncfs = fault_syncfs,
    .space = fault_space,
    .set_mtime = fault_set_mtime,
    .drop_cache = fault_drop_cache,
};

#endif
