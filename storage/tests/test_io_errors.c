/* Every call of the disk that a scenario makes in its first log directory fails, once or from then on, in each way
 * that it can. The sites are counted in a run without faults: the n-th call of each function, grouped by the scenario and
 * the kind of file.
 *
 * Whatever fails: nobody crashes; what was promised, before and after, is there when a process begins again, after its end
 * or a power cut; a log in the other directory goes on. EIO: the directory's logs answer KAFKA_STORAGE_ERROR once
 * somebody was told of the error. EINTR, and reads and writes that are cut short: nobody notices. A disk that is full:
 * an error or none, no more is asked.
 *
 * A sync that failed leaves bytes that no later sync writes (crash_disk.h): a flush that acknowledges them all the same
 * loses them in the power cut.
 *
 * In each group the first call and another fail; OTTLA_IO_SITES=n makes it up to n. OTTLA_IO_AT="scenario" runs one, and
 * OTTLA_IO_RUN="function n fault", as a line that begins with WRONG names it, prints that run. */
#define _GNU_SOURCE
#include "storage/tests/crash_scenarios.h"
#include "storage/tests/util.h"

enum { SITES_MAX = 60000, RUNS_EXPECTED = 4000 / ONE_IN };

/* ---- faults ---- */

struct fault_kind {
    const char *name;
    int error;
    bool for_ever;
    bool is_seen; /* somebody may notice */
};

static const struct fault_kind FAULTS[] = {
    {"EIO once", EIO, false, true},           {"EIO for ever", EIO, true, true},
    {"ENOSPC once", ENOSPC, false, true},     {"ENOSPC for ever", ENOSPC, true, true},
    {"EDQUOT once", EDQUOT, false, true},     {"EDQUOT for ever", EDQUOT, true, true},
    {"EINTR once", EINTR, false, false},      {"EINTR every other time", EINTR, true, false},
    {"short once", DISK_SHORT, false, false}, {"short for ever", DISK_SHORT, true, false},
};
enum { FAULTS_N = sizeof(FAULTS) / sizeof(FAULTS[0]) };

static bool can_fail(enum disk_function function, int error)
{
    bool transfers = function == DISK_PREAD || function == DISK_PWRITEV;
    bool syncs = function == DISK_FDATASYNC || function == DISK_FSYNC || function == DISK_SYNCFS;
    switch (error) {
    case DISK_SHORT:
        return transfers;
    case EINTR:
        return transfers || syncs || function == DISK_OPEN || function == DISK_FTRUNCATE;
    case ENOSPC:
    case EDQUOT:
        return syncs || function == DISK_OPEN || function == DISK_PWRITEV ||
               function == DISK_MKDIR || function == DISK_RENAME;
    default:
        return function != DISK_LOCK && function != DISK_SPACE;
    }
}

/* ---- sites ---- */

struct site {
    enum disk_function function;
    int64_t call; /* of that function, from 1 */
    uint64_t group;
};

struct run {
    struct site *sites; /* NULL: not counting */
    size_t sites_n;
    int64_t calls[DISK_FUNCTIONS];
    const struct fault_kind *fault; /* NULL: none */
    struct site site;
    int64_t injected;
};

/* By the function and what the file is: the number in its name says nothing. */
static uint64_t group_of(enum disk_function function, const char *path)
{
    const char *name = strrchr(path, '/') + 1;
    const char *dot = strchr(name, '.');
    bool is_segment = name[0] >= '0' && name[0] <= '9' && dot != NULL;
    uint64_t hash = 17 + (uint64_t)function;
    for (const char *c = is_segment ? dot : name; *c != '\0'; c++) {
        hash = hash * 131 + (uint8_t)*c;
    }
    return hash;
}

static bool is_hit(const struct run *run, enum disk_function function)
{
    int64_t since = run->calls[function] - run->site.call;
    bool every = run->fault->error != EINTR || since % 2 == 0;
    return function == run->site.function &&
           (since == 0 || (since > 0 && run->fault->for_ever && every));
}

