/* The order of a look: the truth, high watermarks, ends of logs, the truth again. A log's end may have grown
 * since the high watermark was read, never shrunk below it. */
#define _GNU_SOURCE
#include "sim/observer.h"

#include "protocol/batch.h"
#include "zk/znodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ARENA_BYTES = 1 << 20,
    SEGMENTS_MAX = 2048,
    PATH_BYTES = 160,
    NAME_BYTES = 64,
    KNOWN_AFTER_US = 3000000
};

static struct event event_of(const struct observer *o, enum event_kind kind, int partition)
{
    return (struct event){
        .kind = kind, .at_us = sched_now_us(o->sched), .partition = partition, .who = -1};
}

static uint32_t bits(const struct id_list *list)
{
    uint32_t all = 0;
    for (int32_t i = 0; i < list->count; i++) {
        CHECK(list->ids[i] >= 0 && list->ids[i] < HISTORY_BROKERS_MAX);
        all |= 1u << list->ids[i];
    }
    return all;
}

/* ---- the store ---- */

void observer_init(struct observer *o)
{
    for (int i = 0; i < OBSERVER_PARTITIONS_MAX; i++) {
        o->noted[i] = o->offices[i] = -1;
        for (int id = 0; id < HISTORY_BROKERS_MAX; id++) {
            o->left[i][id].office = -1;
        }
        snprintf(o->states_at[i], OBSERVER_PATH_BYTES, ZNODE_TOPICS "/%s/partitions/%d/state",
                 o->topic, i);
    }
    o->topic_noted = -1;
    snprintf(o->topic_at, OBSERVER_PATH_BYTES, ZNODE_TOPICS "/%s", o->topic);
}

static int32_t read_office(const struct observer *o, int32_t *version)
{
    struct bytes text;
    int64_t office = -1;
    *version = -1;
    return coord_model_peek(o->store, ZNODE_CONTROLLER_EPOCH, &text, version) &&
                   znode_number_decode(text, &office) == OK
               ? (int32_t)office
               : -1;
}

bool observer_truth(const struct observer *o, int partition, struct event *truth)
{
    struct arena arena;
    struct znode_state state;
    arena_init(&arena, ARENA_BYTES);
    const char *path = znode_state_path(&arena, str_of(o->topic), partition);
    struct bytes json;
    int32_t version = 0;
    bool found = coord_model_peek(o->store, path, &json, &version) &&
                 znode_state_decode(&arena, json, &state) == OK;
    if (found) {
        *truth = event_of(o, EVENT_TRUTH, partition);
        truth->who = state.leader;
        truth->version = version;
        truth->epoch = state.leader_epoch;
        truth->controller_epoch = state.controller_epoch;
        truth->office = read_office(o, &version);
        truth->isr = bits(&state.isr);
        truth->replicas = o->placings[partition].all;
    }
    arena_deinit(&arena);
    return found;
}

/* ---- where partitions are ---- */

static void place(struct placing *placing, const struct znode_topic *topic, int partition)
{
    const struct id_list *replicas = &topic->partitions[partition];
    CHECK(replicas->count <= HISTORY_BROKERS_MAX);
    *placing = (struct placing){.replicas_n = replicas->count,
                                .all = bits(replicas),
                                .adding = bits(&topic->adding[partition]),
                                .removing = bits(&topic->removing[partition])};
    for (int32_t i = 0; i < replicas->count; i++) {
        placing->replicas[i] = replicas->ids[i];
    }
}

static bool is_moving(const struct placing *placing)
{
    return placing->adding != 0 || placing->removing != 0;
}

static bool is_same(const struct placing *a, const struct placing *b)
{
    return a->adding == b->adding && a->removing == b->removing && a->replicas_n == b->replicas_n &&
           memcmp(a->replicas, b->replicas, (size_t)a->replicas_n * sizeof(a->replicas[0])) == 0;
}

static uint32_t target_of(const struct placing *placing)
{
    return placing->all & ~placing->removing;
}

