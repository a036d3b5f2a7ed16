/* On a new connection ApiVersions goes first; what is asked next waits for its answer, since the version
 * depends on it. */
#include "broker/cluster/to_controller.h"

#include "base/log.h"
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
    NO_VERSION = -1,
};

/* A question to the controller on this broker. It outlives a stop. */
struct local {
    struct loop_task task;
    struct to_controller *to;
    struct question *question; /* NULL: nobody waits for it any more */
    struct arena arena;
};

struct to_controller {
    struct to_controller_config config;
    struct stream_pool streams;
    struct peer *peer;
    char client_id[CLIENT_ID_BYTES];
    struct list waiting; /* struct question */
    struct question *current;
    int32_t controller_id; /* whom the connection is to; -1 */
    struct local *local;   /* the current one, if it is asked here */
    bool stopped;

    struct peer_request hello;
    struct writer hello_frame;
    int16_t versions_max[KEY_ALLOCATE_PRODUCER_IDS + 1]; /* of the other one; NO_VERSION */

    struct peer_request asked;
    struct exchange exchange;
    struct writer frame;
    struct arena arena; /* of the answer */
};

static void go_on(struct to_controller *to);

static void finish(struct to_controller *to, err outcome)
{
    struct question *question = to->current;
    to->current = NULL;
    question->done(question, outcome);
    go_on(to);
}

/* ---- elsewhere ---- */

static bool address_of(void *context, struct peer_address *address)
{
    const struct to_controller *to = context;
    struct metadata *metadata = metadata_acquire(to->config.metadata);
    const struct broker_info *broker = metadata_broker(metadata, to->controller_id);
    const struct broker_endpoint *endpoint =
        broker == NULL ? NULL : broker_endpoint_of(broker, to->config.listener);
    if (endpoint != NULL) {
        snprintf(address->host, sizeof(address->host), "%s", endpoint->host);
        address->port = endpoint->port;
    }
    metadata_release(metadata);
    return endpoint != NULL;
}

static void forget_versions(struct to_controller *to)
{
    for (size_t i = 0; i < sizeof(to->versions_max) / sizeof(to->versions_max[0]); i++) {
        to->versions_max[i] = NO_VERSION;
    }
}

static err take_versions(struct to_controller *to, struct bytes frame)
{
    struct exchange exchange = {.api_key = KEY_API_VERSIONS, .version = API_VERSIONS_VERSION};
    struct api_versions_response response;
    arena_reset(&to->arena, ARENA_BYTES);
    TRY(exchange_decode(&exchange, frame, &to->arena, &response));
    TRY(response.error_code == OK ? OK : E_UNSUPPORTED);
    for (int32_t i = 0; i < response.api_keys_n; i++) {
        int16_t key = response.api_keys[i].api_key;
        if (key >= 0 && key <= KEY_ALLOCATE_PRODUCER_IDS) {
            to->versions_max[key] = response.api_keys[i].max_version;
        }
    }
    return OK;
}

static err send_current(struct to_controller *to);

/* The first answer on a connection: whoever waits is asked now. */
static void on_hello(struct peer_request *hello, err outcome, uint8_t *frame, size_t len)
{
    struct to_controller *to = container_of(hello, struct to_controller, hello);
    outcome = outcome == OK ? take_versions(to, bytes_of(frame, len)) : outcome;
    if (to->current == NULL || to->stopped) {
        return;
    }
    outcome = outcome == OK ? send_current(to) : outcome;
    if (outcome != OK) {
        finish(to, outcome);
    }
}

static void on_connected(void *context)
{
    forget_versions(context);
}

static void on_answer(struct peer_request *asked, err outcome, uint8_t *frame, size_t len)
{
    struct to_controller *to = container_of(asked, struct to_controller, asked);
    arena_reset(&to->arena, ARENA_BYTES);
    if (outcome == OK) {
        outcome =
            exchange_decode(&to->exchange, bytes_of(frame, len), &to->arena, to->current->response);
    }
    finish(to, outcome);
}

static err send_current(struct to_controller *to)
{
    const struct question *question = to->current;
    int16_t theirs = to->versions_max[question->api_key];
    int16_t ours = question->version_max > 0 ? question->version_max
                                             : api_schema_of(question->api_key)->version_max;
    if (theirs == NO_VERSION) {
        return E_UNSUPPORTED;
    }
    to->exchange =
        (struct exchange){.api_key = question->api_key, .version = theirs < ours ? theirs : ours};
    writer_clear(&to->frame);
    TRY(exchange_encode(&to->exchange, str_of(to->client_id), question->request, &to->frame));
    to->asked = (struct peer_request){.frame = to->frame.data,
                                      .frame_len = to->frame.len,
                                      .timeout_ms = to->config.timeout_ms,
                                      .done = on_answer};
    peer_send(to->peer, &to->asked);
    return OK;
}

