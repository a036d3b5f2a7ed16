/* A log that lies outside of its leader's: the leader says where its own ends, and where it begins. Ends
 * it below this one, this one is cut; begins it above this one's end, this one begins anew there.
 * Otherwise both have an offset in common by now, and fetching goes on, after a pause: a leader that
 * contradicts itself would be asked as fast as it answers. (reference: zookeeper §7) */
#include "broker/replica/fetcher_internal.h"

#include "base/log.h"

enum { LATEST = -1, EARLIEST = -2 };

static void ask(struct fetcher *f, struct followed *it, bool earliest);

/* The answer about the one partition that was asked for; NULL: there is none. */
static const struct list_offsets_response_partition *
only_partition(const struct list_offsets_response *response)
{
    bool one = response->topics_n == 1 && response->topics[0].partitions_n == 1;
    return one ? &response->topics[0].partitions[0] : NULL;
}

static void go_on_from(struct fetcher *f, struct followed *it, err e,
                       const struct follower_position *position)
{
    if (e == OK) {
        followed_go_on(f, it, position);
    } else if (e == ERR_KAFKA_STORAGE_ERROR) {
        followed_stop(f, it, kafka_error_name((int16_t)e));
    } else {
        followed_pause(f, it, e);
    }
}

static void take_end(struct fetcher *f, struct followed *it, int64_t end)
{
    if (end >= it->at.offset) {
        ask(f, it, true);
        return;
    }
    struct follower_position position;
    log_warn("fetcher",
             "log is longer than its leader's, cutting it topic=%.*s partition=%d offset=%lld "
             "own_end_offset=%lld",
             (int)it->name.topic.len, it->name.topic.data, it->name.partition, (long long)end,
             (long long)it->at.offset);
    err e = partition_truncate(it->partition, it->leader_epoch, end, &position);
    go_on_from(f, it, e, &position);
}

static void take_start(struct fetcher *f, struct followed *it, int64_t start)
{
    if (start <= it->at.offset) {
        followed_pause(f, it, ERR_OFFSET_OUT_OF_RANGE);
        return;
    }
    struct follower_position position;
    log_warn("fetcher",
             "log ends before its leader's begins, beginning anew topic=%.*s partition=%d "
             "offset=%lld own_end_offset=%lld",
             (int)it->name.topic.len, it->name.topic.data, it->name.partition, (long long)start,
             (long long)it->at.offset);
    err e = partition_begin_anew(it->partition, it->leader_epoch, start, &position);
    go_on_from(f, it, e, &position);
}

static void take(struct fetcher *f, struct followed *it,
                 const struct list_offsets_response_partition *in)
{
    if (in == NULL || in->error_code != OK || in->offset < 0) {
        followed_pause(f, it, in == NULL ? E_MALFORMED : in->error_code);
    } else if (f->asks_earliest) {
        take_start(f, it, in->offset);
    } else {
        take_end(f, it, in->offset);
    }
}

static void on_answer(struct peer_request *asked, err outcome, uint8_t *frame, size_t len)
{
    struct fetcher *f = container_of(asked, struct fetcher, asked);
    struct followed *it = f->asks;
    struct exchange exchange = {.api_key = LIST_OFFSETS_KEY,
                                .version = f->env->list_offsets_version};
    struct list_offsets_response response;
    f->busy = false;
    f->asks = NULL;
    timer_stop(f->loop, &f->hurry);
    outcome = outcome == OK ? exchange_decode(&exchange, bytes_of(frame, len), &f->arena, &response)
                            : outcome;
    if (outcome != OK) {
        fetcher_failed(f, outcome);
    } else if (it != NULL) {
        take(f, it, only_partition(&response));
    }
    fetcher_go_on(f);
}

static void ask(struct fetcher *f, struct followed *it, bool earliest)
{
    struct list_offsets_request request;
    struct list_offsets_request_partition partition;
    struct list_offsets_request_topic topic = {
        .name = it->name.topic, .partitions = &partition, .partitions_n = 1};
    list_offsets_request_init(&request);
    list_offsets_request_partition_init(&partition);
    partition.partition_index = it->name.partition;
    partition.current_leader_epoch = it->leader_epoch;
    partition.timestamp = earliest ? EARLIEST : LATEST;
    request.replica_id = f->env->broker_id;
    request.topics = &topic;
    request.topics_n = 1;
    f->asks = it;
    f->asks_earliest = earliest;
    struct exchange exchange = {.api_key = LIST_OFFSETS_KEY,
                                .version = f->env->list_offsets_version};
    fetcher_send(f, &exchange, &request, on_answer);
}

bool fetcher_ask_offsets(struct fetcher *f)
{
    if (list_empty(&f->asking)) {
        return false;
    }
    ask(f, container_of(f->asking.next, struct followed, turn), false);
    return true;
}
