/* A client's connection: frames in, answers out, in order, one request in progress at a time.
 *
 * A connection lives and dies on one loop (struct net_loop), and everything here runs on that
 * loop's thread. While a request is in progress nothing is read; bytes that have arrived wait. Its
 * bytes, and the memory for them, are a stream's (stream.h). Answers may contain file ranges
 * (base/writer.h). */
#ifndef OTTLA_BROKER_NET_CONN_H
#define OTTLA_BROKER_NET_CONN_H

#include "base/list.h"
#include "base/loop.h"
#include "broker/net/stream.h"
#include "broker/security/session.h"

#include <netinet/in.h>
#include <stdatomic.h>

struct conn;
struct listener;
struct sending;

enum frame_result {
    FRAME_DONE,   /* handled; an answer, if any, is in conn_out() */
    FRAME_PARKED, /* conn_resume() comes later, on this loop */
    FRAME_CLOSE,  /* break the connection, after sending what is queued */
};

/* What the layer above gives the connections of a loop. */
struct conn_handler {
    /* A whole frame, without its length. The bytes may be changed; they are gone on return, also
     * when the frame is parked, unless conn_give_frame() gave them away. */
    enum frame_result (*on_frame)(void *context, struct conn *conn, uint8_t *frame, size_t len);
    /* The connection ends while a request is parked. */
    void (*on_close)(void *context, struct conn *conn);
    /* What conn_set_sending() left is written to the socket, or never will be. */
    void (*on_sent)(void *context, struct sending *sending);
    void *context;
};

struct net_limits {
    int32_t frame_bytes_max;   /* socket.request.max.bytes */
    int32_t login_bytes_max;   /* the same before a login: sasl.server.max.receive.size */
    int64_t idle_ms;           /* connections.max.idle.ms */
    int64_t refusal_ms;        /* connection.failed.authentication.delay.ms, of a handshake */
    int64_t partial_idle_ms;   /* silence allowed in the middle of a frame */
    int32_t send_buffer_bytes; /* -1: the system's */
    int32_t receive_buffer_bytes;
};

/* One loop and its connections. */
struct net_loop {
    struct loop *loop;
    struct conn_handler handler;
    struct net_limits limits;
    struct stream_pool streams;
    struct list idle;       /* struct conn, longest silent first */
    struct list partial;    /* the same, in the middle of a frame */
    struct list strangers;  /* struct conn, longest here first: nobody knows yet who they are */
    struct list handshakes; /* the same, by handshake_link: their next step is due */
    struct loop_task handshake_task;
    bool handshake_posted;
    struct list starved; /* waits for memory, by starved_link */
    struct timer starved_timer;
    struct timer idle_timer;
    atomic_int conns_n;
    bool closed;                                            /* after net_loop_deinit() */
    void (*on_conn_gone)(void *context, struct conn *conn); /* accounting of limits */
    void *gone_context;
};

/* `memory` NULL: no limit. */
void net_loop_init(struct net_loop *net, struct loop *loop, const struct conn_handler *handler,
                   const struct net_limits *limits, struct net_memory *memory);
/* Closes every connection; not from within one's request. */
void net_loop_close_conns(struct net_loop *net);
/* The same, for good. */
void net_loop_deinit(struct net_loop *net);

/* Takes over a connected socket; closes it when the loop has closed its connections already.
 * `listener` and the address are for whoever asks. */
void conn_open(struct net_loop *net, int fd, struct listener *listener,
               const struct sockaddr_storage *peer);
/* Continues after FRAME_PARKED: the answer is in conn_out(). */
void conn_resume(struct conn *conn);
/* Ends the connection at once; frees. */
void conn_close(struct conn *conn);
/* Ends the connection after what is queued has been sent. */
void conn_close_after_send(struct conn *conn);

/* What is queued is sent, but nothing is read for so long. */
void conn_throttle(struct conn *conn, int32_t ms);

/* In on_frame: leaves the frame, which is of `len` bytes, to the caller, with the buffer that it is
 * in. False: it must be copied to be kept. */
bool conn_give_frame(struct conn *conn, size_t len, struct buffer *given);
/* On the loop's thread, which the connection need not have outlived. */
void net_loop_return(struct net_loop *net, struct buffer *given);

/* Where the answer is written, length prefix included. */
struct writer *conn_out(struct conn *conn);
struct net_loop *conn_loop(const struct conn *conn);
struct listener *conn_listener(const struct conn *conn);
/* The peer's address as text, as Kafka shows it in group members: "/127.0.0.1". */
const char *conn_peer(const struct conn *conn);
const struct sockaddr_storage *conn_peer_address(const struct conn *conn);
/* An address in that form: an IPv4 client of a socket for both families is shown as IPv4. */
enum { PEER_TEXT_MAX = INET6_ADDRSTRLEN + 2 };
void peer_format(const struct sockaddr_storage *peer, char text[PEER_TEXT_MAX]);
/* The address that the client has connected to. False: it is not known. */
bool conn_local_address(const struct conn *conn, struct sockaddr_storage *address);
/* Has the client closed its side? While a request is in progress nobody else looks. */
bool conn_peer_has_closed(const struct conn *conn);
/* Who is at the other end: at first nobody in particular. It is the connection's; who keeps it acquires it. */
const struct session *conn_session(const struct conn *conn);
/* Takes over the caller's reference. */
void conn_set_session(struct conn *conn, const struct session *session);
/* How the client logs in, where it must: the connection's from here on. NULL: nobody has begun. */
struct sasl_server *conn_sasl(const struct conn *conn);
void conn_set_sasl(struct conn *conn, struct sasl_server *sasl);
/* Anything that the layer above hangs onto the connection. */
void *conn_user(const struct conn *conn);
void conn_set_user(struct conn *conn, void *user);
/* Of whoever wants to know when the answers until now are written: NULL again after each on_sent(). */
struct sending *conn_sending(const struct conn *conn);
void conn_set_sending(struct conn *conn, struct sending *sending);

#endif
