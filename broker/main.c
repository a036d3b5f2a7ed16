/* The command: reads the configuration, starts a broker, waits for a signal, stops it.
 *
 * Signals are taken by a thread of their own, so that one that comes during the start (which may
 * wait long for ZooKeeper) is not left waiting: nothing is acknowledged yet, and the process ends as
 * it is. What comes first decides, by one exchange each: the signal, then no client is served any
 * more, or the decision to serve, then the signal stops the broker cleanly. SIGHUP has the configuration
 * read again; before the broker serves it says nothing new. */
#define _GNU_SOURCE
#include "base/code_pages.h"
#include "base/log.h"
#include "base/refuse.h"
#include "broker/arguments.h"
#include "broker/broker.h"
#include "broker/config_report.h"
#include "broker/extension.h"
#include "broker/inherited.h"
#include "broker/logging.h"
#include "broker/memory_dir.h"
#include "broker/ready_file.h"
#include "broker/supervised.h"
#include "broker/version.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/server.h"

#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EXIT_STOPPED_STARTING = 130, FIRST_TOPICS_MS = 60000, AGAIN_US = 300000 };

/* What the command holds while a broker runs. */
struct command {
    struct arguments arguments;
    struct config config;
    struct memory_dir *memory; /* NULL: the logs are on disk */
    struct supervised *supervised;
    struct inherited *inherited;
    struct extension *extension;
};

/* Everything that sets options, in order; the last one wins. */
static err gather_config(struct config *config, const struct arguments *arguments,
                         char reason[CONFIG_REASON_BYTES])
{
    if (arguments->file != NULL) {
        cli_hint(arguments->file);
        TRY(config_read_file(config, arguments->file, reason));
    }
    config_read_environment(config, environ);
    for (int i = 0; i < arguments->overrides_n; i++) {
        TRY(config_override(config, arguments->overrides[i], reason));
    }
    if (arguments->file == NULL) {
        config_use_shipped_defaults(config);
    }
    return OK;
}

/* Logs that are forgotten, of topics that ZooKeeper keeps, would be taken for lost. */
static err use_memory(struct config *config, struct memory_dir **memory,
                      char reason[CONFIG_REASON_BYTES])
{
    const char *zookeeper = properties_get(&config->properties, "zookeeper.connect");
    if (zookeeper != NULL && *zookeeper != '\0') {
        return refuse(reason, CONFIG_REASON_BYTES,
                      "--in-memory: zookeeper.connect is set, and what ZooKeeper keeps of topics "
                      "would not be forgotten with their records; remove one of the two");
    }
    return *memory == NULL ? memory_dir_make(true, memory, reason) : OK;
}

/* At the start, and again after SIGHUP. */
static err read_config(struct config *config, struct command *command,
                       char reason[CONFIG_REASON_BYTES])
{
    TRY(gather_config(config, &command->arguments, reason));
    if (command->arguments.in_memory) {
        TRY(use_memory(config, &command->memory, reason));
        properties_set(&config->properties, "log.dirs", memory_dir_path(command->memory));
    }
    return config_finish(config, reason);
}

/* The lines by which scripts and test frameworks know a Kafka that is ready, of both its modes; the
 * ports answer by now. (reference: conventions §2.4) */
static void announce(const struct broker *broker)
{
    for (size_t i = 0; i < broker->listeners.count; i++) {
        const struct listener *l = &broker->listeners.all[i];
        const char *host = l->advertised_host[0] != '\0' ? l->advertised_host
                           : l->host[0] == '\0' || strcmp(l->host, "0.0.0.0") == 0 ? "localhost"
                                                                                   : l->host;
        log_info("broker", "listening listener=%s bootstrap.servers=%s:%d", l->name, host,
                 listener_told_port(l));
    }
    log_info("broker", "Kafka version: " OTTLA_KAFKA_VERSION);
    log_info("broker",
             "[BrokerLifecycleManager id=%d] The broker has been unfenced. Transitioning from "
             "RECOVERY to RUNNING.",
             broker->id);
    log_info("broker", "[KafkaRaftServer nodeId=%d] Kafka Server started", broker->id);
    log_info("broker", "[KafkaServer id=%d] started version=%s cluster=%s", broker->id,
             OTTLA_VERSION, broker->cluster_id);
}

enum phase { STARTING, SERVING, SIGNALLED };

struct signals {
    sigset_t set;
    atomic_int phase;
    struct command *command;
    _Atomic(struct broker *) serving;
    sem_t stop; /* posted with the first signal after the start */
    sem_t left; /* posted when the broker may stop */
    int number; /* of it */
    bool hup_stops;
};

static void on_reloaded(void *context)
{
    const struct command *command = context;
    supervised_reloaded(command->supervised);
}

