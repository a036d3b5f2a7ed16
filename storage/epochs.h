/* Leader epochs of one log: which epoch began at which offset. (reference: storage
 * format §8; KIP-101, KIP-320)
 *
 * Values in memory only; plog writes them to leader-epoch-checkpoint when a call says they changed.
 * No lock of its own. */
#ifndef OTTLA_STORAGE_EPOCHS_H
#define OTTLA_STORAGE_EPOCHS_H

#include "storage/checkpoint.h"

struct epochs {
    struct epoch_entry *entries; /* owned; both columns ascend */
    size_t count;
    size_t cap;
};

void epochs_deinit(struct epochs *epochs);
void epochs_check(const struct epochs *epochs);
/* Notes that `epoch` begins at `start_offset`; entries that contradict it go. True if changed. */
bool epochs_assign(struct epochs *epochs, int32_t epoch, int64_t start_offset);
/* A batch of that epoch stands at `offset`: what says otherwise goes, with all that is said of what follows. True if
 * changed. */
bool epochs_confirm(struct epochs *epochs, int32_t epoch, int64_t offset);
/* Drops entries that begin at or above `offset`. True if changed. */
bool epochs_truncate_end(struct epochs *epochs, int64_t offset);
/* Keeps the epoch that holds `offset` and moves its start there. True if changed. */
bool epochs_truncate_start(struct epochs *epochs, int64_t offset);
bool epochs_clear(struct epochs *epochs);
/* -1 when there is none. */
int32_t epochs_latest(const struct epochs *epochs);
int32_t epochs_of_offset(const struct epochs *epochs, int64_t offset);
/* The largest epoch at or below `wanted` and where it ends; both -1 when undefined. */
void epochs_end_of(const struct epochs *epochs, int32_t wanted, int64_t log_end_offset,
                   int32_t *epoch, int64_t *end_offset);

#endif
