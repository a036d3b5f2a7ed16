/* Who is in sync with a leader: when it wants its ISR larger or smaller, what holds while it does, and
 * what each answer of the controller makes of it. The leader is broker 1, of replicas 1, 2 and 3. */
#include "broker/tests/partition_util.h"

#include "protocol/error.h"

enum { ME = 1, OTHER = 2, THIRD = 3, LAG_MS = 1000, EPOCH = 4, PARTITION_EPOCH = 7 };

static struct {
    struct place place;
    struct partition_env env;
    struct kept kept;
    struct partition *p;
    struct arena arena;
    int wanted_n; /* how often the partition has said that it wants something */
    int behind_n;
    int woken_n;
    int32_t dead; /* 0: nobody */
} t;

static void on_wanted(void *context, struct partition *p)
{
    CU_ASSERT(context == &t && p == t.p);
    t.wanted_n++;
}

static void on_behind(void *context, struct partition *p)
{
    CU_ASSERT(context == &t && p == t.p);
    t.behind_n++;
}

static bool is_alive(void *context, int32_t id)
{
    CU_ASSERT_PTR_EQUAL(context, &t);
    return id != t.dead;
}

static void become(int32_t leader, int32_t leader_epoch, int32_t isr_n)
{
    static const int32_t ALL[] = {ME, OTHER, THIRD};
    struct partition_state state = {.leader = leader,
                                    .leader_epoch = leader_epoch,
                                    .partition_epoch = PARTITION_EPOCH,
                                    .isr = {.ids = ALL, .count = isr_n},
                                    .replicas = {.ids = ALL, .count = 3}};
    struct role_change change;
    MUST(partition_become(t.p, &state, &change));
}

static void set_min_insync(int32_t min)
{
    struct log_config config = log_config_default();
    config.min_insync_replicas = min;
    partition_set_config(t.p, &config);
}

/* Leads, with the first `isr_n` in sync. */
static void begin(int32_t isr_n)
{
    memset(&t, 0, sizeof(t));
    place_make(&t.place);
    arena_init(&t.arena, 1 << 20);
    t.env = (struct partition_env){.broker_id = ME,
                                   .clock = &t.place.clock.clock,
                                   .replica_lag_ms = LAG_MS,
                                   .is_alive = is_alive,
                                   .alive_context = &t,
                                   .isr_wanted = on_wanted,
                                   .behind = on_behind,
                                   .isr_context = &t};
    kept_open(&t.kept, &t.place, &t.env, (struct topic_partition){STR("t"), 0}, (struct uuid){{9}});
    t.p = t.kept.p;
    become(ME, EPOCH, isr_n);
}

static void end(void)
{
    kept_close(&t.kept);
    arena_deinit(&t.arena);
    place_remove(&t.place);
}

/* ---- what happens ---- */

static void append(int count)
{
    kept_append(&t.kept, count);
}

static err append_all(struct partition_append *appended)
{
    struct writer w;
    writer_init(&w, 1 << 20);
    make_batch(&w, &(struct batch_spec){.count = 1}, 0);
    err e = partition_append(t.p, w.data, w.len, APPEND_CLIENT, -1, appended);
    writer_deinit(&w);
    return e;
}

/* It was read in this leader epoch. */
static void fetched_in(int32_t leader_epoch, int32_t id, int64_t offset)
{
    const struct replica_fetch fetch = {.offset = offset,
                                        .leader_end_offset = plog_end_offset(t.kept.log),
                                        .leader_epoch = leader_epoch};
    partition_replica_fetched(t.p, id, &fetch);
}

static void fetched(int32_t id, int64_t offset)
{
    fetched_in(partition_role(t.p).leader_epoch, id, offset);
}

static void pass(int64_t ms)
{
    t.place.clock.now_ms += ms;
}

static bool check_lag(void)
{
    return partition_check_lag(t.p, clock_monotonic_ms(&t.place.clock.clock));
}

static int64_t high_watermark(void)
{
    return partition_high_watermark(t.p);
}

/* ---- what it wants ---- */

