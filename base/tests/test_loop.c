/* The event loop: timers in order, posts from other threads, watches that vanish in the middle of a
 * turn, an idle loop that sleeps, loops that are turned by hand. */
#define _GNU_SOURCE
#include "base/loop.h"

#include "base/list.h"
#include "base/tests/suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static struct loop *loop;

static void begin(void)
{
    MUST(loop_new(clock_system(), sockets_system(), &loop));
}

static void *loop_thread(void *argument)
{
    (void)argument;
    loop_run(loop);
    return NULL;
}

/* ---- timers ---- */

enum { TIMERS = 300 };

struct test_timer {
    struct timer timer;
    int64_t due_ms;
    bool stopped;
    int fired;
    struct test_timer *stops; /* another one, stopped when this fires */
};

static struct test_timer timers[TIMERS];
static int64_t last_due_ms;
static int timers_left;

static void on_timer(struct timer *timer)
{
    struct test_timer *t = container_of(timer, struct test_timer, timer);
    CU_ASSERT(t->timer.item.due >= last_due_ms);
    CU_ASSERT(loop_now_ms(loop) >= t->timer.item.due);
    last_due_ms = t->timer.item.due;
    t->fired++;
    timers_left--;
    if (t->stops != NULL && t->stops->fired == 0 && !t->stops->stopped) {
        timer_stop(loop, &t->stops->timer);
        t->stops->stopped = true;
        timers_left--;
    }
    if (timers_left == 0) {
        loop_stop(loop);
    }
}

static void test_timers_in_order(void)
{
    begin();
    struct seeded_random random;
    seeded_random_init(&random, 5);
    last_due_ms = 0;
    timers_left = TIMERS;
    memset(timers, 0, sizeof(timers));
    for (int i = 0; i < TIMERS; i++) {
        timers[i].timer.fire = on_timer;
        timer_start(loop, &timers[i].timer, random_below(&random.random, 60));
        timers[i].stops = i % 5 == 0 ? &timers[random_below(&random.random, TIMERS)] : NULL;
        timers[i].stops = timers[i].stops == &timers[i] ? NULL : timers[i].stops;
    }
    for (int i = 0; i < TIMERS; i += 7) {
        timer_start(loop, &timers[i].timer, random_below(&random.random, 90)); /* started again */
    }
    for (int i = 3; i < TIMERS; i += 11) {
        timer_stop(loop, &timers[i].timer);
        timer_stop(loop, &timers[i].timer);
        timers[i].stopped = true;
        timers_left--;
    }
    loop_run(loop);
    for (int i = 0; i < TIMERS; i++) {
        CU_ASSERT_EQUAL(timers[i].fired, timers[i].stopped ? 0 : 1);
    }
    loop_free(loop);
}

static int turns;

static void count_turn(void *context)
{
    (void)context;
    turns++;
}

static void on_end(struct timer *timer)
{
    (void)timer;
    loop_stop(loop);
}

static void test_idle_loop_sleeps(void)
{
    begin();
    struct timer end = {.fire = on_end};
    turns = 0;
    loop_on_turn_end(loop, count_turn, NULL);
    int64_t start_ms = now_ms();
    timer_start(loop, &end, 150);
    loop_run(loop);
    CU_ASSERT(now_ms() - start_ms >= 150);
    CU_ASSERT(turns <= 3);
    loop_free(loop);
}

/* ---- posts ---- */

enum { POSTERS = 4, POSTS = 5000 };

struct post {
    struct loop_task task;
    int poster;
    int number;
};

static int last_number[POSTERS];
static atomic_int posts_run;

static void on_post(struct loop_task *task)
{
    struct post *post = container_of(task, struct post, task);
    CU_ASSERT(loop_is_current(loop));
    CU_ASSERT_EQUAL(post->number, last_number[post->poster] + 1);
    last_number[post->poster] = post->number;
    atomic_fetch_add(&posts_run, 1);
    free(post);
}

static void *poster(void *argument)
{
    for (int i = 0; i < POSTS; i++) {
        struct post *post = xcalloc(1, sizeof(*post));
        *post = (struct post){.task.run = on_post, .poster = *(int *)argument, .number = i + 1};
        loop_post(loop, &post->task);
        if (i % 500 == 0) {
            sleep_ms(1); /* so that the loop falls asleep now and then */
        }
    }
    return NULL;
}

