/* What a leader has answered, partition by partition. The answer counts for a partition only where it is
 * still at the position that the leader was told. (reference: replication §4) */
#include "broker/replica/fetcher_internal.h"

#include "base/log.h"

static bool tells_divergence(const struct fetch_response_partition *in)
{
    return in->diverging_epoch.epoch >= 0 || in->diverging_epoch.end_offset >= 0;
}

static void reconcile(struct fetcher *f, struct followed *it,
                      const struct fetch_response_partition *in)
{
    const struct divergence told = {.epoch = in->diverging_epoch.epoch,
                                    .end_offset = in->diverging_epoch.end_offset};
    struct follower_position position;
    log_info("fetcher",
             "log diverges from its leader's topic=%.*s partition=%d leader=%d leader_epoch=%d "
             "epoch=%d end_offset=%lld own_end_offset=%lld",
             (int)it->name.topic.len, it->name.topic.data, it->name.partition, f->leader,
             it->leader_epoch, told.epoch, (long long)told.end_offset, (long long)it->at.offset);
    err e = partition_reconcile(it->partition, it->leader_epoch, &told, &position);
    if (e == OK) {
        followed_go_on(f, it, &position);
    } else if (e == E_MALFORMED) {
        followed_stop(f, it, "the leader says that the log diverges, where it does not");
    } else if (e == E_BUSY) {
        followed_pause(f, it, e);
    } else {
        followed_stop(f, it, err_is_local(e) || e == ERR_KAFKA_STORAGE_ERROR ? err_text(e) : NULL);
    }
}

/* Who got something is the last that gets more when not all can. */
static void take_turn(struct fetcher *f, struct followed *it, size_t bytes)
{
    if (bytes > 0) {
        list_remove(&it->link);
        list_append(&f->all, &it->link);
    }
}

/* False: the leader sends what it may not, and its connection is given up. */
static bool append(struct fetcher *f, struct followed *it,
                   const struct fetch_response_partition *in)
{
    const struct fetched fetched = {.offset = it->at.offset,
                                    .batches = (uint8_t *)(uintptr_t)in->records.data.data,
                                    .len = in->records.data.len,
                                    .high_watermark = in->high_watermark,
                                    .log_start_offset = in->log_start_offset};
    struct follower_position position;
    err e = partition_append_as_follower(it->partition, it->leader_epoch, &fetched, &position);
    switch (e) {
    case OK:
        it->pause_ms = 0;
        it->behind = position.offset < in->high_watermark;
        take_turn(f, it, fetched.len);
        if (f->env->throttle != NULL && partition_throttled(it->partition).as_follower) {
            throttle_record(f->env->throttle, (int64_t)fetched.len);
        }
        followed_go_on(f, it, &position);
        return true;
    case ERR_CORRUPT_MESSAGE:
    case E_MALFORMED:
        followed_pause(f, it, e);
        return false;
    case E_VERSION:
    case E_BUSY:
        followed_pause(f, it, e);
        return true;
    case ERR_NOT_LEADER_OR_FOLLOWER:
    case ERR_FENCED_LEADER_EPOCH:
    case ERR_UNKNOWN_LEADER_EPOCH:
    case ERR_UNKNOWN_TOPIC_OR_PARTITION:
        followed_stop(f, it, NULL);
        return true;
    default:
        followed_stop(f, it, e > 0 ? kafka_error_name((int16_t)e) : err_text(e));
        return true;
    }
}

static bool take_partition(struct fetcher *f, struct followed *it,
                           const struct fetch_response_partition *in)
{
    if (it->state != FOLLOW_FETCHES || !it->in_session || it->told.offset != it->at.offset) {
        return true;
    }
    switch (in->error_code) {
    case OK:
        if (tells_divergence(in)) {
            reconcile(f, it, in);
            return true;
        }
        return append(f, it, in);
    case ERR_OFFSET_OUT_OF_RANGE:
        followed_set_state(f, it, FOLLOW_ASKS);
        return true;
    case ERR_FENCED_LEADER_EPOCH:
        log_info("fetcher",
                 "the leader has a newer epoch, which is to come here too topic=%.*s partition=%d "
                 "leader=%d leader_epoch=%d",
                 (int)it->name.topic.len, it->name.topic.data, it->name.partition, f->leader,
                 it->leader_epoch);
        followed_stop(f, it, NULL);
        return true;
    default:
        followed_pause(f, it, in->error_code);
        return true;
    }
}

static void pause_all(struct fetcher *f, err why)
{
    list_each (item, &f->all) {
        struct followed *it = container_of(item, struct followed, link);
        if (it->state == FOLLOW_FETCHES) {
            followed_pause(f, it, why);
        }
    }
}

/* A session that the leader has dropped is begun anew at once. */
static void take_error(struct fetcher *f, err error)
{
    bool dropped = f->session_epoch > 0 && (error == ERR_FETCH_SESSION_ID_NOT_FOUND ||
                                            error == ERR_INVALID_FETCH_SESSION_EPOCH);
    fetcher_end_session(f);
    if (!dropped) {
        pause_all(f, error);
    }
}

/* Epochs of a session are 1 to INT32_MAX, and 1 again. */
static void take_session(struct fetcher *f, const struct fetch_response *response)
{
    if (response->session_id == 0) {
        fetcher_end_session(f);
        f->session_id = 0;
    } else {
        f->session_id = response->session_id;
        f->session_epoch = f->session_epoch == INT32_MAX ? 1 : f->session_epoch + 1;
    }
}

/* How many bytes of it were waited for; see Sharing in fetcher.c. */
static size_t shared_bytes(struct fetcher *f, const struct followed *it,
                           const struct fetch_response_partition *in)
{
    if (it == NULL || it->state != FOLLOW_FETCHES) {
        return 0;
    }
    if (it->at.offset < in->high_watermark) {
        f->behind_ms = loop_now_ms(f->loop);
        return 0;
    }
    return in->records.data.len;
}

void fetcher_take_answer(struct fetcher *f, const struct fetch_response *response)
{
    if (response->error_code != OK) {
        take_error(f, response->error_code);
        return;
    }
    bool sound = true;
    size_t shared = 0;
    for (int32_t t = 0; t < response->topics_n; t++) {
        const struct fetch_response_topic *topic = &response->topics[t];
        struct str name = topic->topic.len > 0 ? topic->topic : (struct str){0};
        for (int32_t i = 0; i < topic->partitions_n; i++) {
            struct followed *it =
                fetcher_find(f, name, topic->topic_id, topic->partitions[i].partition_index);
            sound &= it == NULL || take_partition(f, it, &topic->partitions[i]);
            shared += shared_bytes(f, it, &topic->partitions[i]);
        }
    }
    if (shared > 0) {
        f->shared_bytes = shared;
        f->shared_ms = loop_now_ms(f->loop);
    }
    take_session(f, response);
    if (!sound) {
        fetcher_failed(f, E_MALFORMED);
    }
}
