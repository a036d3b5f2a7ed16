/* Jansson makes and reads the JSON; the arena holds what comes out. Every object is dumped compact,
 * as Kafka writes it. */
#include "zk/znodes.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PARTITIONS_MAX = 1000000,
    PORT_MAX = 65535,
    STATE_VERSION = 1,
    BROKER_VERSION = 5,
    TOPIC_VERSION = 3
};

const char *const ZNODE_PERSISTENT[] = {
    "/admin",
    "/admin/delete_topics",
    "/brokers",
    "/brokers/ids",
    "/brokers/seqid",
    "/brokers/topics",
    "/cluster",
    "/config",
    "/config/brokers",
    "/config/changes",
    "/config/clients",
    "/config/ips",
    "/config/topics",
    "/config/users",
    "/consumers",
    "/isr_change_notification",
    "/latest_producer_id_block",
    "/log_dir_event_notification",
};
const size_t ZNODE_PERSISTENT_N = sizeof(ZNODE_PERSISTENT) / sizeof(ZNODE_PERSISTENT[0]);

/* ---- paths ---- */

const char *znode_broker_path(struct arena *arena, int32_t broker_id)
{
    return arena_format(arena, "%s/%" PRId32, ZNODE_BROKER_IDS, broker_id).data;
}

int32_t znode_broker_id(const char *name)
{
    int64_t number = -1;
    bool fits = znode_number_decode(bytes_of(name, strlen(name)), &number) == OK && number >= 0 &&
                number <= INT32_MAX;
    return fits ? (int32_t)number : -1;
}

const char *znode_topic_path(struct arena *arena, struct str topic)
{
    return arena_format(arena, "%s/%.*s", ZNODE_TOPICS, (int)topic.len, topic.data).data;
}

const char *znode_partitions_path(struct arena *arena, struct str topic)
{
    return arena_format(arena, "%s/%.*s/partitions", ZNODE_TOPICS, (int)topic.len, topic.data).data;
}

const char *znode_partition_path(struct arena *arena, struct str topic, int32_t partition)
{
    return arena_format(arena, "%s/%.*s/partitions/%" PRId32, ZNODE_TOPICS, (int)topic.len,
                        topic.data, partition)
        .data;
}

const char *znode_state_path(struct arena *arena, struct str topic, int32_t partition)
{
    return arena_format(arena, "%s/%.*s/partitions/%" PRId32 "/state", ZNODE_TOPICS, (int)topic.len,
                        topic.data, partition)
        .data;
}

const char *znode_topic_config_path(struct arena *arena, struct str topic)
{
    return arena_format(arena, "%s/%.*s", ZNODE_CONFIG_TOPICS, (int)topic.len, topic.data).data;
}

const char *znode_delete_topic_path(struct arena *arena, struct str topic)
{
    return arena_format(arena, "%s/%.*s", ZNODE_DELETE_TOPICS, (int)topic.len, topic.data).data;
}

/* ---- helpers ---- */

/* Takes over `object`. */
static struct bytes dump(struct arena *arena, json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(object);
    CHECK(text != NULL);
    struct str copy = arena_str(arena, str_of(text));
    free(text);
    return bytes_of(copy.data, copy.len);
}

static json_t *text_json(struct str s)
{
    json_t *text = s.data == NULL ? json_null() : json_stringn(s.data, s.len);
    CHECK(text != NULL);
    return text;
}

static void put(json_t *object, const char *name, json_t *value)
{
    CHECK(json_object_set_new_nocheck(object, name, value) == 0);
}

static json_t *ids_json(const struct id_list *list)
{
    json_t *array = json_array();
    for (int32_t i = 0; i < list->count; i++) {
        CHECK(json_array_append_new(array, json_integer(list->ids[i])) == 0);
    }
    return array;
}

/* An object, or NULL: then nothing needs to be freed. */
static json_t *load_object(struct bytes json)
{
    json_t *loaded = json.data == NULL ? NULL
                                       : json_loadb((const char *)json.data, json.len,
                                                    JSON_REJECT_DUPLICATES, NULL);
    if (loaded != NULL && !json_is_object(loaded)) {
        json_decref(loaded);
        return NULL;
    }
    return loaded;
}

