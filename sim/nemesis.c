/* Some tasks draw a fault, a broker and how long it lasts, so that faults meet; another looks after brokers that
 * are down, as an init system does. Power is lost only where brokers flush: without that nothing is promised
 * then. Nor where syncs have failed: what they left behind goes with the power, whatever is synced later, and
 * such a log is not opened any more.
 *
 * How many tasks there are, how they pause and which faults they know is drawn too, once for each run: with all
 * faults at once everything is always broken, and what needs a few of the same kind in a row never happens. */
#include "sim/nemesis.h"

#include "sim/client.h"
#include "sim/scripts.h"

#include <stdlib.h>
#include <string.h>

enum {
    PAUSE_MIN_US = 50000,
    PAUSE_SHORT_US = 300000,
    PAUSE_MAX_US = 2500000,
    LASTS_SHORT_US = 800000,
    LASTS_MAX_US = 9000000,
    STARVES_MAX_US = 1500000,
    FLIP_MAX_US = 700000,
    RESTART_US = 300000,
    CHANGES_MAX = 60,
    CLOCK_JUMP_MS = 3600000,
    BREAKERS_MAX = 3,
    DRAWS_MAX = 100,
};

struct nemesis {
    struct sim *sim;
    struct sched *sched;
    struct task *breakers[BREAKERS_MAX];
    int breakers_n;
    struct task *keeper;
    struct scripts *scripts;
    bool durable;
    bool stop;
    bool knows[FAULTS_N];
    int drawn_n; /* the first of them */
    int64_t pause_max_us;
    int64_t lasts_max_us;
    uint64_t counts[FAULTS_N];
};

const char *fault_name(enum fault fault)
{
    static const char *const NAMES[] = {
#define FAULT_NAME(name, text) text,
        FAULTS(FAULT_NAME)
#undef FAULT_NAME
    };
    return NAMES[fault];
}

/* ---- what it does ---- */

static void pass(struct nemesis *n, int64_t max_us)
{
    int64_t until_us = sched_now_us(n->sched) + sched_between(n->sched, PAUSE_MIN_US, max_us);
    while (!n->stop && sched_now_us(n->sched) < until_us) {
        sched_sleep(n->sched, PAUSE_MIN_US);
    }
}

static unsigned any_direction(struct nemesis *n)
{
    return 1 + (unsigned)sched_below(n->sched, 3);
}

/* Another broker, or a client. */
static int any_host(struct nemesis *n, int broker)
{
    int brokers = sim_brokers(n->sim);
    int drawn = (int)sched_below(n->sched, (uint64_t)brokers + 3);
    return drawn < brokers && drawn != broker ? drawn : CLIENT_HOST_FIRST + 1 + drawn % 4;
}

static void break_network(struct nemesis *n, enum fault fault, int broker)
{
    int host = any_host(n, broker);
    struct network_delay slow = {.min_us = 100,
                                 .max_us = (int32_t)sched_between(n->sched, 1000, 300000)};
    switch (fault) {
    case FAULT_CUT:
        sim_cut(n->sim, broker, host, any_direction(n));
        pass(n, n->lasts_max_us);
        sim_cut(n->sim, broker, host, 0);
        break;
    case FAULT_RESET:
        network_reset(sim_network(n->sim), broker, host);
        break;
    case FAULT_STALL:
        network_stall(sim_network(n->sim), broker, host,
                      sched_between(n->sched, PAUSE_MIN_US, n->lasts_max_us));
        break;
    default:
        sim_delay(n->sim, slow);
        pass(n, n->lasts_max_us);
        sim_delay(n->sim, SIM_IN_TIME);
    }
}

static void break_disk(struct nemesis *n, enum fault fault, int broker)
{
    struct disk *disk = node_disk(sim_node(n->sim, broker));
    switch (fault) {
    case FAULT_DISK_ERRORS:
        disk_set_errors(disk, (uint32_t)sched_between(n->sched, 10000, 400000));
        pass(n, PAUSE_MAX_US);
        disk_set_errors(disk, 0);
        break;
    case FAULT_DISK_FULL:
        disk_set_full(disk, true);
        pass(n, PAUSE_MAX_US);
        disk_set_full(disk, false);
        break;
    default:
        disk_set_sync_us(disk, (int32_t)sched_between(n->sched, 5000, 400000));
        pass(n, n->lasts_max_us);
        disk_set_sync_us(disk, 0);
        return;
    }
    sim_broker_kill(n->sim, broker); /* a log that has failed is offline until the next start */
}