/* On the thread of signals: nothing stops the broker meanwhile. */
static void reload(struct signals *signals)
{
    struct broker *broker = atomic_load(&signals->serving);
    char reason[CONFIG_REASON_BYTES];
    if (broker == NULL) {
        return;
    }
    supervised_reloading(signals->command->supervised);
    struct config *fresh = xcalloc(1, sizeof(*fresh));
    config_init(fresh);
    if (read_config(fresh, signals->command, reason) == OK) {
        broker_reload(broker, fresh, on_reloaded, signals->command);
        return;
    }
    log_error("broker", "the options stay as they are reason=\"%s\"", reason);
    config_deinit(fresh);
    free(fresh);
    supervised_reloaded(signals->command->supervised);
}

static void *take_signals(void *argument)
{
    struct signals *signals = argument;
    while (sigwait(&signals->set, &signals->number) == 0 && signals->number == SIGHUP &&
           !signals->hup_stops) {
        logging_reopen();
        reload(signals);
    }
    if (atomic_exchange(&signals->phase, SIGNALLED) == STARTING) {
        log_warn("broker", "stopped during the start signal=%s", strsignal(signals->number));
        _exit(EXIT_STOPPED_STARTING);
    }
    sem_post(&signals->stop);
    return NULL;
}

static void begin_serving(struct signals *signals)
{
    if (atomic_exchange(&signals->phase, SERVING) == SIGNALLED) {
        for (;;) {
            pause(); /* the process is about to end */
        }
    }
}

/* As Kafka's, which exits with 1 too. */
static void halt(void)
{
    _exit(1);
}

static err start(struct command *command, struct signals *signals, struct broker **broker,
                 char reason[BROKER_REASON_BYTES])
{
    struct broker_env env = broker_env_system();
    env.halt = halt;
    if (command->memory != NULL) {
        env.fs = memory_dir_fs(command->memory);
    }
    TRY(inherited_open(&command->inherited, reason));
    env.bound = inherited_sockets(command->inherited);
    TRY(extension_begin(command->extension, &command->config, &env, reason));
    TRY(broker_start(&env, &command->config, broker, reason));
    begin_serving(signals);
    return broker_serve(*broker, reason);
}

/* Brokers of a cluster start at the same time: a topic may want more replicas than there are brokers
 * yet, and the controller may be changing. What time does not mend: a mistake in the wish, and what a
 * broker that runs alone lacks. */
static bool is_of_the_start(const struct command *command, err e)
{
    bool local = e < ERR_UNKNOWN_SERVER_ERROR; /* no answer */
    return (local || e == ERR_INVALID_REPLICATION_FACTOR || e == ERR_NOT_CONTROLLER) &&
           config_uses_zookeeper(&command->config);
}

/* A stop that is asked for meanwhile comes first. */
static err make_first_topics(struct signals *signals, const struct listener *listener,
                             char reason[BROKER_REASON_BYTES])
{
    const struct command *command = signals->command;
    int64_t until_ms = clock_monotonic_ms(clock_system()) + FIRST_TOPICS_MS;
    for (;;) {
        err e = first_topics_create(&command->arguments.topics, listener_local_host(listener),
                                    listener->port, reason);
        if (e == OK || !is_of_the_start(command, e) ||
            clock_monotonic_ms(clock_system()) > until_ms) {
            return e;
        }
        clock_sleep_us(clock_system(), AGAIN_US);
        if (atomic_load(&signals->phase) == SIGNALLED) {
            return OK;
        }
    }
}

/* What is promised before the broker says that it is ready. */
static err make_ready(struct signals *signals, struct broker *broker,
                      char reason[BROKER_REASON_BYTES])
{
    const struct command *command = signals->command;
    const struct listener *listener = &broker->listeners.all[0];
    for (size_t i = 0; i < broker->listeners.count; i++) {
        if (strcmp(broker->listeners.all[i].name, broker->inter_broker_listener) == 0) {
            listener = &broker->listeners.all[i]; /* the controller's own takes no clients */
        }
    }
    TRY(make_first_topics(signals, listener, reason));
    const char *more;
    TRY(extension_serve(command->extension, broker, &more, reason));
    const char *path = command->arguments.ready_file;
    return path == NULL ? OK : ready_file_write(path, broker, more, reason);
}

/* In the order of what others may rely on: it serves, it is ready, it takes SIGHUP. */
static void serves(struct broker *broker, struct signals *signals)
{
    char status[128];
    announce(broker);
    snprintf(status, sizeof(status), "broker %d serves cluster %s", broker->id, broker->cluster_id);
    code_pages_give_back();
    supervised_ready(signals->command->supervised, broker, status);
    atomic_store(&signals->serving, broker);
}

static void on_left(void *context)
{
    struct signals *signals = context;
    sem_post(&signals->left);
}