/* The ISR that it wants, as figures (123); 0: nothing. */
static int wants(struct isr_proposal *proposal)
{
    int isr = 0;
    if (!partition_isr_proposal(t.p, &t.arena, proposal)) {
        return 0;
    }
    for (int32_t i = 0; i < proposal->isr.count; i++) {
        isr = isr * 10 + proposal->isr.ids[i];
    }
    return isr;
}

static int wanted(void)
{
    struct isr_proposal proposal;
    return wants(&proposal);
}

static bool answer(const struct isr_proposal *proposal, err error, int32_t leader_epoch,
                   int32_t partition_epoch, const struct replica_set *isr)
{
    const struct isr_answer in = {
        .leader_epoch = leader_epoch, .partition_epoch = partition_epoch, .isr = *isr};
    return partition_isr_answered(t.p, proposal, error, &in);
}

/* As it wants it. */
static void grant(void)
{
    struct isr_proposal proposal;
    CU_ASSERT_FATAL(wants(&proposal) > 0);
    bool again =
        answer(&proposal, OK, proposal.leader_epoch, proposal.partition_epoch + 1, &proposal.isr);
    CU_ASSERT(!again && wanted() == 0);
}

/* What the controller says to what is wanted; true: it must be asked again. */
static bool refuse(err error)
{
    struct isr_proposal proposal;
    CU_ASSERT_FATAL(wants(&proposal) > 0);
    return answer(&proposal, error, 0, 0, &(struct replica_set){0});
}

/* ---- joining ---- */

static void test_joins(void)
{
    struct isr_proposal proposal;
    begin(1);
    append(3);
    CU_ASSERT_EQUAL(high_watermark(), 3);
    fetched(OTHER, 2);
    CU_ASSERT_EQUAL(wanted(), 0);
    fetched(OTHER, 3);
    CU_ASSERT_EQUAL(wants(&proposal), 12);
    CU_ASSERT_EQUAL(t.wanted_n, 1);
    CU_ASSERT(proposal.leader_epoch == EPOCH && proposal.partition_epoch == PARTITION_EPOCH);
    fetched(OTHER, 3);
    fetched(THIRD, 3);
    CU_ASSERT_EQUAL(t.wanted_n, 1); /* one change at a time */
    grant();
    fetched(THIRD, 3);
    CU_ASSERT_EQUAL(wants(&proposal), 123); /* in the order in which they joined */
    CU_ASSERT_EQUAL(proposal.partition_epoch, PARTITION_EPOCH + 1);
    grant();
    fetched(THIRD, 3);
    CU_ASSERT_EQUAL(t.wanted_n, 2);
    end();
}

/* Everything from before this leadership, though no high watermark says so yet. */
static void test_joins_not_before_the_epoch(void)
{
    begin(3);
    append(2);
    become(OTHER, EPOCH + 1, 3);
    become(ME, EPOCH + 2, 2);
    CU_ASSERT_EQUAL(high_watermark(), 0);
    fetched(THIRD, 1);
    CU_ASSERT_EQUAL(wanted(), 0);
    fetched(THIRD, 2);
    CU_ASSERT_EQUAL(wanted(), 123);
    end();
}

/* What a follower had in another leader epoch, before it was cut perhaps, says nothing of this one. */
static void test_fetch_of_another_epoch(void)
{
    begin(1);
    append(4);
    become(ME, EPOCH + 1, 1);
    fetched_in(EPOCH, OTHER, 4);
    CU_ASSERT_EQUAL(t.wanted_n, 0);
    fetched_in(EPOCH + 1, OTHER, 4);
    CU_ASSERT_EQUAL(t.wanted_n, 1);
    end();
}

static void test_dead_does_not_join(void)
{
    begin(1);
    t.dead = OTHER;
    fetched(OTHER, 0);
    CU_ASSERT_EQUAL(wanted(), 0);
    t.dead = 0;
    fetched(OTHER, 0);
    CU_ASSERT_EQUAL(wanted(), 12);
    end();
}

static void test_stranger_does_not_join(void)
{
    begin(1);
    fetched(77, 0);
    CU_ASSERT_EQUAL(wanted(), 0);
    become(OTHER, EPOCH + 1, 1);
    fetched(THIRD, 0); /* nor where another one leads */
    CU_ASSERT(wanted() == 0 && t.wanted_n == 0);
    end();
}

