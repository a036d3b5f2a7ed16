/* The checker on made-up histories: a good one, and for each property one in which it is violated. */
#include "sim/checker.h"

#include "base/tests/suite.h"

static struct history history;
static struct checker_config config;

static void add(struct event event)
{
    history_add(&history, &event);
}

static void send_and_ack(int producer, uint64_t value, int64_t offset)
{
    add((struct event){.kind = EVENT_SEND, .who = producer, .acks = -1, .value = value});
    add((struct event){
        .kind = EVENT_ACK, .who = producer, .acks = -1, .value = value, .offset = offset});
}

static void poll_one(int consumer, uint64_t value, int64_t offset)
{
    add((struct event){.kind = EVENT_POLL, .who = consumer, .value = value, .offset = offset});
}

/* Each is another version. */
static void truth(int leader, int32_t epoch, uint32_t isr)
{
    add((struct event){.kind = EVENT_TRUTH,
                       .who = leader,
                       .epoch = epoch,
                       .isr = isr,
                       .version = (int32_t)history.n});
}

static void leads(int broker, int32_t epoch, int64_t high_watermark, int64_t end_offset)
{
    add((struct event){.kind = EVENT_LEADER,
                       .who = broker,
                       .epoch = epoch,
                       .in_sync = 2,
                       .high_watermark = high_watermark,
                       .stable_offset = high_watermark,
                       .end_offset = end_offset});
}

static void log_ends(int broker, int64_t end_offset)
{
    add((struct event){.kind = EVENT_LOG, .who = broker, .end_offset = end_offset});
}

/* Two producers, a consumer, a leader in an ISR of three. */
static void begin(void)
{
    history_init(&history);
    config = (struct checker_config){.partitions_n = 1, .brokers_n = 3, .min_isr = 2};
    truth(0, 5, 7);
    send_and_ack(1, 100, 0);
    send_and_ack(2, 200, 1);
    poll_one(3, 100, 0);
    leads(0, 5, 2, 2);
    log_ends(1, 2);
    log_ends(2, 2);
    add((struct event){.kind = EVENT_MARKS, .high_watermark = 2, .stable_offset = 2});
    poll_one(3, 200, 1);
}

/* The last reader is given what a good one is. */
static void read_at_end(void)
{
    add((struct event){.kind = EVENT_FINAL, .who = 9});
    poll_one(9, 100, 0);
    poll_one(9, 200, 1);
}

/* Is this one violated, and no other? NULL: none is. */
static void expect(const char *property)
{
    struct violation found[2];
    size_t n = checker_run(&history, &config, found, 2);
    CU_ASSERT_EQUAL(n, property == NULL ? 0 : 1);
    if (property != NULL && n > 0) {
        CU_ASSERT_STRING_EQUAL(found[0].property, property);
    }
    history_deinit(&history);
}

static void test_good(void)
{
    begin();
    read_at_end();
    expect(NULL);
}

static void test_lost(void)
{
    begin();
    send_and_ack(1, 101, 2);
    read_at_end();
    expect("P1 lost-write");
    begin(); /* what was not acknowledged may be lost */
    add((struct event){.kind = EVENT_SEND, .who = 1, .acks = -1, .value = 101});
    read_at_end();
    expect(NULL);
    begin(); /* nothing can be read at all */
    add((struct event){.kind = EVENT_FINAL, .who = 9});
    poll_one(9, 100, 0);
    expect("P1 lost-write");
}

static void test_acks_1(void)
{
    for (int last = 0; last < 2; last++) {
        begin();
        config.acks_1_last = last == 1;
        add((struct event){.kind = EVENT_ACK, .who = 4, .acks = 1, .value = 400, .offset = 2});
        read_at_end();
        expect(last == 1 ? "P1 lost-write" : NULL);
    }
}

static void test_duplicate(void)
{
    begin();
    poll_one(3, 200, 2);
    read_at_end();
    expect("P3 duplicate");
}

