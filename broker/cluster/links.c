/* Leaders hear first: what a broker is to follow is held back for a moment, until those that it is to
 * follow have answered.
 *
 * A link has one request under way; the next is made when that is answered, of what is untold then. A
 * broker that has started anew (its epoch has changed) or moved is another link: what was meant for the
 * one before is dropped, as the controller tells a new one everything. */
#include "broker/cluster/links.h"

#include "base/log.h"
#include "broker/cluster/untold.h"
#include "broker/net/peer.h"
#include "protocol/exchange.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    ARENA_BYTES = 1 << 30,
    FRAME_BYTES_MAX = 1 << 30,
    ANSWER_BYTES_MAX = 64 << 20,
    RETRY_MS = 100,
    CLIENT_ID_BYTES = 16,
    SAID_AGAIN = 100, /* failures between two lines of the log */
    LEADERS_MAX = 64, /* more are not waited for */
    GATHER_MS = 1,    /* until the control thread has posted all that belongs together */
    HOLD_MS = 20,
};

struct sending;

struct links {
    struct links_config config;
    struct stream_pool streams;
    char client_id[CLIENT_ID_BYTES];
    struct list all;   /* struct link */
    struct list local; /* struct sending: taken by requests_in */

    struct controller *controller; /* control thread */
};

struct link {
    struct list link;
    struct links *links;
    struct link_target target;
    struct untold untold;
    struct peer *peer; /* NULL: this broker */
    struct sending *sending;
    int failures;
    bool ends;

    /* Leaders first. */
    uint32_t leads_n;          /* how often it was given something to lead, */
    uint32_t leads_answered_n; /* and how much of that it has answered */
    struct untold held;        /* what is told when the leaders in it know of it */
    int32_t leaders[LEADERS_MAX];
    int32_t leaders_n;
    bool looks; /* the first moment is over: others may be looked at */
    int64_t held_until_ms;
    struct timer timer;
};

/* A request on its way, and its answer on the way back. */
struct sending {
    struct list link;
    struct links *links;
    struct link *of; /* NULL: it has ended meanwhile */
    int32_t broker_id;
    uint32_t leads_n; /* the link's, when it was made */
    struct told_request told;
    struct writer frame;
    struct peer_request asked;
    struct request_in in;
    struct arena arena;
    struct loop_task answer;
    union {
        struct leader_and_isr_response leader_and_isr;
        struct stop_replica_response stop_replica;
        struct update_metadata_response update_metadata;
    } response;
};

/* ---- answers ---- */

static void sending_free(struct sending *sending)
{
    arena_deinit(&sending->arena);
    writer_deinit(&sending->frame);
    free(sending);
}

/* On the control thread. Nobody asks for UpdateMetadata's answer. */
static void on_answer(struct loop_task *task)
{
    struct sending *sending = container_of(task, struct sending, answer);
    struct controller *controller = sending->links->controller;
    if (controller != NULL && sending->told.api_key != KEY_UPDATE_METADATA) {
        controller_on_answer(controller, sending->broker_id, &sending->told, &sending->response);
    }
    sending_free(sending);
}

static void go_on(struct link *link);
static void release_who_waits(struct links *links);

/* The answer is the control thread's from then on, and may have gone. */
static void answered(struct sending *sending)
{
    struct link *link = sending->of;
    bool leads = sending->told.api_key == KEY_LEADER_AND_ISR;
    uint32_t leads_n = sending->leads_n;
    sending->answer.run = on_answer;
    loop_post(sending->links->config.control, &sending->answer);
    if (link != NULL) {
        link->failures = 0;
        link->sending = NULL;
        if (leads) {
            link->leads_answered_n = leads_n;
            release_who_waits(link->links);
        }
        go_on(link);
    }
}

/* ---- to this broker ---- */

static void on_done_here(struct request_in *in)
{
    struct sending *sending = container_of(in, struct sending, in);
    list_remove(&sending->link);
    answered(sending);
}

