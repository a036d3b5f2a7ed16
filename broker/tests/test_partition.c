/* One partition, without a broker: its role, the high watermark, who waits for it, and what an
 * acknowledgement needs. */
#include "broker/replica/partition.h"
#include "broker/replica/read.h"

#include "storage/tests/util.h"

enum { ME = 1, OTHER = 2, THIRD = 3, LAG_MS = 1000 };

static struct {
    struct place place;
    struct loop *flush;
    struct partition_env env;
    struct plog *log;
    struct partition *p;
    struct follower_position position; /* as it was told last */
    int checkpoints;
} t;

static void on_checkpoint(void *context)
{
    (void)context;
    t.checkpoints++;
}

static void begin_with(struct log_config config)
{
    memset(&t, 0, sizeof(t));
    place_make(&t.place);
    MUST(loop_new(&t.place.clock.clock, sockets_system(), &t.flush));
    t.env = (struct partition_env){.broker_id = ME,
                                   .clock = &t.place.clock.clock,
                                   .replica_lag_ms = LAG_MS,
                                   .flush = t.flush,
                                   .upkeep_due = on_checkpoint};
    t.log = must_open(&t.place, &(struct how){.config = config, .clean = true});
    t.p = partition_new(plog_name(t.log), (struct uuid){{9}}, &t.env, t.log, 0);
}

static void begin(void)
{
    begin_with(log_config_default());
}

/* Nothing is acknowledged before it is on the disk. */
static void begin_durable(void)
{
    struct log_config config = log_config_default();
    config.flush_messages = 1;
    begin_with(config);
}

static void end(void)
{
    (void)partition_detach_log(t.p, ERR_NOT_LEADER_OR_FOLLOWER);
    loop_drain(t.flush);
    partition_release(t.p);
    loop_free(t.flush);
    MUST(plog_close(t.log));
    place_remove(&t.place);
}

/* ---- what the controller says ---- */

static struct role_change become(int32_t leader, int32_t leader_epoch)
{
    static const int32_t REPLICAS[] = {ME, OTHER};
    struct partition_state state = {.leader = leader,
                                    .leader_epoch = leader_epoch,
                                    .isr = {.ids = &leader, .count = 1},
                                    .replicas = {.ids = REPLICAS, .count = 2}};
    struct role_change change;
    MUST(partition_become(t.p, &state, &change));
    return change;
}

/* ---- what clients and leaders send ---- */

static struct partition_append appended(int16_t acks, int count)
{
    struct partition_append append;
    struct writer w;
    writer_init(&w, 1 << 20);
    make_batch(&w, &(struct batch_spec){.count = count}, 0);
    MUST(partition_append(t.p, w.data, w.len, APPEND_CLIENT, acks, &append));
    writer_deinit(&w);
    return append;
}

static err append_error(int16_t acks)
{
    struct partition_append append;
    struct writer w;
    writer_init(&w, 1 << 20);
    make_batch(&w, &(struct batch_spec){.count = 1}, 0);
    err e = partition_append(t.p, w.data, w.len, APPEND_CLIENT, acks, &append);
    writer_deinit(&w);
    return e;
}

static err follow(int32_t leader_epoch, int64_t offset, int count, int64_t high_watermark)
{
    struct writer w;
    writer_init(&w, 1 << 20);
    make_batch(&w, &(struct batch_spec){.count = count}, offset);
    store_u64(w.data, (uint64_t)offset);
    store_u32(w.data + 12, (uint32_t)leader_epoch);
    const struct fetched fetched = {
        .offset = offset, .batches = w.data, .len = w.len, .high_watermark = high_watermark};
    err e = partition_append_as_follower(t.p, leader_epoch, &fetched, &t.position);
    writer_deinit(&w);
    return e;
}

static err committed(const struct partition_append *append, int16_t acks, bool *yes)
{
    return partition_is_committed(t.p, append, acks, yes);
}

/* ---- somebody who waits ---- */

struct waiting {
    struct waiter waiter;
    struct watch watch;
    int woken;
};

static void on_wake(struct waiter *waiter)
{
    container_of(waiter, struct waiting, waiter)->woken++;
}

