/* A fetcher and a leader that behaves: sessions, positions, hurry, pauses, and what becomes of a log that
 * is not the leader's. What leaders may do wrong: test_fetcher_wrong.c. */
#include "broker/tests/fetcher_util.h"

#include "broker/replica/fetchers.h"

enum { BYTES_PER_SECOND = 50 };

/* Both are in the first request. */
static void follow_two(void)
{
    t.known = false;
    follow(0);
    follow(1);
    t.known = true;
    pass(PAUSE_MAX_MS);
}

/* The first is followed, and its leader holds the next fetch back. */
static void begin_held(void)
{
    begin();
    follow(0);
    get_fetch("0/0 a-0@0/-1");
    answer_nothing();
    get_fetch("77/1");
}

/* ---- sessions ---- */

static void test_first_fetch(void)
{
    begin();
    CU_ASSERT(played_silence(&t.leader));
    follow(0);
    get_fetch("0/0 a-0@0/-1");
    CU_ASSERT_EQUAL(t.leader.asked.version, 17);
    CU_ASSERT(str_is(t.leader.client_id, "broker-2-fetcher-3"));
    CU_ASSERT(t.asked->replica_state.replica_id == ME &&
              t.asked->replica_state.replica_epoch == 99);
    CU_ASSERT(t.asked->max_wait_ms == WAIT_MS && t.asked->min_bytes == 1);
    CU_ASSERT(t.asked->max_bytes == 10 << 20 && t.asked->isolation_level == 0);
    CU_ASSERT(t.asked->rack_id.len == 0 && t.asked->cluster_id.data == NULL);
    const struct fetch_request_partition *p = &t.asked->topics[0].partitions[0];
    CU_ASSERT(p->current_leader_epoch == EPOCH && p->log_start_offset == 0);
    end();
}

/* Only what has changed is named, in a session that goes on. */
static void test_incremental(void)
{
    begin();
    follow_two();
    follow(2);
    get_fetch("0/0 a-0@0/-1 b-0@0/-1");
    answer_nothing();
    get_fetch("77/1 a-1@0/-1");
    answer_records(1, 0, 3);
    get_fetch("77/2 b-0@3/5");
    CU_ASSERT_EQUAL(end_of(1), 3);
    CU_ASSERT_EQUAL(partition_high_watermark(t.kept[1].p), 3);
    answer_nothing();
    get_fetch("77/3");
    fetcher_unfollow(t.fetcher, t.kept[0].p);
    answer_nothing();
    get_fetch("77/4 -a-0");
    answer_records(2, 0, 1);
    get_fetch("77/5 a-1@1/5");
    end();
}

/* The leader has no room for sessions: all of it each time. */
static void test_no_session(void)
{
    begin();
    follow(0);
    get_fetch("0/0 a-0@0/-1");
    answer_all(0, NULL, 0);
    get_fetch("0/0 a-0@0/-1");
    struct said said = {.index = 0, .high_watermark = 2};
    writer_init(&said.records, 1 << 20);
    put_batch(&said.records, 0, EPOCH, 2);
    answer_all(0, &said, 1);
    writer_deinit(&said.records);
    get_fetch("0/0 a-0@2/5");
    end();
}

/* It leaves the session, and comes back before that was told: once is enough. */
static void test_forgotten_and_back(void)
{
    begin();
    follow_two();
    get_fetch("0/0 a-0@0/-1 b-0@0/-1");
    answer_nothing();
    get_fetch("77/1");
    become(0, LEADER, EPOCH + 1);
    fetcher_follow(t.fetcher, t.kept[0].p, EPOCH + 1);
    answer_nothing();
    get_fetch("77/2 a-0@0/-1");
    CU_ASSERT_EQUAL(t.asked->topics[0].partitions[0].current_leader_epoch, EPOCH + 1);
    end();
}