static bool read_i32(const json_t *object, const char *name, int32_t *value)
{
    const json_t *number = json_object_get(object, name);
    json_int_t read = json_integer_value(number);
    if (!json_is_integer(number) || read < INT32_MIN || read > INT32_MAX) {
        return false;
    }
    *value = (int32_t)read;
    return true;
}

/* A number, or a string that holds one: Kafka writes both. */
static bool read_i64(const json_t *object, const char *name, int64_t *value)
{
    const json_t *number = json_object_get(object, name);
    if (json_is_integer(number)) {
        *value = json_integer_value(number);
        return true;
    }
    return json_is_string(number) &&
           znode_number_decode(bytes_of(json_string_value(number), json_string_length(number)),
                               value) == OK;
}

static struct str read_text(struct arena *arena, const json_t *value)
{
    if (!json_is_string(value)) {
        return (struct str){0};
    }
    return arena_str(
        arena, (struct str){.data = json_string_value(value), .len = json_string_length(value)});
}

static err read_ids(struct arena *arena, const json_t *array, struct id_list *list)
{
    if (!json_is_array(array) || json_array_size(array) > PARTITIONS_MAX) {
        return E_MALFORMED;
    }
    list->count = (int32_t)json_array_size(array);
    list->ids = arena_array(arena, (size_t)list->count, sizeof(*list->ids));
    if (list->ids == NULL) {
        return E_LIMIT;
    }
    for (int32_t i = 0; i < list->count; i++) {
        const json_t *id = json_array_get(array, (size_t)i);
        if (!json_is_integer(id) || json_integer_value(id) != (int32_t)json_integer_value(id)) {
            return E_MALFORMED;
        }
        list->ids[i] = (int32_t)json_integer_value(id);
    }
    return OK;
}

/* ---- brokers ---- */

struct bytes znode_broker_encode(struct arena *arena, const struct znode_broker *broker)
{
    json_t *endpoints = json_array();
    json_t *protocols = json_object();
    struct str host = {0};
    int32_t port = -1;
    for (int32_t i = 0; i < broker->endpoints_n; i++) {
        const struct znode_endpoint *e = &broker->endpoints[i];
        bool ipv6 = e->host.len > 0 && memchr(e->host.data, ':', e->host.len) != NULL;
        struct str url = arena_format(
            arena, ipv6 ? "%.*s://[%.*s]:%" PRId32 : "%.*s://%.*s:%" PRId32, (int)e->listener.len,
            e->listener.data, (int)e->host.len, e->host.data, e->port);
        CHECK(json_array_append_new(endpoints, text_json(url)) == 0);
        put(protocols, arena_str(arena, e->listener).data, text_json(e->security_protocol));
        if (host.data == NULL && str_is(e->security_protocol, "PLAINTEXT")) {
            host = e->host;
            port = e->port;
        }
    }
    json_t *object = json_object();
    put(object, "features", json_object());
    put(object, "listener_security_protocol_map", protocols);
    put(object, "endpoints", endpoints);
    if (broker->rack.data != NULL) {
        put(object, "rack", text_json(broker->rack));
    }
    put(object, "jmx_port", json_integer(-1));
    put(object, "port", json_integer(port));
    put(object, "host", text_json(host));
    put(object, "version", json_integer(BROKER_VERSION));
    put(object, "timestamp", text_json(arena_format(arena, "%" PRId64, broker->timestamp_ms)));
    return dump(arena, object);
}