/* Who is about to join holds the high watermark back already: the controller may know it as in sync. */
static void test_high_watermark_while_it_joins(void)
{
    begin(1);
    append(1);
    fetched(OTHER, 1);
    CU_ASSERT_EQUAL(wanted(), 12);
    pass(100 * LAG_MS);
    append(1);
    CU_ASSERT_EQUAL(high_watermark(), 1);
    grant();
    CU_ASSERT_EQUAL(high_watermark(), 1);
    fetched(OTHER, 2);
    CU_ASSERT_EQUAL(high_watermark(), 2);
    end();
}

/* ---- leaving ---- */

static void test_leaves(void)
{
    begin(3);
    append(1);
    CU_ASSERT_EQUAL(t.behind_n, 1);
    fetched(OTHER, 1);
    CU_ASSERT(check_lag()); /* the third one is behind, and may be */
    pass(LAG_MS);
    CU_ASSERT(check_lag());
    CU_ASSERT_EQUAL(wanted(), 0);
    pass(1);
    CU_ASSERT(check_lag());
    CU_ASSERT_EQUAL(wanted(), 12); /* it had all a moment ago, and nothing has come since */
    CU_ASSERT_EQUAL(high_watermark(), 0);
    grant();
    CU_ASSERT_EQUAL(high_watermark(), 1);
    CU_ASSERT(!check_lag());
    end();
}

/* The leader stays, whoever goes. */
static void test_all_leave(void)
{
    begin(3);
    append(1);
    pass(LAG_MS + 1);
    CU_ASSERT(check_lag());
    CU_ASSERT_EQUAL(wanted(), 1);
    grant();
    CU_ASSERT_EQUAL(high_watermark(), 1);
    append(1);
    CU_ASSERT_EQUAL(high_watermark(), 2);
    end();
}

/* A member that is always a little behind, but has what was there at its last fetch. */
static void test_keeps_up(void)
{
    begin(2);
    append(1);
    for (int i = 1; i < 10; i++) {
        fetched(OTHER, i - 1);
        append(1);
        pass(LAG_MS / 2);
        CU_ASSERT(check_lag());
        fetched(OTHER, i);
        CU_ASSERT_EQUAL(wanted(), 0);
    }
    end();
}

/* Nobody is behind while nobody writes, however long it is silent; said once when that changes. */
static void test_nobody_writes(void)
{
    begin(2);
    fetched(OTHER, 0);
    pass(100 * LAG_MS);
    CU_ASSERT(!check_lag());
    int before = t.behind_n;
    append(1);
    append(1);
    CU_ASSERT_EQUAL(t.behind_n, before + 1);
    fetched(OTHER, 2);
    CU_ASSERT(!check_lag());
    append(1);
    CU_ASSERT_EQUAL(t.behind_n, before + 2);
    end();
}

/* Who is to leave holds the high watermark until the controller has agreed. */
static void test_high_watermark_while_it_leaves(void)
{
    begin(2);
    append(1);
    pass(LAG_MS + 1);
    CU_ASSERT(check_lag());
    CU_ASSERT_EQUAL(wanted(), 1);
    append(1);
    CU_ASSERT_EQUAL(high_watermark(), 0);
    fetched(OTHER, 1);
    CU_ASSERT_EQUAL(high_watermark(), 1); /* it still counts */
    grant();
    CU_ASSERT_EQUAL(high_watermark(), 2);
    end();
}

/* While one is to join nobody is put out; afterwards it is seen at the next look. */
static void test_one_change_at_a_time(void)
{
    begin(2);
    append(1);
    fetched(THIRD, 1);
    CU_ASSERT_EQUAL(wanted(), 123);
    pass(LAG_MS + 1);
    CU_ASSERT(check_lag());
    CU_ASSERT_EQUAL(wanted(), 123);
    grant();
    CU_ASSERT(check_lag());
    CU_ASSERT_EQUAL(wanted(), 13);
    end();
}

/* ---- answers (reference: zookeeper §5.5) ---- */

/* What was committed holds, and a change may be wanted anew. */
static void check_reverts(err error)
{
    begin(1);
    append(1);
    fetched(OTHER, 1);
    append(1);
    CU_ASSERT_EQUAL(high_watermark(), 1);
    pass(LAG_MS + 1);
    CU_ASSERT(!refuse(error));
    CU_ASSERT_EQUAL(wanted(), 0);
    CU_ASSERT_EQUAL(high_watermark(), 2);
    fetched(OTHER, 2);
    CU_ASSERT_EQUAL(wanted(), 12);
    end();
}

