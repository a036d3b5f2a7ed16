/* Questions to other brokers are handed over to the background thread, where the connections live. */
#include "broker/coordinator/txn_verifier.h"

#include "broker/cluster/broker_clients.h"

#include <pthread.h>
#include <stdlib.h>

enum {
    QUESTIONS_MAX = 1000, /* of one request */
    ARENA_BYTES = 64 << 20,
    KEY_BYTES_MAX = 64 << 10,
    KEY_ADD_PARTITIONS_TO_TXN = 24,
    FIRST_VERSION = 4, /* older brokers cannot be asked, and are believed, as by Kafka */
};

/* To one broker. */
struct verifier_link {
    struct broker_client *client;
    struct list queued; /* struct txn_question */
    struct list asked;
    struct broker_question question;
    struct add_partitions_to_txn_request request;
    struct add_partitions_to_txn_response response;
    struct arena arena; /* the request's */
};

struct txn_verifier {
    struct txn_coordinator *coordinator;
    struct broker_clients *clients;
    struct map links; /* broker id → struct verifier_link */

    pthread_mutex_t lock; /* leaf; guards the next three */
    struct list incoming; /* struct txn_question */
    bool posted;
    bool stopped;
    struct loop_task adopt;
};

static void answer_all(struct txn_question *question, err e)
{
    for (int32_t i = 0; i < question->partitions_n; i++) {
        question->partitions[i].error = e;
    }
}

static err for_producers(err e)
{
    return e == ERR_PRODUCER_FENCED ? ERR_INVALID_PRODUCER_EPOCH : e;
}

/* ---- this broker ---- */

static err verify(const struct txn_shard *shard, struct txn_question *question)
{
    const struct txn *txn = txn_shard_find(shard, question->id);
    TRY(txn == NULL ? ERR_INVALID_PRODUCER_ID_MAPPING : txn_verify(txn, question->by));
    for (int32_t i = 0; i < question->partitions_n; i++) {
        struct txn_question_partition *p = &question->partitions[i];
        p->error = txn_verify_partition(txn, p->name.topic, p->name.partition);
    }
    return OK;
}

static void ask_here(struct txn_verifier *verifier, struct txn_question *question)
{
    struct txn_shard *shard = NULL;
    err e = txn_shard_lock(verifier->coordinator, question->id, &shard);
    if (e == OK) {
        e = verify(shard, question);
        txn_shard_unlock(shard);
    }
    if (e != OK) {
        answer_all(question, for_producers(e));
    }
}

/* ---- others ---- */

static void ask(struct verifier_link *link);
static void on_answer(struct broker_question *question, err outcome);

static struct verifier_link *link_to(struct txn_verifier *verifier, int32_t broker_id)
{
    struct verifier_link *link = map_get_i64(&verifier->links, broker_id);
    if (link == NULL) {
        link = xcalloc(1, sizeof(*link));
        link->client = broker_clients_get(verifier->clients, broker_id);
        list_init(&link->queued);
        list_init(&link->asked);
        arena_init(&link->arena, ARENA_BYTES);
        map_set_i64(&verifier->links, broker_id, link);
    }
    return link;
}

typedef struct add_partitions_to_txn_request_transaction asked_txn;
typedef struct add_partitions_to_txn_request_topic asked_topic;

/* False: no memory. */
static bool fill_in(struct arena *arena, const struct txn_question *question, asked_txn *out)
{
    size_t count = (size_t)question->partitions_n;
    add_partitions_to_txn_request_transaction_init(out);
    out->transactional_id = question->id;
    out->producer_id = question->by.id;
    out->producer_epoch = question->by.epoch;
    out->verify_only = true;
    out->topics = arena_array(arena, count, sizeof(*out->topics));
    int32_t *numbers = arena_array(arena, count, sizeof(*numbers));
    if (out->topics == NULL || numbers == NULL) {
        return false;
    }
    for (int32_t i = 0; i < question->partitions_n; i++) {
        struct topic_partition name = question->partitions[i].name;
        asked_topic *topic = out->topics_n == 0 ? NULL : &out->topics[out->topics_n - 1];
        if (topic == NULL || !str_equal(topic->name, name.topic)) {
            topic = &out->topics[out->topics_n++];
            add_partitions_to_txn_request_topic_init(topic);
            topic->name = name.topic;
            topic->partitions = numbers + i;
        }
        numbers[i] = name.partition;
        topic->partitions_n++;
    }
    return true;
}

