/* A request that a group holds until it has an answer: JoinGroup, SyncGroup. It is parked before the
 * group hears of it. */
#ifndef OTTLA_BROKER_API_GROUP_HELD_H
#define OTTLA_BROKER_API_GROUP_HELD_H

#include "broker/api/request.h"
#include "broker/coordinator/group.h"

struct group_held {
    struct group_waiter waiter;
    struct req *req;
};

/* In the request's arena, or NULL. `fill` writes an action into the answer. */
static inline struct group_waiter *group_held_new(struct req *r,
                                                  void (*fill)(struct group_waiter *waiter,
                                                               const struct group_action *action))
{
    struct group_held *held = req_alloc(r, sizeof(*held));
    if (held == NULL) {
        return NULL;
    }
    *held = (struct group_held){.waiter = {.fill = fill, .waiter = &r->waiter}, .req = r};
    return &held->waiter;
}

static inline struct req *group_held_req(struct group_waiter *waiter)
{
    return container_of(waiter, struct group_held, waiter)->req;
}

#endif
