/* OffsetFetch: the committed offsets of groups. Version 0 reads what version 0 committed, from the
 * coordination store. (reference: coordinators §1.9) */
#include "broker/api/authorize.h"
#include "broker/api/merged.h"
#include "broker/broker.h"
#include "broker/coordinator/group.h"
#include "broker/coordinator/group_shard.h"
#include "zk/znodes.h"

enum { FIRST_FETCH_ERROR_VERSION = 2, FIRST_FETCH_GROUPS_VERSION = 8 };

typedef struct offset_fetch_response_partition fetch_out;

/* One group that is asked for, while its shard is locked. */
struct fetch_group {
    struct str group_id;
    const struct offset_fetch_request_topic *topics; /* NULL: all */
    int32_t topics_n;
    struct group_shard *shard; /* NULL: refused at the gate */
    const struct group *group; /* NULL: there is none */
    struct offset_fetch_response_topic *out;
    int32_t out_n;
    err error;
};

static void refuse_partition(err e, int32_t number, fetch_out *out)
{
    offset_fetch_response_partition_init(out);
    out->partition_index = number;
    out->committed_offset = -1;
    out->metadata = STR("");
    out->error_code = kafka_error_wire(e);
}

static void fetch_partition(struct req *r, const struct fetch_group *f, struct str topic,
                            int32_t number, fetch_out *out)
{
    const struct offset_fetch_request *in = r->in;
    const struct committed *value = f->group == NULL ? NULL : offsets_get(f->group, topic, number);
    bool unstable =
        in->require_stable && pending_offsets_hold(&f->shard->pending, f->group_id, topic, number);
    refuse_partition(unstable ? ERR_UNSTABLE_OFFSET_COMMIT : OK, number, out);
    out->committed_leader_epoch = -1;
    if (value != NULL && !unstable) {
        out->committed_offset = value->offset;
        out->committed_leader_epoch = value->leader_epoch;
        out->metadata = arena_str(&r->arena, value->metadata);
    }
}

/* The topics of all offsets that may be seen, each with room for its partitions. */
static void list_topics(struct req *r, struct fetch_group *f, struct map *by_name)
{
    map_each (entry, &f->group->offsets) {
        const struct committed *value = entry->value;
        struct offset_fetch_response_topic *topic = map_get_str(by_name, value->topic);
        if (topic == NULL && !req_sees(r, ACL_DESCRIBE, ACL_TOPIC, value->topic)) {
            continue;
        }
        if (topic == NULL) {
            topic = &f->out[f->out_n++];
            offset_fetch_response_topic_init(topic);
            topic->name = arena_str(&r->arena, value->topic);
            (void)map_set_str(by_name, value->topic, topic);
        }
        topic->partitions_n++;
    }
    for (int32_t t = 0; t < f->out_n; t++) {
        f->out[t].partitions = req_array(r, f->out[t].partitions_n, sizeof(fetch_out));
        f->out[t].partitions_n = 0;
    }
}

static void fetch_all(struct req *r, struct fetch_group *f)
{
    int32_t count = f->group == NULL ? 0 : (int32_t)f->group->offsets.count;
    f->out = req_array(r, count, sizeof(*f->out));
    if (f->out == NULL || count == 0) {
        return;
    }
    struct map by_name;
    map_init(&by_name);
    list_topics(r, f, &by_name);
    map_each (entry, &f->group->offsets) {
        const struct committed *value = entry->value;
        struct offset_fetch_response_topic *topic = map_get_str(&by_name, value->topic);
        if (topic != NULL && topic->partitions != NULL) {
            fetch_partition(r, f, topic->name, value->partition,
                            &topic->partitions[topic->partitions_n++]);
        }
    }
    map_deinit(&by_name);
}

static struct str name_of(const void *topics, int32_t topic)
{
    return ((const struct offset_fetch_request_topic *)topics)[topic].name;
}

static int32_t partitions_of(const void *topics, int32_t topic)
{
    return ((const struct offset_fetch_request_topic *)topics)[topic].partition_indexes_n;
}

static int32_t number_of(const void *topics, int32_t topic, int32_t place)
{
    return ((const struct offset_fetch_request_topic *)topics)[topic].partition_indexes[place];
}

static void fetch_topic(struct req *r, const struct fetch_group *f, const struct merged_topic *in,
                        struct offset_fetch_response_topic *out)
{
    bool may = f->error != OK || req_may(r, ACL_DESCRIBE, ACL_TOPIC, in->name);
    err e = may ? f->error : ERR_TOPIC_AUTHORIZATION_FAILED;
    offset_fetch_response_topic_init(out);
    out->name = in->name;
    out->partitions = req_array(r, in->partitions_n, sizeof(fetch_out));
    for (int32_t i = 0; out->partitions != NULL && i < in->partitions_n; i++) {
        fetch_out *partition = &out->partitions[out->partitions_n++];
        if (e == OK) {
            fetch_partition(r, f, in->name, in->partitions[i].number, partition);
        } else {
            refuse_partition(e, in->partitions[i].number, partition);
        }
    }
}

static bool fetch_merge(struct req *r, const struct fetch_group *f, struct merged *merged)
{
    struct merge_source source = {.topics = f->topics,
                                  .topics_n = f->topics_n,
                                  .name = name_of,
                                  .partitions_n = partitions_of,
                                  .partition = number_of};
    return merge_partitions(r, &source, merged);
}

