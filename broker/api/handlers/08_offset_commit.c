/* OffsetCommit: stores offsets of a group, first as one batch; they are visible when that is safe. A
 * partition that is refused does not keep the others from being stored; one that is named twice has
 * what the last one says. Version 0 keeps them in the coordination store, under /consumers, where
 * only version 0 looks. (reference: coordinators §1.9) */
#include "broker/api/merged.h"
#include "broker/api/offset_metadata.h"
#include "broker/broker.h"
#include "broker/coordinator/group.h"
#include "broker/coordinator/group_shard.h"
#include "zk/znodes.h"

enum { COMMIT_TIMESTAMP_VERSION = 1, OPS_PER_OFFSET = 3, OFFSETS_PER_WRITE = 100 };

struct commit {
    struct merged merged;
    int64_t log_offset; /* of the batch, when it is stored */
};

static struct str name_of(const void *topics, int32_t topic)
{
    return ((const struct offset_commit_request_topic *)topics)[topic].name;
}

static int32_t partitions_of(const void *topics, int32_t topic)
{
    return ((const struct offset_commit_request_topic *)topics)[topic].partitions_n;
}

static int32_t number_of(const void *topics, int32_t topic, int32_t place)
{
    const struct offset_commit_request_topic *in = topics;
    return in[topic].partitions[place].partition_index;
}

/* What the request says of a partition. */
static const struct offset_commit_request_partition *
said_of(const struct req *r, const struct merged_partition *partition)
{
    const struct offset_commit_request *in = r->in;
    return &in->topics[partition->topic].partitions[partition->place];
}