/* Its topic was made again: the leader must forget the old one, and hear of the new one. */
static void test_topic_made_again(void)
{
    begin();
    follow_two();
    get_fetch("0/0 a-0@0/-1 b-0@0/-1");
    answer_nothing();
    get_fetch("77/1");
    fetcher_unfollow(t.fetcher, t.kept[0].p);
    kept_close(&t.kept[0]);
    run("rm -r '%s/a-0'%s", t.place.dir, "");
    kept_open(&t.kept[0], &t.place, &t.partitions, NAMES[0], (struct uuid){{'z'}});
    follow(0);
    answer_nothing();
    get_fetch("77/2 z-0@0/-1 -a-0");
    end();
}

/* Sessions are by topic ids, or by names while one topic has none. */
static void test_without_ids(void)
{
    begin_with(false);
    follow(0);
    get_fetch("0/0 a-0@0/-1");
    CU_ASSERT_EQUAL(t.leader.asked.version, 12);
    CU_ASSERT(t.asked->replica_id == ME && t.asked->replica_state.replica_id == -1);
    answer_records(0, 0, 2);
    get_fetch("77/1 a-0@2/5");
    CU_ASSERT_EQUAL(end_of(0), 2);
    fetcher_unfollow(t.fetcher, t.kept[0].p);
    MUST(partition_take_topic_id(t.kept[0].p, id_of(NAMES[0].topic)));
    CU_ASSERT(played_is_left(&t.leader));
    fetcher_follow(t.fetcher, t.kept[0].p, EPOCH);
    get_fetch("77/0 a-0@2/5");
    CU_ASSERT_EQUAL(t.leader.asked.version, 17);
    end();
}

/* Who is in the ISR is not made to wait for what another lacks; see Sharing in fetcher.c. */
static void test_shared(void)
{
    begin();
    follow_two();
    get_fetch("0/0 a-0@0/-1 b-0@0/-1");
    struct said both[] = {{.index = 0, .high_watermark = 1}, {.index = 1, .high_watermark = 9}};
    writer_init(&both[0].records, 1 << 20);
    writer_init(&both[1].records, 1 << 20);
    put_batch(&both[0].records, 0, EPOCH, 1);
    put_batch(&both[1].records, 0, EPOCH, 3);
    answer_all(SESSION, both, 2);
    get_fetch("77/1 a-0@1/5 b-0@3/5");
    CU_ASSERT_EQUAL(t.asked->max_bytes, (256 << 10) + 2 * (int32_t)both[0].records.len);
    pass(99);
    answer_nothing();
    get_fetch("77/2");
    CU_ASSERT(t.asked->max_bytes < 1 << 20);
    pass(1);
    answer_nothing();
    get_fetch("77/3");
    CU_ASSERT_EQUAL(t.asked->max_bytes, 10 << 20);
    answer_records(0, 1, 1);
    get_fetch("77/4 a-0@2/5");
    CU_ASSERT_EQUAL(t.asked->max_bytes, 10 << 20); /* nobody is behind any more */
    writer_deinit(&both[0].records);
    writer_deinit(&both[1].records);
    end();
}

static void test_last_is_gone(void)
{
    begin_held();
    fetcher_unfollow(t.fetcher, t.kept[0].p);
    CU_ASSERT(played_is_left(&t.leader));
    CU_ASSERT(played_silence(&t.leader));
    CU_ASSERT_EQUAL(loop_next_due_ms(t.loop), INT64_MAX);
    fetcher_follow(t.fetcher, t.kept[0].p, EPOCH);
    get_fetch("77/0 a-0@0/-1");
    end();
}

/* What was waited for goes with it: the others are fetched. */
static void test_gone_while_it_is_flushed(void)
{
    struct loop *flush = NULL;
    struct log_config config = log_config_default();
    begin();
    MUST(loop_new(&t.place.clock.clock, sockets_system(), &flush));
    t.partitions.flush = flush;
    config.flush_messages = 1;
    partition_set_config(t.kept[0].p, &config);
    follow_two();
    get_fetch("0/0 a-0@0/-1 b-0@0/-1");
    answer_records(0, 0, 1);
    CU_ASSERT_EQUAL(end_of(0), 1);
    CU_ASSERT(played_silence(&t.leader));
    fetcher_unfollow(t.fetcher, t.kept[0].p);
    get_fetch("77/1 -a-0");
    CU_ASSERT(loop_turn(flush));
    end();
    loop_free(flush);
}

