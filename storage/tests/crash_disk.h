/* A disk in memory for tests of crashes and of errors: it remembers what each file and directory held at its last
 * sync and what was done since, so that the disk that a crash would leave can be made after any change.
 *
 * What a crash may leave: of a file, what it held at its last sync and any of the writes since, whole, by sectors, or as
 * a size without data; of a directory, the names of its last sync and a first part of the changes since. A synced file in a
 * directory that was not may have no name (POSIX promises no more, ext4 a little). A sync that failed leaves what it was to
 * write in the page cache, and no later one makes up for it, as in Linux.
 *
 * One thread. The calls are those of base/file.h. */
#ifndef OTTLA_STORAGE_TESTS_CRASH_DISK_H
#define OTTLA_STORAGE_TESTS_CRASH_DISK_H

#include "base/clock.h"
#include "base/file.h"

struct crash_disk;

/* Of the functions of struct fs_ops, in its order. */
enum disk_function {
    DISK_OPEN,
    DISK_PREAD,
    DISK_PWRITEV,
    DISK_FTRUNCATE,
    DISK_FDATASYNC,
    DISK_FSYNC,
    DISK_RENAME,
    DISK_UNLINK,
    DISK_MKDIR,
    DISK_RMDIR,
    DISK_STAT,
    DISK_FSTAT,
    DISK_LIST,
    DISK_LOCK,
    DISK_SYNCFS,
    DISK_SPACE,
    DISK_SET_MTIME,
    DISK_FUNCTIONS
};
const char *disk_function_name(enum disk_function function);

enum { DISK_SHORT = -1 }; /* instead of an errno: half of the bytes */

/* Who looks on. Either may be NULL. */
struct disk_watch {
    /* Before each call but close and drop_cache: 0, or what it fails with. `path` is the file's. */
    int (*before)(void *context, enum disk_function function, const char *path);
    /* After each change, syncs included: here a crash may come. */
    void (*changed)(void *context);
    void *context;
};

/* Empty but for its root. `wall` dates files. */
struct crash_disk *crash_disk_new(struct clock *wall);
void crash_disk_free(struct crash_disk *disk);
struct fs *crash_disk_fs(struct crash_disk *disk);
void crash_disk_watch(struct crash_disk *disk, const struct disk_watch *watch);

#define CRASH_KINDS(EACH)                                                                          \
    EACH(KILL)  /* of the process: everything is there */                                          \
    EACH(POWER) /* what was not synced is gone */                                                  \
    EACH(NAMES) /* names are as they were last, contents as of their last sync */                  \
    EACH(BYTES) /* the other way round */                                                          \
    EACH(TORN)  /* all but a part of the last write, which ends where a sector does */             \
    EACH(ANY)   /* chance */
enum crash_kind {
#define EACH(name) CRASH_##name,
    CRASH_KINDS(EACH)
#undef EACH
        CRASH_KINDS_N
};
const char *crash_kind_name(enum crash_kind kind);

/* The disk as it is after such a crash, without its watch; locks and descriptors are gone. NULL for CRASH_TORN when the
 * last change was no write. */
struct crash_disk *crash_disk_after(const struct crash_disk *disk, enum crash_kind kind,
                                    uint64_t seed, struct clock *wall);

/* Is there something in the page cache that no sync will write, because one has failed? */
bool crash_disk_is_stuck(const struct crash_disk *disk);
/* Of all names and bytes as they are; without those whose names end with one of these suffixes, each with a space
 * behind it; NULL: all. */
uint64_t crash_disk_hash(const struct crash_disk *disk, const char *without);
/* The bytes of a file until the next change; NULL and 0 where there is none. */
struct bytes crash_disk_peek(const struct crash_disk *disk, const char *path);
/* One line for each file and directory: its name, its size and a hash. */
void crash_disk_print(const struct crash_disk *disk);

#endif
