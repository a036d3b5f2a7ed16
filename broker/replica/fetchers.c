#include "broker/replica/fetchers.h"

#include "base/err.h"
#include "base/map.h"

#include <stdlib.h>

enum { ANSWER_BYTES_MAX = INT32_MAX };

struct fetchers {
    struct fetcher_env env;
    struct fetch_rates rates;
    struct loop **loops;
    struct stream_pool *streams; /* of each loop */
    int loops_n;
    int fetchers_n;
    bool leaves;
    struct map all;      /* leader and number → struct member */
    struct map followed; /* partition → struct member */
};

struct member {
    struct fetcher *fetcher;
    struct loop *loop;
};

/* ---- life ---- */

struct fetchers *fetchers_new(const struct fetchers_config *config)
{
    CHECK(config->loops_n > 0);
    struct fetchers *fs = xcalloc(1, sizeof(*fs));
    size_t loops_n = (size_t)config->loops_n;
    fs->env = config->env;
    fs->env.rates = &fs->rates;
    fetch_rates_init(&fs->rates);
    fs->loops_n = config->loops_n;
    fs->fetchers_n = config->fetchers_n < 1 ? 1 : config->fetchers_n;
    fs->loops = xcalloc(loops_n, sizeof(*fs->loops));
    fs->streams = xcalloc(loops_n, sizeof(*fs->streams));
    for (size_t i = 0; i < loops_n; i++) {
        fs->loops[i] = config->loops[i];
        stream_pool_init(&fs->streams[i], ANSWER_BYTES_MAX, NULL);
    }
    map_init(&fs->all);
    map_init(&fs->followed);
    return fs;
}

void fetchers_free(struct fetchers *fs)
{
    if (fs == NULL) {
        return;
    }
    map_each (entry, &fs->all) {
        struct member *member = entry->value;
        fetcher_free(member->fetcher);
        free(member);
    }
    map_deinit(&fs->all);
    map_deinit(&fs->followed);
    for (int i = 0; i < fs->loops_n; i++) {
        stream_pool_deinit(&fs->streams[i]);
    }
    free(fs->streams);
    free(fs->loops);
    fetch_rates_deinit(&fs->rates);
    free(fs);
}

double fetchers_least_rate(struct fetchers *fs)
{
    return fetch_rates_least(&fs->rates, clock_monotonic_ms(fs->env.clock));
}

void fetchers_set_broker_epoch(struct fetchers *fs, int64_t broker_epoch)
{
    atomic_store(&fs->env.broker_epoch, broker_epoch);
}

/* ---- who fetches ---- */

/* As Kafka spreads them: by the hash that Java has for the name, of characters that all take one byte. */
static int number_of(const struct fetchers *fs, struct topic_partition name)
{
    uint32_t hash = 0;
    for (size_t i = 0; i < name.topic.len; i++) {
        hash = hash * 31 + (uint8_t)name.topic.data[i];
    }
    int32_t spread = (int32_t)(hash * 31 + (uint32_t)name.partition);
    return (spread == INT32_MIN ? 0 : abs(spread)) % fs->fetchers_n;
}

static struct member *member_for(struct fetchers *fs, int32_t leader, int number)
{
    int64_t key = (int64_t)leader << 32 | number;
    struct member *member = map_get_i64(&fs->all, key);
    if (member == NULL) {
        int loop = (int)(((uint32_t)leader + (uint32_t)number) % (uint32_t)fs->loops_n);
        member = xcalloc(1, sizeof(*member));
        member->loop = fs->loops[loop];
        member->fetcher = fetcher_new(&fs->env, member->loop, &fs->streams[loop], leader, number);
        (void)map_set_i64(&fs->all, key, member);
    }
    return member;
}

/* ---- what is posted ---- */

struct command {
    struct loop_task task;
    struct fetcher *fetcher;
    struct partition *partition; /* a reference */
    int32_t leader_epoch;        /* -1: it is followed no more */
};

static void on_command(struct loop_task *task)
{
    struct command *command = container_of(task, struct command, task);
    if (command->leader_epoch >= 0) {
        fetcher_follow(command->fetcher, command->partition, command->leader_epoch);
    } else {
        fetcher_unfollow(command->fetcher, command->partition);
    }
    partition_release(command->partition);
    free(command);
}

static void post(const struct member *member, struct partition *p, int32_t leader_epoch)
{
    struct command *command = xcalloc(1, sizeof(*command));
    partition_retain(p);
    *command = (struct command){.task.run = on_command,
                                .fetcher = member->fetcher,
                                .partition = p,
                                .leader_epoch = leader_epoch};
    loop_post(member->loop, &command->task);
}

void fetchers_follow(struct fetchers *fs, struct partition *p, int32_t leader, int32_t leader_epoch)
{
    CHECK(leader >= 0 && leader_epoch >= 0);
    if (fs->leaves) {
        fetchers_unfollow(fs, p);
        return;
    }
    struct member *member = member_for(fs, leader, number_of(fs, partition_name(p)));
    const struct member *before = map_set(&fs->followed, bytes_of(&p, sizeof(p)), member);
    if (before != NULL && before != member) {
        post(before, p, -1);
    }
    post(member, p, leader_epoch);
}

void fetchers_unfollow(struct fetchers *fs, struct partition *p)
{
    const struct member *member = map_remove(&fs->followed, bytes_of(&p, sizeof(p)));
    if (member != NULL) {
        post(member, p, -1);
    }
}

void fetchers_leave(struct fetchers *fs)
{
    fs->leaves = true;
}
