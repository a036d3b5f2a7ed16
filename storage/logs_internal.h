/* What logs.c and logs_checkpoints.c share. Nobody else includes this. */
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
    bool loaded;
    char lost[LOGS_REASON_BYTES]; /* of the directories that are offline at the start, why */
    pthread_mutex_t lock;
    pthread_mutex_t points_lock;
    struct map entries; /* "topic-partition" to struct entry, owned */
    bool
        promises_more; /* a recovery point on the disk is above the end of its log, which would make a
                           later torn tail look like damage */
    struct map stale; /* names in the checkpoint files that have no log; value unused */
    struct deleted_dir *deleted;
    size_t deleted_n;
    size_t deleted_cap;
};

/* "topic-partition", malloc'd: the name of its directory and its key in every table. */
char *logs_key(struct topic_partition name);

/* Names of a checkpoint that no log has. `lock` is held, or nobody else is there yet. */
void logs_note_stale(struct logs *logs, const struct map *checkpoint);
/* Before a log is created: the files must not know one of its name. A write that is under way is
 * waited for. */
NODISCARD err logs_forget_stale(struct logs *logs, const char *key);

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
