/* One thread reads, with a loop whose timer says when; the set that is in force changes under the lock. A set in which
 * nothing can be read leaves the one before in force, and is asked for again after a pause. Tokens with unknown keys
 * make it read at most every ASKED_PAUSE_MS: who has no key must not make us ask for ever.
 *
 * The address is asked by HTTP/1.1 in its simplest form: one request, and the end of the connection ends the answer. */
#define _GNU_SOURCE
#include "broker/security/jwk_source.h"

#include "base/list.h"
#include "base/log.h"
#include "base/refuse.h"
#include "base/sockets.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <netdb.h>
#include <unistd.h>

enum { SET_BYTES_MAX = 1 << 20, ASKED_PAUSE_MS = 10000, HOST_MAX = 256, WHY_MAX = 200 };

struct jwk_source {
    struct jwk_source_config config;
    char *url;
    pthread_mutex_t lock;
    struct jwk_set *set;
    struct loop *loop;
    struct thread *thread;
    struct timer timer;
    struct loop_task ask;
    atomic_bool asked;
    int64_t pause_ms;
    int64_t read_at_ms;
};

/* ---- files ---- */

static err read_all(int fd, char *to, size_t *len)
{
    ssize_t n = 0;
    while ((n = read(fd, to + *len, SET_BYTES_MAX - *len)) > 0) {
        *len += (size_t)n;
        if (*len == SET_BYTES_MAX) {
            return E_LIMIT;
        }
    }
    return n < 0 ? err_from_errno(errno) : OK;
}

