/* kafka-topics --describe, line by line as Kafka 3.9.1 prints it against a broker with ZooKeeper.
 *
 * Kafka's tool keeps topics, and the options of each, in hash maps, and prints them in that order (java_order.h). What
 * is being reassigned is asked of the controller, and passed over where that is not known. */
#define _GNU_SOURCE
#include "base/refuse.h"
#include "cli/java_order.h"
#include "cli/said.h"
#include "cli/topics.h"

#include <stdio.h>
#include <stdlib.h>

enum { RESOURCE_TOPIC = 2, SOURCE_DEFAULT = 5, CONFIG_NAMES_MAX = 256 };

/* One topic with its options. */
struct described {
    const struct metadata_response_topic *topic;
    const struct describe_configs_response_result *configs;
};

/* What is printed of partitions: all (no bit), or those of which one of these is true. */
enum {
    ONLY_UNDER_REPLICATED = 1,
    ONLY_UNAVAILABLE = 2,
    ONLY_UNDER_MIN_ISR = 4,
    ONLY_AT_MIN_ISR = 8,
};

struct describing {
    struct topics_call *call;
    unsigned only;
    bool overridden; /* only topics that have options of their own, without partitions */
    struct list_partition_reassignments_response moves;
};

typedef const struct list_partition_reassignments_response_partition moving;

/* ---- asking ---- */

static err ask_configs(struct topics_call *call, const struct topics_meant *meant,
                       struct describe_configs_response *answer)
{
    struct describe_configs_request request;
    describe_configs_request_init(&request);
    request.resources = arena_array(&call->brokers.arena, meant->count, sizeof(*request.resources));
    for (size_t i = 0; i < meant->count; i++) {
        struct describe_configs_request_resource *resource =
            &request.resources[request.resources_n++];
        describe_configs_request_resource_init(resource);
        resource->resource_type = RESOURCE_TOPIC;
        resource->resource_name = meant->all[i]->name;
        resource->configuration_keys_n = -1; /* all */
    }
    struct client_question question = {API_DESCRIBE_CONFIGS, 1, 0, &request, answer};
    err e = brokers_ask(&call->brokers, NULL, &question);
    if (e != OK) {
        return refuse_with(e, call->reason, CLI_REASON_BYTES, "%s", call->brokers.reason);
    }
    for (int32_t i = 0; i < answer->results_n; i++) {
        const struct describe_configs_response_result *result = &answer->results[i];
        if (result->error_code != 0) {
            return refuse_with(
                result->error_code, call->reason, CLI_REASON_BYTES, "%s",
                said_by_broker(&call->brokers.arena, result->error_code, result->error_message));
        }
    }
    return (size_t)answer->results_n == meant->count
               ? OK
               : refuse_with(E_MALFORMED, call->reason, CLI_REASON_BYTES,
                             "the broker described %d of %zu topics", answer->results_n,
                             meant->count);
}

static int16_t moves_code(const void *response)
{
    return ((const struct list_partition_reassignments_response *)response)->error_code;
}

static void ask_moves(struct describing *d)
{
    struct list_partition_reassignments_request request;
    list_partition_reassignments_request_init(&request);
    request.topics_n = -1;
    struct client_question question = {API_LIST_PARTITION_REASSIGNMENTS, 0, 0, &request, &d->moves};
    list_partition_reassignments_response_init(&d->moves);
    if (brokers_ask_controller(&d->call->brokers, &question, moves_code) != OK) {
        list_partition_reassignments_response_init(&d->moves); /* then none is known */
    }
}

static moving *move_of(const struct describing *d, struct str topic, int32_t partition)
{
    for (int32_t i = 0; i < d->moves.topics_n; i++) {
        for (int32_t j = 0;
             str_equal(d->moves.topics[i].name, topic) && j < d->moves.topics[i].partitions_n;
             j++) {
            if (d->moves.topics[i].partitions[j].partition_index == partition) {
                return &d->moves.topics[i].partitions[j];
            }
        }
    }
    return NULL;
}

