/* The command: reads the configuration, starts a broker, waits for a signal, stops it. SIGHUP has the
 * configuration read again; before the broker serves it opens the log's file anew, and nothing else. */
#define _GNU_SOURCE
#include "base/code_pages.h"
#include "base/log.h"
#include "command/announce.h"
#include "broker/broker.h"
#include "broker/config_report.h"
#include "command/extension.h"
#include "command/gather.h"
#include "command/inherited.h"
#include "command/logging.h"
#include "broker/memory_dir.h"
#include "broker/ready_file.h"
#include "command/signals.h"
#include "command/supervised.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/server.h"

#include <malloc.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* What the command holds while a broker runs. */
struct command {
    struct arguments arguments;
    struct config config;
    struct memory_dir *memory; /* NULL: the logs are on disk */
    struct signals *signals;
    struct supervised *supervised;
    struct inherited *inherited;
    struct extension *extension;
    _Atomic(struct broker *) serving; /* NULL: not yet */
    sem_t left;                       /* posted when the broker may stop */
};

/* ---- SIGHUP ---- */

static void on_reloaded(void *context)
{
    const struct command *command = context;
    supervised_reloaded(command->supervised);
}

static void reload(struct command *command, struct broker *broker)
{
    char reason[CONFIG_REASON_BYTES];
    supervised_reloading(command->supervised);
    struct config *fresh = xcalloc(1, sizeof(*fresh));
    config_init(fresh);
    if (gather_config(fresh, &command->arguments, &command->memory, reason) == OK) {
        broker_reload(broker, fresh, on_reloaded, command);
        return;
    }
    log_error("broker", "the options stay as they are reason=\"%s\"", reason);
    config_deinit(fresh);
    free(fresh);
    supervised_reloaded(command->supervised);
}

/* On the thread of signals: nothing stops the broker meanwhile. */
static void on_hup(void *context)
{
    struct command *command = context;
    logging_reopen();
    struct broker *broker = atomic_load(&command->serving);
    if (broker != NULL) {
        reload(command, broker);
    }
}

/* ---- from start to stop ---- */

/* As Kafka's, which exits with 1 too. */
static void halt(void)
{
    _exit(1);
}

static err start(struct command *command, struct broker **broker, char reason[BROKER_REASON_BYTES])
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
    signals_begin_serving(command->signals);
    return broker_serve(*broker, reason);
}

/* What is promised before the broker says that it is ready. */
static err make_ready(struct command *command, struct broker *broker,
                      char reason[BROKER_REASON_BYTES])
{
    TRY(announce_first_topics(broker, &command->arguments, command->signals, reason));
    const char *more;
    TRY(extension_serve(command->extension, broker, &more, reason));
    const char *path = command->arguments.ready_file;
    return path == NULL ? OK : ready_file_write(path, broker, more, reason);
}

/* In the order of what others may rely on: it serves, it takes SIGHUP, which may come as soon as it is ready. */
static void serves(struct command *command, struct broker *broker)
{
    char status[128];
    announce_ready(broker);
    snprintf(status, sizeof(status), "broker %d serves cluster %s", broker->id, broker->cluster_id);
    code_pages_give_back();
    atomic_store(&command->serving, broker);
    supervised_ready(command->supervised, broker, status);
}

static void on_left(void *context)
{
    struct command *command = context;
    sem_post(&command->left);
}

static void stop(struct command *command, struct broker *broker)
{
    extension_leave(command->extension);
    supervised_stopping(command->supervised, "others take over what this broker leads");
    broker_leave(broker, on_left, command);
    while (sem_wait(&command->left) != 0) {
    }
    supervised_stopping(command->supervised, "closing logs");
    supervised_end_watch(command->supervised);
    broker_stop(broker);
}

static int refused(const char *reason)
{
    fprintf(stderr, "ottla: cannot start: %s\n", reason);
    return 1;
}

static int serve(struct command *command)
{
    struct broker *broker = NULL;
    char reason[BROKER_REASON_BYTES];
    const char *ready_file = command->arguments.ready_file;
    if ((ready_file != NULL && ready_file_clear(ready_file, reason) != OK) ||
        start(command, &broker, reason) != OK) {
        return refused(reason);
    }
    if (make_ready(command, broker, reason) != OK) {
        stop(command, broker);
        return refused(reason);
    }
    serves(command, broker);
    const char *signal = signals_wait(command->signals);
    log_info("broker", "stopping signal=%s", signal);
    if (ready_file != NULL && ready_file_clear(ready_file, reason) != OK) {
        log_warn("broker", "%s", reason);
    }
    stop(command, broker);
    log_info("broker", "stopped");
    return 0;
}

static int serve_with_signals(struct command *command)
{
    sem_init(&command->left, 0, 0);
    command->signals = signals_new(on_hup, command);
    command->supervised = supervised_new();
    int status = serve(command);
    signals_free(command->signals);
    supervised_free(command->supervised);
    inherited_free(command->inherited);
    return status;
}

/* ---- the command line ---- */

static int check_config(struct command *command)
{
    const struct arguments *arguments = &command->arguments;
    char reason[CONFIG_REASON_BYTES];
    if (gather_texts(&command->config, arguments, reason) != OK) {
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
    if (gather_config(&command->config, arguments, &command->memory, reason) != OK ||
        logging_begin(&command->config, reason) != OK) {
        return refused(reason);
    }
    if (command->memory != NULL && memory_dir_is_on_disk(command->memory)) {
        log_warn("broker",
                 "there is no /dev/shm: what --in-memory forgets is on a disk until then path=%s",
                 memory_dir_path(command->memory));
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
