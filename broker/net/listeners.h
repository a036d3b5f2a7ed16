/* Where a broker listens, what it tells clients to connect to, and how many connections single
 * addresses may have: read from the texts of the options, without the outside. Nothing is bound here
 * (net/server.h does that). The names of the options stand in the refusals. */
#ifndef OTTLA_BROKER_NET_LISTENERS_H
#define OTTLA_BROKER_NET_LISTENERS_H

#include "base/err.h"
#include "broker/security/security_protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sasl_listener;

enum { LISTENER_NAME_MAX = 64, LISTENER_HOST_MAX = 256, IP_ADDRESS_MAX = 64 };

struct tls_slot;

/* One listener. `host` "" binds all addresses; `port` 0 is replaced by what the system chose.
 * With advertised_host "" a client is told the address that it used itself. */
struct listener {
    char name[LISTENER_NAME_MAX];
    char host[LISTENER_HOST_MAX];
    int port;
    char advertised_host[LISTENER_HOST_MAX];
    int advertised_port;              /* 0: the port it listens on */
    int16_t security_protocol;        /* enum security_protocol */
    struct tls_slot *tls;             /* NULL: its protocol has none; the caller's */
    const struct sasl_listener *sasl; /* how clients log in; NULL: they do not */
    int32_t conns_max;                /* of this listener; INT32_MAX: no limit */
    int32_t conns_rate_max;           /* per second; the same */
    bool alone;                       /* its connections have a loop of their own */
};

/* A limit for one address. */
struct ip_override {
    char address[IP_ADDRESS_MAX]; /* as conn_peer() shows it, without the slash */
    int32_t conns_max;
};

/* The options' texts; NULL where one is not set. */
struct listeners_config {
    const char *listeners;
    const char *advertised;
    const char *protocol_map;        /* listener.security.protocol.map */
    const char *controller_names;    /* of a file made for KRaft: these listeners are left out */
    const char *inter_broker;        /* the listener among brokers, where the file names one */
    const char *inter_broker_option; /* and the option that does */
    const char *ip_overrides;        /* max.connections.per.ip.overrides */
    /* This machine's name, for an advertised listener that names no host; asked only then. */
    void (*host_name)(char host[LISTENER_HOST_MAX]);
};

struct listeners {
    struct listener *all;
    size_t count;
    struct ip_override *ip_overrides;
    size_t ip_overrides_n;
};

/* E_CONFIG with one sentence in `reason` if a text is wrong. To be freed by listeners_deinit() in
 * either case. */
NODISCARD err listeners_parse(const struct listeners_config *config, struct listeners *out,
                              char *reason, size_t reason_size);
void listeners_deinit(struct listeners *listeners);

/* The port that clients are told, once the listener is bound. */
static inline int listener_told_port(const struct listener *listener)
{
    return listener->advertised_port != 0 ? listener->advertised_port : listener->port;
}

#endif
