/* kafka-topics: the command line, and what is simple of its actions. Describing is in topics_describe.c, which topics
 * are meant in topics_meant.c.
 *
 * Options, sentences and exit statuses are those of Kafka 3.9.1's tool. Not here: assigning replicas of partitions
 * that are added (--alter with --replica-assignment). */
#define _GNU_SOURCE
#include "cli/topics.h"

#include "base/refuse.h"
#include "cli/command_config.h"
#include "cli/said.h"
#include "cli/tools.h"
#include "protocol/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 60000 }; /* Kafka's default.api.timeout.ms */

static const struct cli_option OPTIONS[] = {
    {"list", CLI_FLAG, "the names of all topics"},
    {"describe", CLI_FLAG, "topics, their partitions and their options"},
    {"create", CLI_FLAG, "a new topic"},
    {"alter", CLI_FLAG, "more partitions"},
    {"delete", CLI_FLAG, "topics, with all that is in them"},
    {"bootstrap-server", CLI_VALUE, "where a broker is: host:port"},
    {"topic", CLI_VALUE, "a name, or but for --create a regular expression"},
    {"topic-id", CLI_VALUE, "with --describe: the topic that has this id"},
    {"partitions", CLI_VALUE, "how many; for --create the broker's default"},
    {"replication-factor", CLI_VALUE, "with --create: replicas of each partition"},
    {"replica-assignment", CLI_VALUE, "with --create: brokers of each partition, 1:2,2:3"},
    {"config", CLI_VALUES, "with --create: an option of the topic, name=value"},
    {"if-exists", CLI_FLAG, "no error where there is no such topic"},
    {"if-not-exists", CLI_FLAG, "with --create: no error where there is one"},
    {"exclude-internal", CLI_FLAG, "without the topics of the coordinators"},
    {"topics-with-overrides", CLI_FLAG, "with --describe: only those with options of their own"},
    {"under-replicated-partitions", CLI_FLAG, "with --describe: only those"},
    {"unavailable-partitions", CLI_FLAG, "with --describe: those without a leader"},
    {"under-min-isr-partitions", CLI_FLAG, "with --describe: fewer in sync than wanted"},
    {"at-min-isr-partitions", CLI_FLAG, "with --describe: just as many as wanted"},
    {"partition-size-limit-per-response", CLI_VALUE, "has no effect here"},
    {"command-config", CLI_VALUE, "a file of client options"},
    {"version", CLI_FLAG, "the version of Kafka whose tool this is like"},
    {"help", CLI_FLAG, "this"},
    {NULL, CLI_FLAG, NULL},
};

/* Where an option may stand: the actions, by their first letters (create and list, describe, alter, delete: x). */
static const struct {
    const char *option;
    const char *actions;
} ALLOWED[] = {
    {"config", "c"},
    {"replication-factor", "c"},
    {"replica-assignment", "ca"},
    {"partitions", "ca"},
    {"if-not-exists", "c"},
    {"if-exists", "dax"},
    {"exclude-internal", "ld"},
    {"topics-with-overrides", "d"},
    {"under-replicated-partitions", "d"},
    {"unavailable-partitions", "d"},
    {"under-min-isr-partitions", "d"},
    {"at-min-isr-partitions", "d"},
    {"topic-id", "d"},
};

/* What does not go together. */
static const struct {
    const char *option;
    const char *other;
} APART[] = {
    {"partitions", "replica-assignment"},
    {"replication-factor", "replica-assignment"},
    {"topics-with-overrides", "under-replicated-partitions"},
    {"topics-with-overrides", "unavailable-partitions"},
    {"topics-with-overrides", "under-min-isr-partitions"},
    {"topics-with-overrides", "at-min-isr-partitions"},
    {"topic", "topic-id"},
};

static const struct {
    const char *option;
    char letter;
} ACTIONS[] = {{"list", 'l'}, {"describe", 'd'}, {"create", 'c'}, {"alter", 'a'}, {"delete", 'x'}};

enum { ACTIONS_N = sizeof(ACTIONS) / sizeof(ACTIONS[0]) };

static err broker_said(struct topics_call *call, err code, struct str message)
{
    return refuse_with(code, call->reason, CLI_REASON_BYTES, "%s",
                       said_by_broker(&call->brokers.arena, code, message));
}

