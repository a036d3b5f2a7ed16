/* What the tests of a fetcher share: broker 2, which follows broker 1, and that the test plays. Time is
 * moved by hand. Requests are compared as text:
 *
 *   0/0 a-0@5/2 b-1@0/-1 -c-0     session and its epoch; partitions that fetch from an offset on, after a
 *                                 record of that epoch; partitions that are forgotten */
#ifndef OTTLA_BROKER_TESTS_FETCHER_UTIL_H
#define OTTLA_BROKER_TESTS_FETCHER_UTIL_H

#include "broker/tests/partition_util.h"
#include "broker/tests/played.h"

#include "broker/replica/fetcher.h"
#include "protocol/error.h"

#include <limits.h>
#include <stdarg.h>

enum {
    LEADER = 1,
    ME = 2,
    EPOCH = 5, /* the leader's */
    WAIT_MS = 500,
    TIMEOUT_MS = 30000,
    PAUSE_MAX_MS = 1000,
    HURRY_MS = 5,
    FETCH = 1,
    LIST_OFFSETS = 2,
    LATEST = -1,
    EARLIEST = -2,
    BATCH_LEADER_EPOCH_AT = 12,
    PARTITIONS = 3,
    SESSION = 77,
};

static const struct topic_partition NAMES[PARTITIONS] = {
    {STR("a"), 0}, {STR("b"), 0}, {STR("a"), 1}};

static struct {
    struct place place;
    struct loop *loop;
    struct workers *workers;
    struct stream_pool streams;
    struct fetcher_env env;
    struct partition_env partitions;
    struct kept kept[PARTITIONS];
    struct fetcher *fetcher;
    struct played leader;
    bool known; /* where the leader is */
    const struct fetch_request *asked;
} t;

UNUSED static bool address_of(void *context, int32_t broker_id, struct peer_address *address)
{
    CU_ASSERT_PTR_EQUAL(context, &t);
    CU_ASSERT_EQUAL(broker_id, LEADER);
    snprintf(address->host, sizeof(address->host), "127.0.0.1");
    address->port = t.leader.port;
    return t.known;
}

UNUSED static void settle(void)
{
    while (loop_turn(t.loop)) {
    }
}

UNUSED static void pass(int64_t ms)
{
    t.place.clock.now_ms += ms;
    settle();
}

UNUSED static struct uuid id_of(struct str topic)
{
    return (struct uuid){{(uint8_t)topic.data[0]}};
}

/* `ids`: topics have ids. */
UNUSED static void begin_with(bool ids)
{
    memset(&t, 0, sizeof(t));
    place_make(&t.place);
    log_set_level(LOG_OFF);
    t.known = true;
    MUST(loop_new(&t.place.clock.clock, sockets_system(), &t.loop));
    t.workers = workers_new(&(struct workers_config){.threads = threads_system(),
                                                     .sockets = sockets_system(),
                                                     .clock = clock_system(),
                                                     .threads_max = 1,
                                                     .queued_max = 10,
                                                     .queued_bytes_max = 1 << 20});
    stream_pool_init(&t.streams, INT32_MAX, NULL);
    played_begin(&t.leader, settle);
    t.env = (struct fetcher_env){.broker_id = ME,
                                 .broker_epoch = 99,
                                 .workers = t.workers,
                                 .clock = &t.place.clock.clock,
                                 .address = address_of,
                                 .context = &t,
                                 .fetch_version = 17,
                                 .list_offsets_version = 9,
                                 .wait_ms = WAIT_MS,
                                 .min_bytes = 1,
                                 .max_bytes = 10 << 20,
                                 .partition_max_bytes = 1 << 20,
                                 .pause_max_ms = PAUSE_MAX_MS,
                                 .timeout_ms = TIMEOUT_MS,
                                 .connect_timeout_ms = 10000,
                                 .receive_buffer_bytes = -1};
    t.partitions = (struct partition_env){.broker_id = ME, .clock = &t.place.clock.clock};
    for (int i = 0; i < PARTITIONS; i++) {
        struct uuid id = ids ? id_of(NAMES[i].topic) : (struct uuid){{0}};
        kept_open(&t.kept[i], &t.place, &t.partitions, NAMES[i], id);
    }
    t.fetcher = fetcher_new(&t.env, t.loop, &t.streams, LEADER, 3);
}