/* "NAME://host:port"; the host may be an IPv6 address in brackets. */
static err read_endpoint(struct arena *arena, const json_t *url, const json_t *protocols,
                         struct znode_endpoint *endpoint)
{
    struct str text = read_text(arena, url);
    const char *scheme_end = text.data == NULL ? NULL : strstr(text.data, "://");
    const char *colon = scheme_end == NULL ? NULL : strrchr(scheme_end + 3, ':');
    int64_t port = 0;
    if (colon == NULL || znode_number_decode(bytes_of(colon + 1, strlen(colon + 1)), &port) != OK ||
        port < -1 || port > PORT_MAX) {
        return E_MALFORMED;
    }
    endpoint->listener =
        arena_str(arena, (struct str){.data = text.data, .len = (size_t)(scheme_end - text.data)});
    endpoint->host = (struct str){.data = scheme_end + 3, .len = (size_t)(colon - scheme_end - 3)};
    if (endpoint->host.len >= 2 && endpoint->host.data[0] == '[' && colon[-1] == ']') {
        endpoint->host.data++;
        endpoint->host.len -= 2;
    }
    endpoint->port = (int32_t)port;
    struct str protocol = read_text(arena, json_object_get(protocols, endpoint->listener.data));
    endpoint->security_protocol = protocol.data != NULL ? protocol : endpoint->listener;
    return OK;
}

static err read_broker(struct arena *arena, const json_t *object, struct znode_broker *broker)
{
    const json_t *endpoints = json_object_get(object, "endpoints");
    if (!json_is_array(endpoints)) {
        return E_MALFORMED;
    }
    broker->endpoints_n = (int32_t)json_array_size(endpoints);
    broker->endpoints = arena_array(arena, (size_t)broker->endpoints_n, sizeof(*broker->endpoints));
    if (broker->endpoints == NULL) {
        return E_LIMIT;
    }
    const json_t *protocols = json_object_get(object, "listener_security_protocol_map");
    for (int32_t i = 0; i < broker->endpoints_n; i++) {
        TRY(read_endpoint(arena, json_array_get(endpoints, (size_t)i), protocols,
                          &broker->endpoints[i]));
    }
    broker->rack = read_text(arena, json_object_get(object, "rack"));
    return read_i64(object, "timestamp", &broker->timestamp_ms) ? OK : E_MALFORMED;
}

err znode_broker_decode(struct arena *arena, struct bytes json, struct znode_broker *broker)
{
    *broker = (struct znode_broker){0};
    json_t *object = load_object(json);
    err e = object == NULL ? E_MALFORMED : read_broker(arena, object, broker);
    json_decref(object);
    return e;
}

/* ---- topics ---- */

static json_t *assignment_json(struct arena *arena, const struct id_list *lists, int32_t count,
                               bool all)
{
    json_t *object = json_object();
    for (int32_t i = 0; lists != NULL && i < count; i++) {
        if (all || lists[i].count > 0) {
            put(object, arena_format(arena, "%" PRId32, i).data, ids_json(&lists[i]));
        }
    }
    return object;
}

struct bytes znode_topic_encode(struct arena *arena, const struct znode_topic *topic)
{
    char id[UUID_TEXT_LEN + 1];
    uuid_format(topic->id, id);
    json_t *object = json_object();
    put(object, "partitions", assignment_json(arena, topic->partitions, topic->partitions_n, true));
    put(object, "topic_id", text_json(str_of(id)));
    put(object, "adding_replicas",
        assignment_json(arena, topic->adding, topic->partitions_n, false));
    put(object, "removing_replicas",
        assignment_json(arena, topic->removing, topic->partitions_n, false));
    put(object, "version", json_integer(TOPIC_VERSION));
    return dump(arena, object);
}

/* Partition numbers are the member names. `lists` has room for `count`. */
static err read_assignment(struct arena *arena, json_t *object, struct id_list *lists,
                           int32_t count)
{
    const char *name = NULL;
    json_t *ids = NULL;
    json_object_foreach (object, name, ids) {
        int64_t partition = -1;
        if (znode_number_decode(bytes_of(name, strlen(name)), &partition) != OK || partition < 0 ||
            partition >= count) {
            return E_MALFORMED;
        }
        TRY(read_ids(arena, ids, &lists[partition]));
    }
    return OK;
}

