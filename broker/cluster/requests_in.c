/* Fence, then hand over: what is done is replicas.c's and metadata.c's.
 *
 * Errands are what this asks of the control thread: to read a topic's options, to forget a topic. They
 * are done in order, so that a topic that is made again is read again. */
#include "broker/cluster/requests_in.h"

#include "base/log.h"

#include <pthread.h>
#include <stdlib.h>

/* `read` or forget the topic; at its end `read` errands come back, for logs to take what was read. */
struct errand {
    struct requests_in *in;
    struct loop_task task;
    bool read;
    bool all; /* nothing is read: what all topics inherit has changed */
    size_t topics_n;
    struct str *topics; /* owned, each of them */
};

struct requests_in {
    struct requests_in_config config;
    _Atomic int64_t broker_epoch; /* -1: not registered yet */

    /* State thread. */
    int32_t controller_epoch; /* the highest seen */
    struct list queue;        /* struct request_in */
    struct errand *awaited;   /* the first one waits for it */
    bool has_waited;          /* it has, and must not again */
    struct timer timer;
};

static void on_wait_over(struct timer *timer);

struct requests_in *requests_in_new(const struct requests_in_config *config)
{
    struct requests_in *in = xcalloc(1, sizeof(*in));
    in->config = *config;
    atomic_store(&in->broker_epoch, -1);
    list_init(&in->queue);
    in->timer.fire = on_wait_over;
    return in;
}

void requests_in_free(struct requests_in *in)
{
    CHECK(in == NULL || list_empty(&in->queue));
    free(in);
}

void requests_in_set_broker_epoch(struct requests_in *in, int64_t broker_epoch)
{
    atomic_store(&in->broker_epoch, broker_epoch);
}

int64_t requests_in_broker_epoch(const struct requests_in *in)
{
    return atomic_load(&in->broker_epoch);
}

/* ---- errands ---- */

static void errand_free(struct errand *errand)
{
    for (size_t i = 0; i < errand->topics_n; i++) {
        free((void *)(uintptr_t)errand->topics[i].data);
    }
    free(errand->topics);
    free(errand);
}

static struct errand *errand_new(struct requests_in *in, bool read)
{
    struct errand *errand = xcalloc(1, sizeof(*errand));
    errand->in = in;
    errand->read = read;
    return errand;
}

static void errand_add(struct errand *errand, struct str topic)
{
    errand->topics = xrealloc(errand->topics, (errand->topics_n + 1) * sizeof(*errand->topics));
    errand->topics[errand->topics_n++] = (struct str){.data = str_dup(topic), .len = topic.len};
}

static void go_on(struct requests_in *in);

static void wait_ends(struct requests_in *in)
{
    timer_stop(in->config.state, &in->timer);
    in->awaited = NULL;
    in->has_waited = true;
}

static void on_wait_over(struct timer *timer)
{
    struct requests_in *in = container_of(timer, struct requests_in, timer);
    log_warn(
        "replicas",
        "options of new partitions' topics cannot be read yet; until then nothing is deleted by "
        "retention, and all replicas must have what is acknowledged topics=%zu first=%s",
        in->awaited->topics_n, in->awaited->topics[0].data);
    wait_ends(in);
    go_on(in);
}

/* On the state thread: what was read is in force. */
static void on_read(struct loop_task *task)
{
    struct errand *errand = container_of(task, struct errand, task);
    struct requests_in *in = errand->in;
    bool one = !errand->all && errand->topics_n == 1;
    if (in->awaited == errand) {
        wait_ends(in); /* the logs are made now, or found by their partitions, and take it then */
    } else {
        replicas_take_configs(in->config.replicas, one ? errand->topics[0] : (struct str){0});
    }
    errand_free(errand);
    go_on(in);
}

