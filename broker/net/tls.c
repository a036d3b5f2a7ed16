/* OpenSSL over a BIO of our own, which asks the sockets' table.
 *
 * Receiving. The BIO receives from the socket once in each tls_receive(), as much as OpenSSL's buffer takes
 * (READ_AHEAD_BYTES), and then says that there is nothing. So a call's work is bounded, what is left in the socket is told by
 * the poller again, and what is left in OpenSSL by tls_holds_input(): epoll says nothing of that. OpenSSL lets go of
 * its buffers when they are empty.
 *
 * A hello. OpenSSL makes room for a message when it is announced, up to 128 KiB for a hello. A thousand clients that announce and send no more
 * would have that from us, so the first bytes are looked at here, and a hello that does not fit into one record, which no client
 * sends, ends the connection.
 *
 * Alerts that OpenSSL would not send, or others: bytes that are no TLS are answered with internal_error, and a
 * missing certificate with bad_certificate, as by Java (reference: security §2). The second only until TLS 1.2; in 1.3 the
 * alert is already encrypted when it comes here, and stays certificate_required, as RFC 8446 wants it.
 *
 * No kTLS: with a BIO of our own it cannot be, and the kernels of containers seldom have it. */
#define _GNU_SOURCE
#include "broker/net/tls.h"

#include "base/reader.h"
#include "broker/security/tls_context.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

enum {
    READ_AHEAD_BYTES = 64 << 10,
    DISCARD_BYTES = 4096, /* at a time, of what a failed handshake leaves in the socket */
    DISCARDS_MAX = 16,
    ALERT_BYTES = 7,
    ALERT_CODE_AT = 6,
    HEAD_BYTES = 9, /* a record's header, and that of the message in it */
    HEAD_MESSAGE_AT = 5,
    HELLO_BYTES_MAX = 16 << 10,
};

static const uint8_t INTERNAL_ERROR[ALERT_BYTES] = {0x15, 3, 3, 0, 2, 2, SSL_AD_INTERNAL_ERROR};

struct tls_pool {
    BIO_METHOD *method;
    uint8_t record[TLS_RECORD_BYTES];
};

struct tls {
    SSL *ssl;
    struct tls_context *context;
    struct sockets *sockets;
    int fd;
    int receives_left; /* until the caller is asked again */
    bool ready;
    bool failed;
    bool answered;    /* something was sent */
    bool holds_input; /* the last call has left something */
    bool wants_write;
    bool more;
    uint8_t head[HEAD_BYTES]; /* the first that came */
    size_t head_n;
    const char *why;
};

/* ---- the socket ---- */