static err read_topic(struct arena *arena, const json_t *object, struct znode_topic *topic)
{
    json_t *partitions = json_object_get(object, "partitions");
    size_t count = json_object_size(partitions);
    if (!json_is_object(partitions) || count > PARTITIONS_MAX) {
        return E_MALFORMED;
    }
    topic->partitions_n = (int32_t)count;
    struct id_list *lists = arena_array(arena, count * 3, sizeof(*lists));
    if (lists == NULL) {
        return E_LIMIT;
    }
    topic->partitions = lists;
    topic->adding = lists + count;
    topic->removing = lists + 2 * count;
    struct str id = read_text(arena, json_object_get(object, "topic_id"));
    if (id.data != NULL && !uuid_parse(id, &topic->id)) {
        return E_MALFORMED;
    }
    TRY(read_assignment(arena, partitions, topic->partitions, topic->partitions_n));
    TRY(read_assignment(arena, json_object_get(object, "adding_replicas"), topic->adding,
                        topic->partitions_n));
    return read_assignment(arena, json_object_get(object, "removing_replicas"), topic->removing,
                           topic->partitions_n);
}

err znode_topic_decode(struct arena *arena, struct bytes json, struct znode_topic *topic)
{
    *topic = (struct znode_topic){0};
    json_t *object = load_object(json);
    err e = object == NULL ? E_MALFORMED : read_topic(arena, object, topic);
    json_decref(object);
    return e;
}

/* ---- partition states ---- */

struct bytes znode_state_encode(struct arena *arena, const struct znode_state *state)
{
    json_t *object = json_object();
    put(object, "controller_epoch", json_integer(state->controller_epoch));
    put(object, "leader", json_integer(state->leader));
    put(object, "version", json_integer(STATE_VERSION));
    put(object, "leader_epoch", json_integer(state->leader_epoch));
    put(object, "isr", ids_json(&state->isr));
    if (state->leader_recovery_state != 0) {
        put(object, "leader_recovery_state", json_integer(state->leader_recovery_state));
    }
    return dump(arena, object);
}

static err read_state(struct arena *arena, const json_t *object, struct znode_state *state)
{
    int32_t recovery = 0;
    bool complete = read_i32(object, "leader", &state->leader) &&
                    read_i32(object, "leader_epoch", &state->leader_epoch) &&
                    read_i32(object, "controller_epoch", &state->controller_epoch);
    if (!complete) {
        return E_MALFORMED;
    }
    (void)read_i32(object, "leader_recovery_state", &recovery);
    state->leader_recovery_state = (int8_t)recovery;
    return read_ids(arena, json_object_get(object, "isr"), &state->isr);
}

err znode_state_decode(struct arena *arena, struct bytes json, struct znode_state *state)
{
    *state = (struct znode_state){0};
    json_t *object = load_object(json);
    err e = object == NULL ? E_MALFORMED : read_state(arena, object, state);
    json_decref(object);
    return e;
}

/* ---- configurations ---- */

struct bytes znode_config_encode(struct arena *arena, const struct znode_config *config)
{
    json_t *values = json_object();
    for (int32_t i = 0; i < config->entries_n; i++) {
        put(values, arena_str(arena, config->entries[i].name).data,
            text_json(config->entries[i].value));
    }
    json_t *object = json_object();
    put(object, "version", json_integer(1));
    put(object, "config", values);
    return dump(arena, object);
}

static err read_config(struct arena *arena, const json_t *object, struct znode_config *config)
{
    json_t *values = json_object_get(object, "config");
    if (!json_is_object(values)) {
        return E_MALFORMED;
    }
    config->entries = arena_array(arena, json_object_size(values), sizeof(*config->entries));
    if (config->entries == NULL) {
        return E_LIMIT;
    }
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach (values, name, value) {
        if (!json_is_string(value)) {
            return E_MALFORMED;
        }
        config->entries[config->entries_n++] = (struct znode_config_entry){
            .name = arena_str(arena, str_of(name)), .value = read_text(arena, value)};
    }
    return OK;
}

err znode_config_decode(struct arena *arena, struct bytes json, struct znode_config *config)
{
    *config = (struct znode_config){0};
    json_t *object = load_object(json);
    err e = object == NULL ? E_MALFORMED : read_config(arena, object, config);
    json_decref(object);
    return e;
}

