/* A crash after each change of the disk in each scenario, in all its kinds, and by chance several times: whatever is left
 * is opened, and must hold what was promised (crash_check.c). Each state of the disk is tried once for each state of the
 * model.
 *
 * OTTLA_CRASH_ROUNDS=n tries n times as much. A line that begins with WRONG says the scenario, the change, the
 * kind of crash and its seed; with OTTLA_CRASH_AT="scenario" only that one runs, and with
 * OTTLA_CRASH_CHANGE and OTTLA_CRASH_SEED only that crash is tried, and all of it is printed. */
#define _GNU_SOURCE
#include "storage/tests/crash_scenarios.h"
#include "storage/tests/util.h"

enum {
    ANY_CRASHES = 4,
    RANDOM_SEEDS = 2,
    RANDOM_STEPS = 150,
    STATES_EXPECTED = (ONE_IN == 1 ? 10000 : 1000)
};

/* ---- states that were tried ---- */

struct states {
    uint64_t *slots;
    size_t slots_n; /* a power of two */
    size_t count;
};

static bool states_add(struct states *states, uint64_t state);

static void states_grow(struct states *states)
{
    struct states more = {.slots_n = states->slots_n == 0 ? 1 << 12 : states->slots_n * 2};
    more.slots = xcalloc(more.slots_n, sizeof(*more.slots));
    for (size_t i = 0; i < states->slots_n; i++) {
        if (states->slots[i] != 0) {
            (void)states_add(&more, states->slots[i]);
        }
    }
    free(states->slots);
    *states = more;
}

/* Is it new? */
static bool states_add(struct states *states, uint64_t state)
{
    if (states->count * 2 >= states->slots_n) {
        states_grow(states);
    }
    state |= 1;
    size_t at = (size_t)(state >> 8) & (states->slots_n - 1);
    for (; states->slots[at] != 0; at = (at + 1) & (states->slots_n - 1)) {
        if (states->slots[at] == state) {
            return false;
        }
    }
    states->slots[at] = state;
    states->count++;
    return true;
}

/* ---- one scenario ---- */

struct campaign {
    struct world w;
    struct states states;
    const char *name;
    uint64_t seed;
    int64_t changes;
    int crashes; /* by chance, after each change */
};

static void crash(struct campaign *c, enum crash_kind kind, uint64_t seed)
{
    struct crash_disk *left = crash_disk_after(c->w.disk, kind, seed, &c->w.clock.clock);
    if (left == NULL) {
        return;
    }
    bool in_cache = kind == CRASH_KILL || kind == CRASH_TORN;
    uint64_t state = crash_disk_hash(left, NULL) * 31 + c->w.moment * 2 + (in_cache ? 1 : 0);
    const char *change = getenv("OTTLA_CRASH_CHANGE");
    const char *wanted = getenv("OTTLA_CRASH_SEED");
    c->w.prints = change != NULL && atoll(change) == c->changes && wanted != NULL &&
                  strtoull(wanted, NULL, 10) == seed;
    if (!states_add(&c->states, state)) {
        crash_disk_free(left);
        return;
    }
    snprintf(c->w.where, sizeof(c->w.where), "\"%s\" %llu change %lld %s %llu", c->name,
             (unsigned long long)c->seed, (long long)c->changes, crash_kind_name(kind),
             (unsigned long long)seed);
    world_check(&c->w, left, kind);
    log_set_level(LOG_OFF);
}

static void on_change(void *context)
{
    struct campaign *c = context;
    c->changes++;
    if (c->changes % ONE_IN != 0) {
        return;
    }
    for (int kind = 0; kind < CRASH_ANY; kind++) {
        crash(c, (enum crash_kind)kind, (uint64_t)c->changes);
    }
    for (int i = 0; i < c->crashes; i++) {
        crash(c, CRASH_ANY, (uint64_t)(c->changes * 1000 + i));
    }
}

/* ---- all of them ---- */

struct total {
    int scenarios;
    int failures;
    int64_t changes;
    uint64_t states;
    uint64_t opened;
    uint64_t batches;
    uint64_t keys;
    uint64_t producers;
    uint64_t aborted;
    uint64_t lost;
};

static int rounds(void)
{
    const char *text = getenv("OTTLA_CRASH_ROUNDS");
    int n = text == NULL ? 1 : atoi(text);
    return n < 1 ? 1 : n;
}

static bool is_wanted(const char *name)
{
    const char *only = getenv("OTTLA_CRASH_AT");
    return only == NULL || strcmp(only, name) == 0;
}

static void total_add(struct total *total, const struct campaign *c)
{
    total->scenarios++;
    total->failures += c->w.failures;
    total->changes += c->changes;
    total->states += c->states.count;
    total->opened += c->w.seen.opened;
    total->batches += c->w.seen.batches;
    total->keys += c->w.seen.keys;
    total->producers += c->w.seen.producers;
    total->aborted += c->w.seen.aborted;
    total->lost += c->w.seen.lost;
}

static void total_print(const struct total *total)
{
    printf("\n  %d scenarios, %lld changes, %llu states, %llu starts; promised and found: %llu "
           "batches, %llu "
           "keys; compared: %llu producers, %llu aborted transactions; taken by crashes: %llu "
           "batches\n",
           total->scenarios, (long long)total->changes, (unsigned long long)total->states,
           (unsigned long long)total->opened, (unsigned long long)total->batches,
           (unsigned long long)total->keys, (unsigned long long)total->producers,
           (unsigned long long)total->aborted, (unsigned long long)total->lost);
}

/* `scenario` NULL: by chance. */
static void campaign(struct total *total, const struct crash_scenario *scenario, uint64_t seed)
{
    struct campaign c = {.name = scenario == NULL ? "random" : scenario->name,
                         .seed = seed,
                         .crashes = ANY_CRASHES * (scenario == NULL ? 1 : rounds())};
    if (!is_wanted(c.name)) {
        return;
    }
    world_init(&c.w, seed, scenario == NULL ? 1 : scenario->dirs_n);
    c.w.watch = (struct disk_watch){.changed = on_change, .context = &c};
    err e = scenario == NULL ? crash_scenario_random(&c.w, RANDOM_STEPS) : scenario->run(&c.w);
    CU_ASSERT_EQUAL(e, OK);
    if (e != OK) {
        printf("  WRONG \"%s\" %llu ends with %s %s\n", c.name, (unsigned long long)seed,
               err_text(e), c.w.where);
    }
    CU_ASSERT_EQUAL(c.w.failures, 0);
    if (c.w.logs != NULL) {
        crash_disk_watch(c.w.disk, NULL);
        world_kill(&c.w);
    }
    total_add(total, &c);
    free(c.states.slots);
    world_deinit(&c.w);
}

static void test_scenarios(void)
{
    struct total total = {0};
    for (size_t i = 0; i < CRASH_SCENARIOS_N; i++) {
        campaign(&total, &CRASH_SCENARIOS[i], 1);
    }
    total_print(&total);
    if (getenv("OTTLA_CRASH_AT") == NULL) {
        CU_ASSERT_EQUAL(total.scenarios, 14);
        CU_ASSERT(total.states >= STATES_EXPECTED);
    }
}

static void test_by_chance(void)
{
    struct total total = {0};
    for (int seed = 1; seed <= RANDOM_SEEDS * rounds(); seed++) {
        campaign(&total, NULL, (uint64_t)seed);
    }
    total_print(&total);
}

SUITE("crash points", TEST(test_scenarios), TEST(test_by_chance))
