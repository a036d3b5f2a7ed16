/* A disk in memory, which forgets what was not made durable when the power goes.
 *
 * What processes write is in the page cache: it outlives them, but not the power. At a power loss each
 * sector that was written since the file's last sync is there or not, by chance; a file's size is one of
 * those it has had; of the changes of a directory since its last sync a first part is there. So a file
 * that was synced in a directory that was not may have no name.
 *
 * A disk outlives the processes that use it; each of them has a view, which is its file table. */
#ifndef OTTLA_SIM_DISK_H
#define OTTLA_SIM_DISK_H

#include "base/clock.h"
#include "base/file.h"
#include "sim/sched.h"

struct disk;

/* With an empty directory "/data". */
struct disk *disk_new(struct sched *sched, struct trace *trace);
void disk_free(struct disk *disk);

/* The files of one process, which begins. `wall` dates what it writes. The view lives as long as the disk. */
struct fs *disk_open_view(struct disk *disk, struct clock *wall);
/* The process ends: its descriptors and locks are gone, and every later call fails. */
void disk_close_view(struct fs *view);
/* After so many changes from now on `run` is called, before the change: the place for a process to end. */
void disk_at_change(struct fs *view, int64_t changes, void (*run)(void *context), void *context);

void disk_lose_power(struct disk *disk);
/* Another one, with an empty directory "/data"; nobody uses this one. */
void disk_replace(struct disk *disk);

/* ---- faults; 0 ends them ---- */

/* So many of a million reads, writes and syncs fail with EIO. After a sync that failed nobody knows what is
 * durable, and no later sync makes up for it. */
void disk_set_errors(struct disk *disk, uint32_t per_million);
/* Writes that would make a file longer fail with ENOSPC. */
void disk_set_full(struct disk *disk, bool full);
/* How long a sync takes at most; the least is a tenth. */
void disk_set_sync_us(struct disk *disk, int32_t max_us);
/* Syncs say that they have done what they have not. */
void disk_set_lying(struct disk *disk, bool lying);

/* ---- to look at ---- */

struct disk_counts {
    uint64_t writes;
    uint64_t syncs;
    uint64_t errors; /* that were injected */
    uint64_t full;
    uint64_t sectors_lost; /* by power losses */
};
struct disk_counts disk_counts(const struct disk *disk);
/* As it is in the page cache: the content of a file, or (NULL, 0). It lives until the next change. */
struct bytes disk_peek(const struct disk *disk, const char *path);
/* Its names, in the order in which they were made. */
void disk_peek_names(const struct disk *disk, const char *dir,
                     void (*each)(void *context, const char *name), void *context);

#endif
