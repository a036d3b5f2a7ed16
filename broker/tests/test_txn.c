/* The state machine of one transactional id: what each event does in each state, as tables; epochs that run
 * out; what could not be stored (test_txn_random.c lets many clients act at random).
 *
 * In tables a step is text: "90" is an answer; "Ongoing 7/5 was 7/4 a-0,b-1 1000 3000 60000" is what is to be
 * stored first (state, producer id and epoch, the last ones, partitions, start, update, timeout), and
 * " then 51" the answer behind it, unless that is 0. */
#include "broker/coordinator/txn.h"

#include "base/tests/suite.h"
#include "protocol/error.h"

enum { ID = 7, OTHER_ID = 8, EPOCH = 5, EXHAUSTED = 32766, TEXT_MAX = 160 };
enum { START_MS = 1000, UPDATE_MS = 2000, NOW_MS = 3000, TIMEOUT_MS = 60000, EXPIRATION_MS = 500 };

/* ---- as text ---- */

/* "a-0,b-1"; "": none. */
static struct txn_partitions *partitions_of(const char *text)
{
    struct topic_partition names[8];
    size_t count = 0;
    for (const char *at = text; *at != '\0'; at += at[3] == ',' ? 4 : 3) {
        names[count++] =
            (struct topic_partition){.topic = {.data = at, .len = 1}, .partition = at[2] - '0'};
    }
    return txn_partitions_new(names, count);
}

static void values_text(char text[TEXT_MAX], const struct txn_values *v)
{
    char partitions[TEXT_MAX / 2] = "";
    size_t len = 0;
    for (int32_t i = 0; i < txn_partitions_count(v->partitions); i++) {
        const struct topic_partition *p = &v->partitions->items[i];
        len += (size_t)snprintf(partitions + len, sizeof(partitions) - len, "%s%.*s-%d",
                                i == 0 ? "" : ",", (int)p->topic.len, p->topic.data, p->partition);
    }
    snprintf(text, TEXT_MAX, "%s %lld/%d was %lld/%d %s %lld %lld %d", txn_state_name(v->state),
             (long long)v->producer_id, v->epoch, (long long)v->last_producer_id, v->last_epoch,
             len == 0 ? "none" : partitions, (long long)v->start_ms, (long long)v->update_ms,
             v->timeout_ms);
}

static void step_text(char text[TEXT_MAX], const struct txn_step *step)
{
    if (!step->store) {
        snprintf(text, TEXT_MAX, "%d", step->error);
        return;
    }
    values_text(text, &step->next);
    if (step->error != OK) {
        size_t len = strlen(text);
        snprintf(text + len, TEXT_MAX - len, " then %d", step->error);
    }
}

static void check_text(const char *what, const char *text, const char *expected)
{
    if (strcmp(text, expected) != 0) {
        printf("%s: %s, expected %s\n", what, text, expected);
    }
    CU_ASSERT_STRING_EQUAL(text, expected);
}

/* ---- events as rows of a table ---- */

enum kind { INIT, ADD, VERIFY, COMMIT, ABORT, TIME_OUT, EXPIRE, MARKERS };

struct event {
    enum kind kind;
    int64_t id; /* what the producer believes */
    int16_t epoch;
    const char *partitions; /* of ADD and VERIFY */
    int64_t now_ms;         /* 0: NOW_MS */
};

#define BY(what, who, its)                                                                         \
    {                                                                                              \
        .kind = (what), .id = (who), .epoch = (its)                                                \
    }
#define WITH(what, who, its, names)                                                                \
    {                                                                                              \
        .kind = (what), .id = (who), .epoch = (its), .partitions = (names)                         \
    }
#define AT(what, when_ms)                                                                          \
    {                                                                                              \
        .kind = (what), .now_ms = (when_ms)                                                        \
    }

static void init(struct txn *txn, int64_t id, int16_t epoch, int64_t fresh, struct txn_step *step)
{
    const struct txn_init event = {
        .timeout_ms = 9000, .producer_id = id, .epoch = epoch, .fresh_producer_id = fresh};
    txn_init_producer_id(txn, &event, NOW_MS, step);
}

static void add(struct txn *txn, struct txn_producer by, const char *names, struct txn_step *step)
{
    struct txn_partitions *added = partitions_of(names);
    txn_add_partitions(txn, by, added, NOW_MS, step);
    txn_partitions_release(added);
}

static err verify(const struct txn *txn, struct txn_producer by, const char *name)
{
    err e = txn_verify(txn, by);
    return e != OK ? e
                   : txn_verify_partition(txn, (struct str){.data = name, .len = 1}, name[2] - '0');
}

