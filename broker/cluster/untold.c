/* A round has five parts, told in their order. A state is one block of memory with copies of all that
 * it points to; a part keeps its states by topic and number. */
#include "broker/cluster/untold.h"

#include "base/map.h"
#include "protocol/topic_name.h"

#include <stdlib.h>

enum part_of_round { BROKERS, ROLES, METADATA, STOPS, DELETIONS, PARTS_N };

enum { LEADER_DURING_DELETE = -2, BROKERS_ARENA_BYTES = 64 << 20, BUILD_ARENA_BYTES = 1 << 30 };

typedef struct leader_and_isr_request_partition_state role_state;
typedef struct update_metadata_request_partition_state metadata_state;
typedef struct stop_replica_request_partition_state stop_state;

struct told {
    struct str topic;
    struct uuid topic_id;
    int32_t partition;
    union {
        role_state role;
        metadata_state metadata;
        stop_state stop;
    };
};

/* The fields of a request beside its partitions. */
struct heading {
    int version;
    int32_t controller_id;
    int32_t controller_epoch;
    int64_t broker_epoch;
};

struct part {
    bool wanted;
    struct heading heading;
    struct map states; /* topic and number → struct told */
};

struct round {
    struct list link;
    struct part parts[PARTS_N];
};

/* ---- copies ---- */

/* A block that is filled from its front. */
struct block {
    uint8_t *at;
};

static int32_t *put_ids(struct block *block, const int32_t *ids, int32_t count)
{
    int32_t *copy = (int32_t *)(void *)block->at;
    for (int32_t i = 0; i < count; i++) {
        copy[i] = ids[i];
    }
    block->at += (size_t)(count < 0 ? 0 : count) * sizeof(*copy);
    return copy;
}

static size_t ids_bytes(int32_t count)
{
    return (size_t)(count < 0 ? 0 : count) * sizeof(int32_t);
}

static struct told *told_new(struct str topic, struct uuid id, int32_t partition, size_t ids,
                             struct block *block)
{
    struct told *told = xcalloc(1, sizeof(*told) + ids + topic.len + 1);
    char *name = (char *)(told + 1) + ids;
    memcpy(name, topic.data, topic.len);
    told->topic = (struct str){.data = name, .len = topic.len};
    told->topic_id = id;
    told->partition = partition;
    block->at = (uint8_t *)(told + 1);
    return told;
}

static struct told *copy_role(struct str topic, struct uuid id, const role_state *in)
{
    struct block block;
    size_t ids = ids_bytes(in->isr_n) + ids_bytes(in->replicas_n) +
                 ids_bytes(in->adding_replicas_n) + ids_bytes(in->removing_replicas_n);
    struct told *told = told_new(topic, id, in->partition_index, ids, &block);
    told->role = *in;
    told->role.topic_name = told->topic;
    told->role.isr = put_ids(&block, in->isr, in->isr_n);
    told->role.replicas = put_ids(&block, in->replicas, in->replicas_n);
    told->role.adding_replicas = put_ids(&block, in->adding_replicas, in->adding_replicas_n);
    told->role.removing_replicas = put_ids(&block, in->removing_replicas, in->removing_replicas_n);
    return told;
}

static struct told *copy_metadata(struct str topic, struct uuid id, const metadata_state *in)
{
    struct block block;
    size_t ids =
        ids_bytes(in->isr_n) + ids_bytes(in->replicas_n) + ids_bytes(in->offline_replicas_n);
    struct told *told = told_new(topic, id, in->partition_index, ids, &block);
    told->metadata = *in;
    told->metadata.topic_name = told->topic;
    told->metadata.isr = put_ids(&block, in->isr, in->isr_n);
    told->metadata.replicas = put_ids(&block, in->replicas, in->replicas_n);
    told->metadata.offline_replicas = put_ids(&block, in->offline_replicas, in->offline_replicas_n);
    return told;
}

static struct told *copy_stop(struct str topic, const stop_state *in)
{
    struct block block;
    struct told *told = told_new(topic, (struct uuid){{0}}, in->partition_index, 0, &block);
    told->stop = *in;
    return told;
}

