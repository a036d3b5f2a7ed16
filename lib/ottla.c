/* The library's functions, on the broker object: what main.c does for the command, without what is a process's.
 *
 * Signals: a thread that is born has the mask of the thread that makes it. So all signals are blocked around start and
 * stop; the broker's threads, and those that they make later, never handle one, and a SIGPIPE of a connection that has
 * gone stays with the thread that met it, unseen.
 *
 * The log is the process's (base/log.h). It is off until somebody asks for it: by a constructor, since any thread may be
 * the first one that starts a broker. */
#define _GNU_SOURCE
#include "lib/ottla.h"

#include "base/log.h"
#include "base/refuse.h"
#include "broker/broker.h"
#include "broker/memory_dir.h"
#include "broker/ready_file.h"
#include "broker/version.h"
#include "cli/first_topics.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define EXPORTED __attribute__((visibility("default")))

enum { ADDRESS_BYTES = LISTENER_HOST_MAX + 16 };

struct ottla {
    struct config config;
    struct memory_dir *memory; /* NULL: on disk */
    struct broker *broker;     /* NULL: it has not started */
    char address[ADDRESS_BYTES];
};

__attribute__((constructor)) static void begin_silent(void)
{
    log_set_level(LOG_OFF);
}

static sigset_t block_signals(void)
{
    sigset_t all;
    sigset_t former;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    return former;
}

static void restore_signals(sigset_t former)
{
    pthread_sigmask(SIG_SETMASK, &former, NULL);
}

static bool is_set(const struct ottla *ottla, const char *name)
{
    return properties_get(&ottla->config.properties, name) != NULL;
}

static err read_options(struct ottla *ottla, const char *const *options, char *reason)
{
    for (; options != NULL && *options != NULL; options++) {
        if (config_override(&ottla->config, *options, reason) != OK) {
            return refuse(reason, OTTLA_ERROR_BYTES, "an option is name=value, not \"%s\"",
                          *options);
        }
    }
    if (!is_set(ottla, "listeners")) {
        properties_set(&ottla->config.properties, "listeners", "PLAINTEXT://127.0.0.1:0");
    }
    if (!is_set(ottla, "log.dirs") && !is_set(ottla, "log.dir")) {
        if (is_set(ottla, "zookeeper.connect")) {
            return refuse(reason, OTTLA_ERROR_BYTES,
                          "with zookeeper.connect the option log.dirs must be set: topics would "
                          "outlive their records");
        }
        TRY(memory_dir_make(false, &ottla->memory, reason));
        properties_set(&ottla->config.properties, "log.dirs", memory_dir_path(ottla->memory));
    }
    config_use_shipped_defaults(&ottla->config);
    return config_finish(&ottla->config, reason);
}

static err start(struct ottla *ottla, const char *const *options, char *reason)
{
    TRY(read_options(ottla, options, reason));
    struct broker_env env = broker_env_system();
    if (ottla->memory != NULL) {
        env.fs = memory_dir_fs(ottla->memory);
    }
    struct broker *broker = NULL;
    TRY(broker_start(&env, &ottla->config, &broker, reason));
    TRY(broker_serve(broker, reason)); /* which frees it when it fails */
    ottla->broker = broker;
    const struct listener *listener = &broker->listeners.all[0];
    const char *host = listener_local_host(listener);
    snprintf(ottla->address, sizeof(ottla->address),
             strchr(host, ':') == NULL ? "%s:%d" : "[%s]:%d", host, listener->port);
    return OK;
}

static void on_left(void *context)
{
    sem_post(context);
}

static void stop(struct ottla *ottla)
{
    if (ottla->broker != NULL) {
        sem_t left;
        sem_init(&left, 0, 0);
        broker_leave(ottla->broker, on_left, &left);
        while (sem_wait(&left) != 0) {
        }
        broker_stop(ottla->broker);
        sem_destroy(&left);
    }
    memory_dir_remove(ottla->memory);
    config_deinit(&ottla->config);
    free(ottla);
}

static void tell(const char *reason, char *error, size_t error_bytes)
{
    if (error != NULL && error_bytes > 0) {
        snprintf(error, error_bytes, "%s", reason);
    }
}

EXPORTED struct ottla *ottla_start(const char *const *options, char *error, size_t error_bytes)
{
    _Static_assert((int)OTTLA_ERROR_BYTES >= (int)BROKER_REASON_BYTES, "a reason fits");
    char reason[OTTLA_ERROR_BYTES] = "";
    struct ottla *ottla = xcalloc(1, sizeof(*ottla));
    config_init(&ottla->config);
    sigset_t former = block_signals();
    if (start(ottla, options, reason) != OK) {
        stop(ottla);
        ottla = NULL;
        tell(reason, error, error_bytes);
    }
    restore_signals(former);
    return ottla;
}

EXPORTED const char *ottla_address(const struct ottla *ottla)
{
    return ottla->address;
}

EXPORTED int ottla_create_topic(struct ottla *ottla, const char *topic, char *error,
                                size_t error_bytes)
{
    char reason[FIRST_TOPICS_REASON_BYTES] = "";
    struct first_topics topics = {0};
    err e = first_topics_add(&topics, topic, reason);
    if (e == OK) {
        const struct listener *listener = &ottla->broker->listeners.all[0];
        e = first_topics_create(&topics, listener_local_host(listener), listener->port, reason);
    }
    first_topics_deinit(&topics);
    if (e != OK) {
        tell(reason, error, error_bytes);
        return -1;
    }
    return 0;
}

EXPORTED void ottla_stop(struct ottla *ottla)
{
    if (ottla != NULL) {
        sigset_t former = block_signals();
        stop(ottla);
        restore_signals(former);
    }
}

EXPORTED int ottla_log_level(const char *level)
{
    enum log_level found = LOG_OFF;
    if (strcmp(level, "OFF") != 0 && !log_level_of(str_of(level), &found)) {
        return -1;
    }
    log_set_level(found);
    return 0;
}

EXPORTED const char *ottla_version(void)
{
    return OTTLA_VERSION;
}