/* False: the coordinator has no reason to do so. */
static bool happen(struct txn *txn, const struct event *e, struct txn_step *step)
{
    const struct txn_producer by = {.id = e->id, .epoch = e->epoch};
    int64_t now_ms = e->now_ms == 0 ? NOW_MS : e->now_ms;
    bool due = true;
    *step = (struct txn_step){0};
    switch (e->kind) {
    case INIT:
        init(txn, e->id, e->epoch, OTHER_ID, step);
        break;
    case ADD:
        add(txn, by, e->partitions, step);
        break;
    case VERIFY:
        step->error = verify(txn, by, e->partitions);
        break;
    case COMMIT:
    case ABORT:
        txn_end(txn, by, e->kind == COMMIT, now_ms, step);
        break;
    case TIME_OUT:
        due = txn_has_timed_out(txn, now_ms);
        if (due) {
            txn_abort(txn, now_ms, step);
        }
        break;
    case EXPIRE:
        due = txn_has_expired(txn, now_ms, EXPIRATION_MS);
        if (due) {
            txn_expire(txn, step);
        }
        break;
    case MARKERS:
        due = txn_is_prepared(txn->is.state);
        if (due) {
            txn_markers_written(txn, now_ms, step);
        }
        break;
    }
    return due;
}

/* ---- states ---- */

static const struct txn_values BEFORE = {.producer_id = ID,
                                         .last_producer_id = ID,
                                         .epoch = EPOCH,
                                         .last_epoch = EPOCH - 1,
                                         .timeout_ms = TIMEOUT_MS,
                                         .start_ms = START_MS,
                                         .update_ms = UPDATE_MS};

/* In a state, with what belongs to it. */
static struct txn *txn_in(enum txn_state state)
{
    struct txn_values values = BEFORE;
    bool open = state == TXN_ONGOING || state == TXN_PREPARE_COMMIT || state == TXN_PREPARE_ABORT;
    values.state = state;
    values.partitions = open ? partitions_of("a-0,a-1") : NULL;
    values.start_ms = state == TXN_EMPTY ? -1 : START_MS;
    return txn_new_loaded(STR("id"), &values);
}

/* What holds of every step: nothing is changed before it is stored (but for an epoch that fences), and what
 * was to be stored is there then; or nothing, when it could not be. */
static void finish(struct txn *txn, const char *before, struct txn_step *step, bool stored)
{
    char text[TEXT_MAX];
    char next[TEXT_MAX];
    bool raised = txn->is_fenced;
    enum txn_state retried = txn_is_prepared(txn->is.state) ? txn->pending : TXN_NOTHING_PENDING;
    CU_ASSERT_EQUAL(txn->pending, step->next.state);
    values_text(text, &txn->is);
    CU_ASSERT(raised || strcmp(text, before) == 0);
    char waiting[TEXT_MAX];
    strcpy(waiting, text);
    if (step->next.state == TXN_EMPTY) {
        step->next.start_ms = txn->is.start_ms; /* that of before goes on being told */
    }
    values_text(next, &step->next);
    if (stored) {
        txn_stored(txn, &step->next);
    } else {
        txn_not_stored(txn, &step->next);
        CU_ASSERT_EQUAL(txn->pending, retried);
    }
    values_text(text, &txn->is);
    check_text("afterwards", text, stored ? next : waiting);
    CU_ASSERT_PTR_NULL(step->next.partitions);
    txn_check(txn);
}

/* One event in one state, which is `txn`'s; it is freed. */
static void check_event(const char *where, struct txn *txn, const struct event *event,
                        const char *expected, bool stored)
{
    struct txn_step step;
    char what[TEXT_MAX];
    char before[TEXT_MAX];
    char text[TEXT_MAX] = "no";
    enum txn_state pending = txn->pending;
    snprintf(what, sizeof(what), "%s: event %d of %lld/%d %s", where, (int)event->kind,
             (long long)event->id, event->epoch,
             event->partitions == NULL ? "" : event->partitions);
    values_text(before, &txn->is);
    if (happen(txn, event, &step)) {
        step_text(text, &step);
    }
    check_text(what, text, expected);
    if (step.store) {
        finish(txn, before, &step, stored);
    } else {
        values_text(text, &txn->is);
        check_text(what, text, before);
        CU_ASSERT_EQUAL(txn->pending, pending);
        txn_check(txn);
    }
    txn_free(txn);
}

/* ---- every event in every state ---- */