/* On the control thread. */
static void on_errand(struct loop_task *task)
{
    struct errand *errand = container_of(task, struct errand, task);
    struct topic_configs *configs = errand->in->config.topic_configs;
    if (!errand->read) {
        topic_configs_forget(configs, errand->topics[0]);
        errand_free(errand);
        return;
    }
    err e = topic_configs_read(configs, errand->topics, errand->topics_n);
    if (e != OK) {
        log_warn("topic-configs", "options cannot be read topics=%zu first=%s error=\"%s\"",
                 errand->topics_n, errand->topics[0].data, err_text(e));
    }
    errand->task.run = on_read;
    loop_post(errand->in->config.state, &errand->task);
}

/* A topic whose options are not known, and of which a partition is new here. */
static bool is_wanted(struct requests_in *in, struct str topic,
                      const struct leader_and_isr_request_partition_state *states, int32_t count)
{
    struct log_config config;
    if (topic_configs_in_force(in->config.topic_configs, topic, &config)) {
        return false;
    }
    for (int32_t i = 0; i < count; i++) {
        struct partition *p = replicas_find(in->config.replicas, topic, states[i].partition_index);
        partition_release(p);
        if (p == NULL) {
            return true;
        }
    }
    return false;
}

static struct errand *options_wanted(struct requests_in *in,
                                     const struct leader_and_isr_request *request)
{
    struct errand *errand = errand_new(in, true);
    for (int32_t i = 0; i < request->ungrouped_partition_states_n; i++) {
        struct str topic = request->ungrouped_partition_states[i].topic_name;
        if (is_wanted(in, topic, &request->ungrouped_partition_states[i], 1)) {
            errand_add(errand, topic);
        }
    }
    for (int32_t t = 0; t < request->topic_states_n; t++) {
        const struct leader_and_isr_request_topic_state *topic = &request->topic_states[t];
        if (is_wanted(in, topic->topic_name, topic->partition_states, topic->partition_states_n)) {
            errand_add(errand, topic->topic_name);
        }
    }
    if (errand->topics_n == 0) {
        errand_free(errand);
        return NULL;
    }
    return errand;
}

void requests_in_take_configs(struct requests_in *in, struct str topic)
{
    struct errand *errand = errand_new(in, true);
    errand->all = topic.data == NULL;
    if (!errand->all) {
        errand_add(errand, topic);
    }
    errand->task.run = on_read;
    loop_post(in->config.state, &errand->task);
}

/* ---- requests ---- */

/* Versions without a broker epoch have -1 there. */
static err check_fence(const struct requests_in *in, int32_t controller_epoch, int64_t broker_epoch)
{
    if (broker_epoch != -1 && broker_epoch < atomic_load(&in->broker_epoch)) {
        return ERR_STALE_BROKER_EPOCH;
    }
    return controller_epoch < in->controller_epoch ? ERR_STALE_CONTROLLER_EPOCH : OK;
}

static err fence(struct requests_in *in, int32_t controller_epoch, int64_t broker_epoch)
{
    err e = check_fence(in, controller_epoch, broker_epoch);
    if (e == OK) {
        in->controller_epoch = controller_epoch;
    }
    return e;
}

static void leader_and_isr(struct requests_in *in, struct request_in *r)
{
    const struct leader_and_isr_request *request = r->request;
    struct leader_and_isr_response *response = r->response;
    leader_and_isr_response_init(response);
    err refused = fence(in, request->controller_epoch, request->broker_epoch);
    response->error_code = kafka_error_wire(refused);
    replicas_leader_and_isr(in->config.replicas, request, refused, r->arena, response);
}

static void stop_replica(struct requests_in *in, struct request_in *r)
{
    const struct stop_replica_request *request = r->request;
    struct stop_replica_response *response = r->response;
    stop_replica_response_init(response);
    response->error_code =
        kafka_error_wire(fence(in, request->controller_epoch, request->broker_epoch));
    if (response->error_code == OK) {
        replicas_stop_replica(in->config.replicas, request, r->arena, response);
        in->config.logs_removed(in->config.context);
    }
}

