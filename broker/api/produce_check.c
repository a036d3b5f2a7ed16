/* How much a loop may inflate or encode for one batch is measured: 256 KiB are about 0.3 ms of gzip,
 * zstd or snappy and 0.1 of lz4, and a worker costs 20 µs, and a copy of what has come unless it fills
 * its buffer. The small batches of most producers stay below. */
#include "broker/api/produce_check.h"

#include "broker/broker.h"

enum {
    LOOP_BYTES_MAX = 256 << 10,
    INFLATED_FLOOR_BYTES = 16 << 20,
    INFLATED_FACTOR = 8,
    FIRST_RECORD_BATCH_VERSION = 3,
    FIRST_ZSTD_VERSION = 7,
};

static err look(struct produce_check *check, size_t hurried_bytes_max)
{
    check->rules.hurried_bytes_max = hurried_bytes_max;
    writer_deinit(&check->found.rewritten);
    return validate_batches(&check->rules, (uint8_t *)(uintptr_t)check->records.data,
                            check->records.len, &check->req->arena, &check->found);
}

err produce_check_begin(struct produce_check *check, struct req *r, struct bytes records)
{
    bool old = r->version < FIRST_RECORD_BATCH_VERSION;
    *check = (struct produce_check){.req = r, .records = records, .log_start_offset = -1};
    check->rules = (struct validate_rules){
        .config = &check->config,
        .now_ms = r->wall_ms,
        .old_formats = old,
        .zstd_allowed = old || r->version >= FIRST_ZSTD_VERSION,
        .inflaters = &r->home->inflaters,
        .compressed_unchecked = !r->broker->config->produce_validate_compressed,
    };
    return validate_request(&check->rules, records, &check->found);
}

err produce_check_records(struct produce_check *check, struct plog *log)
{
    check->config = plog_config(log);
    check->log_start_offset = plog_start_offset(log);
    size_t inflated = (size_t)check->config.max_message_bytes * INFLATED_FACTOR;
    check->rules.inflated_limit_bytes =
        inflated < INFLATED_FLOOR_BYTES ? INFLATED_FLOOR_BYTES : inflated;
    return look(check, LOOP_BYTES_MAX);
}

err produce_check_here(struct produce_check *check)
{
    return look(check, 0);
}

static void run(struct work *work)
{
    struct produce_check *check = container_of(work, struct produce_check, work);
    check->rules.inflaters = NULL; /* the loop's, which is not this thread's */
    check->result = look(check, 0);
}

bool produce_check_by_worker(struct produce_check *check, struct bytes records)
{
    check->records = records;
    check->result = E_CLOSED;
    check->work = (struct work){.run = run, .done = &check->req->waiter, .bytes = records.len};
    return workers_submit(check->req->broker->workers, &check->work);
}

bool produce_check_tells_log_start(const struct produce_check *check, err e)
{
    return check->found.log_start_known || e == ERR_OUT_OF_ORDER_SEQUENCE_NUMBER ||
           e == ERR_INVALID_PRODUCER_EPOCH || e == ERR_INVALID_TXN_STATE;
}
