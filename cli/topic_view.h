/* One topic's partitions, and who leads them: for tools that write and read records. */
#ifndef OTTLA_CLI_TOPIC_VIEW_H
#define OTTLA_CLI_TOPIC_VIEW_H

#include "cli/brokers.h"

struct topic_view {
    const char *topic;
    int32_t *leaders; /* by partition; -1: none */
    int32_t partitions_n;
};

/* Asks the bootstrap server, again and again until the topic is there and each of its partitions has a leader, or the
 * time is over. A topic that is not there is made where the broker makes topics by itself. `brokers` knows the brokers
 * then too. An error has its sentence in brokers->reason. */
NODISCARD err topic_view_refresh(struct topic_view *view, struct brokers *brokers, int timeout_ms);
void topic_view_deinit(struct topic_view *view);

/* Is it an error that goes away by itself, or when the leader is asked that is one by now? */
bool error_is_passing(int16_t code);

#endif
