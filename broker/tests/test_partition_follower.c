/* The log of a follower: what it takes of its leader, how it is cut, and what is written first. Broker 2
 * follows broker 1. */
#include "broker/tests/partition_util.h"

#include "protocol/error.h"

enum { LEADER = 1, ME = 2 };

static struct {
    struct place place;
    struct loop *flush;
    struct partition_env env;
    struct kept kept;
    struct partition *p;
    struct follower_position at; /* as it was told last */
    int writes_n;                /* of recovery points */
    int64_t written;             /* the one that was written last */
    int64_t end_then;            /* of the log, when it was */
    err write_error;
} t;

static err on_write(void *context, struct topic_partition name)
{
    CU_ASSERT_PTR_EQUAL(context, &t);
    CU_ASSERT(str_equal(name.topic, STR("t")) && name.partition == 0);
    t.writes_n++;
    t.written = plog_recovery_point(t.kept.log);
    t.end_then = plog_end_offset(t.kept.log);
    return t.write_error;
}

static void become(int32_t leader, int32_t leader_epoch)
{
    static const int32_t ALL[] = {LEADER, ME};
    kept_become(&t.kept, leader, leader_epoch, ALL, 2);
}

static void begin_with_id(struct uuid id)
{
    memset(&t, 0, sizeof(t));
    place_make(&t.place);
    MUST(loop_new(&t.place.clock.clock, sockets_system(), &t.flush));
    t.env = (struct partition_env){.broker_id = ME,
                                   .clock = &t.place.clock.clock,
                                   .flush = t.flush,
                                   .write_recovery_points = on_write,
                                   .write_context = &t};
    kept_open(&t.kept, &t.place, &t.env, (struct topic_partition){STR("t"), 0}, id);
    t.p = t.kept.p;
}

static void begin(void)
{
    begin_with_id((struct uuid){{9}});
}

static void end(void)
{
    loop_drain(t.flush);
    kept_close(&t.kept);
    loop_free(t.flush);
    place_remove(&t.place);
}

/* ---- what its leader sends ---- */

/* The answer to a fetch from the log's end: batches of `count` records, of these epochs, from `offset`. */
static err take(int32_t leader_epoch, int64_t offset, const int32_t *epochs, int batches, int count,
                int64_t high_watermark)
{
    struct writer w;
    writer_init(&w, 1 << 20);
    for (int i = 0; i < batches; i++) {
        put_batch(&w, offset + (int64_t)i * count, epochs[i], count);
    }
    const struct fetched fetched = {
        .offset = offset, .batches = w.data, .len = w.len, .high_watermark = high_watermark};
    err e = partition_append_as_follower(t.p, leader_epoch, &fetched, &t.at);
    writer_deinit(&w);
    return e;
}

/* One batch of `count` records, written in the epoch that it follows. */
static void hold(int32_t epoch, int count, int64_t high_watermark)
{
    become(LEADER, epoch);
    MUST(take(epoch, plog_end_offset(t.kept.log), &epoch, 1, count, high_watermark));
}

static err reconcile(int32_t leader_epoch, int32_t epoch, int64_t end_offset)
{
    const struct divergence told = {.epoch = epoch, .end_offset = end_offset};
    return partition_reconcile(t.p, leader_epoch, &told, &t.at);
}

static bool at(int64_t offset, int32_t last_epoch)
{
    return t.at.offset == offset && t.at.last_epoch == last_epoch &&
           plog_end_offset(t.kept.log) == offset;
}

static int64_t high_watermark(void)
{
    return partition_high_watermark(t.p);
}

/* ---- beginning ---- */

static void test_begins_at_its_end(void)
{
    begin();
    hold(1, 3, 1);
    become(LEADER, 4);
    MUST(partition_begin_to_follow(t.p, 4, &t.at));
    CU_ASSERT(at(3, 1));
    CU_ASSERT_EQUAL(partition_begin_to_follow(t.p, 3, &t.at), ERR_FENCED_LEADER_EPOCH);
    CU_ASSERT_EQUAL(partition_begin_to_follow(t.p, 5, &t.at), ERR_UNKNOWN_LEADER_EPOCH);
    become(ME, 6);
    CU_ASSERT_EQUAL(partition_begin_to_follow(t.p, 6, &t.at), ERR_NOT_LEADER_OR_FOLLOWER);
    CU_ASSERT_EQUAL(t.writes_n, 0);
    end();
}