/* Of one id a second question waits for the next request: they could not be told apart. */
static void take_queued(struct verifier_link *link)
{
    struct add_partitions_to_txn_request *request = &link->request;
    struct map ids;
    map_init(&ids);
    list_each_safe (item, &link->queued) {
        struct txn_question *question = container_of(item, struct txn_question, link);
        if (request->transactions_n == QUESTIONS_MAX ||
            !fill_in(&link->arena, question, &request->transactions[request->transactions_n])) {
            break;
        }
        if (map_set_str(&ids, question->id, question) == NULL) {
            request->transactions_n++;
            list_remove(item);
            list_append(&link->asked, item);
        }
    }
    map_deinit(&ids);
}

static void ask(struct verifier_link *link)
{
    if (!list_empty(&link->asked) || list_empty(&link->queued)) {
        return;
    }
    arena_reset(&link->arena, ARENA_BYTES);
    add_partitions_to_txn_request_init(&link->request);
    link->request.transactions =
        arena_array(&link->arena, QUESTIONS_MAX, sizeof(*link->request.transactions));
    if (link->request.transactions != NULL) {
        take_queued(link);
    }
    link->question = (struct broker_question){.api_key = KEY_ADD_PARTITIONS_TO_TXN,
                                              .version_min = FIRST_VERSION,
                                              .request = &link->request,
                                              .response = &link->response,
                                              .done = on_answer};
    broker_client_ask(link->client, &link->question);
}

static struct bytes key_of(struct writer *key, struct str topic, int32_t partition)
{
    writer_clear(key);
    writer_i32(key, partition);
    writer_bytes(key, topic.data, topic.len);
    return bytes_of(key->data, key->len);
}

typedef struct add_partitions_to_txn_response_transaction_result answered_txn;

/* What a partition of the question is answered is found by its name. */
static void take_result(struct txn_question *question, const answered_txn *result)
{
    struct map places;
    struct writer key;
    map_init(&places);
    writer_init(&key, KEY_BYTES_MAX);
    for (int32_t i = 0; i < question->partitions_n; i++) {
        struct topic_partition name = question->partitions[i].name;
        (void)map_set(&places, key_of(&key, name.topic, name.partition), &question->partitions[i]);
    }
    for (int32_t t = 0; t < result->topic_results_n; t++) {
        const struct add_partitions_to_txn_response_topic_result *topic = &result->topic_results[t];
        for (int32_t i = 0; i < topic->results_by_partition_n; i++) {
            struct txn_question_partition *p = map_get(
                &places, key_of(&key, topic->name, topic->results_by_partition[i].partition_index));
            if (p != NULL) {
                p->error = for_producers(topic->results_by_partition[i].partition_error_code);
            }
        }
    }
    writer_deinit(&key);
    map_deinit(&places);
}

/* Each id is asked about once in a request. */
static void take_answers(struct verifier_link *link, struct map *results)
{
    const struct add_partitions_to_txn_response *response = &link->response;
    for (int32_t i = 0; i < response->results_by_transaction_n; i++) {
        (void)map_set_str(results, response->results_by_transaction[i].transactional_id,
                          &response->results_by_transaction[i]);
    }
}

static void take_answer(const struct verifier_link *link, const struct map *results,
                        struct txn_question *question)
{
    err e = link->response.error_code;
    const answered_txn *result = map_get_str(results, question->id);
    answer_all(question, e == OK                                 ? ERR_NETWORK_EXCEPTION
                         : e == ERR_CLUSTER_AUTHORIZATION_FAILED ? ERR_INVALID_TXN_STATE
                                                                 : e);
    if (e == OK && result != NULL) {
        take_result(question, result);
    }
}

static void on_answer(struct broker_question *asked, err outcome)
{
    struct verifier_link *link = container_of(asked, struct verifier_link, question);
    struct map results;
    map_init(&results);
    if (outcome == OK) {
        take_answers(link, &results);
    }
    while (!list_empty(&link->asked)) {
        struct txn_question *question = container_of(link->asked.next, struct txn_question, link);
        list_remove(&question->link);
        if (outcome == OK) {
            take_answer(link, &results, question);
        } else {
            answer_all(question, outcome == E_UNSUPPORTED ? OK : ERR_NETWORK_EXCEPTION);
        }
        waiter_wake(question->waiter); /* it is its owner's again */
    }
    map_deinit(&results);
    ask(link);
}