/* An answer about one that is followed no more, or that has begun anew, changes nothing. */
static void test_late_answers(void)
{
    begin();
    follow_two();
    get_fetch("0/0 a-0@0/-1 b-0@0/-1");
    fetcher_unfollow(t.fetcher, t.kept[0].p);
    answer_records(0, 0, 1);
    CU_ASSERT_EQUAL(end_of(0), 0);
    get_fetch("77/1 -a-0");
    become(1, LEADER, EPOCH + 1); /* what is posted to the fetcher is on its way */
    answer_records(1, 0, 1);
    CU_ASSERT_EQUAL(end_of(1), 0);
    CU_ASSERT(played_silence(&t.leader));
    fetcher_follow(t.fetcher, t.kept[1].p, EPOCH + 1);
    CU_ASSERT(played_is_left(&t.leader)); /* nobody else is followed, so it begins from the front */
    get_fetch("77/0 b-0@0/-1");
    end();
}

/* ---- hurry and pauses ---- */

static void test_hurry(void)
{
    begin_held();
    follow(1);
    pass(HURRY_MS - 1);
    CU_ASSERT(played_silence(&t.leader));
    pass(1);
    CU_ASSERT(played_is_left(&t.leader));
    get_fetch("77/0 a-0@0/-1 b-0@0/-1"); /* on another connection, at once */
    end();
}

/* Others come one by one: what is asked anew has its time. */
static void test_no_hurry_again(void)
{
    begin_held();
    follow(1);
    pass(HURRY_MS);
    CU_ASSERT(played_is_left(&t.leader));
    get_fetch("77/0 a-0@0/-1 b-0@0/-1");
    follow(2);
    pass(HURRY_MS);
    CU_ASSERT(played_silence(&t.leader));
    answer_nothing();
    get_fetch("77/1 a-1@0/-1");
    end();
}

/* What has begun to come is taken. */
static void test_no_hurry_while_it_comes(void)
{
    begin_held();
    static const uint8_t HEAD[] = {0, 1, 0, 0, 0, 0};
    played_send(&t.leader, HEAD, sizeof(HEAD));
    follow(1);
    pass(HURRY_MS);
    CU_ASSERT(played_silence(&t.leader));
    CU_ASSERT_FALSE(played_is_left(&t.leader));
    end();
}

/* The answer comes in time: the session goes on. */
static void test_no_need_to_hurry(void)
{
    begin_held();
    follow(1);
    pass(HURRY_MS - 1);
    answer_nothing();
    get_fetch("77/2 b-0@0/-1");
    pass(100 * HURRY_MS);
    CU_ASSERT(played_silence(&t.leader));
    end();
}

/* While the leader cannot be reached nothing is lost. */
static void test_comes_while_out_of_reach(void)
{
    begin();
    t.known = false;
    follow(0);
    follow(1);
    pass(HURRY_MS);
    t.known = true;
    pass(PAUSE_MAX_MS);
    get_fetch("0/0 a-0@0/-1 b-0@0/-1");
    end();
}

static void test_pauses_double(void)
{
    begin();
    follow(0);
    get_fetch("0/0 a-0@0/-1");
    int64_t pause_ms = 10;
    for (int i = 0; i < 9; i++) {
        answer_one((struct said){.error = ERR_UNKNOWN_LEADER_EPOCH});
        CU_ASSERT(pauses(pause_ms));
        char expected[64];
        snprintf(expected, sizeof(expected), "77/%d a-0@0/-1", i + 1);
        get_fetch(expected);
        pause_ms = pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause_ms * 2;
    }
    CU_ASSERT_EQUAL(pause_ms, PAUSE_MAX_MS);
    answer_records(0, 0, 1); /* a success begins from the front */
    get_fetch("77/10 a-0@1/5");
    answer_one((struct said){.error = ERR_UNKNOWN_LEADER_EPOCH});
    CU_ASSERT(pauses(10));
    end();
}

