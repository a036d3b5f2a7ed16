/* DescribeLogDirs: which log directory has which partitions, or copies of what is moving there, and how large they are. Partitions that are
 * not here are left out; a directory that is offline, or cannot be read, has none. (reference: requests §8) */
#include "broker/broker.h"

#include <stdlib.h>

struct described {
    struct str topic; /* in the request's arena */
    int32_t partition;
    int64_t size_bytes;
    int64_t
        lag; /* in offsets: of a copy, how far it is behind its log; of a log, how far behind what is committed */
    bool is_future;
};

struct collection {
    struct req *req;
    struct map *wanted; /* topic → a set of partitions; NULL: all */
    struct described *found;
    int32_t found_n;
    size_t room;
    bool full; /* logs were created meanwhile, or there is no memory */
};

/* ---- what is asked for ---- */

/* topic → struct map of partitions. */
static void wanted_init(struct map *wanted, const struct describe_log_dirs_request *in)
{
    map_init(wanted);
    for (int32_t t = 0; t < in->topics_n; t++) {
        struct map *partitions = map_get_str(wanted, in->topics[t].topic);
        if (partitions == NULL) {
            partitions = xcalloc(1, sizeof(*partitions));
            map_init(partitions);
            (void)map_set_str(wanted, in->topics[t].topic, partitions);
        }
        for (int32_t i = 0; i < in->topics[t].partitions_n; i++) {
            (void)map_set_i64(partitions, in->topics[t].partitions[i], wanted);
        }
    }
}

static void wanted_deinit(struct map *wanted)
{
    map_each (entry, wanted) {
        map_deinit(entry->value);
        free(entry->value);
    }
    map_deinit(wanted);
}

static bool is_wanted(const struct collection *c, struct topic_partition name)
{
    if (c->wanted == NULL) {
        return true;
    }
    const struct map *partitions = map_get_str(c->wanted, name.topic);
    return partitions != NULL && map_get_i64(partitions, name.partition) != NULL;
}

/* ---- what there is ---- */

static void add(struct collection *c, const struct plog *log, struct described described)
{
    struct topic_partition name = plog_name(log);
    if (!is_wanted(c, name)) {
        return;
    }
    described.topic = arena_str(&c->req->arena, name.topic);
    described.partition = name.partition;
    described.size_bytes = plog_size_bytes(log);
    c->full |= (size_t)c->found_n == c->room || described.topic.data == NULL;
    if (!c->full) {
        c->found[c->found_n++] = described;
    }
}

/* The high watermark is never above the end. */
static void collect(void *context, struct plog *log)
{
    add(context, log, (struct described){.is_future = false});
}

static void collect_future(void *context, struct plog *log, struct plog *future)
{
    int64_t lag = plog_end_offset(log) - plog_end_offset(future);
    add(context, future, (struct described){.is_future = true, .lag = lag > 0 ? lag : 0});
}

static int by_name(const void *left, const void *right)
{
    const struct described *a = left;
    const struct described *b = right;
    int order = str_compare(a->topic, b->topic);
    return order != 0 ? order : (a->partition > b->partition) - (a->partition < b->partition);
}

static bool fill_topics(struct req *r, const struct collection *c,
                        struct describe_log_dirs_response_result *out)
{
    struct describe_log_dirs_response_partition *partitions =
        req_array(r, c->found_n, sizeof(*partitions));
    out->topics = req_array(r, c->found_n, sizeof(*out->topics));
    if (partitions == NULL || out->topics == NULL) {
        return false;
    }
    qsort(c->found, (size_t)c->found_n, sizeof(*c->found), by_name);
    struct describe_log_dirs_response_topic *topic = NULL;
    for (int32_t i = 0; i < c->found_n; i++) {
        const struct described *one = &c->found[i];
        if (topic == NULL || !str_equal(topic->name, one->topic)) {
            topic = &out->topics[out->topics_n++];
            topic->name = one->topic;
            topic->partitions = &partitions[i];
        }
        topic->partitions_n++;
        partitions[i] =
            (struct describe_log_dirs_response_partition){.partition_index = one->partition,
                                                          .partition_size = one->size_bytes,
                                                          .offset_lag = one->lag,
                                                          .is_future_key = one->is_future};
    }
    return true;
}

static bool describe_dir(struct req *r, size_t dir, struct map *wanted,
                         struct describe_log_dirs_response_result *out)
{
    struct logs *logs = r->broker->logs;
    struct collection c = {.req = r, .wanted = wanted, .room = logs_count(logs)};
    struct fs_space space = {0};
    char *path = logs_dir_path(logs, dir);
    describe_log_dirs_response_result_init(out);
    out->log_dir = arena_str(&r->arena, str_of(path));
    free(path);
    err e =
        logs_dir_is_online(logs, dir) ? logs_dir_space(logs, dir, &space) : ERR_KAFKA_STORAGE_ERROR;
    if (e != OK) {
        out->error_code = kafka_error_of_log(e);
        return true;
    }
    out->total_bytes = space.total_bytes;
    out->usable_bytes = space.usable_bytes;
    c.found = req_array(r, (int32_t)c.room, sizeof(*c.found));
    if (c.found == NULL) {
        return false;
    }
    logs_each_in(logs, dir, collect, &c);
    logs_each_future_in(logs, dir, collect_future, &c);
    return fill_topics(r, &c, out);
}

enum req_status handle_describe_log_dirs(struct req *r)
{
    const struct describe_log_dirs_request *in = r->in;
    struct describe_log_dirs_response *out = r->out;
    size_t dirs_n = logs_dirs(r->broker->logs);
    struct map wanted;
    wanted_init(&wanted, in);
    out->results = req_array(r, (int32_t)dirs_n, sizeof(*out->results));
    bool room = out->results != NULL;
    for (size_t dir = 0; room && dir < dirs_n; dir++) {
        room = describe_dir(r, dir, in->topics_n < 0 ? NULL : &wanted,
                            &out->results[out->results_n++]);
    }
    wanted_deinit(&wanted);
    return room ? REQ_DONE : REQ_CLOSE;
}
