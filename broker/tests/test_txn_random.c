/* Clients with one transactional id that act at random, against a model: they begin, add partitions, end and
 * verify, some with what they had before, or could guess; storing takes time and may fail, and what failed may
 * be in the log all the same; the coordinator is replaced by one that knows the log only. Each run has a seed;
 * a failing one is printed (test_txn_random SEED runs it alone).
 *
 * After each event: nothing was changed by whoever is fenced; an outcome that is stored stays; epochs never
 * fall, and a pair of producer id and epoch is given to one who began, and to the same again if it says so; one
 * transition at most is pending; the partitions are those that were added. At the end, when nobody acts any
 * more, the last transaction ends by its timeout. */
#include "broker/coordinator/txn.h"

#include "base/tests/suite.h"
#include "protocol/error.h"

#include <signal.h>

enum {
    SEEDS = 1000,
    STEPS = 2000,
    EXHAUSTED = 32766, /* the last epoch that is given out */
    CLIENTS = 4,
    PARTITIONS = 5,
    MANY_MS = 100000, /* more than any timeout */
};

struct pair {
    int64_t id;
    int16_t epoch;
};

/* A pair that was given out, and what its producer had before. */
struct given {
    struct pair pair;
    struct pair before;
};

/* A record of the log, as its coordinator would find it. */
struct record_of {
    bool exists;
    struct txn_values values; /* partitions: NULL; they are the mask */
    uint32_t mask;
};

static struct {
    struct seeded_random random;
    struct txn *txn; /* NULL: the id is not known */
    int64_t now_ms;
    int64_t next_id;
    struct pair clients[CLIENTS]; /* what they believe; id -1: nothing */

    /* What is being stored. */
    bool storing;
    struct txn_step step;
    uint32_t step_mask;
    int by; /* whose InitProducerId or 51 it is; -1: nobody's */
    struct pair presented;

    /* What is known to hold. */
    struct record_of log;
    uint32_t mask;      /* what was added to the transaction */
    struct pair stored; /* the highest that an acknowledged record had */
    enum txn_state decided;
    int16_t raised_to; /* by a fence that was not stored; -1: none */
    struct given given[STEPS + 2];
    int given_n;
    bool failed;
} s;

static int seen[TXN_STATES]; /* of all runs: what was stored */

/* A violated invariant is told once for a seed. */
#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition) && !s.failed) {                                                           \
            printf("line %d: %s\n", __LINE__, #condition);                                         \
            s.failed = true;                                                                       \
        }                                                                                          \
    } while (0)

static uint32_t below(uint32_t n)
{
    return random_below(&s.random.random, n);
}

static bool is_below(struct pair a, struct pair b)
{
    return a.id != b.id ? a.id < b.id : a.epoch < b.epoch;
}

static bool is_same(struct pair a, struct pair b)
{
    return a.id == b.id && a.epoch == b.epoch;
}

static struct pair pair_of(const struct txn_values *values)
{
    return (struct pair){values->producer_id, values->epoch};
}

static struct txn_partitions *partitions_of_mask(uint32_t mask)
{
    struct topic_partition names[PARTITIONS];
    size_t count = 0;
    for (int32_t i = PARTITIONS - 1; i >= 0; i--) {
        if ((mask >> i & 1) != 0) {
            names[count++] = (struct topic_partition){.topic = STR("t"), .partition = i};
        }
    }
    return txn_partitions_new(names, count);
}

static bool is_mask(const struct txn_partitions *partitions, uint32_t mask)
{
    int32_t count = 0;
    for (int32_t i = 0; i < PARTITIONS; i++) {
        bool wanted = (mask >> i & 1) != 0;
        count += wanted;
        if (txn_partitions_hold(partitions, STR("t"), i) != wanted) {
            return false;
        }
    }
    return txn_partitions_count(partitions) == count;
}

static bool is_open(enum txn_state state)
{
    return state == TXN_ONGOING || state == TXN_PREPARE_COMMIT || state == TXN_PREPARE_ABORT;
}

static enum txn_state completion_of(enum txn_state state)
{
    return state == TXN_PREPARE_COMMIT  ? TXN_COMPLETE_COMMIT
           : state == TXN_PREPARE_ABORT ? TXN_COMPLETE_ABORT
                                        : TXN_NOTHING_PENDING;
}

