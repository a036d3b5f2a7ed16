/* One broker, and clients in transactions: it ends before each of its writes in turn, by a kill that leaves the page
 * cache, or by a power cut where it flushes before it acknowledges; and starts again. Afterwards every
 * transaction is whole, in its partitions and in its group's offset, or not there at all, and none hangs
 * (ledger.h). The seed is one, so that the runs are the same up to the end of the broker. */
#include "sim/ledger.h"

#include "base/tests/suite.h"
#include "sim/sim.h"

enum {
    POINTS = 250, /* the clients are in the middle of it for all of them */
    SEED = 7,
    WARM_MS = 1500,
    AFTER_MS = 1500,
    SOON_MS = 15000,
    STEP_MS = 50,
};

static struct {
    struct sim *sim;
    struct ledger *ledger;
    uint64_t committed;
    uint64_t unknown;
    int killed;
} t;

static bool until(bool (*is_so)(void))
{
    for (int64_t ms = 0; ms < SOON_MS; ms += STEP_MS) {
        if (is_so()) {
            return true;
        }
        sim_run(t.sim, STEP_MS);
    }
    return is_so();
}

static bool serves(void)
{
    sim_broker_start(t.sim, 0); /* as an init system does */
    return sim_broker_serves(t.sim, 0);
}

static bool is_down(void)
{
    return !sim_broker_serves(t.sim, 0);
}

static bool is_written(void)
{
    return ledger_writers_ended(t.ledger);
}

static bool is_read(void)
{
    return ledger_has_read_all(t.ledger);
}

static bool has_ended(void)
{
    return ledger_has_ended(t.ledger);
}

static void run_point(int64_t changes, bool power)
{
    struct violation violation = {0};
    t.sim = sim_new(&(struct sim_options){
        .seed = SEED, .brokers_n = 1, .moves = 0, .durable = power, .txns = true});
    sim_start_all(t.sim);
    CU_ASSERT_TRUE_FATAL(until(serves));
    const struct ledger_config config = {.sched = sim_sched(t.sim),
                                         .trace = sim_trace(t.sim),
                                         .network = sim_network(t.sim),
                                         .brokers_n = 1,
                                         .replicas_n = 1,
                                         .min_isr = 1};
    t.ledger = ledger_new(&config);
    sim_run(t.sim, WARM_MS);
    node_kill_at_change(sim_node(t.sim, 0), changes, power);
    t.killed += until(is_down) ? 1 : 0;
    CU_ASSERT_TRUE(until(serves));
    sim_run(t.sim, AFTER_MS);
    ledger_stop_writers(t.ledger);
    CU_ASSERT_TRUE(until(is_written));
    ledger_read_all(t.ledger);
    CU_ASSERT_TRUE(until(is_read));
    ledger_stop(t.ledger);
    CU_ASSERT_TRUE_FATAL(until(has_ended));
    if (ledger_check(t.ledger, &violation, 1) > 0) {
        printf("\nbefore change %lld, %s: %s: %s\n", (long long)changes,
               power ? "power cut" : "kill", violation.property, violation.text);
        CU_FAIL("a transaction is not what it must be");
    }
    t.committed += ledger_counts(t.ledger).committed;
    t.unknown += ledger_counts(t.ledger).unknown;
    ledger_free(t.ledger);
    sim_free(t.sim);
}

static void run_points(bool power)
{
    t.committed = t.unknown = 0;
    t.killed = 0;
    for (int64_t changes = 1; changes <= POINTS; changes++) {
        run_point(changes, power);
    }
    printf("\n%d ends of a broker, %llu transactions committed, of %llu nobody was told\n",
           t.killed, (unsigned long long)t.committed, (unsigned long long)t.unknown);
    CU_ASSERT_EQUAL(t.killed, POINTS);
    CU_ASSERT(t.committed > POINTS && t.unknown > 0);
}

static void test_kills(void)
{
    run_points(false);
}

static void test_power_cuts(void)
{
    run_points(true);
}

SUITE("kill points of transactions", TEST(test_kills), TEST(test_power_cuts))
