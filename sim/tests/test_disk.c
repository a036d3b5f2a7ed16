/* What a disk keeps, and what it forgets when the power goes. */
#include "sim/disk.h"

#include "base/tests/suite.h"

#include <fcntl.h>

static struct trace trace;
static struct sched *sched;
static struct manual_clock wall;
static struct disk *disk;
static struct fs *fs;

static void begin(uint64_t seed)
{
    sched = sched_new(seed, &trace);
    manual_clock_init(&wall, 1000000);
    disk = disk_new(sched, &trace);
    fs = disk_open_view(disk, &wall.clock);
}

static void end(void)
{
    disk_free(disk);
    sched_free(sched);
}

static void restart(void)
{
    disk_close_view(fs);
    fs = disk_open_view(disk, &wall.clock);
}

static int make(const char *path)
{
    int fd = -1;
    MUST(fs_open(fs, path, O_RDWR | O_CREAT, &fd));
    return fd;
}

static void put(int fd, const char *text, int64_t position)
{
    MUST(fs_write(fs, fd, bytes_of(text, strlen(text)), position));
}

static bool is(const char *path, const char *text)
{
    struct bytes found = disk_peek(disk, path);
    return found.len == strlen(text) &&
           (found.len == 0 || memcmp(found.data, text, found.len) == 0);
}

static bool is_there(const char *path)
{
    bool exists = false;
    MUST(fs_exists(fs, path, &exists));
    return exists;
}

/* Of a process that is killed everything is there, but its descriptors and its lock. */
static void test_kill(void)
{
    begin(1);
    int fd = make("/data/a");
    put(fd, "hello", 0);
    MUST(fs_lock(fs, fd));
    int other = -1;
    MUST(fs_open(fs, "/data/a", O_RDWR, &other));
    CU_ASSERT_NOT_EQUAL(fs_lock(fs, other), OK);
    struct fs *dead = fs;
    restart();
    CU_ASSERT(is("/data/a", "hello"));
    CU_ASSERT_NOT_EQUAL(fs_write(dead, fd, bytes_of("x", 1), 0), OK);
    CU_ASSERT(is("/data/a", "hello"));
    MUST(fs_open(fs, "/data/a", O_RDWR, &fd));
    MUST(fs_lock(fs, fd));
    end();
}

/* What was synced, file and directory, is always there. */
static void test_synced_stays(void)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        begin(seed);
        int fd = make("/data/a");
        put(fd, "kept", 0);
        MUST(fs_datasync(fs, fd));
        MUST(fs_sync_dir(fs, "/data"));
        put(fd, "lost", 4);
        disk_lose_power(disk);
        struct bytes found = disk_peek(disk, "/data/a");
        CU_ASSERT_FATAL(found.len >= 4);
        CU_ASSERT_EQUAL(memcmp(found.data, "kept", 4), 0);
        end();
    }
}

/* A content that was not synced is there, or not, or torn. */
static void test_unsynced(void)
{
    enum { BYTES = 4096 };
    int whole = 0;
    int none = 0;
    int torn = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        char data[BYTES];
        begin(seed);
        int fd = make("/data/a");
        MUST(fs_sync_dir(fs, "/data"));
        memset(data, 'x', sizeof(data));
        MUST(fs_write(fs, fd, bytes_of(data, sizeof(data)), 0));
        disk_lose_power(disk);
        struct bytes found = disk_peek(disk, "/data/a");
        bool same = found.len == BYTES && memcmp(found.data, data, BYTES) == 0;
        whole += same ? 1 : 0;
        none += found.len == 0 ? 1 : 0;
        torn += !same && found.len > 0 ? 1 : 0;
        end();
    }
    CU_ASSERT(none > 5 && torn > 5);
    CU_ASSERT_EQUAL(whole + none + torn, 100);
}

/* A name whose directory was not synced may be gone, whatever was synced below it; a rename too. */
static void test_names(void)
{
    int there = 0;
    int renamed = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        begin(seed);
        int fd = make("/data/old");
        put(fd, "old", 0);
        MUST(fs_datasync(fs, fd));
        MUST(fs_sync_dir(fs, "/data"));
        fd = make("/data/new");
        put(fd, "new", 0);
        MUST(fs_datasync(fs, fd));
        MUST(fs_rename(fs, "/data/new", "/data/old"));
        disk_lose_power(disk);
        restart();
        there += is_there("/data/new") ? 1 : 0;
        renamed += is("/data/old", "new") ? 1 : 0;
        CU_ASSERT(is("/data/old", "new") || is("/data/old", "old"));
        CU_ASSERT(!(is_there("/data/new") && is("/data/old", "new")));
        end();
    }
    CU_ASSERT(there > 10 && renamed > 10 && there + renamed < 90);
}

/* Removed, and not synced: it may be back, with its content. */
static void test_removal(void)
{
    int back = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        begin(seed);
        int fd = make("/data/a");
        put(fd, "a", 0);
        MUST(fs_datasync(fs, fd));
        MUST(fs_sync_dir(fs, "/data"));
        MUST(fs_unlink(fs, "/data/a"));
        CU_ASSERT(!is_there("/data/a"));
        disk_lose_power(disk);
        restart();
        back += is("/data/a", "a") ? 1 : 0;
        end();
    }
    CU_ASSERT(back > 5 && back < 45);
}

