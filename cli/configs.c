/* kafka-configs, for topics, brokers and their loggers: text, sentences and exit statuses as Kafka 3.9.1's tool has them.
 *
 * Clients, users, addresses and client metrics, which it knows too, have no options in this broker, and are refused. A
 * broker's options, and its loggers, are asked of that broker; those of all brokers, and those of topics, of any. */
#define _GNU_SOURCE
#include "base/refuse.h"
#include "cli/brokers.h"
#include "cli/command_config.h"
#include "cli/java_order.h"
#include "cli/options.h"
#include "cli/said.h"
#include "cli/tools.h"
#include "protocol/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 60000, EDITS_MAX = 256 };

enum { SOURCE_TOPIC = 1, SOURCE_BROKER = 2, SOURCE_DEFAULT_BROKER = 3, SOURCE_LOGGER = 6 };
static const char *const SOURCES[] = {[0] = "UNKNOWN",
                                      [SOURCE_TOPIC] = "DYNAMIC_TOPIC_CONFIG",
                                      [SOURCE_BROKER] = "DYNAMIC_BROKER_CONFIG",
                                      [SOURCE_DEFAULT_BROKER] = "DYNAMIC_DEFAULT_BROKER_CONFIG",
                                      [4] = "STATIC_BROKER_CONFIG",
                                      [5] = "DEFAULT_CONFIG",
                                      [SOURCE_LOGGER] = "DYNAMIC_BROKER_LOGGER_CONFIG"};

static const struct cli_option OPTIONS[] = {
    {"bootstrap-server", CLI_VALUE, "where a broker is: host:port"},
    {"describe", CLI_FLAG, "shows what is set"},
    {"alter", CLI_FLAG, "sets and removes"},
    {"entity-type", CLI_VALUE, "topics, brokers or broker-loggers"},
    {"entity-name", CLI_VALUE, "the topic, or the number of the broker"},
    {"entity-default", CLI_FLAG, "what holds for all brokers"},
    {"topic", CLI_VALUE, "the same as --entity-type topics --entity-name"},
    {"broker", CLI_VALUE, "the same as --entity-type brokers --entity-name"},
    {"broker-defaults", CLI_FLAG, "the same as --entity-type brokers --entity-default"},
    {"broker-logger", CLI_VALUE, "the same as --entity-type broker-loggers --entity-name"},
    {"add-config", CLI_VALUE, "with --alter: name=value,name=[value,value]"},
    {"delete-config", CLI_VALUE, "with --alter: name,name"},
    {"all", CLI_FLAG, "with --describe: also what is not set"},
    {"command-config", CLI_VALUE, "a file of client options"},
    {"force", CLI_FLAG, "has no effect here: nothing is asked"},
    {"version", CLI_FLAG, "the version of Kafka whose tool this is like"},
    {"help", CLI_FLAG, "this"},
    {NULL, CLI_FLAG, NULL},
};

struct kind {
    const char *type; /* the option's value */
    const char *word; /* in sentences */
    int8_t resource;
    int8_t source;           /* what is set for it */
    const char *name_option; /* in place of the other two */
};

static const struct kind KINDS[] = {
    {"topics", "topic", 2, SOURCE_TOPIC, "topic"},
    {"brokers", "broker", 4, SOURCE_BROKER, "broker"},
    {"broker-loggers", "broker-logger", 8, SOURCE_LOGGER, "broker-logger"}};

struct configs_call {
    struct cli_options options;
    struct brokers brokers;
    const struct kind *kind;
    const char *name; /* NULL: none; "" of the default of brokers */
    struct incremental_alter_configs_request_config edits[EDITS_MAX];
    int32_t edits_n;
    char *texts; /* what they point into */
    int argc;
    char **argv;
    char reason[CLI_REASON_BYTES];
};

/* ---- asking ---- */

static err brokers_said(struct configs_call *call, err e)
{
    return refuse_with(e, call->reason, CLI_REASON_BYTES, "%s", call->brokers.reason);
}

/* Whom to ask: NULL is anybody. */
static err whom(struct configs_call *call, const char *name, struct client **client)
{
    *client = NULL;
    if (call->kind->source == SOURCE_TOPIC || *name == '\0') {
        return OK;
    }
    char *end;
    long id = strtol(name, &end, 10);
    if (end == name || *end != '\0' || id < 0 || id > INT32_MAX) {
        return refuse(call->reason, CLI_REASON_BYTES,
                      "The entity name for %s must be a valid integer broker id, but it is: %s",
                      call->kind->type, name);
    }
    err e = brokers_client(&call->brokers, (int32_t)id, client);
    return e == OK ? OK : brokers_said(call, e);
}