static void fetch_named(struct req *r, const struct merged *merged, struct fetch_group *f)
{
    f->out = req_array(r, merged->topics_n, sizeof(*f->out));
    for (int32_t t = 0; f->out != NULL && t < merged->topics_n; t++) {
        fetch_topic(r, f, &merged->topics[t], &f->out[f->out_n++]);
    }
}

/* With an error of the whole group, the version that has no place for it tells each partition. */
static void fetch_one_group(struct req *r, struct fetch_group *f)
{
    struct merged merged;
    if (f->topics_n >= 0 && !fetch_merge(r, f, &merged)) { /* before the lock: it may be long */
        f->error = ERR_UNKNOWN_SERVER_ERROR;
        return;
    }
    f->error = group_shard_lock(r->broker->groups, f->group_id, true, &f->shard);
    f->group = f->shard == NULL ? NULL : group_shard_find(f->shard, f->group_id);
    if (f->topics_n >= 0 && (f->error == OK || r->version < FIRST_FETCH_ERROR_VERSION)) {
        fetch_named(r, &merged, f);
    } else if (f->error == OK) {
        fetch_all(r, f);
    }
    if (f->shard != NULL) {
        group_shard_unlock(f->shard);
    }
}

static void fetch(struct req *r)
{
    const struct offset_fetch_request *in = r->in;
    struct offset_fetch_response *out = r->out;
    if (r->version < FIRST_FETCH_GROUPS_VERSION) {
        struct fetch_group f = {
            .group_id = in->group_id, .topics = in->topics, .topics_n = in->topics_n};
        fetch_one_group(r, &f);
        out->topics = f.out;
        out->topics_n = f.out_n;
        out->error_code = kafka_error_wire(f.error);
        return;
    }
    out->groups = req_array(r, in->groups_n, sizeof(*out->groups));
    for (int32_t i = 0; out->groups != NULL && i < in->groups_n; i++) {
        struct fetch_group f = {.group_id = in->groups[i].group_id,
                                .topics = in->groups[i].topics,
                                .topics_n = in->groups[i].topics_n};
        fetch_one_group(r, &f);
        struct offset_fetch_response_group *group = &out->groups[out->groups_n++];
        offset_fetch_response_group_init(group);
        group->group_id = in->groups[i].group_id;
        group->error_code = kafka_error_wire(f.error);
        group->topics = f.out;
        group->topics_n = f.out_n;
    }
}

/* ---- version 0 ---- */

static err read_offset(struct req *r, const struct metadata *metadata, struct str topic,
                       int32_t partition, int64_t *offset)
{
    const struct offset_fetch_request *in = r->in;
    if (!metadata_has_partition(metadata, topic, partition)) {
        return ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    struct str path =
        arena_format(&r->arena, "/consumers/%.*s/offsets/%.*s/%d", (int)in->group_id.len,
                     in->group_id.data, (int)topic.len, topic.data, partition);
    struct coord_op get = {.type = COORD_GET, .path = path.data};
    if (path.data == NULL || !coord_path_valid(path.data, false)) {
        return ERR_UNKNOWN_SERVER_ERROR;
    }
    TRY(coord_run(r->broker->coord, &get, 1, &r->arena));
    if (get.error != OK || znode_number_decode(get.value, offset) != OK) {
        return ERR_UNKNOWN_TOPIC_OR_PARTITION;
    }
    return OK;
}

static void fetch_old_topic(struct req *r, const struct metadata *metadata,
                            const struct merged_topic *in, struct offset_fetch_response_topic *out)
{
    bool may = req_may(r, ACL_DESCRIBE, ACL_TOPIC, in->name);
    offset_fetch_response_topic_init(out);
    out->name = in->name;
    out->partitions = req_array(r, in->partitions_n, sizeof(fetch_out));
    for (int32_t i = 0; out->partitions != NULL && i < in->partitions_n; i++) {
        fetch_out *partition = &out->partitions[out->partitions_n++];
        int64_t offset = -1;
        err e = may ? read_offset(r, metadata, in->name, in->partitions[i].number, &offset)
                    : ERR_TOPIC_AUTHORIZATION_FAILED;
        refuse_partition(e, in->partitions[i].number, partition);
        partition->committed_offset = offset;
    }
}

/* On the control thread. */
static void fetch_old_style(struct req *r)
{
    const struct offset_fetch_request *in = r->in;
    struct offset_fetch_response *out = r->out;
    struct fetch_group f = {.topics = in->topics, .topics_n = in->topics_n};
    struct merged merged;
    if (!fetch_merge(r, &f, &merged)) {
        return;
    }
    out->topics = req_array(r, merged.topics_n, sizeof(*out->topics));
    struct metadata *metadata = metadata_acquire(r->broker->metadata);
    for (int32_t t = 0; out->topics != NULL && t < merged.topics_n; t++) {
        fetch_old_topic(r, metadata, &merged.topics[t], &out->topics[out->topics_n++]);
    }
    metadata_release(metadata);
}

enum req_status handle_offset_fetch(struct req *r)
{
    if (r->version == 0) {
        return req_on_control(r, fetch_old_style, NULL);
    }
    fetch(r);
    return REQ_DONE;
}
