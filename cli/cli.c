/* Which tool is meant, and the table of them. */
#define _GNU_SOURCE
#include "cli/cli.h"

#include "cli/tools.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct cli_tool {
    const char *name; /* Kafka's without "kafka-" */
    int (*run)(int argc, char **argv);
    const char *summary;
};

static const struct cli_tool TOOLS[] = {
#define TOOL(name, function, summary) {name, function, summary},
#include "cli/tools.def"
#undef TOOL
};

enum { TOOLS_N = sizeof(TOOLS) / sizeof(TOOLS[0]) };

static const char SERVER_START[] = "server-start";

/* Without the directory, ".sh" and "kafka-". *is_kafkas: it had the latter. */
static struct str plain_name(const char *given, bool *is_kafkas)
{
    const char *slash = strrchr(given, '/');
    struct str name = str_of(slash == NULL ? given : slash + 1);
    if (name.len > 3 && memcmp(name.data + name.len - 3, ".sh", 3) == 0) {
        name.len -= 3;
    }
    *is_kafkas = name.len > 6 && memcmp(name.data, "kafka-", 6) == 0;
    if (*is_kafkas) {
        name.data += 6;
        name.len -= 6;
    }
    return name;
}

static const struct cli_tool *tool_named(struct str name)
{
    for (int i = 0; i < TOOLS_N; i++) {
        if (str_is(name, TOOLS[i].name)) {
            return &TOOLS[i];
        }
    }
    return NULL;
}

void cli_print_tools(void)
{
    for (int i = 0; i < TOOLS_N; i++) {
        printf("  %-22s%s\n", TOOLS[i].name, TOOLS[i].summary);
    }
    printf("  %-22s%s\n", SERVER_START, "the broker, with the arguments of Kafka's script");
}

static void print_names(FILE *out)
{
    for (int i = 0; i < TOOLS_N; i++) {
        fprintf(out, "%s, ", TOOLS[i].name);
    }
    fprintf(out, "%s\n", SERVER_START);
}

void cli_hint(const char *name)
{
    if (strpbrk(name, "./") == NULL && access(name, F_OK) != 0) {
        fprintf(stderr, "ottla: %s is neither a file nor a tool; tools are: ", name);
        print_names(stderr);
    }
}

/* The arguments after the first `used` ones. */
static enum cli_asked found(struct cli_call *call, int argc, char **argv, int used)
{
    call->argc = argc - used;
    call->argv = argv + used;
    if (call->tool != NULL) {
        return CLI_TOOL;
    }
    if (call->argc > 0 && strcmp(call->argv[0], "-daemon") == 0) {
        call->daemon = true;
        call->argc--;
        call->argv++;
    }
    return CLI_SERVER_START;
}

/* *unknown: a name of Kafka's that is not here. */
static enum cli_asked find(int argc, char **argv, struct cli_call *call, const char **unknown)
{
    *call = (struct cli_call){0};
    for (int i = 0; i < argc && i < 2; i++) {
        bool is_kafkas;
        struct str name = plain_name(argv[i], &is_kafkas);
        if (i == 0 && !is_kafkas) {
            continue; /* ottla, or however the binary is called */
        }
        if (i == 1 && strchr(argv[i], '/') != NULL) {
            break; /* a file */
        }
        call->tool = tool_named(name);
        if (call->tool != NULL || str_is(name, SERVER_START)) {
            return found(call, argc, argv, i + 1);
        }
        if (is_kafkas && (i == 0 || access(argv[i], F_OK) != 0)) {
            *unknown = argv[i];
            return CLI_UNKNOWN;
        }
    }
    return CLI_BROKER;
}

enum cli_asked cli_find(int argc, char **argv, struct cli_call *call)
{
    const char *unknown;
    enum cli_asked asked = find(argc, argv, call, &unknown);
    if (asked == CLI_UNKNOWN) {
        fprintf(stderr, "ottla: %s is not among the tools that are built in; these are: ", unknown);
        print_names(stderr);
    }
    return asked;
}

bool cli_asks_for_broker(int argc, char **argv)
{
    struct cli_call call;
    const char *unknown;
    enum cli_asked asked = find(argc, argv, &call, &unknown);
    return asked == CLI_BROKER || asked == CLI_SERVER_START;
}

int cli_run(const struct cli_call *call)
{
    int status = call->tool->run(call->argc, call->argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("ottla: standard output");
        return status == 0 ? 1 : status;
    }
    return status;
}
