/* A log directory in memory, for brokers whose records need not outlive them: a new directory in the memory file system
 * that Linux has at /dev/shm, removed with the broker. Where there is none, as in a bare chroot, it is in /tmp, whatever
 * that is, and all else is the same.
 *
 * A broker that is killed (-9) cannot remove anything. Where a process of its own may be started, one waits for that
 * end and removes the directory then. Where not, or where that process was killed too, it stays until the next
 * directory of this kind is made: that removes those which nobody holds any more. */
#ifndef OTTLA_BROKER_MEMORY_DIR_H
#define OTTLA_BROKER_MEMORY_DIR_H

#include "base/file.h"

#include <stdbool.h>

struct memory_dir;

enum { MEMORY_DIR_REASON_BYTES = 256 };

/* `watched`: a child process is started, which waits for this one's end; only before any thread is. E_… with a sentence
 * in `reason`. */
NODISCARD err memory_dir_make(bool watched, struct memory_dir **dir,
                              char reason[MEMORY_DIR_REASON_BYTES]);
const char *memory_dir_path(const struct memory_dir *dir);
/* There is no /dev/shm. */
bool memory_dir_is_on_disk(const struct memory_dir *dir);
/* Removes it, with all that is in it. NULL is fine. */
void memory_dir_remove(struct memory_dir *dir);
/* The system's files, but nothing is synced, since nothing would be any safer, and no reserve is kept for when it is
 * full, since that would be memory too. Lives as long as the directory. */
struct fs *memory_dir_fs(struct memory_dir *dir);

#endif
