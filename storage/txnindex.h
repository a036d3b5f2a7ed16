/* The aborted transactions of one segment: 34 bytes each, version i16 (0), producer id i64, first
 * offset i64, last offset i64 (the marker's), last stable offset i64. (reference: storage format §6)
 * The file exists only when there is an entry. One writer, readers beside it. */
#ifndef OTTLA_STORAGE_TXNINDEX_H
#define OTTLA_STORAGE_TXNINDEX_H

#include "base/writer.h"
#include "storage/env.h"

#include <pthread.h>
#include <stdatomic.h>

enum { TXN_ENTRY_BYTES = 34 };

struct txn_entry {
    int64_t producer_id;
    int64_t first_offset;
    int64_t last_offset;
    int64_t last_stable_offset;
};

/* As it lies in the file. */
void txn_entry_write(struct writer *w, const struct txn_entry *entry);

struct txn_index {
    const struct storage_env *env;
    const char *log_path; /* of the segment, which owns it */
    /* One change at a time, held over the file's operations: a marker that aborts is rare. */
    pthread_mutex_t lock;
    _Atomic int64_t entries_n; /* -1: there is a file, not looked at yet */
    _Atomic int64_t found_n;   /* of those, in the file when it was looked at */
    _Atomic bool proven;       /* the first found_n were compared with the log */
    _Atomic bool dirty;
};

void txn_index_init(struct txn_index *index, const struct storage_env *env, const char *log_path,
                    bool exists);
/* Makes the file longer by so many entries, which nobody sees: there is room then to append them. Nothing is left of
 * it where that fails. Creates the file. */
NODISCARD err txn_index_make_room(struct txn_index *index, int32_t count);
/* What was made and is not needed goes again. */
NODISCARD err txn_index_trim(struct txn_index *index);
/* Creates the file with the first entry. */
NODISCARD err txn_index_append(struct txn_index *index, const struct txn_entry *entry);
/* Keeps entries whose last offset is below `offset`; 0 removes the file's content. */
NODISCARD err txn_index_truncate(struct txn_index *index, int64_t offset);
void txn_index_deinit(struct txn_index *index);
/* Calls `each` for every entry in order until it returns false. E_CORRUPT for a damaged file. */
NODISCARD err txn_index_each(struct txn_index *index,
                             bool (*each)(void *context, const struct txn_entry *entry),
                             void *context);
NODISCARD err txn_index_flush(struct txn_index *index);

bool txn_index_is_proven(struct txn_index *index);
/* `entries` are what the segment's batches say (those of ours at the end may be missing). What was
 * found in the file and differs is overwritten. */
NODISCARD err txn_index_prove(struct txn_index *index, const struct txn_entry *entries,
                              int64_t count, bool *changed);
/* There is no way to compare. */
void txn_index_believe(struct txn_index *index);
/* Before its file is renamed: nobody corrects it any more, when this has returned. */
void txn_index_retire(struct txn_index *index);

#endif
