/* One pass for each property, over the whole history; tables by (partition, offset) and by value. */
#include "sim/checker.h"

#include "base/err.h"
#include "base/map.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WHO_MAX = 64, PARTITIONS_MAX = 16, NOT_SEEN = -1, LEADER_KNOWS_US = 2000000 };

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

static void check_marks(struct check *c)
{
    struct map last;
    map_init(&last);
    EACH_EVENT(e, c)
    {
        if (e->kind == EVENT_MARKS && e->stable_offset > e->high_watermark) {
            violated(c, "P13 marks-back",
                     "broker %d partition %d: LSO %" PRId64 " above HW %" PRId64, e->who,
                     e->partition, e->stable_offset, e->high_watermark);
        }
        if (e->kind != EVENT_LEADER) {
            continue;
        }
        if (e->high_watermark > e->end_offset) {
            violated(c, "P13 marks-back",
                     "broker %d partition %d: HW %" PRId64 " above LEO %" PRId64, e->who,
                     e->partition, e->high_watermark, e->end_offset);
        }
        const struct leadership key = {e->who, e->life, e->partition, e->epoch};
        const struct event *before = get(&last, &key, sizeof(key));
        if (before != NULL && before->high_watermark > e->high_watermark) {
            violated(c, "P13 marks-back",
                     "broker %d partition %d epoch %d: HW %" PRId64 " after %" PRId64, e->who,
                     e->partition, e->epoch, e->high_watermark, before->high_watermark);
        }
        put(&last, &key, sizeof(key), e);
    }
    map_deinit(&last);
}

/* ---- P15 ---- */

static void check_replicas(struct check *c)
{
    struct map batches;
    map_init(&batches);
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
    }
    map_deinit(&batches);
}

/* ---- the ISR ---- */

static int members(uint32_t isr)
{
    return __builtin_popcount(isr);
}

/* Was the ISR too small from the send to the acknowledgement, and so long before that its leader knew? The store's
 * version says that nothing has changed between two looks. */
static bool never_enough(const struct check *c, const struct event *ack)
{
    const struct event *since = NULL; /* the first look at this version */
    bool sent = false;
    for (const struct event *e = c->history->events; e < ack; e++) {
        if (e->kind == EVENT_TRUTH && e->partition == ack->partition &&
            (since == NULL || since->version != e->version)) {
            since = e;
            if (sent) {
                return false;
            }
        }
        if (e->kind == EVENT_SEND && e->value == ack->value) {
            sent = true;
            if (since == NULL || members(since->isr) >= c->config->min_isr ||
                e->at_us - since->at_us < LEADER_KNOWS_US) {
                return false;
            }
        }
    }
    return sent;
}

static void check_acks(struct check *c)
{
    if (c->config->min_isr <= 1) {
        return; /* an ISR has one member at least */
    }
    EACH_EVENT(e, c)
    {
        if (e->kind == EVENT_ACK && e->acks == -1 && e->offset >= 0 && never_enough(c, e)) {
            violated(c, "P16 acked-below-min-isr", "producer %d partition %d offset %" PRId64,
                     e->who, e->partition, e->offset);
        }
    }
}

/* One look: the truth, then leaders, then logs, all of one partition; at the same `at_us`. */
static void check_looks(struct check *c)
{
    const struct event *truth = NULL;
    int64_t high_watermark = 0;
    int leader = NOT_SEEN;
    EACH_EVENT(e, c)
    {
        if (e->kind == EVENT_TRUTH) {
            truth = e;
            high_watermark = 0;
            leader = NOT_SEEN;
            if (e->who >= 0 && (e->isr & 1u << e->who) == 0) {
                violated(c, "leader-in-isr", "partition %d epoch %d: leader %d, isr %x",
                         e->partition, e->epoch, e->who, e->isr);
            }
        } else if (e->kind == EVENT_LEADER && truth != NULL && e->partition == truth->partition &&
                   e->high_watermark > high_watermark) {
            high_watermark = e->high_watermark;
            leader = e->who;
        } else if (e->kind == EVENT_LOG && truth != NULL && e->partition == truth->partition &&
                   (truth->isr & 1u << e->who) != 0 && e->end_offset < high_watermark) {
            violated(c, "strong-isr",
                     "partition %d: leader %d has HW %" PRId64
                     ", broker %d of the ISR ends at %" PRId64,
                     e->partition, leader, high_watermark, e->who, e->end_offset);
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
    return c.n;
}
