/* On a new connection ApiVersions goes first; what is asked next waits for its answer, since the version
 * depends on it. */
#include "broker/cluster/broker_client.h"

#include "protocol/error.h"
#include "protocol/exchange.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    FRAME_BYTES_MAX = 64 << 20,
    ARENA_BYTES = 256 << 20,
    PAUSE_MS = 20,
    PAUSE_MAX_MS = 100,
    CLIENT_ID_BYTES = 16,
    KEY_API_VERSIONS = 18,
    API_VERSIONS_VERSION = 3, /* every broker since Kafka 2.4 has it */
    KEYS_MAX = 68,            /* what brokers ask each other is below */
    NO_VERSION = -1,
};

struct broker_client {
    struct broker_client_config config;
    struct stream_pool streams;
    struct peer *peer;
    char client_id[CLIENT_ID_BYTES];
    struct list waiting; /* struct broker_question */
    struct broker_question *current;
    bool stopped;

    struct peer_request hello;
    struct writer hello_frame;
    int16_t versions_max[KEYS_MAX]; /* of the other one; NO_VERSION */

    struct peer_request asked;
    struct exchange exchange;
    struct writer frame;
    struct arena arena; /* of the answer */
};

static void go_on(struct broker_client *client);

static void finish(struct broker_client *client, err outcome)
{
    struct broker_question *question = client->current;
    client->current = NULL;
    question->done(question, outcome);
    go_on(client);
}

static void forget_versions(struct broker_client *client)
{
    for (size_t i = 0; i < KEYS_MAX; i++) {
        client->versions_max[i] = NO_VERSION;
    }
}

static err take_versions(struct broker_client *client, struct bytes frame)
{
    struct exchange exchange = {.api_key = KEY_API_VERSIONS, .version = API_VERSIONS_VERSION};
    struct api_versions_response response;
    arena_reset(&client->arena, ARENA_BYTES);
    TRY(exchange_decode(&exchange, frame, &client->arena, &response));
    TRY(response.error_code == OK ? OK : E_UNSUPPORTED);
    for (int32_t i = 0; i < response.api_keys_n; i++) {
        int16_t key = response.api_keys[i].api_key;
        if (key >= 0 && key < KEYS_MAX) {
            client->versions_max[key] = response.api_keys[i].max_version;
        }
    }
    return OK;
}

static err send_current(struct broker_client *client);

/* The first answer on a connection: whoever waits is asked now. */
static void on_hello(struct peer_request *hello, err outcome, uint8_t *frame, size_t len)
{
    struct broker_client *client = container_of(hello, struct broker_client, hello);
    outcome = outcome == OK ? take_versions(client, bytes_of(frame, len)) : outcome;
    if (client->current == NULL || client->stopped) {
        return;
    }
    outcome = outcome == OK ? send_current(client) : outcome;
    if (outcome != OK) {
        finish(client, outcome);
    }
}

static bool address_of(void *context, struct peer_address *address)
{
    const struct broker_client *client = context;
    return client->config.address(client->config.context, address);
}

static void on_connected(void *context)
{
    forget_versions(context);
}

static void on_answer(struct peer_request *asked, err outcome, uint8_t *frame, size_t len)
{
    struct broker_client *client = container_of(asked, struct broker_client, asked);
    arena_reset(&client->arena, ARENA_BYTES);
    if (outcome == OK) {
        outcome = exchange_decode(&client->exchange, bytes_of(frame, len), &client->arena,
                                  client->current->response);
    }
    finish(client, outcome);
}

static err send_current(struct broker_client *client)
{
    const struct broker_question *question = client->current;
    int16_t theirs = client->versions_max[question->api_key];
    int16_t ours = question->version_max > 0 ? question->version_max
                                             : api_schema_of(question->api_key)->version_max;
    int16_t version = theirs < ours ? theirs : ours;
    if (theirs == NO_VERSION || version < question->version_min) {
        return E_UNSUPPORTED;
    }
    client->exchange = (struct exchange){.api_key = question->api_key, .version = version};
    writer_clear(&client->frame);
    TRY(exchange_encode(&client->exchange, str_of(client->client_id), question->request,
                        &client->frame));
    client->asked = (struct peer_request){.frame = client->frame.data,
                                          .frame_len = client->frame.len,
                                          .timeout_ms = client->config.timeout_ms,
                                          .done = on_answer};
    peer_send(client->peer, &client->asked);
    return OK;
}