#define NO_TXN "none -1 3000 9000"
#define FENCED "PrepareAbort 7/6 was 7/-1 a-0,a-1 1000 3000 60000 then 51"

static const struct {
    struct event event;
    /* Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort; NULL: as before. */
    const char *expected[6];
} EVENTS[] = {
    {BY(INIT, -1, -1),
     {"Empty 7/6 was 7/-1 " NO_TXN, FENCED, "51", "51", "Empty 7/6 was 7/-1 " NO_TXN, NULL}},
    {BY(INIT, 7, 5),
     {"Empty 7/6 was 7/5 " NO_TXN, FENCED, "51", "51", "Empty 7/6 was 7/5 " NO_TXN, NULL}},
    /* again: it is told what it was told */
    {BY(INIT, 7, 4),
     {"Empty 7/5 was 7/4 " NO_TXN, FENCED, "51", "51", "Empty 7/5 was 7/4 " NO_TXN, NULL}},
    {BY(INIT, 7, 3), {"90", FENCED, "51", "51", "90", "90"}},
    {BY(INIT, 7, 6), {"90", FENCED, "51", "51", "90", "90"}},
    {BY(INIT, 7, EXHAUSTED), {"90", FENCED, "51", "51", "90", "90"}},
    {BY(INIT, 8, 5), {"90", "90", "51", "51", "90", "90"}},
    {BY(INIT, 8, 4), {"90", "90", "51", "51", "90", "90"}},
    {BY(INIT, 8, EXHAUSTED), {"90", "90", "51", "51", "90", "90"}},

    {WITH(ADD, 7, 5, "b-0"),
     {"Ongoing 7/5 was 7/4 b-0 3000 3000 60000", "Ongoing 7/5 was 7/4 a-0,a-1,b-0 1000 3000 60000",
      "51", "51", "Ongoing 7/5 was 7/4 b-0 3000 3000 60000", NULL}},
    {WITH(ADD, 7, 5, "b-0,a-1,b-0"),
     {"Ongoing 7/5 was 7/4 a-1,b-0 3000 3000 60000",
      "Ongoing 7/5 was 7/4 a-0,a-1,b-0 1000 3000 60000", "51", "51",
      "Ongoing 7/5 was 7/4 a-1,b-0 3000 3000 60000", NULL}},
    {WITH(ADD, 7, 5, "a-1,a-0"),
     {"Ongoing 7/5 was 7/4 a-0,a-1 3000 3000 60000", "0", "51", "51",
      "Ongoing 7/5 was 7/4 a-0,a-1 3000 3000 60000", NULL}},
    {WITH(ADD, 7, 5, ""),
     {"Ongoing 7/5 was 7/4 none 3000 3000 60000", "0", "51", "51",
      "Ongoing 7/5 was 7/4 none 3000 3000 60000", NULL}},
    {WITH(ADD, 8, 5, "b-0"), {"49", "49", "49", "49", "49", "49"}},
    {WITH(ADD, 7, 4, "b-0"), {"90", "90", "90", "90", "90", "90"}},
    {WITH(ADD, 7, 6, "b-0"), {"90", "90", "90", "90", "90", "90"}},
    {WITH(ADD, 7, 4, "a-0"), {"90", "90", "90", "90", "90", "90"}},

    {WITH(VERIFY, 7, 5, "a-1"), {"120", "0", "51", "51", "120", "120"}},
    {WITH(VERIFY, 7, 5, "a-2"), {"120", "120", "51", "51", "120", "120"}},
    {WITH(VERIFY, 7, 5, "b-0"), {"120", "120", "51", "51", "120", "120"}},
    {WITH(VERIFY, 8, 5, "a-1"), {"49", "49", "49", "49", "49", "49"}},
    {WITH(VERIFY, 7, 4, "a-1"), {"90", "90", "90", "90", "90", "90"}},
    {WITH(VERIFY, 7, 6, "a-1"), {"90", "90", "90", "90", "90", "90"}},

    {BY(COMMIT, 7, 5),
     {"48", "PrepareCommit 7/5 was 7/4 a-0,a-1 1000 3000 60000", "51", "51", "0", "48"}},
    {BY(ABORT, 7, 5),
     {"48", "PrepareAbort 7/5 was 7/4 a-0,a-1 1000 3000 60000", "51", "51", "48", "0"}},
    {BY(COMMIT, 8, 5), {"49", "49", "49", "49", "49", "49"}},
    {BY(COMMIT, 7, 4), {"90", "90", "90", "90", "90", "90"}},
    {BY(COMMIT, 7, 6), {"90", "90", "90", "90", "90", "90"}},
    {BY(ABORT, 8, 5), {"49", "49", "49", "49", "49", "49"}},
    {BY(ABORT, 7, 4), {"90", "90", "90", "90", "90", "90"}},
    {BY(ABORT, 7, 6), {"90", "90", "90", "90", "90", "90"}},

    {AT(TIME_OUT, START_MS + TIMEOUT_MS), {"no", "no", "no", "no", "no", "no"}},
    {AT(TIME_OUT, START_MS + TIMEOUT_MS + 1),
     {"no", "PrepareAbort 7/6 was 7/-1 a-0,a-1 1000 61001 60000", "no", "no", "no", "no"}},
    {AT(EXPIRE, UPDATE_MS + EXPIRATION_MS - 1), {"no", "no", "no", "no", "no", "no"}},
    {AT(EXPIRE, UPDATE_MS + EXPIRATION_MS),
     {"Dead 7/5 was 7/4 none -1 2000 60000", "no", "no", "no",
      "Dead 7/5 was 7/4 none 1000 2000 60000", NULL}},
    {AT(MARKERS, NOW_MS),
     {"no", "no", "CompleteCommit 7/5 was 7/4 none 1000 3000 60000",
      "CompleteAbort 7/5 was 7/4 none 1000 3000 60000", "no", "no"}},
};

