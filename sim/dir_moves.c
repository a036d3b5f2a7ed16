/* The pause between two questions is drawn once: short ones find the move before under way. What became of the last move is
 * looked up before the next one is asked for, which is often the same partition: back, or the same again. */
#include "sim/dir_moves.h"

#include "protocol/error.h"
#include "protocol/messages.h"
#include "sim/client.h"
#include "sim/node.h"
#include "sim/workload.h"

#include <stdlib.h>

enum {
    CLIENT_NUMBER = NETWORK_HOSTS_MAX - CLIENT_HOST_FIRST - 2, /* the last host but one */
    ALTER_DIRS_KEY = 34,
    ALTER_DIRS_VERSION = 1,
    DESCRIBE_DIRS_KEY = 35,
    DESCRIBE_DIRS_VERSION = 1,
    ASK_MS = 6000,
    FIRST_US = 500000,
    PAUSE_MIN_US = 20000,
    PAUSE_MAX_US = 600000,
    AGAIN_ONE_IN = 2, /* the same partition */
    PARTITIONS_MAX = 2,
};

struct choice {
    int broker;
    struct str topic;
    int32_t partition;
    struct str dir;
};

struct dir_moves {
    struct dir_moves_config config;
    struct client client;
    struct task *task;
    struct choice last; /* topic NULL: none */
    struct dir_move_counts counts;
    bool stop;
};

static int draw(const struct dir_moves *m, int below)
{
    return (int)sched_below(m->config.sched, (uint64_t)below);
}

static void draw_choice(const struct dir_moves *m, struct choice *choice)
{
    const struct str topics[] = {str_of(WORKLOAD_TOPIC), STR("__consumer_offsets"), STR("ledger"),
                                 STR("__transaction_state")};
    *choice = m->last;
    if (m->last.topic.data == NULL || draw(m, AGAIN_ONE_IN) != 0) {
        choice->broker = draw(m, m->config.brokers_n);
        choice->topic = topics[draw(m, m->config.txns ? 4 : 2)];
        choice->partition = draw(m, PARTITIONS_MAX);
    }
    choice->dir = draw(m, 2) == 0 ? STR(SIM_LOG_DIR_A) : STR(SIM_LOG_DIR_B);
}

/* Counts what has become of the last one. */
static void note_dir(struct dir_moves *m, const struct describe_log_dirs_response_result *dir)
{
    for (int32_t t = 0; t < dir->topics_n; t++) {
        for (int32_t i = 0; i < dir->topics[t].partitions_n; i++) {
            bool is_future = dir->topics[t].partitions[i].is_future_key;
            bool is_there = str_equal(dir->log_dir, m->last.dir);
            m->counts.seen_under_way += is_future ? 1 : 0;
            m->counts.seen_done += !is_future && is_there ? 1 : 0;
        }
    }
}

static void look(struct dir_moves *m)
{
    struct describe_log_dirs_request_topic topic;
    struct describe_log_dirs_request request;
    struct describe_log_dirs_response response;
    describe_log_dirs_request_topic_init(&topic);
    describe_log_dirs_request_init(&request);
    topic.topic = m->last.topic;
    topic.partitions = &m->last.partition;
    topic.partitions_n = 1;
    request.topics = &topic;
    request.topics_n = 1;
    err e = client_ask(&m->client, m->last.broker, DESCRIBE_DIRS_KEY, DESCRIBE_DIRS_VERSION,
                       &request, &response, ASK_MS);
    for (int32_t i = 0; e == OK && i < response.results_n; i++) {
        note_dir(m, &response.results[i]);
    }
}

static void ask(struct dir_moves *m, const struct choice *choice)
{
    struct alter_replica_log_dirs_request_topic topic;
    struct alter_replica_log_dirs_request_dir dir;
    struct alter_replica_log_dirs_request request;
    struct alter_replica_log_dirs_response response;
    alter_replica_log_dirs_request_topic_init(&topic);
    alter_replica_log_dirs_request_dir_init(&dir);
    alter_replica_log_dirs_request_init(&request);
    topic.name = choice->topic;
    topic.partitions = (int32_t *)(uintptr_t)&choice->partition;
    topic.partitions_n = 1;
    dir.path = choice->dir;
    dir.topics = &topic;
    dir.topics_n = 1;
    request.dirs = &dir;
    request.dirs_n = 1;
    err e = client_ask(&m->client, choice->broker, ALTER_DIRS_KEY, ALTER_DIRS_VERSION, &request,
                       &response, ASK_MS);
    bool answered = e == OK && response.results_n == 1 && response.results[0].partitions_n == 1;
    int16_t code = answered ? response.results[0].partitions[0].error_code : -1;
    trace_line(m->config.trace, "dirs: broker %d %.*s-%d to %.*s: %s", choice->broker,
               (int)choice->topic.len, choice->topic.data, choice->partition, (int)choice->dir.len,
               choice->dir.data, answered ? kafka_error_name(code) : "no answer");
    if (answered && code == OK) {
        m->counts.asked++;
        m->last = *choice;
    }
}

static void run_moves(void *context)
{
    struct dir_moves *m = context;
    struct sched *sched = m->config.sched;
    int64_t pause_us = sched_between(sched, PAUSE_MIN_US, PAUSE_MAX_US);
    sched_sleep(sched, FIRST_US);
    while (!m->stop) {
        struct choice choice;
        draw_choice(m, &choice);
        ask(m, &choice);
        sched_sleep(sched, sched_between(sched, 0, pause_us));
        if (m->last.topic.data != NULL && !m->stop) {
            look(m);
        }
    }
}

struct dir_moves *dir_moves_new(const struct dir_moves_config *config)
{
    struct dir_moves *m = xcalloc(1, sizeof(*m));
    m->config = *config;
    client_init(&m->client, config->sched, config->network, CLIENT_NUMBER);
    m->task = task_spawn(config->sched, NULL, "dir-moves", run_moves, m);
    return m;
}

void dir_moves_stop(struct dir_moves *m)
{
    m->stop = true;
}

bool dir_moves_has_ended(const struct dir_moves *m)
{
    return task_has_ended(m->task);
}

struct dir_move_counts dir_moves_counts(const struct dir_moves *m)
{
    return m->counts;
}

void dir_moves_free(struct dir_moves *m)
{
    client_deinit(&m->client);
    free(m);
}
