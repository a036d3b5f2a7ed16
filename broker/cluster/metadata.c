/* Snapshots share their unchanged topics, so that one topic's change among ten thousand copies
 * pointers, not topics. */
#include "broker/cluster/metadata.h"

#include "base/err.h"
#include "base/log.h"
#include "broker/security/security_protocol.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { LEADER_DURING_DELETE = -2, IN_PLACE_TOPICS_MAX = 64 };

struct metadata_cache {
    pthread_mutex_t lock; /* leaf; guards the pointer */
    struct metadata *current;
};

/* ---- topics ---- */

static void partition_info_deinit(struct partition_info *p)
{
    free(p->replicas);
    free(p->isr);
    free(p->offline);
}

static void topic_release(struct topic_info *topic)
{
    if (atomic_fetch_sub(&topic->refs, 1) != 1) {
        return;
    }
    for (int32_t i = 0; i < topic->partitions_n; i++) {
        partition_info_deinit(&topic->partitions[i]);
    }
    free(topic->partitions);
    free((void *)(uintptr_t)topic->name.data);
    free(topic);
}

static int32_t *copy_i32(const int32_t *values, int32_t count)
{
    int32_t *copy = xcalloc((size_t)(count < 0 ? 0 : count), sizeof(*copy));
    for (int32_t i = 0; i < count; i++) {
        copy[i] = values[i];
    }
    return copy;
}

static struct partition_info partition_info_copy(const struct partition_info *from)
{
    struct partition_info copy = *from;
    copy.replicas = copy_i32(from->replicas, from->replicas_n);
    copy.isr = copy_i32(from->isr, from->isr_n);
    copy.offline = copy_i32(from->offline, from->offline_n);
    return copy;
}

static struct topic_info *topic_copy(struct str name, const struct topic_info *from)
{
    struct topic_info *topic = xcalloc(1, sizeof(*topic));
    atomic_store(&topic->refs, 1);
    topic->name = (struct str){.data = str_dup(name), .len = name.len};
    topic->internal = topic_is_internal(name);
    if (from != NULL) {
        topic->id = from->id;
        topic->partitions_n = from->partitions_n;
        topic->partitions = xcalloc((size_t)from->partitions_n, sizeof(*topic->partitions));
        for (int32_t i = 0; i < from->partitions_n; i++) {
            topic->partitions[i] = partition_info_copy(&from->partitions[i]);
        }
    }
    return topic;
}

/* ---- snapshots ---- */

static struct metadata *metadata_new(void)
{
    struct metadata *metadata = xcalloc(1, sizeof(*metadata));
    atomic_store(&metadata->refs, 1);
    metadata->controller_id = -1;
    map_init(&metadata->topics);
    map_init(&metadata->ids);
    return metadata;
}

static void brokers_free(struct broker_info *brokers, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        free(brokers[i].rack);
        free(brokers[i].endpoints);
    }
    free(brokers);
}

void metadata_release(struct metadata *metadata)
{
    if (metadata == NULL || atomic_fetch_sub(&metadata->refs, 1) != 1) {
        return;
    }
    map_each (entry, &metadata->topics) {
        topic_release(entry->value);
    }
    map_deinit(&metadata->topics);
    map_deinit(&metadata->ids);
    brokers_free(metadata->brokers, metadata->brokers_n);
    free(metadata);
}

struct metadata_cache *metadata_cache_new(void)
{
    struct metadata_cache *cache = xcalloc(1, sizeof(*cache));
    pthread_mutex_init(&cache->lock, NULL);
    cache->current = metadata_new();
    return cache;
}

