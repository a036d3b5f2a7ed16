/* A transaction that ends is a job with a target for each of its partitions. A target is written here, or waits
 * for a leader elsewhere (in the queue of that broker, then in the request to it), or waits for a second look at
 * who leads it; the store is asked whether what the metadata do not name was deleted. All of it lives on the
 * background thread, but for the first try at targets on this broker, before the job is handed over. */
#include "broker/coordinator/txn_markers.h"

#include "base/check.h"
#include "base/log.h"
#include "base/planted.h"
#include "broker/cluster/broker_clients.h"
#include "broker/coordinator/txn_marker.h"

#include <pthread.h>
#include <stdlib.h>

enum {
    AT_ONCE_MAX = 64,    /* partitions that are written by whoever ends the transaction: 0.2 ms */
    TARGETS_MAX = 10000, /* of one request */
    MISSING_MAX = 1000,  /* of one question to the store */
    RETRY_MS = 50,
    KEY_BYTES_MAX = 64 << 10,
    ARENA_BYTES = 64 << 20,
    KEY_WRITE_TXN_MARKERS = 27,
    FIRST_VERSION = 1, /* brokers have it since Kafka 2.8 */
};

#define AREA "transactions"

struct job {
    struct list link;
    struct txn_markers *markers;
    struct txn_ending *ending;
    int32_t left;      /* targets that are not done */
    int32_t asked;     /* targets in requests that are under way */
    atomic_int looks;  /* posted */
    bool is_adopted;   /* by the background thread, whose the rest is */
    bool is_cancelled; /* it is to go, and nothing more to be written */
    struct target {
        struct list link;
        struct job *job;
        struct txn_marker marker;
        enum { TARGET_NEW, TARGET_WAITS, TARGET_QUEUED, TARGET_ASKED, TARGET_DONE } state;
        struct waiter waiter; /* of a marker that is being written here */
        struct loop_task look;
        atomic_bool look_posted;
    } targets[];
};

/* To one broker. */
struct marker_link {
    struct txn_markers *markers;
    struct broker_client *client;
    struct list queued; /* struct target, by link */
    struct list asked;  /* the same, in the request that is under way */
    struct broker_question question;
    struct write_txn_markers_request request;
    struct write_txn_markers_response response;
    struct arena arena; /* the request's */
};

/* To the store: which of the targets that the metadata do not name were deleted. */
struct missing {
    struct list queued; /* struct target, by link */
    struct list asked;  /* the same; never empty while the question is under way */
    struct topic_sizes_question question;
    struct map indexes; /* topic → 1 + its index in the question */
    struct str topics[MISSING_MAX];
    int32_t partitions[MISSING_MAX];
};

struct txn_markers {
    int32_t broker_id;
    struct loop *loop;
    struct metadata_cache *metadata;
    struct txn_marker_places places;
    struct broker_clients *clients;
    struct map links; /* broker id → struct marker_link */
    struct list jobs;
    struct list unplaced; /* struct target: their leader is looked up again */
    struct missing missing;
    void (*topic_sizes)(void *context, struct topic_sizes_question *question);
    void *context;
    struct timer retry;

    pthread_mutex_t lock; /* leaf; guards the next two */
    struct list incoming; /* struct job */
    bool posted;
    struct loop_task adopt;
};

/* ---- endings ---- */

struct txn_ending *txn_ending_new(struct txn_shard *shard, const struct txn *txn)
{
    struct txn_ending *ending = xcalloc(1, sizeof(*ending));
    *ending = (struct txn_ending){
        .shard = shard,
        .life = atomic_load(&shard->life),
        .id = {.data = str_dup(txn->id), .len = txn->id.len},
        .end = {.producer_id = txn->is.producer_id,
                .producer_epoch = txn->is.epoch,
                .commit = txn->is.state == TXN_PREPARE_COMMIT,
                .coordinator_epoch = shard->shard.leader_epoch},
        .partitions = txn_partitions_retain(txn->is.partitions),
    };
    list_init(&ending->link);
    return ending;
}

void txn_ending_free(struct txn_ending *ending)
{
    txn_partitions_release(ending->partitions);
    free((void *)(uintptr_t)ending->id.data);
    free(ending);
}

