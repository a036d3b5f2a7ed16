/* log.cleaner.threads and log.cleaner.dedupe.buffer.size, which are judged together, over all layers: each thread
 * must get enough of the memory (config_cleaner_fits), and a running cleaner gets at most twice as many threads and at
 * least half as many. Kafka's rules and words. (reference: requests §7.2)
 *
 * Thread: the control thread; at the start the one that starts. */
#ifndef OTTLA_BROKER_CLUSTER_CLEANER_SIZE_H
#define OTTLA_BROKER_CLUSTER_CLEANER_SIZE_H

#include "broker/config.h"

bool cleaner_size_has(const char *name); /* one of the two? */

/* May `source`, a dynamic layer, say of the two what `layer` says, while the broker runs? INVALID_REQUEST with words. */
NODISCARD err cleaner_size_check(const struct config *config, enum config_source source,
                                 const struct properties *layer, char message[CONFIG_REASON_BYTES]);

/* At the start, all layers set: those whose values do not fit lose them, this broker's first, with a warning each. */
void cleaner_size_drop_misfits(struct config *config);

#endif