static void copy_brokers(struct untold *untold, const struct update_metadata_request *request)
{
    struct arena *arena = &untold->brokers_arena;
    arena_reset(arena, BROKERS_ARENA_BYTES);
    size_t count = (size_t)request->live_brokers_n;
    untold->brokers_n = request->live_brokers_n;
    untold->brokers = arena_array(arena, count, sizeof(*untold->brokers));
    CHECK(untold->brokers != NULL);
    for (size_t i = 0; i < count; i++) {
        struct update_metadata_request_live_broker *to = &untold->brokers[i];
        *to = request->live_brokers[i];
        to->rack = to->rack.data == NULL ? to->rack : arena_str(arena, to->rack);
        to->endpoints = arena_array(arena, (size_t)to->endpoints_n, sizeof(*to->endpoints));
        CHECK(to->endpoints != NULL);
        for (int32_t e = 0; e < to->endpoints_n; e++) {
            to->endpoints[e] = request->live_brokers[i].endpoints[e];
            to->endpoints[e].host = arena_str(arena, to->endpoints[e].host);
            to->endpoints[e].listener = arena_str(arena, to->endpoints[e].listener);
        }
    }
}

/* ---- rounds ---- */

struct key {
    uint8_t bytes[TOPIC_NAME_MAX + sizeof(int32_t)];
    size_t len;
};

static struct bytes key_of(struct key *key, struct str topic, int32_t partition)
{
    CHECK(topic.len <= TOPIC_NAME_MAX);
    memcpy(key->bytes, topic.data, topic.len);
    memcpy(key->bytes + topic.len, &partition, sizeof(partition));
    return bytes_of(key->bytes, topic.len + sizeof(partition));
}

static struct told *part_find(const struct part *part, struct str topic, int32_t partition)
{
    struct key key;
    return map_get(&part->states, key_of(&key, topic, partition));
}

static void part_set(struct part *part, struct told *told)
{
    struct key key;
    free(map_set(&part->states, key_of(&key, told->topic, told->partition), told));
}

static struct round *round_new(struct untold *untold)
{
    struct round *round = xcalloc(1, sizeof(*round));
    for (int i = 0; i < PARTS_N; i++) {
        map_init(&round->parts[i].states);
    }
    list_append(&untold->rounds, &round->link);
    return round;
}

static void part_clear(struct part *part)
{
    map_each (entry, &part->states) {
        free(entry->value);
    }
    map_deinit(&part->states);
    part->wanted = false;
}

static void round_free(struct round *round)
{
    for (int i = 0; i < PARTS_N; i++) {
        part_clear(&round->parts[i]);
    }
    list_remove(&round->link);
    free(round);
}

void untold_init(struct untold *untold)
{
    *untold = (struct untold){0};
    list_init(&untold->rounds);
    arena_init(&untold->brokers_arena, BROKERS_ARENA_BYTES);
}

void untold_deinit(struct untold *untold)
{
    list_each_safe (item, &untold->rounds) {
        round_free(container_of(item, struct round, link));
    }
    arena_deinit(&untold->brokers_arena);
}

static struct round *last_round(struct untold *untold)
{
    return list_empty(&untold->rounds) ? round_new(untold)
                                       : container_of(untold->rounds.prev, struct round, link);
}

/* ---- adding ---- */

static struct part *part_begin(struct round *round, enum part_of_round which,
                               const struct heading *heading)
{
    struct part *part = &round->parts[which];
    part->wanted = true;
    part->heading = *heading;
    return part;
}

/* Which of a request's roles are meant. */
struct roles_wanted {
    bool all;
    int32_t broker_id;
    bool led;
};

static bool is_wanted(const struct roles_wanted *wanted, const role_state *role)
{
    return wanted->all || (role->leader == wanted->broker_id) == wanted->led;
}

static void add_roles(struct untold *untold, const struct heading *heading,
                      const struct leader_and_isr_request *request,
                      const struct roles_wanted *wanted)
{
    for (int32_t t = 0; t < request->topic_states_n; t++) {
        const struct leader_and_isr_request_topic_state *topic = &request->topic_states[t];
        for (int32_t i = 0; i < topic->partition_states_n; i++) {
            const role_state *in = &topic->partition_states[i];
            if (is_wanted(wanted, in)) {
                part_set(part_begin(last_round(untold), ROLES, heading),
                         copy_role(topic->topic_name, topic->topic_id, in));
            }
        }
    }
}

