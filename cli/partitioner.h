/* Which partition a key belongs to, for Kafka's Java clients and all that agree with them. */
#ifndef OTTLA_CLI_PARTITIONER_H
#define OTTLA_CLI_PARTITIONER_H

#include "base/bytes.h"

int32_t partition_of_key(struct bytes key, int32_t partitions_n);

#endif
