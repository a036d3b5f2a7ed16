/* kafka-broker-api-versions: for each broker the APIs it has, in which versions, and in which one the client of
 * Kafka 3.9.1 would use it; and those that the client has and the broker does not. Text as Kafka's tool prints it. */
#define _GNU_SOURCE
#include "cli/brokers.h"
#include "cli/command_config.h"
#include "cli/options.h"
#include "cli/tools.h"

#include <stdio.h>

enum { TIMEOUT_MS = 10000 };

static const struct cli_option OPTIONS[] = {
    {"bootstrap-server", CLI_VALUE, "where a broker is: host:port"},
    {"command-config", CLI_VALUE, "a file of client options"},
    {"version", CLI_FLAG, "the version of Kafka whose tool this is like"},
    {"help", CLI_FLAG, "this"},
    {NULL, CLI_FLAG, NULL},
};

struct client_api {
    int16_t key;
    const char *name;
    int16_t min;
    int16_t max;
};

static const struct client_api CLIENT_APIS[] = {
#define CLIENT_API(key, name, min, max) {key, #name, min, max},
#include "cli/client_apis.def"
#undef CLIENT_API
};

enum { CLIENT_APIS_N = sizeof(CLIENT_APIS) / sizeof(CLIENT_APIS[0]) };

static const struct api_versions_response_api_key *offered(const struct client *client, int16_t key)
{
    const struct api_versions_response *apis = client_apis(client);
    for (int32_t i = 0; i < apis->api_keys_n; i++) {
        if (apis->api_keys[i].api_key == key) {
            return &apis->api_keys[i];
        }
    }
    return NULL;
}

static const struct client_api *known(int16_t key)
{
    for (int i = 0; i < CLIENT_APIS_N; i++) {
        if (CLIENT_APIS[i].key == key) {
            return &CLIENT_APIS[i];
        }
    }
    return NULL;
}

static void print_range(int16_t min, int16_t max)
{
    printf(min == max ? "%d" : "%d to %d", min, max);
}

static void print_api(const struct client_api *ours,
                      const struct api_versions_response_api_key *theirs, int16_t key)
{
    printf("\t%s(%d): ", ours == NULL ? "UNKNOWN" : ours->name, key);
    if (theirs == NULL) {
        fputs("UNSUPPORTED", stdout);
        return;
    }
    print_range(theirs->min_version, theirs->max_version);
    if (ours == NULL) {
        return;
    }
    if (theirs->min_version > ours->max) {
        fputs(" [unusable: node too new]", stdout);
    } else if (theirs->max_version < ours->min) {
        fputs(" [unusable: node too old]", stdout);
    } else {
        printf(" [usable: %d]", theirs->max_version < ours->max ? theirs->max_version : ours->max);
    }
}

static void print_broker(const struct broker_node *node)
{
    struct str rack = node->rack.data == NULL ? STR("null") : node->rack;
    printf("%.*s:%d (id: %d rack: %.*s) -> (\n", (int)node->host.len, node->host.data, node->port,
           node->id, (int)rack.len, rack.data);
    bool first = true;
    for (int32_t key = 0; key <= INT16_MAX; key++) { /* both lists, ascending */
        const struct client_api *ours = known((int16_t)key);
        const struct api_versions_response_api_key *theirs = offered(node->client, (int16_t)key);
        if (ours == NULL && theirs == NULL) {
            continue;
        }
        fputs(first ? "" : ",\n", stdout);
        first = false;
        print_api(ours, theirs, (int16_t)key);
    }
    puts("\n)");
}

static int ask(const char *bootstrap, const char *command_config)
{
    struct brokers brokers;
    err e = brokers_open(&brokers, bootstrap, command_config, TIMEOUT_MS, false);
    if (e != OK) {
        fprintf(stderr, "%s\n", brokers.reason);
    }
    for (int32_t i = 0; e == OK && i < brokers.nodes_n; i++) {
        struct client *client;
        if (brokers_client(&brokers, brokers.nodes[i].id, &client) == OK) {
            print_broker(&brokers.nodes[i]);
        } else {
            const struct broker_node *node = &brokers.nodes[i];
            printf("%.*s:%d (id: %d rack: %.*s) -> ERROR: %s\n", (int)node->host.len,
                   node->host.data, node->port, node->id,
                   node->rack.data == NULL ? 4 : (int)node->rack.len,
                   node->rack.data == NULL ? "null" : node->rack.data, brokers.reason);
        }
    }
    brokers_close(&brokers);
    return e == OK ? 0 : 1;
}

static int usage(const char *what)
{
    fprintf(stderr, "%s\n", what);
    cli_print_options(OPTIONS);
    return 1;
}

int tool_broker_api_versions(int argc, char **argv)
{
    struct cli_options options;
    char reason[CLI_REASON_BYTES];
    int status;
    if (cli_options_parse(&options, OPTIONS, argc, argv, reason) != OK) {
        status = usage(reason);
    } else if (cli_has(&options, "help")) {
        status = usage("Shows what each broker can, and in which versions.");
    } else if (cli_has(&options, "version")) {
        puts(CLI_KAFKA_VERSION);
        status = 0;
    } else if (cli_value(&options, "bootstrap-server") == NULL) {
        status = usage("Missing required argument \"[bootstrap-server]\"");
    } else if (command_config_check(cli_value(&options, "command-config"), reason) != OK) {
        fprintf(stderr, "%s\n", reason);
        status = 1;
    } else {
        status =
            ask(cli_value(&options, "bootstrap-server"), cli_value(&options, "command-config"));
    }
    cli_options_deinit(&options);
    return status;
}
