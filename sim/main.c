/* simulate: tests of brokers under faults, each from one seed.
 *
 *   --seed N          this one only
 *   --seeds A-B       from A to B
 *   --first A,B,…     these before: seeds that have found something
 *   --brokers N       how many (1)
 *   --trace           what happens, on standard output; the log on standard error
 *   --plant NAME      ack-before-flush, lying-disk: a mistake that must be found
 *   --find            until a seed fails: the program has a mistake, which must be found
 *   --sees NAME       the same, until one fails by a property whose name begins so
 *   --last-standing page-cache|flush
 *                     only that (sim/scripts.c), with brokers that flush before they acknowledge, or do not
 *   --moves always|never
 *                     somebody moves partitions; a seed draws it otherwise
 *   --txns            somebody writes in transactions, too
 *   --compact         all topics are compacted, often
 *   --dirs            brokers have two log directories, and partitions move between them
 *   --new-disks       brokers come back with an empty disk, too
 *   --repeat          each seed twice: must be the same to the byte
 *
 * An even seed has brokers that flush before they acknowledge, and loses power; an odd one has the page cache,
 * and kills only. Prints what the tests were exposed to. The status is 1 when a property was violated, or none
 * was that was planted. */
#define _GNU_SOURCE
#include "base/log.h"
#include "sim/nemesis.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { VIOLATIONS_MAX = 5 };

struct run {
    uint64_t first;
    uint64_t last;
    const char *before; /* other seeds, with commas; or NULL */
    uint64_t seeds;     /* that were run */
    int brokers_n;
    int moves; /* as sim_options has it */
    bool new_disks;
    bool txns;
    bool compacts;
    bool dirs;
    bool trace;
    bool repeat;
    bool find;
    const char *sees; /* NULL: any */
    bool seen;
    const char *last_standing; /* or NULL */
    enum sim_plant plant;
    size_t failed; /* seeds */
    struct sim_exposure sum;
};

static int usage(void)
{
    fprintf(stderr, "usage: simulate [--seed N | --seeds A-B] [--first A,B,...] [--brokers N] "
                    "[--trace] [--repeat] [--find] [--sees NAME] "
                    "[--last-standing page-cache|flush] [--moves always|never] [--new-disks] "
                    "[--txns] [--compact] [--dirs] [--plant "
                    "ack-before-flush|lying-disk]\n");
    return 2;
}

static bool parse(struct run *run, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--trace") == 0) {
            run->trace = true;
        } else if (strcmp(argv[i], "--find") == 0) {
            run->find = true;
        } else if (strcmp(argv[i], "--sees") == 0) {
            run->find = true;
            run->sees = value;
            i++;
        } else if (strcmp(argv[i], "--last-standing") == 0) {
            if (strcmp(value, "page-cache") != 0 && strcmp(value, "flush") != 0) {
                return false;
            }
            run->last_standing = value;
            i++;
        } else if (strcmp(argv[i], "--moves") == 0) {
            if (strcmp(value, "always") != 0 && strcmp(value, "never") != 0) {
                return false;
            }
            run->moves = strcmp(value, "always") == 0 ? 1 : 0;
            i++;
        } else if (strcmp(argv[i], "--txns") == 0) {
            run->txns = true;
        } else if (strcmp(argv[i], "--compact") == 0) {
            run->compacts = true;
        } else if (strcmp(argv[i], "--dirs") == 0) {
            run->dirs = true;
        } else if (strcmp(argv[i], "--new-disks") == 0) {
            run->new_disks = true;
        } else if (strcmp(argv[i], "--repeat") == 0) {
            run->repeat = true;
        } else if (strcmp(argv[i], "--seed") == 0) {
            run->first = run->last = strtoull(value, NULL, 10);
            i++;
        } else if (strcmp(argv[i], "--seeds") == 0) {
            if (sscanf(value, "%" SCNu64 "-%" SCNu64, &run->first, &run->last) != 2) {
                return false;
            }
            i++;
        } else if (strcmp(argv[i], "--first") == 0) {
            run->before = value;
            i++;
        } else if (strcmp(argv[i], "--brokers") == 0) {
            run->brokers_n = atoi(value);
            i++;
        } else if (strcmp(argv[i], "--plant") == 0) {
            run->plant = strcmp(value, "ack-before-flush") == 0 ? PLANT_ACK_BEFORE_FLUSH
                         : strcmp(value, "lying-disk") == 0     ? PLANT_LYING_DISK
                                                                : PLANT_NONE;
            if (run->plant == PLANT_NONE) {
                return false;
            }
            i++;
        } else {
            return false;
        }
    }
    return run->brokers_n > 0 && run->brokers_n <= HISTORY_BROKERS_MAX;
}