/* What it leads goes to others and comes back, while one of its threads may not know of either. */
static void flip(struct nemesis *n, int broker)
{
    node_starve(sim_node(n->sim, broker), "",
                sched_between(n->sched, PAUSE_MIN_US, STARVES_MAX_US));
    sim_expire(n->sim, broker);
    pass(n, FLIP_MAX_US);
    for (int i = 0; i < sim_brokers(n->sim); i++) {
        if (i != broker) {
            sim_expire(n->sim, i);
        }
    }
}

static void break_store(struct nemesis *n, enum fault fault, int broker)
{
    struct coord_model_way *way = node_way(sim_node(n->sim, broker));
    switch (fault) {
    case FAULT_CUT_STORE:
        sim_cut_zookeeper(n->sim, broker, any_direction(n));
        pass(n, n->lasts_max_us);
        sim_cut_zookeeper(n->sim, broker, 0);
        break;
    case FAULT_EXPIRE:
        sim_expire(n->sim, broker);
        break;
    case FAULT_FLIP:
        flip(n, broker);
        break;
    case FAULT_OUST:
        sim_oust_controller(n->sim);
        break;
    default:
        coord_model_lose_some(way, (uint32_t)sched_between(n->sched, 1000, 200000));
        pass(n, n->lasts_max_us);
        coord_model_lose_some(way, 0);
    }
}

static void break_process(struct nemesis *n, enum fault fault, int broker)
{
    struct node *node = sim_node(n->sim, broker);
    switch (fault) {
    case FAULT_KILL:
        sim_broker_kill(n->sim, broker);
        break;
    case FAULT_POWER_LOSS:
        sim_power_loss(n->sim, broker);
        break;
    case FAULT_KILL_AT_CHANGE:
    case FAULT_POWER_LOSS_AT_CHANGE:
        node_kill_at_change(node, sched_between(n->sched, 1, CHANGES_MAX),
                            fault == FAULT_POWER_LOSS_AT_CHANGE);
        break;
    case FAULT_STOP:
        sim_broker_stop(n->sim, broker);
        break;
    case FAULT_PAUSE:
        sim_broker_pause(n->sim, broker);
        pass(n, n->lasts_max_us);
        sim_broker_resume(n->sim, broker);
        break;
    case FAULT_BLACKOUT:
        for (int i = 0; i < sim_brokers(n->sim); i++) {
            sim_power_loss(n->sim, i);
        }
        break;
    case FAULT_STARVE:
        node_starve(node, "", sched_between(n->sched, PAUSE_MIN_US, STARVES_MAX_US));
        break;
    default:
        node_set_clock(node, sched_between(n->sched, -CLOCK_JUMP_MS, CLOCK_JUMP_MS));
    }
}

static bool takes_power(enum fault fault)
{
    return fault == FAULT_POWER_LOSS || fault == FAULT_POWER_LOSS_AT_CHANGE ||
           fault == FAULT_BLACKOUT || fault == FAULT_BOUNCE || fault == FAULT_LAST_STANDING;
}

/* One that it knows; after so many tries there is none. */
static enum fault draw_fault(struct nemesis *n)
{
    for (int i = 0; i < DRAWS_MAX; i++) {
        enum fault fault = (enum fault)sched_below(n->sched, (uint64_t)n->drawn_n);
        if (n->knows[fault]) {
            return fault;
        }
    }
    return FAULTS_N;
}