/* Without epochs nobody can tell where the logs part: what is not committed goes. */
static void test_without_epochs(void)
{
    int32_t none = -1;
    begin();
    become(LEADER, 1);
    MUST(take(1, 0, &none, 1, 2, 2));
    MUST(take(1, 2, &none, 1, 3, 2));
    MUST(partition_begin_to_follow(t.p, 1, &t.at));
    CU_ASSERT(at(2, -1));
    end();
}

/* ---- appending ---- */

static void test_several_epochs(void)
{
    const int32_t epochs[] = {1, 1, 3, 4};
    begin();
    become(LEADER, 4);
    MUST(take(4, 0, epochs, 4, 2, 0));
    CU_ASSERT(at(8, 4));
    MUST(reconcile(4, 3, 5));
    CU_ASSERT(at(5, 3));
    MUST(reconcile(4, 2, 5)); /* 2 was before 3, which is not the leader's */
    CU_ASSERT(at(4, 1));
    end();
}

/* What the next leader of its own epoch wrote is not of this one's. */
static void test_later_epoch(void)
{
    const int32_t epochs[] = {1, 4, 5};
    begin();
    become(LEADER, 4);
    MUST(take(4, 0, epochs, 3, 2, 6));
    CU_ASSERT(at(4, 4));
    CU_ASSERT_EQUAL(take(4, 4, epochs + 2, 1, 2, 6), ERR_CORRUPT_MESSAGE);
    CU_ASSERT_EQUAL(plog_end_offset(t.kept.log), 4);
    end();
}

/* One answer may be larger than a segment; no segment is. */
static void test_larger_than_a_segment(void)
{
    const int32_t epochs[50] = {0};
    struct log_config config = small_config();
    begin();
    partition_set_config(t.p, &config);
    become(LEADER, 1);
    MUST(take(1, 0, epochs, 50, 2, 100));
    CU_ASSERT(at(100, 0));
    CU_ASSERT_EQUAL(check_every_offset(t.kept.log), 50);
    CU_ASSERT(exists(&t.place, "t-0/00000000000000000000.log"));
    size_t len = 0;
    uint8_t *first = slurp(&t.place, "t-0/00000000000000000000.log", &len);
    CU_ASSERT(len > 0 && len <= (size_t)config.segment_bytes);
    free(first);
    end();
}

static void test_end_has_moved(void)
{
    const int32_t epoch = 1;
    begin();
    hold(1, 3, 0);
    CU_ASSERT_EQUAL(take(1, 2, &epoch, 1, 1, 0), E_VERSION);
    CU_ASSERT_EQUAL(take(1, 4, &epoch, 1, 1, 0), E_VERSION);
    CU_ASSERT_EQUAL(plog_end_offset(t.kept.log), 3);
    end();
}

/* Committed once is committed: a new leader knows less at first. */
static void test_high_watermark_stays(void)
{
    const struct fetched nothing = {.offset = 3, .high_watermark = 1};
    begin();
    hold(1, 3, 3);
    CU_ASSERT_EQUAL(high_watermark(), 3);
    become(LEADER, 2);
    MUST(partition_append_as_follower(t.p, 2, &nothing, &t.at));
    CU_ASSERT_EQUAL(high_watermark(), 3);
    end();
}

/* ---- cutting ---- */

static void test_cut(void)
{
    begin();
    hold(1, 4, 2);
    hold(3, 4, 2);
    become(LEADER, 5);
    MUST(reconcile(5, 3, 6));
    CU_ASSERT(at(6, 3));
    MUST(reconcile(5, 2, 4)); /* epoch 2 is unknown here */
    CU_ASSERT(at(4, 1));
    CU_ASSERT_EQUAL(high_watermark(), 2);
    MUST(reconcile(5, 1, 1));
    CU_ASSERT(at(1, 1));
    CU_ASSERT_EQUAL(high_watermark(), 1);
    MUST(reconcile(5, 0, 0)); /* it has nothing of ours */
    CU_ASSERT(at(0, -1));
    end();
}

/* An epoch in which this broker led, and wrote nothing: it goes, though no record does. */
static void test_empty_epoch_at_the_end(void)
{
    begin();
    hold(1, 4, 4);
    become(ME, 3);
    become(LEADER, 4);
    MUST(partition_begin_to_follow(t.p, 4, &t.at));
    CU_ASSERT(at(4, 3));
    MUST(reconcile(4, 1, 4)); /* just as long */
    CU_ASSERT(at(4, 1));
    become(ME, 5);
    become(LEADER, 6);
    MUST(partition_begin_to_follow(t.p, 6, &t.at));
    CU_ASSERT(at(4, 5));
    MUST(reconcile(6, 4, 100)); /* longer, and of epochs that never came here */
    CU_ASSERT(at(4, 1));
    CU_ASSERT_EQUAL(high_watermark(), 4);
    end();
}

