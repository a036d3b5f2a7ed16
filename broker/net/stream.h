/* The bytes of one connected socket: frames come out of what arrives, memory and ranges of files go
 * into what is sent. What a client's connection and a connection to another broker have in common; knows
 * no requests. With TLS (net/tls.h) the bytes are those inside of it.
 *
 * An idle stream owns no buffer: it receives into the scratch buffer of its loop, and only a frame
 * that is on its way gets memory, which grows with what has arrived, never with what was announced.
 * All on one loop's thread. */
#ifndef OTTLA_BROKER_NET_STREAM_H
#define OTTLA_BROKER_NET_STREAM_H

#include "base/sockets.h"
#include "base/writer.h"
#include "broker/net/buffer_pool.h"
#include "broker/net/tls.h"

#include <stdatomic.h>

/* What all loops share: how much memory frames that are on their way may hold together. Over it,
 * streams whose frame must grow are not read until others have let go. */
struct net_memory {
    atomic_size_t buffered_bytes;
    size_t buffered_bytes_max;
};

/* What the streams of one loop share. */
struct stream_pool {
    struct buffer_pool buffers;
    struct buffer scratch;
    struct writer spare_out;
    struct tls_pool *tls;      /* NULL: no stream of it has had TLS yet */
    struct net_memory *memory; /* NULL: no limit */
    int32_t frame_bytes_max;   /* a frame that announces more ends its stream */
};

void stream_pool_init(struct stream_pool *pool, int32_t frame_bytes_max, struct net_memory *memory);
void stream_pool_deinit(struct stream_pool *pool);

struct stream {
    struct sockets *sockets;
    int fd;
    struct tls *tls; /* NULL: without */
    struct stream_pool *pool;
    int32_t frame_bytes_max; /* at first that of the pool */
    struct buffer in;        /* owned while a frame is on its way */
    size_t in_len;
    uint8_t *window; /* what is being taken apart: of the scratch buffer or of `in` */
    size_t window_len;
    struct writer out;
    size_t out_done;    /* how much of `out`'s own bytes is sent */
    size_t splice_at;   /* the next splice */
    size_t splice_done; /* how much of it is sent */
};

/* Takes over a connected socket of `sockets`. */
void stream_init(struct stream *stream, struct sockets *sockets, struct stream_pool *pool, int fd);
/* From here on with TLS, whose handshake (tls_handshake) comes before anything is sent or received. Takes the reference to
 * `context` over. `host`: whom a client means to reach. False: no memory. */
bool stream_use_tls(struct stream *stream, struct tls_context *context, const char *host);
/* Closes it; what was not sent is dropped, with its files. */
void stream_deinit(struct stream *stream);

/* ---- receiving ---- */

enum stream_received {
    STREAM_BYTES,   /* something came: take frames, then stream_keep() */
    STREAM_NOTHING, /* not now */
    STREAM_STARVED, /* the frame must grow and may not: try again when others have let go */
    STREAM_ENDED,   /* by the peer, or by an error */
};
enum stream_received stream_receive(struct stream *stream);
/* Would stream_receive() give something that the poller does not tell of? */
static inline bool stream_has_unread(const struct stream *stream)
{
    return stream->tls != NULL && tls_holds_input(stream->tls);
}
/* Frames may wait in the stream's own buffer: looks at them again. False: no whole one is there. */
bool stream_reopen(struct stream *stream);

enum stream_frame { FRAME_NONE, FRAME_WHOLE, FRAME_REFUSED };
/* The next whole frame, without its length. Its bytes may be changed, and are gone at the next call.
 * FRAME_REFUSED: it announces a size that is not allowed. */
enum stream_frame stream_next_frame(struct stream *stream, uint8_t **frame, size_t *len);
/* Gives the buffer of the frame that was taken last to the caller, who returns it to the pool; the
 * frame stays where it is. False: the frame has no buffer of its own, or fills too little of it. */
bool stream_give(struct stream *stream, size_t len, struct buffer *given);
/* On the pool's thread. */
void stream_pool_return(struct stream_pool *pool, struct buffer *given);
/* Keeps what is left over. False: there is no memory for it. */
bool stream_keep(struct stream *stream);
/* In the middle of a frame? */
static inline bool stream_holds_input(const struct stream *stream)
{
    return stream->in_len > 0;
}

/* ---- sending ---- */

/* Where output is written, each frame with its length; ranges of files carry references to their
 * struct open_file, released when sent. */
struct writer *stream_out(struct stream *stream);
static inline bool stream_has_output(const struct stream *stream)
{
    return stream->out_done < stream->out.len || stream->splice_at < stream->out.splices_n;
}
/* Must the socket be writable before anything goes on? */
static inline bool stream_wants_write(const struct stream *stream)
{
    return stream_has_output(stream) || (stream->tls != NULL && tls_wants_write(stream->tls));
}
/* Sends as much as goes; with TLS, whose records cost work, no more than a bounded part in one call. False: the
 * stream has failed. */
bool stream_flush(struct stream *stream);

#endif
