/* Reading. Bytes are received into the loop's scratch buffer and whole frames are taken from it in
 * place. What is left of a frame moves to a buffer of the stream, which then grows by doubling as
 * bytes arrive; a warm buffer of the pool that is large enough is taken at once, since it costs no
 * new memory. When the last frame is done the buffer goes back, or who keeps the frame has it; it
 * counts as on its way until then.
 *
 * Sending. Memory goes by send (with `more` before a file range), file ranges by send_file. The buffer
 * of a finished output is kept for the loop's next one, unless it has grown large.
 *
 * With TLS what is sent is cut into records: memory that fills one is encrypted where it is, all else (the head of
 * an answer, ranges of files) is gathered in one record's buffer of the loop first. So no more than a record of a
 * file is ever in memory. A record that the socket did not take is offered again, and gathered again for that. */
#define _GNU_SOURCE
#include "broker/net/stream.h"

#include "base/reader.h"
#include "storage/file_cache.h"

#include <errno.h>
#include <string.h>

enum {
    SCRATCH_BYTES = 128 << 10,
    OUT_SPARE_BYTES = 256 << 10, /* a larger output buffer is freed, not kept */
    LENGTH_BYTES = 4,
    TLS_FLUSH_BYTES = 1 << 20,
    GIVEN_PART = 4, /* a frame that fills less of its buffer is not worth the whole */
};

void stream_pool_init(struct stream_pool *pool, int32_t frame_bytes_max, struct net_memory *memory)
{
    *pool = (struct stream_pool){.memory = memory, .frame_bytes_max = frame_bytes_max};
    buffer_pool_init(&pool->buffers);
}

void stream_pool_deinit(struct stream_pool *pool)
{
    buffer_release(&pool->buffers, &pool->scratch);
    buffer_pool_deinit(&pool->buffers);
    writer_deinit(&pool->spare_out);
    tls_pool_free(pool->tls);
    pool->tls = NULL;
}

/* ---- memory of frames ---- */

static bool memory_take(struct net_memory *memory, size_t bytes)
{
    if (memory == NULL) {
        return true;
    }
    size_t before = atomic_fetch_add(&memory->buffered_bytes, bytes);
    if (before + bytes <= memory->buffered_bytes_max) {
        return true;
    }
    atomic_fetch_sub(&memory->buffered_bytes, bytes);
    return false;
}

void stream_pool_return(struct stream_pool *pool, struct buffer *given)
{
    if (pool->memory != NULL) {
        atomic_fetch_sub(&pool->memory->buffered_bytes, given->cap);
    }
    buffer_release(&pool->buffers, given);
}

static void in_release(struct stream *s)
{
    stream_pool_return(s->pool, &s->in);
}

/* Gives the stream this buffer, with what it has so far. False: there is no room, or no memory. */
static bool in_replace(struct stream *s, struct buffer fresh, const uint8_t *data, size_t len)
{
    if (fresh.data == NULL || !memory_take(s->pool->memory, fresh.cap)) {
        buffer_release(&s->pool->buffers, &fresh);
        return false;
    }
    memcpy(fresh.data, data, len);
    in_release(s);
    s->in = fresh;
    return true;
}

/* ---- life ---- */

void stream_init(struct stream *s, struct sockets *sockets, struct stream_pool *pool, int fd)
{
    *s = (struct stream){
        .sockets = sockets, .fd = fd, .pool = pool, .frame_bytes_max = pool->frame_bytes_max};
}

bool stream_use_tls(struct stream *s, struct tls_context *context, const char *host)
{
    s->tls = tls_new(&s->pool->tls, context, host, s->sockets, s->fd);
    return s->tls != NULL;
}

static void release_splices(struct stream *s)
{
    for (size_t i = s->splice_at; i < s->out.splices_n; i++) {
        open_file_release((struct open_file *)(uintptr_t)s->out.splices[i].file);
    }
    s->out.splices_n = s->splice_at = s->splice_done = 0;
}