static void break_something(struct nemesis *n)
{
    enum fault fault = draw_fault(n);
    int broker = (int)sched_below(n->sched, (uint64_t)sim_brokers(n->sim));
    if (fault == FAULTS_N) {
        return;
    }
    n->counts[fault]++;
    trace_line(sim_trace(n->sim), "nemesis: %s broker %d", fault_name(fault), broker);
    switch (fault) {
    case FAULT_LEAD_TWICE:
        (void)script_lead_twice(n->scripts,
                                (int)sched_below(n->sched, (uint64_t)sim_partitions(n->sim)));
        break;
    case FAULT_JOIN:
        (void)script_join(n->scripts, (int)sched_below(n->sched, (uint64_t)sim_partitions(n->sim)));
        break;
    case FAULT_BOUNCE:
        (void)script_bounce(n->scripts,
                            (int)sched_below(n->sched, (uint64_t)sim_partitions(n->sim)));
        break;
    case FAULT_LAST_STANDING:
        (void)script_last_standing(n->scripts, broker);
        break;
    case FAULT_NEW_DISK:
        (void)script_new_disk(n->scripts, broker);
        break;
    case FAULT_CUT_STORE:
    case FAULT_EXPIRE:
    case FAULT_FLIP:
    case FAULT_OUST:
    case FAULT_LOSE_CALLS:
        break_store(n, fault, broker);
        break;
    case FAULT_CUT:
    case FAULT_RESET:
    case FAULT_STALL:
    case FAULT_DELAY:
        break_network(n, fault, broker);
        break;
    case FAULT_DISK_ERRORS:
    case FAULT_DISK_FULL:
    case FAULT_SLOW_DISK:
        break_disk(n, fault, broker);
        break;
    default:
        break_process(n, fault, broker);
    }
}

static void run_breaker(void *context)
{
    struct nemesis *n = context;
    while (!n->stop) {
        break_something(n);
        pass(n, n->pause_max_us);
    }
}

static void run_keeper(void *context)
{
    struct nemesis *n = context;
    while (!n->stop) {
        for (int i = 0; i < sim_brokers(n->sim); i++) {
            if (node_state(sim_node(n->sim, i)) == NODE_DOWN && !scripts_hold_down(n->scripts, i)) {
                sim_broker_start(n->sim, i);
            }
        }
        sched_sleep(n->sched, RESTART_US);
    }
}

/* ---- life ---- */

/* One in one to four of the faults, and a rhythm. */
static void choose(struct nemesis *n)
{
    n->breakers_n = 1 + (int)sched_below(n->sched, BREAKERS_MAX);
    n->pause_max_us = sched_between(n->sched, PAUSE_SHORT_US, PAUSE_MAX_US);
    n->lasts_max_us = sched_between(n->sched, LASTS_SHORT_US, LASTS_MAX_US);
    uint64_t every = 1 + sched_below(n->sched, 4); /* one in so many */
    for (int i = 0; i < FAULT_NEW_DISK; i++) {
        n->knows[i] =
            sched_below(n->sched, every) == 0 && (n->durable || !takes_power((enum fault)i));
    }
    for (int i = 0; i < FAULT_NEW_DISK; i++) {
        n->knows[i] &= !(n->knows[FAULT_DISK_ERRORS] && takes_power((enum fault)i));
    }
}

static void know_only(struct nemesis *n, enum fault fault)
{
    memset(n->knows, 0, sizeof(n->knows));
    n->knows[fault] = true;
    n->breakers_n = 1;
}

struct nemesis *nemesis_new(struct sim *sim, const struct sim_options *options)
{
    struct nemesis *n = xcalloc(1, sizeof(*n));
    n->sim = sim;
    n->sched = sim_sched(sim);
    n->durable = options->durable;
    n->scripts = scripts_new(sim, &n->stop);
    choose(n);
    n->knows[FAULT_NEW_DISK] = options->new_disks;
    n->drawn_n = options->new_disks ? FAULTS_N : FAULT_NEW_DISK;
    if (options->last_standing) {
        know_only(n, FAULT_LAST_STANDING);
    }
    for (int i = 0; i < n->breakers_n; i++) {
        n->breakers[i] = task_spawn(n->sched, NULL, "breaker", run_breaker, n);
    }
    n->keeper = task_spawn(n->sched, NULL, "keeper", run_keeper, n);
    return n;
}

void nemesis_stop(struct nemesis *n)
{
    n->stop = true;
}

bool nemesis_has_ended(const struct nemesis *n)
{
    bool ended = task_has_ended(n->keeper);
    for (int i = 0; i < n->breakers_n; i++) {
        ended = ended && task_has_ended(n->breakers[i]);
    }
    return ended;
}

const uint64_t *nemesis_counts(const struct nemesis *n)
{
    return n->counts;
}

void nemesis_free(struct nemesis *n)
{
    for (int i = 0; i < n->breakers_n; i++) {
        task_free(n->breakers[i]);
    }
    task_free(n->keeper);
    scripts_free(n->scripts);
    free(n);
}
