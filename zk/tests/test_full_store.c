/* The embedded store on a disk that is full: each write of SQLite's, one after the other, finds no room. Without more
 * room the call has changed nothing, and the store goes on; with some it is done. What the session itself changes, which
 * the first write of a call commits, is neither lost nor half done. Also where the disk says EDQUOT, which SQLite does
 * not know. */
#include "base/tests/suite.h"
#include "zk/coord.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>

enum { ARENA_BYTES = 1 << 20, OPEN_FILES_MAX = 4096 };

/* A file system for SQLite whose n-th write fails. SQLite leaves no other way than one for the whole process. */
static struct {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    sqlite3_io_methods methods[OPEN_FILES_MAX]; /* of a file each: they must live as long as it */
    int files_n;
    int (*write)(sqlite3_file *file, const void *data, int len, sqlite3_int64 at);
    int writes; /* until the one that fails; 0: none does */
    int error;  /* SQLite's */
    int number; /* errno */
    bool failed;
} disk;

static int disk_write(sqlite3_file *file, const void *data, int len, sqlite3_int64 at)
{
    if (disk.failed || (disk.writes > 0 && --disk.writes == 0)) {
        disk.failed = true;
        errno = disk.number;
        return disk.error;
    }
    return disk.write(file, data, len, at);
}

/* The process does not end: tests need no disk. */
static int disk_sync(sqlite3_file *file, int flags)
{
    (void)file;
    (void)flags;
    return SQLITE_OK;
}

static int disk_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *got)
{
    (void)vfs;
    int code = disk.real->xOpen(disk.real, path, file, flags, got);
    if (code == SQLITE_OK && file->pMethods != NULL) {
        CU_ASSERT_FATAL(disk.files_n < OPEN_FILES_MAX);
        sqlite3_io_methods *methods = &disk.methods[disk.files_n++];
        *methods = *file->pMethods;
        disk.write = methods->xWrite;
        methods->xWrite = disk_write;
        methods->xSync = disk_sync;
        file->pMethods = methods;
    }
    return code;
}

/* Once SQLite has noted what the system said, it goes on, and something else may be said. */
static int disk_last_error(sqlite3_vfs *vfs, int len, char *text)
{
    (void)vfs;
    int number = disk.real->xGetLastError(disk.real, len, text);
    errno = disk.failed ? ENOENT : errno;
    return number;
}

static void disk_install(void)
{
    disk.real = sqlite3_vfs_find(NULL);
    disk.vfs = *disk.real;
    disk.vfs.zName = "limited";
    disk.vfs.pNext = NULL;
    disk.vfs.xOpen = disk_open;
    disk.vfs.xGetLastError = disk_last_error;
    CHECK(sqlite3_vfs_register(&disk.vfs, 1) == SQLITE_OK);
}

static void disk_fill(int writes, int error, int number)
{
    disk.writes = writes;
    disk.error = error;
    disk.number = number;
    disk.failed = false;
}

/* ---- the store ---- */

static struct {
    char dir[64];
    struct manual_clock clock;
    struct coord *coord;
    struct arena arena;
    bool has_room; /* to be made */
    int made_room;
} s;

static void on_watch(void *context, enum coord_watch_type type, const char *path)
{
    (void)context;
    (void)type;
    (void)path;
}

static bool on_full(void *context)
{
    (void)context;
    if (s.has_room) {
        s.made_room++;
        disk_fill(0, 0, 0);
    }
    return s.has_room;
}

static err try_open(void)
{
    static const struct coord_events EVENTS = {.watch = on_watch, .make_room = on_full};
    char path[128];
    char reason[COORD_REASON_BYTES] = "";
    snprintf(path, sizeof(path), "%s/coordination", s.dir);
    return coord_embedded_open(path, &s.clock.clock, &EVENTS, &s.coord, reason);
}

static void reopen(void)
{
    coord_close(s.coord);
    s.coord = NULL;
    CU_ASSERT_EQUAL_FATAL(try_open(), OK);
}

static err create(const char *path, int flags)
{
    struct coord_op op = {.type = COORD_CREATE, .path = path, .flags = flags};
    err e = coord_run(s.coord, &op, 1, &s.arena);
    return e != OK ? e : op.error;
}

/* Two nodes, or none. */
static err create_two(void)
{
    char text[3000];
    memset(text, 'x', sizeof(text));
    struct coord_op ops[] = {
        {.type = COORD_CREATE, .path = "/b", .data = bytes_of(text, sizeof(text))},
        {.type = COORD_CREATE, .path = "/c", .data = bytes_of(text, sizeof(text))},
        {.type = COORD_CHILDREN, .path = "/"}};
    err e = coord_run(s.coord, ops, 3, &s.arena);
    CU_ASSERT(e != OK || (ops[2].error == OK && ops[2].children_n == 3));
    return e;
}

