/* The broker is asked as any client would ask: CreateTopics answers when the metadata shows the topics, and what is there
 * already is no error. In a cluster brokers start at the same time, with the same list: one of them makes a topic, and it
 * is there for the others. */
#define _GNU_SOURCE
#include "cli/first_topics.h"

#include "base/refuse.h"
#include "cli/brokers.h"
#include "protocol/error.h"
#include "protocol/topic_name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 60000 };

static err wrong(const char *text, const char *what, char *reason)
{
    return refuse(reason, FIRST_TOPICS_REASON_BYTES,
                  "topic to create \"%s\": %s; it is name[:partitions[:replication[:compact]]]",
                  text, what);
}

/* A number from 1 on; "" is the default. */
static bool read_number(const char *text, long max, long *number)
{
    if (text == NULL || *text == '\0') {
        return true;
    }
    char *end;
    errno = 0;
    *number = strtol(text, &end, 10);
    return errno == 0 && *end == '\0' && *number >= 1 && *number <= max;
}

err first_topics_add(struct first_topics *topics, const char *text, char *reason)
{
    char *copy = xstrdup(text);
    char *at = copy;
    const char *name = strsep(&at, ":");
    const char *partitions = strsep(&at, ":");
    const char *replication = strsep(&at, ":");
    const char *policy = strsep(&at, ":");
    long partitions_n = -1;
    long replicas_n = -1;
    err e = OK;
    if (at != NULL) {
        e = wrong(text, "there is too much", reason);
    } else if (!topic_name_is_legal(str_of(name))) {
        e = wrong(text, "the name is not allowed", reason);
    } else if (!read_number(partitions, INT32_MAX, &partitions_n)) {
        e = wrong(text, "partitions is a number from 1 on", reason);
    } else if (!read_number(replication, INT16_MAX, &replicas_n)) {
        e = wrong(text, "replication is a number from 1 on", reason);
    } else if (policy != NULL && strcmp(policy, "compact") != 0 && strcmp(policy, "delete") != 0) {
        e = wrong(text, "the last part is compact or delete", reason);
    }
    if (e == OK) {
        topics->all = xrealloc(topics->all, (topics->count + 1) * sizeof(*topics->all));
        topics->all[topics->count++] =
            (struct first_topic){.name = xstrdup(name),
                                 .partitions = (int32_t)partitions_n,
                                 .replication = (int16_t)replicas_n,
                                 .compact = policy != NULL && strcmp(policy, "compact") == 0};
    }
    free(copy);
    return e;
}

err first_topics_add_list(struct first_topics *topics, const char *text, char *reason)
{
    char *copy = xstrdup(text);
    char *at = copy;
    err e = OK;
    for (const char *one; e == OK && (one = strsep(&at, ", \t\r\n")) != NULL;) {
        e = *one == '\0' ? OK : first_topics_add(topics, one, reason);
    }
    free(copy);
    return e;
}

void first_topics_deinit(struct first_topics *topics)
{
    for (size_t i = 0; i < topics->count; i++) {
        free(topics->all[i].name);
    }
    free(topics->all);
}

static void fill(const struct first_topic *topic, struct create_topics_request_topic *out,
                 struct create_topics_request_config *compact)
{
    create_topics_request_topic_init(out);
    out->name = str_of(topic->name);
    out->num_partitions = topic->partitions;
    out->replication_factor = topic->replication;
    out->configs = compact;
    out->configs_n = topic->compact ? 1 : 0;
}

/* OK where all are there by now; NOT_CONTROLLER where another broker has to be asked. */
static err judge(const struct create_topics_response *answer, char *reason)
{
    for (int32_t i = 0; i < answer->topics_n; i++) {
        const struct create_topics_response_topic *topic = &answer->topics[i];
        if (topic->error_code != 0 && topic->error_code != ERR_TOPIC_ALREADY_EXISTS) {
            struct str why = topic->error_message.len > 0
                                 ? topic->error_message
                                 : str_of(kafka_error_name(topic->error_code));
            return refuse_with(topic->error_code, reason, FIRST_TOPICS_REASON_BYTES,
                               "topic %.*s cannot be made: %.*s", (int)topic->name.len,
                               topic->name.data, (int)why.len, why.data);
        }
    }
    return OK;
}

static int16_t first_code(const void *response)
{
    const struct create_topics_response *answer = response;
    return answer->topics_n > 0 ? answer->topics[0].error_code : 0;
}

/* This broker itself first: in a container its advertised address need not be one that it can reach. */
static err ask(struct brokers *brokers, const struct create_topics_request *request, char *reason)
{
    struct create_topics_response answer;
    struct client_question question = {API_CREATE_TOPICS, 4, 0, request, &answer};
    err e = brokers_ask(brokers, NULL, &question);
    if (e == OK && first_code(&answer) == ERR_NOT_CONTROLLER) {
        e = brokers_ask_controller(brokers, &question, first_code);
    }
    if (e != OK) {
        return refuse_with(e, reason, FIRST_TOPICS_REASON_BYTES, "topics cannot be made: %s",
                           brokers->reason);
    }
    return judge(&answer, reason);
}

err first_topics_create(const struct first_topics *topics, const char *host, int port, char *reason)
{
    if (topics->count == 0) {
        return OK;
    }
    struct create_topics_request_config compact = {.name = STR("cleanup.policy"),
                                                   .value = STR("compact")};
    struct create_topics_request request;
    create_topics_request_init(&request);
    request.topics = xcalloc(topics->count, sizeof(*request.topics));
    for (size_t i = 0; i < topics->count; i++) {
        fill(&topics->all[i], &request.topics[request.topics_n++], &compact);
    }
    request.timeout_ms = TIMEOUT_MS / 2;
    char *bootstrap = xasprintf(strchr(host, ':') == NULL ? "%s:%d" : "[%s]:%d", host, port);
    struct brokers brokers;
    err e = brokers_open(&brokers, bootstrap, NULL, TIMEOUT_MS, false);
    if (e != OK) {
        e = refuse_with(e, reason, FIRST_TOPICS_REASON_BYTES, "topics cannot be made: %s",
                        brokers.reason);
    } else {
        e = ask(&brokers, &request, reason);
    }
    brokers_close(&brokers);
    free(bootstrap);
    free(request.topics);
    return e;
}
