/* Each request becomes one transaction: the configuration node first, then the topic's node, as
 * Kafka writes them. Checks come in Kafka's order, since the first that fails is what a client
 * sees. */
#include "broker/cluster/topics.h"

#include "base/log.h"
#include "base/refuse.h"
#include "broker/cluster/placement.h"
#include "protocol/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ARENA_BYTES = 256 << 20 };

static err ask(const struct mutation_check *check, int32_t partitions)
{
    return check->ask == NULL ? OK : check->ask(check->context, partitions);
}

/* A store that fails. Without a session, or deposed, this is no controller: the client looks for
 * one, and tries again. */
static err store_err(char message[TOPIC_MESSAGE_BYTES], err e)
{
    log_error("topics", "coordination store failed error=\"%s\"", err_text(e));
    if (e == E_SESSION || e == E_VERSION || e == E_CLOSED) {
        return refuse_with(ERR_NOT_CONTROLLER, message, TOPIC_MESSAGE_BYTES,
                           "This is not the correct controller.");
    }
    if (e == E_LIMIT) {
        return refuse_with(ERR_POLICY_VIOLATION, message, TOPIC_MESSAGE_BYTES,
                           "The topic is too large for a node of the "
                           "coordination store.");
    }
    return refuse_with(ERR_UNKNOWN_SERVER_ERROR, message, TOPIC_MESSAGE_BYTES,
                       "The coordination store failed.");
}

/* Changes of topics are the controller's, except those that are created on the way. */
static err check_controller(const struct topics *topics, char message[TOPIC_MESSAGE_BYTES])
{
    return controller_is_active(topics->controller)
               ? OK
               : refuse_with(ERR_NOT_CONTROLLER, message, TOPIC_MESSAGE_BYTES,
                             "This is not the correct controller.");
}

/* ---- checks ---- */

/* Are they the same but for '.' and '_', which metrics do not tell apart? */
static bool collides(struct str name, const char *other)
{
    for (size_t i = 0; i < name.len; i++) {
        bool both =
            (other[i] == '.' || other[i] == '_') && (name.data[i] == '.' || name.data[i] == '_');
        if (other[i] != name.data[i] && !both) {
            return false;
        }
    }
    return other[name.len] == '\0';
}

/* Looks at the store: a topic of the same request may be there and not known yet. */
static err check_collisions(const struct topics *topics, struct arena *arena, struct str name,
                            char message[TOPIC_MESSAGE_BYTES])
{
    struct coord_op list = {.type = COORD_CHILDREN, .path = ZNODE_TOPICS};
    err e = coord_run(topics->coord, &list, 1, arena);
    if (e != OK || list.error != OK) {
        return store_err(message, e == OK ? list.error : e);
    }
    for (int32_t i = 0; i < list.children_n; i++) {
        if (collides(name, list.children[i])) {
            return refuse_with(ERR_INVALID_TOPIC_EXCEPTION, message, TOPIC_MESSAGE_BYTES,
                               "Topic '%.*s' collides with existing topic: %s", (int)name.len,
                               name.data, list.children[i]);
        }
    }
    return OK;
}

static err check_name(const struct topics *topics, struct arena *arena, struct str name,
                      char message[TOPIC_MESSAGE_BYTES])
{
    if (!topic_name_is_legal(name)) {
        return refuse_with(
            ERR_INVALID_TOPIC_EXCEPTION, message, TOPIC_MESSAGE_BYTES,
            "Topic name is invalid: it must have 1 to 249 of the characters a-z, A-Z, "
            "0-9, '.', '_' and '-', and be neither '.' nor '..'.");
    }
    bool odd = memchr(name.data, '.', name.len) != NULL || memchr(name.data, '_', name.len) != NULL;
    return odd ? check_collisions(topics, arena, name, message) : OK;
}

/* All of them are named, as Kafka does. */
static err check_nulls(const struct znode_config *config, char message[TOPIC_MESSAGE_BYTES])
{
    message[0] = '\0';
    for (int32_t i = 0; i < config->entries_n; i++) {
        if (config->entries[i].value.data == NULL) {
            refuse_name(message, TOPIC_MESSAGE_BYTES,
                        "Null value not supported for topic configs: ", ",",
                        config->entries[i].name);
        }
    }
    return message[0] == '\0' ? OK : ERR_INVALID_CONFIG;
}

