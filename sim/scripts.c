/* Two leaderships that not everybody hears of. A leads, and others do not have all of its log; the preferred
 * leader B gets the leadership, and is taken for dead, while it lives on; A leads again. Meanwhile, by chance:
 *
 *   B's fetches come late        B leads without the end of A's log: whoever follows B has it cut
 *   A's fetches come late        and A itself has not, when it leads again
 *   the others' news come late   a follower hears of both elections later, in order, and of the first one
 *                                while B still answers
 *   a thread of A's sleeps       what waits for an acknowledgement wakes up in the second leadership
 *
 * A joiner. A leads B and C, and what it answers comes late: B has records whose acknowledgement it has not heard
 * of, and C has not all of them. C's session ends, so that it is not in the ISR, and B gets the leadership. It
 * knows an older high watermark than A did, and keeps it while A's fetches come late. C asks B for the rest, which
 * comes late as well: were it taken into the ISR for having B's high watermark, what A has acknowledged would not
 * be on every member.
 *
 * A bounce. A leader whose followers have what is not on its disk yet loses power, and is there again with a new
 * session before the controller, cut off meanwhile, hears of anything. Were it to lead on in its epoch, it would
 * write other records where its followers have those.
 *
 * The last one standing. All brokers but one go, until that one is the whole ISR; it acknowledges alone, loses
 * power, and is the first to come back. In ZooKeeper mode it leads again, as with Kafka 3.9: what it had not
 * on its disk is lost, though it was acknowledged. (reference: hardening §6)
 *
 * A new disk. A broker goes, and comes back with nothing when it has been forgotten, and is in no ISR: all that it is
 * a replica of is fetched anew. (With it in an ISR, its leader could die before the controller has seen it go.) */
#include "sim/scripts.h"

#include "sim/client.h"

#include "protocol/error.h"
#include "protocol/messages.h"

#include <stdlib.h>

enum {
    TICK_US = 5000,
    TURN_MS = 1500,  /* for what the controller does at once */
    WHOLE_MS = 3000, /* for a broker to be in the ISR again */
    DEATH_MS = 9000, /* for a session to end */
    GATHER_MIN_US = 10000,
    GATHER_MAX_US = 200000,
    FIRST_MIN_US = 5000,
    FIRST_MAX_US = 500000,
    SECOND_MIN_US = 50000,
    SECOND_MAX_US = 1000000,
    LATE_MIN_US = 100000,
    LATE_MAX_US = 1000000,
    SLEEP_MIN_US = 200000,
    SLEEP_MAX_US = 1500000,
    ANSWER_MIN_US = 40000,
    ANSWER_MAX_US = 120000,
    ANSWERS_N = 4,
    REST_MIN_US = 50000,
    REST_MAX_US = 300000,
    BEHIND_US = 1500000,
    OUSTED_MAX = 8,
    SLOW_SYNC_US = 400000,
    TAIL_MIN_US = 20000,
    TAIL_MAX_US = 200000,
    ALONE_MIN_US = 50000,
    ALONE_MAX_US = 600000,
    ELECT_MS = 400,
    ELECT_TRIES = 2, /* the first may find a connection that has ended meanwhile */
    ELECT_LEADERS_VERSION = 1,
    FORGOTTEN_US = 2000000,
    CLIENT_NUMBER = 12, /* behind those of the workload */
};

struct scripts {
    struct sim *sim;
    struct sched *sched;
    const bool *stop;
    struct client client;
    bool runs;
    bool down[HISTORY_BROKERS_MAX];
};

/* ---- waiting ---- */

static void pass(const struct scripts *s, int64_t min_us, int64_t max_us)
{
    int64_t until_us = sched_now_us(s->sched) + sched_between(s->sched, min_us, max_us);
    while (!*s->stop && sched_now_us(s->sched) < until_us) {
        sched_sleep(s->sched, TICK_US);
    }
}

/* Who leads, and whether `member` (-1: nobody) is in the ISR. */
struct aim {
    int partition;
    int leader;     /* -1: any */
    int not_leader; /* -1: any */
    int member;
    uint32_t isr; /* all of it; 0: any */
};

static bool is_reached(const struct scripts *s, const struct aim *aim)
{
    struct event truth;
    return sim_truth(s->sim, aim->partition, &truth) && truth.who >= 0 &&
           (aim->leader < 0 || truth.who == aim->leader) && truth.who != aim->not_leader &&
           (aim->member < 0 || (truth.isr & 1u << aim->member) != 0) &&
           (aim->isr == 0 || truth.isr == aim->isr);
}

