/* What would be there after a power cut: a copy of everything below a directory as it was last synced.
 * Preloaded into a broker, it looks at fsync, fdatasync and syncfs alone, since that is all that makes
 * something durable.
 *
 *     $OTTLA_DURABLE_OF   the directory, a file system whose inode numbers do not come again
 *     $OTTLA_DURABLE      where the copy is
 *         <inode>         a file: its bytes when it was last synced
 *         <inode>.names   a directory: a line "f <inode> <name>" or "d <inode> <name>" for each entry
 *
 * The machine is then started anew: $OTTLA_DURABLE/boot_id is read in the place of the kernel's file.
 *
 * An inode without a copy was never synced: an empty file, an empty directory. By inodes, so that a file
 * that was renamed has its bytes under whichever of the names is durable. The copy is made when the real
 * call has succeeded and before it returns; one at a time, and complete or not at all, since it is made
 * under another name. power_loss.py makes the directory of the copy. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A copy that cannot be made would be seen as a loss of the broker's: nothing goes on then. */
static void must(int good, const char *what)
{
    if (!good) {
        perror(what);
        abort();
    }
}

static void name_copy(char out[PATH_MAX], ino_t inode, const char *end)
{
    int len =
        snprintf(out, PATH_MAX, "%s/%lu%s", getenv("OTTLA_DURABLE"), (unsigned long)inode, end);
    must(len > 0 && len < PATH_MAX, "power_loss: path");
}

static void write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        must(n > 0, "power_loss: write");
        data += n;
        len -= (size_t)n;
    }
}

/* By another description of the file, which may be open for writing only. */
static void copy_file(const char *path, ino_t inode)
{
    static char data[1 << 16];
    char made[PATH_MAX], copy[PATH_MAX];
    name_copy(made, inode, ".new");
    name_copy(copy, inode, "");
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0) {
        return; /* it has been removed meanwhile */
    }
    int to = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(to >= 0, made);
    ssize_t n;
    while ((n = read(from, data, sizeof(data))) > 0) {
        write_all(to, data, (size_t)n);
    }
    must(n == 0, path);
    close(from);
    close(to);
    must(rename(made, copy) == 0, copy);
}

static void copy_names(const char *path, ino_t inode, int all_below);

static void copy_entry(FILE *names, const char *directory, const char *name, int all_below)
{
    char path[PATH_MAX];
    struct stat st;
    must(snprintf(path, sizeof(path), "%s/%s", directory, name) < PATH_MAX, "power_loss: path");
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || lstat(path, &st) != 0) {
        return;
    }
    fprintf(names, "%c %lu %s\n", S_ISDIR(st.st_mode) ? 'd' : 'f', (unsigned long)st.st_ino, name);
    if (all_below && S_ISDIR(st.st_mode)) {
        copy_names(path, st.st_ino, all_below);
    } else if (all_below) {
        copy_file(path, st.st_ino);
    }
}

static void copy_names(const char *path, ino_t inode, int all_below)
{
    char made[PATH_MAX], copy[PATH_MAX];
    name_copy(made, inode, ".new");
    name_copy(copy, inode, ".names");
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return;
    }
    FILE *names = fopen(made, "we");
    must(names != NULL, made);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        copy_entry(names, path, entry->d_name, all_below);
    }
    closedir(directory);
    must(fclose(names) == 0, made);
    must(rename(made, copy) == 0, copy);
}

/* Of a descriptor below the directory; others are nobody's business. */
static int is_ours(int fd, char path[PATH_MAX], struct stat *st)
{
    const char *root = getenv("OTTLA_DURABLE_OF");
    char link[64];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = root == NULL ? -1 : readlink(link, path, PATH_MAX - 1);
    if (len < 0 || fstat(fd, st) != 0) {
        return 0;
    }
    path[len] = '\0';
    size_t root_len = strlen(root);
    return strncmp(path, root, root_len) == 0 && (path[root_len] == '/' || path[root_len] == '\0');
}

static int synced(int fd, int result, int all)
{
    char path[PATH_MAX];
    struct stat st;
    if (result != 0 || !is_ours(fd, path, &st)) {
        return result;
    }
    pthread_mutex_lock(&lock);
    if (all) {
        const char *root = getenv("OTTLA_DURABLE_OF");
        must(stat(root, &st) == 0, root);
        copy_names(root, st.st_ino, 1);
    } else if (S_ISDIR(st.st_mode)) {
        copy_names(path, st.st_ino, 0);
    } else {
        copy_file(path, st.st_ino);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static int real(const char *name, int fd)
{
    int (*call)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return call(fd);
}

/* Of files that are made, the mode comes behind; nobody here asks for O_TMPFILE. */
int open(const char *path, int flags, ...)
{
    int (*call)(const char *, int, mode_t) =
        (int (*)(const char *, int, mode_t))dlsym(RTLD_NEXT, "open");
    char boot_id[PATH_MAX];
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    if (strcmp(path, "/proc/sys/kernel/random/boot_id") == 0 && getenv("OTTLA_DURABLE") != NULL) {
        snprintf(boot_id, sizeof(boot_id), "%s/boot_id", getenv("OTTLA_DURABLE"));
        path = boot_id;
    }
    return call(path, flags, mode);
}

int fsync(int fd)
{
    return synced(fd, real("fsync", fd), 0);
}

int fdatasync(int fd)
{
    return synced(fd, real("fdatasync", fd), 0);
}

int syncfs(int fd)
{
    return synced(fd, real("syncfs", fd), 1);
}