/* Each by itself, then together. */
static err check_config(const struct topics *topics, const struct znode_config *config,
                        struct properties *overrides, char message[TOPIC_MESSAGE_BYTES])
{
    err e = OK;
    for (int32_t i = 0; e == OK && i < config->entries_n; i++) {
        const struct znode_config_entry *entry = &config->entries[i];
        const struct topic_option *option = topic_option(entry->name);
        char *value = str_dup(entry->value);
        e = option == NULL ? refuse_with(ERR_INVALID_CONFIG, message, TOPIC_MESSAGE_BYTES,
                                         "Unknown topic config name: %.*s", (int)entry->name.len,
                                         entry->name.data)
                           : topic_option_check(option, value, message);
        if (e == OK) {
            properties_set(overrides, option->name, value);
        }
        free(value);
    }
    return e == OK ? topic_overrides_check(topics->config, overrides, message) : e;
}

static bool list_repeats(const struct id_list *list)
{
    for (int32_t i = 0; i < list->count; i++) {
        for (int32_t j = 0; j < i; j++) {
            if (list->ids[i] == list->ids[j]) {
                return true;
            }
        }
    }
    return false;
}

/* What is unknown in the words of Kafka, which its tool shows: of several the first. */
static err check_replicas(const struct metadata *metadata, const struct id_list *replicas,
                          int32_t partition, char message[TOPIC_MESSAGE_BYTES])
{
    for (int32_t i = 0; i < replicas->count; i++) {
        if (metadata_broker(metadata, replicas->ids[i]) == NULL) {
            return refuse_with(ERR_INVALID_REPLICA_ASSIGNMENT, message, TOPIC_MESSAGE_BYTES,
                               "Unknown broker(s) in replica assignment: %" PRId32 ".",
                               replicas->ids[i]);
        }
    }
    /* All are known: more of them than there are repeat one. */
    if (replicas->count == 0 || replicas->count > metadata->brokers_n || list_repeats(replicas)) {
        return refuse_with(ERR_INVALID_REPLICA_ASSIGNMENT, message, TOPIC_MESSAGE_BYTES,
                           "The manual partition assignment has no replicas or the same one twice "
                           "in partition %" PRId32 ".",
                           partition);
    }
    return OK;
}

static err check_assignment(const struct metadata *metadata, const struct id_list *lists,
                            int32_t count, char message[TOPIC_MESSAGE_BYTES])
{
    if (count > PARTITIONS_PER_TOPIC_MAX) {
        return refuse_with(ERR_INVALID_REPLICA_ASSIGNMENT, message, TOPIC_MESSAGE_BYTES,
                           "The manual partition assignment is too large.");
    }
    for (int32_t p = 0; p < count; p++) {
        if (lists[p].count != lists[0].count) {
            return refuse_with(ERR_INVALID_REPLICA_ASSIGNMENT, message, TOPIC_MESSAGE_BYTES,
                               "All partitions should have the same number of replicas.");
        }
        TRY(check_replicas(metadata, &lists[p], p, message));
    }
    return OK;
}

/* ---- assignment ---- */

static struct id_list *assignment_new(struct arena *arena, int32_t count, int32_t factor)
{
    struct id_list *lists = arena_array(arena, (size_t)count, sizeof(*lists));
    int32_t *ids = arena_array(arena, (size_t)count * (size_t)factor, sizeof(*ids));
    CHECK(lists != NULL && ids != NULL);
    for (int32_t i = 0; i < count; i++) {
        lists[i].ids = ids + (size_t)i * (size_t)factor;
    }
    return lists;
}

/* ---- creation ---- */

static bool is_queued_for_deletion(const struct topics *topics, struct arena *arena,
                                   struct str name)
{
    struct coord_op get = {.type = COORD_GET, .path = znode_delete_topic_path(arena, name)};
    return coord_run(topics->coord, &get, 1, arena) == OK && get.error == OK;
}

static err exists(const struct topics *topics, struct arena *arena, const struct metadata *metadata,
                  struct str name, char message[TOPIC_MESSAGE_BYTES])
{
    struct coord_op get = {.type = COORD_GET, .path = znode_topic_path(arena, name)};
    if (metadata_topic(metadata, name) == NULL) {
        err e = topic_name_is_legal(name) ? coord_run(topics->coord, &get, 1, arena) : E_NOT_FOUND;
        e = e == OK ? get.error : e;
        if (e != OK) {
            return e == E_NOT_FOUND ? OK : store_err(message, e);
        }
    }
    bool deleting = is_queued_for_deletion(topics, arena, name);
    return refuse_with(ERR_TOPIC_ALREADY_EXISTS, message, TOPIC_MESSAGE_BYTES,
                       deleting ? "Topic '%.*s' is marked for deletion."
                                : "Topic '%.*s' already exists.",
                       (int)name.len, name.data);
}