static void wait_for_append(struct waiting *w, const struct partition_append *append)
{
    *w = (struct waiting){.waiter.wake = on_wake};
    w->watch = (struct watch){.waiter = &w->waiter,
                              .offset = append->required_offset,
                              .leader_epoch = append->leader_epoch};
    watch_add(&w->watch, t.p);
}

/* ---- tests ---- */

static void test_leads_and_appends(void)
{
    begin();
    CU_ASSERT_EQUAL(append_error(1), ERR_NOT_LEADER_OR_FOLLOWER);
    struct role_change change = become(ME, 3);
    CU_ASSERT(!change.led && change.leads && !change.uninterrupted);
    struct partition_append append = appended(-1, 4);
    CU_ASSERT_EQUAL(append.result.base_offset, 0);
    CU_ASSERT_EQUAL(append.required_offset, 4);
    CU_ASSERT_EQUAL(append.leader_epoch, 3);
    CU_ASSERT(append.committed);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 4);
    CU_ASSERT_EQUAL(t.checkpoints, 1);
    end();
}

static void test_epochs_are_fenced(void)
{
    begin();
    (void)become(ME, 3);
    struct plog *log = NULL;
    CU_ASSERT_EQUAL(partition_pin(t.p, 2, false, &log), ERR_FENCED_LEADER_EPOCH);
    CU_ASSERT_EQUAL(partition_pin(t.p, 4, false, &log), ERR_UNKNOWN_LEADER_EPOCH);
    MUST(partition_pin(t.p, 3, false, &log));
    CU_ASSERT_PTR_EQUAL(log, t.log);
    partition_unpin(t.p, log);
    struct partition_state stale = {.leader = OTHER, .leader_epoch = 3};
    struct role_change change;
    CU_ASSERT_EQUAL(partition_become(t.p, &stale, &change), ERR_STALE_CONTROLLER_EPOCH);
    CU_ASSERT(partition_role(t.p).leads);
    bool led = false;
    CU_ASSERT_EQUAL(partition_resign(t.p, 2, &led), ERR_FENCED_LEADER_EPOCH);
    CU_ASSERT(partition_role(t.p).leads);
    MUST(partition_resign(t.p, 3, &led));
    CU_ASSERT(led && !partition_role(t.p).leads);
    CU_ASSERT_EQUAL(append_error(1), ERR_NOT_LEADER_OR_FOLLOWER);
    (void)become(ME, 4);
    MUST(partition_resign(t.p, LEADER_EPOCH_DURING_DELETE, &led));
    CU_ASSERT_EQUAL(append_error(1), ERR_UNKNOWN_TOPIC_OR_PARTITION); /* as when it is gone */
    (void)become(ME, 5);
    MUST(append_error(1));
    end();
}

static void test_waits_for_the_disk(void)
{
    begin_durable();
    (void)become(ME, 1);
    struct partition_append append = appended(-1, 2);
    bool yes = true;
    CU_ASSERT(!append.committed);
    MUST(committed(&append, -1, &yes));
    CU_ASSERT(!yes);
    struct waiting w;
    wait_for_append(&w, &append);
    CU_ASSERT_EQUAL(w.woken, 0);
    loop_drain(t.flush);
    CU_ASSERT(w.woken > 0);
    MUST(committed(&append, -1, &yes));
    CU_ASSERT(yes);
    watch_remove(&w.watch);
    watch_remove(&w.watch);
    wait_for_append(&w, &append); /* it has happened already */
    CU_ASSERT_EQUAL(w.woken, 1);
    watch_remove(&w.watch);
    end();
}

static void test_waits_for_bytes(void)
{
    begin();
    (void)become(ME, 1);
    _Atomic int64_t wanted = 100;
    struct waiting w = {.waiter.wake = on_wake};
    w.watch = (struct watch){
        .waiter = &w.waiter, .offset = -1, .seen = partition_seen(t.p), .wanted_bytes = &wanted};
    watch_add(&w.watch, t.p);
    (void)appended(1, 1);
    CU_ASSERT_EQUAL(w.woken, 0);
    CU_ASSERT(wanted < 100 && wanted > 0);
    (void)appended(1, 1);
    CU_ASSERT_EQUAL(w.woken, 1);
    watch_remove(&w.watch);
    watch_add(&w.watch, t.p); /* the high watermark has moved since it looked */
    CU_ASSERT_EQUAL(w.woken, 2);
    watch_remove(&w.watch);
    end();
}

