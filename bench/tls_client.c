/* A client with TLS: counts handshakes, holds idle connections, or stands between a client without TLS (load) and a
 * broker with it, so that what the broker spends on TLS can be measured by the same load.
 *
 *   tls_client shake port=N ca=FILE [name=value...]     handshakes one after another, on threads
 *   tls_client idle  port=N ca=FILE connections=1000    holds them until its input ends; prints a line when they are there
 *   tls_client pipe  port=N ca=FILE listen=N            until it is killed; prints a line when it listens
 *
 *   version=1.3      or 1.2
 *   resumed=0        1: with the ticket of a first handshake
 *   threads=2
 *   seconds=3
 *   pid=0            a process whose CPU time over the run is told: the broker's
 *
 * A handshake counts when a byte could be read after it was asked for (one ApiVersions), since with TLS 1.3 the client
 * is done before the server. Prints one line of JSON. */
#define _GNU_SOURCE
#include "bench/client.h"
#include "base/err.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIPE_BYTES = 256 << 10, THREADS_MAX = 16, CONNECTIONS_MAX = 20000 };

static const uint8_t ASK[] = {0, 0, 0, 11, 0, 18, 0, 0, 0, 0, 0, 1, 0, 1, 'x'};

struct options {
    struct sockaddr_in address;
    const char *ca;
    int listen_port;
    int version;
    bool resumed;
    int threads;
    int connections;
    double seconds;
    int pid;
};

struct shaker {
    const struct options *options;
    SSL_CTX *context;
    pthread_t thread;
    int64_t count;
};

static SSL_CTX *context_new(const struct options *options)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, options->version);
    SSL_CTX_set_max_proto_version(context, options->version);
    if (SSL_CTX_load_verify_locations(context, options->ca, NULL) != 1) {
        die("ca");
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    return context;
}

static SSL *shake_hands(SSL_CTX *context, const struct sockaddr_in *address, SSL_SESSION *session)
{
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, connect_to(address));
    if (session != NULL) {
        SSL_set_session(ssl, session);
    }
    if (SSL_connect(ssl) != 1) {
        die("handshake");
    }
    return ssl;
}

static void ask(SSL *ssl)
{
    uint8_t answer[4096];
    if (SSL_write(ssl, ASK, sizeof(ASK)) != (int)sizeof(ASK) ||
        SSL_read(ssl, answer, sizeof(answer)) <= 0) {
        die("ask");
    }
}

static void hang_up(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* its ticket stays good */
    SSL_free(ssl);
    close(fd);
}

/* ---- shake ---- */

static void *shake_on(void *argument)
{
    struct shaker *shaker = argument;
    const struct options *options = shaker->options;
    SSL_SESSION *session = NULL;
    double end_s = now_s() + options->seconds;
    for (; now_s() < end_s; shaker->count++) {
        SSL *ssl = shake_hands(shaker->context, &options->address, session);
        ask(ssl);
        if (options->resumed && session == NULL) {
            session = SSL_get1_session(ssl);
        }
        hang_up(ssl);
    }
    SSL_SESSION_free(session);
    return NULL;
}

static void shake(const struct options *options)
{
    struct shaker shakers[THREADS_MAX] = {0};
    double cpu_s = cpu_of_s(options->pid);
    double begun_s = now_s();
    int64_t count = 0;
    for (int i = 0; i < options->threads; i++) {
        shakers[i] = (struct shaker){.options = options, .context = context_new(options)};
        pthread_create(&shakers[i].thread, NULL, shake_on, &shakers[i]);
    }
    for (int i = 0; i < options->threads; i++) {
        pthread_join(shakers[i].thread, NULL);
        SSL_CTX_free(shakers[i].context);
        count += shakers[i].count;
    }
    double took_s = now_s() - begun_s;
    printf("{\"handshakes\": %lld, \"seconds\": %.6f, \"cpu_s\": %.6f}\n", (long long)count, took_s,
           cpu_of_s(options->pid) - cpu_s);
}

/* ---- idle ---- */

static void idle(const struct options *options)
{
    static SSL *all[CONNECTIONS_MAX];
    SSL_CTX *context = context_new(options);
    for (int i = 0; i < options->connections; i++) {
        all[i] = shake_hands(context, &options->address, NULL);
        ask(all[i]);
    }
    printf("{\"connections\": %d}\n", options->connections);
    fflush(stdout);
    while (getchar() != EOF) {
    }
}

/* ---- pipe ---- */

