/* A client of Kafka on a host of its own, by the protocol's codec and the simulated network: asks, and waits
 * for the answer, as a task. One connection to each broker, one request at a time. */
#ifndef OTTLA_SIM_CLIENT_H
#define OTTLA_SIM_CLIENT_H

#include "base/arena.h"
#include "protocol/codec.h"
#include "sim/network.h"

enum { CLIENT_BROKERS_MAX = 8, CLIENT_HOST_FIRST = 10 };

struct client {
    struct sched *sched;
    struct sockets *sockets;
    struct poller *poller;
    struct arena arena;          /* of the last answer */
    int fds[CLIENT_BROKERS_MAX]; /* by broker; -1: no connection */
    int32_t correlation_id;
    uint8_t *frame;
    size_t frame_cap;
};

/* `number` counts the clients: it is at host CLIENT_HOST_FIRST + number. */
void client_init(struct client *client, struct sched *sched, struct network *network, int number);
void client_deinit(struct client *client);

/* Asks a broker, by its id. `response` points into the client until the next question. Errors are those of the
 * connection, which is closed: then nobody knows whether the request was carried out. */
NODISCARD err client_ask(struct client *client, int broker, int16_t key, int version,
                         const void *request, void *response, int64_t timeout_ms);

#endif