struct bytes znode_entity_change_encode(struct arena *arena, struct str entity)
{
    json_t *object = json_object();
    put(object, "version", json_integer(2));
    put(object, "entity_path", text_json(entity));
    return dump(arena, object);
}

struct bytes znode_config_change_encode(struct arena *arena, struct str type, struct str name)
{
    return znode_entity_change_encode(arena, arena_format(arena, "%.*s/%.*s", (int)type.len,
                                                          type.data, (int)name.len, name.data));
}

err znode_config_change_decode(struct arena *arena, struct bytes json, struct str *entity)
{
    json_t *object = load_object(json);
    *entity = (struct str){0};
    if (object != NULL) {
        struct str type = read_text(arena, json_object_get(object, "entity_type"));
        struct str name = read_text(arena, json_object_get(object, "entity_name"));
        *entity = read_text(arena, json_object_get(object, "entity_path"));
        if (entity->data == NULL && type.data != NULL && name.data != NULL) {
            *entity = arena_format(arena, "%s/%s", type.data, name.data);
        }
    }
    json_decref(object);
    return entity->data == NULL ? E_MALFORMED : OK;
}

/* ---- single values ---- */

struct bytes znode_cluster_id_encode(struct arena *arena, struct str id)
{
    json_t *object = json_object();
    put(object, "version", text_json(STR("1")));
    put(object, "id", text_json(id));
    return dump(arena, object);
}

err znode_cluster_id_decode(struct arena *arena, struct bytes json, struct str *id)
{
    json_t *object = load_object(json);
    *id = object == NULL ? (struct str){0} : read_text(arena, json_object_get(object, "id"));
    json_decref(object);
    return id->data == NULL ? E_MALFORMED : OK;
}

struct bytes znode_controller_encode(struct arena *arena, int32_t broker_id, int64_t timestamp_ms)
{
    json_t *object = json_object();
    put(object, "version", json_integer(2));
    put(object, "brokerid", json_integer(broker_id));
    put(object, "timestamp", text_json(arena_format(arena, "%" PRId64, timestamp_ms)));
    put(object, "kraftControllerEpoch", json_integer(-1));
    return dump(arena, object);
}

err znode_controller_decode(struct arena *arena, struct bytes json, int32_t *broker_id)
{
    (void)arena;
    json_t *object = load_object(json);
    bool read = object != NULL && read_i32(object, "brokerid", broker_id);
    json_decref(object);
    return read ? OK : E_MALFORMED;
}

struct bytes znode_producer_ids_encode(struct arena *arena, const struct znode_producer_ids *block)
{
    json_t *object = json_object();
    put(object, "version", json_integer(1));
    put(object, "broker", json_integer(block->broker_id));
    put(object, "block_start", text_json(arena_format(arena, "%" PRId64, block->first)));
    put(object, "block_end", text_json(arena_format(arena, "%" PRId64, block->last)));
    return dump(arena, object);
}

err znode_producer_ids_decode(struct arena *arena, struct bytes json,
                              struct znode_producer_ids *block)
{
    (void)arena;
    *block = (struct znode_producer_ids){0};
    json_t *object = load_object(json);
    bool read = object != NULL && read_i32(object, "broker", &block->broker_id) &&
                read_i64(object, "block_start", &block->first) &&
                read_i64(object, "block_end", &block->last);
    json_decref(object);
    return read ? OK : E_MALFORMED;
}

/* Of one item in a list of partitions: which it is. */
static bool read_partition(struct arena *arena, const json_t *item, struct str *topic,
                           int32_t *partition)
{
    *topic = read_text(arena, json_object_get(item, "topic"));
    return topic->data != NULL && read_i32(item, "partition", partition);
}