static void test_inconsistent(void)
{
    begin();
    read_at_end();
    add((struct event){.kind = EVENT_POLL, .who = 4, .value = 999});
    expect("P4 inconsistent-offsets");
    begin(); /* acknowledged at the offset of another */
    read_at_end();
    add((struct event){.kind = EVENT_ACK, .who = 5, .acks = -1, .value = 100, .offset = 1});
    expect("P4 inconsistent-offsets");
}

static void test_skip(void)
{
    begin();
    poll_one(3, 300, 4);
    read_at_end();
    expect("P8 poll-skip");
    begin();
    poll_one(3, 200, 1);
    read_at_end();
    expect("P8 poll-skip");
}

static void test_sends(void)
{
    begin();
    read_at_end();
    poll_one(9, 102, 2);
    poll_one(9, 103, 3);
    send_and_ack(1, 103, 3);
    send_and_ack(1, 102, 2);
    expect("P9 nonmonotonic-send");
}

static void test_marks(void)
{
    begin();
    leads(0, 5, 1, 2);
    expect("P13 marks-back");
    begin(); /* another epoch begins where it may */
    leads(0, 6, 1, 2);
    expect(NULL);
    begin();
    leads(0, 5, 3, 2);
    log_ends(1, 3);
    log_ends(2, 3);
    expect("P13 marks-back");
    begin(); /* too few are in sync, which the leader knows */
    for (int64_t high_watermark = 2; high_watermark < 4; high_watermark++) {
        add((struct event){.kind = EVENT_LEADER,
                           .who = 1,
                           .epoch = 6,
                           .version = 9,
                           .in_sync = 1,
                           .high_watermark = high_watermark,
                           .end_offset = 4});
    }
    expect("P16 moves-below-min-isr");
    begin();
    add((struct event){.kind = EVENT_MARKS, .high_watermark = 2, .stable_offset = 3});
    expect("P13 marks-back");
}

static void test_replicas(void)
{
    begin();
    add((struct event){.kind = EVENT_BATCH, .who = 0, .offset = 0, .value = 1});
    add((struct event){.kind = EVENT_BATCH, .who = 1, .offset = 0, .value = 1});
    expect(NULL);
    begin();
    add((struct event){.kind = EVENT_BATCH, .who = 0, .offset = 0, .value = 1});
    add((struct event){.kind = EVENT_BATCH, .who = 1, .offset = 0, .value = 2});
    expect("P15 replicas-differ");
    begin(); /* one has one batch where the other has two */
    add((struct event){.kind = EVENT_BATCH, .who = 0, .offset = 0, .value = 1});
    add((struct event){.kind = EVENT_BATCH, .who = 0, .offset = 1, .value = 1});
    add((struct event){.kind = EVENT_BATCH, .who = 0, .offset = 2, .value = 1});
    add((struct event){.kind = EVENT_BATCH, .who = 1, .offset = 0, .value = 1});
    add((struct event){.kind = EVENT_BATCH, .who = 1, .offset = 2, .value = 1});
    expect("P15 replicas-differ");
}

/* Sent when the ISR has become so small, which its leader knows or not, unless it changes once more. */
static void send_into_small(bool known, bool changes)
{
    begin();
    add((struct event){.kind = EVENT_TRUTH, .epoch = 5, .isr = 1, .version = 1});
    add((struct event){.kind = EVENT_LEADER,
                       .epoch = 5,
                       .version = known ? 1 : 0,
                       .in_sync = known ? 1 : 2,
                       .high_watermark = 2,
                       .stable_offset = 2,
                       .end_offset = 2});
    add((struct event){.kind = EVENT_SEND, .who = 1, .acks = -1, .value = 101});
    if (changes) {
        add((struct event){.kind = EVENT_TRUTH, .epoch = 5, .isr = 1, .version = 3});
    }
    add((struct event){.kind = EVENT_ACK, .who = 1, .acks = -1, .value = 101, .offset = 2});
}

