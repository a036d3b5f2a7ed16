/* Kafka 3.9's defaults, one line each. (reference: requests §13) */
#include "storage/log_config.h"

struct log_config log_config_default(void)
{
    return (struct log_config){
        .cleanup_compact = false,
        .cleanup_delete = true,
        .compression_type = COMPRESSION_PRODUCER,
        .compression_level = 0,
        .delete_retention_ms = 86400000,
        .file_delete_delay_ms = 60000,
        .flush_messages = INT64_MAX,
        .flush_ms = INT64_MAX,
        .index_interval_bytes = 4096,
        .max_compaction_lag_ms = INT64_MAX,
        .max_message_bytes = 1048588,
        .message_timestamp_before_max_ms = INT64_MAX,
        .message_timestamp_after_max_ms = INT64_MAX,
        .log_append_time = false,
        .min_cleanable_dirty_ratio = 0.5,
        .min_compaction_lag_ms = 0,
        .min_insync_replicas = 1,
        .preallocate = false,
        .retention_bytes = -1,
        .retention_ms = 604800000,
        .segment_bytes = 1073741824,
        .segment_index_bytes = 10485760,
        .segment_jitter_ms = 0,
        .segment_ms = 604800000,
        .unclean_leader_election_enable = false,
        .message_downconversion_enable = true,
        .producer_id_expiration_ms = 86400000,
    };
}