/* ---- jobs ---- */

static void on_look(struct loop_task *task);

/* Any thread, perhaps under a partition's lock. */
static void on_woken(struct waiter *waiter)
{
    struct target *target = container_of(waiter, struct target, waiter);
    if (!atomic_exchange(&target->look_posted, true)) {
        atomic_fetch_add(&target->job->looks, 1);
        loop_post(target->job->markers->loop, &target->look);
    }
}

static struct job *job_new(struct txn_markers *markers, struct txn_ending *ending)
{
    int32_t count = txn_partitions_count(ending->partitions);
    struct job *job = xcalloc(1, sizeof(*job) + (size_t)count * sizeof(job->targets[0]));
    job->markers = markers;
    job->ending = ending;
    job->left = count;
    list_init(&job->link);
    for (int32_t i = 0; i < count; i++) {
        struct target *target = &job->targets[i];
        *target = (struct target){.job = job,
                                  .marker = {.name = ending->partitions->items[i],
                                             .end = ending->end,
                                             .waiter = &target->waiter},
                                  .waiter.wake = on_woken,
                                  .look.run = on_look};
        list_init(&target->link);
    }
    return job;
}

static void job_free(struct job *job)
{
    list_remove(&job->link);
    txn_ending_free(job->ending);
    free(job);
}

/* Nothing of it is under way any more. */
static void finish_if_done(struct job *job)
{
    if (job->left > 0 || job->asked > 0 || atomic_load(&job->looks) > 0) {
        return;
    }
    if (!job->is_cancelled) {
        txn_shard_markers_written(job->ending->shard, job->ending);
    }
    job_free(job);
}

static void target_done(struct target *target)
{
    CHECK(target->state != TARGET_DONE);
    list_remove(&target->link);
    target->state = TARGET_DONE;
    target->job->left--;
}

/* What a shard of groups has begun ends by itself. */
static void cancel(struct job *job)
{
    job->is_cancelled = true;
    int32_t count = txn_partitions_count(job->ending->partitions);
    for (int32_t i = 0; i < count; i++) {
        struct target *target = &job->targets[i];
        bool waits = target->state == TARGET_WAITS;
        if (target->state != TARGET_DONE && target->state != TARGET_ASKED &&
            (!waits || txn_marker_give_up(&target->marker))) {
            target_done(target);
        }
    }
}

static void log_cancelled(const struct job *job, const struct target *target, err e)
{
    const struct txn_ending *ending = job->ending;
    log_info(
        AREA,
        "markers given up, somebody newer decides transactional.id=%.*s producer=%lld epoch=%d "
        "topic=%.*s partition=%d error=%s",
        (int)ending->id.len, ending->id.data, (long long)ending->end.producer_id,
        ending->end.producer_epoch, (int)target->marker.name.topic.len,
        target->marker.name.topic.data, target->marker.name.partition, kafka_error_name(e));
}

/* ---- targets, on the background thread ---- */

static void look_later(struct target *target)
{
    struct txn_markers *markers = target->job->markers;
    target->state = TARGET_NEW;
    list_remove(&target->link);
    list_append(&markers->unplaced, &target->link);
    if (!timer_is_running(&markers->retry)) {
        timer_start(markers->loop, &markers->retry, RETRY_MS);
    }
}

/* What became of it, here or elsewhere. */
static void settle(struct target *target, err e)
{
    switch (e) {
    case OK:
    case ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
    case ERR_UNSUPPORTED_VERSION:
        target_done(target);
        break;
    case ERR_INVALID_PRODUCER_EPOCH:
    case ERR_TRANSACTION_COORDINATOR_FENCED:
        target_done(target);
        log_cancelled(target->job, target, e);
        cancel(target->job);
        break;
    default:
        if (target->job->is_cancelled || planted(MISTAKE_GIVES_UP_MARKER)) {
            target_done(target);
        } else {
            look_later(target);
        }
    }
}

static void write_here(struct target *target)
{
    err e = txn_marker_begin(&target->job->markers->places, &target->marker);
    if (e == E_BUSY) {
        target->state = TARGET_WAITS;
    } else {
        settle(target, e);
    }
}

