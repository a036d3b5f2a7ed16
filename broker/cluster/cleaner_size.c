/* What would be in force with another layer is found by setting it: in a configuration of the two options alone,
 * with the texts of every layer. The new layer's values may be wrong each by itself (a node that an Apache broker or a
 * hand has written); such a value is none, as where the layer takes effect (broker_configs.c).
 *
 * At the start there are no threads yet, so any number of them is right. A layer that does not fit is passed
 * over and not refused: the option was changed while other values were in force, and the broker has to start. */
#include "broker/cluster/cleaner_size.h"

#include "base/log.h"
#include "base/refuse.h"
#include "protocol/error.h"

#include <string.h>

#define AREA "broker-configs"

static const char *const OPTIONS[] = {"log.cleaner.threads", "log.cleaner.dedupe.buffer.size"};
enum { OPTIONS_N = sizeof(OPTIONS) / sizeof(OPTIONS[0]) };

bool cleaner_size_has(const char *name)
{
    for (int i = 0; i < OPTIONS_N; i++) {
        if (strcmp(name, OPTIONS[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The value, or none if it is not allowed. */
static void set(struct config *config, const struct option *option, enum config_source source,
                const char *value)
{
    char reason[CONFIG_REASON_BYTES];
    if (config_set_dynamic(config, option, source, value, reason) != OK) {
        CHECK(config_set_dynamic(config, option, source, NULL, reason) == OK);
    }
}

static void copy_option(struct config *then, const struct config *config,
                        const struct option *option)
{
    const char *text = config_text_from(config, option, CONFIG_SOURCE_STATIC_BROKER);
    if (text != NULL) {
        properties_set(&then->properties, option->name, text);
    }
    for (enum config_source source = CONFIG_SOURCE_DYNAMIC_BROKER;
         source <= CONFIG_SOURCE_DYNAMIC_DEFAULT; source++) {
        set(then, option, source, config_text_from(config, option, source));
    }
}

static err check_change(const struct config *now, const struct config *then,
                        char message[CONFIG_REASON_BYTES])
{
    int32_t threads = now->log_cleaner_threads;
    if (!config_cleaner_fits(then)) {
        return refuse_with(ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
                           "requirement failed: log.cleaner.dedupe.buffer.size must be at least "
                           "1MB per cleaner thread.");
    }
    bool fewer = then->log_cleaner_threads < threads / 2;
    bool more = then->log_cleaner_threads > (int64_t)threads * 2;
    if (!now->log_cleaner_enable || (!fewer && !more)) {
        return OK;
    }
    return refuse_with(
        ERR_INVALID_REQUEST, message, CONFIG_REASON_BYTES,
        "Invalid value org.apache.kafka.common.config.ConfigException: Log cleaner threads cannot "
        "be %s the current value %d for configuration Invalid dynamic configuration",
        fewer ? "reduced to less than half" : "increased to more than double", threads);
}

err cleaner_size_check(const struct config *config, enum config_source source,
                       const struct properties *layer, char message[CONFIG_REASON_BYTES])
{
    struct config then;
    config_init(&then);
    for (int i = 0; i < OPTIONS_N; i++) {
        const struct option *option = config_option(OPTIONS[i]);
        copy_option(&then, config, option);
        set(&then, option, source, properties_get(layer, option->name));
    }
    err e = check_change(config, &then, message);
    config_deinit(&then);
    return e;
}

void cleaner_size_drop_misfits(struct config *config)
{
    for (enum config_source source = CONFIG_SOURCE_DYNAMIC_BROKER;
         source <= CONFIG_SOURCE_DYNAMIC_DEFAULT && !config_cleaner_fits(config); source++) {
        log_warn(AREA,
                 "options ignored: too little memory for each thread of the cleaner of=%s "
                 "threads=%d log.cleaner.dedupe.buffer.size=%lld",
                 source == CONFIG_SOURCE_DYNAMIC_BROKER ? "this-broker" : "all-brokers",
                 config->log_cleaner_threads, (long long)config->log_cleaner_dedupe_buffer_size);
        for (int i = 0; i < OPTIONS_N; i++) {
            set(config, config_option(OPTIONS[i]), source, NULL);
        }
    }
}
