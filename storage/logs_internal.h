/* What logs*.c share. Nobody else includes this. */
#ifndef OTTLA_STORAGE_LOGS_INTERNAL_H
#define OTTLA_STORAGE_LOGS_INTERNAL_H

#include "storage/checkpoint.h"
#include "storage/logs_dir.h"

#include <pthread.h>

struct entry {
    struct plog *log; /* NULL: damaged */
    size_t dir;
    char *topic;
    int32_t partition;
    int64_t recovery_point; /* of a damaged one, as the checkpoints said */
    int64_t start_offset;
    int64_t cleaned_to;
    /* While it moves to another directory (logs_move.c). */
    struct plog *future; /* the copy that is being made; NULL: none */
    size_t future_dir;
    struct plog *former; /* what the log has taken the place of; NULL: nothing */
    size_t former_dir;
};

/* The directory of a copy, as it was found at the start. */
struct found_future {
    size_t dir;
    char *name; /* owned */
};

struct deleted_dir {
    char *path;
    size_t dir;
    int64_t due_ms;
};

struct logs {
    const struct storage_env *env; /* own_env */
    struct storage_env own_env;    /* what was handed in, behind the reserves of the directories */
    struct room_fs *room_fs;       /* owned */
    struct log_dir *dirs;
    size_t dirs_n;
    int32_t broker_id;
    char *cluster_id;
    struct log_config (*config_of)(void *context, struct str topic);
    void *context;
    struct workers *workers; /* help to load; NULL: nobody does */
    int loaders;
    size_t sync_all_from;
    bool loaded;
    char lost[LOGS_REASON_BYTES]; /* of the directories that are offline at the start, why */
    pthread_mutex_t lock;
    pthread_mutex_t points_lock;
    struct map entries; /* "topic-partition" to struct entry, owned */
    bool
        promises_more; /* a recovery point on the disk is above the end of its log, which would make a
                           later torn tail look like damage */
    /* "topic-partition" to checkpoint_value() of a directory: where it is to be. */
    struct map wishes;
    struct found_future *found_futures; /* while it is loaded */
    size_t found_futures_n;
    struct deleted_dir *deleted;
    size_t deleted_n;
    size_t deleted_cap;
};

/* Of a directory; of what follows the log's name in ".<32 hex>-delete" and ".<32 hex>-future". */
enum { LOGS_NAME_BYTES_MAX = 255, LOGS_SUFFIX_BYTES = 1 + 32 + 7 };
/* "topic-partition", malloc'd: the name of its directory and its key in every table. */
char *logs_key(struct topic_partition name);

/* logs.c */

struct entry *logs_entry_locked(struct logs *logs, struct topic_partition name);
/* A directory of a log becomes "<name>.<32 hex>-delete", and is removed later. `log`, which may be NULL,
 * is freed after the rename, so that nobody opens its files under their old names. Where the log directory is offline
 * it stays as it is. */
NODISCARD err logs_bury(struct logs *logs, size_t dir, const char *path, struct plog *log);
enum { LOGS_HEX_BYTES = 33 };
void logs_random_hex(struct random *random, char hex[LOGS_HEX_BYTES]);
struct entry *logs_entry_add(struct logs *logs, const char *key, size_t dir,
                             struct topic_partition name, struct plog *log);
/* What an entry has in a directory: its log, the copy or the former one; NULL: nothing, or a damaged log. */
struct plog **logs_place_in(struct entry *entry, size_t dir);
/* Makes all that the directory's logs have written durable, by one sync for all of them, and notes it. By the lock, which was
 * opened before anything else: where directories share a disk, the sync of one must not take from another the error
 * that is its too. */
NODISCARD err logs_sync_at_once(struct logs *logs, size_t dir);
/* A directory that has its deleted name, by its path, which is taken: it is removed after the delay. */
void logs_note_deleted(struct logs *logs, size_t dir, char *path);
/* The disk refused what concerns no single log. */
void logs_fail_dir(struct logs *logs, size_t dir, err e, const char *doing, const char *path);

/* logs_start.c */

/* How a log of this directory is opened, by what its checkpoints said at the start. The path is not set. */
struct plog_open logs_how_to_open(struct logs *logs, size_t dir, const char *key,
                                  struct topic_partition name);

/* logs_move.c: a start, once all directories are loaded. */

/* The same log was found in a second directory: the one of the two that is further stays the entry's, the other one
 * becomes its former one. E_CONFIG: they are not of one topic. */
NODISCARD err logs_choose(struct logs *logs, struct entry *entry, size_t dir, struct plog *other,
                          char reason[LOGS_REASON_BYTES]);
void logs_note_future(struct logs *logs, size_t dir, const char *name);
void logs_open_futures(struct logs *logs);
/* What a move has made of an entry, which is in no table any more, is deleted. */
NODISCARD err logs_bury_copies(struct logs *logs, struct entry *entry);
/* Moves that are done but for the deletion of what was moved, of logs that are online and flushed. What cannot be ended
 * stays, and is said. */
void logs_end_moves(struct logs *logs);

/* logs_checkpoints.c */

/* Names of a checkpoint of that directory's of which it has no log, no copy and no former log. `lock` is held, or nobody
 * else is there yet. */
void logs_note_stale(struct logs *logs, size_t dir, const struct map *checkpoint);
/* Of one directory. KAFKA_STORAGE_ERROR: it is offline. */
NODISCARD err logs_write_recovery_points_in(struct logs *logs, size_t dir);
/* Before a log or a copy is made in that directory: its files must not know one of its name. A write that is under way
 * is waited for. Errors as logs_write_recovery_points_in. */
NODISCARD err logs_forget_stale(struct logs *logs, size_t dir, const char *key);

/* What the checkpoints of one directory say of a log. */
struct checkpointed {
    int64_t recovery_point;
    int64_t start_offset; /* 0: not named */
    int64_t cleaned_to;   /* the same */
};
struct checkpointed checkpointed_of(const struct plog *log);

/* The next checkpoints of one directory, collected: begin, add, write. */
struct next_checkpoints {
    struct offset_checkpoint points;
    struct offset_checkpoint starts;
    struct offset_checkpoint cleaned;
};
void checkpoints_begin(struct next_checkpoints *next);
void checkpoints_add(struct next_checkpoints *next, const struct entry *entry,
                     const struct checkpointed *offsets);
/* What they said when it was found damaged. */
void checkpoints_add_damaged(struct next_checkpoints *next, const struct entry *entry);
NODISCARD err checkpoints_write(struct next_checkpoints *next, struct fs *fs, struct log_dir *dir);

#endif
