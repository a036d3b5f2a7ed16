/* The parts of a simulation, put together; and the test that is made of them:
 *
 *   start     brokers, clients; a topic
 *   break     faults for FAULTS_MS
 *   mend      everything is healed, every broker starts again: HEAL_MS to be whole
 *   settle    producers end
 *   read      somebody reads everything, replicas get equal; files are compared
 *
 * What takes longer than it may is a violation too: "stuck". */
#define _GNU_SOURCE
#include "sim/sim.h"

#include "sim/client.h"
#include "sim/ledger.h"
#include "sim/mover.h"
#include "sim/nemesis.h"
#include "zk/znodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FAULTS_MS = 20000,
    HEAL_MS = 60000,
    PATIENCE_MS = 30000, /* P2: what was acknowledged is seen so soon after healing */
    STEP_MS = 100,
    LOOK_MIN_US = 20000,
    LOOK_MAX_US = 200000,
    TRUTH_US = 5000,
    LAG_MIN_MS = 600,
    LAG_MAX_MS = 4000,
    SESSION_MIN_MS = 2000,
    SESSION_MAX_MS = 6000,
    END_MS = 120000,
    SPINNER_BYTES = 64,
    ACKS_AFTER = 30,
    PARTITIONS = 3,
    REPLICAS = 3,
    PRODUCERS = 3,
    CONSUMERS = 2,
    OPTIONS_MAX = 32,
    OPTIONS_DRAWN = 3,
    OPTIONS_TXN = 4,
    OPTION_BYTES = 64,
    SEGMENT_BYTES_MIN = 2000,
    SEGMENT_BYTES_MAX = 40000,
};

struct true_clock {
    struct clock clock;
    struct sched *sched;
};

struct store_source {
    struct sched_source source;
    struct coord_model *model;
    struct sched *sched;
};

struct sim {
    struct sim_options options;
    struct trace trace;
    struct sched *sched;
    struct network *network;
    struct true_clock clock;
    struct store_source store;
    struct history history;
    struct node *nodes[HISTORY_BROKERS_MAX];
    const char *options_all[OPTIONS_MAX]; /* NULL at the end */
    char options_drawn[OPTIONS_DRAWN][OPTION_BYTES];
    char options_txn[OPTIONS_TXN][OPTION_BYTES];
    int min_isr;
    int replicas_n;
    int64_t look_us;

    struct observer observer;
    struct task *looker;
    struct task *truth_looker;
    bool stop_looking;
    uint64_t looks;
};

/* ---- the store, the time ---- */

static int64_t true_us(struct clock *clock)
{
    return sched_now_us(container_of(clock, struct true_clock, clock)->sched);
}

static int64_t true_ms(struct clock *clock)
{
    return true_us(clock) / 1000;
}

static void no_sleep(struct clock *clock, int64_t us)
{
    (void)clock;
    (void)us;
    CHECK(false); /* a model does not wait: its ways have `wait` */
}

static void store_turn(struct sched_source *source)
{
    (void)coord_model_turn(container_of(source, struct store_source, source)->model);
}

static int64_t store_next_due_us(struct sched_source *source)
{
    int64_t due_ms =
        coord_model_next_due_ms(container_of(source, struct store_source, source)->model);
    return due_ms > INT64_MAX / 1000 ? INT64_MAX : due_ms * 1000;
}

/* ---- life ---- */

static const char *const OPTIONS_ALL[] = {
    "num.network.threads=2",
    "socket.request.max.bytes=4194304",
    "queued.max.request.bytes=16777216",
    "offsets.topic.num.partitions=2",
};

/* Segments of the internal topics are as small as others, markers of transactions go soon. */
static const char *const OPTIONS_COMPACT[] = {
    "log.cleanup.policy=compact",
    "log.cleaner.backoff.ms=300",
    "log.cleaner.min.cleanable.ratio=0.01",
    "log.cleaner.delete.retention.ms=1000",
    "log.cleaner.dedupe.buffer.size=1100000",
    "offsets.topic.segment.bytes=8000",
    "transaction.state.log.segment.bytes=8000",
};
enum { OPTIONS_COMPACT_N = sizeof(OPTIONS_COMPACT) / sizeof(OPTIONS_COMPACT[0]) };

