/* Producer ids, from blocks of a thousand that the controller gives out (AllocateProducerIds), or, before
 * inter.broker.protocol.version 3.0, that each broker claims in /latest_producer_id_block.
 *
 * Any thread takes ids; when the block at hand is used up it waits for another. (reference: zookeeper
 * §5.6) */
#ifndef OTTLA_BROKER_CLUSTER_PRODUCER_IDS_H
#define OTTLA_BROKER_CLUSTER_PRODUCER_IDS_H

#include "base/waiter.h"
#include "broker/cluster/to_controller.h"
#include "protocol/messages.h"
#include "zk/coord.h"

struct producer_ids;

struct producer_ids_config {
    int32_t broker_id;
    struct loop *state;
    struct to_controller *to;
    bool by_broker; /* each broker claims its blocks itself */
    int64_t (*broker_epoch)(void *context);
    void *context;
};

struct producer_ids *producer_ids_new(const struct producer_ids_config *config);
void producer_ids_free(struct producer_ids *ids);
/* E_NOT_FOUND: none is at hand. */
NODISCARD err producer_ids_next(struct producer_ids *ids, int64_t *producer_id);

/* Woken when a block has come or could not be had; asks for one. Embedded in who waits, with its waiter;
 * removed before its memory goes. */
struct producer_ids_wait {
    struct list link;
    struct waiter *waiter;
};
void producer_ids_wait_add(struct producer_ids *ids, struct producer_ids_wait *wait);
void producer_ids_wait_remove(struct producer_ids *ids, struct producer_ids_wait *wait);

enum { PRODUCER_IDS_BLOCK = 1000 };
/* Control thread: claims a block for that broker. Errors of the store; E_MALFORMED when the node cannot be
 * read. */
NODISCARD err producer_ids_block(struct coord *coord, int32_t broker_id, int64_t *first);
/* The same as an answer: UNKNOWN_SERVER_ERROR (-1) where the store fails. */
void producer_ids_answer(struct coord *coord, const struct allocate_producer_ids_request *request,
                         struct allocate_producer_ids_response *response);

#endif