void metadata_cache_free(struct metadata_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    metadata_release(cache->current);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

struct metadata *metadata_acquire(struct metadata_cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    struct metadata *metadata = cache->current;
    atomic_fetch_add(&metadata->refs, 1);
    pthread_mutex_unlock(&cache->lock);
    return metadata;
}

/* ---- UpdateMetadata ---- */

typedef struct update_metadata_request_partition_state update_partition;

static void set_topic(struct metadata *metadata, struct topic_info *topic)
{
    struct topic_info *before = map_set_str(&metadata->topics, topic->name, topic);
    if (before != NULL) {
        if (!uuid_is_zero(before->id)) {
            (void)map_remove(&metadata->ids, bytes_of(before->id.bytes, sizeof(before->id)));
        }
        topic_release(before);
    }
    if (!uuid_is_zero(topic->id)) {
        (void)map_set(&metadata->ids, bytes_of(topic->id.bytes, sizeof(topic->id)), topic);
    }
}

static void drop_topic(struct metadata *metadata, struct str name)
{
    struct topic_info *before = map_remove_str(&metadata->topics, name);
    if (before == NULL) {
        return;
    }
    if (!uuid_is_zero(before->id)) {
        (void)map_remove(&metadata->ids, bytes_of(before->id.bytes, sizeof(before->id)));
    }
    topic_release(before);
}

static void apply_partition(struct topic_info *topic, const update_partition *in)
{
    if (in->partition_index < 0 || in->partition_index >= PARTITIONS_PER_TOPIC_MAX) {
        log_error("metadata", "number out of range, passed over topic=%.*s partition=%d",
                  (int)topic->name.len, topic->name.data, in->partition_index);
        return;
    }
    if (in->partition_index >= topic->partitions_n) {
        int32_t n = in->partition_index + 1;
        topic->partitions = xrealloc(topic->partitions, (size_t)n * sizeof(*topic->partitions));
        memset(&topic->partitions[topic->partitions_n], 0,
               (size_t)(n - topic->partitions_n) * sizeof(*topic->partitions));
        topic->partitions_n = n;
    }
    struct partition_info *p = &topic->partitions[in->partition_index];
    partition_info_deinit(p);
    *p = (struct partition_info){0};
    if (in->leader == LEADER_DURING_DELETE) {
        return;
    }
    p->known = true;
    p->leader = in->leader;
    p->leader_epoch = in->leader_epoch;
    p->partition_epoch = in->zk_version;
    p->replicas = copy_i32(in->replicas, p->replicas_n = in->replicas_n);
    p->isr = copy_i32(in->isr, p->isr_n = in->isr_n);
    p->offline = copy_i32(in->offline_replicas, p->offline_n = in->offline_replicas_n);
}

static bool topic_is_empty(const struct topic_info *topic)
{
    for (int32_t i = 0; i < topic->partitions_n; i++) {
        if (topic->partitions[i].known) {
            return false;
        }
    }
    return true;
}

struct update {
    struct metadata *next;
    struct topic_info **gone; /* without partitions; references */
    size_t gone_n;
};

static void apply_topic(struct update *u, struct str name, const struct uuid *id,
                        const update_partition *partitions, int32_t count)
{
    const struct topic_info *before = map_get_str(&u->next->topics, name);
    struct topic_info *topic = topic_copy(name, before);
    if (id != NULL) {
        topic->id = *id;
    }
    for (int32_t i = 0; i < count; i++) {
        apply_partition(topic, &partitions[i]);
    }
    if (!topic_is_empty(topic)) {
        set_topic(u->next, topic);
        return;
    }
    drop_topic(u->next, name);
    if (before == NULL) {
        topic_release(topic);
        return;
    }
    u->gone = xrealloc(u->gone, (u->gone_n + 1) * sizeof(struct topic_info *));
    u->gone[u->gone_n++] = topic;
}

static int compare_brokers(const void *a, const void *b)
{
    int32_t left = ((const struct broker_info *)a)->id;
    int32_t right = ((const struct broker_info *)b)->id;
    return (left > right) - (left < right);
}

static void copy_text(char *to, size_t size, struct str from)
{
    snprintf(to, size, "%.*s", (int)from.len, from.data == NULL ? "" : from.data);
}

/* Versions before 3 name no listeners: they are called as their protocols; version 0 has one endpoint. */
static void apply_endpoints(struct broker_info *broker,
                            const struct update_metadata_request_live_broker *in)
{
    const struct update_metadata_request_endpoint only = {.host = in->v0_host, .port = in->v0_port};
    bool old = in->endpoints_n <= 0 && in->v0_host.len > 0;
    const struct update_metadata_request_endpoint *endpoints = old ? &only : in->endpoints;
    broker->endpoints_n = old ? 1 : in->endpoints_n < 0 ? 0 : in->endpoints_n;
    broker->endpoints = xcalloc((size_t)broker->endpoints_n, sizeof(*broker->endpoints));
    for (int32_t e = 0; e < broker->endpoints_n; e++) {
        struct broker_endpoint *endpoint = &broker->endpoints[e];
        int16_t protocol = endpoints[e].security_protocol;
        const char *name = security_protocol_name(protocol);
        bool named = endpoints[e].listener.len > 0 || name == NULL;
        copy_text(endpoint->listener, sizeof(endpoint->listener),
                  named ? endpoints[e].listener : str_of(name));
        copy_text(endpoint->host, sizeof(endpoint->host), endpoints[e].host);
        endpoint->port = endpoints[e].port;
        endpoint->security_protocol = protocol;
    }
}

static bool is_among(const struct broker_info *brokers, int32_t count, int32_t id)
{
    for (int32_t i = 0; i < count; i++) {
        if (brokers[i].id == id) {
            return true;
        }
    }
    return false;
}

/* In place of those that are there. True: one of them is gone. */
static bool apply_brokers(struct metadata *next, const struct update_metadata_request *request)
{
    struct broker_info *before = next->brokers;
    int32_t before_n = next->brokers_n;
    next->brokers_n = request->live_brokers_n < 0 ? 0 : request->live_brokers_n;
    next->brokers = xcalloc((size_t)next->brokers_n, sizeof(*next->brokers));
    for (int32_t i = 0; i < next->brokers_n; i++) {
        const struct update_metadata_request_live_broker *in = &request->live_brokers[i];
        struct broker_info *broker = &next->brokers[i];
        broker->id = in->id;
        broker->rack = str_dup(in->rack);
        apply_endpoints(broker, in);
    }
    if (next->brokers_n > 0) {
        qsort(next->brokers, (size_t)next->brokers_n, sizeof(*next->brokers), compare_brokers);
    }
    bool gone = false;
    for (int32_t i = 0; i < before_n; i++) {
        gone |= !is_among(next->brokers, next->brokers_n, before[i].id);
    }
    brokers_free(before, before_n);
    return gone;
}

/* The next snapshot is a copy, unless nobody looks at the present one and little of it changes: then that
 * is changed, while the lock keeps others from looking. So one topic's change among ten thousand does not
 * copy them. */
static struct metadata *begin_next(struct metadata_cache *cache,
                                   const struct update_metadata_request *request)
{
    int64_t topics_n = (int64_t)request->topic_states_n + request->ungrouped_partition_states_n;
    pthread_mutex_lock(&cache->lock);
    struct metadata *current = cache->current;
    if (topics_n <= IN_PLACE_TOPICS_MAX && atomic_load(&current->refs) == 1) {
        return current;
    }
    atomic_fetch_add(&current->refs, 1);
    pthread_mutex_unlock(&cache->lock);
    struct metadata *next = metadata_new();
    next->brokers = xcalloc((size_t)current->brokers_n, sizeof(*next->brokers));
    for (; next->brokers_n < current->brokers_n; next->brokers_n++) {
        next->brokers[next->brokers_n].id =
            current->brokers[next->brokers_n].id; /* replaced soon */
    }
    map_each (entry, &current->topics) {
        struct topic_info *topic = entry->value;
        atomic_fetch_add(&topic->refs, 1);
        set_topic(next, topic);
    }
    metadata_release(current);
    return next;
}

static void publish(struct metadata_cache *cache, struct metadata *next)
{
    struct metadata *before = NULL;
    if (next != cache->current) {
        pthread_mutex_lock(&cache->lock);
        before = cache->current;
        cache->current = next;
    }
    pthread_mutex_unlock(&cache->lock);
    metadata_release(before);
}

bool metadata_update(struct metadata_cache *cache, const struct update_metadata_request *request,
                     void (*removed)(void *context, struct str topic), void *context)
{
    struct metadata *next = begin_next(cache, request);
    next->controller_id = request->controller_id;
    bool gone = apply_brokers(next, request);
    struct update u = {.next = next};
    for (int32_t i = 0; i < request->ungrouped_partition_states_n; i++) {
        const update_partition *in = &request->ungrouped_partition_states[i];
        apply_topic(&u, in->topic_name, NULL, in, 1);
    }
    for (int32_t t = 0; t < request->topic_states_n; t++) {
        const struct update_metadata_request_topic_state *topic = &request->topic_states[t];
        apply_topic(&u, topic->topic_name, &topic->topic_id, topic->partition_states,
                    topic->partition_states_n);
    }
    publish(cache, next);
    for (size_t i = 0; i < u.gone_n; i++) {
        if (removed != NULL) {
            removed(context, u.gone[i]->name);
        }
        topic_release(u.gone[i]);
    }
    free(u.gone);
    return gone;
}

/* ---- look-ups ---- */

const struct topic_info *metadata_topic(const struct metadata *metadata, struct str name)
{
    return name.data == NULL ? NULL : map_get_str(&metadata->topics, name);
}

const struct topic_info *metadata_topic_by_id(const struct metadata *metadata, struct uuid id)
{
    return map_get(&metadata->ids, bytes_of(id.bytes, sizeof(id)));
}

bool metadata_has_partition(const struct metadata *metadata, struct str topic, int32_t partition)
{
    const struct topic_info *info = metadata_topic(metadata, topic);
    return info != NULL && partition >= 0 && partition < info->partitions_n &&
           info->partitions[partition].known;
}

const struct broker_info *metadata_broker(const struct metadata *metadata, int32_t id)
{
    for (int32_t i = 0; i < metadata->brokers_n; i++) {
        if (metadata->brokers[i].id == id) {
            return &metadata->brokers[i];
        }
    }
    return NULL;
}

const struct broker_endpoint *broker_endpoint_of(const struct broker_info *broker,
                                                 const char *listener)
{
    for (int32_t i = 0; i < broker->endpoints_n; i++) {
        if (strcmp(broker->endpoints[i].listener, listener) == 0) {
            return &broker->endpoints[i];
        }
    }
    return NULL;
}
