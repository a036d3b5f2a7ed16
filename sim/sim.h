/* A simulation: brokers, clients and a ZooKeeper in one process, on virtual time, from one seed. The same
 * options give the same history to the byte (sim_hash).
 *
 *     struct sim *sim = sim_new(&(struct sim_options){.seed = 7, .brokers_n = 3});
 *     sim_start_all(sim);
 *     sim_run(sim, 1000);
 *     sim_power_loss(sim, 1);
 *     sim_run(sim, 5000);
 *     sim_free(sim);
 *
 * What is called here is called between runs, or by a task of the simulation (sim/nemesis.c). */
#ifndef OTTLA_SIM_SIM_H
#define OTTLA_SIM_SIM_H

#include "sim/checker.h"
#include "sim/dir_moves.h"
#include "sim/ledger.h"
#include "sim/observer.h"
#include "sim/workload.h"

enum sim_plant {
    PLANT_NONE,
    PLANT_ACK_BEFORE_FLUSH, /* brokers do not flush, and are held to it */
    PLANT_LYING_DISK,       /* a sync does nothing */
};

enum { SIM_DRAWN = -1 };

struct sim_options {
    uint64_t seed;
    int brokers_n;
    FILE *trace; /* NULL: nobody reads */
    enum sim_plant plant;
    bool durable;   /* flush.messages=1: acknowledged means on the disk */
    bool txns;      /* somebody writes in transactions, too */
    bool compacts;  /* all topics are compacted, often */
    bool dirs;      /* brokers have two log directories, and partitions move between them */
    bool new_disks; /* brokers come back with an empty disk, as one more fault */
    int moves;      /* does somebody move partitions? SIM_DRAWN, or 0 or 1 */
    bool
        last_standing; /* no other fault than that one (sim/scripts.c); power goes whether durable or not */
};

struct sim;

struct sim *sim_new(const struct sim_options *options);
/* Kills what runs. */
void sim_free(struct sim *sim);

void sim_run(struct sim *sim, int64_t ms);
int64_t sim_now_ms(const struct sim *sim);
uint64_t sim_hash(const struct sim *sim);

/* ---- brokers, by id from 0 on ---- */

void sim_start_all(struct sim *sim);
void sim_broker_start(struct sim *sim, int broker);
void sim_broker_stop(struct sim *sim, int broker);
void sim_broker_kill(struct sim *sim, int broker);
void sim_broker_pause(struct sim *sim, int broker);
void sim_broker_resume(struct sim *sim, int broker);
void sim_power_loss(struct sim *sim, int broker);
/* The ensemble ends the broker's session. */
void sim_expire(struct sim *sim, int broker);
/* The controller's node is deleted: its broker lives, and may not know yet. */
void sim_oust_controller(struct sim *sim);
bool sim_broker_serves(const struct sim *sim, int broker);

/* What the store says: of a partition, false when it says nothing; who should lead it, who is the controller, -1
 * when nobody is. */
bool sim_truth(const struct sim *sim, int partition, struct event *truth);
int sim_preferred(struct sim *sim, int partition);
int sim_controller(const struct sim *sim);
/* How long a broker has had no node there; 0: it has one. */
int64_t sim_gone_us(const struct sim *sim, int broker);
int sim_partitions(const struct sim *sim);

/* ---- the world ---- */

enum sim_direction { SIM_TO = 1, SIM_FROM = 2, SIM_BOTH = 3 };

/* What `a` sends to `b` (SIM_TO), what it hears from it, or both; 0 heals. Clients are hosts too
 * (client.h). */
void sim_cut(struct sim *sim, int a, int b, unsigned direction);
void sim_cut_zookeeper(struct sim *sim, int broker, unsigned direction);
/* How long messages take where nothing is broken. */
#define SIM_IN_TIME ((struct network_delay){.min_us = 50, .max_us = 800})
/* Of every message between all hosts. */
void sim_delay(struct sim *sim, struct network_delay delay);
void sim_heal_all(struct sim *sim);

/* ---- its parts ---- */

struct sched *sim_sched(struct sim *sim);
struct trace *sim_trace(struct sim *sim);
struct network *sim_network(struct sim *sim);
struct node *sim_node(struct sim *sim, int broker);
struct history *sim_history(struct sim *sim);
int sim_brokers(const struct sim *sim);

/* ---- a whole test ---- */

struct sim_exposure {
    uint64_t sends;
    uint64_t acks;
    uint64_t polls;
    uint64_t errors;
    uint64_t looks;
    uint64_t leaders;     /* that were elected, as the observer has seen them */
    uint64_t controllers; /* the same */
    uint64_t isrs;        /* changes of an ISR, the same */
    uint64_t cuts;        /* of followers' logs, the same */
    struct move_counts moves;
    struct dir_move_counts dir_moves;
    struct ledger_counts txns;
    uint64_t faults[26]; /* by enum fault (nemesis.h) */
    uint64_t lives;      /* of brokers */
    uint64_t refusals;
    uint64_t disk_errors;
    uint64_t sectors_lost;
    uint64_t messages;
    int64_t virtual_ms;
    struct state_set states;
};

/* Faults, healing, a last look; returns the number of violations, of which the first are told. */
size_t sim_test(const struct sim_options *options, struct violation *violations, size_t max,
                struct sim_exposure *exposure, uint64_t *hash);

#endif