static void on_removed(void *context, struct str topic)
{
    struct requests_in *in = context;
    topic_configs_withdraw(in->config.topic_configs, topic);
    struct errand *errand = errand_new(in, false);
    errand_add(errand, topic);
    errand->task.run = on_errand;
    loop_post(in->config.control, &errand->task);
    in->config.topic_removed(in->config.context, topic);
}

static void update_metadata(struct requests_in *in, struct request_in *r)
{
    const struct update_metadata_request *request = r->request;
    struct update_metadata_response *response = r->response;
    update_metadata_response_init(response);
    response->error_code =
        kafka_error_wire(fence(in, request->controller_epoch, request->broker_epoch));
    if (response->error_code == OK) {
        if (metadata_update(in->config.metadata, request, on_removed, in)) {
            replicas_reconsider(in->config.replicas); /* high watermarks may have waited for it */
        }
        metadata_waits_check(in->config.metadata_waits);
    }
}

static void carry_out(struct requests_in *in, struct request_in *r)
{
    switch (r->api_key) {
    case KEY_LEADER_AND_ISR:
        leader_and_isr(in, r);
        break;
    case KEY_STOP_REPLICA:
        stop_replica(in, r);
        break;
    default:
        CHECK(r->api_key == KEY_UPDATE_METADATA);
        update_metadata(in, r);
        break;
    }
}

/* Must the request wait for options? They are asked for. */
static bool must_wait(struct requests_in *in, const struct request_in *r)
{
    if (r->api_key != KEY_LEADER_AND_ISR || in->has_waited) {
        return false;
    }
    const struct leader_and_isr_request *request = r->request;
    if (check_fence(in, request->controller_epoch, request->broker_epoch) != OK) {
        return false;
    }
    in->awaited = options_wanted(in, request);
    if (in->awaited == NULL) {
        return false;
    }
    in->awaited->task.run = on_errand;
    timer_start(in->config.state, &in->timer, OPTIONS_WAIT_MS);
    loop_post(in->config.control, &in->awaited->task);
    return true;
}

static void go_on(struct requests_in *in)
{
    while (in->awaited == NULL && !list_empty(&in->queue)) {
        struct request_in *r = container_of(in->queue.next, struct request_in, link);
        if (must_wait(in, r)) {
            return;
        }
        list_remove(&r->link);
        in->has_waited = false;
        carry_out(in, r);
        r->done(r);
    }
}

static void on_request(struct loop_task *task)
{
    struct request_in *r = container_of(task, struct request_in, task);
    list_append(&r->in->queue, &r->link);
    go_on(r->in);
}

void requests_in_submit(struct requests_in *in, struct request_in *request)
{
    request->in = in;
    request->task.run = on_request;
    loop_post(in->config.state, &request->task);
}

/* ---- the end ---- */

static void refuse(struct request_in *r)
{
    if (r->api_key == KEY_LEADER_AND_ISR) {
        leader_and_isr_response_init(r->response);
        ((struct leader_and_isr_response *)r->response)->error_code = ERR_BROKER_NOT_AVAILABLE;
    } else if (r->api_key == KEY_STOP_REPLICA) {
        stop_replica_response_init(r->response);
        ((struct stop_replica_response *)r->response)->error_code = ERR_BROKER_NOT_AVAILABLE;
    } else {
        update_metadata_response_init(r->response);
        ((struct update_metadata_response *)r->response)->error_code = ERR_BROKER_NOT_AVAILABLE;
    }
    r->done(r);
}

void requests_in_stop(struct requests_in *in)
{
    if (in == NULL) {
        return;
    }
    timer_stop(in->config.state, &in->timer);
    in->awaited = NULL;
    while (!list_empty(&in->queue)) {
        struct request_in *r = container_of(in->queue.next, struct request_in, link);
        list_remove(&r->link);
        refuse(r);
    }
}
