/* The offsets of a group, for a reader that is no member of it: they may be committed while the group has none. */
#define _GNU_SOURCE
#include "base/refuse.h"
#include "cli/console_reading.h"
#include "cli/coordinator.h"
#include "protocol/error.h"

#include <stdlib.h>

static err said(struct reading *r, const char *what, err e)
{
    return refuse_with(e, r->brokers.reason, CLIENT_REASON_BYTES,
                       "the offsets of group %s cannot be %s: %s", r->group, what,
                       kafka_error_name(e));
}

static err ask(struct reading *r, const struct client_question *question)
{
    struct client *client;
    TRY(coordinator_of_group(&r->brokers, r->group, &client));
    return brokers_ask(&r->brokers, client, question);
}

err group_begin(struct reading *r)
{
    int32_t *indexes = xcalloc((size_t)r->partitions_n + 1, sizeof(*indexes));
    for (int32_t i = 0; i < r->partitions_n; i++) {
        indexes[i] = i;
    }
    struct offset_fetch_request_topic topic = {.name = str_of(r->view.topic),
                                               .partition_indexes = indexes,
                                               .partition_indexes_n = r->partitions_n};
    struct offset_fetch_request request;
    offset_fetch_request_init(&request);
    request.group_id = str_of(r->group);
    request.topics = &topic;
    request.topics_n = 1;
    struct offset_fetch_response answer;
    err e = ask(r, &(struct client_question){API_OFFSET_FETCH, 1, 7, &request,
                                             &answer}); /* one group: up to 7 */
    free(indexes);
    TRY(e);
    if (answer.error_code != 0) {
        return said(r, "read", answer.error_code);
    }
    for (int32_t i = 0; i < answer.topics_n; i++) {
        for (int32_t j = 0; j < answer.topics[i].partitions_n; j++) {
            const struct offset_fetch_response_partition *p = &answer.topics[i].partitions[j];
            if (p->error_code != 0) {
                return said(r, "read", p->error_code);
            }
            if (p->partition_index >= 0 && p->partition_index < r->partitions_n) {
                r->partitions[p->partition_index].offset = p->committed_offset; /* -1: none */
                r->partitions[p->partition_index].committed = p->committed_offset;
            }
        }
    }
    return OK;
}

err group_commit(struct reading *r)
{
    struct offset_commit_request_partition *moved =
        xcalloc((size_t)r->partitions_n + 1, sizeof(*moved));
    struct offset_commit_request_topic topic = {.name = str_of(r->view.topic), .partitions = moved};
    for (int32_t i = 0; i < r->partitions_n; i++) {
        if (r->partitions[i].offset >= 0 && r->partitions[i].offset != r->partitions[i].committed) {
            offset_commit_request_partition_init(&moved[topic.partitions_n]);
            moved[topic.partitions_n].partition_index = i;
            moved[topic.partitions_n].committed_metadata = STR("");
            moved[topic.partitions_n++].committed_offset = r->partitions[i].offset;
        }
    }
    struct offset_commit_request request;
    offset_commit_request_init(&request);
    request.group_id = str_of(r->group);
    request.topics = &topic;
    request.topics_n = 1;
    struct offset_commit_response answer;
    err e = topic.partitions_n == 0
                ? OK
                : ask(r, &(struct client_question){API_OFFSET_COMMIT, 2, 0, &request, &answer});
    for (int32_t i = 0; e == OK && topic.partitions_n > 0 && i < answer.topics_n; i++) {
        for (int32_t j = 0; e == OK && j < answer.topics[i].partitions_n; j++) {
            int16_t code = answer.topics[i].partitions[j].error_code;
            e = code == 0 ? OK : said(r, "committed", code);
        }
    }
    for (int32_t i = 0; e == OK && i < topic.partitions_n; i++) {
        r->partitions[moved[i].partition_index].committed = moved[i].committed_offset;
    }
    free(moved);
    return e;
}