/* May so many replicas be placed? */
static err check_placement(const struct metadata *metadata, int32_t factor,
                           char message[TOPIC_MESSAGE_BYTES])
{
    if (factor <= 0) {
        return refuse_with(ERR_INVALID_REPLICATION_FACTOR, message, TOPIC_MESSAGE_BYTES,
                           "Replication factor must be larger than 0.");
    }
    if (factor > metadata->brokers_n) {
        return refuse_with(ERR_INVALID_REPLICATION_FACTOR, message, TOPIC_MESSAGE_BYTES,
                           "Replication factor: %" PRId32 " larger than available brokers: %" PRId32
                           ".",
                           factor, metadata->brokers_n);
    }
    if (placement_is_mixed(metadata)) {
        return refuse_with(ERR_UNKNOWN_SERVER_ERROR, message, TOPIC_MESSAGE_BYTES,
                           "Some brokers have a rack (broker.rack) and others have none, so that "
                           "replicas cannot be placed.");
    }
    return OK;
}

/* What the client chose, by partition. */
static err place(struct arena *arena, const struct metadata *metadata,
                 const struct topic_wish *wish, struct znode_topic *node,
                 char message[TOPIC_MESSAGE_BYTES])
{
    int32_t count = wish->assignment_n;
    struct id_list *lists = arena_array(arena, (size_t)count, sizeof(*lists));
    CHECK(lists != NULL);
    for (int32_t i = 0; i < count; i++) {
        lists[i].count = -1;
    }
    bool gaps = false;
    for (int32_t i = 0; i < count; i++) {
        int32_t number = wish->assignment[i].partition;
        if (number >= 0 && number < count) {
            node->partitions_n += lists[number].count < 0 ? 1 : 0;
            lists[number] = wish->assignment[i].replicas;
        }
        gaps |= number < 0 || number >= count;
    }
    for (int32_t i = 0; i < node->partitions_n; i++) {
        gaps |= lists[i].count < 0;
    }
    if (gaps) {
        return refuse_with(ERR_INVALID_REPLICA_ASSIGNMENT, message, TOPIC_MESSAGE_BYTES,
                           "partitions should be a consecutive 0-based integer sequence");
    }
    node->partitions = lists;
    return check_assignment(metadata, lists, node->partitions_n, message);
}

static err plan(const struct topics *topics, struct arena *arena, const struct metadata *metadata,
                const struct topic_wish *wish, struct znode_topic *node,
                char message[TOPIC_MESSAGE_BYTES])
{
    bool counts = wish->partitions_n != -1 || wish->replication_factor != -1;
    if (wish->assignment_n > 0) {
        return counts
                   ? refuse_with(ERR_INVALID_REQUEST, message, TOPIC_MESSAGE_BYTES,
                                 "Both numPartitions or replicationFactor and replicasAssignments "
                                 "were set. Both cannot be used at the same time.")
                   : OK; /* place() sees to it, after the name */
    }
    int32_t partitions =
        wish->partitions_n == -1 ? topics->config->num_partitions : wish->partitions_n;
    int32_t factor = wish->replication_factor == -1 ? topics->config->default_replication_factor
                                                    : wish->replication_factor;
    if (partitions <= 0 || partitions > PARTITIONS_PER_TOPIC_MAX) {
        return refuse_with(ERR_INVALID_PARTITIONS, message, TOPIC_MESSAGE_BYTES,
                           "Number of partitions must be larger than 0 and at most %d.",
                           PARTITIONS_PER_TOPIC_MAX);
    }
    TRY(check_placement(metadata, factor, message));
    node->partitions_n = partitions;
    node->partitions = assignment_new(arena, partitions, factor);
    placement_choose(topics->random, metadata, node->partitions, 0, partitions, factor);
    return OK;
}

