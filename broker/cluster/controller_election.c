/* The election: /controller names the controller, /controller_epoch counts them. Both are written
 * in one transaction, or neither is, so two brokers never hold the office in one epoch. What a new
 * controller does first is in controller.c. (reference: zookeeper §4) */
#include "broker/cluster/controller_internal.h"

#include "base/log.h"

enum { ELECTION_TRIES_MAX = 10 };

static err read_epoch(struct controller *c)
{
    struct coord_op get;
    TRY(controller_read_node(c, ZNODE_CONTROLLER_EPOCH, 0, &get));
    if (get.error == E_NOT_FOUND) {
        struct coord_op create = {.type = COORD_CREATE,
                                  .path = ZNODE_CONTROLLER_EPOCH,
                                  .data = znode_number_encode(&c->arena, 0)};
        TRY(coord_run(c->config.coord, &create, 1, &c->arena));
        if (create.error != E_EXISTS) {
            c->state.epoch = 0;
            c->epoch_version = 0;
            return create.error;
        }
        TRY(controller_read_node(c, ZNODE_CONTROLLER_EPOCH, 0, &get));
    }
    TRY(get.error);
    int64_t epoch = 0;
    if (znode_number_decode(get.value, &epoch) != OK || epoch < 0 || epoch >= INT32_MAX) {
        c->unreadable = ZNODE_CONTROLLER_EPOCH;
        return E_MALFORMED;
    }
    c->state.epoch = (int32_t)epoch;
    c->epoch_version = get.stat.version;
    return OK;
}

err controller_read_office(struct controller *c, bool *there, bool *own)
{
    struct coord_op get;
    c->follows = false;
    TRY(controller_read_node(c, ZNODE_CONTROLLER, COORD_WATCH, &get));
    *there = get.error == OK;
    *own = *there && coord_owned(c->config.coord, get.stat.ephemeral_owner);
    if (get.error != OK) {
        return get.error == E_NOT_FOUND ? OK : get.error;
    }
    int32_t id = -1;
    if (znode_controller_decode(&c->arena, get.value, &id) != OK) {
        id = -1; /* somebody who cannot be named */
    }
    if (!*own && id != c->known_leader) {
        log_info("controller", "another broker is the controller broker=%d", id);
    }
    c->known_leader = id;
    c->follows = !*own;
    return OK;
}

/* One attempt: the node and the next epoch, or neither. A node of one's own is replaced. */
static err claim_office(struct controller *c, bool replace)
{
    int64_t now_ms = clock_wall_ms(c->config.clock);
    struct coord_op ops[3] = {
        {.type = COORD_DELETE, .path = ZNODE_CONTROLLER, .version = COORD_ANY_VERSION},
        {.type = COORD_CREATE,
         .path = ZNODE_CONTROLLER,
         .data = znode_controller_encode(&c->arena, c->config.broker_id, now_ms),
         .flags = COORD_EPHEMERAL},
        {.type = COORD_SET,
         .path = ZNODE_CONTROLLER_EPOCH,
         .data = znode_number_encode(&c->arena, c->state.epoch + 1),
         .version = c->epoch_version},
    };
    int skipped = replace ? 0 : 1;
    return coord_multi(c->config.coord, ops + skipped, (size_t)(3 - skipped), &c->arena);
}

err controller_stand(struct controller *c, bool *elected)
{
    *elected = false;
    for (int tries = 0; tries < ELECTION_TRIES_MAX; tries++) {
        bool there = false;
        bool own = false;
        TRY(controller_read_office(c, &there, &own));
        if (there && !own) {
            return OK;
        }
        TRY(read_epoch(c));
        err e = claim_office(c, own);
        if (e == E_EXISTS || e == E_VERSION || e == E_NOT_FOUND) {
            continue; /* another broker was faster: who? */
        }
        TRY(e);
        c->state.epoch++;
        c->epoch_version++;
        c->active = true;
        c->known_leader = c->config.broker_id;
        log_info("controller", "elected broker=%d epoch=%d", c->config.broker_id, c->state.epoch);
        *elected = true;
        return OK;
    }
    return E_EXISTS;
}