static void count_move(struct observer *o, int partition, const struct placing *now)
{
    const struct placing *before = &o->placings[partition];
    if (!is_moving(before)) {
        o->begun_at[partition] = *before;
        o->moves.begun++;
        o->moves.completed += is_moving(now) ? 0 : 1;
    } else if (is_moving(now)) {
        o->moves.replaced += target_of(now) != target_of(before) ? 1 : 0;
    } else if (now->all == o->begun_at[partition].all && now->all != target_of(before)) {
        o->moves.cancelled++;
    } else {
        o->moves.completed++;
    }
}

static void note_registration(struct observer *o, int id)
{
    struct registration *known = &o->registrations[id];
    char path[OBSERVER_PATH_BYTES];
    char node[OBSERVER_NODE_BYTES] = "";
    struct bytes value;
    int32_t version = 0;
    snprintf(path, sizeof(path), ZNODE_BROKER_IDS "/%d", id);
    if (coord_model_peek(o->store, path, &value, &version)) {
        snprintf(node, sizeof(node), "%.*s", (int)value.len, (const char *)value.data);
    }
    if (strcmp(node, known->node) != 0) {
        memcpy(known->node, node, sizeof(node));
        known->since_us = sched_now_us(o->sched);
    }
}

/* Has the controller read that it is there? A while after it has come. */
static bool is_known(const struct observer *o, int id)
{
    const struct registration *it = &o->registrations[id];
    return it->node[0] != '\0' && sched_now_us(o->sched) - it->since_us > KNOWN_AFTER_US;
}

int64_t observer_gone_us(const struct observer *o, int id)
{
    const struct registration *it = &o->registrations[id];
    return it->node[0] != '\0' ? 0 : sched_now_us(o->sched) - it->since_us;
}

static void note_placing(struct observer *o, int partition, const struct placing *now)
{
    struct placing *known = &o->placings[partition];
    int32_t version = 0;
    int32_t office = read_office(o, &version);
    for (int id = 0; id < o->nodes_n; id++) {
        struct leaving *left = &o->left[partition][id];
        if ((now->all & 1u << id) != 0) {
            left->office = -1;
        } else if ((known->all & 1u << id) != 0) {
            bool ended = (known->removing & 1u << id) != 0 && !is_moving(now);
            bool there = is_known(o, id) && (o->absent[partition] & 1u << id) == 0;
            *left = (struct leaving){.office = office, .was_waited_for = ended && there};
        }
    }
    if (known->replicas_n > 0 && !is_same(known, now)) {
        count_move(o, partition, now);
    }
    *known = *now;
}

/* Who is not there while its replica is to go is not waited for, though it may be back when it has gone. */
static void note_absent(struct observer *o, int partition)
{
    const struct placing *known = &o->placings[partition];
    o->absent[partition] &= known->removing;
    for (int id = 0; id < o->nodes_n && known->removing != 0; id++) {
        bool leaves = (known->removing & 1u << id) != 0;
        o->absent[partition] |= leaves && !is_known(o, id) ? 1u << id : 0;
    }
}

void observer_note_placings(struct observer *o)
{
    struct arena arena;
    struct znode_topic topic;
    struct bytes json;
    int32_t version = -1;
    for (int id = 0; id < o->nodes_n; id++) {
        note_registration(o, id);
    }
    for (int i = 0; i < o->partitions_n; i++) {
        note_absent(o, i);
    }
    if (!coord_model_peek(o->store, o->topic_at, &json, &version) || version == o->topic_noted) {
        return;
    }
    arena_init(&arena, ARENA_BYTES);
    bool news = znode_topic_decode(&arena, json, &topic) == OK;
    for (int i = 0; news && i < topic.partitions_n && i < o->partitions_n; i++) {
        struct placing now;
        place(&now, &topic, i);
        note_placing(o, i, &now);
    }
    o->topic_noted = news ? version : o->topic_noted;
    arena_deinit(&arena);
}

int observer_preferred(struct observer *o, int partition)
{
    observer_note_placings(o);
    const struct placing *placing = &o->placings[partition];
    return placing->replicas_n > 0 ? placing->replicas[0] : -1;
}

