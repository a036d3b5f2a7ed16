/* Reading the records of a topic, for kafka-console-consumer: where it begins, how far it is, when it ends. */
#ifndef OTTLA_CLI_CONSOLE_READING_H
#define OTTLA_CLI_CONSOLE_READING_H

#include "cli/message_lines.h"
#include "cli/topic_view.h"

enum reading_begin { READING_LATEST, READING_EARLIEST, READING_OFFSET };

struct reading_partition {
    int64_t offset;    /* the next one; -1: not known yet */
    int64_t committed; /* of the group, as last told */
};

struct reading {
    /* Set by who reads. */
    struct topic_view view; /* the topic */
    const char *group;      /* NULL: none */
    int32_t only_partition; /* -1: all */
    enum reading_begin begin;
    int64_t offset; /* of READING_OFFSET */
    int64_t messages_left;
    int64_t timeout_ms; /* without a message; -1: for ever */
    bool committed_only;
    struct line_writer lines;
    bool (*is_ended)(void);

    struct brokers brokers; /* open */
    struct reading_partition *partitions;
    int32_t partitions_n;
    int64_t messages;
    int64_t last_message_ms;
    bool timed_out;
};

/* Reads until there were enough messages, or none for too long (E_BUSY, timed_out), or is_ended(). Other errors have
 * their sentence in brokers.reason. */
NODISCARD err reading_run(struct reading *reading);
void reading_deinit(struct reading *reading);

/* console_group.c: takes what the group has committed as the begin of partitions; and commits how far it is. */
NODISCARD err group_begin(struct reading *reading);
NODISCARD err group_commit(struct reading *reading);

#endif
