/* The list of brokers is the bootstrap server's Metadata. */
#define _GNU_SOURCE
#include "cli/brokers.h"

#include "base/clock.h"
#include "base/refuse.h"
#include "protocol/error.h"

#include <stdio.h>
#include <stdlib.h>

enum { PORT_DEFAULT = 9092, ANSWERS_LIMIT_BYTES = 512 << 20, AGAIN_US = 50000 };

/* The next of the servers, at *at; its host is cut out in place. */
static err next_server(char **at, struct client_address *to, char *reason)
{
    char *server = strsep(at, ",");
    char *port = strrchr(server, ':');
    bool bracketed = server[0] == '[';
    if (bracketed) {
        char *end = strchr(server, ']');
        port = end == NULL || end[1] != ':' ? NULL : end + 1;
        server++;
        if (end != NULL) {
            *end = '\0';
        }
    }
    to->port = PORT_DEFAULT;
    if (port != NULL) {
        char *end;
        long number = strtol(port + 1, &end, 10);
        if (end == port + 1 || *end != '\0' || number < 1 || number > 65535) {
            return refuse(reason, CLIENT_REASON_BYTES,
                          "\"%s\" is no port; a bootstrap server is host:port", port + 1);
        }
        to->port = (int)number;
        *port = '\0';
    }
    to->host = server;
    return *server == '\0' ? refuse(reason, CLIENT_REASON_BYTES, "a bootstrap server is host:port")
                           : OK;
}

/* Each of the servers once. */
static err connect_any(struct brokers *brokers, int timeout_ms)
{
    char *servers = xstrdup(brokers->bootstrap);
    char *at = servers;
    err e = refuse(brokers->reason, CLIENT_REASON_BYTES, "a bootstrap server is host:port");
    while (at != NULL) {
        struct client_address to;
        e = next_server(&at, &to, brokers->reason);
        if (e == OK) {
            e = client_open(to, &brokers->security, timeout_ms, &brokers->client, brokers->reason);
        }
        if (e == OK || e == E_CONFIG) {
            break;
        }
    }
    free(servers);
    return e;
}

static err connect_patiently(struct brokers *brokers, bool patient)
{
    int64_t deadline_ms = clock_monotonic_ms(clock_system()) + brokers->timeout_ms;
    bool said = false;
    for (;;) {
        int64_t left = deadline_ms - clock_monotonic_ms(clock_system());
        err e = connect_any(brokers, left > 1 ? (int)left : 1);
        if (e == OK) {
            client_set_timeout(brokers->client, brokers->timeout_ms);
        }
        if (e == OK || e == E_CONFIG || e == E_NOT_FOUND || !patient || left <= 0) {
            return e;
        }
        if (!said) {
            fprintf(stderr, "%s; trying for %d s\n", brokers->reason, brokers->timeout_ms / 1000);
            said = true;
        }
        clock_sleep_us(clock_system(), AGAIN_US);
    }
}

err brokers_open(struct brokers *brokers, const char *bootstrap, const char *command_config,
                 int timeout_ms, bool patient)
{
    *brokers =
        (struct brokers){.bootstrap = bootstrap, .timeout_ms = timeout_ms, .controller_id = -1};
    arena_init(&brokers->arena, ANSWERS_LIMIT_BYTES);
    TRY(command_config_read(command_config, &brokers->security, brokers->reason));
    TRY(connect_patiently(brokers, patient));
    return brokers_refresh(brokers);
}

void brokers_close(struct brokers *brokers)
{
    for (int32_t i = 0; i < brokers->nodes_n; i++) {
        client_close(brokers->nodes[i].client);
    }
    free(brokers->nodes);
    client_close(brokers->client);
    client_security_deinit(&brokers->security);
    arena_deinit(&brokers->arena);
}