static err check_partition(const struct req *r, const struct metadata *metadata, struct str topic,
                           const struct offset_commit_request_partition *p, err common)
{
    if (!metadata_has_partition(metadata, topic, p->partition_index)) {
        return ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    if (common != OK) {
        return common;
    }
    return offset_metadata_fits(r->broker->config, p->committed_metadata)
               ? OK
               : ERR_OFFSET_METADATA_TOO_LARGE;
}

/* Those without an error of their own get `common`. */
static void answer_topic(struct req *r, const struct metadata *metadata,
                         const struct merged_topic *in, err common,
                         struct offset_commit_response_topic *out)
{
    out->name = in->name;
    out->partitions = req_array(r, in->partitions_n, sizeof(*out->partitions));
    for (int32_t i = 0; out->partitions != NULL && i < in->partitions_n; i++) {
        const struct offset_commit_request_partition *p = said_of(r, &in->partitions[i]);
        err e = check_partition(r, metadata, in->name, p, common);
        out->partitions[out->partitions_n++] = (struct offset_commit_response_partition){
            .partition_index = p->partition_index, .error_code = kafka_error_wire(e)};
    }
}

/* Every partition that is there once, with what is said of it last. False: no memory. */
static bool commit_merge(struct req *r)
{
    const struct offset_commit_request *in = r->in;
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    struct merge_source source = {.topics = in->topics,
                                  .topics_n = in->topics_n,
                                  .there = metadata,
                                  .name = name_of,
                                  .partitions_n = partitions_of,
                                  .partition = number_of};
    struct commit *commit = req_alloc(r, sizeof(*commit));
    r->state = commit;
    bool done = commit != NULL && merge_partitions(r, &source, &commit->merged);
    metadata_release(metadata);
    return done;
}

/* Does it name a partition that is there? */
static bool names_any(const struct merged *merged, const struct metadata *metadata)
{
    for (int32_t t = 0; t < merged->topics_n; t++) {
        const struct merged_topic *topic = &merged->topics[t];
        for (int32_t i = 0; i < topic->partitions_n; i++) {
            if (metadata_has_partition(metadata, topic->name, topic->partitions[i].number)) {
                return true;
            }
        }
    }
    return false;
}

/* Answers every partition. False: no memory. */
static bool commit_prepare(struct req *r, const struct metadata *metadata, err common)
{
    struct offset_commit_response *out = r->out;
    const struct merged *merged = &((const struct commit *)r->state)->merged;
    out->topics = req_array(r, merged->topics_n, sizeof(*out->topics));
    for (int32_t t = 0; out->topics != NULL && t < merged->topics_n; t++) {
        answer_topic(r, metadata, &merged->topics[t], common, &out->topics[out->topics_n++]);
    }
    return out->topics != NULL;
}

static struct committed commit_value(const struct req *r, struct str topic,
                                     const struct offset_commit_request_partition *p)
{
    const struct offset_commit_request *in = r->in;
    int64_t commit_ms = r->version == COMMIT_TIMESTAMP_VERSION && p->commit_timestamp != -1
                            ? p->commit_timestamp
                            : r->wall_ms;
    int64_t retention_ms = in->retention_time_ms;
    int64_t kept_ms = retention_ms > INT64_MAX - r->wall_ms ? INT64_MAX : r->wall_ms + retention_ms;
    return (struct committed){
        .offset = p->committed_offset,
        .leader_epoch = p->committed_leader_epoch,
        .metadata = text_or_empty(p->committed_metadata),
        .commit_ms = commit_ms,
        .expire_ms = retention_ms >= 0 ? kept_ms : -1,
        .topic = topic,
        .partition = p->partition_index,
    };
}

/* Calls `each` for every offset that is to be stored. */
static err each_commit(const struct req *r, err (*each)(void *context, const struct committed *v),
                       void *context)
{
    const struct commit *commit = r->state;
    const struct merged *merged = &commit->merged;
    const struct offset_commit_response *out = r->out;
    for (int32_t t = 0; t < out->topics_n; t++) {
        for (int32_t i = 0; i < out->topics[t].partitions_n; i++) {
            if (out->topics[t].partitions[i].error_code == OK) {
                const struct merged_topic *topic = &merged->topics[t];
                struct committed value =
                    commit_value(r, topic->name, said_of(r, &topic->partitions[i]));
                value.log_offset = commit->log_offset;
                TRY(each(context, &value));
            }
        }
    }
    return OK;
}

struct commit_batch {
    struct batch_builder builder;
    struct str group_id;
    int64_t now_ms;
};

static err add_to_batch(void *context, const struct committed *value)
{
    struct commit_batch *batch = context;
    return record_add_offset(&batch->builder, batch->now_ms, batch->group_id, value);
}

static err set_offset(void *context, const struct committed *value)
{
    offsets_set(context, value);
    return OK;
}

static void set_offsets(void *context, struct group *group)
{
    err_ignore(each_commit(context, set_offset, group)); /* set_offset() cannot fail */
}

/* What was to be stored is not. */
static void refuse_rest(struct req *r, err e)
{
    struct offset_commit_response *out = r->out;
    for (int32_t t = 0; t < out->topics_n; t++) {
        for (int32_t i = 0; i < out->topics[t].partitions_n; i++) {
            struct offset_commit_response_partition *p = &out->topics[t].partitions[i];
            p->error_code = p->error_code == OK ? kafka_error_wire(e) : p->error_code;
        }
    }
}

static void commit_stored(struct group_shard *shard, void *context, err outcome, int64_t at)
{
    struct req *r = context;
    struct commit *commit = r->state;
    const struct offset_commit_request *in = r->in;
    struct group *group = group_shard_find(shard, in->group_id);
    if (outcome == OK) {
        commit->log_offset = at;
        if (group == NULL) { /* it was deleted, before this was stored */
            group = group_shard_add(shard, in->group_id);
        }
        set_offsets(r, group);
    } else {
        refuse_rest(
            r, shard_store_err(outcome, ERR_REQUEST_TIMED_OUT, ERR_INVALID_COMMIT_OFFSET_SIZE));
    }
    req_wake(r);
}

static err check_commit(struct group_coordinator *c, struct group_shard *shard,
                        const struct offset_commit_request *in)
{
    struct group *group = group_shard_find(shard, in->group_id);
    if (group == NULL) {
        if (in->generation_id_or_member_epoch >= 0) {
            return ERR_ILLEGAL_GENERATION;
        }
        (void)group_shard_add(shard, in->group_id);
        return OK;
    }
    return group_check_commit(group, in->member_id, in->group_instance_id,
                              in->generation_id_or_member_epoch, group_coordinator_now_ms(c));
}

static enum req_status commit(struct req *r)
{
    struct group_coordinator *c = r->broker->groups;
    const struct offset_commit_request *in = r->in;
    struct group_shard *shard = NULL;
    if (!commit_merge(r)) { /* before the lock: it may be long */
        return REQ_CLOSE;
    }
    err e = group_shard_lock(c, in->group_id, true, &shard);
    /* Under the lock: the removal of a topic that is still there takes along what is stored here. */
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    if (e == OK && names_any(&((const struct commit *)r->state)->merged,
                             metadata)) { /* otherwise no group comes of it */
        e = check_commit(c, shard, in);
    }
    if (!commit_prepare(r, metadata, e)) {
        e = ERR_UNKNOWN_SERVER_ERROR;
    }
    metadata_release(metadata);
    if (e != OK) {
        if (shard != NULL) {
            group_shard_unlock(shard);
        }
        return REQ_DONE;
    }
    struct writer writer;
    struct commit_batch batch = {.group_id = in->group_id, .now_ms = r->wall_ms};
    group_batch_begin(shard, &writer, &batch.builder, true);
    e = each_commit(r, add_to_batch, &batch);
    bool nothing = e == OK && batch.builder.count == 0;
    e = e == OK && !nothing ? batch_end(&batch.builder) : e;
    if (e != OK || nothing) {
        writer_deinit(&writer);
        group_shard_unlock(shard);
        refuse_rest(r, e == OK ? OK : ERR_INVALID_COMMIT_OFFSET_SIZE);
        return REQ_DONE;
    }
    req_park(r, -1, NULL);
    group_shard_store(shard, &writer, commit_stored, r,
                      &(struct store_commits){.group_id = in->group_id, .set = set_offsets});
    group_shard_unlock(shard);
    return REQ_PARKED;
}

/* ---- version 0 ---- */

/* Offsets that are written together: a transaction of the store costs a flush of the disk. */
struct old_offsets {
    struct str parent; /* "/consumers/<group>/offsets"; null until it is there */
    struct coord_op ops[OPS_PER_OFFSET * OFFSETS_PER_WRITE];
    struct offset_commit_response_partition *out[OFFSETS_PER_WRITE];
    size_t count;
};

/* The nodes above all offsets of the group. Its id may hold slashes: they make more of them. */
static err make_parent(struct req *r, struct old_offsets *old)
{
    const struct offset_commit_request *in = r->in;
    struct str root = STR("/consumers/");
    struct str path = arena_format(&r->arena, "%s%.*s/offsets", root.data, (int)in->group_id.len,
                                   in->group_id.data);
    if (path.data == NULL || !coord_path_valid(path.data, false)) {
        return ERR_UNKNOWN_SERVER_ERROR;
    }
    size_t count = 0;
    for (size_t end = root.len; end < path.len; end++) {
        count += path.data[end] == '/' ? 1 : 0;
    }
    struct coord_op *ops = arena_array(&r->arena, count + 1, sizeof(*ops));
    size_t end = root.len;
    for (size_t i = 0; ops != NULL && i <= count; i++, end++) {
        end += strcspn(path.data + end, "/");
        struct str above = arena_str(&r->arena, (struct str){.data = path.data, .len = end});
        if (above.data == NULL) {
            return E_LIMIT;
        }
        ops[i] = (struct coord_op){.type = COORD_CREATE, .path = above.data};
    }
    TRY(ops == NULL ? E_LIMIT : coord_run(r->broker->coord, ops, count + 1, &r->arena));
    old->parent = path;
    return OK;
}

static void write_offsets(struct req *r, struct old_offsets *old)
{
    err e = coord_run(r->broker->coord, old->ops, old->count * OPS_PER_OFFSET, &r->arena);
    for (size_t i = 0; i < old->count; i++) {
        const struct coord_op *set = &old->ops[(i + 1) * OPS_PER_OFFSET - 1];
        old->out[i]->error_code = kafka_error_wire(e != OK ? e : set->error);
    }
    old->count = 0;
}

/* Creates the nodes of topic and partition, where they are not there, then sets the offset. */
static err add_offset(struct req *r, struct old_offsets *old, struct str topic,
                      const struct offset_commit_request_partition *p,
                      struct offset_commit_response_partition *out)
{
    struct arena *arena = &r->arena;
    if (old->parent.data == NULL) {
        TRY(make_parent(r, old));
    }
    struct str above = arena_format(arena, "%s/%.*s", old->parent.data, (int)topic.len, topic.data);
    struct str path = arena_format(arena, "%s/%.*s/%d", old->parent.data, (int)topic.len,
                                   topic.data, p->partition_index);
    struct bytes number = znode_number_encode(arena, p->committed_offset);
    if (above.data == NULL || path.data == NULL || number.data == NULL) {
        return E_LIMIT;
    }
    struct coord_op *ops = &old->ops[old->count * OPS_PER_OFFSET];
    ops[0] = (struct coord_op){.type = COORD_CREATE, .path = above.data};
    ops[1] = (struct coord_op){.type = COORD_CREATE, .path = path.data};
    ops[2] = (struct coord_op){
        .type = COORD_SET, .path = path.data, .data = number, .version = COORD_ANY_VERSION};
    old->out[old->count++] = out;
    if (old->count == OFFSETS_PER_WRITE) {
        write_offsets(r, old);
    }
    return OK;
}

static void commit_topic(struct req *r, const struct metadata *metadata, struct old_offsets *old,
                         const struct offset_commit_request_topic *in,
                         struct offset_commit_response_topic *out)
{
    out->name = in->name;
    out->partitions = req_array(r, in->partitions_n, sizeof(*out->partitions));
    for (int32_t i = 0; out->partitions != NULL && i < in->partitions_n; i++) {
        const struct offset_commit_request_partition *p = &in->partitions[i];
        struct offset_commit_response_partition *answer = &out->partitions[out->partitions_n++];
        answer->partition_index = p->partition_index;
        err e = check_partition(r, metadata, in->name, p, OK);
        e = e != OK ? e : add_offset(r, old, in->name, p, answer);
        if (e != OK) {
            answer->error_code = kafka_error_wire(e);
        }
    }
}

/* On the control thread. As in Kafka what is named twice is stored and answered twice, and a topic without
 * partitions is left out where there is such a topic. */
static void commit_old_style(struct req *r)
{
    const struct offset_commit_request *in = r->in;
    struct offset_commit_response *out = r->out;
    struct old_offsets *old = req_alloc(r, sizeof(*old));
    out->topics = req_array(r, in->topics_n, sizeof(*out->topics));
    if (old == NULL || out->topics == NULL) {
        return;
    }
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    for (int32_t t = 0; t < in->topics_n; t++) {
        bool known = metadata_topic(metadata, in->topics[t].name) != NULL;
        if (in->topics[t].partitions_n > 0 || !known) {
            commit_topic(r, metadata, old, &in->topics[t], &out->topics[out->topics_n++]);
        }
    }
    metadata_release(metadata);
    write_offsets(r, old);
}

enum req_status handle_offset_commit(struct req *r)
{
    return r->version == 0 ? req_on_control(r, commit_old_style, NULL) : commit(r);
}
