/* The pause between plans is drawn once: short ones find the move before under way, long ones let it end. A
 * plan goes to whoever a broker says is the controller; what is answered is traced, and nobody waits for it. */
#include "sim/mover.h"

#include "protocol/error.h"
#include "protocol/messages.h"
#include "sim/client.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    MOVER_NUMBER = NETWORK_HOSTS_MAX - CLIENT_HOST_FIRST - 1, /* the last host of all */
    ALTER_REASSIGNMENTS_KEY = 45,
    METADATA_KEY = 3,
    METADATA_VERSION = 7,
    ASK_MS = 6000,
    FIRST_US = 500000,
    PAUSE_MIN_US = 200000,
    PAUSE_MAX_US = 4000000,
    CANCEL_ONE_IN = 6,
    SECOND_ONE_IN = 4, /* another plan at once */
    NOBODY = -1,
};

struct mover {
    struct mover_config config;
    struct client client;
    struct task *task;
    bool stop;
};

struct plan {
    int partition;
    bool cancel;
    int32_t replicas[CLIENT_BROKERS_MAX];
    int32_t replicas_n;
};

static int draw(const struct mover *m, int below)
{
    return (int)sched_below(m->config.sched, (uint64_t)below);
}

/* So many of the brokers, in any order. */
static void draw_plan(const struct mover *m, struct plan *plan)
{
    int32_t brokers[CLIENT_BROKERS_MAX];
    int n = m->config.brokers_n;
    for (int i = 0; i < n; i++) {
        brokers[i] = i;
    }
    plan->partition = draw(m, m->config.partitions_n);
    plan->cancel = draw(m, CANCEL_ONE_IN) == 0;
    plan->replicas_n = m->config.replicas_min + draw(m, n - m->config.replicas_min + 1);
    for (int32_t i = 0; i < plan->replicas_n; i++) {
        int taken = draw(m, n);
        plan->replicas[i] = brokers[taken];
        brokers[taken] = brokers[--n];
    }
}

static int find_controller(struct mover *m)
{
    struct metadata_request request;
    struct metadata_response response;
    metadata_request_init(&request);
    request.topics_n = 0;
    err e = client_ask(&m->client, draw(m, m->config.brokers_n), METADATA_KEY, METADATA_VERSION,
                       &request, &response, ASK_MS);
    bool known =
        e == OK && response.controller_id >= 0 && response.controller_id < m->config.brokers_n;
    return known ? response.controller_id : NOBODY;
}

static void tell(const struct mover *m, const struct plan *plan, const char *answer)
{
    char text[CLIENT_BROKERS_MAX * 4] = "";
    int at = 0;
    for (int32_t i = 0; i < plan->replicas_n; i++) {
        at += snprintf(text + at, sizeof(text) - (size_t)at, " %d", plan->replicas[i]);
    }
    trace_line(m->config.trace, "mover: partition %d%s: %s", plan->partition,
               plan->cancel ? " cancel" : text, answer);
}

static void send_plan(struct mover *m, const struct plan *plan, int controller)
{
    struct alter_partition_reassignments_request_partition partition;
    struct alter_partition_reassignments_request_topic topic;
    struct alter_partition_reassignments_request request;
    struct alter_partition_reassignments_response response;
    alter_partition_reassignments_request_partition_init(&partition);
    alter_partition_reassignments_request_topic_init(&topic);
    alter_partition_reassignments_request_init(&request);
    partition.partition_index = plan->partition;
    partition.replicas = (int32_t *)(uintptr_t)plan->replicas;
    partition.replicas_n = plan->cancel ? -1 : plan->replicas_n;
    topic.name = str_of(m->config.topic);
    topic.partitions = &partition;
    topic.partitions_n = 1;
    request.timeout_ms = ASK_MS;
    request.topics = &topic;
    request.topics_n = 1;
    err e =
        client_ask(&m->client, controller, ALTER_REASSIGNMENTS_KEY, 0, &request, &response, ASK_MS);
    if (e == OK && response.error_code == OK && response.topics_n == 1 &&
        response.topics[0].partitions_n == 1) {
        tell(m, plan, kafka_error_name(response.topics[0].partitions[0].error_code));
    } else {
        tell(m, plan, e == OK ? kafka_error_name(response.error_code) : "no answer");
    }
}

static void run_mover(void *context)
{
    struct mover *m = context;
    struct sched *sched = m->config.sched;
    int64_t pause_us = sched_between(sched, PAUSE_MIN_US, PAUSE_MAX_US);
    sched_sleep(sched, FIRST_US);
    while (!m->stop) {
        int controller = find_controller(m);
        if (controller != NOBODY && !m->stop) {
            struct plan plan;
            draw_plan(m, &plan);
            send_plan(m, &plan, controller);
        }
        if (draw(m, SECOND_ONE_IN) != 0) {
            sched_sleep(sched, sched_between(sched, 0, pause_us));
        } else {
            sched_sleep(sched, sched_between(sched, 0, PAUSE_MIN_US));
        }
    }
}

struct mover *mover_new(const struct mover_config *config)
{
    struct mover *m = xcalloc(1, sizeof(*m));
    CHECK(config->brokers_n <= CLIENT_BROKERS_MAX);
    CHECK(config->replicas_min > 0 && config->replicas_min <= config->brokers_n);
    m->config = *config;
    client_init(&m->client, config->sched, config->network, MOVER_NUMBER);
    m->task = task_spawn(config->sched, NULL, "mover", run_mover, m);
    return m;
}

void mover_stop(struct mover *m)
{
    m->stop = true;
}

bool mover_has_ended(const struct mover *m)
{
    return task_has_ended(m->task);
}

void mover_free(struct mover *m)
{
    task_free(m->task);
    client_deinit(&m->client);
    free(m);
}
