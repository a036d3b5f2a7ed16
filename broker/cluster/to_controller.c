/* One question at a time, to whoever the controller is when its turn comes. */
#include "broker/cluster/to_controller.h"

#include "protocol/error.h"

#include <stdio.h>
#include <stdlib.h>

enum { ARENA_BYTES = 256 << 20 };

/* A question to the controller on this broker. It outlives a stop. */
struct local {
    struct loop_task task;
    struct to_controller *to;
    struct question *question; /* NULL: nobody waits for it any more */
    struct arena arena;
};

struct to_controller {
    struct to_controller_config config;
    struct broker_client *client;
    struct list waiting; /* struct question */
    struct question *current;
    int32_t controller_id;        /* whom the connection is to; -1 */
    struct broker_question asked; /* the current one, if it is asked elsewhere */
    struct local *local;          /* the same here */
    bool stopped;
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

static void on_answer(struct broker_question *asked, err outcome)
{
    finish(container_of(asked, struct to_controller, asked), outcome);
}

static void ask_elsewhere(struct to_controller *to, int32_t controller_id)
{
    const struct question *question = to->current;
    if (controller_id != to->controller_id) {
        to->controller_id = controller_id;
        broker_client_move(to->client);
    }
    to->asked = (struct broker_question){.api_key = question->api_key,
                                         .version_max = question->version_max,
                                         .request = question->request,
                                         .response = question->response,
                                         .done = on_answer};
    broker_client_ask(to->client, &to->asked);
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
    list_init(&to->waiting);
    const struct broker_client_config client = {.broker_id = config->broker_id,
                                                .loop = config->state,
                                                .workers = config->workers,
                                                .address = address_of,
                                                .context = to,
                                                .security = config->security,
                                                .connect_timeout_ms = config->connect_timeout_ms,
                                                .timeout_ms = config->timeout_ms};
    to->client = broker_client_new(&client);
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
    broker_client_stop(to->client);
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
    broker_client_free(to->client);
    free(to);
}