/* The others are fetched on; the leader is not to wait longer than the pause. */
static void test_one_pauses(void)
{
    begin();
    follow_two();
    get_fetch("0/0 a-0@0/-1 b-0@0/-1");
    answer_one((struct said){.index = 1, .error = ERR_NOT_LEADER_OR_FOLLOWER});
    get_fetch("77/1 -b-0");
    CU_ASSERT_EQUAL(t.asked->max_wait_ms, 10);
    pass(10);
    CU_ASSERT(played_silence(&t.leader));
    answer_nothing();
    get_fetch("77/2 b-0@0/-1");
    CU_ASSERT_EQUAL(t.asked->max_wait_ms, WAIT_MS);
    end();
}

/* What has no room is asked for again. */
static void test_disk_is_full(void)
{
    begin();
    follow(0);
    get_fetch("0/0 a-0@0/-1");
    t.place.fault.limited = true;
    answer_records(0, 0, 3);
    CU_ASSERT(pauses(10));
    get_fetch("77/1 a-0@0/-1");
    CU_ASSERT_EQUAL(end_of(0), 0);
    t.place.fault.limited = false;
    answer_records(0, 0, 3);
    get_fetch("77/2 a-0@3/5");
    CU_ASSERT_EQUAL(end_of(0), 3);
    end();
}

/* ---- reconciliation ---- */

static void test_divergence(void)
{
    begin();
    hold(0, 4, 1);
    hold(0, 4, 3);
    follow(0);
    get_fetch("0/0 a-0@8/3");
    answer_one((struct said){.high_watermark = 6, .diverging_epoch = 2, .diverging_end = 6});
    get_fetch("77/1 a-0@4/1"); /* epoch 2 is unknown here: all of 3 goes */
    CU_ASSERT_EQUAL(end_of(0), 4);
    answer_one((struct said){.high_watermark = 6, .diverging_epoch = 1, .diverging_end = 3});
    get_fetch("77/2 a-0@3/1");
    answer_records(0, 3, 2);
    get_fetch("77/3 a-0@5/5");
    end();
}

/* A leader that lost what was committed here, after an unclean election. */
static void test_cut_below_the_high_watermark(void)
{
    begin();
    follow(0);
    get_fetch("0/0 a-0@0/-1");
    answer_records(0, 0, 5);
    get_fetch("77/1 a-0@5/5");
    CU_ASSERT_EQUAL(partition_high_watermark(t.kept[0].p), 5);
    answer_one((struct said){.high_watermark = 2, .diverging_epoch = 5, .diverging_end = 2});
    get_fetch("77/2 a-0@2/5");
    CU_ASSERT_EQUAL(end_of(0), 2);
    CU_ASSERT_EQUAL(partition_high_watermark(t.kept[0].p), 2);
    end();
}

static void test_leader_is_shorter(void)
{
    begin();
    hold(0, 4, 1);
    hold(0, 4, 3);
    follow(0);
    get_fetch("0/0 a-0@8/3");
    answer_one((struct said){.error = ERR_OFFSET_OUT_OF_RANGE});
    get_list_offsets(LATEST);
    answer_offset(OK, 4);
    get_fetch("77/1 a-0@4/1");
    CU_ASSERT_EQUAL(end_of(0), 4);
    end();
}