static void stop(struct broker *broker, struct signals *signals)
{
    extension_leave(signals->command->extension);
    struct supervised *supervised = signals->command->supervised;
    supervised_stopping(supervised, "others take over what this broker leads");
    broker_leave(broker, on_left, signals);
    while (sem_wait(&signals->left) != 0) {
    }
    supervised_stopping(supervised, "closing logs");
    supervised_end_watch(supervised);
    broker_stop(broker);
}

static int serve(struct command *command, struct signals *signals)
{
    struct broker *broker = NULL;
    char reason[BROKER_REASON_BYTES];
    const char *ready_file = command->arguments.ready_file;
    if ((ready_file != NULL && ready_file_clear(ready_file, reason) != OK) ||
        start(command, signals, &broker, reason) != OK) {
        fprintf(stderr, "ottla: cannot start: %s\n", reason);
        return 1;
    }
    if (make_ready(signals, broker, reason) != OK) {
        stop(broker, signals);
        fprintf(stderr, "ottla: cannot start: %s\n", reason);
        return 1;
    }
    serves(broker, signals);
    while (sem_wait(&signals->stop) != 0) {
    }
    log_info("broker", "stopping signal=%s", strsignal(signals->number));
    if (ready_file != NULL && ready_file_clear(ready_file, reason) != OK) {
        log_warn("broker", "%s", reason);
    }
    stop(broker, signals);
    log_info("broker", "stopped");
    return 0;
}

/* All threads are born with the signals blocked. */
static int serve_with_signals(struct command *command)
{
    struct signals signals = {.command = command};
    sigemptyset(&signals.set);
    sigaddset(&signals.set, SIGTERM);
    sigaddset(&signals.set, SIGINT);
    sigaddset(&signals.set, SIGHUP);
    signals.hup_stops = isatty(STDERR_FILENO); /* the terminal goes, and the broker with it */
    pthread_sigmask(SIG_BLOCK, &signals.set, NULL);
    signal(SIGPIPE, SIG_IGN);
    sem_init(&signals.stop, 0, 0);
    sem_init(&signals.left, 0, 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, take_signals, &signals) == 0);
    command->supervised = supervised_new();
    int status = serve(command, &signals);
    pthread_cancel(thread); /* it waits on where the start failed */
    pthread_join(thread, NULL);
    supervised_free(command->supervised);
    inherited_free(command->inherited);
    return status;
}

static int refused(const char *reason)
{
    fprintf(stderr, "ottla: cannot start: %s\n", reason);
    return 1;
}

static int check_config(struct command *command)
{
    const struct arguments *arguments = &command->arguments;
    char reason[CONFIG_REASON_BYTES];
    if (gather_config(&command->config, arguments, reason) != OK) {
        return refused(reason);
    }
    const char *source = arguments->file != NULL ? arguments->file : "command line and environment";
    return config_report(&command->config, source, stdout) ? 0 : 1;
}

static int run(struct command *command)
{
    const struct arguments *arguments = &command->arguments;
    char reason[CONFIG_REASON_BYTES];
    if (arguments->check) {
        return check_config(command);
    }
    if (read_config(&command->config, command, reason) != OK ||
        logging_begin(&command->config, reason) != OK) {
        return refused(reason);
    }
    return serve_with_signals(command);
}

/* What is the process's, and not a broker's: there may be others beside it in another program. */
static void take_process(void)
{
    (void)mallopt(M_ARENA_MAX, 2); /* few threads: more arenas only cost memory */
    (void)mallopt(M_TRIM_THRESHOLD, 4 << 20);
    (void)mallopt(M_MMAP_THRESHOLD, 32 << 20); /* large frames come from a pool of warm buffers */
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max; /* files and connections */
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int start_command(int argc, char **argv)
{
    take_process();
    struct command command = {0};
    config_init(&command.config);
    command.extension = extension_new();
    int status = arguments_parse(&command.arguments, command.extension, argc, argv);
    if (status < 0) {
        status = run(&command);
    }
    memory_dir_remove(command.memory);
    config_deinit(&command.config);
    arguments_deinit(&command.arguments);
    extension_free(command.extension);
    return status;
}

/* As Kafka's script of that name. */
static int server_script(const struct cli_call *call)
{
    if (call->argc == 0) {
        fprintf(stderr, "USAGE: %s [-daemon] server.properties [--override property=value]*\n",
                call->argv[-1]);
        return 1;
    }
    char reason[CLI_REASON_BYTES];
    if (call->daemon && server_to_background(reason) != OK) {
        fprintf(stderr, "ottla: %s\n", reason);
        return 1;
    }
    return start_command(call->argc + 1, call->argv - 1);
}

int main(int argc, char **argv)
{
    struct cli_call call;
    switch (cli_find(argc, argv, &call)) {
    case CLI_TOOL:
        return cli_run(&call);
    case CLI_SERVER_START:
        return server_script(&call);
    case CLI_UNKNOWN:
        return 2;
    default:
        return start_command(argc, argv);
    }
}
