/* Files: full reads and writes over short counts, an atomic replacement that fails at every
 * operation, lists. */
#define _GNU_SOURCE
#include "base/file.h"

#include "base/tests/suite.h"

#include <fcntl.h>

/* A file system of the real one, in which the n-th changing call fails, and reads and writes may
 * be short. */
struct faulty {
    struct fs fs;
    int calls;
    int fail_at; /* 0: never */
    bool dead_after;
    bool short_counts;
    bool interrupted;
};

static bool fails(struct fs *fs)
{
    struct faulty *f = (struct faulty *)(void *)fs;
    f->calls++;
    if (f->fail_at != 0 && (f->calls == f->fail_at || (f->dead_after && f->calls > f->fail_at))) {
        errno = EIO;
        return true;
    }
    return false;
}

static int f_open(struct fs *fs, const char *path, int flags)
{
    return fails(fs) ? -1 : fs_system()->ops->open(fs_system(), path, flags);
}

static int f_close(struct fs *fs, int fd)
{
    (void)fs;
    return fs_system()->ops->close(fs_system(), fd);
}

/* Every other call is interrupted, the others do one byte. */
static bool interrupted(struct fs *fs)
{
    struct faulty *f = (struct faulty *)(void *)fs;
    f->interrupted = f->short_counts && !f->interrupted;
    errno = EINTR;
    return f->interrupted;
}

static ssize_t f_pread(struct fs *fs, int fd, void *data, size_t len, int64_t position)
{
    bool is_short = ((struct faulty *)(void *)fs)->short_counts;
    return interrupted(fs) ? -1 : pread(fd, data, is_short && len > 1 ? 1 : len, position);
}

static ssize_t f_pwritev(struct fs *fs, int fd, const struct iovec *parts, int parts_n,
                         int64_t position)
{
    if (fails(fs) || interrupted(fs)) {
        return -1;
    }
    bool is_short = ((struct faulty *)(void *)fs)->short_counts;
    struct iovec one = parts[0];
    one.iov_len = one.iov_len > 3 ? 3 : one.iov_len;
    return is_short ? pwritev(fd, &one, 1, position) : pwritev(fd, parts, parts_n, position);
}

static int f_ftruncate(struct fs *fs, int fd, int64_t size)
{
    return fails(fs) ? -1 : ftruncate(fd, size);
}

static int f_sync(struct fs *fs, int fd)
{
    return fails(fs) ? -1 : fsync(fd);
}

static int f_rename(struct fs *fs, const char *from, const char *to)
{
    return fails(fs) ? -1 : rename(from, to);
}

static int f_unlink(struct fs *fs, const char *path)
{
    return fails(fs) ? -1 : unlink(path);
}

static int f_mkdir(struct fs *fs, const char *path)
{
    return fails(fs) ? -1 : fs_system()->ops->mkdir(fs_system(), path);
}

static int f_rmdir(struct fs *fs, const char *path)
{
    return fails(fs) ? -1 : rmdir(path);
}

static int f_stat(struct fs *fs, const char *path, struct fs_stat *stat)
{
    return fails(fs) ? -1 : fs_system()->ops->stat(fs_system(), path, stat);
}

static int f_fstat(struct fs *fs, int fd, struct fs_stat *stat)
{
    return fails(fs) ? -1 : fs_system()->ops->fstat(fs_system(), fd, stat);
}

/* A failure comes after the names: a half-read directory must not pass for a whole one. */
static int f_list(struct fs *fs, const char *path, fs_entry_fn *each, void *context)
{
    bool failed = fails(fs);
    int returned = fs_system()->ops->list(fs_system(), path, each, context);
    errno = failed ? EIO : errno;
    return failed ? -1 : returned;
}

static int f_lock(struct fs *fs, int fd)
{
    return fails(fs) ? -1 : fs_system()->ops->lock(fs_system(), fd);
}

static struct faulty faulty_new(int fail_at, bool dead_after)
{
    static const struct fs_ops OPS = {.open = f_open,
                                      .close = f_close,
                                      .pread = f_pread,
                                      .pwritev = f_pwritev,
                                      .ftruncate = f_ftruncate,
                                      .fdatasync = f_sync,
                                      .fsync = f_sync,
                                      .rename = f_rename,
                                      .unlink = f_unlink,
                                      .mkdir = f_mkdir,
                                      .rmdir = f_rmdir,
                                      .stat = f_stat,
                                      .fstat = f_fstat,
                                      .list = f_list,
                                      .lock = f_lock,
                                      .syncfs = f_sync};
    return (struct faulty){.fs.ops = &OPS, .fail_at = fail_at, .dead_after = dead_after};
}

static char dir[64];

static const char *in_dir(const char *name)
{
    static char path[2][128];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", dir, name);
    return path[turn];
}

