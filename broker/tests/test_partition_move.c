/* A partition's log is copied beside whatever happens to it, and the copy takes its place: nobody can tell. Broker 1 leads
 * or follows broker 2, as a seed draws it. */
#include "broker/tests/partition_util.h"

#include "protocol/error.h"

enum { ME = 1, OTHER = 2, SEEDS = 100, STEPS = 60, PIECE_BYTES = 400, EPOCHS_MAX = 400 };

static struct {
    struct place place;
    struct loop *flush;
    struct partition_env env;
    struct kept kept;
    struct partition *p;
    struct plog *future;
    uint32_t number;
    struct move_buffer buffer;
    struct move_progress progress;
    uint64_t seed;
    int32_t epoch;
    bool leads;
    int copies;  /* that were begun */
    int copy;    /* the last one's name */
    int cuts;    /* while one was made */
    int dropped; /* so many comparisons had something that is dropped */
    int32_t sequences[3];
} t;

static uint32_t draw(uint32_t below)
{
    t.seed = t.seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(t.seed >> 33) % below;
}

static void become(bool leads)
{
    static const int32_t ALL[] = {ME, OTHER};
    static const int32_t MINE[] = {ME};
    t.leads = leads;
    kept_become(&t.kept, leads ? ME : OTHER, ++t.epoch, leads ? MINE : ALL, leads ? 1 : 2);
}

static void begin_with_id(uint64_t seed, struct uuid id)
{
    memset(&t, 0, sizeof(t));
    t.seed = seed;
    t.buffer.piece_bytes = PIECE_BYTES;
    place_make(&t.place);
    MUST(loop_new(&t.place.clock.clock, sockets_system(), &t.flush));
    t.env = (struct partition_env){
        .broker_id = ME, .clock = &t.place.clock.clock, .flush = t.flush, .replica_lag_ms = 1000};
    kept_open(&t.kept, &t.place, &t.env, (struct topic_partition){STR("t"), 0}, id);
    t.p = t.kept.p;
    struct log_config config = small_config();
    config.cleanup_compact = draw(2) == 0;
    config.flush_messages = draw(3) == 0 ? 1 : INT64_MAX;
    partition_set_config(t.p, &config);
    become(true);
}

static void begin(uint64_t seed)
{
    begin_with_id(seed, (struct uuid){{9}});
}

static struct plog *open_copy(int number)
{
    struct plog *log = NULL;
    char name[32];
    snprintf(name, sizeof(name), "copy%d", number);
    char *dir = place_path(&t.place, name);
    struct plog_open open = {.dir = dir,
                             .name = {STR("t"), 0},
                             .config = small_config(),
                             .clean = true,
                             .log_start_offset = plog_start_offset(t.kept.log)};
    MUST(plog_open(&t.place.env, &open, &log));
    free(dir);
    return log;
}

static void begin_move(void)
{
    t.future = open_copy(++t.copy);
    t.number = partition_begin_move(t.p, t.future);
    t.copies++;
}

static void give_up(void)
{
    partition_give_up_move(t.p);
    plog_abandon(t.future);
    t.future = NULL;
}

static void end(void)
{
    if (t.future != NULL) {
        give_up();
    }
    loop_drain(t.flush);
    kept_close(&t.kept);
    loop_free(t.flush);
    free(t.buffer.bytes);
    place_remove(&t.place);
}

/* ---- what happens ---- */

