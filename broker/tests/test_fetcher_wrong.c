/* A fetcher and a leader that says no, is silent, or sends what it may not: nothing wrong reaches the
 * disk, nobody is asked as fast as it answers, and each row of the table of
 * errors. (reference: replication §4) */
#include "broker/tests/fetcher_util.h"

static void begin_fetching(void)
{
    begin();
    follow(0);
    get_fetch("0/0 a-0@0/-1");
}

/* ---- errors ---- */

static void check_backs_off(int16_t error)
{
    begin_fetching();
    answer_one((struct said){.error = error, .high_watermark = 9});
    CU_ASSERT(pauses(10));
    get_fetch("77/1 a-0@0/-1");
    CU_ASSERT_EQUAL(partition_high_watermark(t.kept[0].p), 0);
    end();
}

static void test_errors_of_a_partition(void)
{
    const int16_t errors[] = {ERR_UNKNOWN_LEADER_EPOCH,       ERR_NOT_LEADER_OR_FOLLOWER,
                              ERR_UNKNOWN_TOPIC_OR_PARTITION, ERR_UNKNOWN_TOPIC_ID,
                              ERR_INCONSISTENT_TOPIC_ID,      ERR_KAFKA_STORAGE_ERROR,
                              ERR_UNKNOWN_SERVER_ERROR,       ERR_CORRUPT_MESSAGE,
                              ERR_OFFSET_NOT_AVAILABLE,       ERR_STALE_BROKER_EPOCH};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        check_backs_off(errors[i]);
    }
}

/* A code that is in no list, from a leader of another time. */
static void test_unknown_error(void)
{
    enum {
        ERROR_AT = 41
    }; /* after length, header, throttle, error, session, one topic's id, index */
    struct fetch_response_partition partition;
    struct fetch_response_topic topic = {
        .topic_id = id_of(NAMES[0].topic), .partitions = &partition, .partitions_n = 1};
    struct fetch_response response;
    struct writer frame;
    begin_fetching();
    fetch_response_partition_init(&partition);
    partition.error_code = ERR_NOT_LEADER_OR_FOLLOWER;
    fetch_response_init(&response);
    response.session_id = SESSION;
    response.topics = &topic;
    response.topics_n = 1;
    played_encode(&t.leader, &response, &frame);
    CU_ASSERT_EQUAL(frame.data[ERROR_AT + 1], ERR_NOT_LEADER_OR_FOLLOWER);
    store_u16(frame.data + ERROR_AT, 999);
    played_send(&t.leader, frame.data, frame.len);
    writer_deinit(&frame);
    CU_ASSERT(pauses(10));
    get_fetch("77/1 a-0@0/-1");
    end();
}

/* The leader has a newer epoch: the controller will say more, and until then nothing is asked. */
static void test_fenced(void)
{
    begin_fetching();
    answer_one((struct said){.error = ERR_FENCED_LEADER_EPOCH});
    pass(100 * PAUSE_MAX_MS);
    CU_ASSERT(played_silence(&t.leader));
    CU_ASSERT_EQUAL(loop_next_due_ms(t.loop), INT64_MAX);
    become(0, LEADER, EPOCH + 1);
    fetcher_follow(t.fetcher, t.kept[0].p, EPOCH + 1);
    CU_ASSERT(played_is_left(&t.leader));
    get_fetch("77/0 a-0@0/-1");
    CU_ASSERT_EQUAL(t.asked->topics[0].partitions[0].current_leader_epoch, EPOCH + 1);
    end();
}

/* A new session at once; and if that one cannot be had either, with pauses. */
static void check_session_error(int16_t error)
{
    begin_fetching();
    answer_records(0, 0, 2);
    get_fetch("77/1 a-0@2/5");
    answer_error(error);
    get_fetch("77/0 a-0@2/5");
    for (int i = 0; i < 3; i++) {
        answer_error(error);
        CU_ASSERT(pauses(10 << i));
        get_fetch("77/0 a-0@2/5");
    }
    end();
}

