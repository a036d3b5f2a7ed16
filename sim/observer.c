/* The order of a look: the truth, high watermarks, ends of logs, the truth again. A log's end may have grown
 * since the high watermark was read, never shrunk below it. */
#define _GNU_SOURCE
#include "sim/observer.h"

#include "protocol/batch.h"
#include "zk/znodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BYTES = 1 << 20, SEGMENTS_MAX = 2048, PATH_BYTES = 160, NAME_BYTES = 64 };

static struct event event_of(const struct observer *o, enum event_kind kind, int partition)
{
    return (struct event){
        .kind = kind, .at_us = sched_now_us(o->sched), .partition = partition, .who = -1};
}

/* ---- the store ---- */

void observer_init(struct observer *o)
{
    for (int i = 0; i < OBSERVER_PARTITIONS_MAX; i++) {
        o->noted[i] = o->offices[i] = -1;
        snprintf(o->states_at[i], OBSERVER_PATH_BYTES, ZNODE_TOPICS "/%s/partitions/%d/state",
                 o->topic, i);
    }
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
        for (int32_t i = 0; i < state.isr.count; i++) {
            truth->isr |= 1u << state.isr.ids[i];
        }
    }
    arena_deinit(&arena);
    return found;
}

int observer_preferred(const struct observer *o, int partition)
{
    struct arena arena;
    struct znode_topic topic;
    struct bytes json;
    int32_t version = 0;
    arena_init(&arena, ARENA_BYTES);
    bool found =
        coord_model_peek(o->store, znode_topic_path(&arena, str_of(o->topic)), &json, &version) &&
        znode_topic_decode(&arena, json, &topic) == OK && partition < topic.partitions_n &&
        topic.partitions[partition].count > 0;
    int preferred = found ? topic.partitions[partition].ids[0] : -1;
    arena_deinit(&arena);
    return preferred;
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
    for (int i = 0; i < o->partitions_n; i++) {
        struct event truth;
        if (!observer_truth(o, i, &truth) || truth.who < 0 ||
            __builtin_popcount(truth.isr) != o->replicas_n) {
            return false;
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
    int found = 0;
    for (int id = 0; id < o->nodes_n; id++) {
        if (!look_into(o, id, partition, &leader, &log)) {
            continue;
        }
        first = found++ == 0 ? log : first;
        if (log.epoch != first.epoch || log.end_offset != first.end_offset) {
            return false;
        }
    }
    return found == o->replicas_n;
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
    snprintf(dir, sizeof(dir), "/data/%s-%d", o->topic, partition);
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
            read_replica(o, id, partition);
        }
    }
}