/* By way of its bytes: what comes out is what a broker elsewhere would get. */
static void send_here(struct sending *sending, struct bytes body)
{
    const struct message *message = api_schema_of(sending->told.api_key)->request;
    void *request = arena_alloc(&sending->arena, message_struct_size(message));
    CHECK(request != NULL);
    message_init(message, request);
    struct reader reader = reader_of(body);
    err e = message_decode(message, sending->told.version, &reader, &sending->arena, request);
    CHECK(e == OK);
    sending->in = (struct request_in){.api_key = sending->told.api_key,
                                      .request = request,
                                      .response = &sending->response,
                                      .arena = &sending->arena,
                                      .done = on_done_here};
    list_append(&sending->links->local, &sending->link);
    requests_in_submit(sending->links->config.in, &sending->in);
}

/* ---- to another broker ---- */

static struct exchange exchange_of(const struct sending *sending)
{
    return (struct exchange){.api_key = sending->told.api_key, .version = sending->told.version};
}

static err read_answer(struct sending *sending, const uint8_t *frame, size_t len)
{
    struct exchange exchange = exchange_of(sending);
    arena_reset(&sending->arena, ARENA_BYTES);
    struct bytes copy = bytes_of(arena_copy(&sending->arena, bytes_of(frame, len)), len);
    CHECK(copy.data != NULL);
    return exchange_decode(&exchange, copy, &sending->arena, &sending->response);
}

static void say_failure(struct link *link, err why)
{
    if (link->failures++ % SAID_AGAIN == 0) {
        log_warn("controller",
                 "broker does not answer, asked again broker=%d address=%s:%d api=%s "
                 "error=\"%s\"",
                 link->target.id, link->target.host, link->target.port,
                 api_schema_of(link->sending->told.api_key)->name, err_text(why));
    }
}

static void on_done_there(struct peer_request *asked, err outcome, uint8_t *frame, size_t len)
{
    struct sending *sending = container_of(asked, struct sending, asked);
    struct link *link = sending->of;
    if (link->ends) {
        link->sending = NULL;
        sending_free(sending);
        return;
    }
    if (outcome == OK) {
        outcome = read_answer(sending, frame, len);
        if (outcome == OK) {
            answered(sending);
            return;
        }
        peer_refuse(link->peer);
    }
    say_failure(link, outcome);
    peer_send_first(link->peer, asked);
}

static void send_there(struct link *link, struct sending *sending, struct bytes body)
{
    struct exchange exchange = exchange_of(sending);
    err e = exchange_encode_body(&exchange, str_of(link->links->client_id), body, &sending->frame);
    CHECK(e == OK);
    sending->asked = (struct peer_request){.frame = sending->frame.data,
                                           .frame_len = sending->frame.len,
                                           .timeout_ms = link->links->config.timeout_ms,
                                           .done = on_done_there};
    peer_send(link->peer, &sending->asked);
}

/* ---- the next request ---- */

static void send_next(struct link *link, const struct told_request *told, struct bytes body)
{
    struct sending *sending = xcalloc(1, sizeof(*sending));
    sending->links = link->links;
    sending->of = link;
    sending->broker_id = link->target.id;
    sending->leads_n = link->leads_n;
    sending->told = *told;
    arena_init(&sending->arena, ARENA_BYTES);
    writer_init(&sending->frame, FRAME_BYTES_MAX);
    link->sending = sending;
    if (link->peer == NULL) {
        writer_bytes(&sending->frame, body.data, body.len); /* the request's texts are in it */
        CHECK(!sending->frame.failed);
        send_here(sending, bytes_of(sending->frame.data, sending->frame.len));
    } else {
        send_there(link, sending, body);
    }
}

static void go_on(struct link *link)
{
    struct told_request told;
    struct writer body;
    writer_init(&body, FRAME_BYTES_MAX);
    while (link->sending == NULL &&
           untold_next(&link->untold, link->links->config.inter_broker_listener, &body, &told)) {
        if (told.error == OK) {
            send_next(link, &told, bytes_of(body.data, body.len));
        } else { /* a node in the store has a text that no message can carry */
            log_error("controller", "request cannot be encoded, not sent api=%s error=\"%s\"",
                      api_schema_of(told.api_key)->name, err_text(told.error));
        }
        writer_clear(&body);
    }
    writer_deinit(&body);
}

/* ---- leaders first ---- */

static struct link *link_find(const struct links *links, int32_t id)
{
    list_each (item, &links->all) {
        struct link *link = container_of(item, struct link, link);
        if (link->target.id == id) {
            return link;
        }
    }
    return NULL;
}