static void add_exposure(struct sim_exposure *sum, const struct sim_exposure *one)
{
    sum->sends += one->sends;
    sum->acks += one->acks;
    sum->polls += one->polls;
    sum->errors += one->errors;
    sum->looks += one->looks;
    sum->lives += one->lives;
    sum->leaders += one->leaders;
    sum->controllers += one->controllers;
    sum->isrs += one->isrs;
    sum->cuts += one->cuts;
    sum->moves.begun += one->moves.begun;
    sum->moves.completed += one->moves.completed;
    sum->moves.cancelled += one->moves.cancelled;
    sum->moves.replaced += one->moves.replaced;
    sum->moves.left_behind += one->moves.left_behind;
    sum->dir_moves.asked += one->dir_moves.asked;
    sum->dir_moves.seen_under_way += one->dir_moves.seen_under_way;
    sum->dir_moves.seen_done += one->dir_moves.seen_done;
    sum->txns.begun += one->txns.begun;
    sum->txns.committed += one->txns.committed;
    sum->txns.aborted += one->txns.aborted;
    sum->txns.unknown += one->txns.unknown;
    sum->txns.fenced += one->txns.fenced;
    sum->txns.reads += one->txns.reads;
    sum->refusals += one->refusals;
    sum->disk_errors += one->disk_errors;
    sum->sectors_lost += one->sectors_lost;
    sum->messages += one->messages;
    sum->virtual_ms += one->virtual_ms;
    state_set_add_all(&sum->states, &one->states);
    for (int i = 0; i < FAULTS_N; i++) {
        sum->faults[i] += one->faults[i];
    }
}

static bool is_durable(const struct run *run, uint64_t seed)
{
    return run->last_standing != NULL ? strcmp(run->last_standing, "flush") == 0
                                      : run->plant != PLANT_NONE || seed % 2 == 0;
}

static bool is_sought(const struct run *run, const struct violation *violation)
{
    return run->sees == NULL || strncmp(violation->property, run->sees, strlen(run->sees)) == 0;
}

static void run_seed(struct run *run, uint64_t seed)
{
    struct sim_options options = {.seed = seed,
                                  .brokers_n = run->brokers_n,
                                  .trace = run->trace ? stdout : NULL,
                                  .plant = run->plant,
                                  .moves = run->moves,
                                  .new_disks = run->new_disks,
                                  .txns = run->txns,
                                  .compacts = run->compacts,
                                  .dirs = run->dirs,
                                  .durable = is_durable(run, seed),
                                  .last_standing = run->last_standing != NULL};
    struct violation violations[VIOLATIONS_MAX];
    struct sim_exposure exposure;
    uint64_t hash = 0;
    size_t n = sim_test(&options, violations, VIOLATIONS_MAX, &exposure, &hash);
    add_exposure(&run->sum, &exposure);
    for (size_t i = 0; i < n && i < VIOLATIONS_MAX; i++) {
        printf("seed %" PRIu64 ": %s: %s\n", seed, violations[i].property, violations[i].text);
        run->seen |= is_sought(run, &violations[i]);
    }
    if (n > VIOLATIONS_MAX) {
        printf("seed %" PRIu64 ": and %zu more\n", seed, n - VIOLATIONS_MAX);
    }
    if (run->repeat) {
        uint64_t again = 0;
        (void)sim_test(&options, violations, VIOLATIONS_MAX, &exposure, &again);
        if (again != hash) {
            printf("seed %" PRIu64 ": not the same twice\n", seed);
            n++;
        }
    }
    if (run->first == run->last) {
        printf("seed %" PRIu64 ": trace %016" PRIx64 "\n", seed, hash);
    }
    run->failed += n > 0 ? 1 : 0;
    run->seeds++;
}

