#include "broker/replica/followers.h"

#include "base/bytes.h"
#include "base/err.h"

#include <stdlib.h>

bool replica_set_holds(const struct replica_set *set, int32_t id)
{
    for (int32_t i = 0; i < set->count; i++) {
        if (set->ids[i] == id) {
            return true;
        }
    }
    return false;
}

/* `before`: what was known; NULL: nothing counts. */
static void add(struct followers *followers, int32_t id, bool in_sync,
                const struct followers *before, int64_t now_ms)
{
    const struct follower *known = before != NULL ? followers_find(before, id) : NULL;
    if (followers_find(followers, id) == NULL) {
        followers->all =
            xrealloc(followers->all, (size_t)(followers->count + 1) * sizeof(*followers->all));
        followers->all[followers->count++] =
            (struct follower){.id = id,
                              .in_sync = in_sync,
                              .broker_epoch = known != NULL ? known->broker_epoch : -1,
                              .end_offset = known != NULL ? known->end_offset : -1,
                              .log_start_offset = known != NULL ? known->log_start_offset : -1,
                              .leader_end_offset = -1,
                              .caught_up_ms = in_sync ? now_ms : 0};
    }
}

void followers_begin(struct followers *followers, const struct replica_set *replicas,
                     const struct replica_set *isr, int32_t self, bool led, int64_t now_ms)
{
    CHECK(replicas->count >= 0 && isr->count >= 0);
    struct followers before = *followers;
    const struct followers *known = led ? &before : NULL;
    *followers = (struct followers){0};
    for (int32_t i = 0; i < replicas->count; i++) {
        if (replicas->ids[i] != self) {
            add(followers, replicas->ids[i], replica_set_holds(isr, replicas->ids[i]), known,
                now_ms);
        }
    }
    for (int32_t i = 0; i < isr->count; i++) {
        if (isr->ids[i] != self) {
            add(followers, isr->ids[i], true, known, now_ms);
        }
    }
    followers_deinit(&before);
}

void followers_deinit(struct followers *followers)
{
    free(followers->all);
    *followers = (struct followers){0};
}

struct follower *followers_find(const struct followers *followers, int32_t id)
{
    for (int32_t i = 0; i < followers->count; i++) {
        if (followers->all[i].id == id) {
            return &followers->all[i];
        }
    }
    return NULL;
}

void follower_fetched(struct follower *follower, const struct replica_fetch *fetch, int64_t now_ms)
{
    CHECK(fetch->offset >= 0 && fetch->leader_end_offset >= 0);
    if (fetch->offset >= fetch->leader_end_offset) {
        follower->caught_up_ms = now_ms;
    } else if (follower->leader_end_offset >= 0 && fetch->offset >= follower->leader_end_offset &&
               follower->fetched_ms > follower->caught_up_ms) {
        follower->caught_up_ms = follower->fetched_ms; /* it had all that was here then */
    }
    follower->broker_epoch = fetch->broker_epoch;
    follower->end_offset = fetch->offset;
    follower->log_start_offset = fetch->log_start_offset;
    follower->leader_end_offset = fetch->leader_end_offset;
    follower->fetched_ms = now_ms;
}

static bool counts(const struct follower *follower, const struct high_watermark_rule *rule)
{
    if (follower->in_sync) {
        return true;
    }
    bool caught_up =
        follower->end_offset == rule->end_offset ||
        (follower->caught_up_ms > 0 && rule->now_ms - follower->caught_up_ms <= rule->lag_ms);
    return caught_up && (rule->is_alive == NULL || rule->is_alive(rule->context, follower->id));
}

int64_t followers_high_watermark(const struct followers *followers,
                                 const struct high_watermark_rule *rule)
{
    int64_t least = rule->own;
    for (int32_t i = 0; i < followers->count; i++) {
        const struct follower *follower = &followers->all[i];
        if (follower->end_offset < least && counts(follower, rule)) {
            least = follower->end_offset;
        }
    }
    return least;
}