static void add_metadata(struct untold *untold, const struct heading *heading,
                         const struct update_metadata_request *request)
{
    enum part_of_round which = request->topic_states_n == 0 ? BROKERS : METADATA;
    struct part *part = part_begin(last_round(untold), which, heading);
    copy_brokers(untold, request);
    for (int32_t t = 0; t < request->topic_states_n; t++) {
        const struct update_metadata_request_topic_state *topic = &request->topic_states[t];
        for (int32_t i = 0; i < topic->partition_states_n; i++) {
            part_set(part, copy_metadata(topic->topic_name, topic->topic_id,
                                         &topic->partition_states[i]));
        }
    }
}

static void add_stops(struct untold *untold, const struct heading *heading,
                      const struct stop_replica_request *request)
{
    for (int32_t t = 0; t < request->topic_states_n; t++) {
        const struct stop_replica_request_topic_state *topic = &request->topic_states[t];
        for (int32_t i = 0; i < topic->partition_states_n; i++) {
            const stop_state *in = &topic->partition_states[i];
            part_set(
                part_begin(last_round(untold), in->delete_partition ? DELETIONS : STOPS, heading),
                copy_stop(topic->topic_name, in));
        }
    }
}

static struct heading heading_of_roles(int version, const struct leader_and_isr_request *in)
{
    return (struct heading){.version = version,
                            .controller_id = in->controller_id,
                            .controller_epoch = in->controller_epoch,
                            .broker_epoch = in->broker_epoch};
}

void untold_init_of_roles(struct untold *untold, int version,
                          const struct leader_and_isr_request *request, int32_t broker_id, bool led)
{
    const struct heading heading = heading_of_roles(version, request);
    const struct roles_wanted wanted = {.broker_id = broker_id, .led = led};
    untold_init(untold);
    add_roles(untold, &heading, request, &wanted);
}

void untold_init_of(struct untold *untold, int16_t api_key, int version, const void *request)
{
    untold_init(untold);
    if (api_key == KEY_LEADER_AND_ISR) {
        const struct heading heading = heading_of_roles(version, request);
        add_roles(untold, &heading, request, &(struct roles_wanted){.all = true});
    } else if (api_key == KEY_UPDATE_METADATA) {
        const struct update_metadata_request *in = request;
        const struct heading heading = {.version = version,
                                        .controller_id = in->controller_id,
                                        .controller_epoch = in->controller_epoch,
                                        .broker_epoch = in->broker_epoch};
        add_metadata(untold, &heading, in);
    } else {
        CHECK(api_key == KEY_STOP_REPLICA);
        const struct stop_replica_request *in = request;
        const struct heading heading = {.version = version,
                                        .controller_id = in->controller_id,
                                        .controller_epoch = in->controller_epoch,
                                        .broker_epoch = in->broker_epoch};
        add_stops(untold, &heading, in);
    }
}

bool untold_is_empty(const struct untold *untold)
{
    return list_empty(&untold->rounds);
}

static int32_t add_leader(int32_t *ids, int32_t count, int32_t max, int32_t leader)
{
    for (int32_t i = 0; i < count; i++) {
        if (ids[i] == leader) {
            return count;
        }
    }
    if (leader >= 0 && count < max) {
        ids[count++] = leader;
    }
    return count;
}

int32_t untold_leaders(const struct untold *untold, int32_t *ids, int32_t count, int32_t max)
{
    list_each (item, &untold->rounds) {
        const struct round *round = container_of(item, struct round, link);
        map_each (entry, &round->parts[ROLES].states) {
            const struct told *told = entry->value;
            count = add_leader(ids, count, max, told->role.leader);
        }
    }
    return count;
}

/* ---- merging ---- */

/* Is the partition deleted in this round, so that what is new of it must come after it? */
static bool is_deleted(const struct round *round, const struct told *told)
{
    const struct told *state = part_find(&round->parts[METADATA], told->topic, told->partition);
    return part_find(&round->parts[DELETIONS], told->topic, told->partition) != NULL ||
           (state != NULL && state->metadata.leader == LEADER_DURING_DELETE);
}

/* What is new follows a deletion; the deletion's own messages do not follow each other. */
static bool begins_anew(enum part_of_round which, const struct told *told)
{
    return which == ROLES || (which == METADATA && told->metadata.leader != LEADER_DURING_DELETE);
}

/* A partition stays new until its broker has heard of it. */
static void merge(struct part *part, enum part_of_round which, struct told *told)
{
    const struct told *before = part_find(part, told->topic, told->partition);
    if (before != NULL && which == ROLES) {
        told->role.is_new |= before->role.is_new;
    }
    part_set(part, told);
}