static bool wait_for(const struct scripts *s, const struct aim *aim, int64_t patience_ms)
{
    int64_t until_us = sched_now_us(s->sched) + patience_ms * 1000;
    while (!is_reached(s, aim)) {
        if (*s->stop || sched_now_us(s->sched) >= until_us) {
            return false;
        }
        sched_sleep(s->sched, TICK_US);
    }
    return true;
}

static int leader_of(const struct scripts *s, int partition)
{
    struct event truth;
    return sim_truth(s->sim, partition, &truth) ? truth.who : -1;
}

static bool by_chance(const struct scripts *s)
{
    return sched_below(s->sched, 2) == 0;
}

/* ---- two leaderships ---- */

static void elect(struct scripts *s, int partition)
{
    int controller = sim_controller(s->sim);
    int32_t partitions[1] = {partition};
    struct elect_leaders_request_topic_partition topic = {
        .topic = str_of(WORKLOAD_TOPIC), .partitions = partitions, .partitions_n = 1};
    struct elect_leaders_request request;
    struct elect_leaders_response response;
    elect_leaders_request_init(&request);
    request.topic_partitions = &topic;
    request.topic_partitions_n = 1;
    request.timeout_ms = ELECT_MS;
    err e = ERR_UNKNOWN_SERVER_ERROR;
    for (int i = 0; controller >= 0 && i < ELECT_TRIES && e != OK; i++) {
        e = client_ask(&s->client, controller, 43, ELECT_LEADERS_VERSION, &request, &response,
                       ELECT_MS);
    }
}

static void ask_late(const struct scripts *s, int from, int to, bool late)
{
    struct network_delay delay = {0};
    if (late) {
        delay.min_us = (int32_t)sched_between(s->sched, LATE_MIN_US, LATE_MAX_US);
        delay.max_us = delay.min_us * 2;
    }
    network_delay_asking(sim_network(s->sim), from, to, delay);
}

/* What brokers ask of each other is in time again. */
static void mend_network(const struct scripts *s)
{
    for (int from = 0; from < sim_brokers(s->sim); from++) {
        for (int to = 0; to < sim_brokers(s->sim); to++) {
            ask_late(s, from, to, false);
        }
    }
}

/* What is said of others goes to all but those two. */
static void tell_late(const struct scripts *s, int first, int second)
{
    for (int from = 0; from < sim_brokers(s->sim); from++) {
        for (int to = 0; to < sim_brokers(s->sim); to++) {
            if (from != to && to != first && to != second) {
                ask_late(s, from, to, true);
            }
        }
    }
}

/* One of the two that are known to hurt, or any. What is to sleep has first to have something to wait for. */
static void impede(const struct scripts *s, int first, int second)
{
    enum { SLEEPER, LATECOMER, ANY };
    uint64_t plan = sched_below(s->sched, ANY + 1);
    bool any = plan == ANY;
    if (!any || by_chance(s)) {
        ask_late(s, second, first, true);
    }
    pass(s, GATHER_MIN_US, GATHER_MAX_US);
    if (any ? by_chance(s) : plan == LATECOMER) {
        ask_late(s, first, second, true);
    }
    if (any ? by_chance(s) : plan == LATECOMER) {
        tell_late(s, first, second);
    }
    if (any ? by_chance(s) : plan == SLEEPER) {
        node_starve(sim_node(s->sim, first), "net",
                    sched_between(s->sched, SLEEP_MIN_US, SLEEP_MAX_US));
    }
}

/* `second` is taken for dead, and does not hear of it. */
static void bury(const struct scripts *s, int broker)
{
    sim_cut_zookeeper(s->sim, broker, SIM_BOTH);
    sim_expire(s->sim, broker);
}

static void lead_twice(struct scripts *s, int partition, int second)
{
    if (leader_of(s, partition) == second) {
        sim_expire(s->sim, second);
    }
    const struct aim other = {
        .partition = partition, .leader = -1, .not_leader = second, .member = -1};
    if (!wait_for(s, &other, TURN_MS)) {
        return;
    }
    int first = leader_of(s, partition);
    const struct aim both = {
        .partition = partition, .leader = first, .not_leader = -1, .member = second};
    if (!wait_for(s, &both, WHOLE_MS)) {
        return;
    }
    impede(s, first, second);
    elect(s, partition);
    const struct aim moved = {
        .partition = partition, .leader = second, .not_leader = -1, .member = -1};
    if (wait_for(s, &moved, TURN_MS)) {
        pass(s, FIRST_MIN_US, FIRST_MAX_US);
        bury(s, second);
        (void)wait_for(s, &other, TURN_MS);
        pass(s, SECOND_MIN_US, SECOND_MAX_US);
        sim_cut_zookeeper(s->sim, second, 0);
    }
    mend_network(s);
}