static void test_session_errors(void)
{
    check_session_error(ERR_FETCH_SESSION_ID_NOT_FOUND);
    check_session_error(ERR_INVALID_FETCH_SESSION_EPOCH);
}

/* All partitions back off. */
static void check_whole_error(int16_t error)
{
    begin_fetching();
    answer_nothing();
    get_fetch("77/1");
    answer_error(error);
    CU_ASSERT(pauses(10));
    get_fetch("77/0 a-0@0/-1");
    end();
}

static void test_whole_errors(void)
{
    check_whole_error(ERR_FETCH_SESSION_TOPIC_ID_ERROR);
    check_whole_error(ERR_CLUSTER_AUTHORIZATION_FAILED);
    check_whole_error(ERR_UNKNOWN_SERVER_ERROR);
}

/* ---- divergence that makes no sense ---- */

/* The log holds 4 records of epoch 1, 4 of epoch 3, and begins at 2; the end that it is cut to, -1: it is
 * not fetched any more. */
static void check_divergence(int32_t epoch, int64_t end_offset, int64_t cut)
{
    begin();
    hold(0, 4, 1);
    hold(0, 4, 3);
    become(0, LEADER, EPOCH);
    fetcher_follow(t.fetcher, t.kept[0].p, EPOCH);
    get_fetch("0/0 a-0@8/3");
    answer_one((struct said){.high_watermark = 8, .log_start_offset = 2});
    CU_ASSERT_EQUAL(plog_start_offset(t.kept[0].log), 2);
    get_fetch("77/1 a-0@8/3");
    answer_one((struct said){.diverging_epoch = epoch, .diverging_end = end_offset});
    if (cut >= 0) {
        char expected[64];
        snprintf(expected, sizeof(expected), "77/2 a-0@%lld/%d", (long long)cut,
                 cut > 4   ? 3
                 : cut > 2 ? 1
                           : -1);
        get_fetch(expected);
    } else {
        pass(100 * PAUSE_MAX_MS);
        CU_ASSERT(played_silence(&t.leader));
    }
    CU_ASSERT_EQUAL(end_of(0), cut >= 0 ? cut : 8);
    end();
}

static void test_divergence_makes_no_sense(void)
{
    check_divergence(3, 7, 7);
    check_divergence(1, 0, 2);          /* never below the start */
    check_divergence(0, 1, 2);          /* an epoch from before the log */
    check_divergence(3, 8, -1);         /* there is nothing to cut */
    check_divergence(3, INT64_MAX, -1); /* nor above the end */
    check_divergence(9, 100, -1);       /* an epoch that is not here, and not below ours */
    check_divergence(3, -5, -1);
    check_divergence(-1, 5, -1);
    check_divergence(INT32_MAX, 5, -1);
}

/* It ends: each answer cuts something, or it is the last one. */
static void test_divergence_again_and_again(void)
{
    begin();
    hold(0, 4, 1);
    hold(0, 4, 3);
    follow(0);
    get_fetch("0/0 a-0@8/3");
    int asked = 0;
    do {
        answer_one((struct said){.diverging_epoch = 1, .diverging_end = 3});
        asked++;
        settle();
    } while (played_hears(&t.leader) && played_next(&t.leader, FETCH) != NULL && asked < 20);
    CU_ASSERT_EQUAL(asked, 2);
    CU_ASSERT_EQUAL(end_of(0), 3);
    pass(100 * PAUSE_MAX_MS);
    CU_ASSERT(played_silence(&t.leader));
    end();
}

/* ---- records that may not be ---- */

/* Fetched from 0 on these bytes are refused, all of them: the connection is given up, and another one is
 * made after a pause. */
static void check_refused(struct writer *records)
{
    struct said said = {.index = 0, .high_watermark = 100, .records = *records};
    answer_one(said);
    writer_deinit(records);
    CU_ASSERT(played_is_left(&t.leader));
    CU_ASSERT(pauses(10));
    get_fetch("77/0 a-0@0/-1");
    CU_ASSERT_EQUAL(end_of(0), 0);
    CU_ASSERT_EQUAL(plog_size_bytes(t.kept[0].log), 0);
    end();
}