/* ---- one topic ---- */

/* Without those that are being added. */
static int32_t replication_factor(const struct metadata_response_partition *partition, moving *move)
{
    return partition->replica_nodes_n - (move == NULL ? 0 : move->adding_replicas_n);
}

static bool is_own(const struct describe_configs_response_config *config)
{
    return config->config_source != SOURCE_DEFAULT;
}

static void print_configs(const struct describe_configs_response_result *configs)
{
    size_t n = (size_t)configs->configs_n;
    struct str names[CONFIG_NAMES_MAX] = {0};
    size_t order[CONFIG_NAMES_MAX] = {0};
    n = n < CONFIG_NAMES_MAX ? n : CONFIG_NAMES_MAX;
    for (size_t i = 0; i < n; i++) {
        names[i] = configs->configs[i].name;
    }
    java_order(names, n, 0, order);
    bool first = true;
    for (size_t i = 0; i < n; i++) {
        const struct describe_configs_response_config *config = &configs->configs[order[i]];
        if (is_own(config)) {
            printf("%s%.*s=%.*s", first ? "" : ",", (int)config->name.len, config->name.data,
                   (int)config->value.len, config->value.data == NULL ? "" : config->value.data);
            first = false;
        }
    }
}

static void print_topic(const struct describing *d, const struct described *described)
{
    const struct metadata_response_topic *topic = described->topic;
    printf("Topic: %.*s", (int)topic->name.len, topic->name.data);
    if (!uuid_is_zero(topic->topic_id)) {
        char id[UUID_TEXT_LEN + 1];
        uuid_format(topic->topic_id, id);
        printf("\tTopicId: %s", id);
    }
    const struct metadata_response_partition *first = topic->partitions;
    int32_t factor =
        topic->partitions_n == 0
            ? 0
            : replication_factor(first, move_of(d, topic->name, first->partition_index));
    printf("\tPartitionCount: %d\tReplicationFactor: %d\tConfigs: ", topic->partitions_n, factor);
    print_configs(described->configs);
    putchar('\n');
}

static void print_ids(const char *what, const int32_t *ids, int32_t ids_n)
{
    printf("\t%s: ", what);
    for (int32_t i = 0; i < ids_n; i++) {
        printf("%s%d", i == 0 ? "" : ",", ids[i]);
    }
}

static void print_partition(const struct metadata_response_topic *topic,
                            const struct metadata_response_partition *partition, moving *move)
{
    printf("\tTopic: %.*s\tPartition: %d", (int)topic->name.len, topic->name.data,
           partition->partition_index);
    if (partition->leader_id < 0) {
        fputs("\tLeader: none", stdout);
    } else {
        printf("\tLeader: %d", partition->leader_id);
    }
    print_ids("Replicas", partition->replica_nodes, partition->replica_nodes_n);
    print_ids("Isr", partition->isr_nodes, partition->isr_nodes_n);
    if (move != NULL) {
        print_ids("Adding Replicas", move->adding_replicas, move->adding_replicas_n);
        print_ids("Removing Replicas", move->removing_replicas, move->removing_replicas_n);
    }
    puts("\tElr: N/A\tLastKnownElr: N/A");
}

static int32_t min_isr(const struct describe_configs_response_result *configs)
{
    for (int32_t i = 0; i < configs->configs_n; i++) {
        if (str_is(configs->configs[i].name, "min.insync.replicas")) {
            char text[16];
            snprintf(text, sizeof(text), "%.*s", (int)configs->configs[i].value.len,
                     configs->configs[i].value.data);
            return (int32_t)strtol(text, NULL, 10);
        }
    }
    return 1;
}

static bool is_alive(const struct brokers *brokers, int32_t id)
{
    for (int32_t i = 0; i < brokers->nodes_n; i++) {
        if (brokers->nodes[i].id == id) {
            return true;
        }
    }
    return false;
}