static int before_call(void *context, enum disk_function function, const char *path)
{
    struct run *run = context;
    if (strncmp(path, "/d0", 3) != 0) {
        return 0;
    }
    run->calls[function]++;
    if (run->sites != NULL) {
        CHECK(run->sites_n < SITES_MAX);
        run->sites[run->sites_n++] = (struct site){
            .function = function, .call = run->calls[function], .group = group_of(function, path)};
    }
    if (run->fault == NULL || !is_hit(run, function)) {
        return 0;
    }
    run->injected++;
    return run->fault->error;
}

/* ---- one run ---- */

struct io_total {
    int64_t sites;
    int64_t groups;
    int64_t chosen;
    int64_t runs;
    int64_t injected;
    int64_t failed; /* scenarios that ended early */
    int64_t offline;
    int64_t went_on;    /* EIO that no operation told of */
    int64_t bystanders; /* that went on */
    uint64_t starts;
    uint64_t batches;
    int failures;
};

static void wrong_run(struct world *w, struct io_total *total, const char *what)
{
    if (total->failures++ < 20) {
        printf("  WRONG %s: %s\n", w->where, what);
    }
}

/* The other directory is not touched by it. */
static void check_bystander(struct world *w, struct io_total *total)
{
    struct log_model *m = NULL;
    for (size_t i = 0; i < w->models_n; i++) {
        m = w->models[i].partition == BYSTANDER ? &w->models[i] : m;
    }
    if (w->logs == NULL || m == NULL || world_log(w, m) == NULL ||
        !logs_dir_is_online(w->logs, 1)) {
        bool there = w->logs == NULL || logs_dir_is_online(w->logs, 1);
        if (!there) {
            wrong_run(w, total, "the other directory is offline, too");
        }
        return;
    }
    if (logs_where(w->logs, plog_name(world_log(w, m))).dir != 1) {
        return; /* the first directory was full when the logs were made, and had room again */
    }
    (void)logs_look_for_room(
        w->logs); /* which of the two is full is not always told apart at once */
    err e = world_append(w, m, -1, 2);
    e = e == OK ? world_flush(w, m) : e;
    total->bystanders += e == OK ? 1 : 0;
    if (e != OK) {
        wrong_run(w, total, "a log in the other directory has stopped");
    }
}

/* An error of the disk that somebody was told of is the directory's. */
static void check_victims(struct world *w, struct io_total *total, err told)
{
    if (w->logs == NULL || logs_dir_is_online(w->logs, 0)) {
        if (told != OK && w->logs != NULL) {
            wrong_run(w, total, "an operation failed with EIO, and its directory is online");
        }
        total->went_on += told == OK ? 1 : 0;
        return;
    }
    total->offline++;
    for (size_t i = 0; i < w->models_n; i++) {
        struct plog *log = world_log(w, &w->models[i]);
        struct log_range range;
        if (log == NULL || !plog_is_offline(log)) {
            continue;
        }
        bool all = plog_flush(log) == ERR_KAFKA_STORAGE_ERROR &&
                   plog_read(log, 0, 1, 1, true, &range) == ERR_KAFKA_STORAGE_ERROR &&
                   plog_truncate(log, 0) == ERR_KAFKA_STORAGE_ERROR &&
                   plog_advance_start(log, 0) == ERR_KAFKA_STORAGE_ERROR;
        if (!all) {
            wrong_run(w, total, "a log that is offline does not say so");
        }
    }
}

static void check_left(struct world *w, enum crash_kind kind)
{
    world_check(w, crash_disk_after(w->disk, kind, 1, &w->clock.clock), kind);
}

/* Where a process has begun over bytes that no sync writes it cannot know it, and may have stopped cleanly. */
static void check_power(struct world *w)
{
    if (!w->promises_nothing) {
        check_left(w, CRASH_POWER);
    }
}

/* As the disk is, and after a stop of what goes on. */
static void check_starts(struct world *w, struct run *run)
{
    run->fault = NULL;
    check_left(w, CRASH_KILL);
    check_power(w);
    if (w->logs != NULL) {
        world_stop(w);
        check_left(w, CRASH_KILL);
        check_power(w);
    }
}