static void look(struct target *target)
{
    err e = txn_marker_look(&target->marker);
    if (e != E_BUSY) {
        settle(target, e);
    }
}

static void on_look(struct loop_task *task)
{
    struct target *target = container_of(task, struct target, look);
    struct job *job = target->job;
    atomic_store(&target->look_posted, false);
    if (job->is_adopted && target->state == TARGET_WAITS) {
        look(target);
    }
    atomic_fetch_sub(&job->looks, 1);
    if (job->is_adopted) {
        finish_if_done(job);
    }
}

/* ---- elsewhere ---- */

static void ask(struct marker_link *link);
static void ask_store(struct txn_markers *markers);
static void on_answer(struct broker_question *question, err outcome);

static struct marker_link *link_to(struct txn_markers *markers, int32_t broker_id)
{
    struct marker_link *link = map_get_i64(&markers->links, broker_id);
    if (link == NULL) {
        link = xcalloc(1, sizeof(*link));
        link->markers = markers;
        link->client = broker_clients_get(markers->clients, broker_id);
        list_init(&link->queued);
        list_init(&link->asked);
        arena_init(&link->arena, ARENA_BYTES);
        map_set_i64(&markers->links, broker_id, link);
    }
    return link;
}

/* Where its leader is by the metadata; this broker's own word counts first. */
static void place(struct target *target)
{
    struct txn_markers *markers = target->job->markers;
    struct topic_partition name = target->marker.name;
    struct metadata *metadata = metadata_acquire(markers->metadata);
    bool exists = metadata_has_partition(metadata, name.topic, name.partition);
    int32_t leader =
        exists ? metadata_topic(metadata, name.topic)->partitions[name.partition].leader : -1;
    bool alive = leader >= 0 && metadata_broker(metadata, leader) != NULL;
    metadata_release(metadata);
    if (!exists) {
        target->state = TARGET_QUEUED;
        list_remove(&target->link);
        list_append(&markers->missing.queued, &target->link);
        ask_store(markers);
    } else if (leader == markers->broker_id) {
        write_here(target);
    } else if (!alive) {
        look_later(target);
    } else {
        struct marker_link *link = link_to(markers, leader);
        target->state = TARGET_QUEUED;
        list_remove(&target->link);
        list_append(&link->queued, &target->link);
        ask(link);
    }
}

/* What is put into a request; everything of it has room for all that is queued. */
struct asking {
    struct marker_link *link;
    struct map producers; /* ids: two markers of one could not be told apart in the answer */
    const struct target *before;
    struct write_txn_markers_request_topic *topics; /* what is left of the room */
    int32_t *numbers;                               /* the same */
};

static int32_t queued_count(const struct marker_link *link)
{
    int32_t count = 0;
    list_each (item, &link->queued) {
        if (++count == TARGETS_MAX) {
            break;
        }
    }
    return count;
}

/* False: no memory. */
static bool asking_init(struct asking *asking, struct marker_link *link)
{
    struct write_txn_markers_request *request = &link->request;
    size_t count = (size_t)queued_count(link);
    arena_reset(&link->arena, ARENA_BYTES);
    write_txn_markers_request_init(request);
    request->markers = arena_array(&link->arena, count, sizeof(*request->markers));
    *asking = (struct asking){
        .link = link,
        .topics = arena_array(&link->arena, count, sizeof(*asking->topics)),
        .numbers = arena_array(&link->arena, count, sizeof(*asking->numbers)),
    };
    map_init(&asking->producers);
    return request->markers != NULL && asking->topics != NULL && asking->numbers != NULL;
}