/* The controller knows something newer, which is on its way: until then all is as it was. */
static void check_waits(err error)
{
    begin(1);
    append(1);
    fetched(OTHER, 1);
    append(1);
    CU_ASSERT(!refuse(error));
    pass(100 * LAG_MS);
    append(1);
    CU_ASSERT_EQUAL(high_watermark(), 1); /* it may be a member by now */
    fetched(THIRD, 3);
    CU_ASSERT_EQUAL(t.wanted_n, 1);
    become(ME, EPOCH + 1, 1);
    CU_ASSERT_EQUAL(wanted(), 0);
    CU_ASSERT_EQUAL(high_watermark(), 3);
    fetched(OTHER, 3);
    CU_ASSERT_EQUAL(wanted(), 12);
    end();
}

static void check_again(err error)
{
    begin(1);
    fetched(OTHER, 0);
    CU_ASSERT(refuse(error));
    CU_ASSERT_EQUAL(wanted(), 12);
    grant();
    end();
}

static void test_answers(void)
{
    check_reverts(ERR_OPERATION_NOT_ATTEMPTED);
    check_reverts(ERR_INELIGIBLE_REPLICA);
    check_waits(ERR_UNKNOWN_TOPIC_OR_PARTITION);
    check_waits(ERR_UNKNOWN_TOPIC_ID);
    check_waits(ERR_FENCED_LEADER_EPOCH);
    check_waits(ERR_INVALID_UPDATE_VERSION);
    check_waits(ERR_INVALID_REQUEST);
    check_again(ERR_UNKNOWN_SERVER_ERROR);
    check_again(ERR_NOT_CONTROLLER);
    check_again(999);
}

/* The controller's ISR counts, which need not be the one that was wanted. */
static void test_another_isr(void)
{
    static const int32_t ISR[] = {ME, THIRD};
    struct isr_proposal proposal;
    begin(1);
    fetched(OTHER, 0);
    CU_ASSERT_EQUAL(wants(&proposal), 12);
    CU_ASSERT(!answer(&proposal, OK, EPOCH, PARTITION_EPOCH, &(struct replica_set){ISR, 2}));
    append(1);
    fetched(OTHER, 1);
    CU_ASSERT_EQUAL(wants(&proposal), 132);
    CU_ASSERT_EQUAL(proposal.partition_epoch, PARTITION_EPOCH);
    CU_ASSERT_EQUAL(high_watermark(), 0); /* the third one is in sync */
    end();
}

/* Who joins is who has fetched so far, and not the next one under its id, which has nothing. */
static void test_joins_in_its_life(void)
{
    struct isr_proposal proposal;
    begin(1);
    append(3);
    struct replica_fetch fetch = {
        .offset = 3, .leader_end_offset = 3, .leader_epoch = EPOCH, .broker_epoch = 7};
    (void)partition_replica_fetched(t.p, OTHER, &fetch);
    CU_ASSERT_EQUAL(wants(&proposal), 12);
    CU_ASSERT(proposal.broker_epochs[0] == -1 && proposal.broker_epochs[1] == 7);
    fetch.offset = 0;
    fetch.broker_epoch = 8;
    (void)partition_replica_fetched(t.p, OTHER, &fetch);
    CU_ASSERT_EQUAL(wants(&proposal), 12);
    CU_ASSERT_EQUAL(proposal.broker_epochs[1], 7);
    end();
}