static void test_leader_begins_later(void)
{
    begin();
    hold(0, 4, 1);
    follow(0);
    get_fetch("0/0 a-0@4/1");
    answer_one((struct said){.error = ERR_OFFSET_OUT_OF_RANGE});
    get_list_offsets(LATEST);
    answer_offset(OK, 100);
    get_list_offsets(EARLIEST);
    answer_offset(OK, 50);
    get_fetch("77/1 a-0@50/-1");
    CU_ASSERT_EQUAL(plog_start_offset(t.kept[0].log), 50);
    CU_ASSERT_EQUAL(partition_high_watermark(t.kept[0].p), 50);
    answer_records(0, 50, 1);
    get_fetch("77/2 a-0@51/5");
    end();
}

/* By now both have the offset in common; but a leader that says so again and again is not asked as fast
 * as it answers. */
static void test_common_offset_after_all(void)
{
    begin();
    hold(0, 4, 1);
    follow(0);
    get_fetch("0/0 a-0@4/1");
    for (int i = 0; i < 3; i++) {
        answer_one((struct said){.error = ERR_OFFSET_OUT_OF_RANGE});
        get_list_offsets(LATEST);
        answer_offset(OK, 4);
        get_list_offsets(EARLIEST);
        answer_offset(OK, 4);
        CU_ASSERT(pauses(10 << i));
        char expected[64];
        snprintf(expected, sizeof(expected), "77/%d a-0@4/1", i + 1);
        get_fetch(expected);
    }
    CU_ASSERT_EQUAL(end_of(0), 4);
    end();
}

/* Who is asked for offsets may be gone, or say nothing useful. */
static void test_offsets_are_not_told(void)
{
    begin();
    hold(0, 4, 1);
    follow(0);
    get_fetch("0/0 a-0@4/1");
    answer_one((struct said){.error = ERR_OFFSET_OUT_OF_RANGE});
    get_list_offsets(LATEST);
    answer_offset(ERR_NOT_LEADER_OR_FOLLOWER, -1);
    CU_ASSERT(pauses(10));
    get_fetch("77/1 a-0@4/1");
    answer_one((struct said){.error = ERR_OFFSET_OUT_OF_RANGE});
    get_list_offsets(LATEST);
    answer_offset(OK, -7);
    CU_ASSERT(pauses(20));
    get_fetch("77/2 a-0@4/1");
    answer_one((struct said){.error = ERR_OFFSET_OUT_OF_RANGE});
    get_list_offsets(LATEST);
    played_reset(&t.leader);
    settle();
    pass(10);
    get_list_offsets(LATEST); /* it still needs to know */
    fetcher_unfollow(t.fetcher, t.kept[0].p);
    CU_ASSERT(played_is_left(&t.leader));
    CU_ASSERT_EQUAL(end_of(0), 4);
    end();
}

/* The leader's log start comes here, as far as everything below it is committed. */
static void test_log_start(void)
{
    begin();
    follow(0);
    get_fetch("0/0 a-0@0/-1");
    answer_records(0, 0, 2);
    get_fetch("77/1 a-0@2/5");
    answer_records(0, 2, 2);
    get_fetch("77/2 a-0@4/5");
    answer_one((struct said){.high_watermark = 4, .log_start_offset = 2});
    CU_ASSERT_EQUAL(plog_start_offset(t.kept[0].log), 2);
    get_fetch("77/3 a-0@4/5");
    CU_ASSERT_EQUAL(t.asked->topics[0].partitions[0].log_start_offset, 2);
    end();
}

static void begin_throttled(struct throttle *throttle)
{
    begin();
    throttle_init(throttle, &t.place.clock.clock);
    throttle_set_limit(throttle, BYTES_PER_SECOND);
    t.env.throttle = throttle;
}

