/* A request is kept as its bytes, so that the controller may go on and change its model; what comes
 * out at the other end is what a broker elsewhere would get. One that has not been carried out when
 * the broker ends (a start that failed) is freed: then there is no controller any more. */
#include "broker/cluster/local_link.h"

#include "base/log.h"
#include "broker/broker.h"
#include "broker/housekeeping.h"
#include "protocol/codec.h"

#include <stdlib.h>

enum { ARENA_BYTES = 1 << 30 };

struct delivery {
    struct loop_task task;
    struct broker *broker;
    int16_t api_key;
    int version;
    struct writer bytes;
};

static void leader_and_isr(struct broker *broker, const struct leader_and_isr_request *request,
                           struct arena *arena)
{
    struct leader_and_isr_response response;
    leader_and_isr_response_init(&response);
    replicas_leader_and_isr(broker->replicas, request, broker->epoch, arena, &response);
    controller_on_answer(broker->controller, broker->id, KEY_LEADER_AND_ISR,
                         request->controller_epoch, &response);
}

static void stop_replica(struct broker *broker, const struct stop_replica_request *request,
                         struct arena *arena)
{
    struct stop_replica_response response;
    stop_replica_response_init(&response);
    replicas_stop_replica(broker->replicas, request, broker->epoch, arena, &response);
    housekeeping_expect_removal(broker->housekeeping);
    controller_on_answer(broker->controller, broker->id, KEY_STOP_REPLICA,
                         request->controller_epoch, &response);
}

static void on_topic_removed(void *context, struct str topic)
{
    struct broker *broker = context;
    topic_configs_forget(broker->topic_configs, topic);
    coordinator_topic_deleted(broker->coordinator, topic);
}

static void update_metadata(struct broker *broker, const struct update_metadata_request *request)
{
    metadata_update(broker->metadata, request, on_topic_removed, broker);
    metadata_waits_check(broker->metadata_waits);
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
    switch (delivery->api_key) {
    case KEY_LEADER_AND_ISR:
        leader_and_isr(delivery->broker, request, arena);
        break;
    case KEY_STOP_REPLICA:
        stop_replica(delivery->broker, request, arena);
        break;
    default:
        CHECK(delivery->api_key == KEY_UPDATE_METADATA);
        update_metadata(delivery->broker, request);
        break;
    }
}

static void on_delivery(struct loop_task *task)
{
    struct delivery *delivery = container_of(task, struct delivery, task);
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    if (delivery->broker->controller != NULL) {
        carry_out(delivery, &arena);
    }
    arena_deinit(&arena);
    writer_deinit(&delivery->bytes);
    free(delivery);
}

void local_link_send(void *context, int32_t broker_id, int16_t api_key, int version,
                     const void *request)
{
    struct broker *broker = context;
    if (broker_id != broker->id) {
        log_error("controller",
                  "request not sent: there are no connections between brokers "
                  "broker=%d api=%s",
                  broker_id, api_schema_of(api_key)->name);
        return;
    }
    struct delivery *delivery = xcalloc(1, sizeof(*delivery));
    *delivery = (struct delivery){
        .task.run = on_delivery, .broker = broker, .api_key = api_key, .version = version};
    writer_init(&delivery->bytes, ARENA_BYTES);
    err e = message_encode(api_schema_of(api_key)->request, version, request, &delivery->bytes);
    if (e != OK) { /* a node in the store has a text that no message can carry */
        log_error("controller", "request cannot be encoded, not sent api=%s error=\"%s\"",
                  api_schema_of(api_key)->name, err_text(e));
        writer_deinit(&delivery->bytes);
        free(delivery);
        return;
    }
    loop_post(broker->control, &delivery->task);
}
