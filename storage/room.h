/* Room on the disk of one log directory: a reserve, which is given up in steps when the disk is full, and made again
 * when it is not.
 *
 * The reserve is a plain file in the directory, `.ottla-reserve`, whose bytes have their place on the disk; Kafka
 * ignores it. What may have of it: the coordination store, checkpoints and all else that describes records, to the
 * last byte; coordinators' records, three quarters; clients' records and copies of a leader's, nothing. So topics can
 * be deleted and offsets committed on a disk that is full.
 *
 * Thread-safe: a leaf mutex, held over a few file operations, which only a full disk needs. */
#ifndef OTTLA_STORAGE_ROOM_H
#define OTTLA_STORAGE_ROOM_H

#include "base/file.h"
#include "storage/health.h"

enum room_use { ROOM_OF_ALL, ROOM_OF_COORDINATORS };

struct room;

/* Nothing is touched. `health`: of the directory; retained. */
struct room *room_new(struct fs *fs, const char *dir, struct health *health);
/* NULL is fine. The file stays. */
void room_free(struct room *room);
const char *room_dir(const struct room *room);
/* Something found no room there. */
void room_note_full(struct room *room);

/* Is there something left of the reserve for that use? */
bool room_has_left(struct room *room, enum room_use use);
/* Gives up a step of it. False: nothing is left, or the disk refused. */
bool room_give(struct room *room, enum room_use use);

/* Could the disk take a little more, as far as it says? */
bool room_seems_free(struct room *room);
/* From time to time, while the directory is full, and once after a start: makes the reserve whole, where as much again
 * stays free, and ends that the directory is full. True: it is full still. */
bool room_look(struct room *room);

/* ---- the ways to the files ---- */

/* A file system in front of another one: what fails there for want of room (a write, a new name) is done again after a
 * step of the reserve was given up, as long as there is any. The directory is told to be full. What a sync answers
 * stays as it is. */
struct room_fs;
/* The rooms are the caller's, and outlive it; they may be none. */
struct room_fs *room_fs_new(struct fs *below, struct room *const *rooms, size_t rooms_n);
void room_fs_free(struct room_fs *room_fs);
struct fs *room_fs_for(struct room_fs *room_fs, enum room_use use);

#endif
