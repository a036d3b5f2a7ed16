/* The options of topics: overrides over the broker's values. */
#include "broker/config.h"

#include "protocol/batch.h"
#include "protocol/error.h"

#include <stdio.h>
#include <stdlib.h>

static const struct topic_option TOPIC_OPTIONS[] = {
#define TOPIC_OPTION(type, name, range, broker, fixed, lost, doc)                                  \
    {name, OPTION_##type, range, broker, fixed, lost, doc},
#include "broker/topic_config.def"
#undef TOPIC_OPTION
};

const struct topic_option *topic_options(size_t *count)
{
    *count = sizeof(TOPIC_OPTIONS) / sizeof(TOPIC_OPTIONS[0]);
    return TOPIC_OPTIONS;
}

const struct topic_option *topic_option(struct str name)
{
    for (size_t i = 0; i < sizeof(TOPIC_OPTIONS) / sizeof(TOPIC_OPTIONS[0]); i++) {
        if (str_is(name, TOPIC_OPTIONS[i].name)) {
            return &TOPIC_OPTIONS[i];
        }
    }
    return NULL;
}

/* Durations that the broker may give in coarser units. */
static const char *derived_default(const struct config *config, const char *name)
{
    static _Thread_local char text[32];
    int64_t value;
    if (strcmp(name, "log.retention.ms") == 0) {
        value = config->log_retention_ms != CONFIG_NULL_LONG ? config->log_retention_ms
                : config->log_retention_minutes != CONFIG_NULL_INT
                    ? (int64_t)config->log_retention_minutes * 60000
                    : (int64_t)config->log_retention_hours * 3600000;
        value = value < 0 ? -1 : value;
    } else if (strcmp(name, "log.roll.ms") == 0) {
        value = config->log_roll_ms != CONFIG_NULL_LONG ? config->log_roll_ms
                                                        : (int64_t)config->log_roll_hours * 3600000;
    } else if (strcmp(name, "log.roll.jitter.ms") == 0) {
        value = config->log_roll_jitter_ms != CONFIG_NULL_LONG
                    ? config->log_roll_jitter_ms
                    : (int64_t)config->log_roll_jitter_hours * 3600000;
    } else if (strcmp(name, "log.flush.interval.ms") == 0) {
        value = config->log_flush_interval_ms != CONFIG_NULL_LONG
                    ? config->log_flush_interval_ms
                    : config->log_flush_scheduler_interval_ms;
    } else {
        return NULL;
    }
    snprintf(text, sizeof(text), "%lld", (long long)value);
    return text;
}

const char *topic_option_default(const struct config *config, const struct topic_option *option)
{
    if (option->broker_option == NULL) {
        return option->fixed_default;
    }
    const char *derived = derived_default(config, option->broker_option);
    return derived != NULL ? derived : config_text(config, config_option(option->broker_option));
}

int8_t topic_option_source(const struct config *config, const struct topic_option *option)
{
    return option->broker_option == NULL
               ? (int8_t)CONFIG_SOURCE_DEFAULT
               : (int8_t)config_source(config, config_option(option->broker_option));
}

struct topic_view {
    const struct config *config;
    const struct properties *overrides;
};

static const char *text_of(const struct topic_view *view, const char *name)
{
    const char *set = view->overrides == NULL ? NULL : properties_get(view->overrides, name);
    return set != NULL ? set : topic_option_default(view->config, topic_option(str_of(name)));
}

static int64_t number_of(const struct topic_view *view, const char *name)
{
    return strtoll(text_of(view, name), NULL, 10);
}

static bool truth_of(const struct topic_view *view, const char *name)
{
    return strcasecmp(text_of(view, name), "true") == 0;
}

static int compression_of(const char *name)
{
    static const char *const CODECS[] = {"uncompressed", "gzip", "snappy", "lz4", "zstd"};
    for (int i = 0; i < CODEC_COUNT; i++) {
        if (strcmp(name, CODECS[i]) == 0) {
            return i;
        }
    }
    return COMPRESSION_PRODUCER;
}

static int level_of(const struct topic_view *view, int codec)
{
    switch (codec) {
    case CODEC_GZIP:
        return (int)number_of(view, "compression.gzip.level");
    case CODEC_LZ4:
        return (int)number_of(view, "compression.lz4.level");
    case CODEC_ZSTD:
        return (int)number_of(view, "compression.zstd.level");
    default:
        return 0;
    }
}

/* Below 0 is no limit. */
static int64_t limit_of(const struct topic_view *view, const char *name)
{
    int64_t limit = number_of(view, name);
    return limit < 0 ? -1 : limit;
}

/* A bound of timestamps: where it is not set the deprecated option is both. */
static int64_t bound_of(const struct topic_view *view, const char *name)
{
    int64_t bound = number_of(view, name);
    return bound != INT64_MAX ? bound : number_of(view, "message.timestamp.difference.max.ms");
}

/* The clock is added to it. */
static int64_t delay_of(const struct topic_view *view, const char *name)
{
    int64_t delay = number_of(view, name);
    return delay < INT64_MAX / 2 ? delay : INT64_MAX / 2;
}

err topic_overrides_check(const struct config *config, const struct properties *overrides,
                          char reason[CONFIG_REASON_BYTES])
{
    const struct topic_view v = {.config = config, .overrides = overrides};
    int64_t min_ms = number_of(&v, "min.compaction.lag.ms");
    int64_t max_ms = number_of(&v, "max.compaction.lag.ms");
    if (min_ms > max_ms) {
        snprintf(reason, CONFIG_REASON_BYTES,
                 "conflict topic config setting min.compaction.lag.ms (%lld) > "
                 "max.compaction.lag.ms (%lld)",
                 (long long)min_ms, (long long)max_ms);
        return ERR_INVALID_CONFIG;
    }
    return OK;
}

struct log_config topic_log_config(const struct config *config, const struct properties *overrides)
{
    const struct topic_view v = {.config = config, .overrides = overrides};
    int codec = compression_of(text_of(&v, "compression.type"));
    const char *policy = text_of(&v, "cleanup.policy");
    struct log_config out = {
        .cleanup_compact = strstr(policy, "compact") != NULL,
        .cleanup_delete = strstr(policy, "delete") != NULL,
        .compression_type = codec,
        .compression_level = level_of(&v, codec),
        .delete_retention_ms = number_of(&v, "delete.retention.ms"),
        .file_delete_delay_ms = delay_of(&v, "file.delete.delay.ms"),
        .flush_messages = number_of(&v, "flush.messages"),
        .flush_ms = number_of(&v, "flush.ms"),
        .index_interval_bytes = (int32_t)number_of(&v, "index.interval.bytes"),
        .max_compaction_lag_ms = number_of(&v, "max.compaction.lag.ms"),
        .max_message_bytes = (int32_t)number_of(&v, "max.message.bytes"),
        .message_timestamp_before_max_ms = bound_of(&v, "message.timestamp.before.max.ms"),
        .message_timestamp_after_max_ms = bound_of(&v, "message.timestamp.after.max.ms"),
        .log_append_time = strcmp(text_of(&v, "message.timestamp.type"), "LogAppendTime") == 0,
        .min_cleanable_dirty_ratio = strtod(text_of(&v, "min.cleanable.dirty.ratio"), NULL),
        .min_compaction_lag_ms = number_of(&v, "min.compaction.lag.ms"),
        .min_insync_replicas = (int32_t)number_of(&v, "min.insync.replicas"),
        .preallocate = truth_of(&v, "preallocate"),
        .retention_bytes = limit_of(&v, "retention.bytes"),
        .retention_ms = limit_of(&v, "retention.ms"),
        .segment_bytes = (int32_t)number_of(&v, "segment.bytes"),
        .segment_index_bytes = (int32_t)number_of(&v, "segment.index.bytes"),
        .segment_jitter_ms = number_of(&v, "segment.jitter.ms"),
        .segment_ms = number_of(&v, "segment.ms"),
        .unclean_leader_election_enable = truth_of(&v, "unclean.leader.election.enable"),
        .message_downconversion_enable = truth_of(&v, "message.downconversion.enable"),
        .producer_id_expiration_ms = config->producer_id_expiration_ms,
        .verify_transactions = config->transaction_partition_verification_enable,
    };
    return out;
}
