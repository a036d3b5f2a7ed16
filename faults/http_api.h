/* The faults by HTTP, with JSON:
 *
 *   GET    /faults             all rules, with how often each was hit and how many requests it holds
 *   POST   /faults             adds a rule (rules.h): 201 and {"id": 1}
 *   DELETE /faults             removes all; what they hold goes on: {"cleared": 3}
 *   DELETE /faults/1           removes one
 *   POST   /connections/cut    closes all connections of clients at once
 *   GET    /                   this
 *
 * A mistake is answered with 400 and {"error": a sentence}. */
#ifndef OTTLA_FAULTS_HTTP_API_H
#define OTTLA_FAULTS_HTTP_API_H

#include "broker/monitor/http.h"
#include "faults/faults.h"

struct http_api {
    struct faults *faults;
    /* Called for /connections/cut. */
    void (*cut)(void *context);
    void *context;
};

/* struct http_config; `context` is a struct http_api. */
void http_api_handle(void *context, const struct http_request *request, struct http_answer *answer);

#endif