static err write_topic(const struct topics *topics, struct arena *arena,
                       const struct topic_wish *wish, const struct znode_topic *node,
                       char message[TOPIC_MESSAGE_BYTES])
{
    const char *config_path = znode_topic_config_path(arena, wish->name);
    struct bytes config = znode_config_encode(arena, &wish->config);
    struct coord_op left_over = {.type = COORD_GET, .path = config_path};
    err e = coord_run(topics->coord, &left_over, 1, arena);
    if (e != OK) {
        return store_err(message, e);
    }
    struct coord_op ops[2] = {
        {.type = left_over.error == OK ? COORD_SET : COORD_CREATE,
         .path = config_path,
         .data = config,
         .version = COORD_ANY_VERSION},
        {.type = COORD_CREATE,
         .path = znode_topic_path(arena, wish->name),
         .data = znode_topic_encode(arena, node)},
    };
    e = controller_multi(topics->controller, ops, 2, arena);
    if (e == E_EXISTS) {
        return refuse_with(ERR_TOPIC_ALREADY_EXISTS, message, TOPIC_MESSAGE_BYTES,
                           "Topic '%.*s' already exists.", (int)wish->name.len, wish->name.data);
    }
    return e == OK ? OK : store_err(message, e);
}

static err create(const struct topics *topics, struct arena *arena, const struct metadata *metadata,
                  const struct topic_wish *wish, struct properties *overrides,
                  struct topic_made *made)
{
    struct znode_topic node = {.id = uuid_random(topics->random)};
    if (str_is(wish->name, "__cluster_metadata")) {
        return refuse_with(ERR_INVALID_REQUEST, made->message, TOPIC_MESSAGE_BYTES,
                           "Creation of internal topic __cluster_metadata is prohibited.");
    }
    TRY(exists(topics, arena, metadata, wish->name, made->message));
    TRY(check_nulls(&wish->config, made->message));
    TRY(plan(topics, arena, metadata, wish, &node, made->message));
    TRY(check_name(topics, arena, wish->name, made->message));
    if (wish->assignment_n > 0) {
        TRY(place(arena, metadata, wish, &node, made->message));
    }
    TRY(check_config(topics, &wish->config, overrides, made->message));
    made->id = node.id;
    made->partitions_n = node.partitions_n;
    made->replication_factor = (int16_t)node.partitions[0].count;
    if (wish->validate_only) {
        return OK;
    }
    TRY(ask(&wish->check, node.partitions_n));
    TRY(write_topic(topics, arena, wish, &node, made->message));
    topic_configs_written(topics->topic_configs, wish->name, overrides);
    return OK;
}

static err create_any(const struct topics *topics, const struct topic_wish *wish,
                      struct topic_made *made)
{
    *made = (struct topic_made){.partitions_n = -1, .replication_factor = -1};
    struct arena arena;
    struct properties overrides;
    arena_init(&arena, ARENA_BYTES);
    properties_init(&overrides);
    struct metadata *metadata = metadata_acquire(topics->metadata);
    err e = create(topics, &arena, metadata, wish, &overrides, made);
    metadata_release(metadata);
    properties_deinit(&overrides);
    arena_deinit(&arena);
    return e;
}

err topics_create(const struct topics *topics, const struct topic_wish *wish,
                  struct topic_made *made)
{
    *made = (struct topic_made){.partitions_n = -1, .replication_factor = -1};
    TRY(check_controller(topics, made->message));
    return create_any(topics, wish, made);
}

/* ---- automatic creation ---- */

/* A text for a number; in the wish's memory until it is written. */
struct number {
    char text[16];
};

static struct str number_of(struct number *number, int32_t value)
{
    snprintf(number->text, sizeof(number->text), "%" PRId32, value);
    return str_of(number->text);
}

static err create_offsets_topic(const struct topics *topics, struct topic_wish *wish,
                                struct topic_made *made)
{
    struct number segment;
    struct znode_config_entry entries[] = {
        {STR("cleanup.policy"), STR("compact")},
        {STR("compression.type"), STR("producer")},
        {STR("segment.bytes"), number_of(&segment, topics->config->offsets_topic_segment_bytes)},
    };
    wish->partitions_n = topics->config->offsets_topic_num_partitions;
    wish->replication_factor = (int16_t)topics->config->offsets_topic_replication_factor;
    wish->config = (struct znode_config){.entries = entries, .entries_n = 3};
    return create_any(topics, wish, made);
}