/* The role changes between a reader's look and its watch: nobody wakes it later. */
static void check_change_unseen(void (*change)(void))
{
    begin();
    (void)become(ME, 1);
    _Atomic int64_t wanted = 100;
    struct waiting w = {.waiter.wake = on_wake};
    w.watch = (struct watch){
        .waiter = &w.waiter, .offset = -1, .seen = partition_seen(t.p), .wanted_bytes = &wanted};
    watch_add(&w.watch, t.p);
    CU_ASSERT_EQUAL(w.woken, 0);
    watch_remove(&w.watch);
    change();
    watch_add(&w.watch, t.p);
    CU_ASSERT_EQUAL(w.woken, 1);
    watch_remove(&w.watch);
    end();
}

static void follow_another(void)
{
    (void)become(OTHER, 2);
}

static void resign(void)
{
    bool led = false;
    MUST(partition_resign(t.p, 1, &led));
}

static void resign_for_deletion(void)
{
    bool led = false;
    MUST(partition_resign(t.p, LEADER_EPOCH_DURING_DELETE, &led));
}

static void test_change_between_look_and_watch(void)
{
    check_change_unseen(follow_another);
    check_change_unseen(resign);
    check_change_unseen(resign_for_deletion);
}

/* The lead goes on in the next epoch: what was appended before is still to be acknowledged. */
static void test_elected_again(void)
{
    begin_durable();
    (void)become(ME, 3);
    struct partition_append append = appended(-1, 2);
    struct role_change change = become(ME, 4);
    CU_ASSERT(change.led && change.leads && change.uninterrupted);
    loop_drain(t.flush);
    bool yes = false;
    MUST(committed(&append, -1, &yes));
    CU_ASSERT(yes);
    end();
}

/* Somebody else led in between: the offset is there again, and it is not what was sent. */
static void check_interrupted(void (*interrupt)(void))
{
    begin_durable();
    (void)become(ME, 3);
    struct partition_append append = appended(-1, 2);
    struct waiting w;
    wait_for_append(&w, &append);
    interrupt();
    CU_ASSERT(w.woken > 0);
    watch_remove(&w.watch);
    loop_drain(t.flush);
    CU_ASSERT(partition_high_watermark(t.p) >= append.required_offset);
    bool yes = true;
    CU_ASSERT_EQUAL(committed(&append, -1, &yes), ERR_NOT_LEADER_OR_FOLLOWER);
    CU_ASSERT(!yes);
    struct waiting late;
    wait_for_append(&late, &append);
    CU_ASSERT_EQUAL(late.woken, 1);
    watch_remove(&late.watch);
    struct partition_append fresh = appended(-1, 1);
    loop_drain(t.flush);
    MUST(committed(&fresh, -1, &yes));
    CU_ASSERT(yes);
    end();
}

static void followed_meanwhile(void)
{
    struct role_change change = become(OTHER, 4);
    CU_ASSERT(change.led && !change.leads);
    MUST(partition_truncate(t.p, 4, 0, &t.position));
    MUST(follow(4, 0, 5, 5));
    change = become(ME, 5);
    CU_ASSERT(!change.led && change.leads && !change.uninterrupted);
}

/* An epoch is missing: somebody may have led in it and told us nothing. */
static void heard_nothing(void)
{
    struct role_change change = become(ME, 5);
    CU_ASSERT(change.led && change.leads && !change.uninterrupted);
}

static void resigned_meanwhile(void)
{
    bool led = false;
    MUST(partition_resign(t.p, -1, &led));
    struct role_change change = become(ME, 4);
    CU_ASSERT(!change.led && change.leads && !change.uninterrupted);
}

static void test_interrupted(void)
{
    check_interrupted(followed_meanwhile);
    check_interrupted(heard_nothing);
    check_interrupted(resigned_meanwhile);
}

