/* A group is known to its coordinator; where logs end the leaders of their partitions know. */
#define _GNU_SOURCE
#include "cli/groups.h"

#include "base/refuse.h"
#include "cli/coordinator.h"
#include "protocol/error.h"

#include <stdlib.h>
#include <string.h>

static err no_memory(struct brokers *brokers)
{
    return refuse_with(E_LIMIT, brokers->reason, CLIENT_REASON_BYTES,
                       "too many groups or partitions");
}

static err said(struct brokers *brokers, const char *group, int16_t code)
{
    return refuse_with(code, brokers->reason, CLIENT_REASON_BYTES, "group %s: %s", group,
                       kafka_error_name(code));
}

/* ---- list ---- */

static bool is_wanted(const char *states, struct str state)
{
    for (const char *at = states; at != NULL && *at != '\0';) {
        size_t len = strcspn(at, ",");
        if (len == state.len && strncasecmp(at, state.data, len) == 0) {
            return true;
        }
        at += len + (at[len] == ',' ? 1 : 0);
    }
    return states == NULL;
}

static err list_of(struct brokers *brokers, struct client *client,
                   struct list_groups_response *answer)
{
    struct list_groups_request request;
    list_groups_request_init(&request);
    TRY(brokers_ask(brokers, client,
                    &(struct client_question){API_LIST_GROUPS, 0, 0, &request, answer}));
    return answer->error_code == 0
               ? OK
               : refuse_with(answer->error_code, brokers->reason, CLIENT_REASON_BYTES,
                             "groups cannot be listed: %s", kafka_error_name(answer->error_code));
}

err groups_list(struct brokers *brokers, const char *states, struct listed_group **all,
                size_t *count)
{
    *all = NULL;
    *count = 0;
    for (int32_t i = 0; i < brokers->nodes_n; i++) {
        struct client *client;
        struct list_groups_response answer;
        TRY(brokers_client(brokers, brokers->nodes[i].id, &client));
        TRY(list_of(brokers, client, &answer));
        struct listed_group *more =
            arena_array(&brokers->arena, *count + (size_t)answer.groups_n + 1, sizeof(**all));
        if (more == NULL) {
            return no_memory(brokers);
        }
        if (*count > 0) {
            memcpy(more, *all, *count * sizeof(**all));
        }
        *all = more;
        for (int32_t j = 0; j < answer.groups_n; j++) {
            const struct list_groups_response_group *g = &answer.groups[j];
            bool consumers = g->protocol_type.len == 0 || str_is(g->protocol_type, "consumer");
            if (consumers && is_wanted(states, g->group_state)) {
                (*all)[(*count)++] = (struct listed_group){g->group_id, g->group_state};
            }
        }
    }
    return OK;
}

/* ---- describe ---- */

static int32_t id_of(const struct brokers *brokers, const struct client *client)
{
    for (int32_t i = 0; i < brokers->nodes_n; i++) {
        if (brokers->nodes[i].client == client) {
            return brokers->nodes[i].id;
        }
    }
    return -1;
}

err group_describe(struct brokers *brokers, struct group_view *group)
{
    TRY(coordinator_of_group(brokers, group->id, &group->coordinator));
    group->coordinator_id = id_of(brokers, group->coordinator);
    struct str id = str_of(group->id);
    struct describe_groups_request request;
    describe_groups_request_init(&request);
    request.groups = &id;
    request.groups_n = 1;
    struct describe_groups_response answer;
    TRY(brokers_ask(brokers, group->coordinator,
                    &(struct client_question){API_DESCRIBE_GROUPS, 0, 0, &request, &answer}));
    if (answer.groups_n != 1) {
        return refuse_with(E_MALFORMED, brokers->reason, CLIENT_REASON_BYTES,
                           "an answer of something else");
    }
    group->described = answer.groups[0];
    return group->described.error_code == 0 ? OK
                                            : said(brokers, group->id, group->described.error_code);
}