/* The transaction as it is between events. */
static void check_txn(void)
{
    if (s.txn == NULL) {
        return;
    }
    txn_check(s.txn);
    enum txn_state pending = s.storing ? s.step.next.state : completion_of(s.txn->is.state);
    HOLDS(s.txn->pending == pending);
    HOLDS(!is_below(pair_of(&s.txn->is), s.stored));
    HOLDS(is_mask(s.txn->is.partitions, is_open(s.txn->is.state) ? s.mask : 0));
    if (s.decided != TXN_NOTHING_PENDING) {
        HOLDS(completion_of(s.txn->is.state) == s.decided);
        HOLDS(pending == s.decided);
    }
}

/* ---- storing ---- */

static void begin_storing(const struct txn_step *step, uint32_t mask, int by, struct pair presented)
{
    HOLDS(!s.storing);
    HOLDS(step->next.state >= 0 && step->next.state < TXN_STATES);
    s.storing = true;
    s.step = *step;
    s.step_mask = mask;
    s.by = by;
    s.presented = presented;
    if (step->next.state == TXN_PREPARE_COMMIT || step->next.state == TXN_PREPARE_ABORT) {
        HOLDS(is_mask(step->next.partitions, s.mask));
        HOLDS(step->next.start_ms == s.txn->is.start_ms);
    }
    if (s.decided != TXN_NOTHING_PENDING) {
        HOLDS(step->next.state == s.decided);
    }
}

static void give(int client, struct pair pair, struct pair presented)
{
    for (int i = 0; i < s.given_n; i++) {
        if (is_same(s.given[i].pair, pair)) { /* only to who says that it is the same one */
            HOLDS(presented.id != TXN_NO_PRODUCER_ID && is_same(s.given[i].before, presented));
            s.clients[client] = pair;
            return;
        }
    }
    s.given[s.given_n++] = (struct given){pair, presented};
    s.clients[client] = pair;
}

static void write_log(const struct txn_values *next, uint32_t mask)
{
    s.log = (struct record_of){.exists = next->state != TXN_DEAD,
                               .values = *next,
                               .mask = is_open(next->state) ? mask : 0};
    s.log.values.partitions = NULL;
}

static void finish_storing(bool succeeds, bool is_in_log)
{
    if (!s.storing) {
        return;
    }
    struct txn_values next = s.step.next;
    enum txn_state before = s.txn->is.state;
    s.storing = false;
    if (succeeds || is_in_log) {
        write_log(&next, s.step_mask);
    }
    if (!succeeds) {
        txn_not_stored(s.txn, &s.step.next);
        HOLDS(s.txn->is.state == before);
        if (next.state == TXN_PREPARE_ABORT && s.txn->is_fenced) {
            HOLDS(s.raised_to < 0 || s.raised_to == next.epoch);
            s.raised_to = next.epoch;
        }
        if (s.txn->is.epoch == TXN_NO_EPOCH) {
            txn_free(s.txn);
            s.txn = NULL;
        }
        return;
    }
    txn_stored(s.txn, &s.step.next);
    seen[next.state]++;
    HOLDS(!is_below(pair_of(&next), s.stored));
    s.stored = pair_of(&next);
    s.mask = s.step_mask;
    s.decided = completion_of(next.state);
    if (next.state != TXN_ONGOING) {
        s.raised_to = TXN_NO_EPOCH;
    }
    if (next.state == TXN_EMPTY && s.by >= 0) {
        give(s.by, pair_of(&next), s.presented);
    }
    if (next.state == TXN_DEAD) {
        txn_free(s.txn);
        s.txn = NULL;
    }
}

