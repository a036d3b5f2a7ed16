/* A client of another broker: one connection, kept up while there is something to ask, requests in
 * order, one at a time.
 *
 * A request waits in the queue until those before it are answered. When the connection cannot be made,
 * breaks, or an answer does not come in time, one request fails, the one that was being sent (or would
 * have been next), and the rest wait for the next connection, which is tried after a pause: from
 * backoff_ms, doubled with each failure, up to backoff_max_ms. So who asks decides whether to ask again;
 * nothing is dropped that was not told.
 *
 * The address is asked for at each attempt, since brokers move. Names are resolved by a worker: that
 * may take long. All on one loop's thread. (reference: replication §1) */
#ifndef OTTLA_BROKER_NET_PEER_H
#define OTTLA_BROKER_NET_PEER_H

#include "base/list.h"
#include "base/loop.h"
#include "broker/net/stream.h"

enum { PEER_HOST_MAX = 256 };

struct peer;
struct random;
struct sasl_identity;
struct tls_slot;
struct workers;

/* What this broker shows to others on one of their listeners, and whom it believes. Shared by all that ask there. */
struct peer_security {
    struct tls_slot *tls;                 /* NULL: the listener has no TLS */
    const struct sasl_identity *identity; /* as whom it logs in; NULL: nobody does */
    struct random *random;                /* these two for logins */
    struct clock *clock;
};

struct peer_address {
    char host[PEER_HOST_MAX];
    int32_t port;
};

struct peer_config {
    struct loop *loop;
    struct stream_pool *streams;
    struct workers *workers;
    /* Where the other broker is now. False: nobody knows, which counts as a failure. */
    bool (*address)(void *context, struct peer_address *address);
    /* A connection has been made, before anything is sent on it: the place to peer_send_first() what
     * must go first. May be NULL. */
    void (*connected)(void *context);
    void *context;
    const struct peer_security *security; /* NULL: neither TLS nor a login; outlives it */
    int64_t connect_timeout_ms;
    int64_t backoff_ms;
    int64_t backoff_max_ms;
    int32_t receive_buffer_bytes; /* -1: the system's */
};

/* A question. Embedded in who asks, who keeps it until `done`. */
struct peer_request {
    struct list link;
    const uint8_t *frame; /* header and body; a copy with another correlation id is sent */
    size_t frame_len;
    int64_t timeout_ms; /* of the answer, from when it is sent; -1: none */
    /* OK with the answer's frame, which is gone on return; else why there is none: E_CLOSED,
     * E_MALFORMED (no answer to this), E_NOT_FOUND (no address), an errno (ETIMEDOUT: it did not come
     * in time). May send again. */
    void (*done)(struct peer_request *request, err outcome, uint8_t *frame, size_t len);
};

struct peer *peer_new(const struct peer_config *config);
/* All requests fail with E_CLOSED. */
void peer_free(struct peer *peer);

void peer_send(struct peer *peer, struct peer_request *request);
/* Before all that wait. */
void peer_send_first(struct peer *peer, struct peer_request *request);
/* Takes a request back that waits in the queue. False: it is being sent, or not there. */
bool peer_cancel(struct peer *peer, struct peer_request *request);
/* Ends the connection, if there is one: the broker has moved, or its life has ended. What was being sent
 * fails with E_CLOSED; the rest goes by the next connection, which is not paused for. */
void peer_disconnect(struct peer *peer);
/* Within `done`: the answer that came is none. As a connection that breaks: the next one is tried after
 * the pause, which grows. */
void peer_refuse(struct peer *peer);
bool peer_is_connected(const struct peer *peer);
/* Has an answer begun to come? */
bool peer_is_receiving(const struct peer *peer);

#endif