/* Whoever holds it, waits for it or comes late is told what a look-up would tell now. */
static void check_gone(err gone)
{
    begin_durable();
    (void)become(ME, 3);
    struct partition_append append = appended(-1, 2);
    struct waiting w;
    wait_for_append(&w, &append);
    CU_ASSERT_PTR_EQUAL(partition_detach_log(t.p, gone), t.log);
    CU_ASSERT(w.woken > 0);
    watch_remove(&w.watch);
    bool yes = true;
    struct plog *log = NULL;
    struct role_change change;
    struct partition_state state = {.leader = ME, .leader_epoch = 9};
    CU_ASSERT_EQUAL(committed(&append, -1, &yes), gone);
    CU_ASSERT_EQUAL(partition_pin(t.p, -1, true, &log), gone);
    CU_ASSERT_EQUAL(partition_pin(t.p, 1, false, &log), gone);
    CU_ASSERT_EQUAL(append_error(-1), gone);
    CU_ASSERT_EQUAL(partition_become(t.p, &state, &change), gone);
    CU_ASSERT_EQUAL(follow(3, 0, 1, 0), gone);
    CU_ASSERT_EQUAL(partition_truncate(t.p, 3, 0, &t.position), gone);
    CU_ASSERT_EQUAL(partition_apply_retention(t.p, false), 0);
    partition_flush_if_due(t.p, 1 << 30);
    wait_for_append(&w, &append);
    CU_ASSERT_EQUAL(w.woken, 1);
    watch_remove(&w.watch);
    end();
}

static void test_gone(void)
{
    check_gone(ERR_UNKNOWN_TOPIC_OR_PARTITION);
    check_gone(ERR_NOT_LEADER_OR_FOLLOWER);
}

static void test_in_sync_replicas(void)
{
    struct log_config config = log_config_default();
    config.min_insync_replicas = 2;
    begin_with(config);
    (void)become(ME, 1); /* in sync alone, of two */
    CU_ASSERT_EQUAL(append_error(-1), ERR_NOT_ENOUGH_REPLICAS);
    struct partition_append append = appended(1, 1);
    bool yes = false;
    MUST(committed(&append, 1, &yes));
    CU_ASSERT(append.committed && yes);
    MUST(committed(&append, -1, &yes));
    CU_ASSERT(!yes); /* and no consumer sees it */
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 0);
    config.min_insync_replicas = 1;
    partition_set_config(t.p, &config);
    MUST(committed(&append, -1, &yes));
    CU_ASSERT(yes);
    MUST(append_error(-1));
    config.min_insync_replicas = 2;
    partition_set_config(t.p, &config);
    CU_ASSERT_EQUAL(committed(&append, -1, &yes), ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND);
    end();
}

/* Who compacts is told, though nothing is written. */
static void test_config_is_told(void)
{
    struct log_config config = log_config_default();
    begin();
    config.cleanup_compact = true;
    int told = t.checkpoints;
    partition_set_config(t.p, &config);
    CU_ASSERT_EQUAL(t.checkpoints, told + 1);
    end();
}

/* ---- with followers ---- */

/* This broker leads, with `isr_n` of 1, 2, 3 in sync. */
static void lead_others(int32_t leader_epoch, int32_t isr_n)
{
    static const int32_t ALL[] = {ME, OTHER, THIRD};
    struct partition_state state = {.leader = ME,
                                    .leader_epoch = leader_epoch,
                                    .isr = {.ids = ALL, .count = isr_n},
                                    .replicas = {.ids = ALL, .count = 3}};
    struct role_change change;
    MUST(partition_become(t.p, &state, &change));
}

/* A replica's Fetch, as far as the partition is concerned. Returns how many bytes it got. */
static size_t fetch_as(int32_t id, int64_t offset, err error)
{
    struct arena arena;
    struct read_request request = {.offset = offset,
                                   .leader_epoch = partition_role(t.p).leader_epoch,
                                   .last_fetched_epoch = -1,
                                   .replica_id = id,
                                   .max_bytes = 1 << 20};
    struct read_result result;
    arena_init(&arena, 1 << 20);
    partition_read(t.p, &request, &arena, &result);
    CU_ASSERT_EQUAL(result.error, error);
    size_t len = result.range.len;
    log_range_release(&result.range);
    arena_deinit(&arena);
    return len;
}

