/* Metadata snapshots: what UpdateMetadata changes, what an older snapshot keeps, readers on other
 * threads. */
#include "broker/cluster/metadata.h"
#include "broker/cluster/metadata_waits.h"

#include "base/tests/suite.h"

#include <pthread.h>

typedef struct update_metadata_request_partition_state partition_state;
typedef struct update_metadata_request_topic_state topic_state;

static struct metadata_cache *cache;
static char removed[256];

static void on_removed(void *context, struct str topic)
{
    CU_ASSERT_PTR_EQUAL(context, &cache);
    struct metadata *now = metadata_acquire(cache);
    CU_ASSERT_PTR_NULL(metadata_topic(now, topic)); /* who looks now does not find it */
    metadata_release(now);
    size_t at = strlen(removed);
    snprintf(removed + at, sizeof(removed) - at, "%.*s;", (int)topic.len, topic.data);
}

static partition_state partition(int32_t index, int32_t leader, int32_t epoch)
{
    static int32_t one[] = {1};
    return (partition_state){.partition_index = index,
                             .leader = leader,
                             .leader_epoch = epoch,
                             .zk_version = epoch + 10,
                             .replicas = one,
                             .replicas_n = 1,
                             .isr = one,
                             .isr_n = 1};
}

static struct uuid id_of(uint8_t n)
{
    return (struct uuid){{n, 1}};
}

/* Brokers 2 and 1, controller 7, and these topics. */
static void update(topic_state *topics, int32_t topics_n)
{
    struct update_metadata_request_endpoint endpoints[] = {
        {.listener = STR("PLAINTEXT"), .host = STR("a.example"), .port = 9092},
        {.listener = STR("OTHER"), .host = STR("::1"), .port = 9093, .security_protocol = 1}};
    struct update_metadata_request_live_broker brokers[] = {
        {.id = 2, .endpoints = endpoints, .endpoints_n = 1},
        {.id = 1, .endpoints = endpoints, .endpoints_n = 2, .rack = STR("r1")}};
    struct update_metadata_request request;
    update_metadata_request_init(&request);
    request.controller_id = 7;
    request.live_brokers = brokers;
    request.live_brokers_n = 2;
    request.topic_states = topics;
    request.topic_states_n = topics_n;
    metadata_update(cache, &request, on_removed, &cache);
}

static void begin(void)
{
    cache = metadata_cache_new();
    removed[0] = '\0';
}

static void end(void)
{
    metadata_cache_free(cache);
}

static void test_brokers(void)
{
    begin();
    struct metadata *none = metadata_acquire(cache);
    CU_ASSERT(none->controller_id == -1 && none->brokers_n == 0);
    update(NULL, 0);
    struct metadata *now = metadata_acquire(cache);
    CU_ASSERT(now->controller_id == 7 && now->brokers_n == 2);
    CU_ASSERT(now->brokers[0].id == 1 && now->brokers[1].id == 2);
    CU_ASSERT_STRING_EQUAL(now->brokers[0].rack, "r1");
    CU_ASSERT_PTR_NULL(metadata_broker(now, 2)->rack);
    CU_ASSERT_PTR_NULL(metadata_broker(now, 3));
    const struct broker_endpoint *other = broker_endpoint_of(metadata_broker(now, 1), "OTHER");
    CU_ASSERT_PTR_NOT_NULL_FATAL(other);
    CU_ASSERT(strcmp(other->host, "::1") == 0 && other->port == 9093 &&
              other->security_protocol == 1);
    CU_ASSERT_PTR_NULL(broker_endpoint_of(metadata_broker(now, 2), "OTHER"));
    struct update_metadata_request request;
    update_metadata_request_init(&request);
    metadata_update(cache, &request, NULL, NULL); /* brokers are replaced, each time */
    CU_ASSERT(now->brokers_n == 2 && none->brokers_n == 0);
    metadata_release(none);
    metadata_release(now);
    now = metadata_acquire(cache);
    CU_ASSERT_EQUAL(now->brokers_n, 0);
    metadata_release(now);
    end();
}

