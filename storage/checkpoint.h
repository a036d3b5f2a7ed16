/* Kafka's checkpoint text files: offsets of partitions, and leader epochs.
 * (reference: storage format §8)
 *
 * "0\n<count>\n" and one entry a line; an empty file, or none, reads as no entries; another
 * version, a wrong count or a bad line is E_MALFORMED. Written atomically (temporary file, fsync,
 * rename, fsync of the directory). No state, no lock. */
#ifndef OTTLA_STORAGE_CHECKPOINT_H
#define OTTLA_STORAGE_CHECKPOINT_H

#include "base/file.h"
#include "base/writer.h"

/* Called for each line "topic partition offset"; `topic` lives during the call. */
typedef void offset_entry_fn(void *context, struct str topic, int32_t partition, int64_t offset);
NODISCARD err offset_checkpoint_read(struct fs *fs, const char *path, offset_entry_fn *each,
                                     void *context);

/* Collects the entries of a new offset checkpoint: begin, add, write (which also releases) or
 * discard. */
struct offset_checkpoint {
    struct writer lines;
    int32_t count;
};
void offset_checkpoint_begin(struct offset_checkpoint *checkpoint);
void offset_checkpoint_add(struct offset_checkpoint *checkpoint, struct str topic,
                           int32_t partition, int64_t offset);
NODISCARD err offset_checkpoint_write(struct offset_checkpoint *checkpoint, struct fs *fs,
                                      const char *path, bool durable);
void offset_checkpoint_discard(struct offset_checkpoint *checkpoint);

struct epoch_entry {
    int32_t epoch;
    int64_t start_offset;
};
/* *entries is malloc'd. */
NODISCARD err epoch_checkpoint_read(struct fs *fs, const char *path, struct epoch_entry **entries,
                                    size_t *count);
NODISCARD err epoch_checkpoint_write(struct fs *fs, const char *path,
                                     const struct epoch_entry *entries, size_t count);

#endif
