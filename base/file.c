/* The system's file operations behind the table, and the few compositions that storage needs:
 * full reads and writes over short counts, atomic replacement, listing. What a signal can interrupt (EINTR; a
 * sync too, on some file systems) is asked again: it says nothing of the disk. */
#define _GNU_SOURCE
#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { LIST_BYTES = 8 << 10 };

static int sys_open(struct fs *fs, const char *path, int flags)
{
    (void)fs;
    return open(path, flags | O_CLOEXEC, 0644);
}

static int sys_close(struct fs *fs, int fd)
{
    (void)fs;
    return close(fd);
}

static ssize_t sys_pread(struct fs *fs, int fd, void *data, size_t len, int64_t position)
{
    (void)fs;
    return pread(fd, data, len, position);
}

static ssize_t sys_pwritev(struct fs *fs, int fd, const struct iovec *parts, int parts_n,
                           int64_t position)
{
    (void)fs;
    return pwritev(fd, parts, parts_n, position);
}

static int sys_ftruncate(struct fs *fs, int fd, int64_t size)
{
    (void)fs;
    return ftruncate(fd, size);
}

static int sys_allocate(struct fs *fs, int fd, int64_t size)
{
    (void)fs;
    errno = posix_fallocate(fd, 0, size);
    return errno == 0 ? 0 : -1;
}

static int sys_fdatasync(struct fs *fs, int fd)
{
    (void)fs;
    return fdatasync(fd);
}

static int sys_fsync(struct fs *fs, int fd)
{
    (void)fs;
    return fsync(fd);
}

static int sys_rename(struct fs *fs, const char *from, const char *to)
{
    (void)fs;
    return rename(from, to);
}

static int sys_unlink(struct fs *fs, const char *path)
{
    (void)fs;
    return unlink(path);
}

static int sys_mkdir(struct fs *fs, const char *path)
{
    (void)fs;
    return mkdir(path, 0755);
}

static int sys_rmdir(struct fs *fs, const char *path)
{
    (void)fs;
    return rmdir(path);
}