static void test_directories(void)
{
    struct name_list list;
    begin(1);
    MUST(fs_mkdir(fs, "/data/t-0"));
    fs_close(fs, make("/data/t-0/b"));
    fs_close(fs, make("/data/t-0/a"));
    MUST(fs_list(fs, "/data/t-0", &list));
    CU_ASSERT_EQUAL_FATAL(list.count, 2);
    CU_ASSERT_STRING_EQUAL(list.names[0], "a");
    name_list_deinit(&list);
    CU_ASSERT_NOT_EQUAL(fs_rmdir(fs, "/data/t-0"), OK);
    MUST(fs_remove_dir(fs, "/data/t-0"));
    CU_ASSERT(!is_there("/data/t-0"));
    int fd = -1;
    CU_ASSERT_EQUAL(fs_open(fs, "/data/none/a", O_RDWR | O_CREAT, &fd), err_from_errno(ENOENT));
    end();
}

static void test_faults(void)
{
    begin(1);
    int fd = make("/data/a");
    put(fd, "a", 0);
    disk_set_full(disk, true);
    put(fd, "b", 0);
    CU_ASSERT_EQUAL(fs_write(fs, fd, bytes_of("c", 1), 1), err_from_errno(ENOSPC));
    int other = -1;
    CU_ASSERT_NOT_EQUAL(fs_open(fs, "/data/b", O_RDWR | O_CREAT, &other), OK);
    disk_set_full(disk, false);
    disk_set_errors(disk, 1000000);
    CU_ASSERT_EQUAL(fs_datasync(fs, fd), err_from_errno(EIO));
    disk_set_errors(disk, 0);
    MUST(fs_datasync(fs, fd));
    CU_ASSERT_EQUAL(disk_counts(disk).errors, 1);
    CU_ASSERT_EQUAL(disk_counts(disk).full, 2);
    end();
}

static void end_process(void *context)
{
    disk_close_view(context);
}

static void test_end_at_change(void)
{
    begin(1);
    int fd = make("/data/a");
    disk_at_change(fs, 2, end_process, fs);
    put(fd, "a", 0);
    CU_ASSERT_EQUAL(fs_write(fs, fd, bytes_of("b", 1), 0), err_from_errno(EIO));
    CU_ASSERT(is("/data/a", "a"));
    end();
}

/* While a task waits for its sync another one writes: that is not covered by it. */
static int shared_fd;

static void sync_it(void *context)
{
    (void)context;
    MUST(fs_datasync(fs, shared_fd));
}

static void write_meanwhile(void *context)
{
    (void)context;
    sched_sleep(sched, 10);
    put(shared_fd, "later", 5);
}

static void test_sync_takes_time(void)
{
    bool lost = false;
    for (uint64_t seed = 0; seed < 30; seed++) {
        begin(seed);
        shared_fd = make("/data/a");
        MUST(fs_sync_dir(fs, "/data"));
        put(shared_fd, "first", 0);
        disk_set_sync_us(disk, 100000);
        struct task *a = task_spawn(sched, NULL, "sync", sync_it, NULL);
        struct task *b = task_spawn(sched, NULL, "write", write_meanwhile, NULL);
        CU_ASSERT(sched_run_task(sched, a, sched_now_us(sched) + 1000000));
        CU_ASSERT(sched_run_task(sched, b, sched_now_us(sched) + 1000000));
        disk_lose_power(disk);
        struct bytes found = disk_peek(disk, "/data/a");
        CU_ASSERT(found.len >= 5 && memcmp(found.data, "first", 5) == 0);
        lost |= found.len < 10;
        end();
    }
    CU_ASSERT(lost);
}

static void sync_quickly(void *context)
{
    (void)context;
    sched_sleep(sched, 1000);
    put(shared_fd, "later", 5);
    disk_set_sync_us(disk, 100);
    MUST(fs_datasync(fs, shared_fd));
}

/* A slow one that ends last is of less: what the quicker one made durable stays. */
static void test_syncs_meet(void)
{
    begin(1);
    shared_fd = make("/data/a");
    MUST(fs_sync_dir(fs, "/data"));
    put(shared_fd, "first", 0);
    disk_set_sync_us(disk, 100000);
    (void)task_spawn(sched, NULL, "slow", sync_it, NULL);
    (void)task_spawn(sched, NULL, "quick", sync_quickly, NULL);
    sched_run(sched, sched_now_us(sched) + 1000000);
    disk_lose_power(disk);
    CU_ASSERT(is("/data/a", "firstlater"));
    end();
}

SUITE("disk", TEST(test_kill), TEST(test_synced_stays), TEST(test_unsynced), TEST(test_names),
      TEST(test_removal), TEST(test_directories), TEST(test_faults), TEST(test_end_at_change),
      TEST(test_sync_takes_time), TEST(test_syncs_meet))
