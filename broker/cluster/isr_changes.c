#include "broker/cluster/isr_changes.h"

#include "base/log.h"
#include "base/map.h"
#include "protocol/error.h"
#include "protocol/messages.h"

#include <stdlib.h>

enum { AGAIN_MS = 50, CHECKS_PER_LAG = 2, ARENA_BYTES = 256 << 20, IN_ONE_REQUEST_MAX = 10000 };
enum { LAST_BY_NAME = 1 }; /* of AlterPartition's versions; later ones name topics by their ids */

/* A partition that has told something, on its way to the state thread and in its list there. */
struct told {
    struct loop_task task;
    struct list link;
    struct isr_changes *changes;
    struct partition *partition;  /* a reference */
    struct isr_proposal proposal; /* of one that is on its way; in the arena */
};

struct isr_changes {
    struct isr_changes_config config;
    struct list wanted; /* struct told */
    struct list asked;  /* struct told: what is on its way */
    struct list behind; /* struct told */
    struct timer again;
    struct timer lag;
    bool stopped;
    bool said; /* that no controller answers */

    struct question question; /* while `asked` is not empty */
    struct alter_partition_request request;
    struct alter_partition_response response;
    struct arena arena; /* of the request */
};

static void told_free(struct told *told)
{
    list_remove(&told->link);
    partition_release(told->partition);
    free(told);
}

static struct told *told_new(struct isr_changes *changes, struct partition *p,
                             void (*run)(struct loop_task *task))
{
    struct told *told = xcalloc(1, sizeof(*told));
    partition_retain(p);
    *told = (struct told){.task.run = run, .changes = changes, .partition = p};
    list_init(&told->link);
    return told;
}

static void drop_all(struct list *list)
{
    list_each_safe (item, list) {
        told_free(container_of(item, struct told, link));
    }
}

/* ---- asking ---- */

static void *alloc(struct isr_changes *changes, size_t count, size_t size)
{
    void *memory = arena_array(&changes->arena, count, size);
    CHECK(memory != NULL);
    return memory;
}

/* From `wanted` to `asked`: those that still want something, each once. Returns how many. */
static size_t choose(struct isr_changes *changes)
{
    size_t count = 0;
    struct map chosen;
    map_init(&chosen);
    list_each_safe (item, &changes->wanted) {
        struct told *told = container_of(item, struct told, link);
        if (count == IN_ONE_REQUEST_MAX) {
            break;
        }
        int64_t key = (int64_t)(intptr_t)told->partition;
        if (map_get_i64(&chosen, key) != NULL ||
            !partition_isr_proposal(told->partition, &changes->arena, &told->proposal)) {
            told_free(told);
            continue;
        }
        (void)map_set_i64(&chosen, key, told);
        list_remove(item);
        list_append(&changes->asked, item);
        count++;
    }
    map_deinit(&chosen);
    return count;
}

/* Who is meant of a member's lives (KIP-903); Kafka's leaders tell that to KRaft controllers alone. */
static void fill_partition(struct isr_changes *changes, const struct told *told,
                           struct alter_partition_request_partition *out)
{
    const struct isr_proposal *proposal = &told->proposal;
    alter_partition_request_partition_init(out);
    out->partition_index = partition_name(told->partition).partition;
    out->leader_epoch = proposal->leader_epoch;
    out->partition_epoch = proposal->partition_epoch;
    out->new_isr = (int32_t *)(uintptr_t)proposal->isr.ids;
    out->new_isr_n = proposal->isr.count;
    out->new_isr_with_epochs =
        alloc(changes, (size_t)proposal->isr.count, sizeof(*out->new_isr_with_epochs));
    out->new_isr_with_epochs_n = proposal->isr.count;
    for (int32_t i = 0; i < proposal->isr.count; i++) {
        out->new_isr_with_epochs[i].broker_id = proposal->isr.ids[i];
        out->new_isr_with_epochs[i].broker_epoch = proposal->broker_epochs[i];
    }
}