void stream_deinit(struct stream *s)
{
    tls_free(s->tls);
    s->tls = NULL;
    s->sockets->ops->close(s->sockets, s->fd);
    s->fd = -1;
    release_splices(s);
    writer_deinit(&s->out);
    in_release(s);
    s->in_len = 0;
}

/* ---- receiving ---- */

/* The size that the frame at `data` announces, or -1 if it is not allowed. */
static int64_t frame_size(const struct stream *s, const uint8_t *data)
{
    int32_t size = (int32_t)load_u32(data);
    return size < 0 || size > s->frame_bytes_max ? -1 : size;
}

/* Makes room in the stream's buffer for the frame that is on its way. */
static bool grow_in(struct stream *s)
{
    struct buffer_pool *buffers = &s->pool->buffers;
    if (s->in_len < s->in.cap) {
        return true;
    }
    size_t want = s->in.cap * 2;
    if (s->in_len >= LENGTH_BYTES) {
        int64_t size = frame_size(s, s->in.data);
        size_t whole = LENGTH_BYTES + (size_t)(size < 0 ? 0 : size);
        if (want > whole) {
            want = whole > s->in.cap ? whole : want;
        } else {
            struct buffer kept = buffer_acquire_kept(buffers, whole);
            if (in_replace(s, kept, s->in.data, s->in_len)) {
                return true;
            }
        }
    }
    return in_replace(s, buffer_acquire(buffers, want), s->in.data, s->in_len);
}

/* How much to receive into the stream's buffer: of a large frame no more than its rest, so that the
 * next one's beginning need not be moved. */
static size_t in_room(const struct stream *s)
{
    size_t room = s->in.cap - s->in_len;
    int64_t size = s->in_len < LENGTH_BYTES ? 0 : frame_size(s, s->in.data);
    size_t whole = LENGTH_BYTES + (size_t)(size < 0 ? 0 : size);
    bool large = whole > SCRATCH_BYTES && whole > s->in_len;
    return large && whole - s->in_len < room ? whole - s->in_len : room;
}

static ssize_t receive_bytes(struct stream *s, void *into, size_t len)
{
    return s->tls == NULL ? s->sockets->ops->receive(s->sockets, s->fd, into, len)
                          : tls_receive(s->tls, into, len);
}

enum stream_received stream_receive(struct stream *s)
{
    struct buffer *scratch = &s->pool->scratch;
    if (scratch->data == NULL) {
        *scratch = buffer_acquire(&s->pool->buffers, SCRATCH_BYTES);
    }
    if (scratch->data == NULL) {
        return STREAM_ENDED;
    }
    bool own = s->in_len > 0;
    if (own && !grow_in(s)) {
        return STREAM_STARVED;
    }
    uint8_t *into = own ? s->in.data + s->in_len : scratch->data;
    ssize_t n = receive_bytes(s, into, own ? in_room(s) : scratch->cap);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return STREAM_NOTHING;
    }
    if (n <= 0) {
        return STREAM_ENDED;
    }
    s->in_len += own ? (size_t)n : 0;
    s->window = own ? s->in.data : into;
    s->window_len = own ? s->in_len : (size_t)n;
    return STREAM_BYTES;
}

bool stream_reopen(struct stream *s)
{
    if (s->in_len < LENGTH_BYTES) {
        return false;
    }
    int64_t size = frame_size(s, s->in.data);
    if (size >= 0 && s->in_len - LENGTH_BYTES < (size_t)size) {
        return false;
    }
    s->window = s->in.data;
    s->window_len = s->in_len;
    return true;
}

enum stream_frame stream_next_frame(struct stream *s, uint8_t **frame, size_t *len)
{
    if (s->window_len < LENGTH_BYTES) {
        return FRAME_NONE;
    }
    int64_t size = frame_size(s, s->window);
    if (size < 0) {
        return FRAME_REFUSED;
    }
    if (s->window_len - LENGTH_BYTES < (size_t)size) {
        return FRAME_NONE;
    }
    *frame = s->window + LENGTH_BYTES;
    *len = (size_t)size;
    s->window += LENGTH_BYTES + *len;
    s->window_len -= LENGTH_BYTES + *len;
    return FRAME_WHOLE;
}

