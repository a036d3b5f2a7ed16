/* Each directory is held by a lock on itself (flock), which ends with the process, however that ends. So whoever gets
 * the lock of one that is there already knows that nobody uses it, and removes it. Between the making of a directory and
 * its lock another process may come to that conclusion: then the lock is refused, or the directory is gone, and the next
 * one is made.
 *
 * The child that waits holds the reading end of a pipe whose writing end this process alone has: it reads nothing until
 * that is closed. It is in a session of its own with all signals blocked, since Ctrl-C means the broker, and has closed
 * everything else, since somebody may wait for the end of the broker's output. */
#define _GNU_SOURCE
#include "broker/memory_dir.h"

#include "base/refuse.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

static const char PREFIX[] = "ottla-memory-";

enum { TRIES = 16, TREE_FILES_MAX = 16, WHERE_MAX_BYTES = 16 };

struct memory_dir {
    char path[64];
    int lock;         /* of the directory */
    pid_t watcher;    /* 0: none */
    int watched_pipe; /* the writing end */
    struct fs fs;
    struct fs_ops ops;
};

/* ---- files ---- */

static int sync_nothing(struct fs *fs, int fd)
{
    (void)fs;
    (void)fd;
    return 0;
}

static int allocate_nothing(struct fs *fs, int fd, int64_t size)
{
    (void)fs;
    (void)fd;
    (void)size;
    errno = EOPNOTSUPP;
    return -1;
}

struct fs *memory_dir_fs(struct memory_dir *dir)
{
    return &dir->fs;
}

/* ---- where ---- */

static bool has_memory(void)
{
    struct statfs shm;
    return statfs("/dev/shm", &shm) == 0 && shm.f_type == TMPFS_MAGIC;
}

static const char *where(void)
{
    return has_memory() ? "/dev/shm" : "/tmp";
}

/* ---- removing ---- */

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *at)
{
    (void)stat;
    (void)kind;
    (void)at;
    (void)remove(path); /* what is left is left: nobody is there to be told */
    return 0;
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, TREE_FILES_MAX, FTW_DEPTH | FTW_PHYS);
}

/* The lock of a directory; -1: somebody has it, or it is not there. */
static int lock_of(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void remove_left_over(void)
{
    DIR *all = opendir(where());
    if (all == NULL) {
        return;
    }
    for (struct dirent *entry; (entry = readdir(all)) != NULL;) {
        char path[WHERE_MAX_BYTES + sizeof(entry->d_name)];
        snprintf(path, sizeof(path), "%s/%s", where(), entry->d_name);
        int lock = strncmp(entry->d_name, PREFIX, sizeof(PREFIX) - 1) == 0 ? lock_of(path) : -1;
        if (lock >= 0) {
            remove_tree(path);
            close(lock);
        }
    }
    closedir(all);
}

/* ---- making ---- */

/* Is the directory that is locked still the one that has the name? */
static bool is_there(const struct memory_dir *dir)
{
    struct stat locked;
    struct stat named;
    return fstat(dir->lock, &locked) == 0 && stat(dir->path, &named) == 0 &&
           locked.st_ino == named.st_ino;
}

static err make_locked(struct memory_dir *dir, char *reason)
{
    for (int i = 0; i < TRIES; i++) {
        snprintf(dir->path, sizeof(dir->path), "%s/%sXXXXXX", where(), PREFIX);
        if (mkdtemp(dir->path) == NULL) {
            return refuse_with(err_from_errno(errno), reason, MEMORY_DIR_REASON_BYTES,
                               "cannot make a directory in %s: %s", where(), strerror(errno));
        }
        dir->lock = lock_of(dir->path);
        if (dir->lock >= 0 && is_there(dir)) {
            return OK;
        }
        if (dir->lock >= 0) {
            close(dir->lock);
        }
    }
    return refuse_with(E_BUSY, reason, MEMORY_DIR_REASON_BYTES,
                       "directories in %s are taken away at once", where());
}

/* The child. */
static void watch(const char *path, int pipe_end)
{
    sigset_t all;
    sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, NULL);
    (void)setsid();
    (void)prctl(PR_SET_NAME, "ottla-memory");
    (void)dup2(pipe_end, 0);
    closefrom(1);
    (void)chdir("/");
    char byte;
    while (read(0, &byte, 1) < 0 && errno == EINTR) {
    }
    remove_tree(path);
    _exit(0);
}

static err start_watcher(struct memory_dir *dir, char *reason)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return refuse_with(err_from_errno(errno), reason, MEMORY_DIR_REASON_BYTES,
                           "cannot make a pipe: %s", strerror(errno));
    }
    dir->watcher = fork();
    if (dir->watcher == 0) {
        watch(dir->path, ends[0]);
    }
    close(ends[0]);
    dir->watched_pipe = ends[1];
    if (dir->watcher < 0) {
        dir->watcher = 0;
        close(ends[1]);
        return refuse_with(err_from_errno(errno), reason, MEMORY_DIR_REASON_BYTES,
                           "cannot start a process: %s", strerror(errno));
    }
    return OK;
}

err memory_dir_make(bool watched, struct memory_dir **out, char reason[MEMORY_DIR_REASON_BYTES])
{
    remove_left_over();
    struct memory_dir *dir = xcalloc(1, sizeof(*dir));
    dir->ops = *fs_system()->ops;
    dir->ops.fdatasync = sync_nothing;
    dir->ops.fsync = sync_nothing;
    dir->ops.syncfs = sync_nothing;
    dir->ops.allocate = allocate_nothing;
    dir->fs.ops = &dir->ops;
    err e = make_locked(dir, reason);
    if (e != OK) {
        free(dir);
        return e;
    }
    e = watched ? start_watcher(dir, reason) : OK;
    if (e != OK) {
        memory_dir_remove(dir);
        return e;
    }
    *out = dir;
    return OK;
}

const char *memory_dir_path(const struct memory_dir *dir)
{
    return dir->path;
}

bool memory_dir_is_on_disk(const struct memory_dir *dir)
{
    return strncmp(dir->path, "/dev/shm/", strlen("/dev/shm/")) != 0;
}

void memory_dir_remove(struct memory_dir *dir)
{
    if (dir == NULL) {
        return;
    }
    remove_tree(dir->path);
    if (dir->watcher > 0) {
        close(dir->watched_pipe);
        (void)waitpid(dir->watcher, NULL, 0);
    }
    close(dir->lock);
    free(dir);
}