/* Nothing here writes to it yet; a Kafka that takes this broker's place finds it as it makes it. */
static err create_transactions_topic(const struct topics *topics, struct topic_wish *wish,
                                     struct topic_made *made)
{
    const struct config *config = topics->config;
    struct number segment;
    struct number isr;
    struct znode_config_entry entries[] = {
        {STR("cleanup.policy"), STR("compact")},
        {STR("compression.type"), STR("uncompressed")},
        {STR("min.insync.replicas"), number_of(&isr, config->transaction_state_log_min_isr)},
        {STR("segment.bytes"), number_of(&segment, config->transaction_state_log_segment_bytes)},
        {STR("unclean.leader.election.enable"), STR("false")},
    };
    wish->partitions_n = config->transaction_state_log_num_partitions;
    wish->replication_factor = (int16_t)config->transaction_state_log_replication_factor;
    wish->config = (struct znode_config){.entries = entries, .entries_n = 5};
    return create_any(topics, wish, made);
}

err topics_auto_create(const struct topics *topics, struct str name)
{
    struct topic_wish wish = {.name = name, .partitions_n = -1, .replication_factor = -1};
    struct topic_made made;
    err e = str_is(name, "__consumer_offsets")    ? create_offsets_topic(topics, &wish, &made)
            : str_is(name, "__transaction_state") ? create_transactions_topic(topics, &wish, &made)
                                                  : create_any(topics, &wish, &made);
    if (e != OK && e != ERR_TOPIC_ALREADY_EXISTS) {
        log_warn("topics", "automatic creation failed topic=%.*s reason=\"%s\"", (int)name.len,
                 name.data, made.message);
    }
    return e;
}

/* ---- deletion ---- */