struct piped {
    const struct options *options;
    SSL_CTX *context;
    int plain;
};

static bool forward(int plain, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(plain, data, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

/* Requests and answers take turns on a connection of the load, so one thread does for both. */
static void pass(SSL *ssl, int plain, uint8_t *bytes)
{
    SSL_clear_mode(ssl,
                   SSL_MODE_AUTO_RETRY); /* a ticket is no answer: reading on would wait for one */
    struct pollfd ends[] = {{.fd = plain, .events = POLLIN},
                            {.fd = SSL_get_fd(ssl), .events = POLLIN}};
    for (;;) {
        if (SSL_pending(ssl) == 0 && poll(ends, 2, -1) < 0) {
            return;
        }
        if ((ends[0].revents & (POLLIN | POLLHUP)) != 0) {
            ssize_t n = recv(plain, bytes, PIPE_BYTES, MSG_DONTWAIT);
            if (n == 0 || (n > 0 && SSL_write(ssl, bytes, (int)n) != (int)n)) {
                return;
            }
        }
        if (SSL_pending(ssl) > 0 || (ends[1].revents & (POLLIN | POLLHUP)) != 0) {
            int n = SSL_read(ssl, bytes, PIPE_BYTES);
            bool nothing = n <= 0 && SSL_get_error(ssl, n) == SSL_ERROR_WANT_READ;
            if (!nothing && (n <= 0 || !forward(plain, bytes, (size_t)n))) {
                return;
            }
        }
    }
}

static void *pipe_on(void *argument)
{
    struct piped *piped = argument;
    uint8_t *bytes = xmalloc(PIPE_BYTES);
    SSL *ssl = shake_hands(piped->context, &piped->options->address, NULL);
    pass(ssl, piped->plain, bytes);
    hang_up(ssl);
    close(piped->plain);
    free(bytes);
    free(piped);
    return NULL;
}

static void pipe_all(const struct options *options)
{
    struct sockaddr_in address = options->address;
    SSL_CTX *context = context_new(options);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_port = htons((uint16_t)options->listen_port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 100) != 0) {
        die("listen");
    }
    printf("{\"listens\": %d}\n", options->listen_port);
    fflush(stdout);
    for (;;) {
        struct piped *piped = xmalloc(sizeof(*piped));
        pthread_t thread;
        *piped = (struct piped){options, context, accept(fd, NULL, NULL)};
        setsockopt(piped->plain, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (piped->plain < 0 || pthread_create(&thread, NULL, pipe_on, piped) != 0) {
            die("accept");
        }
        pthread_detach(thread);
    }
}

/* ---- options ---- */

static void take_option(struct options *options, const char *arg)
{
    const char *value = NULL;
    if (option_is(arg, "port", &value)) {
        options->address.sin_port = htons((uint16_t)atoi(value));
    } else if (option_is(arg, "ca", &value)) {
        options->ca = value;
    } else if (option_is(arg, "listen", &value)) {
        options->listen_port = atoi(value);
    } else if (option_is(arg, "version", &value)) {
        options->version = strcmp(value, "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
    } else if (option_is(arg, "resumed", &value)) {
        options->resumed = atoi(value) != 0;
    } else if (option_is(arg, "threads", &value)) {
        options->threads = atoi(value) < THREADS_MAX ? atoi(value) : THREADS_MAX;
    } else if (option_is(arg, "connections", &value)) {
        options->connections = atoi(value) < CONNECTIONS_MAX ? atoi(value) : CONNECTIONS_MAX;
    } else if (option_is(arg, "seconds", &value)) {
        options->seconds = strtod(value, NULL);
    } else if (option_is(arg, "pid", &value)) {
        options->pid = atoi(value);
    } else {
        fprintf(stderr, "tls_client: unknown option %s\n", arg);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct options options = {
        .address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
        .version = TLS1_3_VERSION,
        .threads = 2,
        .connections = 1000,
        .seconds = 3};
    for (int i = 2; i < argc; i++) {
        take_option(&options, argv[i]);
    }
    const char *what = argc > 1 && options.ca != NULL ? argv[1] : "";
    if (strcmp(what, "shake") == 0) {
        shake(&options);
    } else if (strcmp(what, "idle") == 0) {
        idle(&options);
    } else if (strcmp(what, "pipe") == 0) {
        pipe_all(&options);
    } else {
        fprintf(stderr, "usage: tls_client shake|idle|pipe port=N ca=FILE [name=value...]\n");
        return 2;
    }
    return 0;
}
