/* civetweb has threads and sockets of its own, so none of a broker's loops ever waits for who asks here.
 * It is used without its files, CGI and certificates. */
#define _GNU_SOURCE
#include "broker/monitor/http.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/refuse.h"

#include <arpa/inet.h>
#include <civetweb.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KNOCK_US = 2000, ADDRESS_BYTES = 96, HOST_BYTES = 256, NUMBER_BYTES = 16 };

struct http_server {
    struct http_config config;
    struct mg_context *civetweb;
    char address[ADDRESS_BYTES];
    struct sockaddr_storage bound;
    atomic_bool ended;
};

/* ---- the address ---- */

struct place {
    char host[HOST_BYTES];
    char port[NUMBER_BYTES];
};

static bool split(const char *address, struct place *place)
{
    const char *colon = strrchr(address, ':');
    size_t host_len = colon == NULL ? 0 : (size_t)(colon - address);
    const char *host = address;
    if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host++;
        host_len -= 2;
    }
    if (colon == NULL || host_len >= sizeof(place->host) || colon[1] == '\0' ||
        strlen(colon + 1) >= sizeof(place->port) ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) || atoi(colon + 1) > 65535) {
        return false;
    }
    snprintf(place->host, sizeof(place->host), "%.*s", (int)host_len, host);
    snprintf(place->port, sizeof(place->port), "%s", colon + 1);
    if (host_len == 0) {
        snprintf(place->host, sizeof(place->host), "127.0.0.1");
    }
    return true;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
        return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
    }
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)(const void *)address;
    return (ntohl(in4->sin_addr.s_addr) >> 24) == 127;
}

struct resolved {
    char text[ADDRESS_BYTES]; /* as civetweb reads it */
    struct sockaddr_storage address;
};

/* The first that civetweb can listen on: as Debian builds it, it knows IPv4 only. NULL: none. */
static const struct addrinfo *usable(const struct addrinfo *found)
{
    bool knows_v6 = mg_check_feature(MG_FEATURES_IPV6) != 0;
    while (found != NULL && found->ai_family == AF_INET6 && !knows_v6) {
        found = found->ai_next;
    }
    return found;
}