static void test_posts_from_threads(void)
{
    begin();
    pthread_t thread;
    pthread_t posters[POSTERS];
    int numbers[POSTERS];
    memset(last_number, 0, sizeof(last_number));
    atomic_store(&posts_run, 0);
    pthread_create(&thread, NULL, loop_thread, NULL);
    CU_ASSERT_FALSE(loop_is_current(loop));
    for (int i = 0; i < POSTERS; i++) {
        numbers[i] = i;
        pthread_create(&posters[i], NULL, poster, &numbers[i]);
    }
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(posters[i], NULL);
    }
    EVENTUALLY(atomic_load(&posts_run) == POSTERS * POSTS);
    loop_stop(loop);
    pthread_join(thread, NULL);
    loop_free(loop);
}

/* A task that posts itself again lets timers and descriptors have their turn. */
static int again_n;
static struct timer again_end = {.fire = on_end};

static void on_again(struct loop_task *task)
{
    again_n++;
    loop_post(loop, task);
}

static void test_reposting_starves_nobody(void)
{
    begin();
    again_n = 0;
    struct loop_task task = {.run = on_again};
    loop_post(loop, &task);
    timer_start(loop, &again_end, 20);
    loop_run(loop);
    CU_ASSERT(again_n > 1);
    loop_free(loop);
}

static void test_queue_is_drained(void)
{
    begin();
    atomic_store(&posts_run, 0);
    memset(last_number, 0, sizeof(last_number));
    for (int i = 0; i < 2; i++) {
        struct post *post = xcalloc(1, sizeof(*post));
        *post = (struct post){.task.run = on_post, .number = i + 1};
        loop_post(loop, &post->task);
    }
    loop_stop(loop);
    loop_run(loop);
    CU_ASSERT_EQUAL(atomic_load(&posts_run), 2);
    CU_ASSERT_FALSE(loop_is_current(loop));
    loop_free(loop);
}

/* ---- descriptors ---- */

enum { PAIRS = 20 };

struct test_watch {
    struct io_watch watch;
    int index;
};

static struct test_watch *watches[PAIRS];
static int ready_n;

/* Whoever comes first ends and frees all others, whose events wait in the same turn. */
static void on_readable(struct io_watch *watch, uint32_t events)
{
    struct test_watch *self = container_of(watch, struct test_watch, watch);
    CU_ASSERT_NOT_EQUAL(events & EPOLLIN, 0);
    ready_n++;
    for (int i = 0; i < PAIRS; i++) {
        if (watches[i] != NULL && watches[i] != self) {
            MUST(io_watch_set(loop, &watches[i]->watch, 0));
            close(watches[i]->watch.fd);
            free(watches[i]);
            watches[i] = NULL;
        }
    }
    char byte;
    CU_ASSERT_EQUAL(read(self->watch.fd, &byte, 1), 1);
    loop_stop(loop);
}

static void test_watch_freed_in_its_turn(void)
{
    begin();
    int others[PAIRS];
    ready_n = 0;
    for (int i = 0; i < PAIRS; i++) {
        int ends[2];
        CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        watches[i] = xcalloc(1, sizeof(*watches[i]));
        *watches[i] =
            (struct test_watch){.watch = {.fd = ends[0], .ready = on_readable}, .index = i};
        MUST(io_watch_set(loop, &watches[i]->watch, EPOLLIN));
        others[i] = ends[1];
        CU_ASSERT_EQUAL(write(ends[1], "x", 1), 1);
    }
    loop_run(loop);
    CU_ASSERT_EQUAL(ready_n, 1);
    for (int i = 0; i < PAIRS; i++) {
        if (watches[i] != NULL) {
            MUST(io_watch_set(loop, &watches[i]->watch, 0));
            close(watches[i]->watch.fd);
            free(watches[i]);
            watches[i] = NULL;
        }
        close(others[i]);
    }
    loop_free(loop);
}

SUITE("loop", TEST(test_timers_in_order), TEST(test_idle_loop_sleeps),
      TEST(test_posts_from_threads), TEST(test_reposting_starves_nobody),
      TEST(test_queue_is_drained), TEST(test_watch_freed_in_its_turn))