/* The last producer id of a step is the one of before it. */
static void test_every_event_in_every_state(void)
{
    for (size_t i = 0; i < sizeof(EVENTS) / sizeof(EVENTS[0]); i++) {
        const char *expected = NULL;
        for (int state = 0; state < 6; state++) {
            const char *cell = EVENTS[i].expected[state];
            expected = cell == NULL ? expected : cell;
            const char *where = txn_state_name((enum txn_state)state);
            for (int stored = 0; stored <= 1; stored++) {
                check_event(where, txn_in((enum txn_state)state), &EVENTS[i].event, expected,
                            stored);
            }
        }
    }
}

/* ---- every event while something is being stored ---- */

static const struct {
    enum txn_state from;
    struct event event;
} TRANSITIONS[] = {
    {TXN_EMPTY, BY(INIT, -1, -1)},
    {TXN_EMPTY, BY(INIT, 7, 5)},
    {TXN_EMPTY, WITH(ADD, 7, 5, "b-0")},
    {TXN_EMPTY, AT(EXPIRE, UPDATE_MS + EXPIRATION_MS)},
    {TXN_ONGOING, WITH(ADD, 7, 5, "b-0")},
    {TXN_ONGOING, BY(COMMIT, 7, 5)},
    {TXN_ONGOING, BY(ABORT, 7, 5)},
    {TXN_PREPARE_COMMIT, AT(MARKERS, NOW_MS)},
    {TXN_PREPARE_ABORT, AT(MARKERS, NOW_MS)},
    {TXN_COMPLETE_COMMIT, BY(INIT, 7, 5)},
    {TXN_COMPLETE_COMMIT, WITH(ADD, 7, 5, "b-0")},
    {TXN_COMPLETE_ABORT, AT(EXPIRE, UPDATE_MS + EXPIRATION_MS)},
    /* These two fence at once. */
    {TXN_ONGOING, BY(INIT, -1, -1)},
    {TXN_ONGOING, AT(TIME_OUT, START_MS + TIMEOUT_MS + 1)},
};

/* The second: where the epoch has been raised. */
static const struct {
    struct event event;
    const char *expected[2];
} WHILE_PENDING[] = {
    {BY(INIT, -1, -1), {"51", "51"}},
    {BY(INIT, 7, 5), {"51", "51"}},
    {BY(INIT, 7, 4), {"51", "51"}},
    {BY(INIT, 7, 3), {"51", "51"}},
    {BY(INIT, 8, 5), {"51", "51"}},
    {WITH(ADD, 7, 5, "b-0"), {"51", "90"}},
    {WITH(ADD, 7, 5, "a-0"), {"51", "90"}},
    {WITH(ADD, 7, 6, "b-0"), {"90", "51"}},
    {WITH(ADD, 8, 5, "b-0"), {"49", "49"}},
    {WITH(VERIFY, 7, 6, "b-0"), {"90", "120"}},
    {WITH(VERIFY, 8, 5, "a-0"), {"49", "49"}},
    {BY(COMMIT, 7, 5), {"51", "90"}},
    {BY(COMMIT, 7, 6), {"90", "51"}},
    {BY(COMMIT, 8, 5), {"49", "49"}},
    {BY(ABORT, 7, 5), {"51", "90"}},
    {BY(ABORT, 7, 4), {"90", "90"}},
    {AT(TIME_OUT, START_MS + TIMEOUT_MS + 1), {"no", "no"}},
    {AT(EXPIRE, UPDATE_MS + EXPIRATION_MS), {"no", "no"}},
};