static err read_partitions(struct arena *arena, const json_t *array, struct znode_partitions *list)
{
    size_t count = json_array_size(array);
    if (!json_is_array(array) || count > PARTITIONS_MAX) {
        return E_MALFORMED;
    }
    list->topics = arena_array(arena, count, sizeof(*list->topics));
    list->partitions = arena_array(arena, count, sizeof(*list->partitions));
    if (list->topics == NULL || list->partitions == NULL) {
        return E_LIMIT;
    }
    for (size_t i = 0; i < count; i++) {
        if (!read_partition(arena, json_array_get(array, i), &list->topics[i],
                            &list->partitions[i])) {
            return E_MALFORMED;
        }
    }
    list->count = (int32_t)count;
    return OK;
}

err znode_partitions_decode(struct arena *arena, struct bytes json, struct znode_partitions *list)
{
    *list = (struct znode_partitions){0};
    json_t *object = load_object(json);
    err e = object == NULL ? E_MALFORMED
                           : read_partitions(arena, json_object_get(object, "partitions"), list);
    json_decref(object);
    return e;
}

struct bytes znode_reassignments_encode(struct arena *arena, const struct znode_reassignments *list)
{
    json_t *object = json_object();
    json_t *array = json_array();
    for (int32_t i = 0; i < list->count; i++) {
        const struct znode_reassignment *in = &list->all[i];
        json_t *item = json_object();
        put(item, "topic", text_json(in->topic));
        put(item, "partition", json_integer(in->partition));
        put(item, "replicas", ids_json(&in->replicas));
        CHECK(json_array_append_new(array, item) == 0);
    }
    put(object, "version", json_integer(1));
    put(object, "partitions", array);
    return dump(arena, object);
}

static err read_reassignments(struct arena *arena, const json_t *array,
                              struct znode_reassignments *list)
{
    size_t count = json_array_size(array);
    if (!json_is_array(array) || count > PARTITIONS_MAX) {
        return E_MALFORMED;
    }
    list->all = arena_array(arena, count, sizeof(*list->all));
    if (list->all == NULL) {
        return E_LIMIT;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(array, i);
        struct znode_reassignment *out = &list->all[i];
        if (!read_partition(arena, item, &out->topic, &out->partition)) {
            return E_MALFORMED;
        }
        TRY(read_ids(arena, json_object_get(item, "replicas"), &out->replicas));
    }
    list->count = (int32_t)count;
    return OK;
}

err znode_reassignments_decode(struct arena *arena, struct bytes json,
                               struct znode_reassignments *list)
{
    *list = (struct znode_reassignments){0};
    json_t *object = load_object(json);
    err e = object == NULL ? E_MALFORMED
                           : read_reassignments(arena, json_object_get(object, "partitions"), list);
    json_decref(object);
    return e;
}

struct bytes znode_log_dir_event_encode(struct arena *arena, int32_t broker_id)
{
    enum { LOG_DIR_FAILURE = 1 };
    json_t *object = json_object();
    put(object, "version", json_integer(1));
    put(object, "broker", json_integer(broker_id));
    put(object, "event", json_integer(LOG_DIR_FAILURE));
    return dump(arena, object);
}

err znode_log_dir_event_decode(struct bytes json, int32_t *broker_id)
{
    json_t *object = load_object(json);
    bool is_whole = object != NULL && read_i32(object, "broker", broker_id);
    json_decref(object);
    return is_whole ? OK : E_MALFORMED;
}

struct bytes znode_feature_encode(struct arena *arena, int version)
{
    json_t *object = json_object();
    put(object, "features", json_object());
    put(object, "version", json_integer(version));
    put(object, "status", json_integer(1));
    return dump(arena, object);
}

struct bytes znode_number_encode(struct arena *arena, int64_t number)
{
    struct str text = arena_format(arena, "%" PRId64, number);
    return bytes_of(text.data, text.len);
}

err znode_number_decode(struct bytes text, int64_t *number)
{
    char copy[24];
    char canonical[24];
    if (text.data == NULL || text.len == 0 || text.len >= sizeof(copy)) {
        return E_MALFORMED;
    }
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    *number = strtoll(copy, NULL, 10);
    int len = snprintf(canonical, sizeof(canonical), "%" PRId64, *number);
    return (size_t)len == text.len && memcmp(copy, canonical, text.len) == 0 ? OK : E_MALFORMED;
}
