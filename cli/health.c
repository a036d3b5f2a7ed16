/* `ottla health`: asks a broker for what it can and for the brokers that it knows. A broker answers that only when it
 * serves clients, so that one exchange says it all; a script wants the exit status, a person the line. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "cli/brokers.h"
#include "cli/options.h"
#include "cli/tools.h"

#include <stdio.h>

enum { HEALTHY = 0, UNHEALTHY = 1, USAGE_ERROR = 2, TIMEOUT_DEFAULT_MS = 5000 };

static const struct cli_option OPTIONS[] = {
    {"bootstrap-server", CLI_VALUE, "the broker to ask; localhost:9092"},
    {"command-config", CLI_VALUE, "a file of client options"},
    {"timeout-ms", CLI_VALUE, "after how long it is not healthy; 5000"},
    {"help", CLI_FLAG, "this"},
    {NULL, CLI_FLAG, NULL},
};

static int usage(const char *what)
{
    if (what != NULL) {
        fprintf(stderr, "ottla health: %s\n", what);
    }
    fprintf(stderr, "ottla health asks a broker whether it serves clients. Exit status: 0 it does, "
                    "1 it does not, 2 a "
                    "mistake in the command.\n");
    cli_print_options(OPTIONS);
    return what == NULL ? HEALTHY : USAGE_ERROR;
}

static int ask(const char *server, const char *command_config, int timeout_ms)
{
    int64_t begin_ms = clock_monotonic_ms(clock_system());
    struct brokers brokers;
    err e = brokers_open(&brokers, server, command_config, timeout_ms, false);
    int status = e == OK ? HEALTHY : UNHEALTHY;
    if (e == E_CONFIG) {
        status = usage(brokers.reason);
    } else if (e != OK) {
        printf("not healthy: %s\n", brokers.reason);
    } else if (brokers.nodes_n == 0) {
        status = UNHEALTHY;
        printf("not healthy: %s knows no broker, not even itself\n", server);
    } else {
        printf("healthy: %s, cluster %.*s, %d broker%s, controller %d, %d topic%s, %d ms\n", server,
               (int)brokers.cluster_id.len,
               brokers.cluster_id.data == NULL ? "" : brokers.cluster_id.data, brokers.nodes_n,
               brokers.nodes_n == 1 ? "" : "s", brokers.controller_id, brokers.topics_n,
               brokers.topics_n == 1 ? "" : "s",
               (int)(clock_monotonic_ms(clock_system()) - begin_ms));
    }
    brokers_close(&brokers);
    return status;
}

int tool_health(int argc, char **argv)
{
    struct cli_options options;
    char reason[CLI_REASON_BYTES];
    int64_t timeout_ms = TIMEOUT_DEFAULT_MS;
    err e = cli_options_parse(&options, OPTIONS, argc, argv, reason);
    e = e == OK ? cli_number(&options, "timeout-ms", 1, INT32_MAX, &timeout_ms, reason) : e;
    int status;
    if (e != OK) {
        status = usage(reason);
    } else if (cli_has(&options, "help")) {
        status = usage(NULL);
    } else {
        const char *server = cli_value(&options, "bootstrap-server");
        status = ask(server == NULL ? "localhost:9092" : server,
                     cli_value(&options, "command-config"), (int)timeout_ms);
    }
    cli_options_deinit(&options);
    return status;
}
