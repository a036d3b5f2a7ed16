/* The options of the command are one table; the help is written beside it. */
#define _GNU_SOURCE
#include "command/arguments.h"

#include "broker/config.h"
#include "broker/version.h"
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char USAGE[] =
    "usage: ottla [server.properties] [option]...\n"
    "       ottla tool [option]...\n"
    "\n"
    "Starts a Kafka broker in the foreground; SIGTERM or SIGINT stops it cleanly, SIGHUP has it "
    "read its\n"
    "options again and open its log file anew (at a terminal it stops it). Without a file it "
    "listens on\n"
    "port 9092 and keeps its data in ./data. KAFKA_... variables of the environment set options "
    "too\n"
    "(KAFKA_LOG_DIRS is log.dirs).\n"
    "\n"
    "  --override name=value    an option of server.properties; wins over the file and the "
    "environment\n"
    "  --in-memory              keeps everything in memory (/dev/shm) and forgets it at the end\n"
    "  --create-topic name[:partitions[:replication[:compact]]]\n"
    "                           a topic that is to be there; several may be given, and "
    "KAFKA_CREATE_TOPICS\n"
    "                           of the environment is a list of the same\n"
    "  --ready-file PATH        a file that is there while clients are served, with a line "
    "NAME=host:port for\n"
    "                           each listener; with port 0 in listeners the system chooses a free "
    "one\n"
    "  --check                  says what each option of the file does here, and whether the "
    "broker would\n"
    "                           start with it, and starts nothing; exit status 0: it would, 1: it "
    "would not\n"
    "  --options                the manual of all options of server.properties\n"
    "  --version, --help\n";

static const char TOOLS[] =
    "\nTools, also by their names as Kafka has them (kafka-topics, kafka-topics.sh), by a link to "
    "this program:\n";

static int usage_error(const char *what, const char *argument)
{
    fprintf(
        stderr,
        "ottla: %s%s%s\nusage: ottla [server.properties] [option]...   (ottla --help shows all)\n",
        what, argument == NULL ? "" : " ", argument == NULL ? "" : argument);
    return 2;
}

/* Of the kind that prints something; -1: it is none. */
static int print_asked(const char *argument)
{
    if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
        printf("%s%s%s", USAGE, extension_help(), TOOLS);
        cli_print_tools();
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
    return -1;
}

static int take_topic(struct arguments *arguments, const char *text)
{
    char reason[FIRST_TOPICS_REASON_BYTES];
    return first_topics_add(&arguments->topics, text, reason) == OK ? -1
                                                                    : usage_error(reason, NULL);
}

/* An option that has a value: in the next argument, or behind "=". -1: taken, or none of these (then *value is NULL). */
static int take_value(struct arguments *arguments, const char *argument, const char **value)
{
    static const struct {
        const char *name;
        const char *wants;
    } WITH_VALUE[] = {{"--override", "name=value"},
                      {"--ready-file", "a path"},
                      {"--create-topic", "name[:partitions[:replication[:compact]]]"}};
    const char *next = *value;
    for (size_t i = 0; i < sizeof(WITH_VALUE) / sizeof(WITH_VALUE[0]); i++) {
        size_t len = strlen(WITH_VALUE[i].name);
        if (strncmp(argument, WITH_VALUE[i].name, len) != 0 ||
            (argument[len] != '\0' && argument[len] != '=')) {
            continue;
        }
        const char *given = argument[len] == '=' ? argument + len + 1 : next;
        if (given == NULL || *given == '\0') {
            char wants[128];
            snprintf(wants, sizeof(wants), "%s wants %s", WITH_VALUE[i].name, WITH_VALUE[i].wants);
            return usage_error(wants, NULL);
        }
        *value = given;
        if (i == 0) {
            arguments->overrides[arguments->overrides_n++] = given;
        } else if (i == 1) {
            arguments->ready_file = given;
        } else {
            return take_topic(arguments, given);
        }
        return -1;
    }
    *value = NULL;
    return -1;
}

static int take_plain(struct arguments *arguments, const char *argument)
{
    if (strcmp(argument, "--in-memory") == 0) {
        arguments->in_memory = true;
    } else if (strcmp(argument, "--check") == 0) {
        arguments->check = true;
    } else if (argument[0] == '-') {
        return extension_take(arguments->extension, argument)
                   ? -1
                   : usage_error("unknown option", argument);
    } else if (arguments->file != NULL) {
        return usage_error("more than one file:", argument);
    } else {
        arguments->file = argument;
    }
    return -1;
}

static int take_environment(struct arguments *arguments)
{
    const char *list = getenv("KAFKA_CREATE_TOPICS");
    char reason[FIRST_TOPICS_REASON_BYTES];
    if (list != NULL && first_topics_add_list(&arguments->topics, list, reason) != OK) {
        return usage_error("KAFKA_CREATE_TOPICS:", reason);
    }
    return -1;
}

int arguments_parse(struct arguments *arguments, struct extension *extension, int argc, char **argv)
{
    *arguments =
        (struct arguments){.extension = extension,
                           .overrides = xcalloc((size_t)argc + 1, sizeof(*arguments->overrides))};
    for (int i = 1; i < argc; i++) {
        int status = print_asked(argv[i]);
        if (status >= 0) {
            return status;
        }
        const char *value = argv[i + 1]; /* NULL after the last one */
        status = take_value(arguments, argv[i], &value);
        if (status < 0 && value == NULL) {
            status = take_plain(arguments, argv[i]);
        } else if (value == argv[i + 1]) {
            i++;
        }
        if (status >= 0) {
            return status;
        }
    }
    return take_environment(arguments);
}

void arguments_deinit(struct arguments *arguments)
{
    first_topics_deinit(&arguments->topics);
    free((void *)(uintptr_t)arguments->overrides);
}