/* Of a producer, in a transaction where there is one; or of nobody. */
static void append(void)
{
    struct partition_append appended;
    struct writer w;
    uint32_t who = draw(4);
    bool marker = who == 2 && draw(3) == 0;
    struct batch_spec spec = {.count = (int)draw(4) + 1, .value_bytes = (int)draw(200)};
    writer_init(&w, 1 << 20);
    if (who < 3) {
        spec.producer_id = (int64_t)who + 1;
        spec.sequence = t.sequences[who];
        spec.attributes = who == 2 ? BATCH_TRANSACTIONAL : 0;
    }
    if (marker) {
        make_marker(&w, 2, 0, draw(2) == 0, 1);
    } else {
        make_batch(&w, &spec, plog_end_offset(t.kept.log));
    }
    err e = partition_append(t.p, w.data, w.len, marker ? APPEND_COORDINATOR : APPEND_CLIENT, 1,
                             &appended);
    CU_ASSERT(e == OK || e == ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    if (who < 3 && !marker) {
        t.sequences[who] = e == OK ? spec.sequence + spec.count : 0;
    }
    writer_deinit(&w);
}

static void follow(void)
{
    struct follower_position at;
    struct writer w;
    int64_t end_offset = plog_end_offset(t.kept.log);
    writer_init(&w, 1 << 20);
    for (uint32_t i = draw(3) + 1; i > 0; i--) {
        put_batch(&w, end_offset + (int64_t)(3 - i) * 2, t.epoch, 2);
    }
    store_u64(w.data, (uint64_t)end_offset);
    for (size_t i = 0, pos = 0; pos < w.len; i++) {
        store_u64(w.data + pos, (uint64_t)end_offset + 2 * i);
        pos += BATCH_PREFIX_BYTES + load_u32(w.data + pos + 8);
    }
    const struct fetched fetched = {.offset = end_offset,
                                    .batches = w.data,
                                    .len = w.len,
                                    .high_watermark = (int64_t)draw((uint32_t)end_offset + 6)};
    MUST(partition_append_as_follower(t.p, t.epoch, &fetched, &at));
    writer_deinit(&w);
}

static void cut(void)
{
    struct follower_position at;
    int64_t start = plog_start_offset(t.kept.log);
    int64_t end_offset = plog_end_offset(t.kept.log);
    if (draw(8) == 0) {
        MUST(partition_begin_anew(t.p, t.epoch, end_offset + (int64_t)draw(20), &at));
    } else {
        int64_t offset = end_offset - (int64_t)draw((uint32_t)(end_offset - start) + 1);
        MUST(partition_truncate(t.p, t.epoch, offset, &at));
    }
    memset(t.sequences, 0, sizeof(t.sequences));
    t.cuts += t.future != NULL ? 1 : 0;
}

static void delete_records(void)
{
    struct partition_deletion deletion;
    int64_t end_offset = partition_high_watermark(t.p);
    int64_t start = plog_start_offset(t.kept.log);
    err_ignore(partition_delete_records(t.p, start + (end_offset - start) / 3, &deletion));
}

static void step(void)
{
    switch (draw(12)) {
    case 0:
        become(draw(2) == 0);
        break;
    case 1:
        if (t.leads) {
            delete_records();
        } else {
            cut();
        }
        break;
    case 2:
        partition_apply_retention(t.p, plog_config(t.kept.log).cleanup_compact);
        break;
    case 3:
        loop_drain(t.flush);
        break;
    default:
        if (t.leads) {
            append();
        } else {
            follow();
        }
    }
}

/* ---- are they the same? ---- */

static void expect_same_bytes(struct plog *a, struct plog *b)
{
    int64_t end_offset = plog_end_offset(a);
    CU_ASSERT_EQUAL_FATAL(plog_end_offset(b), end_offset);
    CU_ASSERT_EQUAL_FATAL(plog_start_offset(b), plog_start_offset(a));
    for (int64_t offset = plog_start_offset(a); offset < end_offset;) {
        size_t len = 0;
        size_t other_len = 0;
        uint8_t *data = read_range(a, offset, end_offset, 1, &len);
        uint8_t *other = read_range(b, offset, end_offset, 1, &other_len);
        struct batch batch;
        CU_ASSERT_FATAL(len == other_len && memcmp(data, other, len) == 0);
        if (len == 0) { /* the log ends with a hole */
            offset = end_offset;
        } else {
            batch_parse(data, &batch);
            offset = batch_last_offset(&batch) + 1;
        }
        free(data);
        free(other);
    }
}

static void expect_same_epochs(struct plog *a, struct plog *b)
{
    CU_ASSERT_EQUAL(plog_latest_epoch(a), plog_latest_epoch(b));
    for (int32_t epoch = 0; epoch <= t.epoch; epoch++) {
        int32_t found = -1;
        int32_t other = -1;
        int64_t end_offset = -1;
        int64_t other_end = -1;
        plog_end_offset_for_epoch(a, epoch, &found, &end_offset);
        plog_end_offset_for_epoch(b, epoch, &other, &other_end);
        CU_ASSERT_EQUAL(found, other);
        CU_ASSERT_EQUAL(end_offset, other_end);
    }
}

/* What a consumer that reads committed records drops: the batches' offsets, summed up. A list may begin before the log,
 * or name nothing that is there. */
static uint64_t dropped(struct plog *log)
{
    struct arena arena;
    struct aborted_txn *txns = NULL;
    int32_t count = 0;
    bool aborted[4] = {false};
    uint64_t sum = 0;
    int64_t end_offset = plog_end_offset(log);
    arena_init(&arena, 1 << 20);
    MUST(plog_aborted_txns(log, plog_start_offset(log), INT64_MAX, &arena, &txns, &count));
    for (int64_t offset = plog_start_offset(log); offset < end_offset;) {
        size_t len = 0;
        uint8_t *data = read_range(log, offset, end_offset, 1, &len);
        struct batch batch = {.last_offset_delta = 0, .base_offset = end_offset};
        if (len > 0) {
            batch_parse(data, &batch);
        }
        for (int32_t i = 0; i < count; i++) {
            if (txns[i].first_offset >= 0 && txns[i].first_offset <= batch_last_offset(&batch)) {
                aborted[txns[i].producer_id] = true;
                txns[i].first_offset = -1;
            }
        }
        if (len > 0 && batch_is(&batch, BATCH_CONTROL)) {
            aborted[batch.producer_id] = false;
        } else if (len > 0 && batch_is(&batch, BATCH_TRANSACTIONAL)) {
            sum += aborted[batch.producer_id] ? (uint64_t)batch.base_offset + 1 : 0;
        }
        offset = batch_last_offset(&batch) + 1;
        free(data);
    }
    arena_deinit(&arena);
    return sum;
}

/* `before`: the last stable offset. */
static void expect_same_txns(struct plog *a, struct plog *b, int64_t before)
{
    CU_ASSERT_EQUAL(plog_last_stable_offset(b, INT64_MAX), before);
    t.dropped += dropped(a) > 0 ? 1 : 0;
    CU_ASSERT_EQUAL(dropped(a), dropped(b));
}

/* A reader that was there before reads on in the former log. */
static void swap_and_compare(void)
{
    struct plog *former = t.kept.log;
    struct plog *pinned = NULL;
    int64_t end_offset = -1;
    int64_t high_watermark = partition_high_watermark(t.p);
    int64_t stable = plog_last_stable_offset(former, INT64_MAX);
    MUST(partition_pin(t.p, -1, true, &pinned));
    CU_ASSERT_PTR_EQUAL(pinned, former);
    MUST(partition_swap_log(t.p, &t.buffer, &end_offset));
    CU_ASSERT_EQUAL(end_offset, plog_end_offset(former));
    CU_ASSERT(!partition_has_log(t.p, former) && partition_has_log(t.p, t.future));
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), high_watermark);
    expect_same_bytes(former, t.future);
    expect_same_epochs(former, t.future);
    expect_same_txns(former, t.future, stable);
    partition_unpin(t.p, pinned);
    CU_ASSERT(plog_recovery_point(t.future) == end_offset ||
              partition_release_former(t.p, end_offset) == E_BUSY);
    loop_drain(t.flush);
    MUST(partition_release_former(t.p, end_offset));
    plog_abandon(former);
    t.kept.log = t.future;
    t.future = NULL;
}

