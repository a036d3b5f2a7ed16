/* Topics that a broker is to have from the begin on (--create-topic name:partitions:replication:compact, and
 * KAFKA_CREATE_TOPICS of the environment, a list of the same). */
#ifndef OTTLA_CLI_FIRST_TOPICS_H
#define OTTLA_CLI_FIRST_TOPICS_H

#include "base/bytes.h"
#include "base/err.h"

struct first_topic {
    char *name;
    int32_t partitions;  /* -1: the broker's default */
    int16_t replication; /* -1: the broker's default */
    bool compact;
};

struct first_topics {
    struct first_topic *all;
    size_t count;
};

enum { FIRST_TOPICS_REASON_BYTES = 640 };

/* name[:partitions[:replication[:compact]]]. E_CONFIG with a sentence in `reason`. */
NODISCARD err first_topics_add(struct first_topics *topics, const char *text, char *reason);
/* Several, between commas, blanks or line ends. */
NODISCARD err first_topics_add_list(struct first_topics *topics, const char *text, char *reason);
void first_topics_deinit(struct first_topics *topics);

/* Makes those that are not there, and returns when each of their partitions has a leader. `host` and `port` are the
 * broker's; where another one is the controller that is asked. An error has a sentence in `reason`. */
NODISCARD err first_topics_create(const struct first_topics *topics, const char *host, int port,
                                  char *reason);

#endif