static err ask(struct configs_call *call, const char *name,
               struct describe_configs_response_result *result)
{
    struct client *client;
    TRY(whom(call, name, &client));
    struct describe_configs_request_resource resource;
    describe_configs_request_resource_init(&resource);
    resource.resource_type = call->kind->resource;
    resource.resource_name = str_of(name);
    resource.configuration_keys_n = -1;
    struct describe_configs_request request;
    describe_configs_request_init(&request);
    request.resources = &resource;
    request.resources_n = 1;
    request.include_synonyms = true;
    struct describe_configs_response answer;
    err e = brokers_ask(&call->brokers, client,
                        &(struct client_question){API_DESCRIBE_CONFIGS, 1, 0, &request, &answer});
    if (e != OK) {
        return brokers_said(call, e);
    }
    if (answer.results_n != 1) {
        return refuse_with(E_MALFORMED, call->reason, CLI_REASON_BYTES,
                           "an answer of something else");
    }
    *result = answer.results[0];
    return result->error_code == 0
               ? OK
               : refuse_with(result->error_code, call->reason, CLI_REASON_BYTES, "%s",
                             said_by_broker(&call->brokers.arena, result->error_code,
                                            result->error_message));
}

/* Is it set for the entity itself? */
static bool is_set(const struct configs_call *call, const char *name,
                   const struct describe_configs_response_config *c)
{
    int8_t source = call->kind->source == SOURCE_BROKER && *name == '\0' ? SOURCE_DEFAULT_BROKER
                                                                         : call->kind->source;
    return c->config_source == source;
}

/* ---- describe ---- */

static int compare_configs(const void *a, const void *b)
{
    struct str x = ((const struct describe_configs_response_config *)a)->name;
    struct str y = ((const struct describe_configs_response_config *)b)->name;
    int order = memcmp(x.data, y.data, x.len < y.len ? x.len : y.len);
    return order != 0 ? order : x.len < y.len ? -1 : x.len > y.len;
}

static void print_value(struct str value)
{
    printf("%.*s", value.data == NULL ? 4 : (int)value.len,
           value.data == NULL ? "null" : value.data);
}

static void print_config(const struct describe_configs_response_config *c)
{
    printf("  %.*s=", (int)c->name.len, c->name.data);
    print_value(c->value);
    printf(" sensitive=%s synonyms={", c->is_sensitive ? "true" : "false");
    for (int32_t i = 0; i < c->synonyms_n; i++) {
        const struct describe_configs_response_synonym *s = &c->synonyms[i];
        bool known = s->source >= 0 && s->source <= SOURCE_LOGGER;
        printf("%s%s:%.*s=", i == 0 ? "" : ", ", SOURCES[known ? s->source : 0], (int)s->name.len,
               s->name.data);
        print_value(s->value);
    }
    puts("}");
}

static void print_title(const struct configs_call *call, const char *name)
{
    const char *which = cli_has(&call->options, "all") ? "All" : "Dynamic";
    if (*name == '\0') {
        printf("Default configs for %s in the cluster are:\n", call->kind->type);
    } else {
        printf("%s configs for %s %s are:\n", which, call->kind->word, name);
    }
}

static err describe_one(struct configs_call *call, const char *name)
{
    print_title(call, name);
    struct describe_configs_response_result result;
    TRY(ask(call, name, &result));
    bool all = cli_has(&call->options, "all") || call->kind->source == SOURCE_LOGGER;
    if (result.configs_n > 0) {
        qsort(result.configs, (size_t)result.configs_n, sizeof(*result.configs), compare_configs);
    }
    for (int32_t i = 0; i < result.configs_n; i++) {
        if (all || is_set(call, name, &result.configs[i])) {
            print_config(&result.configs[i]);
        }
    }
    return OK;
}

static err describe_topics(struct configs_call *call)
{
    struct metadata_request request;
    metadata_request_init(&request);
    request.topics_n = -1;
    request.allow_auto_topic_creation = false;
    struct metadata_response answer;
    err e = brokers_ask(&call->brokers, NULL,
                        &(struct client_question){API_METADATA, 1, 0, &request, &answer});
    if (e != OK) {
        return brokers_said(call, e);
    }
    size_t n = (size_t)answer.topics_n;
    struct str *names = arena_array(&call->brokers.arena, n + 1, sizeof(*names));
    size_t *order = arena_array(&call->brokers.arena, n + 1, sizeof(*order));
    if (names == NULL || order == NULL) {
        return refuse_with(E_LIMIT, call->reason, CLI_REASON_BYTES, "too many topics");
    }
    for (size_t i = 0; i < n; i++) {
        names[i] = arena_str(&call->brokers.arena, answer.topics[i].name);
    }
    java_order(names, n, 0, order);
    for (size_t i = 0; i < n; i++) {
        TRY(describe_one(call, names[order[i]].data));
    }
    return OK;
}

