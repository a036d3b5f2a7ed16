/* One request is on its way at a time: the next names, of the partitions that fetch, those whose position
 * has changed since the leader's session heard of them, and those that must be forgotten.
 *
 * A leader holds a fetch back until there is something new, up to half a second. Who begins to follow
 * meanwhile would wait as long before the leader hears of it, and the leader, if it is a new one, cannot
 * acknowledge anything before. So, unless the answer comes within HURRY_MS, the connection is given up
 * and everything is asked on another one; not where it has begun to come, and not again before there was
 * time for another. Pauses need no hurry: a request's wait ends with the next.
 *
 * Sharing. Who produces with acks=all waits until all of the ISR have fetched twice, and so for whatever
 * else these answers bring: with a megabyte of a partition that is behind, ten times as long as without.
 * A replica below the high watermark is in no ISR, so nobody waits for it. While there are both, those
 * for whom somebody waits and those who are behind, an answer may have SHARED_BYTES, and twice what the
 * former have brought in the last one, so that they are not held up by the bound. Where an answer takes its
 * time anyhow, since the leader is far away, it may have as much more for each SHARED_ROUND_MS. */
#include "broker/replica/fetcher_internal.h"

#include "base/log.h"
#include "protocol/topic_name.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    FRAME_BYTES_MAX = 256 << 20,
    ARENA_BYTES = 512 << 20,
    PAUSE_MIN_MS = 10,
    HURRY_MS = 5,
    HURRY_AGAIN_MS = 200,
    RECONNECT_MIN_MS = 10,
    VERSION_WITHOUT_IDS = 12,
    FIRST_TOPIC_ID_VERSION = 13,
    SHARED_BYTES = 256 << 10,
    SHARED_MS = 100, /* so long after it was last seen, there is one */
    SHARED_ROUND_MS = 2,
};

static void on_wake(struct timer *timer);
static void on_hurry(struct timer *timer);

/* ---- partitions ---- */

struct key {
    uint8_t bytes[TOPIC_NAME_MAX + sizeof(int32_t)];
};

static struct bytes key_of(struct key *key, struct bytes topic, int32_t partition)
{
    size_t len = topic.len > TOPIC_NAME_MAX ? TOPIC_NAME_MAX : topic.len;
    memcpy(key->bytes, topic.data, len);
    memcpy(key->bytes + len, &partition, sizeof(partition));
    return bytes_of(key->bytes, len + sizeof(partition));
}

static struct bytes id_bytes(const struct uuid *id)
{
    return bytes_of(id->bytes, sizeof(id->bytes));
}

struct followed *fetcher_find(const struct fetcher *f, struct str topic, struct uuid id,
                              int32_t partition)
{
    struct key key;
    return topic.data != NULL ? map_get(&f->names, key_of(&key, map_key_str(topic), partition))
                              : map_get(&f->ids, key_of(&key, id_bytes(&id), partition));
}

static void place(struct fetcher *f, struct followed *it)
{
    struct key key;
    int32_t partition = it->name.partition;
    (void)map_set(&f->names, key_of(&key, map_key_str(it->name.topic), partition), it);
    if (uuid_is_zero(it->topic_id)) {
        f->without_id_n++;
    } else {
        (void)map_set(&f->ids, key_of(&key, id_bytes(&it->topic_id), partition), it);
    }
}

static void displace(struct fetcher *f, const struct followed *it)
{
    struct key key;
    int32_t partition = it->name.partition;
    (void)map_remove(&f->names, key_of(&key, map_key_str(it->name.topic), partition));
    if (uuid_is_zero(it->topic_id)) {
        f->without_id_n--;
    } else {
        (void)map_remove(&f->ids, key_of(&key, id_bytes(&it->topic_id), partition));
    }
}

static void forget(struct fetcher *f, const struct followed *it)
{
    struct forgotten *forgotten = xcalloc(1, sizeof(*forgotten));
    forgotten->topic = (struct str){.data = str_dup(it->name.topic), .len = it->name.topic.len};
    forgotten->topic_id = it->topic_id;
    forgotten->partition = it->name.partition;
    list_append(&f->forgotten, &forgotten->link);
}

static void forgotten_free(struct forgotten *forgotten)
{
    list_remove(&forgotten->link);
    free((void *)(uintptr_t)forgotten->topic.data);
    free(forgotten);
}

