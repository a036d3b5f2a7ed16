/* Logs of one directory that several threads open: the same as when one does, whatever is wrong with one of them. */
#include "util.h"

#include "base/workers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { LOGS_N = 300, RECORDS_MAX = 40, THREADS_MAX = 8, DAMAGED = 123, WAIT_S = 20 };

struct stage {
    struct place p;
    struct workers *workers;
    int loaders;
    char reason[LOGS_REASON_BYTES];
    /* Threads that open logs: the first logs of each wait until so many are at it. */
    pthread_mutex_t lock;
    pthread_cond_t more;
    pthread_t seen[THREADS_MAX];
    int seen_n;
    int awaited;
};

static void note_thread(struct stage *s)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&s->lock);
    bool known = false;
    for (int i = 0; i < s->seen_n; i++) {
        known |= pthread_equal(s->seen[i], pthread_self()) != 0;
    }
    if (!known && s->seen_n < THREADS_MAX) {
        s->seen[s->seen_n++] = pthread_self();
        pthread_cond_broadcast(&s->more);
    }
    int e = 0;
    while (s->seen_n < s->awaited && e == 0) {
        e = pthread_cond_timedwait(&s->more, &s->lock, &until);
    }
    pthread_mutex_unlock(&s->lock);
}

static struct log_config config_of(void *context, struct str topic)
{
    if (topic.len > 0) {
        note_thread(context);
    }
    return small_config();
}

static err start(struct stage *s, int loaders, struct logs **logs)
{
    char *dirs[] = {s->p.dir};
    struct logs_identity identity;
    struct logs_open how = {.dirs = dirs,
                            .dirs_n = 1,
                            .broker_id = -1,
                            .config_of = config_of,
                            .context = s,
                            .workers = loaders > 1 ? s->workers : NULL,
                            .loaders = loaders};
    s->seen_n = 0;
    s->awaited = loaders;
    MUST(logs_lock(&s->p.env, &how, logs, &identity, s->reason));
    return logs_load(*logs, 1, "cluster", s->reason);
}

static struct topic_partition numbered(int i)
{
    return (struct topic_partition){.topic = STR("t"), .partition = i};
}

/* Of log i: more than one segment for most. */
static int64_t records_of(int i)
{
    return (int64_t)i % RECORDS_MAX * 2;
}

static void stage_make(struct stage *s)
{
    place_make(&s->p);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->more, NULL);
    s->workers = workers_new(&(struct workers_config){.threads = threads_system(),
                                                      .clock = clock_system(),
                                                      .sockets = sockets_system(),
                                                      .threads_max = THREADS_MAX,
                                                      .queued_max = THREADS_MAX,
                                                      .queued_bytes_max = 1});
    struct logs *logs = NULL;
    MUST(start(s, 1, &logs));
    for (int i = 0; i < LOGS_N; i++) {
        struct plog *log = NULL;
        struct log_config config = small_config();
        MUST(logs_create(logs, numbered(i), (struct uuid){{7, 7}}, &config, &log));
        for (int64_t n = 0; n < records_of(i); n += 2) {
            must_append(log, 2);
        }
    }
    logs_close(logs);
    place_reboot(&s->p);
}

static void stage_remove(struct stage *s)
{
    workers_stop(s->workers);
    workers_free(s->workers);
    place_remove(&s->p);
}

static void check_logs(struct logs *logs, int damaged)
{
    CU_ASSERT_EQUAL(logs_count(logs), LOGS_N);
    for (int i = 0; i < LOGS_N; i++) {
        struct plog *log = logs_get(logs, numbered(i));
        CU_ASSERT_EQUAL(log == NULL, i == damaged);
        if (log != NULL) {
            CU_ASSERT_EQUAL(plog_end_offset(log), records_of(i));
            CU_ASSERT_EQUAL(plog_recovery_point(log), records_of(i));
        }
    }
}

/* As many as are asked for, the caller's among them: after a clean stop, and when all is read again. */
static void test_threads(void)
{
    struct stage s = {0};
    stage_make(&s);
    for (int loaders = 1; loaders <= 4; loaders++) {
        struct logs *logs = NULL;
        MUST(start(&s, loaders, &logs));
        CU_ASSERT_EQUAL(s.seen_n, loaders);
        CU_ASSERT_EQUAL(logs_were_clean(logs), loaders != 3);
        check_logs(logs, -1);
        if (loaders == 2) {
            struct plog *log = logs_get(logs, numbered(0));
            must_append(log, 1); /* so that it is not as it was, and the stop not clean */
            MUST(plog_truncate(log, 0));
            logs_abandon(logs);
        } else {
            logs_close(logs);
        }
        place_reboot(&s.p);
    }
    stage_remove(&s);
}

/* One is damaged below what was promised: that one alone is out. */
static void test_damaged(void)
{
    struct stage s = {0};
    stage_make(&s);
    spit(&s.p, "t-123/00000000000000000000.log", "no batch", 8);
    run("rm '%s/.kafka_cleanshutdown'", s.p.dir, "");
    for (int loaders = 1; loaders <= 3; loaders += 2) {
        struct logs *logs = NULL;
        MUST(start(&s, loaders, &logs));
        check_logs(logs, DAMAGED);
        logs_abandon(logs);
        place_reboot(&s.p);
    }
    stage_remove(&s);
}

/* The disk refuses one: the directory is out, and with it the start. */
static void test_disk_refuses(void)
{
    struct stage s = {0};
    stage_make(&s);
    run("rm -rf '%s/t-123/partition.metadata'; mkdir '%s/t-123/partition.metadata'", s.p.dir,
        s.p.dir);
    for (int loaders = 1; loaders <= 3; loaders += 2) {
        struct logs *logs = NULL;
        CU_ASSERT_EQUAL(start(&s, loaders, &logs), E_CONFIG);
        CU_ASSERT_PTR_NOT_NULL(strstr(s.reason, "cannot load"));
        CU_ASSERT_PTR_NOT_NULL(strstr(s.reason, "/t-123: "));
        logs_abandon(logs);
        place_reboot(&s.p);
    }
    stage_remove(&s);
}

SUITE("loaders", TEST(test_threads), TEST(test_damaged), TEST(test_disk_refuses))
