/* Quotas: who is meant, how long a client is held back, token buckets, addresses; against the clock of the test. */
#include "broker/security/quotas.h"

#include "base/sampled_rate.h"
#include "base/tests/suite.h"
#include "protocol/error.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct {
    struct manual_clock clock;
    struct quotas *quotas;
} t;

static void begin(void)
{
    manual_clock_init(&t.clock, 1700000000000);
    const struct quota_samples samples = {.n = 11, .ms = 1000};
    t.quotas = quotas_new(&(struct quotas_config){
        .clock = &t.clock.clock, .samples = samples, .mutation_samples = samples});
}

static void end(void)
{
    quotas_free(t.quotas);
}

static struct entity_part part(const char *name)
{
    if (name == NULL) {
        return (struct entity_part){.kind = ENTITY_NONE};
    }
    return *name == '\0' ? (struct entity_part){.kind = ENTITY_DEFAULT}
                         : (struct entity_part){.kind = ENTITY_NAMED, .name = str_of(name)};
}

/* NULL: not part of the entity; "": the default. A limit below 0 is removed. */
static void set(enum quota_type type, const char *user, const char *client, double limit)
{
    struct quota_limits limits = QUOTA_NO_LIMITS;
    limits.limit[type] = limit;
    quotas_set(t.quotas, &(struct client_entity){.user = part(user), .client = part(client)},
               &limits);
}

static int32_t record(enum quota_type type, const char *user, const char *client, double amount)
{
    const struct quota_client who = {.user = str_of(user), .client_id = str_of(client)};
    return quotas_record(t.quotas, type, &who, amount);
}

/* ---- who is meant ---- */

static double burst(const char *user, const char *client)
{
    const struct quota_client who = {.user = str_of(user), .client_id = str_of(client)};
    return quotas_burst(t.quotas, QUOTA_CONSUME, &who) / 10; /* full samples */
}

/* From the last row to the first: each one that is set wins over those before. */
static void test_precedence(void)
{
    static const char *const ROWS[][2] = {{NULL, ""}, {NULL, "c"}, {"", NULL}, {"", ""},
                                          {"", "c"},  {"u", NULL}, {"u", ""},  {"u", "c"}};
    begin();
    CU_ASSERT(isinf(burst("u", "c")));
    for (int i = 0; i < 8; i++) {
        set(QUOTA_CONSUME, ROWS[i][0], ROWS[i][1], i + 1);
        CU_ASSERT_EQUAL(burst("u", "c"), i + 1);
    }
    CU_ASSERT_EQUAL(burst("v", "c"), 5);
    CU_ASSERT_EQUAL(burst("u", "d"), 7);
    CU_ASSERT_EQUAL(burst("v", "d"), 4);
    CU_ASSERT_FALSE(quotas_active(t.quotas, QUOTA_PRODUCE));
    for (int i = 7; i > 0; i--) {
        set(QUOTA_CONSUME, ROWS[i][0], ROWS[i][1], -1);
        CU_ASSERT_EQUAL(burst("u", "c"), i);
    }
    set(QUOTA_CONSUME, NULL, "", -1);
    CU_ASSERT(isinf(burst("u", "c")));
    end();
}

/* A user's limit is one for all his clients; that of a default client is one for each. */
static void test_shared(void)
{
    begin();
    set(QUOTA_PRODUCE, "", NULL, 100);
    CU_ASSERT_EQUAL(record(QUOTA_PRODUCE, "u", "a", 1000), 0);
    CU_ASSERT(record(QUOTA_PRODUCE, "u", "b", 500) > 0);
    CU_ASSERT_EQUAL(record(QUOTA_PRODUCE, "v", "b", 500), 0);
    set(QUOTA_PRODUCE, "", NULL, -1);
    set(QUOTA_PRODUCE, NULL, "", 100);
    CU_ASSERT_EQUAL(record(QUOTA_PRODUCE, "u", "a", 600), 0);
    CU_ASSERT_EQUAL(record(QUOTA_PRODUCE, "u", "b", 600), 0);
    CU_ASSERT(record(QUOTA_PRODUCE, "v", "a", 600) > 0);
    end();
}

/* ---- how long ---- */

/* As seen on a Kafka: 150,000 bytes at 10,000 a second are paid for within about 5 s. */
static void test_throttle_time(void)
{
    begin();
    set(QUOTA_PRODUCE, "u", NULL, 10000);
    CU_ASSERT_EQUAL(record(QUOTA_PRODUCE, "u", "c", 150000), 5000);
    t.clock.now_ms += 5000;
    CU_ASSERT_EQUAL(record(QUOTA_PRODUCE, "u", "c", 0), 5000); /* the window has not grown yet */
    t.clock.now_ms += 5000;
    CU_ASSERT_EQUAL(record(QUOTA_PRODUCE, "u", "c", 0), 5000);
    t.clock.now_ms += 1000;
    CU_ASSERT_EQUAL(record(QUOTA_PRODUCE, "u", "c", 0), 0);
    CU_ASSERT_EQUAL(record(QUOTA_PRODUCE, "u", "c", 100000), 0);
    const struct quota_client who = {.user = STR("u"), .client_id = STR("c")};
    quotas_unrecord(t.quotas, QUOTA_PRODUCE, &who, 100000);
    CU_ASSERT_EQUAL(record(QUOTA_PRODUCE, "u", "c", 100000), 0);
    set(QUOTA_PRODUCE, "u", NULL, 5000); /* known clients have the new one at once */
    CU_ASSERT(record(QUOTA_PRODUCE, "u", "c", 0) > 0);
    set(QUOTA_PRODUCE, "u", NULL, 0);
    CU_ASSERT_EQUAL(record(QUOTA_PRODUCE, "u", "c", 1), 11000);
    end();
}