static void run_faulty(const struct crash_scenario *scenario, const struct site *site,
                       const struct fault_kind *fault, struct io_total *total)
{
    struct run run = {.fault = fault, .site = *site};
    struct world w;
    char where[sizeof(w.where)];
    world_init(&w, 1, 2);
    snprintf(where, sizeof(where), "\"%s\" %s %lld %s", scenario->name,
             disk_function_name(site->function), (long long)site->call, fault->name);
    w.watch = (struct disk_watch){.before = before_call, .context = &run};
    err e = scenario->run(&w);
    snprintf(w.where, sizeof(w.where), "%s", where);
    const char *printed = getenv("OTTLA_IO_RUN");
    w.prints = printed != NULL && strstr(where, printed) != NULL;
    check_bystander(&w, total);
    if (fault->error == EIO && run.injected > 0) {
        check_victims(&w, total, e);
    } else if (!fault->is_seen && (e != OK || !logs_dir_is_online(w.logs, 0))) {
        wrong_run(&w, total, "somebody noticed");
    }
    check_starts(&w, &run);
    total->runs++;
    total->injected += run.injected;
    total->failed += e != OK ? 1 : 0;
    total->starts += w.seen.opened;
    total->batches += w.seen.batches;
    total->failures += w.failures;
    world_deinit(&w);
}

/* ---- all ---- */

static void count_sites(const struct crash_scenario *scenario, struct run *run)
{
    struct world w;
    run->sites_n = 0;
    memset(run->calls, 0, sizeof(run->calls));
    world_init(&w, 1, 2);
    w.watch = (struct disk_watch){.before = before_call, .context = run};
    MUST(scenario->run(&w));
    world_stop(&w);
    world_deinit(&w);
}

static int per_group(void)
{
    const char *text = getenv("OTTLA_IO_SITES");
    int n = text == NULL ? 1 : atoi(text);
    return n < 1 ? 1 : n;
}

/* Is this call one of the few of its group that fail? The first, and others at even distances. */
static bool is_chosen(const struct run *run, size_t at)
{
    size_t members = 0;
    size_t before = 0;
    for (size_t i = 0; i < run->sites_n; i++) {
        members += run->sites[i].group == run->sites[at].group ? 1 : 0;
        before += i < at && run->sites[i].group == run->sites[at].group ? 1 : 0;
    }
    size_t step = (members + (size_t)per_group() - 1) / (size_t)per_group();
    return before % step == 0;
}

static void try_scenario(const struct crash_scenario *scenario, struct run *run,
                         struct io_total *total)
{
    count_sites(scenario, run);
    total->sites += (int64_t)run->sites_n;
    for (size_t i = 0; i < run->sites_n; i++) {
        if (!is_chosen(run, i) || total->chosen++ % ONE_IN != 0) {
            continue;
        }
        total->groups++;
        for (int f = 0; f < FAULTS_N; f++) {
            if (can_fail(run->sites[i].function, FAULTS[f].error)) {
                run_faulty(scenario, &run->sites[i], &FAULTS[f], total);
            }
        }
    }
}

static void test_every_call(void)
{
    struct io_total total = {0};
    struct run run = {.sites = xcalloc(SITES_MAX, sizeof(struct site))};
    const char *only = getenv("OTTLA_IO_AT");
    for (size_t i = 0; i < CRASH_SCENARIOS_N; i++) {
        if (only == NULL || strcmp(only, CRASH_SCENARIOS[i].name) == 0) {
            try_scenario(&CRASH_SCENARIOS[i], &run, &total);
        }
    }
    free(run.sites);
    printf("\n  %lld calls, %lld of them failed in %lld runs with %lld faults: %lld runs ended "
           "early, %lld "
           "with the directory offline, %lld went on after an EIO, %lld whose other log went on; "
           "%llu starts found %llu "
           "promised batches\n",
           (long long)total.sites, (long long)total.groups, (long long)total.runs,
           (long long)total.injected, (long long)total.failed, (long long)total.offline,
           (long long)total.went_on, (long long)total.bystanders, (unsigned long long)total.starts,
           (unsigned long long)total.batches);
    CU_ASSERT_EQUAL(total.failures, 0);
    CU_ASSERT(only != NULL || total.runs >= RUNS_EXPECTED);
    CU_ASSERT(total.offline > 0 && total.failed > 0 && total.batches > 0 && total.bystanders > 0);
}

SUITE("io errors", TEST(test_every_call))