/* False: it may not be. */
static bool take_address(const struct http_config *config, const struct addrinfo *info,
                         struct resolved *resolved, const char *port)
{
    char host[INET6_ADDRSTRLEN] = "";
    (void)getnameinfo(info->ai_addr, info->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
    bool v6 = info->ai_family == AF_INET6;
    snprintf(resolved->text, ADDRESS_BYTES, v6 ? "[%s]:%s" : "%s:%s", host, port);
    memcpy(&resolved->address, info->ai_addr, info->ai_addrlen);
    return config->allow_remote || is_loopback(info->ai_addr);
}

static err resolve(const struct http_config *config, struct resolved *resolved, char *reason,
                   size_t size)
{
    struct place place;
    if (!split(config->address, &place)) {
        return refuse(reason, size, "%s: \"%s\" is not host:port", config->what, config->address);
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(place.host, place.port, &hints, &found);
    if (failed != 0) {
        return refuse(reason, size, "%s: cannot resolve %s: %s", config->what, place.host,
                      gai_strerror(failed));
    }
    const struct addrinfo *info = usable(found);
    bool any = info != NULL;
    bool allowed = any && take_address(config, info, resolved, place.port);
    freeaddrinfo(found);
    if (!any) {
        return refuse(reason, size, "%s: %s: the HTTP server of this build knows IPv4 only",
                      config->what, place.host);
    }
    return allowed ? OK
                   : refuse(reason, size,
                            "%s: %s can be reached from other machines, and who reaches it needs "
                            "no password: set ottla.http.allow.remote=true if that is meant",
                            config->what, resolved->text);
}

/* ---- requests ---- */

static size_t read_body(struct mg_connection *connection, char *body)
{
    size_t len = 0;
    while (len < HTTP_BODY_MAX_BYTES) {
        int n = mg_read(connection, body + len, HTTP_BODY_MAX_BYTES - len);
        if (n <= 0) {
            break;
        }
        len += (size_t)n;
    }
    body[len] = '\0';
    return len;
}

static void send_answer(struct mg_connection *connection, const struct http_answer *answer)
{
    mg_printf(connection,
              "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
              "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
              "Connection: close\r\n\r\n",
              answer->status, mg_get_response_code_text(connection, answer->status), answer->type,
              answer->len);
    const char *method = mg_get_request_info(connection)->request_method;
    if (strcmp(method, "HEAD") != 0 && answer->len > 0) {
        (void)mg_write(connection, answer->data, answer->len);
    }
}

static int on_request(struct mg_connection *connection)
{
    const struct mg_request_info *info = mg_get_request_info(connection);
    struct http_server *server = info->user_data;
    char *body = NULL;
    struct http_request request = {.method = info->request_method,
                                   .path = info->local_uri,
                                   .query = info->query_string,
                                   .accept = mg_get_header(connection, "Accept"),
                                   .body = ""};
    if (info->content_length > 0) {
        body = xcalloc(1, HTTP_BODY_MAX_BYTES + 1);
        request.body_len = read_body(connection, body);
        request.body = body;
    }
    struct http_answer answer = {.status = 404, .type = "text/plain; charset=utf-8"};
    server->config.handle(server->config.context, &request, &answer);
    send_answer(connection, &answer);
    if (answer.done != NULL) {
        answer.done(answer.data_owner);
    }
    free(body);
    return answer.status;
}

/* A client that has gone is an error here, and no signal: of the process's signals none is taken. No lower
 * priority: who scrapes holds a partition's lock for a moment, and must not be kept from giving it back. */
static void *on_thread(const struct mg_context *context, int thread_type)
{
    (void)context;
    (void)thread_type;
    sigset_t all;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, NULL);
    return NULL;
}

/* civetweb has the whole process ignore SIGPIPE, which is the process's own affair. */
static struct mg_context *start_civetweb(struct mg_init_data *init, struct mg_error_data *error)
{
    struct sigaction former;
    bool known = sigaction(SIGPIPE, NULL, &former) == 0;
    struct mg_context *civetweb = mg_start2(init, error);
    if (known) {
        (void)sigaction(SIGPIPE, &former, NULL);
    }
    return civetweb;
}

static int on_message(const struct mg_connection *connection, const char *message)
{
    (void)connection;
    log_debug("http", "%s", message);
    return 1;
}

/* ---- life ---- */

static void note_address(struct http_server *server, const struct resolved *asked)
{
    struct mg_server_port ports[2];
    int count = mg_get_server_ports(server->civetweb, 2, ports);
    const char *colon = strrchr(asked->text, ':');
    int port = count > 0 ? ports[0].port : atoi(colon + 1);
    snprintf(server->address, sizeof(server->address), "%.*s:%d", (int)(colon - asked->text),
             asked->text, port);
    server->bound = asked->address;
    in_port_t *at = asked->address.ss_family == AF_INET6
                        ? &((struct sockaddr_in6 *)(void *)&server->bound)->sin6_port
                        : &((struct sockaddr_in *)(void *)&server->bound)->sin_port;
    *at = htons((uint16_t)port);
}

err http_start(const struct http_config *config, struct http_server **out, char *reason,
               size_t reason_size)
{
    struct resolved address;
    TRY(resolve(config, &address, reason, reason_size));
    char threads[NUMBER_BYTES];
    char timeout[NUMBER_BYTES];
    snprintf(threads, sizeof(threads), "%d", HTTP_THREADS);
    snprintf(timeout, sizeof(timeout), "%d", HTTP_TIMEOUT_MS);
    const char *options[] = {
        "listening_ports", address.text,        "num_threads", threads, "request_timeout_ms",
        timeout,           "enable_keep_alive", "no",          NULL};
    struct http_server *server = xcalloc(1, sizeof(*server));
    server->config = *config;
    (void)mg_init_library(MG_FEATURES_DEFAULT);
    const struct mg_callbacks callbacks = {
        .begin_request = on_request, .log_message = on_message, .init_thread = on_thread};
    char text[256] = "";
    struct mg_error_data error = {.text = text, .text_buffer_size = sizeof(text)};
    struct mg_init_data init = {
        .callbacks = &callbacks, .user_data = server, .configuration_options = options};
    server->civetweb = start_civetweb(&init, &error);
    if (server->civetweb == NULL) {
        free(server);
        (void)mg_exit_library();
        return refuse(reason, reason_size, "%s: cannot listen on %s: %s", config->what,
                      address.text, text);
    }
    note_address(server, &address);
    *out = server;
    return OK;
}

const char *http_address(const struct http_server *server)
{
    return server->address;
}

static void *stop_civetweb(void *argument)
{
    struct http_server *server = argument;
    mg_stop(server->civetweb);
    atomic_store(&server->ended, true);
    return NULL;
}

/* Somebody who connects wakes the thread that accepts, which would sleep on for up to two seconds. */
static void knock(const struct http_server *server)
{
    int fd = socket(server->bound.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        (void)connect(fd, (const struct sockaddr *)&server->bound, sizeof(server->bound));
        close(fd);
    }
}

void http_stop(struct http_server *server)
{
    if (server == NULL) {
        return;
    }
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, stop_civetweb, server) == 0);
    while (!atomic_load(&server->ended)) {
        knock(server);
        clock_sleep_us(clock_system(), KNOCK_US);
    }
    pthread_join(thread, NULL);
    (void)mg_exit_library();
    free(server);
}
