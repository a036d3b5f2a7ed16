#include "broker/cluster/leaving.h"

#include "base/log.h"
#include "broker/cluster/control_keys.h"
#include "broker/net/peer.h"
#include "protocol/error.h"
#include "protocol/exchange.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    ARENA_BYTES = 64 << 20,
    FRAME_BYTES_MAX = 64 << 20,
    CLIENT_ID_BYTES = 16,
    LOOK_MS = 10,
};

struct leaving {
    struct leaving_config config;
    struct loop_task begin;
    void (*done)(void *context);
    void *done_context;

    struct stream_pool streams;
    struct peer *peer;
    struct peer_request asked;
    struct writer frame;
    struct arena arena;
    struct exchange exchange;
    struct timer timer;
    struct loop_task look;
    int32_t tries;
    bool answered;
    bool ended;
    int64_t until_ms;
};

static void finish(struct leaving *leaving)
{
    leaving->ended = true;
    leaving->done(leaving->done_context);
}

/* That others lead comes as LeaderAndIsr; the controller's own word goes out with its links. */
static void wait_until_not_needed(struct leaving *leaving)
{
    bool needed = leaving->config.is_needed(leaving->config.context);
    if (!needed || loop_now_ms(leaving->config.state) >= leaving->until_ms) {
        finish(leaving);
    } else {
        timer_start(leaving->config.state, &leaving->timer, LOOK_MS);
    }
}

static void on_look(struct loop_task *task)
{
    wait_until_not_needed(container_of(task, struct leaving, look));
}

static void ask(struct leaving *leaving);

static void failed(struct leaving *leaving, const char *why)
{
    log_warn("broker", "the controller does not let this broker go try=%d reason=\"%s\"",
             leaving->tries, why);
    if (leaving->tries < leaving->config.tries_max) {
        timer_start(leaving->config.state, &leaving->timer, leaving->config.pause_ms);
    } else {
        finish(leaving);
    }
}

static void on_timer(struct timer *timer)
{
    struct leaving *leaving = container_of(timer, struct leaving, timer);
    if (leaving->answered) {
        wait_until_not_needed(leaving);
    } else {
        ask(leaving);
    }
}

static void take(struct leaving *leaving, const struct controlled_shutdown_response *response)
{
    if (response->error_code != OK) {
        failed(leaving, kafka_error_name(response->error_code));
    } else if (response->remaining_partitions_n > 0) {
        char why[64];
        snprintf(why, sizeof(why), "%d partitions have no other replica in sync",
                 response->remaining_partitions_n);
        failed(leaving, why);
    } else {
        leaving->answered = true;
        leaving->until_ms = loop_now_ms(leaving->config.state) + LEAVE_WAIT_MS;
        /* Behind the words of this broker's own controller: they were posted before it answered, but a
         * turn reads sockets first, and on a busy machine one finds both. */
        loop_post(leaving->config.state, &leaving->look);
    }
}

static void on_answer(struct peer_request *asked, err outcome, uint8_t *frame, size_t len)
{
    struct leaving *leaving = container_of(asked, struct leaving, asked);
    struct controlled_shutdown_response response;
    if (leaving->ended) {
        return;
    }
    arena_reset(&leaving->arena, ARENA_BYTES);
    outcome = outcome == OK ? exchange_decode(&leaving->exchange, bytes_of(frame, len),
                                              &leaving->arena, &response)
                            : outcome;
    if (outcome != OK) {
        failed(leaving, err_text(outcome));
    } else {
        take(leaving, &response);
    }
}

static void ask(struct leaving *leaving)
{
    struct controlled_shutdown_request request;
    controlled_shutdown_request_init(&request);
    request.broker_id = leaving->config.broker_id;
    request.broker_epoch = leaving->config.broker_epoch(leaving->config.context);
    char client_id[CLIENT_ID_BYTES];
    snprintf(client_id, sizeof(client_id), "%d", leaving->config.broker_id);
    leaving->tries++;
    leaving->exchange =
        (struct exchange){.api_key = KEY_CONTROLLED_SHUTDOWN, .version = leaving->config.version};
    writer_clear(&leaving->frame);
    err e = exchange_encode(&leaving->exchange, str_of(client_id), &request, &leaving->frame);
    CHECK(e == OK);
    leaving->asked = (struct peer_request){.frame = leaving->frame.data,
                                           .frame_len = leaving->frame.len,
                                           .timeout_ms = leaving->config.timeout_ms,
                                           .done = on_answer};
    peer_disconnect(leaving->peer); /* the controller may be another one than at the last try */
    peer_send(leaving->peer, &leaving->asked);
}

static bool address_of(void *context, struct peer_address *address)
{
    const struct leaving *leaving = context;
    struct metadata *metadata = metadata_acquire(leaving->config.metadata);
    const struct broker_info *broker = metadata_broker(metadata, metadata->controller_id);
    const struct broker_endpoint *endpoint =
        broker == NULL ? NULL : broker_endpoint_of(broker, leaving->config.listener);
    if (endpoint != NULL) {
        snprintf(address->host, sizeof(address->host), "%s", endpoint->host);
        address->port = endpoint->port;
    }
    metadata_release(metadata);
    return endpoint != NULL;
}

static bool others_live(const struct leaving *leaving)
{
    struct metadata *metadata = metadata_acquire(leaving->config.metadata);
    bool others = metadata->brokers_n > 1;
    metadata_release(metadata);
    return others;
}

static void on_begin(struct loop_task *task)
{
    struct leaving *leaving = container_of(task, struct leaving, begin);
    if (others_live(leaving)) {
        leaving->config.begins(leaving->config.context);
        ask(leaving);
    } else {
        finish(leaving); /* nobody else could lead */
    }
}

struct leaving *leaving_new(const struct leaving_config *config)
{
    struct leaving *leaving = xcalloc(1, sizeof(*leaving));
    leaving->config = *config;
    leaving->begin.run = on_begin;
    leaving->look.run = on_look;
    leaving->timer.fire = on_timer;
    stream_pool_init(&leaving->streams, FRAME_BYTES_MAX, NULL);
    writer_init(&leaving->frame, FRAME_BYTES_MAX);
    arena_init(&leaving->arena, ARENA_BYTES);
    const struct peer_config peer = {.loop = config->state,
                                     .streams = &leaving->streams,
                                     .workers = config->workers,
                                     .address = address_of,
                                     .context = leaving,
                                     .security = config->security,
                                     .connect_timeout_ms = config->connect_timeout_ms,
                                     .backoff_ms = LOOK_MS,
                                     .backoff_max_ms = LOOK_MS,
                                     .receive_buffer_bytes = -1};
    leaving->peer = peer_new(&peer);
    return leaving;
}

void leaving_begin(struct leaving *leaving, void (*done)(void *context), void *context)
{
    leaving->done = done;
    leaving->done_context = context;
    loop_post(leaving->config.state, &leaving->begin);
}

void leaving_free(struct leaving *leaving)
{
    if (leaving == NULL) {
        return;
    }
    leaving->ended = true;
    timer_stop(leaving->config.state, &leaving->timer);
    peer_free(leaving->peer);
    stream_pool_deinit(&leaving->streams);
    writer_deinit(&leaving->frame);
    arena_deinit(&leaving->arena);
    free(leaving);
}