err group_assignment(struct brokers *brokers, const struct describe_groups_response_member *member,
                     struct consumer_protocol_assignment *assignment)
{
    consumer_protocol_assignment_init(assignment);
    struct reader reader = reader_of(member->member_assignment);
    if (reader_left(&reader) < 2) {
        return OK; /* it has none yet */
    }
    int16_t version = (int16_t)load_u16(reader_take(&reader, 2));
    version = version < 0 ? 0 : version > 3 ? 3 : version;
    err e = message_decode(&consumer_protocol_assignment_message, version, &reader, &brokers->arena,
                           assignment);
    return e == OK ? OK
                   : refuse_with(e, brokers->reason, CLIENT_REASON_BYTES,
                                 "the assignment of member %.*s: %s", (int)member->member_id.len,
                                 member->member_id.data, err_text(e));
}

/* ---- offsets ---- */

static struct group_partition *partition_of(struct group_view *group, struct str topic,
                                            int32_t partition)
{
    for (size_t i = 0; i < group->partitions_n; i++) {
        if (group->partitions[i].partition == partition &&
            str_equal(group->partitions[i].topic, topic)) {
            return &group->partitions[i];
        }
    }
    return NULL;
}

static err add(struct brokers *brokers, struct group_view *group, struct group_partition partition)
{
    if ((group->partitions_n & (group->partitions_n - 1)) == 0) { /* full: twice as many */
        size_t room = group->partitions_n == 0 ? 1 : 2 * group->partitions_n;
        struct group_partition *more = arena_array(&brokers->arena, room, sizeof(*more));
        if (more == NULL) {
            return no_memory(brokers);
        }
        if (group->partitions_n > 0) {
            memcpy(more, group->partitions, group->partitions_n * sizeof(*more));
        }
        group->partitions = more;
    }
    group->partitions[group->partitions_n++] = partition;
    return OK;
}

static err take_members(struct brokers *brokers, struct group_view *group)
{
    for (int32_t m = 0; m < group->described.members_n; m++) {
        struct consumer_protocol_assignment assignment;
        TRY(group_assignment(brokers, &group->described.members[m], &assignment));
        for (int32_t i = 0; i < assignment.assigned_partitions_n; i++) {
            for (int32_t j = 0; j < assignment.assigned_partitions[i].partitions_n; j++) {
                TRY(add(brokers, group,
                        (struct group_partition){assignment.assigned_partitions[i].topic,
                                                 assignment.assigned_partitions[i].partitions[j], m,
                                                 -1, -1}));
            }
        }
    }
    return OK;
}

static err take_committed(struct brokers *brokers, struct group_view *group)
{
    struct offset_fetch_request request;
    offset_fetch_request_init(&request);
    request.group_id = str_of(group->id);
    request.topics_n = -1; /* all */
    struct offset_fetch_response answer;
    TRY(brokers_ask(brokers, group->coordinator,
                    &(struct client_question){API_OFFSET_FETCH, 2, 7, &request, &answer}));
    if (answer.error_code != 0) {
        return said(brokers, group->id, answer.error_code);
    }
    for (int32_t i = 0; i < answer.topics_n; i++) {
        for (int32_t j = 0; j < answer.topics[i].partitions_n; j++) {
            const struct offset_fetch_response_partition *p = &answer.topics[i].partitions[j];
            struct group_partition *known =
                partition_of(group, answer.topics[i].name, p->partition_index);
            if (known != NULL) {
                known->committed = p->committed_offset;
            } else if (p->committed_offset >= 0) {
                TRY(add(brokers, group,
                        (struct group_partition){answer.topics[i].name, p->partition_index, -1,
                                                 p->committed_offset, -1}));
            }
        }
    }
    return OK;
}

/* -1 where there is none, or no such partition. */
static int32_t leader_of(const struct metadata_response *metadata, const struct group_partition *p)
{
    for (int32_t i = 0; i < metadata->topics_n; i++) {
        const struct metadata_response_topic *topic = &metadata->topics[i];
        for (int32_t j = 0; str_equal(topic->name, p->topic) && j < topic->partitions_n; j++) {
            if (topic->partitions[j].partition_index == p->partition) {
                return topic->partitions[j].leader_id;
            }
        }
    }
    return -1;
}