static void test_min_isr(void)
{
    send_into_small(true, false);
    expect("P16 acked-below-min-isr");
    send_into_small(true, true); /* it may have been large enough in between */
    expect(NULL);
    send_into_small(false, false); /* the leader need not know yet */
    expect(NULL);
}

static void test_isr(void)
{
    begin();
    truth(0, 5, 7);
    leads(0, 5, 3, 3);
    log_ends(1, 3);
    log_ends(2, 2);
    expect("weak-isr");
    begin(); /* not of the ISR */
    truth(0, 5, 3);
    leads(0, 5, 3, 3);
    log_ends(1, 3);
    log_ends(2, 2);
    expect(NULL);
    begin(); /* one that leads no more counts too */
    truth(1, 6, 6);
    leads(0, 5, 3, 3);
    leads(1, 6, 2, 2);
    log_ends(1, 2);
    log_ends(2, 3);
    expect("strong-isr");
    begin(); /* nobody leads, but a client was promised more */
    truth(-1, 6, 2);
    add((struct event){.kind = EVENT_LOG, .who = 1, .end_offset = 2, .high_watermark = 3});
    expect("strong-isr");
    begin();
    truth(0, 5, 6);
    expect("leader-in-isr");
}

/* Broker 2 joins one that leads from 3 on. */
static void join_with(int64_t end_offset, int life)
{
    begin();
    log_ends(0, 3);
    truth(0, 6, 3);
    truth(0, 6, 7);
    add((struct event){.kind = EVENT_LEADER,
                       .epoch = 6,
                       .life = life,
                       .in_sync = 3,
                       .high_watermark = 2,
                       .stable_offset = 2,
                       .end_offset = 4,
                       .offset = 3});
    log_ends(1, 2); /* has been there before */
    log_ends(2, end_offset);
}

static void test_joiners(void)
{
    join_with(2, 0);
    expect("early-join");
    join_with(3, 0);
    expect(NULL);
    join_with(2, 1); /* the leader began anew since */
    expect(NULL);
}

static void test_epochs(void)
{
    begin();
    truth(1, 6, 7);
    truth(0, 5, 7);
    expect("P17 epochs");
    begin(); /* two in one */
    leads(1, 5, 2, 2);
    expect("P17 epochs");
    begin(); /* a controller that was followed by another */
    add((struct event){.kind = EVENT_TRUTH, .epoch = 5, .isr = 7, .version = 3, .office = 2});
    add((struct event){.kind = EVENT_TRUTH,
                       .epoch = 6,
                       .isr = 7,
                       .version = 4,
                       .office = 2,
                       .controller_epoch = 1});
    expect("P17 epochs");
    begin();
    add((struct event){.kind = EVENT_LOG, .who = 1, .epoch = 6, .end_offset = 2});
    add((struct event){.kind = EVENT_LOG, .who = 1, .epoch = 5, .end_offset = 2});
    expect("P17 epochs");
}

static void test_probes(void)
{
    begin();
    add((struct event){.kind = EVENT_PROBE, .acks = 0, .epoch = 5, .end_offset = 2});
    add((struct event){.kind = EVENT_PROBE, .acks = 6, .epoch = -1, .end_offset = -1});
    expect(NULL);
    begin();
    add((struct event){.kind = EVENT_PROBE, .acks = 1, .epoch = -1, .end_offset = -1});
    expect("no-divergence");
}

SUITE("checker", TEST(test_good), TEST(test_lost), TEST(test_acks_1), TEST(test_duplicate),
      TEST(test_inconsistent), TEST(test_skip), TEST(test_sends), TEST(test_marks),
      TEST(test_replicas), TEST(test_min_isr), TEST(test_isr), TEST(test_joiners),
      TEST(test_epochs), TEST(test_probes))
