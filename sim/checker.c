/* One pass for each property, over the whole history; tables by (partition, offset) and by value. */
#include "sim/checker.h"

#include "base/err.h"
#include "base/map.h"
#include "protocol/error.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHO_MAX = 64, PARTITIONS_MAX = 16, NOT_SEEN = -1 };

struct check {
    const struct history *history;
    const struct checker_config *config;
    struct violation *violations;
    size_t max;
    size_t n;
};

__attribute__((format(printf, 3, 4))) static void violated(struct check *c, const char *property,
                                                           const char *format, ...)
{
    if (c->n < c->max) {
        va_list args;
        va_start(args, format);
        c->violations[c->n].property = property;
        vsnprintf(c->violations[c->n].text, VIOLATION_BYTES, format, args);
        va_end(args);
    }
    c->n++;
}

#define EACH_EVENT(e, c)                                                                           \
    for (const struct event *e = (c)->history->events; e < (c)->history->events + (c)->history->n; \
         e++)

/* ---- tables ---- */

struct place {
    int64_t partition;
    int64_t offset;
    int64_t more; /* of some */
};

static const struct event *get(struct map *map, const void *key, size_t len)
{
    return map_get(map, bytes_of(key, len));
}

static void put(struct map *map, const void *key, size_t len, const struct event *event)
{
    (void)map_set(map, bytes_of(key, len), (void *)(uintptr_t)event);
}

static struct place place_of(const struct event *e)
{
    return (struct place){.partition = e->partition, .offset = e->offset};
}

/* ---- P1, P2 ---- */

/* What the last reader was given, by value. */
static void read_at_end(struct check *c, struct map *read, bool *has_end)
{
    int reader = NOT_SEEN;
    EACH_EVENT(e, c)
    {
        reader = e->kind == EVENT_FINAL ? e->who : reader;
    }
    *has_end = reader != NOT_SEEN;
    EACH_EVENT(e, c)
    {
        if (e->kind == EVENT_POLL && e->who == reader) {
            put(read, &e->value, sizeof(e->value), e);
        }
    }
}

static void check_lost(struct check *c)
{
    struct map read;
    bool has_end = false;
    map_init(&read);
    read_at_end(c, &read, &has_end);
    EACH_EVENT(e, c)
    {
        if (!has_end || e->kind != EVENT_ACK || (e->acks == 1 && !c->config->acks_1_last)) {
            continue;
        }
        const struct event *found = get(&read, &e->value, sizeof(e->value));
        if (found == NULL || found->partition != e->partition) {
            violated(c, "P1 lost-write",
                     "producer %d partition %d offset %" PRId64 " value %" PRIx64, e->who,
                     e->partition, e->offset, e->value);
        }
    }
    map_deinit(&read);
}

/* ---- P3, P4 ---- */

static void check_duplicates(struct check *c)
{
    struct map values;
    map_init(&values);
    EACH_EVENT(e, c)
    {
        if (e->kind != EVENT_POLL) {
            continue;
        }
        const struct event *first = get(&values, &e->value, sizeof(e->value));
        if (first == NULL) {
            put(&values, &e->value, sizeof(e->value), e);
        } else if (first->partition != e->partition || first->offset != e->offset) {
            violated(c, "P3 duplicate", "value %" PRIx64 " at %d/%" PRId64 " and at %d/%" PRId64,
                     e->value, first->partition, first->offset, e->partition, e->offset);
        }
    }
    map_deinit(&values);
}

static void check_offsets(struct check *c)
{
    struct map places;
    map_init(&places);
    EACH_EVENT(e, c)
    {
        bool counts = e->kind == EVENT_POLL || (e->kind == EVENT_ACK && e->offset >= 0 &&
                                                (e->acks != 1 || c->config->acks_1_last));
        if (!counts) {
            continue;
        }
        struct place place = place_of(e);
        const struct event *first = get(&places, &place, sizeof(place));
        if (first == NULL) {
            put(&places, &place, sizeof(place), e);
        } else if (first->value != e->value) {
            violated(c, "P4 inconsistent-offsets", "%d/%" PRId64 " is %" PRIx64 " and %" PRIx64,
                     e->partition, e->offset, first->value, e->value);
        }
    }
    map_deinit(&places);
}

/* ---- P8, P9 ---- */

static void check_polls(struct check *c)
{
    int64_t next[WHO_MAX][PARTITIONS_MAX] = {{0}};
    EACH_EVENT(e, c)
    {
        if (e->kind != EVENT_POLL) {
            continue;
        }
        int64_t *expected = &next[e->who % WHO_MAX][e->partition % PARTITIONS_MAX];
        if (e->offset != *expected) {
            violated(c, "P8 poll-skip",
                     "consumer %d partition %d: %" PRId64 " where %" PRId64 " is next", e->who,
                     e->partition, e->offset, *expected);
        }
        *expected = e->offset + 1;
    }
}