/* A coordinator that knows the log. */
static void load(void)
{
    if (s.storing) {
        if (below(2) == 0) {
            write_log(&s.step.next, s.step_mask);
        }
        txn_not_stored(s.txn, &s.step.next);
        s.storing = false;
    }
    if (s.txn != NULL) {
        txn_free(s.txn);
        s.txn = NULL;
    }
    s.raised_to = TXN_NO_EPOCH;
    s.decided = TXN_NOTHING_PENDING;
    if (!s.log.exists) {
        return;
    }
    struct txn_values values = s.log.values;
    values.last_producer_id = TXN_NO_PRODUCER_ID;
    values.last_epoch = TXN_NO_EPOCH;
    values.partitions = is_open(values.state) ? partitions_of_mask(s.log.mask) : NULL;
    s.txn = txn_new_loaded(STR("id"), &values);
    s.mask = s.log.mask;
    s.decided = completion_of(values.state);
}

/* ---- events ---- */

/* What a step that is no answer did, or that nothing has happened. */
struct snapshot {
    struct txn_values is;
    enum txn_state pending;
};

static struct snapshot snapshot(void)
{
    return (struct snapshot){s.txn->is, s.txn->pending};
}

static bool is_unchanged(const struct snapshot *before)
{
    return memcmp(&before->is, &s.txn->is, sizeof(before->is)) == 0 &&
           before->pending == s.txn->pending;
}

/* Raised once for each transaction. Nobody is given the last epoch, but somebody may guess it. */
static int fencing_epoch(const struct snapshot *before)
{
    bool raise = s.raised_to < 0 && before->is.epoch < INT16_MAX;
    return raise ? before->is.epoch + 1 : before->is.epoch;
}

/* What the client has, or by chance what somebody had, or nobody. */
static struct pair choose_pair(int client)
{
    uint32_t mood = below(10);
    if (mood == 0 && s.given_n > 0) {
        return s.given[below((uint32_t)s.given_n)].pair;
    }
    if (mood == 1 && s.given_n > 0) {
        return s.given[s.given_n - 1].before;
    }
    if (mood == 2) {
        return (struct pair){s.clients[client].id, (int16_t)(s.clients[client].epoch + 1)};
    }
    return s.clients[client];
}

static void begin_by_client(int client)
{
    struct pair pair = below(3) == 0 ? (struct pair){-1, -1} : choose_pair(client);
    pair = pair.id < 0 || pair.epoch < 0 ? (struct pair){-1, -1} : pair;
    bool fresh = below(8) > 0;
    struct txn_init event = {.timeout_ms = 1 + (int32_t)below(MANY_MS / 2),
                             .producer_id = pair.id,
                             .epoch = pair.epoch,
                             .fresh_producer_id = fresh ? s.next_id : -1};
    struct txn_step step;
    if (s.txn == NULL) {
        s.txn = txn_new(STR("id"), s.next_id, event.timeout_ms, s.now_ms);
    }
    struct snapshot before = snapshot();
    bool right = pair.id == -1 || before.is.epoch == -1 || pair.id == before.is.producer_id;
    txn_init_producer_id(s.txn, &event, s.now_ms, &step);
    s.next_id++;
    if (!step.store) {
        HOLDS(is_unchanged(&before));
        HOLDS(step.error != OK && (step.error != E_NOT_FOUND || !fresh));
        HOLDS(before.pending == TXN_NOTHING_PENDING || step.error == ERR_CONCURRENT_TRANSACTIONS);
        return;
    }
    HOLDS(before.pending == TXN_NOTHING_PENDING);
    HOLDS(right || (pair.id == before.is.last_producer_id && pair.epoch >= EXHAUSTED));
    if (before.is.state == TXN_ONGOING) {
        HOLDS(step.error == ERR_CONCURRENT_TRANSACTIONS && step.next.state == TXN_PREPARE_ABORT);
        HOLDS(step.next.epoch == fencing_epoch(&before));
        begin_storing(&step, s.mask, -1, pair);
    } else {
        HOLDS(step.error == OK && step.next.state == TXN_EMPTY && step.next.partitions == NULL);
        HOLDS(step.next.timeout_ms == event.timeout_ms && step.next.start_ms == -1);
        HOLDS(step.next.epoch < INT16_MAX);
        begin_storing(&step, 0, client, pair);
    }
}

/* Whoever has a pair that is below what was stored is fenced, and changes nothing. */
static bool may_pass(struct pair pair, const struct snapshot *before)
{
    return !is_below(pair, s.stored) && is_same(pair, pair_of(&before->is));
}

