/* A small HTTP server on threads of its own (civetweb), for who watches over a broker. It serves what a
 * handler makes: no files, nothing of other hosts. At most HTTP_THREADS requests are answered at a time,
 * others wait; a client that has not sent its request within HTTP_TIMEOUT_MS, or takes nothing of its answer
 * for so long, is dropped. */
#ifndef OTTLA_BROKER_MONITOR_HTTP_H
#define OTTLA_BROKER_MONITOR_HTTP_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { HTTP_THREADS = 32, HTTP_TIMEOUT_MS = 3000, HTTP_BODY_MAX_BYTES = 64 << 10 };

struct http_server;

struct http_request {
    const char *method; /* "GET" */
    const char *path;   /* without the query */
    const char *query;  /* NULL: none */
    const char *accept; /* the header; NULL: none */
    const char *body;   /* of a POST, PUT or DELETE; never NULL; ends with 0 */
    size_t body_len;
};

/* Filled by the handler. */
struct http_answer {
    int status;
    const char *type; /* static */
    const char *data; /* stays until `done` was called */
    size_t len;
    void (*done)(void *data_owner); /* NULL: nothing is to be freed */
    void *data_owner;
};

struct http_config {
    const char *what; /* the option that asks for it, for refusals */
    /* host:port, :port; without a host it is 127.0.0.1; port 0: any. [host]:port where civetweb knows IPv6,
     * which Debian's does not. */
    const char *address;
    bool allow_remote; /* a host that is not this machine's loopback */
    /* On any of its threads, several at a time. */
    void (*handle)(void *context, const struct http_request *request, struct http_answer *answer);
    void *context;
};

/* E_CONFIG with one sentence in `reason`: the address is wrong, cannot be had, or may not be. */
NODISCARD err http_start(const struct http_config *config, struct http_server **server,
                         char *reason, size_t reason_size);
/* Where it listens: "127.0.0.1:9644". */
const char *http_address(const struct http_server *server);
/* Waits for the requests that are being answered. NULL is fine. */
void http_stop(struct http_server *server);

#endif