static err asked(struct topics_call *call, err e)
{
    if (e != OK) {
        snprintf(call->reason, sizeof(call->reason), "%s", call->brokers.reason);
    }
    return e;
}

/* ---- create ---- */

static err read_configs(struct topics_call *call, struct create_topics_request_topic *topic)
{
    struct arena *arena = &call->brokers.arena;
    topic->configs = arena_array(arena, call->options.given_n, sizeof(*topic->configs));
    size_t at = 0;
    for (const char *text; (text = cli_next_value(&call->options, "config", &at)) != NULL;) {
        const char *equals = strchr(text, '=');
        if (equals == NULL) {
            return refuse(call->reason, CLI_REASON_BYTES,
                          "requirement failed: Invalid topic config: all configs to be added must "
                          "be in the format "
                          "\"key=val\".");
        }
        topic->configs[topic->configs_n++] = (struct create_topics_request_config){
            .name = {text, (size_t)(equals - text)}, .value = str_of(equals + 1)};
    }
    return OK;
}

/* The brokers of one partition, "1:2:3". */
static err read_brokers(struct topics_call *call, char *text,
                        struct create_topics_request_assignment *assignment)
{
    assignment->broker_ids = arena_array(&call->brokers.arena, strlen(text) + 1, sizeof(int32_t));
    while (text != NULL) {
        const char *one = strsep(&text, ":");
        char *end;
        long id = strtol(one, &end, 10);
        if (end == one || *end != '\0' || id < 0 || id > INT32_MAX) {
            return refuse(call->reason, CLI_REASON_BYTES,
                          "\"%s\" in --replica-assignment is no broker", one);
        }
        for (int32_t i = 0; i < assignment->broker_ids_n; i++) {
            if (assignment->broker_ids[i] == id) {
                return refuse(call->reason, CLI_REASON_BYTES,
                              "Partition replica lists may not contain duplicate entries: %ld", id);
            }
        }
        assignment->broker_ids[assignment->broker_ids_n++] = (int32_t)id;
    }
    return OK;
}

static err read_assignment(struct topics_call *call, struct create_topics_request_topic *topic)
{
    const char *given = cli_value(&call->options, "replica-assignment");
    if (given == NULL) {
        return OK;
    }
    char *text = xstrdup(given);
    char *at = text;
    topic->assignments =
        arena_array(&call->brokers.arena, strlen(given) + 1, sizeof(*topic->assignments));
    err e = OK;
    while (at != NULL && e == OK) {
        struct create_topics_request_assignment *assignment =
            &topic->assignments[topic->assignments_n];
        assignment->partition_index = topic->assignments_n++;
        e = read_brokers(call, strsep(&at, ","), assignment);
    }
    free(text);
    return e;
}

static err read_topic(struct topics_call *call, struct create_topics_request_topic *topic)
{
    create_topics_request_topic_init(topic);
    int64_t partitions = -1;
    int64_t factor = -1;
    TRY(cli_number(&call->options, "partitions", INT32_MIN, INT32_MAX, &partitions, call->reason));
    TRY(cli_number(&call->options, "replication-factor", INT32_MIN, INT32_MAX, &factor,
                   call->reason));
    TRY(read_assignment(call, topic));
    TRY(read_configs(call, topic));
    if (cli_has(&call->options, "partitions") && partitions < 1) {
        return refuse(call->reason, CLI_REASON_BYTES, "The partitions must be greater than 0");
    }
    if (cli_has(&call->options, "replication-factor") && (factor < 1 || factor > INT16_MAX)) {
        return refuse(call->reason, CLI_REASON_BYTES,
                      "The replication factor must be between 1 and 32767 inclusive");
    }
    topic->name = str_of(cli_value(&call->options, "topic"));
    topic->num_partitions = (int32_t)partitions;
    topic->replication_factor = (int16_t)factor;
    return OK;
}

static int16_t created_code(const void *response)
{
    const struct create_topics_response *answer = response;
    return answer->topics_n > 0 ? answer->topics[0].error_code : 0;
}