/* An answer of another epoch, or older than what is known, says nothing. */
static void test_answers_of_another_time(void)
{
    struct isr_proposal proposal;
    begin(1);
    fetched(OTHER, 0);
    CU_ASSERT_EQUAL(wants(&proposal), 12);
    CU_ASSERT(!answer(&proposal, OK, EPOCH + 1, PARTITION_EPOCH + 1, &proposal.isr));
    CU_ASSERT_EQUAL(wanted(), 12);
    CU_ASSERT(!answer(&proposal, OK, EPOCH, PARTITION_EPOCH - 1, &proposal.isr));
    CU_ASSERT_EQUAL(wanted(), 12);
    become(ME, EPOCH + 1, 1);
    fetched(OTHER, 0);
    CU_ASSERT_EQUAL(wanted(), 12);
    CU_ASSERT(!answer(&proposal, OK, EPOCH, PARTITION_EPOCH + 1, &proposal.isr));
    CU_ASSERT(!answer(&proposal, ERR_INELIGIBLE_REPLICA, 0, 0, &(struct replica_set){0}));
    CU_ASSERT(!answer(&proposal, ERR_UNKNOWN_SERVER_ERROR, 0, 0, &(struct replica_set){0}));
    CU_ASSERT_EQUAL(wanted(), 12); /* the new leadership's own wish */
    become(OTHER, EPOCH + 2, 1);
    CU_ASSERT_EQUAL(wanted(), 0);
    CU_ASSERT(!answer(&proposal, OK, EPOCH, PARTITION_EPOCH + 1, &proposal.isr));
    end();
}

/* ---- min.insync.replicas ---- */

/* What is committed decides on an append; the larger of both on an acknowledgement. */
static void test_min_insync(void)
{
    struct partition_append appended;
    bool yes = false;
    begin(1);
    set_min_insync(2);
    CU_ASSERT_EQUAL(append_all(&appended), ERR_NOT_ENOUGH_REPLICAS);
    CU_ASSERT_EQUAL(appended.log_start_offset, 0);
    append(1); /* acks=1 is taken, and nobody sees it */
    CU_ASSERT_EQUAL(high_watermark(), 0);
    fetched(OTHER, 1);
    CU_ASSERT_EQUAL(wanted(), 12);
    CU_ASSERT_EQUAL(append_all(&appended), ERR_NOT_ENOUGH_REPLICAS); /* not committed yet */
    CU_ASSERT_EQUAL(high_watermark(), 0);
    grant();
    CU_ASSERT_EQUAL(high_watermark(), 1);
    MUST(append_all(&appended));
    CU_ASSERT_EQUAL(appended.result.base_offset, 1);
    pass(LAG_MS + 1);
    CU_ASSERT(check_lag());
    CU_ASSERT_EQUAL(wanted(), 1);
    fetched(OTHER, 2); /* it comes in the last moment */
    MUST(partition_is_committed(t.p, &appended, -1, &yes));
    CU_ASSERT(yes);
    grant();
    CU_ASSERT_EQUAL(partition_is_committed(t.p, &appended, -1, &yes),
                    ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND);
    append(1);
    CU_ASSERT_EQUAL(high_watermark(), 2); /* it stands until there are enough again */
    end();
}

/* Members that are on their way count for an acknowledgement that was under way before. */
static void test_min_insync_while_it_joins(void)
{
    struct partition_append appended;
    bool yes = false;
    begin(1);
    MUST(append_all(&appended));
    fetched(OTHER, 1);
    set_min_insync(2);
    MUST(partition_is_committed(t.p, &appended, -1, &yes));
    CU_ASSERT(yes);
    end();
}

/* ---- at the end of a reassignment ---- */

/* The third is a replica no more, and in the ISR until the controller drops it. */
static void leave_third(int32_t leader_epoch, int32_t isr_n)
{
    static const int32_t ALL[] = {ME, OTHER, THIRD};
    struct partition_state state = {.leader = ME,
                                    .leader_epoch = leader_epoch,
                                    .partition_epoch = PARTITION_EPOCH + 1,
                                    .isr = {.ids = ALL, .count = isr_n},
                                    .replicas = {.ids = ALL, .count = 2}};
    struct role_change change;
    MUST(partition_become(t.p, &state, &change));
}

/* Another controller may come before that, and have it lead. */
static void test_high_watermark_while_it_is_dropped(void)
{
    begin(3);
    append(2);
    fetched(OTHER, 2);
    fetched(THIRD, 1);
    leave_third(EPOCH + 1, 3);
    fetched(OTHER, 2);
    CU_ASSERT_EQUAL(high_watermark(), 1);
    leave_third(EPOCH + 2, 2);
    CU_ASSERT_EQUAL(high_watermark(), 2);
    end();
}