static void begin_records(struct writer *w)
{
    begin_fetching();
    writer_init(w, 16 << 20);
}

static void test_wrong_crc(void)
{
    struct writer w;
    begin_records(&w);
    put_batch(&w, 0, EPOCH, 2);
    w.data[w.len - 1] ^= 1;
    check_refused(&w);
}

static void test_wrong_magic(void)
{
    for (int magic = -1; magic < 5; magic++) {
        if (magic != 2) {
            struct writer w;
            begin_records(&w);
            put_batch(&w, 0, EPOCH, 2);
            w.data[16] = (uint8_t)magic;
            check_refused(&w);
        }
    }
}

static void test_wrong_size(void)
{
    const uint32_t sizes[] = {0, 1, 5, 48, 49, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff4};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct writer w;
        begin_records(&w);
        put_batch(&w, 0, EPOCH, 2);
        store_u32(w.data + 8, sizes[i]);
        check_refused(&w);
    }
}

static void test_wrong_offset(void)
{
    const int64_t offsets[] = {-1, INT64_MIN, INT64_MAX, INT64_MAX - 1};
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        struct writer w;
        begin_records(&w);
        put_batch(&w, offsets[i], EPOCH, 2);
        check_refused(&w);
    }
}

/* Records of a leader that is still to come here: its word may make them others. */
static void test_epoch_to_come(void)
{
    struct writer w;
    begin_records(&w);
    put_batch(&w, 0, EPOCH + 1, 2);
    check_refused(&w);
}

static void test_noise(void)
{
    struct writer w;
    begin_records(&w);
    for (int i = 0; i < 1000; i++) {
        writer_i8(&w, (int8_t)(i * 31));
    }
    check_refused(&w);
}

/* What is whole counts, the rest is fetched again. */
static void test_cut_answer(void)
{
    struct writer w;
    begin_records(&w);
    put_batch(&w, 0, EPOCH, 2);
    size_t one = w.len;
    put_batch(&w, 2, EPOCH, 2);
    w.len = one + 30;
    struct said said = {.index = 0, .high_watermark = 4, .records = w};
    answer_one(said);
    get_fetch("77/1 a-0@2/5");
    CU_ASSERT_EQUAL(end_of(0), 2);
    CU_ASSERT_EQUAL(plog_size_bytes(t.kept[0].log), (int64_t)one);
    writer_deinit(&w);
    end();
}

/* A compacted log has gaps; offsets that go back there are none. */
static void test_gap(void)
{
    struct writer w;
    begin_records(&w);
    put_batch(&w, 5, EPOCH, 2);
    put_batch(&w, 100, EPOCH, 1);
    struct said said = {.index = 0, .high_watermark = 101, .records = w};
    answer_one(said);
    writer_deinit(&w);
    get_fetch("77/1 a-0@101/5");
    end();
}

static void test_goes_back(void)
{
    struct writer w;
    begin_records(&w);
    put_batch(&w, 5, EPOCH, 2);
    put_batch(&w, 5, EPOCH, 2);
    check_refused(&w);
}

/* More than was asked for is what a leader does whose first batch is larger. */
static void test_more_than_asked(void)
{
    struct writer w;
    begin_records(&w);
    for (int i = 0; i < 700; i++) {
        make_batch(&w, &(struct batch_spec){.count = 1, .value_bytes = 4000}, i);
    }
    for (size_t at = 0, i = 0; at < w.len; i++) {
        store_u64(w.data + at, i);
        store_u32(w.data + at + BATCH_LEADER_EPOCH_AT, EPOCH);
        at += 12 + load_u32(w.data + at + 8);
    }
    CU_ASSERT(w.len > 2 << 20); /* and 1 MiB was asked for */
    struct said said = {.index = 0, .high_watermark = 700, .records = w};
    answer_one(said);
    writer_deinit(&w);
    get_fetch("77/1 a-0@700/5");
    end();
}