err brokers_ask(struct brokers *brokers, struct client *client,
                const struct client_question *question)
{
    client = client == NULL ? brokers->client : client;
    err e = client_ask(client, question, &brokers->arena);
    if (e != OK) {
        snprintf(brokers->reason, CLIENT_REASON_BYTES, "%s", client_reason(client));
    }
    return e;
}

/* The open connection to a broker is kept when its address is the same. */
static void take_nodes(struct brokers *brokers, const struct metadata_response *answer)
{
    struct broker_node *nodes = xcalloc((size_t)answer->brokers_n + 1, sizeof(*nodes));
    for (int32_t i = 0; i < answer->brokers_n; i++) {
        const struct metadata_response_broker *b = &answer->brokers[i];
        nodes[i] = (struct broker_node){
            .id = b->node_id, .host = b->host, .port = b->port, .rack = b->rack};
        for (int32_t j = 0; j < brokers->nodes_n; j++) {
            struct broker_node *old = &brokers->nodes[j];
            if (old->id == b->node_id && old->port == b->port && str_equal(old->host, b->host)) {
                nodes[i].client = old->client;
                old->client = NULL;
            }
        }
    }
    for (int32_t j = 0; j < brokers->nodes_n; j++) {
        client_close(brokers->nodes[j].client);
    }
    free(brokers->nodes);
    brokers->nodes = nodes;
    brokers->nodes_n = answer->brokers_n;
}

err brokers_refresh(struct brokers *brokers)
{
    struct metadata_request request;
    metadata_request_init(&request);
    request.topics_n = -1; /* all; null, from version 1 on */
    request.allow_auto_topic_creation = false;
    struct metadata_response answer;
    TRY(brokers_ask(brokers, NULL,
                    &(struct client_question){API_METADATA, 1, 0, &request, &answer}));
    take_nodes(brokers, &answer);
    brokers->cluster_id = answer.cluster_id;
    brokers->controller_id = answer.controller_id;
    brokers->topics_n = answer.topics_n;
    return OK;
}

err brokers_client(struct brokers *brokers, int32_t id, struct client **client)
{
    for (int32_t i = 0; i < brokers->nodes_n; i++) {
        struct broker_node *node = &brokers->nodes[i];
        if (node->id != id) {
            continue;
        }
        if (node->client == NULL) {
            struct str host = arena_str(&brokers->arena, node->host);
            TRY(client_open((struct client_address){host.data, node->port}, &brokers->security,
                            brokers->timeout_ms, &node->client, brokers->reason));
        }
        *client = node->client;
        return OK;
    }
    return refuse_with(E_NOT_FOUND, brokers->reason, CLIENT_REASON_BYTES, "broker %d is not there",
                       id);
}

err brokers_ask_controller(struct brokers *brokers, const struct client_question *question,
                           int16_t (*error_code)(const void *response))
{
    int64_t deadline_ms = clock_monotonic_ms(clock_system()) + brokers->timeout_ms;
    for (;;) {
        bool in_time = clock_monotonic_ms(clock_system()) < deadline_ms;
        struct client *client = NULL;
        err e = brokers_client(brokers, brokers->controller_id, &client);
        if (e != OK && !in_time) {
            return e;
        }
        if (e == OK) {
            TRY(brokers_ask(brokers, client, question));
            if (error_code(question->response) != ERR_NOT_CONTROLLER || !in_time) {
                return OK;
            }
        }
        clock_sleep_us(clock_system(), AGAIN_US);
        TRY(brokers_refresh(brokers));
    }
}

void brokers_forget_client(struct brokers *brokers, struct client *client)
{
    for (int32_t i = 0; i < brokers->nodes_n; i++) {
        if (brokers->nodes[i].client == client) {
            client_close(client);
            brokers->nodes[i].client = NULL;
        }
    }
}

err brokers_reconnect(struct brokers *brokers)
{
    struct client *former = brokers->client;
    err e = connect_patiently(brokers, true);
    if (e != OK) {
        brokers->client = former;
        return e;
    }
    client_close(former);
    return OK;
}