int observer_controller(const struct observer *o)
{
    struct arena arena;
    struct bytes json;
    int32_t version = 0;
    int32_t broker = -1;
    arena_init(&arena, ARENA_BYTES);
    bool found = coord_model_peek(o->store, ZNODE_CONTROLLER, &json, &version) &&
                 znode_controller_decode(&arena, json, &broker) == OK;
    arena_deinit(&arena);
    return found ? broker : -1;
}

/* Most times nothing has changed: versions say so. */
void observer_note_truth(struct observer *o, int partition)
{
    struct bytes value;
    int32_t version = -1;
    int32_t office = -1;
    struct event truth;
    bool news = coord_model_peek(o->store, o->states_at[partition], &value, &version) &&
                coord_model_peek(o->store, ZNODE_CONTROLLER_EPOCH, &value, &office) &&
                (version != o->noted[partition] || office != o->offices[partition]);
    if (news && observer_truth(o, partition, &truth)) {
        o->noted[partition] = version;
        o->offices[partition] = office;
        o->joined[partition] |= (truth.isr & ~o->isrs[partition]) != 0;
        o->isrs[partition] = truth.isr;
        history_add(o->history, &truth);
    }
}

void observer_note_promise(struct observer *o, int partition, int64_t offset)
{
    o->promised[partition] = offset > o->promised[partition] ? offset : o->promised[partition];
}

bool observer_is_whole(struct observer *o)
{
    observer_note_placings(o);
    for (int i = 0; i < o->partitions_n; i++) {
        struct event truth;
        if (!observer_truth(o, i, &truth) || truth.who < 0 || truth.replicas == 0 ||
            truth.isr != truth.replicas || is_moving(&o->placings[i])) {
            return false;
        }
    }
    return true;
}

/* ---- directories ---- */

static void count_name(void *context, const char *name)
{
    (void)name;
    ++*(int *)context;
}

/* In which of its log directories a broker has the partition. False: in none. */
static bool dir_of(const struct observer *o, int id, int partition, char dir[static PATH_BYTES])
{
    static const char *const LOG_DIRS[] = {SIM_LOG_DIR, SIM_LOG_DIR_A, SIM_LOG_DIR_B};
    int names = 0;
    for (size_t i = 0; names == 0 && i < sizeof(LOG_DIRS) / sizeof(LOG_DIRS[0]); i++) {
        snprintf(dir, PATH_BYTES, "%s/%s-%d", LOG_DIRS[i], o->topic, partition);
        disk_peek_names(node_disk(o->nodes[id]), dir, count_name, &names);
    }
    return names > 0;
}

static bool has_files(const struct observer *o, int id, int partition)
{
    char dir[PATH_BYTES];
    return dir_of(o, id, partition, dir);
}

/* It has what it should not have. */
static bool is_stray(const struct observer *o, int id, int partition)
{
    return (o->placings[partition].all & 1u << id) == 0 && has_files(o, id, partition);
}

/* It has gone before the end, or somebody still has to see to it that it goes. */
static bool is_to_go(const struct observer *o, int id, int partition, int32_t office)
{
    const struct leaving *left = &o->left[partition][id];
    struct disk_counts disk = disk_counts(node_disk(o->nodes[id]));
    bool sound = disk.errors == 0 && disk.full == 0;
    return sound && (left->was_waited_for || left->office == office);
}

bool observer_is_tidy(struct observer *o)
{
    int32_t version = 0;
    int32_t office = read_office(o, &version);
    o->moves.left_behind = 0;
    observer_note_placings(o);
    for (int i = 0; i < o->partitions_n; i++) {
        for (int id = 0; id < o->nodes_n; id++) {
            if (!is_stray(o, id, i)) {
                continue;
            }
            if (is_to_go(o, id, i, office)) {
                return false;
            }
            o->moves.left_behind++;
        }
    }
    return true;
}

/* ---- the brokers ---- */

