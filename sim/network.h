/* A network in memory: hosts, byte streams between them, and what can go wrong with them. Each process on a
 * host has a struct sockets (base/sockets.h), whose loops wait on virtual time.
 *
 * Every connection has two streams; what is sent travels in pieces, each with a delay of its own, in order.
 * Pieces of different connections overtake each other. What meets a cut stands still, as retransmissions
 * do, until it is healed. */
#ifndef OTTLA_SIM_NETWORK_H
#define OTTLA_SIM_NETWORK_H

#include "base/file.h"
#include "base/sockets.h"
#include "sim/sched.h"

enum { NETWORK_HOSTS_MAX = 24 };

struct network;

struct network_delay {
    int32_t min_us;
    int32_t max_us;
};

struct network *network_new(struct sched *sched, struct trace *trace);
void network_free(struct network *network);

/* A process begins on a host, which is a number: its address is 10.0.0.<number + 1>. `fs`: whose
 * descriptors send_file() takes; NULL: none. Freed with the network. */
struct sockets *network_begin_process(struct network *network, int host, struct fs *fs);
/* It ends: its sockets are closed as the kernel does it, and what its threads still ask of them fails.
 * `silent`: the machine goes too, and nobody is told; it is on again with the next process. */
void network_end_process(struct network *network, struct sockets *process, bool silent);
/* "10.0.0.1" */
enum { NETWORK_ADDRESS_MAX = 16 };
void network_address(int host, char text[NETWORK_ADDRESS_MAX]);
/* ---- faults ---- */

/* What `from` sends does not reach `to`. */
void network_cut(struct network *network, int from, int to, bool cut);
void network_set_delay(struct network *network, int from, int to, struct network_delay delay);
/* On top of that, what `from` sends on connections that it has opened itself: what it asks comes late, what it
 * answers does not. Zeros: no more. */
void network_delay_asking(struct network *network, int from, int to, struct network_delay delay);
/* Every connection between the two breaks, with what is under way. */
void network_reset(struct network *network, int a, int b);
/* One direction of one connection between the two, by chance, stands still for so long. */
void network_stall(struct network *network, int a, int b, int64_t us);
/* How many pieces have been delivered. */
uint64_t network_delivered(const struct network *network);

#endif