static void test_topics(void)
{
    begin();
    partition_state a[] = {partition(0, 1, 0), partition(1, 2, 0)};
    partition_state b[] = {partition(2, 1, 5)};
    topic_state topics[] = {{STR("a"), id_of(1), a, 2},
                            {STR("__consumer_offsets"), id_of(2), b, 1}};
    update(topics, 2);
    struct metadata *first = metadata_acquire(cache);
    const struct topic_info *topic = metadata_topic(first, STR("a"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(topic);
    CU_ASSERT(topic->partitions_n == 2 && topic->partitions[1].leader == 2 && !topic->internal);
    CU_ASSERT_EQUAL(topic->partitions[1].partition_epoch, 10);
    CU_ASSERT(topic->partitions[0].replicas_n == 1 && topic->partitions[0].isr[0] == 1);
    CU_ASSERT_PTR_EQUAL(metadata_topic_by_id(first, id_of(1)), topic);
    CU_ASSERT_PTR_NULL(metadata_topic_by_id(first, id_of(9)));
    CU_ASSERT_PTR_NULL(metadata_topic(first, STR("A")));
    CU_ASSERT_PTR_NULL(metadata_topic(first, (struct str){0}));
    const struct topic_info *internal = metadata_topic(first, STR("__consumer_offsets"));
    CU_ASSERT(internal->internal && internal->partitions_n == 3);
    CU_ASSERT(!internal->partitions[0].known && internal->partitions[2].known);
    /* One partition changes; the other one and the other topic stay; the old snapshot too. */
    partition_state change[] = {partition(1, -1, 1)};
    topic_state changed = {STR("a"), id_of(1), change, 1};
    update(&changed, 1);
    struct metadata *second = metadata_acquire(cache);
    CU_ASSERT_EQUAL(metadata_topic(second, STR("a"))->partitions[1].leader, -1);
    CU_ASSERT_EQUAL(metadata_topic(second, STR("a"))->partitions[0].leader, 1);
    CU_ASSERT_EQUAL(topic->partitions[1].leader, 2);
    CU_ASSERT_PTR_EQUAL(metadata_topic(second, STR("__consumer_offsets")), internal);
    CU_ASSERT_STRING_EQUAL(removed, "");
    metadata_release(first);
    metadata_release(second);
    end();
}

static void test_removal(void)
{
    begin();
    partition_state two[] = {partition(0, 1, 0), partition(1, 1, 0)};
    topic_state topic = {STR("a"), id_of(1), two, 2};
    update(&topic, 1);
    struct metadata *before = metadata_acquire(cache);
    partition_state one_gone[] = {partition(0, -2, 0)};
    topic.partition_states = one_gone;
    topic.partition_states_n = 1;
    update(&topic, 1);
    struct metadata *half = metadata_acquire(cache);
    CU_ASSERT_FALSE(metadata_topic(half, STR("a"))->partitions[0].known);
    CU_ASSERT(metadata_topic(half, STR("a"))->partitions[1].known);
    CU_ASSERT_STRING_EQUAL(removed, "");
    partition_state all_gone[] = {partition(1, -2, 0), partition(0, -2, 0)};
    topic.partition_states = all_gone;
    topic.partition_states_n = 2;
    update(&topic, 1);
    struct metadata *after = metadata_acquire(cache);
    CU_ASSERT_PTR_NULL(metadata_topic(after, STR("a")));
    CU_ASSERT_PTR_NULL(metadata_topic_by_id(after, id_of(1)));
    CU_ASSERT_STRING_EQUAL(removed, "a;");
    update(&topic, 1); /* once more: nobody is told twice */
    CU_ASSERT_STRING_EQUAL(removed, "a;");
    CU_ASSERT_PTR_NOT_NULL(metadata_topic(before, STR("a")));
    metadata_release(before);
    metadata_release(half);
    metadata_release(after);
    end();
}

/* The same name with another id: the old id is unknown. An id of zeros is none. */
static void test_ids(void)
{
    begin();
    partition_state one[] = {partition(0, 1, 0)};
    topic_state topic = {STR("a"), id_of(1), one, 1};
    update(&topic, 1);
    topic.topic_id = id_of(2);
    update(&topic, 1);
    struct metadata *now = metadata_acquire(cache);
    CU_ASSERT_PTR_NULL(metadata_topic_by_id(now, id_of(1)));
    CU_ASSERT_PTR_EQUAL(metadata_topic_by_id(now, id_of(2)), metadata_topic(now, STR("a")));
    metadata_release(now);
    topic.topic_id = (struct uuid){{0}};
    update(&topic, 1);
    now = metadata_acquire(cache);
    CU_ASSERT_PTR_NULL(metadata_topic_by_id(now, id_of(2)));
    CU_ASSERT_PTR_NULL(metadata_topic_by_id(now, (struct uuid){{0}}));
    metadata_release(now);
    end();
}

/* ---- readers on other threads ---- */

enum { READERS = 3, UPDATES = 500, TOPICS = 5 };

static atomic_bool done;

/* In one snapshot all partitions of a topic have the same epoch. */
static void *reader(void *argument)
{
    int32_t last = 0;
    (void)argument;
    while (!atomic_load(&done)) {
        struct metadata *now = metadata_acquire(cache);
        const struct topic_info *topic = metadata_topic(now, STR("t3"));
        if (topic != NULL) {
            int32_t epoch = topic->partitions[0].leader_epoch;
            CU_ASSERT_EQUAL(topic->partitions[1].leader_epoch, epoch);
            CU_ASSERT(epoch >= last);
            last = epoch;
        }
        metadata_release(now);
    }
    return NULL;
}

static void test_readers(void)
{
    begin();
    pthread_t threads[READERS];
    atomic_store(&done, false);
    for (int i = 0; i < READERS; i++) {
        pthread_create(&threads[i], NULL, reader, NULL);
    }
    for (int32_t n = 0; n < UPDATES; n++) {
        partition_state states[] = {partition(0, 1, n), partition(1, 1, n)};
        char name[8];
        snprintf(name, sizeof(name), "t%d", n % TOPICS);
        topic_state topic = {str_of(name), id_of((uint8_t)(n % TOPICS)), states, 2};
        update(&topic, 1);
    }
    atomic_store(&done, true);
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
    }
    end();
}

/* ---- who waits for it ---- */

struct waiting {
    struct waiter waiter;
    struct metadata_wait wait;
    int woken;
};

static bool never(struct metadata_wait *wait, const struct metadata *metadata)
{
    (void)wait;
    (void)metadata;
    return false;
}

static void on_wake(struct waiter *waiter)
{
    container_of(waiter, struct waiting, waiter)->woken++;
}

static void wait_for_ever(struct metadata_waits *waits, struct waiting *w)
{
    *w = (struct waiting){.waiter.wake = on_wake,
                          .wait = {.waiter = &w->waiter, .satisfied = never}};
    metadata_wait_add(waits, &w->wait);
}

/* At the stop all are woken, and so is who comes later: what waits would not be finished. */
static void test_waits_end(void)
{
    begin();
    struct metadata_waits *waits = metadata_waits_new(cache);
    struct waiting before;
    struct waiting after;
    wait_for_ever(waits, &before);
    metadata_waits_check(waits);
    CU_ASSERT_EQUAL(before.woken, 0);
    metadata_waits_stop(waits);
    CU_ASSERT_EQUAL(before.woken, 1);
    wait_for_ever(waits, &after);
    CU_ASSERT_EQUAL(after.woken, 1);
    metadata_wait_remove(waits, &before.wait);
    metadata_wait_remove(waits, &after.wait);
    metadata_waits_free(waits);
    end();
}

SUITE("metadata", TEST(test_brokers), TEST(test_topics), TEST(test_removal), TEST(test_ids),
      TEST(test_readers), TEST(test_waits_end))
