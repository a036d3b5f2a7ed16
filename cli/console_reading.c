/* The loop of the console consumer.
 *
 * Each answer is walked batch by batch. A broker sends whole batches, so the first may begin before what was asked for;
 * the last may be cut. Of an aborted transaction's batches the answer tells the producer and the first offset: they count
 * until that producer's next abort marker. */
#define _GNU_SOURCE
#include "cli/console_reading.h"

#include "base/clock.h"
#include "base/refuse.h"
#include "protocol/error.h"

#include <stdlib.h>

enum {
    TIMEOUT_MS = 60000,
    WAIT_MS = 500, /* of a Fetch for which there is nothing */
    FETCH_BYTES = 50 << 20,
    PARTITION_BYTES = 1 << 20,
    ANSWER_LIMIT_BYTES = 256 << 20,
    BODY_LIMIT_BYTES = 256 << 20,
    COMMIT_EVERY_MS = 5000,
    AGAIN_US = 50000,
};

static int64_t now_ms(void)
{
    return clock_monotonic_ms(clock_system());
}

static bool is_read(const struct reading *r, int32_t partition)
{
    return r->only_partition < 0 || r->only_partition == partition;
}

static bool is_over(struct reading *r)
{
    r->timed_out = r->timeout_ms >= 0 && now_ms() - r->last_message_ms >= r->timeout_ms;
    return r->messages_left == 0 || r->timed_out || r->is_ended();
}

/* ---- where it begins ---- */

static err ask_offset(struct reading *r, int32_t partition, int64_t timestamp, int64_t *offset)
{
    struct list_offsets_request_partition asked;
    list_offsets_request_partition_init(&asked);
    asked.partition_index = partition;
    asked.timestamp = timestamp;
    struct list_offsets_request_topic topic = {
        .name = str_of(r->view.topic), .partitions = &asked, .partitions_n = 1};
    struct list_offsets_request request;
    list_offsets_request_init(&request);
    request.replica_id = -1;
    request.isolation_level = r->committed_only ? 1 : 0;
    request.topics = &topic;
    request.topics_n = 1;
    struct client *client;
    TRY(brokers_client(&r->brokers, r->view.leaders[partition], &client));
    struct list_offsets_response answer;
    TRY(brokers_ask(&r->brokers, client,
                    &(struct client_question){API_LIST_OFFSETS, 1, 0, &request, &answer}));
    if (answer.topics_n != 1 || answer.topics[0].partitions_n != 1) {
        return refuse_with(E_MALFORMED, r->brokers.reason, CLIENT_REASON_BYTES,
                           "an answer of something else");
    }
    *offset = answer.topics[0].partitions[0].offset;
    err e = answer.topics[0].partitions[0].error_code;
    return e == OK
               ? OK
               : refuse_with(e, r->brokers.reason, CLIENT_REASON_BYTES, "%s", kafka_error_name(e));
}

static err find_begin(struct reading *r, int32_t partition)
{
    struct reading_partition *p = &r->partitions[partition];
    if (p->offset >= 0) {
        return OK;
    }
    if (r->begin == READING_OFFSET) {
        p->offset = r->offset;
        return OK;
    }
    return ask_offset(r, partition, r->begin == READING_EARLIEST ? -2 : -1, &p->offset);
}

/* ---- records ---- */

static bool is_aborted(const struct fetch_response_partition *answer, const struct batch *batch,
                       int64_t aborted_until)
{
    for (int32_t i = 0; i < answer->aborted_transactions_n; i++) {
        const struct fetch_response_aborted_transaction *aborted = &answer->aborted_transactions[i];
        if (aborted->producer_id == batch->producer_id &&
            aborted->first_offset <= batch->base_offset && aborted->first_offset > aborted_until) {
            return true;
        }
    }
    return false;
}

/* The last abort marker of the batch's producer before it, in this answer; -1: none. */
static int64_t last_abort(struct bytes records, const struct batch *until)
{
    int64_t found = -1;
    for (size_t at = 0; at + BATCH_HEADER_BYTES <= records.len;) {
        struct batch batch;
        batch_parse(records.data + at, &batch);
        if (batch.size_bytes <= BATCH_HEADER_BYTES || at + (size_t)batch.size_bytes > records.len ||
            batch.base_offset >= until->base_offset) {
            break;
        }
        struct record_iter iter;
        struct record record;
        record_iter_init(&iter,
                         bytes_of(records.data + at + BATCH_HEADER_BYTES,
                                  (size_t)batch.size_bytes - BATCH_HEADER_BYTES),
                         batch.count);
        if (batch_is(&batch, BATCH_CONTROL) && batch.producer_id == until->producer_id &&
            record_iter_next(&iter, &record) && record.key.len >= 4 &&
            load_u16(record.key.data + 2) == CONTROL_ABORT) {
            found = batch.base_offset;
        }
        at += (size_t)batch.size_bytes;
    }
    return found;
}

