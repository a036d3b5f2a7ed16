/* What a topic's configuration says about its logs: the effective values, topic overrides applied
 * over the broker's. Plain values, copied freely. */
#ifndef OTTLA_STORAGE_LOG_CONFIG_H
#define OTTLA_STORAGE_LOG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

/* compression.type: "producer" keeps what came. The others are codecs of protocol/batch.h. */
enum { COMPRESSION_PRODUCER = -1 };

struct log_config {
    bool cleanup_compact;
    bool cleanup_delete;
    int compression_type;  /* COMPRESSION_PRODUCER or an enum codec */
    int compression_level; /* of that codec; 0: the codec's default */
    int64_t delete_retention_ms;
    int64_t file_delete_delay_ms;
    int64_t flush_messages;
    int64_t flush_ms;
    int32_t index_interval_bytes;
    int64_t max_compaction_lag_ms;
    int32_t max_message_bytes;
    int64_t message_timestamp_before_max_ms;
    int64_t message_timestamp_after_max_ms;
    bool log_append_time; /* message.timestamp.type */
    double min_cleanable_dirty_ratio;
    int64_t min_compaction_lag_ms;
    int32_t min_insync_replicas;
    bool preallocate;
    int64_t retention_bytes;
    int64_t retention_ms;
    int32_t segment_bytes;
    int32_t segment_index_bytes;
    int64_t segment_jitter_ms;
    int64_t segment_ms;
    bool unclean_leader_election_enable;
    bool message_downconversion_enable;
    int64_t producer_id_expiration_ms; /* the broker's; not a topic option */
    bool verify_transactions;          /* the same: transaction.partition.verification.enable */
};

/* Kafka 3.9's defaults. */
struct log_config log_config_default(void);

#endif