/* A replica that is not in sync gets nothing while more has gone than the throttle allows. */
static void test_throttled(void)
{
    struct throttle throttle;
    begin();
    throttle_init(&throttle, &t.place.clock.clock);
    t.env.leader_throttle = &throttle;
    throttle_set_limit(&throttle, 1000);
    lead_others(1, 2);
    (void)appended(1, 3);
    throttle_record(&throttle, 5000);
    CU_ASSERT(fetch_as(THIRD, 0, OK) > 0); /* the partition is not throttled */
    partition_set_throttled(t.p, (struct replica_throttled){.as_follower = true});
    CU_ASSERT(fetch_as(THIRD, 0, OK) > 0);
    partition_set_throttled(t.p, (struct replica_throttled){.as_leader = true});
    CU_ASSERT_EQUAL(fetch_as(THIRD, 0, OK), 0);
    CU_ASSERT(fetch_as(OTHER, 0, OK) > 0);
    t.place.clock.now_ms += 5001;
    CU_ASSERT(fetch_as(THIRD, 0, OK) > 0);
    end();
    throttle_deinit(&throttle);
}

/* The high watermark is what all in sync have, and acks=all waits for it; acks=1 does not. */
static void test_followers_hold_it_back(void)
{
    begin();
    lead_others(1, 2);
    struct partition_append append = appended(-1, 3);
    CU_ASSERT(!append.committed);
    CU_ASSERT(appended(1, 1).committed);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 0);
    struct waiting w;
    wait_for_append(&w, &append);
    CU_ASSERT(fetch_as(OTHER, 0, OK) > 0); /* it sees what consumers do not */
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 0);
    CU_ASSERT_EQUAL(w.woken, 0);
    (void)fetch_as(OTHER, 3, OK);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 3);
    CU_ASSERT_EQUAL(w.woken, 1);
    watch_remove(&w.watch);
    bool yes = false;
    MUST(committed(&append, -1, &yes));
    CU_ASSERT(yes);
    (void)fetch_as(OTHER, 4, OK);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 4);
    (void)fetch_as(OTHER, 2, OK); /* it has cut its log: nothing goes back */
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 4);
    (void)fetch_as(OTHER, 99, ERR_OFFSET_OUT_OF_RANGE);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 4);
    end();
}

/* Who is in sync counts however long nothing was heard of it: only the controller takes it out. */
static void test_silent_member(void)
{
    begin();
    lead_others(1, 2);
    t.place.clock.now_ms += 100 * LAG_MS;
    struct partition_append append = appended(-1, 1);
    (void)fetch_as(THIRD, 1, OK);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 0);
    bool yes = true;
    MUST(committed(&append, -1, &yes));
    CU_ASSERT(!yes);
    end();
}

/* One that is not in sync holds nothing back, unless it has just caught up: then it is about to join. */
static void test_about_to_join(void)
{
    begin();
    lead_others(1, 1);
    (void)appended(1, 2);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 2);
    (void)fetch_as(THIRD, 0, OK);
    (void)appended(1, 1);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 3);
    (void)fetch_as(THIRD, 3, OK); /* it has all */
    (void)appended(1, 1);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 3);
    t.place.clock.now_ms += LAG_MS;
    (void)appended(1, 1);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 3);
    t.place.clock.now_ms += 1;
    (void)appended(1, 1);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 6);
    end();
}

/* A new leader knows nothing of its followers, not even what an earlier leadership has heard of them;
 * it does not tell an end that is too low. */
