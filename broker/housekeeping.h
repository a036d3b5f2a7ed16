/* What a broker does from time to time: checkpoints, retention, removal of deleted files, room in full directories.
 *
 * Timers on the background thread, armed only when there is something to do, so that an idle broker
 * sleeps: the first append after a checkpoint arms the next ones. */
#ifndef OTTLA_BROKER_HOUSEKEEPING_H
#define OTTLA_BROKER_HOUSEKEEPING_H

struct broker;
struct housekeeping;

struct housekeeping *housekeeping_new(struct broker *broker);
/* While the background thread does not run. */
void housekeeping_start(struct housekeeping *housekeeping);
void housekeeping_stop(struct housekeeping *housekeeping);
void housekeeping_free(struct housekeeping *housekeeping);
/* Any thread, cheap: logs have changed. A struct housekeeping, as a partition_env's context. */
void housekeeping_mark_dirty(void *housekeeping);
/* Any thread, with any lock held: a log directory is full. What makes room is done at once, and once a second until
 * there is some. */
void housekeeping_note_full(struct housekeeping *housekeeping);
/* Any thread: files wait to be removed. */
void housekeeping_expect_removal(struct housekeeping *housekeeping);

#endif
