/* AlterReplicaLogDirs: which log directory partitions are to be in (KIP-113); on the state thread, which makes and deletes
 * logs. A partition that is named twice is answered once, by what the last one says, as Kafka does.
 * (reference: storage format §16) */
#include "broker/broker.h"

#include "base/seen.h"
#include "broker/replica/dir_mover.h"

struct turn {
    struct loop_task task;
    struct req *r;
};

static void alter_topic(struct req *r, struct seen *seen, struct str dir,
                        const struct alter_replica_log_dirs_request_topic *in)
{
    struct alter_replica_log_dirs_response *out = r->out;
    struct alter_replica_log_dirs_response_result *result = &out->results[out->results_n];
    result->topic_name = in->name;
    result->partitions = req_array(r, in->partitions_n, sizeof(*result->partitions));
    for (int32_t i = in->partitions_n - 1; result->partitions != NULL && i >= 0; i--) {
        struct topic_partition name = {.topic = in->name, .partition = in->partitions[i]};
        if (seen_add(seen, &(struct seen_key){.name = in->name, .number = name.partition}) == 0) {
            result->partitions[result->partitions_n++] =
                (struct alter_replica_log_dirs_response_partition){
                    .partition_index = name.partition,
                    .error_code = kafka_error_of_log(dir_mover_alter(r->broker->mover, name, dir))};
        }
    }
    out->results_n += result->partitions_n > 0 ? 1 : 0;
}

/* From the last to the first: what was seen already has had its last word. */
static void on_turn(struct loop_task *task)
{
    struct req *r = container_of(task, struct turn, task)->r;
    const struct alter_replica_log_dirs_request *in = r->in;
    struct seen seen;
    seen_init(&seen);
    for (int32_t d = in->dirs_n - 1; d >= 0; d--) {
        for (int32_t t = in->dirs[d].topics_n - 1; t >= 0; t--) {
            alter_topic(r, &seen, in->dirs[d].path, &in->dirs[d].topics[t]);
        }
    }
    seen_deinit(&seen);
    req_wake(r);
}

enum req_status handle_alter_replica_log_dirs(struct req *r)
{
    const struct alter_replica_log_dirs_request *in = r->in;
    struct alter_replica_log_dirs_response *out = r->out;
    int32_t topics_n = 0;
    for (int32_t d = 0; d < in->dirs_n; d++) {
        topics_n += in->dirs[d].topics_n;
    }
    struct turn *turn = req_alloc(r, sizeof(*turn));
    out->results = req_array(r, topics_n, sizeof(*out->results));
    if (turn == NULL || out->results == NULL) {
        return REQ_CLOSE;
    }
    *turn = (struct turn){.r = r, .task.run = on_turn};
    req_park(r, -1, NULL);
    loop_post(r->broker->state, &turn->task);
    return REQ_PARKED;
}