static void test_new_leadership(void)
{
    begin();
    lead_others(1, 2);
    (void)appended(1, 2);
    (void)fetch_as(OTHER, 2, OK);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 2);
    CU_ASSERT(partition_knows_high_watermark(t.p));
    (void)appended(1, 2);
    lead_others(2, 2); /* goes on: what is known of the follower stays */
    CU_ASSERT(!partition_knows_high_watermark(t.p));
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 2);
    (void)fetch_as(OTHER, 4, OK);
    CU_ASSERT(partition_knows_high_watermark(t.p));
    (void)appended(1, 1);
    lead_others(4, 3); /* somebody may have led in 3 */
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 4);
    (void)fetch_as(OTHER, 5, OK);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 4);
    (void)fetch_as(THIRD, 5, OK);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 5);
    end();
}

/* How far a follower was when somebody else may have led since says nothing: what it has may be that
 * one's. */
static void test_interrupted_leadership(void)
{
    begin();
    lead_others(1, 3);
    (void)appended(1, 5);
    (void)fetch_as(OTHER, 5, OK);
    (void)fetch_as(THIRD, 3, OK);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 3);
    lead_others(3, 2);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 3);
    (void)fetch_as(OTHER, 5, OK);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 5);
    end();
}

static void test_whose_fetch_counts(void)
{
    begin();
    lead_others(3, 2);
    (void)appended(1, 1);
    (void)fetch_as(77, 1, ERR_UNKNOWN_LEADER_EPOCH); /* has no replica */
    int32_t own = -1;
    struct plog *log = NULL;
    CU_ASSERT_EQUAL(partition_pin_for_replica(t.p, -1, 77, &log, &own), ERR_NOT_LEADER_OR_FOLLOWER);
    CU_ASSERT_EQUAL(partition_pin_for_replica(t.p, 2, OTHER, &log, &own), ERR_FENCED_LEADER_EPOCH);
    CU_ASSERT_EQUAL(partition_pin_for_replica(t.p, 4, OTHER, &log, &own), ERR_UNKNOWN_LEADER_EPOCH);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 0);
    (void)become(OTHER, 4);
    (void)fetch_as(OTHER, 1, ERR_NOT_LEADER_OR_FOLLOWER);
    end();
}

/* A replica waits for the end of the log, a consumer for the high watermark. */
static void test_replica_waits_for_bytes(void)
{
    begin();
    lead_others(1, 2);
    _Atomic int64_t replica_wants = 1;
    _Atomic int64_t consumer_wants = 1;
    struct waiting replica = {.waiter.wake = on_wake};
    struct waiting consumer = {.waiter.wake = on_wake};
    replica.watch = (struct watch){.waiter = &replica.waiter,
                                   .offset = -1,
                                   .to_end = true,
                                   .seen = partition_seen(t.p),
                                   .wanted_bytes = &replica_wants};
    consumer.watch = (struct watch){.waiter = &consumer.waiter,
                                    .offset = -1,
                                    .seen = partition_seen(t.p),
                                    .wanted_bytes = &consumer_wants};
    watch_add(&replica.watch, t.p);
    watch_add(&consumer.watch, t.p);
    CU_ASSERT(replica.woken == 0 && consumer.woken == 0);
    (void)appended(1, 1);
    CU_ASSERT(replica.woken == 1 && consumer.woken == 0);
    watch_remove(&replica.watch);
    watch_add(&replica.watch, t.p); /* the end has moved since it looked */
    CU_ASSERT_EQUAL(replica.woken, 2);
    watch_remove(&replica.watch);
    (void)fetch_as(OTHER, 1, OK);
    CU_ASSERT_EQUAL(consumer.woken, 1);
    watch_remove(&consumer.watch);
    end();
}

/* acks=1 where every record is on disk first: it waits for this disk, and for no follower. */
static void test_durable_with_followers(void)
{
    begin_durable();
    lead_others(1, 2);
    struct partition_append append = appended(1, 1);
    struct waiting w = {.waiter.wake = on_wake};
    bool yes = true;
    MUST(committed(&append, 1, &yes));
    CU_ASSERT(!append.committed && !yes);
    w.watch = (struct watch){.waiter = &w.waiter,
                             .offset = append.required_offset,
                             .here = true,
                             .leader_epoch = append.leader_epoch};
    watch_add(&w.watch, t.p);
    CU_ASSERT_EQUAL(w.woken, 0);
    loop_drain(t.flush);
    CU_ASSERT_EQUAL(w.woken, 1);
    watch_remove(&w.watch);
    MUST(committed(&append, 1, &yes));
    CU_ASSERT(yes);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 0);
    end();
}