err topics_delete(const struct topics *topics, struct str name)
{
    char message[TOPIC_MESSAGE_BYTES];
    TRY(check_controller(topics, message));
    if (!topics->config->delete_topic_enable) {
        return ERR_TOPIC_DELETION_DISABLED;
    }
    struct metadata *metadata = metadata_acquire(topics->metadata);
    bool known = metadata_topic(metadata, name) != NULL;
    metadata_release(metadata);
    if (!known) {
        return ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    struct coord_op op = {.type = COORD_CREATE, .path = znode_delete_topic_path(&arena, name)};
    err e = controller_multi(topics->controller, &op, 1, &arena);
    arena_deinit(&arena);
    return e == OK || e == E_EXISTS ? OK : store_err(message, e);
}

/* ---- more partitions ---- */

/* Do they have as many replicas as the first partition? In the words of Kafka, which names all that do not. */
static err check_factor(const struct id_list *lists, int32_t count, const struct znode_topic *node,
                        char message[TOPIC_MESSAGE_BYTES])
{
    int32_t factor = node->partitions[0].count;
    for (int32_t i = 0; i < count; i++) {
        if (lists[i].count != factor) {
            return refuse_with(ERR_INVALID_REPLICA_ASSIGNMENT, message, TOPIC_MESSAGE_BYTES,
                               "Inconsistent replication factor between partitions, partition 0 "
                               "has %" PRId32 " while partitions [%" PRId32
                               "] have replication factors [%" PRId32 "], respectively.",
                               factor, node->partitions_n + i, lists[i].count);
        }
    }
    return OK;
}

static err check_given(const struct metadata *metadata, const struct partitions_wish *wish,
                       int32_t added, const struct znode_topic *node,
                       char message[TOPIC_MESSAGE_BYTES])
{
    if (wish->assignment_n != added) {
        return refuse_with(ERR_INVALID_REPLICA_ASSIGNMENT, message, TOPIC_MESSAGE_BYTES,
                           "Increasing the number of partitions by %" PRId32 " but %" PRId32
                           " assignments provided.",
                           added, wish->assignment_n);
    }
    for (int32_t i = 0; i < added; i++) {
        TRY(check_replicas(metadata, &wish->assignment[i], node->partitions_n + i, message));
    }
    return check_factor(wish->assignment, added, node, message);
}

/* The first two in Kafka's words, which its tool shows. */
static err refuse_total(int32_t present, int32_t total, char message[TOPIC_MESSAGE_BYTES])
{
    if (total == present) {
        return refuse_with(ERR_INVALID_PARTITIONS, message, TOPIC_MESSAGE_BYTES,
                           "Topic already has %" PRId32 " partitions.", present);
    }
    if (total < present) {
        return refuse_with(ERR_INVALID_PARTITIONS, message, TOPIC_MESSAGE_BYTES,
                           "Topic currently has %" PRId32
                           " partitions, which is higher than the requested %" PRId32 ".",
                           present, total);
    }
    return refuse_with(ERR_INVALID_PARTITIONS, message, TOPIC_MESSAGE_BYTES,
                       "%" PRId32 " partitions are more than a topic may have, which is %d.", total,
                       (int)PARTITIONS_PER_TOPIC_MAX);
}

static bool is_moving(const struct znode_topic *node)
{
    for (int32_t i = 0; i < node->partitions_n; i++) {
        if (node->adding[i].count > 0 || node->removing[i].count > 0) {
            return true;
        }
    }
    return false;
}

static err grow(const struct topics *topics, struct arena *arena, const struct metadata *metadata,
                const struct partitions_wish *wish, char message[TOPIC_MESSAGE_BYTES])
{
    struct coord_op get = {.type = COORD_GET, .path = znode_topic_path(arena, wish->name)};
    err e =
        topic_name_is_legal(wish->name) ? coord_run(topics->coord, &get, 1, arena) : E_NOT_FOUND;
    e = e == OK ? get.error : e;
    if (e == E_NOT_FOUND) {
        return refuse_with(ERR_UNKNOWN_TOPIC_OR_PARTITION, message, TOPIC_MESSAGE_BYTES,
                           "The topic '%.*s' does not exist.", (int)wish->name.len,
                           wish->name.data);
    }
    if (e != OK) {
        return store_err(message, e);
    }
    if (is_queued_for_deletion(topics, arena, wish->name)) {
        return refuse_with(ERR_INVALID_TOPIC_EXCEPTION, message, TOPIC_MESSAGE_BYTES,
                           "The topic is queued for deletion.");
    }
    struct znode_topic node;
    e = znode_topic_decode(arena, get.value, &node);
    if (e != OK || node.partitions_n == 0) {
        return store_err(message, e == OK ? E_MALFORMED : e);
    }
    if (is_moving(&node)) {
        return refuse_with(ERR_REASSIGNMENT_IN_PROGRESS, message, TOPIC_MESSAGE_BYTES,
                           "A partition reassignment is in progress for the topic '%.*s'.",
                           (int)wish->name.len, wish->name.data);
    }
    int32_t added = wish->total - node.partitions_n;
    int32_t factor = node.partitions[0].count;
    if (added <= 0 || wish->total > PARTITIONS_PER_TOPIC_MAX) {
        return refuse_total(node.partitions_n, wish->total, message);
    }
    struct id_list *lists = arena_array(arena, (size_t)wish->total * 3, sizeof(*lists));
    if (lists == NULL) {
        return store_err(message, E_LIMIT);
    }
    struct id_list *fresh = wish->assignment;
    TRY(wish->assignment_n >= 0 ? check_given(metadata, wish, added, &node, message)
                                : check_placement(metadata, factor, message));
    if (wish->assignment_n < 0) {
        fresh = assignment_new(arena, added, factor);
        placement_choose(topics->random, metadata, fresh, node.partitions_n, added, factor);
    }
    memcpy(lists, node.partitions, (size_t)node.partitions_n * sizeof(*lists));
    memcpy(lists + node.partitions_n, fresh, (size_t)added * sizeof(*lists));
    node = (struct znode_topic){.id = node.id,
                                .partitions = lists,
                                .adding = lists + wish->total,
                                .removing = lists + 2 * wish->total,
                                .partitions_n = wish->total};
    if (wish->validate_only) {
        return OK;
    }
    TRY(ask(&wish->check, added));
    struct coord_op set = {.type = COORD_SET,
                           .path = get.path,
                           .data = znode_topic_encode(arena, &node),
                           .version = get.stat.version};
    e = controller_multi(topics->controller, &set, 1, arena);
    return e == OK ? OK : store_err(message, e);
}

err topics_add_partitions(const struct topics *topics, const struct partitions_wish *wish,
                          char message[TOPIC_MESSAGE_BYTES])
{
    TRY(check_controller(topics, message));
    struct arena arena;
    arena_init(&arena, ARENA_BYTES);
    struct metadata *metadata = metadata_acquire(topics->metadata);
    err e = grow(topics, &arena, metadata, wish, message);
    metadata_release(metadata);
    arena_deinit(&arena);
    return e;
}