static void run_all(struct run *run)
{
    for (const char *at = run->before; at != NULL && *at != '\0';) {
        char *end = NULL;
        run_seed(run, strtoull(at, &end, 10));
        at = *end == ',' ? end + 1 : NULL;
    }
    for (uint64_t seed = run->first; seed <= run->last; seed++) {
        run_seed(run, seed);
        if (run->find && run->seen) {
            return;
        }
    }
}

static void print_exposure(const struct run *run, double seconds)
{
    const struct sim_exposure *sum = &run->sum;
    printf("seeds %" PRIu64 " (%.1f a second), virtual time %.0f s, failed %zu\n", run->seeds,
           (double)run->seeds / seconds, (double)sum->virtual_ms / 1000, run->failed);
    printf("sends %" PRIu64 ", acks %" PRIu64 ", polls %" PRIu64 ", errors %" PRIu64
           ", looks %" PRIu64 ", messages %" PRIu64 "\n",
           sum->sends, sum->acks, sum->polls, sum->errors, sum->looks, sum->messages);
    printf("leaders elected %" PRIu64 ", controllers %" PRIu64 ", ISRs changed %" PRIu64
           ", logs cut %" PRIu64 "\n",
           sum->leaders, sum->controllers, sum->isrs, sum->cuts);
    printf("moves begun %" PRIu64 ", completed %" PRIu64 ", cancelled %" PRIu64
           ", replaced %" PRIu64 ", replicas left behind %" PRIu64 "\n",
           sum->moves.begun, sum->moves.completed, sum->moves.cancelled, sum->moves.replaced,
           sum->moves.left_behind);
    printf("moves between directories %" PRIu64 ", seen under way %" PRIu64 ", seen done %" PRIu64
           "\n",
           sum->dir_moves.asked, sum->dir_moves.seen_under_way, sum->dir_moves.seen_done);
    printf("transactions begun %" PRIu64 ", committed %" PRIu64 ", aborted %" PRIu64
           ", not known %" PRIu64 ", clients fenced %" PRIu64 ", records read %" PRIu64 "\n",
           sum->txns.begun, sum->txns.committed, sum->txns.aborted, sum->txns.unknown,
           sum->txns.fenced, sum->txns.reads);
    printf("states %" PRIu64 ", lives of brokers %" PRIu64 ", starts refused %" PRIu64
           ", disk errors %" PRIu64 ", sectors lost %" PRIu64 "\nfaults:",
           state_set_count(&sum->states), sum->lives, sum->refusals, sum->disk_errors,
           sum->sectors_lost);
    for (int i = 0; i < FAULTS_N; i++) {
        printf(" %s %" PRIu64, fault_name((enum fault)i), sum->faults[i]);
    }
    printf("\n");
}

int main(int argc, char **argv)
{
    struct run run = {.first = 1, .last = 100, .brokers_n = 1, .moves = SIM_DRAWN};
    struct timespec from;
    struct timespec to;
    if (!parse(&run, argc, argv)) {
        return usage();
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    log_set_level(run.trace ? LOG_DEBUG : LOG_OFF);
    clock_gettime(CLOCK_MONOTONIC, &from);
    run_all(&run);
    clock_gettime(CLOCK_MONOTONIC, &to);
    print_exposure(&run,
                   (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
    bool wanted = run.plant != PLANT_NONE || run.find;
    return (run.find ? run.seen : run.failed > 0) == wanted ? 0 : 1;
}