static void take_part(struct untold *to, enum part_of_round which, struct part *from)
{
    if (which == BROKERS) {
        (void)part_begin(last_round(to), which, &from->heading);
    }
    map_each (entry, &from->states) {
        struct round *round = last_round(to);
        if (begins_anew(which, entry->value) && is_deleted(round, entry->value)) {
            round = round_new(to);
        }
        merge(part_begin(round, which, &from->heading), which, entry->value);
    }
    map_deinit(&from->states); /* the states are `to`'s */
}

void untold_take(struct untold *to, struct untold *from)
{
    list_each (item, &from->rounds) {
        struct round *round = container_of(item, struct round, link);
        for (int i = 0; i < PARTS_N; i++) {
            if (round->parts[i].wanted) {
                take_part(to, (enum part_of_round)i, &round->parts[i]);
            }
        }
    }
    if (from->brokers != NULL) {
        arena_deinit(&to->brokers_arena);
        to->brokers_arena = from->brokers_arena;
        to->brokers = from->brokers;
        to->brokers_n = from->brokers_n;
        arena_init(&from->brokers_arena, BROKERS_ARENA_BYTES);
        from->brokers = NULL;
    }
}

/* ---- taking ---- */

static void *alloc(struct arena *arena, size_t count, size_t size)
{
    void *memory = arena_array(arena, count, size);
    CHECK(memory != NULL);
    return memory;
}