bool script_lead_twice(struct scripts *s, int partition)
{
    int preferred = sim_preferred(s->sim, partition);
    if (s->runs || preferred < 0 || sim_brokers(s->sim) < 2) {
        return false;
    }
    s->runs = true;
    lead_twice(s, partition, preferred);
    s->runs = false;
    return true;
}

/* ---- a joiner ---- */

static void send_late(const struct scripts *s, int from, int to, int64_t us)
{
    network_set_delay(sim_network(s->sim), from, to,
                      (struct network_delay){.min_us = (int32_t)us, .max_us = (int32_t)us});
}

static void send_in_time(const struct scripts *s, int from, int to)
{
    network_set_delay(sim_network(s->sim), from, to, SIM_IN_TIME);
}

/* Of the ISR, neither of the two; -1: there is none. */
static int third_of(const struct scripts *s, int partition, int first, int second)
{
    struct event truth;
    if (sim_truth(s->sim, partition, &truth)) {
        for (int i = 0; i < sim_brokers(s->sim); i++) {
            if (i != first && i != second && (truth.isr & 1u << i) != 0) {
                return i;
            }
        }
    }
    return -1;
}

static bool is_controller(const struct scripts *s, int first, int joiner)
{
    int controller = sim_controller(s->sim);
    return controller < 0 || controller == first || controller == joiner;
}

/* Neither of the two is, as far as a few elections make it so: it is not to be told late, nor to end. */
static void let_others_control(const struct scripts *s, int first, int joiner)
{
    for (int i = 0; i < OUSTED_MAX && is_controller(s, first, joiner); i++) {
        sim_oust_controller(s->sim);
        pass(s, GATHER_MIN_US, GATHER_MAX_US);
    }
}

static void join(struct scripts *s, int partition, int first, int second, int joiner)
{
    const struct aim moved = {
        .partition = partition, .leader = second, .not_leader = -1, .member = -1};
    int64_t us = sched_between(s->sched, ANSWER_MIN_US, ANSWER_MAX_US);
    send_late(s, first, second, us);
    send_late(s, first, joiner, ANSWERS_N * us);
    pass(s, 2 * ANSWERS_N * us, 4 * ANSWERS_N * us);
    send_late(s, second, joiner, sched_between(s->sched, REST_MIN_US, REST_MAX_US));
    network_delay_asking(sim_network(s->sim), first, second,
                         (struct network_delay){.min_us = BEHIND_US, .max_us = BEHIND_US});
    sim_expire(s->sim, joiner);
    pass(s, us, 2 * us); /* `first` hears of that, and `second` not yet what it makes of it */
    elect(s, partition);
    if (wait_for(s, &moved, TURN_MS)) {
        pass(s, SECOND_MIN_US, SECOND_MAX_US);
    }
    send_in_time(s, first, second);
    send_in_time(s, first, joiner);
    send_in_time(s, second, joiner);
    mend_network(s);
}

bool script_join(struct scripts *s, int partition)
{
    int second = sim_preferred(s->sim, partition);
    if (s->runs || second < 0) {
        return false;
    }
    s->runs = true;
    if (leader_of(s, partition) == second) {
        sim_expire(s->sim, second);
    }
    const struct aim both = {
        .partition = partition, .leader = -1, .not_leader = second, .member = second};
    bool reached = wait_for(s, &both, WHOLE_MS);
    int first = leader_of(s, partition);
    int joiner = third_of(s, partition, first, second);
    if (reached && first >= 0 && joiner >= 0) {
        let_others_control(s, first, joiner);
        join(s, partition, first, second, joiner);
    }
    s->runs = false;
    return true;
}

/* ---- a bounce ---- */

static bool wait_to_serve(const struct scripts *s, int broker)
{
    int64_t until_us = sched_now_us(s->sched) + TURN_MS * 1000;
    while (!*s->stop && !sim_broker_serves(s->sim, broker) && sched_now_us(s->sched) < until_us) {
        sched_sleep(s->sched, TICK_US);
    }
    return sim_broker_serves(s->sim, broker);
}