static void check_sends(struct check *c)
{
    int64_t last[WHO_MAX][PARTITIONS_MAX];
    memset(last, 0xff, sizeof(last)); /* -1 */
    EACH_EVENT(e, c)
    {
        if (e->kind != EVENT_ACK || e->offset < 0 || (e->acks == 1 && !c->config->acks_1_last)) {
            continue;
        }
        int64_t *before = &last[e->who % WHO_MAX][e->partition % PARTITIONS_MAX];
        if (e->offset <= *before) {
            violated(c, "P9 nonmonotonic-send",
                     "producer %d partition %d: %" PRId64 " after %" PRId64, e->who, e->partition,
                     e->offset, *before);
        }
        *before = e->offset;
    }
}

/* ---- P13 ---- */

struct leadership {
    int32_t who;
    int32_t life;
    int32_t partition;
    int32_t epoch;
};

static void check_order(struct check *c, const struct event *e)
{
    if (e->stable_offset > e->high_watermark) {
        violated(c, "P13 marks-back", "broker %d partition %d: LSO %" PRId64 " above HW %" PRId64,
                 e->who, e->partition, e->stable_offset, e->high_watermark);
    }
    if (e->kind == EVENT_LEADER && e->high_watermark > e->end_offset) {
        violated(c, "P13 marks-back", "broker %d partition %d: HW %" PRId64 " above LEO %" PRId64,
                 e->who, e->partition, e->high_watermark, e->end_offset);
    }
}

static void check_advance(struct check *c, const struct event *before, const struct event *e)
{
    if (before->high_watermark > e->high_watermark || before->stable_offset > e->stable_offset) {
        violated(c, "P13 marks-back",
                 "broker %d partition %d epoch %d: HW %" PRId64 " LSO %" PRId64 " after %" PRId64
                 " and %" PRId64,
                 e->who, e->partition, e->epoch, e->high_watermark, e->stable_offset,
                 before->high_watermark, before->stable_offset);
    }
    bool too_few = e->in_sync < c->config->min_isr && before->in_sync < c->config->min_isr;
    if (too_few && before->version == e->version && before->high_watermark != e->high_watermark) {
        violated(c, "P16 moves-below-min-isr",
                 "broker %d partition %d epoch %d: HW %" PRId64 " after %" PRId64 ", %d in sync",
                 e->who, e->partition, e->epoch, e->high_watermark, before->high_watermark,
                 e->in_sync);
    }
}

static void check_marks(struct check *c)
{
    struct map last;
    map_init(&last);
    EACH_EVENT(e, c)
    {
        if (e->kind == EVENT_MARKS || e->kind == EVENT_LEADER) {
            check_order(c, e);
        }
        if (e->kind != EVENT_LEADER) {
            continue;
        }
        const struct leadership key = {e->who, e->life, e->partition, e->epoch};
        const struct event *before = get(&last, &key, sizeof(key));
        if (before != NULL) {
            check_advance(c, before, e);
        }
        put(&last, &key, sizeof(key), e);
    }
    map_deinit(&last);
}

/* ---- P15 ---- */

/* Below the least end of a replica's batches every replica that has any has the same. */
static void check_copies(struct check *c, struct map *copies, const struct event *e,
                         int64_t last[WHO_MAX][PARTITIONS_MAX])
{
    for (int other = 0; other < c->config->brokers_n; other++) {
        struct place place = place_of(e);
        place.more = other;
        if (e->offset < last[other][e->partition] && get(copies, &place, sizeof(place)) == NULL) {
            violated(c, "P15 replicas-differ",
                     "partition %d offset %" PRId64 ": a batch of broker %d, and not of %d",
                     e->partition, e->offset, e->who, other);
        }
    }
}

static void check_replicas(struct check *c)
{
    struct map batches;
    struct map copies; /* by broker too */
    int64_t last[WHO_MAX][PARTITIONS_MAX] = {{0}};
    map_init(&batches);
    map_init(&copies);
    EACH_EVENT(e, c)
    {
        if (e->kind != EVENT_BATCH) {
            continue;
        }
        struct place place = place_of(e);
        const struct event *first = get(&batches, &place, sizeof(place));
        if (first == NULL) {
            put(&batches, &place, sizeof(place), e);
        } else if (first->value != e->value) {
            violated(c, "P15 replicas-differ", "partition %d offset %" PRId64 ": brokers %d and %d",
                     e->partition, e->offset, first->who, e->who);
        }
        place.more = e->who;
        put(&copies, &place, sizeof(place), e);
        last[e->who][e->partition] =
            e->offset > last[e->who][e->partition] ? e->offset : last[e->who][e->partition];
    }
    EACH_EVENT(e2, c)
    {
        if (e2->kind == EVENT_BATCH) {
            check_copies(c, &copies, e2, last);
        }
    }
    map_deinit(&batches);
    map_deinit(&copies);
}

