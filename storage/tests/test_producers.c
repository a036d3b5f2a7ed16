/* Idempotence and transactions: the window, sequences, epochs, markers; the last stable offset and
 * the aborted transactions against a model that knows everything. */
#include "util.h"

#include "storage/epochs.h"

static struct how fresh(void)
{
    return (struct how){.config = small_config(), .clean = true};
}

static err send(struct plog *log, int64_t id, int16_t epoch, int32_t sequence, int count,
                struct append_result *result)
{
    struct batch_spec spec = {
        .count = count, .producer_id = id + 1, .epoch = epoch, .sequence = sequence};
    return append_spec(log, &spec, result);
}

static void test_duplicates(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    struct plog *log = must_open(&p, &how);
    struct append_result result;
    for (int i = 0; i < 8; i++) {
        MUST(send(log, 7, 0, i * 3, 3, &result));
        CU_ASSERT_EQUAL(result.base_offset, i * 3);
    }
    int64_t end = plog_end_offset(log);
    for (int i = 3; i < 8; i++) {
        MUST(send(log, 7, 0, i * 3, 3, &result));
        CU_ASSERT_TRUE(result.duplicate);
        CU_ASSERT_EQUAL(result.base_offset, i * 3);
        CU_ASSERT_EQUAL(result.last_offset, i * 3 + 2);
    }
    CU_ASSERT_EQUAL(plog_end_offset(log), end);
    /* the sixth last; an overlap; a gap */
    CU_ASSERT_EQUAL(send(log, 7, 0, 6, 3, &result), ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    CU_ASSERT_EQUAL(send(log, 7, 0, 21, 4, &result), ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    CU_ASSERT_EQUAL(send(log, 7, 0, 25, 1, &result), ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    /* epochs */
    CU_ASSERT_EQUAL(send(log, 7, 1, 24, 1, &result), ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    MUST(send(log, 7, 1, 0, 1, &result));
    CU_ASSERT_EQUAL(send(log, 7, 0, 24, 1, &result), ERR_INVALID_PRODUCER_EPOCH);
    /* nothing is known: any sequence */
    MUST(send(log, 8, 3, 1000, 1, &result));
    MUST(send(log, 8, 3, 1001, 1, &result));
    MUST(plog_close(log));
    place_remove(&p);
}

static void test_sequence_wrap(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    struct plog *log = must_open(&p, &how);
    struct append_result result;
    MUST(send(log, 1, 0, INT32_MAX - 4, 2, &result));
    MUST(send(log, 1, 0, INT32_MAX - 2, 5, &result)); /* to 1 */
    MUST(send(log, 1, 0, INT32_MAX - 2, 5, &result));
    CU_ASSERT_TRUE(result.duplicate);
    CU_ASSERT_EQUAL(send(log, 1, 0, 3, 1, &result), ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    MUST(send(log, 1, 0, 2, 1, &result));
    MUST(send(log, 2, 0, INT32_MAX, 1, &result));
    MUST(send(log, 2, 0, 0, 1, &result));
    MUST(plog_close(log));
    place_remove(&p);
}

static void test_expiry(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    how.config.producer_id_expiration_ms = 1000000;
    struct plog *log = must_open(&p, &how);
    struct batch_spec spec = {.producer_id = 4, .sequence = 5, .timestamp = p.clock.now_ms};
    MUST(append_spec(log, &spec, NULL));
    spec.producer_id = 5;
    spec.attributes = BATCH_TRANSACTIONAL;
    MUST(append_spec(log, &spec, NULL));
    p.clock.now_ms += 999999;
    plog_expire_producers(log);
    spec.sequence = 9;
    CU_ASSERT_EQUAL(append_spec(log, &spec, NULL), ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    p.clock.now_ms += 1;
    plog_expire_producers(log);
    CU_ASSERT_EQUAL(append_spec(log, &spec, NULL), ERR_OUT_OF_ORDER_SEQUENCE_NUMBER); /* open */
    spec.producer_id = 4;
    spec.attributes = 0;
    MUST(append_spec(log, &spec, NULL));
    MUST(plog_close(log));
    place_remove(&p);
}

static void test_transaction_rules(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    struct plog *log = must_open(&p, &how);
    struct batch_spec data = {.producer_id = 10, .attributes = BATCH_TRANSACTIONAL};
    MUST(append_spec(log, &data, NULL));
    CU_ASSERT_EQUAL(plog_open_txns(log), 1);
    data.attributes = 0;
    data.sequence = 1;
    CU_ASSERT_EQUAL(append_spec(log, &data, NULL), ERR_INVALID_TXN_STATE);
    CU_ASSERT_EQUAL(append_marker(log, 9, -1, true, 0), ERR_INVALID_PRODUCER_EPOCH);
    MUST(append_marker(log, 9, 0, true, 5));
    CU_ASSERT_EQUAL(plog_open_txns(log), 0);
    CU_ASSERT_EQUAL(append_marker(log, 9, 0, true, 4), ERR_TRANSACTION_COORDINATOR_FENCED);
    MUST(append_marker(log, 9, 0, false, 5)); /* nothing open: no aborted entry */
    struct arena arena;
    struct aborted_txn *aborted = NULL;
    int32_t count = 0;
    arena_init(&arena, 1 << 20);
    MUST(plog_aborted_txns(log, 0, 100, &arena, &aborted, &count));
    CU_ASSERT_EQUAL(count, 0);
    CU_ASSERT_FALSE(exists(&p, "t-0/00000000000000000000.txnindex"));
    /* a marker with a new epoch clears the window: the next sequence is 0 */
    MUST(append_marker(log, 9, 1, false, 5));
    data.epoch = 1;
    CU_ASSERT_EQUAL(append_spec(log, &data, NULL), ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    data.sequence = 0;
    MUST(append_spec(log, &data, NULL));
    struct producer_info *infos = NULL;
    MUST(plog_producers(log, &arena, &infos, &count));
    CU_ASSERT_EQUAL(count, 1);
    CU_ASSERT(infos[0].producer_id == 9 && infos[0].epoch == 1 && infos[0].last_sequence == 0 &&
              infos[0].coordinator_epoch == 5 && infos[0].txn_start_offset == -1);
    arena_deinit(&arena);
    MUST(plog_close(log));
    place_remove(&p);
}

/* What a naive observer knows of one transaction. */
struct txn {
    int64_t producer;
    int64_t first;
    int64_t marker; /* -1: open */
    bool aborted;
};

struct model {
    struct txn txns[2000];
    int count;
    struct txn *open[8];
    int32_t sequence[8];
};

static int64_t model_lso(const struct model *m, int64_t hw)
{
    int64_t lso = hw;
    for (int i = 0; i < m->count; i++) {
        const struct txn *t = &m->txns[i];
        if ((t->marker < 0 || t->marker >= hw) && t->first < lso) {
            lso = t->first;
        }
    }
    return lso;
}

static bool model_aborted(const struct model *m, int64_t from, int64_t to,
                          const struct aborted_txn *found, int32_t count)
{
    int expected = 0;
    for (int i = 0; i < m->count; i++) {
        const struct txn *t = &m->txns[i];
        if (t->marker < 0 || !t->aborted || t->marker < from || t->first >= to) {
            continue;
        }
        expected++;
        bool listed = false;
        for (int32_t j = 0; j < count; j++) {
            listed |= found[j].producer_id == t->producer && found[j].first_offset == t->first;
        }
        if (!listed) {
            return false;
        }
    }
    return expected == count;
}

static void random_step(struct plog *log, struct model *m)
{
    int id = rand() % 8;
    int64_t offset = plog_end_offset(log);
    if (m->open[id] != NULL && rand() % 3 == 0) {
        m->open[id]->aborted = rand() % 2 == 0;
        m->open[id]->marker = offset;
        MUST(append_marker(log, id, 0, !m->open[id]->aborted, 0));
        m->open[id] = NULL;
        return;
    }
    struct batch_spec spec = {.count = 1 + rand() % 3,
                              .producer_id = id + 1,
                              .sequence = m->sequence[id],
                              .attributes = BATCH_TRANSACTIONAL};
    if (m->open[id] == NULL && rand() % 3 == 0) {
        spec.attributes = 0;
    } else if (m->open[id] == NULL) {
        m->open[id] = &m->txns[m->count++];
        *m->open[id] = (struct txn){.producer = id, .first = offset, .marker = -1};
    }
    m->sequence[id] += spec.count;
    MUST(append_spec(log, &spec, NULL));
}

static void compare_model(struct plog *log, const struct model *m, bool all)
{
    int64_t end = plog_end_offset(log);
    struct arena arena;
    arena_init(&arena, 1 << 24);
    for (int64_t from = 0; from < end; from += all ? 13 : end) {
        struct aborted_txn *aborted = NULL;
        int32_t count = 0;
        int64_t lso = model_lso(m, end); /* what a read_committed fetch may see */
        if (from >= lso) {
            break;
        }
        int64_t to = from + 1 + rand() % (lso - from);
        MUST(plog_aborted_txns(log, from, to, &arena, &aborted, &count));
        CU_ASSERT(model_aborted(m, from, to, aborted, count));
    }
    arena_deinit(&arena);
}

static void test_against_model(void)
{
    srand(42);
    for (int round = 0; round < 4; round++) {
        struct place p;
        place_make(&p);
        struct how how = fresh();
        struct plog *log = must_open(&p, &how);
        static struct model m;
        memset(&m, 0, sizeof(m));
        int64_t hw = 0;
        for (int i = 0; i < 1500; i++) {
            random_step(log, &m);
            int64_t end = plog_end_offset(log);
            hw += rand() % (end - hw + 1);
            CU_ASSERT_EQUAL(plog_last_stable_offset(log, hw), model_lso(&m, hw));
            compare_model(log, &m, i % 500 == 499);
            if (i % 300 == 299) { /* stop, or be killed, and go on */
                if (i % 600 == 299) {
                    MUST(plog_close(log));
                } else {
                    plog_abandon(log);
                }
                place_reboot(&p);
                how.clean = i % 600 == 299;
                how.recovery_point = how.clean ? end : end / 2;
                log = must_open(&p, &how);
                CU_ASSERT_EQUAL(plog_end_offset(log), end);
                hw = end;
                CU_ASSERT_EQUAL(plog_last_stable_offset(log, end), model_lso(&m, end));
            }
        }
        compare_model(log, &m, true);
        plog_abandon(log);
        place_remove(&p);
    }
}

/* A truncation takes transactions back. */
static void test_truncated_transactions(void)
{
    struct place p;
    place_make(&p);
    struct how how = fresh();
    struct plog *log = must_open(&p, &how);
    struct batch_spec spec = {.producer_id = 2, .attributes = BATCH_TRANSACTIONAL};
    for (int i = 0; i < 30; i++) {
        must_append(log, 2);
    }
    MUST(append_spec(log, &spec, NULL)); /* 60 */
    for (int i = 0; i < 10; i++) {
        must_append(log, 2);
    }
    MUST(append_marker(log, 1, 0, false, 0)); /* 81 */
    spec.sequence = 1;
    MUST(append_spec(log, &spec, NULL)); /* 82 */
    CU_ASSERT_EQUAL(plog_last_stable_offset(log, 83), 82);
    MUST(plog_truncate(log, 81));
    CU_ASSERT_EQUAL(plog_open_txns(log), 1);
    CU_ASSERT_EQUAL(plog_last_stable_offset(log, 81), 60);
    struct arena arena;
    struct aborted_txn *aborted = NULL;
    int32_t count = 0;
    arena_init(&arena, 1 << 20);
    MUST(plog_aborted_txns(log, 0, 81, &arena, &aborted, &count));
    CU_ASSERT_EQUAL(count, 0);
    arena_deinit(&arena);
    MUST(append_marker(log, 1, 0, true, 0));
    CU_ASSERT_EQUAL(plog_last_stable_offset(log, 82), 82);
    MUST(plog_truncate(log, 60));
    CU_ASSERT_EQUAL(plog_open_txns(log), 0);
    spec.sequence = 77; /* forgotten altogether */
    MUST(append_spec(log, &spec, NULL));
    MUST(plog_close(log));
    place_remove(&p);
}

static void test_epochs(void)
{
    struct epochs e = {0};
    CU_ASSERT_EQUAL(epochs_latest(&e), -1);
    CU_ASSERT_TRUE(epochs_assign(&e, 0, 0));
    CU_ASSERT_FALSE(epochs_assign(&e, 0, 5));
    CU_ASSERT_TRUE(epochs_assign(&e, 2, 10));
    CU_ASSERT_TRUE(epochs_assign(&e, 5, 20));
    CU_ASSERT_EQUAL(epochs_of_offset(&e, 19), 2);
    int32_t epoch = 0;
    int64_t end = 0;
    epochs_end_of(&e, 3, 30, &epoch, &end);
    CU_ASSERT(epoch == 2 && end == 20);
    epochs_end_of(&e, 5, 30, &epoch, &end);
    CU_ASSERT(epoch == 5 && end == 30);
    epochs_end_of(&e, -1, 30, &epoch, &end);
    CU_ASSERT(epoch == -1 && end == -1);
    CU_ASSERT_TRUE(epochs_assign(&e, 6, 15)); /* contradicts 5 at 20 */
    CU_ASSERT_EQUAL(e.count, 3);
    CU_ASSERT_TRUE(epochs_truncate_start(&e, 12));
    CU_ASSERT(e.count == 2 && e.entries[0].epoch == 2 && e.entries[0].start_offset == 12);
    CU_ASSERT_FALSE(epochs_truncate_start(&e, 11));
    CU_ASSERT_TRUE(epochs_truncate_end(&e, 15));
    CU_ASSERT_EQUAL(epochs_latest(&e), 2);
    CU_ASSERT_TRUE(epochs_assign(&e, 9, 12)); /* an epoch without a record gives way */
    CU_ASSERT(e.count == 1 && epochs_latest(&e) == 9);
    epochs_deinit(&e);
}

SUITE("producers", TEST(test_duplicates), TEST(test_sequence_wrap), TEST(test_expiry),
      TEST(test_transaction_rules), TEST(test_against_model), TEST(test_truncated_transactions),
      TEST(test_epochs))
