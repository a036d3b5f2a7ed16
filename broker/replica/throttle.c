#include "broker/replica/throttle.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLE_MS = 1000, WAIT_MAX_MS = 1000 };

void throttle_init(struct throttle *t, struct clock *clock)
{
    *t = (struct throttle){.clock = clock,
                           .rate = {.samples_max = THROTTLE_SAMPLES, .sample_ms = SAMPLE_MS}};
    t->rate.samples = t->samples;
    atomic_store(&t->limit, INT64_MAX);
    pthread_mutex_init(&t->lock, NULL);
}

void throttle_deinit(struct throttle *t)
{
    pthread_mutex_destroy(&t->lock);
}

void throttle_set_limit(struct throttle *t, int64_t limit)
{
    atomic_store(&t->limit, limit);
}

/* ---- the rate ---- */

void throttle_record(struct throttle *t, int64_t bytes)
{
    int64_t now_ms = clock_monotonic_ms(t->clock);
    pthread_mutex_lock(&t->lock);
    sampled_rate_record(&t->rate, (double)bytes, now_ms);
    pthread_mutex_unlock(&t->lock);
}

/* The time in which so many bytes are not too many. */
static double time_of(double bytes, int64_t limit)
{
    return bytes * SAMPLE_MS / (double)limit;
}

int64_t throttle_wait_ms(struct throttle *t)
{
    int64_t limit = atomic_load(&t->limit);
    if (limit == INT64_MAX) {
        return 0;
    }
    int64_t now_ms = clock_monotonic_ms(t->clock);
    int64_t began_ms = 0;
    pthread_mutex_lock(&t->lock);
    double bytes = sampled_rate_sum(&t->rate, now_ms, &began_ms);
    pthread_mutex_unlock(&t->lock);
    int64_t elapsed_ms = now_ms - began_ms;
    elapsed_ms = elapsed_ms < SAMPLE_MS ? SAMPLE_MS : elapsed_ms;
    double left_ms = bytes <= 0 ? 0 : time_of(bytes, limit) - (double)elapsed_ms;
    return left_ms <= 0 ? 0 : left_ms >= WAIT_MAX_MS ? WAIT_MAX_MS : (int64_t)left_ms + 1;
}

/* ---- which ---- */

static int compare(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a;
    int32_t y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

struct throttled_replicas throttled_replicas_parse(const char *text, int32_t broker_id)
{
    struct throttled_replicas list = {0};
    if (text == NULL || *text == '\0') {
        return list;
    }
    char *copy = xstrdup(text);
    char *save = NULL;
    list.partitions = xcalloc(strlen(text) / 3 + 1, sizeof(*list.partitions)); /* "0:0" is one */
    for (char *item = strtok_r(copy, ", ", &save); item != NULL;
         item = strtok_r(NULL, ", ", &save)) {
        const char *broker = strchr(item, ':');
        list.all |= strcmp(item, "*") == 0;
        if (broker != NULL && strtol(broker + 1, NULL, 10) == broker_id) {
            list.partitions[list.count++] = (int32_t)strtol(item, NULL, 10);
        }
    }
    free(copy);
    qsort(list.partitions, (size_t)list.count, sizeof(*list.partitions), compare);
    return list;
}

void throttled_replicas_deinit(struct throttled_replicas *list)
{
    free(list->partitions);
    *list = (struct throttled_replicas){0};
}

bool throttled_replicas_hold(const struct throttled_replicas *list, int32_t partition)
{
    return list->all ||
           (list->count > 0 && bsearch(&partition, list->partitions, (size_t)list->count,
                                       sizeof(partition), compare) != NULL);
}