/* ---- P17 ---- */

static void check_succession(struct check *c, const struct event *before, const struct event *e)
{
    if (e->version == before->version) {
        return;
    }
    bool other = e->who != before->who;
    if (e->version < before->version || e->epoch < before->epoch ||
        (other && e->epoch == before->epoch)) {
        violated(c, "P17 epochs",
                 "partition %d: leader %d, epoch %d, version %d after leader %d, epoch %d, "
                 "version %d",
                 e->partition, e->who, e->epoch, e->version, before->who, before->epoch,
                 before->version);
    }
    if (e->controller_epoch < before->office) {
        violated(c, "P17 epochs",
                 "partition %d version %d: written by a controller of epoch %d, after one of %d "
                 "was elected",
                 e->partition, e->version, e->controller_epoch, before->office);
    }
}

/* Whoever leads in an epoch, by the store or by its own word, is the only one. */
static void check_one_leader(struct check *c, struct map *leaders, const struct event *e)
{
    const struct leadership key = {.partition = e->partition, .epoch = e->epoch};
    const struct event *first = get(leaders, &key, sizeof(key));
    if (first == NULL) {
        put(leaders, &key, sizeof(key), e);
    } else if (first->who != e->who) {
        violated(c, "P17 epochs", "partition %d epoch %d: led by %d and by %d", e->partition,
                 e->epoch, first->who, e->who);
    }
}

static void check_epochs(struct check *c)
{
    const struct event *truths[PARTITIONS_MAX] = {NULL};
    struct map leaders;
    struct map logs; /* by broker, life and partition */
    map_init(&leaders);
    map_init(&logs);
    EACH_EVENT(e, c)
    {
        if ((e->kind == EVENT_TRUTH && e->who >= 0) || e->kind == EVENT_LEADER) {
            check_one_leader(c, &leaders, e);
        }
        if (e->kind == EVENT_TRUTH) {
            if (truths[e->partition] != NULL) {
                check_succession(c, truths[e->partition], e);
            }
            truths[e->partition] = e;
        } else if (e->kind == EVENT_LOG) {
            const struct leadership key = {
                .who = e->who, .life = e->life, .partition = e->partition};
            const struct event *before = get(&logs, &key, sizeof(key));
            if (before != NULL && before->epoch > e->epoch) {
                violated(c, "P17 epochs", "broker %d partition %d: leader epoch %d after %d",
                         e->who, e->partition, e->epoch, before->epoch);
            }
            put(&logs, &key, sizeof(key), e);
        }
    }
    map_deinit(&leaders);
    map_deinit(&logs);
}

/* ---- KIP-320 ---- */

static void check_probes(struct check *c)
{
    EACH_EVENT(e, c)
    {
        if (e->kind == EVENT_PROBE &&
            (e->acks == ERR_OFFSET_OUT_OF_RANGE || (e->acks == OK && e->end_offset < 0))) {
            violated(c, "no-divergence", "broker %d partition %d: error %d", e->who, e->partition,
                     e->acks);
        }
    }
}

/* ---- the ISR ---- */

static int members(uint32_t isr)
{
    return __builtin_popcount(isr);
}

/* What the store says of a partition's ISR, and whether the leader knew that too. */
struct knowledge {
    const struct event *since; /* the first look at this version */
    bool known;
};

static void learn(struct knowledge *k, const struct event *e)
{
    if (e->kind == EVENT_TRUTH && (k->since == NULL || k->since->version != e->version)) {
        *k = (struct knowledge){.since = e};
    } else if (e->kind == EVENT_LEADER && k->since != NULL) {
        k->known |= e->who == k->since->who && e->version == k->since->version;
    }
}

/* Was the ISR too small from the send to the acknowledgement, and did its leader know before? The store's
 * version says that nothing has changed between two looks. */
static void check_acks(struct check *c)
{
    struct knowledge all[PARTITIONS_MAX] = {{0}};
    struct map too_few; /* since when, by value of what was sent then */
    map_init(&too_few);
    EACH_EVENT(e, c)
    {
        struct knowledge *k = &all[e->partition % PARTITIONS_MAX];
        learn(k, e);
        if (e->kind == EVENT_SEND && k->known && members(k->since->isr) < c->config->min_isr) {
            put(&too_few, &e->value, sizeof(e->value), k->since);
        } else if (e->kind == EVENT_ACK && e->acks == -1 && e->offset >= 0 && k->since != NULL &&
                   get(&too_few, &e->value, sizeof(e->value)) == k->since) {
            violated(c, "P16 acked-below-min-isr", "producer %d partition %d offset %" PRId64,
                     e->who, e->partition, e->offset);
        }
    }
    map_deinit(&too_few);
}