UNUSED static void begin(void)
{
    begin_with(true);
}

UNUSED static void end(void)
{
    fetcher_free(t.fetcher);
    for (int i = 0; i < PARTITIONS; i++) {
        kept_close(&t.kept[i]);
    }
    workers_stop(t.workers);
    workers_free(t.workers);
    loop_drain(t.loop);
    stream_pool_deinit(&t.streams);
    loop_free(t.loop);
    played_end(&t.leader);
    place_remove(&t.place);
}

/* ---- partitions ---- */

UNUSED static void become(int i, int32_t leader, int32_t leader_epoch)
{
    static const int32_t REPLICAS[] = {LEADER, ME};
    kept_become(&t.kept[i], leader, leader_epoch, REPLICAS, 2);
}

UNUSED static void follow(int i)
{
    become(i, LEADER, EPOCH);
    fetcher_follow(t.fetcher, t.kept[i].p, EPOCH);
    settle();
}

/* It has these records already, as an earlier leader's. */
UNUSED static void hold(int i, int count, int32_t leader_epoch)
{
    struct follower_position position;
    struct writer w;
    writer_init(&w, 1 << 20);
    put_batch(&w, plog_end_offset(t.kept[i].log), leader_epoch, count);
    become(i, LEADER, leader_epoch);
    const struct fetched fetched = {
        .offset = plog_end_offset(t.kept[i].log), .batches = w.data, .len = w.len};
    MUST(partition_append_as_follower(t.kept[i].p, leader_epoch, &fetched, &position));
    writer_deinit(&w);
}

UNUSED static int64_t end_of(int i)
{
    return plog_end_offset(t.kept[i].log);
}

/* ---- what the leader is asked ---- */

UNUSED static char name_of(struct str topic, struct uuid id)
{
    return topic.len > 0 ? topic.data[0] : (char)id.bytes[0];
}

__attribute__((format(printf, 3, 4))) UNUSED static void put_text(char *text, size_t size,
                                                                  const char *format, ...)
{
    size_t at = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + at, size - at, format, args);
    va_end(args);
}

UNUSED static void fetch_text(const struct fetch_request *request, char *text, size_t size)
{
    text[0] = '\0';
    put_text(text, size, "%d/%d", request->session_id, request->session_epoch);
    for (int32_t n = 0; n < request->topics_n; n++) {
        const struct fetch_request_topic *topic = &request->topics[n];
        for (int32_t i = 0; i < topic->partitions_n; i++) {
            const struct fetch_request_partition *p = &topic->partitions[i];
            CU_ASSERT_EQUAL(p->partition_max_bytes, 1 << 20);
            put_text(text, size, " %c-%d@%lld/%d", name_of(topic->topic, topic->topic_id),
                     p->partition, (long long)p->fetch_offset, p->last_fetched_epoch);
        }
    }
    for (int32_t n = 0; n < request->forgotten_topics_n; n++) {
        const struct fetch_request_forgotten_topic *topic = &request->forgotten_topics[n];
        for (int32_t i = 0; i < topic->partitions_n; i++) {
            put_text(text, size, " -%c-%d", name_of(topic->topic, topic->topic_id),
                     topic->partitions[i]);
        }
    }
}

/* Waits for a Fetch, and compares it. */
UNUSED static void get_fetch(const char *expected)
{
    char text[1024];
    t.asked = played_next(&t.leader, FETCH);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t.asked);
    fetch_text(t.asked, text, sizeof(text));
    bool same = strcmp(text, expected) == 0;
    if (!same) {
        printf("\nfetch:    %s\nexpected: %s\n", text, expected);
    }
    CU_ASSERT(same);
}

/* ---- what it answers ---- */

