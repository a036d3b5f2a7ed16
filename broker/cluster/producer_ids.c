/* One question is under way at a time, for all who wait. A block is claimed in the store by a conditional
 * write; losing the race means reading again. */
#include "broker/cluster/producer_ids.h"

#include "base/log.h"
#include "protocol/error.h"
#include "zk/znodes.h"

#include <pthread.h>
#include <stdlib.h>

enum { TRIES_MAX = 10, ARENA_BYTES = 1 << 20 };

struct producer_ids {
    struct producer_ids_config config;
    pthread_mutex_t lock; /* leaf; guards the next four */
    int64_t next;
    int64_t end;
    struct list waiting; /* struct producer_ids_wait */
    bool asking;         /* `ask` is posted, or the question is under way */
    struct loop_task ask;

    struct question question; /* state thread */
    struct allocate_producer_ids_request request;
    struct allocate_producer_ids_response response;
};

static void on_ask(struct loop_task *task);
static void on_answer(struct question *question, err outcome);

struct producer_ids *producer_ids_new(const struct producer_ids_config *config)
{
    struct producer_ids *ids = xcalloc(1, sizeof(*ids));
    ids->config = *config;
    ids->ask.run = on_ask;
    list_init(&ids->waiting);
    pthread_mutex_init(&ids->lock, NULL);
    return ids;
}

void producer_ids_free(struct producer_ids *ids)
{
    if (ids != NULL) {
        CHECK(list_empty(&ids->waiting));
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

/* ---- asking ---- */

void producer_ids_wait_add(struct producer_ids *ids, struct producer_ids_wait *wait)
{
    pthread_mutex_lock(&ids->lock);
    list_append(&ids->waiting, &wait->link);
    bool ask = !ids->asking;
    ids->asking = true;
    pthread_mutex_unlock(&ids->lock);
    if (ask) {
        loop_post(ids->config.state, &ids->ask);
    }
}

void producer_ids_wait_remove(struct producer_ids *ids, struct producer_ids_wait *wait)
{
    pthread_mutex_lock(&ids->lock);
    list_remove(&wait->link);
    pthread_mutex_unlock(&ids->lock);
}

static void on_ask(struct loop_task *task)
{
    struct producer_ids *ids = container_of(task, struct producer_ids, ask);
    allocate_producer_ids_request_init(&ids->request);
    ids->request.broker_id = ids->config.broker_id;
    ids->request.broker_epoch = ids->config.broker_epoch(ids->config.context);
    ids->question = (struct question){.api_key = KEY_ALLOCATE_PRODUCER_IDS,
                                      .request = &ids->request,
                                      .response = &ids->response,
                                      .here = ids->config.by_broker,
                                      .done = on_answer};
    to_controller_ask(ids->config.to, &ids->question);
}

/* All are woken, and look again. */
static void on_answer(struct question *question, err outcome)
{
    struct producer_ids *ids = container_of(question, struct producer_ids, question);
    const struct allocate_producer_ids_response *response = &ids->response;
    err e = outcome == OK ? response->error_code : outcome;
    bool sound = e == OK && response->producer_id_start >= 0 && response->producer_id_len > 0 &&
                 response->producer_id_start <= INT64_MAX - response->producer_id_len;
    if (!sound && outcome != E_CLOSED) {
        log_warn("producer-ids", "the controller gives none error=\"%s\"",
                 e > 0 ? kafka_error_name((int16_t)e) : err_text(e == OK ? E_MALFORMED : e));
    }
    pthread_mutex_lock(&ids->lock);
    ids->asking = false;
    if (sound) {
        ids->next = response->producer_id_start;
        ids->end = ids->next + response->producer_id_len;
    }
    list_each_safe (item, &ids->waiting) {
        waiter_wake(container_of(item, struct producer_ids_wait, link)->waiter);
    }
    pthread_mutex_unlock(&ids->lock);
}

/* ---- the store ---- */

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

void producer_ids_answer(struct coord *coord, const struct allocate_producer_ids_request *request,
                         struct allocate_producer_ids_response *response)
{
    int64_t first = 0;
    err e = producer_ids_block(coord, request->broker_id, &first);
    response->error_code =
        e == OK ? OK : ERR_UNKNOWN_SERVER_ERROR; /* the store's is logged there */
    response->producer_id_start = e == OK ? first : 0;
    response->producer_id_len = e == OK ? PRODUCER_IDS_BLOCK : 0;
}