static void test_every_event_while_pending(void)
{
    size_t transitions_n = sizeof(TRANSITIONS) / sizeof(TRANSITIONS[0]);
    for (size_t i = 0; i < transitions_n; i++) {
        bool fences = i >= transitions_n - 2;
        for (size_t k = 0; k < sizeof(WHILE_PENDING) / sizeof(WHILE_PENDING[0]); k++) {
            struct txn_step first;
            char where[TEXT_MAX];
            struct txn *txn = txn_in(TRANSITIONS[i].from);
            CU_ASSERT_FATAL(happen(txn, &TRANSITIONS[i].event, &first) && first.store);
            snprintf(where, sizeof(where), "pending %d", (int)i);
            check_event(where, txn, &WHILE_PENDING[k].event, WHILE_PENDING[k].expected[fences],
                        true);
            txn_partitions_release(first.next.partitions);
        }
    }
}

/* What is verified is what is stored: a pending transition neither adds nor removes. */
static void test_verify_while_pending(void)
{
    static const char *const names[] = {"a-0", "b-0"};
    for (size_t i = 0; i + 2 < sizeof(TRANSITIONS) / sizeof(TRANSITIONS[0]); i++) {
        for (int k = 0; k < 2; k++) {
            struct txn_step step;
            const struct txn_producer by = {ID, EPOCH};
            struct txn *txn = txn_in(TRANSITIONS[i].from);
            err before = verify(txn, by, names[k]);
            CU_ASSERT_FATAL(happen(txn, &TRANSITIONS[i].event, &step) && step.store);
            CU_ASSERT_EQUAL(verify(txn, by, names[k]), before);
            txn_partitions_release(step.next.partitions);
            txn_free(txn);
        }
    }
}

/* An id that was never stored has no producer yet; what the first one believes is no matter. */
static void test_new_id(void)
{
    static const struct event refused[] = {WITH(ADD, 9, -1, "a-0"), WITH(ADD, 9, 0, "a-0"),
                                           BY(COMMIT, 9, -1), BY(ABORT, 9, 0),
                                           WITH(VERIFY, 9, -1, "a-0")};
    static const struct {
        int64_t id;
        int16_t epoch;
    } believe[] = {{-1, -1}, {7, 5}, {9, 3}, {9, 0}, {7, EXHAUSTED}};
    for (size_t i = 0; i < sizeof(believe) / sizeof(believe[0]); i++) {
        char text[TEXT_MAX];
        struct txn_step step;
        struct txn *txn = txn_new(STR("id"), 9, 5000, NOW_MS);
        for (size_t k = 0; k < sizeof(refused) / sizeof(refused[0]); k++) {
            CU_ASSERT(happen(txn, &refused[k], &step) && !step.store);
            CU_ASSERT_EQUAL(step.error, ERR_INVALID_PRODUCER_ID_MAPPING);
        }
        init(txn, believe[i].id, believe[i].epoch, -1, &step);
        step_text(text, &step);
        check_text("new", text, "Empty 9/0 was 9/-1 none -1 3000 9000");
        CU_ASSERT(!txn_has_expired(txn, NOW_MS * 1000, EXPIRATION_MS));
        init(txn, -1, -1, 10, &(struct txn_step){0});
        CU_ASSERT_EQUAL(txn->pending, TXN_EMPTY);
        txn_stored(txn, &step.next);
        values_text(text, &txn->is);
        check_text("stored", text, "Empty 9/0 was 9/-1 none -1 3000 9000");
        txn_free(txn);
    }
}

/* ---- a transaction from one end to the other ---- */

/* What is to be stored is; the answer. */
static err store_step(struct txn *txn, struct txn_step *step)
{
    err answer = step->error;
    CU_ASSERT_FATAL(step->store);
    txn_stored(txn, &step->next);
    txn_check(txn);
    return answer;
}

static err happens(struct txn *txn, struct event event)
{
    struct txn_step step;
    CU_ASSERT_FATAL(happen(txn, &event, &step));
    return step.store ? store_step(txn, &step) : step.error;
}