static err show_batch(struct reading *r, int32_t partition, struct bytes whole,
                      const struct batch *batch)
{
    struct reading_partition *p = &r->partitions[partition];
    struct writer scratch;
    writer_init(&scratch, BODY_LIMIT_BYTES);
    struct bytes body;
    err e = batch_body(whole, &scratch, BODY_LIMIT_BYTES, &body);
    struct record_iter iter;
    struct record record;
    record_iter_init(&iter, e == OK ? body : (struct bytes){0}, e == OK ? batch->count : 0);
    while (e == OK && r->messages_left > 0 && record_iter_next(&iter, &record)) {
        struct shown_record shown = {.record = &record,
                                     .timestamp_ms = batch_timestamp(batch, record.timestamp_delta),
                                     .log_append_time = batch_is(batch, BATCH_LOG_APPEND_TIME),
                                     .partition = partition,
                                     .offset = batch_offset(batch, record.offset_delta)};
        if (shown.offset < p->offset) {
            continue; /* before what was asked for */
        }
        line_write(&r->lines, &shown, stdout);
        p->offset = shown.offset + 1;
        r->messages++;
        r->messages_left--;
        r->last_message_ms = now_ms();
    }
    e = e == OK ? iter.error : e;
    writer_deinit(&scratch);
    return e;
}

static err show(struct reading *r, const struct fetch_response_partition *answer)
{
    struct bytes records = answer->records.data;
    struct reading_partition *p = &r->partitions[answer->partition_index];
    for (size_t at = 0; at + BATCH_HEADER_BYTES <= records.len && r->messages_left > 0;) {
        struct batch batch;
        batch_parse(records.data + at, &batch);
        if (batch.magic != 2) {
            return refuse_with(
                E_UNSUPPORTED, r->brokers.reason, CLIENT_REASON_BYTES,
                "%s-%d has records of a format before 2 at offset %lld, which cannot be read here",
                r->view.topic, answer->partition_index, (long long)batch.base_offset);
        }
        if (batch.size_bytes < BATCH_HEADER_BYTES || at + (size_t)batch.size_bytes > records.len) {
            break; /* cut: the next answer begins with it */
        }
        struct bytes whole = bytes_of(records.data + at, (size_t)batch.size_bytes);
        bool hidden = batch_is(&batch, BATCH_CONTROL) ||
                      (r->committed_only && batch_is(&batch, BATCH_TRANSACTIONAL) &&
                       is_aborted(answer, &batch, last_abort(records, &batch)));
        err e = hidden ? OK : show_batch(r, answer->partition_index, whole, &batch);
        if (e != OK) {
            return refuse_with(e, r->brokers.reason, CLIENT_REASON_BYTES,
                               "%s-%d: the batch at offset %lld: %s", r->view.topic,
                               answer->partition_index, (long long)batch.base_offset, err_text(e));
        }
        if (r->messages_left > 0 && p->offset <= batch_last_offset(&batch)) {
            p->offset = batch_last_offset(&batch) + 1;
        }
        at += (size_t)batch.size_bytes;
    }
    return OK;
}

/* ---- fetching ---- */

static err take_partition(struct reading *r, const struct fetch_response_partition *answer,
                          bool *look_again)
{
    if (answer->partition_index < 0 || answer->partition_index >= r->partitions_n) {
        return refuse_with(E_MALFORMED, r->brokers.reason, CLIENT_REASON_BYTES,
                           "an answer of something else");
    }
    if (answer->error_code == ERR_OFFSET_OUT_OF_RANGE && r->begin != READING_OFFSET) {
        r->partitions[answer->partition_index].offset = -1;
        return OK;
    }
    if (error_is_passing(answer->error_code)) {
        *look_again = true;
        return OK;
    }
    if (answer->error_code != 0) {
        return refuse_with(answer->error_code, r->brokers.reason, CLIENT_REASON_BYTES, "%s-%d: %s",
                           r->view.topic, answer->partition_index,
                           kafka_error_name(answer->error_code));
    }
    return show(r, answer);
}

static err fetch(struct reading *r, struct client *client, struct fetch_request *request,
                 bool *look_again)
{
    struct arena arena;
    arena_init(&arena, ANSWER_LIMIT_BYTES);
    struct fetch_response answer;
    /* By name: up to version 12. */
    err e =
        client_ask(client, &(struct client_question){API_FETCH, 4, 12, request, &answer}, &arena);
    if (e != OK) {
        snprintf(r->brokers.reason, CLIENT_REASON_BYTES, "%s", client_reason(client));
    }
    for (int32_t i = 0; e == OK && i < answer.topics_n; i++) {
        for (int32_t j = 0; e == OK && j < answer.topics[i].partitions_n; j++) {
            e = take_partition(r, &answer.topics[i].partitions[j], look_again);
        }
    }
    arena_deinit(&arena);
    return e;
}

