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

static err check_edit(const struct config_edit *edit, char message[CONFIG_REASON_BYTES])
{
    int name_len = (int)edit->name.len;
    bool is_root = str_is(edit->name, LOGGER_ROOT);
    enum log_level level;
    switch (edit->operation) {
    case CONFIG_SET:
        if (!is_root) {
            break;
        }
        return log_level_of(edit->value, &level)
                   ? OK
                   : refuse_with(
                         ERR_INVALID_CONFIG, message, CONFIG_REASON_BYTES,
                         "Cannot set the log level of %.*s to %.*s as it is not a supported log "
                         "level. Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN",
                         name_len, edit->name.data, (int)edit->value.len, edit->value.data);
    case CONFIG_DELETE:
        if (!is_root) {
            break;
        }
        return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                           "Removing the log level of the root logger is not allowed");
    default:
        return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                           "%s operation is not allowed for the BROKER_LOGGER resource",
                           edit->operation == CONFIG_APPEND     ? "APPEND"
                           : edit->operation == CONFIG_SUBTRACT ? "SUBTRACT"
                                                                : "Unknown");
    }
    return refuse_with(ERR_INVALID_CONFIG, message, CONFIG_REASON_BYTES,
                       "Logger %.*s does not exist!", name_len, edit->name.data);
}

err logger_alter(int32_t broker_id, const struct config_change *change,
                 char message[CONFIG_REASON_BYTES])
{
    TRY(logger_check_broker(broker_id, change->name, message));
    for (int32_t i = 0; i < change->edits_n; i++) {
        TRY(check_edit(&change->edits[i], message));
    }
    for (int32_t i = 0; i < change->edits_n && !change->validate_only; i++) {
        enum log_level level;
        if (log_level_of(change->edits[i].value, &level)) {
            log_set_level(level);
            log_info("config", "log level set level=%s", log_level_name(level));
        }
    }
    return OK;
}