/* False: it named all topics by their ids, and one has none, since the controller's requests are of before
 * they had (2.8-IV0). */
static bool fill(struct isr_changes *changes, size_t count)
{
    bool all_have_ids = true;
    struct alter_partition_request *request = &changes->request;
    alter_partition_request_init(request);
    request->broker_id = changes->config.broker_id;
    request->broker_epoch = changes->config.broker_epoch(changes->config.context);
    request->topics = alloc(changes, count, sizeof(*request->topics));
    struct alter_partition_request_partition *partitions =
        alloc(changes, count, sizeof(*partitions));
    struct alter_partition_request_topic *topic = NULL;
    list_each (item, &changes->asked) {
        const struct told *told = container_of(item, struct told, link);
        struct str name = partition_name(told->partition).topic;
        if (topic == NULL || !str_equal(topic->topic_name, name)) {
            topic = &request->topics[request->topics_n++];
            topic->topic_name = name;
            topic->topic_id = partition_topic_id(told->partition);
            all_have_ids = all_have_ids && !uuid_is_zero(topic->topic_id);
            topic->partitions = partitions;
        }
        fill_partition(changes, told, partitions++);
        topic->partitions_n++;
    }
    return all_have_ids;
}

static void on_answer(struct question *question, err outcome);

static void go_on(struct isr_changes *changes)
{
    if (changes->stopped || !list_empty(&changes->asked) || timer_is_running(&changes->again)) {
        return;
    }
    arena_reset(&changes->arena, ARENA_BYTES);
    size_t count = choose(changes);
    if (count > 0) {
        bool all_have_ids = fill(changes, count);
        changes->question = (struct question){.api_key = KEY_ALTER_PARTITION,
                                              .version_max = all_have_ids ? 0 : LAST_BY_NAME,
                                              .request = &changes->request,
                                              .response = &changes->response,
                                              .done = on_answer};
        to_controller_ask(changes->config.to, &changes->question);
    }
}

/* ---- answers ---- */

/* Where in an answer the last one was found: the next one is after it, mostly. */
struct place {
    const struct alter_partition_response *in;
    int32_t topic;
    int32_t partition;
};

static const struct alter_partition_response_partition *find_in(struct place *place, int32_t t,
                                                                int32_t partition)
{
    const struct alter_partition_response_topic *topic = &place->in->topics[t];
    int32_t from = t == place->topic ? place->partition : 0;
    for (int32_t i = 0; i < topic->partitions_n; i++) {
        int32_t at = (from + i) % topic->partitions_n;
        if (topic->partitions[at].partition_index == partition) {
            place->topic = t;
            place->partition = at;
            return &topic->partitions[at];
        }
    }
    return NULL;
}

static const struct alter_partition_response_partition *answer_to(struct place *place,
                                                                  struct partition *p)
{
    struct topic_partition name = partition_name(p);
    struct uuid id = partition_topic_id(p);
    const struct alter_partition_response *in = place->in;
    const struct alter_partition_response_partition *found = NULL;
    int32_t from = place->topic;
    for (int32_t i = 0; i < in->topics_n && found == NULL; i++) {
        int32_t t = (from + i) % in->topics_n;
        if (str_equal(in->topics[t].topic_name, name.topic) ||
            uuid_equal(in->topics[t].topic_id, id)) {
            found = find_in(place, t, name.partition);
        }
    }
    return found;
}

/* True: it must be asked again. */
static bool take(const struct told *told, struct place *place)
{
    const struct alter_partition_response_partition *in = answer_to(place, told->partition);
    if (in == NULL) {
        return true;
    }
    const struct isr_answer answer = {
        .leader_epoch = in->leader_epoch,
        .partition_epoch = in->partition_epoch,
        .isr = {.ids = in->isr, .count = in->isr_n < 0 ? 0 : in->isr_n}};
    return partition_isr_answered(told->partition, &told->proposal, in->error_code, &answer);
}

