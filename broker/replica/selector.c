#include "broker/replica/selector.h"

static bool is_in_rack(const struct selector *selector, int32_t broker_id)
{
    return str_equal(selector->rack_of(selector->context, broker_id), selector->rack);
}

static bool has(const struct follower *follower, int64_t offset)
{
    return follower->in_sync && follower->end_offset >= offset &&
           follower->log_start_offset <= offset;
}

static bool is_better(const struct follower *one, const struct follower *other)
{
    if (one->end_offset != other->end_offset) {
        return one->end_offset > other->end_offset;
    }
    return one->caught_up_ms != other->caught_up_ms ? one->caught_up_ms > other->caught_up_ms
                                                    : one->id > other->id;
}

int32_t selector_choose(const struct selector *selector, const struct followers *followers,
                        int32_t self, int64_t offset)
{
    const struct follower *best = NULL;
    if (followers->count == 0 || is_in_rack(selector, self)) {
        return -1;
    }
    for (int32_t i = 0; i < followers->count; i++) {
        const struct follower *follower = &followers->all[i];
        if (has(follower, offset) && is_in_rack(selector, follower->id) &&
            (best == NULL || is_better(follower, best))) {
            best = follower;
        }
    }
    return best == NULL ? -1 : best->id;
}