static err say_hello(struct broker_client *client)
{
    struct exchange exchange = {.api_key = KEY_API_VERSIONS, .version = API_VERSIONS_VERSION};
    struct api_versions_request request;
    api_versions_request_init(&request);
    request.client_software_name = STR("ottla");
    request.client_software_version = STR("3.9.1");
    writer_clear(&client->hello_frame);
    TRY(exchange_encode(&exchange, str_of(client->client_id), &request, &client->hello_frame));
    client->hello = (struct peer_request){.frame = client->hello_frame.data,
                                          .frame_len = client->hello_frame.len,
                                          .timeout_ms = client->config.timeout_ms,
                                          .done = on_hello};
    peer_send(client->peer, &client->hello);
    return OK;
}

static void go_on(struct broker_client *client)
{
    if (client->current != NULL || client->stopped || list_empty(&client->waiting)) {
        return;
    }
    client->current = container_of(client->waiting.next, struct broker_question, link);
    list_remove(&client->current->link);
    bool known = peer_is_connected(client->peer) &&
                 client->versions_max[client->current->api_key] != NO_VERSION;
    err e = known ? send_current(client) : say_hello(client);
    if (e != OK) {
        finish(client, e);
    }
}

void broker_client_ask(struct broker_client *client, struct broker_question *question)
{
    CHECK(question->api_key >= 0 && question->api_key < KEYS_MAX);
    if (client->stopped) {
        question->done(question, E_CLOSED);
        return;
    }
    list_append(&client->waiting, &question->link);
    go_on(client);
}

void broker_client_move(struct broker_client *client)
{
    forget_versions(client);
    peer_disconnect(client->peer);
}

/* ---- life ---- */

struct broker_client *broker_client_new(const struct broker_client_config *config)
{
    struct broker_client *client = xcalloc(1, sizeof(*client));
    client->config = *config;
    snprintf(client->client_id, sizeof(client->client_id), "%d", config->broker_id);
    list_init(&client->waiting);
    stream_pool_init(&client->streams, FRAME_BYTES_MAX, NULL);
    writer_init(&client->frame, FRAME_BYTES_MAX);
    writer_init(&client->hello_frame, FRAME_BYTES_MAX);
    arena_init(&client->arena, ARENA_BYTES);
    forget_versions(client);
    const struct peer_config peer = {.loop = config->loop,
                                     .streams = &client->streams,
                                     .workers = config->workers,
                                     .address = address_of,
                                     .connected = on_connected,
                                     .context = client,
                                     .security = config->security,
                                     .connect_timeout_ms = config->connect_timeout_ms,
                                     .backoff_ms = PAUSE_MS,
                                     .backoff_max_ms = PAUSE_MAX_MS,
                                     .receive_buffer_bytes = -1};
    client->peer = peer_new(&peer);
    return client;
}

void broker_client_stop(struct broker_client *client)
{
    if (client == NULL || client->stopped) {
        return;
    }
    client->stopped = true;
    peer_free(client->peer);
    client->peer = NULL;
    if (client->current != NULL) {
        finish(client, E_CLOSED);
    }
    list_each_safe (item, &client->waiting) {
        struct broker_question *question = container_of(item, struct broker_question, link);
        list_remove(item);
        question->done(question, E_CLOSED);
    }
}

void broker_client_free(struct broker_client *client)
{
    if (client == NULL) {
        return;
    }
    broker_client_stop(client);
    stream_pool_deinit(&client->streams);
    writer_deinit(&client->frame);
    writer_deinit(&client->hello_frame);
    arena_deinit(&client->arena);
    free(client);
}