static bool is_there(const char *path)
{
    struct coord_op op = {.type = COORD_GET, .path = path};
    CU_ASSERT_EQUAL_FATAL(coord_run(s.coord, &op, 1, &s.arena), OK);
    return op.error == OK;
}

/* A store with an ephemeral node of a session that has ended, and a session that has written nothing yet. */
static void begin(void)
{
    temp_dir_make(s.dir);
    manual_clock_init(&s.clock, 1700000000000);
    arena_init(&s.arena, ARENA_BYTES);
    disk_fill(0, 0, 0);
    disk.files_n = 0;
    s.made_room = 0;
    s.coord = NULL;
    CU_ASSERT_EQUAL_FATAL(try_open(), OK);
    CU_ASSERT_EQUAL_FATAL(create("/a", 0), OK);
    CU_ASSERT_EQUAL_FATAL(create("/e", COORD_EPHEMERAL), OK);
    reopen();
}

static void end(void)
{
    disk_fill(0, 0, 0);
    coord_close(s.coord);
    arena_deinit(&s.arena);
    temp_dir_remove(s.dir);
}

static void check_whole(bool done)
{
    CU_ASSERT_TRUE(is_there("/a"));
    CU_ASSERT_FALSE(is_there("/e"));
    CU_ASSERT_EQUAL(is_there("/b"), done);
    CU_ASSERT_EQUAL(is_there("/c"), done);
}

/* Returns how many writes of the call failed, one in each run. */
static int fill_at_each_write(bool has_room, int error, int number)
{
    int failures = 0;
    for (bool hit = true; hit;) {
        begin();
        s.has_room = has_room;
        disk_fill(failures + 1, error, number);
        err e = create_two();
        hit = disk.failed || s.made_room > 0;
        failures += hit ? 1 : 0;
        CU_ASSERT_EQUAL(e, hit && !has_room ? err_from_errno(number) : OK);
        CU_ASSERT_EQUAL(s.made_room, hit && has_room ? 1 : 0);
        disk_fill(0, 0, 0);
        check_whole(e == OK);
        reopen();
        check_whole(e == OK);
        CU_ASSERT_EQUAL(create_two(), OK);
        check_whole(true);
        reopen();
        check_whole(true);
        end();
    }
    return failures;
}

static void test_without_room(void)
{
    int full = fill_at_each_write(false, SQLITE_FULL, ENOSPC);
    int quota = fill_at_each_write(false, SQLITE_IOERR_WRITE, EDQUOT);
    printf("\n  writes without room: %d, of a quota %d\n", full, quota);
    CU_ASSERT(full >= 10 && quota == full);
}

static void test_with_room(void)
{
    int full = fill_at_each_write(true, SQLITE_FULL, ENOSPC);
    int quota = fill_at_each_write(true, SQLITE_IOERR_WRITE, EDQUOT);
    printf("\n  writes for which room was made: %d, of a quota %d\n", full, quota);
    CU_ASSERT(full >= 10 && quota == full);
}

/* A new store is refused with that error, or made once there is room. Returns how many writes failed. */
static int fill_new(bool has_room, int error, int number)
{
    int failures = 0;
    for (bool hit = true; hit;) {
        temp_dir_make(s.dir);
        manual_clock_init(&s.clock, 1700000000000);
        disk.files_n = 0;
        s.has_room = has_room;
        s.made_room = 0;
        disk_fill(failures + 1, error, number);
        err e = try_open();
        hit = disk.failed || s.made_room > 0;
        failures += hit ? 1 : 0;
        CU_ASSERT_EQUAL(e, hit && !has_room ? err_from_errno(number) : OK);
        disk_fill(0, 0, 0);
        if (e != OK) {
            CU_ASSERT_EQUAL_FATAL(try_open(), OK);
        }
        coord_close(s.coord);
        temp_dir_remove(s.dir);
    }
    return failures;
}

static void test_open(void)
{
    CU_ASSERT(fill_new(false, SQLITE_FULL, ENOSPC) > 0);
    CU_ASSERT(fill_new(true, SQLITE_FULL, ENOSPC) > 0);
    CU_ASSERT(fill_new(false, SQLITE_IOERR_WRITE, EDQUOT) > 0);
    CU_ASSERT(fill_new(true, SQLITE_IOERR_WRITE, EDQUOT) > 0);
}

int main(int argc, char **argv)
{
    const struct suite_test tests[] = {TEST(test_without_room), TEST(test_with_room),
                                       TEST(test_open)};
    disk_install();
    return suite_run("full store", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
