/* Every file operation goes through here, and through one small table of functions, so that tests
 * can fail the n-th call or tear a write.
 *
 * Descriptors are plain ints (sendfile needs them). Errors are -1000 - errno. Thread-safe as far as
 * the operating system is. */
#ifndef OTTLA_BASE_FILE_H
#define OTTLA_BASE_FILE_H

#include "base/bytes.h"
#include "base/err.h"

#include <sys/types.h>
#include <sys/uio.h>

struct fs;

/* What is asked of a file or directory. */
struct fs_stat {
    int64_t size;
    int64_t mtime_ms; /* of its content, since 1970 */
    bool is_dir;
};

/* Of the file system that a path is on. */
struct fs_space {
    int64_t total_bytes;
    int64_t usable_bytes; /* to us */
    int64_t usable_files; /* how many more there may be; INT64_MAX: that has no limit of its own */
};

/* One name of a directory; it lives during the call. Links are followed for `is_dir`. */
typedef void fs_entry_fn(void *context, const char *name, bool is_dir);

/* The table: nothing else in the program may touch a file of ours. Each function is the system call
 * of its name and sets errno. `list` gives every name but "." and "..", in any order; an error in
 * its middle is an error, whatever was given before. `lock` takes an exclusive lock of the open file
 * (F_OFD_SETLK, which Java's locks see) or fails at once. */
struct fs_ops {
    int (*open)(struct fs *fs, const char *path, int flags);
    int (*close)(struct fs *fs, int fd);
    ssize_t (*pread)(struct fs *fs, int fd, void *data, size_t len, int64_t position);
    ssize_t (*pwritev)(struct fs *fs, int fd, const struct iovec *parts, int parts_n,
                       int64_t position);
    int (*ftruncate)(struct fs *fs, int fd, int64_t size);
    int (*allocate)(struct fs *fs, int fd, int64_t size); /* posix_fallocate, from the begin on */
    int (*fdatasync)(struct fs *fs, int fd);
    int (*fsync)(struct fs *fs, int fd);
    int (*rename)(struct fs *fs, const char *from, const char *to);
    int (*unlink)(struct fs *fs, const char *path);
    int (*mkdir)(struct fs *fs, const char *path);
    int (*rmdir)(struct fs *fs, const char *path);
    int (*stat)(struct fs *fs, const char *path, struct fs_stat *stat);
    int (*fstat)(struct fs *fs, int fd, struct fs_stat *stat);
    int (*list)(struct fs *fs, const char *path, fs_entry_fn *each, void *context);
    int (*lock)(struct fs *fs, int fd);
    int (*syncfs)(struct fs *fs, int fd);
    int (*space)(struct fs *fs, const char *path, struct fs_space *space);
    int (*set_mtime)(struct fs *fs, int fd, int64_t mtime_ms); /* futimens */
    int (*drop_cache)(struct fs *fs, int fd, int64_t len); /* posix_fadvise, from the begin on */
};

struct fs {
    const struct fs_ops *ops;
};

/* The real file system; one for everybody, without state. */
struct fs *fs_system(void);

/* `flags` as open(2); new files get mode 0644; O_CLOEXEC is added. */
NODISCARD err fs_open(struct fs *fs, const char *path, int flags, int *fd);
void fs_close(struct fs *fs, int fd);
/* Reads exactly `len` bytes; E_TRUNCATED when the file ends before. */
NODISCARD err fs_read(struct fs *fs, int fd, void *data, size_t len, int64_t position);
/* Reads up to `len` bytes, fewer only at the end of the file. */
NODISCARD err fs_read_some(struct fs *fs, int fd, void *data, size_t len, int64_t position,
                           size_t *read_bytes);
/* Writes everything; after an error nothing is known about the range. */
NODISCARD err fs_write(struct fs *fs, int fd, struct bytes data, int64_t position);
/* The same for several pieces; `parts` is used up. */
NODISCARD err fs_writev(struct fs *fs, int fd, struct iovec *parts, int parts_n, int64_t position);
NODISCARD err fs_truncate(struct fs *fs, int fd, int64_t size);
/* Makes the file so long, of bytes that have their place on the disk. After an error it may be longer than it was. */
NODISCARD err fs_allocate(struct fs *fs, int fd, int64_t size);
NODISCARD err fs_datasync(struct fs *fs, int fd);
/* Names that have found no room in it are lost to every later sync, too: EIO, as from fs_sync_all(). */
NODISCARD err fs_sync_dir(struct fs *fs, const char *path);
/* Makes durable all that was written to the file system that holds the file. What could not be written since `fd` was
 * opened is an error, also where somebody else has been told of it: who is to answer for all that he has done opens it
 * first. */
NODISCARD err fs_sync_all(struct fs *fs, int fd);
NODISCARD err fs_space(struct fs *fs, const char *path, struct fs_space *space);
/* The path from the root, with its links resolved; malloc'd. A copy of it when that fails. */
char *fs_absolute(const char *path);
NODISCARD err fs_rename(struct fs *fs, const char *from, const char *to);
/* A file that is not there is no error. */
NODISCARD err fs_unlink(struct fs *fs, const char *path);
/* A directory that is there already is no error. */
NODISCARD err fs_mkdir(struct fs *fs, const char *path);
NODISCARD err fs_rmdir(struct fs *fs, const char *path);

/* An exclusive lock, until the descriptor is closed; an error at once when somebody else has it. */
NODISCARD err fs_lock(struct fs *fs, int fd);

NODISCARD err fs_size(struct fs *fs, int fd, int64_t *size);
/* The same by name. */
NODISCARD err fs_path_size(struct fs *fs, const char *path, int64_t *size);
/* Modification time in milliseconds since 1970. */
NODISCARD err fs_mtime_ms(struct fs *fs, int fd, int64_t *mtime_ms);
NODISCARD err fs_set_mtime_ms(struct fs *fs, int fd, int64_t mtime_ms);
/* A hint: the first `len` bytes will not be read again soon. */
void fs_drop_cache(struct fs *fs, int fd, int64_t len);
NODISCARD err fs_exists(struct fs *fs, const char *path, bool *exists);

/* The whole file, malloc'd and followed by a zero byte. E_LIMIT when larger than `limit_bytes`. */
NODISCARD err fs_read_all(struct fs *fs, const char *path, size_t limit_bytes, char **data,
                          size_t *len);
/* Replaces a file so that a crash leaves the old or the new one: writes `path`.tmp, fsync, rename,
 * fsync of the directory. What it could not make whole it removes: it may be room that was missing. */
NODISCARD err fs_write_atomic(struct fs *fs, const char *path, struct bytes data);
/* The same without any fsync: the end of the process leaves the old or the new one, a power cut may
 * leave an empty file. For hints that can be missed. */
NODISCARD err fs_replace(struct fs *fs, const char *path, struct bytes data);

/* The names in a directory, sorted, without "." and "..". */
struct name_list {
    char **names;
    size_t count;
};
NODISCARD err fs_list(struct fs *fs, const char *path, struct name_list *list);
/* Only its directories: asking for each name afterwards costs a tenth of a clean start. */
NODISCARD err fs_list_dirs(struct fs *fs, const char *path, struct name_list *list);
void name_list_deinit(struct name_list *list);
/* Removes a directory and the plain files in it (partitions have no deeper levels). */
NODISCARD err fs_remove_dir(struct fs *fs, const char *path);

#endif