/* After Complete* comes Empty, and the start that was is still told, until the next one. */
static void test_start_is_told(void)
{
    struct txn *txn = txn_in(TXN_EMPTY);
    CU_ASSERT_EQUAL(happens(txn, (struct event)WITH(ADD, 7, 5, "a-0")), OK);
    CU_ASSERT_EQUAL(happens(txn, (struct event)WITH(ADD, 7, 5, "a-0,a-1")), OK);
    CU_ASSERT_EQUAL(txn->is.start_ms, NOW_MS);
    CU_ASSERT_EQUAL(
        happens(txn, (struct event){.kind = COMMIT, .id = 7, .epoch = 5, .now_ms = 4000}), OK);
    CU_ASSERT_EQUAL(happens(txn, (struct event)AT(MARKERS, 5000)), OK);
    CU_ASSERT(txn->is.start_ms == NOW_MS && txn->is.update_ms == 5000);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, 7, 5)), OK);
    CU_ASSERT(txn->is.state == TXN_EMPTY && txn->is.start_ms == NOW_MS);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, 7, 5)), OK); /* a retry */
    CU_ASSERT(txn->is.epoch == 6 && txn->is.start_ms == NOW_MS);
    txn_free(txn);
}

/* Whoever ends somebody else's transaction is told 51, and then has to fence again: nobody but it may have the
 * epoch that the markers had. */
static void test_fenced_by_another(void)
{
    struct txn *txn = txn_in(TXN_ONGOING);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, -1, -1)), ERR_CONCURRENT_TRANSACTIONS);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, -1, -1)), ERR_CONCURRENT_TRANSACTIONS);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(COMMIT, 7, 5)), ERR_PRODUCER_FENCED);
    CU_ASSERT_EQUAL(happens(txn, (struct event)AT(MARKERS, NOW_MS)), OK);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(ABORT, 7, 5)), ERR_PRODUCER_FENCED);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, 7, 5)), ERR_PRODUCER_FENCED);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, -1, -1)), OK);
    CU_ASSERT_EQUAL(txn->is.epoch, EPOCH + 2);
    CU_ASSERT_FALSE(txn->is_fenced);
    txn_free(txn);
}

/* From the log: Prepare* goes on to its end, nobody knows who was before. */
static void test_loaded(void)
{
    for (int state = TXN_EMPTY; state <= TXN_COMPLETE_ABORT; state++) {
        struct txn *txn = txn_in((enum txn_state)state);
        enum txn_state pending = state == TXN_PREPARE_COMMIT  ? TXN_COMPLETE_COMMIT
                                 : state == TXN_PREPARE_ABORT ? TXN_COMPLETE_ABORT
                                                              : TXN_NOTHING_PENDING;
        CU_ASSERT_EQUAL(txn->pending, pending);
        CU_ASSERT_EQUAL(txn_is_prepared(txn->is.state), pending != TXN_NOTHING_PENDING);
        CU_ASSERT_FALSE(txn->is_fenced);
        txn_check(txn);
        txn_free(txn);
    }
}

/* The clock of before was ahead: its time begins now. Else the start stays. */
static void test_clock_that_was_ahead(void)
{
    struct txn *txn = txn_in(TXN_ONGOING);
    txn_begins_not_after(txn, START_MS);
    txn_begins_not_after(txn, NOW_MS);
    CU_ASSERT_EQUAL(txn->is.start_ms, START_MS);
    txn_begins_not_after(txn, START_MS - 1);
    CU_ASSERT_EQUAL(txn->is.start_ms, START_MS - 1);
    CU_ASSERT(!txn_has_timed_out(txn, START_MS - 1 + TIMEOUT_MS));
    CU_ASSERT(txn_has_timed_out(txn, START_MS + TIMEOUT_MS));
    txn_free(txn);
}

/* ---- epochs run out ---- */

static struct txn *txn_at(enum txn_state state, int16_t epoch)
{
    struct txn *txn = txn_in(state);
    txn->is.epoch = epoch;
    txn->is.last_epoch = (int16_t)(epoch - 1);
    return txn;
}

