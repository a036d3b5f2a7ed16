/* ottla.log.*: see config.def. */
#define _GNU_SOURCE
#include "command/logging.h"

#include "base/log.h"
#include "base/refuse.h"

#include <string.h>

/* One area=LEVEL. */
static err take_level(struct str text, char reason[CONFIG_REASON_BYTES])
{
    const char *equals = memchr(text.data, '=', text.len);
    size_t name_len = equals == NULL ? 0 : (size_t)(equals - text.data);
    struct str name = {.data = text.data, .len = name_len};
    struct str value = {.data = equals == NULL ? NULL : equals + 1,
                        .len = equals == NULL ? 0 : text.len - name_len - 1};
    enum log_level level;
    if (equals == NULL || !log_level_of(value, &level)) {
        return refuse(reason, CONFIG_REASON_BYTES,
                      "option ottla.log.levels: \"%.*s\" is not area=LEVEL, with a level of TRACE, "
                      "DEBUG, INFO, WARN, ERROR, FATAL",
                      (int)text.len, text.data);
    }
    int area = log_area_of(name);
    if (area < 0) {
        return refuse(reason, CONFIG_REASON_BYTES,
                      "option ottla.log.levels: there is no area \"%.*s\"; kafka-configs "
                      "--describe --entity-type broker-loggers tells them all",
                      (int)name.len, name.data);
    }
    log_set_area_level(area, level);
    return OK;
}

static err take_levels(const char *list, char reason[CONFIG_REASON_BYTES])
{
    while (*list != '\0') {
        const char *comma = strchrnul(list, ',');
        while (*list == ' ') {
            list++;
        }
        struct str one = {.data = list, .len = (size_t)(comma - list)};
        while (one.len > 0 && one.data[one.len - 1] == ' ') {
            one.len--;
        }
        if (one.len > 0) {
            TRY(take_level(one, reason));
        }
        list = *comma == '\0' ? comma : comma + 1;
    }
    return OK;
}

err logging_begin(const struct config *config, char reason[CONFIG_REASON_BYTES])
{
    enum log_level root = LOG_INFO;
    (void)log_level_of(str_of(config->ottla_log_level), &root);
    log_set_level(root);
    TRY(take_levels(config->ottla_log_levels, reason));
    log_set_rate(config->ottla_log_lines_per_second);
    log_set_format(strcmp(config->ottla_log_format, "json") == 0 ? LOG_FORMAT_JSON
                                                                 : LOG_FORMAT_KAFKA);
    const char *path = config->ottla_log_file;
    err e = path == NULL ? OK : log_open_file(path);
    return e == OK ? OK
                   : refuse(reason, CONFIG_REASON_BYTES,
                            "option ottla.log.file: cannot open %s: %s", path, err_text(e));
}

void logging_reopen(void)
{
    err e = log_reopen();
    if (e == OK) {
        log_info("broker", "log file opened again signal=SIGHUP");
    } else {
        log_error("broker",
                  "cannot open the log file again, going on in the former one error=\"%s\"",
                  err_text(e));
    }
}
