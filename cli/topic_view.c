/* The topic's Metadata. */
#define _GNU_SOURCE
#include "cli/topic_view.h"

#include "base/clock.h"
#include "base/refuse.h"
#include "protocol/error.h"

#include <stdio.h>
#include <stdlib.h>

enum { ANSWER_LIMIT_BYTES = 64 << 20, AGAIN_US = 20000 };

bool error_is_passing(int16_t code)
{
    static const int16_t CODES[] = {
        ERR_UNKNOWN_TOPIC_OR_PARTITION,
        ERR_LEADER_NOT_AVAILABLE,
        ERR_NOT_LEADER_OR_FOLLOWER,
        ERR_REQUEST_TIMED_OUT,
        ERR_REPLICA_NOT_AVAILABLE,
        ERR_NETWORK_EXCEPTION,
        ERR_COORDINATOR_LOAD_IN_PROGRESS,
        ERR_COORDINATOR_NOT_AVAILABLE,
        ERR_NOT_COORDINATOR,
        ERR_NOT_ENOUGH_REPLICAS,
        ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        ERR_KAFKA_STORAGE_ERROR,
        ERR_FENCED_LEADER_EPOCH,
        ERR_UNKNOWN_LEADER_EPOCH,
        ERR_OFFSET_NOT_AVAILABLE,
        ERR_THROTTLING_QUOTA_EXCEEDED,
    };
    for (size_t i = 0; i < sizeof(CODES) / sizeof(CODES[0]); i++) {
        if (CODES[i] == code) {
            return true;
        }
    }
    return false;
}

/* OK, or the error that the answer has of the topic. */
static err take(struct topic_view *view, const struct metadata_response *answer)
{
    if (answer->topics_n != 1) {
        return E_MALFORMED;
    }
    const struct metadata_response_topic *topic = &answer->topics[0];
    if (topic->error_code != 0) {
        return topic->error_code;
    }
    free(view->leaders);
    view->leaders = xcalloc((size_t)topic->partitions_n + 1, sizeof(*view->leaders));
    view->partitions_n = topic->partitions_n;
    bool whole = topic->partitions_n > 0;
    for (int32_t i = 0; i < topic->partitions_n; i++) {
        const struct metadata_response_partition *partition = &topic->partitions[i];
        if (partition->partition_index < 0 || partition->partition_index >= topic->partitions_n) {
            return E_MALFORMED;
        }
        view->leaders[partition->partition_index] = partition->leader_id;
        whole = whole && partition->leader_id >= 0;
    }
    return whole ? OK : ERR_LEADER_NOT_AVAILABLE;
}

static err ask(struct topic_view *view, struct brokers *brokers)
{
    struct metadata_request_topic topic;
    metadata_request_topic_init(&topic);
    topic.name = str_of(view->topic);
    struct metadata_request request;
    metadata_request_init(&request);
    request.topics = &topic;
    request.topics_n = 1;
    struct arena arena;
    arena_init(&arena, ANSWER_LIMIT_BYTES);
    struct metadata_response answer;
    /* Not by id: up to version 9. */
    err e = client_ask(brokers->client,
                       &(struct client_question){API_METADATA, 1, 9, &request, &answer}, &arena);
    if (e != OK) {
        snprintf(brokers->reason, CLIENT_REASON_BYTES, "%s", client_reason(brokers->client));
    } else {
        e = take(view, &answer);
    }
    arena_deinit(&arena);
    return e;
}

err topic_view_refresh(struct topic_view *view, struct brokers *brokers, int timeout_ms)
{
    int64_t deadline_ms = clock_monotonic_ms(clock_system()) + timeout_ms;
    TRY(brokers_refresh(brokers));
    for (;;) {
        err e = ask(view, brokers);
        if (e == OK || err_is_local(e)) {
            return e;
        }
        if (!error_is_passing((int16_t)e) || clock_monotonic_ms(clock_system()) >= deadline_ms) {
            return refuse_with(e, brokers->reason, CLIENT_REASON_BYTES, "topic %s: %s", view->topic,
                               kafka_error_name(e));
        }
        clock_sleep_us(clock_system(), AGAIN_US);
    }
}

void topic_view_deinit(struct topic_view *view)
{
    free(view->leaders);
}
