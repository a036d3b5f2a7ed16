/* A blocking connection on the codec, with TLS and a login by SASL where they are wanted.
 *
 * The socket is non-blocking, and poll() waits on it up to the deadline of the operation, so that a broker that hangs
 * is an error and not a hang. A frame is read into the arena of its answer, since decoded text points into it. What the
 * broker can is kept in an arena of the connection's own. */
#define _GNU_SOURCE
#include "cli/client.h"

#include "base/clock.h"
#include "base/random.h"
#include "base/refuse.h"
#include "protocol/error.h"
#include "protocol/exchange.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    REQUEST_LIMIT_BYTES = 128 << 20,
    ANSWER_LIMIT_BYTES = 256 << 20,
    APIS_LIMIT_BYTES = 1 << 20
};

static const struct str CLIENT_ID = {"ottla-cli", 9};

struct client {
    int fd;
    SSL *tls; /* NULL: without */
    int timeout_ms;
    int64_t deadline_ms; /* of the operation that goes on */
    int32_t correlation_id;
    struct writer frame;
    struct arena arena;
    struct api_versions_response apis;
    char name[288]; /* host:port, for messages */
    char reason[CLIENT_REASON_BYTES];
};

static int64_t now_ms(void)
{
    return clock_monotonic_ms(clock_system());
}

/* E_BUSY when the deadline has come. */
static err wait_for(int fd, short events, int64_t deadline_ms)
{
    for (;;) {
        int64_t left = deadline_ms - now_ms();
        if (left <= 0) {
            return E_BUSY;
        }
        struct pollfd poll_fd = {.fd = fd, .events = events};
        int n = poll(&poll_fd, 1, left > 1 << 30 ? 1 << 30 : (int)left);
        if (n > 0) {
            return OK;
        }
        if (n < 0 && errno != EINTR) {
            return err_from_errno(errno);
        }
    }
}

/* ---- connecting ---- */

static err connect_one(const struct addrinfo *to, int64_t deadline_ms, int *fd)
{
    int s = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0) {
        return err_from_errno(errno);
    }
    int one = 1;
    (void)setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    err e = OK;
    if (connect(s, to->ai_addr, to->ai_addrlen) != 0) {
        e = errno == EINPROGRESS ? wait_for(s, POLLOUT, deadline_ms) : err_from_errno(errno);
        int error = 0;
        socklen_t len = sizeof(error);
        if (e == OK && getsockopt(s, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error != 0) {
            e = err_from_errno(error);
        }
    }
    if (e != OK) {
        close(s);
        return e;
    }
    *fd = s;
    return OK;
}

static const char *why(err e)
{
    return e == E_BUSY ? "it did not answer in time" : err_text(e);
}

static err connect_to(struct client *client, struct client_address to)
{
    char port[12];
    snprintf(port, sizeof(port), "%d", to.port);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *all = NULL;
    int failed = getaddrinfo(to.host, port, &hints, &all);
    if (failed != 0) {
        return refuse_with(E_NOT_FOUND, client->reason, CLIENT_REASON_BYTES,
                           "cannot resolve %s: %s", to.host, gai_strerror(failed));
    }
    err e = E_NOT_FOUND;
    for (const struct addrinfo *one = all; one != NULL; one = one->ai_next) {
        e = connect_one(one, client->deadline_ms, &client->fd);
        if (e == OK || e == E_BUSY) {
            break;
        }
    }
    freeaddrinfo(all);
    if (e != OK) {
        return refuse_with(e, client->reason, CLIENT_REASON_BYTES, "cannot connect to %s: %s",
                           client->name, why(e));
    }
    return OK;
}

/* ---- bytes ---- */

/* What a call on TLS came to, as a socket's would; `events` is what to wait for with EAGAIN. */
static ssize_t tls_outcome(struct client *client, int n, short *events)
{
    if (n > 0) {
        return n;
    }
    switch (SSL_get_error(client->tls, n)) {
    case SSL_ERROR_WANT_READ:
        *events = POLLIN;
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_WANT_WRITE:
        *events = POLLOUT;
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SSL:
        errno = EPROTO;
        return -1;
    default:
        errno = errno == 0 ? ECONNRESET : errno;
        return -1;
    }
}

