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
#include "broker/broker.h"
#include "broker/inherited.h"
#include "broker/logging.h"
#include "broker/supervised.h"
#include "broker/version.h"

#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { EXIT_STOPPED_STARTING = 130 };

static const char USAGE[] =
    "usage: ottla [server.properties] [--override name=value]...\n"
    "       ottla --version | --help | --options\n"
    "\n"
    "Starts a Kafka broker in the foreground; SIGTERM or SIGINT stops it cleanly. SIGHUP has it "
    "read "
    "its\n"
    "options again and opens its log file anew (at a terminal it stops it).\n"
    "Without a file it listens on port 9092 and keeps its data in ./data. KAFKA_... variables of "
    "the\n"
    "environment set options too (KAFKA_LOG_DIRS is log.dirs); --override wins over both.\n"
    "--options prints the manual of all options.\n";

struct arguments {
    const char *file;
    const char *const *overrides;
    int overrides_n;
};

static int usage_error(const char *what, const char *argument)
{
    fprintf(stderr, "ottla: %s%s%s\n%s", what, argument == NULL ? "" : " ",
            argument == NULL ? "" : argument, USAGE);
    return 2;
}

/* Returns -1 to go on, or an exit status. */
static int parse_arguments(int argc, char **argv, struct arguments *arguments)
{
    const char **overrides = xcalloc((size_t)argc, sizeof(*overrides));
    arguments->overrides = overrides;
    for (int i = 1; i < argc; i++) {
        const char *argument = argv[i];
        if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
            fputs(USAGE, stdout);
            return 0;
        }
        if (strcmp(argument, "--version") == 0) {
            puts("ottla " OTTLA_VERSION " (Kafka 3.9 protocol)");
            return 0;
        }
        if (strcmp(argument, "--options") == 0) {
            config_print_manual();
            return 0;
        }
        if (strcmp(argument, "--override") == 0) {
            if (++i == argc) {
                return usage_error("--override wants name=value", NULL);
            }
            overrides[arguments->overrides_n++] = argv[i];
        } else if (argument[0] == '-') {
            return usage_error("unknown option", argument);
        } else if (arguments->file != NULL) {
            return usage_error("more than one file:", argument);
        } else {
            arguments->file = argument;
        }
    }
    return -1;
}

static err read_config(struct config *config, const struct arguments *arguments,
                       char reason[CONFIG_REASON_BYTES])
{
    if (arguments->file != NULL) {
        TRY(config_read_file(config, arguments->file, reason));
    }
    config_read_environment(config, environ);
    for (int i = 0; i < arguments->overrides_n; i++) {
        TRY(config_override(config, arguments->overrides[i], reason));
    }
    if (arguments->file == NULL) {
        config_use_shipped_defaults(config);
    }
    return config_finish(config, reason);
}

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
    log_info("broker", "[KafkaServer id=%d] started version=%s cluster=%s", broker->id,
             OTTLA_VERSION, broker->cluster_id);
}

enum phase { STARTING, SERVING, SIGNALLED };

/* The command line, and who must know how it goes. */
struct command {
    struct arguments arguments;
    struct supervised *supervised;
    struct inherited *inherited;
};

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
    if (read_config(fresh, &signals->command->arguments, reason) == OK) {
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

static err start(struct config *config, struct signals *signals, struct broker **broker,
                 char reason[BROKER_REASON_BYTES])
{
    struct broker_env env = broker_env_system();
    struct command *command = signals->command;
    env.halt = halt;
    TRY(inherited_open(&command->inherited, reason));
    env.bound = inherited_sockets(command->inherited);
    TRY(broker_start(&env, config, broker, reason));
    begin_serving(signals);
    return broker_serve(*broker, reason);
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

static int serve(struct config *config, struct signals *signals)
{
    struct broker *broker = NULL;
    char reason[BROKER_REASON_BYTES];
    if (start(config, signals, &broker, reason) != OK) {
        fprintf(stderr, "ottla: cannot start: %s\n", reason);
        return 1;
    }
    serves(broker, signals);
    while (sem_wait(&signals->stop) != 0) {
    }
    log_info("broker", "stopping signal=%s", strsignal(signals->number));
    supervised_stopping(signals->command->supervised, "others take over what this broker leads");
    broker_leave(broker, on_left, signals);
    while (sem_wait(&signals->left) != 0) {
    }
    supervised_stopping(signals->command->supervised, "closing logs");
    supervised_end_watch(signals->command->supervised);
    broker_stop(broker);
    log_info("broker", "stopped");
    return 0;
}

/* All threads are born with the signals blocked. */
static int serve_with_signals(struct config *config, struct command *command)
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
    int status = serve(config, &signals);
    pthread_cancel(thread); /* it waits on where the start failed */
    pthread_join(thread, NULL);
    supervised_free(command->supervised);
    inherited_free(command->inherited);
    return status;
}

int main(int argc, char **argv)
{
    (void)mallopt(M_ARENA_MAX, 2); /* few threads: more arenas only cost memory */
    (void)mallopt(M_TRIM_THRESHOLD, 4 << 20);
    (void)mallopt(M_MMAP_THRESHOLD, 32 << 20); /* large frames come from a pool of warm buffers */
    struct command command = {0};
    struct config config;
    config_init(&config);
    int status = parse_arguments(argc, argv, &command.arguments);
    if (status < 0) {
        char reason[CONFIG_REASON_BYTES];
        if (read_config(&config, &command.arguments, reason) == OK &&
            logging_begin(&config, reason) == OK) {
            status = serve_with_signals(&config, &command);
        } else {
            fprintf(stderr, "ottla: cannot start: %s\n", reason);
            status = 1;
        }
    }
    config_deinit(&config);
    free((void *)(uintptr_t)command.arguments.overrides);
    return status;
}
