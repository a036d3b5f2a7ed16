/* What Kafka says of topics' names. */
#ifndef OTTLA_PROTOCOL_TOPIC_NAME_H
#define OTTLA_PROTOCOL_TOPIC_NAME_H

#include "base/bytes.h"

enum { TOPIC_NAME_MAX = 249 };

/* 1 to TOPIC_NAME_MAX of [a-zA-Z0-9._-], neither "." nor "..". */
bool topic_name_is_legal(struct str name);
/* __consumer_offsets and __transaction_state, which belong to the coordinators. */
bool topic_is_internal(struct str name);

#endif