static bool is_wanted(const struct describing *d, const struct described *described,
                      const struct metadata_response_partition *partition)
{
    if (d->only == 0) {
        return true;
    }
    moving *move = move_of(d, described->topic->name, partition->partition_index);
    int32_t wanted = min_isr(described->configs);
    unsigned is = 0;
    is |= replication_factor(partition, move) > partition->isr_nodes_n ? ONLY_UNDER_REPLICATED : 0;
    is |= !is_alive(&d->call->brokers, partition->leader_id) ? ONLY_UNAVAILABLE : 0;
    is |= partition->leader_id < 0 || partition->isr_nodes_n < wanted ? ONLY_UNDER_MIN_ISR : 0;
    is |= partition->isr_nodes_n == wanted ? ONLY_AT_MIN_ISR : 0;
    return (is & d->only) != 0;
}

static int compare_partitions(const void *a, const void *b)
{
    const struct metadata_response_partition *x = a;
    const struct metadata_response_partition *y = b;
    return x->partition_index < y->partition_index ? -1 : x->partition_index > y->partition_index;
}

static void describe_topic(const struct describing *d, const struct described *described)
{
    const struct metadata_response_topic *topic = described->topic;
    bool own = false;
    for (int32_t i = 0; i < described->configs->configs_n; i++) {
        own = own || is_own(&described->configs->configs[i]);
    }
    if (topic->partitions_n > 0) {
        qsort(topic->partitions, (size_t)topic->partitions_n, sizeof(*topic->partitions),
              compare_partitions);
    }
    if (d->only == 0 && (!d->overridden || own)) {
        print_topic(d, described);
    }
    for (int32_t i = 0; !d->overridden && i < topic->partitions_n; i++) {
        if (is_wanted(d, described, &topic->partitions[i])) {
            print_partition(topic, &topic->partitions[i],
                            move_of(d, topic->name, topic->partitions[i].partition_index));
        }
    }
}

/* ---- all of them ---- */

static void read_filters(struct describing *d)
{
    static const struct {
        const char *option;
        unsigned bit;
    } FILTERS[] = {{"under-replicated-partitions", ONLY_UNDER_REPLICATED},
                   {"unavailable-partitions", ONLY_UNAVAILABLE},
                   {"under-min-isr-partitions", ONLY_UNDER_MIN_ISR},
                   {"at-min-isr-partitions", ONLY_AT_MIN_ISR}};
    d->overridden = cli_has(&d->call->options, "topics-with-overrides");
    for (size_t i = 0; i < sizeof(FILTERS) / sizeof(FILTERS[0]); i++) {
        d->only |= cli_has(&d->call->options, FILTERS[i].option) ? FILTERS[i].bit : 0;
    }
}

err topics_describe(struct topics_call *call)
{
    struct describing d = {.call = call};
    read_filters(&d);
    struct topics_meant meant;
    TRY(topics_meant(call, &meant));
    if (meant.count == 0) {
        return OK;
    }
    struct describe_configs_response configs;
    TRY(ask_configs(call, &meant, &configs));
    ask_moves(&d);
    struct str *names = arena_array(&call->brokers.arena, meant.count, sizeof(*names));
    size_t *order = arena_array(&call->brokers.arena, meant.count, sizeof(*order));
    if (names == NULL || order == NULL) {
        return refuse_with(E_LIMIT, call->reason, CLI_REASON_BYTES, "too many topics");
    }
    for (size_t i = 0; i < meant.count; i++) {
        names[i] = meant.all[i]->name;
    }
    java_order(names, meant.count, meant.count, order);
    for (size_t i = 0; i < meant.count; i++) {
        const struct described described = {meant.all[order[i]], &configs.results[order[i]]};
        if (!str_equal(described.configs->resource_name, described.topic->name)) {
            return refuse_with(E_MALFORMED, call->reason, CLI_REASON_BYTES,
                               "the broker described another topic");
        }
        describe_topic(&d, &described);
    }
    return OK;
}
