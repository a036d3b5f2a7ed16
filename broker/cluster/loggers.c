#include "broker/cluster/loggers.h"

#include "base/log.h"
#include "base/refuse.h"
#include "protocol/error.h"

#include <inttypes.h>
#include <stdlib.h>

err logger_check_broker(int32_t broker_id, struct str name, char message[CONFIG_REASON_BYTES])
{
    if (name.len == 0) {
        return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                           "Broker id must not be empty");
    }
    char *text = str_dup(name);
    char *end = NULL;
    long long id = strtoll(text, &end, 10);
    bool is_number = *end == '\0';
    free(text);
    if (!is_number) {
        return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                           "Broker id must be an integer, but it is: %.*s", (int)name.len,
                           name.data);
    }
    return id == broker_id
               ? OK
               : refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                             "Unexpected broker id, expected %" PRId32 " but received %lld",
                             broker_id, id);
}

/* ---- names ---- */

enum { ROOT = 0 };

/* Kafka's loggers that its tools' examples and its log4j.properties name, and the area that has what they say. */
static const struct {
    const char *kafka;
    const char *area;
} KNOWN_AS[] = {
    {"kafka.controller", "controller"},
    {"kafka.coordinator.group", "coordinator"},
    {"kafka.coordinator.transaction", "transactions"},
    {"kafka.log.LogCleaner", "cleaner"},
    {"kafka.log.LogManager", "storage"},
    {"kafka.network.RequestChannel$", "kafka.request.logger"},
    {"kafka.network.SocketServer", "server"},
    {"kafka.server.KafkaServer", "broker"},
    {"kafka.server.ReplicaFetcherThread", "fetcher"},
    {"kafka.server.ReplicaManager", "replica"},
    {"org.apache.zookeeper", "zookeeper"},
    {"state.change.logger", "partition"},
};

enum { KNOWN_AS_N = sizeof(KNOWN_AS) / sizeof(KNOWN_AS[0]) };

int loggers_count(void)
{
    return 1 + log_areas() + KNOWN_AS_N;
}

const char *logger_name(int logger)
{
    return logger == ROOT          ? LOGGER_ROOT
           : logger <= log_areas() ? log_area_name(logger - 1)
                                   : KNOWN_AS[logger - 1 - log_areas()].kafka;
}

/* Not of the root. */
static int area_of(int logger)
{
    if (logger <= log_areas()) {
        return logger - 1;
    }
    int area = log_area_of(str_of(KNOWN_AS[logger - 1 - log_areas()].area));
    CHECK(area >= 0);
    return area;
}

enum log_level logger_level(int logger)
{
    return logger == ROOT ? log_level() : log_area_level(area_of(logger));
}

/* -1: there is none. */
static int logger_of(struct str name)
{
    int logger = loggers_count() - 1;
    while (logger >= 0 && !str_is(name, logger_name(logger))) {
        logger--;
    }
    return logger;
}

/* ---- edits ---- */

static err check_level(const struct config_edit *edit, char message[CONFIG_REASON_BYTES])
{
    enum log_level level;
    return log_level_of(edit->value, &level)
               ? OK
               : refuse_with(
                     ERR_INVALID_CONFIG, message, CONFIG_REASON_BYTES,
                     "Cannot set the log level of %.*s to %.*s as it is not a supported log "
                     "level. Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN",
                     (int)edit->name.len, edit->name.data, (int)edit->value.len, edit->value.data);
}

static const char *operation_name(enum config_operation operation)
{
    return operation == CONFIG_APPEND     ? "APPEND"
           : operation == CONFIG_SUBTRACT ? "SUBTRACT"
                                          : "Unknown";
}

static err check_edit(const struct config_edit *edit, char message[CONFIG_REASON_BYTES])
{
    if (edit->operation != CONFIG_SET && edit->operation != CONFIG_DELETE) {
        return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                           "%s operation is not allowed for the BROKER_LOGGER resource",
                           operation_name((enum config_operation)edit->operation));
    }
    int logger = logger_of(edit->name);
    if (logger < 0) {
        return refuse_with(ERR_INVALID_CONFIG, message, CONFIG_REASON_BYTES,
                           "Logger %.*s does not exist!", (int)edit->name.len, edit->name.data);
    }
    if (edit->operation == CONFIG_DELETE) {
        return logger == ROOT
                   ? refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                                 "Removing the log level of the root logger is not allowed")
                   : OK;
    }
    return check_level(edit, message);
}

static void make_edit(const struct config_edit *edit)
{
    int logger = logger_of(edit->name);
    enum log_level level = log_level();
    if (edit->operation == CONFIG_DELETE) {
        log_unset_area_level(area_of(logger));
    } else if (!log_level_of(edit->value, &level)) {
        return;
    } else if (logger == ROOT) {
        log_set_level(level);
    } else {
        log_set_area_level(area_of(logger), level);
    }
    log_info("config", "log level set logger=%s level=%s", logger_name(logger),
             log_level_name(level));
}

err logger_alter(int32_t broker_id, const struct config_change *change,
                 char message[CONFIG_REASON_BYTES])
{
    TRY(logger_check_broker(broker_id, change->name, message));
    for (int32_t i = 0; i < change->edits_n; i++) {
        TRY(check_edit(&change->edits[i], message));
    }
    for (int32_t i = 0; i < change->edits_n && !change->validate_only; i++) {
        make_edit(&change->edits[i]);
    }
    return OK;
}
