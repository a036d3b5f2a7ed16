/* All logs of a broker, in one or several log directories: locks, identity, checkpoints, clean
 * shutdown marker, loading, creation, deletion.
 *
 * Thread: opened and closed by one thread. logs_get may be called by any thread; creation and
 * deletion by one thread only, that of roles (replicas.h). The periodic functions may run on a background thread.
 * Ownership: logs owns every plog; logs_delete and logs_close end them. */
#ifndef OTTLA_STORAGE_LOGS_H
#define OTTLA_STORAGE_LOGS_H

#include "storage/plog.h"

struct logs;
struct workers;

struct logs_open {
    char *const *dirs;
    size_t dirs_n;
    /* What meta.properties must say where it exists: -1 / NULL: take what is there. */
    int32_t broker_id;
    const char *cluster_id;
    /* Called for each partition found, to learn its topic's configuration; without a topic, for the broker's. */
    struct log_config (*config_of)(void *context, struct str topic);
    void *context;
    /* Told once for each directory that goes offline, by whoever met it, with any lock held: it posts and no
     * more. Also before logs_load() has ended. NULL: nobody is; its context outlives the logs. */
    void (*dir_failed)(void *context);
    /* The same of a directory that is full, each time that one has become so. */
    void (*dir_full)(void *context);
    void *failed_context; /* of both */
    /* Load logs beside the caller of logs_load(), where there are many: at most so many threads, with the caller's.
     * NULL: nobody does. */
    struct workers *workers;
    int loaders;
    /* At a stop a directory's file system is synced at once where so many of its logs have something to write; with fewer
     * each log's files are. 0: always so. */
    size_t sync_all_from;
    /* Progress of long loading is logged every few seconds. */
};

/* Why a start was refused, for one clear line. */
enum { LOGS_REASON_BYTES = 512 };

/* What the directories say about themselves, before anything is loaded. */
struct logs_identity {
    int32_t broker_id;   /* -1: none of them has one */
    char cluster_id[64]; /* "": none */
};

/* Takes the locks (F_OFD_SETLK on .lock), creates missing directories, reads meta.properties.
 * A wrong or different identity, a second process, a foreign subdirectory, a directory that is full:
 * E_CONFIG with the reason in plain words, naming the path. A directory whose disk refuses is offline, with
 * one line in the log; E_CONFIG when all are. What has to be written on a full disk has the reserve (room.h). */
NODISCARD err logs_lock(const struct storage_env *env, const struct logs_open *how,
                        struct logs **logs, struct logs_identity *identity,
                        char reason[LOGS_REASON_BYTES]);
/* Writes meta.properties where its content changes, removes the clean marker, loads (and after an
 * unclean stop recovers) every partition. Errors as of logs_lock. */
NODISCARD err logs_load(struct logs *logs, int32_t broker_id, const char *cluster_id,
                        char reason[LOGS_REASON_BYTES]);
/* Was the last stop clean, in every directory? */
bool logs_were_clean(const struct logs *logs);
/* Closes every log, writes the checkpoints, then the clean marker (if nothing failed), and releases
 * the locks; a directory that is offline is left as it is. Frees. */
void logs_close(struct logs *logs);
/* Releases the locks and frees: a failed start. A directory that was clean has its marker again,
 * unless a log in it was repaired or written to; nothing else is written. */
void logs_abandon(struct logs *logs);

/* NULL when there is none. The log is the caller's to use on the thread that deletes logs, or for as
 * long as something keeps that thread from deleting it. */
struct plog *logs_get(struct logs *logs, struct topic_partition name);
/* Calls `each` for every log; no creation or deletion meanwhile (it holds the table's lock: `each`
 * may not call logs_*). */
void logs_each(struct logs *logs, void (*each)(void *context, struct plog *log), void *context);
size_t logs_count(struct logs *logs);

/* Creates the log in the directory that is wished for it, else in the one, of those online, that holds the fewest
 * partitions, a full one only where no other is; of that one's reserve only what coordinators may have
 * (KAFKA_STORAGE_ERROR when no more is left);
 * partition.metadata is written before anything else. While a directory is offline it may hold the log: the
 * caller knows then that there was none. An existing one is returned as it is (INCONSISTENT_TOPIC_ID when its id
 * differs). */
NODISCARD err logs_create(struct logs *logs, struct topic_partition name, struct uuid topic_id,
                          const struct log_config *config, struct plog **log);
/* Renames the directory to "<name>.<32 hex>-delete" at once, and removes it after
 * log.segment.delete.delay.ms, or as soon as the directory is full, by logs_remove_deleted. Frees the plog. KAFKA_STORAGE_ERROR
 * in a directory that is offline, or that cannot rename: the plog stays. */
NODISCARD err logs_delete(struct logs *logs, struct topic_partition name);
/* Returns the milliseconds until there is more to do, or -1. */
int64_t logs_remove_deleted(struct logs *logs);

/* ---- moving a log to another directory (KIP-113) (reference: storage format §16) ----
 *
 * A copy of the log is made in the other directory, under the name "<name>.<32 hex>-future"; whoever calls fills it, and
 * keeps a reader from it when it goes. Then it takes the log's place: it gets its name, so that for a moment two
 * directories hold the log, and the former one is deleted. A crash in that moment, of this broker or of Kafka: the next
 * start keeps the one of the two that is further, by leader epoch, then end, then start. A crash before: the copy is
 * there again, and is filled on.
 *
 * All of these on the thread that creates and deletes, but for logs_each_future_in(). */

