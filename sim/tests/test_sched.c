/* Tasks on virtual time: order by a seed, sleep, join, groups that stand still, locks. */
#include "sim/sched.h"

#include "base/tests/suite.h"

#include <pthread.h>

enum { TASKS = 6, SECOND_US = 1000000 };

static struct trace trace;
static struct sched *sched;
static char order[64];
static size_t order_n;

static void say(char c)
{
    CU_ASSERT_FATAL(order_n < sizeof(order) - 1);
    order[order_n++] = c;
    order[order_n] = '\0';
}

static void begin(uint64_t seed)
{
    sched = sched_new(seed, &trace);
    order_n = 0;
    order[0] = '\0';
}

static void run_for(int64_t us)
{
    sched_run(sched, sched_now_us(sched) + us);
}

static void say_twice(void *context)
{
    say(*(const char *)context);
    sched_yield_now(sched);
    say(*(const char *)context);
}

static uint64_t run_with(uint64_t seed, char text[64])
{
    begin(seed);
    for (int i = 0; i < TASKS; i++) {
        (void)task_spawn(sched, NULL, "task", say_twice, (void *)(uintptr_t) & "abcdef"[i]);
    }
    run_for(SECOND_US);
    snprintf(text, 64, "%s", order);
    uint64_t hash = trace.hash;
    sched_free(sched);
    return hash;
}

static void test_order_by_seed(void)
{
    char a[64];
    char b[64];
    char c[64];
    CU_ASSERT_EQUAL(run_with(1, a), run_with(1, b));
    CU_ASSERT_NOT_EQUAL(run_with(1, b), run_with(2, c));
    CU_ASSERT_STRING_EQUAL(a, b);
    CU_ASSERT_STRING_NOT_EQUAL(a, c);
    CU_ASSERT_EQUAL(strlen(a), TASKS * 2);
}

static void sleep_long(void *context)
{
    int64_t from_us = sched_now_us(sched);
    sched_sleep(sched, 3600LL * SECOND_US);
    CU_ASSERT_EQUAL(sched_now_us(sched) - from_us, 3600LL * SECOND_US);
    say(*(const char *)context);
}

static void sleep_and_wake(void *context)
{
    sched_sleep(sched, SECOND_US);
    task_wake(sched, context); /* a sleeper goes on sleeping */
    say('b');
}

static void test_sleep(void)
{
    begin(1);
    struct task *a = task_spawn(sched, NULL, "a", sleep_long, (void *)(uintptr_t) "a");
    (void)task_spawn(sched, NULL, "b", sleep_and_wake, a);
    CU_ASSERT(!sched_run_task(sched, a, sched_now_us(sched) + SECOND_US * 2));
    CU_ASSERT(sched_run_task(sched, a, INT64_MAX));
    CU_ASSERT_STRING_EQUAL(order, "ba");
    sched_free(sched);
}

static void join_it(void *context)
{
    task_join(sched, context);
    say('j');
}

static void test_join_and_pause(void)
{
    struct task_group group = {.paused = true};
    begin(1);
    struct task *a = task_spawn(sched, &group, "a", say_twice, (void *)(uintptr_t) "a");
    (void)task_spawn(sched, NULL, "j", join_it, a);
    run_for(SECOND_US);
    CU_ASSERT_STRING_EQUAL(order, "");
    group.paused = false;
    run_for(SECOND_US);
    CU_ASSERT_STRING_EQUAL(order, "aaj");
    sched_free(sched);
}

/* Of a group, by a part of the name; others run. */
static void test_starve(void)
{
    struct task_group group = {0};
    begin(1);
    (void)task_spawn(sched, &group, "0/net-1", say_twice, (void *)(uintptr_t) "n");
    (void)task_spawn(sched, &group, "0/state", say_twice, (void *)(uintptr_t) "s");
    (void)task_spawn(sched, NULL, "net", say_twice, (void *)(uintptr_t) "o");
    sched_starve(sched, &group, "net", SECOND_US);
    run_for(SECOND_US / 2);
    CU_ASSERT(order_n == 4 && strchr(order, 'n') == NULL);
    run_for(SECOND_US);
    CU_ASSERT(order_n == 6 && order[4] == 'n' && order[5] == 'n');
    sched_free(sched);
}

/* ---- locks ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int held;
static bool signalled;

static void hold(void *context)
{
    (void)context;
    for (int i = 0; i < 20; i++) {
        pthread_mutex_lock(&mutex);
        CU_ASSERT_EQUAL(held++, 0);
        sched_sleep(sched, 10);
        held--;
        pthread_mutex_unlock(&mutex);
    }
    say('h');
}

static void test_mutex(void)
{
    begin(1);
    for (int i = 0; i < TASKS; i++) {
        (void)task_spawn(sched, NULL, "hold", hold, NULL);
    }
    run_for(SECOND_US);
    CU_ASSERT_EQUAL(order_n, TASKS);
    sched_free(sched);
}

static void wait_for_signal(void *context)
{
    (void)context;
    pthread_mutex_lock(&mutex);
    while (!signalled) {
        pthread_cond_wait(&cond, &mutex);
    }
    pthread_mutex_unlock(&mutex);
    say('w');
}

static void signal_it(void *context)
{
    (void)context;
    sched_sleep(sched, SECOND_US / 2);
    say('s');
    pthread_mutex_lock(&mutex);
    signalled = true;
    pthread_cond_broadcast(&cond);
    pthread_mutex_unlock(&mutex);
}

static void test_condition(void)
{
    begin(1);
    signalled = false;
    (void)task_spawn(sched, NULL, "w", wait_for_signal, NULL);
    (void)task_spawn(sched, NULL, "w", wait_for_signal, NULL);
    (void)task_spawn(sched, NULL, "s", signal_it, NULL);
    run_for(SECOND_US);
    CU_ASSERT_STRING_EQUAL(order, "sww");
    sched_free(sched);
}

/* Tasks that only take locks are preempted there. */
static void count_up(void *context)
{
    int *others = context;
    for (int i = 0; i < 500; i++) {
        int before = *others;
        pthread_mutex_lock(&mutex);
        held += *others != before ? 1 : 0; /* how often others ran in between */
        ++*others;
        pthread_mutex_unlock(&mutex);
    }
}

static void test_preemption(void)
{
    int count = 0;
    begin(1);
    held = 0;
    (void)task_spawn(sched, NULL, "a", count_up, &count);
    (void)task_spawn(sched, NULL, "b", count_up, &count);
    run_for(SECOND_US);
    CU_ASSERT_EQUAL(count, 1000);
    CU_ASSERT(held > 5);
    sched_free(sched);
}

SUITE("sched", TEST(test_order_by_seed), TEST(test_sleep), TEST(test_join_and_pause),
      TEST(test_starve), TEST(test_mutex), TEST(test_condition), TEST(test_preemption))