static void stat_fill(const struct stat *st, struct fs_stat *out)
{
    *out = (struct fs_stat){
        .size = st->st_size,
        .mtime_ms = (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000,
        .is_dir = S_ISDIR(st->st_mode),
    };
}

static int sys_stat(struct fs *fs, const char *path, struct fs_stat *out)
{
    struct stat st = {0};
    (void)fs;
    int returned = stat(path, &st);
    stat_fill(&st, out);
    return returned;
}

static int sys_fstat(struct fs *fs, int fd, struct fs_stat *out)
{
    struct stat st = {0};
    (void)fs;
    int returned = fstat(fd, &st);
    stat_fill(&st, out);
    return returned;
}

static bool entry_is_dir(int dir_fd, const struct dirent64 *entry)
{
    struct stat st;
    if (entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK) {
        return entry->d_type == DT_DIR;
    }
    return fstatat(dir_fd, entry->d_name, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

/* Without opendir(), which takes 32 KiB and asks for more than is needed: a start lists every log. */
static int sys_list(struct fs *fs, const char *path, fs_entry_fn *each, void *context)
{
    (void)fs;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    _Alignas(struct dirent64) char entries[LIST_BYTES];
    ssize_t len;
    while ((len = getdents64(fd, entries, sizeof(entries))) > 0) {
        for (ssize_t at = 0; at < len;) {
            const struct dirent64 *entry = (const void *)(entries + at);
            if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
                each(context, entry->d_name, entry_is_dir(fd, entry));
            }
            at += entry->d_reclen;
        }
    }
    int failure = errno;
    close(fd);
    errno = failure;
    return len == 0 ? 0 : -1;
}

static int sys_lock(struct fs *fs, int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    (void)fs;
    return fcntl(fd, F_OFD_SETLK, &lock);
}

static int sys_syncfs(struct fs *fs, int fd)
{
    (void)fs;
    return syncfs(fd);
}

static int sys_space(struct fs *fs, const char *path, struct fs_space *space)
{
    struct statvfs stat;
    (void)fs;
    if (statvfs(path, &stat) != 0) {
        return -1;
    }
    *space =
        (struct fs_space){.total_bytes = (int64_t)stat.f_blocks * (int64_t)stat.f_frsize,
                          .usable_bytes = (int64_t)stat.f_bavail * (int64_t)stat.f_frsize,
                          .usable_files = stat.f_files == 0 ? INT64_MAX : (int64_t)stat.f_favail};
    return 0;
}

static int sys_set_mtime(struct fs *fs, int fd, int64_t mtime_ms)
{
    const struct timespec times[] = {
        {.tv_nsec = UTIME_OMIT}, {.tv_sec = mtime_ms / 1000, .tv_nsec = mtime_ms % 1000 * 1000000}};
    (void)fs;
    return futimens(fd, times);
}

static int sys_drop_cache(struct fs *fs, int fd, int64_t len)
{
    (void)fs;
    return posix_fadvise(fd, 0, len, POSIX_FADV_DONTNEED);
}

struct fs *fs_system(void)
{
    static const struct fs_ops ops = {
        .open = sys_open,
        .close = sys_close,
        .pread = sys_pread,
        .pwritev = sys_pwritev,
        .ftruncate = sys_ftruncate,
        .allocate = sys_allocate,
        .fdatasync = sys_fdatasync,
        .fsync = sys_fsync,
        .rename = sys_rename,
        .unlink = sys_unlink,
        .mkdir = sys_mkdir,
        .rmdir = sys_rmdir,
        .stat = sys_stat,
        .fstat = sys_fstat,
        .list = sys_list,
        .lock = sys_lock,
        .syncfs = sys_syncfs,
        .space = sys_space,
        .set_mtime = sys_set_mtime,
        .drop_cache = sys_drop_cache,
    };
    static struct fs fs = {.ops = &ops};
    return &fs;
}

static err result(long returned)
{
    return returned < 0 ? err_from_errno(errno) : OK;
}

err fs_open(struct fs *fs, const char *path, int flags, int *fd)
{
    *fd = (int)TEMP_FAILURE_RETRY(fs->ops->open(fs, path, flags));
    return result(*fd);
}

void fs_close(struct fs *fs, int fd)
{
    if (fd >= 0) {
        (void)fs->ops->close(fs, fd);
    }
}

err fs_read_some(struct fs *fs, int fd, void *data, size_t len, int64_t position,
                 size_t *read_bytes)
{
    *read_bytes = 0;
    while (*read_bytes < len) {
        ssize_t n = fs->ops->pread(fs, fd, (uint8_t *)data + *read_bytes, len - *read_bytes,
                                   position + (int64_t)*read_bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_from_errno(errno);
        }
        if (n == 0) {
            break;
        }
        *read_bytes += (size_t)n;
    }
    return OK;
}

err fs_read(struct fs *fs, int fd, void *data, size_t len, int64_t position)
{
    size_t read_bytes = 0;
    TRY(fs_read_some(fs, fd, data, len, position, &read_bytes));
    return read_bytes == len ? OK : E_TRUNCATED;
}

err fs_writev(struct fs *fs, int fd, struct iovec *parts, int parts_n, int64_t position)
{
    while (parts_n > 0) {
        ssize_t n =
            fs->ops->pwritev(fs, fd, parts, parts_n > IOV_MAX ? IOV_MAX : parts_n, position);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_from_errno(errno);
        }
        position += n;
        size_t written = (size_t)n;
        while (parts_n > 0 && written >= parts->iov_len) {
            written -= parts->iov_len;
            parts++;
            parts_n--;
        }
        if (parts_n > 0) {
            parts->iov_base = (uint8_t *)parts->iov_base + written;
            parts->iov_len -= written;
        }
    }
    return OK;
}

err fs_write(struct fs *fs, int fd, struct bytes data, int64_t position)
{
    struct iovec part = {.iov_base = (void *)(uintptr_t)data.data, .iov_len = data.len};
    return fs_writev(fs, fd, &part, data.len == 0 ? 0 : 1, position);
}

err fs_set_mtime_ms(struct fs *fs, int fd, int64_t mtime_ms)
{
    return result(fs->ops->set_mtime(fs, fd, mtime_ms));
}

void fs_drop_cache(struct fs *fs, int fd, int64_t len)
{
    (void)fs->ops->drop_cache(fs, fd, len);
}

err fs_truncate(struct fs *fs, int fd, int64_t size)
{
    return result(TEMP_FAILURE_RETRY(fs->ops->ftruncate(fs, fd, size)));
}

err fs_allocate(struct fs *fs, int fd, int64_t size)
{
    return result(fs->ops->allocate(fs, fd, size));
}

err fs_datasync(struct fs *fs, int fd)
{
    return result(TEMP_FAILURE_RETRY(fs->ops->fdatasync(fs, fd)));
}

/* What a sync has failed to make durable no later one will. */
static err final_if_full(err e)
{
    int number = err_to_errno(e);
    return number == ENOSPC || number == EDQUOT ? err_from_errno(EIO) : e;
}

err fs_sync_dir(struct fs *fs, const char *path)
{
    int fd = -1;
    TRY(fs_open(fs, path, O_RDONLY | O_DIRECTORY, &fd));
    err e = final_if_full(result(TEMP_FAILURE_RETRY(fs->ops->fsync(fs, fd))));
    fs_close(fs, fd);
    return e;
}

err fs_sync_all(struct fs *fs, int fd)
{
    return final_if_full(result(TEMP_FAILURE_RETRY(fs->ops->syncfs(fs, fd))));
}

err fs_space(struct fs *fs, const char *path, struct fs_space *space)
{
    return result(fs->ops->space(fs, path, space));
}

char *fs_absolute(const char *path)
{
    char *absolute = realpath(path, NULL);
    return absolute == NULL ? xstrdup(path) : absolute;
}

err fs_lock(struct fs *fs, int fd)
{
    return result(fs->ops->lock(fs, fd));
}

err fs_rename(struct fs *fs, const char *from, const char *to)
{
    return result(fs->ops->rename(fs, from, to));
}

err fs_unlink(struct fs *fs, const char *path)
{
    err e = result(fs->ops->unlink(fs, path));
    return err_to_errno(e) == ENOENT ? OK : e;
}

err fs_mkdir(struct fs *fs, const char *path)
{
    err e = result(fs->ops->mkdir(fs, path));
    return err_to_errno(e) == EEXIST ? OK : e;
}

err fs_rmdir(struct fs *fs, const char *path)
{
    return result(fs->ops->rmdir(fs, path));
}

err fs_size(struct fs *fs, int fd, int64_t *size)
{
    struct fs_stat stat;
    TRY(result(fs->ops->fstat(fs, fd, &stat)));
    *size = stat.size;
    return OK;
}

err fs_path_size(struct fs *fs, const char *path, int64_t *size)
{
    struct fs_stat stat;
    TRY(result(fs->ops->stat(fs, path, &stat)));
    *size = stat.size;
    return OK;
}

err fs_mtime_ms(struct fs *fs, int fd, int64_t *mtime_ms)
{
    struct fs_stat stat;
    TRY(result(fs->ops->fstat(fs, fd, &stat)));
    *mtime_ms = stat.mtime_ms;
    return OK;
}

err fs_exists(struct fs *fs, const char *path, bool *exists)
{
    struct fs_stat stat;
    err e = result(fs->ops->stat(fs, path, &stat));
    *exists = e == OK;
    return err_to_errno(e) == ENOENT ? OK : e;
}

err fs_read_all(struct fs *fs, const char *path, size_t limit_bytes, char **data, size_t *len)
{
    int fd = -1;
    *data = NULL;
    TRY(fs_open(fs, path, O_RDONLY, &fd));
    int64_t size = 0;
    err e = fs_size(fs, fd, &size);
    if (e == OK && (uint64_t)size > limit_bytes) {
        e = E_LIMIT;
    }
    if (e == OK) {
        *data = xmalloc((size_t)size + 1);
        e = fs_read_some(fs, fd, *data, (size_t)size, 0, len);
    }
    fs_close(fs, fd);
    if (e != OK) {
        free(*data);
        *data = NULL;
        return e;
    }
    (*data)[*len] = '\0';
    return OK;
}

static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return xstrdup(".");
    }
    return slash == path ? xstrdup("/") : strndup(path, (size_t)(slash - path));
}