/* The last epoch that is given out is 32766; 32767 only fences. */
static void test_epochs_run_out(void)
{
    static const struct {
        int16_t is;
        struct event event;
        const char *expected;
    } rows[] = {
        {32765, BY(INIT, -1, -1), "Empty 7/32766 was 7/-1 " NO_TXN},
        {32765, BY(INIT, 7, 32765), "Empty 7/32766 was 7/32765 " NO_TXN},
        {32765, BY(INIT, 7, 32764), "Empty 7/32765 was 7/32764 " NO_TXN},
        {32766, BY(INIT, -1, -1), "Empty 8/0 was 7/-1 " NO_TXN},
        {32766, BY(INIT, 7, 32766), "Empty 8/0 was 7/32766 " NO_TXN},
        {32766, BY(INIT, 7, 32765), "-1"},
        {32766, BY(INIT, 7, 3), "-1"},
        {32766, BY(INIT, 8, 32766), "90"},
        {32767, BY(INIT, -1, -1), "Empty 8/0 was 7/-1 " NO_TXN},
        {32767, BY(INIT, 7, 32767), "Empty 8/0 was 7/32767 " NO_TXN},
        {32767, BY(INIT, 7, 32766), "-1"},
        {32766, WITH(ADD, 7, 32766, "a-0"), "Ongoing 7/32766 was 7/32765 a-0 3000 3000 60000"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (int stored = 0; stored <= 1; stored++) {
            check_event("exhausted", txn_at(TXN_EMPTY, rows[i].is), &rows[i].event,
                        rows[i].expected, stored);
        }
    }
}

/* The one epoch that is kept is for fencing; there is none above it. */
static void test_fence_at_the_last_epoch(void)
{
    static const struct event out = AT(TIME_OUT, START_MS + TIMEOUT_MS + 1);
    for (int stored = 0; stored <= 1; stored++) {
        check_event("last", txn_at(TXN_ONGOING, 32766), &out,
                    "PrepareAbort 7/32767 was 7/-1 a-0,a-1 1000 61001 60000", stored);
        check_event("above", txn_at(TXN_ONGOING, 32767), &out,
                    "PrepareAbort 7/32767 was 7/32766 a-0,a-1 1000 61001 60000", stored);
    }
    struct txn *txn = txn_at(TXN_ONGOING, 32766);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, -1, -1)), ERR_CONCURRENT_TRANSACTIONS);
    CU_ASSERT_EQUAL(happens(txn, (struct event)AT(MARKERS, NOW_MS)), OK);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, 7, 32766)), ERR_UNKNOWN_SERVER_ERROR);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, -1, -1)), OK);
    CU_ASSERT(txn->is.producer_id == OTHER_ID && txn->is.epoch == 0);
    txn_free(txn);
}

/* Another id is needed just there, and until it is at hand nothing has happened. */
static void test_no_fresh_id_at_hand(void)
{
    struct txn_step step;
    struct txn *txn = txn_at(TXN_COMPLETE_ABORT, 32766);
    init(txn, -1, -1, -1, &step);
    CU_ASSERT(!step.store && step.error == E_NOT_FOUND);
    init(txn, 7, 32766, -1, &step);
    CU_ASSERT(!step.store && step.error == E_NOT_FOUND && txn->pending == TXN_NOTHING_PENDING);
    init(txn, 7, 3, -1, &step);
    CU_ASSERT(!step.store && step.error == ERR_UNKNOWN_SERVER_ERROR);
    txn->is.epoch = 32765;
    init(txn, -1, -1, -1, &step);
    CU_ASSERT_EQUAL(store_step(txn, &step), OK);
    txn_free(txn);
}

/* A retry of who got another id is known by the pair that it had, once; then the id is forgotten. */
static void test_retry_over_a_rotation(void)
{
    struct txn *txn = txn_at(TXN_EMPTY, 32766);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, 7, 32766)), OK);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, 7, 32765)), ERR_PRODUCER_FENCED);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, 7, 32767)), ERR_PRODUCER_FENCED);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, 7, 0)), ERR_PRODUCER_FENCED);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, 7, 32766)), OK);
    CU_ASSERT(txn->is.producer_id == OTHER_ID && txn->is.epoch == 0);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, 7, 32766)), ERR_PRODUCER_FENCED);
    CU_ASSERT_EQUAL(happens(txn, (struct event)WITH(ADD, 7, 32766, "a-0")),
                    ERR_INVALID_PRODUCER_ID_MAPPING);
    txn_free(txn);
    /* whoever came without a pair had none to come again with */
    txn = txn_at(TXN_EMPTY, 32766);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, -1, -1)), OK);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, 7, 32766)), ERR_PRODUCER_FENCED);
    txn_free(txn);
}

/* Any number of times, where the id stays. */
static void test_retries(void)
{
    struct txn *txn = txn_in(TXN_EMPTY);
    for (int i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, 7, 5)), OK);
        CU_ASSERT_EQUAL(txn->is.epoch, 6);
    }
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, -1, -1)), OK);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, 7, 6)), ERR_PRODUCER_FENCED);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, 7, 5)), ERR_PRODUCER_FENCED);
    txn_free(txn);
}

/* ---- what could not be stored ---- */