struct exposure {
    int copies;
    int swaps;
    int cuts;
    int dropped;
};

static void run_seed(uint64_t seed, struct exposure *sum)
{
    begin(seed);
    for (int i = 0; i < STEPS; i++) {
        step();
        if (t.future == NULL && draw(6) == 0) {
            begin_move();
        } else if (t.future != NULL && draw(30) == 0) {
            give_up();
        } else if (t.future != NULL && draw(2) == 0) {
            MUST(partition_move_on(t.p, t.number, &t.buffer, &t.progress));
        } else if (t.future != NULL && draw(8) == 0) {
            swap_and_compare();
            sum->swaps++;
        }
    }
    sum->copies += t.copies;
    sum->cuts += t.cuts;
    sum->dropped += t.dropped;
    end();
}

static void test_whatever_happens(void)
{
    struct exposure sum = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        unsigned failed = CU_get_number_of_failures();
        run_seed(seed, &sum);
        if (CU_get_number_of_failures() > failed) {
            printf("seed %d failed\n", (int)seed);
        }
    }
    printf("copies begun %d, swaps %d, cuts beside a copy %d, with aborted transactions %d ",
           sum.copies, sum.swaps, sum.cuts, sum.dropped);
    CU_ASSERT(sum.copies > SEEDS && sum.swaps > SEEDS && sum.cuts > SEEDS / 8 &&
              sum.dropped > SEEDS / 8);
}

/* ---- one at a time ---- */