static void followed_free(struct fetcher *f, struct followed *it)
{
    fetcher_forget_flush(it);
    followed_set_state(f, it, FOLLOW_STOPPED);
    fetch_rate_follows(f->env->rates, &f->rate, -1);
    if (f->asks == it) {
        f->asks = NULL;
    }
    displace(f, it);
    list_remove(&it->link);
    partition_release(it->partition);
    free(it);
}

static bool is_news(const struct followed *it)
{
    return !it->in_session || it->told.offset != it->at.offset ||
           it->told.last_epoch != it->at.last_epoch ||
           it->told.log_start_offset != it->at.log_start_offset;
}

void followed_set_state(struct fetcher *f, struct followed *it, enum follow_state state)
{
    f->fetching_n -= it->state == FOLLOW_FETCHES ? 1 : 0;
    f->fetching_n += state == FOLLOW_FETCHES ? 1 : 0;
    it->state = state;
    list_remove(&it->turn);
    if (state == FOLLOW_FETCHES && is_news(it)) {
        list_append(&f->news, &it->turn);
    } else if (state == FOLLOW_PAUSES) {
        list_append(&f->paused, &it->turn);
    } else if (state == FOLLOW_ASKS) {
        list_append(&f->asking, &it->turn);
    }
    if (state != FOLLOW_FETCHES && it->in_session) { /* it leaves, and may come again later */
        forget(f, it);
        it->in_session = false;
    }
}

void followed_pause(struct fetcher *f, struct followed *it, err why)
{
    if (it->pause_ms == 0) {
        log_info("fetcher",
                 "partition pauses topic=%.*s partition=%d leader=%d leader_epoch=%d error=\"%s\"",
                 (int)it->name.topic.len, it->name.topic.data, it->name.partition, f->leader,
                 it->leader_epoch, why > 0 ? kafka_error_name((int16_t)why) : err_text(why));
    }
    int64_t pause_ms = it->pause_ms == 0 ? PAUSE_MIN_MS : it->pause_ms * 2;
    it->pause_ms = pause_ms < f->env->pause_max_ms ? pause_ms : f->env->pause_max_ms;
    it->due_ms = loop_now_ms(f->loop) + it->pause_ms;
    followed_set_state(f, it, FOLLOW_PAUSES);
}

void followed_stop(struct fetcher *f, struct followed *it, const char *why)
{
    if (why != NULL) {
        log_error("fetcher",
                  "partition is not fetched any more, until the controller says more topic=%.*s "
                  "partition=%d leader_epoch=%d reason=\"%s\"",
                  (int)it->name.topic.len, it->name.topic.data, it->name.partition,
                  it->leader_epoch, why);
    }
    followed_set_state(f, it, FOLLOW_STOPPED);
}

void followed_go_on(struct fetcher *f, struct followed *it,
                    const struct follower_position *position)
{
    it->at = *position;
    followed_set_state(f, it, FOLLOW_FETCHES);
    fetcher_forget_flush(it);
    if (!position->safe) {
        fetcher_await_flush(f, it);
    }
}

/* Where it stands is asked of the log. An epoch that is not followed any more has been replaced. */
static void begin(struct fetcher *f, struct followed *it)
{
    struct follower_position position;
    err e = partition_begin_to_follow(it->partition, it->leader_epoch, &position);
    if (e == OK) {
        followed_go_on(f, it, &position);
    } else if (e == ERR_KAFKA_STORAGE_ERROR) {
        followed_stop(f, it, kafka_error_name((int16_t)e));
    } else if (err_is_local(e)) {
        followed_pause(f, it, e);
    } else {
        followed_stop(f, it, NULL);
    }
}

static void unfollow(struct fetcher *f, const struct partition *p)
{
    struct topic_partition name = partition_name(p);
    struct followed *it = fetcher_find(f, name.topic, (struct uuid){{0}}, name.partition);
    if (it == NULL || it->partition != p) {
        return;
    }
    followed_free(f, it);
    if (list_empty(&f->all)) {
        fetcher_end_session(f);
        f->hurried = f->busy;
        peer_disconnect(f->peer);
    }
}