static bool is_later(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* False: it announces too much. */
static bool look_at_head(struct tls *tls, const char *data, size_t len)
{
    for (size_t i = 0; i < len && tls->head_n < HEAD_BYTES; i++) {
        tls->head[tls->head_n++] = (uint8_t)data[i];
    }
    const uint8_t *message = tls->head + HEAD_MESSAGE_AT;
    return tls->head_n < HEAD_BYTES || tls->head[0] != SSL3_RT_HANDSHAKE ||
           (load_u32(message) & 0xffffff) <= HELLO_BYTES_MAX;
}

static int bio_read(BIO *bio, char *data, size_t len, size_t *done)
{
    struct tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = -1;
    errno = EAGAIN;
    if (tls->receives_left > 0) {
        tls->receives_left--;
        n = tls->sockets->ops->receive(tls->sockets, tls->fd, data, len);
    }
    if (n > 0 && tls->head_n < HEAD_BYTES && !look_at_head(tls, data, (size_t)n)) {
        errno = EPROTO;
        n = -1;
    }
    if (n < 0 && is_later()) {
        BIO_set_retry_read(bio);
    }
    *done = n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* OpenSSL is about to send this in clear, because the client has no certificate. */
static bool is_missing_certificate(const struct tls *tls, const char *data, size_t len)
{
    return !tls->ready && len == ALERT_BYTES && data[0] == SSL3_RT_ALERT &&
           data[ALERT_CODE_AT] == SSL_AD_HANDSHAKE_FAILURE &&
           ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *done)
{
    struct tls *tls = BIO_get_data(bio);
    uint8_t alert[ALERT_BYTES];
    BIO_clear_retry_flags(bio);
    if (is_missing_certificate(tls, data, len)) {
        memcpy(alert, data, ALERT_BYTES);
        alert[ALERT_CODE_AT] = SSL_AD_BAD_CERTIFICATE;
        data = (const char *)alert;
    }
    ssize_t n = tls->sockets->ops->send(tls->sockets, tls->fd, data, len, tls->more);
    if (n < 0 && is_later()) {
        BIO_set_retry_write(bio);
    }
    tls->answered |= n > 0;
    *done = n > 0 ? (size_t)n : 0;
    return n > 0;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

/* ---- life ---- */

static struct tls_pool *pool_new(void)
{
    struct tls_pool *pool = xcalloc(1, sizeof(*pool));
    pool->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "sockets");
    CHECK(pool->method != NULL && BIO_meth_set_read_ex(pool->method, bio_read) == 1 &&
          BIO_meth_set_write_ex(pool->method, bio_write) == 1 &&
          BIO_meth_set_ctrl(pool->method, bio_control) == 1);
    return pool;
}

void tls_pool_free(struct tls_pool *pool)
{
    if (pool != NULL) {
        BIO_meth_free(pool->method);
        free(pool);
    }
}

uint8_t *tls_pool_record(struct tls_pool *pool)
{
    return pool->record;
}

struct tls *tls_new(struct tls_pool **pool, struct tls_context *context, const char *host,
                    struct sockets *sockets, int fd)
{
    if (*pool == NULL) {
        *pool = pool_new();
    }
    SSL *ssl = tls_context_connection(context, host);
    BIO *bio = ssl == NULL ? NULL : BIO_new((*pool)->method);
    struct tls *tls = bio == NULL ? NULL : calloc(1, sizeof(*tls));
    if (tls == NULL) {
        BIO_free(bio);
        SSL_free(ssl);
        tls_context_release(context);
        return NULL;
    }
    *tls = (struct tls){.ssl = ssl, .context = context, .sockets = sockets, .fd = fd};
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    return tls;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL) {
        return;
    }
    if (tls->ready && !tls->failed) {
        tls->more = false;
        (void)SSL_shutdown(tls->ssl);
    }
    ERR_clear_error();
    SSL_free(tls->ssl);
    tls_context_release(tls->context);
    free(tls);
}

/* ---- the handshake ---- */

bool tls_is_ready(const struct tls *tls)
{
    return tls->ready;
}

const char *tls_why(const struct tls *tls)
{
    return tls->why == NULL ? "the connection was closed" : tls->why;
}

bool tls_has_reason(const struct tls *tls)
{
    return tls->why != NULL;
}

/* What is left unread would make the kernel take back, on closing, what was sent. */
static void discard_input(struct tls *tls)
{
    uint8_t bytes[DISCARD_BYTES];
    ssize_t n = 1;
    for (int i = 0; n > 0 && i < DISCARDS_MAX; i++) {
        n = tls->sockets->ops->receive(tls->sockets, tls->fd, bytes, sizeof(bytes));
    }
}

static enum tls_progress handshake_failed(struct tls *tls, int error)
{
    tls->failed = true;
    tls->why = ERR_reason_error_string(ERR_peek_last_error());
    if (error == SSL_ERROR_SSL && !tls->answered && SSL_is_server(tls->ssl)) {
        (void)tls->sockets->ops->send(tls->sockets, tls->fd, INTERNAL_ERROR, sizeof(INTERNAL_ERROR),
                                      false);
    }
    discard_input(tls);
    ERR_clear_error();
    return TLS_FAILED;
}

/* A step may read as many records as have arrived: each is small, and the socket's buffer bounds them. */
enum tls_progress tls_handshake(struct tls *tls)
{
    ERR_clear_error();
    tls->receives_left = INT32_MAX;
    int result = SSL_do_handshake(tls->ssl);
    if (result == 1) {
        tls->ready = true;
        tls->holds_input = SSL_has_pending(tls->ssl) == 1;
        SSL_set_read_ahead(tls->ssl, 1);
        SSL_set_default_read_buffer_len(tls->ssl, READ_AHEAD_BYTES);
        return TLS_DONE;
    }
    int error = SSL_get_error(tls->ssl, result);
    switch (error) {
    case SSL_ERROR_WANT_READ:
        return TLS_WANTS_READ;
    case SSL_ERROR_WANT_WRITE:
        return TLS_WANTS_WRITE;
    default:
        return handshake_failed(tls, error);
    }
}

err tls_principal(const struct tls *tls, char **name)
{
    return tls_context_principal(tls->context, tls->ssl, name);
}

/* ---- bytes ---- */

/* What a call that gave nothing means; sets errno. */
static ssize_t outcome(struct tls *tls, int error)
{
    switch (error) {
    case SSL_ERROR_WANT_READ:
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_WANT_WRITE:
        tls->wants_write = true;
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        tls->failed = true;
        tls->why = ERR_reason_error_string(ERR_peek_last_error());
        ERR_clear_error();
        errno = ECONNRESET;
        return -1;
    }
}

ssize_t tls_receive(struct tls *tls, void *data, size_t len)
{
    size_t received = 0;
    ERR_clear_error();
    tls->receives_left = tls->holds_input ? 0 : 1;
    tls->wants_write = false;
    while (received < len) {
        size_t n = 0;
        int result = SSL_read_ex(tls->ssl, (uint8_t *)data + received, len - received, &n);
        if (result != 1) {
            int error = SSL_get_error(tls->ssl, result);
            /* An end is told when what came before it has been taken. */
            tls->holds_input = received > 0 && error != SSL_ERROR_WANT_READ;
            return received > 0 ? (ssize_t)received : outcome(tls, error);
        }
        received += n;
    }
    tls->holds_input = true;
    return (ssize_t)received;
}

bool tls_holds_input(const struct tls *tls)
{
    return tls->holds_input;
}

bool tls_wants_write(const struct tls *tls)
{
    return tls->wants_write;
}

ssize_t tls_send(struct tls *tls, const void *data, size_t len, bool more)
{
    size_t n = 0;
    ERR_clear_error();
    tls->more = more;
    int result = SSL_write_ex(tls->ssl, data, len, &n);
    if (result == 1) {
        return (ssize_t)n;
    }
    bool wanted = tls->wants_write;
    ssize_t none = outcome(tls, SSL_get_error(tls->ssl, result));
    tls->wants_write = wanted; /* of receiving */
    if (none == 0) {
        errno = ECONNRESET;
    }
    return -1;
}