static int at_most(size_t len)
{
    return len > INT32_MAX ? INT32_MAX : (int)len;
}

static ssize_t put(struct client *client, const uint8_t *data, size_t len, short *events)
{
    errno = 0;
    *events = POLLOUT;
    return client->tls == NULL
               ? send(client->fd, data, len, MSG_NOSIGNAL)
               : tls_outcome(client, SSL_write(client->tls, data, at_most(len)), events);
}

static ssize_t get(struct client *client, uint8_t *data, size_t len, short *events)
{
    errno = 0;
    *events = POLLIN;
    return client->tls == NULL
               ? recv(client->fd, data, len, 0)
               : tls_outcome(client, SSL_read(client->tls, data, at_most(len)), events);
}

static err send_all(struct client *client, const uint8_t *data, size_t len)
{
    while (len > 0) {
        short events;
        ssize_t sent = put(client, data, len, &events);
        if (sent < 0 && errno == EAGAIN) {
            TRY(wait_for(client->fd, events, client->deadline_ms));
        } else if (sent < 0 && errno != EINTR) {
            return err_from_errno(errno);
        } else if (sent > 0) {
            data += sent;
            len -= (size_t)sent;
        }
    }
    return OK;
}

static err receive_all(struct client *client, uint8_t *data, size_t len)
{
    while (len > 0) {
        short events;
        ssize_t got = get(client, data, len, &events);
        if (got == 0) {
            return E_CLOSED;
        }
        if (got < 0 && errno == EAGAIN) {
            TRY(wait_for(client->fd, events, client->deadline_ms));
        } else if (got < 0 && errno != EINTR) {
            return err_from_errno(errno);
        } else if (got > 0) {
            data += got;
            len -= (size_t)got;
        }
    }
    return OK;
}

/* Of any correlation id. */
static err receive_any(struct client *client, struct arena *arena, struct bytes *frame)
{
    uint8_t head[4];
    TRY(receive_all(client, head, sizeof(head)));
    uint32_t len = load_u32(head);
    if (len < 4 || len > ANSWER_LIMIT_BYTES) {
        return E_MALFORMED; /* whoever listens there is no Kafka broker */
    }
    uint8_t *data = arena_alloc(arena, len);
    if (data == NULL) {
        return E_LIMIT;
    }
    TRY(receive_all(client, data, len));
    *frame = bytes_of(data, len);
    return OK;
}

static err receive_frame(struct client *client, struct arena *arena, struct bytes *frame)
{
    TRY(receive_any(client, arena, frame));
    return (int32_t)load_u32(frame->data) == client->correlation_id ? OK : E_MALFORMED;
}

/* ---- security ---- */

/* Why the other side's certificate is not good, or what else went wrong. Trying again would not help. */
static err tls_failed(struct client *client)
{
    long verified = SSL_get_verify_result(client->tls);
    unsigned long last = ERR_peek_last_error();
    const char *text = verified != X509_V_OK ? X509_verify_cert_error_string(verified)
                       : ERR_reason_error_string(last) != NULL ? ERR_reason_error_string(last)
                                                               : "it closed the connection";
    err e = refuse(client->reason, CLIENT_REASON_BYTES, "no TLS connection to %s: %s", client->name,
                   text);
    ERR_clear_error();
    return e;
}

static err shake_hands(struct client *client, const struct client_security *security,
                       const char *host)
{
    client->tls = tls_context_connection(security->tls, host);
    if (client->tls == NULL || SSL_set_fd(client->tls, client->fd) != 1) {
        return E_LIMIT;
    }
    SSL_set_connect_state(client->tls);
    for (;;) {
        short events = 0;
        errno = 0;
        int n = SSL_do_handshake(client->tls);
        if (n == 1) {
            return OK;
        }
        if (tls_outcome(client, n, &events) >= 0 || errno != EAGAIN) {
            return tls_failed(client);
        }
        if (wait_for(client->fd, events, client->deadline_ms) != OK) {
            return refuse_with(E_BUSY, client->reason, CLIENT_REASON_BYTES,
                               "no TLS connection to %s: %s", client->name, why(E_BUSY));
        }
    }
}