bool stream_give(struct stream *s, size_t len, struct buffer *given)
{
    if (s->in.data == NULL || s->window_len > 0 || len < s->in.cap / GIVEN_PART) {
        return false;
    }
    *given = s->in;
    s->in = (struct buffer){0};
    return true;
}

bool stream_keep(struct stream *s)
{
    const uint8_t *rest = s->window;
    size_t len = s->window_len;
    s->window = NULL;
    s->window_len = 0;
    if (s->in.data != NULL) {
        if (len == 0) {
            in_release(s);
        } else if (rest != s->in.data) {
            memmove(s->in.data, rest, len);
        }
    } else if (len > 0 && !in_replace(s, buffer_acquire(&s->pool->buffers, len), rest, len)) {
        return false;
    }
    s->in_len = len;
    CHECK(s->in_len <= s->in.cap);
    return true;
}

/* ---- sending ---- */

struct writer *stream_out(struct stream *s)
{
    if (s->out.data == NULL && s->out.limit_bytes == 0) {
        s->out = s->pool->spare_out;
        s->pool->spare_out = (struct writer){0};
        writer_clear(&s->out);
        s->out.limit_bytes = INT32_MAX;
    }
    return &s->out;
}

enum send_result { SENT, SEND_BLOCKED, SEND_FAILED };

static enum send_result send_outcome(ssize_t n)
{
    if (n > 0) {
        return SENT;
    }
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? SEND_BLOCKED
                                                                                : SEND_FAILED;
}

static enum send_result send_memory(struct stream *s, size_t end, bool more)
{
    ssize_t n = s->sockets->ops->send(s->sockets, s->fd, s->out.data + s->out_done,
                                      end - s->out_done, more);
    if (n > 0) {
        s->out_done += (size_t)n;
    }
    return send_outcome(n);
}

/* A range that has been cut out of its log ends the stream: the peer was told the length, and its bytes
 * must not be mixed with those that come in their place. */
static enum send_result send_file(struct stream *s, const struct splice *splice)
{
    struct open_file *file = (struct open_file *)(uintptr_t)splice->file;
    int64_t position = splice->position + (int64_t)s->splice_done;
    int64_t end = splice->position + (int64_t)splice->len;
    if (open_file_is_cut(file, end)) {
        return SEND_FAILED;
    }
    ssize_t n = s->sockets->ops->send_file(s->sockets, s->fd, open_file_fd(file), position,
                                           splice->len - s->splice_done);
    enum send_result outcome = open_file_is_cut(file, end) ? SEND_FAILED : send_outcome(n);
    if (n < 0 && errno == EIO) {
        open_file_failed(file, err_from_errno(EIO)); /* the disk: sockets have other errors */
    }
    if (n > 0) {
        s->splice_done += (size_t)n;
        if (s->splice_done == splice->len) {
            open_file_release(file);
            s->splice_at++;
            s->splice_done = 0;
        }
    }
    return outcome;
}

static enum send_result send_some(struct stream *s)
{
    while (stream_has_output(s)) {
        const struct splice *splice =
            s->splice_at < s->out.splices_n ? &s->out.splices[s->splice_at] : NULL;
        size_t end = splice == NULL ? s->out.len : splice->at;
        enum send_result result =
            s->out_done < end ? send_memory(s, end, splice != NULL) : send_file(s, splice);
        if (result != SENT) {
            return result;
        }
    }
    return SENT;
}

/* ---- sending with TLS ---- */

/* Where the next byte of the output is. */
struct cursor {
    size_t out_done;
    size_t splice_at;
    size_t splice_done;
};

/* Memory that is next, up to a range of a file; 0: a range is next, or nothing. */
static size_t memory_next(const struct stream *s, const struct cursor *at)
{
    size_t end = at->splice_at < s->out.splices_n ? s->out.splices[at->splice_at].at : s->out.len;
    return end - at->out_done;
}