/* Only who is behind, and throttled, is left out, until less has come on average. */
static void test_throttled(void)
{
    struct throttle throttle;
    begin_throttled(&throttle);
    partition_set_throttled(t.kept[0].p, (struct replica_throttled){.as_follower = true});
    partition_set_throttled(t.kept[1].p, (struct replica_throttled){.as_leader = true});
    follow(0);
    get_fetch("0/0 a-0@0/-1");
    follow(1);
    struct said said = {.index = 0, .high_watermark = 9};
    writer_init(&said.records, 1 << 20);
    put_batch(&said.records, 0, EPOCH, 2);
    int64_t bytes = (int64_t)said.records.len;
    CU_ASSERT_FATAL(bytes > BYTES_PER_SECOND && bytes < 10 * BYTES_PER_SECOND);
    answer_one(said);
    get_fetch("77/1 b-0@0/-1 -a-0");
    pass(bytes * 1000 / BYTES_PER_SECOND + 2);
    answer_nothing();
    get_fetch("77/2 a-0@2/5");
    said.high_watermark = 4;
    writer_clear(&said.records);
    put_batch(&said.records, 2, EPOCH, 2);
    answer_one(said);
    get_fetch("77/3 a-0@4/5"); /* it is in sync */
    writer_deinit(&said.records);
    end();
    throttle_deinit(&throttle);
}

/* Where not all get something, who got some is the last to get more. */
static void test_turns_when_throttled(void)
{
    struct throttle throttle;
    begin_throttled(&throttle);
    for (int i = 0; i < 3; i += 2) {
        partition_set_throttled(t.kept[i].p, (struct replica_throttled){.as_follower = true});
    }
    follow(0);
    get_fetch("0/0 a-0@0/-1");
    follow(2);
    struct said said = {.index = 0, .high_watermark = 9};
    writer_init(&said.records, 1 << 20);
    put_batch(&said.records, 0, EPOCH, 2);
    answer_one(said);
    CU_ASSERT(played_silence(&t.leader));
    pass(1000);
    pass(1000);
    pass(1000);
    get_fetch("77/1 a-1@0/-1 a-0@2/5");
    writer_deinit(&said.records);
    end();
    throttle_deinit(&throttle);
}

/* Who shuts down goes on with what it fetches, and begins with nothing: a new leader would have it in
 * sync again. */
static void test_leaves(void)
{
    begin();
    const struct fetchers_config config = {
        .env = t.env, .loops = &t.loop, .loops_n = 1, .fetchers_n = 1};
    struct fetchers *fetchers = fetchers_new(&config);
    become(0, LEADER, EPOCH);
    become(1, LEADER, EPOCH);
    fetchers_follow(fetchers, t.kept[0].p, LEADER, EPOCH);
    fetchers_follow(fetchers, t.kept[1].p, LEADER, EPOCH);
    settle();
    get_fetch("0/0 a-0@0/-1");
    fetchers_leave(fetchers);
    become(0, LEADER, EPOCH + 1);
    fetchers_follow(fetchers, t.kept[0].p, LEADER, EPOCH + 1);
    become(2, LEADER, EPOCH);
    fetchers_follow(fetchers, t.kept[2].p, LEADER, EPOCH);
    settle();
    answer_nothing();
    get_fetch("77/1 b-0@0/-1 -a-0");
    fetchers_free(fetchers);
    end();
}

SUITE("fetcher", TEST(test_first_fetch), TEST(test_incremental), TEST(test_no_session),
      TEST(test_forgotten_and_back), TEST(test_topic_made_again), TEST(test_without_ids),
      TEST(test_shared), TEST(test_last_is_gone), TEST(test_gone_while_it_is_flushed),
      TEST(test_late_answers), TEST(test_hurry), TEST(test_no_hurry_again),
      TEST(test_no_hurry_while_it_comes), TEST(test_no_need_to_hurry),
      TEST(test_comes_while_out_of_reach), TEST(test_pauses_double), TEST(test_one_pauses),
      TEST(test_disk_is_full), TEST(test_divergence), TEST(test_cut_below_the_high_watermark),
      TEST(test_leader_is_shorter), TEST(test_leader_begins_later),
      TEST(test_common_offset_after_all), TEST(test_offsets_are_not_told), TEST(test_log_start),
      TEST(test_throttled), TEST(test_turns_when_throttled), TEST(test_leaves))