/* The epoch is in force at once and stays, and is not raised by the next try, whoever tries. */
static void test_fence_that_is_not_stored(void)
{
    static const struct event tries[] = {BY(INIT, -1, -1), AT(TIME_OUT, START_MS + TIMEOUT_MS + 1),
                                         BY(INIT, 7, 5), BY(INIT, 7, 6)};
    struct txn *txn = txn_in(TXN_ONGOING);
    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        struct txn_step step;
        CU_ASSERT_FATAL(happen(txn, &tries[i], &step) && step.store);
        CU_ASSERT(step.next.state == TXN_PREPARE_ABORT && step.next.epoch == 6);
        txn_not_stored(txn, &step.next);
        CU_ASSERT(txn->is.state == TXN_ONGOING && txn->is.epoch == 6);
        CU_ASSERT_EQUAL(txn_partitions_count(txn->is.partitions), 2);
        CU_ASSERT_EQUAL(happens(txn, (struct event)WITH(ADD, 7, 5, "a-0")), ERR_PRODUCER_FENCED);
        CU_ASSERT_EQUAL(happens(txn, (struct event)BY(COMMIT, 7, 5)), ERR_PRODUCER_FENCED);
        CU_ASSERT_EQUAL(verify(txn, (struct txn_producer){ID, EPOCH}, "a-0"), ERR_PRODUCER_FENCED);
    }
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, -1, -1)), ERR_CONCURRENT_TRANSACTIONS);
    CU_ASSERT(txn->is.state == TXN_PREPARE_ABORT && txn->is.epoch == 6);
    CU_ASSERT_EQUAL(happens(txn, (struct event)AT(MARKERS, NOW_MS)), OK);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, -1, -1)), OK);
    CU_ASSERT_EQUAL(txn->is.epoch, 7);
    /* the next transaction is another one: it is raised again */
    CU_ASSERT_EQUAL(happens(txn, (struct event)WITH(ADD, 7, 7, "a-0")), OK);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, -1, -1)), ERR_CONCURRENT_TRANSACTIONS);
    CU_ASSERT_EQUAL(txn->is.epoch, 8);
    txn_free(txn);
}

/* That a transaction is complete is tried for as long as it takes, and nothing else meanwhile. */
static void test_completion_that_is_not_stored(void)
{
    struct txn *txn = txn_in(TXN_PREPARE_COMMIT);
    for (int i = 0; i < 3; i++) {
        struct txn_step step;
        CU_ASSERT(txn_is_prepared(txn->is.state));
        txn_markers_written(txn, NOW_MS + i, &step);
        CU_ASSERT_EQUAL(step.next.update_ms, NOW_MS + i);
        txn_not_stored(txn, &step.next);
        CU_ASSERT_EQUAL(happens(txn, (struct event)BY(INIT, -1, -1)), ERR_CONCURRENT_TRANSACTIONS);
        CU_ASSERT_EQUAL(happens(txn, (struct event)BY(ABORT, 7, 5)), ERR_CONCURRENT_TRANSACTIONS);
        CU_ASSERT_EQUAL(txn_partitions_count(txn->is.partitions), 2);
    }
    CU_ASSERT_EQUAL(happens(txn, (struct event)AT(MARKERS, NOW_MS)), OK);
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(COMMIT, 7, 5)), OK);
    txn_free(txn);
}

/* An outcome that was not stored is none: the other one may still be. */
static void test_outcome_that_is_not_stored(void)
{
    struct txn_step step;
    struct txn *txn = txn_in(TXN_ONGOING);
    CU_ASSERT(happen(txn, &(struct event)BY(COMMIT, 7, 5), &step) && step.store);
    txn_not_stored(txn, &step.next);
    CU_ASSERT_FALSE(txn_is_prepared(txn->is.state));
    CU_ASSERT_EQUAL(happens(txn, (struct event)BY(ABORT, 7, 5)), OK);
    CU_ASSERT(txn->is.state == TXN_PREPARE_ABORT && txn->is.epoch == EPOCH);
    txn_free(txn);
}

SUITE("txn", TEST(test_every_event_in_every_state), TEST(test_every_event_while_pending),
      TEST(test_verify_while_pending), TEST(test_new_id), TEST(test_start_is_told),
      TEST(test_fenced_by_another), TEST(test_loaded), TEST(test_clock_that_was_ahead),
      TEST(test_epochs_run_out), TEST(test_fence_at_the_last_epoch), TEST(test_no_fresh_id_at_hand),
      TEST(test_retry_over_a_rotation), TEST(test_retries), TEST(test_fence_that_is_not_stored),
      TEST(test_completion_that_is_not_stored), TEST(test_outcome_that_is_not_stored))
