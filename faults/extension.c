/* The command's extension (command/extension.h): --faults ADDRESS. A broker of this build that is started without it is
 * the broker as it is.
 *
 * Fetch sessions are off: an incremental Fetch does not name the partitions that it is about, and no rule could tell. */
#define _GNU_SOURCE
#include "command/extension.h"

#include "base/log.h"
#include "faults/http_api.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READY_LINE_BYTES = 128 };

struct extension {
    const char *address; /* NULL: no faults are asked for */
    struct faults *faults;
    struct http_api api;
    struct http_server *http;
    struct broker *broker; /* while it serves */
    char ready_line[READY_LINE_BYTES];
};

struct extension *extension_new(void)
{
    return xcalloc(1, sizeof(struct extension));
}

const char *extension_help(void)
{
    return "  --faults=HOST:PORT       takes requests for faults there, by HTTP (GET / says how); "
           "without a\n"
           "                           host on this machine alone; port 0: a free one, FAULTS in "
           "the ready file\n";
}

bool extension_take(struct extension *extension, const char *argument)
{
    if (strncmp(argument, "--faults=", 9) != 0) {
        return false;
    }
    extension->address = argument + 9;
    return true;
}

/* ---- connections ---- */

/* One loop's, on its thread. */
struct cutting {
    struct loop_task task;
    struct net_loop *net;
    sem_t done;
};

static void cut_loop(struct loop_task *task)
{
    struct cutting *cutting = container_of(task, struct cutting, task);
    net_loop_close_conns(cutting->net);
    sem_post(&cutting->done);
}

static void cut(void *context)
{
    struct broker *broker = ((struct extension *)context)->broker;
    for (int i = 0; i < broker->loops_n; i++) {
        struct cutting cutting = {.task.run = cut_loop, .net = server_loop(broker->server, i)};
        sem_init(&cutting.done, 0, 0);
        loop_post(cutting.net->loop, &cutting.task);
        while (sem_wait(&cutting.done) != 0) {
        }
        sem_destroy(&cutting.done);
    }
}

/* ---- life ---- */

err extension_begin(struct extension *extension, struct config *config, struct broker_env *env,
                    char reason[BROKER_REASON_BYTES])
{
    (void)reason;
    if (extension->address == NULL) {
        return OK;
    }
    extension->faults = faults_new();
    env->intercept = faults_intercept;
    env->intercept_context = extension->faults;
    config->max_incremental_fetch_session_cache_slots = 0;
    return OK;
}

err extension_serve(struct extension *extension, struct broker *broker, const char **ready_line,
                    char reason[BROKER_REASON_BYTES])
{
    *ready_line = extension->ready_line;
    if (extension->address == NULL) {
        return OK;
    }
    extension->broker = broker;
    extension->api =
        (struct http_api){.faults = extension->faults, .cut = cut, .context = extension};
    const struct http_config http = {.what = "--faults",
                                     .address = extension->address,
                                     .allow_remote = true, /* who names another address means it */
                                     .handle = http_api_handle,
                                     .context = &extension->api};
    TRY(http_start(&http, &extension->http, reason, BROKER_REASON_BYTES));
    const char *address = http_address(extension->http);
    snprintf(extension->ready_line, sizeof(extension->ready_line), "FAULTS=%s\n", address);
    log_warn("faults", "requests for faults are taken: this is no broker for production http=%s",
             address);
    return OK;
}

void extension_leave(struct extension *extension)
{
    http_stop(extension->http);
    extension->http = NULL;
    if (extension->faults != NULL) {
        (void)faults_clear(extension->faults, 0);
    }
}

void extension_free(struct extension *extension)
{
    extension_leave(extension);
    if (extension->faults != NULL) {
        faults_free(extension->faults);
    }
    free(extension);
}