/* Targets of one job stand together. */
static void add_target(struct asking *asking, const struct target *target)
{
    struct write_txn_markers_request *request = &asking->link->request;
    const struct txn_end *end = &target->job->ending->end;
    struct str name = target->marker.name.topic;
    bool new_job = asking->before == NULL || asking->before->job != target->job;
    if (new_job) {
        struct write_txn_markers_request_marker *marker = &request->markers[request->markers_n++];
        write_txn_markers_request_marker_init(marker);
        marker->producer_id = end->producer_id;
        marker->producer_epoch = end->producer_epoch;
        marker->transaction_result = end->commit;
        marker->coordinator_epoch = end->coordinator_epoch;
        marker->topics = asking->topics;
        (void)map_set_i64(&asking->producers, end->producer_id, target->job);
    }
    struct write_txn_markers_request_marker *marker = &request->markers[request->markers_n - 1];
    if (new_job || !str_equal(asking->before->marker.name.topic, name)) {
        write_txn_markers_request_topic_init(asking->topics);
        asking->topics->name = name;
        asking->topics->partition_indexes = asking->numbers;
        asking->topics++;
        marker->topics_n++;
    }
    struct write_txn_markers_request_topic *topic = &marker->topics[marker->topics_n - 1];
    topic->partition_indexes[topic->partition_indexes_n++] = target->marker.name.partition;
    asking->numbers++;
    asking->before = target;
}

/* What is queued goes into one request, as long as it fits. */
static void take_queued(struct asking *asking)
{
    struct marker_link *link = asking->link;
    int32_t count = 0;
    list_each_safe (item, &link->queued) {
        struct target *target = container_of(item, struct target, link);
        bool new_job = asking->before == NULL || asking->before->job != target->job;
        bool told = map_get_i64(&asking->producers, target->job->ending->end.producer_id) != NULL;
        if (count++ == TARGETS_MAX || (new_job && told)) {
            break;
        }
        list_remove(item);
        list_append(&link->asked, item);
        target->state = TARGET_ASKED;
        target->job->asked++;
        add_target(asking, target);
    }
}

static void ask(struct marker_link *link)
{
    struct asking asking;
    if (!list_empty(&link->asked) || list_empty(&link->queued)) {
        return;
    }
    if (asking_init(&asking, link)) {
        take_queued(&asking);
    }
    map_deinit(&asking.producers);
    link->question = (struct broker_question){.api_key = KEY_WRITE_TXN_MARKERS,
                                              .version_min = FIRST_VERSION,
                                              .request = &link->request,
                                              .response = &link->response,
                                              .done = on_answer};
    broker_client_ask(link->client, &link->question);
}

/* What was answered, by producer, topic and partition; the values are the answer's. */
struct answers {
    struct map map;
    struct writer key;
};

static struct bytes answer_key(struct answers *answers, int64_t producer_id, struct str topic,
                               int32_t partition)
{
    writer_clear(&answers->key);
    writer_i64(&answers->key, producer_id);
    writer_i32(&answers->key, partition);
    writer_bytes(&answers->key, topic.data, topic.len);
    return bytes_of(answers->key.data, answers->key.len);
}

static void read_answers(struct marker_link *link, struct answers *answers)
{
    struct write_txn_markers_response *response = &link->response;
    for (int32_t m = 0; m < response->markers_n; m++) {
        struct write_txn_markers_response_marker *marker = &response->markers[m];
        for (int32_t t = 0; t < marker->topics_n; t++) {
            struct write_txn_markers_response_topic *topic = &marker->topics[t];
            for (int32_t i = 0; i < topic->partitions_n; i++) {
                int32_t partition = topic->partitions[i].partition_index;
                (void)map_set(&answers->map,
                              answer_key(answers, marker->producer_id, topic->name, partition),
                              &topic->partitions[i].error_code);
            }
        }
    }
}

/* What is not answered is asked again. */
static err answer_to(struct answers *answers, const struct target *target)
{
    const struct topic_partition *name = &target->marker.name;
    const int16_t *code =
        map_get(&answers->map, answer_key(answers, target->job->ending->end.producer_id,
                                          name->topic, name->partition));
    return code == NULL ? ERR_UNKNOWN_SERVER_ERROR : *code;
}

