/* A machine with a broker: its disk, its way to ZooKeeper, its clock, and one process at a time, which is a
 * whole broker on fibers.
 *
 * A process that is killed comes to its end by itself, cut off from everything: its disk, its network and its
 * session are gone for it, so that what it does on its way out nobody can see. Then it is freed as a broker
 * that stops is, and the next one may begin. */
#ifndef OTTLA_SIM_NODE_H
#define OTTLA_SIM_NODE_H

#include "broker/broker.h"
#include "sim/disk.h"
#include "sim/network.h"
#include "zk/model/coord_model.h"

struct node;

/* Where a broker has its logs, unless its options say otherwise; and two that they may name. */
#define SIM_LOG_DIR   "/data"
#define SIM_LOG_DIR_A "/data/a"
#define SIM_LOG_DIR_B "/data/b"

/* What all nodes share; outlives them. */
struct node_env {
    struct sched *sched;
    struct trace *trace;
    struct network *network;
    struct coord_model *store;
    const char *const *options; /* "name=value", NULL at the end; for every broker */
    bool keeps_session;         /* a process that was killed leaves its session to the next one */
    int32_t session_timeout_ms;
};

enum node_state { NODE_DOWN, NODE_STARTING, NODE_SERVING, NODE_STOPPING };

/* Broker `id`, at host `id` of the network. */
struct node *node_new(const struct node_env *env, int id);
/* Its processes have ended. */
void node_free(struct node *node);

/* Begins a process, which waits for the last one's end. One is there already: nothing. */
void node_start(struct node *node);
/* Asks it to stop, as SIGTERM does. */
void node_stop(struct node *node);
/* The process ends here and now; what it wrote stays in the page cache. */
void node_kill(struct node *node);
/* The same before the so-manieth change of a file from now on. */
void node_kill_at_change(struct node *node, int64_t changes, bool power_loss);
void node_lose_power(struct node *node);
/* As SIGSTOP does; it is cut off from the store meanwhile, where pings stop. */
void node_pause(struct node *node);
void node_resume(struct node *node);
/* One of its threads, whose name has `name` in it ("": any), gets no processor for so long. */
void node_starve(struct node *node, const char *name, int64_t us);

enum node_state node_state(const struct node *node);
bool node_is_paused(const struct node *node);
/* No process, and none of the past on its way out. */
bool node_is_quiet(const struct node *node);
/* Counts the processes. */
int node_life(const struct node *node);
/* How many starts were refused, and why the last one was. */
int node_refusals(const struct node *node);
const char *node_reason(const struct node *node);

struct disk *node_disk(struct node *node);
struct coord_model_way *node_way(struct node *node);
/* Of the wall clock, against the true time. */
void node_set_clock(struct node *node, int64_t offset_ms);

/* The broker while it serves, or NULL: it stays until node_release(). */
struct broker *node_acquire(struct node *node);
void node_release(struct node *node, struct broker *broker);

#endif