static err create(struct topics_call *call)
{
    struct create_topics_request_topic topic;
    TRY(read_topic(call, &topic));
    if (memchr(topic.name.data, '.', topic.name.len) != NULL ||
        memchr(topic.name.data, '_', topic.name.len) != NULL) {
        puts("WARNING: Due to limitations in metric names, topics with a period ('.') or "
             "underscore ('_') could "
             "collide. To avoid issues it is best to use either, but not both.");
    }
    struct create_topics_request request;
    create_topics_request_init(&request);
    request.topics = &topic;
    request.topics_n = 1;
    request.timeout_ms = TIMEOUT_MS / 2;
    struct create_topics_response answer;
    int16_t version_min =
        topic.assignments_n == 0 && (topic.num_partitions < 0 || topic.replication_factor < 0) ? 4
                                                                                               : 0;
    struct client_question question = {API_CREATE_TOPICS, version_min, 0, &request, &answer};
    TRY(asked(call, brokers_ask_controller(&call->brokers, &question, created_code)));
    int16_t code = created_code(&answer);
    if (code == ERR_TOPIC_ALREADY_EXISTS && cli_has(&call->options, "if-not-exists")) {
        return OK;
    }
    if (code != 0) {
        return broker_said(call, code, answer.topics[0].error_message);
    }
    printf("Created topic %.*s.\n", (int)topic.name.len, topic.name.data);
    return OK;
}

/* ---- the other ones ---- */

static err list(struct topics_call *call)
{
    struct topics_meant meant;
    TRY(topics_meant(call, &meant));
    for (size_t i = 0; i < meant.count; i++) {
        printf("%.*s\n", (int)meant.all[i]->name.len, meant.all[i]->name.data);
    }
    if (meant.count == 0) {
        putchar('\n'); /* as Kafka's does */
    }
    return OK;
}

static int16_t deleted_code(const void *response)
{
    const struct delete_topics_response *answer = response;
    return answer->topics_n > 0 ? answer->topics[0].error_code : 0;
}

static err delete (struct topics_call *call)
{
    struct topics_meant meant;
    TRY(topics_meant(call, &meant));
    if (meant.count == 0) {
        return OK;
    }
    struct delete_topics_request request;
    delete_topics_request_init(&request);
    request.topic_names = arena_array(&call->brokers.arena, meant.count, sizeof(struct str));
    for (size_t i = 0; i < meant.count; i++) {
        request.topic_names[request.topic_names_n++] = meant.all[i]->name;
    }
    request.timeout_ms = TIMEOUT_MS / 2;
    struct delete_topics_response answer;
    struct client_question question = {API_DELETE_TOPICS, 0, 5, &request,
                                       &answer}; /* later ones have ids */
    TRY(asked(call, brokers_ask_controller(&call->brokers, &question, deleted_code)));
    for (int32_t i = 0; i < answer.topics_n; i++) {
        if (answer.topics[i].error_code != 0) {
            return broker_said(call, answer.topics[i].error_code, answer.topics[i].error_message);
        }
    }
    return OK;
}

static int16_t altered_code(const void *response)
{
    const struct create_partitions_response *answer = response;
    return answer->results_n > 0 ? answer->results[0].error_code : 0;
}

static err alter(struct topics_call *call)
{
    int64_t partitions = 0;
    TRY(cli_number(&call->options, "partitions", INT32_MIN, INT32_MAX, &partitions, call->reason));
    struct topics_meant meant;
    TRY(topics_meant(call, &meant));
    if (meant.count == 0) {
        return OK;
    }
    struct create_partitions_request request;
    create_partitions_request_init(&request);
    request.topics = arena_array(&call->brokers.arena, meant.count, sizeof(*request.topics));
    for (size_t i = 0; i < meant.count; i++) {
        struct create_partitions_request_topic *topic = &request.topics[request.topics_n++];
        create_partitions_request_topic_init(topic);
        topic->name = meant.all[i]->name;
        topic->count = (int32_t)partitions;
        topic->assignments_n = -1; /* the broker chooses */
    }
    request.timeout_ms = TIMEOUT_MS / 2;
    struct create_partitions_response answer;
    struct client_question question = {API_CREATE_PARTITIONS, 0, 0, &request, &answer};
    TRY(asked(call, brokers_ask_controller(&call->brokers, &question, altered_code)));
    for (int32_t i = 0; i < answer.results_n; i++) {
        if (answer.results[i].error_code != 0) {
            return broker_said(call, answer.results[i].error_code, answer.results[i].error_message);
        }
    }
    return OK;
}