static void add_by_client(int client)
{
    struct pair pair = choose_pair(client);
    struct txn_step step;
    if (s.txn == NULL) {
        return;
    }
    uint32_t added = below(1 << PARTITIONS) & below(1 << PARTITIONS);
    struct txn_partitions *partitions = partitions_of_mask(added);
    struct snapshot before = snapshot();
    bool open = before.is.state == TXN_ONGOING;
    txn_add_partitions(s.txn, (struct txn_producer){pair.id, pair.epoch}, partitions, s.now_ms,
                       &step);
    txn_partitions_release(partitions);
    HOLDS(is_unchanged(&before) || step.store);
    HOLDS((step.error != OK && !step.store) || may_pass(pair, &before));
    HOLDS(step.error != OK || step.store || (open && (s.mask | added) == s.mask));
    if (step.store) {
        uint32_t mask = open ? s.mask | added : added;
        HOLDS(step.next.state == TXN_ONGOING && is_mask(step.next.partitions, mask));
        HOLDS(step.next.start_ms == (open ? before.is.start_ms : s.now_ms));
        HOLDS(step.next.update_ms == s.now_ms);
        begin_storing(&step, mask, -1, pair);
    }
}

static void end_by_client(int client)
{
    struct pair pair = choose_pair(client);
    bool commit = below(2) == 0;
    struct txn_step step;
    if (s.txn == NULL) {
        return;
    }
    struct snapshot before = snapshot();
    txn_end(s.txn, (struct txn_producer){pair.id, pair.epoch}, commit, s.now_ms, &step);
    HOLDS(is_unchanged(&before) || step.store);
    HOLDS((step.error != OK && !step.store) || may_pass(pair, &before));
    if (step.store) {
        HOLDS(before.is.state == TXN_ONGOING);
        HOLDS(step.next.state == (commit ? TXN_PREPARE_COMMIT : TXN_PREPARE_ABORT));
        begin_storing(&step, s.mask, -1, pair);
    } else if (step.error == OK) {
        HOLDS(before.is.state == (commit ? TXN_COMPLETE_COMMIT : TXN_COMPLETE_ABORT));
    }
}

static void verify_by_client(int client)
{
    struct pair pair = choose_pair(client);
    if (s.txn == NULL) {
        return;
    }
    struct snapshot before = snapshot();
    int32_t number = (int32_t)below(PARTITIONS);
    err e = txn_verify(s.txn, (struct txn_producer){pair.id, pair.epoch});
    HOLDS(is_unchanged(&before));
    HOLDS(e != OK || may_pass(pair, &before));
    if (e == OK) {
        bool has = before.is.state == TXN_ONGOING && (s.mask >> number & 1) != 0;
        e = txn_verify_partition(s.txn, STR("t"), number);
        HOLDS(e == (has ? OK : ERR_TRANSACTION_ABORTABLE));
    }
}

static void time_out(void)
{
    const struct pair nobody = {-1, -1};
    struct txn_step step;
    if (s.txn == NULL) {
        return;
    }
    struct snapshot before = snapshot();
    bool late = before.is.state == TXN_ONGOING && before.pending == TXN_NOTHING_PENDING &&
                s.now_ms > before.is.start_ms + before.is.timeout_ms;
    HOLDS(txn_has_timed_out(s.txn, s.now_ms) == late);
    if (late) {
        txn_abort(s.txn, s.now_ms, &step);
        HOLDS(step.store && step.next.state == TXN_PREPARE_ABORT);
        HOLDS(step.next.epoch == fencing_epoch(&before));
        begin_storing(&step, s.mask, -1, nobody);
    }
}

static void write_markers(void)
{
    const struct pair nobody = {-1, -1};
    struct txn_step step;
    if (s.txn == NULL || s.storing || !txn_is_prepared(s.txn->is.state)) {
        return;
    }
    struct snapshot before = snapshot();
    txn_markers_written(s.txn, s.now_ms, &step);
    HOLDS(step.store && is_unchanged(&before));
    HOLDS(is_same(pair_of(&step.next), pair_of(&before.is)));
    HOLDS(txn_partitions_count(step.next.partitions) == 0);
    begin_storing(&step, 0, -1, nobody);
}