static bool holds(const char *path, const char *expected)
{
    char *data = NULL;
    size_t len = 0;
    if (fs_read_all(fs_system(), path, 1000, &data, &len) != OK) {
        return false;
    }
    bool same = len == strlen(expected) && strcmp(data, expected) == 0;
    free(data);
    return same;
}

static void test_write_and_read(void)
{
    temp_dir_make(dir);
    struct faulty f = faulty_new(0, false);
    f.short_counts = true;
    int fd = -1;
    MUST(fs_open(&f.fs, in_dir("a"), O_RDWR | O_CREAT, &fd));
    struct iovec parts[] = {{"hello", 5}, {"", 0}, {", ", 2}, {"world", 5}};
    MUST(fs_writev(&f.fs, fd, parts, 4, 2));
    MUST(fs_write(&f.fs, fd, bytes_of("ab", 2), 0));
    MUST(fs_write(&f.fs, fd, bytes_of(NULL, 0), 0));
    char data[32] = "";
    size_t got = 0;
    MUST(fs_read(&f.fs, fd, data, 14, 0));
    CU_ASSERT_NSTRING_EQUAL(data, "abhello, world", 14);
    CU_ASSERT_EQUAL(fs_read(&f.fs, fd, data, 15, 0), E_TRUNCATED);
    MUST(fs_read_some(&f.fs, fd, data, 32, 9, &got));
    CU_ASSERT(got == 5 && memcmp(data, "world", 5) == 0);
    MUST(fs_read_some(&f.fs, fd, data, 32, 100, &got));
    CU_ASSERT_EQUAL(got, 0);
    int64_t size = 0;
    MUST(fs_truncate(&f.fs, fd, 3));
    MUST(fs_size(&f.fs, fd, &size));
    CU_ASSERT_EQUAL(size, 3);
    int64_t mtime_ms = 0;
    MUST(fs_mtime_ms(&f.fs, fd, &mtime_ms));
    CU_ASSERT(mtime_ms > 1000000000000);
    CU_ASSERT_NOT_EQUAL(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    fs_close(&f.fs, fd);
    CU_ASSERT(holds(in_dir("a"), "abh"));
    temp_dir_remove(dir);
}

static void test_read_all(void)
{
    temp_dir_make(dir);
    char *data = NULL;
    size_t len = 0;
    CU_ASSERT_EQUAL(fs_read_all(fs_system(), in_dir("a"), 10, &data, &len), err_from_errno(ENOENT));
    CU_ASSERT_PTR_NULL(data);
    MUST(fs_write_atomic(fs_system(), in_dir("a"), bytes_of("0123456789", 10)));
    CU_ASSERT_EQUAL(fs_read_all(fs_system(), in_dir("a"), 9, &data, &len), E_LIMIT);
    CU_ASSERT_PTR_NULL(data);
    MUST(fs_read_all(fs_system(), in_dir("a"), 10, &data, &len));
    CU_ASSERT(len == 10 && strcmp(data, "0123456789") == 0);
    free(data);
    temp_dir_remove(dir);
}

/* The n-th operation fails, alone or with all after it: the file is the old one or the new one,
 * and the new one if the call said so. */
static void test_atomic_replacement(void)
{
    temp_dir_make(dir);
    int succeeded = 0;
    for (int dead = 0; dead < 2; dead++) {
        for (int n = 1; n < 20; n++) {
            MUST(fs_write_atomic(fs_system(), in_dir("f"), bytes_of("old", 3)));
            struct faulty f = faulty_new(n, dead != 0);
            err e = fs_write_atomic(&f.fs, in_dir("f"), bytes_of("newer", 5));
            CU_ASSERT(holds(in_dir("f"), "newer") || (e != OK && holds(in_dir("f"), "old")));
            CU_ASSERT_EQUAL(e, f.calls < n ? OK : err_from_errno(EIO));
            succeeded += e == OK;
        }
    }
    CU_ASSERT(succeeded > 0 && succeeded < 38);
    struct name_list names;
    MUST(fs_write_atomic(fs_system(), in_dir("f"), bytes_of("", 0)));
    MUST(fs_list(fs_system(), dir, &names));
    CU_ASSERT_EQUAL(names.count, 1); /* no temporary file stays */
    name_list_deinit(&names);
    temp_dir_remove(dir);
}

/* Open, write, sync, rename, sync of the directory: none may be missing. */
static void test_atomic_replacement_syncs(void)
{
    temp_dir_make(dir);
    struct faulty f = faulty_new(0, false);
    MUST(fs_write_atomic(&f.fs, in_dir("f"), bytes_of("x", 1)));
    CU_ASSERT_EQUAL(f.calls, 6);
    CU_ASSERT_EQUAL(chdir(dir), 0);
    MUST(fs_write_atomic(fs_system(), "here", bytes_of("x", 1)));
    CU_ASSERT(holds(in_dir("here"), "x"));
    CU_ASSERT_EQUAL(chdir("/"), 0);
    temp_dir_remove(dir);
}

static bool exists(const char *path)
{
    bool yes = false;
    MUST(fs_exists(fs_system(), path, &yes));
    return yes;
}

static void test_directories(void)
{
    temp_dir_make(dir);
    MUST(fs_mkdir(fs_system(), in_dir("t-0")));
    MUST(fs_mkdir(fs_system(), in_dir("t-0")));
    CU_ASSERT_EQUAL(fs_mkdir(fs_system(), in_dir("x/y")), err_from_errno(ENOENT));
    static const char *const NAMES[] = {"t-0/b", "t-0/c", "t-0/a"};
    for (int i = 0; i < 3; i++) {
        MUST(fs_write_atomic(fs_system(), in_dir(NAMES[i]), bytes_of("x", 1)));
    }
    struct name_list names;
    MUST(fs_list(fs_system(), in_dir("t-0"), &names));
    CU_ASSERT_EQUAL_FATAL(names.count, 3);
    CU_ASSERT_STRING_EQUAL(names.names[0], "a");
    CU_ASSERT_STRING_EQUAL(names.names[2], "c");
    name_list_deinit(&names);
    CU_ASSERT_EQUAL(fs_list(fs_system(), in_dir("nowhere"), &names), err_from_errno(ENOENT));
    struct faulty f = faulty_new(3, false);
    CU_ASSERT_EQUAL(fs_remove_dir(&f.fs, in_dir("t-0")), err_from_errno(EIO));
    CU_ASSERT(exists(in_dir("t-0")));
    MUST(fs_remove_dir(fs_system(), in_dir("t-0")));
    CU_ASSERT_FALSE(exists(in_dir("t-0")));
    MUST(fs_unlink(fs_system(), in_dir("nothing")));
    MUST(fs_list(fs_system(), dir, &names));
    CU_ASSERT_EQUAL(names.count, 0);
    name_list_deinit(&names);
    temp_dir_remove(dir);
}

/* What is asked of the disk can fail, and says so: a marker that cannot be looked for is not an
 * absent one, and a listing that broke off is not a short one. */
static void test_questions_fail(void)
{
    temp_dir_make(dir);
    MUST(fs_write_atomic(fs_system(), in_dir("f"), bytes_of("four", 4)));
    MUST(fs_mkdir(fs_system(), in_dir("sub")));
    int64_t value = 0;
    bool yes = false;
    struct name_list names;
    MUST(fs_path_size(fs_system(), in_dir("f"), &value));
    CU_ASSERT_EQUAL(value, 4);
    struct faulty f = faulty_new(1, true);
    CU_ASSERT_EQUAL(fs_path_size(&f.fs, in_dir("f"), &value), err_from_errno(EIO));
    CU_ASSERT_EQUAL(fs_exists(&f.fs, in_dir("f"), &yes), err_from_errno(EIO));
    CU_ASSERT_EQUAL(fs_list(&f.fs, dir, &names), err_from_errno(EIO));
    CU_ASSERT_EQUAL(names.count, 0);
    CU_ASSERT_PTR_NULL(names.names);
    CU_ASSERT_EQUAL(fs_size(&f.fs, 0, &value), err_from_errno(EIO));
    CU_ASSERT_EQUAL(fs_mtime_ms(&f.fs, 0, &value), err_from_errno(EIO));
    CU_ASSERT_EQUAL(fs_sync_all(&f.fs, 0), err_from_errno(EIO));
    int fd = -1;
    MUST(fs_open(fs_system(), in_dir("f"), O_RDONLY, &fd));
    MUST(fs_sync_all(fs_system(), fd));
    fs_close(fs_system(), fd);
    MUST(fs_list_dirs(fs_system(), dir, &names));
    CU_ASSERT_EQUAL_FATAL(names.count, 1);
    CU_ASSERT_STRING_EQUAL(names.names[0], "sub");
    name_list_deinit(&names);
    temp_dir_remove(dir);
}

/* Two descriptors of one file exclude each other, also in one process. */
static void test_lock(void)
{
    temp_dir_make(dir);
    int first = -1;
    int second = -1;
    MUST(fs_open(fs_system(), in_dir("l"), O_RDWR | O_CREAT, &first));
    MUST(fs_open(fs_system(), in_dir("l"), O_RDWR, &second));
    MUST(fs_lock(fs_system(), first));
    CU_ASSERT_NOT_EQUAL(fs_lock(fs_system(), second), OK);
    fs_close(fs_system(), first);
    MUST(fs_lock(fs_system(), second));
    fs_close(fs_system(), second);
    temp_dir_remove(dir);
}

SUITE("file", TEST(test_questions_fail), TEST(test_lock), TEST(test_write_and_read),
      TEST(test_read_all), TEST(test_atomic_replacement), TEST(test_atomic_replacement_syncs),
      TEST(test_directories))