static err describe(struct configs_call *call)
{
    if (call->name != NULL) {
        return describe_one(call, call->name);
    }
    if (call->kind->source == SOURCE_TOPIC) {
        return describe_topics(call);
    }
    for (int32_t i = 0; i < call->brokers.nodes_n; i++) {
        char id[16];
        snprintf(id, sizeof(id), "%d", call->brokers.nodes[i].id);
        TRY(describe_one(call, id));
    }
    return describe_one(call, "");
}

/* ---- alter ---- */

/* The next item of a list; commas within brackets are part of one. *at is moved over it. */
static char *next_item(char **at)
{
    char *item = *at;
    int depth = 0;
    for (char *c = item; *c != '\0'; c++) {
        depth += *c == '[' ? 1 : *c == ']' ? -1 : 0;
        if (*c == ',' && depth <= 0) {
            *c = '\0';
            *at = c + 1;
            return item;
        }
    }
    *at = NULL;
    return item;
}

static err add_edit(struct configs_call *call, char *item, bool removes)
{
    if (call->edits_n == EDITS_MAX) {
        return refuse(call->reason, CLI_REASON_BYTES, "more than %d options at once", EDITS_MAX);
    }
    char *equals = removes ? NULL : strchr(item, '=');
    if (!removes && equals == NULL) {
        return refuse(call->reason, CLI_REASON_BYTES,
                      "requirement failed: Invalid entity config: all configs to be added must be "
                      "in the format "
                      "\"key=val\".");
    }
    struct incremental_alter_configs_request_config *edit = &call->edits[call->edits_n++];
    *edit = (struct incremental_alter_configs_request_config){.config_operation = removes ? 1 : 0};
    if (!removes) {
        *equals = '\0';
        char *value = equals + 1;
        size_t len = strlen(value);
        if (len >= 2 && value[0] == '[' && value[len - 1] == ']') {
            value[len - 1] = '\0';
            value++;
        }
        edit->value = str_of(value);
    }
    edit->name = str_of(item);
    return OK;
}

static err read_edits(struct configs_call *call)
{
    const char *add = cli_value(&call->options, "add-config");
    const char *remove = cli_value(&call->options, "delete-config");
    if (add == NULL && remove == NULL) {
        return refuse(call->reason, CLI_REASON_BYTES,
                      "At least one of --add-config, --add-config-file, or --delete-config must be "
                      "specified with --alter");
    }
    call->texts = xasprintf("%s\n%s", add == NULL ? "" : add, remove == NULL ? "" : remove);
    char *removed = strchr(call->texts, '\n');
    *removed++ = '\0';
    for (char *at = call->texts; add != NULL && at != NULL;) {
        TRY(add_edit(call, next_item(&at), false));
    }
    for (char *at = removed; remove != NULL && at != NULL;) {
        TRY(add_edit(call, next_item(&at), true));
    }
    return OK;
}

/* What is removed must be there. */
static err check_removed(struct configs_call *call,
                         const struct describe_configs_response_result *now)
{
    char missing[512] = "";
    for (int32_t i = 0; i < call->edits_n; i++) {
        bool there = call->edits[i].config_operation == 0 || call->kind->source == SOURCE_LOGGER;
        for (int32_t j = 0; j < now->configs_n && !there; j++) {
            there = str_equal(now->configs[j].name, call->edits[i].name) &&
                    is_set(call, call->name, &now->configs[j]);
        }
        if (!there) {
            refuse_name(missing, sizeof(missing), "Invalid config(s): ", ",", call->edits[i].name);
        }
    }
    return missing[0] == '\0' ? OK : refuse(call->reason, CLI_REASON_BYTES, "%s", missing);
}

static err alter(struct configs_call *call)
{
    struct client *client;
    TRY(whom(call, call->name, &client));
    struct describe_configs_response_result now;
    TRY(ask(call, call->name, &now));
    TRY(check_removed(call, &now));
    struct incremental_alter_configs_request_resource resource = {
        .resource_type = call->kind->resource,
        .resource_name = str_of(call->name),
        .configs = call->edits,
        .configs_n = call->edits_n};
    struct incremental_alter_configs_request request;
    incremental_alter_configs_request_init(&request);
    request.resources = &resource;
    request.resources_n = 1;
    struct incremental_alter_configs_response answer;
    err e = brokers_ask(
        &call->brokers, client,
        &(struct client_question){API_INCREMENTAL_ALTER_CONFIGS, 0, 0, &request, &answer});
    if (e != OK) {
        return brokers_said(call, e);
    }
    for (int32_t i = 0; i < answer.resources_n; i++) {
        if (answer.resources[i].error_code != 0) {
            return refuse_with(answer.resources[i].error_code, call->reason, CLI_REASON_BYTES, "%s",
                               said_by_broker(&call->brokers.arena, answer.resources[i].error_code,
                                              answer.resources[i].error_message));
        }
    }
    if (*call->name == '\0') {
        printf("Completed updating default config for %s in the cluster.\n", call->kind->type);
    } else {
        printf("Completed updating config for %s %s.\n", call->kind->word, call->name);
    }
    return OK;
}