static err read_file(const char *path, char *to, size_t *len, char why[WHY_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    err e = fd < 0 ? err_from_errno(errno) : read_all(fd, to, len);
    if (fd >= 0) {
        close(fd);
    }
    snprintf(why, WHY_MAX, "%s", e == OK ? "" : err_text(e));
    return e;
}

/* ---- https ---- */

struct address {
    char host[HOST_MAX];
    char port[8];
    const char *path;
    struct clock *clock;
    int64_t deadline_ms; /* by then it has said all, or nothing */
};

static bool split_url(const char *url, struct address *to)
{
    const char *host = url + strlen("https://");
    size_t len = strcspn(host, "/");
    const char *colon = memrchr(host, ':', len);
    size_t host_len = colon == NULL ? len : (size_t)(colon - host);
    size_t port_len = colon == NULL ? 0 : len - host_len - 1;
    if (host_len == 0 || host_len >= HOST_MAX || port_len >= sizeof(to->port)) {
        return false;
    }
    snprintf(to->host, sizeof(to->host), "%.*s", (int)host_len, host);
    snprintf(to->port, sizeof(to->port), "%.*s", (int)port_len, colon == NULL ? "" : colon + 1);
    if (port_len == 0) {
        snprintf(to->port, sizeof(to->port), "443");
    }
    to->path = host[len] == '\0' ? "/" : host + len;
    return true;
}

/* A socket whose waiting ends in time; -1. */
static int connect_to(const struct address *to, int64_t timeout_ms)
{
    struct addrinfo *list = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    if (getaddrinfo(to->host, to->port, &hints, &list) != 0) {
        return -1;
    }
    int fd = -1;
    const struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    for (struct addrinfo *at = list; at != NULL && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
        if (fd >= 0) {
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
            if (connect(fd, at->ai_addr, at->ai_addrlen) != 0) {
                close(fd);
                fd = -1;
            }
        }
    }
    freeaddrinfo(list);
    return fd;
}

/* The connection is there: the name must be that of the certificate, and the certificate be known to the system. */
static SSL *shake_hands(SSL_CTX *context, const struct address *to, int fd)
{
    SSL *ssl = SSL_new(context);
    SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    if (SSL_set1_host(ssl, to->host) != 1 || SSL_set_tlsext_host_name(ssl, to->host) != 1 ||
        SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}

/* The head goes; only 200 is an answer. */
static err take_body(char *text, size_t *len, char why[WHY_MAX])
{
    text[*len] = '\0';
    const char *end = strstr(text, "\r\n\r\n");
    if (end == NULL || strncmp(text, "HTTP/1.", 7) != 0 || strncmp(text + 8, " 200", 4) != 0) {
        snprintf(why, WHY_MAX, "the answer is not 200: %.40s", text);
        return E_MALFORMED;
    }
    size_t head = (size_t)(end + 4 - text);
    *len -= head;
    memmove(text, text + head, *len);
    return OK;
}

static err exchange(SSL *ssl, const struct address *to, char *text, size_t *len, char why[WHY_MAX])
{
    char *request = xasprintf("GET %s HTTP/1.0\r\nHost: %s\r\nAccept: application/json\r\n\r\n",
                              to->path, to->host);
    int sent = SSL_write(ssl, request, (int)strlen(request));
    free(request);
    int n = 0;
    while (sent > 0 && *len < SET_BYTES_MAX - 1 &&
           clock_monotonic_ms(to->clock) < to->deadline_ms &&
           (n = SSL_read(ssl, text + *len, (int)(SET_BYTES_MAX - 1 - *len))) > 0) {
        *len += (size_t)n;
    }
    return take_body(text, len, why);
}

static err read_https(const struct jwk_source *source, char *text, size_t *len, char why[WHY_MAX])
{
    struct address to;
    if (!split_url(source->url, &to)) {
        snprintf(why, WHY_MAX, "it is no https://host:port/path");
        return E_MALFORMED;
    }
    to.clock = source->config.clock;
    to.deadline_ms = clock_monotonic_ms(to.clock) + source->config.timeout_ms;
    int fd = connect_to(&to, source->config.timeout_ms);
    if (fd < 0) {
        snprintf(why, WHY_MAX, "nobody answers there");
        return E_NOT_FOUND;
    }
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_default_verify_paths(context);
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL *ssl = shake_hands(context, &to, fd);
    err e = E_MALFORMED;
    if (ssl == NULL) {
        snprintf(why, WHY_MAX, "no TLS with it, or its certificate is not trusted");
    } else {
        e = exchange(ssl, &to, text, len, why);
        SSL_free(ssl);
    }
    ERR_clear_error();
    SSL_CTX_free(context);
    close(fd);
    return e;
}

/* ---- reading ---- */

static err read_set(const struct jwk_source *source, struct jwk_set **set, char why[WHY_MAX])
{
    static const char FILE_SCHEME[] = "file://";
    size_t len = 0;
    char *text = xmalloc(SET_BYTES_MAX);
    err e = OK;
    if (strncmp(source->url, "https://", 8) == 0) {
        e = read_https(source, text, &len, why);
    } else {
        bool scheme = strncmp(source->url, FILE_SCHEME, sizeof(FILE_SCHEME) - 1) == 0;
        e = read_file(source->url + (scheme ? sizeof(FILE_SCHEME) - 1 : 0), text, &len, why);
    }
    if (e == OK) {
        e = jwk_set_parse(bytes_of(text, len), set);
        snprintf(why, WHY_MAX, "%s", e == OK ? "" : "there is no key in it");
    }
    free(text);
    return e;
}

static void read_again(struct jwk_source *source)
{
    char why[WHY_MAX] = "";
    struct jwk_set *fresh = NULL;
    err e = read_set(source, &fresh, why);
    int64_t next_ms = source->config.refresh_ms;
    source->read_at_ms = loop_now_ms(source->loop);
    if (e == OK) {
        pthread_mutex_lock(&source->lock);
        struct jwk_set *old = source->set;
        source->set = fresh;
        pthread_mutex_unlock(&source->lock);
        jwk_set_free(old);
        source->pause_ms = source->config.retry_ms;
    } else {
        log_error("sasl", "keys of tokens cannot be read, the old ones stay url=%s error=\"%s\"",
                  source->url, why);
        next_ms = source->pause_ms < next_ms ? source->pause_ms : next_ms;
        source->pause_ms = source->pause_ms > source->config.retry_max_ms / 2
                               ? source->config.retry_max_ms
                               : source->pause_ms * 2;
    }
    timer_start(source->loop, &source->timer, next_ms);
}

static void on_timer(struct timer *timer)
{
    read_again(container_of(timer, struct jwk_source, timer));
}

static void on_asked(struct loop_task *task)
{
    struct jwk_source *source = container_of(task, struct jwk_source, ask);
    int64_t since_ms = loop_now_ms(source->loop) - source->read_at_ms;
    atomic_store(&source->asked, false);
    if (since_ms >= ASKED_PAUSE_MS) {
        read_again(source);
    } else if (!timer_is_running(&source->timer) ||
               source->timer.item.due > loop_now_ms(source->loop) + ASKED_PAUSE_MS - since_ms) {
        timer_start(source->loop, &source->timer, ASKED_PAUSE_MS - since_ms);
    }
}

/* The first time that the thread runs. */
static void on_begin(struct loop_task *task)
{
    struct jwk_source *source = container_of(task, struct jwk_source, ask);
    source->ask.run = on_asked;
    source->read_at_ms = loop_now_ms(source->loop);
    timer_start(source->loop, &source->timer, source->config.refresh_ms);
    atomic_store(&source->asked, false);
}

/* ---- life ---- */

static err start(struct jwk_source *source)
{
    const struct jwk_source_config *config = &source->config;
    TRY(loop_new(config->clock, config->sockets, &source->loop));
    loop_post(source->loop, &source->ask);
    return thread_start(config->threads, "ottla-jwks", THREAD_TENDS, source->loop, &source->thread);
}

err jwk_source_new(const struct jwk_source_config *config, struct jwk_source **out, char *reason,
                   size_t reason_size)
{
    char why[WHY_MAX] = "";
    struct jwk_source *source = xcalloc(1, sizeof(*source));
    source->config = *config;
    source->url = xstrdup(config->url);
    source->pause_ms = config->retry_ms;
    source->timer.fire = on_timer;
    source->ask.run = on_begin;
    atomic_store(&source->asked, true);
    CHECK(pthread_mutex_init(&source->lock, NULL) == 0);
    err e = read_set(source, &source->set, why);
    if (e == OK) {
        e = start(source);
        snprintf(why, sizeof(why), "%s", err_text(e));
    }
    if (e != OK) {
        e = refuse(reason, reason_size, "the keys of tokens cannot be read: %.200s: %s",
                   config->url, why);
        jwk_source_free(source);
        source = NULL;
    }
    *out = source;
    return e;
}

void jwk_source_free(struct jwk_source *source)
{
    if (source == NULL) {
        return;
    }
    if (source->thread != NULL) {
        loop_stop(source->loop);
        thread_join(source->config.threads, source->thread);
    }
    if (source->loop != NULL) {
        timer_stop(source->loop, &source->timer);
        loop_free(source->loop);
    }
    jwk_set_free(source->set);
    CHECK(pthread_mutex_destroy(&source->lock) == 0);
    free(source->url);
    free(source);
}

err jwk_source_verify(struct jwk_source *source, const struct jwt *jwt)
{
    pthread_mutex_lock(&source->lock);
    err e = jwt_verify(jwt, source->set);
    pthread_mutex_unlock(&source->lock);
    if (e == E_NOT_FOUND && !atomic_exchange(&source->asked, true)) {
        loop_post(source->loop, &source->ask);
    }
    return e;
}
