/* A block is claimed by a conditional write; losing the race means reading again. */
#include "broker/cluster/producer_ids.h"

#include "base/log.h"
#include "zk/znodes.h"

#include <pthread.h>
#include <stdlib.h>

enum { TRIES_MAX = 10, ARENA_BYTES = 1 << 20 };

struct producer_ids {
    int32_t broker_id;
    pthread_mutex_t lock; /* leaf; guards the two */
    int64_t next;
    int64_t end;
};

struct producer_ids *producer_ids_new(int32_t broker_id)
{
    struct producer_ids *ids = xcalloc(1, sizeof(*ids));
    ids->broker_id = broker_id;
    pthread_mutex_init(&ids->lock, NULL);
    return ids;
}

void producer_ids_free(struct producer_ids *ids)
{
    if (ids != NULL) {
        pthread_mutex_destroy(&ids->lock);
        free(ids);
    }
}

err producer_ids_next(struct producer_ids *ids, int64_t *producer_id)
{
    pthread_mutex_lock(&ids->lock);
    err e = ids->next < ids->end ? OK : E_NOT_FOUND;
    if (e == OK) {
        *producer_id = ids->next++;
    }
    pthread_mutex_unlock(&ids->lock);
    return e;
}

static err claim_once(struct coord *coord, int32_t broker_id, struct arena *arena, int64_t *first)
{
    struct coord_op get = {.type = COORD_GET, .path = ZNODE_PRODUCER_IDS};
    TRY(coord_run(coord, &get, 1, arena));
    TRY(get.error);
    struct znode_producer_ids block = {.last = -1};
    if (get.value.data != NULL && get.value.len > 0) {
        err e = znode_producer_ids_decode(arena, get.value, &block);
        if (e != OK || block.first < 0 || block.last < block.first ||
            block.last > INT64_MAX - PRODUCER_IDS_BLOCK) {
            log_error("producer-ids", "node unreadable, no producer id is given path=%s",
                      ZNODE_PRODUCER_IDS);
            return E_MALFORMED;
        }
    }
    struct znode_producer_ids mine = {
        .broker_id = broker_id, .first = block.last + 1, .last = block.last + PRODUCER_IDS_BLOCK};
    struct coord_op set = {.type = COORD_SET,
                           .path = ZNODE_PRODUCER_IDS,
                           .data = znode_producer_ids_encode(arena, &mine),
                           .version = get.stat.version};
    TRY(coord_run(coord, &set, 1, arena));
    *first = mine.first;
    return set.error;
}

err producer_ids_block(struct coord *coord, int32_t broker_id, int64_t *first)
{
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    err e = E_VERSION;
    for (int i = 0; i < TRIES_MAX && e == E_VERSION; i++) {
        e = claim_once(coord, broker_id, &arena, first);
    }
    arena_deinit(&arena);
    return e;
}

err producer_ids_claim(struct producer_ids *ids, struct coord *coord)
{
    pthread_mutex_lock(&ids->lock);
    bool left = ids->next < ids->end;
    pthread_mutex_unlock(&ids->lock);
    if (left) {
        return OK;
    }
    int64_t first = 0;
    err e = producer_ids_block(coord, ids->broker_id, &first);
    if (e == OK) {
        pthread_mutex_lock(&ids->lock);
        ids->next = first;
        ids->end = first + PRODUCER_IDS_BLOCK;
        pthread_mutex_unlock(&ids->lock);
    }
    return e;
}