/* Nothing is cut by what makes no sense. */
static void test_no_divergence(void)
{
    begin();
    hold(1, 4, 2);
    hold(3, 4, 2);
    become(LEADER, 5);
    const struct divergence told[] = {{3, 8},  {3, 100}, {3, INT64_MAX}, {-1, 2},
                                      {3, -1}, {4, 2},   {INT32_MAX, 2}, {INT32_MIN, INT64_MIN}};
    for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
        CU_ASSERT_EQUAL(reconcile(5, told[i].epoch, told[i].end_offset), E_MALFORMED);
        CU_ASSERT_EQUAL(plog_end_offset(t.kept.log), 8);
    }
    CU_ASSERT_EQUAL(reconcile(4, 1, 1), ERR_FENCED_LEADER_EPOCH);
    CU_ASSERT_EQUAL(plog_end_offset(t.kept.log), 8);
    end();
}

/* Never below where the log begins. */
static void test_cut_at_the_start(void)
{
    const struct fetched start = {.offset = 8, .high_watermark = 8, .log_start_offset = 6};
    begin();
    hold(1, 4, 8);
    hold(3, 4, 8);
    MUST(partition_append_as_follower(t.p, 3, &start, &t.at));
    CU_ASSERT_EQUAL(t.at.log_start_offset, 6);
    MUST(reconcile(3, 1, 2));
    CU_ASSERT_EQUAL(plog_end_offset(t.kept.log), 6);
    CU_ASSERT_EQUAL(high_watermark(), 6);
    MUST(partition_truncate(t.p, 3, 3, &t.at)); /* but a cut below it is a log begun anew */
    CU_ASSERT_EQUAL(plog_start_offset(t.kept.log), 3);
    CU_ASSERT(at(3, -1));
    CU_ASSERT_EQUAL(high_watermark(), 3);
    end();
}

static void test_anew(void)
{
    begin();
    hold(1, 4, 2);
    CU_ASSERT_EQUAL(partition_begin_anew(t.p, 2, 50, &t.at), ERR_UNKNOWN_LEADER_EPOCH);
    MUST(partition_begin_anew(t.p, 1, 50, &t.at));
    CU_ASSERT(at(50, -1));
    CU_ASSERT(plog_start_offset(t.kept.log) == 50 && high_watermark() == 50);
    hold(2, 1, 51);
    CU_ASSERT(at(51, 2));
    end();
}

