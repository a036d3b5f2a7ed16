/* A request is copied by way of its bytes, so that the controller may go on and change its model; what
 * comes out at the other end is what a broker elsewhere would get. An answer that comes when the broker
 * ends (or to a start that failed) is freed: then there is no controller any more. */
#include "broker/cluster/local_link.h"

#include "base/log.h"
#include "protocol/codec.h"

#include <stdlib.h>

enum { ARENA_BYTES = 1 << 30 };

struct delivery {
    struct request_in in;
    struct loop_task answer;
    struct local_link *link;
    int32_t controller_epoch;
    struct arena arena;
    struct writer bytes; /* the request's texts are in it */
    union {
        struct leader_and_isr_response leader_and_isr;
        struct stop_replica_response stop_replica;
        struct update_metadata_response update_metadata;
    } response;
};

static void delivery_free(struct delivery *delivery)
{
    arena_deinit(&delivery->arena);
    writer_deinit(&delivery->bytes);
    free(delivery);
}

/* On the control thread. Nobody asks for UpdateMetadata's answer. */
static void on_answer(struct loop_task *task)
{
    struct delivery *delivery = container_of(task, struct delivery, answer);
    struct local_link *link = delivery->link;
    if (link->controller != NULL && delivery->in.api_key != KEY_UPDATE_METADATA) {
        controller_on_answer(link->controller, link->broker_id, delivery->in.api_key,
                             delivery->controller_epoch, &delivery->response);
    }
    delivery_free(delivery);
}

/* On the state thread. */
static void on_done(struct request_in *in)
{
    struct delivery *delivery = container_of(in, struct delivery, in);
    loop_post(delivery->link->control, &delivery->answer);
}

static int32_t controller_epoch_of(int16_t api_key, const void *request)
{
    switch (api_key) {
    case KEY_LEADER_AND_ISR:
        return ((const struct leader_and_isr_request *)request)->controller_epoch;
    case KEY_STOP_REPLICA:
        return ((const struct stop_replica_request *)request)->controller_epoch;
    default:
        CHECK(api_key == KEY_UPDATE_METADATA);
        return ((const struct update_metadata_request *)request)->controller_epoch;
    }
}

/* The request by way of its bytes. */
static err copy(struct delivery *delivery, int version, const void *request)
{
    const struct message *message = api_schema_of(delivery->in.api_key)->request;
    TRY(message_encode(message, version, request, &delivery->bytes));
    void *out = arena_alloc(&delivery->arena, message_struct_size(message));
    CHECK(out != NULL);
    message_init(message, out);
    struct reader reader = reader_of(bytes_of(delivery->bytes.data, delivery->bytes.len));
    err e = message_decode(message, version, &reader, &delivery->arena, out);
    CHECK(e == OK);
    delivery->in.request = out;
    return OK;
}

void local_link_send(void *context, int32_t broker_id, int16_t api_key, int version,
                     const void *request)
{
    struct local_link *link = context;
    if (broker_id != link->broker_id) {
        log_error("controller",
                  "request not sent: there are no connections between brokers "
                  "broker=%d api=%s",
                  broker_id, api_schema_of(api_key)->name);
        return;
    }
    struct delivery *delivery = xcalloc(1, sizeof(*delivery));
    delivery->link = link;
    delivery->answer.run = on_answer;
    delivery->controller_epoch = controller_epoch_of(api_key, request);
    arena_init(&delivery->arena, ARENA_BYTES);
    writer_init(&delivery->bytes, ARENA_BYTES);
    delivery->in.api_key = api_key;
    delivery->in.response = &delivery->response;
    delivery->in.arena = &delivery->arena;
    delivery->in.done = on_done;
    err e = copy(delivery, version, request);
    if (e != OK) { /* a node in the store has a text that no message can carry */
        log_error("controller", "request cannot be encoded, not sent api=%s error=\"%s\"",
                  api_schema_of(api_key)->name, err_text(e));
        delivery_free(delivery);
        return;
    }
    requests_in_submit(link->in, &delivery->in);
}