/* The directory of that path from the root; false: none. */
bool logs_find_dir(const struct logs *logs, struct str path, size_t *dir);
/* Is the name short enough for that of a copy? */
bool logs_move_fits(struct topic_partition name);
enum { LOGS_NO_DIR = -1 };
/* Where a log is and where it is moving to, with the copy; LOGS_NO_DIR, NULL: it is not here, it does not move. */
struct logs_whereabouts {
    ssize_t dir;
    ssize_t future_dir;
    struct plog *future;
    bool ends; /* it has moved, and what it was is not deleted yet */
};
struct logs_whereabouts logs_where(struct logs *logs, struct topic_partition name);
/* Notes where a log is to be: it is created there, if it is not here yet; forgotten once it is there, and with this
 * process. LOGS_NO_DIR: anywhere. */
void logs_wish(struct logs *logs, struct topic_partition name, ssize_t dir);
ssize_t logs_wished(struct logs *logs, struct topic_partition name);

/* Makes the copy, which begins where the log does, empty. KAFKA_STORAGE_ERROR: the directory cannot take it, some other
 * one is offline, or the last move has not ended. */
NODISCARD err logs_move_begin(struct logs *logs, struct topic_partition name, size_t dir,
                              struct plog **future);
/* The move is given up, the copy deleted. Fine without one. */
void logs_move_give_up(struct logs *logs, struct topic_partition name);
/* The copy stays, under its first name, and the next start goes on with it: the log's own disk has failed. */
void logs_move_set_aside(struct logs *logs, struct topic_partition name);
/* Flushes the copy and gives it its name; the log in the other directory is still the one that counts. The copy is
 * another object from here on. After an error there is no copy any more. */
NODISCARD err logs_move_publish(struct logs *logs, struct topic_partition name,
                                struct plog **future);
/* The copy is the log from now on: it has all that the former one had, which stays open. */
void logs_move_swap(struct logs *logs, struct topic_partition name);
/* Nobody uses the former log any more, and what it promised is durable in the other one: it is deleted. After an error it
 * is there still: another time. */
NODISCARD err logs_move_end(struct logs *logs, struct topic_partition name);
/* Calls `each` for the copies in a directory, with the log that each is of; as logs_each. */
void logs_each_future_in(struct logs *logs, size_t dir,
                         void (*each)(void *context, struct plog *log, struct plog *future),
                         void *context);

/* Checkpoints are of the directories online. One whose disk refuses them is offline from then on, and that
 * is no error here.
 *
 * replication-offset-checkpoint: as it was at the start (0 if absent), and a new one. The periodic one
 * need not be durable: a leader finds its high watermark again, and an fsync every five seconds makes
 * ext4 commit what all logs have written, which appends then wait for (bench/compare, ack p99).
 *
 * `high_watermark` tells it of a log, or -1: not known (nobody leads or follows it), then it stays
 * what it was at the start. It runs under the table's lock: it may not call logs_*. */
int64_t logs_checkpointed_high_watermark(struct logs *logs, struct topic_partition name);
NODISCARD err logs_write_high_watermarks(struct logs *logs, bool durable,
                                         int64_t (*high_watermark)(void *context, struct plog *log),
                                         void *context);
/* recovery-point-offset-checkpoint, log-start-offset-checkpoint and cleaner-offset-checkpoint. */
NODISCARD err logs_write_recovery_points(struct logs *logs);
/* Those of the directory that this log is in. KAFKA_STORAGE_ERROR: it is offline. Fine without such a log. */
NODISCARD err logs_write_recovery_points_of(struct logs *logs, struct topic_partition name);
/* One of them alone. */
enum logs_checkpoint { LOGS_RECOVERY_POINTS, LOGS_START_OFFSETS, LOGS_CLEANED };
NODISCARD err logs_write_checkpoint(struct logs *logs, enum logs_checkpoint which);

/* The first directory that is online: for placing files that are of no log. */
const char *logs_first_dir(const struct logs *logs);

/* ---- full directories (room.h) ---- */

/* For the store in logs_first_dir(), which found no room: gives up a step of the reserve, or, before the logs are
 * loaded, finishes deletions. False: there is nothing more to give. Any thread. */
bool logs_make_room(struct logs *logs);
/* For a refused start: that the store's directory is full, and what it would need. */
void logs_tell_full(struct logs *logs, char *reason, size_t reason_bytes);
/* Makes reserves whole and ends that directories are full, where there is room. Is one full still? Once after a start,
 * and from time to time while one is full: room comes from outside too. */
bool logs_look_for_room(struct logs *logs);

/* How many directories work. Any thread. */
size_t logs_dirs_online(const struct logs *logs);
bool logs_dir_is_online(const struct logs *logs, size_t dir);

/* The directories as DescribeLogDirs shows them; `dir` counts from 0. The path is malloc'd. */
size_t logs_dirs(const struct logs *logs);
char *logs_dir_path(const struct logs *logs, size_t dir);
NODISCARD err logs_dir_space(const struct logs *logs, size_t dir, struct fs_space *space);
/* logs_each for the logs of one directory. */
void logs_each_in(struct logs *logs, size_t dir, void (*each)(void *context, struct plog *log),
                  void *context);

#endif