/* What a checkpoint promises is taken back before the cut. */
static void test_recovery_points_first(void)
{
    begin();
    hold(1, 4, 0);
    MUST(plog_flush(t.kept.log));
    hold(2, 4, 0);
    MUST(reconcile(2, 2, 6)); /* that was not promised */
    CU_ASSERT_EQUAL(t.writes_n, 0);
    MUST(reconcile(2, 1, 2));
    CU_ASSERT_EQUAL(t.writes_n, 1);
    CU_ASSERT_EQUAL(t.written, 2);
    CU_ASSERT_EQUAL(t.end_then, 6); /* before the cut: power may go in the middle of it */
    MUST(partition_truncate(t.p, 2, 1, &t.at));
    CU_ASSERT_EQUAL(t.writes_n, 2);
    CU_ASSERT_EQUAL(t.written, 1);
    CU_ASSERT_EQUAL(t.end_then, 2);
    t.write_error = err_from_errno(EIO);
    CU_ASSERT_EQUAL(partition_truncate(t.p, 2, 0, &t.at), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT(plog_is_offline(t.kept.log)); /* nothing is cut, nothing comes in its place */
    CU_ASSERT_EQUAL(plog_end_offset(t.kept.log), 1);
    end();
}

/* There is no room for the recovery point: nothing is cut or appended until there is, and the log stays online. */
static void test_no_room_for_recovery_points(void)
{
    begin();
    hold(1, 4, 3);
    MUST(plog_flush(t.kept.log));
    t.write_error = err_from_errno(ENOSPC);
    for (int i = 1; i <= 3; i++) {
        CU_ASSERT_EQUAL(partition_truncate(t.p, 1, 2, &t.at), E_BUSY);
        CU_ASSERT_EQUAL(t.writes_n, i); /* though it has gone back already */
        CU_ASSERT_EQUAL(plog_end_offset(t.kept.log), 4);
        CU_ASSERT_EQUAL(high_watermark(), 3);
    }
    CU_ASSERT_EQUAL(partition_begin_to_follow(t.p, 1, &t.at), E_BUSY);
    CU_ASSERT_EQUAL(take(1, 4, (int32_t[]){1}, 1, 1, 3), E_BUSY);
    CU_ASSERT_FALSE(plog_is_offline(t.kept.log));
    t.write_error = OK;
    MUST(partition_begin_to_follow(t.p, 1, &t.at));
    CU_ASSERT(at(4, 1));
    MUST(partition_truncate(t.p, 1, 2, &t.at));
    CU_ASSERT(at(2, 1));
    MUST(take(1, 2, (int32_t[]){1}, 1, 1, 3));
    end();
}

/* ---- the topic's id ---- */

/* A partition whose log came from before there were ids gets one, for good. */
static void test_topic_id_later(void)
{
    const struct uuid id = {{1}};
    begin_with_id((struct uuid){{0}});
    MUST(partition_take_topic_id(t.p, (struct uuid){{0}}));
    CU_ASSERT(uuid_is_zero(partition_topic_id(t.p)));
    CU_ASSERT(!exists(&t.place, "t-0/partition.metadata"));
    MUST(partition_take_topic_id(t.p, id));
    CU_ASSERT(uuid_equal(partition_topic_id(t.p), id));
    CU_ASSERT(exists(&t.place, "t-0/partition.metadata"));
    MUST(partition_take_topic_id(t.p, id));
    MUST(partition_take_topic_id(t.p, (struct uuid){{0}}));
    CU_ASSERT_EQUAL(partition_take_topic_id(t.p, (struct uuid){{2}}), ERR_INCONSISTENT_TOPIC_ID);
    CU_ASSERT(uuid_equal(partition_topic_id(t.p), id));
    end();
}

/* ---- who reads here ---- */

static int woken;

static void on_wake(struct waiter *waiter)
{
    (void)waiter;
    woken++;
}

/* Records come, and in a later answer that all have them. */
static void test_readers_hear_of_the_high_watermark(void)
{
    begin();
    hold(1, 3, 0);
    _Atomic int64_t wanted = 1;
    struct waiter waiter = {.wake = on_wake};
    struct watch watch = {
        .waiter = &waiter, .offset = -1, .seen = partition_seen(t.p), .wanted_bytes = &wanted};
    woken = 0;
    watch_add(&watch, t.p);
    MUST(take(1, 3, NULL, 0, 0, 0));
    CU_ASSERT_EQUAL(woken, 0);
    MUST(take(1, 3, NULL, 0, 0, 3));
    CU_ASSERT_EQUAL(woken, 1);
    watch_remove(&watch);
    end();
}

/* What has no room is as if it had not come, its epoch too, and can come again. */
static void test_disk_is_full(void)
{
    int32_t epoch = 3;
    begin();
    hold(1, 3, 1);
    become(LEADER, epoch);
    t.place.fault.limited = true;
    CU_ASSERT_EQUAL(take(epoch, 3, &epoch, 1, 2, 5), E_BUSY);
    CU_ASSERT_FALSE(plog_is_offline(t.kept.log));
    CU_ASSERT_EQUAL(high_watermark(), 1);
    MUST(partition_begin_to_follow(t.p, epoch, &t.at));
    CU_ASSERT(at(3, 1));
    t.place.fault.limited = false;
    MUST(take(epoch, 3, &epoch, 1, 2, 5));
    CU_ASSERT(at(5, 3));
    CU_ASSERT_EQUAL(high_watermark(), 5);
    end();
}

SUITE("partition_follower", TEST(test_readers_hear_of_the_high_watermark),
      TEST(test_begins_at_its_end), TEST(test_without_epochs), TEST(test_several_epochs),
      TEST(test_later_epoch), TEST(test_larger_than_a_segment), TEST(test_end_has_moved),
      TEST(test_high_watermark_stays), TEST(test_cut), TEST(test_empty_epoch_at_the_end),
      TEST(test_no_divergence), TEST(test_cut_at_the_start), TEST(test_anew),
      TEST(test_recovery_points_first), TEST(test_no_room_for_recovery_points),
      TEST(test_topic_id_later), TEST(test_disk_is_full))