static void check_high_watermark(int64_t told, int64_t expected)
{
    struct writer w;
    begin_records(&w);
    put_batch(&w, 0, EPOCH, 4);
    struct said said = {.index = 0, .high_watermark = 2, .records = w};
    answer_one(said);
    writer_deinit(&w);
    get_fetch("77/1 a-0@4/5");
    answer_one((struct said){.high_watermark = told});
    get_fetch("77/2");
    CU_ASSERT_EQUAL(partition_high_watermark(t.kept[0].p), expected);
    end();
}

/* Nor does it go back for a leader that knows less. */
static void test_high_watermark(void)
{
    check_high_watermark(-1, 2);
    check_high_watermark(INT64_MIN, 2);
    check_high_watermark(1, 2);
}

static void test_high_watermark_beyond(void)
{
    begin_fetching();
    answer_records(0, 0, 4);
    get_fetch("77/1 a-0@4/5");
    answer_one((struct said){.high_watermark = INT64_MAX, .log_start_offset = INT64_MAX});
    get_fetch("77/2");
    CU_ASSERT_EQUAL(partition_high_watermark(t.kept[0].p), 4);
    CU_ASSERT_EQUAL(plog_start_offset(t.kept[0].log), 0);
    end();
}

/* A partition that was not asked about, one that is not here, one twice. */
static void test_others_in_the_answer(void)
{
    struct said said[3] = {
        {.index = 1, .high_watermark = 1}, {.index = 0, .high_watermark = 1}, {0}};
    begin_fetching();
    for (int i = 0; i < 2; i++) {
        writer_init(&said[i].records, 1 << 20);
        put_batch(&said[i].records, 0, EPOCH, 1);
    }
    said[2] = said[1];
    answer_all(SESSION, said, 3);
    get_fetch("77/1 a-0@1/5");
    CU_ASSERT(end_of(1) == 0 && end_of(0) == 1);
    writer_deinit(&said[0].records);
    writer_deinit(&said[1].records);
    end();
}

/* The disk fails: nothing is asked until the controller says more. */
static void test_disk_fails(void)
{
    begin_fetching();
    t.place.fault.fail_at = t.place.fault.calls + 1;
    answer_records(0, 0, 1);
    pass(100 * PAUSE_MAX_MS);
    CU_ASSERT(played_silence(&t.leader));
    fetcher_free(t.fetcher);
    t.fetcher = NULL;
    (void)partition_detach_log(t.kept[0].p, ERR_NOT_LEADER_OR_FOLLOWER);
    partition_release(t.kept[0].p);
    plog_abandon(t.kept[0].log);
    run("rm -r '%s/a-0'%s", t.place.dir, "");
    kept_open(&t.kept[0], &t.place, &t.partitions, NAMES[0], id_of(NAMES[0].topic));
    end();
}

/* ---- frames and sockets ---- */

static void test_garbage_is_not_asked_for(void)
{
    begin_fetching();
    for (int i = 0; i < 4; i++) {
        played_answer_bytes(&t.leader, "\xff\xff\xff\xff\xff\xff\xff", 7);
        CU_ASSERT(played_is_left(&t.leader));
        CU_ASSERT(pauses(10 << i));
        get_fetch("0/0 a-0@0/-1");
    }
    end();
}

/* Every prefix of an answer, as the whole of it. */
static void test_every_prefix(void)
{
    struct fetch_response_partition partition;
    struct fetch_response_topic topic = {
        .topic_id = id_of(NAMES[0].topic), .partitions = &partition, .partitions_n = 1};
    struct fetch_response response;
    struct writer records;
    struct writer whole;
    begin_fetching();
    writer_init(&records, 1 << 20);
    put_batch(&records, 0, EPOCH, 1);
    fetch_response_partition_init(&partition);
    partition.records.data = bytes_of(records.data, records.len);
    fetch_response_init(&response);
    response.topics = &topic;
    response.topics_n = 1;
    played_encode(&t.leader, &response, &whole);
    for (size_t len = 8; len < whole.len; len++) {
        played_answer_bytes(&t.leader, whole.data + 8, len - 8);
        CU_ASSERT(played_is_left(&t.leader));
        pass(PAUSE_MAX_MS);
        get_fetch("0/0 a-0@0/-1");
    }
    CU_ASSERT_EQUAL(end_of(0), 0);
    writer_deinit(&whole);
    writer_deinit(&records);
    end();
}