static int compare(const void *a, const void *b)
{
    const struct told *x = *(struct told *const *)a;
    const struct told *y = *(struct told *const *)b;
    int order = str_compare(x->topic, y->topic);
    return order != 0 ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

/* The states of a part, by topic. */
struct sorted {
    struct told **all;
    size_t count;
};

static struct sorted sort(struct arena *arena, const struct part *part)
{
    struct sorted sorted = {.all = alloc(arena, part->states.count, sizeof(*sorted.all))};
    map_each (entry, &part->states) {
        sorted.all[sorted.count++] = entry->value;
    }
    if (sorted.count > 0) {
        qsort(sorted.all, sorted.count, sizeof(*sorted.all), compare);
    }
    return sorted;
}

static bool begins_topic(const struct sorted *sorted, size_t at)
{
    return at == 0 || !str_equal(sorted->all[at]->topic, sorted->all[at - 1]->topic);
}

static bool is_named(const struct leader_and_isr_request *request, int32_t id)
{
    for (int32_t i = 0; i < request->live_leaders_n; i++) {
        if (request->live_leaders[i].broker_id == id) {
            return true;
        }
    }
    return false;
}

/* The leaders that the request names and that live. Nobody reads it. */
static void fill_leaders(struct arena *arena, const struct untold *untold, const char *listener,
                         const struct sorted *sorted, struct leader_and_isr_request *out)
{
    out->live_leaders = alloc(arena, (size_t)untold->brokers_n, sizeof(*out->live_leaders));
    for (size_t i = 0; i < sorted->count; i++) {
        int32_t leader = sorted->all[i]->role.leader;
        for (int32_t b = 0; b < untold->brokers_n && !is_named(out, leader); b++) {
            const struct update_metadata_request_live_broker *broker = &untold->brokers[b];
            for (int32_t e = 0; broker->id == leader && e < broker->endpoints_n; e++) {
                if (str_is(broker->endpoints[e].listener, listener)) {
                    out->live_leaders[out->live_leaders_n++] =
                        (struct leader_and_isr_request_live_leader){
                            .broker_id = leader,
                            .host_name = broker->endpoints[e].host,
                            .port = broker->endpoints[e].port};
                    break;
                }
            }
        }
    }
}

static void *build_roles(struct arena *arena, const struct untold *untold, const struct part *part,
                         const char *listener)
{
    struct sorted sorted = sort(arena, part);
    struct leader_and_isr_request *out = alloc(arena, 1, sizeof(*out));
    role_state *states = alloc(arena, sorted.count, sizeof(*states));
    leader_and_isr_request_init(out);
    out->controller_id = part->heading.controller_id;
    out->controller_epoch = part->heading.controller_epoch;
    out->broker_epoch = part->heading.broker_epoch;
    out->topic_states = alloc(arena, sorted.count, sizeof(*out->topic_states));
    for (size_t i = 0; i < sorted.count; i++) {
        if (begins_topic(&sorted, i)) {
            out->topic_states[out->topic_states_n++] =
                (struct leader_and_isr_request_topic_state){.topic_name = sorted.all[i]->topic,
                                                            .topic_id = sorted.all[i]->topic_id,
                                                            .partition_states = &states[i]};
        }
        states[i] = sorted.all[i]->role;
        out->topic_states[out->topic_states_n - 1].partition_states_n++;
    }
    fill_leaders(arena, untold, listener, &sorted, out);
    return out;
}

static void *build_metadata(struct arena *arena, const struct untold *untold,
                            const struct part *part)
{
    struct sorted sorted = sort(arena, part);
    struct update_metadata_request *out = alloc(arena, 1, sizeof(*out));
    metadata_state *states = alloc(arena, sorted.count, sizeof(*states));
    update_metadata_request_init(out);
    out->controller_id = part->heading.controller_id;
    out->controller_epoch = part->heading.controller_epoch;
    out->broker_epoch = part->heading.broker_epoch;
    out->live_brokers = untold->brokers;
    out->live_brokers_n = untold->brokers_n;
    out->topic_states = alloc(arena, sorted.count, sizeof(*out->topic_states));
    for (size_t i = 0; i < sorted.count; i++) {
        if (begins_topic(&sorted, i)) {
            out->topic_states[out->topic_states_n++] =
                (struct update_metadata_request_topic_state){.topic_name = sorted.all[i]->topic,
                                                             .topic_id = sorted.all[i]->topic_id,
                                                             .partition_states = &states[i]};
        }
        states[i] = sorted.all[i]->metadata;
        out->topic_states[out->topic_states_n - 1].partition_states_n++;
    }
    return out;
}

static void *build_stops(struct arena *arena, const struct part *part)
{
    struct sorted sorted = sort(arena, part);
    struct stop_replica_request *out = alloc(arena, 1, sizeof(*out));
    stop_state *states = alloc(arena, sorted.count, sizeof(*states));
    stop_replica_request_init(out);
    out->controller_id = part->heading.controller_id;
    out->controller_epoch = part->heading.controller_epoch;
    out->broker_epoch = part->heading.broker_epoch;
    out->topic_states = alloc(arena, sorted.count, sizeof(*out->topic_states));
    for (size_t i = 0; i < sorted.count; i++) {
        if (begins_topic(&sorted, i)) {
            out->topic_states[out->topic_states_n++] = (struct stop_replica_request_topic_state){
                .topic_name = sorted.all[i]->topic, .partition_states = &states[i]};
        }
        states[i] = sorted.all[i]->stop;
        out->topic_states[out->topic_states_n - 1].partition_states_n++;
    }
    return out;
}

static bool stops_replicas(enum part_of_round which)
{
    return which == STOPS || which == DELETIONS;
}

static int16_t key_of_part(enum part_of_round which)
{
    return which == ROLES          ? KEY_LEADER_AND_ISR
           : stops_replicas(which) ? KEY_STOP_REPLICA
                                   : KEY_UPDATE_METADATA;
}

/* The first part of the first round that is wanted, or NULL: then no round is left. */
static struct part *first_part(struct untold *untold, struct round **round,
                               enum part_of_round *which)
{
    list_each_safe (item, &untold->rounds) {
        *round = container_of(item, struct round, link);
        for (int i = 0; i < PARTS_N; i++) {
            if ((*round)->parts[i].wanted) {
                *which = (enum part_of_round)i;
                return &(*round)->parts[i];
            }
        }
        round_free(*round);
    }
    return NULL;
}

bool untold_next(struct untold *untold, const char *inter_broker, struct writer *body,
                 struct told_request *next)
{
    struct round *round = NULL;
    enum part_of_round which = BROKERS;
    struct part *part = first_part(untold, &round, &which);
    if (part == NULL) {
        return false;
    }
    struct arena arena;
    arena_init(&arena, BUILD_ARENA_BYTES);
    void *request = which == ROLES          ? build_roles(&arena, untold, part, inter_broker)
                    : stops_replicas(which) ? build_stops(&arena, part)
                                            : build_metadata(&arena, untold, part);
    *next = (struct told_request){.api_key = key_of_part(which),
                                  .version = part->heading.version,
                                  .controller_epoch = part->heading.controller_epoch,
                                  .broker_epoch = part->heading.broker_epoch,
                                  .deletes = which == DELETIONS};
    next->error =
        message_encode(api_schema_of(next->api_key)->request, next->version, request, body);
    arena_deinit(&arena);
    part_clear(part);
    return true;
}
