/* A client that moves partitions between the log directories of brokers: any replica, one move over the other. */
#ifndef OTTLA_SIM_DIR_MOVES_H
#define OTTLA_SIM_DIR_MOVES_H

#include "sim/sched.h"

struct network;

struct dir_moves_config {
    struct sched *sched;
    struct trace *trace;
    struct network *network;
    int brokers_n;
    bool txns; /* there are topics of transactions, too */
};

struct dir_move_counts {
    uint64_t asked; /* and accepted */
    uint64_t seen_under_way;
    uint64_t seen_done;
};

struct dir_moves;

struct dir_moves *dir_moves_new(const struct dir_moves_config *config);
/* It ends when it has its answer. */
void dir_moves_stop(struct dir_moves *moves);
bool dir_moves_has_ended(const struct dir_moves *moves);
struct dir_move_counts dir_moves_counts(const struct dir_moves *moves);
void dir_moves_free(struct dir_moves *moves);

#endif
