/* The tools in the broker's binary: those of Kafka that scripts and images call most, under Kafka's names and with
 * Kafka's text, and `health`.
 *
 * Which tool is meant is said by the name that the program was started with (kafka-topics, kafka-topics.sh: links to
 * the binary), or by the first argument (ottla topics, ottla kafka-topics.sh). */
#ifndef OTTLA_CLI_CLI_H
#define OTTLA_CLI_CLI_H

#include <stdbool.h>

struct cli_tool;

/* What a command line asks for. */
enum cli_asked {
    CLI_BROKER,       /* nothing of here */
    CLI_TOOL,         /* cli_run() */
    CLI_SERVER_START, /* kafka-server-start: the broker, with the arguments of `call` */
    CLI_UNKNOWN, /* the name of a tool that is not there; that is said already, the exit status is 2 */
};

struct cli_call {
    const struct cli_tool *tool;
    int argc;    /* those after the tool's name */
    char **argv; /* argv[-1] is there too, and is the name */
    bool daemon; /* of kafka-server-start: it was given -daemon */
};

/* `call` points into argv. */
enum cli_asked cli_find(int argc, char **argv, struct cli_call *call);
/* The same question without a word: does it ask for a broker, one way or the other? */
bool cli_asks_for_broker(int argc, char **argv);
/* Runs a tool to its end; the exit status. */
int cli_run(const struct cli_call *call);
/* The names of all tools, for people. */
void cli_print_tools(void);
/* Where `name` is no file, and may have been meant as a tool: says on stderr which tools there are. */
void cli_hint(const char *name);

#endif