/* False: it has none, or none that can be read now. */
static bool look_into(const struct observer *o, int id, int partition, struct event *leader,
                      struct event *log)
{
    struct node *node = o->nodes[id];
    struct broker *broker = node_acquire(node);
    if (broker == NULL) {
        return false;
    }
    struct partition_look look;
    struct partition *p = replicas_find(broker->replicas, str_of(o->topic), partition);
    *log = event_of(o, EVENT_LOG, partition);
    log->high_watermark = o->promised[partition];
    bool found = p != NULL && partition_look(p, &look) == OK;
    leader->who = -1;
    if (found) {
        log->who = id;
        log->life = node_life(node);
        log->epoch = look.role.leader_epoch;
        log->end_offset = look.end_offset;
    }
    if (found && look.role.leads) {
        *leader = *log;
        leader->kind = EVENT_LEADER;
        leader->version = look.partition_epoch;
        leader->in_sync = look.isr_n;
        leader->high_watermark = look.high_watermark;
        leader->stable_offset = look.last_stable_offset;
        leader->offset = look.led_from;
    }
    partition_release(p);
    node_release(node, broker);
    return found;
}

static bool are_equal(struct observer *o, int partition)
{
    struct event leader, log, first = {.end_offset = -1};
    uint32_t replicas = o->placings[partition].all;
    int found = 0;
    for (int id = 0; id < o->nodes_n; id++) {
        if ((replicas & 1u << id) == 0 || !look_into(o, id, partition, &leader, &log)) {
            continue;
        }
        first = found++ == 0 ? log : first;
        if (log.epoch != first.epoch || log.end_offset != first.end_offset) {
            return false;
        }
    }
    return found == __builtin_popcount(replicas);
}

bool observer_is_settled(struct observer *o)
{
    bool settled = observer_is_whole(o);
    for (int i = 0; settled && i < o->partitions_n; i++) {
        settled = are_equal(o, i);
    }
    return settled;
}

/* What of it a state is: who runs, who leads and is in the ISR, whose log is how far behind or ahead of what is
 * committed. */
static void meet_state(struct observer *o, const struct event *truth, const struct event *leaders,
                       const struct event *logs, const bool *found)
{
    struct trace state;
    int64_t none = 0;
    int64_t committed = 0;
    trace_init(&state, &none);
    for (int i = 0; i < o->nodes_n; i++) {
        committed = found[i] && leaders[i].who >= 0 ? leaders[i].high_watermark : committed;
    }
    trace_mix(&state, (uint64_t)(unsigned)truth->who << 32 | truth->isr);
    for (int i = 0; i < o->nodes_n; i++) {
        trace_mix(&state, (uint64_t)node_state(o->nodes[i]) << 2 | (uint64_t)found[i] << 1 |
                              (uint64_t)node_is_paused(o->nodes[i]));
        trace_mix(&state, found[i] ? (uint64_t)(leaders[i].who >= 0) << 8 |
                                         (uint64_t)(leaders[i].epoch == truth->epoch) << 4 |
                                         (uint64_t)(logs[i].end_offset > committed) << 1 |
                                         (uint64_t)(logs[i].end_offset < committed)
                                   : 0);
    }
    uint64_t number = state.hash % STATE_NUMBERS;
    o->states.met[number / 8] |= (uint8_t)(1u << number % 8);
}

void state_set_add_all(struct state_set *set, const struct state_set *more)
{
    for (size_t i = 0; i < sizeof(set->met); i++) {
        set->met[i] |= more->met[i];
    }
}

uint64_t state_set_count(const struct state_set *set)
{
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof(set->met); i++) {
        n += (uint64_t)__builtin_popcount(set->met[i]);
    }
    return n;
}

static bool same_truth(const struct event *a, const struct event *b)
{
    return a->version == b->version;
}