/* ---- the command line ---- */

static int usage(const char *what)
{
    fprintf(stderr, "%s\n", what);
    cli_print_options(OPTIONS);
    return 1;
}

/* The one action; E_CONFIG where an option does not go with it. */
static err check(struct topics_call *call, char *letter)
{
    const struct cli_options *options = &call->options;
    const char *action = NULL;
    int actions = 0;
    for (int i = 0; i < ACTIONS_N; i++) {
        if (cli_has(options, ACTIONS[i].option)) {
            actions++;
            action = ACTIONS[i].option;
            *letter = ACTIONS[i].letter;
        }
    }
    if (actions != 1) {
        return refuse(call->reason, CLI_REASON_BYTES,
                      "Command must include exactly one action: --list, --describe, --create, "
                      "--alter or --delete");
    }
    if (cli_value(options, "bootstrap-server") == NULL) {
        return refuse(call->reason, CLI_REASON_BYTES, "--bootstrap-server must be specified");
    }
    if (strchr("cax", *letter) != NULL && cli_value(options, "topic") == NULL) {
        return refuse(call->reason, CLI_REASON_BYTES, "Missing required argument \"[topic]\"");
    }
    for (size_t i = 0; i < sizeof(ALLOWED) / sizeof(ALLOWED[0]); i++) {
        if (cli_has(options, ALLOWED[i].option) && strchr(ALLOWED[i].actions, *letter) == NULL) {
            return refuse(call->reason, CLI_REASON_BYTES,
                          "Option \"[%s]\" can't be used with option \"[%s]\"", ALLOWED[i].option,
                          action);
        }
    }
    for (size_t i = 0; i < sizeof(APART) / sizeof(APART[0]); i++) {
        if (cli_has(options, APART[i].option) && cli_has(options, APART[i].other) &&
            *letter != 'a') {
            return refuse(call->reason, CLI_REASON_BYTES,
                          "Option \"[%s]\" can't be used with option \"[%s]\"", APART[i].other,
                          APART[i].option);
        }
    }
    if (*letter == 'a' && !cli_has(options, "partitions")) {
        return refuse(call->reason, CLI_REASON_BYTES, "Missing required argument \"[partitions]\"");
    }
    if (*letter == 'a' && cli_has(options, "replica-assignment")) {
        return refuse(call->reason, CLI_REASON_BYTES,
                      "--replica-assignment is not built for --alter: the broker chooses");
    }
    return OK;
}

static int act(struct topics_call *call, char letter)
{
    err e = brokers_open(&call->brokers, cli_value(&call->options, "bootstrap-server"),
                         cli_value(&call->options, "command-config"), TIMEOUT_MS, true);
    if (e != OK) {
        snprintf(call->reason, sizeof(call->reason), "%s", call->brokers.reason);
    } else {
        e = letter == 'l'   ? list(call)
            : letter == 'd' ? topics_describe(call)
            : letter == 'c' ? create(call)
            : letter == 'a' ? alter(call)
                            : delete (call);
    }
    int status = e == OK ? 0 : said_failure("topic", "TopicCommand", e, call->reason);
    brokers_close(&call->brokers);
    return status;
}

int tool_topics(int argc, char **argv)
{
    struct topics_call call = {0};
    char letter = 0;
    int status;
    if (argc == 0) {
        status = usage("Create, delete, describe, or change a topic.");
    } else if (cli_options_parse(&call.options, OPTIONS, argc, argv, call.reason) != OK) {
        status = usage(call.reason);
    } else if (cli_has(&call.options, "help")) {
        status = usage("This tool helps to create, delete, describe, or change a topic.");
    } else if (cli_has(&call.options, "version")) {
        puts(CLI_KAFKA_VERSION);
        status = 0;
    } else if (check(&call, &letter) != OK) {
        status = usage(call.reason);
    } else if (command_config_check(cli_value(&call.options, "command-config"), call.reason) !=
               OK) {
        fprintf(stderr, "%s\n", call.reason);
        status = 1;
    } else {
        status = act(&call, letter);
    }
    cli_options_deinit(&call.options);
    return status;
}
