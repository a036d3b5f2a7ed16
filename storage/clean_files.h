/* The files that a group of segments is cleaned into: "<base>.log.cleaned" with its indexes, until they are whole and
 * on the disk. (reference: storage format §9, §12) One thread. */
#ifndef OTTLA_STORAGE_CLEAN_FILES_H
#define OTTLA_STORAGE_CLEAN_FILES_H

#include "base/writer.h"
#include "storage/env.h"
#include "storage/names.h"
#include "storage/txnindex.h"

struct clean_files {
    const struct storage_env *env;
    char *log_path; /* owned; as it will be named */
    int fd;         /* of the .log.cleaned; -1: not open */
    int64_t base_offset;
    int32_t index_interval_bytes;
    int64_t size_bytes;
    int64_t bytes_since_index;
    int64_t max_timestamp; /* -1: none */
    int64_t max_timestamp_offset;
    int64_t last_indexed_timestamp;
    struct writer offsets; /* the indexes' content */
    struct writer times;
    struct writer txns;
};

/* Makes the .log.cleaned. What was left of one is overwritten. */
NODISCARD err clean_files_begin(struct clean_files *files, const struct storage_env *env,
                                const char *dir, int64_t base_offset, int32_t index_interval_bytes);
/* Some whole batches. E_LIMIT: they do not fit a segment. */
NODISCARD err clean_files_add(struct clean_files *files, struct bytes batches);
/* An aborted transaction of which batches are left. */
void clean_files_add_txn(struct clean_files *files, const struct txn_entry *entry);
/* The indexes, and all on the disk. The .log gets that time of modification. */
NODISCARD err clean_files_finish(struct clean_files *files, int64_t mtime_ms);
/* Renames them all from one suffix to another ("" is a segment's own name), the .log first. */
NODISCARD err clean_files_rename(const struct clean_files *files, const char *from, const char *to);
/* Removes what was made. */
void clean_files_discard(struct clean_files *files);
void clean_files_deinit(struct clean_files *files);

#endif