/* Reads of the range that is next; false: the stream has failed. */
static bool gather_file(struct stream *s, struct cursor *at, uint8_t *into, size_t room,
                        size_t *len)
{
    const struct splice *splice = &s->out.splices[at->splice_at];
    struct open_file *file = (struct open_file *)(uintptr_t)splice->file;
    size_t rest = splice->len - at->splice_done;
    *len = rest < room ? rest : room;
    int64_t position = splice->position + (int64_t)at->splice_done;
    int64_t end = splice->position + (int64_t)splice->len;
    if (open_file_is_cut(file, end) || open_file_read(file, into, *len, position) != OK ||
        open_file_is_cut(file, end)) {
        return false;
    }
    at->splice_done += *len;
    if (at->splice_done == splice->len) {
        at->splice_at++;
        at->splice_done = 0;
    }
    return true;
}

/* Puts the next record's bytes together; 0: the stream has failed. */
static size_t gather_record(struct stream *s, uint8_t *record)
{
    struct cursor at = {s->out_done, s->splice_at, s->splice_done};
    size_t len = 0;
    while (len < TLS_RECORD_BYTES &&
           (at.out_done < s->out.len || at.splice_at < s->out.splices_n)) {
        size_t room = TLS_RECORD_BYTES - len;
        size_t n = memory_next(s, &at);
        if (n > 0) {
            n = n < room ? n : room;
            memcpy(record + len, s->out.data + at.out_done, n);
            at.out_done += n;
        } else if (!gather_file(s, &at, record + len, room, &n)) {
            return 0;
        }
        len += n;
    }
    return len;
}

/* So much of the output is sent. */
static void advance(struct stream *s, size_t len)
{
    while (len > 0) {
        const struct cursor at = {s->out_done, s->splice_at, s->splice_done};
        size_t n = memory_next(s, &at);
        if (n > 0) {
            n = n < len ? n : len;
            s->out_done += n;
        } else {
            const struct splice *splice = &s->out.splices[s->splice_at];
            size_t rest = splice->len - s->splice_done;
            n = rest < len ? rest : len;
            s->splice_done += n;
            if (s->splice_done == splice->len) {
                open_file_release((struct open_file *)(uintptr_t)splice->file);
                s->splice_at++;
                s->splice_done = 0;
            }
        }
        len -= n;
    }
}

static enum send_result send_records(struct stream *s)
{
    enum send_result result = SENT;
    size_t sent = 0;
    while (result == SENT && stream_has_output(s) && sent < TLS_FLUSH_BYTES) {
        const struct cursor at = {s->out_done, s->splice_at, s->splice_done};
        size_t len = memory_next(s, &at);
        const uint8_t *data = s->out.data + s->out_done;
        bool whole = len >= TLS_RECORD_BYTES || at.splice_at == s->out.splices_n;
        if (!whole) {
            data = tls_pool_record(s->pool->tls);
            len = gather_record(s, tls_pool_record(s->pool->tls));
        }
        if (len == 0) {
            return SEND_FAILED;
        }
        ssize_t n = tls_send(s->tls, data, len, false);
        result = send_outcome(n);
        if (n > 0) {
            advance(s, (size_t)n);
            sent += (size_t)n;
        }
    }
    return result;
}

/* ---- sending, either way ---- */

/* Gives the output buffer to the loop for the next output, or frees it. */
static void recycle_out(struct stream *s)
{
    struct stream_pool *pool = s->pool;
    writer_clear(&s->out);
    s->out_done = s->splice_at = 0;
    if (pool->spare_out.data == NULL && s->out.cap <= OUT_SPARE_BYTES) {
        pool->spare_out = s->out;
    } else {
        writer_deinit(&s->out);
    }
    s->out = (struct writer){0};
}

bool stream_flush(struct stream *s)
{
    if (stream_has_output(s)) {
        enum send_result result = s->tls == NULL ? send_some(s) : send_records(s);
        if (result == SEND_FAILED) {
            return false;
        }
    }
    if (!stream_has_output(s)) {
        recycle_out(s);
    }
    return true;
}