static void on_answer(struct broker_question *question, err outcome)
{
    struct marker_link *link = container_of(question, struct marker_link, question);
    struct answers answers;
    map_init(&answers.map);
    writer_init(&answers.key, KEY_BYTES_MAX);
    if (outcome == OK) {
        read_answers(link, &answers);
    }
    while (!list_empty(&link->asked)) {
        struct target *target = container_of(link->asked.next, struct target, link);
        struct job *job = target->job;
        list_remove(&target->link);
        job->asked--;
        target->state = TARGET_NEW;
        settle(target, outcome == OK ? answer_to(&answers, target) : ERR_NETWORK_EXCEPTION);
        finish_if_done(job);
    }
    map_deinit(&answers.map);
    writer_deinit(&answers.key);
    ask(link);
}

/* ---- deleted? ---- */

/* A topic's index in the question. */
static size_t missing_index(struct missing *missing, struct str topic)
{
    size_t known = (size_t)(uintptr_t)map_get_str(&missing->indexes, topic);
    if (known == 0) {
        missing->topics[missing->question.count++] = topic;
        known = missing->question.count;
        (void)map_set_str(&missing->indexes, topic, (void *)(uintptr_t)known);
    }
    return known - 1;
}

static void on_store_answer(struct topic_sizes_question *question)
{
    struct missing *missing = container_of(question, struct missing, question);
    struct txn_markers *markers = container_of(missing, struct txn_markers, missing);
    while (!list_empty(&missing->asked)) {
        struct target *target = container_of(missing->asked.next, struct target, link);
        struct job *job = target->job;
        struct topic_partition name = target->marker.name;
        int32_t partitions = missing->partitions[missing_index(missing, name.topic)];
        bool deleted = partitions >= 0 && name.partition >= partitions;
        list_remove(&target->link);
        job->asked--;
        target->state = TARGET_NEW;
        settle(target, deleted ? OK : ERR_UNKNOWN_TOPIC_OR_PARTITION);
        finish_if_done(job);
    }
    ask_store(markers);
}

static void ask_store(struct txn_markers *markers)
{
    struct missing *missing = &markers->missing;
    if (!list_empty(&missing->asked) || list_empty(&missing->queued)) {
        return;
    }
    map_deinit(&missing->indexes);
    map_init(&missing->indexes);
    missing->question = (struct topic_sizes_question){.topics = missing->topics,
                                                      .partitions = missing->partitions,
                                                      .loop = markers->loop,
                                                      .done = on_store_answer};
    for (int i = 0; i < MISSING_MAX && !list_empty(&missing->queued); i++) {
        struct target *target = container_of(missing->queued.next, struct target, link);
        list_remove(&target->link);
        list_append(&missing->asked, &target->link);
        target->state = TARGET_ASKED;
        target->job->asked++;
        (void)missing_index(missing, target->marker.name.topic);
    }
    markers->topic_sizes(markers->context, &missing->question);
}

/* ---- beginning, and going on ---- */

static void adopt(struct job *job)
{
    job->is_adopted = true;
    list_append(&job->markers->jobs, &job->link);
    int32_t count = txn_partitions_count(job->ending->partitions);
    for (int32_t i = 0; i < count; i++) {
        struct target *target = &job->targets[i];
        if (target->state == TARGET_WAITS) {
            look(target);
        } else if (target->state == TARGET_NEW && list_empty(&target->link)) {
            place(target);
        }
    }
    finish_if_done(job);
}

static void on_adopt(struct loop_task *task)
{
    struct txn_markers *markers = container_of(task, struct txn_markers, adopt);
    struct list incoming;
    list_init(&incoming);
    pthread_mutex_lock(&markers->lock);
    markers->posted = false;
    list_each_safe (item, &markers->incoming) {
        list_remove(item);
        list_append(&incoming, item);
    }
    pthread_mutex_unlock(&markers->lock);
    list_each_safe (item, &incoming) {
        list_remove(item);
        adopt(container_of(item, struct job, link));
    }
}

static void hand_over(struct txn_markers *markers, struct job *job)
{
    pthread_mutex_lock(&markers->lock);
    list_append(&markers->incoming, &job->link);
    bool post = !markers->posted;
    markers->posted = true;
    pthread_mutex_unlock(&markers->lock);
    if (post) {
        loop_post(markers->loop, &markers->adopt);
    }
}

void txn_markers_begin_later(struct txn_markers *markers, struct txn_ending *ending)
{
    hand_over(markers, job_new(markers, ending));
}