static err say_hello(struct to_controller *to)
{
    struct exchange exchange = {.api_key = KEY_API_VERSIONS, .version = API_VERSIONS_VERSION};
    struct api_versions_request request;
    api_versions_request_init(&request);
    request.client_software_name = STR("ottla");
    request.client_software_version = STR("3.9.1");
    writer_clear(&to->hello_frame);
    TRY(exchange_encode(&exchange, str_of(to->client_id), &request, &to->hello_frame));
    to->hello = (struct peer_request){.frame = to->hello_frame.data,
                                      .frame_len = to->hello_frame.len,
                                      .timeout_ms = to->config.timeout_ms,
                                      .done = on_hello};
    peer_send(to->peer, &to->hello);
    return OK;
}

static void ask_elsewhere(struct to_controller *to, int32_t controller_id)
{
    if (controller_id != to->controller_id) {
        to->controller_id = controller_id;
        forget_versions(to);
        peer_disconnect(to->peer);
    }
    bool known =
        peer_is_connected(to->peer) && to->versions_max[to->current->api_key] != NO_VERSION;
    err e = known ? send_current(to) : say_hello(to);
    if (e != OK) {
        finish(to, e);
    }
}

/* ---- here ---- */

static void on_answered_here(struct loop_task *task)
{
    struct local *local = container_of(task, struct local, task);
    struct to_controller *to = local->to;
    bool awaited = local->question != NULL;
    if (awaited) {
        to->local = NULL;
        finish(to, OK);
    }
    arena_deinit(&local->arena);
    free(local);
}

/* On the control thread. */
static void on_asked_here(struct loop_task *task)
{
    struct local *local = container_of(task, struct local, task);
    const struct question *question = local->question;
    if (question != NULL) {
        message_init(api_schema_of(question->api_key)->response, question->response);
        local->to->config.answer(local->to->config.context, question->api_key, question->request,
                                 &local->arena, question->response);
    }
    local->task.run = on_answered_here;
    loop_post(local->to->config.state, &local->task);
}

static void ask_here(struct to_controller *to)
{
    struct local *local = xcalloc(1, sizeof(*local));
    *local = (struct local){.task.run = on_asked_here, .to = to, .question = to->current};
    arena_init(&local->arena, ARENA_BYTES);
    to->local = local;
    loop_post(to->config.control, &local->task);
}

/* ---- asking ---- */

static void go_on(struct to_controller *to)
{
    if (to->current != NULL || to->stopped || list_empty(&to->waiting)) {
        return;
    }
    to->current = container_of(to->waiting.next, struct question, link);
    list_remove(&to->current->link);
    struct metadata *metadata = metadata_acquire(to->config.metadata);
    int32_t controller_id = metadata->controller_id;
    metadata_release(metadata);
    if (to->current->here) {
        ask_here(to);
    } else if (controller_id < 0) {
        finish(to, E_NOT_FOUND);
    } else if (controller_id == to->config.broker_id) {
        ask_here(to);
    } else {
        ask_elsewhere(to, controller_id);
    }
}

void to_controller_ask(struct to_controller *to, struct question *question)
{
    if (to->stopped) {
        question->done(question, E_CLOSED);
        return;
    }
    list_append(&to->waiting, &question->link);
    go_on(to);
}

/* ---- life ---- */

struct to_controller *to_controller_new(const struct to_controller_config *config)
{
    struct to_controller *to = xcalloc(1, sizeof(*to));
    to->config = *config;
    to->controller_id = -1;
    snprintf(to->client_id, sizeof(to->client_id), "%d", config->broker_id);
    list_init(&to->waiting);
    stream_pool_init(&to->streams, FRAME_BYTES_MAX, NULL);
    writer_init(&to->frame, FRAME_BYTES_MAX);
    writer_init(&to->hello_frame, FRAME_BYTES_MAX);
    arena_init(&to->arena, ARENA_BYTES);
    forget_versions(to);
    const struct peer_config peer = {.loop = config->state,
                                     .streams = &to->streams,
                                     .workers = config->workers,
                                     .address = address_of,
                                     .connected = on_connected,
                                     .context = to,
                                     .connect_timeout_ms = config->connect_timeout_ms,
                                     .backoff_ms = PAUSE_MS,
                                     .backoff_max_ms = PAUSE_MAX_MS,
                                     .receive_buffer_bytes = -1};
    to->peer = peer_new(&peer);
    return to;
}

void to_controller_stop(struct to_controller *to)
{
    if (to == NULL || to->stopped) {
        return;
    }
    to->stopped = true;
    if (to->local != NULL) {
        to->local->question = NULL;
        to->local = NULL;
        finish(to, E_CLOSED);
    }
    peer_free(to->peer);
    to->peer = NULL;
    if (to->current != NULL) {
        finish(to, E_CLOSED);
    }
    list_each_safe (item, &to->waiting) {
        struct question *question = container_of(item, struct question, link);
        list_remove(item);
        question->done(question, E_CLOSED);
    }
}

void to_controller_free(struct to_controller *to)
{
    if (to == NULL) {
        return;
    }
    to_controller_stop(to);
    stream_pool_deinit(&to->streams);
    writer_deinit(&to->frame);
    writer_deinit(&to->hello_frame);
    arena_deinit(&to->arena);
    free(to);
}