/* ---- asking ---- */

/* The coordinator's id, or -1 where nobody knows it. */
static int32_t coordinator_of(const struct txn_verifier *verifier, struct str id)
{
    const struct shards *shards = &verifier->coordinator->shards;
    struct metadata *metadata = metadata_acquire(shards->config.metadata);
    const struct topic_info *topic = metadata_topic(metadata, str_of(shards->config.kind->topic));
    int32_t number = topic == NULL ? -1 : shards_partition_of(id, topic->partitions_n);
    int32_t leader = number < 0 ? -1 : topic->partitions[number].leader;
    leader = leader >= 0 && metadata_broker(metadata, leader) == NULL ? -1 : leader;
    metadata_release(metadata);
    return leader;
}

static void on_adopt(struct loop_task *task)
{
    struct txn_verifier *verifier = container_of(task, struct txn_verifier, adopt);
    struct list incoming;
    list_init(&incoming);
    pthread_mutex_lock(&verifier->lock);
    verifier->posted = false;
    list_each_safe (item, &verifier->incoming) {
        list_remove(item);
        list_append(&incoming, item);
    }
    pthread_mutex_unlock(&verifier->lock);
    list_each_safe (item, &incoming) {
        struct txn_question *question = container_of(item, struct txn_question, link);
        list_remove(item);
        int32_t broker_id = coordinator_of(verifier, question->id);
        if (broker_id < 0) {
            answer_all(question, ERR_COORDINATOR_NOT_AVAILABLE);
            waiter_wake(question->waiter);
        } else {
            struct verifier_link *link = link_to(verifier, broker_id);
            list_append(&link->queued, item);
            ask(link);
        }
    }
}

bool txn_verifier_ask(struct txn_verifier *verifier, struct txn_question *question)
{
    int32_t broker_id = coordinator_of(verifier, question->id);
    if (question->id.len == 0) {
        answer_all(question, ERR_INVALID_REQUEST);
        return true;
    }
    if (broker_id < 0) {
        answer_all(question, ERR_COORDINATOR_NOT_AVAILABLE);
        return true;
    }
    if (broker_id == verifier->coordinator->config.broker_id) {
        ask_here(verifier, question);
        return true;
    }
    pthread_mutex_lock(&verifier->lock);
    bool stopped = verifier->stopped;
    bool post = !stopped && !verifier->posted;
    if (!stopped) {
        list_append(&verifier->incoming, &question->link);
        verifier->posted = true;
    }
    pthread_mutex_unlock(&verifier->lock);
    if (post) {
        loop_post(verifier->coordinator->config.background, &verifier->adopt);
    }
    if (stopped) {
        answer_all(question, ERR_NETWORK_EXCEPTION);
    }
    return stopped;
}

/* ---- life ---- */

struct txn_verifier *txn_verifier_new(struct txn_coordinator *coordinator)
{
    const struct txn_coordinator_config *config = &coordinator->config;
    struct txn_verifier *verifier = xcalloc(1, sizeof(*verifier));
    struct broker_clients_config clients = {.broker_id = config->broker_id,
                                            .loop = config->background,
                                            .workers = config->workers,
                                            .address = config->address,
                                            .context = config->context,
                                            .security = config->security,
                                            .connect_timeout_ms = config->connect_timeout_ms,
                                            .timeout_ms = config->config->request_timeout_ms};
    verifier->coordinator = coordinator;
    verifier->clients = broker_clients_new(&clients);
    verifier->adopt.run = on_adopt;
    map_init(&verifier->links);
    list_init(&verifier->incoming);
    pthread_mutex_init(&verifier->lock, NULL);
    return verifier;
}

void txn_verifier_stop(struct txn_verifier *verifier)
{
    pthread_mutex_lock(&verifier->lock);
    verifier->stopped = true;
    pthread_mutex_unlock(&verifier->lock);
    broker_clients_stop(verifier->clients);
    on_adopt(&verifier->adopt); /* what came last: nobody can be asked any more */
}

void txn_verifier_free(struct txn_verifier *verifier)
{
    map_each (entry, &verifier->links) {
        struct verifier_link *link = entry->value;
        arena_deinit(&link->arena);
        free(link);
    }
    map_deinit(&verifier->links);
    broker_clients_free(verifier->clients);
    pthread_mutex_destroy(&verifier->lock);
    free(verifier);
}
