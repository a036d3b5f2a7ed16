/* The offset index and the time index of one segment. (reference: storage format §6)
 *
 * Offset entry: relative offset i32, position i32. Time entry: timestamp i64, relative offset i32.
 * One writer (the log's appender); any number of readers beside it. The lock inside is a leaf, held
 * for a moment, never over a file operation. */
#ifndef OTTLA_STORAGE_INDEX_H
#define OTTLA_STORAGE_INDEX_H

#include "storage/env.h"

#include <pthread.h>

enum { OFFSET_ENTRY_BYTES = 8, TIME_ENTRY_BYTES = 12, INDEX_ENTRY_BYTES_MAX = 12 };

/* Which number of an entry is searched. */
enum index_column {
    COLUMN_OFFSET,    /* relative, in both kinds */
    COLUMN_POSITION,  /* offset index only */
    COLUMN_TIMESTAMP, /* time index only */
};

struct index {
    pthread_mutex_t lock;
    const struct storage_env *env;
    const char *log_path; /* of the segment, which owns it; the suffix is replaced */
    int entry_bytes;
    bool opened;    /* file_n is known */
    bool remade;    /* since index_restart; what the file held before may still stand in it */
    int32_t file_n; /* entries in the file */
    int32_t tail_n; /* entries in memory, after those */
    int32_t tail_cap;
    uint8_t *tail; /* owned; as on disk */
    /* Entries below found_n were in the file when it was opened: hints, until the log confirmed
     * them. A bit for each that it did; made when the first one is. */
    int32_t found_n;
    uint8_t *confirmed;
    int32_t confirmed_n; /* bits in it */
    _Atomic bool dirty;
};

void index_init(struct index *index, const struct storage_env *env, const char *log_path,
                int entry_bytes);
void index_deinit(struct index *index);
/* Makes the file, empty (also when there was one). */
NODISCARD err index_create(struct index *index);
/* The same for one that is made again and mostly comes out as it was: the file keeps what it has, until other entries
 * take their places and index_write cuts the rest. */
NODISCARD err index_restart(struct index *index);

NODISCARD err index_count(struct index *index, int32_t *count);
/* The number of entries whose column is below `value`, among the first `limit`; where the column
 * does not ascend (damage), any number whose last entry is below `value`. */
NODISCARD err index_lower_bound(struct index *index, enum index_column column, int64_t value,
                                int32_t limit, int32_t *n);
/* How many entries there are before the first one whose column is not below `value`. Reads them all:
 * what is kept by this number is below `value`, whatever the file says. */
NODISCARD err index_run_below(struct index *index, enum index_column column, int64_t value,
                              int32_t *n);
/* Was entry `n` written by this process, or confirmed by the log? */
bool index_is_trusted(struct index *index, int32_t n);
void index_trust(struct index *index, int32_t n);
NODISCARD err index_get(struct index *index, int32_t n, uint8_t entry[INDEX_ENTRY_BYTES_MAX]);
int64_t index_column_of(const struct index *index, const uint8_t *entry, enum index_column column);

/* Adds an entry in memory; every few hundred are written to the file, without fsync. */
NODISCARD err index_append(struct index *index, const uint8_t *entry);
/* Keeps the first `n` entries. */
NODISCARD err index_truncate(struct index *index, int32_t n);
/* Writes what is in memory and gives the memory back. */
NODISCARD err index_write(struct index *index);
/* fdatasync, if it was written since the last one. Any thread. */
NODISCARD err index_flush(struct index *index);

NODISCARD err offset_index_append(struct index *index, int32_t relative, int32_t position);

/* Time index entries. Nothing is added unless `timestamp` is above the last one. */
struct time_entry {
    int64_t timestamp; /* -1: none */
    int32_t relative;
};
NODISCARD err time_index_append(struct index *index, int64_t timestamp, int32_t relative);
NODISCARD err time_index_get(struct index *index, int32_t n, struct time_entry *entry);

#endif