/* What one broker leads. */
static err read_from(struct reading *r, int32_t leader, int wait_ms, bool *look_again)
{
    struct fetch_request_partition *asked = xcalloc((size_t)r->partitions_n + 1, sizeof(*asked));
    struct fetch_request_topic topic = {.topic = str_of(r->view.topic), .partitions = asked};
    err e = OK;
    for (int32_t i = 0; i < r->partitions_n && e == OK; i++) {
        if (!is_read(r, i) || r->view.leaders[i] != leader) {
            continue;
        }
        e = find_begin(r, i);
        fetch_request_partition_init(&asked[topic.partitions_n]);
        asked[topic.partitions_n].partition = i;
        asked[topic.partitions_n].fetch_offset = r->partitions[i].offset;
        asked[topic.partitions_n++].partition_max_bytes = PARTITION_BYTES;
    }
    struct fetch_request request;
    fetch_request_init(&request);
    request.replica_id = -1;
    request.max_wait_ms = wait_ms;
    request.min_bytes = 1;
    request.max_bytes = FETCH_BYTES;
    request.isolation_level = r->committed_only ? 1 : 0;
    request.session_epoch = -1;
    request.topics = &topic;
    request.topics_n = 1;
    struct client *client = NULL;
    e = e == OK ? brokers_client(&r->brokers, leader, &client) : e;
    if (e == OK && topic.partitions_n > 0) {
        e = fetch(r, client, &request, look_again);
        if (e != OK && e != E_UNSUPPORTED) {
            brokers_forget_client(&r->brokers, client);
        }
    }
    free(asked);
    return e;
}

/* Is this the first of the partitions that the leader leads? Then it is asked for all of them. */
static bool is_first_of(const struct reading *r, int32_t partition)
{
    for (int32_t i = 0; i < partition; i++) {
        if (is_read(r, i) && r->view.leaders[i] == r->view.leaders[partition]) {
            return false;
        }
    }
    return is_read(r, partition);
}

static int wait_ms(const struct reading *r)
{
    int leaders = 0;
    for (int32_t i = 0; i < r->partitions_n; i++) {
        leaders += is_first_of(r, i) ? 1 : 0;
    }
    int64_t most = WAIT_MS / (leaders > 0 ? leaders : 1);
    int64_t left = r->timeout_ms < 0 ? most : r->timeout_ms - (now_ms() - r->last_message_ms);
    return (int)(left < 0 ? 0 : left < most ? left : most);
}

static err read_round(struct reading *r, bool *look_again)
{
    int wait = wait_ms(r);
    for (int32_t i = 0; i < r->partitions_n && !is_over(r); i++) {
        if (is_first_of(r, i)) {
            TRY(read_from(r, r->view.leaders[i], wait, look_again));
        }
    }
    fflush(stdout);
    return OK;
}

/* Leaders may have moved, partitions may have come. */
static err look(struct reading *r)
{
    TRY(topic_view_refresh(&r->view, &r->brokers, TIMEOUT_MS));
    if (r->only_partition >= r->view.partitions_n) {
        return refuse_with(ERR_UNKNOWN_TOPIC_OR_PARTITION, r->brokers.reason, CLIENT_REASON_BYTES,
                           "topic %s has no partition %d", r->view.topic, r->only_partition);
    }
    r->partitions =
        xrealloc(r->partitions, ((size_t)r->view.partitions_n + 1) * sizeof(*r->partitions));
    for (int32_t i = r->partitions_n; i < r->view.partitions_n; i++) {
        r->partitions[i] = (struct reading_partition){.offset = -1, .committed = -1};
    }
    r->partitions_n = r->view.partitions_n;
    return OK;
}

static bool is_passing(err e)
{
    return err_is_local(e)
               ? e != E_UNSUPPORTED && e != E_LIMIT && e != E_MALFORMED && e != E_CORRUPT
               : error_is_passing((int16_t)e);
}

static err read_on(struct reading *r)
{
    int64_t committed_ms = now_ms();
    while (!is_over(r)) {
        bool look_again = false;
        err e = read_round(r, &look_again);
        if (e != OK && !is_passing(e)) {
            return e;
        }
        if (e != OK || look_again) {
            clock_sleep_us(clock_system(), AGAIN_US);
            TRY(brokers_reconnect(&r->brokers));
            TRY(look(r));
        }
        if (r->group != NULL && now_ms() - committed_ms >= COMMIT_EVERY_MS) {
            TRY(group_commit(r));
            committed_ms = now_ms();
        }
    }
    return OK;
}

err reading_run(struct reading *r)
{
    r->last_message_ms = now_ms();
    TRY(look(r));
    if (r->group != NULL && r->begin != READING_OFFSET) {
        TRY(group_begin(r));
    }
    TRY(read_on(r));
    if (r->group != NULL) {
        TRY(group_commit(r));
    }
    return r->timed_out && r->messages_left > 0 ? E_BUSY : OK;
}

void reading_deinit(struct reading *r)
{
    free(r->partitions);
    topic_view_deinit(&r->view);
}
