/* kafka-console-consumer: records as lines of standard output.
 *
 * Partitions are read from their leaders, broker after broker, and each for a moment where nothing comes. There is no
 * membership in a group: with --group the offsets that the group has committed are where it begins, and how far it came is
 * committed, as long as the group has no members. Aborted transactions are hidden with --isolation-level read_committed:
 * the answer names them (console_reading.c). A signal is looked for between two answers, and ends it as --max-messages does. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/refuse.h"
#include "cli/command_config.h"
#include "cli/console_reading.h"
#include "cli/tools.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 60000, EXIT_SIGNAL = 130 };

static const struct cli_option OPTIONS[] = {
    {"bootstrap-server", CLI_VALUE, "where a broker is: host:port"},
    {"topic", CLI_VALUE, "what to read"},
    {"from-beginning", CLI_FLAG, "all that is there, not only what comes"},
    {"partition", CLI_VALUE, "only this one"},
    {"offset", CLI_VALUE, "with --partition: a number, earliest or latest"},
    {"max-messages", CLI_VALUE, "how many, and then it ends"},
    {"timeout-ms", CLI_VALUE, "ends when nothing comes for so long"},
    {"group", CLI_VALUE, "begins where the group is, and commits"},
    {"isolation-level", CLI_VALUE, "read_uncommitted or read_committed"},
    {"property", CLI_VALUES,
     "print.timestamp, print.partition, print.offset, print.headers, print.key, print.value, "
     "key.separator, line.separator, headers.separator, null.literal"},
    {"consumer-property", CLI_VALUES,
     "auto.offset.reset and isolation.level; others have no effect"},
    {"consumer.config", CLI_VALUE, "a file of client options"},
    {"skip-message-on-error", CLI_FLAG, "has no effect here"},
    {"version", CLI_FLAG, "the version of Kafka whose tool this is like"},
    {"help", CLI_FLAG, "this"},
    {NULL, CLI_FLAG, NULL},
};

/* auto.offset.reset=earliest and the like. */
static const char *property(const struct cli_options *options, const char *name)
{
    size_t at = 0;
    size_t len = strlen(name);
    for (const char *given; (given = cli_next_value(options, "consumer-property", &at)) != NULL;) {
        if (strncmp(given, name, len) == 0 && given[len] == '=') {
            return given + len + 1;
        }
    }
    return NULL;
}

static err read_isolation(struct reading *r, const struct cli_options *options, char *reason)
{
    const char *level = cli_value(options, "isolation-level");
    level = level != NULL ? level : property(options, "isolation.level");
    if (level == NULL || strcmp(level, "read_uncommitted") == 0) {
        return OK;
    }
    r->committed_only = strcmp(level, "read_committed") == 0;
    return r->committed_only ? OK
                             : refuse(reason, CLI_REASON_BYTES,
                                      "--isolation-level is read_uncommitted or read_committed");
}

static err read_offset(struct reading *r, const struct cli_options *options, char *reason)
{
    const char *offset = cli_value(options, "offset");
    if (offset == NULL || strcmp(offset, "latest") == 0) {
        return OK;
    }
    if (!cli_has(options, "partition")) {
        return refuse(reason, CLI_REASON_BYTES,
                      "The partition is required when offset is specified.");
    }
    if (strcmp(offset, "earliest") == 0) {
        r->begin = READING_EARLIEST;
        return OK;
    }
    int64_t number = -1;
    if (cli_number(options, "offset", 0, INT64_MAX, &number, reason) != OK) {
        return refuse(reason, CLI_REASON_BYTES,
                      "The provided offset value '%s' is incorrect. Valid values are 'earliest', "
                      "'latest', or a "
                      "non-negative long.",
                      offset);
    }
    r->begin = READING_OFFSET;
    r->offset = number;
    return OK;
}

static err prepare(struct reading *r, const struct cli_options *options, char *reason)
{
    if (cli_value(options, "topic") == NULL) {
        return refuse(reason, CLI_REASON_BYTES,
                      "Exactly one of --include/--topic is required. (--include is not built)");
    }
    if (cli_value(options, "bootstrap-server") == NULL) {
        return refuse(reason, CLI_REASON_BYTES, "Missing required argument \"[bootstrap-server]\"");
    }
    const char *reset = property(options, "auto.offset.reset");
    bool earliest =
        cli_has(options, "from-beginning") || (reset != NULL && strcmp(reset, "earliest") == 0);
    int64_t partition = -1;
    *r = (struct reading){.view.topic = cli_value(options, "topic"),
                          .group = cli_value(options, "group"),
                          .begin = earliest ? READING_EARLIEST : READING_LATEST,
                          .messages_left = INT64_MAX,
                          .timeout_ms = -1};
    TRY(cli_number(options, "partition", 0, INT32_MAX, &partition, reason));
    TRY(cli_number(options, "max-messages", 0, INT64_MAX, &r->messages_left, reason));
    TRY(cli_number(options, "timeout-ms", 0, INT32_MAX, &r->timeout_ms, reason));
    r->only_partition = (int32_t)partition;
    TRY(read_offset(r, options, reason));
    TRY(read_isolation(r, options, reason));
    TRY(command_config_check(cli_value(options, "consumer.config"), reason));
    return line_writer_init(&r->lines, options, reason);
}

static bool is_signalled(void)
{
    sigset_t pending;
    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1);
}

static int consume(struct reading *r, const struct cli_options *options)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    r->is_ended = is_signalled;
    err e = brokers_open(&r->brokers, cli_value(options, "bootstrap-server"),
                         cli_value(options, "consumer.config"), TIMEOUT_MS, true);
    e = e == OK ? reading_run(r) : e;
    fflush(stdout);
    if (e == E_BUSY && r->timed_out) {
        fprintf(stderr,
                "Error processing message, terminating consumer process: nothing came for %lld ms\n"
                "org.apache.kafka.common.errors.TimeoutException\n",
                (long long)r->timeout_ms);
        e = OK; /* as Kafka's */
    } else if (e != OK) {
        fprintf(stderr, "%s\n", r->brokers.reason);
    }
    fprintf(stderr, "Processed a total of %lld messages\n", (long long)r->messages);
    reading_deinit(r);
    brokers_close(&r->brokers);
    return is_signalled() ? EXIT_SIGNAL : e == OK ? 0 : 1;
}

static int usage(const char *what)
{
    fprintf(stderr, "%s\n", what);
    cli_print_options(OPTIONS);
    return 1;
}

int tool_console_consumer(int argc, char **argv)
{
    struct cli_options options;
    struct reading reading;
    char reason[CLI_REASON_BYTES];
    int status;
    if (cli_options_parse(&options, OPTIONS, argc, argv, reason) != OK) {
        status = usage(reason);
    } else if (cli_has(&options, "help")) {
        status = usage("Writes the records of a topic to standard output.");
    } else if (cli_has(&options, "version")) {
        puts(CLI_KAFKA_VERSION);
        status = 0;
    } else if (prepare(&reading, &options, reason) != OK) {
        status = usage(reason);
    } else {
        status = consume(&reading, &options);
    }
    cli_options_deinit(&options);
    return status;
}