/* The internal topics hold what the topics of clients do. */
static size_t add_txn_options(struct sim *sim, size_t at)
{
    int replicas = sim->options.brokers_n < REPLICAS ? sim->options.brokers_n : REPLICAS;
    snprintf(sim->options_txn[0], OPTION_BYTES, "offsets.topic.replication.factor=%d", replicas);
    snprintf(sim->options_txn[1], OPTION_BYTES, "transaction.state.log.replication.factor=%d",
             replicas);
    snprintf(sim->options_txn[2], OPTION_BYTES, "transaction.state.log.min.isr=%d",
             replicas < REPLICAS ? 1 : 2);
    snprintf(sim->options_txn[3], OPTION_BYTES, "log.flush.interval.messages=%d",
             sim->options.durable ? 1 : INT32_MAX);
    for (size_t i = 0; i < OPTIONS_TXN; i++) {
        sim->options_all[at++] = sim->options_txn[i];
    }
    for (size_t i = 0; i < LEDGER_OPTIONS_N; i++) {
        sim->options_all[at++] = LEDGER_OPTIONS[i];
    }
    return at;
}

static void make_nodes(struct sim *sim)
{
    const size_t common_n = sizeof(OPTIONS_ALL) / sizeof(OPTIONS_ALL[0]);
    memcpy(sim->options_all, OPTIONS_ALL, sizeof(OPTIONS_ALL));
    int segment_bytes = (int)sched_between(sim->sched, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    int lag_ms = (int)sched_between(sim->sched, LAG_MIN_MS, LAG_MAX_MS);
    int session_ms = (int)sched_between(sim->sched, SESSION_MIN_MS, SESSION_MAX_MS);
    snprintf(sim->options_drawn[0], OPTION_BYTES, "log.segment.bytes=%d", segment_bytes);
    snprintf(sim->options_drawn[1], OPTION_BYTES, "replica.lag.time.max.ms=%d", lag_ms);
    snprintf(sim->options_drawn[2], OPTION_BYTES, "zookeeper.session.timeout.ms=%d", session_ms);
    for (size_t i = 0; i < OPTIONS_DRAWN; i++) {
        sim->options_all[common_n + i] = sim->options_drawn[i];
    }
    size_t at = common_n + OPTIONS_DRAWN;
    at = sim->options.txns ? add_txn_options(sim, at) : at;
    for (size_t i = 0; sim->options.compacts && i < OPTIONS_COMPACT_N; i++) {
        sim->options_all[at++] = OPTIONS_COMPACT[i];
    }
    if (sim->options.dirs) {
        sim->options_all[at++] = "log.dirs=" SIM_LOG_DIR_A "," SIM_LOG_DIR_B;
    }
    CHECK(at < OPTIONS_MAX);
    const struct node_env env = {
        .sched = sim->sched,
        .trace = &sim->trace,
        .network = sim->network,
        .store = sim->store.model,
        .options = sim->options_all,
        .keeps_session = sched_below(sim->sched, 2) == 0,
        .session_timeout_ms = session_ms,
    };
    for (int i = 0; i < sim->options.brokers_n; i++) {
        sim->nodes[i] = node_new(&env, i);
        disk_set_lying(node_disk(sim->nodes[i]), sim->options.plant == PLANT_LYING_DISK);
    }
}

struct sim *sim_new(const struct sim_options *options)
{
    struct sim *sim = xcalloc(1, sizeof(*sim));
    CHECK(options->brokers_n > 0 && options->brokers_n <= HISTORY_BROKERS_MAX);
    sim->options = *options;
    sim->sched = sched_new(options->seed, &sim->trace);
    sim->trace.out = options->trace;
    sim->network = network_new(sim->sched, &sim->trace);
    sim->clock = (struct true_clock){
        .clock = {.wall_ms = true_ms, .monotonic_us = true_us, .sleep_us = no_sleep},
        .sched = sim->sched};
    sim->store = (struct store_source){
        .source = {.turn = store_turn, .next_due_us = store_next_due_us}, .sched = sim->sched};
    sim->store.model = coord_model_new(&sim->clock.clock, sched_random(sim->sched));
    sched_add(sim->sched, &sim->store.source);
    history_init(&sim->history);
    make_nodes(sim);
    sim->replicas_n = options->brokers_n < REPLICAS ? options->brokers_n : REPLICAS;
    sim->min_isr = sim->replicas_n < REPLICAS ? 1 : 1 + (int)sched_below(sim->sched, 2);
    sim->look_us = sched_between(sim->sched, LOOK_MIN_US, LOOK_MAX_US);
    sim->observer = (struct observer){.sched = sim->sched,
                                      .store = sim->store.model,
                                      .history = &sim->history,
                                      .nodes = sim->nodes,
                                      .nodes_n = options->brokers_n,
                                      .topic = WORKLOAD_TOPIC,
                                      .partitions_n = PARTITIONS};
    observer_init(&sim->observer);
    return sim;
}

static bool all_quiet(const struct sim *sim)
{
    bool quiet = true;
    for (int i = 0; i < sim->options.brokers_n; i++) {
        quiet &= node_is_quiet(sim->nodes[i]);
    }
    return quiet;
}

void sim_free(struct sim *sim)
{
    for (int i = 0; i < sim->options.brokers_n; i++) {
        node_kill(sim->nodes[i]);
    }
    for (int64_t ms = 0; !all_quiet(sim); ms += STEP_MS) {
        CHECK(ms < END_MS); /* a broker that is killed comes to its end */
        sim_run(sim, STEP_MS);
    }
    for (int i = 0; i < sim->options.brokers_n; i++) {
        node_free(sim->nodes[i]);
    }
    coord_model_free(sim->store.model);
    network_free(sim->network);
    sched_free(sim->sched);
    history_deinit(&sim->history);
    free(sim);
}

void sim_run(struct sim *sim, int64_t ms)
{
    sched_run(sim->sched, sched_now_us(sim->sched) + ms * 1000);
}

int64_t sim_now_ms(const struct sim *sim)
{
    return sched_now_us(sim->sched) / 1000;
}

uint64_t sim_hash(const struct sim *sim)
{
    return sim->trace.hash;
}

/* ---- brokers ---- */

void sim_broker_start(struct sim *sim, int broker)
{
    node_start(sim->nodes[broker]);
}

void sim_start_all(struct sim *sim)
{
    for (int i = 0; i < sim->options.brokers_n; i++) {
        node_start(sim->nodes[i]);
    }
}

void sim_broker_stop(struct sim *sim, int broker)
{
    node_stop(sim->nodes[broker]);
}

void sim_broker_kill(struct sim *sim, int broker)
{
    node_kill(sim->nodes[broker]);
}

void sim_broker_pause(struct sim *sim, int broker)
{
    node_pause(sim->nodes[broker]);
}

void sim_broker_resume(struct sim *sim, int broker)
{
    node_resume(sim->nodes[broker]);
}

void sim_power_loss(struct sim *sim, int broker)
{
    node_lose_power(sim->nodes[broker]);
}

void sim_expire(struct sim *sim, int broker)
{
    sched_quiet_begin(sim->sched);
    coord_model_expire(node_way(sim->nodes[broker]));
    sched_quiet_end(sim->sched);
}

void sim_oust_controller(struct sim *sim)
{
    sched_quiet_begin(sim->sched);
    coord_model_remove(sim->store.model, ZNODE_CONTROLLER);
    sched_quiet_end(sim->sched);
}

bool sim_broker_serves(const struct sim *sim, int broker)
{
    return node_state(sim->nodes[broker]) == NODE_SERVING;
}

bool sim_truth(const struct sim *sim, int partition, struct event *truth)
{
    return observer_truth(&sim->observer, partition, truth);
}

int sim_preferred(struct sim *sim, int partition)
{
    return observer_preferred(&sim->observer, partition);
}

int sim_controller(const struct sim *sim)
{
    return observer_controller(&sim->observer);
}

int64_t sim_gone_us(const struct sim *sim, int broker)
{
    return observer_gone_us(&sim->observer, broker);
}

int sim_partitions(const struct sim *sim)
{
    return sim->observer.partitions_n;
}

/* ---- the world ---- */

void sim_cut(struct sim *sim, int a, int b, unsigned direction)
{
    network_cut(sim->network, a, b, (direction & SIM_TO) != 0);
    network_cut(sim->network, b, a, (direction & SIM_FROM) != 0);
}

void sim_cut_zookeeper(struct sim *sim, int broker, unsigned direction)
{
    struct coord_model_way *way = node_way(sim->nodes[broker]);
    if (direction == 0) {
        coord_model_heal(way);
    } else {
        coord_model_cut(way, (enum coord_model_direction)direction);
    }
}

void sim_delay(struct sim *sim, struct network_delay delay)
{
    for (int from = 0; from < NETWORK_HOSTS_MAX; from++) {
        for (int to = 0; to < NETWORK_HOSTS_MAX; to++) {
            network_set_delay(sim->network, from, to, delay);
        }
    }
}

void sim_heal_all(struct sim *sim)
{
    for (int i = 0; i < sim->options.brokers_n; i++) {
        struct disk *disk = node_disk(sim->nodes[i]);
        for (int host = 0; host < NETWORK_HOSTS_MAX; host++) {
            sim_cut(sim, i, host, 0);
            network_delay_asking(sim->network, i, host, (struct network_delay){0});
        }
        node_resume(sim->nodes[i]);
        node_kill_at_change(sim->nodes[i], 0, false); /* none */
        sim_cut_zookeeper(sim, i, 0);
        coord_model_lose_some(node_way(sim->nodes[i]), 0);
        disk_set_errors(disk, 0);
        disk_set_full(disk, false);
        disk_set_sync_us(disk, 0);
    }
    sim_delay(sim, SIM_IN_TIME);
}

/* ---- its parts ---- */

struct sched *sim_sched(struct sim *sim)
{
    return sim->sched;
}

struct trace *sim_trace(struct sim *sim)
{
    return &sim->trace;
}

struct network *sim_network(struct sim *sim)
{
    return sim->network;
}

struct node *sim_node(struct sim *sim, int broker)
{
    return sim->nodes[broker];
}

struct history *sim_history(struct sim *sim)
{
    return &sim->history;
}

int sim_brokers(const struct sim *sim)
{
    return sim->options.brokers_n;
}

/* ---- a whole test ---- */

struct test {
    struct sim *sim;
    struct workload *workload;
    struct nemesis *nemesis;
    struct mover *mover;         /* NULL: nobody moves partitions */
    struct dir_moves *dir_moves; /* NULL: nobody moves them between directories */
    struct ledger *ledger;       /* NULL: nobody writes in transactions */
    uint64_t acks_before;
    struct violation *violations;
    size_t max;
    size_t n;
};

static void run_looker(void *context)
{
    struct sim *sim = context;
    while (!sim->stop_looking) {
        observer_look(&sim->observer, (int)sched_below(sim->sched, PARTITIONS));
        sim->looks++;
        sched_sleep(sim->sched, sim->look_us);
    }
}

static void run_truth_looker(void *context)
{
    struct sim *sim = context;
    while (!sim->stop_looking) {
        observer_note_placings(&sim->observer);
        for (int i = 0; i < PARTITIONS; i++) {
            observer_note_truth(&sim->observer, i);
            if (sim->observer.joined[i]) {
                observer_look(&sim->observer, i);
                sim->looks++;
            }
        }
        sched_sleep(sim->sched, TRUTH_US);
    }
}

static void stuck(struct test *t, const char *what)
{
    if (t->n < t->max) {
        t->violations[t->n].property = "stuck";
        snprintf(t->violations[t->n].text, VIOLATION_BYTES, "%s; broker 0: %s", what,
                 node_reason(t->sim->nodes[0]));
    }
    t->n++;
}

/* Lets time pass until it is so. */
static bool run_until(struct test *t, bool (*is_so)(struct test *t), int64_t patience_ms,
                      const char *what)
{
    for (int64_t ms = 0; !is_so(t); ms += STEP_MS) {
        if (ms >= patience_ms) {
            stuck(t, what);
            return false;
        }
        sim_run(t->sim, STEP_MS);
    }
    return true;
}

static bool nemesis_is_over(struct test *t)
{
    return nemesis_has_ended(t->nemesis);
}

/* Starts brokers that are down: an init system does that. */
static bool is_whole(struct test *t)
{
    bool serves = true;
    for (int i = 0; i < t->sim->options.brokers_n; i++) {
        sim_broker_start(t->sim, i);
        serves &= sim_broker_serves(t->sim, i);
    }
    return serves && observer_is_whole(&t->sim->observer);
}

struct settling {
    struct observer *observer;
    bool settled;
};

static void run_settling(void *context)
{
    struct settling *s = context;
    s->settled = observer_is_settled(s->observer);
}

/* A broker may have left an ISR since, and come back. A task looks: between runs one may stand still with the lock that
 * is asked for. */
static bool is_settled(struct test *t)
{
    if (!is_whole(t)) {
        return false;
    }
    struct settling settling = {.observer = &t->sim->observer};
    struct task *task = task_spawn(t->sim->sched, NULL, "settling", run_settling, &settling);
    for (int64_t ms = 0; !task_has_ended(task); ms++) {
        CHECK(ms < END_MS);
        sim_run(t->sim, 1);
    }
    task_free(task);
    return settling.settled;
}

/* And who has left has nothing any more. */
static bool is_tidy(struct test *t)
{
    return is_settled(t) && observer_is_tidy(&t->sim->observer);
}

/* Producers are served again. */
static bool is_used(struct test *t)
{
    return workload_counts(t->workload).acks >= t->acks_before + ACKS_AFTER;
}

static bool is_sent(struct test *t)
{
    return workload_producers_ended(t->workload);
}

static bool is_read(struct test *t)
{
    return workload_has_read_all(t->workload);
}

static bool mover_is_over(struct test *t)
{
    return t->mover == NULL || mover_has_ended(t->mover);
}

static bool dir_moves_are_over(struct test *t)
{
    return t->dir_moves == NULL || dir_moves_has_ended(t->dir_moves);
}

static bool ledger_is_written(struct test *t)
{
    return ledger_writers_ended(t->ledger);
}

static bool ledger_is_read(struct test *t)
{
    return ledger_has_read_all(t->ledger);
}

static bool has_ended(struct test *t)
{
    return (t->ledger == NULL || ledger_has_ended(t->ledger)) && mover_is_over(t) &&
           dir_moves_are_over(t) && workload_has_ended(t->workload) &&
           task_has_ended(t->sim->looker) && task_has_ended(t->sim->truth_looker);
}

static void break_and_mend(struct test *t)
{
    sim_run(t->sim, FAULTS_MS);
    nemesis_stop(t->nemesis);
    (void)run_until(t, nemesis_is_over, HEAL_MS, "the nemesis");
    sim_heal_all(t->sim);
    trace_line(&t->sim->trace, "all is healed");
    history_add(&t->sim->history,
                &(struct event){.kind = EVENT_HEALED, .at_us = sched_now_us(t->sim->sched)});
    if (t->mover != NULL) {
        mover_stop(t->mover);
    }
    if (t->dir_moves != NULL) {
        dir_moves_stop(t->dir_moves);
    }
    (void)run_until(t, mover_is_over, HEAL_MS, "a mover has no answer");
    (void)run_until(t, dir_moves_are_over, HEAL_MS, "a mover between directories has no answer");
    bool goes_on = run_until(t, is_whole, HEAL_MS, "not whole");
    t->acks_before = workload_counts(t->workload).acks;
    if (goes_on && run_until(t, is_used, PATIENCE_MS, "nothing is acknowledged")) {
        workload_stop_producers(t->workload);
        if (run_until(t, is_sent, PATIENCE_MS, "a producer has no answer")) {
            workload_read_all(t->workload);
            (void)run_until(t, is_read, PATIENCE_MS, "not everything can be read");
            bool settled = run_until(t, is_settled, HEAL_MS, "replicas do not get equal");
            (void)(settled && run_until(t, is_tidy, HEAL_MS, "a replica is not deleted"));
        }
    }
}

/* Whatever is open by then has no client any more. */
static void settle_ledger(struct test *t)
{
    ledger_stop_writers(t->ledger);
    if (run_until(t, ledger_is_written, PATIENCE_MS, "a transaction has no answer")) {
        ledger_read_all(t->ledger);
        (void)run_until(t, ledger_is_read, PATIENCE_MS, "T7 a transaction hangs");
    }
}

/* The truth as it is before that; and what clients are promised. */
static void before_note(void *context, const struct event *event)
{
    struct sim *sim = context;
    bool acked = event->kind == EVENT_ACK && event->acks == -1;
    if (event->kind == EVENT_SEND || event->kind == EVENT_ACK) {
        observer_note_truth(&sim->observer, event->partition);
    }
    if (acked || event->kind == EVENT_POLL) {
        observer_note_promise(&sim->observer, event->partition, event->offset + 1);
    }
}

static struct workload_config workload_of(struct sim *sim)
{
    int brokers = sim->options.brokers_n;
    return (struct workload_config){
        .sched = sim->sched,
        .trace = &sim->trace,
        .network = sim->network,
        .history = &sim->history,
        .brokers_n = brokers,
        .partitions_n = PARTITIONS,
        .replicas_n = sim->replicas_n,
        .min_isr = sim->min_isr,
        .flush_messages = sim->options.durable && sim->options.plant != PLANT_ACK_BEFORE_FLUSH,
        .producers_n = PRODUCERS,
        .consumers_n = CONSUMERS,
        .asks_elections = brokers > 1 && sched_below(sim->sched, 2) == 0,
        .before_note = brokers > 1 ? before_note : NULL,
        .context = sim,
    };
}

static struct mover *mover_of(struct sim *sim, const struct workload_config *workload)
{
    int moves = sim->options.moves;
    bool asked = moves == SIM_DRAWN ? sched_below(sim->sched, 2) == 0 : moves != 0;
    if (workload->brokers_n == 1 || !asked || sim->options.last_standing) {
        return NULL;
    }
    const struct mover_config config = {.sched = sim->sched,
                                        .trace = &sim->trace,
                                        .network = sim->network,
                                        .topic = WORKLOAD_TOPIC,
                                        .brokers_n = workload->brokers_n,
                                        .partitions_n = workload->partitions_n,
                                        .replicas_min = workload->min_isr};
    return mover_new(&config);
}

static struct dir_moves *dir_moves_of(struct sim *sim)
{
    const struct dir_moves_config config = {.sched = sim->sched,
                                            .trace = &sim->trace,
                                            .network = sim->network,
                                            .brokers_n = sim->options.brokers_n,
                                            .txns = sim->options.txns};
    return dir_moves_new(&config);
}

static struct ledger *ledger_of(struct sim *sim, const struct workload_config *workload)
{
    const struct ledger_config config = {.sched = sim->sched,
                                         .trace = &sim->trace,
                                         .network = sim->network,
                                         .brokers_n = workload->brokers_n,
                                         .replicas_n = workload->replicas_n,
                                         .min_isr = workload->min_isr};
    return ledger_new(&config);
}

/* What the observer has seen of leaders, ISRs and logs that went back. */
static void count_changes(const struct history *history, struct sim_exposure *exposure)
{
    const struct event *truths[PARTITIONS] = {NULL};
    int64_t ends[HISTORY_BROKERS_MAX][PARTITIONS] = {{0}};
    for (const struct event *e = history->events; e < history->events + history->n; e++) {
        if (e->kind == EVENT_TRUTH) {
            const struct event *before = truths[e->partition];
            exposure->leaders += before != NULL && before->who != e->who ? 1 : 0;
            bool first = e->partition == 0 && before != NULL; /* one of them will do */
            exposure->controllers += first ? (uint64_t)(e->office - before->office) : 0;
            exposure->isrs += before != NULL && before->isr != e->isr ? 1 : 0;
            truths[e->partition] = e;
            for (int id = 0; id < HISTORY_BROKERS_MAX; id++) { /* who comes again begins again */
                bool is_replica = (e->replicas & 1u << id) != 0;
                ends[id][e->partition] = is_replica ? ends[id][e->partition] : 0;
            }
        } else if (e->kind == EVENT_LOG) {
            exposure->cuts += e->end_offset < ends[e->who][e->partition] ? 1 : 0;
            ends[e->who][e->partition] = e->end_offset;
        }
    }
}

static void fill_exposure(const struct test *t, int64_t began_ms, struct sim_exposure *exposure)
{
    struct workload_counts counts = workload_counts(t->workload);
    *exposure = (struct sim_exposure){.sends = counts.sends,
                                      .acks = counts.acks,
                                      .polls = counts.polls,
                                      .errors = counts.errors,
                                      .looks = t->sim->looks,
                                      .messages = network_delivered(t->sim->network),
                                      .virtual_ms = sim_now_ms(t->sim) - began_ms};
    exposure->states = t->sim->observer.states;
    exposure->moves = t->sim->observer.moves;
    count_changes(&t->sim->history, exposure);
    memcpy(exposure->faults, nemesis_counts(t->nemesis), FAULTS_N * sizeof(exposure->faults[0]));
    for (int i = 0; i < t->sim->options.brokers_n; i++) {
        struct disk_counts disk = disk_counts(node_disk(t->sim->nodes[i]));
        exposure->lives += (uint64_t)node_life(t->sim->nodes[i]);
        exposure->refusals += (uint64_t)node_refusals(t->sim->nodes[i]);
        exposure->disk_errors += disk.errors;
        exposure->sectors_lost += disk.sectors_lost;
    }
}

size_t sim_test(const struct sim_options *options, struct violation *violations, size_t max,
                struct sim_exposure *exposure, uint64_t *hash)
{
    _Static_assert(FAULTS_N <= sizeof(exposure->faults) / sizeof(exposure->faults[0]), "faults");
    struct test t = {.sim = sim_new(options), .violations = violations, .max = max};
    int64_t began_ms = sim_now_ms(t.sim);
    struct workload_config workload = workload_of(t.sim);
    sim_start_all(t.sim);
    t.workload = workload_new(&workload);
    t.sim->looker = task_spawn(t.sim->sched, NULL, "looker", run_looker, t.sim);
    t.sim->truth_looker = task_spawn(t.sim->sched, NULL, "truth", run_truth_looker, t.sim);
    t.nemesis = nemesis_new(t.sim, options);
    t.mover = mover_of(t.sim, &workload);
    t.dir_moves = options->dirs ? dir_moves_of(t.sim) : NULL;
    t.ledger = options->txns ? ledger_of(t.sim, &workload) : NULL;
    break_and_mend(&t);
    if (t.ledger != NULL) {
        settle_ledger(&t);
        ledger_stop(t.ledger);
    }
    t.sim->stop_looking = true;
    workload_stop(t.workload);
    CHECK(run_until(&t, has_ended, END_MS, "clients"));
    observer_read_files(&t.sim->observer);
    const struct checker_config checker = {
        .partitions_n = PARTITIONS,
        .brokers_n = options->brokers_n,
        .min_isr = workload.min_isr,
        .acks_1_last = options->brokers_n == 1,
    };
    if (sched_spinner(t.sim->sched) != NULL) {
        char what[SPINNER_BYTES];
        snprintf(what, sizeof(what), "%s spins", sched_spinner(t.sim->sched));
        stuck(&t, what);
    }
    size_t told = t.n < max ? t.n : max;
    t.n += checker_run(&t.sim->history, &checker, violations + told, max - told);
    fill_exposure(&t, began_ms, exposure);
    if (t.ledger != NULL) {
        told = t.n < max ? t.n : max;
        t.n += ledger_check(t.ledger, violations + told, max - told);
        exposure->txns = ledger_counts(t.ledger);
        ledger_free(t.ledger);
    }
    nemesis_free(t.nemesis);
    workload_free(t.workload);
    if (t.mover != NULL) {
        mover_free(t.mover);
    }
    if (t.dir_moves != NULL) {
        exposure->dir_moves = dir_moves_counts(t.dir_moves);
        dir_moves_free(t.dir_moves);
    }
    *hash = sim_hash(t.sim);
    sim_free(t.sim);
    return t.n;
}
