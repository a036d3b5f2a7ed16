/* A model of ZooKeeper for simulations and tests: one ensemble in memory, and any number of clients of
 * zk/coord.h on it, in one process, on one thread, on a clock that is handed in.
 *
 * What happens is decided by the calls, the clock and the random numbers alone: with a virtual clock
 * and a seed it repeats to the byte.
 *
 * Each broker has a way to the ensemble (struct coord_model_way), which outlives its clients: faults
 * are of the way. `coord_model_open` is a broker_env.coord_open with a way as its context. Requests
 * and answers travel as messages, in order, with a delay; clients send pings; sessions end by
 * expiry. A call waits as coord.h says, whatever that takes: `wait` lets time and the other brokers
 * go on meanwhile.
 *
 * Time: coord_model_turn() does what is due by now, coord_model_next_due_ms() says when that is next; who
 * moves the clock calls them, as for loops (base/loop.h). Every call of a client, and every fault below,
 * begins with a turn. Events of clients come from inside a turn: they must only post.
 *
 * A model, not ZooKeeper: every read is fresh, as from the leader, and no server is lost; sessions end
 * to the millisecond, not at a tick; no ACLs, no quotas, no /zookeeper. */
#ifndef OTTLA_ZK_MODEL_COORD_MODEL_H
#define OTTLA_ZK_MODEL_COORD_MODEL_H

#include "base/clock.h"
#include "base/random.h"
#include "zk/coord.h"

#include <stdio.h>

struct coord_model;
struct coord_model_way;

/* Clock and random outlive the model. */
struct coord_model *coord_model_new(struct clock *clock, struct random *random);
/* Every client is closed. Frees the ways too. */
void coord_model_free(struct coord_model *model);

struct coord_model_config {
    int32_t session_timeout_ms;
    int32_t connection_timeout_ms; /* for the opening */
    /* A session that was not closed is taken up again by the next client on the way, as with
     * coord_zookeeper.session_path. */
    bool keeps_session;
    /* Called again and again until the call that waits can go on: lets time pass and others work, and may
     * heal what is cut. NULL: the clock sleeps until the next thing that is due; a call that would
     * wait for more than an hour so stops the process, since nobody is there who could heal. */
    void (*wait)(void *context);
    void *wait_context;
};

/* A way without faults and without delay; owned by the model. */
struct coord_model_way *coord_model_way_new(struct coord_model *model,
                                            const struct coord_model_config *config);

/* Opens a client on a way that has none. E_BUSY, with a line in `reason` (COORD_REASON_BYTES), when the
 * ensemble does not answer in time. */
NODISCARD err coord_model_open(void *way, const struct coord_events *events, struct coord **coord,
                               char *reason);

/* ---- time ---- */

/* False: there was nothing to do. Never from an event. */
bool coord_model_turn(struct coord_model *model);
/* Monotonic; not in the past; INT64_MAX when nothing will happen by itself. */
int64_t coord_model_next_due_ms(const struct coord_model *model);

/* ---- faults ---- */

enum coord_model_direction {
    COORD_MODEL_REQUESTS = 1,
    COORD_MODEL_ANSWERS = 2,
    COORD_MODEL_BOTH = 3
};

/* What goes this way stands still, as when a network swallows it: it goes on after coord_model_heal, or
 * is lost when the client gives the connection up (it hears nothing for two thirds of its session's
 * timeout). Then a write has an unknown outcome. To cut again replaces the cut. */
void coord_model_cut(struct coord_model_way *way, enum coord_model_direction direction);
void coord_model_heal(struct coord_model_way *way);

/* The connection breaks now: what is under way, both ways, is lost, and the client knows at once. */
void coord_model_break(struct coord_model_way *way);

/* The connection breaks with each of `count` operations and transactions, after the next `skip` ones: as
 * the request arrives, or where `applies`, when it was carried out and only the answer is lost. */
void coord_model_lose(struct coord_model_way *way, int skip, int count, bool applies);
/* So many of a million operations and transactions lose the connection by chance, carried out or not. */
void coord_model_lose_some(struct coord_model_way *way, uint32_t per_million);

/* How long a message takes, each direction: min to max, by chance. */
void coord_model_delay(struct coord_model_way *way, int32_t min_ms, int32_t max_ms);

/* The ensemble ends the session of the way's client now; the client hears of it. */
void coord_model_expire(struct coord_model_way *way);

/* Somebody else deletes a node, if it is there and has no children. */
void coord_model_remove(struct coord_model *model, const char *path);

/* The client's process is killed: what it sent may still arrive, its calls end with E_CLOSED, and
 * coord_close frees it without a word to the ensemble. */
void coord_model_kill(struct coord_model_way *way);

/* ---- to look at ---- */

/* What a node holds now, which lives until the next turn, and its version. False: there is none. */
bool coord_model_peek(const struct coord_model *model, const char *path, struct bytes *value,
                      int32_t *version);
/* All nodes by their paths, and the sessions, as text: the same for the same history. */
void coord_model_print(struct coord_model *model, FILE *out);

#endif