static void bounce(const struct scripts *s, int leader)
{
    struct disk *disk = node_disk(sim_node(s->sim, leader));
    int controller = sim_controller(s->sim);
    disk_set_sync_us(disk, SLOW_SYNC_US);
    pass(s, TAIL_MIN_US, TAIL_MAX_US);
    disk_set_sync_us(disk, 0);
    bool late = by_chance(s);
    for (int i = 0; late && i < sim_brokers(s->sim); i++) {
        ask_late(s, i, leader, i != controller && i != leader);
    }
    if (controller >= 0 && controller != leader) {
        sim_cut_zookeeper(s->sim, controller, SIM_BOTH);
    }
    sim_power_loss(s->sim, leader);
    sim_expire(s->sim, leader);
    sim_broker_start(s->sim, leader);
    (void)wait_to_serve(s, leader);
    if (controller >= 0 && controller != leader) {
        sim_cut_zookeeper(s->sim, controller, 0);
    }
    pass(s, SECOND_MIN_US, SECOND_MAX_US);
    mend_network(s);
}

bool script_bounce(struct scripts *s, int partition)
{
    int leader = leader_of(s, partition);
    if (s->runs || leader < 0 || sim_brokers(s->sim) < 2 || !sim_broker_serves(s->sim, leader)) {
        return false;
    }
    s->runs = true;
    bounce(s, leader);
    s->runs = false;
    return true;
}

/* ---- the last one standing ---- */

static void last_standing(struct scripts *s, int last)
{
    for (int i = 0; i < sim_brokers(s->sim); i++) {
        if (i != last) {
            s->down[i] = true;
            sim_broker_kill(s->sim, i);
        }
    }
    const struct aim alone = {.leader = last, .not_leader = -1, .member = -1, .isr = 1u << last};
    const struct aim back = {.leader = last, .not_leader = -1, .member = -1};
    if (wait_for(s, &alone, DEATH_MS)) {
        pass(s, ALONE_MIN_US, ALONE_MAX_US);
        sim_power_loss(s->sim, last);
        pass(s, ALONE_MIN_US, ALONE_MAX_US);
        sim_broker_start(s->sim, last);
        pass(s, ALONE_MIN_US, ALONE_MAX_US);
        (void)wait_for(s, &back, DEATH_MS);
    }
    for (int i = 0; i < sim_brokers(s->sim); i++) {
        s->down[i] = false;
    }
}

bool script_last_standing(struct scripts *s, int broker)
{
    struct event truth;
    if (s->runs || sim_brokers(s->sim) < 2 || !sim_truth(s->sim, 0, &truth)) {
        return false;
    }
    s->runs = true;
    last_standing(s, broker);
    s->runs = false;
    return true;
}

/* ---- a new disk ---- */

/* Nor will it be: what its leaders asked for while it lived has been answered. */
static bool is_in_no_isr(const struct scripts *s, int broker)
{
    struct event truth;
    if (sim_gone_us(s->sim, broker) < FORGOTTEN_US) {
        return false;
    }
    for (int i = 0; i < sim_partitions(s->sim); i++) {
        if (!sim_truth(s->sim, i, &truth) || (truth.isr & 1u << broker) != 0) {
            return false;
        }
    }
    return true;
}

static void new_disk(struct scripts *s, int broker)
{
    struct node *node = sim_node(s->sim, broker);
    int64_t until_us = sched_now_us(s->sched) + DEATH_MS * 1000;
    s->down[broker] = true;
    sim_broker_kill(s->sim, broker);
    while (!*s->stop && sched_now_us(s->sched) < until_us &&
           !(node_is_quiet(node) && is_in_no_isr(s, broker))) {
        sched_sleep(s->sched, TICK_US);
    }
    if (node_is_quiet(node) && is_in_no_isr(s, broker)) {
        trace_line(sim_trace(s->sim), "broker %d: new disk", broker);
        disk_replace(node_disk(node));
    }
    s->down[broker] = false;
}

bool script_new_disk(struct scripts *s, int broker)
{
    if (s->runs || sim_brokers(s->sim) < 2) {
        return false;
    }
    s->runs = true;
    new_disk(s, broker);
    s->runs = false;
    return true;
}

bool scripts_hold_down(const struct scripts *s, int broker)
{
    return s->down[broker];
}

/* ---- life ---- */

struct scripts *scripts_new(struct sim *sim, const bool *stop)
{
    struct scripts *s = xcalloc(1, sizeof(*s));
    s->sim = sim;
    s->sched = sim_sched(sim);
    s->stop = stop;
    client_init(&s->client, s->sched, sim_network(sim), CLIENT_NUMBER);
    return s;
}

void scripts_free(struct scripts *s)
{
    CHECK(!s->runs);
    client_deinit(&s->client);
    free(s);
}