static void test_follows(void)
{
    begin();
    (void)become(OTHER, 2);
    CU_ASSERT_EQUAL(append_error(1), ERR_NOT_LEADER_OR_FOLLOWER);
    MUST(follow(2, 0, 3, 0));
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 0);
    MUST(follow(2, 3, 3, 100)); /* its high watermark is beyond what is here */
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 6);
    const struct fetched nothing = {.offset = 6, .high_watermark = 6};
    MUST(partition_append_as_follower(t.p, 2, &nothing, &t.position));
    CU_ASSERT_EQUAL(follow(1, 6, 1, 6), ERR_FENCED_LEADER_EPOCH);
    CU_ASSERT_EQUAL(follow(3, 6, 1, 6), ERR_UNKNOWN_LEADER_EPOCH);
    CU_ASSERT_EQUAL(partition_truncate(t.p, 1, 0, &t.position), ERR_FENCED_LEADER_EPOCH);
    CU_ASSERT_EQUAL(plog_end_offset(t.log), 6);
    MUST(partition_truncate(t.p, 2, 3, &t.position));
    CU_ASSERT_EQUAL(plog_end_offset(t.log), 3);
    CU_ASSERT_EQUAL(partition_high_watermark(t.p), 3);
    MUST(follow(2, 3, 1, 4));
    CU_ASSERT_EQUAL(plog_latest_epoch(t.log), 2);
    (void)become(ME, 3);
    CU_ASSERT_EQUAL(follow(3, 4, 1, 4), ERR_NOT_LEADER_OR_FOLLOWER);
    CU_ASSERT_EQUAL(partition_truncate(t.p, 3, 0, &t.position), ERR_NOT_LEADER_OR_FOLLOWER);
    CU_ASSERT_EQUAL(appended(1, 1).result.base_offset, 4);
    end();
}

/* Epoch 1 wrote 0 to 2, epoch 3 wrote 3 to 5: what a reader is told who has the records up to
 * `offset`, the last of them written in `epoch`. */
static void check_read(int64_t offset, int32_t epoch, err error, int32_t diverging_epoch,
                       int64_t diverging_end)
{
    struct arena arena;
    struct read_request request = {.offset = offset,
                                   .leader_epoch = -1,
                                   .last_fetched_epoch = epoch,
                                   .replica_id = -1,
                                   .max_bytes = 1 << 20};
    struct read_result result;
    arena_init(&arena, 1 << 20);
    partition_read(t.p, &request, &arena, &result);
    CU_ASSERT_EQUAL(result.error, error);
    CU_ASSERT_EQUAL(result.diverged, diverging_epoch >= 0);
    if (result.diverged) {
        CU_ASSERT_EQUAL(result.diverging_epoch, diverging_epoch);
        CU_ASSERT_EQUAL(result.diverging_end_offset, diverging_end);
    }
    CU_ASSERT_EQUAL(result.high_watermark, error == OK ? 6 : -1);
    CU_ASSERT_EQUAL(result.range.len > 0, error == OK && !result.diverged && offset < 6);
    log_range_release(&result.range);
    arena_deinit(&arena);
}

static void test_reader_has_diverged(void)
{
    begin();
    (void)become(ME, 1);
    (void)appended(1, 3);
    (void)become(ME, 3);
    (void)appended(1, 3);
    check_read(6, 3, OK, -1, -1);
    check_read(3, 1, OK, -1, -1);
    check_read(4, 1, OK, 1, 3); /* epoch 1 has ended before */
    check_read(4, 2, OK, 1, 3); /* nobody has written here in epoch 2 */
    check_read(4, 0, OK, 0, 0); /* nor in any up to 0 */
    check_read(100, 3, OK, 3, 6);
    check_read(100, -1, ERR_OFFSET_OUT_OF_RANGE, -1, -1);
    check_read(3, 9, ERR_OFFSET_OUT_OF_RANGE, -1, -1); /* an epoch that is to come */
    end();
}

