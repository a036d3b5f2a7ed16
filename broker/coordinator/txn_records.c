/* Key and value begin with their version as int16; the generated codec does the rest. Written is version 0 of
 * both, as by Kafka 3.9; version 1 of a value is read too. Partitions are null in Empty, else an
 * array. */
#include "broker/coordinator/txn_records.h"

#include "protocol/messages.h"

#include <stdlib.h>

enum {
    KEY_VERSION = 0,
    VALUE_VERSION = 0,
    VALUE_VERSION_MAX = 1,
    RECORD_LIMIT_BYTES = 64 << 20,
    NO_PARTITIONS = -1,
};

static err encode(const struct message *message, int16_t version, const void *in,
                  struct writer *out)
{
    writer_init(out, RECORD_LIMIT_BYTES);
    writer_i16(out, version);
    err e = message_encode(message, version, in, out);
    return e != OK || out->failed ? E_LIMIT : OK;
}

/* ---- writing ---- */

/* The set's items, by topic; one allocation, freed by the caller. NULL where there are none. */
static struct transaction_log_value_transaction_partition *
group_by_topic(const struct txn_partitions *set, int32_t *topics_n)
{
    int32_t count = txn_partitions_count(set);
    *topics_n = 0;
    if (count == 0) {
        return NULL;
    }
    struct transaction_log_value_transaction_partition *topics =
        xcalloc((size_t)count, sizeof(*topics) + sizeof(int32_t));
    int32_t *ids = (int32_t *)(topics + count);
    for (int32_t i = 0; i < count;) {
        int32_t n = txn_partitions_of_topic(set, i);
        topics[*topics_n].topic = set->items[i].topic;
        topics[*topics_n].partition_ids = ids + i;
        topics[*topics_n].partition_ids_n = n;
        (*topics_n)++;
        for (int32_t end = i + n; i < end; i++) {
            ids[i] = set->items[i].partition;
        }
    }
    return topics;
}

static err encode_value(const struct txn_values *values, struct writer *out)
{
    int32_t topics_n = 0;
    struct transaction_log_value_transaction_partition *topics =
        group_by_topic(values->partitions, &topics_n);
    struct transaction_log_value in = {
        .producer_id = values->producer_id,
        .producer_epoch = values->epoch,
        .transaction_timeout_ms = values->timeout_ms,
        .transaction_status = (int8_t)values->state,
        .transaction_partitions = topics,
        .transaction_partitions_n = values->state == TXN_EMPTY ? NO_PARTITIONS : topics_n,
        .transaction_last_update_timestamp_ms = values->update_ms,
        .transaction_start_timestamp_ms = values->start_ms,
    };
    err e = encode(&transaction_log_value_message, VALUE_VERSION, &in, out);
    free(topics);
    return e;
}

static err encode_key(struct str id, struct writer *out)
{
    struct transaction_log_key in = {.transactional_id = id};
    return encode(&transaction_log_key_message, KEY_VERSION, &in, out);
}

err txn_record_add(struct batch_builder *batch, int64_t now_ms, struct str id,
                   const struct txn_values *values)
{
    struct writer key;
    struct writer value;
    err e = encode_key(id, &key);
    err f = encode_value(values, &value);
    if (e == OK && f == OK) {
        batch_add(batch, now_ms, bytes_of(key.data, key.len), bytes_of(value.data, value.len));
    }
    writer_deinit(&key);
    writer_deinit(&value);
    return e == OK ? f : e;
}

err txn_record_add_tombstone(struct batch_builder *batch, int64_t now_ms, struct str id)
{
    struct writer key;
    err e = encode_key(id, &key);
    if (e == OK) {
        batch_add(batch, now_ms, bytes_of(key.data, key.len), (struct bytes){0});
    }
    writer_deinit(&key);
    return e;
}

/* ---- reading ---- */

err txn_record_read_key(struct bytes bytes, struct arena *arena, struct str *id)
{
    struct reader reader = reader_of(bytes);
    struct transaction_log_key key;
    int16_t version = reader_i16(&reader);
    *id = (struct str){0};
    if (reader.failed || version < 0) {
        return E_MALFORMED;
    }
    if (version != KEY_VERSION) {
        return OK;
    }
    TRY(message_decode(&transaction_log_key_message, version, &reader, arena, &key));
    *id = key.transactional_id;
    return id->data == NULL ? E_MALFORMED : OK;
}

static err read_partitions(const struct transaction_log_value *in, struct txn_partitions **out)
{
    size_t count = 0;
    for (int32_t t = 0; t < in->transaction_partitions_n; t++) {
        count += (size_t)in->transaction_partitions[t].partition_ids_n;
    }
    struct topic_partition *names = xcalloc(count, sizeof(*names));
    size_t n = 0;
    for (int32_t t = 0; t < in->transaction_partitions_n; t++) {
        const struct transaction_log_value_transaction_partition *topic =
            &in->transaction_partitions[t];
        for (int32_t i = 0; i < topic->partition_ids_n; i++) {
            names[n++] = (struct topic_partition){.topic = topic->topic,
                                                  .partition = topic->partition_ids[i]};
        }
    }
    *out = n == 0 ? NULL : txn_partitions_new(names, n);
    free(names);
    return OK;
}

/* What could not have been written. */
static err check_value(const struct transaction_log_value *in)
{
    bool open = in->transaction_status == TXN_ONGOING ||
                in->transaction_status == TXN_PREPARE_COMMIT ||
                in->transaction_status == TXN_PREPARE_ABORT;
    bool sound = in->transaction_status >= 0 && in->transaction_status < TXN_DEAD &&
                 in->producer_id >= 0 && in->producer_epoch >= 0 &&
                 (in->transaction_partitions_n <= 0 || open);
    return sound ? OK : E_MALFORMED;
}

err txn_record_read(struct bytes bytes, struct arena *arena, struct txn_values *values)
{
    struct reader reader = reader_of(bytes);
    struct transaction_log_value in;
    int16_t version = reader_i16(&reader);
    TRY(reader.failed ? E_MALFORMED : OK);
    if (version < 0 || version > VALUE_VERSION_MAX) {
        return E_UNSUPPORTED;
    }
    TRY(message_decode(&transaction_log_value_message, version, &reader, arena, &in));
    TRY(check_value(&in));
    bool empty = in.transaction_status == TXN_EMPTY;
    *values = (struct txn_values){
        .state = (enum txn_state)in.transaction_status,
        .producer_id = in.producer_id,
        .last_producer_id = TXN_NO_PRODUCER_ID,
        .epoch = in.producer_epoch,
        .last_epoch = TXN_NO_EPOCH,
        .timeout_ms = in.transaction_timeout_ms,
        .start_ms = empty ? -1 : in.transaction_start_timestamp_ms,
        .update_ms = in.transaction_last_update_timestamp_ms,
    };
    return read_partitions(&in, &values->partitions);
}