static void expire(void)
{
    const struct pair nobody = {-1, -1};
    struct txn_step step;
    int64_t expiration_ms = below(MANY_MS);
    if (s.txn == NULL || !txn_has_expired(s.txn, s.now_ms, expiration_ms)) {
        return;
    }
    HOLDS(!is_open(s.txn->is.state) && s.now_ms >= s.txn->is.update_ms + expiration_ms);
    txn_expire(s.txn, &step);
    HOLDS(step.store && step.next.state == TXN_DEAD);
    begin_storing(&step, 0, -1, nobody);
}

/* ---- one run ---- */

/* Half of the runs begin where epochs are about to run out. */
static void setup(uint64_t seed)
{
    memset(&s, 0, sizeof(s));
    seeded_random_init(&s.random, seed);
    s.now_ms = 1000000;
    s.next_id = 100;
    s.decided = TXN_NOTHING_PENDING;
    s.raised_to = TXN_NO_EPOCH;
    s.stored = (struct pair){-1, -1};
    for (int i = 0; i < CLIENTS; i++) {
        s.clients[i] = (struct pair){-1, -1};
    }
    if (below(2) == 0) {
        s.log = (struct record_of){.exists = true,
                                   .values = {.state = TXN_EMPTY,
                                              .producer_id = 50,
                                              .epoch = (int16_t)(EXHAUSTED - below(20)),
                                              .timeout_ms = 1000,
                                              .start_ms = -1}};
        s.stored = pair_of(&s.log.values);
        load();
    }
}

/* One of them does most. */
static void random_event(void)
{
    int client = below(4) == 0 ? (int)below(CLIENTS) : 0;
    uint32_t event = below(100);
    if (event < 5) {
        begin_by_client(client);
    } else if (event < 25) {
        add_by_client(client);
    } else if (event < 40) {
        end_by_client(client);
    } else if (event < 45) {
        verify_by_client(client);
    } else if (event < 78) {
        bool succeeds = below(8) > 0;
        finish_storing(succeeds, below(2) == 0);
    } else if (event < 90) {
        write_markers();
    } else if (event < 93) {
        s.now_ms += below(10) == 0 ? below(MANY_MS) : below(100);
    } else if (event < 96) {
        time_out();
    } else if (event < 99) {
        expire();
    } else if (below(4) == 0) {
        load();
    }
}

/* Nobody acts any more: what is open ends by its timeout. */
static void calm_down(void)
{
    finish_storing(true, true);
    s.now_ms += MANY_MS;
    for (int i = 0; i < 2; i++) {
        time_out();
        finish_storing(true, true);
        write_markers();
        finish_storing(true, true);
        check_txn();
    }
    HOLDS(s.txn == NULL || !is_open(s.txn->is.state));
    HOLDS(s.txn == NULL || s.txn->pending == TXN_NOTHING_PENDING);
}

static uint64_t running_seed;

/* txn_check() stops the process. */
static void on_stop(int signal_number)
{
    (void)signal_number;
    printf("seed %llu: stopped\n", (unsigned long long)running_seed);
    fflush(stdout);
}

static void run_seed(uint64_t seed)
{
    running_seed = seed;
    setup(seed);
    for (int i = 0; i < STEPS && !s.failed; i++) {
        random_event();
        check_txn();
    }
    if (!s.failed) {
        calm_down();
    }
    if (s.storing) {
        txn_not_stored(s.txn, &s.step.next);
    }
    if (s.txn != NULL) {
        txn_free(s.txn);
    }
    if (s.failed) {
        printf("seed %llu: %d pairs given out\n", (unsigned long long)seed, s.given_n);
    }
    CU_ASSERT_FALSE(s.failed);
}

static uint64_t only_seed;

static void test_random_events(void)
{
    if (only_seed != 0) {
        run_seed(only_seed);
        return;
    }
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run_seed(seed);
    }
    for (int state = 0; state < TXN_STATES; state++) {
        CU_ASSERT(seen[state] > SEEDS / 2); /* each of them happens, often */
    }
}

int main(int argc, char **argv)
{
    const struct suite_test tests[] = {TEST(test_random_events)};
    signal(SIGABRT, on_stop);
    only_seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    return suite_run("txn at random", tests, 1, 1, argv);
}
