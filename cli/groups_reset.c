/* Where a group is to begin: which partitions, and which offset of each.
 *
 * An offset before the start of a log, or after its end, becomes that, with a warning. Each partition has a line (Kafka
 * 3.9's tool writes all of them into one). Not here: --from-file and --by-duration. */
#define _GNU_SOURCE
#include "cli/groups_reset.h"

#include "base/refuse.h"
#include "cli/groups.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const SCENARIOS[] = {"to-earliest", "to-latest", "to-current",
                                        "to-offset",   "shift-by",  "to-datetime"};
enum { SCENARIOS_N = sizeof(SCENARIOS) / sizeof(SCENARIOS[0]) };

const char *groups_reset_mistake(const struct cli_options *options)
{
    int scenarios = 0;
    for (int i = 0; i < SCENARIOS_N; i++) {
        scenarios += cli_has(options, SCENARIOS[i]) ? 1 : 0;
    }
    if (scenarios != 1) {
        return "Option '[reset-offsets]' requires one of the following scenarios: [[to-offset], "
               "[to-current], "
               "[to-datetime], [to-earliest], [to-latest], [shift-by]]";
    }
    if (cli_has(options, "topic") == cli_has(options, "all-topics")) {
        return "One of the reset scopes should be defined: --all-topics, --topic.";
    }
    if (cli_has(options, "execute") && cli_has(options, "dry-run")) {
        return "--execute and --dry-run do not go together";
    }
    return NULL;
}

/* ---- which partitions ---- */

static err no_such(struct brokers *brokers, const char *what)
{
    return refuse_with(E_NOT_FOUND, brokers->reason, CLIENT_REASON_BYTES,
                       "there is no topic, or no partition, %s", what);
}

static err add_topic(struct brokers *brokers, struct group_view *group,
                     const struct metadata_response *metadata, const char *given)
{
    size_t len = strcspn(given, ":");
    const char *numbers = given[len] == ':' ? given + len + 1 : NULL;
    const struct metadata_response_topic *topic = NULL;
    for (int32_t i = 0; i < metadata->topics_n; i++) {
        topic = str_equal(metadata->topics[i].name, (struct str){given, len}) ? &metadata->topics[i]
                                                                              : topic;
    }
    if (topic == NULL) {
        return no_such(brokers, given);
    }
    for (int32_t i = 0; numbers == NULL && i < topic->partitions_n; i++) {
        TRY(group_add(brokers, group, topic->name, topic->partitions[i].partition_index));
    }
    for (const char *at = numbers; at != NULL && *at != '\0';) {
        char *end;
        long number = strtol(at, &end, 10);
        if (end == at || number < 0 || number >= topic->partitions_n ||
            (*end != '\0' && *end != ',')) {
            return no_such(brokers, given);
        }
        TRY(group_add(brokers, group, topic->name, (int32_t)number));
        at = *end == ',' ? end + 1 : end;
    }
    return OK;
}

/* ---- which offset ---- */

static err read_number(struct brokers *brokers, const struct cli_options *options, const char *name,
                       int64_t *number)
{
    char reason[CLI_REASON_BYTES];
    err e = cli_number(options, name, INT64_MIN, INT64_MAX, number, reason);
    return e == OK ? OK : refuse_with(e, brokers->reason, CLIENT_REASON_BYTES, "%.400s", reason);
}

/* 2024-01-31T12:00:00.000, in this machine's time zone, or with Z or +01:00 behind it. */
static err read_time(struct brokers *brokers, const char *text, int64_t *ms)
{
    struct tm tm = {.tm_isdst = -1};
    const char *at = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    int64_t fraction = 0;
    int64_t unit = 100;
    if (at != NULL && *at == '.') {
        for (at++; *at >= '0' && *at <= '9'; at++, unit /= 10) {
            fraction += (*at - '0') * unit;
        }
    }
    if (at == NULL) {
        return refuse(brokers->reason, CLIENT_REASON_BYTES,
                      "\"%s\" is no time like 2024-01-31T12:00:00.000", text);
    }
    if (*at == '\0') {
        *ms = (int64_t)mktime(&tm) * 1000 + fraction;
        return OK;
    }
    struct tm zone = {0};
    const char *end = strptime(at, "%z", &zone);
    if (end == NULL || *end != '\0') {
        return refuse(brokers->reason, CLIENT_REASON_BYTES,
                      "\"%s\" is no time like 2024-01-31T12:00:00.000", text);
    }
    *ms = ((int64_t)timegm(&tm) - zone.tm_gmtoff) * 1000 + fraction;
    return OK;
}

struct wish {
    const struct cli_options *options;
    int64_t number; /* of to-offset and shift-by; a time of to-datetime */
};