/* A disk that fails lets nobody wait for ever. */
static void fail_next(void)
{
    t.place.fault.fail_at = t.place.fault.calls + 1;
}

static void fail_flush(void)
{
    fail_next();
    loop_drain(t.flush);
}

/* The flush comes to a log that is offline already. */
static void fail_before_flush(void)
{
    fail_next();
    CU_ASSERT_EQUAL(append_error(1), ERR_KAFKA_STORAGE_ERROR);
    loop_drain(t.flush);
}

static void check_disk_fails(void (*fail)(void))
{
    begin_durable();
    (void)become(ME, 1);
    struct partition_append append = appended(-1, 1);
    struct waiting w;
    wait_for_append(&w, &append);
    fail();
    CU_ASSERT(w.woken > 0);
    watch_remove(&w.watch);
    bool yes = true;
    CU_ASSERT_EQUAL(committed(&append, -1, &yes), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT_EQUAL(append_error(1), ERR_KAFKA_STORAGE_ERROR);
    bool led = false;
    CU_ASSERT_EQUAL(partition_resign(t.p, 1, &led), ERR_KAFKA_STORAGE_ERROR);
    CU_ASSERT(led);
    MUST(partition_resign(t.p, LEADER_EPOCH_DURING_DELETE, &led)); /* it may be deleted */
    CU_ASSERT_FALSE(led);
    (void)partition_detach_log(t.p, ERR_NOT_LEADER_OR_FOLLOWER);
    partition_release(t.p);
    loop_free(t.flush);
    plog_abandon(t.log);
    place_remove(&t.place);
}

static void test_disk_fails(void)
{
    check_disk_fails(fail_flush);
    check_disk_fails(fail_before_flush);
}

/* ---- retention ---- */

static void no_lock(void *context)
{
    (void)context;
}

static bool retain_meanwhile(void *context, int64_t bytes)
{
    int *asked = context;
    (void)bytes;
    ++*asked;
    CU_ASSERT_EQUAL(partition_apply_retention(t.p, true), 0);
    return true;
}

/* A log that is cleaned is passed over until that has ended. */
static void test_retention_while_cleaned(void)
{
    struct log_config config = log_config_default();
    config.segment_bytes = 200;
    config.cleanup_compact = true;
    config.retention_bytes = 1;
    begin_with(config);
    become(ME, 1);
    for (int i = 0; i < 8; i++) {
        (void)appended(1, 1);
    }
    MUST(plog_flush(t.log));
    int asked = 0;
    struct partition_dirt found;
    struct plog_cleaned cleaned;
    const struct plog_clean how = {.map_bytes = 1 << 12,
                                   .map_load = 0.9,
                                   .io_bytes = 4096,
                                   .lock = no_lock,
                                   .unlock = no_lock,
                                   .go_on = retain_meanwhile,
                                   .context = &asked};
    CU_ASSERT_FATAL(partition_find_dirt(t.p, &found));
    MUST(partition_clean(t.p, &found.dirt, &how, &cleaned));
    CU_ASSERT(asked > 0 && cleaned.segments_before > 1);
    CU_ASSERT(partition_apply_retention(t.p, true) > 0);
    CU_ASSERT(plog_start_offset(t.log) > 0);
    end();
}

SUITE("partition", TEST(test_leads_and_appends), TEST(test_epochs_are_fenced),
      TEST(test_waits_for_the_disk), TEST(test_waits_for_bytes),
      TEST(test_change_between_look_and_watch), TEST(test_elected_again), TEST(test_interrupted),
      TEST(test_gone), TEST(test_in_sync_replicas), TEST(test_config_is_told), TEST(test_throttled),
      TEST(test_followers_hold_it_back), TEST(test_silent_member),
      TEST(test_interrupted_leadership), TEST(test_about_to_join), TEST(test_new_leadership),
      TEST(test_whose_fetch_counts), TEST(test_replica_waits_for_bytes),
      TEST(test_durable_with_followers), TEST(test_follows), TEST(test_reader_has_diverged),
      TEST(test_disk_fails), TEST(test_retention_while_cleaned))