static err write_whole(struct fs *fs, const char *path, struct bytes data, bool sync)
{
    int fd = -1;
    TRY(fs_open(fs, path, O_WRONLY | O_CREAT | O_TRUNC, &fd));
    err e = fs_write(fs, fd, data, 0);
    if (e == OK && sync) {
        e = result(TEMP_FAILURE_RETRY(fs->ops->fsync(fs, fd)));
    }
    fs_close(fs, fd);
    if (e != OK) {
        err_ignore(fs_unlink(fs, path));
    }
    return e;
}

err fs_replace(struct fs *fs, const char *path, struct bytes data)
{
    char *temporary = xasprintf("%s.tmp", path);
    err e = write_whole(fs, temporary, data, false);
    if (e == OK) {
        e = fs_rename(fs, temporary, path);
    }
    free(temporary);
    return e;
}

err fs_write_atomic(struct fs *fs, const char *path, struct bytes data)
{
    char *temporary = xasprintf("%s.tmp", path);
    char *parent = parent_of(path);
    err e = write_whole(fs, temporary, data, true);
    if (e == OK) {
        e = fs_rename(fs, temporary, path);
    }
    if (e == OK) {
        e = fs_sync_dir(fs, parent);
    }
    free(temporary);
    free(parent);
    return e;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A listing in the making. */
struct listing {
    struct name_list *list;
    size_t cap;
    bool dirs_only;
};

static void listing_add(void *context, const char *name, bool is_dir)
{
    struct listing *listing = context;
    struct name_list *list = listing->list;
    if (listing->dirs_only && !is_dir) {
        return;
    }
    if (list->count == listing->cap) {
        listing->cap = listing->cap == 0 ? 16 : listing->cap * 2;
        list->names = xrealloc(list->names, listing->cap * sizeof(*list->names));
    }
    list->names[list->count++] = xstrdup(name);
}

static err list_names(struct fs *fs, const char *path, bool dirs_only, struct name_list *list)
{
    struct listing listing = {.list = list, .dirs_only = dirs_only};
    *list = (struct name_list){0};
    err e = result(fs->ops->list(fs, path, listing_add, &listing));
    if (e != OK) {
        name_list_deinit(list);
        return e;
    }
    if (list->count > 0) {
        qsort(list->names, list->count, sizeof(*list->names), compare_names);
    }
    return OK;
}

err fs_list(struct fs *fs, const char *path, struct name_list *list)
{
    return list_names(fs, path, false, list);
}

err fs_list_dirs(struct fs *fs, const char *path, struct name_list *list)
{
    return list_names(fs, path, true, list);
}

void name_list_deinit(struct name_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->names[i]);
    }
    free(list->names);
    *list = (struct name_list){0};
}

err fs_remove_dir(struct fs *fs, const char *path)
{
    struct name_list list;
    TRY(fs_list(fs, path, &list));
    err e = OK;
    for (size_t i = 0; i < list.count && e == OK; i++) {
        char *file = xasprintf("%s/%s", path, list.names[i]);
        e = fs_unlink(fs, file);
        free(file);
    }
    name_list_deinit(&list);
    return e == OK ? fs_rmdir(fs, path) : e;
}