static err read_wish(struct brokers *brokers, struct wish *wish)
{
    TRY(read_number(brokers, wish->options, "to-offset", &wish->number));
    TRY(read_number(brokers, wish->options, "shift-by", &wish->number));
    const char *time = cli_value(wish->options, "to-datetime");
    return time == NULL ? OK : read_time(brokers, time, &wish->number);
}

static err wished(struct brokers *brokers, const struct metadata_response *metadata,
                  const struct wish *wish, const struct group_partition *p, int64_t *offset)
{
    if (cli_has(wish->options, "to-earliest")) {
        *offset = 0; /* bounded by the start */
        return OK;
    }
    if (cli_has(wish->options, "to-datetime")) {
        TRY(group_ask_offset(brokers, metadata, p, wish->number, offset));
        if (*offset < 0) {
            printf("\nWarn: Partition %d from topic %.*s is empty. Falling back to latest known "
                   "offset.\n",
                   p->partition, (int)p->topic.len, p->topic.data);
            *offset = p->end;
        }
        return OK;
    }
    if (cli_has(wish->options, "shift-by") && p->committed < 0) {
        return refuse_with(
            E_NOT_FOUND, brokers->reason, CLIENT_REASON_BYTES,
            "Cannot shift offset for partition %.*s-%d since there is no current committed offset",
            (int)p->topic.len, p->topic.data, p->partition);
    }
    *offset = cli_has(wish->options, "to-offset")    ? wish->number
              : cli_has(wish->options, "shift-by")   ? p->committed + wish->number
              : cli_has(wish->options, "to-current") ? (p->committed < 0 ? p->end : p->committed)
                                                     : p->end;
    return OK;
}

/* `committed` becomes what it is to be. */
static err decide(struct brokers *brokers, const struct metadata_response *metadata,
                  const struct wish *wish, struct group_partition *p)
{
    int64_t start = -1;
    int64_t offset = -1;
    TRY(group_ask_offset(brokers, metadata, p, -2, &start));
    if (p->end < 0 || start < 0) {
        return refuse_with(E_NOT_FOUND, brokers->reason, CLIENT_REASON_BYTES,
                           "%.*s-%d has no leader, or is gone", (int)p->topic.len, p->topic.data,
                           p->partition);
    }
    TRY(wished(brokers, metadata, wish, p, &offset));
    int64_t bounded = offset < start ? start : offset > p->end ? p->end : offset;
    if (bounded != offset && !cli_has(wish->options, "to-earliest")) {
        fprintf(stderr,
                "WARN New offset (%lld) is %s offset for topic partition %.*s-%d. Value will be "
                "set to %lld\n",
                (long long)offset, offset < start ? "lower than earliest" : "higher than latest",
                (int)p->topic.len, p->topic.data, p->partition, (long long)bounded);
    }
    p->committed = bounded;
    return OK;
}

/* ---- the whole ---- */

err groups_reset(struct brokers *brokers, const struct cli_options *options, const char *id)
{
    struct group_view group = {.id = id};
    struct wish wish = {.options = options};
    struct metadata_response metadata;
    TRY(read_wish(brokers, &wish));
    TRY(group_describe(brokers, &group));
    struct str state = group.described.group_state;
    if (!str_is(state, "Empty") && !str_is(state, "Dead")) {
        printf("\nError: Assignments can only be reset if the group '%s' is inactive, but the "
               "current state is %.*s.\n",
               id, (int)state.len, state.data);
        return OK;
    }
    TRY(groups_metadata(brokers, &metadata));
    size_t at = 0;
    for (const char *topic; (topic = cli_next_value(options, "topic", &at)) != NULL;) {
        TRY(add_topic(brokers, &group, &metadata, topic));
    }
    size_t asked = group.partitions_n;
    TRY(group_offsets(brokers, &group));
    group.partitions_n = cli_has(options, "all-topics") ? group.partitions_n : asked;
    for (size_t i = 0; i < group.partitions_n; i++) {
        TRY(decide(brokers, &metadata, &wish, &group.partitions[i]));
    }
    if (cli_has(options, "execute")) {
        TRY(group_write(brokers, &group));
    } else if (!cli_has(options, "dry-run")) {
        fputs("WARN: No action will be performed as the --execute option is missing.\n", stderr);
    }
    printf("\n%-30s %-30s %-10s %-15s\n", "GROUP", "TOPIC", "PARTITION", "NEW-OFFSET");
    for (size_t i = 0; i < group.partitions_n; i++) {
        const struct group_partition *p = &group.partitions[i];
        printf("%-30s %-30.*s %-10d %-15lld\n", id, (int)p->topic.len, p->topic.data, p->partition,
               (long long)p->committed);
    }
    return OK;
}