static bool is_member(const struct event *truth, int who)
{
    return (truth->isr & 1u << who) != 0;
}

/* A replica of the true ISR lacks what the leader's high watermark, or a promise, says. */
static void check_member(struct check *c, const struct event *truth, const struct event *leader,
                         const struct event *log)
{
    if (leader != NULL && log->end_offset < leader->high_watermark) {
        bool true_leader = leader->who == truth->who && leader->epoch == truth->epoch;
        violated(c, true_leader ? "weak-isr" : "strong-isr",
                 "partition %d: leader %d has HW %" PRId64
                 ", broker %d of the ISR ends at %" PRId64,
                 truth->partition, leader->who, leader->high_watermark, log->who, log->end_offset);
    } else if (log->end_offset < log->high_watermark) {
        violated(c, "strong-isr",
                 "partition %d: promised below %" PRId64 ", broker %d of the ISR ends at %" PRId64,
                 truth->partition, log->high_watermark, log->who, log->end_offset);
    }
}

/* One look: the truth, then leaders, then logs, all of one partition. */
static void check_looks(struct check *c)
{
    const struct event *truth = NULL;
    const struct event *leader = NULL; /* with the highest high watermark */
    EACH_EVENT(e, c)
    {
        if (e->kind == EVENT_TRUTH) {
            truth = e;
            leader = NULL;
            if (e->who >= 0 && !is_member(e, e->who)) {
                violated(c, "leader-in-isr", "partition %d epoch %d: leader %d, isr %x",
                         e->partition, e->epoch, e->who, e->isr);
            }
        } else if (truth == NULL || e->partition != truth->partition) {
            continue;
        } else if (e->kind == EVENT_LEADER &&
                   (leader == NULL || e->high_watermark > leader->high_watermark)) {
            leader = e;
        } else if (e->kind == EVENT_LOG && is_member(truth, e->who)) {
            check_member(c, truth, leader, e);
        } else if (e->kind == EVENT_NO_LOG && is_member(truth, e->who) && e->high_watermark > 0) {
            violated(c, "isr-without-log",
                     "partition %d: promised below %" PRId64 ", broker %d of the ISR has no log",
                     e->partition, e->high_watermark, e->who);
        }
    }
}

/* ---- who joins ---- */

/* Of an epoch of a partition: who has joined its leader since, and which life of the leader's that was, as far as it
 * had been seen before. Another life may lead on in the epoch, from a later end. */
struct joined {
    const struct event *truth; /* the last one */
    uint32_t members;
    int life;
};

static void learn_joined(struct joined *j, const struct event *e, const int lives[WHO_MAX])
{
    if (j->truth == NULL || j->truth->epoch != e->epoch) {
        j->members = 0;
        j->life = e->who < 0 ? NOT_SEEN : lives[e->who];
    } else {
        j->members = (j->members | (e->isr & ~j->truth->isr)) & e->isr;
    }
    j->truth = e;
}

/* A leader does not know what the one before has promised: who joins has all that was there when it began. */
static void check_joiners(struct check *c)
{
    struct joined all[PARTITIONS_MAX] = {{0}};
    int lives[WHO_MAX];
    const struct event *leader = NULL; /* the true one, of this look */
    memset(lives, 0xff, sizeof(lives));
    EACH_EVENT(e, c)
    {
        struct joined *j = &all[e->partition % PARTITIONS_MAX];
        if (e->kind == EVENT_TRUTH) {
            learn_joined(j, e, lives);
            leader = NULL;
        } else if (e->kind == EVENT_LEADER && j->truth != NULL && e->who == j->truth->who &&
                   e->epoch == j->truth->epoch && e->life == j->life) {
            leader = e;
        } else if (e->kind == EVENT_LOG) {
            lives[e->who] = e->life;
            if (leader != NULL && leader->partition == e->partition &&
                (j->members & 1u << e->who) != 0 && e->end_offset < leader->offset) {
                violated(c, "early-join",
                         "partition %d epoch %d: led from %" PRId64
                         ", broker %d has joined, and ends at %" PRId64,
                         e->partition, e->epoch, leader->offset, e->who, e->end_offset);
            }
        }
    }
}

size_t checker_run(const struct history *history, const struct checker_config *config,
                   struct violation *violations, size_t max)
{
    struct check c = {.history = history, .config = config, .violations = violations, .max = max};
    check_lost(&c);
    check_duplicates(&c);
    check_offsets(&c);
    check_polls(&c);
    check_sends(&c);
    check_marks(&c);
    check_replicas(&c);
    check_acks(&c);
    check_looks(&c);
    check_joiners(&c);
    check_epochs(&c);
    check_probes(&c);
    return c.n;
}