static err log_in_frame(struct client *client, struct sasl_client *login,
                        enum sasl_client_step *step)
{
    struct bytes frame = sasl_client_frame(login);
    struct bytes answer;
    uint8_t head[4];
    store_u32(head, (uint32_t)frame.len);
    arena_reset(&client->arena, APIS_LIMIT_BYTES);
    TRY(send_all(client, head, sizeof(head)));
    TRY(send_all(client, frame.data, frame.len));
    TRY(receive_any(client, &client->arena, &answer));
    *step = sasl_client_take(login, answer);
    if (*step == SASL_CLIENT_WORK) {
        sasl_client_work(login);
    }
    return OK;
}

static err log_in(struct client *client, const struct client_security *security)
{
    struct sasl_client *login =
        sasl_client_new(&security->identity, random_system(), clock_system());
    enum sasl_client_step step = SASL_CLIENT_SEND;
    err e = OK;
    while (e == OK && (step == SASL_CLIENT_SEND || step == SASL_CLIENT_WORK)) {
        e = log_in_frame(client, login, &step);
    }
    if (e != OK) {
        e = refuse_with(e, client->reason, CLIENT_REASON_BYTES, "no login at %s: %s", client->name,
                        e == E_CLOSED ? "it closed the connection" : why(e));
    } else if (step != SASL_CLIENT_DONE) {
        e = refuse(client->reason, CLIENT_REASON_BYTES, "no login at %s: %s", client->name,
                   sasl_client_why(login));
    }
    sasl_client_free(login);
    return e;
}

static err secure(struct client *client, const struct client_security *security, const char *host)
{
    if (security->tls != NULL) {
        TRY(shake_hands(client, security, host));
    }
    return security->identity.user == NULL ? OK : log_in(client, security);
}

/* ---- requests ---- */

static err encode(struct client *client, const struct exchange *exchange, const void *request)
{
    writer_clear(&client->frame);
    writer_i32(&client->frame, 0);
    TRY(exchange_encode(exchange, CLIENT_ID, request, &client->frame));
    store_u32(client->frame.data, (uint32_t)(client->frame.len - 4));
    store_u32(client->frame.data + 8,
              (uint32_t)++client->correlation_id); /* after length, key and version */
    return OK;
}

/* The text of an error on the way; a sentence that names the broker. */
static err failed(struct client *client, const struct exchange *exchange, err e)
{
    const char *text = e == E_CLOSED      ? "it closed the connection"
                       : e == E_MALFORMED ? "what came is not an answer of a Kafka broker"
                                          : why(e);
    return refuse_with(e, client->reason, CLIENT_REASON_BYTES, "%s, asked for %s: %s", client->name,
                       api_schema_of(exchange->api_key)->name, text);
}

static err exchange_frames(struct client *client, const struct exchange *exchange,
                           const void *request, struct arena *arena, struct bytes *frame)
{
    TRY(encode(client, exchange, request));
    client->deadline_ms = now_ms() + client->timeout_ms;
    TRY(send_all(client, client->frame.data, client->frame.len));
    return receive_frame(client, arena, frame);
}

bool client_versions(const struct client *client, int16_t api_key, int16_t *min, int16_t *max)
{
    for (int32_t i = 0; i < client->apis.api_keys_n; i++) {
        if (client->apis.api_keys[i].api_key == api_key) {
            *min = client->apis.api_keys[i].min_version;
            *max = client->apis.api_keys[i].max_version;
            return true;
        }
    }
    return false;
}

/* The newest version that the broker, we and the request know. */
static err choose(struct client *client, const struct client_question *question,
                  struct exchange *exchange)
{
    const struct api_schema *api = api_schema_of(question->api_key);
    int16_t min = 0;
    int16_t max = 0;
    bool there = client_versions(client, question->api_key, &min, &max);
    max = max < api->version_max ? max : api->version_max;
    max = question->version_max > 0 && question->version_max < max ? question->version_max : max;
    min = min > question->version_min ? min : question->version_min;
    if (!there || max < min || max < api->version_min) {
        return refuse_with(E_UNSUPPORTED, client->reason, CLIENT_REASON_BYTES,
                           "%s does not support %s in a version that can be used here",
                           client->name, api->name);
    }
    *exchange = (struct exchange){.api_key = question->api_key, .version = max};
    return OK;
}