/* No controller drops it: it lags. */
static void test_leaves_without_a_replica(void)
{
    begin(3);
    leave_third(EPOCH + 1, 3);
    append(1);
    fetched(OTHER, 1);
    pass(LAG_MS + 1);
    CU_ASSERT(check_lag());
    CU_ASSERT_EQUAL(wanted(), 12);
    grant();
    CU_ASSERT_EQUAL(high_watermark(), 1);
    end();
}

/* ---- the low watermark ---- */

/* It has all, and its log begins there. */
static void fetched_from(int32_t id, int64_t log_start_offset)
{
    const struct replica_fetch fetch = {.offset = plog_end_offset(t.kept.log),
                                        .log_start_offset = log_start_offset,
                                        .leader_end_offset = plog_end_offset(t.kept.log),
                                        .leader_epoch = partition_role(t.p).leader_epoch};
    partition_replica_fetched(t.p, id, &fetch);
}

static int64_t low_watermark(void)
{
    int64_t low = 0;
    MUST(partition_low_watermark(t.p, &low));
    return low;
}

static void on_wake(struct waiter *waiter)
{
    (void)waiter;
    t.woken_n++;
}

/* Nobody counts whose broker is dead; who has not told holds it back. */
static void test_low_watermark(void)
{
    struct partition_deletion deletion;
    struct waiter waiter = {.wake = on_wake};
    struct watch watch = {.waiter = &waiter, .offset = 6, .starts = true};
    begin(3);
    append(10);
    CU_ASSERT_EQUAL(low_watermark(), -1);
    fetched_from(OTHER, 0);
    CU_ASSERT_EQUAL(low_watermark(), -1);
    fetched_from(THIRD, 0);
    CU_ASSERT_EQUAL(low_watermark(), 0);
    MUST(partition_delete_records(t.p, 6, &deletion));
    CU_ASSERT(deletion.required_offset == 6 && deletion.low_watermark == 0);
    watch_add(&watch, t.p);
    append(1); /* the high watermark is nothing to it */
    fetched_from(OTHER, 6);
    fetched_from(THIRD, 5);
    CU_ASSERT_EQUAL(low_watermark(), 5);
    CU_ASSERT_EQUAL(t.woken_n, 0);
    t.dead = THIRD;
    partition_reconsider(t.p);
    CU_ASSERT(t.woken_n == 1 && low_watermark() == 6);
    t.dead = 0;
    fetched_from(THIRD, 6);
    CU_ASSERT_EQUAL(t.woken_n, 2);
    watch_remove(&watch);
    watch_add(&watch, t.p); /* it has happened before */
    CU_ASSERT_EQUAL(t.woken_n, 3);
    watch_remove(&watch);
    MUST(partition_delete_records(t.p, -1, &deletion));
    CU_ASSERT(deletion.required_offset == 11 && deletion.low_watermark == 6);
    MUST(partition_delete_records(t.p, 2, &deletion)); /* below the start: nothing to wait for */
    CU_ASSERT(deletion.required_offset == 2 && deletion.low_watermark == 6);
    watch.offset = 11;
    watch_add(&watch, t.p);
    become(OTHER, EPOCH + 1, 3);
    CU_ASSERT_EQUAL(t.woken_n, 4);
    int64_t low = 0;
    CU_ASSERT_EQUAL(partition_low_watermark(t.p, &low), ERR_NOT_LEADER_OR_FOLLOWER);
    watch_remove(&watch);
    end();
}

SUITE("partition_isr", TEST(test_joins), TEST(test_joins_not_before_the_epoch),
      TEST(test_fetch_of_another_epoch), TEST(test_dead_does_not_join),
      TEST(test_stranger_does_not_join), TEST(test_high_watermark_while_it_joins),
      TEST(test_leaves), TEST(test_all_leave), TEST(test_keeps_up), TEST(test_nobody_writes),
      TEST(test_high_watermark_while_it_leaves), TEST(test_one_change_at_a_time),
      TEST(test_answers), TEST(test_another_isr), TEST(test_joins_in_its_life),
      TEST(test_answers_of_another_time), TEST(test_min_insync),
      TEST(test_min_insync_while_it_joins), TEST(test_high_watermark_while_it_is_dropped),
      TEST(test_leaves_without_a_replica), TEST(test_low_watermark))
