/* Moves partitions between the broker's log directories (KIP-113, AlterReplicaLogDirs): the copy of each is filled beside
 * whoever reads and writes the log, then takes its place (partition_move.c, storage/logs_move.c).
 *
 * Threads, num.replica.alter.log.dirs.threads of them or one for each directory, begin with the first move into a
 * directory. What is copied is bounded by replica.alter.log.dirs.io.max.bytes.per.second, all together, and flushed every
 * few MiB, so that others do not wait for it. An error of the source makes a move pause and try again; where the copy's
 * disk fails the move is given up. A move goes on after a restart. (reference: storage format §16) */
#ifndef OTTLA_BROKER_REPLICA_DIR_MOVER_H
#define OTTLA_BROKER_REPLICA_DIR_MOVER_H

#include "base/threads.h"
#include "broker/replica/replicas.h"

struct dir_mover;

struct dir_mover_config {
    struct threads *threads;
    struct clock *clock;
    struct sockets *sockets; /* for the threads' loops */
    struct loop *state;      /* where roles change, and logs are made and deleted */
    struct loop *flush;      /* of struct partition_env */
    struct logs *logs;
    struct replicas *replicas;
    struct throttle *throttle;
    int threads_n; /* 0: one for each directory */
    /* Is the partition one of the cluster's, by the metadata? */
    bool (*is_known)(void *context, struct topic_partition name);
    /* Files wait to be removed. */
    void (*files_dropped)(void *context);
    void *context;
};

struct dir_mover *dir_mover_new(const struct dir_mover_config *config);
/* The state thread has ended. What moves is left where it is. */
void dir_mover_stop(struct dir_mover *mover);
void dir_mover_free(
    struct dir_mover *mover); /* stopped, and nothing posted is run any more; NULL is fine */

/* State thread: the partition is to be in that directory. LOG_DIR_NOT_FOUND (57) where there is no such directory,
 * UNKNOWN_TOPIC_OR_PARTITION (3), REPLICA_NOT_AVAILABLE (9) where it is not here, which is remembered for when it comes;
 * KAFKA_STORAGE_ERROR (56). Where it is there already a move that is under way is given up. */
NODISCARD err dir_mover_alter(struct dir_mover *mover, struct topic_partition name, struct str dir);
/* State thread: a partition was made of its log, nobody else knows it yet. A move that was under way goes on. */
void dir_mover_resume(struct dir_mover *mover, struct partition *p);

#endif