err client_ask(struct client *client, const struct client_question *question, struct arena *arena)
{
    struct exchange exchange;
    TRY(choose(client, question, &exchange));
    struct bytes frame;
    err e = exchange_frames(client, &exchange, question->request, arena, &frame);
    e = e == OK ? exchange_decode(&exchange, frame, arena, question->response) : e;
    return e == OK ? OK : failed(client, &exchange, e);
}

err client_tell(struct client *client, const struct client_question *question)
{
    struct exchange exchange;
    TRY(choose(client, question, &exchange));
    err e = encode(client, &exchange, question->request);
    client->deadline_ms = now_ms() + client->timeout_ms;
    e = e == OK ? send_all(client, client->frame.data, client->frame.len) : e;
    return e == OK ? OK : failed(client, &exchange, e);
}

/* What a broker can, in the newest version first: an older broker answers that one as version 0, with
 * UNSUPPORTED_VERSION and its ranges (KIP-511); one that is older still closes the connection. */
static err ask_apis(struct client *client)
{
    struct exchange exchange = {.api_key = API_API_VERSIONS, .version = 3};
    struct api_versions_request request;
    api_versions_request_init(&request);
    request.client_software_name = STR("ottla-cli");
    request.client_software_version = STR("1");
    struct bytes frame;
    err e = exchange_frames(client, &exchange, &request, &client->arena, &frame);
    if (e == OK && frame.len >= 6 && (int16_t)load_u16(frame.data + 4) == ERR_UNSUPPORTED_VERSION) {
        exchange.version = 0;
        e = exchange_frames(client, &exchange, &request, &client->arena, &frame);
    }
    e = e == OK ? exchange_decode(&exchange, frame, &client->arena, &client->apis) : e;
    if (e == err_from_errno(EPROTO)) {
        return tls_failed(client); /* by TLS 1.3 a refusal comes after the handshake */
    }
    if (e != OK) {
        return failed(client, &exchange, e);
    }
    if (client->apis.error_code != 0) {
        return refuse_with(client->apis.error_code, client->reason, CLIENT_REASON_BYTES,
                           "%s answers with %s", client->name,
                           kafka_error_name(client->apis.error_code));
    }
    return OK;
}

err client_open(struct client_address to, const struct client_security *security, int timeout_ms,
                struct client **client, char reason[CLIENT_REASON_BYTES])
{
    struct client *c = xcalloc(1, sizeof(*c));
    c->fd = -1;
    c->timeout_ms = timeout_ms;
    c->deadline_ms = now_ms() + timeout_ms;
    writer_init(&c->frame, REQUEST_LIMIT_BYTES);
    arena_init(&c->arena, APIS_LIMIT_BYTES);
    snprintf(c->name, sizeof(c->name), strchr(to.host, ':') == NULL ? "%s:%d" : "[%s]:%d", to.host,
             to.port);
    err e = connect_to(c, to);
    e = e == OK ? secure(c, security, to.host) : e;
    e = e == OK ? ask_apis(c) : e;
    if (e != OK) {
        snprintf(reason, CLIENT_REASON_BYTES, "%s", c->reason);
        client_close(c);
        return e;
    }
    *client = c;
    return OK;
}

void client_close(struct client *client)
{
    if (client == NULL) {
        return;
    }
    if (client->tls != NULL) {
        (void)SSL_shutdown(client->tls);
        SSL_free(client->tls);
        ERR_clear_error();
    }
    if (client->fd >= 0) {
        close(client->fd);
    }
    writer_deinit(&client->frame);
    arena_deinit(&client->arena);
    free(client);
}

const char *client_reason(const struct client *client)
{
    return client->reason;
}

void client_set_timeout(struct client *client, int timeout_ms)
{
    client->timeout_ms = timeout_ms;
}

const struct api_versions_response *client_apis(const struct client *client)
{
    return &client->apis;
}