/* Of one partition. */
struct said {
    int index; /* of NAMES */
    int16_t error;
    int64_t high_watermark;
    int64_t log_start_offset;
    int32_t diverging_epoch; /* with its end; 0/0: none is told */
    int64_t diverging_end;
    struct writer records; /* of the test; it deinits it */
};

UNUSED static void answer_all(int32_t session, const struct said *said, int count)
{
    struct fetch_response_partition partitions[PARTITIONS];
    struct fetch_response_topic topics[PARTITIONS];
    struct fetch_response response;
    fetch_response_init(&response);
    response.session_id = session;
    response.topics = topics;
    response.topics_n = count;
    for (int i = 0; i < count; i++) {
        struct topic_partition name = NAMES[said[i].index];
        topics[i] = (struct fetch_response_topic){.topic = name.topic,
                                                  .topic_id = id_of(name.topic),
                                                  .partitions = &partitions[i],
                                                  .partitions_n = 1};
        fetch_response_partition_init(&partitions[i]);
        partitions[i].partition_index = name.partition;
        partitions[i].error_code = said[i].error;
        partitions[i].high_watermark = said[i].high_watermark;
        partitions[i].log_start_offset = said[i].log_start_offset;
        if (said[i].diverging_epoch != 0 || said[i].diverging_end != 0) {
            partitions[i].diverging_epoch.epoch = said[i].diverging_epoch;
            partitions[i].diverging_epoch.end_offset = said[i].diverging_end;
        }
        partitions[i].records.data =
            bytes_of(said[i].records.data == NULL ? (const uint8_t *)"" : said[i].records.data,
                     said[i].records.len);
    }
    played_answer(&t.leader, &response);
}

UNUSED static void answer_one(struct said said)
{
    answer_all(SESSION, &said, 1);
}

UNUSED static void answer_nothing(void)
{
    answer_all(SESSION, NULL, 0);
}

UNUSED static void answer_error(int16_t error)
{
    struct fetch_response response;
    fetch_response_init(&response);
    response.error_code = error;
    played_answer(&t.leader, &response);
}

/* Records of partition `index`, as its leader has them. */
UNUSED static void answer_records(int index, int64_t offset, int count)
{
    struct said said = {.index = index, .high_watermark = offset + count};
    writer_init(&said.records, 1 << 20);
    put_batch(&said.records, offset, EPOCH, count);
    answer_one(said);
    writer_deinit(&said.records);
}

/* The only partition that is asked about; the answer is error or offset. */
UNUSED static void get_list_offsets(int64_t timestamp)
{
    const struct list_offsets_request *request = played_next(&t.leader, LIST_OFFSETS);
    CU_ASSERT_PTR_NOT_NULL_FATAL(request);
    CU_ASSERT_EQUAL(t.leader.asked.version, 9);
    CU_ASSERT_EQUAL(request->replica_id, ME);
    CU_ASSERT_FATAL(request->topics_n == 1 && request->topics[0].partitions_n == 1);
    CU_ASSERT(str_equal(request->topics[0].name, NAMES[0].topic));
    CU_ASSERT_EQUAL(request->topics[0].partitions[0].current_leader_epoch, EPOCH);
    CU_ASSERT_EQUAL(request->topics[0].partitions[0].timestamp, timestamp);
}

UNUSED static void answer_offset(int16_t error, int64_t offset)
{
    struct list_offsets_response_partition partition;
    struct list_offsets_response_topic topic = {
        .name = NAMES[0].topic, .partitions = &partition, .partitions_n = 1};
    struct list_offsets_response response = {.topics = &topic, .topics_n = 1};
    list_offsets_response_partition_init(&partition);
    partition.error_code = error;
    partition.offset = offset;
    played_answer(&t.leader, &response);
}

/* Nothing is asked before so many milliseconds have passed. */
UNUSED static bool pauses(int64_t ms)
{
    bool silent = played_silence(&t.leader);
    pass(ms - 1);
    silent = silent && played_silence(&t.leader);
    pass(1);
    return silent;
}

#endif