void fetcher_follow(struct fetcher *f, struct partition *p, int32_t leader_epoch)
{
    unfollow(f, p);
    struct followed *it = xcalloc(1, sizeof(*it));
    partition_retain(p);
    it->partition = p;
    it->name = partition_name(p);
    it->topic_id = partition_topic_id(p);
    it->leader_epoch = leader_epoch;
    it->behind = true;
    list_append(&f->all, &it->link);
    fetch_rate_follows(f->env->rates, &f->rate, 1);
    list_init(&it->turn);
    place(f, it);
    begin(f, it);
    if (it->state == FOLLOW_FETCHES && f->busy && !timer_is_running(&f->hurry)) {
        timer_start(f->loop, &f->hurry, HURRY_MS);
    }
    fetcher_go_on(f);
}

void fetcher_unfollow(struct fetcher *f, const struct partition *p)
{
    unfollow(f, p);
    fetcher_go_on(f); /* the others may have waited for its flush */
}

/* ---- time ---- */

/* Milliseconds until the first pause is over, at most `most_ms`. */
static int64_t next_pause_ms(const struct fetcher *f, int64_t most_ms)
{
    int64_t now_ms = loop_now_ms(f->loop);
    int64_t least_ms = most_ms;
    list_each (item, &f->paused) {
        const struct followed *it = container_of(item, struct followed, turn);
        least_ms = it->due_ms - now_ms < least_ms ? it->due_ms - now_ms : least_ms;
    }
    return least_ms < 0 ? 0 : least_ms;
}

static void end_pauses(struct fetcher *f)
{
    int64_t now_ms = loop_now_ms(f->loop);
    list_each_safe (item, &f->paused) {
        struct followed *it = container_of(item, struct followed, turn);
        if (it->due_ms <= now_ms) {
            begin(f, it);
        }
    }
}

static void on_wake(struct timer *timer)
{
    fetcher_go_on(container_of(timer, struct fetcher, wake));
}

static void on_hurry(struct timer *timer)
{
    struct fetcher *f = container_of(timer, struct fetcher, hurry);
    int64_t now_ms = loop_now_ms(f->loop);
    if (peer_is_receiving(f->peer) || now_ms < f->hurry_again_ms) {
        return;
    }
    f->hurry_again_ms = now_ms + HURRY_AGAIN_MS;
    if (f->busy && peer_is_connected(f->peer)) {
        f->hurried = true;
        peer_disconnect(f->peer);
    } else if (f->busy && peer_cancel(f->peer, &f->asked)) {
        f->busy = false; /* it waits for a connection, and says more when it is made anew */
        fetcher_end_session(f);
        fetcher_go_on(f);
    }
}

/* ---- the session ---- */

/* The next request begins another, and ends this one by its id where the leader still has it. */
void fetcher_end_session(struct fetcher *f)
{
    f->session_epoch = 0;
    list_each (item, &f->all) {
        struct followed *it = container_of(item, struct followed, link);
        it->in_session = false;
        followed_set_state(f, it, it->state);
    }
    list_each_safe (item, &f->forgotten) {
        forgotten_free(container_of(item, struct forgotten, link));
    }
}

static void choose_version(struct fetcher *f)
{
    int16_t version = f->env->fetch_version;
    if (version >= FIRST_TOPIC_ID_VERSION && f->without_id_n > 0) {
        version = VERSION_WITHOUT_IDS;
    }
    if (version != f->version) {
        f->version = version;
        fetcher_end_session(f);
    }
}

/* ---- the request ---- */

static void *alloc(struct fetcher *f, size_t count, size_t size)
{
    void *memory = arena_array(&f->arena, count, size);
    CHECK(memory != NULL);
    return memory;
}

static void fill_partition(const struct fetcher *f, struct followed *it,
                           struct fetch_request_partition *out)
{
    fetch_request_partition_init(out);
    out->partition = it->name.partition;
    out->current_leader_epoch = it->leader_epoch;
    out->fetch_offset = it->at.offset;
    out->last_fetched_epoch = it->at.last_epoch;
    out->log_start_offset = it->at.log_start_offset;
    out->partition_max_bytes = f->env->partition_max_bytes;
    it->told = it->at;
    it->in_session = true;
}

static void fill_topics(struct fetcher *f, struct fetch_request *request)
{
    size_t news = 0;
    list_each (item, &f->news) {
        news++;
    }
    struct fetch_request_partition *partitions = alloc(f, news, sizeof(*partitions));
    request->topics = alloc(f, news, sizeof(*request->topics));
    struct fetch_request_topic *topic = NULL;
    list_each_safe (item, &f->news) {
        struct followed *it = container_of(item, struct followed, turn);
        if (topic == NULL || !str_equal(topic->topic, it->name.topic)) {
            topic = &request->topics[request->topics_n++];
            topic->topic = it->name.topic;
            topic->topic_id = it->topic_id;
            topic->partitions = partitions;
        }
        fill_partition(f, it, partitions++);
        topic->partitions_n++;
        list_remove(&it->turn);
    }
}