/* What is refused is looked at again by the background thread, which knows what to do then. */
static void try_at_once(struct job *job)
{
    int32_t count = txn_partitions_count(job->ending->partitions);
    for (int32_t i = 0; i < count && count <= AT_ONCE_MAX; i++) {
        struct target *target = &job->targets[i];
        err e = txn_marker_begin(&job->markers->places, &target->marker);
        if (e == OK) {
            target_done(target);
        } else if (e == E_BUSY) {
            target->state = TARGET_WAITS;
        }
    }
}

void txn_markers_begin(struct txn_markers *markers, struct txn_ending *ending)
{
    struct job *job = job_new(markers, ending);
    try_at_once(job);
    if (job->left == 0) {
        finish_if_done(job);
    } else {
        hand_over(markers, job);
    }
}

/* Does the shard that began it still stand for it? */
static bool is_current(const struct job *job)
{
    return atomic_load(&job->ending->shard->life) == job->ending->life;
}

static void on_retry(struct timer *timer)
{
    struct txn_markers *markers = container_of(timer, struct txn_markers, retry);
    struct list due;
    list_init(&due);
    list_each_safe (item, &markers->unplaced) {
        list_remove(item);
        list_append(&due, item);
    }
    while (!list_empty(&due)) {
        struct target *target = container_of(due.next, struct target, link);
        struct job *job = target->job;
        list_remove(&target->link);
        if (is_current(job)) {
            place(target);
        } else {
            cancel(job);
        }
        finish_if_done(job);
    }
}

/* ---- life ---- */

struct txn_markers *txn_markers_new(const struct txn_coordinator_config *config)
{
    struct txn_markers *markers = xcalloc(1, sizeof(*markers));
    struct broker_clients_config clients = {.broker_id = config->broker_id,
                                            .loop = config->background,
                                            .workers = config->workers,
                                            .address = config->address,
                                            .context = config->context,
                                            .security = config->security,
                                            .connect_timeout_ms = config->connect_timeout_ms,
                                            .timeout_ms = config->config->request_timeout_ms};
    markers->broker_id = config->broker_id;
    markers->loop = config->background;
    markers->metadata = config->metadata;
    markers->places = txn_coordinator_places(config);
    markers->clients = broker_clients_new(&clients);
    markers->topic_sizes = config->topic_sizes;
    markers->context = config->context;
    map_init(&markers->links);
    list_init(&markers->missing.queued);
    list_init(&markers->missing.asked);
    map_init(&markers->missing.indexes);
    list_init(&markers->jobs);
    list_init(&markers->unplaced);
    list_init(&markers->incoming);
    markers->retry.fire = on_retry;
    markers->adopt.run = on_adopt;
    pthread_mutex_init(&markers->lock, NULL);
    return markers;
}

/* Nothing wakes them any more; those of shards of groups have been told. */
static void give_up_waiting(struct list *jobs)
{
    list_each (item, jobs) {
        struct job *job = container_of(item, struct job, link);
        for (int32_t i = 0; i < txn_partitions_count(job->ending->partitions); i++) {
            struct target *target = &job->targets[i];
            if (target->state == TARGET_WAITS) {
                CHECK(txn_marker_give_up(&target->marker));
                target->state = TARGET_NEW;
            }
        }
    }
}

void txn_markers_stop(struct txn_markers *markers)
{
    broker_clients_stop(markers->clients);
    give_up_waiting(&markers->incoming);
    give_up_waiting(&markers->jobs);
}

static void drop_jobs(struct list *jobs)
{
    list_each_safe (item, jobs) {
        job_free(container_of(item, struct job, link));
    }
}

void txn_markers_free(struct txn_markers *markers)
{
    timer_stop(markers->loop, &markers->retry);
    drop_jobs(&markers->incoming);
    drop_jobs(&markers->jobs);
    map_each (entry, &markers->links) {
        struct marker_link *link = entry->value;
        arena_deinit(&link->arena);
        free(link);
    }
    map_deinit(&markers->links);
    map_deinit(&markers->missing.indexes);
    broker_clients_free(markers->clients);
    pthread_mutex_destroy(&markers->lock);
    free(markers);
}