static void test_numbers(void)
{
    begin(1);
    append();
    begin_move();
    uint32_t first = t.number;
    MUST(partition_move_on(t.p, first, &t.buffer, &t.progress));
    CU_ASSERT(t.progress.copied_bytes > 0 && t.progress.left_bytes == 0);
    CU_ASSERT(partition_moves(t.p) && partition_is_moved_as(t.p, first));
    give_up();
    CU_ASSERT_EQUAL(partition_move_on(t.p, first, &t.buffer, &t.progress), E_NOT_FOUND);
    CU_ASSERT_EQUAL(partition_flush_move(t.p, first), E_NOT_FOUND);
    begin_move();
    CU_ASSERT_EQUAL(partition_move_on(t.p, first, &t.buffer, &t.progress), E_NOT_FOUND);
    CU_ASSERT(!partition_is_moved_as(t.p, first) && partition_is_moved_as(t.p, t.number));
    MUST(partition_flush_move(t.p, t.number));
    end();
}

/* Every byte counts once, though a piece ends anywhere. */
static void test_bytes_count_once(void)
{
    int64_t copied = 0;
    int pieces = 0;
    begin(1);
    for (int i = 0; i < 20; i++) {
        append();
    }
    begin_move();
    do {
        MUST(partition_move_on(t.p, t.number, &t.buffer, &t.progress));
        copied += t.progress.copied_bytes;
        pieces++;
    } while (t.progress.left_bytes > 0);
    CU_ASSERT(pieces > 2);
    CU_ASSERT_EQUAL(copied, plog_size_bytes(t.kept.log));
    end();
}

/* What was cut while the copy had no log, as when it gets its name, is cut when it has one again. */
static void test_cut_while_held(void)
{
    struct follower_position at;
    begin(2);
    append();
    append();
    append();
    become(false);
    begin_move();
    do {
        MUST(partition_move_on(t.p, t.number, &t.buffer, &t.progress));
    } while (t.progress.left_bytes > 0);
    partition_hold_move(t.p);
    MUST(partition_truncate(t.p, t.epoch, 1, &at));
    follow();
    partition_go_on_moving(t.p, t.future);
    swap_and_compare();
    end();
}

/* A log of which the last segment is empty and the one before ends with what compaction has dropped. */
static void test_hole_at_the_end(void)
{
    begin(3);
    append();
    MUST(plog_skip_to(t.kept.log, 50));
    begin_move();
    swap_and_compare();
    CU_ASSERT_EQUAL(plog_end_offset(t.kept.log), 50);
    append();
    CU_ASSERT_EQUAL(check_every_offset(t.kept.log) > 0, true);
    end();
}

/* Acknowledgements that need the disk wait for the new log's flush; what was acknowledged stays so. */
static void test_waits_for_the_flush(void)
{
    begin(4);
    struct log_config config = small_config();
    config.flush_messages = 1;
    partition_set_config(t.p, &config);
    append();
    loop_drain(t.flush);
    int64_t safe = partition_high_watermark(t.p);
    CU_ASSERT_EQUAL(safe, plog_end_offset(t.kept.log));
    begin_move();
    swap_and_compare();
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), safe);
    append();
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), safe);
    loop_drain(t.flush);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), plog_end_offset(t.kept.log));
    end();
}

/* A log from before there were ids gets one while it moves: so does its copy, which would be taken for another topic's at
 * the next start. */
static void test_topic_id_meanwhile(void)
{
    const struct uuid id = {{5}};
    begin_with_id(1, (struct uuid){{0}});
    begin_move();
    t.place.fault.fail_at = t.place.fault.calls + 5; /* the copy's file */
    t.place.fault.error = ENOSPC;
    CU_ASSERT_EQUAL(partition_take_topic_id(t.p, id), ERR_KAFKA_STORAGE_ERROR);
    t.place.fault.fail_at = 0;
    CU_ASSERT(uuid_is_zero(plog_topic_id(t.future)));
    MUST(partition_take_topic_id(t.p, id)); /* it is tried again */
    CU_ASSERT(uuid_equal(plog_topic_id(t.kept.log), id));
    CU_ASSERT(uuid_equal(plog_topic_id(t.future), id));
    CU_ASSERT(exists(&t.place, "copy1/partition.metadata"));
    end();
}

SUITE("partition_move", TEST(test_whatever_happens), TEST(test_numbers),
      TEST(test_bytes_count_once), TEST(test_cut_while_held), TEST(test_hole_at_the_end),
      TEST(test_waits_for_the_flush), TEST(test_topic_id_meanwhile))