static void fill_forgotten(struct fetcher *f, struct fetch_request *request)
{
    size_t count = 0;
    list_each (item, &f->forgotten) {
        count++;
    }
    request->forgotten_topics = alloc(f, count, sizeof(*request->forgotten_topics));
    list_each_safe (item, &f->forgotten) {
        struct forgotten *forgotten = container_of(item, struct forgotten, link);
        const struct followed *again =
            fetcher_find(f, forgotten->topic, (struct uuid){{0}}, forgotten->partition);
        if (again == NULL || !again->in_session ||
            !uuid_equal(again->topic_id, forgotten->topic_id)) {
            struct fetch_request_forgotten_topic *out =
                &request->forgotten_topics[request->forgotten_topics_n++];
            out->topic = arena_str(&f->arena, forgotten->topic);
            out->topic_id = forgotten->topic_id;
            out->partitions = alloc(f, 1, sizeof(*out->partitions));
            out->partitions[0] = forgotten->partition;
            out->partitions_n = 1;
        }
        forgotten_free(forgotten);
    }
}

static void on_fetched(struct peer_request *asked, err outcome, uint8_t *frame, size_t len)
{
    struct fetcher *f = container_of(asked, struct fetcher, asked);
    struct exchange exchange = {.api_key = FETCH_KEY, .version = f->version};
    struct fetch_response *response = alloc(f, 1, sizeof(*response));
    f->busy = false;
    timer_stop(f->loop, &f->hurry);
    if (len > SHARED_BYTES / 2) { /* it was not waited for */
        f->shared_round_ms = loop_now_ms(f->loop) - f->asked_ms;
    }
    outcome = outcome == OK ? exchange_decode(&exchange, bytes_of(frame, len), &f->arena, response)
                            : outcome;
    if (outcome != OK) {
        fetcher_failed(f, outcome);
    } else {
        f->out_of_reach = false;
        f->hurry_again_ms = 0;
        fetcher_take_answer(f, response);
    }
    fetcher_go_on(f);
}

/* How much an answer may bring; see Sharing. */
static int32_t answer_bytes(const struct fetcher *f)
{
    int64_t since_ms = loop_now_ms(f->loop) - SHARED_MS;
    size_t rounds = 1 + (size_t)(f->shared_round_ms / SHARED_ROUND_MS);
    size_t shared = SHARED_BYTES * rounds + 2 * f->shared_bytes;
    bool shares = f->behind_ms > since_ms && f->shared_ms > since_ms;
    return shares && shared < (size_t)f->env->max_bytes ? (int32_t)shared : f->env->max_bytes;
}

/* While more has come than the throttle allows, those that it is for and that are behind are left out. */
static void hold_back(struct fetcher *f)
{
    int64_t wait_ms = f->env->throttle == NULL ? 0 : throttle_wait_ms(f->env->throttle);
    if (wait_ms == 0) {
        return;
    }
    list_each (item, &f->all) {
        struct followed *it = container_of(item, struct followed, link);
        if (it->state == FOLLOW_FETCHES && it->behind &&
            partition_throttled(it->partition).as_follower) {
            it->due_ms = loop_now_ms(f->loop) + wait_ms;
            followed_set_state(f, it, FOLLOW_PAUSES);
        }
    }
}

static void ask(struct fetcher *f)
{
    struct fetch_request request;
    hold_back(f);
    if (f->fetching_n == 0) {
        return;
    }
    choose_version(f);
    fetch_request_init(&request);
    request.replica_id = f->env->broker_id;
    request.replica_state.replica_id = f->env->broker_id;
    request.replica_state.replica_epoch = atomic_load(&f->env->broker_epoch);
    request.max_wait_ms = (int32_t)next_pause_ms(f, f->env->wait_ms);
    request.min_bytes = f->env->min_bytes;
    request.max_bytes = answer_bytes(f);
    request.session_id = f->session_id;
    request.session_epoch = f->session_epoch;
    request.rack_id = STR("");
    fill_topics(f, &request);
    fill_forgotten(f, &request);
    struct exchange exchange = {.api_key = FETCH_KEY, .version = f->version};
    fetcher_send(f, &exchange, &request, on_fetched);
    fetch_rate_count(f->env->rates, &f->rate, f->asked_ms);
}