static void test_one_byte_after_another(void)
{
    struct said said = {.index = 0, .high_watermark = 2};
    struct fetch_response_partition partition;
    struct fetch_response_topic topic = {
        .topic_id = id_of(NAMES[0].topic), .partitions = &partition, .partitions_n = 1};
    struct fetch_response response;
    struct writer whole;
    begin_fetching();
    writer_init(&said.records, 1 << 20);
    put_batch(&said.records, 0, EPOCH, 2);
    fetch_response_partition_init(&partition);
    partition.records.data = bytes_of(said.records.data, said.records.len);
    fetch_response_init(&response);
    response.session_id = SESSION;
    response.topics = &topic;
    response.topics_n = 1;
    played_encode(&t.leader, &response, &whole);
    for (size_t i = 0; i < whole.len; i++) {
        CU_ASSERT_EQUAL(end_of(0), 0);
        played_send(&t.leader, whole.data + i, 1);
    }
    get_fetch("77/1 a-0@2/5");
    writer_deinit(&whole);
    writer_deinit(&said.records);
    end();
}

/* An answer that promises two gigabytes: memory grows with what comes, and the answer's time runs. */
static void test_endless_frame(void)
{
    uint8_t head[8] = {0x7f, 0xff, 0xff, 0xff};
    uint8_t *chunk = xcalloc(1, 1 << 16);
    begin_fetching();
    store_u32(head + 4, (uint32_t)t.leader.correlation);
    played_send(&t.leader, head, sizeof(head));
    for (int i = 0; i < 16; i++) {
        played_send(&t.leader, chunk, 1 << 16);
        pass((WAIT_MS + TIMEOUT_MS) / 20);
    }
    CU_ASSERT(played_silence(&t.leader));
    pass((WAIT_MS + TIMEOUT_MS) / 4);
    CU_ASSERT(played_is_left(&t.leader));
    CU_ASSERT(pauses(10));
    get_fetch("0/0 a-0@0/-1");
    free(chunk);
    end();
}

static void test_silence(void)
{
    begin_fetching();
    pass(WAIT_MS + TIMEOUT_MS - 1);
    CU_ASSERT(played_silence(&t.leader));
    pass(1);
    CU_ASSERT(played_is_left(&t.leader));
    CU_ASSERT(pauses(10));
    get_fetch("0/0 a-0@0/-1");
    end();
}

/* Connections that break: pauses grow until there is an answer. */
static void test_reset(void)
{
    begin_fetching();
    answer_nothing();
    get_fetch("77/1");
    for (int i = 0; i < 3; i++) {
        played_reset(&t.leader);
        CU_ASSERT(pauses(10 << i));
        get_fetch("77/0 a-0@0/-1");
    }
    answer_records(0, 0, 1);
    get_fetch("77/1 a-0@1/5");
    played_hang_up(&t.leader);
    CU_ASSERT(pauses(10));
    get_fetch("77/0 a-0@1/5");
    end();
}

SUITE("fetcher_wrong", TEST(test_errors_of_a_partition), TEST(test_unknown_error),
      TEST(test_fenced), TEST(test_session_errors), TEST(test_whole_errors),
      TEST(test_divergence_makes_no_sense), TEST(test_divergence_again_and_again),
      TEST(test_wrong_crc), TEST(test_wrong_magic), TEST(test_wrong_size), TEST(test_wrong_offset),
      TEST(test_epoch_to_come), TEST(test_noise), TEST(test_cut_answer), TEST(test_gap),
      TEST(test_goes_back), TEST(test_more_than_asked), TEST(test_high_watermark),
      TEST(test_high_watermark_beyond), TEST(test_others_in_the_answer), TEST(test_disk_fails),
      TEST(test_garbage_is_not_asked_for), TEST(test_every_prefix),
      TEST(test_one_byte_after_another), TEST(test_endless_frame), TEST(test_silence),
      TEST(test_reset))
