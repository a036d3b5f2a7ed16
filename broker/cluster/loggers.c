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

static bool is_root(struct str name)
{
    return str_is(name, LOGGER_ROOT);
}

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
    if (!is_root(edit->name) && log_area_of(edit->name) < 0) {
        return refuse_with(ERR_INVALID_CONFIG, message, CONFIG_REASON_BYTES,
                           "Logger %.*s does not exist!", (int)edit->name.len, edit->name.data);
    }
    if (edit->operation == CONFIG_DELETE) {
        return is_root(edit->name)
                   ? refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                                 "Removing the log level of the root logger is not allowed")
                   : OK;
    }
    return check_level(edit, message);
}

static void make_edit(const struct config_edit *edit)
{
    int name_len = (int)edit->name.len;
    enum log_level level = log_level();
    if (edit->operation == CONFIG_DELETE) {
        log_unset_area_level(log_area_of(edit->name));
    } else if (!log_level_of(edit->value, &level)) {
        return;
    } else if (is_root(edit->name)) {
        log_set_level(level);
    } else {
        log_set_area_level(log_area_of(edit->name), level);
    }
    log_info("config", "log level set logger=%.*s level=%s", name_len, edit->name.data,
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