/* ---- the command line ---- */

/* --topic and its like, or --entity-type and its like. */
static err read_entity(struct configs_call *call)
{
    const struct cli_options *options = &call->options;
    const char *type =
        cli_has(options, "broker-defaults") ? "brokers" : cli_value(options, "entity-type");
    call->name = cli_has(options, "broker-defaults") || cli_has(options, "entity-default")
                     ? ""
                     : cli_value(options, "entity-name");
    for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); i++) {
        if (cli_value(options, KINDS[i].name_option) != NULL) {
            type = KINDS[i].type;
            call->name = cli_value(options, KINDS[i].name_option);
        }
        if (type != NULL && strcmp(type, KINDS[i].type) == 0) {
            call->kind = &KINDS[i];
        }
    }
    if (type == NULL) {
        return refuse(call->reason, CLI_REASON_BYTES, "At least one entity type must be specified");
    }
    if (call->kind == NULL) {
        return refuse(call->reason, CLI_REASON_BYTES,
                      "Invalid entity type %s, the entity type must be one of topics, brokers, "
                      "broker-loggers",
                      type);
    }
    bool alters = cli_has(options, "alter");
    bool must = alters || call->kind->source == SOURCE_LOGGER;
    if (must && call->name == NULL) {
        return refuse(call->reason, CLI_REASON_BYTES,
                      "an entity name must be specified with --%s of %s",
                      alters ? "alter" : "describe", type);
    }
    if (call->name != NULL && *call->name == '\0' && call->kind->source != SOURCE_BROKER) {
        return refuse(call->reason, CLI_REASON_BYTES,
                      "only brokers have a default; name one of the %s", type);
    }
    return OK;
}

static err check(struct configs_call *call)
{
    if (cli_value(&call->options, "bootstrap-server") == NULL) {
        return refuse(call->reason, CLI_REASON_BYTES, "--bootstrap-server must be specified");
    }
    TRY(read_entity(call));
    if (cli_has(&call->options, "alter")) {
        TRY(read_edits(call));
    }
    return command_config_check(cli_value(&call->options, "command-config"), call->reason);
}

/* A broker's refusal, as Kafka's tool shows an exception. */
static void said(const struct configs_call *call, err e)
{
    if (err_is_local(e) && e == E_CONFIG) {
        fprintf(stderr, "%s\n", call->reason);
        return;
    }
    fputs("Error while executing config command with args '", stderr);
    for (int i = 0; i < call->argc; i++) {
        fprintf(stderr, "%s%s", i == 0 ? "" : " ", call->argv[i]);
    }
    fprintf(stderr, "'\njava.util.concurrent.ExecutionException: %s: %s\n", kafka_exception(e),
            call->reason);
}

static int act(struct configs_call *call)
{
    err e = brokers_open(&call->brokers, cli_value(&call->options, "bootstrap-server"),
                         cli_value(&call->options, "command-config"), TIMEOUT_MS, true);
    e = e != OK                            ? brokers_said(call, e)
        : cli_has(&call->options, "alter") ? alter(call)
                                           : describe(call);
    fflush(stdout);
    if (e != OK) {
        said(call, e);
    }
    brokers_close(&call->brokers);
    return e == OK ? 0 : 1;
}

static int usage(const char *what)
{
    fprintf(stderr, "%s\n", what);
    cli_print_options(OPTIONS);
    return 1;
}

int tool_configs(int argc, char **argv)
{
    struct configs_call *call = xcalloc(1, sizeof(*call));
    call->argc = argc;
    call->argv = argv;
    int status = 1;
    if (cli_options_parse(&call->options, OPTIONS, argc, argv, call->reason) != OK) {
        status = usage(call->reason);
    } else if (cli_has(&call->options, "help")) {
        status = usage("Shows and changes options of topics and brokers.");
    } else if (cli_has(&call->options, "version")) {
        puts(CLI_KAFKA_VERSION);
        status = 0;
    } else if (cli_has(&call->options, "describe") == cli_has(&call->options, "alter")) {
        status = usage("Command must include exactly one action: --describe, --alter");
    } else if (check(call) != OK) {
        fprintf(stderr, "%s\n", call->reason);
    } else {
        status = act(call);
    }
    cli_options_deinit(&call->options);
    free(call->texts);
    free(call);
    return status;
}
