/* The brokers of a cluster, found by one or some of them (--bootstrap-server), with a connection to each that is
 * asked. Not thread-safe. */
#ifndef OTTLA_CLI_BROKERS_H
#define OTTLA_CLI_BROKERS_H

#include "cli/client.h"

struct broker_node {
    int32_t id;
    struct str host;
    int32_t port;
    struct str rack; /* null: it has none */
    struct client *client;
};

struct brokers {
    const char *bootstrap;
    struct client_security security;
    int timeout_ms;        /* of connecting, and of each answer */
    struct client *client; /* to one of the bootstrap servers */
    struct str cluster_id; /* null: it says none */
    int32_t controller_id;
    struct broker_node *nodes;
    int32_t nodes_n;
    int32_t topics_n;   /* as the first answer had them */
    struct arena arena; /* of all answers; as long as this */
    char reason[CLIENT_REASON_BYTES];
};

/* Connects to the first of the servers (host:port,host:port; port 9092 where none is said) that answers, and asks it
 * for the brokers. `patient`: where none answers, again and again until the time-out, as Kafka's tools do; a line on
 * stderr says so. `command_config`: the file that says how they are talked to; NULL: without security. After an error `reason` has the sentence; brokers_close() in any case. */
NODISCARD err brokers_open(struct brokers *brokers, const char *bootstrap,
                           const char *command_config, int timeout_ms, bool patient);
void brokers_close(struct brokers *brokers);

/* Asks for the brokers again: another one may be the controller. */
NODISCARD err brokers_refresh(struct brokers *brokers);
/* The connection to a broker, made when it is first wanted. */
NODISCARD err brokers_client(struct brokers *brokers, int32_t id, struct client **client);
/* One that has failed: the next question makes another connection. */
void brokers_forget_client(struct brokers *brokers, struct client *client);
/* To whichever of the bootstrap servers answers by now, or within the time-out. After an error the former connection stays. */
NODISCARD err brokers_reconnect(struct brokers *brokers);
/* client_ask() with the arena of the brokers and their sentence; `client` NULL: the bootstrap server. */
NODISCARD err brokers_ask(struct brokers *brokers, struct client *client,
                          const struct client_question *question);
/* Asks the controller. `error_code` finds the code in the answer that may be NOT_CONTROLLER: then the one that is it by
 * now is asked, until the time-out. */
NODISCARD err brokers_ask_controller(struct brokers *brokers,
                                     const struct client_question *question,
                                     int16_t (*error_code)(const void *response));

#endif