void fetcher_send(struct fetcher *f, const struct exchange *exchange, const void *request,
                  void (*done)(struct peer_request *request, err outcome, uint8_t *frame,
                               size_t len))
{
    writer_clear(&f->frame);
    err e = exchange_encode(exchange, f->client_id, request, &f->frame);
    CHECK(e == OK); /* its texts are names of topics */
    arena_reset(&f->arena, ARENA_BYTES);
    f->busy = true;
    f->asked_ms = loop_now_ms(f->loop);
    f->asked = (struct peer_request){.frame = f->frame.data,
                                     .frame_len = f->frame.len,
                                     .timeout_ms = f->env->wait_ms + f->env->timeout_ms,
                                     .done = done};
    peer_send(f->peer, &f->asked);
}

void fetcher_failed(struct fetcher *f, err why)
{
    if (!f->hurried && !f->out_of_reach) {
        f->out_of_reach = true;
        log_warn("fetcher", "leader does not answer, trying again leader=%d error=\"%s\"",
                 f->leader, err_text(why));
    }
    f->hurried = false;
    fetcher_end_session(f);
    if (peer_is_connected(f->peer)) {
        peer_refuse(f->peer); /* what came makes no sense */
    }
}

void fetcher_go_on(struct fetcher *f)
{
    timer_stop(f->loop, &f->wake);
    if (f->busy || f->flushing_n > 0 || list_empty(&f->all)) {
        return;
    }
    end_pauses(f);
    if (!fetcher_ask_offsets(f)) {
        ask(f);
    }
    int64_t pause_ms = next_pause_ms(f, INT32_MAX);
    if (!f->busy && pause_ms < INT32_MAX) {
        timer_start(f->loop, &f->wake, pause_ms);
    }
}

/* ---- life ---- */

static bool address_of(void *context, struct peer_address *address)
{
    const struct fetcher *f = context;
    return f->env->address(f->env->context, f->leader, address);
}

struct fetcher *fetcher_new(struct fetcher_env *env, struct loop *loop, struct stream_pool *streams,
                            int32_t leader, int number)
{
    struct fetcher *f = xcalloc(1, sizeof(*f));
    f->env = env;
    f->loop = loop;
    f->leader = leader;
    f->version = env->fetch_version;
    f->behind_ms = f->shared_ms = INT64_MIN;
    fetch_rate_begin(env->rates, &f->rate, clock_monotonic_ms(env->clock));
    char *client_id = xasprintf("broker-%d-fetcher-%d", env->broker_id, number);
    f->client_id = str_of(client_id);
    list_init(&f->all);
    list_init(&f->forgotten);
    list_init(&f->news);
    list_init(&f->paused);
    list_init(&f->asking);
    map_init(&f->names);
    map_init(&f->ids);
    writer_init(&f->frame, FRAME_BYTES_MAX);
    arena_init(&f->arena, ARENA_BYTES);
    f->wake.fire = on_wake;
    f->hurry.fire = on_hurry;
    int64_t pause_max_ms =
        env->pause_max_ms < RECONNECT_MIN_MS ? RECONNECT_MIN_MS : env->pause_max_ms;
    const struct peer_config peer = {.loop = loop,
                                     .streams = streams,
                                     .workers = env->workers,
                                     .address = address_of,
                                     .context = f,
                                     .security = env->security,
                                     .connect_timeout_ms = env->connect_timeout_ms,
                                     .backoff_ms = RECONNECT_MIN_MS,
                                     .backoff_max_ms = pause_max_ms,
                                     .receive_buffer_bytes = env->receive_buffer_bytes};
    f->peer = peer_new(&peer);
    return f;
}

void fetcher_free(struct fetcher *f)
{
    if (f == NULL) {
        return;
    }
    timer_stop(f->loop, &f->wake);
    timer_stop(f->loop, &f->hurry);
    fetch_rate_end(f->env->rates, &f->rate);
    list_each_safe (item, &f->all) {
        followed_free(f, container_of(item, struct followed, link));
    }
    peer_free(f->peer); /* nothing is left that could be asked */
    fetcher_end_session(f);
    map_deinit(&f->names);
    map_deinit(&f->ids);
    writer_deinit(&f->frame);
    arena_deinit(&f->arena);
    free((void *)(uintptr_t)f->client_id.data);
    free(f);
}