static void on_answer(struct question *question, err outcome)
{
    struct isr_changes *changes = container_of(question, struct isr_changes, question);
    err e = outcome == OK ? changes->response.error_code : outcome;
    bool again = e != OK;
    if (e != OK && !changes->said && outcome != E_CLOSED) {
        log_warn("replica",
                 "the controller does not change in-sync replicas, trying again error=\"%s\"",
                 e > 0 ? kafka_error_name((int16_t)e) : err_text(e));
    }
    changes->said = e != OK;
    struct place place = {.in = &changes->response};
    list_each_safe (item, &changes->asked) {
        struct told *told = container_of(item, struct told, link);
        if (e != OK || take(told, &place)) {
            again = true;
            list_remove(item);
            list_append(&changes->wanted, item);
        } else {
            told_free(told);
        }
    }
    if (again && !changes->stopped) {
        timer_start(changes->config.state, &changes->again, AGAIN_MS);
    }
    go_on(changes);
}

static void on_again(struct timer *timer)
{
    go_on(container_of(timer, struct isr_changes, again));
}

/* ---- what partitions tell ---- */

static void on_wanted(struct loop_task *task)
{
    struct told *told = container_of(task, struct told, task);
    struct isr_changes *changes = told->changes;
    if (changes->stopped) {
        told_free(told);
        return;
    }
    list_append(&changes->wanted, &told->link);
    go_on(changes);
}

void isr_changes_wanted(void *context, struct partition *p)
{
    struct isr_changes *changes = context;
    loop_post(changes->config.state, &told_new(changes, p, on_wanted)->task);
}

static void start_lag(struct isr_changes *changes)
{
    if (!timer_is_running(&changes->lag)) {
        timer_start(changes->config.state, &changes->lag, changes->config.lag_ms / CHECKS_PER_LAG);
    }
}

static void on_lag(struct timer *timer)
{
    struct isr_changes *changes = container_of(timer, struct isr_changes, lag);
    int64_t now_ms = clock_monotonic_ms(changes->config.clock);
    list_each_safe (item, &changes->behind) {
        struct told *told = container_of(item, struct told, link);
        if (!partition_check_lag(told->partition, now_ms)) {
            told_free(told);
        }
    }
    if (!list_empty(&changes->behind)) {
        start_lag(changes);
    }
}

static void on_behind(struct loop_task *task)
{
    struct told *told = container_of(task, struct told, task);
    struct isr_changes *changes = told->changes;
    if (changes->stopped) {
        told_free(told);
        return;
    }
    list_append(&changes->behind, &told->link);
    start_lag(changes);
}

void isr_changes_behind(void *context, struct partition *p)
{
    struct isr_changes *changes = context;
    loop_post(changes->config.state, &told_new(changes, p, on_behind)->task);
}

/* ---- life ---- */

struct isr_changes *isr_changes_new(const struct isr_changes_config *config)
{
    struct isr_changes *changes = xcalloc(1, sizeof(*changes));
    changes->config = *config;
    list_init(&changes->wanted);
    list_init(&changes->asked);
    list_init(&changes->behind);
    changes->again.fire = on_again;
    changes->lag.fire = on_lag;
    arena_init(&changes->arena, ARENA_BYTES);
    return changes;
}

void isr_changes_stop(struct isr_changes *changes)
{
    if (changes == NULL) {
        return;
    }
    changes->stopped = true;
    timer_stop(changes->config.state, &changes->again);
    timer_stop(changes->config.state, &changes->lag);
    drop_all(&changes->wanted);
    drop_all(&changes->asked);
    drop_all(&changes->behind);
}

void isr_changes_free(struct isr_changes *changes)
{
    if (changes != NULL) {
        isr_changes_stop(changes);
        arena_deinit(&changes->arena);
        free(changes);
    }
}