static void test_requests_wait_a_sample_at_most(void)
{
    begin();
    set(QUOTA_REQUEST, NULL, "c", 1);
    CU_ASSERT_EQUAL(record(QUOTA_REQUEST, "u", "c", 10), 0);
    CU_ASSERT_EQUAL(record(QUOTA_REQUEST, "u", "c", 1000), 1000);
    end();
}

/* ---- partitions ---- */

static err mutate(double partitions, bool strict, int32_t *throttle_ms)
{
    const struct quota_client who = {.user = STR("u"), .client_id = STR("c")};
    *throttle_ms = 0;
    return quotas_mutate(t.quotas, &who, partitions, strict, throttle_ms);
}

static void test_mutations(void)
{
    int32_t ms = 0;
    begin();
    CU_ASSERT_EQUAL(mutate(1000, true, &ms), OK);
    set(QUOTA_MUTATION, "u", NULL, 1);
    CU_ASSERT_EQUAL(mutate(20, true, &ms), OK); /* the bucket has 11 */
    CU_ASSERT_EQUAL(ms, 0);
    CU_ASSERT_EQUAL(mutate(1, true, &ms), ERR_THROTTLING_QUOTA_EXCEEDED);
    CU_ASSERT_EQUAL(ms, 9000);
    t.clock.now_ms += 8500;
    CU_ASSERT_EQUAL(mutate(1, true, &ms), ERR_THROTTLING_QUOTA_EXCEEDED);
    CU_ASSERT_EQUAL(ms, 500);
    CU_ASSERT_EQUAL(mutate(2, false, &ms), OK); /* an older version goes on, and waits */
    CU_ASSERT_EQUAL(ms, 2500);
    t.clock.now_ms += 2500;
    CU_ASSERT_EQUAL(mutate(1, true, &ms), OK);
    t.clock.now_ms += 3600000;
    CU_ASSERT_EQUAL(mutate(11, false, &ms), OK); /* never more than full */
    CU_ASSERT_EQUAL(mutate(1, false, &ms), OK);
    CU_ASSERT_EQUAL(ms, 1000);
    end();
}

/* ---- addresses ---- */

static void set_ip(const char *ip, double limit)
{
    struct quota_limits limits = QUOTA_NO_LIMITS;
    limits.limit[QUOTA_CONNECTION] = limit;
    quotas_set(t.quotas, &(struct client_entity){.ip = part(ip)}, &limits);
}

static int welcome(const char *ip, int tries)
{
    int n = 0;
    for (int i = 0; i < tries; i++) {
        n += quotas_connect(t.quotas, str_of(ip)) == 0 ? 1 : 0;
    }
    return n;
}

static void test_addresses(void)
{
    begin();
    CU_ASSERT_EQUAL(welcome("10.0.0.1", 100), 100);
    set_ip("", 2);
    set_ip("10.0.0.9", 5);
    CU_ASSERT_EQUAL(welcome("10.0.0.1", 100), 20);
    CU_ASSERT_EQUAL(welcome("10.0.0.2", 100), 20);
    CU_ASSERT_EQUAL(welcome("10.0.0.9", 100), 50);
    CU_ASSERT(quotas_connect(t.quotas, STR("10.0.0.1")) <= 1000);
    t.clock.now_ms += 11000;
    CU_ASSERT_EQUAL(welcome("10.0.0.1", 1), 1);
    set_ip("", -1);
    CU_ASSERT_EQUAL(welcome("10.0.0.2", 100), 100);
    end();
}

/* ---- many clients ---- */

static int visited;

static void visit(void *context, const struct client_entity *entity,
                  const struct quota_limits *limits)
{
    (void)context;
    (void)entity;
    CU_ASSERT(limits->limit[QUOTA_PRODUCE] == 1);
    visited++;
}

/* Clients that choose new names all the time: those who are idle are forgotten, and nobody else. */
static void test_many_clients(void)
{
    char name[32];
    begin();
    set(QUOTA_PRODUCE, NULL, "", 1);
    CU_ASSERT(record(QUOTA_PRODUCE, "u", "busy", 1000) > 0);
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof(name), "client-%d", i);
        CU_ASSERT_EQUAL(record(QUOTA_PRODUCE, "u", name, 5), 0);
        t.clock.now_ms += 1;
        if (i % 500 == 0) {
            CU_ASSERT(record(QUOTA_PRODUCE, "u", "busy", 100) > 0);
        }
    }
    char *long_name = malloc(5001);
    memset(long_name, 'x', 5000);
    long_name[5000] = '\0';
    CU_ASSERT_EQUAL(record(QUOTA_PRODUCE, long_name, long_name, 5), 0);
    CU_ASSERT(record(QUOTA_PRODUCE, long_name, long_name, 500) > 0);
    free(long_name);
    quotas_each(t.quotas, NULL, visit);
    CU_ASSERT_EQUAL(visited, 1);
    end();
}

SUITE("quotas", TEST(test_precedence), TEST(test_shared), TEST(test_throttle_time),
      TEST(test_requests_wait_a_sample_at_most), TEST(test_mutations), TEST(test_addresses),
      TEST(test_many_clients))
