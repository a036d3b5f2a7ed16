/* kafka-topics, for its own files: what one call has, and its actions. */
#ifndef OTTLA_CLI_TOPICS_H
#define OTTLA_CLI_TOPICS_H

#include "cli/brokers.h"
#include "cli/options.h"

struct topics_call {
    struct cli_options options;
    struct brokers brokers;
    char reason[CLI_REASON_BYTES]; /* of an action that failed */
};

/* The topics that are meant, sorted by name. */
struct topics_meant {
    const struct metadata_response_topic **all; /* in the arena of the brokers */
    size_t count;
};

/* Asks for all topics, and takes those that match --topic (a regular expression; without it all), but for internal ones
 * where --exclude-internal is given, or the one that has the id in --topic-id. E_CONFIG where none matches, unless
 * --if-exists is given. */
NODISCARD err topics_meant(struct topics_call *call, struct topics_meant *meant);

NODISCARD err topics_describe(struct topics_call *call);

#endif
