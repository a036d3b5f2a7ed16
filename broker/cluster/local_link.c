/* A request is kept as its bytes, so that the controller may go on and change its model; what comes
 * out at the other end is what a broker elsewhere would get. One that has not been carried out when
 * the broker ends (a start that failed) is freed: then there is no controller any more. */
#include "broker/cluster/local_link.h"

#include "base/log.h"
#include "protocol/codec.h"

#include <stdlib.h>

enum { ARENA_BYTES = 1 << 30 };

struct delivery {
    struct loop_task task;
    struct local_link *link;
    int16_t api_key;
    int version;
    struct writer bytes;
};

/* Answers the controller; nobody asks for UpdateMetadata's answer. */
static void deliver(struct local_link *link, int16_t api_key, const void *request,
                    struct arena *arena)
{
    union {
        struct leader_and_isr_response leader_and_isr;
        struct stop_replica_response stop_replica;
        struct update_metadata_response update_metadata;
    } answer;
    int32_t controller_epoch = -1;
    if (api_key == KEY_LEADER_AND_ISR) {
        const struct leader_and_isr_request *lisr = request;
        controller_epoch = lisr->controller_epoch;
        requests_in_leader_and_isr(link->in, lisr, arena, &answer.leader_and_isr);
    } else if (api_key == KEY_STOP_REPLICA) {
        const struct stop_replica_request *stop = request;
        controller_epoch = stop->controller_epoch;
        requests_in_stop_replica(link->in, stop, arena, &answer.stop_replica);
    } else {
        CHECK(api_key == KEY_UPDATE_METADATA);
        requests_in_update_metadata(link->in, request, &answer.update_metadata);
        return;
    }
    controller_on_answer(link->controller, link->broker_id, api_key, controller_epoch, &answer);
}

static void carry_out(struct delivery *delivery, struct arena *arena)
{
    const struct message *message = api_schema_of(delivery->api_key)->request;
    void *request = arena_alloc(arena, message_struct_size(message));
    CHECK(request != NULL);
    message_init(message, request);
    struct reader reader = reader_of(bytes_of(delivery->bytes.data, delivery->bytes.len));
    err e = message_decode(message, delivery->version, &reader, arena, request);
    CHECK(e == OK);
    deliver(delivery->link, delivery->api_key, request, arena);
}

static void on_delivery(struct loop_task *task)
{
    struct delivery *delivery = container_of(task, struct delivery, task);
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    if (delivery->link->controller != NULL) {
        carry_out(delivery, &arena);
    }
    arena_deinit(&arena);
    writer_deinit(&delivery->bytes);
    free(delivery);
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
    *delivery = (struct delivery){
        .task.run = on_delivery, .link = link, .api_key = api_key, .version = version};
    writer_init(&delivery->bytes, ARENA_BYTES);
    err e = message_encode(api_schema_of(api_key)->request, version, request, &delivery->bytes);
    if (e != OK) { /* a node in the store has a text that no message can carry */
        log_error("controller", "request cannot be encoded, not sent api=%s error=\"%s\"",
                  api_schema_of(api_key)->name, err_text(e));
        writer_deinit(&delivery->bytes);
        free(delivery);
        return;
    }
    loop_post(link->control, &delivery->task);
}
