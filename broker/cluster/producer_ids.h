/* Producer ids, from blocks of a thousand that are claimed in /latest_producer_id_block.
 *
 * producer_ids_next is for any thread; when the block at hand is used up it answers E_NOT_FOUND,
 * and the caller has the control thread claim another. */
#ifndef OTTLA_BROKER_CLUSTER_PRODUCER_IDS_H
#define OTTLA_BROKER_CLUSTER_PRODUCER_IDS_H

#include "zk/coord.h"

struct producer_ids;

struct producer_ids *producer_ids_new(int32_t broker_id);
void producer_ids_free(struct producer_ids *ids);
NODISCARD err producer_ids_next(struct producer_ids *ids, int64_t *producer_id);
/* Control thread: claims a block if none is left. */
NODISCARD err producer_ids_claim(struct producer_ids *ids, struct coord *coord);

enum { PRODUCER_IDS_BLOCK = 1000 };
/* Control thread of the controller: claims a block for that broker. Errors of the store; E_MALFORMED when
 * the node cannot be read. */
NODISCARD err producer_ids_block(struct coord *coord, int32_t broker_id, int64_t *first);

#endif