static void look(struct observer *o, int partition)
{
    struct event truth;
    struct event again;
    struct event leaders[HISTORY_BROKERS_MAX] = {{0}};
    struct event logs[HISTORY_BROKERS_MAX] = {{0}};
    bool found[HISTORY_BROKERS_MAX] = {false};
    uint32_t missing = 0;
    CHECK(o->nodes_n <= HISTORY_BROKERS_MAX);
    if (!observer_truth(o, partition, &truth)) {
        return;
    }
    for (int i = 0; i < o->nodes_n; i++) {
        found[i] = look_into(o, i, partition, &leaders[i], &logs[i]);
        if (found[i] && leaders[i].who >= 0) {
            observer_note_promise(o, partition, leaders[i].high_watermark);
        }
    }
    struct event ignored;
    for (int i = 0; i < o->nodes_n;
         i++) { /* ends of logs once more, now that all marks are known */
        found[i] = found[i] && look_into(o, i, partition, &ignored, &logs[i]);
    }
    for (int i = 0; i < o->nodes_n; i++) {
        missing |= has_files(o, i, partition) ? 0 : truth.isr & 1u << i;
    }
    if (!observer_truth(o, partition, &again) || !same_truth(&truth, &again)) {
        return;
    }
    meet_state(o, &truth, leaders, logs, found);
    history_add(o->history, &truth);
    for (int i = 0; i < o->nodes_n; i++) {
        if (found[i] && leaders[i].who >= 0) {
            history_add(o->history, &leaders[i]);
        }
    }
    for (int i = 0; i < o->nodes_n; i++) {
        if (found[i]) {
            history_add(o->history, &logs[i]);
        } else if ((missing & 1u << i) != 0) {
            struct event none = event_of(o, EVENT_NO_LOG, partition);
            none.who = i;
            none.high_watermark = o->promised[partition];
            history_add(o->history, &none);
        }
    }
}

void observer_look(struct observer *o, int partition)
{
    if (!o->looks) {
        o->looks = true;
        o->joined[partition] = false;
        look(o, partition);
        o->looks = false;
    }
}

/* ---- the files ---- */

struct segments {
    char names[SEGMENTS_MAX][NAME_BYTES];
    size_t n;
};

static void take_segment(void *context, const char *name)
{
    struct segments *segments = context;
    size_t len = strlen(name);
    if (len > 4 && strcmp(name + len - 4, ".log") == 0) {
        CHECK(segments->n < SEGMENTS_MAX);
        snprintf(segments->names[segments->n++], NAME_BYTES, "%s", name);
    }
}

static int compare_segments(const void *a, const void *b)
{
    return strcmp(a, b);
}

static uint64_t hash_of(const uint8_t *data, size_t len)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ data[i]) * 0x100000001b3u;
    }
    return hash;
}

static void read_segment(const struct observer *o, int id, int partition, struct bytes bytes)
{
    while (bytes.len >= BATCH_HEADER_BYTES) {
        struct batch batch;
        batch_parse(bytes.data, &batch);
        size_t len = (size_t)batch.size_bytes;
        if (batch.size_bytes < BATCH_HEADER_BYTES || len > bytes.len) {
            return;
        }
        struct event event = event_of(o, EVENT_BATCH, partition);
        event.who = id;
        event.offset = batch.base_offset;
        event.value = hash_of(bytes.data, len);
        history_add(o->history, &event);
        bytes = bytes_of(bytes.data + len, bytes.len - len);
    }
}

static void read_replica(const struct observer *o, int id, int partition)
{
    struct segments segments = {.n = 0};
    char dir[PATH_BYTES];
    char path[PATH_BYTES + NAME_BYTES];
    if (!dir_of(o, id, partition, dir)) {
        return;
    }
    disk_peek_names(node_disk(o->nodes[id]), dir, take_segment, &segments);
    qsort(segments.names, segments.n, NAME_BYTES, compare_segments);
    for (size_t i = 0; i < segments.n; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, segments.names[i]);
        read_segment(o, id, partition, disk_peek(node_disk(o->nodes[id]), path));
    }
}

void observer_read_files(struct observer *o)
{
    for (int id = 0; id < o->nodes_n; id++) {
        for (int partition = 0; partition < o->partitions_n; partition++) {
            if ((o->placings[partition].all & 1u << id) != 0) {
                read_replica(o, id, partition);
            }
        }
    }
}