err group_ask_offset(struct brokers *brokers, const struct metadata_response *metadata,
                     const struct group_partition *partition, int64_t timestamp, int64_t *offset)
{
    struct client *client;
    int32_t leader = leader_of(metadata, partition);
    *offset = -1;
    if (leader < 0) {
        return OK;
    }
    TRY(brokers_client(brokers, leader, &client));
    struct list_offsets_request_partition asked;
    list_offsets_request_partition_init(&asked);
    asked.partition_index = partition->partition;
    asked.timestamp = timestamp;
    struct list_offsets_request_topic topic = {
        .name = partition->topic, .partitions = &asked, .partitions_n = 1};
    struct list_offsets_request request;
    list_offsets_request_init(&request);
    request.replica_id = -1;
    request.topics = &topic;
    request.topics_n = 1;
    struct list_offsets_response answer;
    TRY(brokers_ask(brokers, client,
                    &(struct client_question){API_LIST_OFFSETS, 1, 0, &request, &answer}));
    bool there = answer.topics_n == 1 && answer.topics[0].partitions_n == 1 &&
                 answer.topics[0].partitions[0].error_code == 0;
    *offset = there ? answer.topics[0].partitions[0].offset : -1;
    return OK;
}

err groups_metadata(struct brokers *brokers, struct metadata_response *metadata)
{
    struct metadata_request request;
    metadata_request_init(&request);
    request.topics_n = -1;
    request.allow_auto_topic_creation = false;
    return brokers_ask(brokers, NULL,
                       &(struct client_question){API_METADATA, 1, 0, &request, metadata});
}

static err ask_ends(struct brokers *brokers, struct group_view *group)
{
    struct metadata_response metadata;
    TRY(groups_metadata(brokers, &metadata));
    for (size_t i = 0; i < group->partitions_n; i++) {
        TRY(group_ask_offset(brokers, &metadata, &group->partitions[i], -1,
                             &group->partitions[i].end));
    }
    return OK;
}

err group_add(struct brokers *brokers, struct group_view *group, struct str topic,
              int32_t partition)
{
    return partition_of(group, topic, partition) != NULL
               ? OK
               : add(brokers, group, (struct group_partition){topic, partition, -1, -1, -1});
}

static err write_one(struct brokers *brokers, const struct group_view *group,
                     const struct group_partition *p)
{
    struct offset_commit_request_partition offset;
    offset_commit_request_partition_init(&offset);
    offset.partition_index = p->partition;
    offset.committed_offset = p->committed;
    offset.committed_metadata = STR("");
    struct offset_commit_request_topic topic = {
        .name = p->topic, .partitions = &offset, .partitions_n = 1};
    struct offset_commit_request request;
    offset_commit_request_init(&request);
    request.group_id = str_of(group->id);
    request.topics = &topic;
    request.topics_n = 1;
    struct offset_commit_response answer;
    TRY(brokers_ask(brokers, group->coordinator,
                    &(struct client_question){API_OFFSET_COMMIT, 2, 0, &request, &answer}));
    bool there = answer.topics_n == 1 && answer.topics[0].partitions_n == 1;
    int16_t code = there ? answer.topics[0].partitions[0].error_code : ERR_UNKNOWN_SERVER_ERROR;
    return code == 0 ? OK : said(brokers, group->id, code);
}

err group_write(struct brokers *brokers, const struct group_view *group)
{
    for (size_t i = 0; i < group->partitions_n; i++) {
        TRY(write_one(brokers, group, &group->partitions[i]));
    }
    return OK;
}

err group_offsets(struct brokers *brokers, struct group_view *group)
{
    TRY(take_members(brokers, group));
    TRY(take_committed(brokers, group));
    return ask_ends(brokers, group);
}

/* ---- delete ---- */

err group_delete(struct brokers *brokers, const char *id, int16_t *code)
{
    struct client *client;
    TRY(coordinator_of_group(brokers, id, &client));
    struct str name = str_of(id);
    struct delete_groups_request request;
    delete_groups_request_init(&request);
    request.groups_names = &name;
    request.groups_names_n = 1;
    struct delete_groups_response answer;
    TRY(brokers_ask(brokers, client,
                    &(struct client_question){API_DELETE_GROUPS, 0, 0, &request, &answer}));
    if (answer.results_n != 1) {
        return refuse_with(E_MALFORMED, brokers->reason, CLIENT_REASON_BYTES,
                           "an answer of something else");
    }
    *code = answer.results[0].error_code;
    return OK;
}