/* Does a leader that what is held names not know of it yet? */
static bool waits_for_leader(const struct link *link)
{
    for (int32_t i = 0; i < link->leaders_n; i++) {
        const struct link *leader = link_find(link->links, link->leaders[i]);
        if (leader != NULL && leader->leads_answered_n != leader->leads_n) {
            return true;
        }
    }
    return false;
}

static void release(struct link *link)
{
    timer_stop(link->links->config.state, &link->timer);
    link->leaders_n = 0;
    link->looks = false;
    untold_take(&link->untold, &link->held);
    untold_deinit(&link->held);
    untold_init(&link->held);
    go_on(link);
}

static void release_if_known(struct link *link)
{
    int64_t left_ms = link->held_until_ms - loop_now_ms(link->links->config.state);
    if (left_ms <= 0 || !waits_for_leader(link)) {
        release(link);
    } else if (!timer_is_running(&link->timer)) {
        timer_start(link->links->config.state, &link->timer, left_ms);
    }
}

static void on_hold(struct timer *timer)
{
    struct link *link = container_of(timer, struct link, timer);
    link->looks = true;
    release_if_known(link);
}

static void release_who_waits(struct links *links)
{
    list_each_safe (item, &links->all) {
        struct link *link = container_of(item, struct link, link);
        if (link->looks) {
            release_if_known(link);
        }
    }
}

/* What a broker follows is told when its leaders have taken their part, or after HOLD_MS: who asks a leader
 * too early is refused, and (a Kafka broker) sleeps a second. */
static void hold(struct link *link, struct untold *followed)
{
    struct loop *state = link->links->config.state;
    if (untold_is_empty(&link->held)) {
        link->held_until_ms = loop_now_ms(state) + HOLD_MS;
        timer_start(state, &link->timer, GATHER_MS);
    }
    untold_take(&link->held, followed);
    link->leaders_n = untold_leaders(&link->held, link->leaders, link->leaders_n, LEADERS_MAX);
}

/* ---- links ---- */

static bool address_of(void *context, struct peer_address *address)
{
    const struct link *link = context;
    snprintf(address->host, sizeof(address->host), "%s", link->target.host);
    address->port = link->target.port;
    return address->port > 0 && address->host[0] != '\0';
}

static struct link *link_new(struct links *links, const struct link_target *target)
{
    struct link *link = xcalloc(1, sizeof(*link));
    link->links = links;
    link->target = *target;
    untold_init(&link->untold);
    untold_init(&link->held);
    link->timer.fire = on_hold;
    if (target->id != links->config.broker_id) {
        const struct peer_config peer = {.loop = links->config.state,
                                         .streams = &links->streams,
                                         .workers = links->config.workers,
                                         .address = address_of,
                                         .context = link,
                                         .security = links->config.security,
                                         .connect_timeout_ms = links->config.connect_timeout_ms,
                                         .backoff_ms = RETRY_MS,
                                         .backoff_max_ms = RETRY_MS,
                                         .receive_buffer_bytes = -1};
        link->peer = peer_new(&peer);
    }
    list_append(&links->all, &link->link);
    return link;
}

static void link_free(struct link *link)
{
    link->ends = true;
    list_remove(&link->link);
    peer_free(link->peer); /* what it was sending ends with it */
    if (link->sending != NULL) {
        link->sending->of = NULL; /* this broker's own: it comes back */
    }
    untold_deinit(&link->untold);
    untold_deinit(&link->held);
    timer_stop(link->links->config.state, &link->timer);
    free(link);
}

static bool is_target(const struct link *link, const struct link_target *target)
{
    return link->target.id == target->id && link->target.epoch == target->epoch &&
           link->target.port == target->port && strcmp(link->target.host, target->host) == 0;
}

static const struct link_target *target_of(const struct link *link,
                                           const struct link_target *targets, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        if (is_target(link, &targets[i])) {
            return &targets[i];
        }
    }
    return NULL;
}

/* ---- from the control thread ---- */

/* Brokers that the controller talks to from now on. */
struct targets_message {
    struct loop_task task;
    struct links *links;
    int32_t count;
    struct link_target targets[];
};

static void on_targets(struct loop_task *task)
{
    struct targets_message *message = container_of(task, struct targets_message, task);
    struct links *links = message->links;
    list_each_safe (item, &links->all) {
        struct link *link = container_of(item, struct link, link);
        if (target_of(link, message->targets, message->count) == NULL) {
            link_free(link);
        }
    }
    for (int32_t i = 0; i < message->count; i++) {
        if (link_find(links, message->targets[i].id) == NULL) {
            (void)link_new(links, &message->targets[i]);
        }
    }
    free(message);
}

static void set_targets(void *context, const struct link_target *targets, int32_t count)
{
    struct links *links = context;
    size_t bytes = (size_t)count * sizeof(*targets);
    struct targets_message *message = xcalloc(1, sizeof(*message) + bytes);
    message->task.run = on_targets;
    message->links = links;
    message->count = count;
    if (count > 0) {
        memcpy(message->targets, targets, bytes);
    }
    loop_post(links->config.state, &message->task);
}

/* A request, as its states: of one broker, which may be gone when it comes. */
struct request_message {
    struct loop_task task;
    struct links *links;
    int32_t broker_id;
    enum { TOLD_AT_ONCE, TOLD_LEADS, TOLD_FOLLOWS } kind;
    struct untold untold;
};

/* Nothing overtakes what is held. */
static void take_message(struct link *link, struct request_message *message)
{
    link->leads_n += message->kind == TOLD_LEADS ? 1 : 0;
    if (message->kind == TOLD_FOLLOWS || !untold_is_empty(&link->held)) {
        hold(link, &message->untold);
    } else {
        untold_take(&link->untold, &message->untold);
        go_on(link);
    }
}

static void on_request(struct loop_task *task)
{
    struct request_message *message = container_of(task, struct request_message, task);
    struct link *link = link_find(message->links, message->broker_id);
    if (link != NULL) {
        take_message(link, message);
    }
    untold_deinit(&message->untold);
    free(message);
}

static struct request_message *message_new(struct links *links, int32_t broker_id)
{
    struct request_message *message = xcalloc(1, sizeof(*message));
    message->task.run = on_request;
    message->links = links;
    message->broker_id = broker_id;
    return message;
}

static void send_roles(struct links *links, int32_t broker_id, int version,
                       const struct leader_and_isr_request *request)
{
    for (int led = 1; led >= 0; led--) {
        struct request_message *message = message_new(links, broker_id);
        message->kind = led == 1 ? TOLD_LEADS : TOLD_FOLLOWS;
        untold_init_of_roles(&message->untold, version, request, broker_id, led == 1);
        if (untold_is_empty(&message->untold)) {
            untold_deinit(&message->untold);
            free(message);
        } else {
            loop_post(links->config.state, &message->task);
        }
    }
}

static void send_to(void *context, int32_t broker_id, int16_t api_key, int version,
                    const void *request)
{
    struct links *links = context;
    if (api_key == KEY_LEADER_AND_ISR) {
        send_roles(links, broker_id, version, request);
        return;
    }
    struct request_message *message = message_new(links, broker_id);
    untold_init_of(&message->untold, api_key, version, request);
    loop_post(links->config.state, &message->task);
}

struct controller_links links_of(struct links *links)
{
    return (struct controller_links){.send = send_to, .set_targets = set_targets, .context = links};
}

/* ---- life ---- */

struct links *links_new(const struct links_config *config)
{
    struct links *links = xcalloc(1, sizeof(*links));
    links->config = *config;
    stream_pool_init(&links->streams, ANSWER_BYTES_MAX, NULL);
    snprintf(links->client_id, sizeof(links->client_id), "%d", config->broker_id);
    list_init(&links->all);
    list_init(&links->local);
    return links;
}

void links_set_controller(struct links *links, struct controller *controller)
{
    links->controller = controller;
}

bool links_have_untold(const struct links *links)
{
    list_each (item, &links->all) {
        const struct link *link = container_of(item, struct link, link);
        bool told =
            link->sending == NULL && untold_is_empty(&link->untold) && untold_is_empty(&link->held);
        if (!told && link->failures == 0) {
            return true;
        }
    }
    return false;
}

void links_stop(struct links *links)
{
    if (links == NULL) {
        return;
    }
    list_each_safe (item, &links->all) {
        link_free(container_of(item, struct link, link));
    }
}

void links_free(struct links *links)
{
    if (links == NULL) {
        return;
    }
    links_stop(links);
    CHECK(list_empty(&links->local));
    stream_pool_deinit(&links->streams);
    free(links);
}
